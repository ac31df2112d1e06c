//! The kernel's side of sock_diag, and the sockets in /proc/net: as far as it is asked who uses a NIC.
//!
//! Source: include/uapi/linux/{inet_diag,xdp_diag}.h.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Refusal, State};
use crate::host::tlv::Writer;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const AF_XDP: u8 = 44;
const TCP: u8 = 6;
const UDP: u8 = 17;
const RAW: u8 = 255;
/// TCP_ESTABLISHED, TCP_CLOSE (a UDP socket that is not connected).
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
/// XDP_DIAG_INFO: `struct xdp_diag_info`.
const XDP_INFO: u16 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SimSocket {
    pub protocol: Protocol,
    pub inode: u32,
    /// `192.0.2.1:443`, where it has an address.
    #[serde(default)]
    pub local: Option<SocketAddr>,
    #[serde(default)]
    pub remote: Option<SocketAddr>,
    /// The NIC that it is bound to.
    #[serde(default)]
    pub nic: Option<String>,
    /// AF_XDP: the queue.
    #[serde(default)]
    pub queue: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
    /// Its local port is the IP protocol.
    Raw,
    Xdp,
    /// No socket: an io_uring whose memory a receive queue uses (zero copy).
    IoUring,
}

/// A dump by `struct inet_diag_req_v2` or `struct xdp_diag_req`. The filter in a request is a wish: the
/// kernel may answer more, and so does this.
pub(super) fn ask(state: &State, payload: &[u8], most: usize) -> Result<Vec<Vec<u8>>, Refusal> {
    let (Some(&family), Some(&protocol)) = (payload.first(), payload.get(1)) else {
        return Err(Refusal::errno(libc::EINVAL));
    };
    let wanted = |socket: &&SimSocket| match socket.protocol {
        Protocol::Tcp => protocol == TCP && family_of(socket) == family,
        Protocol::Udp => protocol == UDP && family_of(socket) == family,
        Protocol::Raw => protocol == RAW && family_of(socket) == family,
        Protocol::Xdp => family == AF_XDP,
        Protocol::IoUring => false,
    };
    let found = state.machine.sockets.iter().filter(wanted).take(most);
    Ok(found.map(|socket| message(state, socket)).collect())
}

/// A dump of connection tracking (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
pub(super) fn tracked(state: &State, most: usize) -> Vec<Vec<u8>> {
    let tuple = |source: &IpAddr| {
        let (mut ip, mut tuple) = (Writer::new(), Writer::new());
        match source {
            IpAddr::V4(v4) => ip.put(1, &v4.octets()),
            IpAddr::V6(v6) => ip.put(3, &v6.octets()),
        };
        tuple.nest(1, &ip);
        tuple
    };
    let one = |(from, to): &(IpAddr, IpAddr)| {
        let mut whole = Writer::new();
        whole.nest(1, &tuple(from)).nest(2, &tuple(to));
        [&[0; 4][..], whole.as_bytes()].concat()
    };
    state.machine.tracked.iter().take(most).map(one).collect()
}

fn family_of(socket: &SimSocket) -> u8 {
    if socket.local.is_some_and(|local| local.is_ipv6()) { AF_INET6 } else { AF_INET }
}

fn message(state: &State, socket: &SimSocket) -> Vec<u8> {
    let ifindex = socket.nic.as_ref().and_then(|nic| state.machine.nic(nic));
    let ifindex = ifindex.map_or(0, |nic| nic.ifindex);
    if socket.protocol == Protocol::Xdp {
        let mut bytes = vec![AF_XDP, 3, 0, 0];
        bytes.extend_from_slice(&socket.inode.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let mut info = Writer::new();
        info.put(XDP_INFO, &[ifindex.to_ne_bytes(), socket.queue.to_ne_bytes()].concat());
        bytes.extend_from_slice(info.as_bytes());
        return bytes;
    }
    // struct inet_diag_msg: family, state, timer, retrans, then struct inet_diag_sockid.
    let connected = if socket.remote.is_some() { ESTABLISHED } else { CLOSE };
    let mut bytes = vec![family_of(socket), connected, 0, 0];
    let port = |end: Option<SocketAddr>| end.map_or(0, |end| end.port()).to_be_bytes();
    bytes.extend_from_slice(&port(socket.local));
    bytes.extend_from_slice(&port(socket.remote));
    for end in [socket.local, socket.remote] {
        let mut octets = match end.map(|end| end.ip()) {
            Some(IpAddr::V4(v4)) => v4.octets().to_vec(),
            Some(IpAddr::V6(v6)) => v6.octets().to_vec(),
            None => Vec::new(),
        };
        octets.resize(16, 0);
        bytes.extend_from_slice(&octets);
    }
    bytes.extend_from_slice(&ifindex.to_ne_bytes());
    // cookie, expires, rqueue, wqueue, uid, inode
    bytes.extend_from_slice(&[0; 24]);
    bytes.extend_from_slice(&socket.inode.to_ne_bytes());
    bytes
}

/// /proc/net/protocols, as far as anybody counts by it.
pub(super) fn protocols(state: &State) -> String {
    let count = |protocol| state.machine.sockets.iter().filter(|s| s.protocol == protocol).count();
    let row = |name: &str, protocol| {
        format!("{name:9} 1088 {:6}      -1   NI       0   no   kernel      n\n", count(protocol))
    };
    format!(
        "protocol  size sockets  memory press maxhdr  slab module     cl\n{}{}{}",
        row("UDP", Protocol::Udp),
        row("TCP", Protocol::Tcp),
        row("XDP", Protocol::Xdp)
    )
}
