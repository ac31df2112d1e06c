//! The namespace's links as one dump shows them, and which of them die with a port.

use std::collections::{BTreeMap, BTreeSet};

use super::message::{Bytes, Names, dump, word};
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Host,
        tlv::{Attrs, Writer},
    },
};

pub(super) const RTM_GETLINK: u16 = 18;
/// Bytes of `struct ifinfomsg`: u8 family, u8 pad, u16 type, i32 index, u32 flags, u32 change.
pub(super) const IFINFOMSG_BYTES: usize = 16;
pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
pub(super) const IFLA_LINK: u16 = 5;
pub(super) const IFLA_MASTER: u16 = 10;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_AF_SPEC: u16 = 26;
/// In IFLA_AF_SPEC.
pub(super) const AF_INET6: u16 = 10;
pub(super) const IFLA_INET6_TOKEN: u16 = 7;
pub(super) const IFLA_EXT_MASK: u16 = 29;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
pub(super) const IFLA_PROP_LIST: u16 = 52;
pub(super) const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_ALLMULTI: u16 = 61;
pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
pub(super) const IFLA_INFO_SLAVE_KIND: u16 = 4;
pub(super) const IFLA_INFO_SLAVE_DATA: u16 = 5;
/// RTEXT_FILTER_SKIP_STATS: some drivers take locks to count.
const SKIP_STATS: u32 = 1 << 3;
/// VLANs on bonds on VLANs: nobody stacks deeper.
const DEPTH_MAX: usize = 8;
const STACKED_MAX: usize = 512;
/// Kinds whose "lower" interface is the other end of a pair.
const PAIRS: [&str; 3] = ["veth", "netkit", "vxcan"];

/// Kinds that name their lower interface in their own data: IFLA_VXLAN_LINK, IFLA_GRE_LINK,
/// IFLA_IPTUN_LINK, IFLA_VTI_LINK.
const TUNNELS: [(&str, u16); 12] = [
    ("vxlan", 3),
    ("gre", 1),
    ("gretap", 1),
    ("erspan", 1),
    ("ip6gre", 1),
    ("ip6gretap", 1),
    ("ip6erspan", 1),
    ("ipip", 1),
    ("sit", 1),
    ("ip6tnl", 1),
    ("vti", 1),
    ("vti6", 1),
];

/// One link.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) flags: u32,
    /// `vlan`, `bridge`; empty for a device's own interface.
    pub(super) kind: String,
    pub(super) master: Option<u32>,
    /// The interface it sits on, in this namespace.
    pub(super) lower: Option<u32>,
    pub(super) altnames: Vec<String>,
    pub(super) promiscuity: u32,
    pub(super) allmulti: u32,
    /// The id of an XDP program that is attached; 0 where the kernel does not tell it.
    pub(super) xdp: Option<u32>,
    /// The dump's attributes.
    attributes: Vec<u8>,
}

