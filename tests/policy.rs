//! The shipped policies against the matrix of what they must say, and what must hold whatever is asked.

// Reads its own data.
#![allow(clippy::disallowed_methods)]

#[path = "policy/command.rs"]
mod command;
#[path = "policy/random.rs"]
mod random;
#[path = "policy/row.rs"]
mod row;
#[path = "policy/safer.rs"]
mod safer;

use std::{collections::BTreeSet, path::Path};

use policy::{
    Phase,
    decide::{decide, rule},
    request::{Action, Principal, Request},
    set::{Checked, Origin, PolicySet, Source},
};
use random::Random;
use row::Row;
use safer::safer;

const ROWS_MIN: usize = 200;
/// Requests that a property is tried on.
const TRIES: usize = 4_000;

fn shipped() -> PolicySet {
    let checked = PolicySet::load(&[], &BTreeSet::new(), Checked::Not);
    checked.unwrap_or_else(|flaws| panic!("the shipped policies do not load: {flaws:?}"))
}

#[test]
fn every_row_of_the_matrix() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/matrix.yaml");
    let text = std::fs::read_to_string(path).expect("read the matrix");
    let rows: Vec<Row> = serde_saphyr::from_str(&text).expect("the matrix is YAML");
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    let set = shipped();
    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    for (at, row) in rows.iter().enumerate() {
        let ruling = rule(&row.request(), &set);
        let expected = row.allowed();
        named.extend(ruling.by.iter().cloned());
        if ruling.allowed != expected || ruling.by != row.by || !ruling.faults.is_empty() {
            wrong.push(format!("row {}: {row:?}\n    came to {ruling:?}", at + 1));
        }
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n  {}", wrong.len(), wrong.join("\n  "));
    let silent: Vec<&str> =
        set.listed().map(|l| l.id.as_str()).filter(|id| !named.contains(*id)).collect();
    assert!(silent.is_empty(), "no row is decided by {silent:?}");
}

#[test]
fn the_shipped_policies_are_sound() {
    let set = shipped();
    assert_eq!(set.remarks(), [], "the validator has no remarks either");
    for listed in set.listed() {
        assert!(!listed.why.is_empty(), "{} says no reason", listed.id);
    }
    let before = PolicySet::shipped().expect("the same without looking");
    assert_eq!(before.digest(), set.digest());
}

/// Site policies that try to have it otherwise.
fn hostile() -> PolicySet {
    let text = r#"
        @id("all-may") permit (principal, action, resource);
        @id("none-reverts") forbid (principal, action == Action::"revert-in-flight", resource);
        @id("none-at-all") forbid (principal, action, resource) when { context.run_s == 424242 };
        @id("auction") forbid (principal, action == Action::"apply", resource) when { context.frozen };
        @id("standby") forbid (principal, action == Action::"apply", resource) when { context.frozen };
        @id("two-approvals") forbid (principal, action == Action::"apply", resource) when { context.frozen };
        @id("continuous") forbid (principal, action == Action::"apply", resource) when { context.frozen };
    "#;
    let source = Source { file: "hostile.cedar".to_owned(), text: text.to_owned() };
    let set = PolicySet::load(&[source], &BTreeSet::new(), Checked::Not);
    set.unwrap_or_else(|flaws| panic!("{flaws:?}"))
}

/// Tries a property on requests of every shape, under the shipped policies and under hostile ones.
fn holds(seed: u64, property: impl Fn(&Request, bool) -> Result<(), String>) {
    for set in [shipped(), hostile()] {
        let mut random = Random::new(seed);
        for nth in 0..TRIES {
            let request = random.request();
            let ruling = rule(&request, &set);
            assert_eq!(ruling.faults, Vec::<String>::new(), "{request:?}");
            if let Err(why) = property(&request, ruling.allowed) {
                panic!("seed {seed}, request {nth}: {why}: {request:#?}\n{ruling:?}");
            }
        }
    }
}

