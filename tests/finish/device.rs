//! Which device it is, which ports are its, and what is done to it on its way back.

use std::collections::BTreeSet;

use agent::{
    fault::Kind,
    firmware::{device, restart},
    guard,
    host::{
        nic,
        sim::{self, Machine, Quirk, Sim},
    },
    log::RunState,
    plan::firmware::{FirmwareAction, Which},
    runs::hazards,
};
use firmware_catalog::{Act, act::Deed};
use playbooks::vocabulary::Disruption;
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
    let seen = agent::inventory::take(&*place.sim, Some("eth1")).expect("an inventory");
    let facts = seen.nic("eth1").expect("its facts");
    let ground = hazards::Ground { nic: &nic, facts, around: None };
    assert!(hazards::acts_back(&plan, &ground).contains(&reinit));
    assert!(hazards::acts_of(&run, &ground).contains(&reinit));
}

/// The names of a device's ports.
fn ports(sim: &Sim) -> Result<BTreeSet<String>, agent::fault::Fault> {
    let nic = nic::find(sim, "eth1").expect("a NIC");
    Ok(device::of(sim, &nic)?.ports.into_iter().map(|port| port.name).collect())
}

/// One card in two slots, as those for two processors are; only its board tells a serial number.
fn over_two_slots() -> Machine {
    let mut machine = quiet_machine();
    for nic in &mut machine.nics {
        let pci = nic.pci.as_mut().expect("a PCI function");
        pci.serial = None;
        pci.board_serial = Some("MT2041X00001".to_owned());
    }
    let other = machine.nics[1].pci.as_mut().expect("a PCI function");
    other.address = "0000:af:00.0".to_owned();
    machine.nics[1].up = true;
    machine
}

#[test]
fn firmware_and_guard_know_the_same_ports() {
    let sim = Sim::new(over_two_slots());
    let both = BTreeSet::from(["eth1".to_owned(), "eth2".to_owned()]);
    assert_eq!(ports(&sim).expect("its ports"), both);
    let nic = nic::find(&sim, "eth1").expect("a NIC");
    let users = guard::look_for(&sim, &[nic], Disruption::NicReset);
    let told: Vec<String> = users.holders().iter().map(|holder| format!("{holder:?}")).collect();
    assert!(told.iter().any(|holder| holder.contains("eth2 is another port")), "{told:?}");
}

/// A function of the same model that tells nothing may be a port of the card.
#[test]
fn a_port_that_cannot_be_told_apart_is_no_other_card() {
    let mut machine = over_two_slots();
    machine.nics[1].pci.as_mut().expect("a PCI function").versions.clear();
    let fault = ports(&Sim::new(machine.clone())).expect_err("it has no devlink");
    assert_eq!(fault.kind, Kind::Denied, "{fault}");
    assert!(fault.cause.contains("0000:af:00.0"), "{fault}");
    // Nor is one that a guest has.
    machine.nics.truncate(1);
    let file = |name: &str| format!("/sys/bus/pci/devices/0000:af:00.0/{name}");
    for (name, text) in [("class", "0x020000\n"), ("vendor", "0x15b3\n"), ("device", "0x1015\n")] {
        machine.files.insert(file(name), text.to_owned());
    }
    let fault = ports(&Sim::new(machine.clone())).expect_err("nobody here has it");
    assert_eq!(fault.kind, Kind::Denied, "{fault}");
    // Another model is.
    machine.files.insert(file("device"), "0x1017\n".to_owned());
    assert_eq!(ports(&Sim::new(machine)).expect("its ports"), BTreeSet::from(["eth1".to_owned()]));
}

/// A card without any serial number is known by its place, its model and its ports' MACs.
#[test]
fn a_card_without_a_serial_number_is_not_taken_for_another() {
    let mut machine = quiet_machine();
    for nic in &mut machine.nics {
        let pci = nic.pci.as_mut().expect("a PCI function");
        pci.serial = None;
        pci.versions.remove("fw.psid");
    }
    let sim = Sim::new(machine.clone());
    let found = device::of(&sim, &nic::find(&sim, "eth1").expect("a NIC")).expect("a device");
    assert_eq!(found.id.ids.as_deref(), Some("15b3:1015 0000:0000"));
    let mut action = action(&Place::new(quiet_machine()));
    (action.device, action.ports) = (found.id, found.ports);
    assert!(device::look(&sim, &action).is_ok());
    // Another card in its place.
    let sim = Sim::new(machine.clone());
    for (nic, mac) in [("eth1", "52:54:00:00:00:22"), ("eth2", "52:54:00:00:00:23")] {
        sim.foreign(&sim::Act::Replace { nic: nic.to_owned(), mac: mac.to_owned() });
    }
    let fault = device::look(&sim, &action).expect_err("other MACs");
    assert_eq!(fault.kind, Kind::Gone, "{fault}");
    assert!(fault.cause.contains("52:54:00:00:00:22"), "{fault}");
    // Another model.
    for nic in &mut machine.nics {
        nic.pci.as_mut().expect("a PCI function").device = 0x1017;
    }
    let fault = device::look(&Sim::new(machine), &action).expect_err("another model");
    assert_eq!(fault.kind, Kind::Gone, "{fault}");
    assert!(fault.cause.contains("15b3:1017"), "{fault}");
}
