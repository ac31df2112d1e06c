//! Measuring a simulated machine: windows drawn from its [`Traffic`](super::Traffic) model, and the
//! counters that its packets move.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Machine, Sim, State,
    machine::SimNic,
    model::{Fate, Weather},
    random::Random,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic},
    log::firmware::Outage,
    measure::{Each, Meter, Pinger, Reach, Sample, Window, WindowSpec, window::Quantiles},
};

/// How often a window looks whether it is to stop, and how the machine has changed.
const SLICE: Duration = Duration::from_millis(100);
/// A window longer than this many packets is refused: memory is bounded.
const SAMPLES_MAX: u64 = 20_000_000;

/// The probe of a simulated host: no packets, the same numbers for the same seed.
pub struct SimMeter {
    sim: Arc<Sim>,
    nic: String,
    random: Random,
}

impl SimMeter {
    /// Measures `nic` of `sim`; `seed` decides every sample.
    pub fn new(sim: Arc<Sim>, nic: &str, seed: u64) -> SimMeter {
        SimMeter { sim, nic: nic.to_owned(), random: Random::new(seed) }
    }
}

/// What a restart costs, in the simulation's own time: no host call, since a ping is none.
struct SimPinger {
    sim: Arc<Sim>,
    began_ns: u64,
}

impl Pinger for SimPinger {
    fn end(self: Box<Self>, _: Duration) -> Outage {
        let now_ns = self.sim.with(|state| state.mono_ns);
        let ms = now_ns.saturating_sub(self.began_ns) / 1_000_000;
        Outage { ms, over: true, how: "simulated: from the restart until it was mended".to_owned() }
    }
}

/// Pings in the simulation's own time.
pub struct SimReach {
    pub sim: Arc<Sim>,
}

impl Reach for SimReach {
    fn peer(&self, nic: &str, peer: &str) -> Result<Box<dyn Pinger>, String> {
        match self.sim.with(|state| state.machine.nic(nic).is_some_and(|nic| state.carrier(nic))) {
            true => Ok(begin(&self.sim)),
            false => Err(format!("{nic} does not reach {peer}")),
        }
    }

    fn neighbour(&self, nic: &Nic) -> Result<Box<dyn Pinger>, String> {
        self.peer(&nic.name, "a neighbour")
    }
}

fn begin(sim: &Arc<Sim>) -> Box<dyn Pinger> {
    let began_ns = sim.with(|state| state.mono_ns);
    Box::new(SimPinger { sim: Arc::clone(sim), began_ns })
}

impl Meter for SimMeter {
    fn pinger(&mut self) -> Option<Box<dyn Pinger>> {
        Some(begin(&self.sim))
    }

    fn settle(&mut self, limit: Duration, stop: &dyn Fn() -> bool) -> Result<Duration> {
        let began = self.sim.now().mono_ns;
        loop {
            let waited = Duration::from_nanos(self.sim.now().mono_ns - began);
            let carries = self
                .sim
                .with(|state| state.machine.nic(&self.nic).is_some_and(|nic| state.carrier(nic)));
            if carries {
                return Ok(waited);
            }
            let act = format!("wait for the link of {}", self.nic);
            if stop() {
                return Err(Fault::new(Kind::Io, act, "stopped"));
            }
            if waited >= limit {
                let cause = format!("no carrier after {} ms", waited.as_millis());
                return Err(Fault::new(Kind::Gone, act, cause));
            }
            self.sim.wait(SLICE.min(limit));
        }
    }

    fn watched(
        &mut self,
        spec: &WindowSpec,
        stop: &dyn Fn() -> bool,
        each: Each<'_>,
    ) -> Result<Window> {
        let length_ns = u64::try_from(spec.length.as_nanos()).unwrap_or(u64::MAX);
        let due = u128::from(length_ns) * u128::from(spec.rate) / 1_000_000_000;
        if due > u128::from(SAMPLES_MAX) {
            let act = format!("measure {}", self.nic);
            return Err(Fault::new(Kind::Invalid, act, format!("{due} packets are too many")));
        }
        // The two host calls of a window: a crash can fall before its first packet or after its last.
        self.sim.wait(Duration::ZERO);
        let mut window =
            self.sim.with(|state| Window { began_utc_ns: state.utc_ns, ..Window::default() });
        let before = self.sim.with(|state| state.counters.clone());
        let mut at_ns = 0;
        while at_ns < length_ns && window.cut_short.is_none() {
            let until_ns = length_ns.min(at_ns + SLICE.as_nanos() as u64);
            let seen = window.samples.len();
            self.slice(spec, at_ns, until_ns, &mut window);
            at_ns = until_ns;
            if each(&window.samples[seen..]) {
                window.cut_short = Some(Window::CALLED_EARLY.to_owned());
            } else if at_ns < length_ns && stop() {
                window.cut_short = Some("stopped".to_owned());
            }
        }
        self.sim.wait(Duration::ZERO);
        window.length_ns = at_ns;
        self.sim.with(|state| close(state, &self.nic, &before, &mut window));
        Ok(window)
    }
}

