//! Opening the tree: the last checkpoint against what is there, and what was never signed.

use std::path::Path;

use super::{Adopted, Keys, Tiles, Tree, log_of, name};
use crate::{
    fault::{Fault, Kind, Result},
    log::{
        checkpoint::{self, Sealed},
        fact::Fact,
        merkle,
        note::{NOTE_BYTES_MAX, Signed, Signer, Use, Verifier},
        office::NewKey,
    },
    store::disk::{file, tiles::WIDTH},
};

/// Opens the tree of a log with these entries; `tail` gives those after the first so many.
///
/// Never fails: where nothing can be signed, [`Tree::refused`] says why.
pub(in super::super) fn open(
    state: &Path,
    keys: Keys,
    size: u64,
    tail: &dyn Fn(u64) -> Result<Vec<Vec<u8>>>,
) -> Tree {
    let mut tree = Tree {
        log: log_of(state),
        keys,
        signer: None,
        public: Vec::new(),
        refused: None,
        tiles: Tiles::empty(&log_of(state)),
        fresh: Vec::new(),
        sealed: None,
        history_bytes: 0,
        open: None,
        checkpoint_bytes: 0,
        trouble: None,
        created: None,
        mended: Vec::new(),
        adopted: None,
        signed: 0,
    };
    if let Err(fault) = tree.begin(size, tail) {
        tree.signer = None;
        tree.refused = Some(fault);
    }
    tree
}

impl Tree {
    fn begin(&mut self, size: u64, tail: &dyn Fn(u64) -> Result<Vec<Vec<u8>>>) -> Result<()> {
        let signer = self.keys.load()?;
        let signer = self.finish_rotation(signer, tail)?;
        self.public = self.keys.public()?;
        let (history, current) = (self.history()?, self.current()?);
        let fresh_log = history.is_empty() && current.is_none();
        let signer = match signer {
            Some(signer) => signer,
            None if fresh_log && never_signed(&tail(0)?) => self.first_key()?,
            None => {
                let cause = "this log was signed before, and its private key is gone";
                return Err(Fault::new(Kind::Gone, "sign the log", cause));
            }
        };
        if !self.public.contains(&signer.verifier()) {
            self.public.push(signer.verifier());
        }
        if self.keys.public()?.is_empty() {
            // No entry says so yet; or one does, and its writer was killed right after it.
            match never_signed(&tail(0)?) {
                true => {
                    let (origin, vkey) = (signer.name.clone(), signer.verifier().to_string());
                    self.created = Some(NewKey { origin, vkey });
                }
                false => self.keys.publish(&self.public)?,
            }
        }
        self.sealed = history.last().map(|one| one.checkpoint.size);
        let best = self.best(history, current)?;
        self.signed = best.as_ref().map_or(0, |best| best.checkpoint.size);
        self.signer = Some(signer);
        match best {
            Some(best) => self.take_up(&best, size, tail),
            None => self.adopt(size, tail),
        }
    }

    /// A crash between the entry that hands over and the new key in its place is finished; one before
    /// the entry is forgotten.
    fn finish_rotation(
        &mut self,
        signer: Option<Signer>,
        tail: &dyn Fn(u64) -> Result<Vec<Vec<u8>>>,
    ) -> Result<Option<Signer>> {
        let Some(next) = self.keys.staged()? else { return Ok(signer) };
        let vkey = next.verifier().to_string();
        let handed_over = facts(&tail(0)?)
            .any(|fact| matches!(fact, Fact::KeyRotated(rotation) if rotation.new == vkey));
        if !handed_over {
            self.keys.unstage()?;
            return Ok(signer);
        }
        self.keys.promote()?;
        let mut public = self.keys.public()?;
        public.push(next.verifier());
        self.keys.publish(&public)?;
        Ok(Some(next))
    }

    /// The checkpoints kept so far. A torn end is cut off by the next seal.
    fn history(&mut self) -> Result<Vec<Sealed>> {
        let path = self.log.join("checkpoints");
        let bytes = file::read(&path, checkpoint::HISTORY_BYTES_MAX)?.unwrap_or_default();
        let kept = checkpoint::history(&bytes);
        if let Some(why) = kept.rest {
            let longest = kept.all.last().map_or(1024, |one| 2 * one.note.to_string().len());
            if bytes.len() - kept.whole > longest {
                // More than one crash leaves: what stands after it would be lost with it.
                let act = format!("read {}", path.display());
                let cause = format!("damaged at byte {}: {why}", kept.whole);
                return Err(Fault::new(Kind::Malformed, act, cause));
            }
            self.mended.push("checkpoints".to_owned());
        }
        self.history_bytes = kept.whole as u64;
        Ok(kept.all)
    }

