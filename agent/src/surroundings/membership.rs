//! Membership: what an interface is to its bridge (attributes, VLANs), bond or VRF.
//!
//! Source: include/uapi/linux/{if_link,if_bridge}.h, net/bridge/br_netlink.c,
//! drivers/net/bonding/bond_netlink.c.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    links::{
        IFINFOMSG_BYTES, IFLA_AF_SPEC, IFLA_EXT_MASK, IFLA_INFO_SLAVE_DATA, IFLA_INFO_SLAVE_KIND,
        Link, Links, RTM_GETLINK,
    },
    message::{Builder, Bytes, dump_if_any, word},
    object::{Class, Maker, Object},
};
use crate::{
    fault::Result,
    host::{
        Ask, Host, Mode,
        tlv::{Attrs, NESTED, Writer},
    },
};

const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;
const AF_BRIDGE: u8 = 7;
const BRIDGE_VLAN_INFO: u16 = 2;
const BRIDGE_VLAN_TUNNEL_INFO: u16 = 4;
/// RTEXT_FILTER_BRVLAN: each VLAN by itself.
const BRVLAN: u32 = 1 << 1;

/// IFLA_BRPORT_COST: made of the link's speed where nobody set it.
pub(super) const BRPORT_COST: u16 = 3;
/// IFLA_BRPORT_BACKUP_PORT: an interface's index.
const BRPORT_BACKUP_PORT: u16 = 34;
/// IFLA_BRPORT_* that somebody sets and that are no index: priority, cost, mode, guard, protect,
/// fast-leave, learning, flood, proxy-ARP and its Wi-Fi kind, multicast router, multicast flood and to
/// unicast, VLAN tunnel, broadcast flood, group-forward mask, neighbour suppression, isolated, host
/// limit, locked, MAB, group limit, VLAN neighbour suppression, backup nexthop. The others are states.
const BRPORT_SET: [u16; 25] = [
    2,
    BRPORT_COST,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    12,
    25,
    27,
    28,
    29,
    30,
    31,
    32,
    33,
    37,
    39,
    40,
    42,
    43,
    44,
    BRPORT_BACKUP_PORT,
];
/// IFLA_BOND_SLAVE_QUEUE_ID, _PRIO, _ACTOR_PORT_PRIO.
const BOND_SET: [u16; 3] = [5, 9, 10];

/// An interface's place under a master that outlives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Membership {
    pub master: String,
    /// `bridge`, `bond`, `vrf`.
    pub kind: String,
    /// IFLA_BRPORT_* or IFLA_BOND_SLAVE_* that somebody may set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attributes: BTreeMap<u16, Bytes>,
}

impl Membership {
    pub(super) fn of(link: &Link, links: &Links, cannot: &mut Vec<String>) -> Option<Membership> {
        let master = links.names.name(link.master?);
        let kind = link.info(IFLA_INFO_SLAVE_KIND).map(text).unwrap_or_default();
        let kind = match kind.is_empty() {
            // A VRF's members have no kind of their own on every kernel.
            true => links.named(&master).map(|l| l.kind.clone()).unwrap_or_default(),
            false => kind,
        };
        let settable: &[u16] = match kind.as_str() {
            "bridge" => &BRPORT_SET,
            "bond" => &BOND_SET,
            "vrf" => &[],
            other => {
                cannot.push(format!("{}'s membership of {master}, a {other}", link.name));
                &[]
            }
        };
        let data = link.info(IFLA_INFO_SLAVE_DATA).unwrap_or(&[]);
        let mut attributes = BTreeMap::new();
        for attr in Attrs(data).filter(|attr| settable.contains(&attr.kind)) {
            if kind == "bridge" && attr.kind == BRPORT_BACKUP_PORT {
                cannot.push(format!("{}'s backup port on {master}", link.name));
            } else {
                attributes.insert(attr.kind, Bytes(attr.payload.to_vec()));
            }
        }
        Some(Membership { master, kind, attributes })
    }

