//! A log's files, to read only: where it is written, and where parts of it were moved to.
#![allow(clippy::disallowed_methods, reason = "lists and reads the log's directories")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    bundle,
    disk::{file, tiles},
};
use crate::fault::{Fault, Kind, Result};

/// A log has a file for every 256 entries and a few more; this is a hundred million entries.
const FILES_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 16;

/// What a file of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The newest checkpoint.
    Checkpoint,
    /// Those made durable, one after the other.
    Checkpoints,
    Entries(u64),
    Tile(usize, u64),
}

impl Part {
    /// Its name below the log's directory.
    pub fn name(self) -> String {
        match self {
            Part::Checkpoint => "checkpoint".to_owned(),
            Part::Checkpoints => "checkpoints".to_owned(),
            Part::Entries(n) => bundle::path(n),
            Part::Tile(level, n) => tiles::path(level, n),
        }
    }

    fn parse(name: &str) -> Option<Part> {
        match name {
            "checkpoint" => return Some(Part::Checkpoint),
            "checkpoints" => return Some(Part::Checkpoints),
            _ => {}
        }
        let (kind, rest) = name.strip_prefix("tile/")?.split_once('/')?;
        let digits = rest.split('/').map(|group| group.strip_prefix('x').unwrap_or(group));
        let n = digits.collect::<String>().parse().ok()?;
        let part = match kind {
            "entries" => Part::Entries(n),
            level => Part::Tile(level.parse().ok()?, n),
        };
        // One name a file: `tile/00/000` and `tile/0/x000/000` are nobody's.
        (part.name() == name).then_some(part)
    }
}

/// The files of a log.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// The log's own directory first.
    places: Vec<PathBuf>,
}

/// What lies on it.
#[derive(Debug, Default)]
pub struct Listed {
    /// Each with the places that have it.
    pub parts: BTreeMap<Part, Vec<usize>>,
    /// What is no part of a log, with the reason.
    pub strangers: Vec<(PathBuf, &'static str)>,
}

impl Shelf {
    pub fn new(log: &Path, stores: &[PathBuf]) -> Shelf {
        let places = std::iter::once(log.to_owned()).chain(stores.iter().cloned()).collect();
        Shelf { places }
    }

    /// Everything in every place.
    pub fn list(&self) -> Result<Listed> {
        let mut listed = Listed::default();
        for (nth, place) in self.places.iter().enumerate() {
            walk(place, "", DEPTH_MAX, &mut |name, kind| {
                let part = Part::parse(name).filter(|_| kind.is_file());
                match part {
                    Some(part) => listed.parts.entry(part).or_default().push(nth),
                    None => {
                        let why = if kind.is_file() { "not a file of a log" } else { "not a file" };
                        listed.strangers.push((place.join(name), why));
                    }
                }
                listed.parts.len() + listed.strangers.len() <= FILES_MAX
            })?;
        }
        Ok(listed)
    }

    /// A file, from the first place that has it; `None` where none has. A link is not followed: it is no
    /// file of the log.
    pub fn read(&self, part: Part, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        for nth in 0..self.places.len() {
            if let Some(bytes) = self.read_at(nth, part, bytes_max)? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The same file of one place.
    pub fn read_at(&self, nth: usize, part: Part, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let Some(place) = self.places.get(nth) else { return Ok(None) };
        let path = place.join(part.name());
        match path.symlink_metadata() {
            Ok(metadata) if !metadata.is_file() => Ok(None),
            Ok(_) | Err(_) => file::read(&path, bytes_max),
        }
    }
}

/// Calls `found` with the name of everything below that is no directory, until it says no.
fn walk(
    place: &Path,
    below: &str,
    depth: usize,
    found: &mut dyn FnMut(&str, fs::FileType) -> bool,
) -> Result<()> {
    let directory = place.join(below);
    let act = || format!("list {}", directory.display());
    let fault = |error: std::io::Error| file::fault(act(), &error);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && below.is_empty() => {
            return Ok(());
        }
        Err(error) => return Err(fault(error)),
    };
    for entry in entries {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type().map_err(fault)?;
        if kind.is_dir() {
            if depth == 0 {
                return Err(Fault::new(Kind::Malformed, act(), "directories too deep for a log"));
            }
            walk(place, &name, depth - 1, found)?;
        } else if !found(&name, kind) {
            return Err(Fault::new(Kind::Malformed, act(), "more than a million files"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Part;

    #[test]
    fn every_part_has_one_name() {
        for part in [
            Part::Checkpoint,
            Part::Checkpoints,
            Part::Entries(0),
            Part::Entries(1_234_067),
            Part::Tile(0, 999),
            Part::Tile(2, 1000),
        ] {
            assert_eq!(Part::parse(&part.name()), Some(part));
        }
        for bad in [
            "",
            "tile/entries/0",
            "tile/entries/x000/000",
            "tile/00/000",
            "tile/0/000.p/3",
            "other",
        ] {
            assert_eq!(Part::parse(bad), None, "{bad}");
        }
    }
}
