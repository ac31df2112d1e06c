//! Sockets with kernel timestamps: opening them on one NIC, and receiving with what the kernel knows
//! of a datagram beside its bytes.
//!
//! recvmsg(2) and sendmsg(2) are called directly: the reflector answers from the address it was asked
//! at without allocating, which no safe wrapper offers. Control messages are then parsed as bytes.
#![allow(unsafe_code, reason = "recvmsg and sendmsg with control messages, without allocating")]

mod answer;

use std::{
    ffi::OsString,
    net::{
        IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream, UdpSocket,
    },
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, TimestampingFlag, bind, connect,
            getsockopt, setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};

use crate::fault::{Fault, Kind, Result};

pub use answer::{begin_answer, finish_answer};

/// Which way a probe's packets leave: by NIC, by source address, or as routing decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    pub nic: Option<String>,
    pub source: Option<IpAddr>,
}

/// What is asked of the kernel's timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// Software stamps of received datagrams.
    Receive,
    /// Software stamps in both directions; send stamps are numbered from 0 and arrive on the error queue.
    Both,
    /// Both, and the NIC's own stamps where something else (ptp4l) has already switched them on.
    /// A socket option never switches them on: that is the SIOCSHWTSTAMP ioctl, which is not used.
    BothAndHardware,
}

const RX_HARDWARE: u32 = 1 << 2;
const TX_SOFTWARE: u32 = 1 << 1;
const TX_HARDWARE: u32 = 1 << 0;
const RX_SOFTWARE: u32 = 1 << 3;
const SOFTWARE: u32 = 1 << 4;
const RAW_HARDWARE: u32 = 1 << 6;
const OPT_ID: u32 = 1 << 7;
const OPT_TSONLY: u32 = 1 << 11;
/// Software send stamps also when the NIC makes one (include/uapi/linux/net_tstamp.h).
const OPT_TX_SWHW: u32 = 1 << 14;

impl Stamps {
    fn flags(self) -> u32 {
        let both = TX_SOFTWARE | RX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY;
        match self {
            Stamps::Receive => RX_SOFTWARE | SOFTWARE,
            Stamps::Both => both,
            Stamps::BothAndHardware => {
                both | RX_HARDWARE | TX_HARDWARE | RAW_HARDWARE | OPT_TX_SWHW
            }
        }
    }
}

/// A UDP socket from `port` (0: the kernel's choice) to `peer`, its path fixed and stamps on.
pub fn open_udp(way: &Way, port: u16, peer: SocketAddr, stamps: Stamps) -> Result<UdpSocket> {
    let act = || format!("open a UDP socket to {peer}{}", on(way));
    let fault = |errno: Errno| Fault::errno(act(), errno as i32, None);
    let fd =
        socket(family(peer), SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(fault)?;
    prepare(&fd, way, port, peer).map_err(fault)?;
    request_stamps(&fd, stamps).map_err(fault)?;
    grow_buffers(&fd);
    setsockopt(&fd, sockopt::RxqOvfl, &1).map_err(fault)?;
    // A sender held up by a full queue stays interruptible.
    let held = TimeVal::new(0, 100_000);
    setsockopt(&fd, sockopt::SendTimeout, &held).map_err(fault)?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(peer)).map_err(fault)?;
    Ok(UdpSocket::from(fd))
}

/// A TCP connection to `peer`, made within `limit`, without Nagle's delay.
pub fn open_tcp(way: &Way, peer: SocketAddr, limit: Duration) -> Result<TcpStream> {
    let act = || format!("connect to {peer}{}", on(way));
    let fault = |errno: Errno| Fault::errno(act(), errno as i32, None);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family(peer), SockType::Stream, flags, None).map_err(fault)?;
    prepare(&fd, way, 0, peer).map_err(fault)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true).map_err(fault)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(peer)) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => finish_connecting(&fd, limit).map_err(fault)?,
        Err(errno) => return Err(fault(errno)),
    }
    let stream = TcpStream::from(fd);
    let blocking = stream.set_nonblocking(false);
    blocking.map_err(|e| Fault::new(Kind::Io, act(), e.to_string()))?;
    Ok(stream)
}

