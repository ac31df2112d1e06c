//! The whole document: its keys, their defaults, and what only the whole can say.

use std::time::Duration;

use semver::Version;

use super::{
    criteria::{self, Placed},
    entries::Fields,
    figures::{self, Declared},
    findings::{Findings, shown},
    stages,
    tree::{Node, Scalar},
    unit,
};
use crate::{
    Playbook,
    applies::{self, Range},
    playbook::{AppliesTo, Pattern, Probation, Transport, Verify},
};

pub(super) const RATE_MAX: u32 = 1_000_000;
const UDP_PAYLOAD_MAX: u32 = 65_507;
/// A STAMP test packet without extensions (RFC 8762 section 4.2.1).
const UDP_PAYLOAD_MIN: u32 = 44;
const TCP_PAYLOAD_MAX: u32 = 1 << 20;
const LIST_MAX: usize = 64;

const NANOSECOND: Duration = Duration::from_nanos(1);

pub(super) fn playbook(document: &Node, findings: &mut Findings) -> Option<Playbook> {
    const KEYS: &[&str] = &[
        "apiVersion",
        "kind",
        "metadata",
        "applies-to",
        "stages",
        "objective",
        "guardrails",
        "metrics",
        "verify",
        "drain",
        "probation",
    ];
    let fields = findings.fields(document, "a playbook", KEYS)?;
    exactly(&fields, "apiVersion", "nicmend/v1", findings);
    exactly(&fields, "kind", "Playbook", findings);
    let metadata = fields.need("metadata", findings).and_then(|node| metadata(node, findings));
    let applies_to = match fields.get("applies-to") {
        Some(node) => applies_to(node, findings),
        None => Some(AppliesTo::default()),
    };
    let stages = fields.need("stages", findings).and_then(|node| stages::read(node, findings));
    let metrics = match fields.get("metrics") {
        Some(node) => figures::read(node, findings),
        None => Some(Declared::new()),
    };
    let declared = metrics.clone().unwrap_or_default();
    let objective = optional_criteria(&fields, "objective", &declared, findings);
    let guardrails = optional_criteria(&fields, "guardrails", &declared, findings);
    if fields.get("objective").is_none() && fields.get("guardrails").is_none() {
        let help = "add `guardrails`, or an `objective`, or both";
        findings.mend(document.mark, "nothing decides whether a change stays", help);
    }
    let verify = verify(fields.get("verify"), findings);
    if let Some(verify) = &verify {
        for placed in [&objective, &guardrails].into_iter().flatten() {
            criteria::check_tails(placed, verify, findings);
            criteria::check_readings(placed, verify, &declared, findings);
        }
    }
    let drain = match fields.get("drain") {
        Some(node) => findings.duration(node, "drain", Duration::ZERO..=unit::LONGEST),
        None => Some(Playbook::DRAIN),
    };
    let probation = match fields.get("probation") {
        Some(node) => Some(probation(node, findings)?),
        None => None,
    };
    let metadata = metadata?;
    Some(Playbook {
        name: metadata.name,
        version: metadata.version,
        summary: metadata.summary,
        references: metadata.references,
        applies_to: applies_to?,
        stages: stages?,
        objective: criteria::without_places(objective?),
        guardrails: criteria::without_places(guardrails?),
        metrics: figures::sound(metrics?)?,
        verify: verify?,
        drain: drain?,
        probation,
    })
}

fn exactly(fields: &Fields, key: &'static str, wanted: &str, findings: &mut Findings) {
    let Some(node) = fields.need(key, findings) else { return };
    let Some(Scalar { text, .. }) = findings.scalar(node, key) else { return };
    if text != wanted {
        let message = format!("unknown {key} `{}`", shown(text));
        findings.mend(node.mark, message, format!("this version reads `{wanted}`"));
    }
}

struct Metadata {
    name: String,
    version: Version,
    summary: String,
    references: Vec<String>,
}

fn metadata(node: &Node, findings: &mut Findings) -> Option<Metadata> {
    let known = ["name", "version", "summary", "references"];
    let fields = findings.fields(node, "metadata", &known)?;
    let name =
        fields.need("name", findings).and_then(|node| findings.name(node, "a playbook's name"));
    let version = fields.need("version", findings).and_then(|node| version(node, findings));
    let summary = match fields.get("summary") {
        Some(node) => findings.text(node, "the summary", 300),
        None => Some(""),
    };
    let references = match fields.get("references") {
        Some(node) => texts(node, "references", 500, findings),
        None => Some(Vec::new()),
    };
    Some(Metadata {
        name: name?.to_owned(),
        version: version?,
        summary: summary?.to_owned(),
        references: references?,
    })
}

