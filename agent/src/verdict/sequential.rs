//! Calling a regression while the window still runs, at any moment, without more false alarms for
//! looking often.
//!
//! One gambler a metric bets, block by block, that more samples are slow than the baseline and the
//! guardrail's tolerance allow. If they are not, no system of bets wins more than it staked on average,
//! so that a capital grown 1/alpha-fold ever has probability at most alpha (Ville's inequality): the
//! test is valid at every moment at once, whatever the distribution. Waudby-Smith and Ramdas,
//! "Estimating means of bounded random variables by betting" (JRSS B 86, 2024).
//!
//! What the theorem needs is that a block tells nothing about the next. So a block is as long as the
//! baseline was seen to be correlated at that very threshold; and since a storm may come that the
//! baseline did not meet, no block is believed beyond a limit that lets capital grow at most fourfold
//! in half a second. A single storm of three seconds raises no alarm however bad it is.

use playbooks::{Metric, playbook::Criterion};

use super::{
    Criterions, DEFAULT,
    arm::{Segment, span_ns},
    level, long_run, quantile, share,
    sides::Sides,
};
use crate::measure::{Sample, Window};

/// The chance that a watch over an unchanged machine ever raises an alarm, all metrics together.
const ALARM: f64 = 0.001;

/// Parts of a bet's largest stake: large ones win fast on gross changes, small ones on slight changes.
/// The capital is shared out equally.
const STAKES: [f64; 6] = [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125];

/// The largest stake is at least the first of these, and at most the second, which keeps a gambler
/// solvent after a block without a slow sample. It rises where a block cannot win much: of packets that
/// half may be slow at most twice as many as allowed are.
const LARGEST: (f64, f64) = (0.5, 0.95);

/// In how long capital may grow fourfold; nanoseconds.
const FOURFOLD_NS: u64 = 500_000_000;

/// Slow samples that a block should be allowed, where that does not make it longer than
/// [`FOURFOLD_NS`]: with fewer, most blocks hold none and the few others are cut off.
const SLOW_EXPECTED: f64 = 30.0;

/// Blocks of the baseline that a block may cover at most, so that a window holds at least 16.
const PART_MIN: u64 = 16;

/// Watches a candidate sample by sample against a baseline.
#[derive(Clone)]
pub struct Watch {
    bets: Vec<Bet>,
    seen: u64,
    /// The growth of capital at which an alarm is raised.
    enough: f64,
}

/// A regression, called early.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    pub metric: Metric,
    /// How many samples of the candidate it took.
    pub samples: u64,
    /// The share of samples above `threshold_ns` that baseline and tolerance allow.
    pub allowed: f64,
    pub measured: f64,
    pub threshold_ns: u64,
    /// One sentence: criterion, expected, measured.
    pub why: String,
}

impl Watch {
    /// A watch for every latency guardrail, and for the default latency metrics that none names (those
    /// only for gross changes). Counters, maxima and storm rates are left to the end of the window.
    ///
    /// A metric that the baseline does not resolve is not watched; [`Watch::watched`] says which are.
    pub fn new(baseline: &[&Window], by: &Criterions) -> Watch {
        let segments: Vec<Segment> = baseline.iter().map(|w| Segment::of_window(w)).collect();
        Watch::over(segments, by)
    }

    /// The same over bare samples.
    pub fn of_samples(baseline: &[Sample], by: &Criterions) -> Watch {
        let length_ns = span_ns(baseline);
        let segment = Segment { begins_ns: 0, length_ns, samples: baseline, weight: 1 };
        Watch::over(vec![segment], by)
    }

    /// One of several watches that share the chance of a false alarm.
    pub fn of_part(baseline: &[Sample], by: &Criterions, watches: usize) -> Watch {
        let mut watch = Watch::of_samples(baseline, by);
        watch.enough *= watches as f64;
        watch
    }

    fn over(segments: Vec<Segment>, by: &Criterions) -> Watch {
        // The second arm is only there to be asked nothing; block phase and seed do not matter here.
        let sides = Sides::new(segments, Vec::new(), 0);
        let named = by.guardrails.keys();
        let unnamed = DEFAULT.iter().filter(|m| !by.guardrails.contains_key(m));
        let metrics: Vec<&Metric> = named.chain(unnamed).collect();
        let z = level::critical(metrics.len());
        let bets: Vec<Bet> = metrics
            .iter()
            .filter_map(|metric| Bet::new(metric, by.guardrails.get(metric), &sides, z))
            .collect();
        let enough = metrics.len() as f64 / ALARM;
        Watch { bets, seen: 0, enough }
    }

    /// The metrics under watch.
    pub fn watched(&self) -> impl Iterator<Item = &Metric> {
        self.bets.iter().map(|bet| &bet.metric)
    }

