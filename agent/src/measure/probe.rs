//! The real meter: sends probe packets through one NIC to a reflector and times the replies.
//!
//! UDP is STAMP on kernel timestamps: T1 and T4 are the kernel's send and receive stamps here, T2 and T3
//! the reflector's, and latency is `(T4 - T1) - (T3 - T2)`. How late T1 was against the schedule is kept
//! apart (`sender` in the window's split): noise of this process's scheduling, not of the network. TCP is
//! [`message`](super::message)s, timed in user space.
//!
//! Every packet that was due is a sample. A sender that stalls sends what is overdue as soon as it can.
//!
//! Sockets belong to the network namespace of the thread that called [`Probe::open`]; measuring from a
//! thread in another one is refused.

mod attend;
mod dead;
mod front;
mod merge;
mod pace;
mod ping;
mod spread;
mod tcp;
mod udp;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::atomic::AtomicBool,
    thread::Thread,
    time::Duration,
};

use playbooks::playbook::Transport;

use crate::{
    fault::{Fault, Kind, Result},
    host::Host,
};

use super::{
    Each, Meter, Window, WindowSpec, clock, counters,
    counters::Counted,
    outage::Pinger,
    peer::Peer,
    schedule::{self, Schedule},
    sockets::{self, Stamps, Way},
};

use attend::{Live, Onlooker, attend};
pub use dead::{Dead, Second, confirm_dead};

/// How to probe.
#[derive(Debug, Clone)]
pub struct Options {
    /// The NIC and source address that probe packets leave by.
    pub way: Way,
    /// What [`Meter::settle`] waits for an answer to; a window's own spec decides its transport.
    pub transport: Transport,
    /// A reply later than this is lost: at least a second.
    pub timeout: Duration,
    /// Which kernel stamps to ask for. [`Stamps::BothAndHardware`] makes the NIC stamp our packets where
    /// hardware timestamping is already on. Many NICs hold one send stamp at a time and drop ptp4l's
    /// request meanwhile, so it is not the default.
    pub stamps: Stamps,
}

impl Options {
    pub fn new(way: Way, transport: Transport) -> Options {
        Options { way, transport, timeout: Duration::from_secs(1), stamps: Stamps::Both }
    }
}

/// A probe of one peer through one NIC.
pub struct Probe<'h> {
    host: &'h dyn Host,
    peer: SocketAddr,
    options: Options,
    /// The NIC whose counters are read: the one asked for, or the one that routing chose.
    counted: Option<Counted>,
    /// Source ports, one a UDP flow. Kept from window to window, so that the same receive queues are hit.
    ports: Vec<u16>,
    /// The next STAMP sequence number: windows do not reuse one another's.
    sequence: u32,
    /// The network namespace it was opened in.
    netns: String,
    /// What is known of the receive queues that the flows hit.
    reach: spread::Reach,
}

/// What a transport measured, before counters are added.
struct Measured {
    window: Window,
    /// Packets of our own that the NIC carried, both ways.
    own_packets: u64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC when the window began.
    offset_ns: i64,
}

/// What the threads of a window share with its caller.
struct Control {
    /// Set when the window is to end early.
    over: AtomicBool,
    /// Woken when a thread is done.
    caller: Thread,
    /// CLOCK_MONOTONIC at which the schedule's zero lies.
    start_ns: u64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC at the start.
    offset_ns: i64,
    timeout_ns: u64,
}

impl Control {
    /// A window that begins in a millisecond. Made once everything large is allocated.
    fn begin(timeout: Duration) -> Control {
        Control {
            over: AtomicBool::new(false),
            caller: std::thread::current(),
            start_ns: clock::monotonic_ns() + 1_000_000,
            offset_ns: clock::realtime_offset_ns(),
            timeout_ns: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX / 4),
        }
    }
}

