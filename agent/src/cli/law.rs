//! The site's policies, configuration and calendars, from where they lie.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use playbooks::parse::Problem;
use policy::set::{Flaw, SOURCE_MAX};

use super::{Common, registry};
use crate::law::{Asker, GOOD, Law, Text, Texts};

/// Files of policies, or of calendars.
const FILES_MAX: usize = 64;
/// What is kept as good holds all of them.
const GOOD_MAX: usize = 2 * FILES_MAX * SOURCE_MAX;

/// The law of this host, for whoever runs this process. Nothing is parsed until it is asked.
pub(super) fn read(common: &Common) -> Law {
    let folder = common.config_dir.join("policy");
    let kept = bounded(&common.state_dir.join(GOOD), GOOD_MAX).ok().flatten();
    let good = kept.and_then(|bytes| Texts::kept(&bytes));
    // A folder of calendars that cannot be read takes the venues with it: none is then the site's own.
    let (calendars, unread) = match texts_of(&common.config_dir.join("calendars"), "yaml") {
        Ok(texts) => (by_venue(texts), None),
        Err(flaw) => (BTreeMap::new(), Some(flaw)),
    };
    let texts = match unread {
        Some(flaw) => Err(flaw),
        None => texts(&folder),
    };
    // With a doubt about one line nobody's signature counts; the reader has said where it is.
    let registry = registry::load(common).unwrap_or_default();
    Law::new(texts, good, calendars, registry, asker())
}

/// What a site has written in this folder.
pub(super) fn texts(folder: &Path) -> Result<Texts, Flaw> {
    let config = folder.join("config.yaml");
    let config = match bounded(&config, SOURCE_MAX) {
        Ok(Some(bytes)) => Some(text(&config, bytes)?),
        Ok(None) => None,
        Err(error) => return Err(unread(&config, &error.to_string())),
    };
    Ok(Texts { config, policies: texts_of(folder, "cedar")? })
}

/// A file that is named on the command line, or one of the site's.
pub(super) fn text_of(path: &Path) -> Result<Text, Flaw> {
    match bounded(path, SOURCE_MAX) {
        Ok(Some(bytes)) => text(path, bytes),
        Ok(None) => Err(unread(path, "there is no such file")),
        Err(error) => Err(unread(path, &error.to_string())),
    }
}

/// Every file of this kind in a folder, by name. No folder: no files.
fn texts_of(folder: &Path, extension: &str) -> Result<Vec<Text>, Flaw> {
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
    paths.iter().map(|path| text_of(path)).collect()
}

fn by_venue(texts: Vec<Text>) -> BTreeMap<String, Text> {
    let venue = |text: &Text| {
        let stem = Path::new(&text.file).file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    };
    texts.into_iter().map(|text| (venue(&text), text)).collect()
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<Text, Flaw> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Text { file: path.display().to_string(), text }),
        Err(_) => Err(unread(path, "not UTF-8")),
    }
}

/// A file's bytes; `None` where there is none. A larger one than that is an error.
fn bounded(path: &Path, most: usize) -> std::io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(std::io::Error::other(format!("larger than {} KiB", most / 1024)));
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