fn version(node: &Node, findings: &mut Findings) -> Option<Version> {
    let text = findings.line(node, "the version", 64)?;
    let version = Version::parse(text).ok();
    if version.is_none() {
        let message = format!("`{}` is not a semantic version", shown(text));
        findings.mend(node.mark, message, "three numbers, such as 1.2.0 (semver.org)");
    }
    version
}

fn texts(node: &Node, what: &str, longest: usize, findings: &mut Findings) -> Option<Vec<String>> {
    let items = findings.list(node, what, LIST_MAX)?;
    let texts: Vec<Option<String>> = items
        .iter()
        .map(|item| findings.text(item, &format!("an item of {what}"), longest).map(str::to_owned))
        .collect();
    texts.into_iter().collect()
}

fn applies_to(node: &Node, findings: &mut Findings) -> Option<AppliesTo> {
    let known = ["driver", "model", "firmware", "kernel"];
    let fields = findings.fields(node, "applies-to", &known)?;
    let mut list = |key: &'static str| match fields.get(key) {
        Some(node) => texts(node, key, 100, findings),
        None => Some(Vec::new()),
    };
    let (driver, model) = (list("driver"), list("model"));
    let mut range = |key: &'static str, read: fn(&str) -> Result<Range, String>| {
        let Some(node) = fields.get(key) else { return Some(None) };
        let text = findings.line(node, key, 200)?;
        match read(text) {
            Ok(_) => Some(Some(text.to_owned())),
            Err(help) => {
                findings.mend(node.mark, format!("`{}` is not a {key} range", shown(text)), help);
                None
            }
        }
    };
    let firmware = range("firmware", applies::firmware_range);
    let kernel = range("kernel", applies::kernel_range);
    Some(AppliesTo { driver: driver?, model: model?, firmware: firmware?, kernel: kernel? })
}

fn optional_criteria(
    fields: &Fields,
    key: &str,
    declared: &Declared,
    findings: &mut Findings,
) -> Option<Placed> {
    match fields.get(key) {
        Some(node) => criteria::read(node, key, declared, findings),
        None => Some(Placed::new()),
    }
}

/// How to measure. What is wrong in it is found, and stands in with a value that makes no further
/// finding: a mistyped rate must not make the quantiles look wrong too.
fn verify(node: Option<&Node>, findings: &mut Findings) -> Option<Verify> {
    let mut verify = Verify::default();
    let Some(node) = node else { return Some(verify) };
    const KEYS: &[&str] = &[
        "transport",
        "settle",
        "window",
        "rate",
        "payload",
        "patterns",
        "interleave",
        "control",
        "storm-period",
    ];
    const TRANSPORTS: &[(&str, Transport)] = &[("udp", Transport::Udp), ("tcp", Transport::Tcp)];
    let fields = findings.fields(node, "verify", KEYS)?;
    let transport = match fields.get("transport") {
        Some(node) => findings.choice(node, "transport", TRANSPORTS),
        None => Some(verify.transport),
    };
    if let Some(node) = fields.get("settle") {
        let hour = Duration::from_secs(3600);
        verify.settle = findings.duration(node, "settle", Duration::ZERO..=hour).unwrap_or(hour);
    }
    let mut known = true;
    if let Some(node) = fields.get("window") {
        let window = findings.duration(node, "window", NANOSECOND..=unit::LONGEST);
        known &= window.is_some();
        verify.window = window.unwrap_or(unit::LONGEST);
    }
    if let Some(node) = fields.get("rate") {
        let rate = findings.whole(node, "rate (packets a second)", 1..=RATE_MAX);
        known &= rate.is_some();
        verify.rate = rate.unwrap_or(RATE_MAX);
    }
    if let (Some(node), Some(transport)) = (fields.get("payload"), transport) {
        verify.payload = payload(node, transport, findings).unwrap_or(verify.payload);
    }
    if let Some(node) = fields.get("patterns") {
        verify.patterns = patterns(node, findings);
    }
    if let Some(node) = fields.get("window").or(fields.get("rate")).filter(|_| known) {
        packets(node, &verify, findings);
    }
    if let Some(node) = fields.get("interleave") {
        verify.interleave = findings.switch(node, "interleave").unwrap_or(verify.interleave);
    }
    if let Some(node) = fields.get("control") {
        verify.control = control(node, findings);
    }
    if let Some(node) = fields.get("storm-period") {
        verify.storm_period =
            findings.duration(node, "storm-period", Duration::from_millis(1)..=unit::LONGEST);
    }
    verify.transport = transport.unwrap_or(verify.transport);
    Some(verify)
}

