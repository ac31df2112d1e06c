//! Putting a commit back is a run: phases, hazards, approvals and a standby path count for it.

use std::collections::BTreeSet;

use agent::{
    approvals,
    host::Host,
    log::{Fact, RunState},
    plan::HostId,
    runs::{self, Exit, hazards::Overrides},
    store::Store,
};
use firmware_catalog::{
    Catalog,
    catalog::{Part, SiteFile},
};
use policy::{
    approval::{NAMESPACE, Statement, Terms, Way},
    sshsig::People,
};

use crate::{
    decisions, facts,
    keys::{Scratch, public},
    place::{Place, Wish},
};

/// Two people who may approve, at a venue.
const SITE: &str = "venues: [SSE]\npeople:\n  ops-1: { uid: 0, roles: [operator, supervisor] }\n  \
    risk-1: { roles: [approver] }\n  risk-2: { roles: [approver] }\n";

/// A firmware that was committed while the venue was closed; it is Tuesday 10:00 in Shanghai now.
pub(crate) fn trading() -> Place {
    trading_by("")
}

fn trading_by(policies: &str) -> Place {
    let mut place = Place::new(policies);
    place.config = Some(SITE);
    place.wait_hours(7);
    let record = place.apply(&Wish::firmware()).expect("a run");
    assert_eq!(record.state, RunState::Committed, "{}", record.why);
    place.wait_hours(17);
    place
}

#[test]
fn a_disruptive_way_back_waits_for_its_window_which_is_known() {
    let place = trading();
    let declined = place.revert().expect_err("it is refused");
    assert_eq!((declined.rule.as_str(), declined.exit), ("continuous", Exit::Refused));
    assert_eq!(place.last().state, RunState::Committed);
    let opens = place.at_desk(|desk| runs::window(desk, &place.last(), &place.back(desk)));
    // After the last fixed-price auction of the day, at 15:30 in Shanghai.
    let opens = opens.expect("it is known").expect("there is one");
    assert_eq!(opens.to_string(), "2026-01-06T07:30:00Z");
    let wait = opens.as_second() - place.now().as_second();
    place.wait_seconds(u64::try_from(wait).expect("later"));
    assert_eq!(place.revert().expect("it goes back").state, RunState::Reverted);
}

#[test]
fn a_frozen_host_has_no_window() {
    let place = trading();
    place.store.put("frozen", b"look into it").expect("room");
    assert!(place.revert().expect_err("it is refused").rule.contains("continuous"));
    let opens = place.at_desk(|desk| runs::window(desk, &place.last(), &place.back(desk)));
    assert_eq!(opens.expect("it can be told"), None);
}

#[test]
fn two_approvals_of_the_plan_and_a_standby_let_it_go_back_in_trading_once() {
    let mut place = trading();
    let host = approve(&mut place, "law-back", &["risk-1", "risk-2"]);
    let run = place.last();
    // Consent alone does not carry the traffic.
    assert_eq!(place.revert().expect_err("no standby").rule, "continuous");
    let record = place.revert_by(|back| place.with_standby(back)).expect("it goes back");
    assert_eq!(record.state, RunState::Reverted, "{}", record.why);
    let decided = decisions(&place);
    let last = decided.last().expect("a decision");
    assert_eq!(facts(last)["standby"], "free");
    let names: BTreeSet<&String> =
        facts(last)["approvals"].as_object().expect("a map").keys().collect();
    assert_eq!(names.len(), 2);
    let used = |fact: &Fact| matches!(fact, Fact::ApprovalsUsed { .. });
    let entries = place.last().entries;
    assert_eq!(entries.iter().filter(|entry| used(&entry.fact)).count(), 1);
    assert!(entries.iter().any(|entry| matches!(entry.fact, Fact::Standby { .. })));
    let at = jiff::Timestamp::from_second(place.now().as_second()).expect("a time");
    let tally = approvals::tally(
        &place.store,
        &place.registry,
        (&run.plan, &host, &over_there()),
        None,
        at,
    );
    assert!(tally.expect("a tally").1.counted.is_empty(), "they are used up");
}

/// Has these people sign for what `place.revert_by(with_standby)` does with the plan of the last run.
pub(crate) fn approve(place: &mut Place, name: &str, people: &[&str]) -> HostId {
    sign(place, (name, people), &over_there())
}

pub(crate) fn over_there() -> Terms {
    Terms { standby: Some("eth3".to_owned()), ..Terms::plain(Way::Revert) }
}

pub(crate) fn sign(place: &mut Place, (name, people): (&str, &[&str]), terms: &Terms) -> HostId {
    let scratch = Scratch::new(name);
    let keys: Vec<_> =
        people.iter().map(|who| (*who, scratch.key(who, &["ed25519"], ""))).collect();
    let signers: String =
        keys.iter().map(|(who, key)| format!("{who} {}\n", public(key))).collect();
    place.registry.people = People::parse(signers.as_bytes()).expect("people");
    let run = place.last();
    let plan = place.at_desk(|desk| Ok(runs::plan_of(&run, desk.store))).expect("a desk");
    let host = plan.expect("its plan").host;
    for (who, key) in &keys {
        let statement = Statement {
            plan: run.plan.clone(),
            scope: approvals::scope(&host),
            terms: terms.clone(),
            approver: (*who).to_owned(),
            expires: jiff::Timestamp::from_second(place.now().as_second() + 3600).expect("a time"),
        };
        let text = statement.text();
        let signature = scratch.sign(key, NAMESPACE, text.as_bytes(), &[]);
        let (name, sig) = approvals::names(&run.plan, terms, who).expect("names");
        place.store.put(&name, text.as_bytes()).expect("room");
        place.store.put(&sig, &signature).expect("room");
    }
    host
}

