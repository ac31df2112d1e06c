//! `napi.*`: how the kernel polls.
//!
//! The interface has a value of its own (sysfs), which new NAPI instances start with. Since Linux 6.13
//! each instance has its own too (netdev-genl `napi-set`), and writing the interface's overwrites all of
//! them. So a value is one number where interface and instances agree, and else the interface's
//! followed by each instance's, in queue order; `irq-suspend-timeout`, which no interface has, is the
//! instances' alone. Writing puts the interface's first and then every instance that differs.
//!
//! `weight`, `budget` and `budget-usecs` are the host's: net/core/sysctl_net_core.c.

use std::path::Path;

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};

use super::{
    plain,
    queues::{Napi as Instance, Napis},
    resolve,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Ask, Genl, Host, Mode, Nic, tlv::Writer},
    setting::{Change, Current, Family, Readings},
};

pub struct Napi;

const CMD_NAPI_SET: u8 = 14;
const NAPI_ID: u16 = 2;
const NAPI_DEFER_HARD_IRQS: u16 = 5;
const NAPI_GRO_FLUSH_TIMEOUT: u16 = 6;
const NAPI_IRQ_SUSPEND_TIMEOUT: u16 = 7;
const NAPI_THREADED: u16 = 8;

/// NETDEV_NAPI_THREADED_*, by number.
const MODES: [&str; 3] = ["disabled", "enabled", "busy-poll"];

const NAMES: [&str; 7] = [
    "napi.defer-hard-irqs",
    "napi.gro-flush-timeout",
    "napi.irq-suspend-timeout",
    "napi.threaded",
    "napi.weight",
    "napi.budget",
    "napi.budget-usecs",
];

/// Where a setting lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A file of the interface, and an attribute of each instance on newer kernels.
    Interface { file: &'static str, attr: u16 },
    /// An attribute of each instance only.
    Instances { attr: u16 },
    /// A key of /proc/sys/net/core.
    Host { key: &'static str },
}

impl Family for Napi {
    fn name(&self) -> &'static str {
        "napi"
    }

    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        let napis = instances(Napis::of_all(host));
        let names = NAMES.iter().filter_map(|name| plain::name(name));
        let (hosts, nics_own): (Vec<Name>, Vec<Name>) =
            names.partition(|name| matches!(place(name), Some(Place::Host { .. })));
        // The host's are the same for every NIC: read once.
        let Some(first) = nics.first() else { return Vec::new() };
        let hosts: Vec<_> =
            hosts.iter().map(|name| (name.clone(), current(host, first, name, &napis))).collect();
        let of = |nic| {
            let each = |name: &Name| (name.clone(), current(host, nic, name, &napis));
            plain::readings(nics_own.iter().map(each).chain(hosts.iter().cloned()))
        };
        nics.iter().map(of).collect()
    }

    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        let napis = instances(Napis::of_one(host, nic.ifindex));
        names.iter().map(|name| current(host, nic, name, &napis)).collect()
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
        if name.rest() != "threaded" {
            return resolve::number(nic, name, wanted, now);
        }
        let word = match wanted {
            Wanted::Exactly(Value::Bool(true)) => "enabled",
            Wanted::Exactly(Value::Bool(false)) => "disabled",
            Wanted::Exactly(Value::Text(word)) => word,
            Wanted::Exactly(Value::Number(_) | Value::Numbers(_) | Value::Texts(_))
            | Wanted::Max
            | Wanted::Min
            | Wanted::Default
            | Wanted::Equal(_)
            | Wanted::Weights(_)
            | Wanted::LocalCpus
            | Wanted::Cpus(_) => "",
        };
        match mode(word) {
            Some(_) => Ok(Value::Text(word.to_owned())),
            None => {
                Err(Fault::new(Kind::Invalid, act, format!("wants one of {}", MODES.join(", "))))
            }
        }
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        plain::one_by_one(changes)
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        for change in batch {
            let act = plain::change(change, &nic.name);
            let wrong = || plain::wrong_kind(change, &nic.name);
            let place = place(&change.name).ok_or_else(wrong)?;
            let numbers = numbers(&change.to).ok_or_else(wrong)?;
            put(host, nic, place, &numbers).map_err(|fault| fault.during(act))?;
        }
        Ok(())
    }

    fn disruption(&self, _nic: &Nic, name: &Name) -> Disruption {
        name.setting().disruption
    }

    fn disturbs(&self, _nic: &Nic, name: &Name) -> Vec<&'static str> {
        let mut disturbed = name.setting().disturbs.to_vec();
        // The same file under its sysctl name.
        disturbed.extend(match name.rest() {
            "weight" => Some("sysctl.net.core.dev_weight"),
            "budget" => Some("sysctl.net.core.netdev_budget"),
            "budget-usecs" => Some("sysctl.net.core.netdev_budget_usecs"),
            _ => None,
        });
        disturbed
    }

    fn by_hand(&self, nic: &Nic, batch: &[Change]) -> Vec<String> {
        batch.iter().flat_map(|change| lines(nic, change).unwrap_or_default()).collect()
    }
}

