//! Sets of CPUs: the kernel's two spellings of them, and how they are dealt to queues.
//!
//! Lists (`0-3,8`, `0-15:2/4`) and masks (`ff,ffffffff`) are what lib/bitmap-str.c reads and prints.

use std::{collections::BTreeSet, path::Path};

use playbooks::Wanted;

use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic},
};

/// More than any kernel is built for (CONFIG_NR_CPUS is at most 8192 on x86).
pub const CPUS_MAX: u32 = 8192;

/// A set of CPUs by number, each below [`CPUS_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpus(BTreeSet<u32>);

impl Cpus {
    /// From a list as the kernel reads it: `0-3,8`, or `0-15:2/4` for the first 2 of every 4. An empty
    /// text is the empty set. Bounded: a list is refused before it names a CPU beyond [`CPUS_MAX`].
    pub fn from_list(text: &str) -> Result<Cpus> {
        let mut cpus = BTreeSet::new();
        let text = text.trim();
        if text.is_empty() {
            return Ok(Cpus(cpus));
        }
        if text.len() > 16 * CPUS_MAX as usize {
            return Err(malformed(&text[..32.min(text.len())], "the list is too long"));
        }
        for part in text.split(',') {
            let (range, pattern) = match part.split_once(':') {
                Some((range, pattern)) => (range, pattern.split_once('/')),
                None => (part, Some(("1", "1"))),
            };
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let words = pattern.and_then(|(used, group)| {
                Some((number(first)?, number(last)?, number(used)?, number(group)?))
            });
            let Some((first, last, used, group)) = words else {
                return Err(malformed(part, "not a CPU, a range a-b or a range a-b:used/group"));
            };
            if first > last || last >= CPUS_MAX || used == 0 || used > group {
                return Err(malformed(part, "a range runs upwards and ends below CPU 8192"));
            }
            cpus.extend((first..=last).filter(|cpu| (cpu - first) % group < used));
        }
        Ok(Cpus(cpus))
    }

    /// From a mask as sysfs prints it: hexadecimal words of 32 CPUs, the highest first.
    pub fn from_mask(text: &str) -> Result<Cpus> {
        let mut cpus = BTreeSet::new();
        let words: Vec<&str> = text.trim().split(',').collect();
        if words.len() > CPUS_MAX as usize / 32 {
            return Err(malformed("mask", "it is for more than 8192 CPUs"));
        }
        for (base, word) in (0..).step_by(32).zip(words.iter().rev()) {
            let hex = word.len() <= 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
            let bits = u32::from_str_radix(word, 16).ok().filter(|_| hex);
            let bits = bits.ok_or_else(|| malformed(word, "not a hexadecimal word of a mask"))?;
            cpus.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| base + bit));
        }
        Ok(Cpus(cpus))
    }

    /// The list as the kernel prints it: `0-3,8`; empty for no CPU.
    pub fn list(&self) -> String {
        let mut parts = Vec::new();
        let mut cpus = self.0.iter().copied().peekable();
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|&next| next == last + 1) {
                last = next;
            }
            parts.push(if first == last { first.to_string() } else { format!("{first}-{last}") });
        }
        parts.join(",")
    }

    /// The mask as sysfs takes it; `0` for no CPU.
    pub fn mask(&self) -> String {
        let Some(&highest) = self.0.last() else { return "0".to_owned() };
        let mut words = vec![0_u32; highest as usize / 32 + 1];
        for cpu in &self.0 {
            words[*cpu as usize / 32] |= 1 << (cpu % 32);
        }
        let (top, rest) = words.split_last().unwrap_or((&0, &[]));
        let rest = rest.iter().rev().map(|word| format!(",{word:08x}"));
        std::iter::once(format!("{top:x}")).chain(rest).collect()
    }

    /// The lowest CPU.
    pub fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One CPU a queue, in order, from the start again when there are more queues than CPUs:
    /// the list of each queue. Every list is empty where the set is.
    pub fn deal(&self, queues: &[u32]) -> Vec<String> {
        let cpus: Vec<u32> = self.0.iter().copied().collect();
        let each = |&queue: &u32| match cpus.len() {
            0 => String::new(),
            n => cpus[queue as usize % n].to_string(),
        };
        queues.iter().map(each).collect()
    }

    fn without(mut self, others: &Cpus) -> Cpus {
        self.0.retain(|cpu| !others.0.contains(cpu));
        self
    }

    fn within(mut self, others: &Cpus) -> Cpus {
        self.0.retain(|cpu| others.0.contains(cpu));
        self
    }
}

/// `None` for anything that is not plain digits: the kernel takes no sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn malformed(part: &str, why: &str) -> Fault {
    Fault::new(Kind::Invalid, format!("read CPU list {part:?}"), why)
}

/// What a setting of [`Kind::Cpus`](playbooks::vocabulary::Kind::Cpus) wants, in CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// Dealt to the queues, one each.
    Dealt(Cpus),
    /// As it is without anybody's choice.
    Default,
    /// These, one list a queue in queue order.
    Each(Vec<String>),
}

