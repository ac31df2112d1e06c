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

mod file;
mod lock;
mod log;

use std::{
    fs,
    path::{Component, Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use self::{
    lock::{Epoch, Lock},
    log::Log,
};
use super::{Store, bundle::Tear};
use crate::fault::{Fault, Kind, Result};

/// Kept back for a full disk: room for the entries of several reverts.
const SPARE_BYTES: u64 = 1 << 20;
/// The largest blob that is read back.
const BLOB_BYTES_MAX: u64 = 256 << 20;
/// What blobs may not be called: these are the store's own.
const RESERVED: [&str; 7] = ["log", "durable", "epoch", "lock", "spare", "torn", "keys"];

/// What the state directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Takes no lock, and leaves log and epoch alone; shows what the writer has appended so far.
    Read,
    /// Takes the lock and a new epoch.
    Write,
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
    log: Mutex<Log>,
    writer: Option<Writer>,
    torn: Option<Torn>,
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
        let state = state.to_path_buf();
        let (writer, log) = match access {
            Access::Read => (None, Log::reading(&state)?),
            Access::Write => {
                file::directory(&state)?;
                file::own(&state)?;
                let lock = Lock::take(&state)?;
                let epoch = with_spare(&state, || Epoch::of(&state).advance())?;
                let log = Log::writing(&state)?;
                // Missing space is no reason not to start: a revert may be what it is started for.
                let _ = file::reserve(&state.join("spare"), SPARE_BYTES);
                (Some(Writer { lock, epoch }), log)
            }
        };
        let torn = log.torn();
        Ok(Disk { state, log: Mutex::new(log), writer, torn })
    }

    /// What a crash had left after the last whole entry when this was opened.
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// The epoch that opening for writing took; `None` for a reader.
    pub fn taken(&self) -> Option<u64> {
        self.writer.as_ref().map(|writer| writer.epoch)
    }

    /// Tells whoever is refused which run holds the lock. Best effort: it is information only.
    pub fn holds(&self, run: &str) {
        if let Some(writer) = &self.writer {
            writer.lock.name(run);
        }
    }

    /// The process that holds the lock now, if one does.
    ///
    /// # Errors
    /// `Malformed` where one holds it and has not said who it is.
    pub fn holder(&self) -> Result<Option<u32>> {
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

    fn log(&self) -> MutexGuard<'_, Log> {
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
    fn append(&self, entries: &[Vec<u8>]) -> Result<()> {
        self.writable("append to the log")?;
        let mut log = self.log();
        with_spare(&self.state, || log.append(entries))
    }

    fn sync(&self) -> Result<()> {
        self.writable("sync the log")?;
        self.log().sync()
    }

    fn entries(&self) -> Result<Vec<Vec<u8>>> {
        self.log().entries()
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
