//! Whom a port reaches: the run's reflector, or a neighbour.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use playbooks::playbook::Transport;

use super::{
    Pinger, Reach,
    neighbour::{Asked, Hardware, PACE},
    pings::Pings,
};
use crate::{
    host::{Host, Nic},
    measure::{
        Meter, counters,
        peer::Peer,
        probe::{Options, Probe},
        sockets::{self, Stamps, Way},
    },
};

/// Neighbours that are asked whether they answer; a link with more has one among these that does.
const NEIGHBOURS_MAX: usize = 4;
/// A socket's address is asked for by its route; nothing is sent there.
const DISCARD: u16 = 9;

/// On a real machine, in the calling thread's network namespace.
pub struct Reachable<'h> {
    pub host: &'h dyn Host,
}

impl Reach for Reachable<'_> {
    fn peer(&self, nic: &str, peer: &str) -> Result<Box<dyn Pinger>, String> {
        let peer: Peer = peer.parse().map_err(|fault: crate::fault::Fault| fault.to_string())?;
        let way = Way { nic: Some(nic.to_owned()), source: None };
        let probe = Probe::open(self.host, &peer, Options::new(way, Transport::Udp));
        let mut probe = probe.map_err(|fault| fault.to_string())?;
        probe.pinger().ok_or_else(|| "no thread can be had to ping by".to_owned())
    }

    fn neighbour(&self, nic: &Nic) -> Result<Box<dyn Pinger>, String> {
        let name = &nic.name;
        if !counters::link::read(self.host, name).is_ok_and(|link| link.carrier) {
            return Err(format!("{name} had no link before the restart"));
        }
        let known = self.known(name)?;
        if known.is_empty() {
            return Err(format!("{name} knew no IPv4 neighbour before the restart"));
        }
        let mut silent = Vec::new();
        for their in known.into_iter().take(NEIGHBOURS_MAX) {
            let asked = self.asked(name, their)?;
            let every = PACE.period_ns / 1_000_000;
            let whom = format!("{name}'s neighbour {} to ARP requests every {every} ms", their.0);
            let pings = Pings::begin(asked, PACE, whom);
            let pings = pings.ok_or_else(|| "no thread can be had to ask by".to_owned())?;
            if pings.answered() {
                return Ok(Box::new(pings));
            }
            silent.push(their.0.to_string());
        }
        Err(format!(
            "no neighbour of {name} answered ARP before the restart: {}",
            silent.join(", ")
        ))
    }
}

impl Reachable<'_> {
    /// The neighbours that the kernel knows on this interface, routers first.
    fn known(&self, nic: &str) -> Result<Vec<(Ipv4Addr, Hardware)>, String> {
        let read = |file: &str| self.host.read(Path::new(file)).map_err(|fault| fault.to_string());
        let routers = routers(&read("/proc/net/route")?, nic);
        let mut known = neighbours(&read("/proc/net/arp")?, nic);
        known.sort_by_key(|(address, _)| !routers.contains(address));
        Ok(known)
    }

    fn asked(&self, nic: &str, their: (Ipv4Addr, Hardware)) -> Result<Asked, String> {
        let file = Path::new("/sys/class/net").join(nic).join("address");
        let text = self.host.read(&file).map_err(|fault| fault.to_string())?;
        let hardware = hardware(text.trim());
        let hardware = hardware.ok_or_else(|| format!("{nic} has no Ethernet address"))?;
        let way = Way { nic: Some(nic.to_owned()), source: None };
        let to = SocketAddr::from((their.0, DISCARD));
        let socket = sockets::open_udp(&way, 0, to, Stamps::Receive);
        let socket = socket.map_err(|fault| fault.to_string())?;
        match socket.local_addr() {
            Ok(SocketAddr::V4(our)) => {
                Ok(Asked { nic: nic.to_owned(), our: (*our.ip(), hardware), their })
            }
            Ok(SocketAddr::V6(_)) | Err(_) => Err(format!("{nic} has no IPv4 address")),
        }
    }
}

/// Gateways by this interface: `Iface Destination Gateway …`, hexadecimal in network byte order (net/ipv4/fib_trie.c,
/// fib_route_seq_show).
fn routers(table: &str, nic: &str) -> Vec<Ipv4Addr> {
    let router = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, gateway) = (words.next()?, words.nth(1)?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (name == nic && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    };
    table.lines().skip(1).filter_map(router).collect()
}

/// Entries of the ARP table that are complete: `IP-address HW-type Flags HW-address Mask Device` (net/ipv4/arp.c,
/// arp_format_neigh_entry; ATF_COM).
fn neighbours(table: &str, nic: &str) -> Vec<(Ipv4Addr, Hardware)> {
    let neighbour = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, kind, flags, hw, _, device] = words.as_slice() else { return None };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        let complete = *kind == "0x1" && flags & 2 != 0 && *device == nic;
        Some((address.parse().ok()?, hardware(hw)?)).filter(|_| complete)
    };
    table.lines().skip(1).filter_map(neighbour).collect()
}

fn hardware(text: &str) -> Option<Hardware> {
    let bytes: Option<Vec<u8>> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let bytes: Hardware = bytes?.try_into().ok()?;
    (bytes != Hardware::default()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read_and_strange_lines_passed_over() {
        let arp = "IP address       HW type     Flags       HW address            Mask     Device\n\
                   10.86.3.2        0x1         0x2         52:54:00:12:34:56     *        eth2\n\
                   10.86.3.3        0x1         0x0         00:00:00:00:00:00     *        eth2\n\
                   10.86.0.2        0x1         0x2         52:54:00:12:34:57     *        eth1\n\
                   10.86.3.4        0x20        0x2         52:54:00:12:34:58     *        eth2\nx\n\n";
        let known = [(Ipv4Addr::new(10, 86, 3, 2), [0x52, 0x54, 0, 0x12, 0x34, 0x56])];
        assert_eq!(neighbours(arp, "eth2"), known);
        let gateway = u32::from_ne_bytes([10, 86, 3, 1]);
        let route = format!(
            "Iface\tDestination\tGateway\nxxx\neth2\t00000000\t{gateway:08X}\t0003\neth2\t0003560A\t00000000\t0001\n"
        );
        assert_eq!(routers(&route, "eth2"), [Ipv4Addr::new(10, 86, 3, 1)]);
        assert!(routers(&route, "eth1").is_empty());
    }
}
