//! Multicast: which groups are joined on an interface, by whom, and which joins died.
//!
//! Source: net/ipv4/igmp.c (/proc/net/igmp), net/ipv6/mcast.c (/proc/net/igmp6),
//! net/core/net-procfs.c (/proc/net/dev_mcast). A socket's join is the socket's: nobody else can renew
//! it. When the device goes, the kernel forgets it and the socket is not told.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::object::mac;
use crate::host::Host;

/// Groups that the kernel itself joins on every interface: all hosts, all nodes, all routers.
const KERNELS: [&str; 6] = ["224.0.0.1", "ff02::1", "ff01::1", "ff02::2", "ff01::2", "ff05::2"];
/// How many processes, and open files of one, are looked at for the holder of a socket.
const PROCESSES_MAX: usize = 4096;
const FILES_MAX: usize = 4096;
const HOLDERS_MAX: usize = 64;

/// One group joined on one interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Join {
    pub device: String,
    pub group: String,
    /// Sockets that joined it.
    pub users: u32,
    /// Processes with a UDP socket bound to the group, as far as they can be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<String>,
}

impl Join {
    /// `239.1.1.1 on eth1, joined 2 times (feed, pid 12)`
    pub(super) fn words(&self) -> String {
        let times =
            if self.users == 1 { "once".to_owned() } else { format!("{} times", self.users) };
        let by = match self.holders.is_empty() {
            true => "no process is known to hold it".to_owned(),
            false => self.holders.join("; "),
        };
        format!("{} on {}, joined {times} ({by})", self.group, self.device)
    }
}

/// Groups that sockets joined on these interfaces.
pub(super) fn read(host: &dyn Host, devices: &BTreeSet<String>) -> Vec<Join> {
    let text = |path: &str| host.read(Path::new(path)).unwrap_or_default();
    let mut joins = igmp(&text("/proc/net/igmp"));
    joins.extend(igmp6(&text("/proc/net/igmp6")));
    joins.retain(|join| devices.contains(&join.device) && !is_kernels(&join.group));
    let wanted: BTreeSet<IpAddr> = joins.iter().filter_map(|j| j.group.parse().ok()).collect();
    if !wanted.is_empty() {
        let holders = holders(host, &wanted);
        for join in &mut joins {
            let group = join.group.parse().ok();
            join.holders = group.and_then(|group| holders.get(&group).cloned()).unwrap_or_default();
        }
    }
    joins.sort();
    joins
}

/// Solicited-node groups come with the addresses.
fn is_kernels(group: &str) -> bool {
    KERNELS.contains(&group) || group.starts_with("ff02::1:ff")
}

fn igmp(text: &str) -> Vec<Join> {
    let mut device = String::new();
    let mut joins = Vec::new();
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (line.starts_with(char::is_whitespace), words.as_slice()) {
            // `2	eth1      :     3      V3`; a long name touches the colon.
            (false, [_, name, ..]) => device = name.trim_end_matches(':').to_owned(),
            // `				010000E0     1 0:00000000		0`, the group as the machine's own number.
            (true, [group, users, ..]) => {
                let Ok(group) = u32::from_str_radix(group, 16) else { continue };
                joins.push(Join {
                    device: device.clone(),
                    group: Ipv4Addr::from(group.to_ne_bytes()).to_string(),
                    users: users.parse().unwrap_or(0),
                    holders: Vec::new(),
                });
            }
            _ => {}
        }
    }
    joins
}

/// `2    eth1            ff0200000000000000000000000000fb     1 00000004 0`
fn igmp6(text: &str) -> Vec<Join> {
    let join = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, device, group, users, ..] = words.as_slice() else { return None };
        let group = u128::from_str_radix(group, 16).ok()?;
        Some(Join {
            device: (*device).to_owned(),
            group: Ipv6Addr::from(group).to_string(),
            users: users.parse().ok()?,
            holders: Vec::new(),
        })
    };
    text.lines().filter_map(join).collect()
}

