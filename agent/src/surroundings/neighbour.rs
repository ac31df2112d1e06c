//! Permanent neighbours, proxy entries, and static entries of forwarding tables.
//!
//! Source: include/uapi/linux/neighbour.h, net/core/neighbour.c, net/bridge/br_fdb.c. What was learned
//! is learned again and is not looked at.

use std::collections::BTreeSet;

use super::{
    links::Links,
    message::{Builder, dump, dump_if_any, raw, word},
    object::{Class, Maker, Object, ip, mac},
    route::{AF_INET, AF_INET6},
};
use crate::{
    fault::Result,
    host::{Host, tlv::Attrs},
};

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
/// Bytes of `struct ndmsg`: u8 family, u8 pad, u16 pad, i32 index, u16 state, u8 flags, u8 type.
const NDMSG_BYTES: usize = 12;
const STATE_AT: usize = 8;
const FLAGS_AT: usize = 10;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_VLAN: u16 = 5;
const NDA_IFINDEX: u16 = 8;
const NDA_MASTER: u16 = 9;
/// NDA_CACHEINFO, NDA_PROBES, and what describes a forwarding entry's activity.
const REPORTS: [u16; 3] = [3, 4, 14];
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NTF_SELF: u8 = 0x02;
const NTF_MASTER: u8 = 0x04;
const NTF_PROXY: u8 = 0x08;
/// NTF_EXT_LEARNED, NTF_OFFLOADED: somebody's control plane keeps these.
const NTF_EXT_LEARNED: u8 = 0x10;
const AF_BRIDGE: u8 = 7;

/// Permanent and proxy entries of these interfaces.
pub(super) fn read(host: &dyn Host, links: &Links, dying: &BTreeSet<u32>) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for (family, flags) in
        [(AF_INET, 0), (AF_INET6, 0), (AF_INET, NTF_PROXY), (AF_INET6, NTF_PROXY)]
    {
        let mut header = [0; NDMSG_BYTES];
        (header[0], header[FLAGS_AT]) = (family, flags);
        for answer in dump(host, RTM_GETNEIGH, &header, "neighbours")? {
            let Some((header, attributes)) = answer.split_at_checked(NDMSG_BYTES) else { continue };
            let proxy = header[FLAGS_AT] & NTF_PROXY != 0;
            let kept = proxy || state(header) & NUD_PERMANENT != 0;
            if kept && dying.contains(&word(&header[4..])) {
                objects.push(neighbour(links, header, attributes, proxy));
            }
        }
    }
    Ok(objects)
}

fn state(header: &[u8]) -> u16 {
    u16::from_ne_bytes([header[STATE_AT], header[STATE_AT + 1]])
}

fn neighbour(links: &Links, header: &[u8], attributes: &[u8], proxy: bool) -> Object {
    let mut builder = Builder::new(&links.names, header);
    builder.header_link(4);
    for (kind, attr) in raw(attributes).filter(|(_, attr)| !REPORTS.contains(&attr.kind)) {
        builder.attribute(kind, attr.payload);
    }
    let attrs = Attrs(attributes);
    let address = attrs.find(NDA_DST).map(|attr| ip(attr.payload)).unwrap_or_default();
    let device = links.names.name(word(&header[4..]));
    let hardware = attrs.find(NDA_LLADDR).map(|attr| mac(attr.payload)).unwrap_or_default();
    let word = if proxy { "proxy " } else { "" };
    Object {
        class: Class::Neighbour,
        key: format!("{word}{address} on {device}"),
        detail: hardware,
        maker: Maker::Somebody,
        order: 0,
        lifetime: None,
        message: builder.build(RTM_NEWNEIGH),
    }
}

