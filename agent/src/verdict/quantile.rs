//! Quantiles under dependence: a bound on each by inverting a test, and on their ratio.
//!
//! A latency `t` is a possible p-quantile where the share of samples up to `t` is no further from p
//! than its standard error at `t` allows (Woodruff 1952, with a long-run standard error). The error is
//! taken at many `t` and not only at the estimate: a storm may begin just beyond it, and there the
//! samples come in clusters. Only ranks are used, so a lost packet is simply the largest latency.

use playbooks::metric::Quantile;

use super::{
    arm::{Arm, Ranked},
    estimate::Estimate,
    level, share,
    sides::{Column, Sides},
};

/// Thresholds at which standard errors are taken, as parts of the tail share beyond the quantile: far
/// down, because the quantile may lie deep inside a storm, whose whole size shows only at its foot.
/// Above the last, too few samples are left to show how they cluster: its error goes for all of them.
const LADDER: [f64; 21] = [
    512.0, 256.0, 128.0, 64.0, 32.0, 16.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.5, 1.25, 1.125, 1.0, 0.875,
    0.75, 0.625, 0.5, 0.375, 0.25,
];

/// From how many times the tail share on a threshold is far from the quantile.
const FAR: f64 = 10.0;

/// How a total error is shared between two independent parts: points on a quarter circle, from
/// Pythagorean triples, so that they are exact.
const QUARTER: [(f64, f64); 9] = [
    (1.0, 0.0),
    (0.96, 0.28),
    (15.0 / 17.0, 8.0 / 17.0),
    (0.8, 0.6),
    (21.0 / 29.0, 20.0 / 29.0),
    (0.6, 0.8),
    (8.0 / 17.0, 15.0 / 17.0),
    (0.28, 0.96),
    (0.0, 1.0),
];

/// Judges one latency quantile of two arms; against the control's own change, where there is one.
pub(super) fn estimate(
    sides: &Sides,
    control: Option<&Sides>,
    quantile: Quantile,
    z: f64,
) -> Estimate {
    let Some(pair) = Pair::new(sides, quantile, z) else {
        return Estimate::missing(sides, "no samples".to_owned());
    };
    let mut estimate = pair.estimate(z);
    estimate.missing = pair.missing(quantile);
    estimate.jumped = share::slow_from(sides).is_some_and(|slow| pair.jumped(slow));
    if let Some(control) = control.and_then(|control| Pair::new(control, quantile, z)) {
        pair.less(&control, &mut estimate, z);
        estimate.missing = estimate.missing.or_else(|| control.missing(quantile));
    }
    estimate
}

/// The largest latency that the baseline's quantile may be; `None` where it does not resolve it.
pub(super) fn baseline_upper(sides: &Sides, quantile: Quantile, z: f64) -> Option<u64> {
    let arm = &sides.baseline;
    let tail = u64::from(10_000 - quantile.0);
    if arm.count * tail * 2 < level::TAIL_SAMPLES_MIN * 10_000 {
        return None;
    }
    let rungs = rungs(quantile);
    let thresholds = thresholds(arm, &rungs)?;
    let counts = arm.exceedances(&thresholds);
    let column =
        |threshold| Column { counts: &counts, threshold, latency_ns: thresholds[threshold] };
    let errors = (0..rungs.len()).map(|at| sides.baseline_error(column(at), z)).collect();
    Some(Side::new(arm, quantile, &rungs, errors)?.upper(z)).filter(|&ns| ns != u64::MAX)
}

/// From the lowest latency upward; a rung below every sample tells nothing.
fn rungs(quantile: Quantile) -> Vec<f64> {
    let tail = 1.0 - quantile.fraction();
    LADDER.iter().map(|part| 1.0 - part * tail).filter(|&level| level > 0.0).collect()
}

fn thresholds(arm: &Arm, rungs: &[f64]) -> Option<Vec<u64>> {
    rungs.iter().map(|&level| arm.ranked.at_level_down(level)).collect()
}

/// The same quantile of both arms.
pub(super) struct Pair<'a> {
    pub(super) baseline: Side<'a>,
    pub(super) candidate: Side<'a>,
}

