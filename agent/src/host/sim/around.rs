//! What stands on a simulated interface and dies with it: addresses, routes, permanent neighbours,
//! qdiscs.
//!
//! Source: include/uapi/linux/{if_addr,rtnetlink,neighbour}.h. The kernel's own part is played too: an
//! address brings its connected route, and a gateway has to be on one.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{Refusal, State, machine::SimNic};
use crate::host::{
    Mode,
    tlv::{Attrs, Writer},
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RTPROT_KERNEL: u8 = 2;
const SCOPE_LINK: u8 = 253;
const TABLE_MAIN: u32 = 254;
const PERMANENT: u16 = 0x80;
/// More than any machine of a test has.
const OBJECTS_MAX: usize = 1024;

/// By the interface that it stands on; all of it is in the order in which it was added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Around {
    pub addresses: Vec<SimAddress>,
    pub routes: Vec<SimRoute>,
    /// Permanent ones: address -> MAC.
    pub neighbours: BTreeMap<IpAddr, String>,
    /// By handle, which is never 0.
    pub qdiscs: BTreeMap<u32, SimQdisc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SimAddress {
    pub address: IpAddr,
    pub length: u8,
    #[serde(default)]
    pub label: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SimRoute {
    pub to: IpAddr,
    pub length: u8,
    #[serde(default)]
    pub via: Option<IpAddr>,
    #[serde(default)]
    pub metric: u32,
    #[serde(default = "main_table")]
    pub table: u32,
}

fn main_table() -> u32 {
    TABLE_MAIN
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SimQdisc {
    pub kind: String,
    #[serde(default = "root")]
    pub parent: u32,
    /// TCA_OPTIONS.
    #[serde(default)]
    pub options: Vec<u8>,
}

fn root() -> u32 {
    u32::MAX
}

type Answers = Result<Vec<Vec<u8>>, Refusal>;

/// The requests that are about these; `None` for any other.
pub(super) fn ask(state: &mut State, kind: u16, mode: Mode, payload: &[u8]) -> Option<Answers> {
    let family = payload.first().copied().unwrap_or(0);
    let each = |fill: &dyn Fn(&SimNic) -> Vec<Vec<u8>>| {
        Some(Ok(state.machine.nics.iter().flat_map(fill).collect()))
    };
    match (kind, mode) {
        (22, Mode::Dump) => each(&addresses),
        (26, Mode::Dump) => each(&|nic| routes(nic, family)),
        (30, Mode::Dump) => each(&|nic| neighbours(nic, family, payload)),
        (38, Mode::Dump) => each(&qdiscs),
        // Nexthop objects, rules, classes, filters: there are none here.
        (34 | 42 | 46 | 106, Mode::Dump) => Some(Ok(Vec::new())),
        (20 | 24 | 28 | 36, Mode::Create | Mode::Append | Mode::Replace) => {
            Some(make(state, kind, mode, payload).map(|()| Vec::new()))
        }
        _ => None,
    }
}

/// Where a packet to the destination that is asked for leaves: by the NIC whose network it is in, else by the
/// default route.
pub(super) fn leaves_by(state: &State, payload: &[u8]) -> Option<u32> {
    let to = Attrs(payload.get(12..)?).find(1)?.payload;
    let within = |address: &SimAddress| {
        let (here, bits) = (octets(&address.address), usize::from(address.length));
        let mask = |bytes: &[u8]| -> Vec<bool> {
            (0..bits).map(|bit| bytes[bit / 8] & (0x80 >> (bit % 8)) != 0).collect()
        };
        here.len() == to.len() && bits <= to.len() * 8 && mask(&here) == mask(to)
    };
    let on = |nic: &&SimNic| nic.around.addresses.iter().any(within);
    let by_default = || state.machine.nic(state.machine.default_route.as_ref()?);
    Some(state.machine.nics.iter().find(on).or_else(by_default)?.ifindex)
}

fn family(address: &IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

fn addresses(nic: &SimNic) -> Vec<Vec<u8>> {
    let one = |address: &SimAddress| {
        let mut message = vec![family(&address.address), address.length, PERMANENT as u8, 0];
        message.extend_from_slice(&nic.ifindex.to_ne_bytes());
        let mut attrs = Writer::new();
        attrs.put(1, &octets(&address.address));
        if address.address.is_ipv4() {
            attrs.put(2, &octets(&address.address));
            attrs.text(3, address.label.as_deref().unwrap_or(&nic.name));
        }
        attrs.u32(8, PERMANENT.into()).put(6, &[[0xff; 8], [0; 8]].concat());
        message.extend_from_slice(attrs.as_bytes());
        message
    };
    nic.around.addresses.iter().map(one).collect()
}

/// Whether `address` is in the prefix of `net`.
fn within(address: &IpAddr, net: &IpAddr, length: u8) -> bool {
    let (address, net) = (octets(address), octets(net));
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    let length = usize::from(length).min(8 * net.len());
    address.len() == net.len() && (0..length).all(|at| bit(&address, at) == bit(&net, at))
}

fn routes(nic: &SimNic, wanted: u8) -> Vec<Vec<u8>> {
    let connected = nic.around.addresses.iter().filter(|_| nic.up).map(|address| {
        let bits: Vec<u8> = octets(&address.address);
        let masked = (0..bits.len()).map(|at| {
            let kept = usize::from(address.length).saturating_sub(8 * at).min(8) as u32;
            bits[at] & !0xff_u8.checked_shr(kept).unwrap_or(0)
        });
        let masked: Vec<u8> = masked.collect();
        let to = match <[u8; 4]>::try_from(masked.as_slice()) {
            Ok(four) => IpAddr::from(four),
            Err(_) => <[u8; 16]>::try_from(masked.as_slice()).map_or(address.address, IpAddr::from),
        };
        let route =
            SimRoute { to, length: address.length, via: None, metric: 0, table: TABLE_MAIN };
        (route, RTPROT_KERNEL, Some(address.address))
    });
    let own = nic.around.routes.iter().map(|route| (route.clone(), 4, None));
    let all = connected.chain(own).filter(|(route, ..)| family(&route.to) == wanted);
    all.map(|(route, protocol, source)| route_message(nic, &route, protocol, source)).collect()
}

fn route_message(nic: &SimNic, route: &SimRoute, protocol: u8, source: Option<IpAddr>) -> Vec<u8> {
    let scope = if route.via.is_none() { SCOPE_LINK } else { 0 };
    let table = u8::try_from(route.table).unwrap_or(0);
    let mut message =
        vec![family(&route.to), route.length, 0, 0, table, protocol, scope, 1, 0, 0, 0, 0];
    let mut attrs = Writer::new();
    attrs.u32(15, route.table);
    if route.length > 0 {
        attrs.put(1, &octets(&route.to));
    }
    if route.metric > 0 {
        attrs.u32(6, route.metric);
    }
    source.iter().for_each(|source| {
        attrs.put(7, &octets(source));
    });
    route.via.iter().for_each(|via| {
        attrs.put(5, &octets(via));
    });
    attrs.u32(4, nic.ifindex);
    message.extend_from_slice(attrs.as_bytes());
    message
}

fn neighbours(nic: &SimNic, wanted: u8, payload: &[u8]) -> Vec<Vec<u8>> {
    // NTF_PROXY in the filter's flags asks for proxies, of which there are none.
    if payload.get(10).is_some_and(|flags| flags & 8 != 0) {
        return Vec::new();
    }
    let one = |(address, mac): (&IpAddr, &String)| {
        let mut message = vec![family(address), 0, 0, 0];
        message.extend_from_slice(&nic.ifindex.to_ne_bytes());
        message.extend_from_slice(&PERMANENT.to_ne_bytes());
        message.extend_from_slice(&[0, 1]);
        let mut attrs = Writer::new();
        attrs.put(1, &octets(address)).put(2, &super::hook::mac_bytes(mac));
        message.extend_from_slice(attrs.as_bytes());
        message
    };
    let ours = nic.around.neighbours.iter().filter(|(address, _)| family(address) == wanted);
    ours.map(one).collect()
}

fn qdiscs(nic: &SimNic) -> Vec<Vec<u8>> {
    let one = |(handle, qdisc): (&u32, &SimQdisc)| {
        let mut message = vec![0; 4];
        for word in [nic.ifindex, *handle, qdisc.parent, 2] {
            message.extend_from_slice(&word.to_ne_bytes());
        }
        let mut attrs = Writer::new();
        attrs.text(1, &qdisc.kind).put(2, &qdisc.options);
        message.extend_from_slice(attrs.as_bytes());
        message
    };
    nic.around.qdiscs.iter().map(one).collect()
}

fn make(state: &mut State, kind: u16, mode: Mode, payload: &[u8]) -> Result<(), Refusal> {
    let header = match kind {
        20 => 8,
        36 => 20,
        _ => 12,
    };
    let asked = Asked { payload, header, attrs: Attrs(payload.get(header..).ok_or_else(invalid)?) };
    let ifindex = if kind == 24 { asked.number(4) } else { asked.word(4) };
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(|| Refusal::errno(libc::ENODEV))?;
    let (up, name, around) = (nic.up, nic.name.clone(), &mut nic.around);
    let full = around.addresses.len() + around.routes.len() + around.qdiscs.len() > OBJECTS_MAX;
    if full || around.neighbours.len() > OBJECTS_MAX {
        return Err(Refusal::errno(libc::ENOBUFS));
    }
    match kind {
        20 => asked.address(around, &name)?,
        24 => asked.route(around, up)?,
        28 => asked.neighbour(around, mode)?,
        _ => asked.qdisc(around)?,
    }
    state.announce(ifindex, "link");
    Ok(())
}

fn invalid() -> Refusal {
    Refusal::errno(libc::EINVAL)
}

fn exists() -> Refusal {
    Refusal::errno(libc::EEXIST)
}

/// A request that makes something.
struct Asked<'a> {
    payload: &'a [u8],
    header: usize,
    attrs: Attrs<'a>,
}

impl Asked<'_> {
    /// A number of the family's struct.
    fn word(&self, at: usize) -> u32 {
        let bytes = self.payload[..self.header].get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    fn number(&self, kind: u16) -> u32 {
        self.attrs.find(kind).and_then(|attr| attr.number()).unwrap_or(0) as u32
    }

    fn ip(&self, kind: u16) -> Option<IpAddr> {
        let bytes = self.attrs.find(kind)?.payload;
        let four = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
        four.or(<[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
    }

    fn address(&self, around: &mut Around, name: &str) -> Result<(), Refusal> {
        let address = self.ip(2).or(self.ip(1)).ok_or_else(invalid)?;
        let length = self.payload[1];
        if around.addresses.iter().any(|a| (a.address, a.length) == (address, length)) {
            return Err(exists());
        }
        let label = self.attrs.find(3).map(|label| label.text().to_owned());
        let label = label.filter(|label| label != name);
        around.addresses.push(SimAddress { address, length, label });
        Ok(())
    }

    fn route(&self, around: &mut Around, up: bool) -> Result<(), Refusal> {
        let unspecified = match self.payload[0] {
            AF_INET => IpAddr::from([0; 4]),
            _ => IpAddr::from([0_u16; 8]),
        };
        let to = self.ip(1).unwrap_or(unspecified);
        let table = self.number(15).max(self.payload[4].into());
        let (length, via, metric) = (self.payload[1], self.ip(5), self.number(6));
        let route = SimRoute { to, length, via, metric, table };
        let on_link =
            |via: &IpAddr| around.addresses.iter().any(|a| within(via, &a.address, a.length));
        if !up || via.as_ref().is_some_and(|via| !on_link(via)) {
            return Err(Refusal::because(libc::ENETUNREACH, "Nexthop has invalid gateway"));
        }
        if around.routes.contains(&route) {
            return Err(exists());
        }
        around.routes.push(route);
        Ok(())
    }

    fn neighbour(&self, around: &mut Around, mode: Mode) -> Result<(), Refusal> {
        let address = self.ip(1).ok_or_else(invalid)?;
        let mac = self.attrs.find(2).ok_or_else(invalid)?.payload;
        let mac = mac.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":");
        if mode == Mode::Create && around.neighbours.contains_key(&address) {
            return Err(exists());
        }
        around.neighbours.insert(address, mac);
        Ok(())
    }

    fn qdisc(&self, around: &mut Around) -> Result<(), Refusal> {
        let kind = self.attrs.find(1).ok_or_else(invalid)?.text().to_owned();
        let options = self.attrs.find(2).map(|o| o.payload.to_vec()).unwrap_or_default();
        let (handle, parent) = (self.word(8), self.word(12));
        let taken = around.qdiscs.values().any(|qdisc| qdisc.parent == parent);
        if taken || around.qdiscs.contains_key(&handle) {
            return Err(exists());
        }
        around.qdiscs.insert(handle, SimQdisc { kind, parent, options });
        Ok(())
    }
}

/// The interface is unregistered and comes back bare: everything on it is gone, it is down, has the
/// name `name`, and another index. What is a setting of the NIC is the caller's to change.
///
/// Gives the new index.
pub(super) fn reborn(state: &mut State, ifindex: u32, name: &str) -> Option<u32> {
    let new = state.next_ifindex();
    let born = state.born.get(&ifindex).cloned();
    let nic = state.machine.by_index_mut(ifindex)?;
    nic.ifindex = new;
    nic.around = Around::default();
    nic.up = false;
    name.clone_into(&mut nic.name);
    state.born.extend(born.map(|born| (new, SimNic { ifindex: new, ..born })));
    state.announce(ifindex, "link");
    state.announce(new, "link");
    state.rebuild();
    Some(new)
}
