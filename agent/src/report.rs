//! The report: one or several runs as one page of HTML that needs nothing else.
//!
//! [`page`] is pure and deterministic: runs in, text out. The page loads nothing and runs no script
//! (its own content policy forbids both), so it can be mailed, archived and opened years later. All
//! text from outside is escaped, every list is bounded, and samples are thinned so that the page stays
//! small however many there were; extremes and losses are always kept.

mod axis;
mod ccdf;
mod distribution;
mod gantt;
mod head;
mod line;
mod metrics;
mod svg;
mod tables;
mod text;
mod trace;

pub(crate) use text::is_invisible;

use std::borrow::Cow;

use crate::{
    log::{RunState, fact::Foreign},
    measure::{Sample, Window},
    verdict::{Criterions, Verdict},
};

use self::distribution::Distribution;

/// One run, as the page shows it. The caller fills it from the log, the plan and the evidence.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: String,
    pub state: RunState,
    /// Why it ended so: criterion, expected, measured.
    pub why: String,
    /// The rule that refused it; empty where none did.
    pub rule: String,
    /// Name and version.
    pub playbook: String,
    pub summary: String,
    pub references: Vec<String>,
    /// The interface's name.
    pub nic: String,
    /// Nanoseconds since 1970, UTC.
    pub started_utc_ns: i64,
    pub took_ns: Option<u64>,
    /// Identity and circumstances, label and value, in the order of the page: NIC, driver, firmware,
    /// host, kernel, plan, peer.
    pub about: Vec<(String, String)>,
    pub by: Criterions,
    pub settings: Vec<Setting>,
    /// The baseline first, then each stage that was measured.
    pub windows: Vec<Measured>,
    pub judged: Vec<Judgement>,
    /// In order of their beginning.
    pub timeline: Vec<Bar>,
    pub foreign: Vec<Foreign>,
    /// What a reader should know besides: what the plan could not affect, evidence that is missing.
    pub notes: Vec<String>,
    pub evidence: Vec<Evidence>,
    pub undo: Undo,
}

/// One key that the run wrote, might have disturbed, or left alone for a reason.
#[derive(Debug, Clone)]
pub struct Setting {
    pub name: String,
    pub original: Option<String>,
    pub asked: Option<String>,
    pub left: Option<String>,
    pub fate: Fate,
}

/// What became of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Changed by the run and still so.
    InForce,
    /// Written by the run, and read back equal to its original.
    PutBack,
    /// Never written; read back equal to its original.
    AsItWas,
    /// Never written, might have been disturbed, and its value afterwards was not recorded.
    Unrecorded,
    /// It differs from its original, and not by our hand.
    Foreign,
    /// It could not be put back.
    NotPutBack,
    /// Written while the run is still on, or was when it was last heard of.
    Unfinished,
    /// It was right before the run.
    AlreadyRight,
    /// The run ended before the stage that would have written it.
    NotReached,
    /// This NIC does not have it, for this reason.
    Skipped(String),
}

/// One measured window, or why there is none to show.
#[derive(Debug, Clone)]
pub struct Measured {
    pub name: String,
    pub window: Result<Window, String>,
}

/// One stage's verdict.
#[derive(Debug, Clone)]
pub struct Judgement {
    pub stage: String,
    pub verdict: Verdict,
}

/// A stretch of the run, or a moment where `to_ns` is `from_ns`. Nanoseconds since the run began.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it belongs to: `baseline`, a stage's name, `whole run`.
    pub row: String,
    pub act: Act,
    pub from_ns: u64,
    pub to_ns: u64,
    pub words: String,
}

/// What was going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Waiting until carrier and replies are back.
    Settle,
    Measure,
    Write,
    Judge,
    PutBack,
    /// A moment: begun, ended, somebody else's change.
    Mark,
}

/// A file of evidence with its digest, held against what the log says.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Its name in the run's folder.
    pub file: String,
    pub digest: String,
    pub seal: Seal,
}

