//! The state directory.
//!
//! The log is a row of C2SP tlog-tiles entry bundles (<https://c2sp.org/tlog-tiles>): up to 256 entries
//! a file, each prefixed with its length as a big-endian u16. File N lies at `log/tile/entries/` and N
//! in groups of three digits, all but the last prefixed with `x`: `x001/234`. The last bundle grows in
//! place; the specification's partial bundle `<N>.p/<W>` is by definition its prefix of W entries.
//!
//! A torn tail (an entry shorter than its length says, a length of zero, a last entry that is not
//! JSON) never happened: `entries` leaves it out, and the writer cuts it off when it opens. Damage
//! anywhere else is an error.
#![allow(clippy::disallowed_methods, reason = "this file owns the state directory")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::fcntl::{Flock, FlockArg};

use super::Store;
use crate::{
    fault::{Fault, Kind, Result},
    log::fact::ENTRY_BYTES_MAX,
};

/// Entries a bundle, by the specification.
const BUNDLE_ENTRIES: u64 = 256;
/// A full bundle cannot be longer; anything longer is not one.
const BUNDLE_BYTES_MAX: u64 = BUNDLE_ENTRIES * (ENTRY_BYTES_MAX as u64 + 2);
/// Blobs are plans, evidence and marks. A million samples are some 30 MB.
const BLOB_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Takes the writer's lock and a new epoch; cuts off a torn tail.
    Write,
    /// Takes no lock; sees what is there.
    Read,
}

/// The state directory of this host.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    writer: Option<Mutex<Writer>>,
}

#[derive(Debug)]
struct Writer {
    /// Held until the process ends.
    _lock: Flock<File>,
    /// The bundle that grows, its number and its whole entries and bytes.
    bundle: File,
    number: u64,
    entries: u64,
    bytes: u64,
    /// Directories with new names in them, to be synced with the next sync.
    fresh: Vec<PathBuf>,
    /// Bytes of a torn tail that opening cut off.
    mended: u64,
}

impl Disk {
    /// Opens (and for a writer, creates) the state directory.
    ///
    /// # Errors
    /// `Busy` when another writer holds the lock, with its pid.
    pub fn open(root: &Path, access: Access) -> Result<Disk> {
        let writer = match access {
            Access::Read => None,
            Access::Write => Some(Mutex::new(Writer::open(root)?)),
        };
        Ok(Disk { root: root.to_owned(), writer })
    }

    /// The pid of the process that holds the writer's lock now, if one does.
    pub fn holder(&self) -> Result<Option<u32>> {
        holder(&self.root)
    }

    /// Bytes of a torn tail that this writer cut off when it opened; 0 where there was none.
    pub fn mended(&self) -> u64 {
        self.lock().map_or(0, |writer| writer.mended)
    }