impl SimMeter {
    /// Sends what is due from `from_ns` up to `until_ns`, under the settings that hold now.
    fn slice(&mut self, spec: &WindowSpec, from_ns: u64, until_ns: u64, window: &mut Window) {
        let rate = u64::from(spec.rate.max(1));
        let first = (from_ns * rate).div_ceil(1_000_000_000);
        let random = &mut self.random;
        let name = &self.nic;
        self.sim.with(|state| {
            state.advance(until_ns - from_ns);
            super::script::due(state, state.calls.saturating_sub(1));
            let mut counted: BTreeMap<(u32, u32), u64> = BTreeMap::new();
            let mut missed = 0;
            let nic = state.machine.nic(name).filter(|nic| state.carrier(nic));
            let born = nic.map(|nic| state.fresh(nic.ifindex)).unwrap_or_default();
            let weather = nic.map(|nic| (nic, Weather::of(&state.machine, nic, &born)));
            for i in first.. {
                let due_ns = i * 1_000_000_000 / rate;
                if due_ns >= until_ns {
                    break;
                }
                let flow = (i % u64::from(spec.flows.max(1))) as u16;
                let mut latency_ns = Sample::LOST;
                if let Some((nic, weather)) = &weather {
                    let queue = weather.queue(flow);
                    match weather.fate(queue, random) {
                        Fate::Arrives { ns } => {
                            latency_ns = ns;
                            *counted.entry((nic.ifindex, queue)).or_insert(0) += 1;
                        }
                        Fate::Missed => missed += 1,
                    }
                }
                window.samples.push(Sample { due_ns, latency_ns, flow });
            }
            let ifindex = nic.map(|nic| nic.ifindex);
            let sent = window.samples.len() as u64 - window.sent;
            window.sent += sent;
            state.counters.add(ifindex, &counted, sent, missed);
        });
    }
}

/// Fills in the counters' movement over the window.
fn close(state: &State, nic: &str, before: &Counters, window: &mut Window) {
    window.lost = window.samples.iter().filter(|s| s.is_lost()).count() as u64;
    window.load_pps = state.machine.traffic.load_pps;
    window.stamps = BTreeMap::from([("software".to_owned(), window.sent - window.lost)]);
    let arrived = window.samples.iter().filter(|s| !s.is_lost()).map(|s| s.latency_ns);
    let mut sorted: Vec<u64> = arrived.collect();
    sorted.sort_unstable();
    let at = |share: f64| -> u64 {
        let i = (share * sorted.len() as f64) as usize;
        sorted.get(i.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    let split = Quantiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) };
    window.split = BTreeMap::from([("receiver".to_owned(), split)]);
    let Some(nic) = state.machine.nic(nic) else {
        window.notes.push("the NIC is gone".to_owned());
        return;
    };
    let (old, new) = (before.of(nic.ifindex), state.counters.of(nic.ifindex));
    let delta = |now: u64, then: u64| now as i64 - then as i64;
    window.counters = BTreeMap::from([
        ("rx_packets".to_owned(), delta(new.rx, old.rx)),
        ("tx_packets".to_owned(), delta(new.tx, old.tx)),
        ("rx_missed_errors".to_owned(), delta(new.missed, old.missed)),
    ]);
    window.drops = BTreeMap::from([("rx_missed_errors".to_owned(), delta(new.missed, old.missed))]);
    window.per_queue = (0..nic.rx_queues())
        .map(|queue| {
            state.counters.received(nic.ifindex, queue) - before.received(nic.ifindex, queue)
        })
        .collect();
    window.tcp_out = state.counters.tcp_out - before.tcp_out;
    window.tcp_retransmitted = state.counters.tcp_retransmitted - before.tcp_retransmitted;
}

/// What the kernel and the NICs count.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    nics: BTreeMap<u32, NicCount>,
    queues: BTreeMap<(u32, usize), u64>,
    tcp_out: u64,
    tcp_retransmitted: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NicCount {
    pub(super) rx: u64,
    pub(super) tx: u64,
    pub(super) missed: u64,
}

impl NicCount {
    pub(super) fn statistic(self, name: &str) -> u64 {
        match name {
            "rx_packets" => self.rx,
            "tx_packets" => self.tx,
            "rx_bytes" => self.rx * 100,
            "tx_bytes" => self.tx * 100,
            "rx_missed_errors" => self.missed,
            _ => 0,
        }
    }
}