impl<'a> Pair<'a> {
    pub(super) fn new(sides: &'a Sides<'a>, quantile: Quantile, z: f64) -> Option<Pair<'a>> {
        let rungs = rungs(quantile);
        let below = thresholds(&sides.baseline, &rungs)?;
        let beyond = thresholds(&sides.candidate, &rungs)?;
        let counts = (sides.baseline.exceedances(&below), sides.candidate.exceedances(&beyond));
        let mut errors = [Vec::new(), Vec::new()];
        for threshold in 0..rungs.len() {
            let column = |counts, latency_ns| Column { counts, threshold, latency_ns };
            let [base, cand] = sides.share_errors(
                column(&counts.0, below[threshold]),
                column(&counts.1, beyond[threshold]),
                z,
            );
            errors[0].push(base);
            errors[1].push(cand);
        }
        let [base, cand] = errors;
        Some(Pair {
            baseline: Side::new(&sides.baseline, quantile, &rungs, base)?,
            candidate: Side::new(&sides.candidate, quantile, &rungs, cand)?,
        })
    }

    fn estimate(&self, z: f64) -> Estimate {
        let (base, cand) = (self.baseline.point, self.candidate.point);
        Estimate {
            baseline: base as f64,
            candidate: cand as f64,
            n: [self.baseline.count, self.candidate.count],
            effect: relative(cand, base),
            lower: self.lower(z),
            upper: self.upper(z),
            candidate_bounds: [self.candidate.lower(z) as f64, self.candidate.upper(z) as f64],
            visible: self.noise(z + level::NOISE),
            visible_max: level::QUANTILE_VISIBLE_MAX,
            noise: self.noise(level::NOISE),
            jumped: false,
            absolute: base == 0,
            missing: None,
        }
    }

    /// Takes the control's change out of an estimate (difference in differences, as a ratio of
    /// ratios). The bounds are the worst over all ways in which both can share the error.
    fn less(&self, control: &Pair, estimate: &mut Estimate, z: f64) {
        if estimate.absolute || control.baseline.point == 0 {
            return;
        }
        let by = |own: f64, other: f64| (1.0 + own) / (1.0 + other).max(f64::MIN_POSITIVE) - 1.0;
        estimate.effect = by(estimate.effect, control.estimate(z).effect);
        estimate.upper = worst(|a, b| by(self.upper(z * a), control.lower(z * b)));
        estimate.lower = -worst(|a, b| -by(self.lower(z * a), control.upper(z * b)));
        let noise =
            |z: f64| worst(|a, b| (1.0 + self.noise(z * a)) * (1.0 + control.noise(z * b)) - 1.0);
        estimate.visible = noise(z + level::NOISE);
        estimate.noise = noise(level::NOISE);
    }

    /// The largest relative change that `z` standard errors allow: the worst over all ways in which
    /// the two arms can share the error.
    fn upper(&self, z: f64) -> f64 {
        worst(|a, b| relative(self.candidate.upper(z * a), self.baseline.lower(z * b)))
    }

    /// The smallest relative change that `z` standard errors allow.
    fn lower(&self, z: f64) -> f64 {
        -worst(|a, b| -relative(self.candidate.lower(z * a), self.baseline.upper(z * b)))
    }

    /// What `z` standard errors would look like if the candidate were another window of the baseline.
    /// The candidate has no say in it: a change that makes latency erratic must not widen what passes.
    fn noise(&self, z: f64) -> f64 {
        let base = &self.baseline;
        let scale = (base.count as f64 / self.candidate.count.max(1) as f64).sqrt();
        worst(|a, b| relative(base.upper(z * a * scale), base.lower(z * b)))
    }

    /// Whether the candidate's quantile is a slow packet's, and one that the baseline's might be, too.
    fn jumped(&self, slow: u64) -> bool {
        let (base, cand) = (&self.baseline, &self.candidate);
        let spread = (1.0 + base.count as f64 / cand.count.max(1) as f64).sqrt();
        cand.point > slow && cand.point <= base.upper(level::NOISE * spread)
    }

    /// What this pair of windows lacks to say anything on the quantile.
    fn missing(&self, quantile: Quantile) -> Option<String> {
        let (base, cand) = (self.baseline.count, self.candidate.count);
        let each = (base.min(cand), level::TAIL_SAMPLES_EACH, "the smaller window");
        let both = (base + cand, level::TAIL_SAMPLES_MIN, "both windows");
        let beyond = u64::from(10_000 - quantile.0).max(1);
        let tail = |samples: u64| samples.saturating_mul(beyond) / 10_000;
        let (samples, least, place) =
            [both, each].into_iter().find(|&(samples, least, _)| tail(samples) < least)?;
        let needed = (level::TAIL_SAMPLES_MIN * 10_000 / beyond).div_ceil(2);
        Some(format!(
            "{} tail samples expected in {place}, {least} needed: {needed} samples a window",
            tail(samples),
        ))
    }
}

