//! Baseline against candidate: how they were laid out in time, and how far a share can be off.

use super::{
    arm::{Arm, Exceedances, Segment},
    long_run,
    random::Random,
};

/// Both arms, and the order of their segments where they alternate.
pub(super) struct Sides<'a> {
    pub(super) baseline: Arm<'a>,
    pub(super) candidate: Arm<'a>,
    /// In order of time, where baseline and candidate were switched to and fro.
    turns: Option<Vec<Turn>>,
}

/// Whose turn, and which of its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Baseline(usize),
    Candidate(usize),
}

/// One threshold of one arm's [`Exceedances`].
#[derive(Clone, Copy)]
pub(super) struct Column<'a> {
    pub(super) counts: &'a Exceedances,
    pub(super) threshold: usize,
    /// The threshold itself, nanoseconds.
    pub(super) latency_ns: u64,
}

impl<'a> Sides<'a> {
    pub(super) fn new(
        mut baseline: Vec<Segment<'a>>,
        mut candidate: Vec<Segment<'a>>,
        seed: u64,
    ) -> Sides<'a> {
        let mut random = Random::new(seed);
        baseline.sort_by_key(|s| s.begins_ns);
        candidate.sort_by_key(|s| s.begins_ns);
        let turns = turns(&baseline, &candidate);
        if let Some(turns) = &turns {
            weigh(turns, &mut baseline, &mut candidate);
        }
        let baseline = Arm::new(baseline, &mut random);
        let candidate = Arm::new(candidate, &mut random);
        Sides { baseline, candidate, turns }
    }

    pub(super) fn interleaved(&self) -> bool {
        self.turns.is_some()
    }

    /// The standard errors of the two shares of samples above two thresholds, widened so that a normal
    /// interval at `z` is as wide as Student's; at 0 they are as estimated.
    ///
    /// One after the other, each arm's own long-run variance. Interleaved, the variance of their
    /// difference with the drift that both share taken out, half of it to each.
    pub(super) fn share_errors(&self, baseline: Column, candidate: Column, z: f64) -> [f64; 2] {
        let floors = [least(&self.baseline, baseline), least(&self.candidate, candidate)];
        let variances = match &self.turns {
            None => {
                [self.alone(&self.baseline, baseline, z), self.alone(&self.candidate, candidate, z)]
            }
            Some(turns) => [self.paired(turns, baseline, candidate, z) / 2.0; 2],
        };
        [variances[0].max(floors[0]).sqrt(), variances[1].max(floors[1]).sqrt()]
    }

    /// The standard error of a share of the baseline by itself.
    pub(super) fn baseline_error(&self, column: Column, z: f64) -> f64 {
        let arm = &self.baseline;
        self.alone(arm, column, z).max(least(arm, column)).sqrt()
    }

    /// The long-run variance of one arm's share.
    fn alone(&self, arm: &Arm, column: Column, z: f64) -> f64 {
        let series = column.counts.series(column.threshold);
        let covered = series.len() * column.counts.block;
        if series.len() < 8 {
            return f64::INFINITY;
        }
        let total = arm.ranked.total as f64;
        long_run::variance_of_sum(&series, z) * arm.count as f64 / covered as f64 / (total * total)
    }

    /// The variance of the difference of two interleaved shares.
    ///
    /// Every block's deviation from its arm's share, with the other sign for the baseline: their sum
    /// is the error of the difference. What moves both arms alike cancels only between neighbours,
    /// so a trend over the segments is taken out first; its kernel (1/4, 1/2, 1/4) is blind to
    /// whatever alternates, which is all that the difference consists of.
    fn paired(&self, turns: &[Turn], baseline: Column, candidate: Column, z: f64) -> f64 {
        let sides =
            [Excess::new(&self.baseline, baseline), Excess::new(&self.candidate, candidate)];
        let pick = |turn: &Turn| match *turn {
            Turn::Baseline(at) => (-1.0, &sides[0], at),
            Turn::Candidate(at) => (1.0, &sides[1], at),
        };
        let means: Vec<f64> = turns
            .iter()
            .map(|turn| {
                let (_, side, at) = pick(turn);
                let blocks = side.segment(at);
                blocks.iter().sum::<f64>() / (blocks.len() as f64).max(1.0)
            })
            .collect();
        let mut series = Vec::new();
        for (place, turn) in turns.iter().enumerate() {
            let before = means[place.saturating_sub(1)];
            let after = means[(place + 1).min(means.len() - 1)];
            let trend = (before + 2.0 * means[place] + after) / 4.0;
            let (sign, side, at) = pick(turn);
            let scale = sign * side.scale(at);
            series.extend(side.segment(at).iter().map(|excess| scale * (excess - trend)));
        }
        if series.len() < 8 {
            return f64::INFINITY;
        }
        let uncovered = (sides[0].uncovered + sides[1].uncovered) / 2.0;
        long_run::variance_of_sum(&series, z) * uncovered
    }
}