/// Finds a window of more packets than a probe remembers. The patterns share it; a trace has its own times.
fn packets(node: &Node, verify: &Verify, findings: &mut Findings) {
    let replayed = |pattern: &Pattern| matches!(pattern, Pattern::Replay(_));
    if !verify.patterns.is_empty() && verify.patterns.iter().all(replayed) {
        return;
    }
    let parts = verify.patterns.len().max(1) as u128;
    let second = Duration::from_secs(1).as_nanos();
    let packets = verify.window.as_nanos() / parts * u128::from(verify.rate) / second;
    if packets <= u128::from(Verify::PACKETS_MAX) {
        return;
    }
    let most = u128::from(Verify::PACKETS_MAX) * parts * second;
    let (rate, window) = (most / verify.window.as_nanos(), most / u128::from(verify.rate) / second);
    let message = format!(
        "{packets} packets in a window of {} at {} a second; a probe remembers at most {}",
        unit::spelt(verify.window),
        verify.rate,
        Verify::PACKETS_MAX
    );
    let slower = if rate > 0 { format!("`rate: {rate}` or ") } else { String::new() };
    findings.mend(node.mark, message, format!("{slower}`window: {window}s`"));
}

fn payload(node: &Node, transport: Transport, findings: &mut Findings) -> Option<u32> {
    let (what, range) = match transport {
        Transport::Udp => ("payload (bytes over udp)", UDP_PAYLOAD_MIN..=UDP_PAYLOAD_MAX),
        Transport::Tcp => ("payload (bytes over tcp)", 1..=TCP_PAYLOAD_MAX),
    };
    findings.whole(node, what, range)
}

fn patterns(node: &Node, findings: &mut Findings) -> Vec<Pattern> {
    const WORDS: &[(&str, Pattern)] = &[
        ("calm", Pattern::Calm),
        ("open-burst", Pattern::OpenBurst),
        ("close-burst", Pattern::CloseBurst),
        ("microburst", Pattern::Microburst),
    ];
    let mut patterns = Vec::new();
    for item in findings.list(node, "patterns", 16).unwrap_or_default() {
        let Some(text) = findings.text(item, "a pattern", 300) else { continue };
        let pattern = match text.strip_prefix("replay:") {
            Some(file) if is_trace_file(file) => Pattern::Replay(file.to_owned()),
            Some(_) => {
                let help = "replay:FILE, without `..`";
                findings.mend(item.mark, format!("`{}` names no trace", shown(text)), help);
                continue;
            }
            None => match WORDS.iter().find(|(word, _)| *word == text) {
                Some((_, pattern)) => pattern.clone(),
                None => {
                    let known: Vec<&str> =
                        WORDS.iter().map(|(word, _)| *word).chain(["replay:FILE"]).collect();
                    findings.unknown(item.mark, "pattern", text, &known);
                    continue;
                }
            },
        };
        if patterns.contains(&pattern) {
            findings.wrong(item.mark, format!("the pattern `{}` is there twice", shown(text)));
            continue;
        }
        patterns.push(pattern);
    }
    patterns
}

fn is_trace_file(file: &str) -> bool {
    !file.is_empty() && file.trim() == file && file.split('/').all(|part| part != "..")
}

/// A network interface's name, as dev_valid_name() in net/core/dev.c takes it.
fn control(node: &Node, findings: &mut Findings) -> Option<String> {
    let name = findings.line(node, "control", 64)?;
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
        let message = format!("`{}` is not an interface's name", shown(name));
        findings.wrong(node.mark, message);
        return None;
    }
    Some(name.to_owned())
}

fn probation(node: &Node, findings: &mut Findings) -> Option<Probation> {
    let fields = findings.fields(node, "probation", &["for", "rate"])?;
    let length = fields
        .need("for", findings)
        .and_then(|node| findings.duration(node, "for", NANOSECOND..=unit::LONGEST));
    let rate = match fields.get("rate") {
        Some(node) => findings.whole(node, "rate (packets a second)", 1..=RATE_MAX),
        None => Some(Probation::RATE),
    };
    Some(Probation { length: length?, rate: rate? })
}
