//! Every planted fault of a firmware stage: how each ends, none of them a lie. What is refused beforehand
//! is in `refused/`.

use std::sync::Arc;

use agent::{
    engine::Telling,
    host::{
        Host,
        sim::{Blow, Moment, Quirk, Sim, SimMeter, SimReach},
    },
    log::{Fact, History, RunRecord, RunState, firmware::FirmwareStep},
    plan::firmware::Image,
    rehearsal::{Door, Ending, Fall, Shelf, Stage, hush_injected_crashes},
    runs::{
        self, Apply, Back, Declined, Desk, Exit, Meters, Outcome,
        hazards::{Overrides, Terms},
    },
    store::{Store, sim::SimStore},
};
use playbooks::Playbook;
use tests::firmware::{FIRMWARE, HURTS, MENDS, known, quiet_machine};

fn playbook(source: &str) -> Playbook {
    playbooks::parse::parse(source.as_bytes()).expect("a playbook")
}

fn stage(source: &str, quirks: Vec<Quirk>) -> Stage {
    let (mut machine, shelf) = (quiet_machine(), tests::firmware::read(FIRMWARE));
    machine.nics[0].quirks = quirks;
    Stage {
        machine,
        playbook: playbook(source),
        nic: "eth1".to_owned(),
        seed: 7,
        shelf,
        sysctls: Vec::new(),
    }
}

/// How it ended and why, and whether the machine is as it was.
fn end(stage: &Stage) -> (RunState, String, bool) {
    let before = known(Sim::new(stage.machine.clone()).machine());
    let told = stage.play(&[], &|_| ());
    let record = told.record.unwrap_or_else(|| panic!("no run: {:?}", told.ending));
    (record.state, record.why, known(told.machine) == before)
}

#[test]
fn planted_faults_end_reverted_with_the_devices_own_words() {
    for (quirk, words) in [
        (Quirk::FlashFails { percent: 50 }, "flash erase failed"),
        (Quirk::FlashLies, "stores 14.32.1010"),
        (Quirk::DowngradeRefused, "security version of the image is below the device's"),
        (Quirk::ActivatesOld, "runs 14.32.1010"),
        (Quirk::ActivationDead, "the device did not come back"),
        (Quirk::Busy { on: "flash".to_owned(), tries: 99 }, "EBUSY"),
        (Quirk::Busy { on: "reload".to_owned(), tries: 17 }, "EBUSY"),
    ] {
        let (state, why, as_before) = end(&stage(MENDS, vec![quirk.clone()]));
        println!("{quirk:?}: {state:?}, as before: {as_before}: {why}");
        assert_eq!(state, RunState::Reverted, "{quirk:?}: {why}");
        assert!(why.contains(words), "{quirk:?}: {why}");
        assert!(as_before, "{quirk:?}: {why}");
    }
}

#[test]
fn a_device_that_is_busy_for_a_while_is_asked_again() {
    for on in ["flash", "reload"] {
        let busy = Quirk::Busy { on: on.to_owned(), tries: 3 };
        let (state, why, _) = end(&stage(MENDS, vec![busy]));
        assert_eq!(state, RunState::Committed, "{on}: {why}");
    }
}

/// The way back is an image that the device will not take any more: it is said, loudly, and everything
/// else is put back.
#[test]
fn a_way_back_that_the_device_refuses_ends_stuck_with_what_to_do() {
    let stage = stage(HURTS, vec![Quirk::DowngradeRefused]);
    let before = known(Sim::new(stage.machine.clone()).machine());
    let told = stage.play(&[], &|_| ());
    let record = told.record.expect("a run");
    assert_eq!(record.state, RunState::Stuck, "{}", record.why);
    assert!(record.why.contains("not back on firmware 14.32.1010"), "{}", record.why);
    assert!(record.why.contains("downgrade refused"), "{}", record.why);
    assert!(
        record.by_hand.iter().any(|line| line.starts_with("devlink dev flash pci/0000:3b:00.0"))
    );
    let now = known(told.machine);
    assert!(now.placed.is_empty(), "an image was left in the firmware path");
    for (now, then) in now.nics.iter().zip(&before.nics) {
        assert_eq!((&now.rings, &now.coalesce, now.mtu), (&then.rings, &then.coalesce, then.mtu));
    }
}

