//! A prober that does not get its processor is late, and says so: that is not the network's latency.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use agent::{
    host::linux::Linux,
    measure::{
        Meter, Window, WindowSpec,
        probe::{Options, Probe},
        sockets::Way,
        window::Quantiles,
    },
};
use playbooks::playbook::{Pattern, Transport};
use tests::skip;

use crate::{
    alone,
    link::{FAR, Link, NEAR_NIC, ready},
    wire::{cpus, pin},
};

/// Threads that want the prober's processor for themselves.
const RIVALS: usize = 2;
/// A shared machine has moments in which nothing can be told apart.
const TRIES: usize = 5;

/// A window, with rivals on the calling thread's processor or without.
fn window(probe: &mut Probe<'_>, rivals: usize) -> Window {
    let spec = WindowSpec {
        transport: Transport::Udp,
        length: Duration::from_millis(1500),
        rate: 500,
        payload: 64,
        pattern: Pattern::Calm,
        flows: 1,
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..rivals {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let window = probe.window(&spec, &|| false);
        over.store(true, Ordering::Relaxed);
        window.unwrap()
    })
}

#[test]
fn the_probers_own_delays_are_no_latency() {
    const NAME: &str = "the_probers_own_delays_are_no_latency";
    if !ready(NAME) {
        return;
    }
    let [far, near, ..] = cpus()[..] else {
        return skip(NAME, "needs two processors, one for the reflector");
    };
    let _alone = alone();
    let link = Link::new(1);
    link.at_far(move || pin(far));
    let reflector = link.reflect();
    // What this thread starts from now on, the probe's threads and their rivals, is here.
    pin(near);
    let host = Linux::new().unwrap();
    let way = Way { nic: Some(NEAR_NIC.to_owned()), source: None };
    let options = Options::new(way, Transport::Udp);
    let mut probe = Probe::open(&host, &reflector.peer(FAR), options).unwrap();
    probe.settle(Duration::from_secs(5), &|| false).unwrap();
    let mut calm = false;
    for attempt in 1..=TRIES {
        let [mut alone, mut crowded] = [const { Vec::new() }; 2];
        for _ in 0..3 {
            alone.push(window(&mut probe, 0));
            crowded.push(window(&mut probe, RIVALS));
        }
        calm = told_apart(attempt, &alone, &crowded);
        if calm {
            break;
        }
    }
    reflector.stop();
    assert!(calm, "in none of {TRIES} attempts was the prober's delay told from the network's");
}

/// Whether the prober's rivals show in what it says of itself and not in the latency.
fn told_apart(attempt: usize, alone: &[Window], crowded: &[Window]) -> bool {
    let figures = |windows: &[Window], part: &str| {
        let part = |window: &Window| window.split[part];
        // Of the quietest window: what else runs on the machine only adds.
        let least = |of: fn(&Quantiles) -> u64| windows.iter().map(|w| of(&part(w))).min().unwrap();
        [least(|q| q.p50), least(|q| q.p99)]
    };
    let mut seen = Vec::new();
    for (name, windows) in [("alone", alone), ("crowded", crowded)] {
        let [sender, wire] = ["sender", "wire"].map(|part| figures(windows, part));
        println!("attempt {attempt}, {name}: p50 and p99, ns: sender {sender:?}, wire {wire:?}");
        seen.push([sender, wire]);
    }
    let [[sender, wire], [crowded_sender, crowded_wire]] = [seen[0], seen[1]];
    // A processor that never rests is rather faster, so only a rise counts.
    crowded_sender[1] > 5 * sender[1]
        && crowded_wire[0] < wire[0] + wire[0] / 4
        && crowded_wire[1] < crowded_sender[1] / 10
}
