//! The probe and the reflector on a real veth link between two network namespaces.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself

#[path = "probe/link.rs"]
mod link;
#[path = "probe/reflector.rs"]
mod reflector;
#[path = "probe/tcp.rs"]
mod tcp;

use std::time::{Duration, Instant};

use agent::{
    fault::Kind,
    host::linux::Linux,
    measure::{
        Meter, Sample, WindowSpec,
        probe::{Dead, Options, Probe, Second, confirm_dead},
        quantiles,
        sockets::Way,
        stamp,
    },
};
use playbooks::playbook::{Pattern, Transport};

use link::{FAR, FAR6, Link, NEAR_NIC, ready};

fn spec(rate: u32, ms: u64) -> WindowSpec {
    WindowSpec {
        transport: Transport::Udp,
        length: Duration::from_millis(ms),
        rate,
        payload: 64,
        pattern: Pattern::Calm,
        flows: 4,
    }
}

fn options(transport: Transport) -> Options {
    let way = Way { nic: Some(NEAR_NIC.to_owned()), source: None };
    Options::new(way, transport)
}

const NEVER: &dyn Fn() -> bool = &|| false;

#[test]
fn udp_latency_is_on_kernel_stamps_and_sane() {
    if !ready("udp_latency_is_on_kernel_stamps_and_sane") {
        return;
    }
    let link = Link::new(1);
    let reflector = link.reflect();
    let host = Linux::new().unwrap();
    for far in [FAR, FAR6] {
        let peer = reflector.peer(far);
        let mut probe = Probe::open(&host, &peer, options(Transport::Udp)).unwrap();
        let took = probe.settle(Duration::from_secs(5), NEVER).unwrap();
        assert!(took < Duration::from_secs(3), "{took:?}");
        let window = probe.window(&spec(1000, 2000), NEVER).unwrap();
        let sorted = quantiles::sorted_latencies(&window.samples);
        let p50 = quantiles::quantile(&sorted, 0.5).unwrap();
        println!("{far}: p50 {p50} ns, split {:?}", window.split);
        println!("{:?} {:?} load {:.1}/s", window.stamps, window.notes, window.load_pps);
        assert_eq!((window.sent, window.lost, window.samples.len()), (2000, 0, 2000));
        assert_eq!((window.late, window.duplicated, window.reordered), (0, 0, 0));
        assert!((1_000..1_000_000).contains(&p50), "p50 {p50} ns");
        assert!(window.stamps.get("software").copied().unwrap_or(0) >= 1990, "{:?}", window.stamps);
        for part in ["sender", "sender-stack", "wire", "reflector", "receiver"] {
            assert!(window.split.contains_key(part), "{part} in {:?}", window.split);
        }
        assert!(window.samples.is_sorted_by_key(|s| s.due_ns));
        assert!((0..4).all(|flow| window.samples.iter().any(|s| s.flow == flow)));
        assert_eq!(window.drops.values().sum::<i64>(), 0, "{:?}", window.drops);
        assert!(window.counters["nic.tx_packets"] >= 2000, "{:?}", window.counters);
        assert!(
            window.load_pps < 100.0,
            "the probe's own packets are no load: {}",
            window.load_pps
        );
        assert_eq!(window.cut_short, None);
    }
    let stats = reflector.stop();
    assert_eq!((stats.malformed, stats.refused_loops, stats.send_failed), (0, 0, 0), "{stats:?}");
}

#[test]
fn sizes_and_patterns_all_arrive() {
    if !ready("sizes_and_patterns_all_arrive") {
        return;
    }
    let link = Link::new(1);
    let reflector = link.reflect();
    let host = Linux::new().unwrap();
    let peer = reflector.peer(FAR);
    let mut probe = Probe::open(&host, &peer, options(Transport::Udp)).unwrap();
    probe.settle(Duration::from_secs(5), NEVER).unwrap();
    let trace = std::env::temp_dir().join(format!("nicmend-trace-{}", std::process::id()));
    std::fs::write(&trace, "0 44\n100000 1472\n200000 300\n5000000 20\n").unwrap();
    let replay = Pattern::Replay(trace.to_string_lossy().into_owned());
    for (payload, pattern) in [
        (44, Pattern::Calm),
        (45, Pattern::Microburst),
        (1472, Pattern::OpenBurst),
        (9000, Pattern::CloseBurst),
        (65_507, Pattern::Calm),
        (64, replay),
    ] {
        let wanted = WindowSpec { payload, pattern: pattern.clone(), ..spec(500, 400) };
        let window = probe.window(&wanted, NEVER).unwrap();
        println!("{payload} {pattern:?}: {} sent, {} lost", window.sent, window.lost);
        assert_eq!(window.lost, 0, "{payload} {pattern:?} {:?}", window.notes);
        assert!(window.sent >= 200, "{payload} {pattern:?}");
    }
    std::fs::remove_file(&trace).unwrap();
    reflector.stop();
}