/// Static forwarding entries of these interfaces: in their bridge's table, and unicast addresses that
/// they themselves listen to.
///
/// An address that an interface listens to belongs to something: a stacked interface, a bridge, or
/// somebody's request, all seen from here; or to a macvlan that was moved to another network
/// namespace (a container's), which would die unseen. So what nothing here explains is `cannot`.
pub(super) fn forwarding(
    host: &dyn Host,
    links: &Links,
    dying: &BTreeSet<u32>,
    cannot: &mut Vec<String>,
) -> Result<Vec<Object>> {
    let mut header = [0; NDMSG_BYTES];
    header[0] = AF_BRIDGE;
    let answers = dump_if_any(host, RTM_GETNEIGH, &header, "forwarding tables")?;
    let addresses = links.by_index.values().filter_map(|link| link.attribute(1));
    let mut explained: BTreeSet<Vec<u8>> = addresses.map(|address| address.0).collect();
    let (mut masters, mut own) = (Vec::new(), Vec::new());
    for answer in &answers {
        let Some((header, attributes)) = answer.split_at_checked(NDMSG_BYTES) else { continue };
        let attrs = Attrs(attributes);
        let Some(address) = attrs.find(NDA_LLADDR).map(|attr| attr.payload) else { continue };
        let of_bridge = attrs.find(NDA_MASTER).is_some();
        let is_static = state(header) & (NUD_PERMANENT | NUD_NOARP) != 0;
        if of_bridge && is_static {
            explained.insert(address.to_vec());
        }
        let learned = header[FLAGS_AT] & NTF_EXT_LEARNED != 0 || !is_static;
        let group = address.first().is_none_or(|first| first & 1 != 0);
        let index = word(&header[4..]);
        // A bridge makes entries for its ports' own addresses, at the port or at itself.
        let link = links.by_index.get(&index);
        let own_address = link.and_then(|link| link.attribute(1)).is_some_and(|a| a.0 == address);
        if learned || group || own_address || !dying.contains(&index) {
            continue;
        }
        match of_bridge {
            true => masters.push(entry(links, header, attributes, NTF_MASTER)),
            false => own.push((address.to_vec(), entry(links, header, attributes, NTF_SELF))),
        }
    }
    for (address, object) in own {
        if !explained.contains(&address) {
            let why = "belongs to nothing in this network namespace (a macvlan moved to another?)";
            cannot.push(format!("{} {why}", object.named()));
        }
        masters.push(object);
    }
    Ok(masters)
}

fn entry(links: &Links, header: &[u8], attributes: &[u8], whose: u8) -> Object {
    let mut header = header.to_vec();
    header[FLAGS_AT] = header[FLAGS_AT] & !(NTF_SELF | NTF_MASTER) | whose;
    let mut builder = Builder::new(&links.names, &header);
    builder.header_link(4);
    for (kind, attr) in raw(attributes).filter(|(_, attr)| !REPORTS.contains(&attr.kind)) {
        match attr.kind {
            // The flag says it; the attribute is only reported.
            NDA_MASTER => {}
            NDA_IFINDEX => {
                builder.link(kind, attr.payload);
            }
            _ => {
                builder.attribute(kind, attr.payload);
            }
        }
    }
    let attrs = Attrs(attributes);
    let address = attrs.find(NDA_LLADDR).map(|attr| mac(attr.payload)).unwrap_or_default();
    let vlan = attrs.find(NDA_VLAN).and_then(|attr| attr.number());
    let vlan = vlan.map(|id| format!(" vlan {id}")).unwrap_or_default();
    let table = if whose == NTF_SELF { "self" } else { "master" };
    let device = links.names.name(word(&header[4..]));
    Object {
        class: Class::Fdb,
        key: format!("{address}{vlan} on {device} {table}"),
        detail: format!("state {:#x} flags {:#x}", state(&header), header[FLAGS_AT]),
        // A stacked interface makes its lower one listen; by then it is there again.
        maker: Maker::Somebody,
        order: 0,
        lifetime: None,
        message: builder.build(RTM_NEWNEIGH),
    }
}