fn place(name: &Name) -> Option<Place> {
    Some(match name.rest() {
        "defer-hard-irqs" => {
            Place::Interface { file: "napi_defer_hard_irqs", attr: NAPI_DEFER_HARD_IRQS }
        }
        "gro-flush-timeout" => {
            Place::Interface { file: "gro_flush_timeout", attr: NAPI_GRO_FLUSH_TIMEOUT }
        }
        "threaded" => Place::Interface { file: "threaded", attr: NAPI_THREADED },
        "irq-suspend-timeout" => Place::Instances { attr: NAPI_IRQ_SUSPEND_TIMEOUT },
        "weight" => Place::Host { key: "dev_weight" },
        "budget" => Place::Host { key: "netdev_budget" },
        "budget-usecs" => Place::Host { key: "netdev_budget_usecs" },
        _ => return None,
    })
}

fn mode(word: &str) -> Option<u64> {
    (0..).zip(MODES).find_map(|(number, mode)| (mode == word).then_some(number))
}

/// A kernel without netdev-genl has no instances to tell of; any other failure is one.
fn instances(napis: Result<Napis>) -> Result<Napis> {
    match napis {
        Err(fault) if fault.kind == Kind::Unsupported => Ok(Napis::default()),
        Ok(_) | Err(_) => napis,
    }
}

fn current(host: &dyn Host, nic: &Nic, name: &Name, napis: &Result<Napis>) -> Result<Current> {
    let act = format!("read {name} of {}", nic.name);
    let unsupported = |cause: &str| Fault::new(Kind::Unsupported, &act, cause);
    let each = |attr: u16| -> Result<Vec<u64>> {
        let napis = napis.as_ref().map_err(|fault| fault.clone().during(&act))?;
        Ok(napis.of(nic.ifindex).iter().filter_map(|n| n.attrs.get(&attr).copied()).collect())
    };
    let read = |path: &Path, none: &str| -> Result<u64> {
        let text = host.read(path).map_err(|fault| plain::absent(fault, &act, none))?;
        let number = text.trim().parse();
        number.map_err(|_| Fault::new(Kind::Malformed, &act, format!("{text:?} is no number")))
    };
    match place(name).ok_or_else(|| unsupported("no such setting of NAPI"))? {
        Place::Host { key } => {
            let none = "the kernel shows it in the host's first network namespace only";
            let number = read(&core_key(key), none)?;
            Ok(Current::of(Value::Number(number)))
        }
        Place::Instances { attr } => {
            let each = each(attr)?;
            let none = "needs an interface that is up, with NAPI, on Linux 6.13 or later";
            let (first, rest) = each.split_first().ok_or_else(|| unsupported(none))?;
            let same = rest.iter().all(|number| number == first);
            Ok(Current::of(if same { Value::Number(*first) } else { Value::Numbers(each) }))
        }
        Place::Interface { file, attr } => {
            let own = read(&file_of(nic, file), "this kernel has no such file of an interface")?;
            let mut numbers = vec![own];
            numbers.extend(each(attr)?);
            if numbers.iter().all(|&number| number == own) {
                numbers.truncate(1);
            }
            shown(numbers, attr, nic).ok_or_else(|| unsupported("a mode without a name"))
        }
    }
}

/// The value as people see it: modes by word, all else by number.
fn shown(numbers: Vec<u64>, attr: u16, nic: &Nic) -> Option<Current> {
    if attr != NAPI_THREADED {
        let one = (numbers.len() == 1).then(|| Value::Number(numbers[0]));
        return Some(Current::of(one.unwrap_or(Value::Numbers(numbers))));
    }
    let word = |&n: &u64| MODES.get(usize::try_from(n).ok()?).map(|word| (*word).to_owned());
    let words: Vec<String> = numbers.iter().map(word).collect::<Option<_>>()?;
    let one = (words.len() == 1).then(|| Value::Text(words[0].clone()));
    let mut current = Current::of(one.unwrap_or(Value::Texts(words)));
    // Busy polling in the thread came with Linux 6.19 (net/core/net-sysfs.c modify_napi_threaded).
    let modes = if plain::kernel(nic).is_some_and(|k| k >= (6, 19, 0)) { 3 } else { 2 };
    current.choices = MODES[..modes].iter().map(|word| (*word).to_owned()).collect();
    Some(current)
}