#[test]
fn a_link_that_goes_down_loses_exactly_what_was_due_then() {
    if !ready("a_link_that_goes_down_loses_exactly_what_was_due_then") {
        return;
    }
    let link = Link::new(1);
    let reflector = link.reflect();
    let host = Linux::new().unwrap();
    let peer = reflector.peer(FAR);
    let mut probe = Probe::open(&host, &peer, options(Transport::Udp)).unwrap();
    probe.settle(Duration::from_secs(5), NEVER).unwrap();
    // A thread of this one, so in the same namespace.
    let flap = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(1000));
        link::run("ip", &["link", "set", NEAR_NIC, "down"]);
        std::thread::sleep(Duration::from_millis(1000));
        link::run("ip", &["link", "set", NEAR_NIC, "up"]);
    });
    let window = probe.window(&spec(200, 4000), NEVER).unwrap();
    flap.join().unwrap();
    println!("{} lost of {}: {:?}", window.lost, window.samples.len(), window.notes);
    assert_eq!(window.samples.len(), 800, "every due packet is a sample");
    assert!((150..400).contains(&window.lost), "{}", window.lost);
    let lost_outside = window
        .samples
        .iter()
        .filter(|s| s.is_lost() && !(800_000_000..3_500_000_000).contains(&s.due_ns));
    assert_eq!(lost_outside.count(), 0);
    assert!(window.samples.last().is_some_and(|s| !s.is_lost()), "replies are back at the end");
    let stamped = window.stamps.get("software").copied().unwrap_or(0);
    assert!(stamped + 10 >= 800 - window.lost, "stamps survive failed sends: {:?}", window.stamps);
    // And settling notices that everything is back.
    probe.settle(Duration::from_secs(5), NEVER).unwrap();
    let window = probe.window(&spec(500, 400), NEVER).unwrap();
    assert_eq!(window.lost, 0, "{:?}", window.notes);
    reflector.stop();
}

#[test]
fn a_dead_reflector_is_all_lost_in_bounded_time() {
    if !ready("a_dead_reflector_is_all_lost_in_bounded_time") {
        return;
    }
    let link = Link::new(1);
    let reflector = link.reflect();
    let peer = reflector.peer(FAR);
    reflector.stop();
    let host = Linux::new().unwrap();
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut probe = Probe::open(&host, &peer, options(transport)).unwrap();
        let began = Instant::now();
        let fault = probe.settle(Duration::from_millis(500), NEVER).unwrap_err();
        assert_eq!(fault.kind, Kind::Gone, "{fault}");
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        let began = Instant::now();
        let wanted = WindowSpec { transport, ..spec(500, 1000) };
        let window = probe.window(&wanted, NEVER).unwrap();
        assert_eq!((window.samples.len(), window.lost), (500, 500), "{:?}", window.notes);
        assert!(window.samples.iter().all(Sample::is_lost));
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        println!("{transport:?}: {fault}; {:?}", window.notes);
    }
    // Without carrier it says so.
    link::run("ip", &["link", "set", NEAR_NIC, "down"]);
    let mut probe = Probe::open(&host, &peer, options(Transport::Udp)).unwrap();
    let fault = probe.settle(Duration::from_millis(200), NEVER).unwrap_err();
    assert_eq!(fault.to_string(), format!("settle on {NEAR_NIC}: no carrier"));
}

