//! Figures that a window gives once: counters, and its slowest packet.

use playbooks::Metric;

use super::{estimate::Estimate, level, share::Difference, sides::Sides};
use crate::measure::Window;

/// A counter comes without the times of its increments, and drops come in clumps. The variance of a
/// count is taken as that of clumps of this many.
const CLUMP: f64 = 16.0;
const MINUTE_NS: f64 = 60e9;

/// What a run's windows counted, by side.
pub(super) struct Counted<'a> {
    pub(super) baseline: &'a [&'a Window],
    pub(super) candidate: &'a [&'a Window],
}

impl Counted<'_> {
    /// Judges a metric that is a counter; `None` where it is a latency instead.
    pub(super) fn estimate(&self, metric: &Metric, sides: &Sides, z: f64) -> Option<Estimate> {
        let moved = |of: &dyn Fn(&Window) -> Option<i64>| self.delta(of, sides, z);
        Some(match metric {
            Metric::Drops => {
                moved(&|w| Some(w.drops.values().fold(0, |a: i64, &d| a.saturating_add(d))))
            }
            Metric::NicCounter(name) => moved(&|w| w.counters.get(name).copied()),
            Metric::SoftnetSqueezed => moved(&|w| i64::try_from(w.softnet_squeezed).ok()),
            Metric::TcpRetransmitRatio => self.retransmits(sides, z),
            Metric::LatencyQuantile(_)
            | Metric::LatencyMax
            | Metric::SlowRatio
            | Metric::StormRate
            | Metric::LossRatio
            | Metric::TcpRtt
            | Metric::TcpSessionRetransmits
            | Metric::External(_) => return None,
        })
    }

    /// A counter's movement: exact against an absolute bound, by the minute against the baseline.
    fn delta(&self, of: &dyn Fn(&Window) -> Option<i64>, sides: &Sides, z: f64) -> Estimate {
        let sum = |windows: &[&Window]| {
            windows.iter().try_fold(0i64, |sum, window| Some(sum.saturating_add(of(window)?)))
        };
        let (Some(base), Some(cand)) = (sum(self.baseline), sum(self.candidate)) else {
            return Estimate::missing(sides, "a window does not hold this counter".to_owned());
        };
        if self.baseline.is_empty() || self.candidate.is_empty() {
            return Estimate::missing(sides, "no window held this counter".to_owned());
        }
        if base < 0 || cand < 0 {
            return Estimate::missing(sides, "the counter went backwards".to_owned());
        }
        moved([base as f64, cand as f64], sides, z)
    }

    /// TCP segments retransmitted by segments sent.
    fn retransmits(&self, sides: &Sides, z: f64) -> Estimate {
        let sum = |windows: &[&Window], of: fn(&Window) -> u64| {
            windows.iter().map(|w| of(w)).fold(0u64, u64::saturating_add) as f64
        };
        let both = |of| [sum(self.baseline, of), sum(self.candidate, of)];
        let sent = both(|w| w.tcp_out);
        if sent[0] == 0.0 || sent[1] == 0.0 {
            return Estimate::missing(sides, "no TCP segments were sent in a window".to_owned());
        }
        clumped(both(|w| w.tcp_retransmitted), sent, sides, z)
    }
}

/// What a counter's movement in baseline and candidate says.
pub(super) fn moved(events: [f64; 2], sides: &Sides, z: f64) -> Estimate {
    let minutes = [&sides.baseline, &sides.candidate]
        .map(|arm| (arm.length_ns() as f64 / MINUTE_NS).max(f64::MIN_POSITIVE));
    let mut estimate = clumped(events, minutes, sides, z);
    estimate.baseline = events[0];
    estimate.candidate = events[1];
    estimate.candidate_bounds = [events[1]; 2];
    estimate
}

fn clumped(events: [f64; 2], exposure: [f64; 2], sides: &Sides, z: f64) -> Estimate {
    let error = |at: usize| (CLUMP * (events[at] + 1.0)).sqrt() / exposure[at];
    let mut estimate = Difference {
        values: [events[0] / exposure[0], events[1] / exposure[1]],
        errors: [error(0), error(1)],
        exposure,
        n: [sides.baseline.count, sides.candidate.count],
        cluster: CLUMP,
    }
    .estimate(z);
    estimate.visible_max = f64::MAX;
    estimate
}

/// Blocks of the candidate beyond the baseline's slowest packet that chance explains: with as many
/// blocks on both sides, seven or more come once in 128 times.
const BLOCKS_BY_CHANCE: usize = 6;
/// And how many it does not: once in 4,096 times.
const BLOCKS_CONCLUSIVE: usize = 12;

/// The slowest packet. One value has no interval; what can be counted is how many separate blocks of
/// the candidate went beyond everything that the baseline saw.
pub(super) fn slowest(sides: &Sides) -> Estimate {
    let maxima = (sides.baseline.ranked.max(), sides.candidate.ranked.max());
    let (Some(base), Some(cand)) = maxima else {
        return Estimate::missing(sides, "no samples".to_owned());
    };
    let beyond = sides.candidate.exceedances(&[base]).series(0);
    let blocks = beyond.iter().filter(|&&count| count > 0.0).count();
    let effect = match base {
        0 => cand as f64,
        _ => cand as f64 / base as f64 - 1.0,
    };
    Estimate {
        baseline: base as f64,
        candidate: cand as f64,
        n: [sides.baseline.count, sides.candidate.count],
        effect,
        lower: if blocks >= BLOCKS_CONCLUSIVE { effect } else { -1.0 },
        upper: f64::MAX,
        candidate_bounds: [cand as f64; 2],
        visible: level::QUANTILE_VISIBLE_MAX,
        visible_max: level::QUANTILE_VISIBLE_MAX,
        noise: if blocks <= BLOCKS_BY_CHANCE { effect.max(0.0) } else { 0.0 },
        jumped: false,
        absolute: base == 0,
        missing: None,
    }
}