/// The interface's number, then the instances'; one alone is for all.
fn numbers(value: &Value) -> Option<Vec<u64>> {
    match value {
        Value::Number(number) => Some(vec![*number]),
        Value::Numbers(numbers) if !numbers.is_empty() => Some(numbers.clone()),
        Value::Text(word) => Some(vec![mode(word)?]),
        Value::Texts(words) if !words.is_empty() => words.iter().map(|word| mode(word)).collect(),
        Value::Bool(_) | Value::Numbers(_) | Value::Texts(_) => None,
    }
}

fn put(host: &dyn Host, nic: &Nic, place: Place, numbers: &[u64]) -> Result<()> {
    let act = "set NAPI instances";
    let (own, each) =
        numbers.split_first().ok_or_else(|| Fault::new(Kind::Invalid, act, "no value to write"))?;
    match place {
        Place::Host { key } => host.write(&core_key(key), &own.to_string()),
        Place::Interface { file, attr } => {
            // Looked up before anything is written: a wrong count refuses the whole change.
            let napis = match each {
                [] => Napis::default(),
                [_, ..] => Napis::of_one(host, nic.ifindex)?,
            };
            let instances = same_count(napis.of(nic.ifindex), each.len(), act)?;
            host.write(&file_of(nic, file), &own.to_string())?;
            // That has made every instance equal to the interface.
            let mut differing = instances.iter().zip(each).filter(|(_, number)| *number != own);
            differing.try_for_each(|(napi, number)| set(host, napi, attr, *number))
        }
        Place::Instances { attr } => {
            let napis = Napis::of_one(host, nic.ifindex)?;
            let instances = napis.of(nic.ifindex);
            let instances = match numbers.len() {
                1 => same_count(instances, instances.len().max(1), act)?,
                count => same_count(instances, count, act)?,
            };
            let numbers = numbers.iter().cycle();
            instances.iter().zip(numbers).try_for_each(|(napi, n)| set(host, napi, attr, *n))
        }
    }
}

fn same_count<'a>(instances: &'a [Instance], count: usize, act: &str) -> Result<&'a [Instance]> {
    if instances.len() == count {
        return Ok(instances);
    }
    let cause = format!("it has {} NAPI instances now, not {count}", instances.len());
    Err(Fault::new(Kind::Gone, act, cause))
}

fn set(host: &dyn Host, napi: &Instance, attr: u16, number: u64) -> Result<()> {
    let mut attrs = Writer::new();
    attrs.u32(NAPI_ID, napi.id);
    match u32::try_from(number) {
        Ok(number) => attrs.u32(attr, number),
        Err(_) => attrs.u64(attr, number),
    };
    let payload = attrs.into_bytes();
    let (family, command, mode) = (Genl::Netdev, CMD_NAPI_SET, Mode::Do);
    host.request(&Ask::Genl { family, command, mode, payload }).map(drop)
}

fn file_of(nic: &Nic, file: &str) -> std::path::PathBuf {
    Path::new("/sys/class/net").join(&nic.name).join(file)
}

fn core_key(key: &str) -> std::path::PathBuf {
    Path::new("/proc/sys/net/core").join(key)
}

fn lines(nic: &Nic, change: &Change) -> Option<Vec<String>> {
    let numbers = numbers(&change.to)?;
    let mut lines = Vec::new();
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let each = match place(&change.name)? {
        Place::Host { key } => {
            lines.push(format!("sysctl -w net.core.{key}='{}'", words[0]));
            &[][..]
        }
        Place::Interface { file, .. } => {
            lines.push(plain::echo(&words[0], &file_of(nic, file).display().to_string()));
            &words[1..]
        }
        Place::Instances { .. } => &words[..],
    };
    if !each.is_empty() {
        // Ids change when queues re-open, so the line says how to find them.
        lines.push(format!(
            "# then {} of each NAPI instance of {} (ifindex {}), in queue order: {}; with \
             `ynl --family netdev --dump napi-get` and `--do napi-set`",
            change.name.rest(),
            nic.name,
            nic.ifindex,
            each.join(" "),
        ));
    }
    Some(lines)
}
