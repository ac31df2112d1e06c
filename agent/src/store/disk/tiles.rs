//! The tree's tiles on disk, and the edge of the tree that they hold.
//!
//! C2SP tlog-tiles: `tile/<L>/<N>` holds up to 256 hashes; at level 0 of leaves, above of full tiles one
//! level below. The last tile of a level is partial; like the last bundle it is the beginning of the
//! file `<N>`, which grows in place, and a reader asked for `<N>.p/<W>` takes that many hashes of it.

use std::{
    collections::BTreeSet,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::file;
use crate::{
    fault::{Fault, Kind, Result},
    log::merkle::{self, Edge, Hash},
    store::bundle,
};

/// Hashes in a full tile.
pub(crate) const WIDTH: usize = 256;
const TILE_BYTES: usize = WIDTH * 32;
/// 256^8 entries are more than 2^63.
const LEVELS_MAX: usize = 8;

/// The last tile of each level, in memory, and what of it is on disk.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    log: PathBuf,
    levels: Vec<Level>,
    edge: Edge,
    /// Files written since they were last made durable.
    dirty: BTreeSet<PathBuf>,
    /// The file written to last: nearly always the same tile of leaves.
    open: Option<(PathBuf, File)>,
}

#[derive(Debug, Default)]
struct Level {
    /// Which tile is the last one.
    n: u64,
    hashes: Vec<Hash>,
    /// How many of them are written.
    written: usize,
    /// A full tile that is not written yet, for want of space.
    owed: Vec<(u64, Vec<Hash>)>,
}

impl Tiles {
    /// A tree without leaves; nothing is written.
    pub(super) fn empty(log: &Path) -> Tiles {
        Tiles { log: log.to_owned(), ..Tiles::default() }
    }

    /// The tree of `size` leaves as its tiles have it. Only what the root needs is read.
    ///
    /// # Errors
    /// `Malformed` where a tile is missing or too short.
    pub(super) fn load(log: &Path, size: u64) -> Result<Tiles> {
        let mut tiles = Tiles::empty(log);
        let mut count = size;
        while count > 0 && tiles.levels.len() < LEVELS_MAX {
            let (n, width) = (count / WIDTH as u64, (count % WIDTH as u64) as usize);
            let hashes = read(log, tiles.levels.len(), n, width)?;
            tiles.levels.push(Level { n, written: width, hashes, owed: Vec::new() });
            count = n;
        }
        // The largest subtrees first.
        for (level, tile) in tiles.levels.iter().enumerate().rev() {
            for hash in &tile.hashes {
                tiles.edge.push_subtree(*hash, 1 << (8 * level));
            }
        }
        Ok(tiles)
    }

    pub(super) fn size(&self) -> u64 {
        self.edge.size()
    }

    pub(super) fn root(&self) -> Hash {
        self.edge.root()
    }

    /// The leaves of the last tile, if it is partial.
    pub(super) fn last_leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], |level| &level.hashes)
    }

    /// Adds a leaf; see [`Tiles::write`].
    pub(super) fn push(&mut self, leaf: Hash) {
        self.edge.push(leaf);
        let mut hash = leaf;
        for level in 0..LEVELS_MAX {
            if self.levels.len() == level {
                self.levels.push(Level::default());
            }
            let tile = &mut self.levels[level];
            tile.hashes.push(hash);
            if tile.hashes.len() < WIDTH {
                return;
            }
            hash = merkle::root(&tile.hashes);
            let full = std::mem::take(&mut tile.hashes);
            tile.owed.push((tile.n, full));
            (tile.n, tile.written) = (tile.n + 1, 0);
        }
    }

    /// Writes what is not on disk yet; not durable before [`Tiles::sync`]. What fails is tried again the
    /// next time.
    pub(super) fn write(&mut self) -> Result<()> {
        for (level, tile) in self.levels.iter_mut().enumerate() {
            while let Some((n, hashes)) = tile.owed.first() {
                let files = (&mut self.dirty, &mut self.open);
                put(&self.log, files, (level, *n), 0, hashes)?;
                tile.owed.remove(0);
            }
            if tile.written < tile.hashes.len() {
                let fresh = &tile.hashes[tile.written..];
                let files = (&mut self.dirty, &mut self.open);
                put(&self.log, files, (level, tile.n), tile.written, fresh)?;
                tile.written = tile.hashes.len();
            }
        }
        Ok(())
    }

    /// Makes everything written durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        while let Some(path) = self.dirty.first() {
            let (opened, _) = file::open(path)?;
            opened
                .sync_data()
                .map_err(|error| file::fault(format!("sync {}", path.display()), &error))?;
            file::sync_parent(path)?;
            self.dirty.pop_first();
        }
        Ok(())
    }

    /// Makes the files what this tree has: longer ones are cut, wrong ones written anew. Gives the names
    /// of those that were wrong. Only the last tile of each level is looked at.
    pub(super) fn mend(&mut self) -> Result<Vec<String>> {
        self.write()?;
        // Another file may take its place.
        self.open = None;
        let mut mended = Vec::new();
        for (level, tile) in self.levels.iter().enumerate() {
            let name = path(level, tile.n);
            let wanted = bytes(&tile.hashes);
            let found = file::read(&self.log.join(&name), TILE_BYTES as u64 + 1);
            let found = found.unwrap_or(None).unwrap_or_default();
            if found != wanted {
                file::replace(&self.log.join(&name), &wanted)?;
                mended.push(name);
            }
        }
        Ok(mended)
    }
}

/// `tile/1/x001/234`
pub(crate) fn path(level: usize, n: u64) -> String {
    bundle::path(n).replacen("entries", &level.to_string(), 1)
}

fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

fn put(
    log: &Path,
    (dirty, open): (&mut BTreeSet<PathBuf>, &mut Option<(PathBuf, File)>),
    (level, n): (usize, u64),
    at: usize,
    hashes: &[Hash],
) -> Result<()> {
    let path = log.join(path(level, n));
    if at == 0
        && let Some(parent) = path.parent()
    {
        file::directory(parent)?;
    }
    let opened = match open.take().filter(|(known, _)| *known == path) {
        Some((_, file)) => file,
        None => file::open(&path)?.0,
    };
    // A new tile begins a file; whatever was there under its name goes.
    let emptied = if at == 0 { opened.set_len(0) } else { Ok(()) };
    emptied
        .and_then(|()| opened.write_all_at(&bytes(hashes), at as u64 * 32))
        .map_err(|error| file::fault(format!("write {}", path.display()), &error))?;
    dirty.insert(path.clone());
    *open = Some((path, opened));
    Ok(())
}

/// The first `width` hashes of a tile.
fn read(log: &Path, level: usize, n: u64, width: usize) -> Result<Vec<Hash>> {
    if width == 0 {
        return Ok(Vec::new());
    }
    let path = log.join(path(level, n));
    let bytes = file::read(&path, TILE_BYTES as u64)?.unwrap_or_default();
    let hashes: Vec<Hash> = bytes.as_chunks::<32>().0.iter().take(width).copied().collect();
    if hashes.len() < width {
        let cause = format!("{} hashes, {width} are needed", hashes.len());
        return Err(Fault::new(Kind::Malformed, format!("read {}", path.display()), cause));
    }
    Ok(hashes)
}
