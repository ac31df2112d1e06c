//! Answering in two steps, so that a time written in the second one is as late as it can be.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::{Address, AskedAt};

/// Begins a datagram that answers `to` from the address it had asked at. The kernel finds the route and
/// makes the packet; nothing is sent before [`finish_answer`].
pub fn begin_answer(
    socket: BorrowedFd<'_>,
    head: &[u8],
    to: &Address,
    asked_at: &AskedAt,
) -> nix::Result<()> {
    // SAFETY: msghdr is plain data; all zeros is its empty value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = to.bytes.as_ptr().cast_mut().cast();
    header.msg_namelen = to.length;
    if asked_at.length > 0 {
        header.msg_control = asked_at.control.as_ptr().cast_mut().cast();
        header.msg_controllen = asked_at.length as _;
    }
    sendmsg(socket, head, header, libc::MSG_MORE)
}

/// Adds the rest of the datagram begun last on this socket, and sends it. Where that fails the whole
/// datagram is dropped (udp_sendmsg, net/ipv4/udp.c).
pub fn finish_answer(socket: BorrowedFd<'_>, tail: &[u8]) -> nix::Result<()> {
    // SAFETY: msghdr is plain data; all zeros is its empty value.
    let header: libc::msghdr = unsafe { std::mem::zeroed() };
    sendmsg(socket, tail, header, 0)
}

/// `header` names address and control message, borrowed by the caller for this call.
fn sendmsg(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    mut header: libc::msghdr,
    flags: i32,
) -> nix::Result<()> {
    let mut slice =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    header.msg_iov = &mut slice;
    header.msg_iovlen = 1;
    // SAFETY: every pointer in `header` is to memory borrowed for this call with the length given
    // beside it, and sendmsg only reads through them; the descriptor is borrowed, so it is open.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, flags | libc::MSG_DONTWAIT) };
    Errno::result(sent).map(drop)
}
