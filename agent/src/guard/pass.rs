//! One pass over /proc for all signals at once: who has what open.
//!
//! Bounded in processes, files and time; what was not looked through is said, and counts as in use. A
//! process that ends meanwhile holds nothing. One that opens something after it was passed is not seen:
//! whoever acts looks again right before.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
};

use policy::holders::Process;

use super::clue::{Clue, Token};
use crate::{fault::Kind, host::Host};

/// Open files looked at; a host with more is not looked through to its end.
const FILES_MAX: usize = 1_000_000;
const TIME_NS_MAX: u64 = 2_000_000_000;
/// What OpenSSH's server calls itself: before 9.8, and since.
const SESSION_SERVERS: [&str; 2] = ["sshd", "sshd-session"];
/// Processes above this one: sudo, a shell, tmux, sshd and a few more.
const ANCESTORS_MAX: usize = 32;
/// Threads of a process asked for its files, where the first has ended.
const THREADS_MAX: usize = 64;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) files: usize,
    /// Who has what open, of what was asked for.
    pub(super) open: HashMap<Token, BTreeSet<u32>>,
    /// Who has a device open by which any NIC can be driven past the kernel.
    pub(super) drivers: BTreeSet<u32>,
    /// Who has a vfio device open, and which: its path in sysfs.
    pub(super) vfio: Vec<(u32, String)>,
    /// Who has a vfio device open, by a descriptor that does not say which.
    pub(super) nameless_vfio: BTreeSet<u32>,
    /// Every process looked at.
    pub(super) pids: Vec<u32>,
    /// A process in each network namespace but this one, as the path of the namespace.
    pub(super) namespaces: BTreeMap<u64, (Option<u32>, PathBuf)>,
    /// Why the picture is not whole, if it is not.
    pub(super) gaps: Vec<String>,
}

/// Looks through every process for what these clues name.
pub(super) fn over_processes(host: &dyn Host, clues: &[Clue]) -> Seen {
    let mut seen = Seen::default();
    let wanted = Wanted::of(clues);
    let began = host.now().mono_ns;
    let mut denied = Denied::default();
    let pids = match host.list(Path::new("/proc")) {
        Ok(names) => names.into_iter().filter_map(|name| name.parse::<u32>().ok()),
        Err(fault) => {
            seen.gaps.push(fault.to_string());
            return seen;
        }
    };
    let hidden = hidden(host);
    let kernels = match &hidden {
        None => kernel_threads(host),
        // There the second process is anybody's, and no kernel thread is seen.
        Some(_) => HashSet::new(),
    };
    seen.gaps.extend(hidden);
    let own = host.target(Path::new("/proc/thread-self/ns/net")).unwrap_or_default();
    let mut in_kernel = None;
    for pid in pids {
        if seen.files > FILES_MAX {
            seen.gaps.push(format!("more than {FILES_MAX} open files to look through"));
            break;
        }
        if host.now().mono_ns.saturating_sub(began) > TIME_NS_MAX {
            let seconds = TIME_NS_MAX / 1_000_000_000;
            seen.gaps.push(format!("the processes could not be looked through in {seconds} s"));
            break;
        }
        seen.pids.push(pid);
        let folder = PathBuf::from(format!("/proc/{pid}"));
        if kernels.contains(&pid) && has_no_program(host, &folder) {
            in_kernel.get_or_insert(pid);
            continue;
        }
        match host.links(&folder.join("fd")) {
            Ok(open) if open.is_empty() => wanted.look_at_threads(host, pid, &folder, &mut seen),
            Ok(open) => wanted.look(host, pid, &folder, &open, &mut seen),
            // It has ended, or is a zombie whose files are closed.
            Err(_) if !alive(host, &folder) => continue,
            Err(fault) => denied.add(pid, &fault),
        }
        seen.note_namespace(host, pid, &folder, &own);
    }
    if let Some(pid) = in_kernel {
        // All of them are in the first network namespace; a process is the better name for it.
        seen.note_namespace(host, pid, &PathBuf::from(format!("/proc/{pid}")), &own);
    }
    seen.gaps.extend(denied.words());
    seen
}

