//! The kernel's links: one rtnetlink dump.
//!
//! Source: include/uapi/linux/if_link.h, net/core/rtnetlink.c rtnl_fill_ifinfo.

use std::collections::BTreeMap;

use netlink_packet_core::{NlasIterator, ParseableParametrized};
use netlink_packet_route::{
    AddressFamily,
    link::{InfoData, InfoVlan, LinkAttribute, LinkInfo, LinkXdp, Prop, State, XdpAttached},
};

use super::Notes;
use crate::{
    fault::Result,
    host::{
        Ask, Host, Mode,
        tlv::{Attrs, Writer},
    },
};

const RTM_GETLINK: u16 = 18;
/// `struct ifinfomsg`: family, pad, type, index, flags, change.
const HEADER_BYTES: usize = 16;
const IFF_UP: u32 = 1;

const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
/// Leave the counters out: filling them asks the driver (ndo_get_stats64), which is neither cheap
/// nor, during some drivers' resets, safe. Honoured for IFLA_STATS since Linux 6.19.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// The attributes that an inventory reads. Others are not decoded, so that an unknown form of one
/// of them cannot hide a NIC.
const WANTED: &[u16] = &[
    1,  // IFLA_ADDRESS
    3,  // IFLA_IFNAME
    5,  // IFLA_LINK
    6,  // IFLA_QDISC
    10, // IFLA_MASTER
    16, // IFLA_OPERSTATE
    IFLA_LINKINFO,
    31, // IFLA_NUM_TX_QUEUES
    32, // IFLA_NUM_RX_QUEUES
    33, // IFLA_CARRIER
    37, // IFLA_LINK_NETNSID
    43, // IFLA_XDP
    52, // IFLA_PROP_LIST
    54, // IFLA_PERM_ADDRESS
    56, // IFLA_PARENT_DEV_NAME
];

/// One link, of a NIC or not (loopback is here too, for routes and membership).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Entry {
    pub(crate) ifindex: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) carrier: bool,
    pub(crate) state: String,
    pub(crate) mac: String,
    pub(crate) permanent_mac: Option<String>,
    pub(crate) altnames: Vec<String>,
    /// IFLA_INFO_KIND: `veth`, `bridge`; empty for a device's own interface.
    pub(crate) kind: String,
    pub(crate) vlan: Option<u16>,
    pub(crate) master: Option<u32>,
    /// IFLA_LINK: the interface below, or a veth's other end.
    pub(crate) lower: Option<u32>,
    /// `lower` lies in another network namespace.
    pub(crate) lower_is_elsewhere: bool,
    pub(crate) qdisc: Option<String>,
    pub(crate) queues_rx: u32,
    pub(crate) queues_tx: u32,
    pub(crate) xdp: Option<super::Xdp>,
    /// The name of the device behind it on its bus: `0000:3b:00.0`, `virtio2`.
    pub(crate) parent: Option<String>,
}

impl Entry {
    /// `physical` for a device's own interface, `virtual` for one without device or kind.
    pub(crate) fn kind_in_words(&self) -> String {
        match (self.kind.as_str(), &self.parent) {
            ("", Some(_)) => super::PHYSICAL.to_owned(),
            ("", None) => "virtual".to_owned(),
            (kind, Some(_) | None) => kind.to_owned(),
        }
    }

    /// A veth's or netkit's other end, in this namespace.
    pub(crate) fn peer(&self) -> Option<u32> {
        self.lower.filter(|_| self.is_pair() && !self.lower_is_elsewhere)
    }

    fn is_pair(&self) -> bool {
        matches!(self.kind.as_str(), "veth" | "netkit" | "vxcan")
    }

    /// The interface that carries this one's packets, in this namespace. A veth's other end is a
    /// peer, not a carrier.
    pub(crate) fn sits_on(&self) -> Option<u32> {
        let carried = !self.is_pair() && !self.lower_is_elsewhere;
        self.lower.filter(|&lower| carried && lower != 0 && lower != self.ifindex)
    }
}

/// Every link of this network namespace, by ifindex.
pub(super) fn dump(host: &dyn Host, notes: &mut Notes) -> Result<BTreeMap<u32, Entry>> {
    let mut payload = vec![0; HEADER_BYTES];
    let mut attributes = Writer::new();
    attributes.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    payload.extend_from_slice(attributes.as_bytes());
    let ask = Ask::Route { kind: RTM_GETLINK, mode: Mode::Dump, payload };
    let answers = host.request(&ask).map_err(|fault| fault.during("list the host's links"))?;
    let mut links = BTreeMap::new();
    for answer in &answers {
        match parse(answer) {
            Some(entry) => {
                links.insert(entry.ifindex, entry);
            }
            None => notes.add("list the host's links: a message too short to be one".to_owned()),
        }
    }
    Ok(links)
}

fn parse(message: &[u8]) -> Option<Entry> {
    let word = |at: usize| {
        let bytes = message.get(at..at + 4)?;
        Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let attributes = message.get(HEADER_BYTES..)?;
    let mut entry = Entry { ifindex: word(4)?, up: word(8)? & IFF_UP != 0, ..Entry::default() };
    for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
        if !WANTED.contains(&attribute.kind()) {
            continue;
        }
        let decoded = LinkAttribute::parse_with_param(&attribute, AddressFamily::Unspec);
        match decoded {
            Ok(attribute) => entry.take(attribute),
            // A newer kernel's link info that does not decode still names its kind.
            Err(_) if attribute.kind() == IFLA_LINKINFO => {
                let kind = Attrs(attribute.value()).find(IFLA_INFO_KIND);
                entry.kind = kind.map(|kind| kind.text().to_owned()).unwrap_or_default();
            }
            Err(_) => {}
        }
    }
    Some(entry)
}

