//! Samples and criteria in, verdict out. Pure and deterministic: the same evidence gives the same
//! verdict, bit for bit, on any machine (only additions, multiplications, divisions and square roots,
//! which IEEE 754 rounds alike everywhere).
//!
//! `docs/verdict.md` explains the method and what it cannot see. In reading order: `arm` cuts a
//! window into blocks, `long_run` says how much their sums vary, `sides` puts two arms against each
//! other, `quantile`, `share`, `storm`, `counter` and `reading` estimate, `decide` holds the criteria against the
//! estimates; [`sequential`] calls regressions while a window still runs.

mod arm;
mod case;
mod counter;
mod decide;
mod estimate;
mod evidence;
mod level;
mod long_run;
mod quantile;
mod random;
mod reading;
pub mod sequential;
mod share;
mod sides;
mod storm;

use std::collections::{BTreeMap, BTreeSet};

use playbooks::{
    Metric,
    metric::Quantile,
    playbook::{Criteria, Criterion},
};
use serde::{Deserialize, Serialize};

pub use case::{Case, Lookout};
pub use evidence::{Control, Evidence};
pub use random::Random;

use self::{
    decide::{Decided, Shares, Standing},
    estimate::Estimate,
};
use crate::measure::{Sample, Window};

/// What to do with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    Keep,
    Revert,
    /// The evidence decides nothing: the engine reverts.
    Inconclusive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Improved,
    Equivalent,
    Regressed,
    Inconclusive,
}

/// One metric, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judged {
    pub outcome: Outcome,
    /// In the metric's unit.
    pub baseline: f64,
    pub candidate: f64,
    /// Relative change, candidate against baseline: 0.05 is 5 % worse. Absolute where the baseline is 0.
    pub effect: f64,
    /// Confidence interval of the effect.
    pub ci: [f64; 2],
    /// Samples: baseline, candidate.
    pub n: [u64; 2],
    /// The smallest effect this window could have seen.
    pub smallest_visible: f64,
    /// Whether the guardrail on this metric holds conclusively (`None`: no guardrail on it).
    pub guardrail: Option<bool>,
    /// Whether the objective on this metric is met conclusively (`None`: no objective on it).
    pub objective: Option<bool>,
    /// In words, where there is something to say: criterion, expected, measured, or what is missing.
    pub why: String,
}

/// The verdict with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// Whether the guardrails let the change stay; [`Verdict::call`] asks for the objective, too.
    pub verdict: Call,
    /// Whether every objective is conclusively met (true where there is none).
    pub objective_met: bool,
    /// One sentence: which criterion, expected, measured; or what held.
    pub why: String,
    /// Why a `keep` does not stand for good yet, and what would make it: probation decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional: Option<String>,
    /// What a reader should know besides: a load shift, windows interleaved or compared to a control.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    pub metrics: BTreeMap<Metric, Judged>,
    pub seed: u64,
}

/// What a run is judged by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Criterions {
    pub objective: Criteria,
    pub guardrails: Criteria,
}

impl Criterions {
    /// What is judged by where nobody says: the quantiles and shares of [`DEFAULT`], 5 % each.
    pub fn default_guardrails() -> Criterions {
        let criterion = Criterion { no_worse_than: Some(level::TOLERANCE), ..Criterion::default() };
        let guardrails = DEFAULT.into_iter().map(|metric| (metric, criterion.clone())).collect();
        Criterions { objective: Criteria::new(), guardrails }
    }
}

/// The metrics that every verdict looks at, named or not.
pub const DEFAULT: [Metric; 6] = [
    Metric::LatencyQuantile(Quantile(5000)),
    Metric::LatencyQuantile(Quantile(9900)),
    Metric::LatencyQuantile(Quantile(9990)),
    Metric::SlowRatio,
    Metric::StormRate,
    Metric::LossRatio,
];

