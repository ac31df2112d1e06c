//! A tracked connection, put into the kernel's table by ctnetlink as a failover daemon does (conntrackd).

#![allow(unsafe_code)] // a netlink socket has no safe wrapper here

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use agent::host::tlv::Writer;

/// NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW
const CT_NEW: u16 = 1 << 8;
/// NLM_F_REQUEST, _ACK, _EXCL, _CREATE
const FLAGS: u16 = 0x1 | 0x4 | 0x200 | 0x400;

/// UDP from `from` to `to`, both ways.
pub(crate) fn track(from: Ipv4Addr, to: Ipv4Addr) -> io::Result<()> {
    let tuple = |(from, sport): (Ipv4Addr, u16), (to, dport): (Ipv4Addr, u16)| {
        let (mut ip, mut proto, mut tuple) = (Writer::new(), Writer::new(), Writer::new());
        ip.put(1, &from.octets()).put(2, &to.octets());
        proto.u8(1, 17).put(2, &sport.to_be_bytes()).put(3, &dport.to_be_bytes());
        tuple.nest(1, &ip).nest(2, &proto);
        tuple
    };
    let mut body = Writer::new();
    body.nest(1, &tuple((from, 5000), (to, 9)))
        .nest(2, &tuple((to, 9), (from, 5000)))
        .put(7, &600_u32.to_be_bytes());
    // struct nfgenmsg: AF_INET, version, resource
    let payload = [&[2, 0, 0, 0][..], body.as_bytes()].concat();
    let mut message = (16 + payload.len() as u32).to_ne_bytes().to_vec();
    message.extend_from_slice(&CT_NEW.to_ne_bytes());
    message.extend_from_slice(&FLAGS.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&payload);
    // SAFETY: no memory is handed over.
    let raw = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_NETFILTER)
    };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut answer = [0_u8; 512];
    // SAFETY: both buffers are as long as is said. An unconnected netlink socket sends to the kernel.
    let (sent, received) = unsafe {
        let sent = libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0);
        (sent, libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0))
    };
    if sent < 0 || received < 20 {
        return Err(io::Error::last_os_error());
    }
    // struct nlmsgerr behind the header.
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}
