//! When each packet of a window is due, and how large it is. Pure: the same spec gives the same
//! schedule, so that baseline and candidate carry the same traffic.
//!
//! With `n = length * rate` packets in a window of length `W`:
//!
//! - `calm`: one packet every `1 / rate`.
//! - `microburst`: bursts of `rate / 100` packets (at least 8) due at the same instant and sent back to
//!   back, one burst every `burst / rate` seconds: 10 ms at rates from 800 on.
//! - `open-burst`: a market's opening. Half of the packets are even, the other half decays exponentially
//!   from the window's start with time constant `W / 20`: it begins at 10.5 times the mean rate and has
//!   come down to the even half after a quarter of the window.
//! - `close-burst`: the same backwards in time.
//! - `replay:FILE`: the times and sizes of a recorded trace ([`replay`]), over and over until the window
//!   ends; `rate` and `payload` do not apply.

pub mod replay;

use playbooks::playbook::{Pattern, Transport};

use crate::fault::{Fault, Kind, Result};

use super::{WindowSpec, message, stamp};

/// The most packets in one window.
pub const PACKETS_MAX: u64 = playbooks::playbook::Verify::PACKETS_MAX;

/// Every packet of a window, in order of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Nanoseconds since the window's start; never decreasing.
    pub due_ns: Vec<u64>,
    sizes: Sizes,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Sizes {
    Same(u32),
    Each(Vec<u32>),
}

impl Schedule {
    /// Bytes of payload of packet `index`.
    pub fn size(&self, index: usize) -> u32 {
        match &self.sizes {
            Sizes::Same(size) => *size,
            Sizes::Each(sizes) => sizes.get(index).copied().unwrap_or(0),
        }
    }

    /// The largest payload.
    pub fn size_max(&self) -> u32 {
        match &self.sizes {
            Sizes::Same(size) => *size,
            Sizes::Each(sizes) => sizes.iter().copied().max().unwrap_or(0),
        }
    }
}

/// The smallest and largest payload of a transport, bytes.
pub fn payload_range(transport: Transport) -> (u32, u32) {
    match transport {
        // An IPv4 datagram of 65535 bytes less its headers.
        Transport::Udp => (stamp::BASE as u32, 65_507),
        Transport::Tcp => (1, message::BODY_MAX),
    }
}

/// Lays a window out. Refuses a spec outside the contract's limits, and a window of more than
/// [`PACKETS_MAX`] packets or of none.
pub fn plan(spec: &WindowSpec) -> Result<Schedule> {
    let refuse = |cause: String| Err(Fault::new(Kind::Invalid, "lay out a probe window", cause));
    let (least, most) = payload_range(spec.transport);
    if !(least..=most).contains(&spec.payload) {
        return refuse(format!("payload of {} bytes, not {least} to {most}", spec.payload));
    }
    if !(1..=1_000_000).contains(&spec.rate) {
        return refuse(format!("rate of {} packets a second, not 1 to 1000000", spec.rate));
    }
    let length_ns = u64::try_from(spec.length.as_nanos()).unwrap_or(u64::MAX);
    let packets = u128::from(length_ns) * u128::from(spec.rate) / 1_000_000_000;
    if let Pattern::Replay(file) = &spec.pattern {
        let trace = replay::load(std::path::Path::new(file))?;
        return repeat(&trace, length_ns, (least, most));
    }
    if packets == 0 {
        return refuse(format!("no packet falls due in {:?} at {}/s", spec.length, spec.rate));
    }
    if packets > u128::from(PACKETS_MAX) {
        return refuse(format!("{packets} packets in one window, at most {PACKETS_MAX}"));
    }
    let count = packets as u64;
    let rate = u64::from(spec.rate);
    let due_ns = match &spec.pattern {
        Pattern::Calm => (0..count).map(|i| i * 1_000_000_000 / rate).collect(),
        Pattern::Microburst => {
            let burst = (rate / 100).max(8);
            (0..count).map(|i| i / burst * burst * 1_000_000_000 / rate).collect()
        }
        Pattern::OpenBurst => opening(count, length_ns),
        Pattern::CloseBurst => {
            let mut due = opening(count, length_ns);
            due.reverse();
            // The opening's first packet is due at 0; the closing's last one a moment before the end.
            due.iter_mut().for_each(|d| *d = length_ns - 1 - *d);
            due
        }
        Pattern::Replay(_) => Vec::new(),
    };
    Ok(Schedule { due_ns, sizes: Sizes::Same(spec.payload), notes: Vec::new() })
}

/// Inverts `F(u) = u / 2 + (1 - exp(-20 u)) / (2 (1 - exp(-20)))`, the share of packets due by the
/// share `u` of the window. F is concave, so Newton's steps from the packet before never overshoot.
fn opening(count: u64, length_ns: u64) -> Vec<u64> {
    const DECAY: f64 = 20.0;
    let whole = 1.0 - (-DECAY).exp();
    let mut u = 0.0_f64;
    let mut due = Vec::with_capacity(count as usize);
    for i in 0..count {
        let share = i as f64 / count as f64;
        for _ in 0..6 {
            let tail = (-DECAY * u).exp();
            let value = u / 2.0 + (1.0 - tail) / (2.0 * whole);
            let slope = 0.5 + DECAY * tail / (2.0 * whole);
            u += (share - value) / slope;
        }
        due.push(((u * length_ns as f64) as u64).min(length_ns - 1));
    }
    due
}