    /// Sets or takes away a mark (a small file at the top) without the writer's lock.
    pub fn mark(root: &Path, name: &str, text: Option<&[u8]>) -> Result<()> {
        let act = format!("mark {}", root.join(name).display());
        make_dir(root).map_err(|e| fault(&act, &e))?;
        match text {
            Some(text) => put(root, name, text),
            None => match fs::remove_file(root.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(fault(&act, &e)),
                Err(_) | Ok(()) => sync_dir(root).map_err(|e| fault(&act, &e)),
            },
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Writer>> {
        // A panic in between leaves counts that match the file: they change last.
        self.writer.as_ref().map(|w| w.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn writing(&self, act: &str) -> Result<MutexGuard<'_, Writer>> {
        self.lock().ok_or_else(|| Fault::new(Kind::Denied, act, "opened for reading only"))
    }
}

impl Store for Disk {
    fn append(&self, entries: &[Vec<u8>]) -> Result<()> {
        self.writing("append to the log")?.append(&self.root, entries)
    }

    fn sync(&self) -> Result<()> {
        let mut writer = self.writing("sync the log")?;
        writer.bundle.sync_data().map_err(|e| fault("sync the log", &e))?;
        for folder in std::mem::take(&mut writer.fresh) {
            sync_dir(&folder).map_err(|e| fault("sync the log's folder", &e))?;
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        for number in 0.. {
            let path = bundle_path(&self.root, number);
            let act = format!("read {}", path.display());
            let bytes = match read_bounded(&path, BUNDLE_BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(fault(&act, &e)),
            };
            let last = !bundle_path(&self.root, number + 1).exists();
            let (entries, whole) = split(&bytes, last);
            let short = (entries.len() as u64) < BUNDLE_ENTRIES;
            if !last && (short || whole < bytes.len()) {
                let cause = format!("damaged at byte {whole}, and later bundles follow");
                return Err(Fault::new(Kind::Malformed, act, cause));
            }
            all.extend(entries);
            if last {
                break;
            }
        }
        Ok(all)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        put(&self.root, name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.root.join(confined(name)?);
        match read_bounded(&path, BLOB_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fault(&format!("read {}", path.display()), &e)),
        }
    }

    fn epoch(&self) -> Result<u64> {
        read_epoch(&self.root)
    }
}

impl Writer {
    fn open(root: &Path) -> Result<Writer> {
        let act = format!("open the state directory {}", root.display());
        for folder in ["log/tile/entries", "runs", "plans"] {
            make_dir(&root.join(folder)).map_err(|e| fault(&act, &e))?;
        }
        let lock = take_lock(root)?;
        let epoch = read_epoch(root)? + 1;
        put(root, "epoch", format!("{epoch}\n").as_bytes())?;
        let number = last_bundle(root);
        let path = bundle_path(root, number);
        let mut bundle = open_bundle(&path).map_err(|e| fault(&act, &e))?;
        let bytes = read_bounded(&path, BUNDLE_BYTES_MAX).map_err(|e| fault(&act, &e))?;
        let (entries, whole) = split(&bytes, true);
        let mended = (bytes.len() - whole) as u64;
        if mended > 0 {
            bundle.set_len(whole as u64).map_err(|e| fault(&act, &e))?;
            bundle.sync_data().map_err(|e| fault(&act, &e))?;
        }
        bundle.seek(SeekFrom::End(0)).map_err(|e| fault(&act, &e))?;
        let fresh = path.parent().map(Path::to_owned).into_iter().collect();
        let (entries, bytes) = (entries.len() as u64, whole as u64);
        Ok(Writer { _lock: lock, bundle, number, entries, bytes, fresh, mended })
    }

    /// One write a bundle touched. A write that fails half-way is cut off again, so that the next
    /// append does not follow a torn entry.
    fn append(&mut self, root: &Path, entries: &[Vec<u8>]) -> Result<()> {
        let act = "append to the log";
        let mut rest = entries;
        while !rest.is_empty() {
            if self.entries == BUNDLE_ENTRIES {
                self.next_bundle(root).map_err(|e| fault(act, &e))?;
            }
            let room = usize::try_from(BUNDLE_ENTRIES - self.entries).unwrap_or(0);
            let (now, later) = rest.split_at(rest.len().min(room));
            let mut bytes = Vec::new();
            for entry in now {
                let length = u16::try_from(entry.len()).ok().filter(|n| *n > 0);
                let length = length.ok_or_else(|| {
                    Fault::new(Kind::Invalid, act, format!("an entry of {} bytes", entry.len()))
                })?;
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(entry);
            }
            if let Err(error) = self.bundle.write_all(&bytes) {
                let _ = self.bundle.set_len(self.bytes);
                let _ = self.bundle.seek(SeekFrom::Start(self.bytes));
                return Err(fault(act, &error));
            }
            self.bytes += bytes.len() as u64;
            self.entries += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn next_bundle(&mut self, root: &Path) -> io::Result<()> {
        // The full one is durable before the next exists: a gap in the middle cannot arise.
        self.bundle.sync_data()?;
        let path = bundle_path(root, self.number + 1);
        if let Some(folder) = path.parent() {
            make_dir(folder)?;
            self.fresh.push(folder.to_owned());
        }
        self.bundle = open_bundle(&path)?;
        self.number += 1;
        (self.entries, self.bytes) = (0, 0);
        Ok(())
    }
}

/// Whole entries, and the byte at which they end. In the last bundle a final entry that is not JSON
/// is a torn one.
fn split(bytes: &[u8], last: bool) -> (Vec<Vec<u8>>, usize) {
    let mut entries: Vec<Vec<u8>> = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + 2) {
        let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
        let Some(entry) = bytes.get(at + 2..at + 2 + length) else { break };
        if length == 0 || entries.len() as u64 == BUNDLE_ENTRIES {
            break;
        }
        entries.push(entry.to_vec());
        at += 2 + length;
    }
    let torn = |entry: &Vec<u8>| serde_json::from_slice::<serde::de::IgnoredAny>(entry).is_err();
    while last && entries.last().is_some_and(torn) {
        at -= 2 + entries.pop().map_or(0, |entry| entry.len());
    }
    (entries, at)
}

fn bundle_path(root: &Path, number: u64) -> PathBuf {
    let mut name = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        name = format!("x{:03}/{name}", rest % 1000);
        rest /= 1000;
    }
    root.join("log/tile/entries").join(name)
}

fn last_bundle(root: &Path) -> u64 {
    (0..).find(|n| !bundle_path(root, n + 1).exists()).unwrap_or(0)
}

fn open_bundle(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

fn take_lock(root: &Path) -> Result<Flock<File>> {
    let path = root.join("lock");
    let act = format!("take the writer's lock {}", path.display());
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| fault(&act, &e))?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno != nix::errno::Errno::EWOULDBLOCK {
            return Fault::errno(act.clone(), errno as i32, None);
        }
        let holder = fs::read_to_string(&path).unwrap_or_default();
        let cause = format!("process {} is at work here", holder.trim());
        Fault::new(Kind::Busy, act.clone(), cause)
    })?;
    lock.set_len(0).map_err(|e| fault(&act, &e))?;
    write!(*lock, "{}", std::process::id()).map_err(|e| fault(&act, &e))?;
    Ok(lock)
}

fn holder(root: &Path) -> Result<Option<u32>> {
    let path = root.join("lock");
    let act = format!("see who holds {}", path.display());
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fault(&act, &e)),
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        // Nobody has it; ours is given back as it goes out of scope.
        Ok(_) => Ok(None),
        Err(_) => {
            let text = fs::read_to_string(&path).map_err(|e| fault(&act, &e))?;
            Ok(text.trim().parse().ok())
        }
    }
}

