//! DPDK processes that no device gives away: by their runtime folders.
//!
//! A folder that was left behind is no process; the lock on its `config` is (`/proc/locks`). A process that
//! has a vfio, uio or verbs device open is told by that, with the function it drives; one that has none of
//! them may drive any. `--in-memory` and `--no-shconf` leave no folder.
//!
//! Source: DPDK's lib/eal/unix/eal_filesystem.c, lib/eal/linux/eal.c.

use std::path::{Path, PathBuf};

use policy::holders::{Holder, Signal};

use super::{
    Sign,
    clue::{Found, unknown, unread},
    pass::{self, Seen},
    scene::{Scene, entries, present},
};
use crate::{fault::Result, host::Host};

/// Where runtime folders lie: root's, those without a runtime folder of their own, users'.
const FOLDERS: [&str; 3] = ["/run/dpdk", "/var/run/dpdk", "/tmp/dpdk"];
const USERS: &str = "/run/user";

pub(super) struct Dpdk;

impl Sign for Dpdk {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Dpdk]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        // Whether it can be looked at; who lives is known after the pass.
        if scene.is_physical() {
            live(scene.host)?;
        }
        Ok(Found::default())
    }

    fn wants_a_pass(&self, scene: &Scene<'_>) -> bool {
        scene.is_physical() && live(scene.host).is_ok_and(|live| !live.is_empty())
    }

    fn after(&self, scene: &Scene<'_>, seen: &Seen) -> Vec<Holder> {
        if !scene.is_physical() {
            return Vec::new();
        }
        let live = match live(scene.host) {
            Ok(live) => live,
            Err(fault) => {
                let each = scene.ports.iter();
                return each.map(|port| unread(Signal::Dpdk, &port.name, &fault)).collect();
            }
        };
        let mut holders = Vec::new();
        for (folder, pid) in live {
            if pid.is_some_and(|pid| seen.drivers.contains(&pid)) {
                continue;
            }
            for port in scene.ports.iter().filter(|port| port.function.is_some()) {
                let how = format!(
                    "a DPDK process lives ({}), and drives nobody knows what",
                    folder.display()
                );
                let process = pid.map(|pid| pass::process(scene.host, pid));
                holders.push(Holder { process, ..unknown(Signal::Dpdk, &port.name, how) });
            }
        }
        holders
    }
}

/// Runtime folders whose `config` is locked, with the process that locked it, where that is told.
fn live(host: &dyn Host) -> Result<Vec<(PathBuf, Option<u32>)>> {
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    for user in entries(host, Path::new(USERS))? {
        folders.push(Path::new(USERS).join(user).join("dpdk"));
    }
    let mut configs = Vec::new();
    for folder in folders {
        for prefix in entries(host, &folder)? {
            let config = folder.join(prefix).join("config");
            if let Some(stat) = present(host.stat(&config))? {
                // /var/run is /run by another name.
                let known = configs.iter().any(|(_, inode)| *inode == stat.inode);
                if !known {
                    configs.push((config, stat.inode));
                }
            }
        }
    }
    if configs.is_empty() {
        return Ok(Vec::new());
    }
    let locks = host.read(Path::new("/proc/locks"))?;
    let live = configs.into_iter().filter_map(|(config, inode)| {
        let pid = locked(&locks, inode)?;
        Some((config.parent().unwrap_or(&config).to_owned(), pid))
    });
    Ok(live.collect())
}

/// Who holds a write lock on the file with this inode: `1: POSIX  ADVISORY  WRITE 3568 00:18:2531452 0
/// EOF`. The file system is not compared: where it is stacked the two numbers differ, and a lock too many
/// only refuses. A process of another process-id namespace has no number.
fn locked(locks: &str, inode: u64) -> Option<Option<u32>> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "WRITE")?;
        let of = words.get(at + 2)?.rsplit(':').next()?.parse::<u64>().ok()?;
        let pid = words.get(at + 1)?.parse::<i64>().ok()?;
        (of == inode).then(|| u32::try_from(pid).ok().filter(|pid| *pid > 0))
    };
    locks.lines().find_map(line)
}

#[cfg(test)]
mod tests {
    use super::locked;

    #[test]
    fn a_lock_is_found_by_the_files_inode() {
        let locks = "1: FLOCK  ADVISORY  WRITE 18604 fe:00:166 0 EOF\n\
                     2: POSIX  ADVISORY  READ 77 00:18:4242 0 EOF\n\
                     3: POSIX  ADVISORY  WRITE 78 00:18:4242 0 EOF\n\
                     4: POSIX  ADVISORY  WRITE -1 00:18:4243 0 EOF\n";
        assert_eq!(locked(locks, 4242), Some(Some(78)));
        assert_eq!(locked(locks, 4243), Some(None));
        assert_eq!(locked(locks, 1), None);
    }
}
