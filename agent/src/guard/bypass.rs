//! Programs that drive a NIC past the kernel: the probe's packets, which go through it, do not take
//! their path, so they say nothing about them.

use policy::holders::{Certainty, Holder, Signal};

use super::{look_by, scene::Breadth};
use crate::{
    host::{Host, Nic},
    inventory::look::Look,
};

/// By these a program drives the port itself. A virtual function's user does not: its packets are others.
const SIGNALS: [Signal; 7] = [
    Signal::AfXdp,
    Signal::Rdma,
    Signal::Onload,
    Signal::PfRing,
    Signal::Netmap,
    Signal::Exanic,
    Signal::MemoryProvider,
];

/// What each program that bypasses the kernel on `nic` is and holds, in words; empty where none is found.
/// Where it cannot be found out, that is said as one that does.
pub fn holders(host: &dyn Host, nic: &Nic) -> Vec<String> {
    let report = look_by(&Look::new(host), std::slice::from_ref(nic), &SIGNALS, Breadth::Ports);
    // Onload over AF_XDP, and netmap, may be anywhere: that they run at all says nothing of this NIC.
    let vague = |holder: &Holder| {
        holder.certainty == Certainty::Unknown
            && holder.process.is_some()
            && matches!(holder.signal, Signal::Onload | Signal::Netmap)
    };
    let here = report.holders.iter().filter(|holder| !vague(holder));
    here.map(ToString::to_string).collect()
}
