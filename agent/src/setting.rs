//! What every setting family can do, and the one slice that registers them all.
//!
//! A family (`ring`, `coalesce`, `sysctl`, …) knows how to read and write its settings through the
//! [`Host`]. It has no `undo`: the inverse of a write is writing the original back. What a write may
//! disturb is declared in the vocabulary row or by [`Family::disturbs`], snapshotted by the plan, and
//! put back too.

use std::collections::BTreeMap;

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};
use serde::{Deserialize, Serialize};

use crate::{
    fault::{Fault, Result},
    host::{Host, Nic},
    settings,
};

/// Every family, in the order in which inventory prints them.
pub static SETTINGS: &[&dyn Family] = settings::FAMILIES;

/// One setting as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Current {
    /// What was *configured*: a feature's wanted bit, RSS `default` against a user's table. This is
    /// what a revert writes back, and what a read-back is compared with.
    pub value: Value,
    /// What is in force where that may differ (a feature wanted on but held off by another).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub effective: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub min: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max: Option<u64>,
    /// The words it may be, where the kernel says (`threaded`: disabled, enabled, …).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub choices: Vec<String>,
    /// Why it cannot be written here, where it can only be read (a fixed feature).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fixed: Option<String>,
}

impl Current {
    pub fn of(value: Value) -> Current {
        Current { value, effective: None, min: None, max: None, choices: Vec::new(), fixed: None }
    }
}

/// What one NIC offers of one family.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Readings {
    pub supported: BTreeMap<Name, Current>,
    /// Settings that are not there, each with the reason in words.
    pub unsupported: BTreeMap<Name, String>,
}

/// A value to write, with what it replaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub name: Name,
    pub from: Value,
    pub to: Value,
}

/// One setting family: the way to its values, and the truths about writing them.
pub trait Family: Sync {
    /// `ring`, `coalesce`, …: the part of the name before the dot.
    fn name(&self) -> &'static str;

    /// Every setting of this family on every one of `nics`, in as few requests as the kernel allows
    /// (dumps, not a call a NIC). One answer a NIC, in the same order. A NIC that has none of it has
    /// the reason under `unsupported`, never an error.
    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings>;

    /// These settings of one NIC, as they are now.
    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>>;

    /// The concrete value that `wanted` means on this NIC, or why there is none.
    fn resolve(
        &self,
        host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        now: &Current,
    ) -> Result<Value>;

    /// Splits changes of this family into the requests that write them, in order. Most drivers take
    /// a family in one; mlx5 and bnxt drop `rx-usecs` sent together with `adaptive-rx off`.
    fn batches(&self, nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>>;

    /// Writes one batch in one request where the kernel allows it. Does not read back: the engine does.
    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()>;

    /// What traffic feels when this is written on this driver.
    fn disruption(&self, nic: &Nic, name: &Name) -> Disruption;

    /// Settings (or whole families, `irq`) that writing `name` on this driver may change.
    fn disturbs(&self, nic: &Nic, name: &Name) -> Vec<&'static str>;

    /// A line a person can paste to write this value: `ethtool -G eth1 rx 4096`.
    fn by_hand(&self, nic: &Nic, batch: &[Change]) -> Vec<String>;
}

/// The family that a setting belongs to.
pub fn family_of(name: &Name) -> Result<&'static dyn Family> {
    SETTINGS.iter().copied().find(|f| f.name() == name.family()).ok_or_else(|| {
        Fault::new(
            crate::fault::Kind::Unsupported,
            format!("find the family of {name}"),
            "no such family in this version",
        )
    })
}