/// The reflector's UDP socket: where `listen` is a wildcard, it learns the address it was asked at.
/// `::` takes IPv4 too.
pub fn listen_udp(listen: SocketAddr) -> Result<UdpSocket> {
    let fault = |e: Errno| Fault::errno(format!("listen on {listen} (UDP)"), e as i32, None);
    let fd =
        socket(family(listen), SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(fault)?;
    match listen {
        SocketAddr::V4(_) => {
            setsockopt(&fd, sockopt::Ipv4PacketInfo, &true).map_err(fault)?;
        }
        SocketAddr::V6(_) => {
            setsockopt(&fd, sockopt::Ipv6V6Only, &false).map_err(fault)?;
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true).map_err(fault)?;
            setsockopt(&fd, sockopt::Ipv6RecvHopLimit, &true).map_err(fault)?;
        }
    }
    // On an IPv6 socket this serves the IPv4 datagrams that it takes too.
    setsockopt(&fd, sockopt::Ipv4RecvTtl, &true).map_err(fault)?;
    request_stamps(&fd, Stamps::Receive).map_err(fault)?;
    grow_buffers(&fd);
    let wake = TimeVal::new(0, 100_000);
    setsockopt(&fd, sockopt::ReceiveTimeout, &wake).map_err(fault)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(listen)).map_err(fault)?;
    Ok(UdpSocket::from(fd))
}

fn on(way: &Way) -> String {
    let nic = way.nic.as_ref().map(|nic| format!(" by {nic}")).unwrap_or_default();
    let source = way.source.map(|source| format!(" from {source}")).unwrap_or_default();
    format!("{nic}{source}")
}

fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Ties a socket to its NIC, source address and port, before it is connected.
fn prepare(fd: &OwnedFd, way: &Way, port: u16, peer: SocketAddr) -> nix::Result<()> {
    if let Some(nic) = &way.nic {
        setsockopt(fd, sockopt::BindToDevice, &OsString::from(nic))?;
    }
    let source = way.source.unwrap_or(match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    });
    let source = SocketAddr::new(source, port);
    bind(fd.as_raw_fd(), &SockaddrStorage::from(source))
}

fn request_stamps(fd: &OwnedFd, stamps: Stamps) -> nix::Result<()> {
    setsockopt(fd, sockopt::Timestamping, &TimestampingFlag::from_bits_retain(stamps.flags()))
}

/// A megabyte each way where we may, so that a burst's stamps and replies are not dropped by us.
fn grow_buffers(fd: &OwnedFd) {
    const BYTES: usize = 1 << 20;
    // Without CAP_NET_ADMIN the host's own limit applies; what is dropped then is counted and noted.
    let _ = setsockopt(fd, sockopt::RcvBufForce, &BYTES)
        .or_else(|_| setsockopt(fd, sockopt::RcvBuf, &BYTES));
    let _ = setsockopt(fd, sockopt::SndBuf, &BYTES);
}

fn finish_connecting(fd: &OwnedFd, limit: Duration) -> nix::Result<()> {
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut waiting = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut waiting, limit)? {
        0 => Err(Errno::ETIMEDOUT),
        _ => match getsockopt(fd, sockopt::SocketError)? {
            0 => Ok(()),
            errno => Err(Errno::from_raw(errno)),
        },
    }
}

/// A socket address as the kernel wrote it, kept as bytes so that a reply needs no conversion.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Address {
    bytes: [u8; 28],
    length: u32,
}

impl Address {
    /// `None` for a family other than IPv4 and IPv6.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let b = &self.bytes;
        let port = u16::from_be_bytes([b[2], b[3]]);
        match i32::from(u16::from_ne_bytes([b[0], b[1]])) {
            libc::AF_INET => {
                let ip = Ipv4Addr::new(b[4], b[5], b[6], b[7]);
                Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(*b[8..].first_chunk::<16>()?);
                let scope = u32::from_ne_bytes([b[24], b[25], b[26], b[27]]);
                Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
            }
            _ => None,
        }
    }
}

/// Where a datagram was sent to on this host, as the control message that answers from there.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct AskedAt {
    control: [u8; 40],
    length: usize,
}

