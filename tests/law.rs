//! The law as runs meet it: what a run on a simulated machine is asked as, which facts the policies see, and
//! what the log keeps of both.

// Keys and files are the tests' own.
#![allow(clippy::disallowed_methods)]

#[path = "law/alone.rs"]
mod alone;
#[path = "law/back.rs"]
mod back;
#[path = "law/deeds.rs"]
mod deeds;
#[allow(dead_code, unreachable_pub)] // not all of it is wanted here
#[path = "approvals/keys.rs"]
mod keys;
#[path = "law/place.rs"]
mod place;
#[path = "law/restart.rs"]
mod restart;
#[path = "law/said.rs"]
mod said;
#[path = "law/shared.rs"]
mod shared;
#[path = "law/stages.rs"]
mod stages;
#[path = "law/waits.rs"]
mod waits;

use agent::{
    log::{Fact, RunState, office::Decision},
    runs::Exit,
};
use place::{Place, Wish};

/// The decisions of the last run, in order.
fn decisions(place: &Place) -> Vec<Decision> {
    let entries = place.last().entries;
    let decision = |entry: agent::log::Entry| match entry.fact {
        Fact::Decision(decision) => Some(decision),
        _ => None,
    };
    entries.into_iter().filter_map(decision).collect()
}

/// Hazards are overridden throughout: none can hurt a simulated machine.
fn asked(place: &Place) -> Vec<(String, bool)> {
    let decisions = decisions(place).into_iter().filter(|d| d.action != "override-hazard");
    decisions.map(|decision| (decision.action, decision.allowed)).collect()
}

fn facts(decision: &Decision) -> &serde_json::Value {
    &decision.context["request"]["facts"]
}

#[test]
fn a_run_that_flashes_and_resets_is_asked_as_both_and_told_what_it_flashes() {
    let place = Place::new("");
    assert_eq!(place.apply(&Wish::firmware()).expect("a run").state, RunState::Committed);
    let all: Vec<(String, bool)> =
        ["apply", "flash", "reset"].map(|action| (action.to_owned(), true)).into();
    // When it begins, and again before its stage of settings, before the flash, before the restart, and before the
    // settings beside the firmware.
    assert_eq!(asked(&place), vec![all; 5].concat());
    let verdicts: Vec<String> =
        decisions(&place)[..3].iter().map(|d| facts(d)["catalog"].to_string()).collect();
    // It runs the version before the golden one, and the golden one is flashed.
    assert_eq!(verdicts, ["\"drifted\"", "\"golden\"", "\"drifted\""]);
}

#[test]
fn a_run_of_settings_alone_is_asked_as_apply() {
    let place = Place::new("");
    assert_eq!(place.apply(&Wish::settings()).expect("a run").state, RunState::Committed);
    // When it begins, and again before its one stage writes.
    assert_eq!(asked(&place), [("apply".to_owned(), true), ("apply".to_owned(), true)]);
}

#[test]
fn a_site_forbids_flashing_and_the_run_with_it() {
    for action in ["flash", "reset", "apply"] {
        let place = Place::new(&format!(
            "@id(\"not-here\") forbid (principal, action == Action::\"{action}\", resource);"
        ));
        let declined = place.apply(&Wish::firmware()).expect_err("it is refused");
        assert_eq!(
            (declined.rule.as_str(), declined.exit),
            ("not-here", Exit::Refused),
            "{action}"
        );
        assert_eq!(place.last().state, RunState::Refused);
    }
}

#[test]
fn what_cannot_be_put_back_is_asked_for_by_name() {
    let mut wish = Wish::firmware();
    wish.no_way_back();
    let place = Place::new(
        "@id(\"always-back\") forbid (principal, action == Action::\"no-way-back\", resource);",
    );
    let declined = place.apply(&wish).expect_err("it is refused");
    assert_eq!(declined.rule, "always-back");
    let last = asked(&place).pop();
    assert_eq!(last, Some(("no-way-back".to_owned(), false)));
    // Where there is a way back, nothing is overridden by the flag.
    let mut wish = Wish::firmware();
    wish.offer.no_way_back = true;
    assert_eq!(place.apply(&wish).expect("a run").state, RunState::Committed);
}

#[test]
fn a_catalog_that_does_not_load_is_unknown_to_policies() {
    let known = "@id(\"known\") forbid (principal, action == Action::\"revert\", resource) \
                 when { context.catalog == Catalog::\"unknown\" };";
    let mut place = Place::new(known);
    place.apply(&Wish::firmware()).expect("a run");
    place.catalog = None;
    assert_eq!(place.revert().expect_err("it is refused").rule, "known");
    place.catalog = Some(Wish::firmware().catalog);
    assert_eq!(place.revert().expect("it goes back").state, RunState::Reverted);
}

#[test]
fn runs_committed_today_are_counted_from_the_log_and_tomorrow_anew() {
    let twice = "@id(\"twice\") forbid (principal, action == Action::\"apply\", resource) \
                 unless { context has runs_today && context.runs_today < 2 };";
    let place = Place::new(twice);
    for _ in 0..2 {
        assert_eq!(place.apply(&Wish::settings()).expect("a run").state, RunState::Committed);
        assert_eq!(place.revert().expect("it goes back").state, RunState::Reverted);
    }
    assert_eq!(place.apply(&Wish::settings()).expect_err("a third").rule, "twice");
    let seen = decisions(&place);
    assert_eq!(facts(&seen[0])["runs-today"], 2);
    assert!(facts(&seen[0]).get("hosts-today").is_none(), "other hosts are the fleet's to count");
    place.wait_hours(24);
    assert_eq!(place.apply(&Wish::settings()).expect("a run").state, RunState::Committed);
}
