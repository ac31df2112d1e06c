//! What is known of one metric before any criterion is held against it.

use super::sides::Sides;

/// One metric's figures. Effects are relative to the baseline, or absolute where `absolute` says so;
/// positive is worse.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    /// In the metric's unit.
    pub(super) baseline: f64,
    pub(super) candidate: f64,
    /// Samples: baseline, candidate.
    pub(super) n: [u64; 2],
    pub(super) effect: f64,
    /// Confidence bounds of the effect.
    pub(super) lower: f64,
    pub(super) upper: f64,
    /// Confidence bounds of the candidate's own value, for absolute criteria.
    pub(super) candidate_bounds: [f64; 2],
    /// The smallest effect that these windows tell from none, reliably.
    pub(super) visible: f64,
    /// Beyond this `visible` the metric is not resolved at all.
    pub(super) visible_max: f64,
    /// The largest effect that two windows of an unchanged machine show.
    pub(super) noise: f64,
    /// The candidate's value is a slow packet's, but no slower than the baseline's own may be: a quantile
    /// that jumped over the edge between ordinary and slow packets, where shares of them tell more.
    pub(super) jumped: bool,
    /// The baseline is 0, so that effects are differences in the metric's unit.
    pub(super) absolute: bool,
    /// What the windows lack to judge this metric.
    pub(super) missing: Option<String>,
}

impl Estimate {
    /// Nothing can be said, and why.
    pub(super) fn missing(sides: &Sides, why: String) -> Estimate {
        Estimate {
            baseline: 0.0,
            candidate: 0.0,
            n: [sides.baseline.count, sides.candidate.count],
            effect: 0.0,
            lower: f64::MIN,
            upper: f64::MAX,
            candidate_bounds: [0.0, f64::MAX],
            visible: f64::MAX,
            visible_max: 0.0,
            noise: 0.0,
            jumped: false,
            absolute: false,
            missing: Some(why),
        }
    }
}
