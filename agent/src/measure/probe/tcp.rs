//! Request/response over TCP: a few connections, a thread each, timed in user space.
//!
//! Each connection has one request under way. One that falls due meanwhile waits, and its latency counts
//! from when it was due, so a stall shows in every request it held up. One that is overdue by the whole
//! timeout is lost without being sent, which bounds the queue. After a loss the connection is made anew.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    fault::{Fault, Kind, Result},
    measure::{
        Sample, Window, clock,
        message::{Direction, HEADER, Header},
        quantiles,
        schedule::Schedule,
        sockets::{self, Way},
    },
};

use super::{Control, Live, Measured, Onlooker, Probe, attend, counted, pace::Pacer};

/// One thread each.
const CONNECTIONS_MAX: u16 = 8;

/// A window's connections: new ones each time, since sysctls reach only new sockets.
pub(super) struct Connections {
    way: Way,
    peer: SocketAddr,
    lines: Vec<Line>,
}

/// One connection, or the place where one should be.
struct Line {
    stream: Option<TcpStream>,
    /// Before this no new connection is tried, CLOCK_MONOTONIC.
    retry_ns: u64,
    /// The request in front, then room for the answer's chunks.
    buffer: Vec<u8>,
    reconnects: u64,
    /// Segments of connections that are closed already.
    segments: u64,
    retransmitted: u64,
}

/// Opens and warms up; a connection that cannot be made is tried again when its next request is due.
pub(super) fn prepare(probe: &Probe<'_>, flows: u16, size_max: u32) -> Connections {
    let count = flows.clamp(1, CONNECTIONS_MAX);
    let (way, peer) = (probe.options.way.clone(), probe.peer);
    // All together: a dead peer must not cost this once a connection.
    let until = clock::monotonic_ns() + 2_000_000_000;
    let lines = (0..count).map(|_| {
        let mut line = Line::new(size_max);
        if line.connect(&way, peer, until).is_ok() {
            for _ in 0..3 {
                let _ = line.exchange(size_max, 0, until);
            }
        }
        line
    });
    Connections { lines: lines.collect(), way, peer }
}

/// One short message there and back on a new connection, within `wait`.
pub(super) fn ping(way: &Way, peer: SocketAddr, wait: Duration) -> Result<()> {
    let mut line = Line::new(1);
    let until = clock::monotonic_ns() + wait.as_nanos() as u64;
    line.connect(way, peer, until)?;
    match line.exchange(1, 0, until) {
        Some(_) => Ok(()),
        None => Err(Fault::new(Kind::Gone, "probe", "no answer")),
    }
}

/// What became of one request.
#[derive(Clone, Copy)]
struct Outcome {
    packet: usize,
    /// When it was handed to the kernel; 0: never.
    sent_ns: u64,
    /// From when its latency counts: when it was sent, or due if an earlier one held it up.
    from_ns: u64,
    /// 0: no answer.
    back_ns: u64,
    residence_ns: u64,
}

impl Outcome {
    fn latency_ns(&self) -> u64 {
        match self.back_ns {
            0 => Sample::LOST,
            back => back.saturating_sub(self.from_ns),
        }
    }
}

