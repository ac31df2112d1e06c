//! The front of a running window: packets whose fate is known, passed on in the order they were due.

use std::sync::atomic::Ordering;

use crate::measure::Sample;

use super::{
    Live,
    merge::{Arrival, Context, Timing, timing},
    udp::{Receiver, Shared},
};

/// How long the departure stamp of an answered packet is waited for; nanoseconds. It comes by the error
/// queue, mostly before the answer.
const STAMP_WAIT_NS: u64 = 20_000_000;
/// Packets looked at in one go, so that the collector is soon back at its sockets.
const STEP_MAX: usize = 4096;

/// How far a window has come.
pub(super) struct Front<'a> {
    context: Context<'a>,
    next: usize,
    /// By flow: packets sent so far, by which the kernel numbers departures.
    sent: Vec<usize>,
}

impl<'a> Front<'a> {
    pub(super) fn new(shared: &Shared<'a>) -> Front<'a> {
        let context = shared.context();
        let sent = vec![0; context.flows];
        Front { context, next: 0, sent }
    }

    /// Passes on every packet up to the first whose fate is open.
    pub(super) fn advance(
        &mut self,
        receiver: &Receiver,
        shared: &Shared<'_>,
        now_ns: u64,
        live: &Live,
    ) {
        for _ in 0..STEP_MAX {
            if self.next >= shared.reached.load(Ordering::Acquire) {
                return;
            }
            let (packet, flow) = (self.next, self.next % self.context.flows);
            let sent_ns = shared.sent[packet].load(Ordering::Acquire);
            let Some(latency_ns) = self.fate(receiver, packet, sent_ns, now_ns) else { return };
            self.sent[flow] += usize::from(sent_ns != 0);
            self.next += 1;
            let due_ns = self.context.plan.due_ns[packet];
            live.put(Sample { due_ns, latency_ns, flow: flow as u16 });
        }
    }

    /// The packet's latency as the window will have it; `None` while it may still come.
    fn fate(&self, receiver: &Receiver, packet: usize, sent_ns: u64, now_ns: u64) -> Option<u64> {
        let flow = packet % self.context.flows;
        let mut arrival: Arrival = receiver.arrivals[packet];
        let stamps = receiver.departures[flow].get(self.sent[flow]).copied().unwrap_or_default();
        (arrival.departed_ns, arrival.departed_hw_ns) = stamps;
        let since = |then: u64| now_ns.saturating_sub(then);
        match timing(&self.context, sent_ns, &arrival) {
            Timing::Back(times) => {
                let waits = arrival.departed_ns == 0 && since(arrival.back_ns) < STAMP_WAIT_NS;
                (!waits).then(|| times.latency())
            }
            Timing::Lost => (since(sent_ns) > self.context.timeout_ns).then_some(Sample::LOST),
            Timing::Unsent | Timing::Late => Some(Sample::LOST),
        }
    }
}
