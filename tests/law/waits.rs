//! A way back that waits for its window, by the simulated clock: the loop that `nicmend revert` runs.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use agent::{
    host::Host,
    log::{Fact, RunRecord, RunState},
    runs::{
        self, Declined, Exit,
        patience::{ALARM_EVERY, Patience, WAIT_MAX, ask, open},
    },
    store::Store,
};

use crate::{
    back::{approve, trading},
    place::{Place, Wish},
};

const SECOND: u64 = 1_000_000_000;

/// Tuesday, in the last auction, ten minutes before the venue closes.
fn at_the_end_of_the_day() -> Place {
    let place = trading();
    let opens = place.at_desk(|desk| runs::window(desk, &place.last(), &place.back(desk)));
    let opens = opens.expect("it is known").expect("there is one");
    let wait = opens.as_second() - place.now().as_second() - 600;
    place.wait_seconds(u64::try_from(wait).expect("later"));
    place
}

struct Waited {
    done: Result<RunRecord, Declined>,
    alarms: Vec<String>,
    /// By the machine's clock.
    seconds: u64,
    /// How often it was asked with a word in the log.
    asked: u32,
}

/// Waits; `meanwhile` is given the seconds so far, and says whether somebody has enough of it.
fn waited(place: &Place, wait_max: Duration, meanwhile: &dyn Fn(u64) -> Option<String>) -> Waited {
    let began = place.sim.now().mono_ns;
    let so_far = || (place.sim.now().mono_ns - began) / SECOND;
    let run = place.last().id;
    let (alarms, asked) = (RefCell::new(Vec::new()), Cell::new(0));
    let patience = Patience {
        host: &*place.sim,
        run: &run,
        wait_max,
        stop: &|| meanwhile(so_far()),
        alarm: &|words| alarms.borrow_mut().push(words.to_owned()),
        ask: &|| {
            asked.set(asked.get() + 1);
            place.at_desk(|desk| ask(desk, &run, &place.back(desk), None))
        },
        may: &|| place.at_desk(|desk| open(desk, &run, &place.back(desk))).unwrap_or(false),
    };
    let done = patience.put_back();
    Waited { done, alarms: alarms.into_inner(), seconds: so_far(), asked: asked.get() }
}

#[test]
fn it_goes_back_when_the_window_opens_and_the_alarm_is_raised_until_then() {
    let place = at_the_end_of_the_day();
    let waited = waited(&place, WAIT_MAX, &|_| None);
    let record = waited.done.expect("it goes back");
    assert_eq!(record.state, RunState::Reverted, "{}", record.why);
    assert!((598..=700).contains(&waited.seconds), "{} s", waited.seconds);
    let every = ALARM_EVERY.as_secs() as usize;
    assert_eq!(waited.alarms.len(), 600 / every, "{:?}", waited.alarms);
    assert!(waited.alarms[0].contains("STILL IN FORCE"), "{:?}", waited.alarms);
    assert_eq!(waited.asked, 2, "once before, once when it is due");
    // And while it waited nothing was written.
    let entries = place.last().entries;
    let restarts = entries.iter().filter(|entry| matches!(entry.fact, Fact::Reverting { .. }));
    assert_eq!(restarts.count(), 1);
}

#[test]
fn whoever_has_enough_of_it_stops_at_once_and_the_run_stays_in_force() {
    let place = at_the_end_of_the_day();
    let enough = |seconds| (seconds >= 100).then(|| "stopped by Ctrl-C".to_owned());
    let waited = waited(&place, WAIT_MAX, &enough);
    let declined = waited.done.expect_err("it is stopped");
    assert_eq!((declined.rule.as_str(), declined.exit), ("auction", Exit::Refused));
    assert!(declined.why.starts_with("stopped by Ctrl-C; "), "{declined}");
    assert_eq!((waited.seconds, waited.alarms.len()), (100, 1));
    assert_eq!(place.last().state, RunState::Committed);
}

#[test]
fn a_freeze_meanwhile_binds_when_the_window_opens() {
    let place = at_the_end_of_the_day();
    let freeze = |seconds: u64| {
        if seconds == 200 {
            place.store.put("frozen", b"look into it").expect("room");
        }
        None
    };
    let waited = waited(&place, WAIT_MAX, &freeze);
    let declined = waited.done.expect_err("it is refused");
    assert_eq!((declined.rule.as_str(), declined.exit), ("frozen", Exit::Refused), "{declined}");
    assert!((598..=700).contains(&waited.seconds), "{} s", waited.seconds);
    assert_eq!(place.last().state, RunState::Committed);
}

