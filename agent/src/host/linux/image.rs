//! Images where the kernel looks for firmware.
//!
//! The kernel reads the first `nicmend/<sha256>` that it finds in the directories of its search path
//! (drivers/base/firmware_loader/main.c, `fw_path`): the parameter `path` of `firmware_class`, then
//! `updates/RELEASE`, `updates`, `RELEASE` and nothing below `/lib/firmware`. Ours is in the last: the one
//! that no parameter, boot or new kernel takes away, so that whoever recovers finds it. A file of its name
//! in any other would be read in its stead, and is refused.
//!
//! Removed is what is ours: a file that is, byte for byte, what its name says, one that was being written,
//! our lock and mark, and the directory where we made it.
// This is the door: it changes the machine for everyone else.
#![allow(clippy::disallowed_methods)]

use std::{
    ffi::OsStr,
    fs::{File, TryLockError},
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{self, OFlag},
    sys::stat::{Mode, mkdirat},
    unistd::{UnlinkatFlags, fsync, geteuid, unlinkat},
};
use sha2::{Digest, Sha256};

use crate::{
    fault::{Fault, Kind, Result},
    firmware::images::{IMAGE_BYTES_MAX, is_name},
};

const PARAMETER: &str = "/sys/module/firmware_class/parameters/path";
const RELEASE: &str = "/proc/sys/kernel/osrelease";
const PLACE: &str = "/lib/firmware";
const FOLDER: &str = "nicmend";
/// Held by a program of ours for as long as it runs, also past our own end.
const BUSY: &str = ".busy";
/// Says that the directory was made by us.
const MADE: &str = ".nicmend";
/// Of a directory; ours has four.
const ENTRIES_MAX: usize = 4096;
const CHUNK_BYTES: usize = 64 << 10;

/// Writes the image beside its place, syncs it, renames it.
pub(super) fn place(sha256: &str, bytes: &[u8]) -> Result<String> {
    let act = format!("place image {sha256} for the kernel");
    let fault = |errno: Errno| Fault::errno(&act, errno as i32, None);
    let io = |error: std::io::Error| fault_of(&act, &error);
    named(sha256, &act)?;
    alone(sha256, &act)?;
    let folder = folder(&act)?;
    drop(idle(&folder, &act)?);
    let beside = format!(".{sha256}");
    remove(&folder, &beside).map_err(fault)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = fcntl::openat(&folder, beside.as_str(), flags | OFlag::O_CLOEXEC, mode);
    let mut file = File::from(file.map_err(fault)?);
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io);
    let placed = written.and_then(|()| {
        fcntl::renameat(&folder, beside.as_str(), &folder, sha256).map_err(fault)?;
        fsync(&folder).map_err(fault)
    });
    if placed.is_err() {
        // It would only take the space.
        let _ = remove(&folder, &beside);
    }
    placed?;
    Ok(path_in(Path::new(PLACE), sha256).display().to_string())
}

/// Whatever is called like this image in the other directories of the kernel's search path.
pub(super) fn shadows(sha256: &str) -> Result<Vec<String>> {
    let act = format!("look for other files called {FOLDER}/{sha256}");
    named(sha256, &act)?;
    let which = |found: std::fs::Metadata| (found.dev(), found.ino());
    let own = std::fs::symlink_metadata(path_in(Path::new(PLACE), sha256)).map(which).ok();
    let mut found = Vec::new();
    for directory in others(&act)? {
        let path = path_in(&directory, sha256);
        match std::fs::symlink_metadata(&path) {
            // The same file by another way.
            Ok(there) if own == Some(which(there.clone())) => {}
            Ok(_) => found.push(path.display().to_string().escape_debug().to_string()),
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                return Err(fault_of(&format!("look at {}", path.display()), &error));
            }
        }
    }
    Ok(found)
}

