//! The real disk: the state directory.
//!
//! This module and its children are the one place outside `host/linux` that touches files, and only
//! below the state directory: the journal must be durable, which needs the file system's own calls.
//!
//! ```text
//! STATE/                 0700; every file 0600
//!   log/tile/entries/…   the log, as entry bundles (see super::bundle)
//!   durable              how far the log is known to have reached the disk: `<bundle> <bytes>`
//!   epoch                the fence: 20 digits, one higher at each opening for writing
//!   lock                 held (flock) by the one writer; its text says who that is
//!   spare                space kept back, given up when the disk is full
//!   log/tile/<level>/…   hashes of its Merkle tree (see tiles)
//!   log/checkpoint       the newest signature over the tree; log/checkpoints: those made durable (see tree)
//!   keys/                what signs them (see keys)
//!   stores               directories that full bundles were moved to, one a line
//!   spool/               what others did while the writer is at work (see spool)
//!   torn/<bundle>-<at>   bytes that a crash left after the last whole entry, kept when cut off
//!   runs/, plans/, …     blobs
//! ```
//!
//! **The log.** Bundle N is `log/tile/entries/<N>`. Only the last bundle is partial. The specification
//! calls its W entries `<N>.p/<W>`; here they are simply the first W entries of the file `<N>`, which
//! only ever grows, so that a reader asked for `<N>.p/<W>` takes that prefix of `<N>`. A batch is one
//! write(2); [`Store::sync`] is one fdatasync, and one fsync of the directory when a file is new. A
//! full bundle is made durable before the next one is begun, so a crash can tear the last file only.
//!
//! **After a crash** bytes may stand after the last whole entry. They are no entry, are reported by
//! [`Disk::torn`], and are cut off (and kept aside) by the next append. `durable` is written after each
//! sync and never synced itself, so it is never too high: what cannot be read below it is damage and
//! not a tear, and then nothing is appended and everything that reads fails with `Malformed`.
//!
//! **On a full disk** an append that did not fit is cut off again at once. The spare space is given up
//! and the call tried once more, so that a revert's own entries still have room.
//!
//! **Blobs and marks** are whole or not there (written beside, synced, renamed), so they need no lock;
//! it guards the log and the epoch.
#![allow(clippy::disallowed_methods, reason = "the store owns the state directory")]

pub(crate) mod file;
pub mod keys;
mod lock;
mod log;
pub mod spool;
pub(crate) mod tiles;
mod tree;

use std::{
    fs,
    path::{Component, Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

pub(crate) use self::log::stores;
pub use self::tree::Adopted;
use self::{
    keys::Keys,
    lock::{Epoch, Lock},
    log::Log,
    tree::Tree,
};
use super::{Fate, Handed, Store, bundle::Tear};
use crate::{
    fault::{Fault, Kind, Result},
    log::{
        deed::Deed,
        office::{NewKey, Rotation},
    },
};

/// Kept back for a full disk: room for the entries of several reverts.
const SPARE_BYTES: u64 = 1 << 20;
/// The largest blob that is read back.
const BLOB_BYTES_MAX: u64 = 256 << 20;
/// What blobs may not be called: these are the store's own.
const RESERVED: [&str; 11] = [
    "log",
    "durable",
    "epoch",
    "lock",
    "spare",
    "torn",
    "keys",
    "stores",
    "witness",
    "spool",
    "spool-refused",
];

/// What the state directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Takes no lock, and leaves log and epoch alone; shows what the writer has appended so far.
    Read,
    /// Takes the lock and a new epoch.
    Write,
    /// Takes the lock and nothing else, on a file system that has become read-only: enough to put back
    /// what a run left, which waits for no disk. Nothing can be appended.
    Rescue,
}

/// Bytes after the last whole entry, left by a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    pub bundle: u64,
    /// Where in the bundle they begin.
    pub at: u64,
    pub bytes: u64,
    pub why: Tear,
}

/// The state directory.
#[derive(Debug)]
pub struct Disk {
    state: PathBuf,
    log: Mutex<Book>,
    writer: Option<Writer>,
    /// The lock of one who only puts back; held as long as this lives.
    rescuer: Option<Lock>,
    torn: Option<Torn>,
}

/// The log and, for a writer, its tree.
#[derive(Debug)]
struct Book {
    log: Log,
    tree: Option<Tree>,
}

#[derive(Debug)]
struct Writer {
    lock: Lock,
    epoch: u64,
}

impl Disk {
    /// Opens the state directory; for writing it is created where it is missing.
    ///
    /// # Errors
    /// `Busy` where another process holds the lock, by its pid and run where it named them; `Denied`
    /// where others may write to the directory.
    pub fn open(state: &Path, access: Access) -> Result<Disk> {
        Disk::open_with_keys(state, access, &state.join("keys"))
    }

