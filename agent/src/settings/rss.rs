//! `rss.indirection`: which receive queue a flow's hash points at.
//!
//! `default` where the table is what the kernel makes of itself (entry i points at queue i modulo the
//! number of queues), else the table. Writing `default` resets: the kernel then spreads anew when the
//! number of queues changes, which it refuses to do over a user's table.
//!
//! Read by netlink RSS_GET where one dump answers for all NICs (Linux 6.12), else by ETHTOOL_GRXFHINDIR.
//! Written by ETHTOOL_SRXFHINDIR on every kernel: netlink's RSS_SET (6.17) compares as many bytes of the
//! table as it has entries (net/ethtool/rss.c rss_set_prep_indir), so that it reports success for
//! a change further behind without telling the driver.

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};

use super::{
    plain,
    rxnfc::{self, word},
    words,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Genl, Host, Mode, Nic,
        tlv::{Attrs, Writer},
    },
    setting::{Change, Current, Family, Readings},
};

pub struct Rss;

const NAME: &str = "rss.indirection";
const DEFAULT: &str = "default";

const ETHTOOL_GRXFHINDIR: u32 = 0x38;
const ETHTOOL_SRXFHINDIR: u32 = 0x39;
/// `cmd` and `size` of `struct ethtool_rxfh_indir`.
const INDIR_HEADER_BYTES: usize = 8;
/// More entries than any NIC's table has.
const ENTRIES_MAX: usize = 1 << 16;

const RSS_GET: u8 = 38;
const RSS_HEADER: u16 = 1;
const RSS_CONTEXT: u16 = 2;
const RSS_INDIR: u16 = 4;
const HEADER_DEV_INDEX: u16 = 1;

impl Family for Rss {
    fn name(&self) -> &'static str {
        "rss"
    }

    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        let Some(name) = plain::name(NAME) else { return vec![Readings::default(); nics.len()] };
        // A dump would also ask the NIC that cannot stand it.
        let dump = match nics.len() > 1 && nics.iter().all(|nic| read_refused(host, nic).is_none())
        {
            true => tables(host).ok(),
            false => None,
        };
        let of = |nic: &Nic| {
            let current = match &dump {
                None => current(host, nic),
                Some(dump) => match dump.iter().find(|(index, _)| *index == nic.ifindex) {
                    Some((_, table)) => shown(host, nic, table),
                    None => Err(Fault::new(Kind::Unsupported, NAME, "the driver has no table")),
                },
            };
            plain::readings([(name.clone(), current)])
        };
        nics.iter().map(of).collect()
    }

    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        names.iter().map(|_| current(host, nic)).collect()
    }

    fn resolve(
        &self,
        host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        _now: &Current,
    ) -> Result<Value> {
        let act = plain::setting(name, &nic.name);
        let invalid = |cause: &str| Fault::new(Kind::Invalid, &act, cause);
        let size = || table(host, nic).map(|table| table.len()).map_err(|f| f.during(&act));
        let queues = rxnfc::rings(host, nic).map_err(|fault| fault.during(&act))?;
        let table = match wanted {
            Wanted::Default => return Ok(Value::Text(DEFAULT.to_owned())),
            Wanted::Exactly(Value::Text(text)) if text == DEFAULT => {
                return Ok(Value::Text(DEFAULT.to_owned()));
            }
            Wanted::Equal(n) => equal(*n, size()?),
            Wanted::Weights(weights) => weighted(weights, size()?).map_err(|why| invalid(&why))?,
            Wanted::Exactly(Value::Numbers(table)) if table.len() == size()? => {
                let entries = table.iter().map(|&queue| u32::try_from(queue).unwrap_or(u32::MAX));
                entries.collect()
            }
            Wanted::Exactly(
                Value::Bool(_)
                | Value::Number(_)
                | Value::Text(_)
                | Value::Numbers(_)
                | Value::Texts(_),
            )
            | Wanted::Max
            | Wanted::Min
            | Wanted::LocalCpus
            | Wanted::Cpus(_) => {
                return Err(invalid("wants `default`, `equal N` or `weights a b c`"));
            }
        };
        match table.iter().find(|&&queue| queue >= queues) {
            _ if table.is_empty() => Err(invalid("`equal` needs at least one queue")),
            Some(queue) => {
                Err(invalid(&format!("points at queue {queue}, but there are {queues}")))
            }
            None => Ok(named(&table, queues)),
        }
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        plain::one_by_one(changes)
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        for change in batch {
            let act = format!("set {NAME} on {}", nic.name);
            let entries: Vec<u32> = match &change.to {
                Value::Text(text) if text == DEFAULT => Vec::new(),
                Value::Numbers(table) if !table.is_empty() && table.len() <= ENTRIES_MAX => {
                    let numbers = table.iter().map(|&queue| u32::try_from(queue).ok());
                    let numbers: Option<Vec<u32>> = numbers.collect();
                    numbers.ok_or_else(|| plain::wrong_kind(change, &nic.name))?
                }
                Value::Bool(_)
                | Value::Number(_)
                | Value::Text(_)
                | Value::Numbers(_)
                | Value::Texts(_) => return Err(plain::wrong_kind(change, &nic.name)),
            };
            // No entries at all are the kernel's word for its default.
            let buffer = indir(ETHTOOL_SRXFHINDIR, &entries);
            ask(host, nic, buffer).map_err(|fault| fault.during(act))?;
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
        batch.iter().map(|change| format!("ethtool -X {nic} {}", words(&change.to))).collect()
    }
}