/// What came with a datagram.
pub struct Datagram {
    pub length: usize,
    /// It was longer than the buffer.
    pub truncated: bool,
    pub from: Address,
    pub asked_at: AskedAt,
    /// TTL or hop limit; 0 where the kernel gave none.
    pub ttl: u8,
    /// CLOCK_REALTIME, nanoseconds since 1970.
    pub software_ns: Option<i64>,
    /// The NIC's own clock, nanoseconds.
    pub hardware_ns: Option<i64>,
    /// Datagrams this socket has dropped so far because its receive buffer was full.
    pub overflowed: Option<u32>,
}

/// A datagram's departure, from the error queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Departure {
    /// The how-manieth datagram of this socket, from 0.
    pub id: u32,
    pub software_ns: Option<i64>,
    pub hardware_ns: Option<i64>,
}

const CONTROL: usize = 512;

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Receives one datagram. Waits at most the socket's own receive timeout; `Errno::EAGAIN` then.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<Datagram> {
    take(socket, buffer, 0)
}

/// The same without waiting.
pub fn receive_now(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<Datagram> {
    take(socket, buffer, libc::MSG_DONTWAIT)
}

/// The next departure stamp, or `None` where the error queue is empty.
pub fn departure_now(socket: BorrowedFd<'_>) -> nix::Result<Option<Departure>> {
    let mut control = Control([0; CONTROL]);
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    let raw = match recvmsg(socket, &mut [], flags, &mut control) {
        Ok(raw) => raw,
        Err(Errno::EAGAIN) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let mut departure = Departure::default();
    let mut numbered = false;
    for message in Controls(&control.0[..raw.control]) {
        match (message.level, message.kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => {
                (departure.software_ns, departure.hardware_ns) = stamps(message.payload);
            }
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
                // struct sock_extended_err: errno, origin, type, code, pad, info, data.
                let p = message.payload;
                if p.len() >= 16 && p[4] == libc::SO_EE_ORIGIN_TIMESTAMPING {
                    departure.id = u32::from_ne_bytes([p[12], p[13], p[14], p[15]]);
                    numbered = true;
                }
            }
            _ => {}
        }
    }
    // Something else on the queue: no stamp, but the queue has moved on.
    if !numbered {
        (departure.software_ns, departure.hardware_ns) = (None, None);
    }
    Ok(Some(departure))
}

fn take(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: i32) -> nix::Result<Datagram> {
    let mut control = Control([0; CONTROL]);
    let raw = recvmsg(socket, buffer, flags, &mut control)?;
    let mut datagram = Datagram {
        length: raw.length.min(buffer.len()),
        truncated: raw.flags & libc::MSG_TRUNC != 0,
        from: raw.from,
        asked_at: AskedAt { control: [0; 40], length: 0 },
        ttl: 0,
        software_ns: None,
        hardware_ns: None,
        overflowed: None,
    };
    for message in Controls(&control.0[..raw.control]) {
        let first_four = message.payload.first_chunk::<4>().copied().map(u32::from_ne_bytes);
        match (message.level, message.kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => {
                (datagram.software_ns, datagram.hardware_ns) = stamps(message.payload);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => datagram.overflowed = first_four,
            (libc::SOL_IP, libc::IP_TTL) | (libc::SOL_IPV6, libc::IPV6_HOPLIMIT) => {
                datagram.ttl = first_four.map_or(0, |ttl| ttl as u8);
            }
            (libc::SOL_IP, libc::IP_PKTINFO) => {
                // struct in_pktinfo: ifindex, the local address to answer from, the header's address.
                if let Some(p) = message.payload.first_chunk::<12>() {
                    let mut info = [0; 12];
                    info[4..8].copy_from_slice(&p[4..8]);
                    datagram.asked_at = AskedAt::new(libc::SOL_IP, libc::IP_PKTINFO, &info);
                }
            }
            (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                // struct in6_pktinfo: address, ifindex. Only a link-local answer names its link.
                if let Some(p) = message.payload.first_chunk::<20>() {
                    let mut info = *p;
                    if !(p[0] == 0xfe && p[1] & 0xc0 == 0x80) {
                        info[16..].fill(0);
                    }
                    datagram.asked_at = AskedAt::new(libc::SOL_IPV6, libc::IPV6_PKTINFO, &info);
                }
            }
            _ => {}
        }
    }
    Ok(datagram)
}

const CMSG_HEADER: usize = size_of::<libc::cmsghdr>();

impl AskedAt {
    /// One control message, laid out as cmsg(3) says: length, level, type, payload.
    fn new(level: i32, kind: i32, payload: &[u8]) -> AskedAt {
        let mut control = [0; 40];
        let length = CMSG_HEADER + payload.len();
        let word = size_of::<usize>();
        control[..word].copy_from_slice(&length.to_ne_bytes());
        control[word..word + 4].copy_from_slice(&level.to_ne_bytes());
        control[word + 4..word + 8].copy_from_slice(&kind.to_ne_bytes());
        control[CMSG_HEADER..length].copy_from_slice(payload);
        AskedAt { control, length: length.next_multiple_of(word) }
    }
}

struct Raw {
    length: usize,
    flags: i32,
    from: Address,
    /// Bytes of control messages.
    control: usize,
}

fn recvmsg(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: i32,
    control: &mut Control,
) -> nix::Result<Raw> {
    let mut from = Address { bytes: [0; 28], length: 0 };
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain data; all zeros is its empty value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = from.bytes.as_mut_ptr().cast();
    header.msg_namelen = from.bytes.len() as u32;
    header.msg_iov = &mut slice;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    // SAFETY: every pointer in `header` is to memory borrowed mutably for this call with the length
    // given beside it; the kernel writes at most that much. The descriptor is borrowed, so it is open.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
    let length = Errno::result(got)?;
    from.length = header.msg_namelen.min(28);
    let control = (header.msg_controllen as usize).min(CONTROL);
    Ok(Raw { length: length.unsigned_abs(), flags: header.msg_flags, from, control })
}

struct Message<'a> {
    level: i32,
    kind: i32,
    payload: &'a [u8],
}

/// Walks control messages as bytes: `struct cmsghdr`, its payload, padding to a word.
struct Controls<'a>(&'a [u8]);

