//! `CONFIG/allowed_signers` and `CONFIG/revoked_keys`: whose signatures count.

use std::{
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use policy::sshsig::{FILE_BYTES_MAX, People, Problem, Revoked};

use super::{Common, out};
use crate::{
    approvals::Registry,
    law,
    runs::{Declined, Exit},
};

pub(super) fn signers(common: &Common) -> PathBuf {
    common.config_dir.join("allowed_signers")
}

/// The registry of people. Nobody is known where there is no file; a file with a doubt is an error, and
/// so is one that others than root, or whoever runs this, may write.
pub(super) fn load(common: &Common) -> Result<Registry, Declined> {
    let (people, revoked) = (signers(common), common.config_dir.join("revoked_keys"));
    let mut texts = Vec::new();
    let people = match read(&people)?.inspect(|text| texts.push(text.clone())) {
        None => People::default(),
        Some(text) => People::parse(&text).map_err(|problems| told(&people, &problems))?,
    };
    let revoked = match read(&revoked)?.inspect(|text| texts.push(text.clone())) {
        None => Revoked::default(),
        Some(text) => Revoked::parse(&text).map_err(|problems| told(&revoked, &problems))?,
    };
    let digest = (!texts.is_empty()).then(|| law::digest(texts.iter().map(Vec::as_slice)));
    Ok(Registry { people, revoked, digest })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Declined> {
    let failed = |why: String| {
        let why = format!("read {}: {why}", path.display());
        Declined::new(Exit::Failed, "registry", why)
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let mine = file.metadata().map_err(|error| failed(error.to_string()))?;
    trusted(&mine).map_err(failed)?;
    // Whoever may write in the folder can put another file in its place.
    let folder = path.parent().map(std::fs::metadata).transpose();
    if let Some(folder) = folder.map_err(|error| failed(error.to_string()))? {
        trusted(&folder).map_err(|why| failed(format!("its folder: {why}")))?;
    }
    let mut text = Vec::new();
    // One byte more than is taken, so that a larger file is seen to be one.
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|error| failed(error.to_string()))?;
    Ok(Some(text))
}

/// Written by nobody but root or whoever runs this.
fn trusted(found: &std::fs::Metadata) -> Result<(), String> {
    let (mode, owner) = (found.mode(), found.uid());
    if mode & 0o022 != 0 {
        let mode = mode & 0o777;
        return Err(format!("others than its owner may write it (mode {mode:o}); chmod go-w"));
    }
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(format!("uid {owner} owns it; it must be root's"));
    }
    Ok(())
}

fn told(path: &Path, problems: &[Problem]) -> Declined {
    for problem in problems {
        out::remark(&format!("error: {}:{problem}", path.display()));
    }
    let count = problems.len();
    let plural = if count == 1 { "error" } else { "errors" };
    let why = format!("{}: {count} {plural}; nobody's signature counts", path.display());
    Declined::new(Exit::Failed, "registry", why)
}
