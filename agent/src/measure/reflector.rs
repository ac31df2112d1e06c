//! The reflector: answers STAMP (RFC 8762) over UDP and [`message`](super::message)s over TCP, on one
//! port number.
//!
//! Stateless by default, as RFC 8762 section 4.3 allows: nothing is remembered between packets but
//! counters, so it cannot run out of sessions. T2 is the kernel's software receive stamp. T3 is read in
//! user space as late as it can be: the kernel has found the route and made the packet when the rest of
//! it, T3 first, is added to what was begun (`MSG_MORE`) and sent. What is left of the reflector's way
//! down the stack counts as wire: 2 to 5 us, more on a processor that has just been asleep. The NIC's
//! hardware stamps are not used for T2: they are of another clock than T3, and their difference would
//! mean nothing. Hardware timestamping is never switched on.
//!
//! Nobody gains by abusing it: a reply is never longer than its request, a reply that comes as a
//! request is refused (two reflectors would answer each other for ever), connections, message sizes and
//! waits are bounded, and malformed packets are counted and not answered.

mod tcp;
mod udp;

use std::{
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde::Serialize;

use crate::fault::{Fault, Kind, Result};

use super::sockets;

/// How a reflector is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[::]:862` takes IPv6 and IPv4. Port 0 takes any that is free for both UDP and TCP.
    pub listen: SocketAddr,
    pub connections_max: usize,
    /// How long a TCP peer may take for one message, and stay silent between messages.
    pub idle: Duration,
    /// Most packets a second from one source address; unlimited where `None`. Sources share 4096
    /// buckets by hash, so a limit is met early rather than late.
    pub rate_max: Option<u32>,
}

impl Config {
    pub fn new(listen: SocketAddr) -> Config {
        Config { listen, connections_max: 64, idle: Duration::from_secs(30), rate_max: None }
    }
}

/// What a reflector did, printed when it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stats {
    pub reflected: u64,
    /// Too short, an impossible timestamp, or truncated.
    pub malformed: u64,
    /// Some reflector's reply, sent to us as a request.
    pub refused_loops: u64,
    /// Over `rate_max`.
    pub refused_rate: u64,
    /// The kernel gave no receive stamp, so T2 was read in user space.
    pub unstamped: u64,
    pub send_failed: u64,
    pub tcp_connections: u64,
    pub tcp_messages: u64,
    pub tcp_malformed: u64,
    /// Over `connections_max`.
    pub tcp_refused: u64,
    pub tcp_timed_out: u64,
}

impl Stats {
    fn add(mut self, tcp: &Stats) -> Stats {
        self.tcp_connections += tcp.tcp_connections;
        self.tcp_messages += tcp.tcp_messages;
        self.tcp_malformed += tcp.tcp_malformed;
        self.tcp_refused += tcp.tcp_refused;
        self.tcp_timed_out += tcp.tcp_timed_out;
        self
    }
}

/// Bound, and not yet answering.
pub struct Reflector {
    config: Config,
    udp: UdpSocket,
    tcp: TcpListener,
    local: SocketAddr,
}

impl Reflector {
    /// Opens both sockets, in the calling thread's network namespace.
    pub fn bind(config: Config) -> Result<Reflector> {
        // With port 0 the kernel's choice for UDP may be taken for TCP: then the next one is tried.
        const TRIES: u32 = 16;
        let mut tries = 0;
        loop {
            tries += 1;
            let udp = sockets::listen_udp(config.listen)?;
            let act = || format!("listen on {} (TCP)", config.listen);
            let io = |e: std::io::Error| match e.raw_os_error() {
                Some(errno) => Fault::errno(act(), errno, None),
                None => Fault::new(Kind::Io, act(), e.to_string()),
            };
            let local = udp.local_addr().map_err(io)?;
            match TcpListener::bind(local) {
                Ok(tcp) => {
                    tcp.set_nonblocking(true).map_err(io)?;
                    return Ok(Reflector { config, udp, tcp, local });
                }
                Err(_) if config.listen.port() == 0 && tries < TRIES => {}
                Err(error) => return Err(io(error)),
            }
        }
    }

    /// Where it listens, for UDP and TCP alike.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Answers until `stop` says so, which is asked every 100 ms; or until it cannot go on.
    pub fn run(self, stop: &(dyn Fn() -> bool + Sync)) -> Result<Stats> {
        let over = AtomicBool::new(false);
        let over = &over;
        let ended = || over.load(Ordering::Relaxed) || stop();
        let (udp, tcp) = std::thread::scope(|scope| {
            let streams = scope.spawn(|| {
                let end = tcp::serve(&self.tcp, &self.config, &ended);
                over.store(true, Ordering::Relaxed);
                end
            });
            let datagrams = udp::serve(&self.udp, &self.config, &ended);
            over.store(true, Ordering::Relaxed);
            (datagrams, streams.join())
        });
        let tcp = match tcp {
            Ok(end) => end?,
            Err(_) => return Err(Fault::new(Kind::Io, "answer TCP requests", "thread panicked")),
        };
        Ok(udp?.add(&tcp))
    }
}

/// A token bucket a source address, in a table of fixed size.
struct Buckets {
    rate: u32,
    seats: Vec<Bucket>,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// When the seat's next packet may come, were packets evenly spaced; nanoseconds, monotonic.
    next_ns: u64,
}

impl Buckets {
    const SEATS: usize = 4096;

    fn new(rate: u32) -> Buckets {
        Buckets { rate: rate.max(1), seats: vec![Bucket::default(); Buckets::SEATS] }
    }

    /// Whether `source` may have another packet answered; a tenth of a second's worth may come at once.
    fn admit(&mut self, source: IpAddr, now_ns: u64) -> bool {
        let bits = match source {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            // A /64 is one customer.
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        };
        // Fibonacci hashing: the top bits of a product with 2^64 / phi.
        let seat = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Buckets::SEATS.ilog2());
        let bucket = &mut self.seats[seat as usize];
        let (gap, burst) = (1_000_000_000 / u64::from(self.rate), 100_000_000);
        let next = bucket.next_ns.max(now_ns);
        if next > now_ns + burst {
            return false;
        }
        bucket.next_ns = next + gap;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_over_its_rate_leaves_others_alone() {
        let mut buckets = Buckets::new(1000);
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let admitted = (0..1000).filter(|_| buckets.admit(a, 5_000_000_000)).count();
        assert_eq!(admitted, 101);
        assert!(buckets.admit(b, 5_000_000_000));
        assert!(buckets.admit(a, 6_000_000_000));
    }
}
