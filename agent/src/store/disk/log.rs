//! The log's files: finding the end, appending there, and what a crash left after it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{Torn, file};
use crate::{
    fault::{Fault, Kind, Result},
    store::bundle::{self, Damaged, ENTRIES, Scan},
};

/// A full bundle of the longest entries.
const BUNDLE_BYTES_MAX: u64 = (ENTRIES * (bundle::ENTRY_BYTES_MAX + 2)) as u64;
const MARK_BYTES_MAX: u64 = 64;
const STORES_BYTES_MAX: u64 = 1 << 16;

/// The end of the log, as the writer keeps it.
#[derive(Debug)]
pub(super) struct Log {
    state: PathBuf,
    /// Where full bundles may have been moved to.
    stores: Vec<PathBuf>,
    /// The last bundle, its whole entries and their bytes.
    last: u64,
    count: usize,
    whole: u64,
    /// How many entries and bytes of the last bundle are durable.
    durable: (usize, u64),
    torn: Option<Torn>,
    /// The last bundle's file, once written to.
    open: Option<File>,
    /// The file `durable`, once written to.
    noted: Option<File>,
    /// The file is new, and its name is not durable yet.
    unnamed: bool,
    /// Bytes may stand after the whole entries.
    to_cut: bool,
    damage: Option<Fault>,
}

impl Log {
    /// For a reader: the end as it is now.
    pub(super) fn reading(state: &Path) -> Result<Log> {
        let mut log = Log {
            state: state.to_path_buf(),
            stores: stores(state)?,
            last: 0,
            count: 0,
            whole: 0,
            durable: (0, 0),
            torn: None,
            open: None,
            noted: None,
            unnamed: false,
            to_cut: false,
            damage: None,
        };
        log.last = log.highest()?.unwrap_or(0);
        match log.scan(log.last) {
            Ok((scan, length)) => log.ends(&scan, length),
            // Damage is told to whoever reads or appends; the rest of the state is still of use.
            Err(fault) if fault.kind == Kind::Malformed => log.damage = Some(fault),
            Err(fault) => return Err(fault),
        }
        Ok(log)
    }

    /// The highest bundle that is anywhere: where all full ones were moved, it is in a store.
    fn highest(&self) -> Result<Option<u64>> {
        let mut highest = last_bundle(&self.state.join("log/tile/entries"), 0)?;
        for store in &self.stores {
            // A store that is not there has none to show; what is missing then is found by what was signed.
            highest = highest.max(last_bundle(&store.join("tile/entries"), 0).unwrap_or(None));
        }
        Ok(highest)
    }

    fn ends(&mut self, scan: &Scan, length: u64) {
        (self.count, self.whole) = (scan.entries.len(), scan.whole as u64);
        if self.is_elsewhere(self.last) {
            // Nothing in a store is ever written to: the next entry begins a bundle of the log's own.
            self.durable = (self.count, self.whole);
            if self.count < ENTRIES || scan.tear.is_some() {
                let act = format!("read {}", self.path(self.last).display());
                let cause = "it was moved to a store, and is not full";
                self.damage = Some(Fault::new(Kind::Malformed, act, cause));
            }
            return;
        }
        // A writer that was killed before its sync has left entries that are there and not durable yet;
        // the next sync makes them so.
        let (bundle, bytes) = self.marked();
        let bytes = if bundle == self.last { bytes.min(self.whole) } else { 0 };
        let mut at = 0;
        let before = scan.entries.iter().take_while(|entry| {
            at += bundle::encoded_bytes(entry) as u64;
            at <= bytes
        });
        self.durable = (before.count(), bytes);
        self.unnamed = bytes == 0 && length > 0;
        let torn =
            |why| Torn { bundle: self.last, at: self.whole, bytes: length - self.whole, why };
        self.torn = scan.tear.map(torn);
        self.to_cut = self.torn.is_some();
    }

    /// For the writer: makes the directories, too.
    pub(super) fn writing(state: &Path) -> Result<Log> {
        let log = Log::reading(state)?;
        if let Some(parent) = log.own(log.last).parent() {
            file::directory(parent)?;
        }
        Ok(log)
    }

