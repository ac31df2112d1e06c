//! STAMP over UDP: one thread sends on schedule, one collects replies and departure stamps.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
};

use crate::{
    fault::{Fault, Kind, Result},
    measure::{
        Window, clock,
        schedule::Schedule,
        sockets::{self, Stamps, Way},
        stamp::{BASE, ErrorEstimate, Format, Reply, Request},
    },
};

use super::{
    Control, Live, Measured, Onlooker, Probe, attend, counted,
    front::Front,
    merge::{Arrival, Context, merge, number},
    pace::Pacer,
};

/// How long the collector sleeps when it finds nothing. It does not wait in the kernel for packets: each
/// departure stamp would wake it between T1 and the packet's leaving (`skb_tx_timestamp` in the driver's
/// transmit function), and the waking would count as wire. Stamps are the kernel's, so looking late
/// costs latency nothing; it only shows in the window's `receiver`.
const NAP_NS: u64 = 500_000;
/// More flows than this no NIC needs.
pub(super) const FLOWS_MAX: usize = 1024;
/// Replies are no longer than the longest UDP payload.
const BUFFER: usize = 65_536;
/// RFC 8972's session identifier; any but zero.
const SSID: u16 = 0x4e4d;

/// A window's sockets, warmed up.
pub(super) struct Flows {
    sockets: Vec<UdpSocket>,
    /// By flow: datagrams sent before the window, which the kernel's numbering counts.
    warmed: Vec<u32>,
    notes: Vec<String>,
}

/// Opens the flows anew (new sockets get new sysctls) from the ports of last time, and warms them up:
/// a host's first datagrams may carry no stamp.
pub(super) fn prepare(probe: &mut Probe<'_>, flows: u16) -> Result<Flows> {
    let count = usize::from(flows).max(probe.ports.len()).clamp(1, FLOWS_MAX);
    let mut prepared = Flows { sockets: Vec::new(), warmed: vec![0; count], notes: Vec::new() };
    for flow in 0..count {
        let wanted = probe.ports.get(flow).copied().unwrap_or(0);
        let (way, peer, stamps) = (&probe.options.way, probe.peer, probe.options.stamps);
        let socket = sockets::open_udp(way, wanted, peer, stamps).or_else(|fault| {
            if wanted == 0 {
                return Err(fault);
            }
            let gone = format!("source port {wanted} could not be had again, another one is used");
            prepared.notes.push(gone);
            sockets::open_udp(way, 0, peer, stamps)
        })?;
        let port = socket.local_addr().map_or(0, |a| a.port());
        match probe.ports.get_mut(flow) {
            Some(known) => *known = port,
            None => probe.ports.push(port),
        }
        prepared.sockets.push(socket);
    }
    const WARM_UP: u32 = 3;
    for _ in 0..WARM_UP {
        for (flow, socket) in prepared.sockets.iter().enumerate() {
            probe.sequence = probe.sequence.wrapping_add(1);
            if request(socket, probe.sequence).is_ok() {
                prepared.warmed[flow] += 1;
            }
        }
        clock::sleep_until(clock::monotonic_ns() + 5_000_000);
    }
    Ok(prepared)
}

/// One packet and its reply, within `wait`.
pub(super) fn ping(
    way: &Way,
    peer: SocketAddr,
    port: u16,
    sequence: u32,
    wait: Duration,
) -> Result<()> {
    let socket = sockets::open_udp(way, port, peer, Stamps::Receive)?;
    let io = |e: std::io::Error| match e.raw_os_error() {
        Some(errno) => Fault::errno("probe", errno, None),
        None => Fault::new(Kind::Io, "probe", e.to_string()),
    };
    request(&socket, sequence).map_err(io)?;
    let until = clock::monotonic_ns() + wait.as_nanos() as u64;
    let mut reply = [0; 1024];
    loop {
        let left = until.saturating_sub(clock::monotonic_ns());
        if left == 0 {
            return Err(Fault::new(Kind::Gone, "probe", "no reply"));
        }
        socket.set_read_timeout(Some(Duration::from_nanos(left.max(1_000)))).map_err(io)?;
        match socket.recv(&mut reply) {
            Ok(length) => {
                if Reply::read(&reply[..length]).is_some_and(|r| r.sender_sequence == sequence) {
                    return Ok(());
                }
            }
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(e) => return Err(io(e)),
        }
    }
}

