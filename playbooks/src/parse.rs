//! YAML to [`Playbook`]: every error of the file at once, each with its line and column.
//!
//! Bounded whatever the input: a file above [`SOURCE_MAX`] is refused unread, and the YAML parser works
//! under a tight budget (depth, nodes, aliases), so that alias bombs and deep nesting end early.

mod criteria;
mod document;
mod entries;
mod figures;
mod findings;
mod render;
mod stages;
mod tree;
mod unit;
mod wanted;

use crate::Playbook;
use findings::Findings;
use tree::Bounds;

pub use render::Style;

/// The same bounded, place-keeping reader for other files of nicmend's (the firmware catalog's).
pub mod yaml {
    pub use super::{
        entries::{Entry, Fields},
        findings::{Findings, Mark, shown},
        tree::{Bounds, Node, Scalar, Shape, read},
    };
}

/// The largest playbook, in bytes.
pub const SOURCE_MAX: usize = 64 * 1024;

const BOUNDS: Bounds = Bounds { noun: "playbook", bytes_max: SOURCE_MAX, nodes_max: 8_000 };

/// At most this many problems are told of one file; the last says how many more there are.
pub const PROBLEMS_MAX: usize = 100;

/// One thing wrong with a playbook file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    pub column: usize,
    /// How many characters to underline, at least 1.
    pub width: usize,
    pub message: String,
    /// What would mend it: the nearest known name, the range, the unit.
    pub help: Option<String>,
}

/// Parses and checks one playbook.
///
/// # Errors
///
/// Every problem of the file, in the file's order, at least one. Bounded whatever the input: refused
/// in under a second and 100 MB. A file that is not YAML at all has one problem, where it stops being so.
pub fn parse(source: &[u8]) -> Result<Playbook, Vec<Problem>> {
    let mut findings = Findings::default();
    let playbook = tree::read(source, BOUNDS, &mut findings)
        .and_then(|document| document::playbook(&document, &mut findings));
    match (playbook, findings.is_empty()) {
        (Some(playbook), true) => Ok(playbook),
        (Some(_) | None, _) => Err(findings.told(BOUNDS.noun)),
    }
}

/// A duration as playbooks spell it (`50ms`); the error says what was meant.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    unit::duration(text)
}
