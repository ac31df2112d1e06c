//! Routes of all tables, nexthop objects, and rules.
//!
//! Source: include/uapi/linux/{rtnetlink,nexthop,fib_rules}.h, net/ipv4/fib_semantics.c (what dies with
//! a device: fib_sync_down_dev, fib_sync_down_addr), net/ipv6/route.c, net/ipv4/nexthop.c.

use std::collections::BTreeSet;

use super::{
    links::Links,
    message::{Builder, dump, dump_if_any, raw, word},
    object::{Class, Maker, Object, ip},
};
use crate::{
    fault::Result,
    host::{Host, tlv::Attrs},
};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// Bytes of `struct rtmsg`: u8 family, dst_len, src_len, tos, table, protocol, scope, type; u32 flags.
const RTMSG_BYTES: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
/// `struct rtnexthop`: u16 length, u8 flags, u8 hops, i32 index.
const RTNEXTHOP_BYTES: usize = 8;
/// RTNH_F_ONLINK is asked for; the others (dead, linkdown, offload) are states.
const ONLINK: u32 = 4;
const RTPROT_KERNEL: u8 = 2;
const RTN_LOCAL: u8 = 2;
/// RTPROT_REDIRECT, RTPROT_KERNEL, RTPROT_RA.
const KERNELS: [u8; 3] = [1, 2, 9];
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

/// What a route may hang by.
pub(super) struct Hooks<'a> {
    pub(super) dying: &'a BTreeSet<u32>,
    /// Addresses that go; IPv4 routes that prefer one go too, wherever they lead.
    pub(super) locals: &'a BTreeSet<Vec<u8>>,
    /// Those of them that come back as others, with the kernel's routes to them.
    pub(super) temporary: &'a BTreeSet<Vec<u8>>,
    /// Nexthop objects that go.
    pub(super) nexthops: &'a BTreeSet<u32>,
}

/// One way of a route.
struct Way<'a> {
    flags: u8,
    hops: u8,
    index: u32,
    attributes: &'a [u8],
}

/// Every route that these interfaces' end takes along.
pub(super) fn read(
    host: &dyn Host,
    links: &Links,
    hooks: &Hooks<'_>,
    cannot: &mut Vec<String>,
) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let mut header = [0; RTMSG_BYTES];
        header[0] = family;
        let mut others: BTreeSet<String> = BTreeSet::new();
        let first = objects.len();
        for answer in dump(host, RTM_GETROUTE, &header, "routes")? {
            let Some((header, attributes)) = answer.split_at_checked(RTMSG_BYTES) else { continue };
            let route = Route { header, attributes };
            if route.is_to_one_of(hooks.temporary) {
                continue;
            }
            if !route.hangs(hooks) {
                others.insert(route.place());
                continue;
            }
            route.objects(links, hooks, &mut objects, cannot);
        }
        // Which of two routes of one destination and metric comes first cannot be told the kernel.
        if family == AF_INET {
            let mixed = |route: &&Object| {
                let place = route.key.split(" via ").next().unwrap_or_default();
                route.maker == Maker::Somebody && others.contains(place)
            };
            for route in objects[first..].iter().filter(mixed) {
                let why = "stands beside another of the same destination and metric that stays";
                cannot.push(format!("{} {why}: their order", route.named()));
            }
        }
    }
    Ok(objects)
}

struct Route<'a> {
    header: &'a [u8],
    attributes: &'a [u8],
}

