//! What the log says without being asked: versions in force, drift; and what begins on a log that somebody has
//! rewritten.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use agent::{
    host::{
        Host,
        sim::{Act, SimMeter},
    },
    law::Law,
    log::{Fact, RunState, fact::Foreign, office::Versions},
    runs::{self, Back, Desk, Exit, Meters},
    store::{
        Store,
        disk::{Access, Disk},
    },
};
use playbooks::Value;

use crate::place::{Place, Wish};

fn versions(place: &Place) -> Versions {
    let entries = place.last().entries;
    let found = entries.into_iter().find_map(|entry| match entry.fact {
        Fact::Versions(versions) => Some(versions),
        _ => None,
    });
    found.expect("what was in force")
}

#[test]
fn every_run_says_what_was_in_force_when_it_began() {
    let mut place = Place::new("");
    place.apply(&Wish::settings()).expect("a run");
    let first = versions(&place);
    assert_eq!(first.nicmend, env!("CARGO_PKG_VERSION"));
    let names: Vec<&str> = first.digests.keys().map(String::as_str).collect();
    assert_eq!(names, ["catalog", "playbooks", "policy"]);
    assert!(first.digests.values().all(|digest| digest.starts_with("sha256:")));
    place.revert().expect("it goes back");
    // The same again, then with another word of the site's each time.
    place.apply(&Wish::settings()).expect("a run");
    assert_eq!(versions(&place), first);
    place.revert().expect("it goes back");
    place.config = Some("venues: [SSE]\n");
    place.wait_hours(7);
    place.catalog = Some(firmware_catalog::Catalog::shipped());
    place.apply(&Wish::settings()).expect("a run");
    let then = versions(&place);
    let changed = |name: &str| then.digests.get(name) != first.digests.get(name);
    assert!(changed("catalog") && changed("configuration") && changed("calendars"));
    assert!(!changed("policy") && !changed("playbooks"), "{then:?}");
}

fn set(place: &Place, value: u32) {
    let act = format!("{{ set: {{ nic: eth1, setting: coalesce.rx-usecs, value: {value} }} }}");
    let act: Act = serde_saphyr::from_str(&act).expect("an act");
    place.sim.foreign(&act);
    assert!(place.sim.foreign_refusals().is_empty(), "{:?}", place.sim.foreign_refusals());
}

/// What the first run's entries say of drift.
fn drift(place: &Place) -> Vec<Vec<Foreign>> {
    let runs = place.history().runs;
    let seen = runs[0].entries.iter().filter_map(|entry| match &entry.fact {
        Fact::DriftSeen { changes, .. } => Some(changes.clone()),
        _ => None,
    });
    seen.collect()
}

#[test]
fn what_somebody_changed_since_a_commit_is_said_once_each_time_it_is_another() {
    let place = Place::new("");
    place.apply(&Wish::settings()).expect("a run");
    assert!(drift(&place).is_empty());
    set(&place, 64);
    let looked = runs::drift::look(&*place.sim, &place.history(), &place.last().nic).len();
    assert_eq!(looked, 1);
    // It is found, and mended; the run that mends it owns the setting from then on.
    place.apply(&Wish::settings()).expect("a run");
    let seen = drift(&place);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0][0].name.as_str(), "coalesce.rx-usecs");
    let values = (&seen[0][0].expected, &seen[0][0].found);
    assert_eq!(values, (&Value::Number(4), &Value::Number(64)));
    let history = place.history();
    let last = history.runs.last().expect("a run");
    assert_eq!(last.state, RunState::Committed);
    assert!(runs::drift::look(&*place.sim, &history, &last.nic).is_empty());
}

/// A state directory on disk, gone with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn on_disk<T>(folder: &Path, place: &Place, act: impl FnOnce(&Desk) -> T) -> T {
    let disk = Disk::open(folder, Access::Write).expect("it opens");
    let (law, host): (Law, &dyn Host) = (Law::shipped(0), &*place.sim);
    let epoch = disk.epoch().expect("an epoch");
    let desk = Desk {
        host,
        store: &disk,
        epoch,
        uid: 0,
        law: &law,
        stop: &|| None,
        tell: &|_| (),
        reach: &agent::measure::Nowhere,
    };
    act(&desk)
}

/// A rewritten log vouches for nothing: no run begins on it. What is committed still goes back.
#[test]
fn nothing_begins_on_a_rewritten_log_and_putting_back_goes_on() {
    let place = Place::new("");
    let folder = std::env::temp_dir().join(format!("nicmend-law-{}", std::process::id()));
    let folder = Folder(folder);
    let apply = |desk: &Desk| {
        let mut meter = SimMeter::new(Arc::clone(&place.sim), "eth1", 7);
        runs::apply(desk, &Wish::settings().request(), Meters::alone(&mut meter))
    };
    let before = place.sim.machine();
    on_disk(&folder.0, &place, apply).expect("a run");
    assert!(place.sim.machine() != before);
    let bundle = folder.0.join("log/tile/entries/000");
    let bytes = std::fs::read(&bundle).expect("the first bundle");
    let at = bytes.windows(13).position(|word| word == b"settings-mend").expect("the playbook");
    let mut forged = bytes;
    forged[at..at + 13].copy_from_slice(b"settings-mess");
    std::fs::write(&bundle, forged).expect("write the bundle");
    let length = on_disk(&folder.0, &place, |desk| desk.store.length().expect("a length"));
    let declined = on_disk(&folder.0, &place, apply).expect_err("nothing begins");
    assert_eq!((declined.rule.as_str(), declined.exit), ("log-unsigned", Exit::Refused));
    on_disk(&folder.0, &place, |desk| {
        assert_eq!(desk.store.length().expect("a length"), length, "not even a word of it");
        let by = desk.law.loaded().asker.clone();
        let record = runs::revert(desk, "last", &Back::plain("asked for", by), None);
        assert_eq!(record.expect("it goes back").state, RunState::Reverted);
    });
    assert!(place.sim.machine() == before, "the machine is not as it was");
}