    /// Takes the next samples, in order. Once an alarm is raised it stands, whatever comes later.
    pub fn feed(&mut self, samples: &[Sample]) -> Option<Alarm> {
        for sample in samples {
            self.seen += 1;
            for bet in &mut self.bets {
                if bet.take(sample).is_some_and(|capital| capital >= self.enough) {
                    return Some(bet.alarm(self.seen));
                }
            }
        }
        None
    }
}

/// Whether a guardrail names the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    InTheCriteria,
    Nowhere,
}

/// One gambler: bets that more than the allowed share of samples exceeds a threshold.
#[derive(Clone)]
struct Bet {
    metric: Metric,
    named: Named,
    threshold_ns: u64,
    allowed: f64,
    /// Samples in a block.
    block: u64,
    /// The largest part of the capital that is set on a block.
    largest: f64,
    /// A block's share of slow samples counts as at most this many times the allowed one, which bounds
    /// what the largest stake wins. Cutting off can only lower what is won: the test stays valid.
    believed: f64,
    /// Of the block that is not full yet: samples, and those above the threshold.
    filled: u64,
    above: u64,
    /// Of all blocks.
    blocks: u64,
    above_ever: u64,
    capital: [f64; STAKES.len()],
}

impl Bet {
    fn new(metric: &Metric, guardrail: Option<&Criterion>, sides: &Sides, z: f64) -> Option<Bet> {
        let worse = guardrail.map_or(Some(level::UNNAMED_WORSE), |g| g.no_worse_than);
        let most = guardrail.and_then(|g| g.at_most);
        let (threshold_ns, allowed) = match metric {
            Metric::LatencyQuantile(at) => {
                let upper = quantile::baseline_upper(sides, *at, z)?;
                let relative = worse.map(|worse| upper as f64 * (1.0 + worse));
                // Both bounds must hold: the tighter one is the easier to break.
                let bound = most.into_iter().chain(relative).fold(f64::MAX, f64::min);
                // Saturates: a bound among the lost packets cannot be exceeded.
                (bound as u64, 1.0 - at.fraction())
            }
            Metric::SlowRatio | Metric::LossRatio => {
                let threshold = match metric {
                    Metric::SlowRatio => share::slow_from(sides)?,
                    _ => Sample::LOST - 1,
                };
                let (share, error) = share::baseline(sides, threshold, z)?;
                let floor = if guardrail.is_none() { level::UNNAMED_SHARE } else { 0.0 };
                let relative = worse.map(|worse| (share + z * error) * (1.0 + worse) + floor);
                (threshold, most.into_iter().chain(relative).fold(f64::MAX, f64::min))
            }
            Metric::LatencyMax
            | Metric::StormRate
            | Metric::TcpRetransmitRatio
            | Metric::Drops
            | Metric::NicCounter(_)
            | Metric::SoftnetSqueezed
            | Metric::TcpRtt
            | Metric::TcpSessionRetransmits
            | Metric::External(_) => return None,
        };
        let fair = allowed > 0.0 && allowed < 1.0 && threshold_ns < Sample::LOST;
        if !fair {
            return None;
        }
        let (block, fourfolds) = block(sides, threshold_ns, allowed);
        let (largest, believed) = stakes(allowed, fourfolds);
        let named = match guardrail {
            Some(_) => Named::InTheCriteria,
            None => Named::Nowhere,
        };
        Some(Bet {
            metric: metric.clone(),
            named,
            threshold_ns,
            allowed,
            block,
            largest,
            believed,
            filled: 0,
            above: 0,
            blocks: 0,
            above_ever: 0,
            capital: [0.0; STAKES.len()],
        })
    }

    /// Takes one sample; where it fills a block, gives the capital by what was staked.
    fn take(&mut self, sample: &Sample) -> Option<f64> {
        self.filled += 1;
        self.above += u64::from(sample.latency_ns > self.threshold_ns);
        if self.filled < self.block {
            return None;
        }
        self.settle();
        Some(self.capital.iter().sum())
    }

    /// Settles the bets on a full block.
    fn settle(&mut self) {
        self.blocks += 1;
        // Of the capital 1 / (n (n + 1)) joins at block n, which makes one in all: half of it plays from
        // the first block on, and what early blocks have lost cannot silence a change that comes late.
        // A mixture of bets begun at any times is a fair bet, too.
        let joins = 1.0 / (self.blocks as f64 * (self.blocks as f64 + 1.0)) / STAKES.len() as f64;
        self.capital.iter_mut().for_each(|capital| *capital += joins);
        let times = self.above as f64 / self.block as f64 / self.allowed;
        let surplus = times.min(self.believed) - 1.0;
        for (capital, part) in self.capital.iter_mut().zip(STAKES) {
            *capital *= 1.0 + self.largest * part * surplus;
        }
        self.above_ever += self.above;
        self.filled = 0;
        self.above = 0;
    }