impl Counters {
    pub(super) fn of(&self, ifindex: u32) -> NicCount {
        self.nics.get(&ifindex).copied().unwrap_or_default()
    }

    pub(super) fn received(&self, ifindex: u32, queue: usize) -> u64 {
        self.queues.get(&(ifindex, queue)).copied().unwrap_or(0)
    }

    fn add(
        &mut self,
        ifindex: Option<u32>,
        received: &BTreeMap<(u32, u32), u64>,
        sent: u64,
        missed: u64,
    ) {
        self.tcp_out += sent;
        self.tcp_retransmitted += missed;
        let Some(ifindex) = ifindex else { return };
        let nic = self.nics.entry(ifindex).or_default();
        nic.tx += sent;
        nic.missed += missed;
        for ((_, queue), count) in received {
            nic.rx += count;
            *self.queues.entry((ifindex, *queue as usize)).or_insert(0) += count;
        }
    }

    /// /proc/interrupts: a row a vector, its packets on the first CPU of its affinity.
    pub(super) fn interrupts(&self, state: &State) -> String {
        let cpus = state.machine.cpus;
        let head: String = (0..cpus).map(|cpu| format!(" {:>10}", format!("CPU{cpu}"))).collect();
        let mut out = format!("     {head}\n");
        for nic in &state.machine.nics {
            for vector in 0..nic.vectors() {
                let affinity = nic.irq.get(vector).and_then(|list| super::cpus::parse_list(list));
                let home = affinity.and_then(|set| set.first().copied()).unwrap_or(0);
                let count = self.received(nic.ifindex, vector);
                let row: String = (0..cpus)
                    .map(|cpu| format!(" {:>10}", if cpu == home { count } else { 0 }))
                    .collect();
                let irq = state.irq(nic.ifindex, vector);
                let label = nic.irq_label(vector);
                out += &format!("{irq:>4}:{row}  PCI-MSI {irq}-edge      {label}\n");
            }
        }
        out
    }

    /// /proc/net/softnet_stat: processed, dropped, time_squeeze, …, CPU number as the 13th word.
    pub(super) fn softnet(&self, cpus: u32) -> String {
        let all: u64 = self.nics.values().map(|nic| nic.rx).sum();
        (0..cpus)
            .map(|cpu| {
                let seen = if cpu == 0 { all } else { 0 };
                let zeros = " 00000000".repeat(11);
                format!("{seen:08x}{zeros} {cpu:08x} 00000000 00000000\n")
            })
            .collect()
    }

    pub(super) fn snmp(&self) -> String {
        format!(
            "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails \
             EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n\
             Tcp: 1 200 120000 -1 0 0 0 0 0 {} {} {} 0 0 0\n\
             Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors \
             IgnoredMulti MemErrors\nUdp: 0 0 0 0 0 0 0 0 0\n",
            self.tcp_out, self.tcp_out, self.tcp_retransmitted
        )
    }

    pub(super) fn netstat(&self) -> String {
        "TcpExt: ListenDrops TCPTimeouts TCPBacklogDrop\nTcpExt: 0 0 0\n".to_owned()
    }

    pub(super) fn net_dev(&self, machine: &Machine) -> String {
        let mut out =
            "Inter-|   Receive                                                |  Transmit\n \
                       face |bytes    packets errs drop fifo frame compressed multicast|bytes    \
                       packets errs drop fifo colls carrier compressed\n"
                .to_owned();
        for nic in &machine.nics {
            let n = self.of(nic.ifindex);
            let (rx, tx) = (n.rx, n.tx);
            out += &format!(
                "{:>6}: {} {rx} 0 {} 0 0 0 0 {} {tx} 0 0 0 0 0 0\n",
                nic.name,
                rx * 100,
                n.missed,
                tx * 100
            );
        }
        out
    }
}

impl State {
    /// The driver's statistics: those of the traffic, a pair a queue, and those the machine adds.
    pub(super) fn stats(&self, nic: &SimNic) -> Vec<(String, u64)> {
        if nic.driver.is_empty() {
            return Vec::new();
        }
        let count = self.counters.of(nic.ifindex);
        let mut stats = vec![
            ("rx_packets".to_owned(), count.rx),
            ("tx_packets".to_owned(), count.tx),
            ("rx_missed_errors".to_owned(), count.missed),
        ];
        for queue in 0..nic.rx_queues() {
            let packets = self.counters.received(nic.ifindex, queue);
            stats.push((format!("rx_queue_{queue}_packets"), packets));
        }
        stats.extend(nic.stats.iter().map(|(name, value)| (name.clone(), *value)));
        stats
    }
}