impl Link {
    pub(super) fn attrs(&self) -> Attrs<'_> {
        Attrs(&self.attributes)
    }

    pub(super) fn attribute(&self, kind: u16) -> Option<Bytes> {
        self.attrs().find(kind).map(|attr| Bytes(attr.payload.to_vec()))
    }

    /// What rtnetlink says of it as a kind of its own, or as a member of its master.
    pub(super) fn info(&self, kind: u16) -> Option<&[u8]> {
        Some(self.attrs().find(IFLA_LINKINFO)?.nested().find(kind)?.payload)
    }

    /// The interface part that somebody gave its advertised IPv6 addresses (`ip token`).
    pub(super) fn token(&self) -> Option<Bytes> {
        let token = self.attrs().find(IFLA_AF_SPEC)?.nested().find(AF_INET6)?.nested();
        let token = token.find(IFLA_INET6_TOKEN)?.payload;
        token.iter().any(|byte| *byte != 0).then(|| Bytes(token.to_vec()))
    }

    fn parse(answer: &[u8]) -> Option<Link> {
        let header = answer.get(..IFINFOMSG_BYTES)?;
        let attributes = answer.get(IFINFOMSG_BYTES..)?;
        let attrs = Attrs(attributes);
        let number = |kind| attrs.find(kind).map(|attr| word(attr.payload));
        let info = attrs.find(IFLA_LINKINFO);
        let kind = info.and_then(|info| info.nested().find(IFLA_INFO_KIND));
        let kind = kind.map(|kind| kind.text().to_owned()).unwrap_or_default();
        let index = word(&header[4..]);
        let here = attrs.find(IFLA_LINK_NETNSID).is_none() && !PAIRS.contains(&kind.as_str());
        let own = || TUNNELS.iter().find(|(tunnel, _)| *tunnel == kind);
        let data = info.and_then(|info| info.nested().find(IFLA_INFO_DATA));
        let bound = data.zip(own()).and_then(|(data, (_, link))| data.nested().find(*link));
        let lower = number(IFLA_LINK).or(bound.map(|link| word(link.payload)));
        let lower = lower.filter(|&lower| here && lower != 0 && lower != index);
        let props = attrs.find(IFLA_PROP_LIST).map(|list| list.nested());
        let named = props.into_iter().flatten().filter(|prop| prop.kind == IFLA_ALT_IFNAME);
        let mut altnames: Vec<String> = named.map(|prop| prop.text().to_owned()).collect();
        altnames.sort();
        let xdp = attrs.find(IFLA_XDP).map(|xdp| xdp.nested());
        let attached = xdp.and_then(|xdp| xdp.find(IFLA_XDP_ATTACHED)?.number()).unwrap_or(0) != 0;
        let program = xdp.and_then(|xdp| xdp.find(IFLA_XDP_PROG_ID));
        Some(Link {
            index,
            name: attrs.find(IFLA_IFNAME)?.text().to_owned(),
            flags: word(&header[8..]),
            kind,
            master: number(IFLA_MASTER).filter(|&master| master != 0),
            lower,
            altnames,
            promiscuity: number(IFLA_PROMISCUITY).unwrap_or(0),
            allmulti: number(IFLA_ALLMULTI).unwrap_or(0),
            xdp: attached.then(|| program.map_or(0, |id| word(id.payload))),
            attributes: attributes.to_vec(),
        })
    }
}

/// All links of the namespace.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) by_index: BTreeMap<u32, Link>,
    pub(super) names: Names,
}

impl Links {
    pub(super) fn read(host: &dyn Host) -> Result<Links> {
        let mut header = vec![0; IFINFOMSG_BYTES];
        let mut attrs = Writer::new();
        attrs.u32(IFLA_EXT_MASK, SKIP_STATS);
        header.extend_from_slice(attrs.as_bytes());
        let answers = dump(host, RTM_GETLINK, &header, "links")?;
        let (mut by_index, mut names) = (BTreeMap::new(), Names::default());
        for link in answers.iter().filter_map(|answer| Link::parse(answer)) {
            names.insert(link.index, &link.name);
            by_index.insert(link.index, link);
        }
        Ok(Links { by_index, names })
    }

    pub(super) fn named(&self, name: &str) -> Option<&Link> {
        self.by_index.get(&self.names.index(name)?)
    }

    /// The interfaces that die with these, lower before upper: they themselves come first.
    pub(super) fn dying(&self, ports: &[u32]) -> Result<Vec<u32>> {
        let mut all: Vec<u32> = ports.to_vec();
        let mut known: BTreeSet<u32> = all.iter().copied().collect();
        let mut level = known.clone();
        for _ in 0..DEPTH_MAX {
            let above = self.by_index.values().filter(|link| {
                link.lower.is_some_and(|lower| level.contains(&lower))
                    && !known.contains(&link.index)
            });
            let mut above: Vec<&Link> = above.collect();
            above.sort_by(|a, b| a.name.cmp(&b.name));
            level = above.iter().map(|link| link.index).collect();
            if level.is_empty() {
                return Ok(all);
            }
            known.extend(&level);
            all.extend(above.iter().map(|link| link.index));
            if all.len() > STACKED_MAX {
                break;
            }
        }
        let cause = format!("more than {STACKED_MAX} stacked interfaces, or {DEPTH_MAX} levels");
        Err(Fault::new(Kind::Unsupported, "find what stands on the NIC", cause))
    }
}