    fn alarm(&self, samples: u64) -> Alarm {
        let counted = self.blocks * self.block;
        let measured = self.above_ever as f64 / counted.max(1) as f64;
        let what = match self.threshold_ns == Sample::LOST - 1 {
            true => "were lost".to_owned(),
            false => format!("took longer than {:.1} us", self.threshold_ns as f64 / 1e3),
        };
        let unnamed = match self.named {
            Named::InTheCriteria => "",
            Named::Nowhere => " (in no criterion, but never to double)",
        };
        let why = format!(
            "{}{unnamed}: {:.3} % of {counted} packets {what}, at most {:.3} % allowed: \
             called after {samples} packets",
            self.metric,
            measured * 100.0,
            self.allowed * 100.0,
        );
        Alarm {
            metric: self.metric.clone(),
            samples,
            allowed: self.allowed,
            measured,
            threshold_ns: self.threshold_ns,
            why,
        }
    }
}

/// How many samples a block must hold, and how many times [`FOURFOLD_NS`] it takes: for the baseline's
/// blocks to look independent, and for a slow sample to be expected; but leaving the baseline 16 blocks.
fn block(sides: &Sides, threshold_ns: u64, allowed: f64) -> (u64, f64) {
    let arm = &sides.baseline;
    let counts = arm.exceedances(&[threshold_ns]);
    let lags = long_run::correlated_lags(&counts.series(0)) as u64;
    let independent = counts.block as u64 * (2 * lags + 1);
    let length = arm.length_ns().max(FOURFOLD_NS) as f64;
    let fourfold = arm.count as f64 * FOURFOLD_NS as f64 / length;
    let expected = (1.0 / allowed).max(fourfold.min(SLOW_EXPECTED / allowed)).ceil() as u64;
    let longest = (arm.count / PART_MIN).max(1);
    let block = independent.max(expected).clamp(1, longest);
    (block, block as f64 / fourfold.max(1.0))
}

/// The largest stake, and how many times the allowed share a block is believed: for capital to grow
/// fourfold at most in a block, and in all blocks of [`FOURFOLD_NS`] together.
fn stakes(allowed: f64, fourfolds: f64) -> (f64, f64) {
    let win = 4f64.powf(fourfolds.min(1.0)) - 1.0;
    let surplus = 1.0 / allowed - 1.0;
    let largest = (win / surplus).clamp(LARGEST.0, LARGEST.1);
    (largest, 1.0 + win / largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capital_grows_fourfold_at_most_in_half_a_second() {
        for allowed in [0.5, 0.1, 0.01, 0.001] {
            for fourfolds in [0.01, 0.3, 1.0, 2.0] {
                let (largest, believed) = stakes(allowed, fourfolds);
                let growth = 1.0 + largest * (believed.min(1.0 / allowed) - 1.0);
                let rate = growth.ln() / f64::min(fourfolds, 1.0);
                assert!(rate <= 4f64.ln() * 1.000_001, "{allowed} {fourfolds}: {growth}");
                assert!(largest < 1.0, "solvent");
            }
        }
        assert_eq!(stakes(0.01, 1.0), (0.5, 7.0));
        let (largest, believed) = stakes(0.5, 1.0);
        assert!(largest > 0.9 && believed > 2.0, "{largest} {believed}");
    }

    #[test]
    fn a_gambler_never_loses_what_has_not_joined_yet() {
        let mut bet = Bet {
            metric: Metric::LossRatio,
            named: Named::Nowhere,
            threshold_ns: 10,
            allowed: 0.5,
            block: 4,
            largest: 0.5,
            believed: 7.0,
            filled: 0,
            above: 0,
            blocks: 0,
            above_ever: 0,
            capital: [0.0; STAKES.len()],
        };
        let quick = Sample { due_ns: 0, latency_ns: 1, flow: 0 };
        let slow = Sample { latency_ns: 11, ..quick };
        let after_quiet = (0..4000).filter_map(|_| bet.take(&quick)).fold(0.0, f64::max);
        assert!(after_quiet <= 1.0);
        let found = (0..400).position(|_| bet.take(&slow) > Some(6000.0));
        assert!(found.is_some_and(|samples| samples < 300), "{found:?}");
        // Nor after days: a hundred thousand blocks later it takes hardly longer.
        bet.capital = [0.0; STAKES.len()];
        assert!((0..400_000).filter_map(|_| bet.take(&quick)).fold(0.0, f64::max) <= 1.0);
        let found = (0..400).position(|_| bet.take(&slow) > Some(6000.0));
        assert!(found.is_some_and(|samples| samples < 400), "{found:?}");
    }
}
