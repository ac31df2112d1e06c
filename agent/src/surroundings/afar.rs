//! What hangs on an interface from elsewhere, and would go with it: told beforehand, since it is not here
//! to be put back.

use std::{collections::BTreeSet, path::Path};

use super::{
    links::Links,
    message::{dump_if_any, word},
};
use crate::{
    fault::{Kind, Result},
    host::{
        Host, Nic,
        tlv::{Attrs, NESTED, Writer},
    },
    inventory::devlink,
};

/// include/uapi/linux/rtnetlink.h, pkt_cls.h, tc_act/tc_mirred.h.
const RTM_GETACTION: u16 = 50;
/// Bytes of `struct tcamsg`.
const TCAMSG_BYTES: usize = 4;
const TCA_ACT_TAB: u16 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
/// `struct tc_mirred`: `struct tc_gen` of 20 bytes, i32 action, u32 index of the interface.
const MIRRED_LINK_AT: usize = 24;

/// Filters of other interfaces that mirror or redirect to these: `own` are the actions of these interfaces'
/// own filters, by index, which are put back with them.
pub(super) fn redirects(
    host: &dyn Host,
    links: &Links,
    dying: &BTreeSet<u32>,
    own: &BTreeSet<u32>,
) -> Result<Vec<String>> {
    let (mut kind, mut first, mut asked) = (Writer::new(), Writer::new(), Writer::new());
    kind.text(TCA_ACT_KIND, "mirred");
    first.put(1 | NESTED, kind.as_bytes());
    asked.put(TCA_ACT_TAB | NESTED, first.as_bytes());
    let asked = [&[0; TCAMSG_BYTES][..], asked.as_bytes()].concat();
    let mut found = Vec::new();
    for answer in dump_if_any(host, RTM_GETACTION, &asked, "tc's actions")? {
        let attributes = answer.get(TCAMSG_BYTES..).unwrap_or(&[]);
        let table = Attrs(attributes).find(TCA_ACT_TAB).map(|table| table.nested());
        for action in table.into_iter().flatten().map(|action| action.nested()) {
            let options = action.find(TCA_ACT_OPTIONS).map(|options| options.nested());
            let Some(parameters) = options.and_then(|options| options.find(TCA_MIRRED_PARMS))
            else {
                continue;
            };
            let (index, payload) = (word(parameters.payload), parameters.payload);
            let to = payload.get(MIRRED_LINK_AT..).map_or(0, word);
            if dying.contains(&to) && !own.contains(&index) {
                let to = links.names.name(to);
                found.push(format!(
                    "mirred action {index}, by which another interface's filter sends to {to}"
                ));
            }
        }
    }
    Ok(found)
}

/// include/uapi/linux/if_bridge.h.
const RTM_GETVLAN: u16 = 114;
const AF_BRIDGE: u8 = 7;
/// Bytes of `struct br_vlan_msg`: u8 family, u8 pad, u16 pad, u32 index.
const VLAN_MSG_BYTES: usize = 8;
const BRIDGE_VLANDB_ENTRY: u16 = 1;
/// What somebody can give one VLAN of a port, with the words for it and what it is where nobody did:
/// BRIDGE_VLANDB_ENTRY_STATE (BR_STATE_FORWARDING), _MCAST_ROUTER (MDB_RTR_TYPE_TEMP_QUERY),
/// _MCAST_MAX_GROUPS, _NEIGH_SUPPRESS.
const VLAN_OPTIONS: [(u16, &str, u64); 4] = [
    (3, "state", 3),
    (6, "multicast router", 1),
    (8, "limit of groups", 0),
    (9, "neighbour suppression", 0),
];
const BRIDGE_VLANDB_ENTRY_INFO: u16 = 1;

