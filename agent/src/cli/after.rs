//! What happened to a run after its commit, in words: its probation, its campaigns.

use crate::{
    log::{
        RunRecord,
        after::{Campaign, Ending, Finding, Probation, Tried},
    },
    verdict::Call,
};

/// One line each, a word and what is said of it; nothing where nothing happened.
pub(super) fn lines(run: &RunRecord) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(why) = run.provisionally() {
        lines.push(("provisional", format!("{why}; `nicmend watch {}` settles it", run.id)));
    }
    if let Some(probation) = &run.probation {
        lines.push(("probation", watched(probation)));
        if let Some(after) = &probation.aftermath {
            lines.push(("aftermath", format!("{}: {}", finding(after.finding), after.why)));
        }
    }
    for campaign in &run.campaigns {
        lines.push(("campaign", format!("{}: {}", campaign.campaign, came_to(campaign))));
        lines.extend(campaign.judged.iter().map(|tried| ("", item(tried))));
    }
    lines
}

fn watched(probation: &Probation) -> String {
    let (seen, whole) = (time(probation.watched_ns), time(probation.for_ns));
    let so_far = format!("{seen} of {whole}, {} packets", probation.samples);
    match probation.ending {
        None => format!("under way or interrupted ({so_far})"),
        Some(ending) => format!("{} ({so_far}): {}", ended(ending), probation.why),
    }
}

pub(super) fn ended(ending: Ending) -> &'static str {
    match ending {
        Ending::Held => "held",
        Ending::Regressed => "regressed",
        Ending::Inconclusive => "inconclusive",
        Ending::Overtaken => "overtaken",
        Ending::Stopped => "stopped",
    }
}

pub(super) fn finding(finding: Finding) -> &'static str {
    match finding {
        Finding::Gone => "gone after the revert",
        Finding::StillThere => "still there: it was not (only) this change",
        Finding::Unknown => "not known",
    }
}

fn came_to(campaign: &Campaign) -> String {
    match campaign.call {
        None => "under way or interrupted".to_owned(),
        Some(call) => format!("{}: {}", called(call), campaign.why),
    }
}

pub(super) fn item(tried: &Tried) -> String {
    let call = tried.call.map_or("skipped", called);
    let during = tried.during.as_ref().map(|during| format!("; meanwhile {during}"));
    format!("{}: {call}: {}{}", tried.item, tried.why, during.unwrap_or_default())
}

/// A campaign reverts nothing: what breaks is said to be broken.
pub(super) fn called(call: Call) -> &'static str {
    match call {
        Call::Keep => "kept",
        Call::Revert => "broken",
        Call::Inconclusive => "inconclusive",
    }
}

/// `36.5 h`, `90 s`: a length of time that a person planned.
pub(super) fn time(ns: u64) -> String {
    match ns as f64 / 1e9 {
        s if s >= 7200.0 => format!("{:.1} h", s / 3600.0),
        s if s >= 180.0 => format!("{:.1} min", s / 60.0),
        s => format!("{s:.1} s"),
    }
}
