//! The crashable disk: what it loses, and that it dies together with its machine.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use agent::{
    host::{
        Host,
        sim::{Blow, Injection, Machine, Moment, Sim},
    },
    store::{
        Store,
        sim::{End, SimStore},
    },
};

use crate::entries;

#[test]
fn a_power_loss_keeps_a_prefix_and_all_that_was_synced() {
    let (mut lost, mut torn) = (0, 0);
    for seed in 0..300 {
        let store = SimStore::new(seed);
        store.append(&entries(0..5)).unwrap();
        store.sync().unwrap();
        store.append(&entries(5..9)).unwrap();
        store.restart_after(End::PowerLoss);
        let found = store.entries().unwrap();
        assert!((5..=9).contains(&found.len()), "seed {seed}");
        assert_eq!(found, entries(0..found.len()), "seed {seed}");
        lost += usize::from(found.len() < 9);
        torn += usize::from(store.torn());
        assert_eq!(store.take_epoch().unwrap(), 1);
        assert_eq!(store.epoch().unwrap(), 1);
    }
    println!("{lost} of 300 lost something, {torn} were torn");
    assert!(lost > 100 && torn > 50);
}

#[test]
fn a_killed_process_loses_nothing() {
    let store = SimStore::new(1);
    store.append(&entries(0..3)).unwrap();
    store.restart_after(End::Killed);
    store.restart_after(End::PowerLoss);
    assert_eq!(store.entries().unwrap(), entries(0..3));
}

#[test]
fn calls_fail_before_or_after_they_took_effect() {
    for (moment, kept) in [(Moment::Before, 0), (Moment::After, 2)] {
        let store = SimStore::new(1);
        store.inject([Injection { call: 0, moment, blow: Blow::Fail(libc::EIO) }]);
        assert!(store.append(&entries(0..2)).is_err());
        assert_eq!(store.entries().unwrap().len(), kept);
    }
    // A failed sync: what it did not make durable does not count as there.
    for (moment, kept) in [(Moment::Before, 0), (Moment::After, 2)] {
        let store = SimStore::new(1);
        store.inject([Injection { call: 1, moment, blow: Blow::Fail(libc::EIO) }]);
        store.append(&entries(0..2)).unwrap();
        assert!(store.sync().is_err());
        assert_eq!(store.entries().unwrap().len(), kept);
    }
}

#[test]
fn a_full_disk_takes_nothing_and_still_reads() {
    let store = SimStore::new(1);
    store.append(&entries(0..2)).unwrap();
    store.fill();
    assert!(store.append(&entries(2..3)).unwrap_err().to_string().contains("ENOSPC"));
    assert!(store.put("runs/1", b"x").is_err());
    store.sync().unwrap();
    assert_eq!(store.entries().unwrap().len(), 2);
    store.empty_trash();
    store.append(&entries(2..3)).unwrap();
}

#[test]
fn store_and_machine_die_together() {
    let crash = Injection { call: 1, moment: Moment::Before, blow: Blow::Crash };
    let wait = Duration::from_secs(1);
    for in_store in [true, false] {
        let sim = Arc::new(Sim::new(Machine::default()));
        let store = SimStore::new(1).tied_to(sim.clone());
        if in_store {
            store.inject([crash]);
        } else {
            sim.inject([crash]);
        }
        let died = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..2 {
                store.append(&entries(0..1)).unwrap();
                sim.wait(wait);
            }
        }));
        assert!(died.is_err());
        assert!(store.append(&entries(0..1)).is_err());
        assert!(sim.notices().is_err());
        sim.restart();
        store.restart_after(End::Killed);
        assert_eq!(store.entries().unwrap().len(), if in_store { 1 } else { 2 });
        sim.notices().unwrap();
    }
}
