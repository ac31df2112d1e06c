//! Images where the kernel looks for firmware, and programs that flash them.
//!
//! The kernel reads `nicmend/<sha256>` below the first directory of its search path that has it
//! (drivers/base/firmware_loader/main.c, `fw_path`): the parameter `path` of `firmware_class`, where one
//! is set, or else `/lib/firmware`. The directory `nicmend` is ours alone and gone afterwards; nothing else
//! below the search path is touched, nor the parameter.
// This is the door: it changes the machine for everyone else.
#![allow(clippy::disallowed_methods)]

use std::{
    fs::{File, TryLockError},
    io::{Read, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{self, OFlag},
    sys::{
        signal::{Signal, killpg},
        stat::{Mode, mkdirat},
    },
    unistd::{Pid, UnlinkatFlags, geteuid, unlinkat},
};

use crate::fault::{Fault, Kind, Result};

const PARAMETER: &str = "/sys/module/firmware_class/parameters/path";
const DEFAULT: &str = "/lib/firmware";
const FOLDER: &str = "nicmend";
/// Held by a program of ours for as long as it runs, also past our own end.
const BUSY: &str = ".busy";
/// Where a program is looked for.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Of a program's output.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Looks at a pipe after its program has ended.
const LAST_WORDS: u32 = 20;
const LOOK: Duration = Duration::from_millis(50);

/// Writes the image beside its place, syncs it, renames it.
pub(super) fn place(sha256: &str, bytes: &[u8]) -> Result<String> {
    let act = format!("place image {sha256} for the kernel");
    if !crate::firmware::images::is_name(sha256) {
        return Err(Fault::new(Kind::Invalid, act, "that is no sha256 in hexadecimal"));
    }
    let fault = |errno: Errno| Fault::errno(&act, errno as i32, None);
    let io =
        |error: std::io::Error| Fault::errno(&act, error.raw_os_error().unwrap_or(libc::EIO), None);
    let base = base()?;
    let folder = folder(&base, &act)?;
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
        nix::unistd::fsync(&folder).map_err(fault)
    });
    if placed.is_err() {
        // It would only take the space.
        let _ = remove(&folder, &beside);
    }
    placed?;
    Ok(base.join(FOLDER).join(sha256).display().to_string())
}

/// Removes our folder with all in it, wherever it may have been made.
pub(super) fn unplace() -> Result<()> {
    let mut bases = vec![PathBuf::from(DEFAULT)];
    bases.extend(parameter());
    bases.dedup();
    for base in bases {
        let act = format!("remove {}", base.join(FOLDER).display());
        let fault = |errno: Errno| Fault::errno(&act, errno as i32, None);
        let parent = match open_folder(&base) {
            Ok(parent) => parent,
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(fault(errno)),
        };
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = match fcntl::openat(&parent, FOLDER, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(fault(errno)),
        };
        ours(&folder, &act)?;
        drop(idle(&folder, &act)?);
        let names: Vec<_> = Dir::from_fd(folder.try_clone().map_err(|_| fault(Errno::EMFILE))?)
            .map_err(fault)?
            .into_iter()
            .filter_map(|entry| Some(entry.ok()?.file_name().to_owned()))
            .filter(|name| name.as_c_str() != c"." && name.as_c_str() != c"..")
            .collect();
        for name in names {
            unlinkat(&folder, name.as_c_str(), UnlinkatFlags::NoRemoveDir).map_err(fault)?;
        }
        unlinkat(&parent, FOLDER, UnlinkatFlags::RemoveDir).map_err(fault)?;
        nix::unistd::fsync(&parent).map_err(fault)?;
    }
    Ok(())
}

/// The first directory in which the kernel looks.
fn base() -> Result<PathBuf> {
    let base = parameter().unwrap_or_else(|| PathBuf::from(DEFAULT));
    match base.is_dir() {
        true => Ok(base),
        false => {
            let act = "find where the kernel looks for firmware";
            let cause = format!("{} is no directory", base.display());
            Err(Fault::new(Kind::Unsupported, act, cause))
        }
    }
}

