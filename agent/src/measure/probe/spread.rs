//! Spreading flows over the local NIC's receive queues, with the queues' own counters as proof.
//!
//! Which queue a flow's replies hit is the NIC's business (its hash, key and indirection table), so it is
//! not computed but tried: packets on one flow, and the queue whose counter rose by as many is its queue.

use std::{net::UdpSocket, os::fd::AsFd};

use crate::{
    fault::Result,
    measure::{
        clock, counters,
        counters::{Counted, statistics},
        sockets::{self, Stamps},
    },
};

use super::{Probe, udp};

/// What is known of the queues that the flows hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// Not looked into: no NIC, or no `settle` yet.
    Unknown,
    /// The driver counts nothing by queue.
    Uncounted,
    /// It does, so that each window shows which queues it exercised.
    Counted,
}

impl Reach {
    /// What a window's reader should know. The window's own counters decide where there are some.
    pub(super) fn note(&self, per_queue: &[u64]) -> Option<String> {
        let unproven = "not proven that every receive queue was exercised";
        let idle = per_queue.iter().enumerate().filter(|(_, packets)| **packets == 0);
        let idle: Vec<String> = idle.map(|(queue, _)| queue.to_string()).collect();
        match self {
            Reach::Unknown => None,
            Reach::Uncounted => Some(format!("the driver counts no packets by queue: {unproven}")),
            // veth counts by queue only what its NAPI receives; others have no counter for a mode.
            Reach::Counted if idle.len() == per_queue.len() => {
                Some(format!("the driver's counters by queue did not move: {unproven}"))
            }
            Reach::Counted => (!idle.is_empty()).then(|| {
                format!("receive queues without a packet in this window: {}", idle.join(", "))
            }),
        }
    }
}

/// Packets on one flow: enough to stand out from other traffic, few enough to be no load.
const BURST: u64 = 32;

/// Adds flows, from other source ports, until every queue was hit; at most two seconds and eight flows a
/// queue. Flows of before are tried first, so that windows keep comparing the same ones.
pub(super) fn over_queues(probe: &mut Probe<'_>, stop: &dyn Fn() -> bool) -> Result<()> {
    let Some(nic) = probe.counted.clone() else { return Ok(()) };
    let queues = packets(probe, &nic).len();
    if queues == 0 {
        probe.reach = Reach::Uncounted;
        return Ok(());
    }
    let until = clock::monotonic_ns() + 2_000_000_000;
    let tries = (8 * queues + 8).min(udp::FLOWS_MAX);
    let mut missed: Vec<usize> = (0..queues).collect();
    let mut tried = 0;
    while !missed.is_empty() && tried < tries && clock::monotonic_ns() < until && !stop() {
        let known = probe.ports.get(tried).copied();
        tried += 1;
        let (way, peer) = (&probe.options.way, probe.peer);
        // A port of before that is taken now is given up by the next window, which notes it.
        let Ok(socket) = sockets::open_udp(way, known.unwrap_or(0), peer, Stamps::Receive) else {
            continue;
        };
        let hit = queue_of(probe, &nic, &socket);
        let news = hit.is_some_and(|queue| missed.contains(&queue));
        missed.retain(|&queue| Some(queue) != hit);
        if known.is_none() && (news || probe.ports.is_empty()) {
            probe.ports.extend(socket.local_addr().map(|a| a.port()).ok());
        }
    }
    if !missed.is_empty() {
        // Not found by trying (statistics that the NIC renews once a second, an indirection table that
        // leaves queues out): many flows then, and the window's own counters tell.
        let many = (4 * queues).max(probe.ports.len()).min(udp::FLOWS_MAX);
        probe.ports.resize(many, 0);
    }
    probe.reach = Reach::Counted;
    Ok(())
}

/// Packets received so far, by queue.
fn packets(probe: &Probe<'_>, nic: &Counted) -> Vec<u64> {
    if nic.withheld.is_some() {
        return Vec::new();
    }
    let own = statistics::read(probe.host, &nic.name).unwrap_or_default();
    counters::queues::read(probe.host, &nic.name, &own)
}

/// The queue that this flow's replies hit, where exactly one counter rose by as many.
fn queue_of(probe: &mut Probe<'_>, nic: &Counted, socket: &UdpSocket) -> Option<usize> {
    let before = packets(probe, nic);
    let mut back = 0;
    let mut buffer = [0; 1024];
    for _ in 0..BURST {
        probe.sequence = probe.sequence.wrapping_add(1);
        // A failed send shows as a missing reply.
        let _ = udp::request(socket, probe.sequence);
        clock::sleep_until(clock::monotonic_ns() + 100_000);
        while sockets::receive_now(socket.as_fd(), &mut buffer).is_ok() {
            back += 1;
        }
    }
    let until = clock::monotonic_ns() + 50_000_000;
    while back < BURST && clock::monotonic_ns() < until {
        clock::sleep_until(clock::monotonic_ns() + 500_000);
        while sockets::receive_now(socket.as_fd(), &mut buffer).is_ok() {
            back += 1;
        }
    }
    let after = packets(probe, nic);
    if back == 0 || before.len() != after.len() {
        return None;
    }
    let rises = before.iter().zip(&after).map(|(then, now)| now.saturating_sub(*then));
    let mut hit = rises.enumerate().filter(|(_, rise)| *rise >= back);
    match (hit.next(), hit.next()) {
        (Some((queue, _)), None) => Some(queue),
        // None, or other traffic on another queue hides which.
        (_, _) => None,
    }
}
