//! Files of sysfs and procfs, as the door's network namespace has them.

use std::{
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{self, OFlag},
    sys::stat::Mode,
};

use super::sysfs::Sysfs;
use crate::fault::{Fault, Kind, Result};

/// A longer file is refused rather than cut.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Of a file that is looked through and not kept: the size of a part, and of the whole.
const PART_BYTES: usize = 1 << 16;
const LOOKED_THROUGH_MAX: usize = 1 << 26;
const ENTRIES_MAX: usize = 1 << 16;
/// Views of procfs that follow the calling thread's network namespace.
const THREADS_OWN: [&str; 3] = ["/proc/sys/net", "/proc/thread-self/net", "/proc/thread-self/ns"];
/// Views that follow the process's first thread, and the same of the calling thread.
const FIRST_THREADS: [(&str, &str); 3] = [
    ("/proc/net", "/proc/thread-self/net"),
    ("/proc/self/net", "/proc/thread-self/net"),
    ("/proc/self/ns", "/proc/thread-self/ns"),
];

/// The door's files. Everything is opened under `root` or under the namespace's sysfs.
pub(super) struct Files {
    pub(super) sysfs: Sysfs,
    /// Inode of the network namespace that the door was opened in.
    pub(super) netns: u64,
}

impl Files {
    pub(super) fn read(&self, path: &Path) -> Result<String> {
        let bytes = self.bytes(path)?;
        String::from_utf8(bytes).map_err(|_| {
            Fault::new(Kind::Malformed, format!("read {}", path.display()), "not UTF-8 text")
        })
    }

