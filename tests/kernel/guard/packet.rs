//! A packet socket bound to an interface, as a capture has one.

#![allow(unsafe_code)] // binding to an interface's index has no safe wrapper

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

const ALL: u16 = libc::ETH_P_ALL as u16;

pub(crate) fn bound(nic: &str) -> io::Result<OwnedFd> {
    let name = CString::new(nic).expect("a name");
    let protocol = libc::c_int::from(ALL.to_be());
    // SAFETY: no memory is handed over.
    let raw =
        unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ALL.to_be();
    // SAFETY: a string that ends with a zero byte.
    address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) }.cast_signed();
    // SAFETY: a whole sockaddr_ll with its length.
    let result = unsafe {
        let length = size_of_val(&address) as libc::socklen_t;
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
    };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}
