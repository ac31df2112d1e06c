//! Files of the site's that decide who may do what: read only where nobody but root, or whoever runs this, can
//! have written them.

use std::{
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// A file's bytes; `None` where there is none. It must be a regular file of at most `most` bytes, and it, the
/// folder that it lies in and `folders` must be root's (or whoever runs this) and writable by nobody else:
/// whoever may write in a folder can put another file in its place.
pub(super) fn read(path: &Path, folders: &[&Path], most: usize) -> Result<Option<Vec<u8>>, String> {
    // A FIFO would keep whoever opens it waiting for a writer.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return gone(path),
        Err(error) => return Err(error.to_string()),
    };
    let found = file.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is no regular file".to_owned());
    }
    trusted(&found)?;
    // A link is as good as what it points to, and that as good as its folder.
    let real = std::fs::canonicalize(path).map_err(|error| error.to_string())?;
    for folder in path.parent().into_iter().chain(real.parent()) {
        self::folder(folder).map_err(|why| format!("its folder: {why}"))?;
    }
    folders.iter().try_for_each(|named| folder_of(named))?;
    let mut bytes = Vec::new();
    // One byte more than is taken, so that a larger file is seen to be one.
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > most {
        return Err(format!("larger than {} KiB", most / 1024));
    }
    Ok(Some(bytes))
}

/// A link that leads nowhere is no file that is not there: somebody meant one.
fn gone(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err("it is a link to a file that is not there".to_owned()),
        Err(_) => Ok(None),
    }
}

/// Whether nobody else may put files into this folder, where there is one.
///
/// # Errors
/// Who may, or why nobody knows.
pub(super) fn folder(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) => trusted(&found),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn folder_of(path: &Path) -> Result<(), String> {
    folder(path).map_err(|why| format!("{}: {why}", path.display()))
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
