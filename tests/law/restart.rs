//! A flash takes minutes: what has become of the phase, and of everything else that policies ask about, when the
//! device is about to restart.

use std::{cell::Cell, sync::Arc, time::Duration};

use agent::{
    engine::Telling,
    host::{
        Host,
        sim::{Quirk, Sim},
    },
    log::{Fact, RunState},
    store::Store,
};

use crate::{
    decisions, facts,
    place::{Place, Wish},
};

/// Applies the golden firmware; `meanwhile` happens when the flash begins.
fn flashed(place: &Place, meanwhile: &dyn Fn()) -> agent::log::RunRecord {
    let before = place.sim.machine();
    let begun = Cell::new(false);
    let tell = |telling: &Telling| {
        if matches!(telling, Telling::Flashing { .. }) && !begun.replace(true) {
            meanwhile();
        }
    };
    let record = place.apply_told(&Wish::firmware(), &tell).expect("it begins");
    assert!(begun.get());
    assert_eq!(record.state, RunState::Reverted, "{}", record.why);
    // To the interfaces' indexes, which a restart would have changed.
    assert!(place.sim.machine() == before, "the machine is not as it was");
    let step = |entry: &agent::log::Entry| {
        serde_json::to_value(&entry.fact).ok()?["step"].as_str().map(str::to_owned)
    };
    let steps: Vec<String> = place.last().entries.iter().filter_map(step).collect();
    assert!(!steps.contains(&"activating".to_owned()), "{steps:?}");
    assert_eq!(steps.last().map(String::as_str), Some("returned"), "{steps:?}");
    record
}

#[test]
fn a_venue_that_opens_meanwhile_turns_it_back_by_flash_without_a_restart() {
    let mut place = Place::new("");
    place.config = Some("venues: [SSE]\n");
    // The machine wakes on a Monday at 09:30 in Shanghai: to Tuesday, 06:30.
    place.wait_hours(21);
    let record = flashed(&place, &|| place.sim.wait(Duration::from_secs(3 * 3600)));
    assert!(record.why.contains("policy refuses apply: continuous"), "{}", record.why);
    let decided = decisions(&place);
    let phases: Vec<(&str, bool)> = decided
        .iter()
        .map(|d| (facts(d)["venues"]["SSE"].as_str().unwrap_or_default(), d.allowed))
        .collect();
    // Apply, flash, reset, and the hazards that are overridden.
    // When it begins, and again before its stage of settings and before the flash.
    assert_eq!(phases[..12], [("closed", true); 12]);
    assert_eq!(phases[12..], [("continuous", false); 4]);
}

#[test]
fn a_host_that_is_frozen_meanwhile_is_not_restarted() {
    let place = Place::new("");
    let record = flashed(&place, &|| place.store.put("frozen", b"look into it").expect("room"));
    assert!(record.why.contains("frozen"), "{}", record.why);
}

/// What it was begun on is not asked for twice: approvals are used up by then, and what is left takes less long.
#[test]
fn what_is_still_allowed_goes_on_and_says_so() {
    let mut place = Place::new("");
    place.config = Some("venues: [SSE]\n");
    place.wait_hours(7);
    let record = place.apply(&Wish::firmware()).expect("a run");
    assert_eq!(record.state, RunState::Committed, "{}", record.why);
    let decided = decisions(&place);
    assert_eq!(decided.len(), 20);
    assert!(decided.iter().all(|decision| decision.allowed));
    let length = |nth: usize| facts(&decided[nth])["run-s"].as_u64().expect("seconds");
    let each: Vec<u64> = (0..5).map(|nth| length(4 * nth)).collect();
    assert!(each.is_sorted_by(|a, b| a > b), "{each:?}");
    let entries = place.last().entries;
    let restarted = entries.iter().position(|entry| {
        serde_json::to_value(&entry.fact).is_ok_and(|fact| fact["step"] == "activating")
    });
    let before = &entries[..restarted.expect("a restart")];
    let decided = before.iter().filter(|entry| matches!(entry.fact, Fact::Decision(_)));
    assert_eq!(decided.count(), 16);
}

/// A busy device may let itself be restarted a minute after the guard has looked.
#[test]
fn a_host_that_is_frozen_while_the_device_is_busy_is_not_restarted_either() {
    let mut place = Place::new("");
    let mut machine = place.sim.machine();
    machine.nics[0].quirks = vec![Quirk::Busy { on: "reload".to_owned(), tries: 12 }];
    place.sim = Arc::new(Sim::new(machine));
    let before = place.sim.machine();
    let busy = Cell::new(false);
    let tell = |telling: &Telling| {
        if let Telling::Note(words) = telling
            && words.contains("asked again")
        {
            busy.set(true);
            place.store.put("frozen", b"look into it").expect("room");
        }
    };
    let record = place.apply_told(&Wish::firmware(), &tell).expect("it begins");
    assert!(busy.get());
    assert_eq!(record.state, RunState::Reverted, "{}", record.why);
    assert!(record.why.contains("frozen"), "{}", record.why);
    // To the interfaces' indexes, which a restart would have changed.
    assert!(place.sim.machine() == before, "the machine is not as it was");
    let firmware = record.firmware.expect("a firmware stage");
    assert_eq!((firmware.outage, firmware.mended_ms), (None, None), "nothing has restarted");
}
