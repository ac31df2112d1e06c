//! Rules of nftables, as `nft` would make them: `iif`, by comparison and by a set.

#![allow(unsafe_code)] // a netlink socket has no safe wrapper here

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use agent::host::tlv::{NESTED, Writer};

const NETLINK_NETFILTER: i32 = 12;
const NFTABLES: u16 = 10;
const INET: u8 = 1;
/// NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE and NLM_F_APPEND.
const FLAGS: u16 = 0x1 | 0x4 | 0x400 | 0x800;

/// How a rule asks for an interface.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By {
    /// `iif eth1`
    Comparison,
    /// `iif @s`, the set made with it.
    Set,
}

/// `table inet t { chain c { iif INDEX } }`
pub(crate) fn rule(table: &str, by: By, index: u32) -> io::Result<()> {
    let named = |kinds: &[(u16, &str)]| {
        let mut attrs = Writer::new();
        for (kind, text) in kinds {
            attrs.text(*kind, text);
        }
        attrs
    };
    let mut messages = vec![(0, named(&[(1, table)])), (3, named(&[(1, table), (3, "c")]))];
    let mut expressions = Writer::new();
    // `meta load iif => reg 1`: NFTA_META_DREG, NFTA_META_KEY.
    expression(&mut expressions, "meta", Writer::new().put(1, &be(1)).put(2, &be(4)));
    match by {
        By::Comparison => {
            let mut data = Writer::new();
            data.put(1, &be(1)).put(2, &be(0)).nest(3, Writer::new().put(1, &index.to_ne_bytes()));
            expression(&mut expressions, "cmp", &data);
        }
        By::Set => {
            let mut set = named(&[(1, table), (2, "s")]);
            set.put(4, &be(0)).put(5, &be(4)).put(10, &be(1));
            messages.push((9, set));
            let (mut key, mut element, mut list) = (Writer::new(), Writer::new(), Writer::new());
            key.put(1, &index.to_ne_bytes());
            element.nest(1, &key);
            list.nest(1, &element);
            let mut elements = named(&[(1, table), (2, "s")]);
            elements.nest(3, &list);
            messages.push((12, elements));
            let mut data = named(&[(1, "s")]);
            expression(&mut expressions, "lookup", data.put(2, &be(1)));
        }
    }
    let mut rule = named(&[(1, table), (2, "c")]);
    rule.put(4 | NESTED, expressions.as_bytes());
    messages.push((6, rule));
    send(&messages)
}

fn be(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

fn expression(list: &mut Writer, name: &str, data: &Writer) {
    let mut own = Writer::new();
    own.text(1, name).nest(2, data);
    list.nest(1, &own);
}

/// One batch; the kernel makes all of it or nothing.
fn send(messages: &[(u16, Writer)]) -> io::Result<()> {
    let mut batch = message(0x10, 1, &[0, 0, 0, NFTABLES as u8]);
    for (command, attrs) in messages {
        let body = [&[INET, 0, 0, 0], attrs.as_bytes()].concat();
        batch.extend(message(NFTABLES << 8 | command, FLAGS, &body));
    }
    batch.extend(message(0x11, 1, &[0, 0, 0, NFTABLES as u8]));
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is handed over.
    let raw = unsafe { libc::socket(libc::AF_NETLINK, kind, NETLINK_NETFILTER) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: a whole buffer with its length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), batch.as_ptr().cast(), batch.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    for _ in messages {
        let mut answer = [0_u8; 1024];
        let (place, room) = (answer.as_mut_ptr().cast(), answer.len());
        // SAFETY: a whole buffer with its length, written to by the kernel only. It has answered already.
        let got = unsafe { libc::recv(socket.as_raw_fd(), place, room, libc::MSG_DONTWAIT) };
        if got < 20 {
            return Err(io::Error::last_os_error());
        }
        // `struct nlmsgerr` begins with the errno.
        let errno = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(-errno));
        }
    }
    Ok(())
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).expect("a short message");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