/// Whether evidence is what the log says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    Matches,
    /// The file is not the one that was judged.
    Differs,
    /// The run ended before the log named it.
    NotInLog,
    /// The log names it, and the file is gone.
    Missing,
}

/// How a person undoes what is left of the run.
#[derive(Debug, Clone)]
pub enum Undo {
    /// Nothing is left to undo, for this reason.
    Nothing(String),
    ByHand {
        why: String,
        script: String,
    },
}

/// The most runs on one page; what is left out is said.
const RUNS_MAX: usize = 16;
/// The most windows that are drawn of one run.
const WINDOWS_MAX: usize = 6;

/// A window with what is drawn of it.
struct Series<'a> {
    /// Its colour and line: 0 is the baseline.
    class: usize,
    name: &'a str,
    window: &'a Window,
    /// In order of `due_ns`.
    samples: Cow<'a, [Sample]>,
    seen: Distribution,
}

/// The whole page.
pub fn page(runs: &[Run]) -> String {
    let mut out = String::with_capacity(256 * 1024);
    out.push_str(&head::open(runs));
    if let [_, _, ..] = runs {
        out.push_str(&head::overview(&runs[..runs.len().min(RUNS_MAX)]));
    }
    for (index, run) in runs.iter().take(RUNS_MAX).enumerate() {
        out.push_str(&format!("<article id=\"run-{}\">\n", index + 1));
        out.push_str(&one(run));
        out.push_str("</article>\n");
    }
    if runs.len() > RUNS_MAX {
        let more = runs.len() - RUNS_MAX;
        out.push_str(&format!("<p class=\"note\">{more} more runs are not on this page.</p>\n"));
    }
    out.push_str(&head::close());
    out
}

fn one(run: &Run) -> String {
    let series = series(run);
    let mut out = head::banner(run);
    if !run.windows.is_empty() {
        let missing = run.windows.iter().filter_map(|measured| match &measured.window {
            Ok(_) => None,
            Err(why) => Some((measured.name.as_str(), why.as_str())),
        });
        out.push_str("<section>\n<h3>Latency, before and after</h3>\n");
        out.push_str(&ccdf::key(&series));
        out.push_str(&ccdf::figure(&series, &run.by));
        out.push_str(&line::figure(&series));
        out.push_str(&trace::figure(&series, &run.by));
        for (name, why) in missing.take(WINDOWS_MAX) {
            let name = text::words(name, text::NAME_MAX);
            let why = text::words(why, text::SENTENCE_MAX);
            out.push_str(&format!("<p class=\"note\">{name} is not drawn: {why}.</p>\n"));
        }
        out.push_str("</section>\n");
    }
    out.push_str(&tables::settings(&run.settings));
    out.push_str(&metrics::verdicts(run));
    out.push_str(&gantt::section(&run.timeline));
    out.push_str(&tables::windows(&series));
    out.push_str(&tables::foreign(&run.foreign));
    out.push_str(&tables::notes(&run.notes));
    out.push_str(&tables::about(run));
    out.push_str(&tables::undo(&run.undo));
    out.push_str(&tables::evidence(run));
    out
}

fn series(run: &Run) -> Vec<Series<'_>> {
    let shown = run.windows.iter().enumerate().take(WINDOWS_MAX);
    shown
        .filter_map(|(class, measured)| {
            let window = measured.window.as_ref().ok()?;
            let samples = in_order(&window.samples);
            let seen = Distribution::of(&samples);
            Some(Series { class, name: &measured.name, window, samples, seen })
        })
        .collect()
}

/// Nearly always they are, and then nothing is copied.
fn in_order(samples: &[Sample]) -> Cow<'_, [Sample]> {
    match samples.is_sorted_by_key(|sample| sample.due_ns) {
        true => Cow::Borrowed(samples),
        false => {
            let mut sorted = samples.to_vec();
            sorted.sort_by_key(|sample| sample.due_ns);
            Cow::Owned(sorted)
        }
    }
}
