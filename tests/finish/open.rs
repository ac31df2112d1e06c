//! A firmware stage is closed by what was read from the device, and by nothing else.

use agent::{
    host::sim::{Act, Blow, Injection, Moment},
    log::{Fact, RunState},
    store::Store,
};
use tests::firmware::quiet_machine;

use crate::place::{FLASHES, Place, SETTINGS};

const OLD: &str = "14.32.1010";
const NEW: &str = "14.32.1900";

fn away(place: &Place) {
    for nic in ["eth1", "eth2"] {
        place.happens(Act::Remove { nic: nic.to_owned() });
    }
}

#[test]
fn a_reboot_elsewhere_without_the_nic_does_not_close_a_firmware_stage() {
    let place = Place::new(quiet_machine());
    place.dies_at(FLASHES, "restarts into");
    place.sim.reboot();
    assert_eq!(place.firmware(), (NEW.to_owned(), None), "the boot runs what is stored");
    away(&place);
    place.happens(Act::Namespace { inode: 4_026_532_999, cookie: Some(7) });
    let told = place.recover().expect("it is tried");
    assert_eq!(told[0].state, RunState::Stuck, "{}", told[0].why);
    assert!(place.run(0).firmware_open(), "nobody has read it back");
    assert!(told[0].by_hand.iter().any(|line| line.starts_with("devlink dev flash")));
    for nic in ["eth1", "eth2"] {
        place.happens(Act::Return { nic: nic.to_owned() });
    }
    let told = place.recover().expect("it is tried");
    assert_eq!(told[0].state, RunState::Reverted, "{}", told[0].why);
    assert_eq!(place.firmware(), (OLD.to_owned(), None));
}

#[test]
fn a_nic_that_a_reboot_left_without_firmware_to_put_back_is_closed() {
    let place = Place::new(quiet_machine());
    place.dies_at(SETTINGS, "Stage(0)");
    place.sim.reboot();
    away(&place);
    let told = place.recover().expect("it is closed");
    assert_eq!(told[0].state, RunState::Reverted, "{}", told[0].why);
}

/// A run whose only stage is firmware has no settings whose originals would tell that it has written.
#[test]
fn a_death_after_the_firmware_is_back_closes_the_run_as_reverted() {
    let plain = Place::new(quiet_machine());
    let record = plain.apply(FLASHES, "eth1", &|_| ()).expect("it lives").expect("it runs");
    assert_eq!(record.state, RunState::Reverted, "{}", record.why);
    let (mut returned, mut early) = (0, 0);
    for call in 0..plain.store.calls() {
        let place = Place::new(quiet_machine());
        let (moment, blow) = (Moment::Before, Blow::Crash);
        place.store.inject([Injection { call, moment, blow }]);
        if place.apply(FLASHES, "eth1", &|_| ()).is_some() {
            continue;
        }
        place.sim.restart();
        place.store.restart_after(agent::store::sim::End::Killed);
        if place.store.entries().expect("a log").is_empty() {
            continue;
        }
        place.recover().expect("it is finished");
        let run = place.run(0);
        let begun = run.firmware.as_ref();
        let last = run.entries.last().map(|entry| &entry.fact);
        match begun {
            None => early += 1,
            Some(firmware) => {
                returned += 1;
                assert_eq!(run.state, RunState::Reverted, "call {call}: {}", run.why);
                assert!(firmware.returned, "call {call}");
                assert!(matches!(last, Some(Fact::Reverted { .. })), "call {call}: {last:?}");
            }
        }
        assert_eq!(place.firmware(), (OLD.to_owned(), None), "call {call}");
    }
    assert!(returned > 5 && early > 0, "{returned} with firmware begun, {early} before it");
}

/// A value that a device keeps over boots is not decided by one.
#[test]
fn what_a_device_keeps_is_not_closed_by_a_reboot() {
    let mut machine = quiet_machine();
    machine.nics[0].private_flags.insert("fw-lldp-agent".to_owned(), true);
    let place = Place::new(machine);
    let playbook = SETTINGS.replace("coalesce.rx-usecs: 4", "private-flag.fw-lldp-agent: false");
    place.dies_at(&playbook, "Stage(0)");
    place.sim.reboot();
    away(&place);
    let told = place.recover().expect("it is tried");
    assert_eq!(told[0].state, RunState::Stuck, "{}", told[0].why);
    place.happens(Act::Return { nic: "eth1".to_owned() });
    let told = place.recover().expect("it is tried");
    assert_eq!(told[0].state, RunState::Reverted, "{}", told[0].why);
}
