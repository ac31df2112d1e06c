//! What the catalog answers, for people and as JSON.

use firmware_catalog::{
    Answer, Subject,
    catalog::{Concern, Report, Status},
};

use crate::cli::out;

pub(super) fn report(subject: &Subject, report: &Report<'_>) {
    heading(subject, report.model);
    let from = match (&report.source, &report.origin) {
        (Some(source), Some(origin)) => format!("  [{source}; {origin}]"),
        _ => String::new(),
    };
    out::line(&format!("  {}: {}{from}", word(report.status), report.why));
    concerns(&report.concerns);
}

pub(super) fn risk(subject: &Subject, all: &[Concern<'_>]) {
    heading(subject, subject.model.as_deref());
    if all.is_empty() {
        out::line("  no known issue");
    }
    concerns(all);
}

fn heading(subject: &Subject, model: Option<&str>) {
    let mut words = vec![subject.name.clone()];
    if subject.driver != subject.name {
        words.push(subject.driver.clone());
    }
    words.extend(model.map(str::to_owned));
    words.extend(subject.running.as_ref().map(|version| format!("firmware {version}")));
    let kernel = match (&subject.release, &subject.kernel_base) {
        (_, Some(base)) => format!("kernel {base}"),
        (Some(release), None) => format!("kernel {release}, upstream base unknown"),
        (None, None) => "kernel unknown".to_owned(),
    };
    words.push(kernel);
    if subject.in_tree == Some(false) {
        words.push("driver from outside the kernel".to_owned());
    }
    out::line(&words.join("  "));
}

fn concerns(all: &[Concern<'_>]) {
    for Concern { issue, applies } in all {
        let sure = match applies {
            Answer::Yes => "has",
            Answer::Unknown | Answer::No => "may have",
        };
        out::line(&format!("  {sure} {} ({}): {}", issue.id, issue.kind.name(), issue.title));
        out::line(&format!("      symptom: {}", issue.symptom));
        if !issue.forbids.is_empty() {
            let acts: Vec<String> = issue.forbids.iter().map(ToString::to_string).collect();
            let when =
                issue.when.map_or_else(String::new, |when| format!(" (when: {})", when.name()));
            out::line(&format!("      forbids: {}{when}", acts.join(", ")));
        }
        out::line(&format!("      remedy: {}", issue.remedy));
        out::line(&format!("      source: {} [{}]", issue.source, issue.origin));
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Golden => "golden",
        Status::Drifted => "drifted",
        Status::Blocked => "blocked",
        Status::Unknown => "unknown",
    }
}

pub(super) fn report_json(subject: &Subject, report: &Report<'_>) -> serde_json::Value {
    let (hazards, issues): (Vec<&Concern<'_>>, Vec<&Concern<'_>>) =
        report.concerns.iter().partition(|concern| !concern.issue.forbids.is_empty());
    let list = |all: &[&Concern<'_>]| all.iter().map(|c| concern_json(c)).collect::<Vec<_>>();
    serde_json::json!({
        "name": subject.name,
        "driver": subject.driver,
        "model": report.model,
        "board": subject.board,
        "firmware": subject.running,
        "stored": subject.stored,
        "kernel": subject.release,
        "kernel-base": subject.kernel_base,
        "status": report.status,
        "why": report.why,
        "source": report.source,
        "origin": report.origin,
        "golden": report.golden.map(|golden| golden.version.text()),
        "hazards": list(&hazards),
        "issues": list(&issues),
    })
}

pub(super) fn risk_json(subject: &Subject, all: &[Concern<'_>]) -> serde_json::Value {
    serde_json::json!({
        "name": subject.name,
        "driver": subject.driver,
        "firmware": subject.running,
        "kernel-base": subject.kernel_base,
        "issues": all.iter().map(concern_json).collect::<Vec<_>>(),
    })
}

fn concern_json(concern: &Concern<'_>) -> serde_json::Value {
    let Concern { issue, applies } = concern;
    let kernels: Vec<String> = match &issue.kernels {
        firmware_catalog::issue::Kernels::All => vec!["all".to_owned()],
        firmware_catalog::issue::Kernels::Unknown => vec!["unknown".to_owned()],
        firmware_catalog::issue::Kernels::Ranges(ranges) => {
            ranges.iter().map(ToString::to_string).collect()
        }
    };
    serde_json::json!({
        "id": issue.id,
        "applies": applies,
        "kind": issue.kind,
        "hardware": issue.hardware,
        "title": issue.title,
        "symptom": issue.symptom,
        "trigger": issue.trigger,
        "remedy": issue.remedy,
        "forbids": issue.forbids.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "when": issue.when.map(firmware_catalog::Circumstance::name),
        "kernels": kernels,
        "source": issue.source,
        "confidence": issue.confidence,
        "origin": issue.origin,
    })
}
