//! The site's own catalog: `CONFIG/catalog/{models,firmware,issues}/*.yaml`, read within bounds.

use std::{
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use firmware_catalog::{
    Catalog, SOURCE_MAX,
    catalog::{BadFile, Part, SiteFile},
};

use super::{Common, out};
use crate::{
    inventory::hazard,
    runs::{Declined, Exit},
};

/// At most this many files in all folders together.
const FILES_MAX: usize = 256;
/// At most this many entries of a folder are looked at.
const ENTRIES_MAX: usize = 4096;

/// Where a site keeps its catalog.
pub(super) fn folder(common: &Common) -> PathBuf {
    common.config_dir.join("catalog")
}

/// The shipped catalog with the site's over it; from here on it also governs what is read. A site's
/// catalog with an error in it stops what would have gone by it: half of a table of hazards is none.
pub(super) fn catalog(common: &Common) -> Result<Catalog, Declined> {
    let catalog = load(&folder(common))?;
    hazard::adopt(&catalog);
    Ok(catalog)
}

/// Lets the site's catalog govern what is read. With an error in it the shipped one does, and that is
/// said: looking, and putting back what an earlier run changed, must not wait for its mending. Policies are
/// then told that nothing is known of any firmware.
pub(super) fn adopt(common: &Common) -> Option<Catalog> {
    match catalog(common) {
        Ok(catalog) => Some(catalog),
        Err(declined) => {
            out::remark(&format!("note      reads go by the shipped catalog alone: {declined}"));
            None
        }
    }
}

/// The shipped catalog with this folder's files over it. A folder that is not there is an empty one.
pub(super) fn load(folder: &Path) -> Result<Catalog, Declined> {
    let files = files(folder)?;
    if files.is_empty() {
        return Ok(Catalog::shipped());
    }
    Catalog::with_site(&files).map_err(|bad| {
        bad.iter().for_each(|file| show(file, &files));
        let count: usize = bad.iter().map(|file| file.problems.len()).sum();
        let first = bad.first().and_then(|file| file.problems.first().map(|p| (file, p)));
        let first = first.map_or_else(String::new, |(file, problem)| {
            format!("; the first: {}:{problem}", file.path)
        });
        let plural = if count == 1 { "error" } else { "errors" };
        wrong(format!("site catalog {}: {count} {plural}{first}", folder.display()))
    })
}

fn show(bad: &BadFile, files: &[SiteFile]) {
    let text = files.iter().find(|file| file.path == bad.path).map_or(&[][..], |f| &f.text);
    bad.problems.iter().for_each(|problem| out::remark(&problem.render(&bad.path, text)));
}

fn wrong(why: String) -> Declined {
    Declined::new(Exit::Wrong, "catalog", why)
}

/// Every file of the folder's three parts, by name.
pub(super) fn files(folder: &Path) -> Result<Vec<SiteFile>, Declined> {
    let mut files = Vec::new();
    for part in Part::ALL {
        let place = folder.join(part.folder());
        let entries = match std::fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(wrong(format!("list {}: {error}", place.display()))),
        };
        let mut names = Vec::new();
        for entry in entries.take(ENTRIES_MAX) {
            let entry =
                entry.map_err(|error| wrong(format!("list {}: {error}", place.display())))?;
            // Editors leave hidden files behind.
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".yaml") && !name.starts_with('.') {
                names.push(entry.path());
            }
        }
        names.sort();
        for path in names {
            if files.len() == FILES_MAX {
                let why = format!("site catalog {}: more than {FILES_MAX} files", folder.display());
                return Err(wrong(why));
            }
            let text =
                read(&path).map_err(|error| wrong(format!("read {}: {error}", path.display())))?;
            files.push(SiteFile { path: path.display().to_string(), part, text });
        }
    }
    Ok(files)
}

/// A regular file of at most the largest size and a byte, so that a larger one is seen to be.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    // A FIFO would keep us waiting for its writer.
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(SOURCE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
