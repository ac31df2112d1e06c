//! Raw sockets, sockets bound to an interface and multicast joins, as routing daemons have them.

#![allow(unsafe_code)] // raw sockets and these options have no safe wrapper

use std::{
    ffi::CString,
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

pub(crate) fn raw(protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is handed over.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// SO_BINDTODEVICE
pub(crate) fn bind_to(socket: &impl AsFd, nic: &str) -> io::Result<()> {
    let name = CString::new(nic).expect("a name");
    let bytes = name.as_bytes_with_nul();
    set(socket, (libc::SOL_SOCKET, libc::SO_BINDTODEVICE), bytes)
}

/// IP_ADD_MEMBERSHIP by the interface with this address.
pub(crate) fn join(socket: &impl AsFd, group: Ipv4Addr, by: Ipv4Addr) -> io::Result<()> {
    // struct ip_mreq
    let bytes = [group.octets(), by.octets()].concat();
    set(socket, (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP), &bytes)
}

fn set(socket: &impl AsFd, (level, option): (i32, i32), value: &[u8]) -> io::Result<()> {
    let descriptor = socket.as_fd().as_raw_fd();
    let length = value.len() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes, which `value` has.
    let result =
        unsafe { libc::setsockopt(descriptor, level, option, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