    /// The request that sets these attributes of the member with this index.
    pub(super) fn set(&self, index: u32, attributes: &[(u16, &Bytes)]) -> Ask {
        let (mut data, mut info, mut body) = (Writer::new(), Writer::new(), Writer::new());
        for (kind, value) in attributes {
            data.put(*kind, &value.0);
        }
        info.text(IFLA_INFO_SLAVE_KIND, &self.kind).nest(IFLA_INFO_SLAVE_DATA, &data);
        body.nest(super::links::IFLA_LINKINFO, &info);
        let mut payload = vec![0; IFINFOMSG_BYTES];
        payload[4..8].copy_from_slice(&index.to_ne_bytes());
        payload.extend_from_slice(body.as_bytes());
        Ask::Route { kind: super::device::RTM_NEWLINK, mode: Mode::Do, payload }
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A VLAN on a bridge port: `struct bridge_vlan_info`, u16 flags and u16 id.
type Vlan = [u8; 4];

/// The VLANs that bridges pass on these interfaces.
pub(super) fn vlans(
    host: &dyn Host,
    links: &Links,
    dying: &BTreeSet<u32>,
    cannot: &mut Vec<String>,
) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for (index, vlan, tunnel) in listed(host)?.into_iter().filter(|(i, ..)| dying.contains(i)) {
        let device = links.names.name(index);
        if tunnel {
            cannot.push(format!("the VLAN tunnels of bridge port {device}"));
            continue;
        }
        let mut header = [0; IFINFOMSG_BYTES];
        header[0] = AF_BRIDGE;
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        let mut builder = Builder::new(&links.names, &header);
        builder.header_link(4);
        let outer = builder.open(IFLA_AF_SPEC | NESTED);
        builder.attribute(BRIDGE_VLAN_INFO, &vlan).close(outer);
        let [f0, f1, v0, v1] = vlan;
        objects.push(Object {
            class: Class::BridgeVlan,
            key: format!("{} on {device}", u16::from_ne_bytes([v0, v1])),
            detail: format!("flags {:#x}", u16::from_ne_bytes([f0, f1])),
            maker: Maker::Somebody,
            order: u32::from(u16::from_ne_bytes([v0, v1])),
            lifetime: None,
            message: builder.build(RTM_SETLINK),
        });
    }
    Ok(objects)
}

/// Port, VLAN, and whether the entry is a tunnel instead.
fn listed(host: &dyn Host) -> Result<Vec<(u32, Vlan, bool)>> {
    let mut header = vec![0; IFINFOMSG_BYTES];
    header[0] = AF_BRIDGE;
    let mut attrs = Writer::new();
    attrs.u32(IFLA_EXT_MASK, BRVLAN);
    header.extend_from_slice(attrs.as_bytes());
    let mut found = Vec::new();
    for answer in dump_if_any(host, RTM_GETLINK, &header, "bridge VLANs")? {
        let Some((header, attributes)) = answer.split_at_checked(IFINFOMSG_BYTES) else { continue };
        let index = word(&header[4..]);
        let spec = Attrs(attributes).find(IFLA_AF_SPEC).map(|spec| spec.nested());
        for attr in spec.into_iter().flatten() {
            match (attr.kind, Vlan::try_from(attr.payload)) {
                (BRIDGE_VLAN_INFO, Ok(vlan)) => found.push((index, vlan, false)),
                (BRIDGE_VLAN_TUNNEL_INFO, _) => found.push((index, Vlan::default(), true)),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Takes from a port the VLANs that its bridge gave it as it joined (the default PVID) and that it did
/// not have: left alone, they would pass traffic that was kept out.
pub(super) fn take_back_vlans(
    host: &dyn Host,
    index: u32,
    device: &str,
    had: &[&Object],
) -> Result<()> {
    for (_, vlan, _) in listed(host)?.into_iter().filter(|(i, _, tunnel)| *i == index && !tunnel) {
        let id = u16::from_ne_bytes([vlan[2], vlan[3]]);
        let key = format!("{id} on {device}");
        if had.iter().any(|object| object.key == key) {
            continue;
        }
        let (mut spec, mut body) = (Writer::new(), Writer::new());
        spec.put(BRIDGE_VLAN_INFO, &vlan);
        body.nest(IFLA_AF_SPEC, &spec);
        let mut payload = vec![0; IFINFOMSG_BYTES];
        payload[0] = AF_BRIDGE;
        payload[4..8].copy_from_slice(&index.to_ne_bytes());
        payload.extend_from_slice(body.as_bytes());
        let ask = Ask::Route { kind: RTM_DELLINK, mode: Mode::Do, payload };
        let act = format!("take the bridge's default VLAN {id} from {device}");
        host.request(&ask).map_err(|fault| fault.during(act))?;
    }
    Ok(())
}