#[test]
fn the_wait_is_bounded_and_can_be_renounced() {
    let place = at_the_end_of_the_day();
    let bounded = waited(&place, Duration::from_secs(60), &|_| None);
    let declined = bounded.done.expect_err("the time is up");
    assert!(declined.why.starts_with("--wait-window is over; "), "{declined}");
    assert_eq!((declined.exit, bounded.seconds), (Exit::Refused, 60));
    let none = waited(&place, Duration::ZERO, &|_| None);
    assert_eq!(none.done.expect_err("it is refused").rule, "auction");
    assert_eq!((none.seconds, none.asked, none.alarms.len()), (0, 1, 0));
    assert_eq!(place.last().state, RunState::Committed);
}

#[test]
fn somebody_who_puts_it_back_meanwhile_ends_the_wait() {
    let place = trading();
    let other = |seconds: u64| {
        if seconds == 50 && place.last().state == RunState::Committed {
            let alone = |back| runs::Back {
                break_glass: Some("it hurts".to_owned()),
                ..place.with_standby(back)
            };
            place.revert_by(alone).expect("it goes back");
        }
        None
    };
    let waited = waited(&place, WAIT_MAX, &other);
    assert_eq!(waited.done.expect("it is at rest").state, RunState::Reverted);
    assert!(waited.seconds < 500, "{} s", waited.seconds);
}

/// What is in flight goes back at once, whatever the phase, frozen or not.
#[test]
fn a_run_in_flight_never_waits() {
    let place = trading();
    place.store.put("frozen", b"look into it").expect("room");
    let run = place.last();
    // As a crash in the middle of its way back leaves it.
    let fact = Fact::Reverting { why: "asked for".to_owned() };
    place.at_desk(|desk| Ok(desk.say(Some(&run.id), vec![fact.clone()])?)).expect("it is said");
    let began = place.sim.now().mono_ns;
    let done = place.at_desk(runs::recover).expect("it is recovered");
    assert_eq!(done[0].state, RunState::Reverted, "{}", done[0].why);
    let took = (place.sim.now().mono_ns - began) / SECOND;
    assert!(took < 120, "{took} s");
}

/// Somebody approves while it waits: it need not wait for the window.
#[test]
fn approvals_meanwhile_are_found_without_a_word_in_the_log() {
    let mut place = trading();
    assert!(!place.at_desk(|desk| open(desk, "last", &place.back(desk))).expect("an answer"));
    approve(&mut place, "law-waits", &["risk-1", "risk-2"]);
    let length = place.store.length().expect("a length");
    let by = |desk: &runs::Desk| place.with_standby(place.back(desk));
    assert!(place.at_desk(|desk| open(desk, "last", &by(desk))).expect("an answer"));
    assert_eq!(place.store.length().expect("a length"), length);
}

/// What is refused before there is a run, or a decision, is an entry all the same.
#[test]
fn a_refusal_is_an_entry_whoever_refuses() {
    let place = Place::new("");
    let refused = |place: &Place| {
        let entries = place.store.entries().expect("a log");
        let facts = (0..)
            .zip(&entries)
            .map(|(seq, bytes)| agent::log::Entry::decode(bytes, seq).expect("an entry"));
        let of = facts.filter_map(|entry| match entry.fact {
            Fact::Refused { rule, .. } => Some((entry.run.is_some(), rule)),
            _ => None,
        });
        of.collect::<Vec<_>>()
    };
    let mut stale = Wish::settings();
    stale.digest = Some(format!("sha256:{}", "0".repeat(64)));
    assert_eq!(place.apply(&stale).expect_err("it is refused").rule, "stale-plan");
    assert_eq!(refused(&place), [(false, "stale-plan".to_owned())]);
    place.apply(&Wish::settings()).expect("a run");
    let first = place.last().id;
    place.sim.foreign(
        &serde_saphyr::from_str("{ set: { nic: eth1, setting: coalesce.rx-usecs, value: 64 } }")
            .expect("an act"),
    );
    place.apply(&Wish::settings()).expect("another run on the same key");
    let declined = place
        .at_desk(|desk| runs::revert(desk, &first, &place.back(desk), None))
        .expect_err("a later run owns it");
    assert_eq!(declined.rule, "owner");
    assert_eq!(refused(&place).last(), Some(&(false, "owner".to_owned())));
    // One that the policies refuse has its decision, and no second word.
    let forbids =
        Place::new("@id(\"no\") forbid (principal, action == Action::\"apply\", resource);");
    assert_eq!(forbids.apply(&Wish::settings()).expect_err("it is refused").rule, "no");
    assert_eq!(refused(&forbids), [(true, "no".to_owned())]);
}
