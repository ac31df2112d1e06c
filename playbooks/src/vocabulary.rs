//! Every setting by name: the one list that lint, docs, inventory and the planner share.
//!
//! A fixed setting (`ring.rx`) is one row. An open family (`feature.*`, `private-flag.*`, `sysctl.*`,
//! `ntuple.*`, `module-param.*`) is one row whose last part the kernel or the site names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `family.name`, for example `ring.rx` or `sysctl.net.ipv4.tcp_rmem`. Valid by construction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The part before the first dot.
    pub fn family(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(family, _)| family)
    }

    /// The part after the first dot: what the kernel calls it.
    pub fn rest(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, rest)| rest)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The row that governs this name. Every valid name has one.
    pub fn setting(&self) -> &'static Setting {
        find(&self.0).unwrap_or(&SETTINGS[0])
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl TryFrom<String> for Name {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Name, UnknownName> {
        match find(&text) {
            Some(_) => Ok(Name(text)),
            None => Err(UnknownName(text)),
        }
    }
}

impl TryFrom<&str> for Name {
    type Error = UnknownName;

    fn try_from(text: &str) -> Result<Name, UnknownName> {
        Name::try_from(text.to_owned())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown setting `{0}`")]
pub struct UnknownName(pub String);

/// What kind of value a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number in `unit` (empty: a count), at most `max`.
    Number {
        unit: &'static str,
        max: u64,
    },
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Free text: sysctl, module parameter, flow rule. A number or boolean in YAML is taken as its text.
    Text,
    /// An RSS table: `default`, `equal N`, or `weights a b c`.
    Indirection,
    /// A CPU list, `local-cpus`, or `default`, dealt to the queues in order.
    Cpus,
}

/// Whose state the setting is: a second run on the same thing is refused by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// This network interface.
    Nic,
    /// The PCI device that several ports share.
    Device,
    /// Everything in this network namespace.
    Netns,
    /// Every NIC of the host.
    Host,
}

/// What the traffic feels while the setting is written, at least; a driver may make it worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disruption {
    None,
    /// One or all queues stop for microseconds to milliseconds; the link stays.
    QueueReset,
    /// The link goes down and comes back: seconds on copper.
    LinkFlap,
    /// The function or the firmware restarts.
    NicReset,
}

/// From when on the new value governs traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TakesEffect {
    Now,
    /// Sockets opened after the write; live ones keep the old value.
    NewSockets,
    /// After the driver is loaded anew.
    Reload,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// Gone after a reboot or driver reload.
    Volatile,
    /// Kept by the device itself.
    SurvivesReboot,
}

/// One row of the vocabulary.
#[derive(Debug)]
pub struct Setting {
    /// `ring.rx`, or `sysctl.*` for an open family.
    pub name: &'static str,
    pub kind: Kind,
    pub scope: Scope,
    pub disruption: Disruption,
    pub takes_effect: TakesEffect,
    pub persistence: Persistence,
    /// Families or settings that writing this one may change behind the operator's back.
    pub disturbs: &'static [&'static str],
    /// One sentence for a person: what it does.
    pub doc: &'static str,
    /// Where that is written: a kernel file, document or standard.
    pub source: &'static str,
}

/// The row that governs `name`, if any: an exact row wins over its open family.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|row| row.name == name).or_else(|| {
        let (family, rest) = name.split_once('.')?;
        let open = SETTINGS.iter().find(|row| row.name.strip_suffix(".*") == Some(family))?;
        valid_rest(family, rest).then_some(open)
    })
}

/// Whether an open family may be asked for this last part (no control characters, no path games).
fn valid_rest(_family: &str, rest: &str) -> bool {
    !rest.is_empty() && rest.len() <= 128 && rest.bytes().all(|b| (0x21..0x7f).contains(&b))
}

pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "ring.rx",
        kind: Kind::Number { unit: "descriptors", max: u32::MAX as u64 },
        scope: Scope::Nic,
        disruption: Disruption::QueueReset,
        takes_effect: TakesEffect::Now,
        persistence: Persistence::Volatile,
        disturbs: &[],
        doc: "Receive descriptors a queue: how many packets may wait for the host.",
        source: "include/uapi/linux/ethtool_netlink_generated.h ETHTOOL_A_RINGS_RX",
    },
    Setting {
        name: "sysctl.*",
        kind: Kind::Text,
        scope: Scope::Netns,
        disruption: Disruption::None,
        takes_effect: TakesEffect::Now,
        persistence: Persistence::Volatile,
        disturbs: &[],
        doc: "A kernel parameter under /proc/sys, from the list that policy allows.",
        source: "Documentation/admin-guide/sysctl/net.rst",
    },
];