/// One arm's quantile and how far off it can be.
pub(super) struct Side<'a> {
    ranked: &'a Ranked,
    pub(super) count: u64,
    pub(super) point: u64,
    /// p itself.
    level: f64,
    /// Shares of samples up to each threshold, ascending, with their standard errors.
    rungs: Vec<(f64, f64)>,
}

impl<'a> Side<'a> {
    fn new(arm: &'a Arm, quantile: Quantile, rungs: &[f64], errors: Vec<f64>) -> Option<Side<'a>> {
        let total = u128::from(arm.ranked.total);
        let rank = (total * u128::from(quantile.0)).div_ceil(10_000) as u64;
        let top = errors.last().map(|&error| (1.0, error));
        Some(Side {
            ranked: &arm.ranked,
            count: arm.count,
            point: arm.ranked.at_rank(rank)?,
            level: quantile.fraction(),
            rungs: rungs.iter().copied().zip(errors).chain(top).collect(),
        })
    }

    /// The largest latency that may be the quantile; lost where no sample is large enough to say.
    pub(super) fn upper(&self, z: f64) -> u64 {
        let mut farthest = self.level;
        for pair in self.rungs.windows(2) {
            let [(low, one), (high, other)] = *pair else { continue };
            let reach = self.level + z * one.max(other);
            if high > self.level && reach >= low {
                farthest = farthest.max(reach.min(high));
            }
        }
        match farthest < 1.0 {
            true => self.ranked.at_level_up(farthest).unwrap_or(u64::MAX),
            false => u64::MAX,
        }
    }

    /// The smallest latency that may be the quantile; 0 where no sample is small enough to say.
    pub(super) fn lower(&self, z: f64) -> u64 {
        let mut farthest = self.level;
        for pair in self.rungs.windows(2) {
            let [(low, one), (high, other)] = *pair else { continue };
            let reach = self.level_down(low, z * one.max(other));
            if low < self.level && reach <= high {
                farthest = farthest.min(reach.max(low));
            }
        }
        // Below the lowest rung its own error is the best there is.
        if let Some(&(lowest, error)) = self.rungs.first()
            && farthest <= lowest
        {
            farthest = farthest.min(self.level - z * error);
        }
        match farthest > 0.0 {
            true => self.ranked.at_level_down(farthest).unwrap_or(0),
            false => 0,
        }
    }

    /// How far down a level may be the quantile's, with this error of the share found there.
    ///
    /// Far down the share found beyond is many times the tail, so that its error is not the one that a
    /// share as small as the tail would have: there square roots are compared, as for counts, whose
    /// error on that scale is the same for small and for large ones (Bartlett 1936).
    fn level_down(&self, low: f64, error: f64) -> f64 {
        let tail = 1.0 - self.level;
        if 1.0 - low < FAR * tail {
            return self.level - error;
        }
        let root = (tail.sqrt() + (tail + 2.0 * error).sqrt()) / 2.0;
        1.0 - root * root
    }
}

impl Ranked {
    /// The latency at a level between 0 and 1, to the next rank up.
    fn at_level_up(&self, level: f64) -> Option<u64> {
        self.at_rank((level * self.total as f64).ceil() as u64)
    }

    /// The latency at a level between 0 and 1, to the next rank down.
    fn at_level_down(&self, level: f64) -> Option<u64> {
        self.at_rank((level * self.total as f64).floor() as u64)
    }
}

/// The largest value of `of` over all ways in which two independent parts share one error.
pub(super) fn worst(of: impl Fn(f64, f64) -> f64) -> f64 {
    QUARTER.iter().map(|&(a, b)| of(a, b)).fold(f64::MIN, f64::max)
}

/// The change from `from` to `to` as a fraction of `from`; in nanoseconds where that is 0.
fn relative(to: u64, from: u64) -> f64 {
    match (to, from) {
        (to, from) if to == from => 0.0,
        (to, 0) => to as f64,
        // The difference first: 21 us from 20 us is 0.05 and not the next number above it.
        (to, from) => (to as f64 - from as f64) / from as f64,
    }
}
