//! Pings while a device restarts: the interface goes away under the sockets and comes back as another.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    log::firmware::Outage,
    measure::{
        clock,
        outage::Pinger,
        sockets::{self, Stamps, Way},
        stamp::Reply,
    },
};

use super::udp;

/// As often as it can be told apart from nothing by, and light on every NIC.
const PERIOD_NS: u64 = 5_000_000;
/// Without a reply for so long the socket is opened anew: it may be bound to an interface that is gone.
const SILENCE_NS: u64 = 50_000_000;
/// How closely `end` looks for the reply that it waits for.
const LOOK_NS: u64 = 2_000_000;

/// CLOCK_MONOTONIC times, and what has been seen so far.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    /// Of the last reply; 0: none yet.
    last_ns: AtomicU64,
    /// The longest time between two replies.
    longest_ns: AtomicU64,
}

pub(super) struct Pings {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
    began_ns: u64,
    peer: SocketAddr,
}

impl Pings {
    /// Begins at once. `None` where no thread can be had: then there is no figure.
    pub(super) fn begin(way: &Way, peer: SocketAddr) -> Option<Pings> {
        let seen = Arc::new(Seen::default());
        let (way, theirs) = (way.clone(), Arc::clone(&seen));
        let thread = std::thread::Builder::new()
            .name("outage".to_owned())
            .spawn(move || ping(&way, peer, &theirs))
            .ok()?;
        let began_ns = clock::monotonic_ns();
        let pings = Pings { seen, thread: Some(thread), began_ns, peer };
        // The first reply belongs before the restart: without it there is nothing to count from.
        pings.wait_for_reply(began_ns, Duration::from_nanos(20 * PERIOD_NS));
        Some(pings)
    }

    fn wait_for_reply(&self, after_ns: u64, patience: Duration) -> bool {
        let until = clock::monotonic_ns().saturating_add(patience.as_nanos() as u64);
        loop {
            if self.seen.last_ns.load(Ordering::Relaxed) >= after_ns {
                return true;
            }
            let now = clock::monotonic_ns();
            if now >= until {
                return false;
            }
            clock::sleep_until(now + LOOK_NS);
        }
    }
}

impl Pinger for Pings {
    fn end(mut self: Box<Self>, patience: Duration) -> Outage {
        let asked_ns = clock::monotonic_ns();
        let over = self.wait_for_reply(asked_ns, patience);
        self.seen.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within a period; a panic in it leaves what it had seen.
            let _ = thread.join();
        }
        let last_ns = self.seen.last_ns.load(Ordering::Relaxed);
        let open_ns = clock::monotonic_ns().saturating_sub(last_ns.max(self.began_ns));
        let longest_ns = self.seen.longest_ns.load(Ordering::Relaxed);
        let ns = if over { longest_ns } else { longest_ns.max(open_ns) };
        let every = PERIOD_NS / 1_000_000;
        let how = match last_ns {
            0 => format!("pings of {} over UDP every {every} ms; none was answered", self.peer),
            _ => format!(
                "longest time between two replies of {} to UDP pings every {every} ms",
                self.peer
            ),
        };
        Outage { ms: ns.div_ceil(1_000_000), over, how }
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
    }
}

fn ping(way: &Way, peer: SocketAddr, seen: &Seen) {
    let mut socket: Option<UdpSocket> = None;
    let mut opened_ns = 0;
    let mut sequence: u32 = 1;
    let mut due_ns = clock::monotonic_ns();
    while !seen.over.load(Ordering::Relaxed) {
        let now = clock::monotonic_ns();
        let quiet_since = opened_ns.max(seen.last_ns.load(Ordering::Relaxed));
        if socket.is_none() || now.saturating_sub(quiet_since) > SILENCE_NS {
            socket = sockets::open_udp(way, 0, peer, Stamps::Receive).ok();
            socket = socket.filter(|socket| socket.set_nonblocking(true).is_ok());
            opened_ns = now;
        }
        if let Some(open) = &socket {
            sequence = sequence.wrapping_add(1);
            let sent = udp::request(open, sequence);
            receive(open, seen);
            if sent.is_err() {
                socket = None;
            }
        }
        due_ns = (due_ns + PERIOD_NS).max(clock::monotonic_ns());
        // Half a period later the reply to this ping is there, on any path worth trading on.
        clock::sleep_until(due_ns - PERIOD_NS / 2);
        if let Some(open) = &socket {
            receive(open, seen);
        }
        clock::sleep_until(due_ns);
    }
}

fn receive(socket: &UdpSocket, seen: &Seen) {
    let mut reply = [0; 1024];
    while let Ok(length) = socket.recv(&mut reply) {
        if Reply::read(&reply[..length]).is_none() {
            continue;
        }
        let now = clock::monotonic_ns();
        let last = seen.last_ns.swap(now, Ordering::Relaxed);
        if last > 0 {
            seen.longest_ns.fetch_max(now - last, Ordering::Relaxed);
        }
    }
}
