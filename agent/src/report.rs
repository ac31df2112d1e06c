//! One run as one self-contained HTML page: no scripts, nothing fetched, fit for an archive.
//!
//! Pure: a [`Run`] in, a page out, byte for byte the same for the same run. Whatever the samples, a page
//! stays under two megabytes: curves are thinned by rank, the scatter by cell, tables by row.

mod ccdf;
mod metrics;
mod scale;
mod scatter;
mod tables;
mod text;
mod timeline;

use std::fmt::Write;

use playbooks::{Name, Value};

use crate::{
    log::RunState,
    measure::Window,
    verdict::{Criterions, Verdict},
};
use text::{escaped, utc};

/// Everything the page shows. Plain data: the log, the plan and the evidence fill it.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: String,
    /// Name and version.
    pub playbook: String,
    pub summary: String,
    pub state: RunState,
    /// Why it ended so, in one sentence.
    pub why: String,
    /// Nanoseconds since 1970, UTC.
    pub started_utc_ns: i64,
    pub ended_utc_ns: Option<i64>,
    /// Which NIC, host, kernel, firmware, peer: what is needed to tell this run from another's.
    pub facts: Vec<(String, String)>,
    pub settings: Vec<Setting>,
    pub criteria: Criterions,
    /// The baseline first, then one for each stage that was measured.
    pub windows: Vec<Measured>,
    pub spans: Vec<Span>,
    /// What the evidence's files are called, and their digests.
    pub evidence: Vec<(String, String)>,
    /// Commands that undo the run by hand, one a line.
    pub by_hand: Vec<String>,
}

/// One window with the verdict on it; the baseline has none.
#[derive(Debug, Clone)]
pub struct Measured {
    /// `baseline`, or the stage's name.
    pub label: String,
    /// With its samples.
    pub window: Window,
    pub verdict: Option<Verdict>,
}

/// One setting of the playbook and what became of it.
#[derive(Debug, Clone)]
pub struct Setting {
    pub stage: String,
    pub name: Name,
    /// What it was before the run.
    pub from: Option<Value>,
    pub asked: Option<Value>,
    /// What the kernel said after the write.
    pub got: Option<Value>,
    pub fate: Fate,
}

/// Where a setting stands at the end of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// In force.
    Kept,
    /// Written, then put back and read back.
    PutBack,
    /// Right already, nothing was written.
    AlreadyRight,
    /// The run ended before its stage.
    NotReached,
    /// This NIC does not have it; why.
    Skipped(String),
    /// Could not be written or put back; why.
    Failed(String),
}

/// Something that took time, in nanoseconds since the run began.
#[derive(Debug, Clone)]
pub struct Span {
    /// The row it is drawn in: `baseline`, a stage's name, `revert`.
    pub row: String,
    pub kind: SpanKind,
    pub from_ns: u64,
    pub to_ns: u64,
    /// What was done: `3 settings`, `calm`.
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    Settle,
    Window,
    Write,
    Judge,
    Revert,
}

/// Rows of one table beyond this are counted, not shown.
const ROWS_MAX: usize = 400;

/// Windows beyond this are counted, not drawn.
const WINDOWS_MAX: usize = 8;

/// The page.
pub fn page(run: &Run) -> String {
    let mut out = String::with_capacity(256 << 10);
    head(&mut out, run);
    banner(&mut out, run);
    tables::facts(&mut out, run);
    tables::settings(&mut out, run);
    measured(&mut out, run);
    metrics::section(&mut out, run);
    timeline::section(&mut out, run);
    tables::by_hand(&mut out, run);
    tables::evidence(&mut out, run);
    foot(&mut out, run);
    out
}

/// Appends to a String, which cannot fail.
macro_rules! put {
    ($out:expr, $($what:tt)*) => {{
        let _ = write!($out, $($what)*);
    }};
}
use put;

fn head(out: &mut String, run: &Run) {
    let title = format!("{} · {} · nicmend", run.playbook, words(run.state).0);
    put!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{}</style>\n\
         </head>\n<body>\n<main>\n<header>\n<p class=\"mark\">nicmend <span>run report</span></p>\n\
         <h1>{}</h1>\n<p class=\"lead\">{}</p>\n</header>\n",
        escaped(&title),
        include_str!("report/style.css"),
        escaped(&run.playbook),
        escaped(&run.summary),
    );
}

/// The outcome's word, its sign (never colour alone) and what it means for the machine.
fn words(state: RunState) -> (&'static str, &'static str, &'static str) {
    match state {
        RunState::Committed => ("Committed", "✓", "The change is in force."),
        RunState::Reverted => ("Reverted", "↩", "The machine is as it was before the run."),
        RunState::Refused => ("Refused", "⊘", "Nothing was touched."),
        RunState::Stuck => {
            ("Stuck", "!", "Something could not be put back: finish it by hand, see below.")
        }
        RunState::Running => ("Running", "…", "The run has not ended."),
    }
}

fn class(state: RunState) -> &'static str {
    match state {
        RunState::Committed => "committed",
        RunState::Reverted => "reverted",
        RunState::Refused => "refused",
        RunState::Stuck => "stuck",
        RunState::Running => "running",
    }
}

fn banner(out: &mut String, run: &Run) {
    let (word, sign, meaning) = words(run.state);
    put!(
        out,
        "<section class=\"banner {}\" aria-label=\"Outcome\">\n\
         <p class=\"sign\" aria-hidden=\"true\">{sign}</p>\n<div>\n<h2>{word}</h2>\n\
         <p>{meaning}</p>\n<p class=\"why\">{}</p>\n",
        class(run.state),
        escaped(&run.why),
    );
    if let Some(decision) = metrics::deciding(run) {
        put!(
            out,
            "<dl class=\"decision\"><div><dt>Criterion</dt><dd>{}</dd></div>\
             <div><dt>Expected</dt><dd>{}</dd></div><div><dt>Measured</dt><dd>{}</dd></div></dl>\n",
            escaped(&decision.criterion),
            escaped(&decision.expected),
            escaped(&decision.measured),
        );
    }
    out.push_str("</div>\n</section>\n");
}

fn measured(out: &mut String, run: &Run) {
    if run.windows.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Latency, before and after</h2>\n");
    let shown = &run.windows[..run.windows.len().min(WINDOWS_MAX)];
    tables::legend(out, shown);
    ccdf::chart(out, shown, &run.criteria);
    tables::quantiles(out, shown);
    out.push_str("<h3>Over time</h3>\n");
    scatter::chart(out, shown);
    tables::split(out, shown);
    tables::notes(out, shown);
    if run.windows.len() > shown.len() {
        put!(out, "<p class=\"more\">and {} more windows</p>\n", run.windows.len() - shown.len());
    }
    out.push_str("</section>\n");
}

fn foot(out: &mut String, run: &Run) {
    let ended = run.ended_utc_ns.map(utc).unwrap_or_else(|| "not yet".to_owned());
    put!(
        out,
        "<footer>\n<p>Run <code>{}</code>, began {}, ended {}. \
         <code>nicmend judge {}</code> computes the verdict again from the evidence.</p>\n\
         </footer>\n</main>\n</body>\n</html>\n",
        escaped(&run.id),
        utc(run.started_utc_ns),
        ended,
        escaped(&run.id),
    );
}