/// One arm's blocks: how far each one's share lies above the arm's share.
struct Excess {
    /// Per block, in order.
    blocks: Vec<f64>,
    /// Where each segment's blocks begin; one more than there are segments.
    begins: Vec<usize>,
    /// What one block of each segment weighs in the arm's share.
    scales: Vec<f64>,
    /// All samples by samples in whole blocks.
    uncovered: f64,
}

impl Excess {
    fn new(arm: &Arm, column: Column) -> Excess {
        let counts = column.counts;
        let series = counts.series(column.threshold);
        let size = counts.block as f64;
        let total = arm.ranked.total as f64;
        let share = above(arm, column) / total;
        let mut begins = vec![0];
        let mut blocks = Vec::with_capacity(series.len());
        for (&segment, &weight) in counts.per_segment.iter().zip(&counts.weights) {
            let begin = blocks.len();
            let weigh = |count: &f64| count / f64::from(weight) / size - share;
            blocks.extend(series[begin..begin + segment].iter().map(weigh));
            begins.push(blocks.len());
        }
        let scales = counts.weights.iter().map(|&w| f64::from(w) * size / total).collect();
        let uncovered = arm.count as f64 / (blocks.len() as f64 * size).max(1.0);
        Excess { blocks, begins, scales, uncovered }
    }

    fn segment(&self, at: usize) -> &[f64] {
        &self.blocks[self.begins[at]..self.begins[at + 1]]
    }

    fn scale(&self, at: usize) -> f64 {
        self.scales[at]
    }
}

/// The weight of an arm's samples above the threshold.
fn above(arm: &Arm, column: Column) -> f64 {
    (arm.ranked.total - arm.ranked.up_to(column.latency_ns)) as f64
}

/// The variance that a share has even if all samples are independent, with one success and one
/// failure added (Agresti and Coull 1998): no window shows that something never happens.
fn least(arm: &Arm, column: Column) -> f64 {
    let total = arm.ranked.total as f64;
    let above = above(arm, column);
    let one = arm.weighting;
    one * (above + one) * (total - above + one) / (total * total * total)
}

/// The order of turns, where the arms alternate without overlapping, twice each at least.
fn turns(baseline: &[Segment], candidate: &[Segment]) -> Option<Vec<Turn>> {
    if baseline.len() < 2 || candidate.len() < 2 {
        return None;
    }
    let mut all: Vec<(&Segment, Turn)> = Vec::new();
    all.extend(baseline.iter().enumerate().map(|(at, s)| (s, Turn::Baseline(at))));
    all.extend(candidate.iter().enumerate().map(|(at, s)| (s, Turn::Candidate(at))));
    all.sort_by_key(|(segment, _)| segment.begins_ns);
    let alternate = all.windows(2).all(|pair| {
        let [(one, turn), (next, other)] = pair else { return false };
        let apart = one.begins_ns + i128::from(one.length_ns) / 2 <= next.begins_ns;
        apart && matches!(turn, Turn::Baseline(_)) != matches!(other, Turn::Baseline(_))
    });
    alternate.then(|| all.into_iter().map(|(_, turn)| turn).collect())
}

/// Whether two series of segments take turns.
pub(super) fn alternate(baseline: &[Segment], candidate: &[Segment]) -> bool {
    turns(baseline, candidate).is_some()
}

/// Weighs alternating segments 1, 3, 4, 4, …, 4, 3, 1: the sum of second differences. Both arms then
/// have the same centre in time, so that a steady drift cancels exactly and does not favour the arm
/// that came first.
fn weigh(turns: &[Turn], baseline: &mut [Segment], candidate: &mut [Segment]) {
    let last = turns.len() - 1;
    for (place, turn) in turns.iter().enumerate() {
        let weight = match place.min(last - place) {
            0 => 1,
            1 => 3,
            _ => 4,
        };
        match *turn {
            Turn::Baseline(at) => baseline[at].weight = weight,
            Turn::Candidate(at) => candidate[at].weight = weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sample;

    fn segment(begins_ns: i128, samples: &[Sample]) -> Segment<'_> {
        Segment { begins_ns, length_ns: 10, samples, weight: 1 }
    }

    #[test]
    fn alternation_is_recognised_and_a_steady_drift_cancels() {
        let samples = [Sample { due_ns: 0, latency_ns: 1, flow: 0 }];
        let at = |places: &[i128]| -> Vec<Segment> {
            places.iter().map(|&p| segment(p * 10, &samples)).collect()
        };
        let sides = Sides::new(at(&[0, 2, 4]), at(&[1, 3, 5]), 0);
        assert!(sides.interleaved());
        let centre = |arm: &Arm| -> f64 {
            let weighed = arm.segments.iter().map(|s| s.begins_ns as f64 * f64::from(s.weight));
            weighed.sum::<f64>() / arm.ranked.total as f64
        };
        assert_eq!(centre(&sides.baseline), centre(&sides.candidate));

        assert!(!Sides::new(at(&[0]), at(&[1]), 0).interleaved());
        assert!(!Sides::new(at(&[0, 1]), at(&[2, 3]), 0).interleaved());
        assert!(!Sides::new(at(&[0, 2]), at(&[0, 2]), 0).interleaved());
    }
}
