//! ARP requests to a neighbour of a port (RFC 826): every IPv4 host and router on the link answers them, whatever
//! it thinks of strangers' packets, and nothing is routed.
//!
//! A packet socket of type SOCK_DGRAM (packet(7)): the kernel makes the Ethernet header. Sent to the neighbour's own
//! hardware address, as the kernel itself asks a neighbour whether it is still there.
#![allow(unsafe_code, reason = "AF_PACKET sockets, which no safe wrapper opens")]

use std::{
    ffi::CString,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use nix::errno::Errno;

use super::pings::{Asks, Pace};

/// Routers limit how many such requests they answer in a second.
pub(super) const PACE: Pace = Pace { period_ns: 50_000_000, silence_ns: 200_000_000 };
/// An Ethernet and IPv4 packet of RFC 826.
const PACKET_BYTES: usize = 28;
const REQUEST: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 1];
const REPLY: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 2];
/// Answers looked at for one that is to us.
const QUEUED_MAX: usize = 64;

pub(super) type Hardware = [u8; 6];

/// Whom a port asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// By its name: its index changes.
    pub(super) nic: String,
    pub(super) our: (Ipv4Addr, Hardware),
    pub(super) their: (Ipv4Addr, Hardware),
}

/// A socket on the interface that has the name now.
pub(super) struct Link {
    socket: OwnedFd,
    ifindex: i32,
}

impl Asks for Asked {
    type Socket = Link;

    fn open(&mut self) -> Option<Link> {
        open(&self.nic).ok()
    }

    fn ask(&mut self, link: &Link) -> bool {
        let to = address(link.ifindex, &self.their.1);
        let packet = request(self);
        // SAFETY: `packet` and `to` live through the call and are as long as is said; the descriptor is open.
        let sent = unsafe {
            libc::sendto(
                link.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_DONTWAIT,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        sent >= 0
    }

    fn answered(&mut self, link: &Link) -> bool {
        let mut packet = [0_u8; 64];
        for _ in 0..QUEUED_MAX {
            // SAFETY: the kernel writes at most `packet.len()` bytes into `packet`; the descriptor is open.
            let got = unsafe {
                libc::recv(
                    link.socket.as_raw_fd(),
                    packet.as_mut_ptr().cast(),
                    packet.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            let Ok(length) = usize::try_from(got) else { return false };
            if is_answer(&packet[..length.min(packet.len())], self) {
                return true;
            }
        }
        false
    }
}

/// ARP packets of this interface only.
fn open(nic: &str) -> Result<Link, Errno> {
    let protocol = (libc::ETH_P_ARP as u16).to_be();
    let name = CString::new(nic).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `name` is a string with its end, borrowed for the call.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let ifindex = i32::try_from(ifindex).unwrap_or_default();
    if ifindex == 0 {
        return Err(Errno::ENODEV);
    }
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // Without a protocol it hears nothing until it is bound to the interface.
    // SAFETY: no pointers; the result is checked.
    let socket = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut here = address(ifindex, &[0; 6]);
    here.sll_protocol = protocol;
    // SAFETY: `here` lives through the call and is as long as is said; the descriptor is open.
    Errno::result(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const here).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })?;
    Ok(Link { socket, ifindex })
}

fn address(ifindex: i32, hardware: &Hardware) -> libc::sockaddr_ll {
    let mut address = [0; 8];
    address[..6].copy_from_slice(hardware);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ARP as u16).to_be(),
        sll_ifindex: ifindex,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: address,
    }
}

fn request(asked: &Asked) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    packet[..8].copy_from_slice(&REQUEST);
    packet[8..14].copy_from_slice(&asked.our.1);
    packet[14..18].copy_from_slice(&asked.our.0.octets());
    // The target's hardware address is what is asked for: zero.
    packet[24..].copy_from_slice(&asked.their.0.octets());
    packet
}

/// A reply of the one who was asked, to us.
fn is_answer(packet: &[u8], asked: &Asked) -> bool {
    packet.len() >= PACKET_BYTES
        && packet[..8] == REPLY
        && packet[8..14] == asked.their.1
        && packet[14..18] == asked.their.0.octets()
        && packet[24..28] == asked.our.0.octets()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            nic: "eth1".to_owned(),
            our: (Ipv4Addr::new(192, 0, 2, 1), [2, 0, 0, 0, 0, 1]),
            their: (Ipv4Addr::new(192, 0, 2, 2), [2, 0, 0, 0, 0, 2]),
        }
    }

    #[test]
    fn only_the_answer_of_the_one_who_was_asked_counts() {
        let asked = asked();
        let mut reply = request(&asked);
        assert!(!is_answer(&reply, &asked), "a request is no answer");
        reply[7] = 2;
        reply[8..14].copy_from_slice(&asked.their.1);
        reply[14..18].copy_from_slice(&asked.their.0.octets());
        reply[24..].copy_from_slice(&asked.our.0.octets());
        assert!(is_answer(&reply, &asked));
        for at in 0..PACKET_BYTES {
            let mut other = reply;
            other[at] ^= 1;
            // To whose hardware address it came says nothing more.
            assert_eq!(is_answer(&other, &asked), (18..24).contains(&at), "byte {at}");
        }
        assert!((0..PACKET_BYTES).all(|length| !is_answer(&reply[..length], &asked)));
    }
}