/// The children of kthreadd, which is process 2 of the first process-id namespace: the kernel's threads, and
/// programs that the kernel has started (kernel/umh.c). The list may lack some while it changes, and is not
/// there without CONFIG_PROC_CHILDREN: whoever is not on it is looked through like anybody.
fn kernel_threads(host: &dyn Host) -> HashSet<u32> {
    let children = host.read(Path::new("/proc/2/task/2/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([2]).collect()
}

/// A kernel thread has no files open and no program (fs/proc/base.c proc_exe_link); asking for it is the
/// cheapest question there is. A program of the kernel's that is past its end has none, either.
fn has_no_program(host: &dyn Host, folder: &Path) -> bool {
    matches!(host.target(&folder.join("exe")), Err(fault) if fault.kind == Kind::Unsupported)
}

/// Processes whose files may not be listed: told in one line.
#[derive(Default)]
struct Denied {
    count: usize,
    first: Option<String>,
}

impl Denied {
    fn add(&mut self, pid: u32, fault: &crate::fault::Fault) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("pid {pid}: {}", fault.cause));
    }

    fn words(self) -> Option<String> {
        let first = self.first?;
        Some(format!("the open files of {} processes could not be listed ({first})", self.count))
    }
}

/// Why processes of this host may be hidden from this one.
fn hidden(host: &dyn Host) -> Option<String> {
    /// PROC_PID_INIT_INO: the first process-id namespace.
    const FIRST: &str = "pid:[4026531836]";
    let namespace = host.target(Path::new("/proc/self/ns/pid")).ok()?;
    (namespace != FIRST).then(|| {
        "this process is in a process-id namespace of its own and does not see the host's others"
            .to_owned()
    })
}

/// A process that has ended meanwhile, or has ended and waits for its parent, holds nothing. One whose first
/// thread alone has ended looks like the latter, but for its other threads.
fn alive(host: &dyn Host, folder: &Path) -> bool {
    let Ok(stat) = host.read(&folder.join("stat")) else { return false };
    // The state is the first word after the command's closing parenthesis (proc(5)).
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    let ended = matches!(state, Some("Z" | "X" | "x"));
    !ended || host.list(&folder.join("task")).is_ok_and(|threads| threads.len() > 1)
}

/// What to look for, by kind, so that each open file is looked up and not compared.
struct Wanted {
    sockets: HashSet<u64>,
    devices: HashSet<(u32, u32)>,
    links: BTreeSet<&'static str>,
    protocols: BTreeSet<&'static str>,
    files: BTreeSet<String>,
}

impl Wanted {
    fn of(clues: &[Clue]) -> Wanted {
        let mut wanted = Wanted {
            sockets: HashSet::new(),
            devices: HashSet::new(),
            links: BTreeSet::new(),
            protocols: BTreeSet::new(),
            files: BTreeSet::new(),
        };
        for clue in clues {
            match &clue.token {
                Token::Socket(inode) => wanted.sockets.insert(*inode),
                Token::Device(major, minor) => wanted.devices.insert((*major, *minor)),
                Token::Link(prefix) => wanted.links.insert(prefix),
                Token::Protocol(name) => wanted.protocols.insert(name),
                Token::File(part) => wanted.files.insert(part.clone()),
            };
        }
        wanted
    }

    /// No files, as it seems. The first thread's table is the process's until that thread has ended
    /// (pthread_exit(3) in main): then the other threads have it.
    fn look_at_threads(&self, host: &dyn Host, pid: u32, folder: &Path, seen: &mut Seen) {
        let tasks = folder.join("task");
        let threads = host.list(&tasks).unwrap_or_default();
        let others = threads.iter().filter(|thread| **thread != pid.to_string());
        // They share one table.
        let table = others
            .take(THREADS_MAX)
            .map(|thread| tasks.join(thread))
            .find_map(|thread| Some((host.links(&thread.join("fd")).ok()?, thread)));
        if let Some((open, thread)) = table {
            self.look(host, pid, &thread, &open, seen);
        }
    }

