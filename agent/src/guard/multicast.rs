//! Multicast groups joined on the NIC, by /proc/net/igmp and /proc/net/igmp6.
//!
//! The tables tell how many sockets have joined, not whose: a process is named where a UDP socket is bound
//! to the group's address, or has a raw socket of the protocol whose group it is (VRRP, OSPF). What the
//! kernel joins by itself does not count ([`is_the_kernels`]); nor does discovery of names (mDNS, LLMNR),
//! whose daemons join on every interface and again when one comes.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, held},
    inet, raw,
    scene::{Port, Scene, present},
};
use crate::fault::Result;

pub(super) struct Multicast;

impl Sign for Multicast {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Multicast]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut joined: Vec<(u32, IpAddr)> = Vec::new();
        if let Some(table) = present(scene.host.read(Path::new("/proc/net/igmp")))? {
            joined.extend(igmp(&table));
        }
        if let Some(table) = present(scene.host.read(Path::new("/proc/net/igmp6")))? {
            joined.extend(igmp6(&table));
        }
        joined.retain(|(_, group)| !is_the_kernels(*group) && !is_discovery(*group));
        let ours = |port: &Port| -> BTreeSet<IpAddr> {
            let here = joined.iter().filter(|(ifindex, _)| port.stack.contains(ifindex));
            here.map(|(_, group)| *group).collect()
        };
        let mut found = Found::default();
        for port in &scene.ports {
            let groups = ours(port);
            if groups.is_empty() {
                continue;
            }
            let sockets = inet::bound_to_group(scene.host, &groups)?;
            let mut named: BTreeSet<IpAddr> =
                sockets.iter().map(|socket| socket.local.ip()).collect();
            found.clues.extend(sockets.iter().map(|socket| {
                let how = format!("UDP socket of multicast group {}", socket.local);
                clue(port, socket.inode.into(), how)
            }));
            if groups.iter().any(|group| protocol(*group).is_some()) {
                // Names alone: a table that cannot be read is told by its own signal.
                let raw = raw::sockets(scene.host).unwrap_or_default();
                for group in &groups {
                    let of = raw.iter().filter(|raw| protocol(*group) == Some(raw.protocol));
                    for socket in of {
                        named.insert(*group);
                        let how = format!("{} while {group} is joined", socket.words());
                        found.clues.push(clue(port, socket.inode, how));
                    }
                }
            }
            for group in groups.difference(&named) {
                let how = format!("a socket has joined {group} (the kernel does not tell whose)");
                found.holders.push(held(Signal::Multicast, &port.name, &port.name, how));
            }
        }
        Ok(found)
    }
}

fn clue(port: &Port, inode: u64, how: String) -> Clue {
    Clue {
        signal: Signal::Multicast,
        port: port.name.clone(),
        what: port.name.clone(),
        token: Token::Socket(inode),
        how,
        certainty: Certainty::InUse,
        alone: Alone::InUse,
    }
}

/// Index and group of each line of /proc/net/igmp: a device's line begins with its index, its groups
/// follow, indented, as the address in memory order (net/ipv4/igmp.c igmp_mc_seq_show).
fn igmp(table: &str) -> Vec<(u32, IpAddr)> {
    let mut ifindex = 0;
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if line.starts_with(|c: char| c.is_ascii_digit()) {
            ifindex = first.parse().unwrap_or(0);
        } else if let Ok(address) = u32::from_str_radix(first, 16) {
            found.push((ifindex, IpAddr::from(Ipv4Addr::from(address.to_ne_bytes()))));
        }
    }
    found
}

/// `4    eth0            ff020000000000000000000000000001     1 0000000C 0`
fn igmp6(table: &str) -> Vec<(u32, IpAddr)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let ifindex = words.next()?.parse().ok()?;
        let address = u128::from_str_radix(words.nth(1)?, 16).ok()?;
        Some((ifindex, IpAddr::from(Ipv6Addr::from(address))))
    };
    table.lines().filter_map(line).collect()
}