    /// The newest checkpoint, as the last sync left it; a power loss may have torn it.
    fn current(&mut self) -> Result<Option<Sealed>> {
        let read = file::read(&self.log.join("checkpoint"), NOTE_BYTES_MAX as u64)?;
        let Some(bytes) = read else { return Ok(None) };
        self.checkpoint_bytes = bytes.len() as u64;
        match Sealed::parse(&bytes) {
            Ok(sealed) => Ok(Some(sealed)),
            Err(_) => {
                self.mended.push("checkpoint".to_owned());
                Ok(None)
            }
        }
    }

    /// The largest checkpoint that a key of this log signed.
    fn best(&self, history: Vec<Sealed>, current: Option<Sealed>) -> Result<Option<Sealed>> {
        let mut best: Option<Sealed> = None;
        for sealed in history.into_iter().rev().take(1).chain(current) {
            if !self.is_ours(&sealed) {
                let size = sealed.checkpoint.size;
                let cause = format!("the checkpoint of size {size} is not signed by its key");
                return Err(Fault::new(Kind::Drift, "sign the log", cause));
            }
            if best.as_ref().is_none_or(|best| best.checkpoint.size <= sealed.checkpoint.size) {
                best = Some(sealed);
            }
        }
        Ok(best)
    }

    fn is_ours(&self, sealed: &Sealed) -> bool {
        let signed = |key: &Verifier| {
            key.name == sealed.checkpoint.origin
                && matches!(sealed.note.signed_by(key), Signed::Yes { .. })
        };
        self.public.iter().any(signed)
    }

    /// Goes on from a checkpoint, where the log still is what was signed.
    fn take_up(
        &mut self,
        best: &Sealed,
        size: u64,
        tail: &dyn Fn(u64) -> Result<Vec<Vec<u8>>>,
    ) -> Result<()> {
        let (signed, root) = (best.checkpoint.size, best.checkpoint.root);
        if signed > size {
            let cause = format!("{signed} entries were signed, {size} are there");
            return Err(Fault::new(Kind::Drift, "sign the log", cause));
        }
        let tiles = Tiles::load(&self.log, signed).ok().filter(|tiles| tiles.root() == root);
        // Those of the last bundle are at hand; they must be what the tiles say.
        let last = signed - signed % WIDTH as u64;
        let (tiles, from) = match tiles {
            Some(tiles) => (tiles, signed),
            None => {
                self.mended.push("tile".to_owned());
                (Tiles::empty(&self.log), 0)
            }
        };
        self.tiles = tiles;
        let entries = tail(from.min(last))?;
        let mut leaves = entries.iter().map(|entry| merkle::leaf(entry));
        if from == 0 && signed > 0 {
            leaves.by_ref().take(signed as usize).for_each(|leaf| self.tiles.push(leaf));
        } else {
            let known: Vec<_> = leaves.by_ref().take((signed - last) as usize).collect();
            if self.tiles.last_leaves() != known {
                return Err(rewritten(last, signed));
            }
        }
        if (self.tiles.size(), self.tiles.root()) != (signed, root) {
            return Err(rewritten(0, signed));
        }
        // What a killed writer appended after its last sync is signed with the next one, and an entry says
        // so: anybody who can write to the file can have appended it.
        self.fresh = leaves.collect();
        self.adopted = (!self.fresh.is_empty()).then(|| {
            let to = signed + self.fresh.len() as u64 - 1;
            Adopted { from: signed, to, root: merkle::root(&self.fresh) }
        });
        self.mended.extend(self.tiles.mend()?);
        self.mended.sort_unstable();
        self.mended.dedup();
        Ok(())
    }

    /// Signs a log for the first time: an empty one, or one that was written before there were keys.
    fn adopt(&mut self, size: u64, tail: &dyn Fn(u64) -> Result<Vec<Vec<u8>>>) -> Result<()> {
        let entries = tail(0)?;
        if !never_signed(&entries) {
            let cause = "this log was signed before, and its checkpoints are gone";
            return Err(Fault::new(Kind::Gone, "sign the log", cause));
        }
        self.mended.clear();
        self.append(&entries);
        self.extend(size)?;
        self.tiles.mend()?;
        self.reseal()
    }

    fn first_key(&self) -> Result<Signer> {
        let host = nix::unistd::gethostname().unwrap_or_default();
        self.keys.create(&name(&host.to_string_lossy(), file::random()?), Use::Log)
    }
}

fn rewritten(from: u64, to: u64) -> Fault {
    let cause = format!(
        "entries {from} to {} are not those that were signed: the log was rewritten; \
         `nicmend audit verify` names the first",
        to.saturating_sub(1)
    );
    Fault::new(Kind::Drift, "sign the log", cause)
}

/// Whether no entry knows of a key: the first that a signing writer says is its key.
fn never_signed(entries: &[Vec<u8>]) -> bool {
    !facts(entries).any(|fact| matches!(fact, Fact::KeyCreated(_)))
}

fn facts(entries: &[Vec<u8>]) -> impl Iterator<Item = Fact> {
    let read = |bytes: &Vec<u8>| serde_json::from_slice::<crate::log::Entry>(bytes).ok();
    entries.iter().filter_map(read).map(|entry| entry.fact)
}
