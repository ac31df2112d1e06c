//! The entries, bundle by bundle, on every CPU: their hashes, and what they say about keys.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use serde::Deserialize;

use super::{Finding, TILE_BYTES_MAX};
use crate::{
    audit::chain::KeyFacts,
    fault::Result,
    log::{
        Entry, Fact,
        merkle::{self, Hash},
    },
    store::{
        bundle::{ENTRIES, ENTRY_BYTES_MAX},
        shelf::{Part, Shelf},
    },
};

/// A full bundle of the longest entries, and one byte.
pub(in crate::audit) const BUNDLE_BYTES_MAX: u64 = (ENTRIES * (ENTRY_BYTES_MAX + 2) + 1) as u64;
/// Bundles that a thread takes at once.
const BATCH: u64 = 16;

/// One bundle, hashed.
#[derive(Debug, Default)]
pub(in crate::audit) struct Block {
    pub(super) count: usize,
    /// Over all its entries.
    pub(super) root: Hash,
    /// Over its first so many, where a signature is about them.
    pub(super) marks: Vec<(usize, Hash)>,
    pub(super) findings: Vec<Finding>,
    pub(super) key_facts: KeyFacts,
}

/// Places within bundles at which a signed tree ends, by bundle.
pub(super) type Marks = BTreeMap<u64, Vec<usize>>;

pub(super) fn marks(sizes: impl Iterator<Item = u64>) -> Marks {
    let mut marks = Marks::new();
    for size in sizes {
        marks.entry(size / ENTRIES as u64).or_default().push((size % ENTRIES as u64) as usize);
    }
    marks.values_mut().for_each(|widths| {
        widths.sort_unstable();
        widths.dedup();
    });
    marks
}

/// Hashes bundles `0..=last`. `signed` entries must have their hashes in the tiles.
pub(super) fn hash(
    shelf: &Shelf,
    last: Option<u64>,
    signed: u64,
    marks: &Marks,
) -> Result<Vec<Block>> {
    let count = last.map_or(0, |last| last + 1);
    let next = AtomicU64::new(0);
    let work = || -> Result<Vec<(u64, Block)>> {
        let mut done = Vec::new();
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= count {
                return Ok(done);
            }
            for n in from..count.min(from + BATCH) {
                let is_last = n + 1 == count;
                done.push((n, block(shelf, n, is_last, signed, marks)?));
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(64);
    let mut all = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(done) => all.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, crate::fault::Fault>(all)
    })?;
    all.sort_unstable_by_key(|(n, _)| *n);
    Ok(all.into_iter().map(|(_, block)| block).collect())
}

/// What is looked at in each entry: the hash vouches for the rest.
#[derive(Deserialize)]
struct Glance<'a> {
    seq: u64,
    #[serde(borrow)]
    fact: Kind<'a>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

fn block(shelf: &Shelf, n: u64, is_last: bool, signed: u64, marks: &Marks) -> Result<Block> {
    let part = Part::Entries(n);
    let first = n * ENTRIES as u64;
    let mut block = Block::default();
    let Some(bytes) = shelf.read(part, BUNDLE_BYTES_MAX)? else {
        let missing = Finding::of(part, "this bundle is missing");
        block.findings.push(missing.among(first, first + ENTRIES as u64 - 1));
        return Ok(block);
    };
    let mut leaves = Vec::with_capacity(ENTRIES);
    let mut rest = bytes.as_slice();
    while let Some((entry, after)) = split(rest).filter(|_| leaves.len() < ENTRIES) {
        let seq = first + leaves.len() as u64;
        leaves.push(merkle::leaf(entry));
        if let Some(wrong) = glance(entry, seq, &mut block.key_facts) {
            block.findings.push(Finding::of(part, wrong).at(seq));
        }
        rest = after;
    }
    block.count = leaves.len();
    if !rest.is_empty() {
        let what = format!("{} bytes at its end are no entry", rest.len());
        block.findings.push(Finding::of(part, what).at(first + leaves.len() as u64));
    }
    if !is_last && leaves.len() < ENTRIES {
        let from = first + leaves.len() as u64;
        let short = Finding::of(part, "it is not full, and there is one after it");
        block.findings.push(short.among(from, first + ENTRIES as u64 - 1));
    }
    block.root = merkle::root(&leaves);
    let widths = marks.get(&n).map(Vec::as_slice).unwrap_or_default();
    let ends = widths.iter().copied().chain([leaves.len()]);
    let within = ends.filter(|width| *width > 0 && *width < ENTRIES && *width <= leaves.len());
    block.marks = within.map(|width| (width, merkle::root(&leaves[..width]))).collect();
    let least = signed.saturating_sub(first).min(leaves.len() as u64) as usize;
    let tile = Part::Tile(0, n);
    let found = shelf.read(tile, TILE_BYTES_MAX)?.unwrap_or_default();
    if let Some(at) = differs(&found, &leaves, least) {
        let there = at * 32 < found.len() && at < leaves.len();
        let (part, what) = match there {
            true => (part, "the entry is not the one whose hash is in the tree"),
            false => (tile, "it has not the hashes of its entries"),
        };
        block.findings.push(Finding::of(part, what).at(first + at as u64));
    }
    Ok(block)
}

/// The first entry of a bundle's bytes and what follows it.
pub(in crate::audit) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 { None } else { rest.split_at_checked(length) }
}

/// What is wrong with an entry, if anything; notes what it says about keys.
fn glance(entry: &[u8], seq: u64, key_facts: &mut KeyFacts) -> Option<String> {
    let glance: Glance = match serde_json::from_slice(entry) {
        Ok(glance) => glance,
        Err(error) => return Some(format!("not an entry: {error}")),
    };
    if glance.seq != seq {
        return Some(format!("it says it is entry {}", glance.seq));
    }
    if glance.fact.kind.starts_with("key-") {
        match Entry::decode(entry, seq) {
            Ok(Entry { fact: fact @ (Fact::KeyCreated(_) | Fact::KeyRotated(_)), .. }) => {
                key_facts.push((seq, fact));
            }
            Ok(_) => {}
            Err(fault) => return Some(fault.cause),
        }
    }
    None
}

/// The first hash of a tile that is not as computed; at least so many must be there.
pub(super) fn differs(found: &[u8], wanted: &[Hash], least: usize) -> Option<usize> {
    let (hashes, rest) = found.as_chunks::<32>();
    let same = hashes.iter().zip(wanted).take_while(|(found, wanted)| found == wanted).count();
    let whole = rest.is_empty() && same == hashes.len() && hashes.len() >= least.min(wanted.len());
    (!whole || least > wanted.len()).then_some(same)
}
