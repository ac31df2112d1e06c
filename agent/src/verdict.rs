//! Samples and criteria in, verdict out. Pure and deterministic: the same evidence gives the same
//! verdict, bit for bit, on any machine.

use std::collections::BTreeMap;

use playbooks::{Metric, playbook::Criteria};
use serde::{Deserialize, Serialize};

use crate::measure::Window;

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
    pub verdict: Call,
    /// Whether every objective is conclusively met (true where there is none).
    pub objective_met: bool,
    /// One sentence: which criterion, expected, measured; or what held.
    pub why: String,
    pub metrics: BTreeMap<Metric, Judged>,
    pub seed: u64,
    /// Digest of the samples it was computed from; the engine fills it in.
    #[serde(default)]
    pub evidence: String,
}

/// What a run is judged by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Criterions {
    pub objective: Criteria,
    pub guardrails: Criteria,
}

/// Judges a candidate window against the run's first baseline.
pub fn judge(_baseline: &Window, _candidate: &Window, _by: &Criterions, seed: u64) -> Verdict {
    Verdict {
        verdict: Call::Inconclusive,
        objective_met: false,
        why: String::new(),
        metrics: BTreeMap::new(),
        seed,
        evidence: String::new(),
    }
}
