//! A control group with a memory limit: version 2, or version 1 where that has the memory controller
//! (RHEL 8 and older).
//!
//! Version 2 lets a group limit memory only where its parent hands the controller down
//! (`cgroup.subtree_control`), and processes live in leaves only: so the group is made below the
//! nearest ancestor of this process that hands memory down (Documentation/admin-guide/cgroup-v2.rst).
// This is the door: control groups are changed here and nowhere else.
#![allow(clippy::disallowed_methods)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::fault::{Fault, Kind, Result};

/// Every group of ours begins with this, and no other is ever removed.
const PREFIX: &str = "nicmend-";
/// How long a group's processes may take to be gone; the kernel frees them by itself.
const EMPTY_TRIES: u32 = 100;
const EMPTY_PAUSE: Duration = Duration::from_millis(20);
/// Of one process that is not ours there is at most this much to kill.
const PIDS_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A group, whether it is there or not.
#[derive(Debug)]
pub(super) struct Group {
    version: Version,
    /// Its path in the hierarchy; what a name in the log holds, since mounts differ.
    inside: PathBuf,
    directory: PathBuf,
}

impl Group {
    /// Where a group of this name would be made.
    pub(super) fn plan(name: &str) -> Result<Group> {
        let act = format!("limit memory in the control group {name}");
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !plain || !name.starts_with(PREFIX) || name.len() > 128 {
            return Err(Fault::new(Kind::Invalid, act, "not one of our names"));
        }
        let no = |why: &str| Err(Fault::new(Kind::Unsupported, &act, why));
        let Some((version, mount)) = hierarchy() else {
            return no("no control groups with the memory controller are mounted here");
        };
        let Some(own) = own(version) else { return no("this process is in no control group") };
        let parent = match version {
            Version::One => Some(own.as_path()),
            Version::Two => own.ancestors().find(|path| hands_memory_down(&mount.at(path))),
        };
        match parent {
            Some(parent) => Ok(Group::at(version, &mount, &parent.join(name))),
            None => no("no control group above this process hands the memory controller down"),
        }
    }

    /// By the name that [`Group::name`] gave.
    pub(super) fn named(name: &str) -> Result<Group> {
        let act = format!("find the control group {name}");
        let invalid = || Fault::new(Kind::Invalid, &act, "not one of our names");
        let (version, inside) = match name.split_once(':').ok_or_else(invalid)? {
            ("cgroup1", inside) => (Version::One, Path::new(inside)),
            ("cgroup2", inside) => (Version::Two, Path::new(inside)),
            _ => return Err(invalid()),
        };
        let last = inside.file_name().and_then(|last| last.to_str()).unwrap_or_default();
        let plain = inside.is_absolute()
            && inside.components().all(|c| !matches!(c, std::path::Component::ParentDir));
        if !plain || !last.starts_with(PREFIX) {
            return Err(invalid());
        }
        match hierarchy() {
            Some((found, mount)) if found == version => Ok(Group::at(version, &mount, inside)),
            Some(_) | None => Err(Fault::new(Kind::Gone, act, "its hierarchy is not mounted here")),
        }
    }

    fn at(version: Version, mount: &Mount, inside: &Path) -> Group {
        Group { version, directory: mount.at(inside), inside: inside.to_owned() }
    }

    pub(super) fn name(&self) -> String {
        let version = match self.version {
            Version::One => "cgroup1",
            Version::Two => "cgroup2",
        };
        format!("{version}:{}", self.inside.display())
    }

    /// Makes it with its limit. Swap is left out, so that nothing is written to a disk for it.
    pub(super) fn make(&self, bytes: u64) -> Result<()> {
        let act = || format!("make the control group {}", self.inside.display());
        fs::create_dir(&self.directory).map_err(|e| fault(act(), &e))?;
        let limit = bytes.to_string();
        let (most, swap) = match self.version {
            Version::One => ("memory.limit_in_bytes", ("memory.swappiness", "0")),
            Version::Two => ("memory.max", ("memory.swap.max", "0")),
        };
        let limited = fs::write(self.directory.join(most), limit);
        // A machine without swap has no such file.
        let _ = fs::write(self.directory.join(swap.0), swap.1);
        limited.map_err(|e| {
            let _ = fs::remove_dir(&self.directory);
            fault(act(), &e)
        })
    }

    pub(super) fn take_in(&self, pid: u32) -> Result<()> {
        let act = || format!("move process {pid} to {}", self.inside.display());
        fs::write(self.directory.join("cgroup.procs"), pid.to_string())
            .map_err(|e| fault(act(), &e))
    }

    /// `; reclaimed at its limit 12345 times`.
    pub(super) fn felt(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        let times = match self.version {
            Version::One => read("memory.failcnt").trim().to_owned(),
            Version::Two => {
                let events = read("memory.events");
                let max = events.lines().find_map(|line| line.strip_prefix("max "));
                max.unwrap_or_default().trim().to_owned()
            }
        };
        match times.as_str() {
            "" => String::new(),
            times => format!("; at its memory limit {times} times"),
        }
    }

