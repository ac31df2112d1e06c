//! Every setting by name: the one list that lint, docs, inventory and the planner share.
//!
//! A fixed setting (`ring.rx`) is one row. An open family (`feature.*`, `private-flag.*`, `sysctl.*`,
//! `ntuple.*`, `module-param.*`, `devlink-param.*`) is one row whose last part the kernel or the site
//! names. Where one member of an open family behaves otherwise it has a row of its own, and the
//! longest row that fits governs: `sysctl.net.ipv4.tcp_rmem`, then `sysctl.net.ipv4.*`, then `sysctl.*`.

mod coalesce;
mod host;
mod markdown;
mod name;
mod nic;
mod row;
mod sysctl;

use serde::{Deserialize, Serialize};

pub use markdown::markdown;
pub(crate) use name::closest;
pub use name::{Name, UnknownName, nearest};

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
#[derive(Debug, Clone, Copy)]
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
    /// One or two sentences for a person: what it does.
    pub doc: &'static str,
    /// Where that is written: a kernel file, document or standard.
    pub source: &'static str,
}

/// Every row, family by family.
pub static SETTINGS: &[Setting] = &row::join::<{ row::count(FAMILIES) }>(FAMILIES);

const FAMILIES: &[&[Setting]] = &[nic::ROWS, coalesce::ROWS, host::ROWS, sysctl::ROWS];

/// The row that governs `name`, if any: an exact row first, then the longest open row that fits.
pub fn find(name: &str) -> Option<&'static Setting> {
    if name.len() > name::LENGTH_MAX || name.ends_with(".*") {
        return None;
    }
    let (family, rest) = name.split_once('.')?;
    let exact = SETTINGS.iter().find(|row| row.name == name);
    exact.or_else(|| {
        let fits = |row: &&Setting| {
            let stem = row.name.strip_suffix('*');
            stem.is_some_and(|stem| name.strip_prefix(stem).is_some_and(|last| !last.is_empty()))
        };
        let open = SETTINGS.iter().filter(fits).max_by_key(|row| row.name.len())?;
        name::rest_is_valid(family, rest).then_some(open)
    })
}