    /// The same with the log's keys elsewhere. A writer makes the first key; a reader needs none.
    ///
    /// A writer holds a private key: from here on the process leaves no core dump.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn open_with_keys(state: &Path, access: Access, keys: &Path) -> Result<Disk> {
        let state = state.to_path_buf();
        let mut rescuer = None;
        let (writer, book, torn) = match access {
            Access::Read | Access::Rescue => {
                if access == Access::Rescue {
                    file::own(&state)?;
                    rescuer = Some(Lock::take_unwritten(&state)?);
                }
                let log = Log::reading(&state)?;
                let torn = log.torn();
                (None, Book { log, tree: None }, torn)
            }
            Access::Write => {
                file::directory(&state)?;
                file::own(&state)?;
                let lock = Lock::take(&state)?;
                let mut log = Log::writing(&state)?;
                let newest = || log.readable().1.iter().rev().find_map(|bytes| epoch_of(bytes));
                let epoch = with_spare(&state, || Epoch::of(&state).advance(&newest))?;
                let torn = log.torn();
                // Missing space is no reason not to start: a revert may be what it is started for.
                let _ = file::reserve(&state.join("spare"), SPARE_BYTES);
                let _ = nix::sys::prctl::set_dumpable(false);
                // What a killed writer left unsynced is durable before it is signed; where that fails, it
                // is not counted as there.
                let _ = log.sync();
                let tail = |from| log.entries_from(from);
                let tree = tree::open(&state, Keys::of_log(keys), log.size(), &tail);
                log.lacks(tree.signed);
                (Some(Writer { lock, epoch }), Book { log, tree: Some(tree) }, torn)
            }
        };
        Ok(Disk { state, log: Mutex::new(book), writer, rescuer, torn })
    }

    /// What a crash had left after the last whole entry when this was opened.
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// The key that a log begins with, as long as no entry says so; see [`Disk::announced`].
    pub fn created(&self) -> Option<NewKey> {
        self.log().tree.as_ref().and_then(|tree| tree.created.clone())
    }

    /// Files of the log that were made whole when it was opened; told once.
    pub fn mended(&self) -> Vec<String> {
        self.log().tree.as_mut().map(|tree| std::mem::take(&mut tree.mended)).unwrap_or_default()
    }

    /// Entries that nobody had signed when it was opened, until [`Disk::adoption_is_said`].
    pub fn adopted(&self) -> Option<Adopted> {
        self.log().tree.as_ref().and_then(|tree| tree.adopted.clone())
    }

    /// The entry about [`Disk::adopted`] is in the log.
    pub fn adoption_is_said(&self) {
        if let Some(tree) = &mut self.log().tree {
            tree.adopted = None;
        }
    }

    /// The entry about [`Disk::created`] is durable.
    pub fn announced(&self) -> Result<()> {
        self.log().tree.as_mut().map_or(Ok(()), Tree::announced)
    }

    /// Why nothing is signed any more, where somebody has rewritten the log.
    pub fn unsigned(&self) -> Option<Fault> {
        self.log().tree.as_ref().and_then(|tree| tree.refused().cloned())
    }

    /// The entry by which the log's key hands over to a new one; once it is durable at `place`,
    /// [`Disk::rotate`] makes it so.
    pub fn hand_over(&self, place: u64, why: &str) -> Result<Rotation> {
        let act = "make a new key";
        self.writable(act)?;
        let mut book = self.log();
        let tree = book.tree.as_mut().ok_or_else(|| Fault::new(Kind::Denied, act, "no tree"))?;
        tree.hand_over(place, why)
    }

    /// The new key takes over.
    pub fn rotate(&self) -> Result<()> {
        self.writable("take the new key")?;
        self.log().tree.as_mut().map_or(Ok(()), Tree::rotate)
    }

    /// The epoch that opening for writing took; `None` for a reader.
    pub fn taken(&self) -> Option<u64> {
        self.writer.as_ref().map(|writer| writer.epoch)
    }

    /// Whether this was opened for a rescue: the log cannot be told.
    pub fn is_mute(&self) -> bool {
        self.rescuer.is_some()
    }

    /// Tells whoever is refused which run holds the lock. Best effort: it is information only.
    pub fn holds(&self, run: &str) {
        if let Some(writer) = &self.writer {
            writer.lock.name(run);
        }
    }

    /// The process that holds the lock now, if one does, and the run that it named.
    ///
    /// # Errors
    /// `Malformed` where one holds it and has not said who it is.
    pub fn holder(&self) -> Result<Option<(u32, Option<String>)>> {
        lock::holder(&self.state)
    }

    /// Sets a mark, a small file at the top, or with `None` takes it away. Needs no lock: `freeze`
    /// binds while a run is in flight.
    pub fn mark(state: &Path, name: &str, text: Option<&[u8]>) -> Result<()> {
        let act = format!("mark {name} in {}", state.display());
        let path = place(state, &act, name)?;
        let marked = match text {
            Some(text) => file::directory(state)
                .and_then(|()| with_spare(state, || file::replace(&path, text))),
            None => file::remove(&path),
        };
        marked.map_err(|fault| fault.during(act))
    }

    /// Hands a deed over to the log's writer, whoever that is; durable when this returns. Needs no lock.
    ///
    /// # Errors
    /// `Invalid` where no writer would take it, `Busy` where too many wait, the disk's.
    pub fn hand(state: &Path, deed: &Deed) -> Result<()> {
        with_spare(state, || spool::hand(state, deed))
    }

    fn log(&self) -> MutexGuard<'_, Book> {
        // A panic between two steps leaves a log that still says what it has written.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writable(&self, act: &str) -> Result<()> {
        match self.writer {
            Some(_) => Ok(()),
            None => Err(Fault::new(Kind::Denied, act, "opened for reading only")),
        }
    }
}

