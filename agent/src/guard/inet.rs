//! TCP connections and UDP sockets at the NIC's own addresses, and those of what sits on it (its VLANs,
//! bond, bridge), by sock_diag.
//!
//! Connections from other addresses of the host (on lo or dummy) count where the kernel's route leaves by the
//! port. Left out is what never leaves the host: a connection whose other end is an address of it. A UDP socket
//! that is bound to no address is not told to be the NIC's, unless it is bound to the interface itself;
//! what it has joined is ([`super::multicast`]).
//!
//! Source: include/uapi/linux/inet_diag.h.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, unknown},
    leaves::Routes,
    scene::{Port, Scene},
};
use crate::{
    fault::Result,
    host::{Ask, Host},
    measure::sessions::diag::{ADDRESSES_MAX, Wanted, questions},
};

const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Bit sets of states: TCP_ESTABLISHED; and, for UDP, all.
const ESTABLISHED: u32 = 1 << 1;
pub(super) const ANY: u32 = u32::MAX;
/// `struct inet_diag_req_v2`; `struct inet_diag_msg`.
const REQUEST_BYTES: usize = 56;
const ANSWER_BYTES: usize = 72;
/// Sockets told of one kind; of more, that there are more.
pub(super) const SOCKETS_MAX: usize = 20_000;

pub(super) struct Tcp;

impl Sign for Tcp {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Tcp]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut found = strays(scene, Signal::Tcp, &established(scene)?);
        for port in &scene.ports {
            let wanted = Wanted { protocol: IPPROTO_TCP, states: ESTABLISHED, extensions: 0 };
            for addresses in port.addresses.chunks(ADDRESSES_MAX) {
                for ask in questions(wanted, addresses, SOCKETS_MAX) {
                    let sockets = sockets(scene.host, &ask)?;
                    more(&mut found, Signal::Tcp, port, sockets.len());
                    let here = |socket: &&Socket| {
                        port.addresses.contains(&socket.local.ip())
                            && !scene.local.contains(&socket.remote.ip())
                    };
                    let clues = sockets.iter().filter(here).map(|socket| tcp(port, socket));
                    found.clues.extend(clues);
                }
            }
        }
        Ok(found)
    }
}

fn established(scene: &Scene<'_>) -> Result<Vec<Socket>> {
    let mut all = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let payload = request(family, IPPROTO_TCP, ESTABLISHED);
        all.extend(sockets(scene.host, &Ask::Diag { payload, most: SOCKETS_MAX })?);
    }
    Ok(all)
}

/// Connections from other addresses of this host (a service's on lo or dummy, another NIC's) whose packets
/// leave by a port all the same.
fn strays(scene: &Scene<'_>, signal: Signal, all: &[Socket]) -> Found {
    let routes = Routes::new(scene.host);
    let mut found = Found::default();
    let goes_out = |socket: &&Socket| {
        let (here, there) = (socket.local.ip(), socket.remote.ip());
        !there.is_unspecified()
            && !there.is_loopback()
            && !scene.local.contains(&there)
            && !here.is_unspecified()
    };
    for socket in all.iter().filter(goes_out) {
        let (here, there) = (socket.local.ip(), socket.remote.ip());
        let others = |port: &&Port| {
            let counted = signal == Signal::Udp && port.stack.contains(&socket.ifindex);
            !port.addresses.contains(&here) && !counted
        };
        if scene.ports.iter().all(|port| !others(&port)) {
            continue;
        }
        let by = routes.leaves_by(there, Some(here));
        let leaves = |port: &&Port| by.is_some_and(|by| port.stack.contains(&by));
        for port in scene.ports.iter().filter(others).filter(leaves) {
            let words = if signal == Signal::Tcp { "TCP connection" } else { "UDP socket" };
            let (local, remote) = (socket.local, socket.remote);
            let how = format!("{words} {local} to {remote}, which leaves by {}", port.name);
            found.clues.push(clue(signal, port, socket, how));
        }
    }
    if let Some(gap) = routes.gap() {
        let each = scene.ports.iter();
        found.holders.extend(each.map(|port| unknown(signal, &port.name, gap.clone())));
    }
    found
}

fn tcp(port: &Port, socket: &Socket) -> Clue {
    let how = format!("TCP connection {} to {}", socket.local, socket.remote);
    clue(Signal::Tcp, port, socket, how)
}

pub(super) struct Udp;