impl Entry {
    /// `LinkAttribute` is another crate's and not exhaustive, hence the last arm.
    fn take(&mut self, attribute: LinkAttribute) {
        match attribute {
            LinkAttribute::Address(bytes) => self.mac = mac(&bytes),
            LinkAttribute::PermAddress(bytes) => {
                // All zeroes: a driver that never set it.
                let real = bytes.iter().any(|&byte| byte != 0);
                self.permanent_mac = real.then(|| mac(&bytes));
            }
            LinkAttribute::IfName(name) => self.name = name,
            LinkAttribute::Link(index) => self.lower = Some(index),
            LinkAttribute::LinkNetNsId(_) => self.lower_is_elsewhere = true,
            LinkAttribute::Qdisc(kind) => self.qdisc = Some(kind),
            LinkAttribute::Controller(index) => self.master = Some(index),
            LinkAttribute::OperState(state) => self.state = words(&state),
            LinkAttribute::NumTxQueues(count) => self.queues_tx = count,
            LinkAttribute::NumRxQueues(count) => self.queues_rx = count,
            LinkAttribute::Carrier(carrier) => self.carrier = carrier != 0,
            LinkAttribute::ParentDevName(name) => self.parent = Some(name),
            LinkAttribute::Xdp(xdp) => self.xdp = attached(&xdp),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| self.learn(info)),
            LinkAttribute::PropList(props) => {
                let name = |prop| match prop {
                    Prop::AltIfName(name) => Some(name),
                    _ => None,
                };
                self.altnames = props.into_iter().filter_map(name).collect();
                self.altnames.sort();
            }
            _ => {}
        }
    }

    fn learn(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = kind.to_string(),
            LinkInfo::Data(InfoData::Vlan(facts)) => {
                self.vlan = facts.iter().find_map(|fact| match fact {
                    InfoVlan::Id(id) => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
}

fn mac(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// RFC 2863 ifOperStatus, as sysfs spells it.
fn words(state: &State) -> String {
    match state {
        State::Unknown => "unknown",
        State::NotPresent => "notpresent",
        State::Down => "down",
        State::LowerLayerDown => "lowerlayerdown",
        State::Testing => "testing",
        State::Dormant => "dormant",
        State::Up => "up",
        _ => "unknown",
    }
    .to_owned()
}

fn attached(xdp: &[LinkXdp]) -> Option<super::Xdp> {
    let mode = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some("driver"),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some("generic"),
        LinkXdp::Attached(XdpAttached::Hardware) => Some("hardware"),
        LinkXdp::Attached(XdpAttached::Multiple) => Some("several"),
        _ => None,
    })?;
    let program = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    });
    Some(super::Xdp { mode: mode.to_owned(), program })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A VLAN on interface 3 with an alternative name and a generic XDP program.
    fn message() -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..8].copy_from_slice(&7u32.to_ne_bytes());
        bytes[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        let (mut data, mut info) = (Writer::new(), Writer::new());
        data.put(1, &100u16.to_ne_bytes());
        info.text(IFLA_INFO_KIND, "vlan").nest(2, &data);
        let (mut xdp, mut props) = (Writer::new(), Writer::new());
        xdp.u8(2, 2).u32(4, 55);
        props.text(53, "trading-link");
        let mut attributes = Writer::new();
        attributes.text(3, "vlan100").put(1, &[2, 0, 0, 0, 0, 7]).u32(5, 3).u8(16, 6).u8(33, 1);
        attributes.nest(IFLA_LINKINFO, &info).nest(43, &xdp).nest(52, &props).put(54, &[0; 6]);
        bytes.extend_from_slice(attributes.as_bytes());
        bytes
    }

    #[test]
    fn a_link_is_decoded() {
        let entry = parse(&message()).unwrap();
        assert_eq!((entry.ifindex, entry.name.as_str(), entry.up), (7, "vlan100", true));
        assert_eq!((entry.mac.as_str(), &entry.permanent_mac), ("02:00:00:00:00:07", &None));
        assert_eq!(
            (entry.kind.as_str(), entry.vlan, entry.sits_on()),
            ("vlan", Some(100), Some(3))
        );
        assert_eq!((entry.state.as_str(), entry.carrier), ("up", true));
        assert_eq!(entry.altnames, ["trading-link"]);
        let xdp = entry.xdp.unwrap();
        assert_eq!((xdp.mode.as_str(), xdp.program), ("generic", Some(55)));
    }

    #[test]
    fn an_unknown_form_of_one_attribute_hides_nothing_else() {
        let mut bytes = message();
        let mut strange = Writer::new();
        strange.put(16, &[1, 2, 3]).put(10, &[1]);
        bytes.extend_from_slice(strange.as_bytes());
        assert_eq!(parse(&bytes).unwrap().name, "vlan100");
    }

    #[test]
    fn damaged_messages_are_survived() {
        let whole = message();
        for length in 0..whole.len() {
            let _ = parse(&whole[..length]);
        }
        for position in 0..whole.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[position] ^= bits;
                let _ = parse(&bytes);
            }
        }
    }
}
