//! The site's policies, configuration and calendars, from where they lie.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use playbooks::parse::Problem;
use policy::set::{Flaw, SOURCE_MAX};

use super::{Common, registry, trusted};
use crate::law::{Asker, GOOD, Kept, Law, Own, Text, Texts};

/// Files of policies, or of calendars.
const FILES_MAX: usize = 64;
/// What is kept as good holds all of them.
const GOOD_MAX: usize = 2 * FILES_MAX * SOURCE_MAX;

/// The law of this host, for whoever runs this process. Nothing is parsed until it is asked.
pub(super) fn read(common: &Common) -> Law {
    // With a doubt about one line nobody's signature counts; the reader has said where it is.
    let registry = registry::load(common).unwrap_or_default();
    let texts = texts(&common.config_dir.join("policy"), Readers::Trusting(&common.config_dir));
    Law::new(texts, kept(common), calendars(common), registry, asker())
}

/// What loaded last. A record that cannot be read is not the same as none.
fn kept(common: &Common) -> Result<Option<Kept>, Flaw> {
    let path = common.state_dir.join(GOOD);
    match bounded(&path, GOOD_MAX) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => Kept::read(&bytes).map(Some).map_err(|why| unread(&path, &why)),
        Err(why) => Err(unread(&path, &why)),
    }
}

/// The site's own calendars, by venue; each that cannot be read by itself is told of its own.
fn calendars(common: &Common) -> Own {
    let folder = common.config_dir.join("calendars");
    let readers = Readers::Trusting(&common.config_dir);
    let mut own = BTreeMap::new();
    for path in files_of(&folder, "yaml", readers)? {
        let venue = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        own.insert(venue, site_text(&path, readers));
    }
    Ok(own)
}

/// Whose files are read.
#[derive(Clone, Copy)]
pub(super) enum Readers<'a> {
    /// Those of the site that has its configuration here: nobody else may have written them.
    Trusting(&'a Path),
    /// Anybody's, to be tried.
    Trying,
}

/// What a site has written in this folder.
pub(super) fn texts(folder: &Path, readers: Readers<'_>) -> Result<Texts, Flaw> {
    let policies = files_of(folder, "cedar", readers)?;
    let config = folder.join("config.yaml");
    let config = match bytes(&config, readers).map_err(|why| unread(&config, &why))? {
        Some(bytes) => Some(text(&config, bytes)?),
        None => None,
    };
    let policies =
        policies.iter().map(|path| site_text(path, readers)).collect::<Result<_, _>>()?;
    Ok(Texts { config, policies })
}

/// A file that is named on the command line.
pub(super) fn text_of(path: &Path) -> Result<Text, Flaw> {
    site_text(path, Readers::Trying)
}

fn site_text(path: &Path, readers: Readers<'_>) -> Result<Text, Flaw> {
    match bytes(path, readers) {
        Ok(Some(bytes)) => text(path, bytes),
        Ok(None) => Err(unread(path, "there is no such file")),
        Err(why) => Err(unread(path, &why)),
    }
}

fn bytes(path: &Path, readers: Readers<'_>) -> Result<Option<Vec<u8>>, String> {
    match readers {
        Readers::Trusting(config) => trusted::read(path, &[config], SOURCE_MAX),
        Readers::Trying => bounded(path, SOURCE_MAX),
    }
}

/// Every file of this kind in a folder, by name. No folder: no files.
fn files_of(folder: &Path, extension: &str, readers: Readers<'_>) -> Result<Vec<PathBuf>, Flaw> {
    if let Readers::Trusting(config) = readers {
        for folder in [config, folder] {
            trusted::folder(folder).map_err(|why| unread(folder, &why))?;
        }
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unread(folder, &error.to_string())),
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unread(folder, &error.to_string()))?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|found| found == extension) && !hidden {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            return Err(unread(folder, &format!("more than {FILES_MAX} files")));
        }
    }
    paths.sort();
    Ok(paths)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<Text, Flaw> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Text { file: path.display().to_string(), text }),
        Err(_) => Err(unread(path, "not UTF-8")),
    }
}

/// A file's bytes; `None` where there is none. A larger one than that is an error.
fn bounded(path: &Path, most: usize) -> Result<Option<Vec<u8>>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    let read = file.take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() > most {
        return Err(format!("larger than {} KiB", most / 1024));
    }
    Ok(Some(bytes))
}

fn unread(path: &Path, why: &str) -> Flaw {
    let message = format!("cannot be read: {why}");
    let problem = Problem { line: 1, column: 1, width: 1, message, help: None };
    Flaw { file: path.display().to_string(), problem }
}

/// This process's user, and who logged in (proc_pid_loginuid(5); 4294967295: nobody).
fn asker() -> Asker {
    let login = std::fs::read_to_string("/proc/self/loginuid").ok();
    let login =
        login.and_then(|text| text.trim().parse::<u32>().ok()).filter(|uid| *uid != u32::MAX);
    Asker { uid: nix::unistd::getuid().as_raw(), login }
}
