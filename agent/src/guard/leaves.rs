//! By which interface the kernel sends a packet: its own answer (RTM_GETROUTE), each pair of addresses asked once.
//!
//! Marks and ports of policy routing are not asked for: rules that go by them may send it elsewhere.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
};

use crate::host::{
    Ask, Host, Mode,
    tlv::{Attrs, Writer},
};

/// include/uapi/linux/rtnetlink.h
const RTM_GETROUTE: u16 = 26;
const RTMSG_BYTES: usize = 12;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Pairs of addresses asked for in one look.
pub(super) const ROUTES_MAX: usize = 2048;

/// The type in `struct rtmsg`; RTN_UNICAST, RTN_BROADCAST.
const RTM_TYPE: usize = 7;
const RTN_UNICAST: u8 = 1;
const RTN_BROADCAST: u8 = 3;

type Pair = (IpAddr, Option<IpAddr>);

pub(super) struct Routes<'a> {
    host: &'a dyn Host,
    known: RefCell<HashMap<Pair, Option<(u8, u32)>>>,
    is_short: Cell<bool>,
}

impl<'a> Routes<'a> {
    pub(super) fn new(host: &'a dyn Host) -> Routes<'a> {
        Routes { host, known: RefCell::default(), is_short: Cell::new(false) }
    }

    /// The interface by which what is sent `to` there `from` an address of this host leaves. `None`: there is
    /// no route, or too many were asked for.
    pub(super) fn leaves_by(&self, to: IpAddr, from: Option<IpAddr>) -> Option<u32> {
        self.route(to, from).filter(|(kind, _)| *kind == RTN_UNICAST).map(|(_, oif)| oif)
    }

    /// Whether what is sent there is for everybody: it is tracked where it is received, and never forwarded by
    /// whom it reaches.
    pub(super) fn is_for_all(&self, to: IpAddr) -> bool {
        let everybody = IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
        to.is_multicast()
            || to == everybody
            || self.route(to, None).is_some_and(|(kind, _)| kind == RTN_BROADCAST)
    }

    fn route(&self, to: IpAddr, from: Option<IpAddr>) -> Option<(u8, u32)> {
        let mut known = self.known.borrow_mut();
        if let Some(answer) = known.get(&(to, from)) {
            return *answer;
        }
        if known.len() >= ROUTES_MAX {
            self.is_short.set(true);
            return None;
        }
        let answer = self.ask(to, from);
        known.insert((to, from), answer);
        answer
    }

    /// Why the answers may lack some.
    pub(super) fn gap(&self) -> Option<String> {
        let words = || format!("more than {ROUTES_MAX} routes to ask for");
        self.is_short.get().then(words)
    }

    fn ask(&self, to: IpAddr, from: Option<IpAddr>) -> Option<(u8, u32)> {
        let from = from.filter(|from| from.is_ipv4() == to.is_ipv4());
        let mut payload = vec![0; RTMSG_BYTES];
        payload[0] = if to.is_ipv4() { AF_INET } else { AF_INET6 };
        payload[1] = octets(to).len() as u8 * 8;
        payload[2] = from.map_or(0, |from| octets(from).len() as u8 * 8);
        let mut attributes = Writer::new();
        attributes.put(RTA_DST, &octets(to));
        if let Some(from) = from {
            attributes.put(RTA_SRC, &octets(from));
        }
        payload.extend_from_slice(attributes.as_bytes());
        let ask = Ask::Route { kind: RTM_GETROUTE, mode: Mode::Do, payload };
        let answers = self.host.request(&ask).ok()?;
        let answer = answers.first()?;
        let oif = Attrs(answer.get(RTMSG_BYTES..)?).find(RTA_OIF)?;
        Some((*answer.get(RTM_TYPE)?, u32::from_ne_bytes(oif.payload.try_into().ok()?)))
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