impl<'h> Probe<'h> {
    /// Resolves the peer (at most five seconds) and finds the NIC. Sends nothing.
    pub fn open(host: &'h dyn Host, peer: &Peer, options: Options) -> Result<Probe<'h>> {
        let peer = peer.resolve(Duration::from_secs(5))?;
        let options = Options { timeout: options.timeout.max(Duration::from_secs(1)), ..options };
        let nic = match &options.way.nic {
            Some(nic) => Some(nic.clone()),
            None => nic_towards(&options.way, peer)?,
        };
        Ok(Probe {
            host,
            peer,
            options,
            counted: nic.map(|nic| Counted::find(host, &nic)),
            ports: Vec::new(),
            sequence: clock::monotonic_ns() as u32,
            netns: netns(host)?,
            reach: spread::Reach::Unknown,
        })
    }

    /// The NIC that probe packets leave by, where one is known.
    pub fn nic(&self) -> Option<&str> {
        self.counted.as_ref().map(|c| c.name.as_str())
    }

    fn same_netns(&self) -> Result<()> {
        let now = netns(self.host)?;
        if now == self.netns {
            return Ok(());
        }
        let cause = format!("opened in {}, called in {now}", self.netns);
        Err(Fault::new(Kind::Drift, "probe in its network namespace", cause))
    }

    fn name(&self) -> String {
        match self.nic() {
            Some(nic) => format!("{} by {nic}", self.peer),
            None => self.peer.to_string(),
        }
    }

    fn wait_for_carrier(&self, until_ns: u64, stop: &dyn Fn() -> bool) -> Result<()> {
        // The kernel asks the driver for statistics with every answer about a link.
        let countable = self.counted.as_ref().filter(|nic| nic.withheld.is_none());
        let Some(nic) = countable else { return Ok(()) };
        let act = || format!("settle on {}", nic.name);
        loop {
            let cause = match counters::link::read(self.host, &nic.name) {
                Ok(link) if link.carrier => return Ok(()),
                Ok(_) => "no carrier".to_owned(),
                // A driver reset or a re-plugged NIC may take its interface away for a while.
                Err(fault) => fault.cause,
            };
            if stop() {
                return Err(Fault::new(Kind::Busy, act(), "stopped while waiting for carrier"));
            }
            if clock::monotonic_ns() >= until_ns {
                return Err(Fault::new(Kind::Gone, act(), cause));
            }
            clock::sleep_until(clock::monotonic_ns() + 10_000_000);
        }
    }

    /// Several replies in a row, each within the same wait, so that one early reply of a link that is
    /// still coming up does not count.
    fn wait_for_replies(&mut self, until_ns: u64, stop: &dyn Fn() -> bool) -> Result<()> {
        const IN_A_ROW: u32 = 5;
        const ONE_WAIT_NS: u64 = 200_000_000;
        let began = clock::monotonic_ns();
        let mut row = 0;
        let (mut asked, mut answered) = (0_u64, 0_u64);
        loop {
            asked += 1;
            let now = clock::monotonic_ns();
            let wait = ONE_WAIT_NS.min(until_ns.saturating_sub(now)).max(1_000_000);
            let cause = match self.ping(Duration::from_nanos(wait)) {
                Ok(()) => {
                    answered += 1;
                    row += 1;
                    if row == IN_A_ROW {
                        return Ok(());
                    }
                    continue;
                }
                Err(fault) => fault.cause,
            };
            row = 0;
            let act = || format!("wait for replies from {}", self.name());
            if stop() {
                return Err(Fault::new(Kind::Busy, act(), "stopped while waiting"));
            }
            if clock::monotonic_ns() >= until_ns {
                let waited_ms = (clock::monotonic_ns() - began) / 1_000_000;
                let words = match answered {
                    0 => format!("{cause} in {waited_ms} ms"),
                    some => format!(
                        "{some} of {asked} packets were answered in {waited_ms} ms, and never \
                         {IN_A_ROW} in a row"
                    ),
                };
                return Err(Fault::new(Kind::Gone, act(), words));
            }
            // A refusal comes at once: it is asked again, not in a tight loop.
            clock::sleep_until((now + 20_000_000).min(until_ns));
        }
    }

    fn ping(&mut self, wait: Duration) -> Result<()> {
        match self.options.transport {
            Transport::Udp => {
                let port = self.ports.first().copied().unwrap_or(0);
                self.sequence = self.sequence.wrapping_add(1);
                udp::ping(&self.options.way, self.peer, port, self.sequence, wait)
            }
            Transport::Tcp => tcp::ping(&self.options.way, self.peer, wait),
        }
    }

    fn measure(
        &mut self,
        spec: &WindowSpec,
        plan: &Schedule,
        onlooker: &mut Onlooker<'_>,
    ) -> Result<Window> {
        let mut prepared = match spec.transport {
            Transport::Udp => Prepared::Udp(udp::prepare(self, spec.flows)?),
            Transport::Tcp => Prepared::Tcp(tcp::prepare(self, spec.flows, plan.size_max())),
        };
        let before = counters::snapshot(self.host, self.counted.as_ref());
        let length_ns = u64::try_from(spec.length.as_nanos()).unwrap_or(u64::MAX / 4);
        let (timeout, base) = (self.options.timeout, self.sequence);
        let mut measured = match &mut prepared {
            Prepared::Udp(flows) => {
                self.sequence = base.wrapping_add(plan.due_ns.len() as u32);
                udp::run(flows, plan, (base, length_ns, timeout), onlooker)?
            }
            Prepared::Tcp(connections) => {
                tcp::run(connections, plan, (length_ns, timeout), onlooker)
            }
        };
        let after = counters::snapshot(self.host, self.counted.as_ref());
        let driver = self.counted.as_ref().map_or("", |c| c.driver.as_str());
        add_counters(&mut measured, counters::between(&before, &after, driver));
        let mut window = measured.window;
        window.notes.extend(plan.notes.iter().cloned());
        if spec.transport == Transport::Udp {
            window.notes.extend(self.reach.note(&window.per_queue));
        }
        let step = clock::realtime_offset_ns() - measured.offset_ns;
        if step.abs() > 20_000 {
            window.notes.push(format!("the wall clock was stepped by {step} ns during the window"));
        }
        Ok(window)
    }
}

enum Prepared {
    Udp(udp::Flows),
    Tcp(tcp::Connections),
}

impl Meter for Probe<'_> {
    fn pinger(&mut self) -> Option<Box<dyn Pinger>> {
        Some(Box::new(ping::begin(&self.options.way, self.peer)?))
    }