impl Route<'_> {
    fn attrs(&self) -> Attrs<'_> {
        Attrs(self.attributes)
    }

    fn number(&self, kind: u16) -> Option<u32> {
        self.attrs().find(kind).map(|attr| word(attr.payload))
    }

    fn ways(&self) -> Vec<Way<'_>> {
        let Some(multipath) = self.attrs().find(RTA_MULTIPATH) else { return Vec::new() };
        let mut rest = multipath.payload;
        let mut ways = Vec::new();
        while let Some(header) = rest.get(..RTNEXTHOP_BYTES) {
            let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
            let Some(attributes) = rest.get(RTNEXTHOP_BYTES..length) else { break };
            let index = word(&header[4..]);
            ways.push(Way { flags: header[2], hops: header[3], index, attributes });
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        ways
    }

    fn is_to_one_of(&self, temporary: &BTreeSet<Vec<u8>>) -> bool {
        let own = self.header[5] == RTPROT_KERNEL && self.header[7] == RTN_LOCAL;
        let to = self.attrs().find(RTA_DST);
        own && to.is_some_and(|to| temporary.contains(to.payload))
    }

    fn hangs(&self, hooks: &Hooks<'_>) -> bool {
        let by = |index: u32| hooks.dying.contains(&index);
        let prefers = self.attrs().find(RTA_PREFSRC);
        self.number(RTA_OIF).is_some_and(by)
            || self.ways().iter().any(|way| by(way.index))
            || self.number(RTA_NH_ID).is_some_and(|id| hooks.nexthops.contains(&id))
            || prefers.is_some_and(|address| hooks.locals.contains(address.payload))
    }

    fn objects(
        &self,
        links: &Links,
        hooks: &Hooks<'_>,
        objects: &mut Vec<Object>,
        cannot: &mut Vec<String>,
    ) {
        let order = objects.len() as u32;
        let ways = self.ways();
        if self.header[0] != AF_INET6 || ways.is_empty() || self.number(RTA_NH_ID).is_some() {
            let object = self.object(links, &ways, order);
            if self.only_prefers(hooks) && self.header[0] == AF_INET6 {
                let why = "loses its source address and stays";
                cannot.push(format!("{} {why}", object.named()));
            }
            cannot.extend(self.expires().map(|why| format!("{} {why}", object.named())));
            objects.push(object);
            return;
        }
        // IPv6 keeps a multipath route as siblings: only those through these interfaces die.
        for way in ways.into_iter().filter(|way| hooks.dying.contains(&way.index)) {
            objects.push(self.object(links, &[way], order));
        }
    }

    /// Whether it leads elsewhere and only prefers a source address that goes.
    fn only_prefers(&self, hooks: &Hooks<'_>) -> bool {
        let by = |index: u32| hooks.dying.contains(&index);
        let through = self.number(RTA_OIF).is_some_and(by);
        !through && !self.ways().iter().any(|way| by(way.index))
    }

    /// `struct rta_cacheinfo`: clntref, lastuse, then i32 expires, in ticks.
    fn expires(&self) -> Option<&'static str> {
        let info = self.attrs().find(RTA_CACHEINFO)?.payload;
        let expires = info.get(8..12).map_or(0, word);
        let somebodys = !KERNELS.contains(&self.header[5]);
        (expires != 0 && somebodys).then_some("expires: its remaining time")
    }

    fn object(&self, links: &Links, ways: &[Way<'_>], order: u32) -> Object {
        let mut header = self.header.to_vec();
        let flags = word(&header[8..]) & ONLINK;
        header[8..12].copy_from_slice(&flags.to_ne_bytes());
        let mut builder = Builder::new(&links.names, &header);
        let by_id = self.number(RTA_NH_ID).is_some();
        for (kind, attr) in raw(self.attributes) {
            match attr.kind {
                RTA_CACHEINFO => {}
                // A nexthop's id stands for all of these; told together they are refused.
                RTA_OIF | RTA_GATEWAY | RTA_VIA | RTA_MULTIPATH if by_id => {}
                RTA_ENCAP | RTA_ENCAP_TYPE if by_id => {}
                RTA_OIF => {
                    builder.link(kind, attr.payload);
                }
                RTA_MULTIPATH => multipath(&mut builder, kind, ways),
                _ => {
                    builder.attribute(kind, attr.payload);
                }
            }
        }
        let kernels = KERNELS.contains(&self.header[5]);
        Object {
            class: Class::Route,
            key: format!("{} via {}", self.place(), self.via(links, ways)),
            detail: self.detail(),
            maker: if kernels { Maker::Kernel } else { Maker::Somebody },
            order: (255 - u32::from(self.header[6])) << 16 | order.min(0xffff),
            lifetime: None,
            message: builder.build(RTM_NEWROUTE),
        }
    }

    /// Destination, table, TOS and metric: what decides which route is looked at.
    fn place(&self) -> String {
        let to = match self.attrs().find(RTA_DST) {
            Some(to) => format!("{}/{}", ip(to.payload), self.header[1]),
            None if self.header[0] == AF_INET6 => "::/0".to_owned(),
            None => "0.0.0.0/0".to_owned(),
        };
        let table = self.number(RTA_TABLE).unwrap_or(u32::from(self.header[4]));
        let metric = self.number(RTA_PRIORITY).unwrap_or(0);
        let kind = self.header[7];
        format!("{to} type {kind} table {table} tos {} metric {metric}", self.header[3])
    }

    fn via(&self, links: &Links, ways: &[Way<'_>]) -> String {
        if let Some(id) = self.number(RTA_NH_ID) {
            return format!("nexthop {id}");
        }
        let one = |gateway: Option<String>, index: Option<u32>| {
            let device = index.map(|index| format!("dev {}", links.names.name(index)));
            [gateway, device].into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        let gateway = |attrs: Attrs<'_>| {
            let via = |via: &[u8]| format!("inet6 {}", ip(via.get(2..).unwrap_or(&[])));
            let plain = attrs.find(RTA_GATEWAY).map(|attr| ip(attr.payload));
            plain.or(attrs.find(RTA_VIA).map(|attr| via(attr.payload)))
        };
        if ways.is_empty() {
            return one(gateway(self.attrs()), self.number(RTA_OIF));
        }
        let each = ways.iter().map(|way| one(gateway(Attrs(way.attributes)), Some(way.index)));
        each.collect::<Vec<_>>().join(" and ")
    }

    fn detail(&self) -> String {
        let source =
            self.attrs().find(RTA_PREFSRC).map(|attr| format!(" src {}", ip(attr.payload)));
        let [protocol, scope] = [self.header[5], self.header[6]];
        format!("proto {protocol} scope {scope}{}", source.unwrap_or_default())
    }
}

fn multipath(builder: &mut Builder<'_>, kind: u16, ways: &[Way<'_>]) {
    let outer = builder.open(kind);
    for way in ways {
        let at = builder.length();
        builder.bytes(&[0, 0, way.flags & ONLINK as u8, way.hops]).index(way.index);
        builder.bytes(way.attributes).close(at);
    }
    builder.close(outer);
}