#[test]
fn without_a_way_back_it_begins_only_where_that_is_accepted() {
    let mut stage = stage(HURTS, Vec::new());
    let running = stage.shelf.offer.images[1].clone();
    stage.shelf.offer.images.retain(|image| *image != running);
    let told = stage.play(&[], &|_| ());
    assert_eq!(told.ending, Ending::Declined("no-way-back".to_owned()));
    stage.shelf.offer.no_way_back = true;
    let told = stage.play(&[], &|_| ());
    let record = told.record.expect("a run");
    assert_eq!(record.state, RunState::Stuck, "{}", record.why);
    assert!(record.why.contains("no image of 14.32.1010 is stored"), "{}", record.why);
}

fn request(playbook: &str, shelf: &Shelf) -> Apply {
    Apply {
        hazards: Terms { catalog: shelf.catalog.clone(), overrides: Overrides::All },
        firmware: shelf.offer.clone(),
        ..Apply::plain(self::playbook(playbook), "eth1", Some("192.0.2.2:862".to_owned()))
    }
}

struct Place {
    sim: Arc<Sim>,
    store: SimStore,
    shelf: Shelf,
}

impl Place {
    fn new() -> Place {
        let shelf = tests::firmware::read(FIRMWARE);
        let store = SimStore::new(3);
        for image in &shelf.images {
            agent::firmware::images::import(&store, image).expect("room");
        }
        Place { sim: Arc::new(Sim::new(quiet_machine())), store, shelf }
    }

    fn apply(&self, playbook: &str) -> Result<RunRecord, Declined> {
        self.apply_told(playbook, &|_| ())
    }

    fn apply_told(&self, playbook: &str, tell: &dyn Fn(&Telling)) -> Result<RunRecord, Declined> {
        let mut meter = SimMeter::new(Arc::clone(&self.sim), "eth1", 7);
        let request = request(playbook, &self.shelf);
        let told =
            self.at_desk(tell, |desk| runs::apply(desk, &request, Meters::alone(&mut meter)))?;
        match told {
            Outcome::Ran(record) => Ok(*record),
            Outcome::AlreadyRight(_) => panic!("nothing to do"),
        }
    }

    fn at_desk<T>(
        &self,
        tell: &dyn Fn(&Telling),
        act: impl FnOnce(&Desk) -> Result<T, Declined>,
    ) -> Result<T, Declined> {
        let epoch = self.store.take_epoch()?;
        let (host, store): (&dyn Host, &dyn Store) = (&*self.sim, &self.store);
        let law = agent::law::Law::shipped(0);
        let reach = SimReach { sim: Arc::clone(&self.sim) };
        act(&Desk { host, store, epoch, uid: 0, law: &law, stop: &|| None, tell, reach: &reach })
    }

    fn running(&self) -> Vec<String> {
        let machine = self.sim.machine();
        let pci = machine.nics.iter().filter_map(|nic| nic.pci.clone());
        pci.map(|pci| pci.versions["fw.version"].clone()).collect()
    }
}

#[test]
fn the_same_firmware_is_not_tried_for_ever() {
    let place = Place::new();
    for _ in 0..3 {
        assert_eq!(place.apply(HURTS).expect("a run").state, RunState::Reverted);
    }
    let declined = place.apply(HURTS).expect_err("a loop is broken");
    assert_eq!((declined.rule.as_str(), declined.exit), ("firmware-attempts", Exit::Refused));
    // Another version is another matter.
    assert_eq!(place.apply(MENDS).expect("a run").state, RunState::Committed);
}