impl<'a> Iterator for Controls<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let word = size_of::<usize>();
        let length = usize::from_ne_bytes(*self.0.first_chunk()?);
        let number = |at: usize| Some(i32::from_ne_bytes(*self.0.get(at..)?.first_chunk()?));
        let (level, kind) = (number(word)?, number(word + 4)?);
        let payload = self.0.get(CMSG_HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(word)..).unwrap_or(&[]);
        Some(Message { level, kind, payload })
    }
}

/// `struct scm_timestamping`: three timespecs, of which the first is software and the third hardware.
fn stamps(payload: &[u8]) -> (Option<i64>, Option<i64>) {
    const { assert!(size_of::<libc::timespec>() == 16, "written for 64-bit time") };
    let time = |at: usize| {
        let (words, _) = payload.get(at..at + 16)?.as_chunks::<8>();
        let (seconds, nanos) = (i64::from_ne_bytes(words[0]), i64::from_ne_bytes(words[1]));
        (seconds != 0 || nanos != 0).then_some(seconds * 1_000_000_000 + nanos)
    };
    (time(0), time(32))
}

/// Segments a connection has sent and received, and those it sent again (`struct tcp_info` of
/// include/uapi/linux/tcp.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Segments {
    pub carried: u64,
    pub retransmitted: u64,
}

/// Zeros where the kernel does not say.
pub fn segments(stream: &TcpStream) -> Segments {
    const TOTAL_RETRANS: usize = 100;
    const SEGS_OUT: usize = 136;
    const SEGS_IN: usize = 140;
    let mut info = [0_u8; 256];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `info`, which is borrowed mutably for the
    // call and that long; bytes have no invalid values. The descriptor is borrowed, so it is open.
    let got = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    let field = |at: usize| match info.get(at..at + 4) {
        Some(&[a, b, c, d]) => u64::from(u32::from_ne_bytes([a, b, c, d])),
        Some(_) | None => 0,
    };
    match got {
        0 => Segments {
            carried: field(SEGS_OUT) + field(SEGS_IN),
            retransmitted: field(TOTAL_RETRANS),
        },
        _ => Segments::default(),
    }
}