/// Link-layer groups that somebody gave the interface itself (`ip maddr add`), by device:
/// `2    eth1            1     1     01005e7f0001`: users, then how many of them are such.
pub(super) fn link_layer(
    host: &dyn Host,
    devices: &BTreeSet<String>,
) -> BTreeSet<(String, String)> {
    let text = host.read(Path::new("/proc/net/dev_mcast")).unwrap_or_default();
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, device, _, given, address] = words.as_slice() else { return None };
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = address.as_bytes().chunks(2).map(byte).collect();
        let kept = devices.contains(*device) && given.parse::<u32>().is_ok_and(|given| given > 0);
        kept.then_some(((*device).to_owned(), mac(&bytes?)))
    };
    text.lines().filter_map(entry).collect()
}

/// Who has a UDP socket bound to one of these groups: by the socket's inode among open files.
fn holders(host: &dyn Host, groups: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, Vec<String>> {
    let mut sockets: BTreeMap<String, IpAddr> = BTreeMap::new();
    for path in ["/proc/net/udp", "/proc/net/udp6"] {
        let text = host.read(Path::new(path)).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            // sl, local address, remote, state, queues, timer, retransmits, uid, timeout, inode
            let (Some(local), Some(inode)) = (words.get(1), words.get(9)) else { continue };
            if let Some(group) = bound(local).filter(|group| groups.contains(group)) {
                sockets.insert(format!("socket:[{inode}]"), group);
            }
        }
    }
    owners(host, &sockets)
}

/// The processes that have these sockets (`socket:[INODE]`) open, by what each socket stands for.
pub(super) fn owners<K: Ord + Copy>(
    host: &dyn Host,
    sockets: &BTreeMap<String, K>,
) -> BTreeMap<K, Vec<String>> {
    let mut found: BTreeMap<K, Vec<String>> = BTreeMap::new();
    if sockets.is_empty() {
        return found;
    }
    let processes = host.list(Path::new("/proc")).unwrap_or_default();
    let processes = processes.into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    for pid in processes.take(PROCESSES_MAX) {
        let place = PathBuf::from("/proc").join(&pid);
        let files = host.list(&place.join("fd")).unwrap_or_default();
        for file in files.into_iter().take(FILES_MAX) {
            let Ok(target) = host.target(&place.join("fd").join(file)) else { continue };
            let Some(group) = sockets.get(&target) else { continue };
            let name = host.read(&place.join("comm")).unwrap_or_default();
            let holder = format!("{}, pid {pid}", name.trim_end());
            let known = found.entry(*group).or_default();
            if !known.contains(&holder) && known.len() < HOLDERS_MAX {
                known.push(holder);
            }
        }
    }
    found
}

/// `010101EF:1389`, four-byte words as the machine's own numbers.
fn bound(local: &str) -> Option<IpAddr> {
    let (address, _port) = local.split_once(':')?;
    let word =
        |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match address.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words: Option<Vec<[u8; 4]>> = (0..4).map(|i| word(i * 8)).collect();
            Some(IpAddr::from(<[u8; 16]>::try_from(words?.concat()).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let text = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    7\tenp3s0f0np0:     2      V3\n\t\t\t\t010101EF     2 0:00000000\t\t1\n";
        let joins = igmp(text);
        let last = joins.last().unwrap();
        assert_eq!((last.device.as_str(), last.users), ("enp3s0f0np0", 2));
        if cfg!(target_endian = "little") {
            assert_eq!(last.group, "239.1.1.1");
            assert_eq!(bound("010101EF:1389"), Some("239.1.1.1".parse().unwrap()));
        }
        let joins =
            igmp6("2    eth1            ff0200000000000000000000000000fb     1 00000004 0\n");
        assert_eq!((joins[0].device.as_str(), joins[0].group.as_str()), ("eth1", "ff02::fb"));
        assert!(is_kernels("ff02::1:ff00:1") && !is_kernels("ff02::fb"));
        assert_eq!(bound("zz:1"), None);
    }
}
