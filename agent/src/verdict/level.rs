//! How sure is sure: every critical value of the verdict, in one place.

/// Normal critical values for 1, 2, 3, … metrics judged at once, so that all intervals of a verdict
/// hold together with 99 % confidence, 0.5 % on either side.
///
/// Bonferroni's inequality needs no independence between metrics, which p99 and p99.9 do not have. A
/// table, because a quantile function would need logarithms, which are not the same on every platform.
const CRITICAL: [f64; 64] = [
    2.5758, 2.8070, 2.9352, 3.0233, 3.0902, 3.1440, 3.1888, 3.2272, 3.2608, 3.2905, 3.3172, 3.3415,
    3.3636, 3.3840, 3.4029, 3.4205, 3.4370, 3.4524, 3.4670, 3.4808, 3.4938, 3.5062, 3.5180, 3.5293,
    3.5401, 3.5504, 3.5603, 3.5699, 3.5791, 3.5879, 3.5965, 3.6047, 3.6127, 3.6204, 3.6279, 3.6352,
    3.6422, 3.6491, 3.6558, 3.6623, 3.6686, 3.6747, 3.6807, 3.6866, 3.6923, 3.6979, 3.7034, 3.7087,
    3.7139, 3.7190, 3.7240, 3.7289, 3.7337, 3.7384, 3.7430, 3.7475, 3.7520, 3.7563, 3.7606, 3.7648,
    3.7690, 3.7730, 3.7770, 3.7809,
];

/// Up to how many standard errors a difference is what two windows of one and the same machine show.
///
/// It is also the power: an effect of [`critical`] + `NOISE` standard errors is missed once in 530.
pub(super) const NOISE: f64 = 2.9;

/// An open bound that this many times the samples would not settle is said to be beyond any window.
pub(super) const TIMES_MAX: f64 = 10_000.0;
/// The tolerance where no guardrail names one: differences below are called equivalent.
pub(super) const TOLERANCE: f64 = 0.05;

/// A metric that no criterion names reverts only when it has conclusively more than doubled …
pub(super) const UNNAMED_WORSE: f64 = 1.0;
/// … and, for a share of packets, by more than one packet in a thousand.
pub(super) const UNNAMED_SHARE: f64 = 0.001;

/// A quantile that cannot even be told from its tenfold is not resolved at all.
pub(super) const QUANTILE_VISIBLE_MAX: f64 = 9.0;
/// Nor is a share of packets that cannot be told from itself plus this much.
pub(super) const SHARE_VISIBLE_MAX: f64 = 0.01;

/// A quantile that is not resolved passes on the word of the shares only if it did not double, or
/// jumped over the edge between ordinary and slow packets.
pub(super) const UNRESOLVED_WORSE: f64 = 1.0;

/// Tail samples that both windows together must be expected to hold.
pub(super) const TAIL_SAMPLES_MIN: u64 = 100;
/// And each of them: a long window does not stand in for the other's tail.
pub(super) const TAIL_SAMPLES_EACH: u64 = 25;

/// Samples that each window must hold, for there to be blocks at all.
pub(super) const SAMPLES_MIN: u64 = 200;

/// Storm periods that a window must see before a verdict on storms stands.
pub(super) const STORM_PERIODS_MIN: u64 = 3;

/// The critical value for one of `metrics` two-sided intervals that shall hold together.
pub(super) fn critical(metrics: usize) -> f64 {
    // Past the table 5.0 is right for up to 17,000 metrics.
    CRITICAL.get(metrics.saturating_sub(1)).copied().unwrap_or(5.0)
}

/// How much wider than the normal interval Student's is at `z` with `freedom` degrees of freedom:
/// Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5), exact enough from 6 on. Below 2 the
/// distribution has no variance to speak of, and the expansion is held there.
pub(super) fn student(z: f64, freedom: f64) -> f64 {
    let freedom = freedom.max(2.0);
    let z2 = z * z;
    let first = (z2 + 1.0) / 4.0;
    let second = ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0;
    let third = (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0;
    1.0 + (first + (second + third / freedom) / freedom) / freedom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn student_matches_the_printed_table() {
        // t at one-sided 0.0005 (z = 3.2905): 10 degrees 4.587, 30 degrees 3.646, 120 degrees 3.373.
        for (freedom, t) in [(10.0, 4.587), (30.0, 3.646), (120.0, 3.373)] {
            let ours = 3.2905 * student(3.2905, freedom);
            assert!((ours - t).abs() < 0.02, "{freedom}: {ours} against {t}");
        }
        assert!(student(3.0, 1.0) > 4.0 && student(0.0, 30.0) < 1.01);
    }

    #[test]
    fn more_metrics_need_more_evidence() {
        assert!((1..100).all(|m| critical(m) <= critical(m + 1)));
    }
}
