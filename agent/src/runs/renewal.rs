//! What a restart of a device brings with it besides itself: what may be written again afterwards, and what
//! is read while it goes on.

use firmware_catalog::{
    Act, Read,
    act::{Deed, Direction, Write},
};
use playbooks::{Name, Value, vocabulary::Disruption};

use crate::{
    firmware::kept,
    host::Nic,
    inventory::NicFacts,
    setting::{Current, family_of},
    surroundings::Surroundings,
};

/// Every setting that the restart takes is written again where it came back as another; numbers from below or
/// from above, since nobody knows beforehand with what the new firmware begins. What stands around the ports
/// needs them down. And they are read, from the moment they are there again, however far the driver is by then.
pub(super) fn acts(nic: &Nic, facts: &NicFacts, around: Option<&Surroundings>) -> Vec<Act> {
    let reads = [Read::Coalesce, Read::Rss, Read::Stats].map(Act::Read);
    let mut acts = vec![Act::Do(Deed::LinkDown)];
    acts.extend(reads);
    let lost = facts
        .settings
        .iter()
        .filter(|(name, current)| current.fixed.is_none() && kept::is_lost(name));
    acts.extend(lost.map(|(name, current)| write(nic, name, back_to(current))));
    if around.is_none_or(Surroundings::steers_flows) {
        acts.push(Act::Do(Deed::FlowCount));
    }
    acts
}

/// A setting that is put back.
pub(super) fn write(nic: &Nic, name: &Name, direction: Direction) -> Act {
    let felt = family_of(name).map_or(Disruption::NicReset, |family| family.disruption(nic, name));
    Act::Set(Write { setting: name.to_string(), direction, felt })
}

/// A switch is only written to be what it was.
fn back_to(current: &Current) -> Direction {
    match current.value {
        Value::Bool(true) => Direction::On,
        Value::Bool(false) => Direction::Off,
        _ => Direction::Elsewhere,
    }
}

/// Whether the device is being reset while this is done.
pub(super) fn resets(act: &Act) -> bool {
    match act {
        Act::Do(deed) => matches!(
            deed,
            Deed::FwActivate | Deed::EthtoolReset | Deed::FunctionReset | Deed::DriverReinit
        ),
        Act::Set(_) | Act::Read(_) => false,
    }
}
