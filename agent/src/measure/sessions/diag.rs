//! sock_diag for TCP and UDP: what is asked, and what of the answers is used.
//!
//! Source: include/uapi/linux/inet_diag.h, include/uapi/linux/tcp.h, net/ipv4/inet_diag.c. The kernel
//! loads its module tcp_diag for this, as it does for ss(8).

use std::net::IpAddr;

use crate::host::{
    Ask,
    tlv::{Attrs, Writer},
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// A bit set of states: TCP_ESTABLISHED is 1.
const ESTABLISHED: u32 = 1 << 1;
/// `struct inet_diag_sockid`: ports, addresses, interface, cookie.
const SOCKID_BYTES: usize = 48;
/// `struct inet_diag_msg`.
const ANSWER_BYTES: usize = 72;

const INET_DIAG_REQ_BYTECODE: u16 = 1;
/// The extension that holds `struct tcp_info`; asked for by its bit.
const INET_DIAG_INFO: u16 = 2;
const INFO_BIT: u8 = 1 << (INET_DIAG_INFO - 1);

/// INET_DIAG_BC_JMP, INET_DIAG_BC_S_COND.
const JUMP: u8 = 1;
const SOURCE_IS: u8 = 7;
const OP_BYTES: usize = 4;
/// Addresses that one filter names; sessions of further ones are left out.
pub(crate) const ADDRESSES_MAX: usize = 64;

/// One session, as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    /// The kernel's own name for the socket, unique while the machine is up.
    pub(super) cookie: u64,
    pub(super) remote: IpAddr,
    pub(super) inode: u32,
    /// Smoothed round trip, microseconds (tcpi_rtt).
    pub(super) rtt_us: u32,
    pub(super) bytes_acked: u64,
    /// Segments sent again since the session began (tcpi_total_retrans); wraps.
    pub(super) total_retransmits: u32,
}

impl Session {
    /// `None` where a kernel older than 4.1 does not tell what was acknowledged.
    pub(super) fn parse(answer: &[u8]) -> Option<Session> {
        let header = answer.get(..ANSWER_BYTES)?;
        let info = Attrs(answer.get(ANSWER_BYTES..)?).find(INET_DIAG_INFO)?.payload;
        let word = |bytes: &[u8], at: usize| -> Option<u32> {
            Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        let remote = match header[0] {
            AF_INET => IpAddr::from(<[u8; 4]>::try_from(&header[24..28]).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?),
        };
        Some(Session {
            cookie: u64::from(word(header, 44)?) | u64::from(word(header, 48)?) << 32,
            remote: remote.to_canonical(),
            inode: word(header, 68)?,
            rtt_us: word(info, 68)?,
            total_retransmits: word(info, 100)?,
            bytes_acked: u64::from_ne_bytes(info.get(120..128)?.try_into().ok()?),
        })
    }
}

/// The questions for every established session of these local addresses: one for each family of
/// sockets. IPv6 sockets may hold IPv4 sessions, and the kernel's filter sees through that.
pub(super) fn asks(addresses: &[IpAddr], most: usize) -> Vec<Ask> {
    let addresses = &addresses[..addresses.len().min(ADDRESSES_MAX)];
    questions(
        Wanted { protocol: IPPROTO_TCP, states: ESTABLISHED, extensions: INFO_BIT },
        addresses,
        most,
    )
}

/// Which sockets, and what of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// IPPROTO_TCP, IPPROTO_UDP.
    pub(crate) protocol: u8,
    /// A bit set of states.
    pub(crate) states: u32,
    /// INET_DIAG_* by their bits.
    pub(crate) extensions: u8,
}

/// The questions for the sockets of these local addresses, 64 at most: one for each family.
pub(crate) fn questions(wanted: Wanted, addresses: &[IpAddr], most: usize) -> Vec<Ask> {
    let v4: Vec<IpAddr> = addresses.iter().copied().filter(IpAddr::is_ipv4).collect();
    let ask = |family: u8, of: &[IpAddr]| {
        // struct inet_diag_req_v2
        let mut payload = vec![family, wanted.protocol, wanted.extensions, 0];
        payload.extend_from_slice(&wanted.states.to_ne_bytes());
        payload.resize(payload.len() + SOCKID_BYTES, 0);
        let mut attributes = Writer::new();
        attributes.put(INET_DIAG_REQ_BYTECODE, &filter(of));
        payload.extend_from_slice(attributes.as_bytes());
        Ask::Diag { payload, most }
    };
    let both = [(AF_INET, v4.as_slice()), (AF_INET6, addresses)];
    both.into_iter().filter(|(_, of)| !of.is_empty()).map(|(family, of)| ask(family, of)).collect()
}

