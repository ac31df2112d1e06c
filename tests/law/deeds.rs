//! What people do while a run holds the log: entered once, with their time, whatever crashes in between; and what
//! somebody puts there that is no deed.

use std::cell::Cell;

use agent::{
    engine::Telling,
    host::{
        Clock, Host,
        sim::{Blow, Injection, Moment, Sim},
    },
    intake,
    log::{
        Entry, Fact, RunState, Who,
        deed::{DEED_BYTES_MAX, Deed},
    },
    rehearsal::hush_injected_crashes,
    store::{
        Store,
        sim::{End, SimStore},
    },
};

use crate::place::{Place, Wish};

fn deed(host: &dyn Host, fact: Fact) -> (String, Vec<u8>) {
    let who = Who { uid: 1001, principal: Some("alice".to_owned()) };
    let place = ("trade1".to_owned(), Clock::unknown());
    let deed = Deed { facts: vec![fact], ..Deed::new(host.now(), who, place, None) };
    let bytes = deed.encode().expect("a deed");
    (deed.name(&bytes), bytes)
}

fn frozen(why: &str) -> Fact {
    Fact::Frozen { why: why.to_owned(), uid: 1001 }
}

fn entries(store: &SimStore) -> Vec<Entry> {
    let all = store.entries().expect("a log");
    let decoded = (0..).zip(&all).map(|(seq, bytes)| Entry::decode(bytes, seq).expect("an entry"));
    decoded.collect()
}

fn of_alice(store: &SimStore) -> Vec<Entry> {
    let by_alice = |entry: &Entry| entry.who.as_ref().is_some_and(|who| who.uid == 1001);
    entries(store).into_iter().filter(by_alice).collect()
}

#[test]
fn a_deed_done_while_a_run_is_in_flight_stands_among_its_entries_with_its_own_time() {
    let place = Place::new("");
    let (told, done_at) = (Cell::new(0), Cell::new(0));
    let tell = |telling: &Telling| {
        if !matches!(telling, Telling::Measuring { .. }) {
            return;
        }
        told.set(told.get() + 1);
        if told.get() == 2 {
            let (name, bytes) = deed(&*place.sim, frozen("look into it"));
            place.store.hand(&name, &bytes);
            done_at.set(Deed::found(&name, &bytes).expect("a deed").at.utc_ns);
        }
    };
    let record = place.apply_told(&Wish::settings(), &tell).expect("a run");
    assert_eq!(record.state, RunState::Committed, "{}", record.why);
    let deeds = of_alice(&place.store);
    let [one] = deeds.as_slice() else { panic!("{deeds:?}") };
    assert_eq!(one.fact, frozen("look into it"));
    assert_eq!((one.at.utc_ns, one.host.as_deref()), (done_at.get(), Some("trade1")));
    let entered = one.entered.as_ref().expect("when it was entered");
    assert!(entered.at.utc_ns > done_at.get(), "after the window that was being measured");
    let end = entries(&place.store).last().expect("an end").seq;
    assert!(one.seq < end, "before the run's end: {} of {end}", one.seq);
    assert_eq!(place.store.spool(), (Vec::new(), Vec::new()));
}

/// A log of one entry, with two deeds that wait and a file that is none.
fn waiting(sim: &Sim) -> SimStore {
    let store = SimStore::new(11);
    let epoch = store.take_epoch().expect("an epoch");
    take_up(sim, &store, epoch).expect("nothing waits");
    for why in ["first", "second"] {
        let (name, bytes) = deed(sim, frozen(why));
        store.hand(&name, &bytes);
        sim.wait(std::time::Duration::from_millis(3));
    }
    store.hand("00-forged", b"{}");
    store
}

fn take_up(sim: &Sim, store: &SimStore, epoch: u64) -> agent::fault::Result<intake::Taken> {
    intake::take_up(sim, store, (epoch, &Who::uid(0)))
}