#[test]
fn a_committed_firmware_goes_back_on_request() {
    let place = Place::new();
    let before = known(place.sim.machine());
    let record = place.apply(MENDS).expect("a run");
    assert_eq!(record.state, RunState::Committed, "{}", record.why);
    let firmware = record.firmware.expect("a firmware stage");
    assert_eq!(firmware.activated.as_deref(), Some("14.31.1014"));
    assert_eq!(firmware.performed, ["driver_reinit", "fw_activate"]);
    assert!(firmware.outage.expect("it was measured").ms >= 1_000);
    assert_eq!(place.running(), ["14.31.1014"; 2], "both ports of the card");
    let by = agent::law::Law::shipped(0).loaded().asker.clone();
    let asked = Back { hazards: Overrides::All, ..Back::plain("asked for", by) };
    let reverted = place.at_desk(&|_| (), |desk| runs::revert(desk, "last", &asked, None));
    let reverted = reverted.expect("it goes back");
    assert_eq!(reverted.state, RunState::Reverted, "{}", reverted.why);
    // What another process does is measured, too; and each port of the card by itself.
    let measured = reverted.entries.iter().find_map(|entry| match &entry.fact {
        Fact::Firmware { step: FirmwareStep::Returned { outage, ports, .. }, .. } => {
            Some((outage.clone(), ports.clone()))
        }
        _ => None,
    });
    let (outage, ports) = measured.expect("it is back");
    assert!(outage.expect("it was measured").ms >= 1_000);
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["eth1", "eth2"]);
    assert!(ports.iter().all(|port| port.there_ms.is_some_and(|ms| ms >= 1_000)), "{ports:?}");
    assert!(ports[0].carrier_ms >= ports[0].there_ms && !ports[0].dark, "{ports:?}");
    // It was down.
    assert_eq!((ports[1].carrier_ms, ports[1].dark), (None, false));
    assert!(ports[1].unmeasured.is_some(), "{ports:?}");
    assert!(known(place.sim.machine()) == before, "the machine is not as it was");
}

/// What is stored is what was imported: an image altered on disk after the run began is not flashed.
#[test]
fn an_image_that_is_altered_during_the_run_is_not_flashed() {
    let place = Place::new();
    let golden: &Image = &place.shelf.offer.images[0];
    let name = format!("firmware/{}", golden.sha256);
    let alter = |telling: &Telling| {
        if let Telling::Begun { .. } = telling {
            place.store.put(&name, b"version: 9.9.9\n").expect("room");
        }
    };
    let record = place.apply_told(MENDS, &alter).expect("a run");
    assert_eq!(record.state, RunState::Reverted, "{}", record.why);
    assert!(record.why.contains("its bytes digest to"), "{}", record.why);
    assert_eq!(place.running(), ["14.32.1010"; 2]);
}

/// The log's words for each step, so that a reader of a crashed run knows where it was.
#[test]
fn every_step_is_in_the_log_before_it_is_taken() {
    let place = Place::new();
    place.apply(HURTS).expect("a run");
    let history = History::fold(&place.store.entries().expect("a log")).expect("a whole log");
    let steps: Vec<String> = history.runs[0]
        .entries
        .iter()
        .filter_map(|entry| {
            serde_json::to_value(&entry.fact).ok()?["step"].as_str().map(str::to_owned)
        })
        .collect();
    let wanted =
        ["intent", "flashing", "flashed", "activating", "activated", "activating", "returned"];
    assert_eq!(steps, wanted);
}

/// The stage of a run that is not all back, and what the log holds of it.
fn left(record: &RunRecord) -> agent::log::firmware::Left {
    record.firmware.as_ref().and_then(|firmware| firmware.left.clone()).expect("something is left")
}

