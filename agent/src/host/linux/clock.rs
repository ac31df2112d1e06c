//! How good CLOCK_REALTIME is: asked of the kernel, and of whoever disciplines it.
#![allow(clippy::disallowed_methods, reason = "the door reads /proc")]
#![allow(unsafe_code, reason = "adjtimex(2) has no safe wrapper")]

mod chrony;

use std::path::Path;

use crate::host::{Bearings, Clock};

/// A state read this long ago is still told.
const AGE_NS_MAX: u64 = 1_000_000_000;
/// Who disciplines the clock is looked up this often: it means a walk over /proc, once in most runs.
const PROGRAMS_NS: u64 = 600_000_000_000;
/// A chronyd that did not answer is left alone for so long.
const SILENCE_NS: u64 = 60_000_000_000;
/// Processes looked at in one walk.
const PROCESSES_MAX: usize = 1 << 16;
/// Programs that are known to discipline clocks, as their `comm` (at most 15 characters).
const PROGRAMS: [&str; 9] = [
    "chronyd",
    "ntpd",
    "openntpd",
    "systemd-timesyn",
    "ptp4l",
    "phc2sys",
    "timemaster",
    "sfptpd",
    "ts2phc",
];
/// Those of them that keep the kernel's `maxerror` a bound.
const BOUNDING: [&str; 2] = ["chronyd", "ntpd"];
/// STA_UNSYNC and STA_NANO are of include/uapi/linux/timex.h; so is the state TIME_ERROR.
const TIME_ERROR: i32 = 5;

/// What was read last, and when.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<(u64, Bearings)>,
    programs: Option<(u64, Vec<String>)>,
    /// chronyd did not answer: not asked again before this.
    silent_until: u64,
}

impl Watch {
    pub(super) fn bearings(&mut self, now_ns: u64) -> Bearings {
        if let Some((at, bearings)) = &self.last
            && now_ns.saturating_sub(*at) < AGE_NS_MAX
        {
            return bearings.clone();
        }
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let bearings = Bearings {
            host: host.unwrap_or_else(|| "unknown".to_owned()),
            clock: self.clock(now_ns),
        };
        self.last = Some((now_ns, bearings.clone()));
        bearings
    }

    fn clock(&mut self, now_ns: u64) -> Clock {
        let Some(kernel) = kernel() else { return Clock::unknown() };
        let programs = self.programs(now_ns);
        let mut by = programs.join(", ");
        let tracking = self.tracking(now_ns, &programs);
        if let Some(tracking) = &tracking {
            by = by.replace("chronyd", &format!("chronyd ({tracking})"));
        }
        let bound = tracking.as_ref().and_then(chrony::Tracking::bound_ns);
        // What no program has set says nothing: the kernel boots with both at their maximum, and ptp4l
        // leaves the estimate at zero.
        let estimate = Some(kernel.error_ns).filter(|ns| *ns > 0);
        let error_ns = bound.or(estimate);
        Clock {
            synchronised: kernel.synchronised,
            by: Some(by).filter(|by| !by.is_empty()),
            error_ns,
            error_ns_max: Some(kernel.error_ns_max),
            within_100us: Clock::judge(
                kernel.synchronised,
                error_ns,
                bound.or_else(|| kernel_bound(&kernel, &programs)),
            ),
        }
    }

    fn tracking(&mut self, now_ns: u64, programs: &[String]) -> Option<chrony::Tracking> {
        if now_ns < self.silent_until || !programs.iter().any(|name| name == "chronyd") {
            return None;
        }
        let answer = chrony::tracking();
        if answer.is_none() {
            self.silent_until = now_ns + SILENCE_NS;
        }
        answer
    }

    fn programs(&mut self, now_ns: u64) -> Vec<String> {
        if let Some((at, programs)) = &self.programs
            && now_ns.saturating_sub(*at) < PROGRAMS_NS
        {
            return programs.clone();
        }
        let programs = programs(Path::new("/proc"));
        self.programs = Some((now_ns, programs.clone()));
        programs
    }
}

/// The kernel's `maxerror`, where whoever disciplines the clock keeps it true.
///
/// chronyd and ntpd set it to the root distance. phc2sys, ptp4l and systemd-timesyncd set it to zero at
/// every update, whatever the offset is, so that the kernel goes on counting the clock as synchronised:
/// there it bounds nothing, and what it says of a program that is not seen nobody knows.
fn kernel_bound(kernel: &Kernel, programs: &[String]) -> Option<u64> {
    let true_to_it = |name: &String| BOUNDING.contains(&name.as_str());
    let kept = !programs.is_empty() && programs.iter().all(true_to_it);
    kept.then_some(kernel.error_ns_max)
}

struct Kernel {
    synchronised: bool,
    error_ns: u64,
    error_ns_max: u64,
}

/// adjtimex(2) with no mode set only reads, and needs no privilege.
fn kernel() -> Option<Kernel> {
    // SAFETY: `struct timex` is plain numbers, for which all zeros is a value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel reads and writes one `struct timex`, which is ours.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return None;
    }
    let us = |value: i64| u64::try_from(value).unwrap_or(0).saturating_mul(1000);
    Some(Kernel {
        synchronised: state != TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        error_ns: us(timex.esterror),
        error_ns_max: us(timex.maxerror),
    })
}

/// The known programs among the processes that can be seen, sorted.
fn programs(proc: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(proc) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten().take(PROCESSES_MAX) {
        let name = entry.file_name();
        if !name.to_string_lossy().bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if let Some(known) = PROGRAMS.iter().find(|known| **known == comm.trim_end()) {
            found.push((*known).to_owned());
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