fn read_epoch(root: &Path) -> Result<u64> {
    let path = root.join("epoch");
    let act = format!("read {}", path.display());
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            Fault::new(Kind::Malformed, act, format!("`{}` is not a number", text.trim()))
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(fault(&act, &e)),
    }
}

/// Written aside, synced, renamed, and the name synced: whole or not at all.
fn put(root: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = root.join(confined(name)?);
    let act = format!("write {}", path.display());
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(root);
        make_dir(folder)?;
        let aside = path.with_extension(format!("new-{}", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)?;
        let done = file.write_all(bytes).and_then(|()| file.sync_data());
        if let Err(error) = done.and_then(|()| fs::rename(&aside, &path)) {
            let _ = fs::remove_file(&aside);
            return Err(error);
        }
        sync_dir(folder)
    };
    write().map_err(|e| fault(&act, &e))
}

/// A name below the root: plain components only.
fn confined(name: &str) -> Result<&Path> {
    let path = Path::new(name);
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    if plain && !name.is_empty() {
        return Ok(path);
    }
    Err(Fault::new(Kind::Invalid, format!("name the file {name:?}"), "not a plain relative name"))
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("larger than {most} bytes")));
    }
    Ok(bytes)
}

fn fault(act: &str, error: &io::Error) -> Fault {
    match error.raw_os_error() {
        Some(errno) => Fault::errno(act, errno, None),
        None => Fault::new(Kind::Io, act, error.to_string()),
    }
}