/// Understands `local-cpus`, a CPU list, `default`, or one list a queue; `act` says who asks.
pub fn share(host: &dyn Host, nic: &Nic, wanted: &Wanted, act: &str) -> Result<Share> {
    use playbooks::Value::{Bool, Number, Numbers, Text, Texts};
    let list = |text: &str| Cpus::from_list(text).map_err(|fault| fault.during(act));
    match wanted {
        Wanted::LocalCpus => local(host, nic).map(Share::Dealt).map_err(|f| f.during(act)),
        Wanted::Cpus(text) | Wanted::Exactly(Text(text)) => list(text).map(Share::Dealt),
        Wanted::Exactly(Number(cpu)) => list(&cpu.to_string()).map(Share::Dealt),
        Wanted::Exactly(Texts(lists)) => {
            let lists = lists.iter().map(|text| list(text).map(|cpus| cpus.list()));
            lists.collect::<Result<_>>().map(Share::Each)
        }
        Wanted::Default => Ok(Share::Default),
        Wanted::Exactly(Bool(_) | Numbers(_))
        | Wanted::Max
        | Wanted::Min
        | Wanted::Equal(_)
        | Wanted::Weights(_) => {
            Err(Fault::new(Kind::Invalid, act, "wants a CPU list, `local-cpus` or `default`"))
        }
    }
}

/// The CPUs near the NIC that may be disturbed: its NUMA node's, without isolated and nohz_full ones.
pub fn local(host: &dyn Host, nic: &Nic) -> Result<Cpus> {
    let near = match nic.numa {
        Some(node) => listed(host, &format!("/sys/devices/system/node/node{node}/cpulist"))?,
        None => listed(host, &format!("/sys/class/net/{}/device/local_cpulist", nic.name))?,
    };
    let online = listed(host, "/sys/devices/system/cpu/online")?.ok_or_else(|| {
        Fault::new(Kind::Unsupported, "find local CPUs", "no list of online CPUs")
    })?;
    // A virtual NIC, or a machine without NUMA, is near to every CPU.
    let near = near.filter(|cpus| !cpus.is_empty()).unwrap_or_else(|| online.clone());
    let mut left = near.clone().within(&online);
    for kept in ["isolated", "nohz_full"] {
        if let Some(cpus) = listed(host, &format!("/sys/devices/system/cpu/{kept}"))? {
            left = left.without(&cpus);
        }
    }
    if left.is_empty() {
        let cause =
            format!("every CPU near it ({}) is offline, isolated or nohz_full", near.list());
        return Err(Fault::new(Kind::Invalid, format!("find local CPUs of {}", nic.name), cause));
    }
    Ok(left)
}

/// A CPU list from a file; `None` where there is no such file.
fn listed(host: &dyn Host, path: &str) -> Result<Option<Cpus>> {
    match host.read(Path::new(path)) {
        // The kernel prints a mask that was never made as `(null)`.
        Ok(text) if text.trim() == "(null)" => Ok(Some(Cpus::default())),
        Ok(text) => Cpus::from_list(&text).map(Some),
        Err(fault) if matches!(fault.kind, Kind::Unsupported | Kind::Gone) => Ok(None),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_printed_as_the_kernel_does() {
        for (text, printed) in [
            ("", ""),
            ("0", "0"),
            ("0-3,8\n", "0-3,8"),
            ("8,0,1,2", "0-2,8"),
            ("0-15:2/4", "0-1,4-5,8-9,12-13"),
            ("3-3", "3"),
            ("8191", "8191"),
        ] {
            assert_eq!(Cpus::from_list(text).unwrap().list(), printed, "{text:?}");
        }
        for bad in ["a", "1-", "-1", "3-1", "8192", "0-4294967296", "0-9:0/2", "0-9:3/2", "0-9:1"] {
            assert!(Cpus::from_list(bad).is_err(), "{bad}");
        }
        assert!(Cpus::from_list("+1").is_err() && Cpus::from_list("1,,2").is_err());
    }

    #[test]
    fn masks_hold_more_than_64_cpus() {
        for (mask, list) in [
            ("0", ""),
            ("f", "0-3"),
            ("00000000,0000010f", "0-3,8"),
            ("1,00000000,00000001", "0,64"),
            ("80000000,00000000,00000000,00000000", "127"),
        ] {
            assert_eq!(Cpus::from_mask(mask).unwrap().list(), list, "{mask}");
        }
        assert_eq!(Cpus::from_list("0,64").unwrap().mask(), "1,00000000,00000001");
        assert_eq!(Cpus::default().mask(), "0");
        for bad in ["", "g", "123456789", "1,,2", "+1", "-1"] {
            assert!(Cpus::from_mask(bad).is_err(), "{bad:?}");
        }
        assert!(Cpus::from_mask(&vec!["0"; 257].join(",")).is_err());
    }

    #[test]
    fn every_set_survives_both_spellings() {
        let mut seed = 7_u32;
        for _ in 0..200 {
            let mut cpus = Cpus::default();
            for _ in 0..seed % 40 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                cpus.0.insert(seed >> 16 & 0x1ff);
            }
            seed = seed.wrapping_add(1);
            assert_eq!(Cpus::from_list(&cpus.list()).unwrap(), cpus);
            assert_eq!(Cpus::from_mask(&cpus.mask()).unwrap(), cpus);
        }
    }

    #[test]
    fn cpus_are_dealt_in_order_and_round_again() {
        let cpus = Cpus::from_list("2-3,8").unwrap();
        assert_eq!(cpus.deal(&[0, 1, 2, 3]), ["2", "3", "8", "2"]);
        // The receive and the transmit vector of one queue go to one CPU.
        assert_eq!(cpus.deal(&[0, 0, 1, 1]), ["2", "2", "3", "3"]);
        assert_eq!(Cpus::default().deal(&[0, 1]), ["", ""]);
    }
}