impl Sign for Udp {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Udp]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut found = Found::default();
        let mut all = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let payload = request(family, IPPROTO_UDP, ANY);
            let sockets = sockets(scene.host, &Ask::Diag { payload, most: SOCKETS_MAX })?;
            for port in &scene.ports {
                more(&mut found, Signal::Udp, port, sockets.len());
            }
            all.extend(sockets);
        }
        found.add(strays(scene, Signal::Udp, &all));
        for port in &scene.ports {
            let inner = |socket: &Socket| {
                !socket.remote.ip().is_unspecified() && scene.local.contains(&socket.remote.ip())
            };
            let here = |socket: &&Socket| {
                let bound = port.addresses.contains(&socket.local.ip())
                    || port.stack.contains(&socket.ifindex);
                bound && !inner(socket)
            };
            found.clues.extend(all.iter().filter(here).map(|socket| udp(port, socket)));
        }
        Ok(found)
    }
}

fn udp(port: &Port, socket: &Socket) -> Clue {
    let mut how = format!("UDP socket bound to {}", socket.local);
    if socket.ifindex != 0 {
        how.push_str(&format!(" on {}", port.name));
    }
    if socket.remote.port() != 0 {
        how.push_str(&format!(", connected to {}", socket.remote));
    }
    clue(Signal::Udp, port, socket, how)
}

/// Without a process that has it open it is the kernel's (NFS, iSCSI), or a hidden process's.
fn clue(signal: Signal, port: &Port, socket: &Socket, how: String) -> Clue {
    Clue {
        signal,
        port: port.name.clone(),
        what: port.name.clone(),
        token: Token::Socket(socket.inode.into()),
        how,
        certainty: Certainty::InUse,
        alone: Alone::InUse,
    }
}

fn more(found: &mut Found, signal: Signal, port: &Port, count: usize) {
    if count >= SOCKETS_MAX {
        let how = format!("more than {SOCKETS_MAX} sockets to look through");
        found.holders.push(unknown(signal, &port.name, how));
    }
}

/// One socket, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The interface that it is bound to, or 0.
    pub(super) ifindex: u32,
    pub(super) inode: u32,
}

/// Asks for every socket of this family and protocol in these states.
pub(super) fn request(family: u8, protocol: u8, states: u32) -> Vec<u8> {
    let mut payload = vec![family, protocol, 0, 0];
    payload.extend_from_slice(&states.to_ne_bytes());
    payload.resize(REQUEST_BYTES, 0);
    payload
}

pub(super) fn sockets(host: &dyn Host, ask: &Ask) -> Result<Vec<Socket>> {
    Ok(host.request(ask)?.iter().filter_map(|answer| parse(answer)).collect())
}

fn parse(answer: &[u8]) -> Option<Socket> {
    let header = answer.get(..ANSWER_BYTES)?;
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let word = |at: usize| {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let address = |at: usize| -> Option<IpAddr> {
        let octets = header.get(at..at + 16)?;
        Some(match header[0] {
            AF_INET => IpAddr::from(<[u8; 4]>::try_from(&octets[..4]).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?).to_canonical(),
        })
    };
    Some(Socket {
        local: SocketAddr::new(address(8)?, port(4)),
        remote: SocketAddr::new(address(24)?, port(6)),
        ifindex: word(40),
        inode: word(68),
    })
}

/// The UDP sockets that are bound to a group's own address, as feed handlers do: by group.
pub(super) fn bound_to_group(host: &dyn Host, groups: &BTreeSet<IpAddr>) -> Result<Vec<Socket>> {
    let groups: Vec<IpAddr> = groups.iter().copied().collect();
    let wanted = Wanted { protocol: IPPROTO_UDP, states: ANY, extensions: 0 };
    let mut found = Vec::new();
    for part in groups.chunks(ADDRESSES_MAX) {
        for ask in questions(wanted, part, SOCKETS_MAX) {
            found.extend(sockets(host, &ask)?);
        }
    }
    found.retain(|socket| groups.contains(&socket.local.ip()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_read_from_the_kernels_bytes_and_damage_is_survived() {
        let mut answer = vec![0; ANSWER_BYTES];
        (answer[0], answer[1]) = (AF_INET6, 1);
        answer[4..6].copy_from_slice(&443_u16.to_be_bytes());
        answer[6..8].copy_from_slice(&50_000_u16.to_be_bytes());
        // An IPv4 connection of an IPv6 socket.
        answer[18..24].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        answer[34..40].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7]);
        answer[40..44].copy_from_slice(&3_u32.to_ne_bytes());
        answer[68..72].copy_from_slice(&77_u32.to_ne_bytes());
        let socket = parse(&answer).unwrap();
        assert_eq!(socket.local.to_string(), "192.0.2.1:443");
        assert_eq!(socket.remote.to_string(), "192.0.2.7:50000");
        assert_eq!((socket.ifindex, socket.inode), (3, 77));
        (0..ANSWER_BYTES).for_each(|length| assert_eq!(parse(&answer[..length]), None));
    }
}