/// A program that accepts where the local address is one of these: it runs until it lands exactly on
/// its end (yes) or beyond (no).
fn filter(addresses: &[IpAddr]) -> Vec<u8> {
    let mut program: Vec<u8> = Vec::new();
    // From the last to the first, since jumps lead forward.
    for address in addresses.iter().rev() {
        let (family, octets): (u8, Vec<u8>) = match address {
            IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
            IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
        };
        // struct inet_diag_hostcond: family, prefix length, port (-1: any), address.
        let mut condition = vec![family, octets.len() as u8 * 8, 0, 0];
        condition.extend_from_slice(&(-1_i32).to_ne_bytes());
        condition.extend_from_slice(&octets);
        let length = OP_BYTES + condition.len();
        let rest = program.len();
        let last = rest == 0;
        // Otherwise: past the jump to what follows. The last one: past the end.
        let mut step = op(SOURCE_IS, length as u8, length + OP_BYTES);
        step.extend_from_slice(&condition);
        if !last {
            step.extend_from_slice(&op(JUMP, OP_BYTES as u8, OP_BYTES + rest));
        }
        step.extend_from_slice(&program);
        program = step;
    }
    program
}

/// `struct inet_diag_bc_op`: how far to go on yes, how far on no.
fn op(code: u8, yes: u8, no: usize) -> Vec<u8> {
    let mut bytes = vec![code, yes];
    // 64 addresses come to 2 KiB.
    bytes.extend_from_slice(&u16::try_from(no).unwrap_or(u16::MAX).to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// inet_diag_bc_run of net/ipv4/inet_diag.c, for the two operations used.
    fn accepts(program: &[u8], local: IpAddr) -> bool {
        let (mut at, length) = (0, program.len());
        while at < length {
            let no = usize::from(u16::from_ne_bytes([program[at + 2], program[at + 3]]));
            let yes = match program[at] {
                JUMP => false,
                SOURCE_IS => {
                    let octets = match local {
                        IpAddr::V4(v4) => v4.octets().to_vec(),
                        IpAddr::V6(v6) => v6.octets().to_vec(),
                    };
                    let from = at + OP_BYTES + 8;
                    program.get(from..from + octets.len()) == Some(&octets)
                        && usize::from(program[at + OP_BYTES + 1]) == octets.len() * 8
                }
                other => panic!("operation {other}"),
            };
            at += if yes { usize::from(program[at + 1]) } else { no };
        }
        at == length
    }

    #[test]
    fn the_filter_accepts_its_addresses_and_no_others() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let all = ["10.0.0.1", "fd00::1", "192.0.2.7", "fe80::1"].map(ip);
        for count in 1..=all.len() {
            let program = filter(&all[..count]);
            for (at, address) in all.iter().enumerate() {
                assert_eq!(accepts(&program, *address), at < count, "{address} of {count}");
            }
            assert!(!accepts(&program, ip("10.0.0.2")) && !accepts(&program, ip("fd00::2")));
        }
        let families = |addresses: &[IpAddr]| asks(addresses, 1).len();
        assert_eq!((families(&all[..1]), families(&all[1..2]), families(&[])), (2, 1, 0));
    }

    #[test]
    fn answers_too_short_are_left_out() {
        let mut answer = [0; ANSWER_BYTES];
        answer[0] = AF_INET;
        answer[24..28].copy_from_slice(&[192, 0, 2, 1]);
        answer[68..72].copy_from_slice(&77_u32.to_ne_bytes());
        let mut info = vec![0; 128];
        info[68..72].copy_from_slice(&1234_u32.to_ne_bytes());
        for length in [0, 100, 127] {
            let mut short = Writer::new();
            short.put(INET_DIAG_INFO, &info[..length]);
            assert_eq!(Session::parse(&[&answer[..], short.as_bytes()].concat()), None);
        }
        let mut whole = Writer::new();
        whole.put(INET_DIAG_INFO, &info);
        let session = Session::parse(&[&answer[..], whole.as_bytes()].concat()).unwrap();
        assert_eq!((session.rtt_us, session.inode), (1234, 77));
        assert_eq!(session.remote.to_string(), "192.0.2.1");
        assert_eq!(Session::parse(&answer[..50]), None);
    }
}
