//! `feature.*`: offloads and other device features (ethtool -k, -K), by the kernel's names.
//!
//! The kernel keeps what was asked for (`wanted`) apart from what is in force (`active`): a feature
//! may be wanted but held off by another. A setting's value is the wanted bit, so that a revert
//! restores the wish; where the two differ, `effective` tells.
//!
//! Source: Documentation/networking/netdev-features.rst, net/ethtool/features.c.

use std::collections::BTreeMap;

use playbooks::{
    Name, Value, Wanted,
    vocabulary::{Disruption, SETTINGS},
};

use super::{
    bitset::{self, Bits},
    disruption,
    ethnl::{self, Bitsets},
    resolve, words,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Host, Nic,
        tlv::{Attrs, Writer},
    },
    setting::{Change, Current, Family, Readings},
};

const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
/// `ETHTOOL_A_FEATURES_*`.
const HW: u16 = 2;
const WANTED: u16 = 3;
const ACTIVE: u16 = 4;
const NOCHANGE: u16 = 5;

const STRSET_GET: u8 = 1;
/// ETH_SS_FEATURES of include/uapi/linux/ethtool.h.
const FEATURE_STRINGS: u32 = 4;
/// `ETHTOOL_A_STRSET_STRINGSETS`, `…_STRINGSETS_STRINGSET`, `…_STRINGSET_ID`, `…_STRINGSET_STRINGS`,
/// `…_STRINGS_STRING`, `…_STRING_INDEX`, `…_STRING_VALUE`.
const STRINGSETS: u16 = 2;
const STRINGSET: u16 = 1;
const STRINGSET_ID: u16 = 1;
const STRINGSET_STRINGS: u16 = 3;
const STRING: u16 = 1;
const STRING_INDEX: u16 = 1;
const STRING_VALUE: u16 = 2;

/// The family of device features.
#[derive(Debug)]
pub(super) struct Feature;

impl Family for Feature {
    fn name(&self) -> &'static str {
        "feature"
    }

    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        let names = match names(host) {
            Ok(names) => names,
            Err(fault) => return vec![nameless(&fault); nics.len()],
        };
        let replies = ethnl::get_each(host, FEATURES_GET, Bitsets::Compact, nics);
        let readings = |reply: Result<Vec<u8>>| {
            let mut readings = Readings::default();
            match reply.and_then(|reply| State::parse(&reply)) {
                Ok(state) => {
                    let all = names.iter().map(|(name, bit)| (name.clone(), state.current(*bit)));
                    readings.supported.extend(all);
                }
                Err(fault) => {
                    let all = names.keys().map(|name| (name.clone(), fault.to_string()));
                    readings.unsupported.extend(all);
                }
            }
            readings
        };
        replies.into_iter().map(readings).collect()
    }

    fn read(&self, host: &dyn Host, nic: &Nic, wanted: &[Name]) -> Vec<Result<Current>> {
        let names = names(host);
        let reply = ethnl::get(host, FEATURES_GET, Bitsets::Compact, nic);
        let state = reply.and_then(|reply| State::parse(&reply));
        let one = |name: &Name| {
            let act = || format!("read {name} on {}", nic.name);
            let names = names.as_ref().map_err(|fault| fault.clone().during(act()))?;
            let state = state.as_ref().map_err(|fault| fault.clone().during(act()))?;
            let bit = names.get(name).ok_or_else(|| unknown(act()))?;
            Ok(state.current(*bit))
        };
        wanted.iter().map(one).collect()
    }

    fn resolve(
        &self,
        _host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        now: &Current,
    ) -> Result<Value> {
        resolve::switch(nic, name, wanted, now)
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        if changes.is_empty() { Vec::new() } else { vec![changes] }
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        set_bits(host, FEATURES_SET, WANTED, nic, batch)
    }

    fn disruption(&self, nic: &Nic, name: &Name) -> Disruption {
        disruption::of(nic, name)
    }

    fn disturbs(&self, nic: &Nic, name: &Name) -> Vec<&'static str> {
        disruption::disturbed(nic, name)
    }

    fn by_hand(&self, nic: &Nic, batch: &[Change]) -> Vec<String> {
        words::ethtool("-K", nic, batch, |change| Some(change.name.rest().to_owned()))
    }
}