    /// Kills what is in it and removes it. One that is not there is fine.
    pub(super) fn remove(&self) -> Result<()> {
        let act = || format!("remove the control group {}", self.inside.display());
        for _ in 0..EMPTY_TRIES {
            match fs::remove_dir(&self.directory) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(_) => self.kill(),
            }
            std::thread::sleep(EMPTY_PAUSE);
        }
        fs::remove_dir(&self.directory).map_err(|e| fault(act(), &e))
    }

    fn kill(&self) {
        // Linux 5.14; elsewhere each by itself.
        if fs::write(self.directory.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        let pids = fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        for pid in pids.lines().filter_map(|line| line.parse().ok()).take(PIDS_MAX) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
}

/// A hierarchy's mount: which part of it is shown where.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    fn at(&self, inside: &Path) -> PathBuf {
        let below = inside.strip_prefix(&self.root).or_else(|_| inside.strip_prefix("/"));
        self.point.join(below.unwrap_or(inside))
    }
}

/// The hierarchy that has the memory controller.
fn hierarchy() -> Option<(Version, Mount)> {
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts: Vec<(Version, Mount)> = text.lines().filter_map(mounted).collect();
    let has_memory = |(version, mount): &(Version, Mount)| match version {
        // `mounted` saw the controller among its options.
        Version::One => true,
        Version::Two => fs::read_to_string(mount.point.join("cgroup.controllers"))
            .is_ok_and(|list| list.split_whitespace().any(|name| name == "memory")),
    };
    mounts.into_iter().find(has_memory)
}

/// A line of mountinfo that shows control groups of version 2, or memory's of version 1 (proc(5)).
fn mounted(line: &str) -> Option<(Version, Mount)> {
    let (left, right) = line.split_once(" - ")?;
    let mut fields = left.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let mut kind = right.split(' ');
    let version = match kind.next()? {
        "cgroup2" => Version::Two,
        "cgroup" if kind.nth(1)?.split(',').any(|option| option == "memory") => Version::One,
        _ => return None,
    };
    // A path with blanks is written in octal there; control groups are not mounted at such.
    let plain = !point.contains('\\') && !root.contains('\\');
    plain.then(|| (version, Mount { root: root.into(), point: point.into() }))
}

/// The group that this process is in.
fn own(version: Version) -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| membership(line, version))
}

/// A line of /proc/self/cgroup: `0::/path`, or `4:memory:/path` (cgroups(7)).
fn membership(line: &str, version: Version) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let mine = match version {
        Version::One => controllers.split(',').any(|name| name == "memory"),
        Version::Two => number == "0" && controllers.is_empty(),
    };
    (mine && path.starts_with('/') && !path.contains("/..")).then(|| PathBuf::from(path))
}

fn hands_memory_down(directory: &Path) -> bool {
    fs::read_to_string(directory.join("cgroup.subtree_control"))
        .is_ok_and(|list| list.split_whitespace().any(|name| name == "memory"))
}

fn fault(act: String, error: &std::io::Error) -> Fault {
    match error.raw_os_error() {
        Some(errno) => Fault::errno(act, errno, None),
        None => Fault::new(Kind::Io, act, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_memberships_as_the_kernel_writes_them() {
        let two = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        let one =
            "36 32 0:31 /a /sys/fs/cgroup/memory rw,nosuid shared:17 - cgroup cgroup rw,memory";
        let cpu = "37 32 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct";
        let (version, mount) = mounted(two).unwrap();
        assert_eq!(version, Version::Two);
        assert_eq!(mount.at(Path::new("/b/c")), Path::new("/sys/fs/cgroup/b/c"));
        let (version, mount) = mounted(one).unwrap();
        assert_eq!(version, Version::One);
        assert_eq!(mount.at(Path::new("/a/b")), Path::new("/sys/fs/cgroup/memory/b"));
        assert_eq!(mounted(cpu), None);
        assert_eq!(membership("0::/x/y", Version::Two).unwrap(), Path::new("/x/y"));
        assert_eq!(membership("4:memory:/x", Version::One).unwrap(), Path::new("/x"));
        assert_eq!(membership("4:memory:/x", Version::Two), None);
        assert_eq!(membership("0::/../x", Version::Two), None);
    }

    #[test]
    fn only_groups_of_our_own_have_a_name() {
        for name in
            ["cgroup2:/user.slice", "cgroup2:/a/../nicmend-1", "nicmend-1", "cgroup3:/nicmend-1"]
        {
            let fault = Group::named(name).expect_err(name);
            assert_eq!(fault.kind, Kind::Invalid, "{name}: {fault}");
        }
        assert!(Group::plan("user.slice").is_err() && Group::plan("nicmend-a/b").is_err());
    }
}
