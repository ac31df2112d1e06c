//! Raw IP sockets (VRRP, OSPF, PIM and other protocols without ports) that are bound to the NIC or its addresses.
//!
//! Socket diag tells what a socket is bound to; where the kernel has none for raw sockets (raw_diag),
//! /proc/net/raw lists them without the interface, and one that is bound to no address may be the NIC's.
//! ICMP does not count: ping, traceroute and the daemons that listen for router advertisements go on by
//! themselves. One that is bound to nothing hears every interface: what it has joined is told by
//! [`super::multicast`].
//!
//! Source: net/ipv4/{raw,raw_diag}.c, net/ipv6/raw.c.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, unknown},
    inet::{self, SOCKETS_MAX},
    scene::{Port, Scene, present},
};
use crate::{
    fault::Result,
    host::{Ask, Host},
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `sdiag_protocol` of raw sockets, whatever their own protocol.
const IPPROTO_RAW: u8 = 255;
const ICMP: u16 = 1;
const ICMPV6: u16 = 58;
const TABLES: [&str; 2] = ["/proc/net/raw", "/proc/net/raw6"];

pub(super) struct Raw;

impl Sign for Raw {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Raw]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let sockets = sockets(scene.host)?;
        let mut found = Found::default();
        for port in &scene.ports {
            if sockets.len() >= SOCKETS_MAX {
                let how = format!("more than {SOCKETS_MAX} raw sockets to look through");
                found.holders.push(unknown(Signal::Raw, &port.name, how));
            }
            found.clues.extend(sockets.iter().filter_map(|socket| clue(port, socket)));
        }
        Ok(found)
    }
}

/// A raw socket, as far as it is told.
pub(super) struct Socket {
    /// The IP protocol.
    pub(super) protocol: u16,
    pub(super) inode: u64,
    local: IpAddr,
    /// The interface that it is bound to, or 0. `None` where the kernel does not tell.
    ifindex: Option<u32>,
}

impl Socket {
    /// `raw socket of protocol 112 (VRRP)`
    pub(super) fn words(&self) -> String {
        let protocol = self.protocol;
        match name(protocol) {
            Some(name) => format!("raw socket of protocol {protocol} ({name})"),
            None => format!("raw socket of protocol {protocol}"),
        }
    }
}

/// Protocols that routers and failover speak, by IANA's numbers.
fn name(protocol: u16) -> Option<&'static str> {
    Some(match protocol {
        2 => "IGMP",
        88 => "EIGRP",
        89 => "OSPF",
        103 => "PIM",
        112 => "VRRP",
        _ => return None,
    })
}

fn clue(port: &Port, socket: &Socket) -> Option<Clue> {
    let words = socket.words();
    let (how, certainty) = match socket.ifindex {
        Some(ifindex) if port.stack.contains(&ifindex) => {
            (format!("{words}, bound to the interface"), Certainty::InUse)
        }
        Some(_) | None if port.addresses.contains(&socket.local) => {
            (format!("{words}, bound to {}", socket.local), Certainty::InUse)
        }
        None if socket.local.is_unspecified() => {
            let how =
                format!("{words}; this kernel does not tell on which interface (no raw_diag)");
            (how, Certainty::Unknown)
        }
        Some(_) | None => return None,
    };
    Some(Clue {
        signal: Signal::Raw,
        port: port.name.clone(),
        what: port.name.clone(),
        token: Token::Socket(socket.inode),
        how,
        certainty,
        alone: Alone::InUse,
    })
}

/// Every raw socket of this network namespace but ICMP's.
pub(super) fn sockets(host: &dyn Host) -> Result<Vec<Socket>> {
    let mut found = match present(by_diag(host))? {
        Some(found) => found,
        None => by_tables(host)?,
    };
    found.retain(|socket| !matches!(socket.protocol, ICMP | ICMPV6));
    Ok(found)
}

fn by_diag(host: &dyn Host) -> Result<Vec<Socket>> {
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let sockets = inet::sockets(
            host,
            &Ask::Diag {
                payload: inet::request(family, IPPROTO_RAW, inet::ANY),
                most: SOCKETS_MAX,
            },
        )?;
        // In the local port's place is the protocol (raw_v4 inet_sport).
        found.extend(sockets.into_iter().map(|socket| Socket {
            protocol: socket.local.port(),
            inode: socket.inode.into(),
            local: socket.local.ip(),
            ifindex: Some(socket.ifindex),
        }));
    }
    Ok(found)
}

fn by_tables(host: &dyn Host) -> Result<Vec<Socket>> {
    let mut found = Vec::new();
    for file in TABLES {
        if let Some(table) = present(host.read(Path::new(file)))? {
            found.extend(table.lines().skip(1).filter_map(row).take(SOCKETS_MAX));
        }
    }
    Ok(found)
}

/// `112: 00000000:0070 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2 …`: address (words in
/// memory order) and protocol, …, inode.
fn row(line: &str) -> Option<Socket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (address, protocol) = words.get(1)?.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let local = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        _ => {
            let mut octets = [0; 16];
            for (index, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?.to_ne_bytes());
            }
            IpAddr::from(Ipv6Addr::from(octets)).to_canonical()
        }
    };
    let protocol = u16::from_str_radix(protocol, 16).ok()?;
    Some(Socket { protocol, inode: words.get(9)?.parse().ok()?, local, ifindex: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_both_families_are_read_and_strange_ones_are_none() {
        let line = " 112: 010062EA:0070 00000000:0000 07 00000000:00000000 00:00000000 00000000     \
                    0        0 4711 2 0000000000000000 0";
        let socket = row(line).unwrap();
        assert_eq!((socket.protocol, socket.inode), (112, 4711));
        assert_eq!(socket.local.to_string(), "234.98.0.1");
        assert_eq!(socket.words(), "raw socket of protocol 112 (VRRP)");
        let line = "  89: 000080FE000000000000000001000000:0059 \
                    00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 \
                    0 0 4712 2 0 0";
        let socket = row(line).unwrap();
        assert_eq!((socket.protocol, socket.local.to_string()), (89, "fe80::1".to_owned()));
        for strange in ["", " 112: 0100:0070", " 1: é0000000:0070 0 0 0 0 0 0 0 1"] {
            assert!(row(strange).is_none(), "{strange}");
        }
    }
}
