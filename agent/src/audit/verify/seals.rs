//! Every checkpoint of a log, against the tree as it was computed anew.

use super::{Finding, Roots, Trust};
use crate::{
    audit::chain::Chain,
    fault::Result,
    log::{
        checkpoint::{self, HISTORY_BYTES_MAX, Sealed},
        note::NOTE_BYTES_MAX,
    },
    store::shelf::{Part, Shelf},
};

/// The checkpoints that lie in the log.
pub(super) struct Seals {
    history: Vec<Sealed>,
    current: Option<Sealed>,
}

pub(super) fn read(shelf: &Shelf, findings: &mut Vec<Finding>) -> Result<Seals> {
    let bytes = shelf.read(Part::Checkpoints, HISTORY_BYTES_MAX)?.unwrap_or_default();
    let kept = checkpoint::history(&bytes);
    if let Some(why) = kept.rest {
        let what = format!("byte {}: {why}", kept.whole);
        findings.push(Finding::of(Part::Checkpoints, what));
    }
    let current = match shelf.read(Part::Checkpoint, NOTE_BYTES_MAX as u64)? {
        None => None,
        Some(bytes) => match Sealed::parse(&bytes) {
            Ok(sealed) if sealed.note.to_string().as_bytes() == bytes => Some(sealed),
            Ok(_) => {
                findings.push(Finding::of(Part::Checkpoint, "not written as a checkpoint is"));
                None
            }
            Err(why) => {
                findings.push(Finding::of(Part::Checkpoint, why));
                None
            }
        },
    };
    Ok(Seals { history: kept.all, current })
}

impl Seals {
    pub(super) fn sizes(&self) -> impl Iterator<Item = u64> {
        self.history.iter().chain(&self.current).map(|one| one.checkpoint.size)
    }

    /// The largest tree that is signed.
    pub(super) fn newest(&self) -> Option<u64> {
        self.sizes().max()
    }

    /// Checks each; how many there were.
    pub(super) fn check(
        &self,
        roots: &Roots,
        chain: &Chain,
        trust: &Trust,
        entries: u64,
        findings: &mut Vec<Finding>,
    ) -> usize {
        if self.newest().is_none() && entries > 0 {
            let what = "there is no checkpoint: nothing here is signed";
            findings.push(Finding::of(Part::Checkpoint, what).among(0, entries - 1));
        }
        if self.current.is_none() && !self.history.is_empty() {
            findings.push(Finding::of(Part::Checkpoint, "the newest checkpoint is missing"));
        }
        if let Some(pinned) = trust.pinned.iter().find(|key| !chain.has(key)) {
            let what = format!("{pinned} is no key of this log");
            findings.push(Finding::of(Part::Checkpoint, what));
        }
        let origin = chain.last().map(|key| key.name.clone());
        let mut good = 0;
        let own = self.history.iter().map(|one| (Part::Checkpoints, one));
        let own = own.chain(self.current.iter().map(|one| (Part::Checkpoint, one)));
        for (part, sealed) in own {
            let size = sealed.checkpoint.size;
            if size < good {
                let what =
                    format!("a checkpoint of size {size} after one of size {good}: rolled back");
                findings.push(Finding::of(part, what));
            }
            match judge(sealed, roots, chain, origin.as_deref(), entries, good) {
                Ok(()) => good = good.max(size),
                Err(finding) => findings.push(Finding { place: part.name(), ..finding }),
            }
        }
        for (name, sealed) in &trust.checkpoints {
            if let Err(finding) = judge(sealed, roots, chain, origin.as_deref(), entries, 0) {
                findings.push(Finding { place: name.clone(), ..finding });
            }
        }
        self.sizes().count() + trust.checkpoints.len()
    }
}

/// One checkpoint: of this log, signed by its key, over the tree that is there. `good` entries are known
/// to be right.
fn judge(
    sealed: &Sealed,
    roots: &Roots,
    chain: &Chain,
    origin: Option<&str>,
    entries: u64,
    good: u64,
) -> Result<(), Finding> {
    let size = sealed.checkpoint.size;
    let wrong = |what: String| Finding::of(Part::Checkpoint, what);
    if origin.is_some_and(|origin| origin != sealed.checkpoint.origin) {
        return Err(wrong(format!("it is of another log, {}", sealed.checkpoint.origin)));
    }
    if let Err(why) = chain.signer(&sealed.note, size) {
        return Err(wrong(format!("the checkpoint of size {size}: {why}")));
    }
    if size > entries {
        let what = format!("{size} entries were signed, {entries} are there");
        return Err(wrong(what).among(entries, size - 1));
    }
    match roots.at(size) {
        Some(root) if root == sealed.checkpoint.root => Ok(()),
        Some(_) | None => {
            let what = format!("the checkpoint of size {size} signs other entries than these");
            // The first of them is not before what an earlier checkpoint vouches for.
            Err(wrong(what).among(good.min(size), size.saturating_sub(1)))
        }
    }
}