fn parameter() -> Option<PathBuf> {
    let text = std::fs::read_to_string(PARAMETER).ok()?;
    let path = Path::new(text.trim_end_matches('\n'));
    path.is_absolute().then(|| path.to_owned())
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    fcntl::open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Our folder in `base`, made where it is missing.
fn folder(base: &Path, act: &str) -> Result<OwnedFd> {
    let fault = |errno: Errno| Fault::errno(act, errno as i32, None);
    let parent = open_folder(base).map_err(fault)?;
    match mkdirat(&parent, FOLDER, Mode::S_IRWXU) {
        Ok(()) => nix::unistd::fsync(&parent).map_err(fault)?,
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(fault(errno)),
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = fcntl::openat(&parent, FOLDER, flags, Mode::empty()).map_err(fault)?;
    ours(&folder, act)?;
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

fn remove(folder: &OwnedFd, name: &str) -> Result<(), Errno> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The lock that no program of ours holds: one that outlived its run may still be flashing.
fn idle(folder: &OwnedFd, act: &str) -> Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = fcntl::openat(folder, BUSY, flags, mode);
    let file = file.map_err(|errno| Fault::errno(act, errno as i32, None))?;
    let file = File::from(file);
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let cause = "a program of an earlier run still works on the device";
            Err(Fault::new(Kind::Busy, act, cause))
        }
        Err(TryLockError::Error(error)) => {
            Err(Fault::errno(act, error.raw_os_error().unwrap_or(libc::EIO), None))
        }
    }
}

/// Runs a vendor's program to its end. Its standard input is the lock that says it runs.
pub(super) fn program(argv: &[String], limit: Duration) -> Result<String> {
    let act = argv.join(" ");
    let Some((name, arguments)) = argv.split_first() else {
        return Err(Fault::new(Kind::Invalid, act, "no program is named"));
    };
    let path = find(name).ok_or_else(|| {
        let cause = format!("{name} is neither an absolute path nor in {}", DIRECTORIES.join(", "));
        Fault::new(Kind::Unsupported, &act, cause)
    })?;
    let io =
        |error: std::io::Error| Fault::errno(&act, error.raw_os_error().unwrap_or(libc::EIO), None);
    let folder = folder(&base()?, &act)?;
    let lock = idle(&folder, &act)?;
    let (reader, writer) = std::io::pipe().map_err(io)?;
    let mut command = Command::new(path);
    command.args(arguments).env_clear().env("LC_ALL", "C");
    command.env("PATH", DIRECTORIES.join(":")).current_dir("/");
    // The lock lasts until every descriptor of this opening is closed: ours is, after the spawn.
    command.stdin(Stdio::from(lock)).stdout(writer.try_clone().map_err(io)?).stderr(writer);
    // A group of its own: a Ctrl-C at the terminal is ours to hear, and must not end a flash.
    let child = command.process_group(0).spawn().map_err(io)?;
    drop(command);
    let told = std::thread::spawn(move || tail(reader));
    let ended = wait(child, limit);
    // What it left running may hold the pipe open: its last words are not worth waiting for.
    for _ in 0..LAST_WORDS {
        if told.is_finished() {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let output = if told.is_finished() { told.join().unwrap_or_default() } else { String::new() };
    let words = output.trim().lines().last().unwrap_or("it said nothing").to_owned();
    match ended {
        Ok(0) => Ok(output),
        Ok(code) => Err(Fault::new(Kind::Io, act, format!("{words} (exit status {code})"))),
        Err(why) => Err(Fault::new(Kind::Io, act, format!("{why}; its last words: {words}"))),
    }
}

/// By absolute path, or by name where the system keeps its programs.
fn find(name: &str) -> Option<PathBuf> {
    if Path::new(name).is_absolute() {
        return Some(PathBuf::from(name));
    }
    let plain = !name.is_empty() && !name.contains('/');
    let places = DIRECTORIES.iter().filter(|_| plain).map(|place| Path::new(place).join(name));
    places.into_iter().find(|path| path.is_file())
}

/// The exit status, or why there is none.
fn wait(mut child: Child, limit: Duration) -> Result<i32, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                return status.code().ok_or_else(|| format!("it ended by {status}"));
            }
            Ok(None) if began.elapsed() < limit => std::thread::sleep(LOOK),
            Ok(None) => {
                let group = i32::try_from(child.id()).unwrap_or(i32::MAX);
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
                let _ = child.wait();
                return Err(format!("it was killed after {} s", limit.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Reads to the end and keeps the last part.
fn tail(mut reader: impl Read) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = reader.read(&mut buffer) {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        let over = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
        kept.drain(..over);
    }
    let text = String::from_utf8_lossy(&kept).into_owned();
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}
