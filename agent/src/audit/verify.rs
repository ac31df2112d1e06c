//! Hashes the whole log again and holds it against everything that was signed.

mod blocks;
mod seals;

use std::{collections::BTreeMap, path::PathBuf};

use super::chain::{Broken, Chain};
use crate::{
    fault::Result,
    log::{
        checkpoint::Sealed,
        merkle::{self, Edge, Hash},
        note::Verifier,
    },
    store::{
        bundle::ENTRIES,
        shelf::{Listed, Part, Shelf},
    },
};

pub(super) use blocks::{BUNDLE_BYTES_MAX, Block, split};

/// Problems told of one log; more are counted.
const FINDINGS_MAX: usize = 50;
const TILE_BYTES_MAX: u64 = 256 * 32 + 1;

/// What whoever verifies trusts, besides the log itself.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Keys that were written down elsewhere: one of the log's must be among them.
    pub pinned: Vec<Verifier>,
    /// Keys that lie beside the log; only for a log that names none itself.
    pub published: Vec<Verifier>,
    /// Checkpoints that were kept elsewhere: the log must still contain each.
    pub checkpoints: Vec<(String, Sealed)>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The first entry that is concerned, where entries are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// The last one, where it cannot be told which it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// The file, below the log's directory.
    pub place: String,
    pub what: String,
}

impl Finding {
    fn of(part: Part, what: impl Into<String>) -> Finding {
        Finding { entry: None, to: None, place: part.name(), what: what.into() }
    }

    fn at(self, entry: u64) -> Finding {
        Finding { entry: Some(entry), ..self }
    }

    fn among(self, from: u64, to: u64) -> Finding {
        Finding { entry: Some(from), to: Some(to), ..self }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub entries: u64,
    /// Over all of them.
    pub root: Hash,
    /// Size of the newest checkpoint.
    pub signed: u64,
    /// Checkpoints that were checked.
    pub checkpoints: usize,
    pub keys: Vec<Verifier>,
    /// Those about no entry in particular, then in order of the entries; at most so many, `more` of the
    /// last are not told.
    pub findings: Vec<Finding>,
    pub more: usize,
}

impl Report {
    /// Entries after the newest checkpoint: signed by nobody yet.
    pub fn unsigned(&self) -> u64 {
        self.entries.saturating_sub(self.signed)
    }

    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    /// The first entry that is not what was signed, or not there.
    pub fn first_bad(&self) -> Option<&Finding> {
        let exact = |finding: &&Finding| finding.entry.is_some() && finding.to.is_none();
        let named: Vec<u64> = self.findings.iter().filter(exact).filter_map(|f| f.entry).collect();
        // What is only known to lie within a range says nothing where one of the range is named.
        let known = |finding: &&Finding| match (finding.entry, finding.to) {
            (Some(from), Some(to)) => !named.iter().any(|entry| (from..=to).contains(entry)),
            (entry, _) => entry.is_some(),
        };
        self.findings.iter().filter(known).min_by_key(|finding| (finding.entry, finding.to))
    }
}

/// Verifies. An error only where files cannot be read; what is wrong with the log is in the report.
pub fn verify(shelf: &Shelf, trust: &Trust) -> Result<Report> {
    let listed = shelf.list()?;
    let mut findings = strangers(shelf, &listed)?;
    let seals = seals::read(shelf, &mut findings)?;
    let last = listed.parts.keys().filter_map(|part| match part {
        Part::Entries(n) => Some(*n),
        Part::Checkpoint | Part::Checkpoints | Part::Tile(..) => None,
    });
    let last = last.max();
    let sizes = seals.sizes().chain(trust.checkpoints.iter().map(|(_, s)| s.checkpoint.size));
    let marks = blocks::marks(sizes);
    let signed = seals.newest().unwrap_or(0);
    let blocks = blocks::hash(shelf, last, signed, &marks)?;
    let mut report = Report { signed, ..Report::default() };
    let mut key_facts = Vec::new();
    for block in &blocks {
        findings.extend(block.findings.iter().cloned());
        key_facts.extend(block.key_facts.iter().cloned());
        report.entries += block.count as u64;
    }
    let roots = Roots::over(&blocks);
    report.root = roots.at(report.entries).unwrap_or_else(merkle::empty);
    findings.extend(tiles_beyond(&listed, last));
    findings.extend(upper_tiles(shelf, &listed, &blocks, signed)?);
    let first = trust.pinned.first().or_else(|| trust.published.first());
    let (chain, broken) = Chain::follow(&key_facts, first);
    let finding = |one: Broken| Finding {
        entry: one.entry,
        to: None,
        place: one.entry.map_or("keys".to_owned(), |at| Part::Entries(at / ENTRIES as u64).name()),
        what: one.why,
    };
    findings.extend(broken.into_iter().map(finding));
    report.checkpoints = seals.check(&roots, &chain, trust, report.entries, &mut findings);
    report.keys = chain.0.into_iter().map(|reign| reign.key).collect();
    // What concerns the whole comes first: no number of bad entries pushes it off the end.
    findings.sort_by_key(|finding| (finding.entry.is_some(), finding.entry, finding.to));
    report.more = findings.len().saturating_sub(FINDINGS_MAX);
    findings.truncate(FINDINGS_MAX);
    report.findings = findings;
    Ok(report)
}

/// Files that do not belong there, and files that lie in two places and differ.
fn strangers(shelf: &Shelf, listed: &Listed) -> Result<Vec<Finding>> {
    let stranger = |(path, why): &(PathBuf, &str)| Finding {
        entry: None,
        to: None,
        place: path.display().to_string(),
        what: (*why).to_owned(),
    };
    let mut findings: Vec<Finding> = listed.strangers.iter().map(stranger).collect();
    for (part, places) in listed.parts.iter().filter(|(_, places)| places.len() > 1) {
        let copies: Result<Vec<_>> =
            places.iter().map(|nth| shelf.read_at(*nth, *part, blocks::BUNDLE_BYTES_MAX)).collect();
        if copies?.windows(2).any(|two| two[0] != two[1]) {
            findings.push(Finding::of(*part, "its copies in several stores differ"));
        }
    }
    Ok(findings)
}

/// Roots of the trees of those sizes that something was signed for.
pub(super) struct Roots(BTreeMap<u64, Hash>);

impl Roots {
    fn over(blocks: &[Block]) -> Roots {
        let mut roots = BTreeMap::from([(0, merkle::empty())]);
        let mut edge = Edge::default();
        for block in blocks {
            for (width, root) in &block.marks {
                roots.insert(edge.size() + *width as u64, edge.root_with(*root));
            }
            if block.count < ENTRIES {
                break;
            }
            edge.push_subtree(block.root, ENTRIES as u64);
            roots.insert(edge.size(), edge.root());
        }
        Roots(roots)
    }

