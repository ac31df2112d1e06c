//! One thing that stands on an interface and dies with it: an address, a route, a qdisc.

use serde::{Deserialize, Serialize};

use super::message::Message;
use crate::host::Mode;

/// What it is. The order is the order in which things are put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A VLAN that a bridge passes on this port.
    BridgeVlan,
    /// A multicast group that a bridge passes on this port.
    BridgeGroup,
    Address,
    Neighbour,
    Nexthop,
    NexthopGroup,
    Route,
    Rule,
    /// A static entry of a forwarding table.
    Fdb,
    Qdisc,
    TrafficClass,
    Filter,
}

impl Class {
    pub(super) fn words(self) -> &'static str {
        match self {
            Class::BridgeVlan => "bridge VLAN",
            Class::BridgeGroup => "bridge group",
            Class::Address => "address",
            Class::Neighbour => "neighbour",
            Class::Nexthop => "nexthop",
            Class::NexthopGroup => "nexthop group",
            Class::Route => "route",
            Class::Rule => "rule",
            Class::Fdb => "forwarding entry",
            Class::Qdisc => "qdisc",
            Class::TrafficClass => "class",
            Class::Filter => "filter",
        }
    }

    /// How the kernel is told to make one.
    pub(super) fn mode(self) -> Mode {
        match self {
            // RTM_SETLINK knows no creation.
            Class::BridgeVlan => Mode::Do,
            Class::BridgeGroup | Class::Address | Class::Nexthop | Class::Rule => Mode::Create,
            Class::Fdb | Class::Qdisc | Class::TrafficClass | Class::Filter => Mode::Create,
            // Over an entry that was merely learned meanwhile, and into a group that lost members.
            Class::Neighbour | Class::NexthopGroup => Mode::Replace,
            // After those of the same destination, as they came.
            Class::Route => Mode::Append,
        }
    }
}

/// Who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maker {
    /// A person or a program, so it is put back.
    Somebody,
    /// The kernel itself, along with something else (a connected route, a link-local address, what a
    /// router advertised): waited for and compared, never written.
    Kernel,
}

/// What is left of an address's lifetimes, in seconds from the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lifetime {
    pub preferred_s: u32,
    pub valid_s: u32,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Object {
    pub class: Class,
    /// Which one it is, in words: `10.0.0.1/24 on eth1`.
    pub key: String,
    /// What it is like, in words.
    pub detail: String,
    pub maker: Maker,
    /// Its place among those of its class, where the order means something.
    pub order: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Lifetime>,
    pub(super) message: Message,
}

impl Object {
    /// Its place in the order in which things are put back: a qdisc may hang under a class, and a class
    /// under a qdisc, so these two go by depth.
    pub(super) fn rank(&self) -> (Class, u32, Class) {
        match self.class {
            Class::Qdisc | Class::TrafficClass => (Class::Qdisc, self.order, self.class),
            class => (class, self.order, class),
        }
    }

    pub(super) fn is_ours_to_make(&self) -> bool {
        self.maker == Maker::Somebody
    }

    /// The same thing with the same properties; its place among others aside.
    pub(super) fn same(&self, other: &Object) -> bool {
        self.detail == other.detail
            && self.message == other.message
            && self.lifetime.is_some() == other.lifetime.is_some()
    }

    /// Whether its time is over by now.
    pub(super) fn expired(&self, elapsed_s: u32) -> bool {
        self.lifetime.is_some_and(|of| of.valid_s != u32::MAX && of.valid_s <= elapsed_s)
    }

    /// What it is like; to the byte where words do not tell it from `other`.
    pub(super) fn words(&self, other: &Object) -> String {
        match self.detail == other.detail {
            true => self.message.to_string(),
            false => self.detail.clone(),
        }
    }

    /// `address 10.0.0.1/24 on eth1`
    pub(super) fn named(&self) -> String {
        format!("{} {}", self.class.words(), self.key)
    }
}

/// An IPv4 or IPv6 address in its usual spelling; other lengths as hexadecimal.
pub(super) fn ip(bytes: &[u8]) -> String {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return std::net::Ipv4Addr::from(four).to_string();
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(sixteen) => std::net::Ipv6Addr::from(sixteen).to_string(),
        Err(_) => super::message::Bytes(bytes.to_vec()).to_string(),
    }
}

/// A link-layer address: `02:00:00:00:00:01`.
pub(super) fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