/// Sends one small request on a connected socket.
pub(super) fn request(socket: &UdpSocket, sequence: u32) -> std::io::Result<()> {
    let mut packet = [0; BASE];
    let estimate = ErrorEstimate::ours(Format::Ntp);
    let request = Request { sequence, sent_ns: clock::realtime_ns(), estimate, ssid: SSID };
    // The packet is exactly as long as a request has to be.
    let _ = request.write(&mut packet);
    socket.send(&packet).map(drop)
}

/// What both threads of a window look at.
pub(super) struct Shared<'a> {
    flows: &'a Flows,
    plan: &'a Schedule,
    control: &'a Control,
    /// The sequence number of packet 0.
    base: u32,
    /// By packet: when user space sent it, CLOCK_MONOTONIC; 0: not (yet).
    pub(super) sent: Vec<AtomicU64>,
    /// Packets whose turn came, sent or failed.
    pub(super) reached: AtomicUsize,
    sending: AtomicBool,
    give_up_ns: u64,
}

impl<'a> Shared<'a> {
    pub(super) fn context(&self) -> Context<'a> {
        Context {
            plan: self.plan,
            start_ns: self.control.start_ns,
            offset_ns: self.control.offset_ns,
            timeout_ns: self.control.timeout_ns,
            flows: self.flows.sockets.len(),
        }
    }
}

/// Runs one window. The schedule's packets carry the sequence numbers from `base` on.
pub(super) fn run(
    flows: &mut Flows,
    plan: &Schedule,
    (base, length_ns, timeout): (u32, u64, Duration),
    onlooker: &mut Onlooker<'_>,
) -> Result<Measured> {
    let notes = std::mem::take(&mut flows.notes);
    let (live, seen) = Live::channel();
    let mut receiver = Receiver::new(flows, plan)?;
    let sent = (0..plan.due_ns.len()).map(|_| AtomicU64::new(0)).collect();
    let control = &Control::begin(timeout);
    let shared = Shared {
        flows,
        plan,
        control,
        base,
        sent,
        reached: AtomicUsize::new(0),
        sending: AtomicBool::new(true),
        give_up_ns: control.start_ns + length_ns + control.timeout_ns,
    };
    let (stopped, failed) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&shared));
        let collector = scope.spawn(|| {
            receiver.collect(&shared, &live);
            control.caller.unpark();
        });
        let stopped = attend(control, onlooker, &seen, &|| collector.is_finished());
        (stopped, sender.join().unwrap_or_default())
    });
    let (context, reached) = (shared.context(), shared.reached.load(Ordering::Acquire));
    let sent: Vec<u64> = shared.sent.into_iter().map(AtomicU64::into_inner).collect();
    number(&sent, &receiver.departures, &mut receiver.arrivals);
    // A window cut short ends before the first packet that had no time to be sent.
    let cut = stopped.as_ref().map(|cut| cut.at_ns.saturating_sub(control.start_ns).min(length_ns));
    let due = cut.map_or(sent.len(), |cut| plan.due_ns.partition_point(|&d| d < cut).min(reached));
    let merged = merge(&context, &sent, &receiver.arrivals, due);
    let carried = sent.iter().filter(|&&s| s != 0).count() as u64;
    let mut window = Window {
        began_utc_ns: control.offset_ns.saturating_add_unsigned(control.start_ns),
        length_ns: cut.unwrap_or(length_ns),
        samples: merged.samples,
        sent: sent[..due].iter().filter(|&&s| s != 0).count() as u64,
        lost: merged.lost,
        late: merged.late,
        duplicated: receiver.duplicated,
        reordered: receiver.reordered,
        split: merged.split,
        stamps: merged.stamps,
        notes,
        cut_short: stopped.map(|cut| cut.why.to_owned()),
        ..Window::default()
    };
    window.counters = probe_counters(&receiver, merged.unsent, failed);
    window.notes.extend(remarks(&receiver, &window, merged.unsent, merged.impossible_residence));
    let frames = u64::from(plan.size_max() + 8).div_ceil(1480);
    let own_packets = (carried + receiver.received) * frames;
    Ok(Measured { window, own_packets, offset_ns: control.offset_ns })
}

fn probe_counters(
    receiver: &Receiver,
    unsent: u64,
    failed: u64,
) -> std::collections::BTreeMap<String, i64> {
    let counts = counted(&[
        ("probe.unsent", unsent),
        ("probe.send-failed", failed),
        ("probe.stray", receiver.strays),
        ("probe.refused", receiver.refused),
        ("probe.overflowed", receiver.overflowed.iter().map(|&o| u64::from(o)).sum()),
    ]);
    counts.into_iter().map(|(name, n)| (name, i64::try_from(n).unwrap_or(i64::MAX))).collect()
}