/// Why this driver and kernel must not be asked for its table (KB-078: sfc deadlocks).
fn read_refused(host: &dyn Host, nic: &Nic) -> Option<String> {
    use crate::inventory::hazard;
    hazard::refusal(host, nic, Some(firmware_catalog::Read::Rss)).map(hazard::why)
}

fn current(host: &dyn Host, nic: &Nic) -> Result<Current> {
    shown(host, nic, &table(host, nic)?)
}

fn shown(host: &dyn Host, nic: &Nic, table: &[u32]) -> Result<Current> {
    Ok(Current::of(named(table, rxnfc::rings(host, nic)?)))
}

/// The table's value: by name where it is the kernel's own spread (ethtool_rxfh_indir_default).
fn named(table: &[u32], queues: u32) -> Value {
    let default = queues > 0 && (0..queues).cycle().zip(table).all(|(own, entry)| own == *entry);
    match default {
        true => Value::Text(DEFAULT.to_owned()),
        false => Value::Numbers(table.iter().copied().map(u64::from).collect()),
    }
}

/// `equal N`, as ethtool(8) spreads it.
fn equal(queues: u32, size: usize) -> Vec<u32> {
    (0..queues).cycle().take(size).collect()
}

/// `weights a b c`, as ethtool(8) spreads them: each queue gets its share of the table, in blocks.
fn weighted(weights: &[u32], size: usize) -> Result<Vec<u32>, String> {
    let size = size as u64;
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    if sum == 0 {
        return Err("at least one weight is above zero".to_owned());
    }
    if sum > size {
        return Err(format!("the weights add up to {sum}, but the table has {size} entries"));
    }
    let mut table = Vec::new();
    let mut partial = 0;
    for (queue, weight) in (0..).zip(weights) {
        partial += u64::from(*weight);
        // Entry i is this queue's while i < size * partial / sum, rounded down.
        while (table.len() as u64) < size * partial / sum {
            table.push(queue);
        }
    }
    Ok(table)
}

/// What follows `ethtool -X eth1`. Not every table can be said in ethtool(8)'s words.
fn words(value: &Value) -> String {
    let Value::Numbers(table) = value else { return words::quote(&value.to_string()) };
    let table: Vec<u32> = table.iter().filter_map(|&queue| u32::try_from(queue).ok()).collect();
    let queues = table.iter().max().map_or(0, |&queue| queue.saturating_add(1));
    // Beyond as many queues as entries, counting each would take long and say little.
    if queues as usize <= table.len() {
        if equal(queues, table.len()) == table {
            return format!("equal {queues}");
        }
        let count = |queue: u32| table.iter().filter(|&&entry| entry == queue).count();
        let counts: Vec<usize> = (0..queues).map(count).collect();
        let weights: Vec<u32> = counts.iter().filter_map(|&n| u32::try_from(n).ok()).collect();
        if weighted(&weights, table.len()).is_ok_and(|spread| spread == table) {
            let weights: Vec<String> = weights.iter().map(u32::to_string).collect();
            return format!("weight {}", weights.join(" "));
        }
    }
    format!("default # ethtool(8) cannot write the table itself: {value}")
}

