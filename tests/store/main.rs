//! The state directory on a real file system, and its simulated twin.
#![allow(clippy::disallowed_methods, reason = "the store is tried on real files")]

mod blobs;
mod full;
mod log;
mod simulated;
mod spool;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use agent::store::{
    Store,
    disk::{Access, Disk},
};

/// A directory of one test's own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nicmend-store-{}-{n}", std::process::id()));
        Scratch(path)
    }

    fn write(&self) -> Disk {
        Disk::open(&self.0, Access::Write).unwrap_or_else(|fault| panic!("{fault}"))
    }

    fn read(&self) -> Disk {
        Disk::open(&self.0, Access::Read).unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Bundle `n` of the log, for small `n`.
    fn bundle(&self, n: u32) -> PathBuf {
        self.0.join(format!("log/tile/entries/{n:03}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Entry number `n`, of a length that differs from its neighbours'.
fn entry(n: usize) -> Vec<u8> {
    format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(n * 7 % 40)).into_bytes()
}

fn entries(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(entry).collect()
}

fn append(store: &impl Store, range: std::ops::Range<usize>) {
    store.append(&entries(range)).unwrap();
    store.sync().unwrap();
}

/// Every file below, with its bytes.
fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let Ok(directory) = std::fs::read_dir(path) else { return all };
    for entry in directory {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}
