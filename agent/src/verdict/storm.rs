//! Storms: slow packets that come together, how often, and whether the windows are long enough to tell.

use super::{
    arm::{Arm, Segment},
    estimate::Estimate,
    level,
    share::{self, Difference},
    sides::Sides,
};

/// A stretch in which slow packets are counted; nanoseconds.
const STRETCH_NS: u64 = 100_000_000;
/// The stretches that a window should have at least: in a short one they are shorter.
const STRETCHES: u64 = 64;
/// And the samples that a stretch should hold.
const STRETCH_SAMPLES: u64 = 32;
/// Ordinary stretches within a storm that do not end it.
const LULL: usize = 2;
/// Parts of a window whose storm counts are compared, to see whether storms themselves cluster.
const PARTS: usize = 16;
const MINUTE_NS: f64 = 60e9;

/// The storms of both arms.
pub(super) struct Storms {
    baseline: Seen,
    candidate: Seen,
    n: [u64; 2],
}

/// The storms of one arm.
struct Seen {
    /// When each began, nanoseconds of the arm's own time.
    begins: Vec<u64>,
    length_ns: u64,
    /// Most of the window is slow: that is no storm but a slow path.
    constant: bool,
}

impl Storms {
    /// `None` where the baseline has no median to be slow against, or an arm no length.
    pub(super) fn find(sides: &Sides) -> Option<Storms> {
        let slow = share::slow_from(sides)?;
        let stretch = stretch_ns(&sides.baseline)?;
        let ordinary = ordinary(&stretches(&sides.baseline, slow, stretch));
        let seen = |arm: &Arm| Seen::new(arm, slow, stretch, ordinary);
        let storms = Storms {
            baseline: seen(&sides.baseline),
            candidate: seen(&sides.candidate),
            n: [sides.baseline.count, sides.candidate.count],
        };
        (storms.baseline.length_ns > 0 && storms.candidate.length_ns > 0).then_some(storms)
    }

    /// Storms a minute.
    pub(super) fn estimate(&self, z: f64) -> Estimate {
        let arms = [&self.baseline, &self.candidate];
        let minutes = arms.map(|arm| arm.length_ns as f64 / MINUTE_NS);
        let events = arms.map(|arm| arm.begins.len() as f64);
        let cluster = self.baseline.cluster().max(1.0);
        let own = [cluster, self.candidate.cluster().max(1.0)];
        let rate = |at: usize| events[at] / minutes[at];
        let error = |at: usize| ((events[at] + 1.0) * own[at]).sqrt() / minutes[at];
        let mut estimate = Difference {
            values: [rate(0), rate(1)],
            errors: [error(0), error(1)],
            exposure: minutes,
            n: self.n,
            cluster,
        }
        .estimate(z);
        // A rate has no natural scale on which it would be too coarse: what is said is how rare a
        // storm these windows could have met.
        estimate.visible_max = f64::MAX;
        if self.baseline.constant || self.candidate.constant {
            estimate.missing = Some("most of a window is slow: no storms to tell apart".to_owned());
        }
        estimate
    }

    /// Why a verdict on storms does not stand yet: the windows are shorter than three periods.
    ///
    /// `known` is the period in nanoseconds where it was found elsewhere; otherwise the baseline's own.
    pub(super) fn too_rare(&self, known: Option<u64>) -> Option<String> {
        let (period_ns, from) = match (known, self.baseline.period_ns()) {
            (Some(known), _) => (known, "known"),
            (None, Some(seen)) => (seen, "seen in the baseline"),
            (None, None) => return None,
        };
        let needed = period_ns.saturating_mul(level::STORM_PERIODS_MIN);
        let shortest = self.baseline.length_ns.min(self.candidate.length_ns);
        (shortest < needed).then(|| {
            format!(
                "storms come every {} ({from}); a window of {} does not hold {} of them: {} needed",
                seconds(period_ns),
                seconds(shortest),
                level::STORM_PERIODS_MIN,
                seconds(needed),
            )
        })
    }
}

