//! Deeds that wait to be entered in the log: `STATE/spool`, a file each (see `log/deed.rs`).
//!
//! Written durably by whoever did them, without the writer's lock; taken away by the writer once their
//! entries are durable. What is no deed is put aside, into `STATE/spool-refused`, and named in the log.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::file;
use crate::{
    fault::{Fault, Kind, Result},
    log::deed::{DEED_BYTES_MAX, Deed},
    store::{Fate, Handed},
};

/// Deeds that may wait at a time; a run lasts hours, and people are few.
pub const WAITING_MAX: usize = 256;
/// Names that are looked at; whoever puts more there is no operator.
const NAMES_MAX: usize = 4096;
/// Files put aside that are kept; of one more only its name and digest are, in the log.
const ASIDE_MAX: usize = 64;

fn folder(state: &Path) -> PathBuf {
    state.join("spool")
}

fn aside(state: &Path) -> PathBuf {
    state.join("spool-refused")
}

/// Writes a deed down; durable when this returns.
pub(super) fn hand(state: &Path, deed: &Deed) -> Result<()> {
    let act = "hand a deed over to the log's writer";
    let bytes = deed.encode().map_err(|why| Fault::new(Kind::Invalid, act, why))?;
    file::directory(state)?;
    file::own(state)?;
    let folder = folder(state);
    file::directory(&folder)?;
    file::own(&folder)?;
    if names(&folder)?.len() >= WAITING_MAX {
        let cause = format!("{WAITING_MAX} wait in {} already", folder.display());
        return Err(Fault::new(Kind::Busy, act, cause));
    }
    file::replace(&folder.join(deed.name(&bytes)), &bytes)
}

/// What waits, the oldest first; at most so many.
pub(super) fn list(state: &Path) -> Result<Vec<Handed>> {
    let folder = folder(state);
    let names = names(&folder)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    file::own(&folder)?;
    let handed = |name: String| {
        let found = read(&folder.join(&name));
        Handed { name, found }
    };
    Ok(names.into_iter().take(WAITING_MAX).map(handed).collect())
}

fn read(path: &Path) -> std::result::Result<Vec<u8>, String> {
    let metadata = path.symlink_metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("no regular file".to_owned());
    }
    let found = file::read(path, DEED_BYTES_MAX as u64).map_err(|fault| fault.cause)?;
    found.ok_or_else(|| "it went away".to_owned())
}

/// Takes one away.
pub(super) fn settle(state: &Path, name: &str, fate: Fate) -> Result<()> {
    let path = folder(state).join(name);
    match fate {
        Fate::Entered => file::remove(&path),
        Fate::Refused => put_aside(state, &path, name),
    }
}

fn put_aside(state: &Path, path: &Path, name: &str) -> Result<()> {
    let aside = aside(state);
    file::directory(&aside)?;
    let room = names(&aside)?.len() < ASIDE_MAX;
    let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if !room && !is_folder {
        return file::remove(path);
    }
    let to = aside.join(name);
    fs::rename(path, &to).map_err(|error| {
        file::fault(format!("put {} aside as {}", path.display(), to.display()), &error)
    })?;
    file::sync_parent(&to)?;
    file::sync_parent(path)
}

/// The names in a directory, sorted; none where it is not there. Those that are being written begin with a dot.
fn names(folder: &Path) -> Result<Vec<String>> {
    let act = || format!("list {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file::fault(act(), &error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(NAMES_MAX) {
        let name = entry.map_err(|error| file::fault(act(), &error))?.file_name();
        // A name that is no text could not be named in the log, nor be a deed's.
        if let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
