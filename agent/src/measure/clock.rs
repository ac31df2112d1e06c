//! The clocks of measuring.
//!
//! Settings and inventory take their time through the host's door. A probe cannot: it reads a clock
//! per packet and has to compare it with the kernel's socket stamps, which are CLOCK_REALTIME. Pacing
//! and user-space intervals use CLOCK_MONOTONIC, which no step of the wall clock disturbs.

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep},
};

/// CLOCK_MONOTONIC, nanoseconds.
pub fn monotonic_ns() -> u64 {
    u64::try_from(read(ClockId::CLOCK_MONOTONIC)).unwrap_or(0)
}

/// CLOCK_REALTIME: nanoseconds since 1970, UTC.
pub fn realtime_ns() -> i64 {
    read(ClockId::CLOCK_REALTIME)
}

/// CLOCK_REALTIME minus CLOCK_MONOTONIC, from the tightest of a few readings. Both clocks are slewed
/// alike by NTP, so this changes only when somebody steps the wall clock.
pub fn realtime_offset_ns() -> i64 {
    let mut best = (u64::MAX, 0);
    for _ in 0..8 {
        let before = monotonic_ns();
        let real = realtime_ns();
        let width = monotonic_ns().saturating_sub(before);
        if width < best.0 {
            best = (width, real.saturating_sub_unsigned(before + width / 2));
        }
    }
    best.1
}

/// Sleeps until CLOCK_MONOTONIC reads `due_ns`; a signal may end it early.
pub fn sleep_until(due_ns: u64) {
    let due = TimeSpec::new((due_ns / 1_000_000_000) as i64, (due_ns % 1_000_000_000) as i64);
    // An interrupted sleep is the caller's to repeat: it compares clocks anyway.
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &due);
}

fn read(clock: ClockId) -> i64 {
    // Both clocks exist on every Linux (POSIX requires them), so this cannot fail.
    clock_gettime(clock).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}