/// What a reader should know, in words.
fn remarks(receiver: &Receiver, window: &Window, unsent: u64, impossible: u64) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    };
    note(unsent, "packets that were due could not be sent; they count as lost");
    note(receiver.refused, "times the peer's host answered that no reflector listens (ICMP)");
    note(impossible, "replies with impossible reflector times: T3 - T2 was not subtracted");
    let overflowed: u64 = receiver.overflowed.iter().map(|&o| u64::from(o)).sum();
    note(overflowed, "replies dropped at the probe's own sockets: lost here, not on the way");
    let user = window.stamps.get("user-space").copied().unwrap_or(0);
    note(user, "samples without both kernel stamps: timed in user space, so somewhat longer");
    if let Some(sender) = window.split.get("sender").filter(|s| s.p99 > 1_000_000) {
        let late = sender.p99 / 1000;
        notes.push(format!("the sender ran up to {late} us (p99) behind schedule; not in latency"));
    }
    notes
}

/// The sending thread. How many sends failed.
fn send(shared: &Shared<'_>) -> u64 {
    let pacer = Pacer::new();
    let control = shared.control;
    let estimate = ErrorEstimate::ours(Format::Ntp);
    let blank = Request { sequence: 0, sent_ns: 0, estimate, ssid: SSID };
    let mut packet = vec![0; (shared.plan.size_max() as usize).max(BASE)];
    let mut written = 0;
    let mut failed = 0;
    let count = shared.flows.sockets.len();
    for (i, due_ns) in shared.plan.due_ns.iter().enumerate() {
        let Some(now) = pacer.wait(control.start_ns + due_ns, &control.over) else { break };
        if now > shared.give_up_ns {
            break;
        }
        let size = (shared.plan.size(i) as usize).max(BASE);
        if size != written {
            // Only a replayed trace changes size: the padding's length is rewritten with it.
            let _ = blank.write(&mut packet[..size]);
            written = size;
        }
        let sequence = shared.base.wrapping_add(i as u32);
        let sent_ns = control.offset_ns.saturating_add_unsigned(now);
        if let Some(base) = packet.first_chunk_mut::<BASE>() {
            Request::rewrite(base, sequence, sent_ns, Format::Ntp);
        }
        // Before the send: the reply may be back before this thread runs again.
        shared.sent[i].store(now, Ordering::Release);
        if shared.flows.sockets[i % count].send(&packet[..size]).is_err() {
            shared.sent[i].store(0, Ordering::Release);
            failed += 1;
        }
        shared.reached.store(i + 1, Ordering::Release);
    }
    shared.sending.store(false, Ordering::Release);
    failed
}

/// The collecting thread's state.
pub(super) struct Receiver {
    epoll: Epoll,
    pub(super) arrivals: Vec<Arrival>,
    /// By flow, in the kernel's numbering: when each datagram departed, by software and by hardware.
    pub(super) departures: Vec<Vec<(i64, i64)>>,
    buffer: Vec<u8>,
    /// By flow: the highest packet index seen so far, plus one.
    newest: Vec<usize>,
    /// By flow: datagrams its socket dropped.
    overflowed: Vec<u32>,
    received: u64,
    /// Packets with a reply so far.
    answered: usize,
    duplicated: u64,
    reordered: u64,
    strays: u64,
    refused: u64,
}

