//! Images, names and catalog entries that are refused: with exit 4 or 2, and nothing written. The machine
//! and the state directory are compared before and after, byte for byte.

// Files and keys are the tests' own; ssh-keygen makes the signatures.
#![allow(clippy::disallowed_methods)]

mod command;
#[path = "../approvals/keys.rs"]
mod keys;
mod table;

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path};

/// Every file below a directory: its inode, length, time of change and, where it is small, its bytes. A file
/// that was replaced by its like is seen too.
fn tree(folder: &Path) -> BTreeMap<String, (u64, u64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        let Ok(entries) = fs::read_dir(&at) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("its metadata");
            let small = metadata.is_file() && metadata.len() < 1 << 20;
            let bytes = if small { fs::read(&path).expect("its bytes") } else { Vec::new() };
            let name = path.display().to_string();
            // That it was refused is an entry.
            if name.ends_with("/state/log") || name.ends_with("/state/durable") {
                continue;
            }
            if metadata.is_dir() {
                folders.push(path);
            }
            let (inode, length) = (metadata.ino(), metadata.len());
            found.insert(name, (inode, length, metadata.mtime_nsec(), bytes));
        }
    }
    found
}
