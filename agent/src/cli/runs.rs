//! `runs` and `report`: history, and one run with its evidence.

use std::path::PathBuf;

use serde::Serialize;

use super::{Common, Done, out, place};
use crate::{
    log::{
        Fact, History, RunRecord, RunState,
        after::{Campaign, Probation},
        firmware::FirmwareRecord,
        glass::BreakGlass,
    },
    runs::{Declined, Exit},
    store::Store,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A run's id, a unique prefix of one, or `last`; all runs when left out.
    pub run: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// A run's id, a unique prefix of one, or `last`.
    pub run: String,
    /// Where to write the page; `report.html` in the run's folder when left out.
    #[arg(short, long, value_name = "FILE.html")]
    pub output: Option<PathBuf>,
}

/// One run, as programs read it.
#[derive(Debug, Serialize)]
pub(super) struct RunView<'a> {
    id: &'a str,
    state: RunState,
    playbook: &'a str,
    nic: &'a str,
    nic_id: String,
    peer: Option<&'a str>,
    plan: &'a str,
    started: String,
    ended: Option<String>,
    why: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'a str,
    /// Why the commit does not stand for good yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    provisional: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probation: Option<&'a Probation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    firmware: Option<&'a FirmwareRecord>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    campaigns: &'a [Campaign],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    break_glass: &'a [BreakGlass],
    settings: Vec<serde_json::Value>,
    verdicts: Vec<serde_json::Value>,
    foreign: &'a [crate::log::fact::Foreign],
    by_hand: &'a [String],
    timeline: Vec<serde_json::Value>,
}