const RTM_NEWNEXTHOP: u16 = 104;
const RTM_GETNEXTHOP: u16 = 106;
/// Bytes of `struct nhmsg`: u8 family, scope, protocol, reserved; u32 flags.
const NHMSG_BYTES: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
/// What a nexthop is made of: id, group, group type, blackhole, interface, gateway, encapsulation (type
/// and data), forwarding-table use.
const NHA_MADE_OF: [u16; 9] = [1, 2, 3, 4, NHA_OIF, 6, 7, 8, 11];
const NHA_RES_GROUP: u16 = 12;
/// `struct nexthop_grp`: u32 id, u8 weight - 1, u8 high weight, u16 reserved.
const GROUP_ENTRY_BYTES: usize = 8;

/// Nexthop objects through these interfaces and the groups they are in, with the ids of all of them.
pub(super) fn nexthops(
    host: &dyn Host,
    links: &Links,
    dying: &BTreeSet<u32>,
    cannot: &mut Vec<String>,
) -> Result<(Vec<Object>, BTreeSet<u32>)> {
    let answers = dump_if_any(host, RTM_GETNEXTHOP, &[0; NHMSG_BYTES], "nexthops")?;
    let (mut objects, mut ids) = (Vec::new(), BTreeSet::new());
    for class in [Class::Nexthop, Class::NexthopGroup] {
        for answer in &answers {
            let Some((header, attributes)) = answer.split_at_checked(NHMSG_BYTES) else { continue };
            let attrs = Attrs(attributes);
            let Some(id) = attrs.find(NHA_ID).map(|attr| word(attr.payload)) else { continue };
            let group = attrs.find(NHA_GROUP).map(|group| group.payload);
            let members = group.unwrap_or(&[]).chunks(GROUP_ENTRY_BYTES).map(word);
            let hangs = match (class, group) {
                (Class::NexthopGroup, Some(_)) => members.clone().any(|id| ids.contains(&id)),
                (Class::NexthopGroup, None) | (_, Some(_)) => false,
                (_, None) => attrs.find(NHA_OIF).is_some_and(|a| dying.contains(&word(a.payload))),
            };
            if !hangs {
                continue;
            }
            ids.insert(id);
            if attrs.find(NHA_RES_GROUP).is_some() {
                cannot.push(format!("nexthop group {id} is resilient: its buckets"));
            }
            objects.push(nexthop(links, header, attributes, id, class));
        }
    }
    Ok((objects, ids))
}

