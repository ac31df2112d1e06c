//! Proofs from a log's tiles: that an entry is in a signed tree, that one tree is the beginning of another.

use super::verify::{BUNDLE_BYTES_MAX, split};
use crate::{
    fault::{Fault, Kind, Result},
    log::{
        checkpoint::Sealed,
        merkle::{self, Edge, Hash},
        note::NOTE_BYTES_MAX,
        proof::Proof,
    },
    store::{
        bundle::ENTRIES,
        shelf::{Part, Shelf},
    },
};

const TILE_BYTES: u64 = 256 * 32;

/// The newest checkpoint of a log.
pub fn newest(shelf: &Shelf) -> Result<Sealed> {
    let act = "read the checkpoint";
    let bytes = shelf.read(Part::Checkpoint, NOTE_BYTES_MAX as u64)?;
    let bytes = bytes.ok_or_else(|| Fault::new(Kind::Gone, act, "there is none"))?;
    Sealed::parse(&bytes).map_err(|why| Fault::new(Kind::Malformed, act, why))
}

/// An entry with its way to a checkpoint's root.
///
/// # Errors
/// `Invalid` where the checkpoint does not cover it, `Malformed` where the log is not what was signed.
pub fn entry(shelf: &Shelf, index: u64, sealed: Sealed) -> Result<Proof> {
    let act = format!("prove entry {index}");
    let (size, root) = (sealed.checkpoint.size, sealed.checkpoint.root);
    if index >= size {
        let cause = format!("the checkpoint signs entries 0 to {}", size.saturating_sub(1));
        return Err(Fault::new(Kind::Invalid, act, cause));
    }
    let part = Part::Entries(index / ENTRIES as u64);
    let bytes = shelf.read(part, BUNDLE_BYTES_MAX)?.unwrap_or_default();
    let nth = (index % ENTRIES as u64) as usize;
    let mut entries = std::iter::successors(split(&bytes), |(_, rest)| split(rest));
    let found = entries.nth(nth).map(|(entry, _)| entry.to_vec());
    let entry = found.ok_or_else(|| Fault::new(Kind::Gone, act.clone(), "it is missing"))?;
    let path = merkle::inclusion(index, size, &|from, to| subtree(shelf, from, to))?;
    let proof = Proof { entry, index, path, sealed };
    let leaf = merkle::leaf(&proof.entry);
    match merkle::root_by_inclusion(&leaf, index, size, &proof.path) == Some(root) {
        true => Ok(proof),
        false => {
            let cause = "the log is not what was signed; `nicmend audit verify` says where";
            Err(Fault::new(Kind::Malformed, act, cause))
        }
    }
}

/// That the tree of `old` entries is the beginning of the one of `new`.
pub fn consistency(shelf: &Shelf, old: u64, new: u64) -> Result<Vec<Hash>> {
    merkle::consistency(old, new, &|from, to| subtree(shelf, from, to))
}

/// The root over entries `from..to`, where `from` is a multiple of the power of two that is not less than
/// `to - from`: the subtrees of RFC 6962.
fn subtree(shelf: &Shelf, from: u64, to: u64) -> Result<Hash> {
    let mut edge = Edge::default();
    let mut at = from;
    while at < to {
        // The highest tile whose hashes begin here and do not reach beyond the end.
        let mut level = 0;
        let mut leaves = 1_u64;
        while at.is_multiple_of(leaves * 256) && leaves * 256 <= to - at {
            (level, leaves) = (level + 1, leaves * 256);
        }
        let index = at / leaves;
        let part = Part::Tile(level, index / 256);
        let bytes = shelf.read(part, TILE_BYTES)?.unwrap_or_default();
        let (hashes, _) = bytes.as_chunks::<32>();
        let first = (index % 256) as usize;
        let count = ((to - at) / leaves).min(256 - first as u64) as usize;
        let Some(hashes) = hashes.get(first..first + count) else {
            let act = format!("read {}", part.name());
            return Err(Fault::new(Kind::Gone, act, "hashes are missing"));
        };
        hashes.iter().for_each(|hash| edge.push_subtree(*hash, leaves));
        at += leaves * count as u64;
    }
    Ok(edge.root())
}