#[test]
fn whatever_fails_or_crashes_on_the_way_a_deed_is_entered_once() {
    hush_injected_crashes();
    let sim = Place::new("").sim;
    let plain = waiting(&sim);
    let before = plain.calls();
    take_up(&sim, &plain, 1).expect("it is taken up");
    let calls = before..plain.calls();
    assert!(
        calls.end - calls.start >= 8,
        "list, epoch, read, count, append, sync, three files: {calls:?}"
    );
    let modes = [
        (Moment::Before, Blow::Crash),
        (Moment::After, Blow::Crash),
        (Moment::Before, Blow::Fail(libc::EIO)),
        (Moment::After, Blow::Fail(libc::ENOSPC)),
    ];
    let mut tried = 0;
    for call in calls {
        for (moment, blow) in modes {
            for end in [End::Killed, End::PowerLoss] {
                let store = waiting(&sim);
                store.inject([Injection { call, moment, blow }]);
                let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    take_up(&sim, &store, 1)
                }));
                store.disarm();
                if first.is_err() {
                    store.restart_after(end);
                }
                let epoch = store.take_epoch().expect("the next writer");
                take_up(&sim, &store, epoch).expect("it is taken up");
                take_up(&sim, &store, epoch).expect("nothing is left");
                let what = format!("call {call}, {moment:?} {blow:?}, {end:?}");
                let facts: Vec<Fact> =
                    of_alice(&store).into_iter().map(|entry| entry.fact).collect();
                assert_eq!(facts, [frozen("first"), frozen("second")], "{what}");
                let all = entries(&store);
                let refused = |entry: &&Entry| matches!(entry.fact, Fact::DeedRefused { .. });
                assert_eq!(all.iter().filter(refused).count(), 1, "{what}");
                assert_eq!(store.spool(), (Vec::new(), vec!["00-forged".to_owned()]), "{what}");
                tried += 1;
            }
        }
    }
    println!("{tried} ways");
}

#[test]
fn a_writer_that_was_replaced_enters_nothing() {
    let sim = Place::new("").sim;
    let store = waiting(&sim);
    let next = store.take_epoch().expect("another writer");
    assert!(take_up(&sim, &store, next - 1).is_err());
    assert!(of_alice(&store).is_empty());
    take_up(&sim, &store, next).expect("it is taken up");
    assert_eq!(of_alice(&store).len(), 2);
}

/// Root can forge a deed as it can write the log; what it cannot is speak for the writer, or twice.
#[test]
fn what_is_no_deed_is_refused_and_named_and_what_was_entered_is_not_entered_again() {
    let sim = Place::new("").sim;
    let store = SimStore::new(5);
    let epoch = store.take_epoch().expect("an epoch");
    let (name, good) = deed(&*sim, frozen("once"));
    let text = String::from_utf8(good.clone()).expect("text");
    let committed = r#"{"kind":"committed","stages":[0],"why":"so"}"#;
    let own = text.find("{\"kind\"").expect("its fact");
    let usurped = format!("{}{committed}]}}", &text[..own]);
    let renamed = text.replace("alice", "bobby");
    let cut = good[..good.len() - 3].to_vec();
    let forged: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), "EOF"),
        ("garbage", vec![0xff; 40], "expected"),
        ("torn", cut, "EOF"),
        ("usurped", usurped.into_bytes(), "\"committed\" is nothing that is handed over"),
        ("more", text.replacen('{', "{\"more\":1,", 1).into_bytes(), "unknown field"),
        ("spaced", text.replacen('{', "{ ", 1).into_bytes(), "not written as nicmend writes it"),
        ("long", vec![b' '; DEED_BYTES_MAX + 1], "bytes, at most"),
        ("newer", text.replacen("\"v\":1", "\"v\":9", 1).into_bytes(), "format 9"),
    ];
    for (name, bytes, _) in &forged {
        store.hand(name, bytes);
    }
    // Somebody else's name in a deed that waits under its old one.
    store.hand(&name, renamed.as_bytes());
    let taken = take_up(&sim, &store, epoch).expect("they are looked at");
    assert_eq!((taken.entered.len(), taken.refused.len()), (0, 9), "{taken:?}");
    let all = entries(&store);
    let said = |file: &str| {
        let why = all.iter().find_map(|entry| match &entry.fact {
            Fact::DeedRefused { file: named, why, .. } if named == file => Some(why.clone()),
            _ => None,
        });
        why.unwrap_or_else(|| panic!("{file} is not named: {all:?}"))
    };
    for (name, _, why) in &forged {
        assert!(said(name).contains(why), "{name}: {}", said(name));
    }
    assert!(said(&name).contains("torn, or changed"), "{}", said(&name));
    assert_eq!(all.len(), 9, "one entry each, and nothing of what they said");
    assert_eq!(store.spool().0, Vec::<String>::new());

    store.hand(&name, &good);
    take_up(&sim, &store, epoch).expect("it is entered");
    assert_eq!(of_alice(&store).len(), 1);
    // Put back later, in another writer's time.
    store.hand(&name, &good);
    let epoch = store.take_epoch().expect("another writer");
    let taken = take_up(&sim, &store, epoch).expect("it is looked at");
    assert!(taken.entered[0].contains("entered before"), "{taken:?}");
    assert_eq!(of_alice(&store).len(), 1);
    assert_eq!(store.spool().0, Vec::<String>::new());
}