pub(super) fn run(
    connections: &mut Connections,
    plan: &Schedule,
    (length_ns, timeout): (u64, Duration),
    onlooker: &mut Onlooker<'_>,
) -> Measured {
    let control = &Control::begin(timeout);
    let Connections { way, peer, lines } = connections;
    let (way, peer, count) = (&*way, *peer, lines.len());
    let (live, seen) = Live::channel();
    let (mut outcomes, stopped) = std::thread::scope(|scope| {
        let threads: Vec<_> = lines
            .iter_mut()
            .enumerate()
            .map(|(nth, line)| {
                let live = live.clone();
                scope.spawn(move || {
                    let outcomes = line.serve(way, peer, plan, (nth, count), (control, &live));
                    control.caller.unpark();
                    outcomes
                })
            })
            .collect();
        let stopped = attend(control, onlooker, &seen, &|| threads.iter().all(|t| t.is_finished()));
        let outcomes: Vec<Outcome> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect();
        (outcomes, stopped)
    });
    outcomes.sort_unstable_by_key(|o| o.packet);
    let cut = stopped.as_ref().map(|cut| cut.at_ns.saturating_sub(control.start_ns).min(length_ns));
    let due = cut.map_or(plan.due_ns.len(), |cut| plan.due_ns.partition_point(|&d| d < cut));
    let window = Window {
        began_utc_ns: control.offset_ns.saturating_add_unsigned(control.start_ns),
        length_ns: cut.unwrap_or(length_ns),
        cut_short: stopped.map(|cut| cut.why.to_owned()),
        ..sampled(plan, &outcomes, due, count, control)
    };
    let lines = &connections.lines;
    let own_packets = lines.iter().map(Line::carried).sum();
    let mut measured = Measured { window, own_packets, offset_ns: control.offset_ns };
    let reconnects: u64 = lines.iter().map(|l| l.reconnects).sum();
    let retransmitted: u64 = lines.iter().map(Line::resent).sum();
    for (name, value) in
        counted(&[("probe.reconnects", reconnects), ("probe.retransmitted", retransmitted)])
    {
        measured.window.counters.insert(name, i64::try_from(value).unwrap_or(i64::MAX));
    }
    if reconnects > 0 {
        measured.window.notes.push(format!("{reconnects} connections had to be made anew"));
    }
    measured
}

fn sampled(
    plan: &Schedule,
    outcomes: &[Outcome],
    due: usize,
    flows: usize,
    control: &Control,
) -> Window {
    let mut samples: Vec<Sample> = plan.due_ns[..due]
        .iter()
        .enumerate()
        .map(|(i, &due_ns)| Sample { due_ns, latency_ns: Sample::LOST, flow: (i % flows) as u16 })
        .collect();
    let [mut sender, mut queued, mut wire, mut reflector] = [const { Vec::new() }; 4];
    let (mut sent, mut unsent) = (0, 0);
    for outcome in outcomes.iter().filter(|o| o.packet < due) {
        let due_ns = control.start_ns + plan.due_ns[outcome.packet];
        if outcome.sent_ns == 0 {
            unsent += 1;
            continue;
        }
        sent += 1;
        // What an earlier answer held up is the network's doing and in latency; the rest is ours.
        let behind = outcome.sent_ns.saturating_sub(due_ns);
        if outcome.from_ns == outcome.sent_ns {
            sender.push(behind)
        } else {
            queued.push(behind)
        };
        if outcome.back_ns != 0 {
            let round_trip = outcome.back_ns.saturating_sub(outcome.sent_ns);
            samples[outcome.packet].latency_ns = outcome.latency_ns();
            wire.push(round_trip.saturating_sub(outcome.residence_ns));
            reflector.push(outcome.residence_ns.min(round_trip));
        }
    }
    let back = wire.len() as u64;
    let lost = samples.iter().filter(|s| s.is_lost()).count() as u64;
    let parts = [("sender", sender), ("queued", queued), ("wire", wire), ("reflector", reflector)];
    let parts = parts.into_iter().filter(|(_, values)| !values.is_empty());
    let mut notes = Vec::new();
    if unsent > 0 {
        notes.push(format!(
            "{unsent} requests were overdue by the whole timeout or had no connection; they count as lost"
        ));
    }
    Window {
        samples,
        sent,
        lost,
        split: parts.map(|(n, values)| (n.to_owned(), quantiles::summarize(values))).collect(),
        stamps: counted(&[("user-space", back)]),
        notes,
        ..Window::default()
    }
}

impl Line {
    fn new(size_max: u32) -> Line {
        Line {
            stream: None,
            retry_ns: 0,
            buffer: vec![0; HEADER + size_max as usize],
            reconnects: 0,
            segments: 0,
            retransmitted: 0,
        }
    }

