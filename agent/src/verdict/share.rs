//! Shares of packets: slow ones, lost ones.

use super::{
    arm::Arm,
    estimate::Estimate,
    level,
    sides::{Column, Sides},
};
use crate::measure::Sample;

/// Events of the baseline that its own clustering is mixed with: with few events a window does not
/// show how they cluster, and one of them seldom comes alone.
const CLUSTER_EVENTS: f64 = 4.0;
/// How strongly events are taken to cluster then: the variance of their count by its mean.
const CLUSTER: f64 = 4.0;

/// The share of packets slower than ten times the baseline's median.
///
/// The control's share, where there is one, is of packets slower than ten times its own median.
pub(super) fn slow(sides: &Sides, control: Option<&Sides>, z: f64) -> Estimate {
    let Some(threshold) = slow_from(sides) else {
        return Estimate::missing(
            sides,
            "half of the baseline's packets or more are lost: it has no median".to_owned(),
        );
    };
    let difference = above(sides, threshold, z);
    let control = control.and_then(|c| Some(above(c, slow_from(c)?, z)));
    difference.less(control).estimate(z)
}

/// The share of packets without a reply.
pub(super) fn loss(sides: &Sides, control: Option<&Sides>, z: f64) -> Estimate {
    let control = control.map(|control| above(control, Sample::LOST - 1, z));
    above(sides, Sample::LOST - 1, z).less(control).estimate(z)
}

/// The latency beyond which a packet is slow: ten times the baseline's median.
pub(super) fn slow_from(sides: &Sides) -> Option<u64> {
    let ranked = &sides.baseline.ranked;
    let median = ranked.at_rank(ranked.total.div_ceil(2)).filter(|&ns| ns != Sample::LOST)?;
    Some(median.saturating_mul(10).min(Sample::LOST - 1))
}

/// The baseline's share above a threshold, and its standard error; `None` without samples.
pub(super) fn baseline(sides: &Sides, threshold: u64, z: f64) -> Option<(f64, f64)> {
    let arm = &sides.baseline;
    let counts = arm.exceedances(&[threshold]);
    let column = Column { counts: &counts, threshold: 0, latency_ns: threshold };
    let error = sides.baseline_error(column, z);
    (arm.count > 0 && error.is_finite()).then(|| (above_share(arm, threshold), error))
}

fn above_share(arm: &Arm, threshold: u64) -> f64 {
    let total = arm.ranked.total;
    (total - arm.ranked.up_to(threshold)) as f64 / total.max(1) as f64
}

/// The shares of samples above a threshold. Both arms must hold samples.
fn above(sides: &Sides, threshold: u64, z: f64) -> Difference {
    let counts = [&sides.baseline, &sides.candidate].map(|arm| arm.exceedances(&[threshold]));
    let column = |counts| Column { counts, threshold: 0, latency_ns: threshold };
    let errors = sides.share_errors(column(&counts[0]), column(&counts[1]), z);
    let [plain, _] = sides.share_errors(column(&counts[0]), column(&counts[1]), 0.0);
    let shares = [&sides.baseline, &sides.candidate].map(|arm| above_share(arm, threshold));
    let n = [sides.baseline.count, sides.candidate.count];
    // How the baseline's events cluster, as the variance of their count by that of lone ones.
    let events = shares[0] * n[0] as f64;
    let alone = (shares[0] * (1.0 - shares[0]) / n[0] as f64).max(f64::MIN_POSITIVE);
    let seen = if events > 0.0 { plain * plain / alone } else { 1.0 };
    let cluster = (seen * events + CLUSTER * CLUSTER_EVENTS) / (events + CLUSTER_EVENTS);
    let exposure = n.map(|n| n as f64);
    Difference { values: shares, errors, exposure, n, cluster: cluster.max(1.0) }
}

/// Two rates of events, each an event count by an exposure, and how far each can be off.
pub(super) struct Difference {
    /// Events by exposure: baseline, candidate.
    pub(super) values: [f64; 2],
    /// Their standard errors.
    pub(super) errors: [f64; 2],
    /// What the events are counted over: packets, minutes.
    pub(super) exposure: [f64; 2],
    /// Samples.
    pub(super) n: [u64; 2],
    /// The variance of the baseline's event count by that of lone events.
    pub(super) cluster: f64,
}

impl Difference {
    /// Takes the control's own change out (difference in differences).
    fn less(mut self, control: Option<Difference>) -> Difference {
        let Some(control) = control else { return self };
        self.values[1] -= control.values[1] - control.values[0];
        for (own, other) in self.errors.iter_mut().zip(control.errors) {
            *own = (*own * *own + other * other).sqrt();
        }
        self
    }

    pub(super) fn estimate(&self, z: f64) -> Estimate {
        let [base, cand] = self.values;
        let absolute = base == 0.0;
        let scale = if absolute { 1.0 } else { 1.0 / base };
        let error = (self.errors[0] * self.errors[0] + self.errors[1] * self.errors[1]).sqrt();
        let difference = cand - base;
        let noise = level::NOISE * self.unchanged(self.values);
        // Nothing gets better by more than all of it.
        let least = if absolute { f64::MIN } else { -1.0 };
        Estimate {
            baseline: base,
            candidate: cand,
            n: self.n,
            effect: difference * scale,
            lower: ((difference - z * error) * scale).max(least),
            upper: (difference + z * error) * scale,
            candidate_bounds: [(cand - z * self.errors[1]).max(0.0), cand + z * self.errors[1]],
            visible: self.visible(z + level::NOISE) * scale,
            visible_max: (level::SHARE_VISIBLE_MAX * scale).max(level::QUANTILE_VISIBLE_MAX),
            noise: noise * scale,
            jumped: false,
            absolute,
            missing: None,
        }
    }

    /// The difference that stands `z` standard errors clear of none, its own events' scatter included:
    /// where the baseline has next to no events, that is most of it.
    fn visible(&self, z: f64) -> f64 {
        let none = self.unchanged([self.values[0]; 2]);
        let own = z * z / self.exposure[1];
        (own + (own * own + 4.0 * z * z * none * none).sqrt()) / 2.0
    }

    /// The standard error of the difference if the candidate were another window of the baseline:
    /// events that come as often as in both windows together (and one more in each), and that
    /// cluster as in the baseline.
    fn unchanged(&self, values: [f64; 2]) -> f64 {
        let [base, cand] = self.exposure;
        let events = values[0] * base + values[1] * cand + 2.0;
        let share = events / (base + cand);
        (self.cluster * share * (1.0 / base + 1.0 / cand)).sqrt()
    }
}