/// Writes switches that the kernel keeps as named bits: those of the batch and no others.
pub(super) fn set_bits(
    host: &dyn Host,
    command: u8,
    attribute: u16,
    nic: &Nic,
    batch: &[Change],
) -> Result<()> {
    let act = words::act(nic, batch);
    let mut bits = Vec::new();
    for change in batch {
        let on = change.to.as_bool().ok_or_else(|| {
            Fault::new(Kind::Invalid, &act, format!("{} takes on or off", change.name))
        })?;
        bits.push((change.name.rest(), on));
    }
    let mut attributes = Writer::new();
    attributes.nest(attribute, &bitset::changing(bits.into_iter()));
    ethnl::set(host, command, nic, &attributes).map_err(|fault| fault.during(act))
}

/// The four bit maps of one NIC.
struct State {
    changeable: Bits,
    wanted: Bits,
    active: Bits,
    never: Bits,
}

impl State {
    fn parse(reply: &[u8]) -> Result<State> {
        let bits = |attribute| bitset::compact(Attrs(reply).find(attribute)?.nested());
        let state = || {
            Some(State {
                changeable: bits(HW)?,
                wanted: bits(WANTED)?,
                active: bits(ACTIVE)?,
                never: bits(NOCHANGE)?,
            })
        };
        state().ok_or_else(|| {
            Fault::new(Kind::Malformed, "read features", "the kernel's answer lacks a bit map")
        })
    }

    fn current(&self, bit: u32) -> Current {
        let active = Value::Bool(self.active.has(bit));
        let reason = if self.never.has(bit) {
            "the kernel never lets it be changed"
        } else if !self.changeable.has(bit) {
            "the driver does not let it be changed"
        } else {
            let wanted = Value::Bool(self.wanted.has(bit));
            let effective = (wanted != active).then_some(active);
            return Current { effective, ..Current::of(wanted) };
        };
        Current { fixed: Some(reason.to_owned()), ..Current::of(active) }
    }
}

/// Every feature this kernel knows, with its bit.
fn names(host: &dyn Host) -> Result<BTreeMap<Name, u32>> {
    let mut id = Writer::new();
    id.u32(STRINGSET_ID, FEATURE_STRINGS);
    let mut set = Writer::new();
    set.nest(STRINGSET, &id);
    let mut body = Writer::new();
    body.nest(STRINGSETS, &set);
    let answers = ethnl::ask_all(host, STRSET_GET, &body)?;
    let strings = answers.first().and_then(|answer| {
        let set = Attrs(answer).find(STRINGSETS)?.nested().find(STRINGSET)?.nested();
        Some(set.find(STRINGSET_STRINGS)?.nested())
    });
    let strings = strings.ok_or_else(|| {
        Fault::new(Kind::Malformed, "read the kernel's feature names", "it answered none")
    })?;
    let named = strings.filter(|attr| attr.kind == STRING).filter_map(|string| {
        let string = string.nested();
        let bit = string.find(STRING_INDEX)?.number()?;
        let name = Name::try_from(format!("feature.{}", string.find(STRING_VALUE)?.text())).ok()?;
        Some((name, u32::try_from(bit).ok()?))
    });
    Ok(named.collect())
}

/// Where the kernel does not even name its features: the ones that have rows of their own, with why.
fn nameless(fault: &Fault) -> Readings {
    let rows = SETTINGS.iter().filter(|row| row.name.starts_with("feature."));
    let names = rows.filter_map(|row| Name::try_from(row.name).ok());
    let unsupported = names.map(|name| (name, fault.to_string())).collect();
    Readings { unsupported, ..Readings::default() }
}

fn unknown(act: String) -> Fault {
    Fault::new(Kind::Unsupported, act, "this kernel knows no such feature")
}
