//! What a committed run is held to: read from the log, the plan and the evidence.

use std::{sync::Arc, time::Duration};

use playbooks::{
    Metric, Playbook,
    playbook::{Criterion, Pattern},
};

use crate::{
    engine::evidence,
    log::{Fact, History, RunRecord, RunState},
    measure::{Sample, Window, WindowSpec},
    runs::{self, Declined, Exit},
    store::Store,
    verdict::{Case, Criterions, DEFAULT, Verdict},
};

/// A committed run with what it was judged by.
pub struct Terms {
    pub run: RunRecord,
    pub playbook: Playbook,
    /// Its guardrails; an objective is for the run itself.
    pub by: Criterions,
    pub seed: u64,
    /// What everything is compared with, of `parts` patterns one after the other.
    pub baseline: Arc<Window>,
    pub parts: usize,
    /// The last verdict: how the committed state compared with the baseline.
    verdict: Verdict,
}

impl Terms {
    /// Reads them. Every file must be the one that the log vouches for.
    ///
    /// # Errors
    /// The run is unknown or not committed, or was never judged (2); a file is missing or altered (1).
    pub fn read(store: &dyn Store, history: &History, wanted: &str) -> Result<Terms, Declined> {
        let wrong = |why: String| Declined::new(Exit::Wrong, "run", why);
        let run = history.find(wanted).map_err(wrong)?;
        if run.state != RunState::Committed {
            let state = match run.state {
                RunState::Running => "in flight or interrupted",
                RunState::Reverted => "reverted",
                RunState::Refused => "refused",
                RunState::Stuck => "stuck",
                RunState::Committed => "committed",
            };
            let why = format!("run {} is {state}: only what is committed can be watched", run.id);
            return Err(wrong(why));
        }
        let judged = run.entries.iter().rev().find_map(|entry| {
            let Fact::Judged { stage, evidence, verdict } = &entry.fact else { return None };
            Some((*stage, evidence, verdict))
        });
        let Some((stage, digest, verdict)) = judged else {
            return Err(wrong(format!("run {} was never judged: it has no baseline", run.id)));
        };
        let plan =
            runs::plan_of(run, store).map_err(|why| Declined::new(Exit::Failed, "plan", why))?;
        let playbook = plan.playbook;
        let case = evidence::case(store, &run.id, &format!("stage-{}", stage + 1), digest)?;
        let parts = case.parts.max(1);
        let baseline = joined(&case, parts)
            .ok_or_else(|| wrong(format!("run {} has an empty baseline", run.id)))?;
        let by = Criterions { guardrails: case.by.guardrails, ..Criterions::default() };
        let (run, seed, verdict) = (run.clone(), case.seed, (**verdict).clone());
        Ok(Terms { run, playbook, by, seed, baseline, parts, verdict })
    }

    /// The patterns that the run was judged on.
    pub fn patterns(&self) -> &[Pattern] {
        match self.playbook.verify.patterns.as_slice() {
            [] => &[Pattern::Calm],
            some => some,
        }
    }

    /// How long each pattern of the run's own window was.
    pub fn part_length(&self) -> Duration {
        self.playbook.verify.window / u32::try_from(self.parts).unwrap_or(1).max(1)
    }

    /// A window as the run's own, but so long, of this pattern, at this rate.
    pub fn spec(&self, length: Duration, rate: u32, pattern: Pattern) -> WindowSpec {
        let verify = &self.playbook.verify;
        let (transport, payload) = (verify.transport, verify.payload);
        WindowSpec { transport, length, rate, payload, pattern, flows: 0 }
    }

    /// The guardrails for a reference of the committed state itself, measured at another rate than the
    /// baseline: what the change has won may be lost again before anything is worse than the baseline.
    pub fn by_for_committed(&self) -> Criterions {
        let mut by = self.by.clone();
        for criterion in by.guardrails.iter_mut() {
            let won = self.won(criterion.0);
            criterion.1.no_worse_than =
                criterion.1.no_worse_than.map(|worse| (1.0 + worse) * won - 1.0);
        }
        // Quantiles that nobody named count only for gross changes: the same against the baseline.
        for metric in DEFAULT.iter().filter(|m| matches!(m, Metric::LatencyQuantile(_))) {
            let no_worse_than = Some(2.0 * self.won(metric) - 1.0);
            let criterion = Criterion { at_most: None, at_least: None, no_worse_than };
            by.guardrails.entry(metric.clone()).or_insert(criterion);
        }
        by
    }

    /// How many times larger the baseline was than what was committed; 1 where it was not.
    fn won(&self, metric: &Metric) -> f64 {
        /// A share of packets this small is none.
        const SHARE_MIN: f64 = 1e-4;
        let Some(judged) = self.verdict.metrics.get(metric) else { return 1.0 };
        let least = match metric {
            Metric::SlowRatio | Metric::LossRatio | Metric::TcpRetransmitRatio => SHARE_MIN,
            Metric::LatencyQuantile(_)
            | Metric::LatencyMax
            | Metric::StormRate
            | Metric::Drops
            | Metric::NicCounter(_)
            | Metric::SoftnetSqueezed
            | Metric::TcpRtt
            | Metric::TcpSessionRetransmits
            | Metric::External(_) => 1.0,
        };
        let won = (judged.baseline + least) / (judged.candidate + least);
        if won.is_finite() { won.max(1.0) } else { 1.0 }
    }
}

/// The baseline as one window: turns of it end to end, pattern by pattern.
fn joined(case: &Case, parts: usize) -> Option<Arc<Window>> {
    let (first, more) = case.baseline.split_first()?;
    if more.is_empty() {
        return Some(Arc::clone(first));
    }
    let mut whole = Window { samples: Vec::new(), ..(**first).clone() };
    more.iter().for_each(|turn| whole.append(Window { samples: Vec::new(), ..(**turn).clone() }));
    let mut from_ns = 0;
    for part in 0..parts as u64 {
        for turn in &case.baseline {
            let long_ns = turn.length_ns / parts as u64;
            let (begin, end) = (part * long_ns, (part + 1) * long_ns);
            let inside = turn.samples.iter().filter(|s| (begin..end).contains(&s.due_ns));
            let moved = |s: &Sample| Sample { due_ns: s.due_ns - begin + from_ns, ..*s };
            whole.samples.extend(inside.map(moved));
            from_ns += long_ns;
        }
    }
    Some(Arc::new(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_joined_pattern_by_pattern() {
        let turn = |latency_ns: u64| {
            let sample = |i: u64| Sample { due_ns: i * 10, latency_ns: latency_ns + i, flow: 0 };
            let samples = (0..10).map(sample).collect();
            Arc::new(Window { length_ns: 100, samples, ..Window::default() })
        };
        let case = Case { baseline: vec![turn(100), turn(200)], parts: 2, ..Case::default() };
        let whole = joined(&case, 2).expect("two turns");
        assert_eq!((whole.length_ns, whole.samples.len()), (200, 20));
        assert!(whole.samples.is_sorted_by_key(|s| s.due_ns));
        // The first half is all of the first pattern.
        assert!(whole.samples[..10].iter().all(|s| s.latency_ns % 100 < 5));
        assert!(whole.samples[10..].iter().all(|s| s.latency_ns % 100 >= 5));
    }
}