fn nexthop(links: &Links, header: &[u8], attributes: &[u8], id: u32, class: Class) -> Object {
    let mut header = header.to_vec();
    // The scope follows from the gateway and may not be told.
    header[1] = 0;
    let flags = word(&header[4..]) & ONLINK;
    header[4..8].copy_from_slice(&flags.to_ne_bytes());
    let mut builder = Builder::new(&links.names, &header);
    for (kind, attr) in raw(attributes).filter(|(_, attr)| NHA_MADE_OF.contains(&attr.kind)) {
        match attr.kind {
            NHA_OIF => {
                builder.link(kind, attr.payload);
            }
            _ => {
                builder.attribute(kind, attr.payload);
            }
        }
    }
    let message = builder.build(RTM_NEWNEXTHOP);
    let through: Vec<&str> = message.names().collect();
    let members = Attrs(attributes).find(NHA_GROUP).map_or(0, |g| g.payload.len() / 8);
    let detail = match class {
        Class::NexthopGroup => format!("{members} members"),
        _ => format!("dev {}", through.join(" ")),
    };
    let (key, maker) = (id.to_string(), Maker::Somebody);
    Object { class, key, detail, maker, order: id, lifetime: None, message }
}

const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
/// Bytes of `struct fib_rule_hdr`: u8 family, dst_len, src_len, tos, table, res1, res2, action; u32 flags.
const RULE_BYTES: usize = 12;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_OIFNAME: u16 = 17;
/// FIB_RULE_IIF_DETACHED, FIB_RULE_OIF_DETACHED, FIB_RULE_UNRESOLVED: states.
const RULE_STATES: u32 = 4 | 8 | 16;

/// Rules that name one of these interfaces. They outlive it, by name; so they are compared, and put back
/// only where somebody took them for orphans.
pub(super) fn rules(host: &dyn Host, links: &Links, names: &[String]) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let mut header = [0; RULE_BYTES];
        header[0] = family;
        for answer in dump_if_any(host, RTM_GETRULE, &header, "rules")? {
            let Some((header, attributes)) = answer.split_at_checked(RULE_BYTES) else { continue };
            let attrs = Attrs(attributes);
            let word_of = |kind| attrs.find(kind).map(|attr| attr.text().to_owned());
            let (iif, oif) = (word_of(FRA_IIFNAME), word_of(FRA_OIFNAME));
            let ours = |name: &Option<String>| name.as_ref().is_some_and(|n| names.contains(n));
            if !ours(&iif) && !ours(&oif) {
                continue;
            }
            let mut header = header.to_vec();
            let flags = word(&header[8..]) & !RULE_STATES;
            header[8..12].copy_from_slice(&flags.to_ne_bytes());
            let mut builder = Builder::new(&links.names, &header);
            raw(attributes).for_each(|(kind, attr)| {
                builder.attribute(kind, attr.payload);
            });
            let priority = attrs.find(FRA_PRIORITY).map_or(0, |attr| word(attr.payload));
            let of = |word: &str, name: Option<String>| name.map(|name| format!(" {word} {name}"));
            let way = [of("iif", iif), of("oif", oif)].into_iter().flatten().collect::<String>();
            let message = builder.build(RTM_NEWRULE);
            objects.push(Object {
                class: Class::Rule,
                key: format!("ipv{} {priority}:{way}", if family == AF_INET { 4 } else { 6 }),
                detail: format!("action {}", header[7]),
                maker: Maker::Somebody,
                order: priority,
                lifetime: None,
                message,
            });
        }
    }
    Ok(objects)
}
