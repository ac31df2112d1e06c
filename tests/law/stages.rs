//! A baseline takes minutes: what has become of freeze, phase and policies when a stage is about to write.

use std::{cell::Cell, time::Duration};

use agent::{
    engine::Telling,
    host::Host,
    log::{Fact, RunRecord, RunState},
    run::Point,
    runs::{Declined, exit_of},
    store::Store,
};

use crate::{
    decisions, facts,
    place::{Place, Wish},
};

const TWO: &str = "apiVersion: nicmend/v1
kind: Playbook
metadata: { name: two, version: 1.0.0, summary: Less moderation }
stages:
  - { name: driver, settings: { coalesce.rx-usecs: 4 } }
  - { name: kernel, settings: { sysctl.net.ipv4.tcp_autocorking: 0 } }
guardrails: { latency.p50: { no-worse-than: 5% } }
verify: { transport: udp, settle: 5s, window: 1s, rate: 1000, payload: 64 }
";

/// `meanwhile` happens when this is first measured. The machine is to be as it was.
fn measured(place: &Place, at: Point, meanwhile: &dyn Fn()) -> Result<RunRecord, Declined> {
    let before = place.sim.machine();
    let begun = Cell::new(false);
    let tell = |telling: &Telling| {
        if matches!(telling, Telling::Measuring { point, .. } if *point == at)
            && !begun.replace(true)
        {
            meanwhile();
        }
    };
    let record = place.apply_told(&Wish::of(TWO), &tell);
    assert!(begun.get());
    assert!(place.sim.machine() == before, "the machine is not as it was");
    record
}

fn wrote(record: &RunRecord) -> bool {
    record.entries.iter().any(|entry| matches!(entry.fact, Fact::Wrote { .. }))
}

#[test]
fn a_host_that_is_frozen_during_the_baseline_is_not_written_to() {
    let place = Place::new("");
    let freeze = || place.store.put("frozen", b"stop everything").expect("room");
    let record = measured(&place, Point::Baseline, &freeze).expect("it begins");
    assert_eq!(
        (record.state, record.rule.as_str()),
        (RunState::Refused, "frozen"),
        "{}",
        record.why
    );
    assert_eq!(exit_of(&record) as u8, 4);
    assert!(record.why.contains("frozen") && !wrote(&place.last()));
    let last = decisions(&place).pop().expect("a decision");
    assert_eq!((last.allowed, last.policies), (false, vec!["frozen".to_owned()]));
}

#[test]
fn one_that_is_frozen_after_its_first_stage_goes_back() {
    let place = Place::new("");
    let freeze = || place.store.put("frozen", b"stop everything").expect("room");
    let record = measured(&place, Point::Stage(0), &freeze).expect("it begins");
    assert_eq!(record.state, RunState::Reverted, "{}", record.why);
    assert_eq!(exit_of(&record) as u8, 3);
    assert!(record.why.contains("frozen") && wrote(&place.last()));
}

#[test]
fn a_venue_whose_auction_begins_meanwhile_is_left_alone() {
    let mut place = Place::new("");
    place.config = Some("venues: [SSE]\n");
    // The machine wakes on a Monday at 09:30 in Shanghai: to Tuesday, 07:30.
    place.wait_hours(22);
    let open = || place.sim.wait(Duration::from_secs(2 * 3600 - 10 * 60));
    let record = measured(&place, Point::Baseline, &open).expect("it begins");
    assert_eq!(
        (record.state, record.rule.as_str()),
        (RunState::Refused, "auction"),
        "{}",
        record.why
    );
}

/// What is left takes less long than all of it, and is what is held against the boundary.
#[test]
fn every_stage_is_asked_again_with_what_is_left() {
    let mut place = Place::new("");
    place.config = Some("venues: [SSE]\n");
    place.wait_hours(7);
    let record = place.apply(&Wish::of(TWO)).expect("a run");
    assert_eq!(record.state, RunState::Committed, "{}", record.why);
    let decided = decisions(&place);
    let apply: Vec<u64> = decided
        .iter()
        .filter(|decision| decision.action == "apply" && decision.allowed)
        .map(|decision| facts(decision)["run-s"].as_u64().expect("seconds"))
        .collect();
    assert_eq!(apply.len(), 3, "{apply:?}");
    assert!(apply[0] > apply[1] && apply[1] > apply[2], "{apply:?}");
    // Each before the intent that it is about: one sync makes both durable.
    let entries = place.last().entries;
    let is_intent = |fact: &Fact| matches!(fact, Fact::Intent { .. });
    for (nth, entry) in entries.iter().enumerate().filter(|(_, entry)| is_intent(&entry.fact)) {
        let before = &entries[nth - 1].fact;
        assert!(
            matches!(before, Fact::Decision(decision) if decision.allowed),
            "{before:?} {entry:?}"
        );
    }
}
