//! What somebody does alone is countersigned by another person, once each, by a signature that names it.

use agent::{
    approvals,
    log::{Entry, Fact, History, RunState, glass::BreakGlass, office::Request},
    runs,
    store::Store,
};
use policy::approval::{Alone, Terms, Void, Way};

use crate::{
    asked,
    back::{over_there, sign, trading},
    place::Place,
};

/// Puts the last run back, alone.
fn breaks(place: &Place) -> Result<agent::log::RunRecord, runs::Declined> {
    place.revert_by(|back| runs::Back {
        break_glass: Some("it hurts".to_owned()),
        ..place.with_standby(back)
    })
}

fn broken(place: &Place) -> Vec<BreakGlass> {
    place.last().break_glass
}

fn now(place: &Place) -> i64 {
    i64::try_from(place.now().as_nanosecond()).expect("a time")
}

/// The word of an approval that was filed.
fn approve(place: &Place, by: &str, more: &[(&str, &str)]) {
    let usual = [("approver", by), ("form", "2")];
    let details = usual
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect();
    let (action, on) = ("approve".to_owned(), place.last().plan);
    let request = Request { action, on, overrides: Vec::new(), details };
    place.at_desk(|desk| Ok(desk.say(None, vec![Fact::Requested(request)])?)).expect("it is said");
}

#[test]
fn somebody_acts_alone_and_it_is_countersigned_by_name_alone() {
    let mut place = trading();
    let record = breaks(&place).expect("it goes back");
    assert_eq!(record.state, RunState::Reverted, "{}", record.why);
    assert_eq!(asked(&place).last(), Some(&("break-glass".to_owned(), true)));
    let glass = broken(&place);
    assert_eq!(glass.len(), 1);
    assert_eq!((glass[0].action.as_str(), glass[0].by.as_deref()), ("revert", Some("ops-1")));
    assert_eq!(glass[0].standby.as_deref(), Some("eth3"));
    let words = glass[0].words(now(&place));
    let named = glass[0].named().to_string();
    assert!(words.starts_with("BREAK-GLASS (revert)") && words.contains(&named), "{words}");

    // An approval of the plan, old or new, is none; nor is one's own, however it is spelt; nor another act's.
    approve(&place, "risk-1", &[]);
    approve(&place, "Ops-1", &[("countersigns", &named)]);
    let other = Alone { entry: glass[0].entry + 1, ..glass[0].named() };
    approve(&place, "risk-1", &[("countersigns", &other.to_string())]);
    assert!(broken(&place)[0].open());

    // One that names it is, and is used up by it.
    let countersigns = Some(glass[0].named());
    let terms = Terms { countersigns, ..over_there() };
    let host = sign(&mut place, ("law-alone", &["risk-1"]), &terms);
    let plan = place.last().plan;
    let tally = |place: &Place| {
        let at = jiff::Timestamp::from_second(place.now().as_second()).expect("a time");
        let asked = (plan.as_str(), &host, &terms);
        approvals::tally(&place.store, &place.registry, asked, None, at).expect("a tally").1
    };
    let id = tally(&place).counted["risk-1"].id.clone();
    approve(&place, "risk-1", &[("countersigns", &named), ("id", &id)]);
    let glass = broken(&place);
    let words = glass[0].words(now(&place));
    assert!(words.ends_with("countersigned by risk-1"), "{words}");
    assert_eq!(tally(&place).void, [(0, Void::Used)]);
    assert_ne!(Way::Apply, terms.way);
}

/// One signature, one act: of two with one plan each waits for its own.
#[test]
fn a_signature_countersigns_one_act() {
    let place = trading();
    breaks(&place).expect("it goes back");
    let first = place.last();
    // As it would be with a second act of the same run: what is asked for, and what is done.
    let mut entries: Vec<Entry> = Vec::new();
    for (seq, bytes) in (0..).zip(place.store.entries().expect("a log")) {
        entries.push(Entry::decode(&bytes, seq).expect("an entry"));
    }
    let of_run = |wanted: &dyn Fn(&Fact) -> bool| {
        let found = entries.iter().rfind(|entry| entry.run.is_some() && wanted(&entry.fact));
        found.expect("an entry").clone()
    };
    let requested = of_run(&|fact| matches!(fact, Fact::Requested(_)));
    let reverting = of_run(&|fact| matches!(fact, Fact::Reverting { .. }));
    let again = |facts: Vec<Entry>| {
        let mut all: Vec<Entry> = entries.iter().cloned().chain(facts).collect();
        (0..).zip(&mut all).for_each(|(seq, entry)| entry.seq = seq);
        let bytes: Vec<Vec<u8>> = all.iter().map(|entry| entry.encode().expect("JSON")).collect();
        History::fold(&bytes).expect("a log").runs.pop().expect("a run").break_glass
    };
    let two = again(vec![requested.clone(), reverting.clone()]);
    assert_eq!(two.len(), 2);
    let signed = |named: &Alone, utc_ns: i64| {
        let details = [("approver", "risk-1"), ("form", "2"), ("countersigns", &named.to_string())]
            .map(|(name, value)| (name.to_owned(), value.into()));
        let request = Request {
            action: "approve".to_owned(),
            on: first.plan.clone(),
            overrides: Vec::new(),
            details: details.into(),
        };
        let mut entry = Entry { run: None, fact: Fact::Requested(request), ..requested.clone() };
        entry.at.utc_ns = utc_ns;
        entry
    };
    let soon = requested.at.utc_ns + 1;
    let one = again(vec![requested.clone(), reverting.clone(), signed(&two[1].named(), soon)]);
    assert_eq!((one[0].open(), one[1].open()), (true, false));

    // By a clock that was set back it is not in time: an entry before it was later than it was due.
    let mut later = reverting.clone();
    later.at.utc_ns = two[1].due_utc_ns + 1;
    let late = again(vec![requested.clone(), later, signed(&two[1].named(), soon)]);
    let words = late[1].words(soon);
    assert!(words.ends_with("countersigned by risk-1, TOO LATE"), "{words}");
}

#[test]
fn what_was_refused_needs_no_signature() {
    let place = trading();
    let alone = |back| runs::Back { break_glass: Some("it hurts".to_owned()), ..back };
    place.revert_by(alone).expect_err("nothing carries the traffic");
    assert!(broken(&place).is_empty());
    // Nor does it count when somebody else puts the run back later.
    place.wait_hours(14);
    assert_eq!(place.revert().expect("it is evening").state, RunState::Reverted);
    assert!(broken(&place).is_empty());
}

#[test]
fn that_nobody_countersigned_in_time_is_said_once_in_the_log() {
    let place = trading();
    breaks(&place).expect("it goes back");
    let said = |place: &Place| {
        place.at_desk(|desk| Ok(runs::lapsed(desk)?)).expect("a desk");
        let of_run = place.last().entries;
        of_run.iter().filter(|entry| matches!(entry.fact, Fact::Uncountersigned { .. })).count()
    };
    assert_eq!(said(&place), 0);
    place.wait_hours(25);
    assert_eq!((said(&place), said(&place)), (1, 1));
    let glass = broken(&place);
    assert!(glass[0].lapsed && glass[0].words(0).ends_with("NOT COUNTERSIGNED in time"));
    // Late is better than never, and is called late.
    let named = glass[0].named().to_string();
    approve(&place, "risk-1", &[("countersigns", &named)]);
    assert!(broken(&place)[0].words(0).contains("countersigned by risk-1, TOO LATE"));
}