/// A trace end to end, over and over, until the window is full.
fn repeat(trace: &replay::Trace, length_ns: u64, (least, most): (u32, u32)) -> Result<Schedule> {
    let mut due_ns = Vec::new();
    let mut sizes = Vec::new();
    let mut resized = 0_u64;
    let mut lap_ns = 0_u64;
    'laps: loop {
        for packet in &trace.packets {
            let due = lap_ns.saturating_add(packet.offset_ns);
            if due >= length_ns {
                break 'laps;
            }
            if due_ns.len() as u64 == PACKETS_MAX {
                let cause = format!("more than {PACKETS_MAX} packets in one window");
                return Err(Fault::new(Kind::Invalid, "lay out a replayed window", cause));
            }
            let size = packet.payload.clamp(least, most);
            resized += u64::from(size != packet.payload);
            due_ns.push(due);
            sizes.push(size);
        }
        lap_ns = lap_ns.saturating_add(trace.lap_ns);
    }
    let mut notes = Vec::new();
    if resized > 0 {
        notes.push(format!(
            "{resized} of {} replayed packets have a payload outside {least} to {most} bytes and were \
             sent at the nearest of the two",
            due_ns.len()
        ));
    }
    Ok(Schedule { due_ns, sizes: Sizes::Each(sizes), notes })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spec(pattern: Pattern, rate: u32, ms: u64) -> WindowSpec {
        WindowSpec {
            transport: Transport::Udp,
            length: Duration::from_millis(ms),
            rate,
            payload: 64,
            pattern,
            flows: 1,
        }
    }

    #[test]
    fn every_pattern_keeps_the_mean_rate_and_the_window() {
        for pattern in [Pattern::Calm, Pattern::OpenBurst, Pattern::CloseBurst, Pattern::Microburst]
        {
            let schedule = plan(&spec(pattern.clone(), 1000, 10_000)).unwrap();
            assert_eq!(schedule.due_ns.len(), 10_000, "{pattern:?}");
            assert!(schedule.due_ns.is_sorted());
            assert!(schedule.due_ns.iter().all(|&d| d < 10_000_000_000));
        }
    }

    #[test]
    fn bursts_have_the_documented_shape() {
        let early = |due: &[u64], by_ns| due.iter().filter(|&&d| d < by_ns).count();
        let open = plan(&spec(Pattern::OpenBurst, 1000, 10_000)).unwrap().due_ns;
        // F(0.01) = 0.005 + (1 - exp(-0.2)) / 2 = 0.0956; F(0.25) = 0.125 + 0.4966.
        assert!(early(&open, 100_000_000).abs_diff(957) <= 2);
        assert!(early(&open, 2_500_000_000).abs_diff(6217) <= 2);
        let close = plan(&spec(Pattern::CloseBurst, 1000, 10_000)).unwrap().due_ns;
        assert!(early(&close, 9_900_000_000).abs_diff(10_000 - 957) <= 2);
        let micro = plan(&spec(Pattern::Microburst, 1000, 1000)).unwrap().due_ns;
        assert_eq!(micro[..11], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10_000_000]);
        let slow = plan(&spec(Pattern::Microburst, 10, 2000)).unwrap().due_ns;
        assert_eq!((slow[7], slow[8]), (0, 800_000_000));
    }

    #[test]
    fn what_the_contract_does_not_allow_is_refused() {
        assert!(plan(&spec(Pattern::Calm, 0, 1000)).is_err());
        assert!(plan(&spec(Pattern::Calm, 1_000_001, 1000)).is_err());
        assert!(plan(&spec(Pattern::Calm, 1, 999)).is_err());
        assert!(plan(&spec(Pattern::Calm, 1_000_000, 60_000)).is_err());
        assert!(plan(&WindowSpec { payload: 43, ..spec(Pattern::Calm, 1, 1000) }).is_err());
        assert!(plan(&WindowSpec { payload: 65_508, ..spec(Pattern::Calm, 1, 1000) }).is_err());
        assert!(plan(&spec(Pattern::Replay("/no/such/file".into()), 1, 1000)).is_err());
    }

    #[test]
    fn a_trace_is_repeated_until_the_window_is_full() {
        let trace = replay::read(&b"0 100\n1000 20\n"[..]).unwrap();
        let schedule = repeat(&trace, 4_500, (44, 65_507)).unwrap();
        assert_eq!(schedule.due_ns, [0, 1000, 2000, 3000, 4000]);
        assert_eq!((schedule.size(0), schedule.size(1), schedule.size_max()), (100, 44, 100));
        assert_eq!(schedule.notes.len(), 1);
    }
}
