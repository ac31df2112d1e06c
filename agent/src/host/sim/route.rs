//! The kernel's side of rtnetlink: links (read, and a few values written) and the default route.
//!
//! Source: include/uapi/linux/{rtnetlink,if_link}.h. Messages are emitted by netlink-packet-route, so
//! that what reads them is checked against another writer than ours.

use netlink_packet_core::Emitable;
use netlink_packet_route::{
    AddressFamily,
    link::Stats64,
    link::{
        InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, State as Oper,
    },
    route::{RouteAttribute, RouteMessage, RouteType},
};

use super::{Refusal, State, around, hook, machine::SimNic};
use crate::host::{Mode, tlv::Attrs};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_GETROUTE: u16 = 26;
/// `struct ifinfomsg`: family, type, index, flags, change.
const IFINFOMSG_BYTES: usize = 16;
const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const AF_INET6: u8 = 10;

type Answers = Result<Vec<Vec<u8>>, Refusal>;

pub(super) fn ask(state: &mut State, kind: u16, mode: Mode, payload: &[u8]) -> Answers {
    match (kind, mode) {
        (RTM_GETLINK, Mode::Dump) => {
            Ok(state.machine.nics.iter().map(|nic| link(state, nic)).collect())
        }
        (RTM_GETLINK, Mode::Do) => {
            let ifindex = target(state, payload)?;
            let nic = state.machine.by_index(ifindex).ok_or_else(gone)?;
            Ok(vec![link(state, nic)])
        }
        (RTM_GETROUTE, Mode::Do) => {
            let ifindex = around::leaves_by(state, payload);
            let ifindex = ifindex.ok_or_else(|| Refusal::errno(libc::ENETUNREACH))?;
            let mut message = RouteMessage::default();
            message.header.kind = RouteType::Unicast;
            message.attributes = vec![RouteAttribute::Oif(ifindex)];
            Ok(vec![bytes(&message)])
        }
        (RTM_SETLINK | RTM_NEWLINK, Mode::Do) => set(state, payload).map(|()| Vec::new()),
        _ => {
            let answers = around::ask(state, kind, mode, payload);
            let mut answers = answers.ok_or_else(|| Refusal::errno(libc::EOPNOTSUPP))??;
            if kind == RTM_GETROUTE && payload.first() != Some(&AF_INET6) {
                answers.extend(default_route(state));
            }
            Ok(answers)
        }
    }
}

fn gone() -> Refusal {
    Refusal::errno(libc::ENODEV)
}

fn word(payload: &[u8], at: usize) -> Result<u32, Refusal> {
    let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_ne_bytes).ok_or_else(|| Refusal::errno(libc::EINVAL))
}

/// The link that a request means: by index, or else by name.
fn target(state: &State, payload: &[u8]) -> Result<u32, Refusal> {
    let index = word(payload, 4)?;
    let name = Attrs(&payload[IFINFOMSG_BYTES.min(payload.len())..]).find(IFLA_IFNAME);
    let nic = match (index, name) {
        (0, Some(name)) => state.machine.nic(name.text()),
        (index, _) => state.machine.by_index(index),
    };
    nic.map(|nic| nic.ifindex).ok_or_else(gone)
}

fn set(state: &mut State, payload: &[u8]) -> Result<(), Refusal> {
    let ifindex = target(state, payload)?;
    let (flags, change) = (word(payload, 8)?, word(payload, 12)?);
    let attrs = Attrs(&payload[IFINFOMSG_BYTES..]);
    if let Some(mtu) = attrs.find(IFLA_MTU).and_then(|a| a.number()) {
        hook::set_mtu(state, ifindex, mtu)?;
    }
    let name = attrs.find(IFLA_IFNAME).map(|name| name.text().to_owned());
    if let Some(name) = name.filter(|_| word(payload, 4).is_ok_and(|index| index != 0)) {
        rename(state, ifindex, &name)?;
    }
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(gone)?;
    if let Some(length) = attrs.find(IFLA_TXQLEN).and_then(|a| a.number()) {
        nic.tx_queue_len = length as u32;
    }
    if change & IFF_UP != 0 {
        nic.up = flags & IFF_UP != 0;
    }
    state.announce(ifindex, "link");
    Ok(())
}

/// Before Linux 6.2 an interface that is up keeps its name.
fn rename(state: &mut State, ifindex: u32, name: &str) -> Result<(), Refusal> {
    let taken = state.machine.nic(name).map(|nic| nic.ifindex);
    if taken.is_some_and(|other| other != ifindex) {
        return Err(Refusal::errno(libc::EEXIST));
    }
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(gone)?;
    if nic.name != name && nic.up {
        return Err(Refusal::errno(libc::EBUSY));
    }
    name.clone_into(&mut nic.name);
    state.rebuild();
    Ok(())
}

fn link(state: &State, nic: &SimNic) -> Vec<u8> {
    let carrier = state.carrier(nic);
    let mut message = LinkMessage::default();
    message.header.index = nic.ifindex;
    message.header.link_layer_type = LinkLayerType::Ether;
    let mut flags = LinkFlags::Broadcast | LinkFlags::Multicast;
    flags.set(LinkFlags::Up, nic.up);
    flags.set(LinkFlags::Running | LinkFlags::LowerUp, carrier);
    message.header.flags = flags;
    let counted = state.counters.of(nic.ifindex);
    let mut stats = Stats64::default();
    stats.rx_packets = counted.rx;
    stats.tx_packets = counted.tx;
    stats.rx_missed_errors = counted.missed;
    let mac = hook::mac_bytes(&nic.mac);
    let mut attributes = vec![
        LinkAttribute::IfName(nic.name.clone()),
        LinkAttribute::TxQueueLen(nic.tx_queue_len),
        LinkAttribute::OperState(if carrier { Oper::Up } else { Oper::Down }),
        LinkAttribute::Mtu(nic.mtu),
        LinkAttribute::MinMtu(hook::MTU_MIN as u32),
        LinkAttribute::MaxMtu(hook::MTU_MAX as u32),
        LinkAttribute::NumTxQueues(nic.tx_queues() as u32),
        LinkAttribute::NumRxQueues(nic.rx_queues() as u32),
        LinkAttribute::Carrier(u8::from(carrier)),
        LinkAttribute::Address(mac.clone()),
        LinkAttribute::PermAddress(mac),
        LinkAttribute::Stats64(stats),
    ];
    if let Some(pci) = &nic.pci {
        attributes.push(LinkAttribute::ParentDevName(pci.address.clone()));
        attributes.push(LinkAttribute::ParentDevBusName("pci".to_owned()));
    }
    if let Some(kind) = &nic.kind {
        let kind = match kind.as_str() {
            "veth" => InfoKind::Veth,
            other => InfoKind::Other(other.to_owned()),
        };
        attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
    }
    message.attributes = attributes;
    bytes(&message)
}

/// `default dev X` of IPv4's main table.
fn default_route(state: &State) -> Option<Vec<u8>> {
    let nic = state.machine.nic(state.machine.default_route.as_ref()?)?;
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = 254; // RT_TABLE_MAIN
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Table(254), RouteAttribute::Oif(nic.ifindex)];
    Some(bytes(&message))
}

fn bytes(message: &impl Emitable) -> Vec<u8> {
    let mut buffer = vec![0; message.buffer_len()];
    message.emit(&mut buffer);
    buffer
}