    fn settle(&mut self, limit: Duration, stop: &dyn Fn() -> bool) -> Result<Duration> {
        self.same_netns()?;
        let began = clock::monotonic_ns();
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX / 4);
        let until = began.saturating_add(limit_ns);
        self.wait_for_carrier(until, stop)?;
        self.wait_for_replies(until, stop)?;
        let took = Duration::from_nanos(clock::monotonic_ns().saturating_sub(began));
        if self.options.transport == Transport::Udp {
            spread::over_queues(self, stop)?;
        }
        Ok(took)
    }

    fn watched(
        &mut self,
        spec: &WindowSpec,
        stop: &dyn Fn() -> bool,
        each: Each<'_>,
    ) -> Result<Window> {
        self.same_netns()?;
        let plan = schedule::plan(spec)?;
        self.measure(spec, &plan, &mut Onlooker { stop, each }).map_err(|fault| {
            let act = format!("probe {}: {}", self.name(), fault.act);
            fault.during(act)
        })
    }
}

fn add_counters(measured: &mut Measured, deltas: counters::Deltas) {
    let window = &mut measured.window;
    let load = deltas.packets.saturating_sub(measured.own_packets);
    let seconds = deltas.elapsed_ns as f64 / 1e9;
    window.load_pps = if seconds > 0.0 { load as f64 / seconds } else { 0.0 };
    window.counters.extend(deltas.counters);
    window.drops = deltas.drops;
    window.per_queue = deltas.per_queue;
    window.tcp_out = deltas.tcp_out;
    window.tcp_retransmitted = deltas.tcp_retransmitted;
    window.softnet_squeezed = deltas.softnet_squeezed;
    window.notes.extend(deltas.notes);
}

/// Counts by name, leaving out what never happened.
fn counted(names: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let happened = names.iter().filter(|(_, count)| *count > 0);
    happened.map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn netns(host: &dyn Host) -> Result<String> {
    host.target(Path::new("/proc/thread-self/ns/net"))
}

/// The interface that owns the address from which routing would reach `peer`.
fn nic_towards(way: &Way, peer: SocketAddr) -> Result<Option<String>> {
    let act = || format!("find the NIC towards {peer}");
    let socket = sockets::open_udp(way, 0, peer, Stamps::Receive)?;
    let local = socket.local_addr().map_err(|e| Fault::new(Kind::Io, act(), e.to_string()))?.ip();
    let all = nix::ifaddrs::getifaddrs().map_err(|e| Fault::errno(act(), e as i32, None))?;
    let owns = |address: &nix::ifaddrs::InterfaceAddress| {
        let ip = address.address.and_then(|a| match (a.as_sockaddr_in(), a.as_sockaddr_in6()) {
            (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
            (None, Some(v6)) => Some(IpAddr::V6(v6.ip())),
            (None, None) => None,
        });
        ip == Some(local)
    };
    Ok(all.into_iter().find(owns).map(|address| address.interface_name))
}
