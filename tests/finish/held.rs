//! A kernel that does not come back from a flash or a restart in the time that was given.

use agent::{
    fault::Kind,
    host::{
        Host,
        sim::{Machine, Quirk},
    },
    log::{Fact, RunState},
};
use tests::firmware::quiet_machine;

use crate::place::{FLASHES, Place};

const OLD: &str = "14.32.1010";
/// A flash is given twenty minutes, a restart of this model 427 seconds; half a minute more for the answer.
const FLASH_MS: u64 = 1_230_000;
const RESTART_MS: u64 = 457_000;

fn holding(on: &str, ms: u64) -> Place {
    let mut machine: Machine = quiet_machine();
    machine.nics[0].quirks = vec![Quirk::Holds { on: on.to_owned(), ms }];
    Place::new(machine)
}

fn asked(place: &Place) -> usize {
    let flashed = |entry: &&agent::log::Entry| matches!(entry.fact, Fact::Firmware { .. });
    place.run(0).entries.iter().filter(flashed).count()
}

/// It answers while the way back waits: what has come of it is read, and goes back.
#[test]
fn what_is_late_is_read_and_put_back() {
    for (on, ms) in [("flash", FLASH_MS + 60_000), ("reload", RESTART_MS + 60_000)] {
        let place = holding(on, ms);
        let told = place.apply(FLASHES, "eth1", &|_| ()).expect("it lives").expect("it runs");
        assert_eq!(told.state, RunState::Reverted, "{on}: {}", told.why);
        assert!(told.why.contains("still holds it"), "{on}: {}", told.why);
        assert_eq!(place.firmware(), (OLD.to_owned(), None), "{on}");
        assert_eq!(place.sim.overlaps(), 0, "{on}: the device was asked while it was held");
    }
}

/// It does not: the run ends all the same, touches nothing more, and is finished when the kernel has.
#[test]
fn what_does_not_come_back_ends_as_stuck_and_can_be_finished() {
    for on in ["flash", "reload"] {
        let place = holding(on, 86_400_000);
        let began = place.sim.now().mono_ns;
        let told = place.apply(FLASHES, "eth1", &|_| ()).expect("it lives").expect("it runs");
        let took_s = (place.sim.now().mono_ns - began) / 1_000_000_000;
        assert_eq!(told.state, RunState::Stuck, "{on}: {}", told.why);
        assert!(told.by_hand[0].starts_with("# first wait until"), "{on}: {:?}", told.by_hand);
        assert!(took_s < 1_800, "{on}: {took_s} s");
        assert_eq!(place.sim.overlaps(), 0, "{on}");
        // The process is gone, the kernel still at it: nothing is begun on the device.
        let steps = asked(&place);
        let told = place.recover().expect("it is tried");
        assert_eq!(told[0].state, RunState::Stuck, "{on}: {}", told[0].why);
        assert_eq!(asked(&place), steps, "{on}: nothing was done to the firmware");
        assert_eq!(place.sim.overlaps(), 0, "{on}");
        assert_eq!(place.sim.free("pci/0000:3b:00.0").map_err(|f| f.kind), Err(Kind::Held));
        place.sim.wait(std::time::Duration::from_secs(86_400));
        let told = place.recover().expect("it is tried");
        assert_eq!(told[0].state, RunState::Reverted, "{on}: {}", told[0].why);
        assert_eq!(place.firmware(), (OLD.to_owned(), None), "{on}");
        assert_eq!(place.sim.overlaps(), 0, "{on}");
    }
}