/// An image that stays where the kernel looks for it is that, and no firmware that is not back.
#[test]
fn a_firmware_path_that_cannot_be_cleared_is_told_as_that_and_cleared_by_recover() {
    let mut place = Place::new();
    let mut machine = quiet_machine();
    machine.nics[0].quirks = vec![Quirk::FlashLies, Quirk::Unremovable { tries: 7 }];
    place.sim = Arc::new(Sim::new(machine.clone()));
    let record = place.apply(MENDS).expect("a run");
    assert_eq!(record.state, RunState::Stuck, "{}", record.why);
    assert!(!record.why.contains("not back on firmware"), "{}", record.why);
    assert!(record.why.contains("left where the kernel looks for firmware"), "{}", record.why);
    let what = left(&record);
    assert_eq!((what.firmware, what.ports, what.path.is_some()), (None, None, true));
    assert_eq!(record.by_hand.len(), 1, "{:?}", record.by_hand);
    assert!(record.by_hand[0].contains("rm -rf /lib/firmware/nicmend"), "{:?}", record.by_hand);
    let recovered = place.at_desk(&|_| (), runs::recover).expect("it is recovered");
    assert_eq!(recovered[0].state, RunState::Reverted, "{}", recovered[0].why);
    let before = known(Sim::new(machine).machine());
    assert!(known(place.sim.machine()) == before, "the machine is not as it was");
}

#[test]
fn a_device_that_tells_no_running_version_is_not_restarted() {
    let (state, why, as_before) = end(&stage(MENDS, vec![Quirk::SilentWhilePending]));
    assert_eq!(state, RunState::Reverted, "{why}");
    assert!(why.contains("it runs nothing that it tells"), "{why}");
    assert!(as_before, "{why}");
}

/// Nothing is flashed, so nothing needs an image to go back by.
#[test]
fn an_image_that_cannot_be_placed_ends_reverted_also_without_a_way_back() {
    for way_back in [true, false] {
        for quirks in [vec![Quirk::PlaceFails], vec![Quirk::PlaceFails, Quirk::StoresUntold]] {
            let mut stage = stage(MENDS, quirks.clone());
            if !way_back {
                let running = stage.shelf.offer.images[1].clone();
                stage.shelf.offer.images.retain(|image| *image != running);
                stage.shelf.offer.no_way_back = true;
            }
            let (state, why, as_before) = end(&stage);
            assert_eq!(state, RunState::Reverted, "{quirks:?}: {why}");
            assert!(why.contains("ENOSPC"), "{quirks:?}: {why}");
            assert!(as_before, "{quirks:?}: {why}");
        }
    }
}

/// A run that was killed between its flash and its restart is found by its log, whoever finds it.
#[test]
fn a_flashed_firmware_is_never_left_waiting_for_a_boot() {
    hush_injected_crashes();
    let stage = stage(MENDS, Vec::new());
    let calls = stage.play(&[], &|_| ()).host_calls;
    let mut waiting = 0;
    for call in 0..calls {
        let fall = Fall { door: Door::Host, call, moment: Moment::After, blow: Blow::Crash };
        let told = stage.play(&[fall], &|_| ());
        let stored = told.machine.nics.iter().filter_map(|nic| nic.pci.as_ref());
        waiting += stored.filter(|pci| !pci.stored.is_empty()).count();
    }
    assert_eq!(waiting, 0, "of {calls} crashes");
}

/// A driver that rounds in silence, and a process that dies before it could look: what is there is of its making,
/// and goes back.
#[test]
fn a_rounded_value_that_nobody_saw_is_put_back() {
    hush_injected_crashes();
    let source = "apiVersion: nicmend/v1\nkind: Playbook\n\
        metadata: { name: rounded, version: 1.0.0, summary: An odd ring }\n\
        stages: [{ name: one, settings: { ring.rx: 3000 } }]\n\
        guardrails: { latency.p50: { no-worse-than: 100% } }\n\
        verify: { transport: udp, settle: 1s, window: 1s, rate: 1000, payload: 64 }\n";
    let stage = stage(source, vec![Quirk::PowerOfTwo { setting: "ring.rx".to_owned() }]);
    let before = known(Sim::new(stage.machine.clone()).machine());
    let whole = stage.play(&[], &|_| ());
    for call in 0..whole.host_calls {
        let (door, moment, blow) = (Door::Host, Moment::After, Blow::Crash);
        let told = stage.play(&[Fall { door, call, moment, blow }], &|_| ());
        let Some(record) = told.record.filter(|_| told.recovered) else { continue };
        assert!(record.foreign.is_empty(), "call {call}: {:?}", record.foreign);
        assert!(known(told.machine) == before, "call {call}: {}", record.why);
    }
}