    /// This connection's share of the schedule: every `count`th packet from `nth` on.
    fn serve(
        &mut self,
        way: &Way,
        peer: SocketAddr,
        plan: &Schedule,
        (nth, count): (usize, usize),
        (control, live): (&Control, &Live),
    ) -> Vec<Outcome> {
        let pacer = Pacer::new();
        let mut outcomes = Vec::with_capacity(plan.due_ns.len() / count + 1);
        let mut free_ns = 0;
        for packet in (nth..plan.due_ns.len()).step_by(count) {
            let due_ns = control.start_ns + plan.due_ns[packet];
            let Some(now) = pacer.wait(due_ns, &control.over) else { break };
            let held_up = free_ns > due_ns;
            let expires = if held_up { due_ns } else { now } + control.timeout_ns;
            let mut outcome =
                Outcome { packet, sent_ns: 0, from_ns: 0, back_ns: 0, residence_ns: 0 };
            if now < expires && self.ready(way, peer, now, expires) {
                outcome.sent_ns = clock::monotonic_ns();
                outcome.from_ns = if held_up { due_ns } else { outcome.sent_ns };
                match self.exchange(plan.size(packet), packet as u64, expires) {
                    Some(residence) => {
                        outcome.back_ns = clock::monotonic_ns();
                        outcome.residence_ns = residence;
                    }
                    // What is still under way on it must not answer the next request.
                    None => self.drop_stream(),
                }
            }
            free_ns = clock::monotonic_ns();
            let (due_ns, flow) = (plan.due_ns[packet], nth as u16);
            live.put(Sample { due_ns, latency_ns: outcome.latency_ns(), flow });
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Whether there is a connection, made anew if need be, at most ten times a second.
    fn ready(&mut self, way: &Way, peer: SocketAddr, now_ns: u64, expires_ns: u64) -> bool {
        if self.stream.is_none() && now_ns >= self.retry_ns {
            self.reconnects += 1;
            if self.connect(way, peer, expires_ns).is_err() {
                self.retry_ns = clock::monotonic_ns() + 100_000_000;
            }
        }
        self.stream.is_some()
    }

    fn connect(&mut self, way: &Way, peer: SocketAddr, until_ns: u64) -> Result<()> {
        let left = until_ns.saturating_sub(clock::monotonic_ns()).max(1_000_000);
        let stream = sockets::open_tcp(way, peer, Duration::from_nanos(left))?;
        // Short waits, so that a deadline is kept whatever trickles in.
        let wait = Some(Duration::from_millis(20));
        let set = stream.set_read_timeout(wait).and_then(|()| stream.set_write_timeout(wait));
        set.map_err(|e| Fault::new(Kind::Io, "connect", e.to_string()))?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Sends one request and reads its answer; how long the reflector had it, or `None` where that did
    /// not come about before `until_ns`.
    fn exchange(&mut self, size: u32, sequence: u64, until_ns: u64) -> Option<u64> {
        let stream = self.stream.as_mut()?;
        let whole = HEADER + size as usize;
        let request = self.buffer.get_mut(..whole)?;
        request[..HEADER].copy_from_slice(&Header::request(size, sequence).encode());
        let mut written = 0;
        while written < whole {
            written += progress(stream.write(&request[written..]), until_ns)?;
        }
        let mut read = 0;
        while read < whole {
            read += progress(stream.read(&mut request[read..]), until_ns)?;
        }
        let answer = Header::decode(request.first_chunk()?)?;
        let expected = (Direction::Answer, size, sequence);
        if (answer.direction, answer.length, answer.sequence) != expected {
            return None;
        }
        let residence = answer.answered_ns.checked_sub(answer.received_ns)?;
        Some(u64::try_from(residence).unwrap_or(0))
    }

    fn drop_stream(&mut self) {
        if let Some(stream) = self.stream.take() {
            let own = sockets::segments(&stream);
            self.segments += own.carried;
            self.retransmitted += own.retransmitted;
        }
    }

    fn carried(&self) -> u64 {
        let now = self.stream.as_ref().map_or(0, |s| sockets::segments(s).carried);
        self.segments + now
    }

    fn resent(&self) -> u64 {
        let now = self.stream.as_ref().map_or(0, |s| sockets::segments(s).retransmitted);
        self.retransmitted + now
    }
}

/// Bytes moved; 0 when a wait ran out before the deadline; `None` when it is time to give up.
fn progress(moved: std::io::Result<usize>, until_ns: u64) -> Option<usize> {
    match moved {
        Ok(0) => None,
        Ok(bytes) => Some(bytes),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                (clock::monotonic_ns() < until_ns).then_some(0)
            }
            _ => None,
        },
    }
}