/// The image is there, whole, and the first that the kernel finds.
pub(super) fn still_placed(sha256: &str) -> Result<()> {
    let act = format!("look at image {sha256} for the kernel");
    named(sha256, &act)?;
    alone(sha256, &act)?;
    let fault = |errno: Errno| Fault::errno(&act, errno as i32, None);
    let folder = open_folder(Path::new(PLACE)).and_then(|parent| open_ours(&parent));
    let folder = folder.map_err(fault)?;
    ours(&folder, &act)?;
    match digest(&folder, sha256).map_err(|error| fault_of(&act, &error))? {
        Some(found) if found == sha256 => Ok(()),
        Some(found) => {
            Err(Fault::new(Kind::Drift, act, format!("its bytes digest to {found} by now")))
        }
        None => Err(Fault::new(Kind::Drift, act, "it is no regular file by now")),
    }
}

/// Removes what is ours, and the directory where we made it.
pub(super) fn unplace() -> Result<()> {
    let act = format!("remove our images from {PLACE}/{FOLDER}");
    let fault = |errno: Errno| Fault::errno(&act, errno as i32, None);
    let parent = match open_folder(Path::new(PLACE)) {
        Ok(parent) => parent,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(fault(errno)),
    };
    let folder = match open_ours(&parent) {
        Ok(folder) => folder,
        // A link or a file is none of ours: nothing was ever placed behind it.
        Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => return Ok(()),
        Err(errno) => return Err(fault(errno)),
    };
    drop(still_idle(&folder, &act)?);
    let listing = Dir::from_fd(folder.try_clone().map_err(|error| fault_of(&act, &error))?);
    let names: Vec<String> = listing
        .map_err(fault)?
        .into_iter()
        .take(ENTRIES_MAX)
        .filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned))
        .collect();
    for name in &names {
        let image = is_name(name) && digest(&folder, name).is_ok_and(|d| d.as_ref() == Some(name));
        let torn = name.strip_prefix('.').is_some_and(is_name);
        if image || torn {
            remove(&folder, name).map_err(fault)?;
        }
    }
    // Only then the lock, without which nothing of the rest would be safe.
    let made = names.iter().any(|name| name == MADE);
    remove(&folder, BUSY).map_err(fault)?;
    fsync(&folder).map_err(fault)?;
    // Between its making and its mark it is known by its mode and by being empty.
    if made || is_private(&folder, &act)? {
        remove(&folder, MADE).map_err(fault)?;
        match unlinkat(&parent, FOLDER, UnlinkatFlags::RemoveDir) {
            // Somebody keeps something of his own there.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(errno) => return Err(fault(errno)),
        }
        fsync(&parent).map_err(fault)?;
    }
    Ok(())
}

/// The lock that no program of ours holds: one that outlived its run may still be flashing.
pub(super) fn lock(act: &str) -> Result<File> {
    idle(&folder(act)?, act)
}

fn named(sha256: &str, act: &str) -> Result<()> {
    match is_name(sha256) {
        true => Ok(()),
        false => Err(Fault::new(Kind::Invalid, act, "that is no sha256 in hexadecimal")),
    }
}

fn path_in(directory: &Path, sha256: &str) -> PathBuf {
    directory.join(FOLDER).join(sha256)
}

fn alone(sha256: &str, act: &str) -> Result<()> {
    let found = shadows(sha256)?;
    match found.is_empty() {
        true => Ok(()),
        false => {
            let cause = format!("the kernel would find {} instead", found.join(" and "));
            Err(Fault::new(Kind::Denied, act, cause))
        }
    }
}

/// The directories of the kernel's search path but the last, in its order.
fn others(act: &str) -> Result<Vec<PathBuf>> {
    let release = std::fs::read_to_string(RELEASE).map_err(|error| fault_of(act, &error))?;
    let (release, place) = (release.trim_end(), Path::new(PLACE));
    let fixed = [place.join("updates").join(release), place.join("updates"), place.join(release)];
    Ok(parameter(act)?.into_iter().chain(fixed).collect())
}

