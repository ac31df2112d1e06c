//! One interface that dies: what it is, and making it that again.
//!
//! Source: include/uapi/linux/if_link.h, net/core/rtnetlink.c (do_setlink, rtnl_newlink).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    links::{
        AF_INET6, IFINFOMSG_BYTES, IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_ALT_IFNAME, IFLA_IFNAME,
        IFLA_INET6_TOKEN, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO, IFLA_MASTER,
        IFLA_MTU, IFLA_PROP_LIST, Link, Links,
    },
    membership::Membership,
    message::{Builder, Bytes, Message, raw, word},
    queue,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Host, Mode,
        tlv::{NESTED, Writer},
    },
};

pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_SETLINK: u16 = 19;
const RTM_NEWLINKPROP: u16 = 108;
pub(super) const IFF_UP: u32 = 1;
/// IFF_LOWER_UP: it has a carrier.
pub(super) const LOWER_UP: u32 = 1 << 16;
/// What somebody may set: up, debug, no trailers, no ARP, promiscuous, all multicast, multicast,
/// port-select, automedia, dynamic.
const FLAGS_SET: u32 =
    IFF_UP | 0x4 | 0x20 | 0x80 | 0x100 | 0x200 | 0x1000 | 0x2000 | 0x4000 | 0x8000;
/// Link attributes that somebody may set, with the words people know them by.
const ATTRIBUTES: [(u16, &str); 12] = [
    (IFLA_ADDRESS, "MAC address"),
    (IFLA_MTU, "MTU"),
    (13, "transmit queue length"),
    (17, "link mode"),
    (20, "alias"),
    (27, "group"),
    (39, "proto-down"),
    (40, "GSO maximal segments"),
    (41, "GSO maximal size"),
    (58, "GRO maximal size"),
    (63, "IPv4 GSO maximal size"),
    (64, "IPv4 GRO maximal size"),
];
/// Kinds whose IFLA_INFO_DATA, given back, makes the same interface, with what only reports in it.
const STACKED: [(&str, &[u16]); 3] =
    // IFLA_MACVLAN_MACADDR_COUNT, IFLA_MACVLAN_BC_QUEUE_LEN_USED
    [("vlan", &[]), ("macvlan", &[6, 8]), ("ipvlan", &[])];
/// IFLA_VLAN_FLAGS: `struct ifla_vlan_flags`, u32 flags and u32 mask.
const VLAN_FLAGS: u16 = 2;
/// VLAN_FLAG_REORDER_HDR: on unless somebody turned it off.
const VLAN_REORDER_HEADER: u32 = 1;

/// An interface as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Device {
    pub name: String,
    /// How to make it, where it stands on one that dies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) make: Option<Message>,
    pub altnames: Vec<String>,
    /// IFF_* that somebody may set.
    pub flags: u32,
    /// Whether it had a carrier: the kernel makes an IPv6 link-local address only then.
    pub carrier: bool,
    pub(super) attributes: BTreeMap<u16, Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<Membership>,
    /// How many want it to take everything in: masters, stacked interfaces, people. Packet sockets are not
    /// counted: their holds die with the interface, and are told as joins.
    pub promiscuity: u32,
    pub allmulti: u32,
    /// The interface part of its advertised IPv6 addresses, where somebody gave one (`ip token`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Bytes>,
    /// Under /proc/sys/net: `ipv4/conf/eth1/arp_ignore`.
    pub sysctls: BTreeMap<String, String>,
    /// Of its queues: `rx-0/rps_flow_cnt`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub queues: BTreeMap<String, String>,
}

/// One difference between two of them, in words.
pub(super) type Differs = (String, String, String);

impl Device {
    pub(super) fn of(link: &Link, links: &Links, cannot: &mut Vec<String>) -> Device {
        let attributes = ATTRIBUTES.iter().filter_map(|(kind, _)| {
            Some((*kind, link.attribute(*kind)?)).filter(|(_, value)| !value.0.is_empty())
        });
        Device {
            name: link.name.clone(),
            make: None,
            altnames: link.altnames.clone(),
            flags: link.flags & FLAGS_SET,
            carrier: link.flags & LOWER_UP != 0,
            attributes: attributes.collect(),
            membership: Membership::of(link, links, cannot),
            promiscuity: link.promiscuity,
            allmulti: link.allmulti,
            token: link.token(),
            sysctls: BTreeMap::new(),
            queues: BTreeMap::new(),
        }
    }