    /// More was signed than is there: nothing is appended where signed entries have their place.
    pub(super) fn lacks(&mut self, signed: u64) {
        if signed > self.size() && self.damage.is_none() {
            let cause = format!(
                "{signed} entries were signed, {} are there; if bundles were moved, name their directory in {} \
                 and mount it",
                self.size(),
                self.state.join("stores").display()
            );
            self.damage = Some(Fault::new(Kind::Malformed, "read the log", cause));
        }
    }

    /// Entries that are there, durable or not.
    pub(super) fn size(&self) -> u64 {
        self.last * ENTRIES as u64 + self.count as u64
    }

    /// The same; an error where the log is damaged.
    pub(super) fn counted(&self) -> Result<u64> {
        match &self.damage {
            Some(damage) => Err(damage.clone().during("read the log")),
            None => Ok(self.size()),
        }
    }

    /// Entries that are durable.
    pub(super) fn durable_size(&self) -> u64 {
        self.last * ENTRIES as u64 + self.durable.0 as u64
    }

    pub(super) fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// Adds entries with one write a bundle; all of them, or none.
    pub(super) fn append(&mut self, entries: &[Vec<u8>]) -> Result<()> {
        let act = "append to the log";
        if let Some(damage) = &self.damage {
            return Err(damage.clone().during(act));
        }
        if let Some(bad) = entries.iter().find(|entry| !bundle::fits(entry)) {
            let cause = format!("an entry of {} bytes is too long or no JSON text", bad.len());
            return Err(Fault::new(Kind::Invalid, act, cause));
        }
        let start = (self.last, self.count, self.whole, self.durable);
        self.write_all(entries).map_err(|fault| {
            self.roll_back(start);
            fault.during(act)
        })
    }

    fn write_all(&mut self, entries: &[Vec<u8>]) -> Result<()> {
        let mut rest = entries;
        while !rest.is_empty() {
            if self.count == ENTRIES {
                self.next_bundle()?;
            }
            let (now, later) = rest.split_at(rest.len().min(ENTRIES - self.count));
            self.write(now)?;
            rest = later;
        }
        Ok(())
    }

    /// One write at the end of the last bundle.
    fn write(&mut self, entries: &[Vec<u8>]) -> Result<()> {
        let bytes = bundle::encode(entries);
        let path = self.own(self.last);
        let whole = self.whole;
        let file = self.ready()?;
        let written = file
            .write_all_at(&bytes, whole)
            .map_err(|error| file::fault(format!("write {}", path.display()), &error));
        // Part of it may stand there.
        self.to_cut = written.is_err();
        written?;
        self.count += entries.len();
        self.whole += bytes.len() as u64;
        Ok(())
    }

    /// Back to where a batch began, over a bundle's end if need be. What cannot be cut off now is cut
    /// off before the next entry.
    fn roll_back(&mut self, start: (u64, usize, u64, (usize, u64))) {
        if self.last != start.0 {
            let begun = self.own(self.last);
            if self.exists(self.last).unwrap_or(true) && fs::remove_file(begun).is_err() {
                // The bundle before has to stay full then: the batch is there in part.
                return;
            }
            (self.open, self.unnamed) = (None, false);
        }
        (self.last, self.count, self.whole, self.durable) = start;
        self.mark();
        self.to_cut = true;
        let _ = self.ready();
    }

    /// The last bundle's file, without what a crash or a full disk left after its whole entries.
    fn ready(&mut self) -> Result<&File> {
        let path = self.own(self.last);
        let file = match self.open.take() {
            Some(file) => file,
            None => {
                if let Some(parent) = path.parent() {
                    file::directory(parent)?;
                }
                let (opened, new) = file::open(&path)?;
                self.unnamed |= new;
                opened
            }
        };
        let file = self.open.insert(file);
        if self.to_cut {
            if let Some(torn) = self.torn.take().filter(|torn| torn.at == self.whole) {
                keep_torn(&self.state, file, torn);
            }
            file.set_len(self.whole).map_err(|error| {
                file::fault(format!("cut the torn end of {}", path.display()), &error)
            })?;
            self.to_cut = false;
        }
        Ok(file)
    }

