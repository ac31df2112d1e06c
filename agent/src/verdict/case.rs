//! One decision's whole evidence, owned: what the engine gathers, what is stored, what is judged again.

use std::sync::Arc;

use playbooks::Metric;

use super::{
    Control, Criterions, Evidence, Verdict, judge_evidence,
    sequential::{Alarm, Watch},
};
use crate::measure::{Sample, Window};

/// Windows, criteria and seed. The same case gives the same verdict, bit for bit.
#[derive(Debug, Clone, Default)]
pub struct Case {
    pub by: Criterions,
    pub seed: u64,
    /// One window, or several that took turns with the candidate's.
    pub baseline: Vec<Arc<Window>>,
    pub candidate: Vec<Arc<Window>>,
    /// The same of an untouched NIC: baseline, candidate.
    pub control: Option<[Vec<Arc<Window>>; 2]>,
    /// Traffic patterns that one window holds one after the other, each equally long.
    pub parts: usize,
    /// The distance between storms, nanoseconds, where it is known.
    pub storm_period_ns: Option<u64>,
    /// Why the probe cannot represent the host's traffic, if so.
    pub blind: Option<String>,
    /// What a reader of the verdict should know.
    pub notes: Vec<String>,
}

impl Case {
    /// The verdict. Where the candidate was cut short because a regression had been seen, the watch
    /// that saw it is walked over the samples again: what it called is a part of the verdict.
    pub fn judge(&self) -> Verdict {
        let [baseline, candidate] = [&self.baseline, &self.candidate].map(|w| lend(w));
        let control = self.control.as_ref().map(|sides| [lend(&sides[0]), lend(&sides[1])]);
        let mut evidence = Evidence::windows(&baseline, &candidate);
        evidence.control =
            control.as_ref().map(|[baseline, candidate]| Control { baseline, candidate });
        evidence.storm_period_ns = self.storm_period_ns;
        evidence.blind.clone_from(&self.blind);
        let mut verdict = judge_evidence(&evidence, &self.by, self.seed);
        if let Some(alarm) = self.alarm() {
            verdict = verdict.called_early(&alarm);
        }
        verdict.notes.extend(self.notes.iter().cloned());
        verdict
    }

    /// Watches for regressions while a candidate window runs.
    pub fn lookout(&self) -> Option<Lookout> {
        // Turns and a control are there because latency drifts by itself: judged when all is measured.
        let [baseline] = self.baseline.as_slice() else { return None };
        let fit = self.blind.is_none() && self.control.is_none();
        fit.then(|| Lookout::new(baseline, &self.by, self.parts))
    }

    fn alarm(&self) -> Option<Alarm> {
        let [candidate] = self.candidate.as_slice() else { return None };
        let called = candidate.cut_short.as_deref() == Some(Window::CALLED_EARLY);
        called.then(|| self.lookout()?.feed(&candidate.samples))?
    }
}

fn lend(windows: &[Arc<Window>]) -> Vec<&Window> {
    windows.iter().map(Arc::as_ref).collect()
}

/// A watch for each part of a window: a burst is compared with the baseline's bursts, not its calm.
pub struct Lookout {
    watches: Vec<Watch>,
    part_ns: u64,
}

impl Lookout {
    /// The chance of a false alarm is shared out over the parts.
    pub fn new(baseline: &Window, by: &Criterions, parts: usize) -> Lookout {
        let parts = parts.max(1);
        let part_ns = (baseline.length_ns / parts as u64).max(1);
        let begin = |part: usize| {
            let from = part as u64 * part_ns;
            baseline.samples.partition_point(|sample| sample.due_ns < from)
        };
        let watch = |part: usize| {
            let end = if part + 1 == parts { baseline.samples.len() } else { begin(part + 1) };
            Watch::of_part(&baseline.samples[begin(part)..end], by, parts)
        };
        Lookout { watches: (0..parts).map(watch).collect(), part_ns }
    }

    /// The metrics that a baseline of this size lets be watched.
    pub fn watched(&self) -> impl Iterator<Item = &Metric> {
        self.watches.iter().flat_map(Watch::watched)
    }

    /// Takes the window's next samples, in order.
    pub fn feed(&mut self, samples: &[Sample]) -> Option<Alarm> {
        let (part_ns, last) = (self.part_ns, self.watches.len() - 1);
        let part = |sample: &Sample| ((sample.due_ns / part_ns) as usize).min(last);
        samples.chunk_by(|one, next| part(one) == part(next)).find_map(|chunk| {
            let watch = chunk.first().map(part).and_then(|at| self.watches.get_mut(at))?;
            watch.feed(chunk)
        })
    }
}