/// ETHTOOL_GRXFHINDIR: the table's size first, then the table.
fn table(host: &dyn Host, nic: &Nic) -> Result<Vec<u32>> {
    let act = format!("read {NAME} of {}", nic.name);
    if let Some(why) = read_refused(host, nic) {
        return Err(Fault::new(Kind::Unsupported, act, why));
    }
    let none = "the driver has no table";
    let size = ask(host, nic, indir(ETHTOOL_GRXFHINDIR, &[]));
    let size = word(&size.map_err(|fault| plain::absent(fault, &act, none))?, 4) as usize;
    if size == 0 || size > ENTRIES_MAX {
        let cause = format!("the driver's table has {size} entries");
        return Err(Fault::new(Kind::Unsupported, act, cause));
    }
    let answer = ask(host, nic, indir(ETHTOOL_GRXFHINDIR, &vec![0; size]));
    let answer = answer.map_err(|fault| fault.during(&act))?;
    match answer.get(INDIR_HEADER_BYTES..) {
        Some(entries) if word(&answer, 4) as usize == size => Ok(entries_of(entries)),
        Some(_) | None => Err(Fault::new(Kind::Malformed, act, "the table's size has changed")),
    }
}

fn indir(command: u32, entries: &[u32]) -> Vec<u8> {
    let size = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    [command, size].iter().chain(entries).flat_map(|word| word.to_ne_bytes()).collect()
}

fn entries_of(bytes: &[u8]) -> Vec<u32> {
    (0..bytes.len() / 4).map(|n| word(bytes, n * 4)).collect()
}

fn ask(host: &dyn Host, nic: &Nic, buffer: Vec<u8>) -> Result<Vec<u8>> {
    let answers = host.request(&Ask::Ethtool { nic: nic.name.clone(), buffer })?;
    Ok(answers.into_iter().next().unwrap_or_default())
}

/// Every NIC's main table in one dump. Additional RSS contexts are not ours.
fn tables(host: &dyn Host) -> Result<Vec<(u32, Vec<u32>)>> {
    let (family, command, mode) = (Genl::Ethtool, RSS_GET, Mode::Dump);
    let mut payload = Writer::new();
    payload.nest(RSS_HEADER, &Writer::new());
    let payload = payload.into_bytes();
    let answers = host.request(&Ask::Genl { family, command, mode, payload })?;
    let table = |answer: &Vec<u8>| {
        let attrs = Attrs(answer);
        let header = attrs.find(RSS_HEADER)?.nested();
        let index = u32::try_from(header.find(HEADER_DEV_INDEX)?.number()?).ok()?;
        let main = attrs.find(RSS_CONTEXT).is_none();
        main.then(|| Some((index, entries_of(attrs.find(RSS_INDIR)?.payload))))?
    };
    Ok(answers.iter().filter_map(table).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_spread_as_ethtool_spreads_them() {
        assert_eq!(weighted(&[1, 1], 8).unwrap(), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(weighted(&[1, 2], 8).unwrap(), [0, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(weighted(&[0, 1, 0, 1], 4).unwrap(), [1, 1, 3, 3]);
        assert_eq!(weighted(&[6, 2], 8).unwrap(), [0, 0, 0, 0, 0, 0, 1, 1]);
        assert!(weighted(&[0, 0], 8).is_err() && weighted(&[8, 1], 8).is_err());
        assert!(weighted(&[u32::MAX, u32::MAX], 8).is_err());
    }

    #[test]
    fn the_kernels_own_spread_is_called_default() {
        let default = Value::Text("default".into());
        assert_eq!(named(&[0, 1, 2, 0, 1, 2, 0, 1], 3), default);
        assert_ne!(named(&[0, 1, 0, 1, 0, 1, 0, 1], 3), default);
        assert_eq!(named(&equal(2, 4), 4), Value::Numbers(vec![0, 1, 0, 1]));
        assert_ne!(named(&[0, 0], 0), default);
    }

    #[test]
    fn tables_are_said_in_ethtools_words_where_they_can_be() {
        let numbers = |table: &[u64]| words(&Value::Numbers(table.to_vec()));
        assert_eq!(numbers(&[0, 1, 0, 1]), "equal 2");
        assert_eq!(numbers(&[0, 0, 1, 1, 1, 1, 1, 1]), "weight 2 6");
        assert_eq!(words(&Value::Text("default".into())), "default");
        assert!(numbers(&[1, 0, 0, 1]).contains("# ethtool(8) cannot"));
        assert!(numbers(&[u64::from(u32::MAX)]).contains('#'));
    }
}