    /// Makes the full bundle durable before the next one exists: only the last file can be torn.
    fn next_bundle(&mut self) -> Result<()> {
        self.sync()?;
        self.last += 1;
        (self.count, self.whole, self.durable) = (0, 0, (0, 0));
        (self.open, self.unnamed, self.to_cut) = (None, false, false);
        Ok(())
    }

    /// One fdatasync, and one fsync of the directory where the file is new.
    pub(super) fn sync(&mut self) -> Result<()> {
        if self.durable == (self.count, self.whole) && !self.unnamed && !self.to_cut {
            return Ok(());
        }
        let act = "sync the log";
        if let Some(damage) = &self.damage {
            return Err(damage.clone().during(act));
        }
        let path = self.own(self.last);
        let synced = self.ready()?.sync_data();
        let synced = synced.map_err(|error| file::fault(act, &error));
        let synced = synced.and_then(|()| match self.unnamed {
            true => file::sync_parent(&path),
            false => Ok(()),
        });
        if let Err(fault) = synced {
            // After a failed fsync the kernel may drop the pages and call them clean: what was not
            // durable before must not be counted as there.
            (self.count, self.whole) = self.durable;
            self.to_cut = true;
            let _ = self.ready();
            return Err(fault);
        }
        self.unnamed = false;
        self.durable = (self.count, self.whole);
        self.mark();
        Ok(())
    }

    /// Notes how far the log is durable. Never synced, so at worst too low.
    fn mark(&mut self) {
        if self.noted.is_none() {
            self.noted = file::open(&self.state.join("durable")).ok().map(|(file, _)| file);
        }
        // 20 digits each, overwritten in place: no space needed, and no length in between.
        let text = format!("{:020} {:020}\n", self.last, self.durable.1);
        if let Some(file) = &self.noted {
            let _ = file.write_all_at(text.as_bytes(), 0);
        }
    }

    /// Every whole entry; damage anywhere is an error.
    pub(super) fn entries(&self) -> Result<Vec<Vec<u8>>> {
        self.entries_from(0)
    }

