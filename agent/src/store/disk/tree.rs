//! The log's tree as its writer keeps it: tiles, checkpoints, and the key that signs them.
//!
//! A checkpoint is signed after each sync, over what that made durable and nothing else, and put into
//! `log/checkpoint` without a sync of its own; a power loss may so leave an older one. [`Tree::seal`], at
//! the end of a run and of a writer, makes tiles and checkpoint durable and adds it to
//! `log/checkpoints`, which only grows.
//!
//! **Nothing is signed that contradicts an earlier signature.** On opening, the tree at the last
//! checkpoint's size is computed anew from the tiles, and where those disagree from the entries; where
//! these disagree too, somebody has rewritten the log: it goes on as a journal, since a run may have to
//! be put back by it, but nothing is signed any more, and new runs are refused.

mod begin;

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{file, keys::Keys, tiles::Tiles};
use crate::{
    fault::{Fault, Kind, Result},
    log::{
        checkpoint::Checkpoint,
        merkle::{self, Hash},
        note::{Signer, Verifier},
        office::{NewKey, Rotation},
    },
};

pub(super) use begin::open;

/// Entries that were there and signed by nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    pub from: u64,
    pub to: u64,
    pub root: Hash,
}

/// The tree of a log that is open for writing.
#[derive(Debug)]
pub(super) struct Tree {
    log: PathBuf,
    keys: Keys,
    /// Signs; none where signing is refused.
    signer: Option<Signer>,
    /// Every key that may have signed, the oldest first.
    public: Vec<Verifier>,
    refused: Option<Fault>,
    /// Over everything that is signed.
    tiles: Tiles,
    /// Leaves after those, appended and not known to be durable.
    fresh: Vec<Hash>,
    /// Size of the last checkpoint in `checkpoints`.
    sealed: Option<u64>,
    /// Bytes of `checkpoints` that are whole.
    history_bytes: u64,
    open: Option<File>,
    checkpoint_bytes: u64,
    /// What could not be written since.
    trouble: Option<Fault>,
    /// The key that this log begins with, where no entry says so yet.
    pub(super) created: Option<NewKey>,
    /// Files that were made whole when the log was opened.
    pub(super) mended: Vec<String>,
    /// Entries that nobody had signed when the log was opened.
    pub(super) adopted: Option<Adopted>,
    /// Entries that the newest checkpoint signed when the log was opened.
    pub(super) signed: u64,
}

impl Tree {
    /// Why nothing is signed, where nothing is.
    pub(super) fn refused(&self) -> Option<&Fault> {
        self.refused.as_ref()
    }

    /// Remembers entries that were appended; durable they become by [`Tree::sign`].
    pub(super) fn append(&mut self, entries: &[Vec<u8>]) {
        if self.refused.is_none() {
            self.fresh.extend(entries.iter().map(|entry| merkle::leaf(entry)));
        }
    }

    /// What was appended after the first `size` entries is not there.
    pub(super) fn cut(&mut self, size: u64) {
        let keep = size.saturating_sub(self.tiles.size());
        self.fresh.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    /// Signs the first `size` entries, which are durable. A full disk is no reason to fail: the
    /// checkpoint that is owed comes with the next sync.
    pub(super) fn sign(&mut self, size: u64) {
        let done = self.extend(size);
        self.trouble = done.err();
    }

    fn extend(&mut self, size: u64) -> Result<()> {
        let Some(signer) = &self.signer else { return Ok(()) };
        let more = size.saturating_sub(self.tiles.size());
        let more = usize::try_from(more).unwrap_or(usize::MAX).min(self.fresh.len());
        self.fresh.drain(..more).for_each(|leaf| self.tiles.push(leaf));
        self.tiles.write()?;
        let note = self.checkpoint().signed(signer);
        let path = self.log.join("checkpoint");
        if self.open.is_none() {
            self.open = Some(file::open(&path)?.0);
        }
        let Some(open) = &self.open else { return Ok(()) };
        // One write within a page: whoever is killed here has written all of it or nothing.
        let length = note.len() as u64;
        let written = open.write_all_at(note.as_bytes(), 0).and_then(|()| match length {
            same if same == self.checkpoint_bytes => Ok(()),
            other => open.set_len(other),
        });
        written.map_err(|error| file::fault(format!("write {}", path.display()), &error))?;
        self.checkpoint_bytes = length;
        Ok(())
    }

    fn checkpoint(&self) -> Checkpoint {
        let origin = self.signer.as_ref().map_or_else(String::new, |signer| signer.name.clone());
        Checkpoint { origin, size: self.tiles.size(), root: self.tiles.root() }
    }

    /// Makes the last checkpoint and its tiles durable.
    pub(super) fn seal(&mut self) -> Result<()> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        if self.trouble.is_some() {
            self.extend(self.tiles.size())?;
            self.trouble = None;
        }
        if self.sealed == Some(self.tiles.size()) {
            return Ok(());
        }
        self.reseal()
    }

    fn reseal(&mut self) -> Result<()> {
        let Some(signer) = &self.signer else { return Ok(()) };
        let note = self.checkpoint().signed(signer) + "\n";
        self.tiles.sync()?;
        let path = self.log.join("checkpoints");
        let act = || format!("write {}", path.display());
        let (history, new) = file::open(&path)?;
        let end = self.history_bytes;
        history
            .set_len(end)
            .and_then(|()| history.write_all_at(note.as_bytes(), end))
            .and_then(|()| history.sync_data())
            .map_err(|error| file::fault(act(), &error))?;
        if let Some(open) = &self.open {
            open.sync_data().map_err(|error| file::fault("sync the checkpoint", &error))?;
        }
        if new {
            file::sync_parent(&path)?;
        }
        self.history_bytes = end + note.len() as u64;
        self.sealed = Some(self.tiles.size());
        Ok(())
    }

    /// The entry that hands over to a new key, to be appended at `size` and made durable before
    /// [`Tree::rotate`].
    pub(super) fn hand_over(&mut self, size: u64, why: &str) -> Result<Rotation> {
        let act = "make a new key";
        if let Some(refused) = &self.refused {
            return Err(refused.clone().during(act));
        }
        let Some(signer) = &self.signer else {
            return Err(Fault::new(Kind::Denied, act, "there is no key yet"));
        };
        let new = self.keys.stage(&signer.name)?.verifier().to_string();
        let message = Rotation::message(&signer.name, &new, size);
        let signature = crate::log::base64::encode(&signer.sign(&message));
        let old = signer.verifier().to_string();
        Ok(Rotation { old, new, size, why: why.to_owned(), signature })
    }

    /// The new key takes over; what is there is signed by it, durably.
    pub(super) fn rotate(&mut self) -> Result<()> {
        let act = "take the new key";
        let Some(next) = self.keys.staged()? else {
            return Err(Fault::new(Kind::Gone, act, "it is not there"));
        };
        self.keys.promote()?;
        self.public.push(next.verifier());
        self.keys.publish(&self.public)?;
        self.signer = Some(next);
        self.extend(self.tiles.size())?;
        self.reseal()
    }

    /// The first entry about the log's key is durable.
    pub(super) fn announced(&mut self) -> Result<()> {
        self.keys.publish(&self.public)?;
        self.created = None;
        Ok(())
    }
}

/// The name by which a new log is told from others, also of the same host.
fn name(host: &str, n: u32) -> String {
    let host: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).collect();
    let host = if host.is_empty() { "localhost" } else { &host };
    format!("{host}/nicmend/{n:08x}")
}

fn log_of(state: &Path) -> PathBuf {
    state.join("log")
}