/// Options of single VLANs on bridge ports, where they are not what a new VLAN has.
pub(super) fn vlan_options(
    host: &dyn Host,
    links: &Links,
    dying: &BTreeSet<u32>,
) -> Result<Vec<String>> {
    let mut header = [0; VLAN_MSG_BYTES];
    header[0] = AF_BRIDGE;
    let mut found = Vec::new();
    for answer in dump_if_any(host, RTM_GETVLAN, &header, "bridge VLANs' options")? {
        let Some((header, attributes)) = answer.split_at_checked(VLAN_MSG_BYTES) else { continue };
        let index = word(&header[4..]);
        if !dying.contains(&index) {
            continue;
        }
        for entry in Attrs(attributes).filter(|attr| attr.kind == BRIDGE_VLANDB_ENTRY) {
            let entry = entry.nested();
            // `struct bridge_vlan_info`: u16 flags, u16 id.
            let info = entry.find(BRIDGE_VLANDB_ENTRY_INFO).map_or(&[][..], |info| info.payload);
            let id = info.get(2..4).map_or(0, |id| u16::from_ne_bytes([id[0], id[1]]));
            let options = VLAN_OPTIONS.iter().filter(|(kind, _, usual)| {
                entry.find(*kind).and_then(|attr| attr.number()).is_some_and(|v| v != *usual)
            });
            let port = links.names.name(index);
            found
                .extend(options.map(|(_, words, _)| format!("the {words} of VLAN {id} on {port}")));
        }
    }
    Ok(found)
}

/// Ports that would come back in another network namespace: a driver makes its interfaces in the one of its
/// devlink instance, and without devlink in the host's first.
pub(super) fn homes(host: &dyn Host, ports: &[Nic]) -> Vec<String> {
    let netns = |of: &str| host.target(Path::new(of));
    let (Ok(own), Ok(first)) = (netns("/proc/thread-self/ns/net"), netns("/proc/1/ns/net")) else {
        return Vec::new();
    };
    if own == first {
        return Vec::new();
    }
    let away = |port: &&Nic| {
        let devlink = port.pci.as_ref().map(|address| devlink::one(host, address));
        devlink.is_some_and(|found| {
            found.is_err_and(|fault| matches!(fault.kind, Kind::Unsupported | Kind::Gone))
        })
    };
    let words = |port: &Nic| {
        format!(
            "{}: it would come back in the host's network namespace, not in this one",
            port.name
        )
    };
    ports.iter().filter(away).map(words).collect()
}

/// include/uapi/linux/rtnetlink.h, net/mpls/af_mpls.c.
const RTM_GETROUTE: u16 = 26;
const AF_MPLS: u8 = 28;
const RTMSG_BYTES: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
/// Bytes of `struct rtnexthop`: u16 length, u8 flags, u8 hops, i32 index.
const RTNEXTHOP_BYTES: usize = 8;

/// MPLS routes that lead through these interfaces.
pub(super) fn label_routes(
    host: &dyn Host,
    links: &Links,
    dying: &BTreeSet<u32>,
) -> Result<Vec<String>> {
    let mut header = [0; RTMSG_BYTES];
    header[0] = AF_MPLS;
    let mut found = Vec::new();
    for answer in dump_if_any(host, RTM_GETROUTE, &header, "MPLS routes")? {
        // A kernel without MPLS answers with the routes of every family that it has.
        let Some((header, attributes)) = answer.split_at_checked(RTMSG_BYTES) else { continue };
        if header[0] != AF_MPLS {
            continue;
        }
        let attrs = Attrs(attributes);
        let mut through: BTreeSet<u32> =
            attrs.find(RTA_OIF).map(|link| word(link.payload)).into_iter().collect();
        let mut ways = attrs.find(RTA_MULTIPATH).map_or(&[][..], |ways| ways.payload);
        while let Some(way) = ways.get(..RTNEXTHOP_BYTES) {
            through.insert(word(&way[4..]));
            let length = usize::from(u16::from_ne_bytes([way[0], way[1]]));
            ways = ways.get(length.max(RTNEXTHOP_BYTES).next_multiple_of(4)..).unwrap_or(&[]);
        }
        // Label, class, bottom of stack and lifetime, in network byte order.
        let label = attrs.find(RTA_DST).and_then(|to| to.payload.first_chunk().copied());
        let label = label.map_or(0, |label| u32::from_be_bytes(label) >> 12);
        for index in through.intersection(dying) {
            found.push(format!("MPLS route of label {label} through {}", links.names.name(*index)));
        }
    }
    Ok(found)
}
