//! What is done to a device on its way back, and to which.

use agent::{
    fault::Kind,
    firmware::restart,
    host::sim::{Machine, Quirk, Sim},
    log::RunState,
    plan::firmware::{FirmwareAction, Which},
    runs::hazards,
};
use firmware_catalog::{Act, act::Deed};
use tests::firmware::quiet_machine;

use crate::place::{FLASHES, Place};

fn with(quirks: &[Quirk]) -> Machine {
    let mut machine = quiet_machine();
    machine.nics[0].quirks = quirks.to_vec();
    machine
}

/// The action of a run that was interrupted by its restart.
fn action(place: &Place) -> FirmwareAction {
    place.dies_at(FLASHES, "restarts into");
    place.run(0).firmware.expect("it began").action
}

#[test]
fn a_device_that_is_busy_is_asked_again_and_its_driver_is_left_alone() {
    let place = Place::new(quiet_machine());
    let action = action(&place);
    let busy = Sim::new(with(&[Quirk::Busy { on: "reload".to_owned(), tries: 1 }]));
    let fault = restart::restart(&busy, &action, Which::Old, "eth1").expect_err("it is busy");
    assert_eq!(fault.kind, Kind::Busy, "{fault}");
    // A whole run meets it both ways.
    let place = Place::new(with(&[Quirk::Busy { on: "reload".to_owned(), tries: 3 }]));
    let told = place.apply(FLASHES, "eth1", &|_| ()).expect("it lives").expect("it runs");
    assert_eq!(told.state, RunState::Reverted, "{}", told.why);
    assert_eq!(place.firmware(), ("14.32.1010".to_owned(), None));
}

#[test]
fn the_driver_is_started_again_where_the_device_runs_what_it_stores() {
    let place = Place::new(quiet_machine());
    let action = action(&place);
    let at_rest = Sim::new(with(&[Quirk::ActivatesNewOnly]));
    let performed = restart::restart(&at_rest, &action, Which::Old, "eth1").expect("it restarts");
    assert_eq!(performed, ["driver_reinit"]);
    let forward = restart::restart(&at_rest, &action, Which::New, "eth1").expect_err("refused");
    assert_eq!(forward.kind, Kind::Unsupported, "{forward}");
    // One that runs something else is not: that would change nothing.
    let mut machine = with(&[Quirk::ActivatesNewOnly]);
    for nic in &mut machine.nics {
        let pci = nic.pci.as_mut().expect("a PCI function");
        pci.versions.insert("fw.version".to_owned(), "14.32.1900".to_owned());
    }
    let other = Sim::new(machine);
    let fault = restart::restart(&other, &action, Which::Old, "eth1").expect_err("refused");
    assert_eq!(fault.kind, Kind::Unsupported, "{fault}");
    // Ports that an activation did not bring back come with the driver.
    let place = Place::new(with(&[Quirk::ActivationDead, Quirk::ActivatesNewOnly]));
    let told = place.apply(FLASHES, "eth1", &|_| ()).expect("it lives").expect("it runs");
    assert_eq!(told.state, RunState::Reverted, "{}", told.why);
    assert_eq!(place.firmware(), ("14.32.1010".to_owned(), None));
}

/// Planned or put back, a hazard of each act is weighed.
#[test]
fn starting_the_driver_again_is_among_the_acts_that_hazards_are_held_against() {
    let place = Place::new(quiet_machine());
    place.dies_at(FLASHES, "restarts into");
    let run = place.run(0);
    let plan = agent::runs::plan_of(&run, &place.store).expect("its plan");
    let nic = agent::host::nic::find(&*place.sim, "eth1").expect("a NIC");
    let reinit = Act::Do(Deed::DriverReinit);
    assert!(hazards::acts_back(&plan, &nic).contains(&reinit));
    assert!(hazards::acts_of(&run, &nic).contains(&reinit));
}