    fn look(
        &self,
        host: &dyn Host,
        pid: u32,
        folder: &Path,
        open: &[(String, String)],
        seen: &mut Seen,
    ) {
        let mut hit = |token: Token| {
            seen.open.entry(token).or_default().insert(pid);
        };
        for (fd, target) in open {
            if let Some(inode) = target.strip_prefix("socket:[") {
                let inode = inode.trim_end_matches(']').parse().ok();
                let asked = inode.filter(|inode| self.sockets.contains(inode));
                asked.into_iter().for_each(|inode| hit(Token::Socket(inode)));
                if !self.protocols.is_empty() {
                    let protocol = host.protocol(&folder.join("fd").join(fd)).unwrap_or_default();
                    let asked = self.protocols.iter().find(|asked| **asked == protocol);
                    asked.into_iter().for_each(|asked| hit(Token::Protocol(asked)));
                }
                continue;
            }
            if let Some(prefix) = self.links.iter().find(|prefix| target.starts_with(**prefix)) {
                hit(Token::Link(prefix));
                continue;
            }
            if !target.starts_with('/') {
                if target == "anon_inode:[vfio-device]" {
                    seen.drivers.insert(pid);
                    match vfio_path(host, folder, fd) {
                        Some(path) => seen.vfio.push((pid, path)),
                        None => {
                            seen.nameless_vfio.insert(pid);
                        }
                    }
                }
                continue;
            }
            if DRIVERS.iter().any(|prefix| target.starts_with(prefix)) {
                seen.drivers.insert(pid);
            }
            if let Some(part) = self.files.iter().find(|part| target.contains(part.as_str())) {
                hit(Token::File(part.clone()));
                continue;
            }
            if self.devices.is_empty() || is_plainly_no_device(target) {
                continue;
            }
            let device = host.stat(&folder.join("fd").join(fd)).ok().and_then(|stat| stat.device);
            if let Some((major, minor)) = device.filter(|device| self.devices.contains(device)) {
                hit(Token::Device(major, minor));
            }
        }
        seen.files += open.len();
    }
}

/// Devices by which programs drive NICs; a DPDK process that has one open is found by it.
const DRIVERS: [&str; 3] = ["/dev/vfio/", "/dev/uio", "/dev/infiniband/uverbs"];

/// Files of the kernel's own views, which hold no device nodes.
fn is_plainly_no_device(target: &str) -> bool {
    ["/proc/", "/sys/", "/memfd:"].iter().any(|prefix| target.starts_with(prefix))
        || matches!(target, "/dev/null" | "/dev/urandom" | "/dev/random")
}

/// `vfio-device-syspath: /sys/devices/pci0000:e0/0000:e0:01.1/0000:e1:00.0`, since Linux 6.18.
fn vfio_path(host: &dyn Host, folder: &Path, fd: &str) -> Option<String> {
    let info = host.read(&folder.join("fdinfo").join(fd)).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("vfio-device-syspath:"))?;
    Some(line.trim().to_owned())
}

impl Seen {
    fn note_namespace(&mut self, host: &dyn Host, pid: u32, folder: &Path, own: &str) {
        let path = folder.join("ns/net");
        let Ok(namespace) = host.target(&path) else { return };
        if namespace != own
            && let Some(inode) = inode_of(&namespace)
        {
            self.namespaces.entry(inode).or_insert((Some(pid), path));
        }
    }
}

/// `net:[4026531840]`
pub(super) fn inode_of(namespace: &str) -> Option<u64> {
    namespace.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The process as people know it.
pub(super) fn process(host: &dyn Host, pid: u32) -> Process {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let comm = host.read(&folder.join("comm")).unwrap_or_default();
    let name = comm.trim().chars().filter(|c| !c.is_control()).collect();
    let uid = host.stat(&folder).ok().map(|stat| stat.uid);
    Process { pid, name, uid }
}

/// Whether this process, or another that runs the same program file, is meant: nicmend's probes are no
/// strangers to it.
pub(super) fn is_ours(host: &dyn Host, pid: u32) -> bool {
    let file = |of: &str| {
        let stat = host.stat(&PathBuf::from(format!("/proc/{of}/exe"))).ok()?;
        Some((stat.file_system, stat.inode))
    };
    let (theirs, ours) = (file(&pid.to_string()), file("self"));
    let own_pid = host.target(Path::new("/proc/self")).ok();
    own_pid.is_some_and(|own| own == pid.to_string()) || (ours.is_some() && theirs == ours)
}

/// The SSH servers above this process: the operator's session is theirs. A scheduler or a trading program
/// that starts nicmend is above it, too, and its connections are nobody's session.
pub(super) fn sessions(host: &dyn Host) -> BTreeSet<u32> {
    let parent = |of: &str| -> Option<u32> {
        let stat = host.read(&PathBuf::from(format!("/proc/{of}/stat"))).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let serves = |pid: u32| {
        let comm = host.read(&PathBuf::from(format!("/proc/{pid}/comm"))).unwrap_or_default();
        SESSION_SERVERS.contains(&comm.trim())
    };
    let mut found = BTreeSet::new();
    let mut next = parent("self");
    for _ in 0..ANCESTORS_MAX {
        let Some(pid) = next.filter(|pid| *pid > 1) else { break };
        if serves(pid) {
            found.insert(pid);
        }
        next = parent(&pid.to_string());
    }
    found
}