/// As the kernel takes it: up to the first newline, below the root even without a slash.
fn parameter(act: &str) -> Result<Option<PathBuf>> {
    let text = match std::fs::read(PARAMETER) {
        Ok(text) => text,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(fault_of(act, &error)),
    };
    // sysfs ends what it shows with a newline of its own.
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let path = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let path = Path::new("/").join(OsStr::from_bytes(path));
    Ok((!text.is_empty()).then_some(path))
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

fn fault_of(act: &str, error: &std::io::Error) -> Fault {
    Fault::errno(act, error.raw_os_error().unwrap_or(libc::EIO), None)
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    fcntl::open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

fn open_ours(parent: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    fcntl::openat(parent, FOLDER, flags, Mode::empty())
}

/// Our folder, made and marked where it is missing.
fn folder(act: &str) -> Result<OwnedFd> {
    let fault = |errno: Errno| Fault::errno(act, errno as i32, None);
    let parent = match open_folder(Path::new(PLACE)) {
        Ok(parent) => parent,
        Err(Errno::ENOENT | Errno::ENOTDIR) => {
            let cause = format!("{PLACE} is no directory");
            return Err(Fault::new(Kind::Unsupported, act, cause));
        }
        Err(errno) => return Err(fault(errno)),
    };
    let new = match mkdirat(&parent, FOLDER, Mode::S_IRWXU) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(fault(errno)),
    };
    let folder = open_ours(&parent).map_err(fault)?;
    ours(&folder, act)?;
    if new {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        fcntl::openat(&folder, MADE, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(fault)?;
        fsync(&folder).and_then(|()| fsync(&parent)).map_err(fault)?;
    }
    Ok(folder)
}

/// Refuses a folder that somebody else could have prepared.
fn ours(folder: &OwnedFd, act: &str) -> Result<()> {
    let stat = nix::sys::stat::fstat(folder).map_err(|e| Fault::errno(act, e as i32, None))?;
    if stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o022 == 0 {
        return Ok(());
    }
    let cause = format!("it belongs to uid {}, mode {:o}", stat.st_uid, stat.st_mode & 0o7777);
    Err(Fault::new(Kind::Denied, act, cause))
}

fn is_private(folder: &OwnedFd, act: &str) -> Result<bool> {
    let stat = nix::sys::stat::fstat(folder).map_err(|e| Fault::errno(act, e as i32, None))?;
    Ok(stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o7777 == Mode::S_IRWXU.bits())
}

fn remove(folder: &OwnedFd, name: &str) -> Result<(), Errno> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// What a file's bytes come to; `None` where it is no regular file, or larger than any image.
fn digest(folder: &OwnedFd, name: &str) -> std::io::Result<Option<String>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match fcntl::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ELOOP) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let (mut reader, mut chunk) = (file.take(IMAGE_BYTES_MAX + 1), vec![0; CHUNK_BYTES]);
    let (mut sum, mut length) = (Sha256::new(), 0_u64);
    loop {
        let read = reader.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        length += read as u64;
        sum.update(&chunk[..read]);
    }
    let text = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((length <= IMAGE_BYTES_MAX).then_some(text))
}

/// The lock, made where it is missing, that no program of ours holds.
fn idle(folder: &OwnedFd, act: &str) -> Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = fcntl::openat(folder, BUSY, flags, mode);
    locked(file.map_err(|errno| Fault::errno(act, errno as i32, None))?, act)
}

/// The same of one that is there.
fn still_idle(folder: &OwnedFd, act: &str) -> Result<Option<File>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match fcntl::openat(folder, BUSY, flags, Mode::empty()) {
        Ok(file) => locked(file, act).map(Some),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Fault::errno(act, errno as i32, None)),
    }
}

fn locked(file: OwnedFd, act: &str) -> Result<File> {
    let file = File::from(file);
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let cause = "a program of an earlier run still works on the device";
            Err(Fault::new(Kind::Busy, act, cause))
        }
        Err(TryLockError::Error(error)) => Err(fault_of(act, &error)),
    }
}
