//! A run that stays stuck is not tried for ever by whoever does something else.

use agent::{firmware::images, host::sim::SimNic, log::RunState, runs::Exit, store::Store};
use tests::firmware::quiet_machine;

use crate::place::{FLASHES, Place, SETTINGS};

/// A card of its own.
const OTHER: &str = r#"
name: eth3
driver: ice
mac: 52:54:00:00:00:09
pci: { address: "0000:5e:00.0", vendor: 0x8086, device: 0x1592 }
coalesce: { adaptive-rx: true, rx-usecs: 8 }
"#;

/// Interrupted in the middle of a firmware stage.
fn interrupted() -> Place {
    let mut machine = quiet_machine();
    let other: SimNic = serde_saphyr::from_str(OTHER).expect("a NIC");
    machine.nics.push(other);
    let place = Place::new(machine);
    place.dies_at(FLASHES, "restarts into");
    place
}

fn image(place: &Place) -> String {
    let action = place.run(0).firmware.expect("it began").action;
    images::blob(&action.way_back.expect("a way back").sha256)
}

#[test]
fn other_requests_try_a_stuck_run_a_bounded_number_of_times() {
    let place = interrupted();
    let (id, image) = (place.run(0).id, image(&place));
    let whole = place.store.get(&image).expect("a disk").expect("an image");
    place.store.put(&image, b"spoilt").expect("room");
    for round in 0..7 {
        let told = place.apply(SETTINGS, "eth3", &|_| ()).expect("it lives").expect("it runs");
        assert_eq!(told.state, RunState::Committed, "round {round}: {}", told.why);
        let back = place.revert(&told.id).expect("it goes back");
        assert_eq!(back.state, RunState::Reverted, "round {round}: {}", back.why);
        assert_eq!(place.run(0).state, RunState::Stuck);
    }
    // Counted in the log: each process begins with what it says.
    assert_eq!(place.run(0).tries, 4);
    // Asked for, it is tried as often as somebody asks.
    let told = place.recover().expect("it is tried");
    assert_eq!(told[0].state, RunState::Stuck);
    assert!(told[0].why.contains("was stuck after 4 tries"), "{}", told[0].why);
    let declined = place.revert(&id).expect_err("its image is spoilt");
    assert_eq!(declined.exit, Exit::Stuck, "{declined}");
    assert_eq!(place.run(0).tries, 6);
    place.store.put(&image, &whole).expect("room");
    let told = place.apply(SETTINGS, "eth3", &|_| ()).expect("it lives").expect("it runs");
    assert_eq!((told.state, place.run(0).state), (RunState::Committed, RunState::Stuck));
    let told = place.revert(&id).expect("it goes back");
    assert_eq!(told.state, RunState::Reverted, "{}", told.why);
    assert_eq!(place.firmware(), ("14.32.1010".to_owned(), None));
}

#[test]
fn what_the_log_cannot_count_is_not_tried_in_passing() {
    let place = interrupted();
    place.store.fill();
    let calls = || place.run(0).tries;
    let declined = place.apply(SETTINGS, "eth3", &|_| ()).expect("it lives").expect_err("full");
    assert_eq!((declined.exit, calls()), (Exit::Failed, 0), "{declined}");
    assert_eq!(place.run(0).state, RunState::Running, "nothing was tried");
    // Asked for, what is to be put back waits for no disk.
    let told = place.recover().expect("it is tried");
    assert_eq!(told[0].state, RunState::Reverted, "{}", told[0].why);
    assert_eq!(place.firmware(), ("14.32.1010".to_owned(), None));
}