    /// The same for one that stands on another: with the message that makes it.
    pub(super) fn stacked(link: &Link, links: &Links, cannot: &mut Vec<String>) -> Device {
        let mut device = Device::of(link, links, cannot);
        match STACKED.iter().find(|(kind, _)| *kind == link.kind) {
            Some((_, reports)) => device.make = Some(make(link, links, reports)),
            None => {
                let lower = links.names.name(link.lower.unwrap_or(0));
                let kind = &link.kind;
                cannot.push(format!("{}, a {kind} on {lower}: its state", link.name));
            }
        }
        device
    }

    pub(super) fn differences(&self, now: &Device) -> Vec<Differs> {
        let mut differs = Vec::new();
        let mut add = |what: String, expected: String, found: String| {
            if expected != found {
                differs.push((format!("{} of {}", what, self.name), expected, found));
            }
        };
        for (kind, words) in ATTRIBUTES {
            let shown = |device: &Device| {
                device.attributes.get(&kind).map_or("none".to_owned(), |value| show(kind, value))
            };
            add(words.to_owned(), shown(self), shown(now));
        }
        let hex = |flags: u32| format!("{flags:#x}");
        add("flags".to_owned(), hex(self.flags), hex(now.flags));
        add("altnames".to_owned(), self.altnames.join(" "), now.altnames.join(" "));
        let carrier = |device: &Device| if device.carrier { "yes" } else { "no" }.to_owned();
        add("carrier".to_owned(), carrier(self), carrier(now));
        let count = |count: u32| count.to_string();
        add("promiscuity".to_owned(), count(self.promiscuity), count(now.promiscuity));
        add("all-multicast count".to_owned(), count(self.allmulti), count(now.allmulti));
        let token = |device: &Device| {
            device.token.as_ref().map_or("none".to_owned(), |token| super::object::ip(&token.0))
        };
        add("IPv6 token".to_owned(), token(self), token(now));
        let master = |device: &Device| {
            device.membership.as_ref().map_or("none".to_owned(), |m| m.master.clone())
        };
        add("master".to_owned(), master(self), master(now));
        if let (Some(was), Some(is)) = (&self.membership, &now.membership) {
            for (kind, value) in &was.attributes {
                let found = is.attributes.get(kind).map_or("none".to_owned(), Bytes::to_string);
                add(format!("{} attribute {kind}", was.kind), value.to_string(), found);
            }
        }
        let made = |device: &Device| {
            device.make.as_ref().map_or("of its own".to_owned(), Message::to_string)
        };
        add("make".to_owned(), made(self), made(now));
        for (key, value) in &self.sysctls {
            let found = now.sysctls.get(key).cloned().unwrap_or_else(|| "none".to_owned());
            if *value != found {
                let what = format!("net.{}", key.replace('/', "."));
                differs.push((what, value.clone(), found));
            }
        }
        for (key, value) in &self.queues {
            let found = now.queues.get(key).map_or(queue::ABSENT, String::as_str);
            if value != found {
                let what = format!("queues/{key} of {}", self.name);
                differs.push((what, value.clone(), found.to_owned()));
            }
        }
        differs
    }
}

fn show(kind: u16, value: &Bytes) -> String {
    match (kind, value.0.len()) {
        (IFLA_ADDRESS, _) => super::object::mac(&value.0),
        (_, 4) => word(&value.0).to_string(),
        (_, 1) => value.0[0].to_string(),
        _ => String::from_utf8_lossy(&value.0).trim_end_matches('\0').to_owned(),
    }
}

