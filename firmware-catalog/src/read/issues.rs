//! `issues/*.yaml`: known defects, one entry each.

use playbooks::{
    applies::{Range as Versions, firmware_range},
    parse::{
        Problem,
        yaml::{Fields, Findings, Node, Shape, shown},
    },
};

use super::{LIST_MAX, each, file, needed, texts, word};
use crate::{
    Origin,
    act::Pattern,
    issue::{Confidence, Driver, Issue, Kernels, Kind},
    kernel::Range,
    subject::Circumstance,
};

pub(crate) fn issues(source: &[u8], origin: &Origin) -> Result<Vec<Issue>, Vec<Problem>> {
    file(source, |document, findings| {
        let fields = findings.fields(document, "a file of issues", &["issues"])?;
        let node = fields.need("issues", findings)?;
        let items = findings.list(node, "`issues`", LIST_MAX)?;
        each(items, |item| issue(item, origin, findings))
    })
}

const KEYS: &[&str] = &[
    "id",
    "driver",
    "hardware",
    "models",
    "kind",
    "title",
    "symptom",
    "trigger",
    "remedy",
    "forbids",
    "when",
    "kernels",
    "releases",
    "driver-versions",
    "firmware",
    "source",
    "confidence",
];

fn issue(node: &Node, origin: &Origin, findings: &mut Findings) -> Option<Issue> {
    let fields = findings.fields(node, "an issue", KEYS)?;
    let id = fields.need("id", findings).and_then(|node| id(node, findings));
    let driver = needed(&fields, "driver", findings).map(|driver| match driver.as_str() {
        "any" => Driver::Any,
        _ => Driver::Named(driver),
    });
    let kind = fields.need("kind", findings);
    let kind = kind.and_then(|node| findings.choice(node, "`kind`", &Kind::WORDS));
    let confidence = fields.need("confidence", findings);
    let confidence =
        confidence.and_then(|node| findings.choice(node, "`confidence`", &Confidence::WORDS));
    let kernels = fields.need("kernels", findings).and_then(|node| kernels(node, findings));
    let forbids = match fields.get("forbids") {
        None => Some(Vec::new()),
        Some(node) => findings
            .list(node, "`forbids`", 32)
            .and_then(|items| each(items, |item| pattern(item, findings))),
    };
    let driver_versions = match fields.get("driver-versions") {
        None => Some(None),
        Some(node) => versions(node, findings).map(Some),
    };
    let firmware = match fields.get("firmware") {
        None => Some(Vec::new()),
        Some(node) => firmware(node, findings),
    };
    let when = word(&fields, "when", &Circumstance::WORDS, findings);
    let told = Told::read(&fields, findings);
    let models = texts(&fields, "models", findings);
    let releases = texts(&fields, "releases", findings);
    let Told { hardware, title, symptom, trigger, remedy, source } = told?;
    Some(Issue {
        id: id?,
        driver: driver?,
        hardware,
        models: models?,
        kind: kind?,
        title,
        symptom,
        trigger,
        remedy,
        forbids: forbids?,
        when: when?,
        kernels: kernels?,
        releases: releases?,
        driver_versions: driver_versions?,
        firmware: firmware?,
        source,
        confidence: confidence?,
        origin: origin.clone(),
    })
}

/// What is for people.
struct Told {
    hardware: String,
    title: String,
    symptom: String,
    trigger: String,
    remedy: String,
    source: String,
}

impl Told {
    fn read(fields: &Fields<'_>, findings: &mut Findings) -> Option<Told> {
        let mut text = |key| needed(fields, key, findings);
        let (hardware, title, symptom) = (text("hardware"), text("title"), text("symptom"));
        let (trigger, remedy, source) = (text("trigger"), text("remedy"), text("source"));
        Some(Told {
            hardware: hardware?,
            title: title?,
            symptom: symptom?,
            trigger: trigger?,
            remedy: remedy?,
            source: source?,
        })
    }
}

/// Letters, digits and dashes: an id is typed after `--override-hazard`.
fn id(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = findings.line(node, "`id`", 64)?;
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !plain || text.starts_with('-') {
        let message = format!("`{}` is no id", shown(text));
        findings.mend(node.mark, message, "letters, digits and dashes, such as SITE-1");
        return None;
    }
    Some(text.to_owned())
}

/// `all`, `unknown`, or a list of `{ introduced, fixed }`.
fn kernels(node: &Node, findings: &mut Findings) -> Option<Kernels> {
    if let Shape::Scalar(_) = node.shape {
        const WORDS: [(&str, bool); 2] = [("all", true), ("unknown", false)];
        let all = findings.choice(node, "`kernels`", &WORDS)?;
        return Some(if all { Kernels::All } else { Kernels::Unknown });
    }
    let items = findings.list(node, "`kernels`", 64)?;
    each(items, |item| {
        let fields = findings.fields(item, "a range of kernels", &["introduced", "fixed"])?;
        let introduced = needed(&fields, "introduced", findings);
        let fixed = needed(&fields, "fixed", findings);
        Range::parse(&introduced?, &fixed?).map_err(|why| findings.wrong(item.mark, why)).ok()
    })
    .map(Kernels::Ranges)
}

fn pattern(node: &Node, findings: &mut Findings) -> Option<Pattern> {
    let text = findings.line(node, "an act", 128)?;
    Pattern::parse(text)
        .map_err(|help| {
            findings.mend(node.mark, format!("`{}` is no act of ours", shown(text)), help);
        })
        .ok()
}

fn versions(node: &Node, findings: &mut Findings) -> Option<Versions> {
    let text = findings.line(node, "a range of versions", 256)?;
    firmware_range(text)
        .map_err(|help| {
            findings.mend(node.mark, format!("`{}` is no range", shown(text)), help);
        })
        .ok()
}

/// A range by glob of model names.
fn firmware(node: &Node, findings: &mut Findings) -> Option<Vec<(String, Versions)>> {
    let entries = findings.entries(node, "`firmware`")?;
    let mut ranges = Vec::with_capacity(entries.len());
    let mut whole = true;
    for entry in entries {
        match versions(entry.value, findings) {
            Some(range) => ranges.push((entry.key.to_owned(), range)),
            None => whole = false,
        }
    }
    whole.then_some(ranges)
}