impl Store for Disk {
    fn name(&self) -> String {
        self.state.display().to_string()
    }

    fn append(&self, entries: &[Vec<u8>]) -> Result<()> {
        self.writable("append to the log")?;
        let mut book = self.log();
        let Book { log, tree } = &mut *book;
        let appended = with_spare(&self.state, || log.append(entries));
        if let Some(tree) = tree {
            match &appended {
                Ok(()) => tree.append(entries),
                Err(_) => tree.cut(log.size()),
            }
        }
        appended
    }

    fn sync(&self) -> Result<()> {
        self.writable("sync the log")?;
        let mut book = self.log();
        let Book { log, tree } = &mut *book;
        let synced = log.sync();
        if let Some(tree) = tree {
            match &synced {
                Ok(()) => tree.sign(log.durable_size()),
                Err(_) => tree.cut(log.size()),
            }
        }
        synced
    }

    fn entries(&self) -> Result<Vec<Vec<u8>>> {
        self.log().log.entries()
    }

    fn length(&self) -> Result<u64> {
        match self.writer {
            Some(_) => self.log().log.counted(),
            // A reader sees what the writer has appended since.
            None => Ok(self.entries()?.len() as u64),
        }
    }

    /// # Errors
    /// `Drift` or `Gone` where the log is not what was signed: new runs are refused then.
    fn seal(&self) -> Result<()> {
        self.writable("sign the log")?;
        self.log().tree.as_mut().map_or(Ok(()), Tree::seal)
    }

    fn readable(&self) -> (u64, Vec<Vec<u8>>) {
        self.log().log.readable()
    }

    fn handed_over(&self) -> Result<Vec<Handed>> {
        spool::list(&self.state)
    }

    fn settle(&self, name: &str, fate: Fate) -> Result<()> {
        self.writable("take up what was handed over")?;
        spool::settle(&self.state, name, fate)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let act = format!("store {name}");
        let path = place(&self.state, &act, name)?;
        with_spare(&self.state, || file::replace(&path, bytes).map_err(|fault| fault.during(&act)))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let act = format!("read {name} of the store");
        let path = place(&self.state, &act, name)?;
        file::read(&path, BLOB_BYTES_MAX).map_err(|fault| fault.during(act))
    }

    fn epoch(&self) -> Result<u64> {
        Epoch::of(&self.state).read()
    }
}

impl Drop for Disk {
    /// A writer that ends leaves its last checkpoint durable; if it cannot, the next one does.
    fn drop(&mut self) {
        let book = self.log.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = &mut book.tree {
            let _ = tree.seal();
        }
    }
}

/// Does `work`; where the disk is full, gives up the spare space and tries once more.
fn with_spare<T>(state: &Path, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    match work() {
        Err(fault) if file::is_full(&fault) => match fs::remove_file(state.join("spare")) {
            Ok(()) => work(),
            Err(_) => Err(fault),
        },
        done => done,
    }
}

/// The epoch that an entry says it was made under.
fn epoch_of(entry: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Glimpse {
        epoch: u64,
    }
    serde_json::from_slice::<Glimpse>(entry).ok().map(|glimpse| glimpse.epoch)
}

/// The place of a blob: a plain relative path that is not the store's own.
fn place(state: &Path, act: &str, name: &str) -> Result<PathBuf> {
    let refused = |why: &str| Err(Fault::new(Kind::Invalid, act, why));
    if name.is_empty() || name.len() > 512 || name.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return refused("not a name of 1 to 512 plain characters");
    }
    let path = Path::new(name);
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    // Path normalises `a//b` and `a/./b`; a name is written in one way only.
    if !plain || name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        return refused("not a plain relative path");
    }
    if name.split('/').next().is_some_and(|first| RESERVED.contains(&first)) {
        return refused("that place belongs to the store itself");
    }
    Ok(state.join(path))
}
