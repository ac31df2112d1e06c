//! Sockets that hold an interface: a capture's, and a multicast router's.

#![allow(unsafe_code)] // these options have no safe wrapper

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// `struct packet_mreq` of include/uapi/linux/if_packet.h.
#[repr(C)]
struct Membership {
    index: i32,
    kind: u16,
    length: u16,
    address: [u8; 8],
}

/// `struct vifctl` of include/uapi/linux/mroute.h.
#[repr(C)]
struct Vif {
    vif: u16,
    flags: u8,
    threshold: u8,
    rate_limit: u32,
    index: i32,
    remote: u32,
}

const MRT_INIT: i32 = 200;
const MRT_ADD_VIF: i32 = 202;
const VIFF_USE_IFINDEX: u8 = 8;

/// A packet socket that has the interface take in everything, as tcpdump's.
pub(crate) fn promiscuous(index: u32) -> io::Result<OwnedFd> {
    let socket = open(libc::AF_PACKET, 0)?;
    let kind = libc::PACKET_MR_PROMISC as u16;
    let wish = Membership { index: index.cast_signed(), kind, length: 0, address: [0; 8] };
    set(&socket, (libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP), &wish)?;
    Ok(socket)
}

/// A multicast router with the interface as its virtual interface 0.
pub(crate) fn routed(index: u32) -> io::Result<OwnedFd> {
    let socket = open(libc::AF_INET, libc::IPPROTO_IGMP)?;
    set(&socket, (libc::IPPROTO_IP, MRT_INIT), &1_i32)?;
    let index = index.cast_signed();
    let vif =
        Vif { vif: 0, flags: VIFF_USE_IFINDEX, threshold: 1, rate_limit: 0, index, remote: 0 };
    set(&socket, (libc::IPPROTO_IP, MRT_ADD_VIF), &vif)?;
    Ok(socket)
}

fn open(family: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is handed over.
    let raw = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn set<T>(socket: &OwnedFd, (level, name): (i32, i32), value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let place = std::ptr::from_ref(value).cast();
    // SAFETY: a whole T with its length, read by the kernel only.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, place, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
