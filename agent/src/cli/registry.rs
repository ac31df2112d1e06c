//! `CONFIG/allowed_signers` and `CONFIG/revoked_keys`: whose signatures count.

use std::path::{Path, PathBuf};

use policy::sshsig::{FILE_BYTES_MAX, People, Problem, Revoked};

use super::{Common, out, trusted};
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
    trusted::read(path, &[], FILE_BYTES_MAX).map_err(|why| {
        let why = format!("read {}: {why}", path.display());
        Declined::new(Exit::Failed, "registry", why)
    })
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