impl Seen {
    fn new(arm: &Arm, slow: u64, stretch: u64, ordinary: f64) -> Seen {
        // Six standard deviations of lone events above what is ordinary, and never on a handful.
        let hot = ordinary + 6.0 * ordinary.sqrt() + 6.0;
        let mut begins = Vec::new();
        let (mut before, mut hot_stretches, mut all) = (0u64, 0usize, 0usize);
        for (segment, counts) in stretches(arm, slow, stretch) {
            let mut quiet = usize::MAX;
            for (at, &count) in counts.iter().enumerate() {
                let is_hot = f64::from(count) >= hot;
                if is_hot && quiet > LULL {
                    begins.push(before.saturating_add((at as u64).saturating_mul(stretch)));
                }
                quiet = if is_hot { 0 } else { quiet.saturating_add(1) };
                hot_stretches += usize::from(is_hot);
            }
            all += counts.len();
            before = before.saturating_add(segment.length_ns);
        }
        Seen { begins, length_ns: arm.length_ns(), constant: hot_stretches * 2 > all }
    }

    /// The median distance between storms; with a single one, the window it was alone in.
    fn period_ns(&self) -> Option<u64> {
        let mut gaps: Vec<u64> = self.begins.windows(2).map(|w| w[1] - w[0]).collect();
        gaps.sort_unstable();
        match self.begins.len() {
            0 => None,
            1 => Some(self.length_ns),
            _ => gaps.get(gaps.len() / 2).copied(),
        }
    }

    /// The variance of storm counts over equal parts of the window by their mean.
    fn cluster(&self) -> f64 {
        let mean = self.begins.len() as f64 / PARTS as f64;
        if self.begins.len() < PARTS / 2 {
            return 1.0;
        }
        let mut parts = [0.0; PARTS];
        for &begin in &self.begins {
            let at = u128::from(begin) * PARTS as u128 / u128::from(self.length_ns.max(1));
            parts[(at as usize).min(PARTS - 1)] += 1.0;
        }
        let spread: f64 = parts.iter().map(|count| (count - mean) * (count - mean)).sum();
        spread / (PARTS - 1) as f64 / mean
    }
}

/// How long a stretch is, so that it holds enough samples; `None` without samples or time.
fn stretch_ns(arm: &Arm) -> Option<u64> {
    let length = arm.length_ns();
    if arm.count == 0 || length == 0 {
        return None;
    }
    let holds_samples = (length / arm.count).max(1).saturating_mul(STRETCH_SAMPLES);
    Some(STRETCH_NS.min(length / STRETCHES).max(holds_samples))
}

/// Slow packets in each stretch of each segment.
fn stretches<'a>(arm: &'a Arm, slow: u64, stretch: u64) -> Vec<(&'a Segment<'a>, Vec<u32>)> {
    // Bounded whatever the time stamps say: a stretch is never less than 32 samples on average,
    // and what lies beyond ten times the expected number is counted into the last one.
    let most = (arm.count / 3 + 64) as usize;
    let count = |segment: &'a Segment<'a>| {
        let first = segment.samples.first().map_or(0, |s| s.due_ns);
        let mut counts: Vec<u32> = Vec::new();
        for sample in segment.samples {
            let at = (sample.due_ns.saturating_sub(first) / stretch) as usize;
            let at = at.min(most);
            if at >= counts.len() {
                counts.resize(at + 1, 0);
            }
            counts[at] += u32::from(sample.latency_ns > slow);
        }
        (segment, counts)
    };
    arm.segments.iter().map(count).collect()
}

/// The mean count of the calmest four fifths of all stretches.
fn ordinary(stretches: &[(&Segment, Vec<u32>)]) -> f64 {
    let mut counts: Vec<u32> = stretches.iter().flat_map(|(_, c)| c.iter().copied()).collect();
    counts.sort_unstable();
    let calm = &counts[..counts.len() * 4 / 5];
    match calm.len() {
        0 => 0.0,
        len => calm.iter().map(|&c| f64::from(c)).sum::<f64>() / len as f64,
    }
}

/// Nanoseconds for people.
pub(super) fn seconds(ns: u64) -> String {
    format!("{:.1} s", ns as f64 / 1e9)
}
