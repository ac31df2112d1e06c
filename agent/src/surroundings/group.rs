//! Multicast groups that somebody gave a bridge port for good (`bridge mdb add … permanent`).
//!
//! Source: include/uapi/linux/if_bridge.h, net/bridge/br_mdb.c. What a bridge learned from IGMP and MLD it
//! learns again, and that is not looked at.

use std::collections::BTreeSet;

use super::{
    links::Links,
    message::{Builder, dump_if_any, word},
    object::{Class, Maker, Object, ip, mac},
};
use crate::{
    fault::Result,
    host::{
        Host,
        tlv::{Attrs, NESTED},
    },
};

const RTM_NEWMDB: u16 = 84;
const RTM_GETMDB: u16 = 86;
const AF_BRIDGE: u8 = 7;
/// Bytes of `struct br_port_msg`: u8 family, pad, u32 index of the bridge.
const MSG_BYTES: usize = 8;
const MDBA_MDB: u16 = 1;
const MDBA_SET_ENTRY: u16 = 1;
const MDBA_SET_ENTRY_ATTRS: u16 = 2;
/// `struct br_mdb_entry`: u32 index of the port, u8 state, u8 flags, u16 VLAN, an address of 16 bytes, its
/// protocol in network order, padding.
const ENTRY_BYTES: usize = 28;
const STATE_AT: usize = 4;
const FLAGS_AT: usize = 5;
const VLAN_AT: usize = 6;
const ADDRESS_AT: usize = 8;
const PROTOCOL_AT: usize = 24;
const MDB_PERMANENT: u8 = 1;
/// MDBA_MDB_EATTR_*, as they are reported.
const SOURCE_LIST: u16 = 2;
const GROUP_MODE: u16 = 3;
const SOURCE: u16 = 4;
const PROTOCOL: u16 = 5;
/// MDBE_ATTR_*, as they are told.
const TELL_SOURCE: u16 = 1;
const TELL_PROTOCOL: u16 = 4;
/// MCAST_EXCLUDE of a group from anywhere, MCAST_INCLUDE of one from a source: what the kernel gives an
/// entry that says nothing.
const EXCLUDE: u8 = 0;
const INCLUDE: u8 = 1;
/// RTPROT_STATIC: likewise. Before Linux 6.3 nothing else could be told.
const PROTOCOL_STATIC: u8 = 4;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// The permanent groups of these interfaces as bridge ports.
pub(super) fn read(
    host: &dyn Host,
    links: &Links,
    dying: &BTreeSet<u32>,
    cannot: &mut Vec<String>,
) -> Result<Vec<Object>> {
    let mut header = [0; MSG_BYTES];
    header[0] = AF_BRIDGE;
    let mut objects = Vec::new();
    for answer in dump_if_any(host, RTM_GETMDB, &header, "bridges' multicast groups")? {
        let Some((header, attributes)) = answer.split_at_checked(MSG_BYTES) else { continue };
        let bridge = word(&header[4..]);
        // Two lists deep: the table, its groups, each with the ports that it has.
        let table = Attrs(attributes).find(MDBA_MDB).map(|table| table.nested());
        let ports = table.into_iter().flatten().flat_map(|group| group.nested());
        for entry in ports {
            let Some((entry, more)) = entry.payload.split_at_checked(ENTRY_BYTES) else { continue };
            if entry[STATE_AT] & MDB_PERMANENT == 0 || !dying.contains(&word(entry)) {
                continue;
            }
            objects.push(group(links, bridge, entry, Attrs(more), cannot));
        }
    }
    Ok(objects)
}

fn group(
    links: &Links,
    bridge: u32,
    entry: &[u8],
    more: Attrs<'_>,
    cannot: &mut Vec<String>,
) -> Object {
    let byte = |kind: u16| more.find(kind).and_then(|attr| attr.payload.first().copied());
    let source = more.find(SOURCE).map(|attr| attr.payload);
    let vlan = u16::from_ne_bytes([entry[VLAN_AT], entry[VLAN_AT + 1]]);
    let protocol = u16::from_be_bytes([entry[PROTOCOL_AT], entry[PROTOCOL_AT + 1]]);
    let address = &entry[ADDRESS_AT..PROTOCOL_AT];
    let mut key = match protocol {
        ETH_P_IP => ip(&address[..4]),
        ETH_P_IPV6 => ip(address),
        // A link-layer group.
        _ => mac(&address[..6]),
    };
    key += &source.map(|source| format!(" from {}", ip(source))).unwrap_or_default();
    key += &if vlan == 0 { String::new() } else { format!(" vlan {vlan}") };
    let device = links.names.name(word(entry));
    key += &format!(" on {device} of {}", links.names.name(bridge));
    let mode = if source.is_some() { INCLUDE } else { EXCLUDE };
    if more.find(SOURCE_LIST).is_some_and(|list| !list.payload.is_empty()) {
        cannot.push(format!("bridge group {key}: its list of sources"));
    } else if byte(GROUP_MODE).is_some_and(|found| found != mode) {
        cannot.push(format!("bridge group {key}: its filter mode"));
    }
    let mut header = [0; MSG_BYTES];
    header[0] = AF_BRIDGE;
    header[4..].copy_from_slice(&bridge.to_ne_bytes());
    let mut builder = Builder::new(&links.names, &header);
    builder.header_link(4);
    let at = builder.open(MDBA_SET_ENTRY);
    let mut told = entry.to_vec();
    // Offloaded, blocked, fast-leave, …: reports.
    told[FLAGS_AT] = 0;
    builder.index(word(entry)).bytes(&told[STATE_AT..]).close(at);
    let by = byte(PROTOCOL).filter(|by| *by != PROTOCOL_STATIC);
    if source.is_some() || by.is_some() {
        let at = builder.open(MDBA_SET_ENTRY_ATTRS | NESTED);
        source.iter().for_each(|source| {
            builder.attribute(TELL_SOURCE, source);
        });
        by.iter().for_each(|by| {
            builder.attribute(TELL_PROTOCOL, &[*by]);
        });
        builder.close(at);
    }
    Object {
        class: Class::BridgeGroup,
        key,
        detail: by.map(|by| format!("protocol {by}")).unwrap_or_default(),
        maker: Maker::Somebody,
        order: 0,
        lifetime: None,
        message: builder.build(RTM_NEWMDB),
    }
}
