//! `metrics`: where figures from outside are read.

use std::{collections::BTreeMap, time::Duration};

use super::{
    entries::{Entry, Fields},
    findings::{Findings, shown},
    tree::{Node, Shape},
};
use crate::{
    External,
    external::{Better, Endpoint, Kind, Series, Source},
    metric::is_counter_name,
};

const SOURCES_MAX: usize = 16;
/// As long as a path may be: PATH_MAX and UNIX_PATH_MAX of the kernel, their ending NUL left out.
const PATH_MAX: usize = 4095;
const UNIX_PATH_MAX: usize = 107;

/// Every figure that is declared, by name; `None` where the declaration is wrong, so that a criterion
/// on it is not called unknown besides.
pub(super) type Declared = BTreeMap<String, Option<External>>;

pub(super) fn read(node: &Node, findings: &mut Findings) -> Option<Declared> {
    let entries = findings.entries(node, "metrics")?;
    if entries.is_empty() || entries.len() > SOURCES_MAX {
        let message = format!("metrics has {} sources, not 1 to {SOURCES_MAX}", entries.len());
        findings.mend(node.mark, message, "name a source, or drop the key");
        return None;
    }
    let mut declared = Declared::new();
    for entry in &entries {
        if !is_counter_name(entry.key) {
            let message = format!("`{}` names no metric", shown(entry.key));
            findings.mend(entry.mark, message, "at most 64 printable ASCII characters");
            continue;
        }
        declared.insert(entry.key.to_owned(), external(entry, findings));
    }
    Some(declared)
}

pub(super) fn sound(declared: Declared) -> Option<BTreeMap<String, External>> {
    declared.into_iter().map(|(name, external)| Some((name, external?))).collect()
}

fn external(entry: &Entry, findings: &mut Findings) -> Option<External> {
    const KEYS: &[&str] = &["file", "unix", "prometheus", "series", "counter", "better", "every"];
    const BETTER: &[(&str, Better)] = &[("lower", Better::Lower), ("higher", Better::Higher)];
    let fields = findings.fields(entry.value, "a metric's source", KEYS)?;
    let source = source(entry, &fields, findings);
    let kind = match fields.get("counter") {
        Some(node) => findings.switch(node, "counter").map(|counts| match counts {
            true => Kind::Counter,
            false => Kind::Gauge,
        }),
        None => Some(Kind::Gauge),
    };
    let better = match fields.get("better") {
        Some(node) => findings.choice(node, "better", BETTER),
        None => Some(Better::Lower),
    };
    if (kind, better) == (Some(Kind::Counter), Some(Better::Higher)) {
        let help = "a counter counts what should not happen; have its rate read as a plain figure";
        findings.mend(fields.mark_of("better"), "a counter is better lower", help);
    }
    let every = match fields.get("every") {
        Some(node) => every(node, &source, findings),
        None => Some(External::EVERY),
    };
    Some(External { source: source?, kind: kind?, better: better?, every: every? })
}

fn every(node: &Node, source: &Option<Source>, findings: &mut Findings) -> Option<Duration> {
    if matches!(source, Some(Source::Unix(_))) {
        let help = "drop the key: each line that a socket sends is a reading";
        findings.mend(node.mark, "a unix socket is not polled", help);
        return None;
    }
    findings.duration(node, "every", External::EVERY_MIN..=External::EVERY_MAX)
}

fn source(entry: &Entry, fields: &Fields, findings: &mut Findings) -> Option<Source> {
    let places = ["file", "unix", "prometheus"].map(|key| fields.get(key));
    let series = fields.get("series");
    if let (None, Some(node)) = (places[2], series) {
        let help = "drop the key: only a Prometheus endpoint has series";
        findings.mend(node.mark, "`series` without `prometheus`", help);
    }
    match places {
        [Some(node), None, None] => {
            path(node, "file", PATH_MAX, findings).map(|path| Source::File(path.to_owned()))
        }
        [None, Some(node), None] => {
            path(node, "unix", UNIX_PATH_MAX, findings).map(|path| Source::Unix(path.to_owned()))
        }
        [None, None, Some(node)] => {
            let url: Option<Endpoint> = spelt(node, "prometheus", findings);
            let series: Option<Series> = match fields.need("series", findings) {
                Some(node) => spelt(node, "series", findings),
                None => None,
            };
            Some(Source::Prometheus { url: url?, series: series? })
        }
        _ => {
            // Where it is no mapping at all, that was said already.
            if matches!(entry.value.shape, Shape::Map(_)) {
                let message = format!("{} is read from one place", shown(entry.key));
                findings.mend(entry.mark, message, "one of: file, unix, prometheus");
            }
            None
        }
    }
}

/// A text with a grammar of its own.
fn spelt<T: TryFrom<String, Error = String>>(
    node: &Node,
    what: &str,
    findings: &mut Findings,
) -> Option<T> {
    let text = findings.text(node, what, 1000)?;
    match T::try_from(text.to_owned()) {
        Ok(value) => Some(value),
        Err(help) => {
            findings.mend(node.mark, format!("{what} cannot be `{}`", shown(text)), help);
            None
        }
    }
}

/// An absolute path without detours. Control characters were refused with the whole file.
fn path<'t>(
    node: &'t Node,
    what: &str,
    longest: usize,
    findings: &mut Findings,
) -> Option<&'t str> {
    let path = findings.text(node, what, longest)?;
    let plain = path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
    });
    if plain && path.len() <= longest {
        return Some(path);
    }
    let message = format!("{what} cannot be `{}`", shown(path));
    let help = format!("an absolute path without `.`, `..` and `//`, at most {longest} bytes");
    findings.mend(node.mark, message, help);
    None
}
