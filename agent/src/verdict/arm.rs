//! One side of the comparison: its segments, its samples in order of rank, and its blocks.

use super::random::Random;
use crate::measure::{Sample, Window};

/// A stretch measured without a break.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    /// Nanoseconds on a clock that both sides share, where they share one.
    pub(super) begins_ns: i128,
    pub(super) length_ns: u64,
    pub(super) samples: &'a [Sample],
    /// How much each of its samples counts; 1 unless the sides are interleaved.
    pub(super) weight: u32,
}

impl<'a> Segment<'a> {
    pub(super) fn of_window(window: &'a Window) -> Segment<'a> {
        let first = window.samples.first().map_or(0, |s| s.due_ns);
        Segment {
            begins_ns: i128::from(window.began_utc_ns) + i128::from(first),
            length_ns: window.length_ns.max(span_ns(&window.samples)),
            samples: &window.samples,
            weight: 1,
        }
    }
}

/// From the first sample to one mean distance after the last.
pub(super) fn span_ns(samples: &[Sample]) -> u64 {
    match samples {
        [first, .., last] => {
            let span = last.due_ns.saturating_sub(first.due_ns);
            span.saturating_add(span / (samples.len() as u64 - 1))
        }
        [] | [_] => 0,
    }
}

/// Baseline or candidate.
pub(super) struct Arm<'a> {
    pub(super) segments: Vec<Segment<'a>>,
    pub(super) ranked: Ranked,
    /// Samples, each counted once.
    pub(super) count: u64,
    pub(super) lost: u64,
    /// The sum of squared weights by the sum of weights; 1 where all weights are 1.
    pub(super) weighting: f64,
    /// Samples in a block.
    block: usize,
    /// Where the first block begins, drawn from the seed: a disturbance in step with the blocks
    /// could otherwise hide between two of them, for every judge at once.
    phase: usize,
}

/// Blocks an arm is cut into: fine enough to see short correlation, few enough to be quick.
const BLOCKS: usize = 1024;

impl<'a> Arm<'a> {
    pub(super) fn new(segments: Vec<Segment<'a>>, random: &mut Random) -> Arm<'a> {
        let count: u64 = segments.iter().map(|s| s.samples.len() as u64).sum();
        let lost = segments.iter().flat_map(|s| s.samples).filter(|s| s.is_lost()).count() as u64;
        let weigh = |power: u32| -> f64 {
            segments.iter().map(|s| s.samples.len() as f64 * f64::from(s.weight.pow(power))).sum()
        };
        let weighting = if count == 0 { 1.0 } else { weigh(2) / weigh(1) };
        let block = (count as usize).div_ceil(BLOCKS).max(1);
        let phase = random.below(block as u64) as usize;
        let ranked = Ranked::new(&segments);
        Arm { segments, ranked, count, lost, weighting, block, phase }
    }

    pub(super) fn length_ns(&self) -> u64 {
        self.segments.iter().fold(0u64, |sum, s| sum.saturating_add(s.length_ns))
    }

    /// Counts, block by block, how many samples exceed each of `thresholds` (ascending).
    pub(super) fn exceedances(&self, thresholds: &[u64]) -> Exceedances {
        let width = thresholds.len() + 1;
        let mut counts: Vec<u32> = Vec::with_capacity(width * (BLOCKS + self.segments.len()));
        let mut per_segment = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let samples = segment.samples.get(self.phase..).unwrap_or(&[]);
            let blocks = samples.chunks_exact(self.block);
            per_segment.push(blocks.len());
            for block in blocks {
                let begin = counts.len();
                counts.resize(begin + width, 0);
                let row = &mut counts[begin..];
                for sample in block {
                    row[thresholds.partition_point(|&t| t < sample.latency_ns)] += segment.weight;
                }
                // From "this many thresholds exceeded" to "this threshold exceeded so often".
                for at in (1..width).rev() {
                    row[at - 1] += row[at];
                }
            }
        }
        let weights = self.segments.iter().map(|s| s.weight).collect();
        Exceedances { counts, width, per_segment, weights, block: self.block }
    }
}

/// For every block and every threshold, how many samples exceed it.
pub(super) struct Exceedances {
    /// Row by row; column 0 counts all samples, column `i + 1` those above threshold `i`.
    counts: Vec<u32>,
    width: usize,
    /// How many blocks each segment gave.
    pub(super) per_segment: Vec<usize>,
    pub(super) weights: Vec<u32>,
    /// Samples in a block.
    pub(super) block: usize,
}

impl Exceedances {
    /// The counts above one threshold, block after block.
    pub(super) fn series(&self, threshold: usize) -> Vec<f64> {
        let column = self.counts.iter().skip(threshold + 1).step_by(self.width);
        column.map(|&count| f64::from(count)).collect()
    }
}

/// Samples in order of latency, each with its weight.
pub(super) struct Ranked {
    /// Sorted latencies of the segments of one weight.
    groups: Vec<(u64, Vec<u64>)>,
    /// The sum of all weights.
    pub(super) total: u64,
}

impl Ranked {
    fn new(segments: &[Segment]) -> Ranked {
        let mut groups: Vec<(u64, Vec<u64>)> = Vec::new();
        for segment in segments {
            let weight = u64::from(segment.weight);
            let latencies = segment.samples.iter().map(|s| s.latency_ns);
            match groups.iter_mut().find(|(w, _)| *w == weight) {
                Some((_, group)) => group.extend(latencies),
                None => groups.push((weight, latencies.collect())),
            }
        }
        groups.iter_mut().for_each(|(_, group)| group.sort_unstable());
        let total = groups.iter().map(|(weight, group)| weight * group.len() as u64).sum();
        Ranked { groups, total }
    }

    /// The smallest latency that at least `rank` of the total weight do not exceed; `rank` counts
    /// from 1 and is held within the total. `None` where there is nothing.
    pub(super) fn at_rank(&self, rank: u64) -> Option<u64> {
        let rank = rank.clamp(1, self.total.max(1));
        match self.groups.as_slice() {
            [] => None,
            [(weight, group)] => group.get(((rank - 1) / weight) as usize).copied(),
            [_, _, ..] => {
                let (mut low, mut high) = (0, u64::MAX);
                while low < high {
                    let middle = low + (high - low) / 2;
                    match self.up_to(middle) >= rank {
                        true => high = middle,
                        false => low = middle + 1,
                    }
                }
                Some(low)
            }
        }
    }

    /// The weight of the samples that do not exceed `latency`.
    pub(super) fn up_to(&self, latency: u64) -> u64 {
        let below = |(weight, group): &(u64, Vec<u64>)| {
            weight * group.partition_point(|&l| l <= latency) as u64
        };
        self.groups.iter().map(below).sum()
    }

    pub(super) fn max(&self) -> Option<u64> {
        self.groups.iter().filter_map(|(_, group)| group.last()).max().copied()
    }
}
