//! STAMP requests over UDP while a device restarts.

use std::net::{SocketAddr, UdpSocket};

use super::udp;
use crate::measure::{
    outage::pings::{Asks, Pace, Pings},
    sockets::{self, Stamps, Way},
    stamp::Reply,
};

/// As often as it can be told apart from nothing by, and light on every NIC.
const PACE: Pace = Pace { period_ns: 5_000_000, silence_ns: 50_000_000 };

struct Stamped {
    way: Way,
    peer: SocketAddr,
    sequence: u32,
}

/// Begins at once. `None` where no thread can be had: then there is no figure.
pub(super) fn begin(way: &Way, peer: SocketAddr) -> Option<Pings> {
    let every = PACE.period_ns / 1_000_000;
    let whom = format!("{peer} to UDP pings every {every} ms");
    Pings::begin(Stamped { way: way.clone(), peer, sequence: 1 }, PACE, whom)
}

impl Asks for Stamped {
    type Socket = UdpSocket;

    fn open(&mut self) -> Option<UdpSocket> {
        let socket = sockets::open_udp(&self.way, 0, self.peer, Stamps::Receive).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(socket)
    }

    fn ask(&mut self, socket: &UdpSocket) -> bool {
        self.sequence = self.sequence.wrapping_add(1);
        udp::request(socket, self.sequence).is_ok()
    }

    fn answered(&mut self, socket: &UdpSocket) -> bool {
        let mut reply = [0; 1024];
        while let Ok(length) = socket.recv(&mut reply) {
            if Reply::read(&reply[..length]).is_some() {
                return true;
            }
        }
        false
    }
}
