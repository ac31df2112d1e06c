//! From raw times to samples. Pure: every case of missing, late and impossible stamps is decided here.

use std::collections::BTreeMap;

use crate::measure::{Sample, quantiles, schedule::Schedule, window::Quantiles};

use super::counted;

/// What came back for one packet. Wall-clock times are nanoseconds since 1970; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    /// T1 and T4, the kernel's stamps.
    pub departed_ns: i64,
    pub arrived_ns: i64,
    /// The same by the NIC's own clock.
    pub departed_hw_ns: i64,
    pub arrived_hw_ns: i64,
    /// T2 and T3, by the reflector's clock.
    pub reflector_received_ns: i64,
    pub reflector_sent_ns: i64,
    /// When user space had the reply, CLOCK_MONOTONIC; 0: it never came.
    pub back_ns: u64,
}

/// What is known of a window besides what came back.
pub(super) struct Context<'a> {
    pub plan: &'a Schedule,
    pub start_ns: u64,
    pub offset_ns: i64,
    pub timeout_ns: u64,
    pub flows: usize,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Merged {
    pub samples: Vec<Sample>,
    pub lost: u64,
    pub late: u64,
    pub unsent: u64,
    /// Replies whose T3 - T2 is not between 0 and the round trip: not subtracted.
    pub impossible_residence: u64,
    pub split: BTreeMap<String, Quantiles>,
    pub stamps: BTreeMap<String, u64>,
}

/// `sent_ns[i]` is when user space sent packet `i`, CLOCK_MONOTONIC; 0: never. The first `due` packets
/// are judged.
pub(super) fn merge(c: &Context<'_>, sent_ns: &[u64], arrivals: &[Arrival], due: usize) -> Merged {
    let mut merged = Merged { samples: Vec::with_capacity(due), ..Merged::default() };
    let mut parts = Parts::default();
    let [mut software, mut hardware, mut user] = [0; 3];
    let packets = c.plan.due_ns.iter().zip(sent_ns).zip(arrivals).take(due).enumerate();
    for (i, ((&due_ns, &sent), arrival)) in packets {
        let flow = i % c.flows;
        let latency_ns = match timing(c, sent, arrival) {
            Timing::Unsent => {
                merged.unsent += 1;
                Sample::LOST
            }
            Timing::Lost => Sample::LOST,
            Timing::Late => {
                merged.late += 1;
                Sample::LOST
            }
            Timing::Back(times) => {
                match times.by {
                    By::Software => software += 1,
                    By::Hardware => hardware += 1,
                    By::UserSpace => user += 1,
                }
                merged.impossible_residence += u64::from(times.residence.is_none());
                let (residence, latency) = (times.residence.unwrap_or(0), times.latency());
                parts.wire.push(latency);
                parts.reflector.push(residence);
                parts.sender.push((times.departed - c.real(c.start_ns + due_ns)).max(0) as u64);
                parts.stack.push((times.departed - c.real(sent)).max(0) as u64);
                parts.receiver.push((c.real(arrival.back_ns) - times.arrived).max(0) as u64);
                latency
            }
        };
        merged.lost += u64::from(latency_ns == Sample::LOST);
        merged.samples.push(Sample { due_ns, latency_ns, flow: flow as u16 });
    }
    merged.stamps =
        counted(&[("software", software), ("hardware", hardware), ("user-space", user)]);
    merged.split = parts.summarize();
    merged
}

/// Gives each packet its departure stamps (software, hardware). `departures[flow][n]` is of the flow's
/// `n`th packet by the kernel's numbering, which counts what was sent. Some kernels count a failed send
/// too: a stamp then lands on a later packet, where it is earlier than the send and so refused.
pub(super) fn number(sent_ns: &[u64], departures: &[Vec<(i64, i64)>], arrivals: &mut [Arrival]) {
    let flows = departures.len();
    for (flow, stamps) in departures.iter().enumerate() {
        let packets = sent_ns.iter().zip(&mut *arrivals).skip(flow).step_by(flows);
        let sent = packets.filter(|(sent, _)| **sent != 0);
        for ((_, arrival), (software, hardware)) in sent.zip(stamps) {
            (arrival.departed_ns, arrival.departed_hw_ns) = (*software, *hardware);
        }
    }
}

/// The same parts for every reply; the window's split is their quantiles.
#[derive(Default)]
struct Parts {
    wire: Vec<u64>,
    reflector: Vec<u64>,
    sender: Vec<u64>,
    stack: Vec<u64>,
    receiver: Vec<u64>,
}

impl Parts {
    fn summarize(self) -> BTreeMap<String, Quantiles> {
        let parts = [
            ("wire", self.wire),
            ("reflector", self.reflector),
            ("sender", self.sender),
            ("sender-stack", self.stack),
            ("receiver", self.receiver),
        ];
        let known = parts.into_iter().filter(|(_, values)| !values.is_empty());
        known.map(|(name, values)| (name.to_owned(), quantiles::summarize(values))).collect()
    }
}

pub(super) enum Timing {
    Unsent,
    Lost,
    Late,
    Back(Times),
}

enum By {
    Software,
    Hardware,
    UserSpace,
}

pub(super) struct Times {
    by: By,
    /// T1 and T4 of the system's clock, the kernel's where it gave them.
    departed: i64,
    arrived: i64,
    round_trip: u64,
    /// T3 - T2, where it is possible.
    residence: Option<u64>,
}

impl Times {
    /// `(T4 - T1) - (T3 - T2)`.
    pub(super) fn latency(&self) -> u64 {
        self.round_trip - self.residence.unwrap_or(0)
    }
}

impl Context<'_> {
    fn real(&self, monotonic_ns: u64) -> i64 {
        self.offset_ns.saturating_add_unsigned(monotonic_ns)
    }
}