/// What was signed for something else does not carry this.
#[test]
fn approvals_count_for_what_they_name_alone() {
    let mut place = trading();
    let people = ["risk-1", "risk-2"];
    for (name, terms) in [
        ("law-forth", Terms { standby: Some("eth3".to_owned()), ..Terms::plain(Way::Apply) }),
        ("law-bare", Terms::plain(Way::Revert)),
    ] {
        sign(&mut place, (name, &people), &terms);
        let declined = place.revert_by(|back| place.with_standby(back)).expect_err(name);
        assert_eq!(declined.rule, "continuous", "{name}");
        assert!(
            facts(decisions(&place).last().expect("a decision"))["approvals"]
                .as_object()
                .is_none_or(|counted| counted.is_empty())
        );
    }
    // What one of them would override is named by neither.
    place.catalog = Some(hazardous());
    sign(&mut place, ("law-hazard", &people), &over_there());
    let hazards = || Overrides::These(vec!["SITE-1".to_owned()]);
    let mended = |back| runs::Back { hazards: hazards(), ..place.with_standby(back) };
    let declined = place.revert_by(mended).expect_err("nobody was shown the hazard");
    assert_eq!(declined.rule, "continuous");
    let overrides = ["SITE-1".to_owned()].into();
    sign(&mut place, ("law-shown", &people), &Terms { overrides, ..over_there() });
    let mended = |back| runs::Back { hazards: hazards(), ..place.with_standby(back) };
    let record = place.revert_by(mended).expect("it goes back");
    assert_eq!(record.state, RunState::Reverted, "{}", record.why);
}

/// By its own log the host has been later than that: neither phase nor expiry is known.
#[test]
fn a_clock_that_was_set_back_opens_nothing() {
    let place = trading();
    let before = place.sim.now().utc_ns;
    place.at_desk(|desk| Ok(desk.say(None, vec![Fact::Thawed { uid: 0 }])?)).expect("it is said");
    // To the evening before, when the venue was closed.
    place.sim.set_clock(before - 17 * 3600 * 1_000_000_000);
    assert_eq!(place.revert().expect_err("it is refused").rule, "clock");
    place.sim.set_clock(before + 14 * 3600 * 1_000_000_000);
    assert_eq!(place.revert().expect("it is evening").state, RunState::Reverted);
}

#[test]
fn whom_the_policies_do_not_let_approve_is_not_counted() {
    let unable = "@id(\"on-leave\") @why(\"risk-2 is on leave\") \
                  forbid (principal == Operator::\"risk-2\", action == Action::\"approve\", resource);";
    let mut place = trading_by(unable);
    approve(&mut place, "law-leave", &["risk-1", "risk-2"]);
    let declined = place.revert_by(|back| place.with_standby(back)).expect_err("one is too few");
    assert_eq!((declined.rule.as_str(), declined.exit), ("continuous", Exit::Refused));
    let decided = decisions(&place);
    let counted = facts(decided.last().expect("a decision"))["approvals"].clone();
    let names: Vec<&String> = counted.as_object().expect("a map").keys().collect();
    assert_eq!(names, ["risk-1"]);
}

#[test]
fn a_hazard_learnt_of_since_stands_in_its_way_and_can_be_overridden_by_name() {
    let mut place = Place::new("");
    assert_eq!(place.apply(&Wish::firmware()).expect("a run").state, RunState::Committed);
    // What was overridden when it began covers its way back.
    place.catalog = Some(hazardous());
    let revert = |ids: &[&str]| {
        let hazards = Overrides::These(ids.iter().map(|id| (*id).to_owned()).collect());
        place.revert_by(|back| runs::Back { hazards, ..back })
    };
    let declined = revert(&[]).expect_err("it is refused");
    assert_eq!((declined.rule.as_str(), declined.exit), ("hazard", Exit::Refused), "{declined}");
    assert!(declined.why.contains("SITE-1") && !declined.why.contains("KB-"), "{declined}");
    assert_eq!(place.last().state, RunState::Committed);
    assert_eq!(revert(&["KB-999"]).expect_err("no such hazard").exit, Exit::Wrong);
    let record = revert(&["SITE-1"]).expect("it goes back");
    assert_eq!(record.state, RunState::Reverted, "{}", record.why);
    assert_eq!(decisions(&place).pop().expect("a decision").action, "override-hazard");
    let overridden =
        |fact: &Fact| matches!(fact, Fact::HazardOverridden { issue, .. } if issue == "SITE-1");
    assert!(place.last().entries.iter().any(|entry| overridden(&entry.fact)));
}

/// The shipped catalog with one more defect.
fn hazardous() -> Catalog {
    let issue = r#"
issues:
  - id: SITE-1
    driver: mlx5_core
    hardware: all
    kind: remediation-action-hazard
    title: The card does not come back
    symptom: no link
    trigger: a restart
    remedy: power the host off
    forbids: [fw-activate]
    kernels: [{ introduced: "5.0", fixed: not-yet }]
    source: a test
    confidence: high
"#;
    let (path, text) = ("issues/test.yaml".to_owned(), issue.as_bytes().to_vec());
    let file = SiteFile { path, part: Part::Issues, text };
    Catalog::with_site(&[file]).unwrap_or_else(|bad| panic!("{bad:?}"))
}
