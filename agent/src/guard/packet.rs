//! AF_PACKET sockets (taps, capture, LLDP, DHCP clients) bound to the NIC, by /proc/net/packet.
//!
//! A socket bound to no interface (index 0) hears all of them, hurt by none. One whose interface is gone is
//! bound to nothing (-1), for good. Source: net/packet/af_packet.c packet_seq_show, packet_notifier.

use std::path::Path;

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token},
    scene::{Scene, present},
};
use crate::fault::{Fault, Kind, Result};

pub(super) struct Packet;

impl Sign for Packet {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Packet]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let file = Path::new("/proc/net/packet");
        // A kernel without AF_PACKET has no such file.
        let Some(table) = present(scene.host.read(file))? else { return Ok(Found::default()) };
        let mut found = Found::default();
        for line in table.lines().skip(1) {
            let Some(row) = Row::parse(line) else {
                let act = "list packet sockets";
                return Err(Fault::new(Kind::Malformed, act, format!("not understood: {line}")));
            };
            let Some(ifindex) = row.ifindex else { continue };
            let bound = scene.ports.iter().filter(|port| port.stack.contains(&ifindex));
            found.clues.extend(bound.map(|port| Clue {
                signal: Signal::Packet,
                port: port.name.clone(),
                what: port.name.clone(),
                token: Token::Socket(row.inode),
                how: format!("packet socket (ethertype 0x{:04x})", row.protocol),
                certainty: Certainty::InUse,
                alone: Alone::InUse,
            }));
        }
        Ok(found)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    protocol: u16,
    /// `None`: of an interface that is gone.
    ifindex: Option<u32>,
    inode: u64,
}

impl Row {
    /// `sk RefCnt Type Proto Iface R Rmem User Inode`
    fn parse(line: &str) -> Option<Row> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(Row {
            protocol: u16::from_str_radix(words.get(3)?, 16).ok()?,
            ifindex: match *words.get(4)? {
                "-1" => None,
                index => Some(index.parse().ok()?),
            },
            inode: words.get(8)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_and_a_strange_one_is_none() {
        let line = "00000000a1b2c3d4 3      3    0003   4     1 0      0      52748";
        assert_eq!(Row::parse(line), Some(Row { protocol: 3, ifindex: Some(4), inode: 52748 }));
        let gone = "00000000e8a2c7d1 3      3    0003   -1    0 0      0      2050594";
        assert_eq!(Row::parse(gone), Some(Row { protocol: 3, ifindex: None, inode: 2050594 }));
        assert_eq!(Row::parse("00000000a1b2c3d4 3 3 0003 x"), None);
    }
}
