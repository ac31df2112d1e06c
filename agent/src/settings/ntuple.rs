//! `ntuple.<slot>`: the flow rule in a slot of the NIC's table, in ethtool(8)'s own words.
//!
//! `flow-type udp4 dst-ip 239.1.1.1 dst-port 5000 action 3`, or `none`. A rule that those words cannot
//! say exactly (an RSS context, a virtual function, a flow type we do not know) is shown as fixed and
//! never overwritten: nobody could put it back.

mod rule;

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};

use super::{plain, rxnfc, words};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic},
    setting::{Change, Current, Family, Readings},
};

pub struct Ntuple;

const NONE: &str = "none";
/// Rules of one NIC that inventory shows; each is a request.
const SURVEYED_MAX: usize = 1024;

impl Family for Ntuple {
    fn name(&self) -> &'static str {
        "ntuple"
    }

    /// The occupied slots. There is no dump of them.
    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        nics.iter().map(|nic| surveyed(host, nic)).collect()
    }

    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        let table = rxnfc::rules(host, nic);
        let each = |name: &Name| {
            let act = format!("read {name} of {}", nic.name);
            let slot = slot_of(name)?;
            let (size, occupied) = table.as_ref().map_err(|f| absent(f.clone(), &act))?;
            match occupied.binary_search(&slot) {
                Ok(_) => current(host, nic, slot).map_err(|fault| fault.during(act)),
                // Some drivers do not tell the size of their table.
                Err(_) if *size > 0 && u64::from(slot) >= *size => {
                    let cause = format!("the driver's table has {size} slots");
                    Err(Fault::new(Kind::Unsupported, act, cause))
                }
                Err(_) => Ok(Current::of(Value::Text(NONE.to_owned()))),
            }
        };
        names.iter().map(each).collect()
    }

    fn resolve(
        &self,
        _host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        now: &Current,
    ) -> Result<Value> {
        let act = plain::setting(name, &nic.name);
        if let Some(why) = &now.fixed {
            return Err(Fault::new(Kind::Unsupported, act, why.clone()));
        }
        let text = plain::text(&act, wanted)?;
        if text == NONE {
            return Ok(Value::Text(text));
        }
        let invalid = |why: String| Fault::new(Kind::Invalid, &act, why);
        let spec = rule::parse(&text, slot_of(name)?).map_err(invalid)?;
        // In our own order of words, so that what is read back compares.
        rule::render(&spec).map(Value::Text).map_err(invalid)
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        plain::one_by_one(changes)
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        for change in batch {
            let act = plain::change(change, &nic.name);
            let slot = slot_of(&change.name)?;
            let (Value::Text(from), Value::Text(to)) = (&change.from, &change.to) else {
                return Err(plain::wrong_kind(change, &nic.name));
            };
            if from != NONE && rule::parse(from, slot).is_err() {
                let cause = "the rule that is there could not be put back";
                return Err(Fault::new(Kind::Denied, act, cause));
            }
            let written = match to.as_str() {
                NONE => remove(host, nic, slot),
                rule => match rule::parse(rule, slot) {
                    Ok(spec) => rxnfc::insert(host, nic, &spec),
                    Err(why) => Err(Fault::new(Kind::Invalid, &act, why)),
                },
            };
            written.map_err(|fault| fault.during(act))?;
        }
        Ok(())
    }

    fn disruption(&self, _nic: &Nic, name: &Name) -> Disruption {
        name.setting().disruption
    }

    fn disturbs(&self, _nic: &Nic, name: &Name) -> Vec<&'static str> {
        name.setting().disturbs.to_vec()
    }

    fn by_hand(&self, nic: &Nic, batch: &[Change]) -> Vec<String> {
        let nic = words::quote(&nic.name);
        let line = |change: &Change| {
            let slot = slot_of(&change.name).ok()?;
            let Value::Text(text) = &change.to else { return None };
            if text == NONE {
                return Some(format!("ethtool -N {nic} delete {slot}"));
            }
            // Only a rule's own words get into the line, whatever the change says.
            let rule = rule::parse(text, slot).and_then(|spec| rule::render(&spec)).ok()?;
            Some(format!("ethtool -N {nic} {rule} loc {slot}"))
        };
        batch.iter().filter_map(line).collect()
    }
}

fn slot_of(name: &Name) -> Result<u32> {
    name.rest().parse().map_err(|_| {
        Fault::new(Kind::Invalid, format!("find {name}"), "a rule is named ntuple.<slot>")
    })
}

fn absent(fault: Fault, act: &str) -> Fault {
    plain::absent(fault, act, "the driver takes no flow rules")
}

fn surveyed(host: &dyn Host, nic: &Nic) -> Readings {
    let act = format!("read the flow rules of {}", nic.name);
    let named = |slot: u32| plain::name(&format!("ntuple.{slot}"));
    match rxnfc::rules(host, nic) {
        Ok((_, occupied)) => {
            let slots = occupied.iter().take(SURVEYED_MAX);
            let each = slots.filter_map(|&slot| Some((named(slot)?, current(host, nic, slot))));
            plain::readings(each)
        }
        Err(fault) => plain::readings(named(0).map(|name| (name, Err(absent(fault, &act))))),
    }
}

fn current(host: &dyn Host, nic: &Nic, slot: u32) -> Result<Current> {
    let (spec, _context) = rxnfc::rule(host, nic, slot)?;
    Ok(match rule::render(&spec) {
        Ok(text) => Current::of(Value::Text(text)),
        Err(why) => {
            let mut current = Current::of(Value::Text(format!("a rule with {why}")));
            current.fixed = Some(format!("the rule that is there has {why}: it would be lost"));
            current
        }
    })
}

/// Deleting from an empty slot is an error to drivers, but not to us.
fn remove(host: &dyn Host, nic: &Nic, slot: u32) -> Result<()> {
    let (_, occupied) = rxnfc::rules(host, nic)?;
    match occupied.binary_search(&slot) {
        Ok(_) => rxnfc::delete(host, nic, slot),
        Err(_) => Ok(()),
    }
}