#[test]
fn who_is_dead_is_told_by_a_second_peer() {
    if !ready("who_is_dead_is_told_by_a_second_peer") {
        return;
    }
    let link = Link::new(1);
    let (alive, dead) = (link.reflect(), link.reflect());
    let (alive_peer, dead_peer) = (alive.peer(FAR), dead.peer(FAR));
    dead.stop();
    let options = options(Transport::Udp);
    let limit = Duration::from_millis(300);
    let second = Second::Peer(alive_peer.clone());
    let ask = |peer, second| confirm_dead(peer, &options, second, limit).unwrap();
    assert!(matches!(ask(&alive_peer, None), Dead::Nobody(_)));
    assert!(matches!(ask(&dead_peer, None), Dead::Unknown(_)));
    assert!(matches!(ask(&dead_peer, Some(&second)), Dead::Peer(_)));
    link::run("ip", &["link", "set", NEAR_NIC, "down"]);
    let dead = ask(&dead_peer, Some(&second));
    assert!(matches!(dead, Dead::Nic(_)), "{dead:?}");
    alive.stop();
}

#[test]
fn duplicates_reordering_lateness_and_residence_are_told_apart() {
    if !ready("duplicates_reordering_lateness_and_residence_are_told_apart") {
        return;
    }
    let link = Link::new(1);
    let bad = link.misbehave();
    let host = Linux::new().unwrap();
    let mut probe = Probe::open(&host, &bad.peer(FAR), options(Transport::Udp)).unwrap();
    let wanted = WindowSpec { flows: 1, ..spec(100, 4000) };
    let window = probe.window(&wanted, NEVER).unwrap();
    println!("{:?} {:?}", window.split, window.notes);
    assert_eq!(window.samples.len(), 400);
    let expected = link::Mischief::of(&window.samples);
    let (duplicated, reordered) = (window.duplicated, window.reordered);
    let seen = link::Mischief { duplicated, reordered, late: window.late, lost: window.lost };
    assert_eq!(seen, expected);
    // Each reply is held for 3 ms between T2 and T3: that is the reflector's, not the network's.
    assert!(window.split["reflector"].p50 >= 3_000_000, "{:?}", window.split);
    assert!(window.split["wire"].p50 < 1_000_000, "{:?}", window.split);
    bad.stop();
}

#[test]
fn flows_reach_every_receive_queue() {
    if !ready("flows_reach_every_receive_queue") {
        return;
    }
    let link = Link::new(4);
    let reflector = link.reflect();
    let host = Linux::new().unwrap();
    let mut probe = Probe::open(&host, &reflector.peer(FAR), options(Transport::Udp)).unwrap();
    probe.settle(Duration::from_secs(5), NEVER).unwrap();
    let wanted = WindowSpec { flows: 1, ..spec(1000, 500) };
    let window = probe.window(&wanted, NEVER).unwrap();
    println!("per queue {:?}, {:?}", window.per_queue, window.notes);
    assert_eq!(window.per_queue.len(), 4);
    assert!(window.per_queue.iter().all(|&packets| packets > 0), "{:?}", window.per_queue);
    reflector.stop();
}

#[test]
fn a_window_stops_on_request_and_stays_in_its_namespace() {
    if !ready("a_window_stops_on_request_and_stays_in_its_namespace") {
        return;
    }
    let link = Link::new(1);
    let reflector = link.reflect();
    let host = Linux::new().unwrap();
    let peer = reflector.peer(FAR);
    let mut probe = Probe::open(&host, &peer, options(Transport::Udp)).unwrap();
    let began = Instant::now();
    let stop = || began.elapsed() > Duration::from_millis(500);
    let window = probe.window(&spec(1000, 60_000), &stop).unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(window.cut_short.is_some());
    assert_eq!(window.lost, 0, "nothing that had no time to be sent is lost: {:?}", window.notes);
    assert!((300..600).contains(&window.samples.len()), "{}", window.samples.len());
    assert!(window.length_ns < 1_000_000_000);
    let too_small = WindowSpec { payload: stamp::BASE as u32 - 1, ..spec(1000, 100) };
    assert_eq!(probe.window(&too_small, NEVER).unwrap_err().kind, Kind::Invalid);
    let _elsewhere = tests::Netns::new();
    assert_eq!(probe.window(&spec(10, 100), NEVER).unwrap_err().kind, Kind::Drift);
    reflector.stop();
}