impl<'a> RunView<'a> {
    pub(super) fn of(run: &'a RunRecord) -> RunView<'a> {
        RunView {
            id: &run.id,
            state: run.state,
            playbook: &run.playbook,
            nic: &run.nic_name,
            nic_id: run.nic.to_string(),
            peer: run.peer.as_deref(),
            plan: &run.plan,
            started: utc(run.started.utc_ns),
            ended: run.ended.as_ref().map(|at| utc(at.utc_ns)),
            why: &run.why,
            rule: &run.rule,
            provisional: run.provisionally(),
            probation: run.probation.as_ref(),
            firmware: run.firmware.as_ref(),
            campaigns: &run.campaigns,
            break_glass: &run.break_glass,
            settings: run.originals.iter().map(|kept| setting(run, kept)).collect(),
            verdicts: run
                .verdicts
                .iter()
                .map(|(stage, verdict)| serde_json::json!({"stage": stage + 1, "verdict": verdict}))
                .collect(),
            foreign: &run.foreign,
            by_hand: &run.by_hand,
            timeline: timeline(run),
        }
    }
}

fn setting(run: &RunRecord, kept: &crate::log::Kept) -> serde_json::Value {
    serde_json::json!({
        "name": kept.name,
        "original": kept.original,
        "left": run.written.get(&kept.name).unwrap_or(&kept.original),
    })
}

/// Each entry's kind with its time since the run began; writes with how long they took.
fn timeline(run: &RunRecord) -> Vec<serde_json::Value> {
    let start = run.started.mono_ns;
    let row = |entry: &crate::log::Entry| {
        let kind = serde_json::to_value(&entry.fact)
            .ok()
            .and_then(|fact| fact["kind"].as_str().map(str::to_owned))
            .unwrap_or_default();
        let mut row = serde_json::json!({
            "at-ns": entry.at.mono_ns.saturating_sub(start),
            "kind": kind,
        });
        if let Fact::Wrote { nanoseconds, .. } = &entry.fact {
            row["took-ns"] = (*nanoseconds).into();
        }
        row
    };
    run.entries.iter().map(row).collect()
}

pub(super) fn run(common: &Common, args: &Args) -> Done {
    let history = history(common)?;
    if let Some(wanted) = &args.run {
        show_one(common, find(&history, wanted)?);
        return Ok(Exit::Done);
    }
    if common.json {
        out::json(&history.runs.iter().rev().map(RunView::of).collect::<Vec<_>>());
    } else if history.runs.is_empty() {
        out::line("no runs yet");
    } else {
        out::line(&format!("{:<22} {:<10} {:<12} {:<32} WHY", "RUN", "STATE", "NIC", "PLAYBOOK"));
        for run in history.runs.iter().rev() {
            out::line(&format!(
                "{:<22} {:<10} {:<12} {:<32} {}{}",
                run.id,
                state(run.state),
                run.nic_name,
                run.playbook,
                run.provisionally().map_or("", |_| "provisional: "),
                run.why
            ));
        }
    }
    Ok(Exit::Done)
}

pub(super) fn report(common: &Common, args: &ReportArgs) -> Done {
    let history = history(common)?;
    let run = find(&history, &args.run)?;
    let disk = place::reader(common)?;
    let page = super::page::of(run, &disk)?;
    let file = match &args.output {
        Some(file) => file.clone(),
        None => common.state_dir.join("runs").join(&run.id).join("report.html"),
    };
    write_private(&file, page.as_bytes()).map_err(|e| {
        Declined::new(Exit::Failed, "report", format!("write {}: {e}", file.display()))
    })?;
    if common.json {
        out::json(&serde_json::json!({"run": run.id, "report": file}));
    } else {
        out::line(&format!("{}", file.display()));
    }
    Ok(Exit::Done)
}

/// A page tells what is in the log: for its owner's eyes, 0600.
pub(super) fn write_private(file: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(file)?.write_all(bytes)
}

pub(super) fn show_one(common: &Common, run: &RunRecord) {
    if common.json { out::json(&RunView::of(run)) } else { print(run) }
}

/// One run for people: what, how it ended and why, and what to do where something is left.
pub(super) fn print(run: &RunRecord) {
    let why = match (run.state, run.why.as_str()) {
        (RunState::Running, "") => "in flight; or interrupted, then `nicmend recover` finishes it",
        (_, why) => why,
    };
    out::line(&format!("{} {}: {why}", state(run.state), run.id));
    out::line(&format!("  playbook  {} on {} ({})", run.playbook, run.nic_name, run.nic));
    for kept in &run.originals {
        let left = run.written.get(&kept.name).unwrap_or(&kept.original);
        if *left != kept.original {
            out::line(&format!("  changed   {}: {} -> {left}", kept.name, kept.original));
        }
    }
    let firmware = run.firmware.iter().flat_map(super::firmware::lines::told);
    for (word, text) in firmware {
        out::line(&format!("  {word:<9} {text}"));
    }
    for glass in &run.break_glass {
        let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        out::line(&format!("  {}", glass.words(now)));
    }
    for (word, text) in super::after::lines(run) {
        out::line(&format!("  {word:<9} {text}"));
    }
    for (stage, verdict) in &run.verdicts {
        let named = |judged: &crate::verdict::Judged| {
            judged.objective.is_some() || judged.guardrail.is_some()
        };
        for (metric, judged) in verdict.metrics.iter().filter(|(_, judged)| named(judged)) {
            let (before, after) =
                (figure(metric, judged.baseline), figure(metric, judged.candidate));
            out::line(&format!("  stage {}   {metric}: {before} -> {after}", stage + 1));
        }
    }
    if run.state == RunState::Reverted {
        let keys = run.originals.len();
        let plural = if keys == 1 { "key" } else { "keys" };
        let words = format!("{keys} {plural} read back equal to the original");
        out::line(&format!("  put back  {words}"));
    }
    for foreign in &run.foreign {
        out::line(&format!(
            "  foreign   {}: we left {}, somebody else made it {}",
            foreign.name, foreign.expected, foreign.found
        ));
    }
    if !run.by_hand.is_empty() {
        out::line("  finish by hand:");
        run.by_hand.iter().for_each(|line| out::line(&format!("    {line}")));
    }
}

/// A metric's value with its unit.
fn figure(metric: &playbooks::Metric, value: f64) -> String {
    use playbooks::Metric;
    match metric {
        Metric::LatencyQuantile(_) | Metric::LatencyMax | Metric::TcpRtt => out::time(value),
        Metric::SlowRatio | Metric::LossRatio | Metric::TcpRetransmitRatio => {
            format!("{:.3} %", value * 100.0)
        }
        Metric::StormRate => format!("{value:.1} a minute"),
        Metric::Drops
        | Metric::NicCounter(_)
        | Metric::SoftnetSqueezed
        | Metric::TcpSessionRetransmits => format!("{value:.0}"),
        Metric::External(_) => crate::measure::reading::spelt(value),
    }
}

fn state(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Committed => "committed",
        RunState::Reverted => "reverted",
        RunState::Refused => "refused",
        RunState::Stuck => "STUCK",
    }
}

/// RFC 3339 with nanoseconds, UTC.
pub(super) fn utc(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map(|t| t.to_string()).unwrap_or_default()
}

fn history(common: &Common) -> Result<History, Declined> {
    Ok(History::fold(&place::reader(common)?.entries()?)?)
}

fn find<'a>(history: &'a History, wanted: &str) -> Result<&'a RunRecord, Declined> {
    history.find(wanted).map_err(|why| Declined::new(Exit::Wrong, "run", why))
}