impl Receiver {
    fn new(flows: &Flows, plan: &Schedule) -> Result<Receiver> {
        let fault = |e: Errno| Fault::errno("watch the probe's sockets", e as i32, None);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(fault)?;
        for (flow, socket) in flows.sockets.iter().enumerate() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, flow as u64);
            epoll.add(socket, event).map_err(fault)?;
        }
        let flows = flows.sockets.len();
        let each = plan.due_ns.len().div_ceil(flows.max(1));
        Ok(Receiver {
            epoll,
            departures: vec![vec![(0, 0); each]; flows],
            arrivals: vec![Arrival::default(); plan.due_ns.len()],
            buffer: vec![0; BUFFER],
            newest: vec![0; flows],
            overflowed: vec![0; flows],
            received: 0,
            answered: 0,
            duplicated: 0,
            reordered: 0,
            strays: 0,
            refused: 0,
        })
    }

    /// Collects until every packet is answered, or the last one's time is over.
    fn collect(&mut self, shared: &Shared<'_>, live: &Live) {
        let mut front = Front::new(shared);
        let mut events = [EpollEvent::empty(); 64];
        let mut sent_all_at = None;
        loop {
            // A failing look is treated as silence, which the deadline bounds.
            let ready = self.epoll.wait(&mut events, 0_u8).unwrap_or(0);
            if ready == 0 {
                clock::sleep_until(clock::monotonic_ns() + NAP_NS);
            }
            for event in &events[..ready] {
                let flow = event.data() as usize;
                if event.events().contains(EpollFlags::EPOLLERR) {
                    self.take_departures(shared, flow);
                }
                if event.events().contains(EpollFlags::EPOLLIN) {
                    self.take_replies(shared, flow);
                }
            }
            let now = clock::monotonic_ns();
            front.advance(self, shared, now, live);
            // The sender gives up by itself; should it not, this does not wait for it for ever.
            let overtime = now > shared.give_up_ns + shared.control.timeout_ns;
            if shared.sending.load(Ordering::Acquire) && !overtime {
                continue;
            }
            let (ended, sent) = *sent_all_at.get_or_insert_with(|| {
                let sent = shared.sent.iter().filter(|s| s.load(Ordering::Relaxed) != 0);
                (now, sent.count())
            });
            if ready == 0 && self.answered >= sent || now > ended + shared.control.timeout_ns {
                return;
            }
        }
    }

    /// Takes departure stamps off a socket's error queue, a bounded number at a time.
    fn take_departures(&mut self, shared: &Shared<'_>, flow: usize) {
        let socket = &shared.flows.sockets[flow];
        for _ in 0..64 {
            match sockets::departure_now(socket.as_fd()) {
                Ok(Some(departure)) => {
                    let Some(nth) = departure.id.checked_sub(shared.flows.warmed[flow]) else {
                        continue;
                    };
                    if let Some(slot) = self.departures[flow].get_mut(nth as usize) {
                        slot.0 = departure.software_ns.unwrap_or(slot.0);
                        slot.1 = departure.hardware_ns.unwrap_or(slot.1);
                    }
                }
                Ok(None) => {
                    // Not a stamp but an error of the socket: an ICMP refusal. Reading it clears it.
                    if let Ok(Some(_)) = socket.take_error() {
                        self.refused += 1;
                    }
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn take_replies(&mut self, shared: &Shared<'_>, flow: usize) {
        for _ in 0..64 {
            let socket = shared.flows.sockets[flow].as_fd();
            match sockets::receive_now(socket, &mut self.buffer) {
                Ok(datagram) => {
                    let now = clock::monotonic_ns();
                    if let Some(dropped) = datagram.overflowed {
                        self.overflowed[flow] = dropped;
                    }
                    self.received += 1;
                    self.reply(shared, flow, &datagram, now);
                }
                Err(Errno::ECONNREFUSED) => self.refused += 1,
                Err(_) => return,
            }
        }
    }

    fn reply(&mut self, shared: &Shared<'_>, flow: usize, datagram: &sockets::Datagram, now: u64) {
        let Some(reply) = self.buffer.get(..datagram.length).and_then(Reply::read) else {
            self.strays += 1;
            return;
        };
        let packet = reply.sender_sequence.wrapping_sub(shared.base) as usize;
        let sent = shared.sent.get(packet).map_or(0, |s| s.load(Ordering::Acquire));
        let ours = shared.control.offset_ns.saturating_add_unsigned(sent);
        // Warm-ups, replies of an earlier window and forgeries do not echo this packet's T1.
        let known = sent != 0 && packet % shared.flows.sockets.len() == flow;
        if !known || reply.sender_sent_ns != ours {
            self.strays += 1;
            return;
        }
        let arrival = &mut self.arrivals[packet];
        if arrival.back_ns != 0 {
            self.duplicated += 1;
            return;
        }
        arrival.arrived_ns = datagram.software_ns.unwrap_or(0);
        arrival.arrived_hw_ns = datagram.hardware_ns.unwrap_or(0);
        arrival.reflector_received_ns = reply.received_ns;
        arrival.reflector_sent_ns = reply.sent_ns;
        arrival.back_ns = now;
        self.answered += 1;
        // Overtaken is reordered, but one that came too late counts as lost and not twice (RFC 4737).
        if packet < self.newest[flow] && now - sent.min(now) <= shared.control.timeout_ns {
            self.reordered += 1;
        }
        self.newest[flow] = self.newest[flow].max(packet + 1);
    }
}
