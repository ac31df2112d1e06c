//! Files that are there whole or not at all, and directories that last.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{errno::Errno, fcntl};

use crate::fault::{Fault, Kind, Result};

/// Another's group or world may write here.
const OTHERS_WRITE: u32 = 0o022;

/// The fault of an I/O error: ENOSPC, EDQUOT and EIO keep their names in the cause.
pub(crate) fn fault(act: impl Into<String>, error: &io::Error) -> Fault {
    Fault::errno(act, error.raw_os_error().unwrap_or(libc::EIO), None)
}

/// Whether it failed for want of space.
pub(crate) fn is_full(fault: &Fault) -> bool {
    let cause = |errno| Fault::errno("", errno, None).cause;
    [libc::ENOSPC, libc::EDQUOT].into_iter().any(|errno| fault.cause == cause(errno))
}

/// Whether the file system takes no writes at all: mounted so, or become so by an error of its disk.
pub(crate) fn is_read_only(fault: &Fault) -> bool {
    fault.cause == Fault::errno("", libc::EROFS, None).cause
}

/// Makes a directory (0700) and its missing parents, each durable.
pub(crate) fn directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let act = || format!("make the directory {}", path.display());
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        directory(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(fault(act(), &error)),
    }
}

/// Refuses a directory that others could have prepared.
pub(crate) fn own(path: &Path) -> Result<()> {
    let act = || format!("use the directory {}", path.display());
    let metadata = fs::metadata(path).map_err(|error| fault(act(), &error))?;
    let mine = nix::unistd::geteuid().as_raw();
    if metadata.uid() != mine {
        let cause = format!("it belongs to uid {}, not to uid {mine}", metadata.uid());
        return Err(Fault::new(Kind::Denied, act(), cause));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        let cause = format!("others may write to it (mode {:o})", metadata.mode() & 0o7777);
        return Err(Fault::new(Kind::Denied, act(), cause));
    }
    Ok(())
}

/// What lies in a directory, in no order.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| fault(format!("list {}", path.display()), &error);
    let entries = fs::read_dir(path).map_err(failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

/// Makes the name of a new or renamed file durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| fault(format!("sync the directory {}", parent.display()), &error))
}

/// Opens for reading and writing, creating it (0600); never through a symbolic link. Says whether it is
/// new.
pub(crate) fn open(path: &Path) -> Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let act = || format!("open {}", path.display());
    match options.open(path) {
        Ok(file) => Ok((file, false)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = options.create_new(true).open(path);
            made.map(|file| (file, true)).map_err(|error| fault(act(), &error))
        }
        Err(error) => Err(fault(act(), &error)),
    }
}

/// Four bytes that nobody can foresee.
pub(crate) fn random() -> Result<u32> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|error| fault("read /dev/urandom", &error))?;
    Ok(u32::from_be_bytes(bytes))
}

/// A whole file of at most `bytes_max`, or `None` where there is none.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let act = || format!("read {}", path.display());
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(act(), &error)),
    };
    let over = || {
        let cause = format!("it is longer than {bytes_max} bytes");
        Err(Fault::new(Kind::Malformed, act(), cause))
    };
    // Asked before it is read: a sparse file of any size costs nothing to make.
    if file.metadata().is_ok_and(|metadata| metadata.len() > bytes_max) {
        return over();
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| fault(act(), &error))?;
    // It may have grown meanwhile.
    if bytes.len() as u64 > bytes_max {
        return over();
    }
    Ok(Some(bytes))
}

/// Writes a file beside its place, syncs it, renames it into place and syncs the directory.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        directory(parent)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Blobs are put without the lock: each process has a temporary name of its own.
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let written = options
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // Whatever is left of it would only take space from the next try.
        let _ = fs::remove_file(&beside);
        return Err(fault(format!("write {}", path.display()), &error));
    }
    sync_parent(path)
}

/// Takes a file away, durably; one that is not there is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fault(format!("remove {}", path.display()), &error)),
    }
}

/// Keeps this much space back, where the file system can.
pub(crate) fn reserve(path: &Path, bytes: u64) -> Result<()> {
    let (file, new) = open(path)?;
    if !new && file.metadata().is_ok_and(|metadata| metadata.len() >= bytes) {
        return Ok(());
    }
    let length = i64::try_from(bytes).unwrap_or(i64::MAX);
    let kept = fcntl::posix_fallocate(&file, 0, length);
    kept.map_err(|errno: Errno| {
        let _ = fs::remove_file(path);
        Fault::errno(format!("keep {bytes} bytes back in {}", path.display()), errno as i32, None)
    })
}