pub(super) fn timing(c: &Context<'_>, sent_ns: u64, arrival: &Arrival) -> Timing {
    /// The two clocks are read nanoseconds apart.
    const SLACK_NS: i64 = 1_000;
    if sent_ns == 0 {
        return Timing::Unsent;
    }
    if arrival.back_ns == 0 {
        return Timing::Lost;
    }
    let waited = arrival.back_ns.saturating_sub(sent_ns);
    if waited > c.timeout_ns {
        return Timing::Late;
    }
    // A kernel stamp outside of what user space saw belongs to another packet, or the wall clock was
    // stepped in between.
    let (earliest, latest) = (c.real(sent_ns) - SLACK_NS, c.real(arrival.back_ns) + SLACK_NS);
    let possible =
        |stamp: i64| (stamp != 0 && (earliest..=latest).contains(&stamp)).then_some(stamp);
    let departed = possible(arrival.departed_ns);
    let arrived = possible(arrival.arrived_ns);
    let by = if departed.is_some() && arrived.is_some() { By::Software } else { By::UserSpace };
    let departed = departed.unwrap_or(c.real(sent_ns));
    let arrived = arrived.unwrap_or(c.real(arrival.back_ns)).max(departed);
    let mut round_trip = (arrived - departed).unsigned_abs();
    let mut by = by;
    if arrival.departed_hw_ns != 0 && arrival.arrived_hw_ns != 0 {
        let hardware = arrival.arrived_hw_ns.checked_sub(arrival.departed_hw_ns);
        if let Some(hardware) = hardware.and_then(|ns| u64::try_from(ns).ok())
            && hardware <= waited
        {
            (round_trip, by) = (hardware, By::Hardware);
        }
    }
    let residence = arrival.reflector_sent_ns.checked_sub(arrival.reflector_received_ns);
    let residence = residence.and_then(|ns| u64::try_from(ns).ok()).filter(|&ns| ns <= round_trip);
    Timing::Back(Times { by, departed, arrived, round_trip, residence })
}

#[cfg(test)]
mod tests {
    use playbooks::playbook::{Pattern, Transport};

    use super::*;
    use crate::measure::{WindowSpec, schedule};

    const OFFSET: i64 = 1_795_000_000_000_000_000;

    fn plan() -> Schedule {
        let spec = WindowSpec {
            transport: Transport::Udp,
            length: std::time::Duration::from_millis(8),
            rate: 1000,
            payload: 64,
            pattern: Pattern::Calm,
            flows: 2,
        };
        schedule::plan(&spec).unwrap()
    }

    /// Packet `i` sent 10 us late, stamped 2 us after that, back 30 us later, of which 12 us in the
    /// reflector; user space has it 5 us after the kernel.
    fn usual(i: u64) -> (u64, Arrival) {
        let sent = 1_000_000_000 + i * 1_000_000 + 10_000;
        let real = OFFSET + sent as i64;
        let arrival = Arrival {
            departed_ns: real + 2_000,
            arrived_ns: real + 32_000,
            reflector_received_ns: 5_000_000,
            reflector_sent_ns: 5_012_000,
            back_ns: sent + 37_000,
            ..Arrival::default()
        };
        (sent, arrival)
    }

    #[test]
    fn every_way_a_packet_can_come_back() {
        let plan = plan();
        let (mut sent, mut arrivals): (Vec<u64>, Vec<Arrival>) = (0..8).map(usual).unzip();
        arrivals[1].back_ns = 0;
        arrivals[2].back_ns = sent[2] + 2_000_000_000;
        sent[3] = 0;
        arrivals[4].departed_ns = 0;
        arrivals[5].reflector_sent_ns += 1_000_000;
        (arrivals[6].departed_hw_ns, arrivals[6].arrived_hw_ns) = (7_000, 7_000 + 25_000);
        arrivals[7].departed_ns += 900_000;
        let context = Context {
            plan: &plan,
            start_ns: 1_000_000_000,
            offset_ns: OFFSET,
            timeout_ns: 1_000_000_000,
            flows: 2,
        };
        let merged = merge(&context, &sent, &arrivals, 8);
        let latencies: Vec<u64> = merged.samples.iter().map(|s| s.latency_ns).collect();
        let lost = Sample::LOST;
        // Without T1 from the kernel user space's counts: 2 us more. An impossible residence is kept in.
        assert_eq!(latencies, [18_000, lost, lost, lost, 20_000, 30_000, 13_000, 20_000]);
        assert_eq!((merged.lost, merged.late, merged.unsent), (3, 1, 1));
        assert_eq!(merged.impossible_residence, 1);
        let stamps: Vec<(&str, u64)> =
            merged.stamps.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        assert_eq!(stamps, [("hardware", 1), ("software", 2), ("user-space", 2)]);
        assert_eq!(merged.split["sender"].max, 12_000);
        assert_eq!(merged.split["receiver"].p50, 5_000);
        assert_eq!(merged.samples[5].flow, 1);
    }

    #[test]
    fn departures_are_numbered_by_what_was_sent() {
        let (mut sent, usual): (Vec<u64>, Vec<Arrival>) = (0..6).map(usual).unzip();
        let mut arrivals = vec![Arrival::default(); 6];
        sent[2] = 0;
        let departed = |i: usize| (usual[i].departed_ns, 0);
        let departures =
            [vec![departed(0), departed(4), (0, 0)], vec![departed(1), (0, 0), departed(5)]];
        number(&sent, &departures, &mut arrivals);
        let numbered: Vec<i64> = arrivals.iter().map(|a| a.departed_ns).collect();
        assert_eq!(numbered, [0, 1, 9, 9, 4, 5].map(|i| usual.get(i).map_or(0, |u| u.departed_ns)));
    }
}
