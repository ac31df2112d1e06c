//! Waiting for a packet's due time, closely but without burning the traders' CPUs.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::measure::clock;

/// The longest busy wait before a packet; the rest is slept. On one CPU nothing is spun.
const SPIN_NS: u64 = 50_000;
/// The longest sleep, so that a request to end is heard.
const NAP_NS: u64 = 50_000_000;

pub(super) struct Pacer {
    spin_ns: u64,
}

impl Pacer {
    /// For the calling thread: its sleeps become as exact as the kernel's timers are.
    pub(super) fn new() -> Pacer {
        // The default slack is 50 us; a refusal only means later wake-ups, which `sender` shows.
        let _ = nix::sys::prctl::set_timerslack(1);
        let several = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1);
        Pacer { spin_ns: if several { SPIN_NS } else { 0 } }
    }

    /// Waits until `due_ns` (CLOCK_MONOTONIC) and returns the time then; `None` once `over` is set.
    pub(super) fn wait(&self, due_ns: u64, over: &AtomicBool) -> Option<u64> {
        loop {
            if over.load(Ordering::Relaxed) {
                return None;
            }
            let now = clock::monotonic_ns();
            if now >= due_ns {
                return Some(now);
            }
            if due_ns - now > self.spin_ns {
                clock::sleep_until((due_ns - self.spin_ns).min(now + NAP_NS));
            } else {
                std::hint::spin_loop();
            }
        }
    }
}