/// RTM_NEWLINK for a stacked interface: its name, lower interface, kind and data.
fn make(link: &Link, links: &Links, reports: &[u16]) -> Message {
    let lower = link.lower.and_then(|lower| links.by_index.get(&lower));
    let mut builder = Builder::new(&links.names, &[0; IFINFOMSG_BYTES]);
    let mut name = link.name.as_bytes().to_vec();
    name.push(0);
    builder.attribute(IFLA_IFNAME, &name);
    builder.link(IFLA_LINK, &link.lower.unwrap_or(0).to_ne_bytes());
    // A VLAN that was given no address follows its lower interface's; told one, it would stop.
    let own = link.attribute(IFLA_ADDRESS);
    if own != lower.and_then(|lower| lower.attribute(IFLA_ADDRESS)) {
        own.iter().for_each(|mac| {
            builder.attribute(IFLA_ADDRESS, &mac.0);
        });
    }
    let info = builder.open(IFLA_LINKINFO | NESTED);
    let mut kind = link.kind.as_bytes().to_vec();
    kind.push(0);
    builder.attribute(IFLA_INFO_KIND, &kind);
    let data = builder.open(IFLA_INFO_DATA | NESTED);
    let mut vlan_flags = 0;
    for (raw_kind, attr) in raw(link.info(IFLA_INFO_DATA).unwrap_or(&[])) {
        if link.kind == "vlan" && attr.kind == VLAN_FLAGS {
            vlan_flags = word(attr.payload);
        } else if !reports.contains(&attr.kind) {
            builder.attribute(raw_kind, attr.payload);
        }
    }
    if link.kind == "vlan" {
        // Reported with every bit marked as changed, which is refused when told; and where no flag is
        // set, not at all, which would leave the default.
        let told = [vlan_flags, vlan_flags | VLAN_REORDER_HEADER].map(u32::to_ne_bytes).concat();
        builder.attribute(VLAN_FLAGS, &told);
    }
    builder.close(data).close(info);
    builder.build(RTM_NEWLINK)
}

/// Gives the interface another name.
pub(super) fn rename(host: &dyn Host, link: &Link, to: &str) -> Vec<Fault> {
    let up = link.flags & IFF_UP != 0;
    let mut hand =
        Hand { host, index: link.index, name: link.name.clone(), up, faults: Vec::new() };
    let mut body = Writer::new();
    body.text(IFLA_IFNAME, to);
    hand.set_or_down(&body, &format!("rename {} to {to}", link.name));
    hand.faults
}

/// Makes the interface `link`, which has its name already, what `device` was. Returns what went wrong; the
/// rest is done.
pub(super) fn restore(
    host: &dyn Host,
    device: &Device,
    link: &Link,
    links: &Links,
    pass: u32,
) -> Restored {
    let mut hand = Hand {
        host,
        index: link.index,
        name: device.name.clone(),
        up: link.flags & IFF_UP != 0,
        faults: Vec::new(),
    };
    for name in device.altnames.iter().filter(|name| !link.altnames.contains(name)) {
        hand.altname(name);
    }
    let joined = hand.join(device, link, links);
    // After joining: a bond gives its members an address of its choice.
    for (kind, value) in &device.attributes {
        if joined || link.attribute(*kind).filter(|v| !v.0.is_empty()).as_ref() != Some(value) {
            hand.attribute(*kind, value);
        }
    }
    hand.faults.extend(super::sysctl::restore(host, &device.sysctls));
    hand.faults.extend(queue::restore(host, &device.name, &device.queues));
    // After the sysctls: where advertisements are not accepted, a token is refused.
    if let Some(token) = device.token.as_ref().filter(|token| link.token().as_ref() != Some(*token))
    {
        hand.token(token);
    }
    let up = if hand.up { IFF_UP } else { 0 };
    let changed = ((link.flags & FLAGS_SET & !IFF_UP | up) ^ device.flags) & FLAGS_SET;
    if changed != 0 {
        hand.flags(device.flags, changed, &format!("set the flags of {}", device.name));
    }
    if let Some(membership) = device.membership.as_ref().filter(|_| link.master.is_some()) {
        hand.member(membership, link, links, pass);
    }
    Restored { faults: hand.faults, joined }
}

pub(super) struct Restored {
    pub(super) faults: Vec<Fault>,
    /// It was put under its master just now.
    pub(super) joined: bool,
}

struct Hand<'a> {
    host: &'a dyn Host,
    index: u32,
    name: String,
    up: bool,
    faults: Vec<Fault>,
}