#[test]
fn putting_back_what_is_in_flight_is_never_refused() {
    holds(1, |request, allowed| {
        let known = request.principal != Principal::Stranger;
        let asked = request.action == Action::RevertInFlight && known;
        if asked && !allowed { Err("refused".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn whose_identity_is_not_proven_may_read_and_nothing_else() {
    holds(2, |request, allowed| {
        let stranger = request.principal == Principal::Stranger;
        let reads = request.action == Action::Inventory;
        if stranger && allowed && !reads { Err("allowed".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn nothing_is_begun_that_cannot_end_before_the_boundary() {
    holds(3, |request, allowed| {
        let facts = &request.facts;
        let fits =
            facts.venues.is_empty() || facts.boundary_s.is_some_and(|left| left >= facts.run_s);
        if request.action.changes() && allowed && !fits { Err("begun".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn what_nobody_knows_is_closed_to_changes_and_a_freeze_binds_everybody() {
    holds(4, |request, allowed| {
        let facts = &request.facts;
        let unknown = facts.venues.values().any(|phase| *phase == Phase::Unknown);
        let trusted = facts.clock.synchronised && facts.clock.error_us <= 1_000_000;
        let blind = unknown || (!facts.venues.is_empty() && !trusted);
        match request.action.changes() && allowed && (blind || facts.frozen.is_some()) {
            true => Err("begun".to_owned()),
            false => Ok(()),
        }
    });
}

/// More consent, a standby path or less disruption never makes an allowed request a refused one.
#[test]
fn what_is_safer_is_not_refused_where_the_less_safe_is_allowed() {
    let set = shipped();
    let mut random = Random::new(5);
    for _ in 0..TRIES {
        let request = random.request();
        if !rule(&request, &set).allowed {
            continue;
        }
        for better in safer(&request) {
            assert!(rule(&better, &set).allowed, "{request:#?}\nallowed, and not {better:#?}");
        }
    }
}

/// What is said to satisfy the policies does: each way, taken, has the request allowed.
#[test]
fn every_way_leads_there() {
    let set = shipped();
    let mut random = Random::new(6);
    let (mut refused, mut ways) = (0, 0);
    while refused < 300 {
        let request = random.request();
        let decision = decide(&request, &set);
        if decision.allowed {
            assert!(decision.ways.is_empty());
            continue;
        }
        refused += 1;
        for way in &decision.ways {
            ways += 1;
            for taken in way.taken(&request) {
                assert!(rule(&taken, &set).allowed, "{way} is not enough for {request:#?}");
            }
        }
        assert!(decision.ways.len() <= 8);
    }
    assert!(ways > 100, "{ways} ways out of {refused} refusals");
}

#[test]
fn a_site_replaces_and_extends_visibly_and_the_floor_stays() {
    let set = hostile();
    let origin = |id: &str| set.find(id).map(|listed| listed.origin);
    assert_eq!(origin("auction"), Some(Origin::Replaced));
    assert_eq!(origin("all-may"), Some(Origin::Site));
    assert_eq!(origin("two-approvals"), Some(Origin::Replaced));
    assert_eq!(origin("holders"), Some(Origin::Shipped));
    assert_eq!(origin("boundary"), Some(Origin::Floor));
    assert_ne!(set.digest(), shipped().digest());
}

/// One flaw of a site's file, as it is told.
#[track_caller]
fn flaw(text: &str, place: &str, words: &str) {
    let source = Source { file: "site.cedar".to_owned(), text: text.to_owned() };
    let flaws = PolicySet::load(&[source], &BTreeSet::new(), Checked::Not).expect_err("loads");
    let told: Vec<String> = flaws.iter().map(ToString::to_string).collect();
    let found = told.iter().any(|flaw| flaw.starts_with(place) && flaw.contains(words));
    assert!(found, "no `{place}` with `{words}` among {told:#?}");
}

#[test]
fn what_does_not_hold_against_the_schema_never_loads_and_says_where() {
    let with = |when: &str| {
        format!("// one\n@id(\"x\")\nforbid (principal, action, resource)\nwhen {{ {when} }};\n")
    };
    flaw(&with("context.phase == Phase::\"continous\""), "site.cedar:4:", "continous");
    flaw(&with("context.aprovals < 2"), "site.cedar:4:", "aprovals");
    flaw(&with("context.approvals == \"two\""), "site.cedar:4:", "");
    flaw(&with("principal.roles.contains(Role::\"desk-lead\")"), "site.cedar:", "");
    flaw(&with("context.frozen &&"), "site.cedar:4:", "");
    flaw(
        "@id(\"x\")\npermit (principal, action == Action::\"aply\", resource);",
        "site.cedar:2:",
        "aply",
    );
    flaw("permit (principal, action, resource);", "site.cedar:1:1:", "@id");
    flaw(
        "@id(\"No Name\")\npermit (principal, action, resource);",
        "site.cedar:1:1:",
        "lower-case",
    );
    flaw("@id(\"boundary\")\npermit (principal, action, resource);", "site.cedar:1:1:", "floor");
    let twice = "@id(\"a\") permit (principal, action == Action::\"plan\", resource);\n";
    flaw(&twice.repeat(2), "site.cedar:2:1:", "site.cedar:1");
    flaw(
        "@id(\"t\") permit (principal == ?principal, action, resource);",
        "site.cedar:1:1:",
        "template",
    );
    flaw(&format!("//{}", "x".repeat(300_000)), "site.cedar:1:1:", "at most");
    flaw(&format!("{}{}", "(".repeat(20_000), ")".repeat(20_000)), "site.cedar:1:", "");
}

#[test]
fn a_sites_own_role_is_known_once_it_is_named() {
    let text = "@id(\"lead\") permit (principal is Operator, action == Action::\"thaw\", resource) \
                when { principal.roles.contains(Role::\"desk-lead\") };";
    let source = || Source { file: "site.cedar".to_owned(), text: text.to_owned() };
    let roles = BTreeSet::from(["desk-lead".to_owned()]);
    assert!(PolicySet::load(&[source()], &BTreeSet::new(), Checked::Not).is_err());
    let set = PolicySet::load(&[source()], &roles, Checked::Not).expect("the role is known");
    let mut request = Random::new(7).request();
    request.action = Action::Thaw;
    request.principal =
        Principal::Operator { name: "lead".to_owned(), uid: None, roles: roles.clone() };
    assert_eq!(rule(&request, &set).by, ["lead"]);
}

/// Cedar passes over a policy that fails while it is evaluated: here that refuses.
#[test]
fn a_policy_that_cannot_be_evaluated_refuses() {
    let text = "@id(\"overflows\") forbid (principal, action == Action::\"plan\", resource) \
                when { context.run_s * 9223372036854775807 > 5 };";
    let source = Source { file: "site.cedar".to_owned(), text: text.to_owned() };
    let set = PolicySet::load(&[source], &BTreeSet::new(), Checked::Not).expect("it type-checks");
    let mut request = Random::new(8).request();
    request.action = Action::Plan;
    request.principal = Principal::Agent;
    request.facts.run_s = 2;
    let decision = decide(&request, &set);
    assert!(!decision.allowed && decision.rule() == "policy-fault", "{decision:?}");
    assert!(decision.faults[0].contains("overflow"), "{decision:?}");
}
