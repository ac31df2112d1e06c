//! `playbook test`: a playbook against the simulated host, as it should go and failed at every step.

use std::collections::BTreeMap;

use super::{Common, Done, law, out, place, site};
use crate::{
    host::sim::{Blow, Machine, Moment, Sim},
    log::RunState,
    rehearsal::{self, Door, Ending, Fall, Stage},
    runs::{Declined, Exit},
};

/// Steps beyond this are sampled evenly, so that a large playbook still answers in seconds.
const STEPS_MAX: u64 = 400;

pub(super) fn run(common: &Common, wanted: &str) -> Done {
    let playbook = place::playbook(common, wanted)?;
    let mut playbook = playbook;
    // The simulated clock makes windows free, drawing samples is not.
    playbook.verify.window = playbook.verify.window.min(std::time::Duration::from_secs(5));
    rehearsal::hush_injected_crashes();
    let (catalog, files) = (site::catalog(common)?, site::files(&site::folder(common))?);
    let mut machine = rehearsal::machine_for(&playbook);
    let shelf = rehearsal::shelf_for(&playbook, &catalog, files, &mut machine)?;
    let sysctls = law::read(common).loaded().config.sysctls.clone();
    let stage = Stage { machine, playbook, nic: "eth1".to_owned(), seed: 1, shelf, sysctls };
    let told = stage.play(&[], &|telling| {
        if !common.json {
            place::tell(telling);
        }
    });
    let ending = words(&told.ending);
    if let Ending::Declined(rule) = &told.ending {
        let nics = &stage.machine.nics;
        let driver = nics.first().map_or("no", |nic| nic.driver.as_str());
        let why = format!(
            "the simulated host declined it: {rule} (it has a {driver} NIC that tells no firmware version, \
             and Linux {})",
            stage.machine.kernel
        );
        return Err(Declined::new(Exit::Wrong, rule, why));
    }
    let (tried, endings, broken) = crash_everywhere(&stage, told.host_calls);
    if common.json {
        out::json(&serde_json::json!({
            "playbook": stage.playbook.name,
            "ending": ending,
            "crashes": tried,
            "after-recovery": endings,
            "broken": broken,
        }));
    } else {
        out::line(&format!("simulated run: {ending}"));
        out::line(&format!("killed at {tried} host calls and recovered: {endings:?}"));
        out::line("the simulation shows that it plans, writes and goes back; not whether it helps");
    }
    match broken.as_slice() {
        [] => Ok(Exit::Done),
        [first, ..] => {
            let why = format!("{} crashes left the machine changed; first: {first}", broken.len());
            Err(Declined::new(Exit::Failed, "rehearsal", why))
        }
    }
}

/// Kills the run at every host call, before and after it took effect.
fn crash_everywhere(stage: &Stage, calls: u64) -> (u64, BTreeMap<String, u64>, Vec<String>) {
    let before = known(Sim::new(stage.machine.clone()).machine());
    let stride = calls.div_ceil(STEPS_MAX).max(1);
    let (mut tried, mut endings, mut broken) = (0, BTreeMap::new(), Vec::new());
    for call in (0..calls).step_by(usize::try_from(stride).unwrap_or(1)) {
        for moment in [Moment::Before, Moment::After] {
            let fall = Fall { door: Door::Host, call, moment, blow: Blow::Crash };
            let told = stage.play(&[fall], &|_| ());
            tried += 1;
            *endings.entry(words(&told.ending)).or_default() += 1;
            let committed = told.ending == Ending::Ran(RunState::Committed);
            if !committed && known(told.machine) != before {
                broken.push(format!("call {call}, {moment:?}"));
            }
        }
    }
    (tried, endings, broken)
}

/// A machine as two of them are compared: a restarted card's interface has another index.
fn known(mut machine: Machine) -> Machine {
    machine.nics.iter_mut().for_each(|nic| nic.ifindex = 0);
    machine
}

fn words(ending: &Ending) -> String {
    match ending {
        Ending::Ran(RunState::Committed) => "committed".to_owned(),
        Ending::Ran(RunState::Reverted) => "reverted".to_owned(),
        Ending::Ran(RunState::Refused) => "refused".to_owned(),
        Ending::Ran(RunState::Stuck) => "stuck".to_owned(),
        Ending::Ran(RunState::Running) => "unfinished".to_owned(),
        Ending::AlreadyRight => "nothing to write".to_owned(),
        Ending::Declined(rule) => format!("declined ({rule})"),
    }
}
