//! Request/response over TCP, and the fault that the demo mends.

use std::time::Duration;

use agent::{
    host::linux::Linux,
    measure::{Meter, Window, WindowSpec, probe::Probe, quantiles},
};
use playbooks::playbook::Transport;

use crate::{
    NEVER,
    link::{FAR, Link, ready},
    options, spec,
};

fn p50(window: &Window) -> u64 {
    let sorted = quantiles::sorted_latencies(&window.samples);
    quantiles::quantile(&sorted, 0.5).unwrap()
}

#[test]
fn a_crippled_receive_buffer_is_seen_on_new_connections() {
    if !ready("a_crippled_receive_buffer_is_seen_on_new_connections") {
        return;
    }
    let link = Link::new(1);
    let reflector = link.reflect();
    let host = Linux::new().unwrap();
    let mut probe = Probe::open(&host, &reflector.peer(FAR), options(Transport::Tcp)).unwrap();
    probe.settle(Duration::from_secs(5), NEVER).unwrap();
    let wanted =
        WindowSpec { transport: Transport::Tcp, payload: 65_536, flows: 2, ..spec(100, 2000) };
    let set = |value| std::fs::write("/proc/sys/net/ipv4/tcp_rmem", value).unwrap();
    let usual = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").unwrap();
    set("4096 4096 4096");
    let crippled = probe.window(&wanted, NEVER).unwrap();
    set(&usual);
    let mended = probe.window(&wanted, NEVER).unwrap();
    println!("crippled p50 {} ns, lost {}", p50(&crippled), crippled.lost);
    println!("crippled {:?} {:?}", crippled.split, crippled.notes);
    println!("mended p50 {} ns, lost {}, {:?}", p50(&mended), mended.lost, mended.split);
    assert_eq!(mended.samples.len(), 200);
    assert_eq!((mended.sent, mended.lost), (200, 0), "{:?}", mended.notes);
    assert!(p50(&crippled) > 2 * p50(&mended), "{} against {}", p50(&crippled), p50(&mended));
    assert!(mended.tcp_out > 400, "{}", mended.tcp_out);
    assert_eq!(mended.stamps.get("user-space"), Some(&200));
    let stats = reflector.stop();
    assert_eq!((stats.tcp_malformed, stats.tcp_refused), (0, 0), "{stats:?}");
}

#[test]
fn small_and_large_messages_come_back_whole() {
    if !ready("small_and_large_messages_come_back_whole") {
        return;
    }
    let link = Link::new(1);
    let reflector = link.reflect();
    let host = Linux::new().unwrap();
    let mut probe = Probe::open(&host, &reflector.peer(FAR), options(Transport::Tcp)).unwrap();
    for (payload, rate) in [(1, 2000), (64, 2000), (1 << 20, 20)] {
        let wanted = WindowSpec { transport: Transport::Tcp, payload, ..spec(rate, 1000) };
        let window = probe.window(&wanted, NEVER).unwrap();
        println!("{payload}: p50 {} ns, {:?}", p50(&window), window.split);
        assert_eq!((window.sent, window.lost), (u64::from(rate), 0), "{:?}", window.notes);
    }
    reflector.stop();
}