    pub(super) fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let act = format!("read {}", path.display());
        let file = self.open(&act, path, OFlag::O_RDONLY)?;
        let mut bytes = Vec::new();
        let read = std::fs::File::from(file).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|e| Fault::errno(&act, e.raw_os_error().unwrap_or(libc::EIO), None))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(Fault::new(Kind::Malformed, act, "the file is longer than 1 MiB"));
        }
        Ok(bytes)
    }

    /// Which of these texts the file has; nothing where it is empty.
    pub(super) fn mentions(&self, path: &Path, words: &[String]) -> Result<Vec<bool>> {
        let act = format!("look through {}", path.display());
        let mut file = std::fs::File::from(self.open(&act, path, OFlag::O_RDONLY)?);
        let longest = words.iter().map(String::len).max().unwrap_or(0);
        let mut found = vec![false; words.len()];
        // A word may lie across two parts: the end of one is looked at with the next.
        let (mut part, mut kept, mut total) = (vec![0; PART_BYTES + longest], 0, 0);
        loop {
            let read = match file.read(&mut part[kept..]) {
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    return Err(Fault::errno(&act, e.raw_os_error().unwrap_or(libc::EIO), None));
                }
            };
            if read == 0 {
                return Ok(if total == 0 { Vec::new() } else { found });
            }
            total += read;
            if total > LOOKED_THROUGH_MAX {
                return Err(Fault::new(Kind::Malformed, act, "the file is longer than 64 MiB"));
            }
            let filled = kept + read;
            let text = String::from_utf8_lossy(&part[..filled]);
            for (word, found) in words.iter().zip(&mut found) {
                *found = *found || text.contains(word.as_str());
            }
            kept = filled.min(longest.saturating_sub(1));
            part.copy_within(filled - kept..filled, 0);
        }
    }

    /// One write(2): the kernel takes the whole text or refuses it.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<()> {
        let act = format!("write {} to {}", text.trim_end(), path.display());
        if !(path.starts_with("/sys") || path.starts_with("/proc")) {
            let cause = "the door writes to /sys and /proc only";
            return Err(Fault::new(Kind::Denied, act, cause));
        }
        if text.is_empty() {
            // write(2) of nothing succeeds without reaching the kernel's handler.
            return Err(Fault::new(Kind::Invalid, act, "an empty text changes nothing"));
        }
        let file = self.open(&act, path, OFlag::O_WRONLY | OFlag::O_NOFOLLOW)?;
        let written = nix::unistd::write(&file, text.as_bytes()).map_err(|e| fault(&act, e))?;
        if written != text.len() {
            let cause = format!("the kernel took {written} of {} bytes", text.len());
            return Err(Fault::new(Kind::Io, act, cause));
        }
        Ok(())
    }

    /// Names in a directory, sorted, without `.` and `..`.
    pub(super) fn list(&self, path: &Path) -> Result<Vec<String>> {
        let act = format!("list {}", path.display());
        let directory = self.open(&act, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(directory).map_err(|e| fault(&act, e))? {
            let entry = entry.map_err(|e| fault(&act, e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() > ENTRIES_MAX {
                return Err(Fault::new(Kind::Malformed, act, "more than 65536 names"));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The links in a directory, which is opened once.
    pub(super) fn links(&self, path: &Path) -> Result<Vec<(String, String)>> {
        let act = format!("list {}", path.display());
        let directory = self.open(&act, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let mut directory = Dir::from_fd(directory).map_err(|e| fault(&act, e))?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let entry = entry.map_err(|e| fault(&act, e))?;
            if matches!(entry.file_type(), None | Some(nix::dir::Type::Symlink)) {
                names.push(entry.file_name().to_owned());
            }
            if names.len() > ENTRIES_MAX {
                return Err(Fault::new(Kind::Malformed, act, "more than 65536 names"));
            }
        }
        let mut links: Vec<(String, String)> = Vec::with_capacity(names.len());
        for name in names {
            match fcntl::readlinkat(&directory, name.as_c_str()) {
                Ok(target) => links.push((
                    name.to_string_lossy().into_owned(),
                    target.to_string_lossy().into_owned(),
                )),
                // Another process's files may be there to list and not to read (ptrace_may_access).
                Err(errno @ (Errno::EACCES | Errno::EPERM)) => return Err(fault(&act, errno)),
                // It is no link, or went away.
                Err(_) => {}
            }
        }
        links.sort_unstable();
        Ok(links)
    }

    /// A network namespace, held open.
    pub(super) fn namespace(&self, act: &str, path: &Path) -> Result<OwnedFd> {
        self.open(act, path, OFlag::O_RDONLY)
    }

    pub(super) fn target(&self, path: &Path) -> Result<String> {
        let act = format!("read the link {}", path.display());
        let (root, rest) = self.place(&act, path)?;
        let target = fcntl::readlinkat(root, &rest).map_err(|errno| fault(&act, errno))?;
        target.into_string().map_err(|_| Fault::new(Kind::Malformed, act, "not UTF-8 text"))
    }

    pub(super) fn mode(&self, path: &Path) -> Result<u32> {
        let act = format!("read the mode of {}", path.display());
        let file = self.open(&act, path, OFlag::O_PATH)?;
        let stat = nix::sys::stat::fstat(&file).map_err(|errno| fault(&act, errno))?;
        Ok(stat.st_mode & 0o7777)
    }

    fn open(&self, act: &str, path: &Path, flags: OFlag) -> Result<OwnedFd> {
        let (root, rest) = self.place(act, path)?;
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        fcntl::openat(root, &rest, flags, Mode::empty()).map_err(|errno| fault(act, errno))
    }

    /// Which directory to start from, and the way from there.
    pub(super) fn place(&self, act: &str, path: &Path) -> Result<(BorrowedFd<'_>, PathBuf)> {
        let plain = path.is_absolute()
            && path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !plain {
            return Err(Fault::new(Kind::Invalid, act, "not an absolute path without `..`"));
        }
        let path = FIRST_THREADS
            .iter()
            .find_map(|(first, own)| Some(Path::new(own).join(path.strip_prefix(first).ok()?)))
            .unwrap_or_else(|| path.to_owned());
        if THREADS_OWN.iter().any(|own| path.starts_with(own)) {
            self.check_namespace(act)?;
        }
        match (&self.sysfs, path.strip_prefix("/sys")) {
            (Sysfs::Private(mount), Ok(rest)) => Ok((mount.as_fd(), Path::new(".").join(rest))),
            (Sysfs::Foreign(why), Ok(_)) => Err(why.clone().during(act)),
            (Sysfs::Shared, Ok(_))
            | (Sysfs::Shared | Sysfs::Private(_) | Sysfs::Foreign(_), Err(_)) => {
                Ok((fcntl::AT_FDCWD, path))
            }
        }
    }

    /// Refuses where the calling thread has moved to another network namespace than the door's.
    pub(super) fn check_namespace(&self, act: &str) -> Result<()> {
        let now = netns()?;
        if now == self.netns {
            return Ok(());
        }
        let cause = format!(
            "this thread is in network namespace {now}, the door was opened in {}",
            self.netns
        );
        Err(Fault::new(Kind::Drift, act, cause))
    }
}

/// The inode of the calling thread's network namespace.
pub(super) fn netns() -> Result<u64> {
    let namespace = std::fs::metadata("/proc/thread-self/ns/net").map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Fault::errno("read /proc/thread-self/ns/net", errno, None)
    })?;
    Ok(namespace.ino())
}

fn fault(act: &str, errno: Errno) -> Fault {
    Fault::errno(act, errno as i32, None)
}
