//! Catalog files to values: every error of a file at once, each with its line and column.
//!
//! Bounded whatever the input: a site's file may be hostile.

mod firmware;
mod issues;
mod models;

use playbooks::parse::{
    Problem,
    yaml::{self, Bounds, Fields, Findings, Node},
};

pub(crate) use firmware::{Firmware, firmware};
pub(crate) use issues::issues;
pub(crate) use models::models;

/// The largest catalog file. The largest that ships, all of Intel's devices, has 35 KB.
pub const SOURCE_MAX: usize = 256 * 1024;

const BOUNDS: Bounds = Bounds { noun: "catalog file", bytes_max: SOURCE_MAX, nodes_max: 24_000 };

/// Longest text that a person reads, in characters.
const WORDS_MAX: usize = 1000;
const NAME_MAX: usize = 128;
const LIST_MAX: usize = 2000;

/// Reads one file with `read`; what was found wrong on the way makes it none.
fn file<T>(
    source: &[u8],
    read: impl FnOnce(&Node, &mut Findings) -> Option<T>,
) -> Result<T, Vec<Problem>> {
    let mut findings = Findings::default();
    let value =
        yaml::read(source, BOUNDS, &mut findings).and_then(|node| read(&node, &mut findings));
    match (value, findings.is_empty()) {
        (Some(value), true) => Ok(value),
        (Some(_) | None, _) => Err(findings.told(BOUNDS.noun)),
    }
}

/// A text that must be there.
fn needed(fields: &Fields<'_>, key: &'static str, findings: &mut Findings) -> Option<String> {
    let node = fields.need(key, findings)?;
    findings.line(node, &format!("`{key}`"), WORDS_MAX).map(str::to_owned)
}

/// A text that may be there; `None` where it is wrong.
fn optional(
    fields: &Fields<'_>,
    key: &'static str,
    findings: &mut Findings,
) -> Option<Option<String>> {
    match fields.get(key) {
        None => Some(None),
        Some(node) => {
            findings.line(node, &format!("`{key}`"), WORDS_MAX).map(|text| Some(text.to_owned()))
        }
    }
}

/// A list of texts, empty where the key is not there; `None` where one of it is wrong.
fn texts(fields: &Fields<'_>, key: &'static str, findings: &mut Findings) -> Option<Vec<String>> {
    let Some(node) = fields.get(key) else { return Some(Vec::new()) };
    let what = format!("`{key}`");
    let items = findings.list(node, &what, LIST_MAX)?;
    each(items, |item| findings.line(item, &what, NAME_MAX.max(400)).map(str::to_owned))
}

/// One of these words, where the key is there.
fn word<T: Copy>(
    fields: &Fields<'_>,
    key: &'static str,
    words: &[(&'static str, T)],
    findings: &mut Findings,
) -> Option<Option<T>> {
    match fields.get(key) {
        None => Some(None),
        Some(node) => findings.choice(node, &format!("`{key}`"), words).map(Some),
    }
}

/// All of the list's items, so that every wrong one is found; `None` where one is.
fn each<'n, T>(items: &'n [Node], mut read: impl FnMut(&'n Node) -> Option<T>) -> Option<Vec<T>> {
    let mut whole = Some(Vec::with_capacity(items.len()));
    for item in items {
        match (read(item), &mut whole) {
            (Some(value), Some(values)) => values.push(value),
            (None, _) => whole = None,
            (Some(_), None) => {}
        }
    }
    whole
}
