//! Asking somebody again and again while a device restarts: the interface goes away under the sockets and comes
//! back as another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::Pinger;
use crate::{log::firmware::Outage, measure::clock};

/// How closely `end` looks for the reply that it waits for.
const LOOK_NS: u64 = 2_000_000;

/// One way of asking.
pub(in crate::measure) trait Asks: Send {
    /// A socket to ask by, as the interface is now; `None`: it is not there.
    type Socket;

    fn open(&mut self) -> Option<Self::Socket>;

    /// Asks once. `false`: this socket is of no use any more.
    fn ask(&mut self, socket: &Self::Socket) -> bool;

    /// Whether an answer has come; answers that are queued are taken one by one, without waiting.
    fn answered(&mut self, socket: &Self::Socket) -> bool;
}

/// How closely it is asked.
#[derive(Debug, Clone, Copy)]
pub(in crate::measure) struct Pace {
    pub(in crate::measure) period_ns: u64,
    /// Without an answer for so long the socket is opened anew: it may be bound to an interface that is gone.
    pub(in crate::measure) silence_ns: u64,
}

/// CLOCK_MONOTONIC times, and what has been seen so far.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    /// Of the last reply; 0: none yet.
    last_ns: AtomicU64,
    /// The longest time between two replies.
    longest_ns: AtomicU64,
}

pub(in crate::measure) struct Pings {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
    began_ns: u64,
    /// Who is asked, and how: `192.0.2.2:862 over UDP every 5 ms`.
    whom: String,
}

impl Pings {
    /// Begins at once. `None` where no thread can be had: then there is no figure.
    pub(in crate::measure) fn begin<A: Asks + 'static>(
        asker: A,
        pace: Pace,
        whom: String,
    ) -> Option<Pings> {
        let seen = Arc::new(Seen::default());
        let theirs = Arc::clone(&seen);
        let thread = std::thread::Builder::new()
            .name("outage".to_owned())
            .spawn(move || ask(asker, pace, &theirs))
            .ok()?;
        let began_ns = clock::monotonic_ns();
        let pings = Pings { seen, thread: Some(thread), began_ns, whom };
        // The first reply belongs before the restart: without it there is nothing to count from.
        pings.wait_for_reply(began_ns, Duration::from_nanos(20 * pace.period_ns));
        Some(pings)
    }

    /// Whether anybody has answered so far.
    pub(in crate::measure) fn answered(&self) -> bool {
        self.seen.last_ns.load(Ordering::Relaxed) > 0
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
        let how = match last_ns {
            0 => format!("asked {}; none was answered", self.whom),
            _ => format!("longest time between two answers of {}", self.whom),
        };
        Outage { ms: ns.div_ceil(1_000_000), over, how }
    }
}

impl Drop for Pings {
    /// Its socket is closed by then: nobody is to find a stranger's there.
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ask<A: Asks>(mut asker: A, pace: Pace, seen: &Seen) {
    let mut socket: Option<A::Socket> = None;
    let mut opened_ns = 0;
    let mut due_ns = clock::monotonic_ns();
    while !seen.over.load(Ordering::Relaxed) {
        let now = clock::monotonic_ns();
        let quiet_since = opened_ns.max(seen.last_ns.load(Ordering::Relaxed));
        if socket.is_none() || now.saturating_sub(quiet_since) > pace.silence_ns {
            socket = asker.open();
            opened_ns = now;
        }
        if let Some(open) = &socket {
            let of_use = asker.ask(open);
            hear(&mut asker, open, seen);
            if !of_use {
                socket = None;
            }
        }
        due_ns = (due_ns + pace.period_ns).max(clock::monotonic_ns());
        // Half a period later the reply to this ping is there, on any path worth trading on.
        clock::sleep_until(due_ns - pace.period_ns / 2);
        if let Some(open) = &socket {
            hear(&mut asker, open, seen);
        }
        clock::sleep_until(due_ns);
    }
}

fn hear<A: Asks>(asker: &mut A, socket: &A::Socket, seen: &Seen) {
    while asker.answered(socket) {
        let now = clock::monotonic_ns();
        let last = seen.last_ns.swap(now, Ordering::Relaxed);
        if last > 0 {
            seen.longest_ns.fetch_max(now - last, Ordering::Relaxed);
        }
    }
}