/// Those of them that a quantile at the edge of a storm leans on.
const SHARES: [Metric; 2] = [Metric::SlowRatio, Metric::LossRatio];

impl Verdict {
    /// The whole answer where no further stage can follow: `keep` only if the objective is met, too.
    pub fn call(&self) -> Call {
        match self.verdict {
            Call::Keep if !self.objective_met => Call::Inconclusive,
            Call::Keep => Call::Keep,
            Call::Revert => Call::Revert,
            Call::Inconclusive => Call::Inconclusive,
        }
    }

    /// The same verdict, but reverted: a [`sequential::Watch`] called the regression while the window
    /// still ran, and the cut-short window by itself need not show it.
    pub fn called_early(mut self, alarm: &sequential::Alarm) -> Verdict {
        self.verdict = Call::Revert;
        self.why.clone_from(&alarm.why);
        self.provisional = None;
        self
    }

    /// Whether the change conclusively improved a metric that the objective names. A stage that keeps
    /// the guardrails but improves nothing is put back before the next.
    pub fn improved(&self) -> bool {
        self.metrics.values().any(|m| m.objective.is_some() && m.outcome == Outcome::Improved)
    }
}

/// Judges a candidate window against the run's first baseline.
pub fn judge(baseline: &Window, candidate: &Window, by: &Criterions, seed: u64) -> Verdict {
    judge_evidence(&Evidence::windows(&[baseline], &[candidate]), by, seed)
}

/// Judges two recorded series of samples, in order of their send time.
///
/// Where both are on one clock and take turns (A/B/A/B, with gaps where the other's turn was), they
/// are judged as interleaved.
pub fn judge_samples(
    baseline: &[Sample],
    candidate: &[Sample],
    by: &Criterions,
    seed: u64,
) -> Verdict {
    judge_evidence(&Evidence::samples(baseline, candidate), by, seed)
}

/// Judges everything that was measured.
pub fn judge_evidence(evidence: &Evidence, by: &Criterions, seed: u64) -> Verdict {
    let metrics = judged_metrics(by);
    let z = level::critical(metrics.len());
    let scene = evidence.scene(seed);
    let estimates: BTreeMap<Metric, Estimate> =
        metrics.into_iter().map(|metric| (metric.clone(), scene.estimate(&metric, z))).collect();
    let shares = Shares::of(SHARES.iter().filter_map(|metric| estimates.get(metric)));
    let decided: Vec<Decided> = estimates
        .iter()
        .map(|(metric, estimate)| {
            let (objective, guardrail) = (by.objective.get(metric), by.guardrails.get(metric));
            decide::decide(metric, estimate, objective, guardrail, shares)
        })
        .collect();
    let (mut verdict, mut why) = decide::call(&decided);
    if let Some(unfit) = scene.unfit.clone() {
        (verdict, why) = (Call::Inconclusive, unfit);
    }
    if let (Call::Keep, Some(cut)) = (verdict, &scene.cut_short) {
        verdict = Call::Inconclusive;
        why = format!("a window was cut short ({cut}): a whole one is needed");
    }
    let objective_met = decided.iter().all(|d| d.objective.is_none_or(|s| s == Standing::Holds));
    let (too_rare, mut notes) = (scene.too_rare(), scene.notes);
    let provisional = match verdict {
        Call::Keep => decide::provisional(&decided, too_rare),
        Call::Revert | Call::Inconclusive => {
            notes.extend(too_rare);
            None
        }
    };
    let metrics = decided.into_iter().map(|d| (d.metric, d.judged)).collect();
    Verdict { verdict, objective_met, why, provisional, notes, metrics, seed }
}

/// The named metrics and the default ones. Counters and maxima have no interval to pay for, but
/// counting them costs little and keeps the family simple.
fn judged_metrics(by: &Criterions) -> BTreeSet<Metric> {
    by.objective.keys().chain(by.guardrails.keys()).cloned().chain(DEFAULT).collect()
}