impl Hand<'_> {
    fn fault(&mut self, kind: Kind, act: String, cause: String) {
        self.faults.push(Fault::new(kind, act, cause));
    }

    fn header(&self) -> [u8; IFINFOMSG_BYTES] {
        let mut header = [0; IFINFOMSG_BYTES];
        header[4..8].copy_from_slice(&self.index.to_ne_bytes());
        header
    }

    fn ask(&self, header: [u8; IFINFOMSG_BYTES], body: &Writer, act: &str) -> Result<()> {
        let mut payload = header.to_vec();
        payload.extend_from_slice(body.as_bytes());
        let ask = Ask::Route { kind: RTM_SETLINK, mode: Mode::Do, payload };
        self.host.request(&ask).map(|_| ()).map_err(|fault| fault.during(act))
    }

    fn set(&mut self, body: &Writer, act: &str) -> bool {
        let outcome = self.ask(self.header(), body, act);
        let done = outcome.is_ok();
        self.faults.extend(outcome.err());
        done
    }

    /// Some kernels and drivers change names and addresses only while the interface is down.
    fn set_or_down(&mut self, body: &Writer, act: &str) -> bool {
        match self.ask(self.header(), body, act) {
            Err(fault) if fault.kind == Kind::Busy && self.up => {
                self.down();
                self.set(body, act)
            }
            outcome => {
                let done = outcome.is_ok();
                self.faults.extend(outcome.err());
                done
            }
        }
    }

    fn down(&mut self) {
        if self.flags(0, IFF_UP, &format!("take {} down", self.name)) {
            self.up = false;
        }
    }

    /// Puts it under its master where it has none.
    fn join(&mut self, device: &Device, link: &Link, links: &Links) -> bool {
        let Some(to) = &device.membership else { return false };
        let act = format!("put {} under {}", device.name, to.master);
        if let Some(master) = link.master.map(|master| links.names.name(master)) {
            if master != to.master {
                self.fault(Kind::Drift, act, format!("somebody put it under {master}"));
            }
            return false;
        }
        let Some(master) = links.names.index(&to.master) else {
            self.fault(Kind::Gone, act, format!("{} is not there", to.master));
            return false;
        };
        // A bond takes members only while they are down.
        if self.up && to.kind == "bond" {
            self.down();
        }
        let mut body = Writer::new();
        body.u32(IFLA_MASTER, master);
        self.set(&body, &act)
    }

    fn attribute(&mut self, kind: u16, value: &Bytes) {
        let words = ATTRIBUTES.iter().find(|(known, _)| *known == kind).map_or("", |(_, w)| w);
        let mut body = Writer::new();
        body.put(kind, &value.0);
        let act = format!("set the {words} of {} to {}", self.name, show(kind, value));
        self.set_or_down(&body, &act);
    }

    fn token(&mut self, token: &Bytes) {
        let (mut inet6, mut spec, mut body) = (Writer::new(), Writer::new(), Writer::new());
        inet6.put(IFLA_INET6_TOKEN, &token.0);
        spec.nest(AF_INET6, &inet6);
        body.nest(IFLA_AF_SPEC, &spec);
        let act = format!("set the IPv6 token of {}", self.name);
        self.set(&body, &act);
    }

    fn flags(&mut self, flags: u32, change: u32, act: &str) -> bool {
        let mut header = self.header();
        header[8..12].copy_from_slice(&flags.to_ne_bytes());
        header[12..16].copy_from_slice(&change.to_ne_bytes());
        let outcome = self.ask(header, &Writer::new(), act);
        let done = outcome.is_ok();
        self.faults.extend(outcome.err());
        done
    }

    fn altname(&mut self, altname: &str) {
        let (mut props, mut body) = (Writer::new(), Writer::new());
        props.text(IFLA_ALT_IFNAME, altname);
        body.nest(IFLA_PROP_LIST, &props);
        let mut payload = self.header().to_vec();
        payload.extend_from_slice(body.as_bytes());
        let ask = Ask::Route { kind: RTM_NEWLINKPROP, mode: Mode::Create, payload };
        let act = format!("name {} {altname} too", self.name);
        self.faults.extend(self.host.request(&ask).err().map(|fault| fault.during(act)));
    }

    /// What it is to its master, as far as it differs. A port's cost follows the link's speed until
    /// somebody sets it, so it is judged only once there is a carrier and time has passed.
    fn member(&mut self, was: &Membership, link: &Link, links: &Links, pass: u32) {
        let Some(is) = Membership::of(link, links, &mut Vec::new()) else { return };
        let late = pass > 4 && link.flags & LOWER_UP != 0;
        let differs = was.attributes.iter().filter(|(kind, value)| {
            let follows = was.kind == "bridge" && **kind == super::membership::BRPORT_COST;
            is.attributes.get(kind) != Some(value) && (late || !follows)
        });
        let differs: Vec<(u16, &Bytes)> = differs.map(|(kind, value)| (*kind, value)).collect();
        if differs.is_empty() || is.master != was.master {
            return;
        }
        let act = format!("set {} attributes of {}", was.kind, self.name);
        let outcome = self.host.request(&was.set(self.index, &differs));
        self.faults.extend(outcome.err().map(|fault| fault.during(act)));
    }
}