    /// `None` where there are not so many entries.
    pub(super) fn at(&self, size: u64) -> Option<Hash> {
        self.0.get(&size).copied()
    }
}

/// Tiles of leaves that have no bundle.
fn tiles_beyond(listed: &Listed, last: Option<u64>) -> Vec<Finding> {
    let beyond = |part: &&Part| match part {
        Part::Tile(0, n) => last.is_none_or(|last| *n > last),
        Part::Tile(..) | Part::Checkpoint | Part::Checkpoints | Part::Entries(_) => false,
    };
    let what = "its entries are not there";
    let first = |part: &Part| match part {
        Part::Tile(_, n) => n.saturating_mul(ENTRIES as u64),
        Part::Checkpoint | Part::Checkpoints | Part::Entries(_) => 0,
    };
    let parts = listed.parts.keys().filter(beyond);
    parts.map(|part| Finding::of(*part, what).at(first(part))).collect()
}

/// Tiles above the leaves: each hash is that of a full tile below.
fn upper_tiles(
    shelf: &Shelf,
    listed: &Listed,
    blocks: &[Block],
    signed: u64,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let full = blocks.iter().take_while(|block| block.count == ENTRIES);
    let mut hashes: Vec<Hash> = full.map(|block| block.root).collect();
    let mut needed = signed / ENTRIES as u64;
    let highest = listed.parts.keys().filter_map(|part| match part {
        Part::Tile(level, _) => Some(*level),
        Part::Checkpoint | Part::Checkpoints | Part::Entries(_) => None,
    });
    let levels = highest.max().unwrap_or(0).max(8);
    for level in 1..=levels {
        let mut known: Vec<u64> = listed
            .parts
            .keys()
            .filter_map(|part| match part {
                Part::Tile(l, n) if *l == level => Some(*n),
                Part::Tile(..) | Part::Checkpoint | Part::Checkpoints | Part::Entries(_) => None,
            })
            .collect();
        known.extend(0..needed.div_ceil(ENTRIES as u64));
        known.sort_unstable();
        known.dedup();
        for n in known {
            let part = Part::Tile(level, n);
            let from = (n as usize).saturating_mul(ENTRIES).min(hashes.len());
            let wanted = &hashes[from..hashes.len().min(from + ENTRIES)];
            let least = needed.saturating_sub(n * ENTRIES as u64).min(ENTRIES as u64) as usize;
            let found = shelf.read(part, TILE_BYTES_MAX)?.unwrap_or_default();
            if let Some(at) = blocks::differs(&found, wanted, least) {
                let what = "it is not the hash of the tile below";
                let leaves = (ENTRIES as u64).saturating_pow(level as u32);
                let first = (n * ENTRIES as u64 + at as u64).saturating_mul(leaves);
                findings.push(Finding::of(part, what).among(first, first + leaves - 1));
            }
        }
        hashes = hashes.chunks_exact(ENTRIES).map(merkle::root).collect();
        needed /= ENTRIES as u64;
    }
    Ok(findings)
}
