//! The UDP half: one thread, one buffer, one system call in and two out a packet.

// A packet loop on the real clock: it backs off by itself, no run waits on it.
#![allow(clippy::disallowed_methods)]

use std::{net::UdpSocket, os::fd::AsFd};

use nix::errno::Errno;

use crate::{
    fault::{Fault, Result},
    measure::{
        clock,
        sockets::{self, Datagram},
        stamp,
    },
};

use super::{Buckets, Config, Stats};

/// Reflects until `stop`. The socket's receive timeout bounds how long that goes unasked.
pub(super) fn serve(socket: &UdpSocket, config: &Config, stop: &dyn Fn() -> bool) -> Result<Stats> {
    const ASK_EVERY: u32 = 1024;
    let mut stats = Stats::default();
    let mut buckets = config.rate_max.map(Buckets::new);
    let mut buffer = vec![0; 65_536];
    let own_port = socket.local_addr().map_or(0, |a| a.port());
    let mut since_asked = 0;
    loop {
        since_asked += 1;
        match sockets::receive(socket.as_fd(), &mut buffer) {
            Ok(datagram) => {
                let packet = buffer.get_mut(..datagram.length).unwrap_or_default();
                if admitted(&datagram, packet, own_port, buckets.as_mut(), &mut stats) {
                    reflect(socket, &datagram, packet, &mut stats);
                }
            }
            // Silence, a signal, or an ICMP error about an earlier reply: none of them is the end.
            Err(Errno::EAGAIN) => since_asked = ASK_EVERY,
            Err(Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => {}
            Err(errno @ (Errno::EBADF | Errno::ENOTSOCK | Errno::EINVAL | Errno::EFAULT)) => {
                return Err(Fault::errno("receive probe packets", errno as i32, None));
            }
            // ENOMEM and their like: wait rather than spin.
            Err(_) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
                since_asked = ASK_EVERY;
            }
        }
        if since_asked >= ASK_EVERY {
            since_asked = 0;
            if stop() {
                return Ok(stats);
            }
        }
    }
}

fn admitted(
    datagram: &Datagram,
    packet: &[u8],
    own_port: u16,
    buckets: Option<&mut Buckets>,
    stats: &mut Stats,
) -> bool {
    let Some(from) = datagram.from.socket_addr() else {
        stats.malformed += 1;
        return false;
    };
    if datagram.truncated || stamp::Request::read(packet).is_none() || from.port() == 0 {
        stats.malformed += 1;
        return false;
    }
    // A sender uses a port of its own. From a service's port only what surely is no reply is taken.
    let service = from.port() < 1024 || from.port() == own_port;
    if stamp::looks_reflected(packet) || (service && !stamp::zeros_kept(packet)) {
        stats.refused_loops += 1;
        return false;
    }
    if buckets.is_some_and(|b| !b.admit(from.ip(), clock::monotonic_ns())) {
        stats.refused_rate += 1;
        return false;
    }
    true
}

fn reflect(socket: &UdpSocket, datagram: &Datagram, packet: &mut [u8], stats: &mut Stats) {
    let received = datagram.software_ns.unwrap_or_else(|| {
        stats.unstamped += 1;
        clock::realtime_ns()
    });
    if !stamp::reflect(packet, received, datagram.ttl) {
        stats.malformed += 1;
        return;
    }
    // T3 comes last: by then the kernel has done what it can do without it.
    let (socket, sequence) = (socket.as_fd(), stamp::SEQUENCE);
    let begun =
        sockets::begin_answer(socket, &packet[..sequence], &datagram.from, &datagram.asked_at);
    let sent = begun.and_then(|()| {
        stamp::depart(packet, clock::realtime_ns());
        sockets::finish_answer(socket, &packet[sequence..])
    });
    match sent {
        Ok(()) => stats.reflected += 1,
        Err(_) => stats.send_failed += 1,
    }
}
