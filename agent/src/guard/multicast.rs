//! Multicast groups joined on the NIC, by /proc/net/igmp and /proc/net/igmp6.
//!
//! The tables tell how many sockets have joined, not whose: a process is named where a UDP socket is bound
//! to the group's address. Groups of the local network (224.0.0.0/24 of RFC 5771, scopes 1 and 2 of RFC
//! 4291), which the kernel and service discovery join everywhere, carry no feed and do not count; neither
//! do the solicited-node groups of neighbour discovery.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, held},
    inet,
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
        joined.retain(|(_, group)| carries_a_feed(*group));
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
            let named: BTreeSet<IpAddr> = sockets.iter().map(|socket| socket.local.ip()).collect();
            found.clues.extend(sockets.iter().map(|socket| clue(port, socket)));
            for group in groups.difference(&named) {
                let how = format!("a socket has joined {group} (the kernel does not tell whose)");
                found.holders.push(held(Signal::Multicast, &port.name, &port.name, how));
            }
        }
        Ok(found)
    }
}

fn clue(port: &Port, socket: &inet::Socket) -> Clue {
    Clue {
        signal: Signal::Multicast,
        port: port.name.clone(),
        what: port.name.clone(),
        token: Token::Socket(socket.inode.into()),
        how: format!("UDP socket of multicast group {}", socket.local),
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

fn carries_a_feed(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => !matches!(group.octets(), [224, 0, 0, _]),
        IpAddr::V6(group) => {
            let segments = group.segments();
            // The last digit of the first segment is the scope.
            !matches!(segments[0] & 0xf, 1 | 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_the_kernels_tables_and_local_ones_left_out() {
        let table = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                     1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                     4\teth0      :     3      V3\n\t\t\t\t010101EF     2 0:00000000\t\t0\n\
                     \t\t\t\tFB0000E0     1 0:00000000\t\t0\n";
        let found = igmp(table);
        let words: Vec<String> = found.iter().map(|(i, group)| format!("{i} {group}")).collect();
        assert_eq!(words, ["1 224.0.0.1", "4 239.1.1.1", "4 224.0.0.251"]);
        let feeds = found.iter().filter(|(_, group)| carries_a_feed(*group)).count();
        assert_eq!(feeds, 1);
        let table = "4    eth0            ff020000000000000000000000000001     1 0000000C 0\n\
                     4    eth0            ff0e0000000000000000000000000101     1 00000004 0\n\
                     4    eth0            ff0200000000000000000001ff000001     1 00000004 0\n";
        let feeds: Vec<_> = igmp6(table).into_iter().filter(|(_, g)| carries_a_feed(*g)).collect();
        assert_eq!(feeds.len(), 1);
        assert_eq!(feeds[0].1.to_string(), "ff0e::101");
    }
}