/// All hosts, all routers and what multicast snooping listens to (RFC 4286): ip_mc_up of net/ipv4/igmp.c,
/// dev_forward_change of net/ipv6/addrconf.c, net/bridge/br_multicast.c; the solicited-node groups of
/// neighbour discovery; all that never leaves the interface.
fn is_the_kernels(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => matches!(group.octets(), [224, 0, 0, 1 | 106]),
        IpAddr::V6(group) => match group.segments() {
            // The last digit of the first segment is the scope.
            [first, ..] if first & 0xf == 1 => true,
            [0xff02, 0, 0, 0, 0, 0, 0, 1 | 2 | 0x6a] | [0xff05, 0, 0, 0, 0, 0, 0, 2] => true,
            segments => solicited(segments),
        },
    }
}

/// `ff02::1:ff00:0/104`
fn solicited(segments: [u16; 8]) -> bool {
    segments[..6] == [0xff02, 0, 0, 0, 0, 1] && segments[6] & 0xff00 == 0xff00
}

/// mDNS (RFC 6762) and LLMNR (RFC 4795).
fn is_discovery(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => matches!(group.octets(), [224, 0, 0, 251 | 252]),
        IpAddr::V6(group) => matches!(
            group.segments(),
            [0xff02, 0, 0, 0, 0, 0, 0, 0xfb] | [0xff02, 0, 0, 0, 0, 0, 1, 3]
        ),
    }
}

/// The IP protocol whose own group this is, by IANA's registries: its daemons have raw sockets.
fn protocol(group: IpAddr) -> Option<u16> {
    let last = match group {
        IpAddr::V4(group) => match group.octets() {
            [224, 0, 0, last] => u16::from(last),
            _ => return None,
        },
        IpAddr::V6(group) => match group.segments() {
            [0xff02, 0, 0, 0, 0, 0, 0, last] => last,
            _ => return None,
        },
    };
    Some(match (last, group.is_ipv4()) {
        (5 | 6, _) => 89,
        (10, _) => 88,
        (13, _) => 103,
        (18, _) => 112,
        (2 | 22, true) => 2,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(joined: &[(u32, IpAddr)]) -> Vec<String> {
        let counts = |group: &IpAddr| !is_the_kernels(*group) && !is_discovery(*group);
        let groups = joined.iter().map(|(_, group)| group).filter(|group| counts(group));
        groups.map(ToString::to_string).collect()
    }

    #[test]
    fn groups_are_read_from_the_kernels_tables_and_its_own_left_out() {
        let table = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                     1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                     4\teth0      :     3      V3\n\t\t\t\t010101EF     2 0:00000000\t\t0\n\
                     \t\t\t\tFB0000E0     1 0:00000000\t\t0\n\
                     \t\t\t\t120000E0     1 0:00000000\t\t0\n";
        let found = igmp(table);
        let words: Vec<String> = found.iter().map(|(i, group)| format!("{i} {group}")).collect();
        assert_eq!(words, ["1 224.0.0.1", "4 239.1.1.1", "4 224.0.0.251", "4 224.0.0.18"]);
        assert_eq!(counted(&found), ["239.1.1.1", "224.0.0.18"]);
        let row = |group: &str| format!("4    eth0            {group}     1 0000000C 0\n");
        let table: String = [
            "ff020000000000000000000000000001",
            "ff010000000000000000000000000002",
            "ff050000000000000000000000000002",
            "ff02000000000000000000000000006a",
            "ff0200000000000000000000000000fb",
            "ff0200000000000000000001ff98abcd",
            "ff020000000000000000000000000012",
            "ff020000000000000000000000010002",
            "ff0e0000000000000000000000000101",
        ]
        .map(row)
        .concat();
        assert_eq!(counted(&igmp6(&table)), ["ff02::12", "ff02::1:2", "ff0e::101"]);
        let of = |group: &str| protocol(group.parse().unwrap());
        assert_eq!([of("224.0.0.5"), of("ff02::6"), of("224.0.0.18")], [89, 89, 112].map(Some));
        assert_eq!([of("239.0.0.5"), of("224.0.0.1"), of("ff0e::5")], [None; 3]);
    }
}
