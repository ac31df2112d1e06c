//! What is known of the wall clock at the moment something is recorded.

use serde::{Deserialize, Serialize};

/// The divergence from UTC that RTS 25 (Delegated Regulation (EU) 2017/574, Annex, Table 2) allows a
/// firm that trades by high-frequency techniques, nanoseconds.
pub const RTS_25_NS: u64 = 100_000;

/// Where a record was made, and by what clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearings {
    /// The host's name (uname(2) nodename).
    pub host: String,
    pub clock: Clock,
}

impl Bearings {
    /// Of a machine that tells neither.
    pub fn unknown() -> Bearings {
        Bearings { host: "unknown".to_owned(), clock: Clock::unknown() }
    }
}

/// The state of CLOCK_REALTIME.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Whether the kernel counts the clock as disciplined: STA_UNSYNC is clear (adjtimex(2)).
    pub synchronised: bool,
    /// The programs that discipline it, as far as one can see: `chronyd, stratum 2`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// The estimated error, nanoseconds: chronyd's own bound (|correction| + root dispersion + half the
    /// root delay) where it answers, else the kernel's `esterror`, where a program has set one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_ns: Option<u64>,
    /// The kernel's `maxerror`, nanoseconds: it grows by 500 ppm between two corrections. A bound only
    /// where the program that disciplines the clock keeps it one: phc2sys and systemd-timesyncd do not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_ns_max: Option<u64>,
    pub within_100us: Within,
}

/// Whether the clock was within RTS 25's bound, as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Within {
    Yes,
    No,
    Unknown,
}

impl Clock {
    pub fn unknown() -> Clock {
        Clock {
            synchronised: false,
            by: None,
            error_ns: None,
            error_ns_max: None,
            within_100us: Within::Unknown,
        }
    }

    /// Draws the conclusion. An unsynchronised clock is not within any bound. `bound_ns` is a true bound
    /// (not an estimate), where somebody gives one.
    pub fn judge(synchronised: bool, estimate_ns: Option<u64>, bound_ns: Option<u64>) -> Within {
        let over = |ns: Option<u64>| ns.is_some_and(|ns| ns > RTS_25_NS);
        let under = |ns: Option<u64>| ns.is_some_and(|ns| ns <= RTS_25_NS);
        match synchronised {
            false => Within::No,
            true if over(estimate_ns) => Within::No,
            true if under(bound_ns) => Within::Yes,
            true => Within::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Within};

    #[test]
    fn within_is_said_only_on_a_bound() {
        for (synchronised, estimate, bound, within) in [
            (false, Some(10), Some(10), Within::No),
            (true, Some(100_001), Some(50), Within::No),
            (true, Some(20_000), Some(100_000), Within::Yes),
            (true, None, Some(99_000), Within::Yes),
            // A small estimate under a large bound shows nothing.
            (true, Some(20_000), Some(9_000_000), Within::Unknown),
            (true, None, None, Within::Unknown),
        ] {
            assert_eq!(Clock::judge(synchronised, estimate, bound), within);
        }
    }
}