    /// The same from entry `from` on, the first of a bundle.
    pub(super) fn entries_from(&self, from: u64) -> Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        let mut n = from / ENTRIES as u64;
        // What the writer has begun since this was opened counts, too.
        let last = self.highest()?.unwrap_or(0);
        while n <= last || self.exists(n)? {
            let (scan, _) = self.scan(n).map_err(|fault| fault.during("read the log"))?;
            let full = scan.entries.len() == ENTRIES && scan.tear.is_none();
            if !full && n < last {
                let cause = match self.exists(n)? {
                    true => format!("bundle {n} is not full, and there is one after it"),
                    false => format!(
                        "bundle {n} is missing; if it was moved, name its directory in {}",
                        self.state.join("stores").display()
                    ),
                };
                return Err(Fault::new(Kind::Malformed, "read the log", cause));
            }
            all.extend(scan.entries);
            n += 1;
        }
        Ok(all)
    }

    /// Every entry after the last place at which the log cannot be read, and the first one's number; for who
    /// puts runs back. Nothing where it is not even known how the log ends.
    pub(super) fn readable(&self) -> (u64, Vec<Vec<u8>>) {
        let Ok(highest) = self.highest() else { return (0, Vec::new()) };
        let (mut blocks, mut from) = (Vec::new(), 0);
        let last = highest.unwrap_or(0);
        for n in (0..=last).rev() {
            let frames = match file::read(&self.path(n), BUNDLE_BYTES_MAX + 1) {
                Ok(Some(bytes)) => bundle::frames(&bytes),
                Ok(None) | Err(_) => None,
            };
            match frames.filter(|frames| n == last || frames.len() == ENTRIES) {
                Some(frames) => blocks.push(frames),
                None => {
                    from = (n + 1) * ENTRIES as u64;
                    break;
                }
            }
        }
        (from, blocks.into_iter().rev().flatten().collect())
    }

    /// Where a bundle is, or would be: in the log's own directory, unless it was moved to a store.
    fn path(&self, bundle: u64) -> PathBuf {
        let own = self.own(bundle);
        match own.symlink_metadata() {
            Ok(_) => own,
            Err(_) => self.moved(&bundle::path(bundle)).unwrap_or(own),
        }
    }

    fn own(&self, bundle: u64) -> PathBuf {
        self.state.join("log").join(bundle::path(bundle))
    }

    fn is_elsewhere(&self, bundle: u64) -> bool {
        self.path(bundle) != self.own(bundle)
    }

    /// Only full bundles can have been moved; the last one is always the log's own.
    fn moved(&self, name: &str) -> Option<PathBuf> {
        let places = self.stores.iter().map(|store| store.join(name));
        places.into_iter().find(|path| path.symlink_metadata().is_ok())
    }

    fn exists(&self, bundle: u64) -> Result<bool> {
        let path = self.path(bundle);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(file::fault(format!("look for {}", path.display()), &error)),
        }
    }

    /// Reads one bundle; gives its length in bytes, too. A missing one is empty.
    fn scan(&self, n: u64) -> Result<(Scan, u64)> {
        let path = self.path(n);
        let (marked, bytes) = self.marked();
        let durable = match n.cmp(&marked) {
            // A bundle that has another after it was full and durable.
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(bytes),
            std::cmp::Ordering::Greater => Some(0),
        };
        // One byte over: what follows a full bundle is seen, and memory is bounded.
        let read = file::read(&path, BUNDLE_BYTES_MAX + 1)?.unwrap_or_default();
        let durable = durable.map_or(read.len(), |d| usize::try_from(d).unwrap_or(usize::MAX));
        let scan = bundle::scan(&read, durable).map_err(|Damaged { at }| {
            let act = format!("read {}", path.display());
            Fault::new(Kind::Malformed, act, format!("damaged at byte {at}"))
        })?;
        Ok((scan, read.len() as u64))
    }

    /// How far the log is known to be durable; nothing where that is not known.
    fn marked(&self) -> (u64, u64) {
        let text = file::read(&self.state.join("durable"), MARK_BYTES_MAX).ok().flatten();
        let text = text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(bundle), Some(bytes)) => (bundle, bytes),
            (_, _) => (0, 0),
        }
    }
}

/// The directories that STATE/stores names, one a line: each laid out as the log's own.
pub(crate) fn stores(state: &Path) -> Result<Vec<PathBuf>> {
    let text = file::read(&state.join("stores"), STORES_BYTES_MAX)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(PathBuf::from).collect())
}

/// The highest number of a bundle below this directory, whose names begin with these digits.
fn last_bundle(directory: &Path, prefix: u64) -> Result<Option<u64>> {
    let act = || format!("list {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file::fault(act(), &error)),
    };
    let mut last = None;
    for entry in entries {
        let name = entry.map_err(|error| file::fault(act(), &error))?.file_name();
        let name = name.to_string_lossy();
        let digits = name.strip_prefix('x').unwrap_or(&name);
        let number = digits.parse::<u64>().ok().filter(|n| *n < 1000 && digits.len() == 3);
        // Anything else is nobody's bundle: `audit verify` names it.
        let Some(n) = number.map(|n| prefix.saturating_mul(1000) + n) else { continue };
        let found = match name.starts_with('x') {
            true => last_bundle(&directory.join(&*name), n)?,
            false => Some(n),
        };
        last = last.max(found);
    }
    Ok(last)
}

/// Keeps what a crash left, for whoever wants to know. There may be no space for it.
fn keep_torn(state: &Path, file: &File, torn: Torn) {
    let mut bytes = vec![0; usize::try_from(torn.bytes).unwrap_or(0)];
    if file.read_exact_at(&mut bytes, torn.at).is_ok() {
        let name = format!("torn/{}-{}", torn.bundle, torn.at);
        let _ = file::replace(&state.join(name), &bytes);
    }
}
