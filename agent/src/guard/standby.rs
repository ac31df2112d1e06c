//! The standby path of a run: looked at and probed, then judged by [`policy::standby`].

use std::time::Duration;

use playbooks::playbook::{Pattern, Transport};
pub use policy::standby::{Probed, Profile, Standby, answers, judge};

use crate::{
    fault::Result,
    host::Host,
    inventory::{self, NicFacts, ties},
    measure::{Meter, WindowSpec},
};

/// How long a standby gets to show carrier and replies.
const SETTLE_MAX: Duration = Duration::from_secs(3);
/// A short window: whether it carries, not how well.
const WINDOW: Duration = Duration::from_secs(1);
const RATE: u32 = 200;
/// Both, and the last packets' answers.
pub const PROBE_MAX: Duration = Duration::from_secs(5);

/// Probes through the standby's own interface, by the meter that is opened on it.
pub fn probe(meter: &mut dyn Meter) -> Probed {
    let never = || false;
    let spec = WindowSpec {
        transport: Transport::Udp,
        length: WINDOW,
        rate: RATE,
        payload: 64,
        pattern: Pattern::Calm,
        flows: 0,
    };
    let measured = meter.settle(SETTLE_MAX, &never).and_then(|_| meter.window(&spec, &never));
    match measured {
        Ok(window) => Probed::Answered { sent: window.sent, lost: window.lost },
        Err(fault) => Probed::Failed(fault.to_string()),
    }
}

/// Judges the NIC of this name as the standby of `nic`. `owner`: the unfinished run that has it already.
///
/// Fails where it cannot be found.
pub fn look(
    host: &dyn Host,
    nic: &NicFacts,
    name: &str,
    probed: &Probed,
    owner: Option<&str>,
) -> Result<Standby> {
    let inventory = inventory::take(host, Some(name))?;
    let Some(standby) = inventory.nic(name) else {
        let why = "it went away".to_owned();
        return Ok(Standby::Unfit { nic: name.to_owned(), why });
    };
    Ok(judge(&profile(nic), &profile(standby), &ties(nic, standby), probed, owner))
}

fn profile(facts: &NicFacts) -> Profile {
    Profile {
        name: facts.name.clone(),
        driver: facts.driver.clone(),
        model: facts.model.clone(),
        firmware: facts.firmware.running.clone(),
    }
}
