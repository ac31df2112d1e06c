//! What the kernel and the NIC counted around a window.
//!
//! Names in [`Deltas::counters`]: `nic.<name>` for the driver's own statistics (`ethtool -S`) and, where
//! the driver has none of that name, the interface's (`rx_missed_errors`, …); `tcp.*`, `udp.*`, `ip.*`,
//! `tcpext.*` from /proc/net/snmp and netstat in the kernel's spelling; `softnet.processed`,
//! `softnet.dropped`, `softnet.squeezed` over all CPUs.
//!
//! Two counters may count the same dropped packet (a driver's own and the interface's): `drops` names
//! each, and its sum is meant for a bound, mostly zero. A counter that went backwards (a driver reset
//! it) has no delta and a note, never a negative drop.

pub mod drops;
pub mod link;
pub mod procfs;
pub mod queues;
pub mod statistics;

use std::collections::BTreeMap;

use firmware_catalog::Read;

use crate::{
    fault::Result,
    host::{Host, nic},
    inventory::hazard,
};

use super::clock;

/// The NIC whose counters are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub name: String,
    /// Empty where the kernel names no driver.
    pub driver: String,
    /// Why nothing of it is counted, where its driver is known not to stand that here.
    pub withheld: Option<String>,
}

impl Counted {
    /// Asks the kernel for the driver's name; a NIC without one is counted by its interface alone.
    pub fn find(host: &dyn Host, name: &str) -> Counted {
        let driver = statistics::driver(host, name).unwrap_or_default();
        let known = nic::find(host, name).ok();
        let issue = known.and_then(|nic| hazard::refusal(host, &nic, Some(Read::Stats)));
        Counted { name: name.to_owned(), driver, withheld: issue.map(hazard::why) }
    }
}

/// Every counter at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// CLOCK_MONOTONIC.
    at_ns: u64,
    values: BTreeMap<String, u64>,
    /// Packets received a queue.
    queues: Vec<u64>,
    /// Packets the NIC received and sent.
    packets: u64,
    /// What could not be read, each with its reason.
    missing: Vec<String>,
}

/// Reads everything. Never fails: what cannot be read is noted.
///
/// Nothing of a NIC whose driver may crash in it ([`Counted::withheld`]): sfc on kernels of 5.9 to 6.5, where a
/// reset meets a reader (CVE-2023-54156), and a reset can begin at any moment.
pub fn snapshot(host: &dyn Host, nic: Option<&Counted>) -> Snapshot {
    let mut shot = Snapshot { at_ns: clock::monotonic_ns(), ..Snapshot::default() };
    for (file, read) in procfs::FILES {
        let read = host.read(std::path::Path::new(file)).and_then(|text| read(&text));
        shot.keep("", read);
    }
    if let Some(Counted { withheld: Some(why), .. }) = nic {
        shot.missing.push(why.clone());
    } else if let Some(nic) = nic {
        let link = link::read(host, &nic.name);
        shot.packets = link.as_ref().map_or(0, link::Link::packets);
        // The driver's own figure of a name is the more exact one, so it is kept last.
        shot.keep("nic.", link.map(|link| link.stats));
        let own = statistics::read(host, &nic.name);
        shot.queues = match &own {
            Ok(own) => queues::read(host, &nic.name, own),
            Err(_) => queues::read(host, &nic.name, &[]),
        };
        shot.keep("nic.", own);
    }
    shot
}

impl Snapshot {
    fn keep<N: AsRef<str>>(&mut self, prefix: &str, read: Result<Vec<(N, u64)>>) {
        match read {
            Ok(values) => {
                for (name, value) in values {
                    self.values.insert(format!("{prefix}{}", name.as_ref()), value);
                }
            }
            Err(fault) => self.missing.push(fault.to_string()),
        }
    }

    /// Packets received a queue so far; empty where nothing counts them.
    pub fn queues(&self) -> &[u64] {
        &self.queues
    }
}

/// What moved between two snapshots.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deltas {
    pub elapsed_ns: u64,
    pub counters: BTreeMap<String, i64>,
    /// The drop counters among them.
    pub drops: BTreeMap<String, i64>,
    pub per_queue: Vec<u64>,
    /// Packets the NIC received and sent.
    pub packets: u64,
    pub tcp_out: u64,
    pub tcp_retransmitted: u64,
    pub softnet_squeezed: u64,
    pub notes: Vec<String>,
}

/// The difference, `driver` deciding which of the NIC's counters mean a drop.
pub fn between(before: &Snapshot, after: &Snapshot, driver: &str) -> Deltas {
    let mut deltas = Deltas {
        elapsed_ns: after.at_ns.saturating_sub(before.at_ns),
        packets: after.packets.saturating_sub(before.packets),
        ..Deltas::default()
    };
    let mut backwards = Vec::new();
    for (name, &now) in &after.values {
        let Some(&then) = before.values.get(name) else { continue };
        match now.checked_sub(then) {
            Some(delta) => {
                let delta = i64::try_from(delta).unwrap_or(i64::MAX);
                deltas.counters.insert(name.clone(), delta);
                if drops::means_drop(driver, name) {
                    deltas.drops.insert(name.clone(), delta);
                }
            }
            None => backwards.push(name.as_str()),
        }
    }
    let count = |name: &str| deltas.counters.get(name).map_or(0, |&d| d.unsigned_abs());
    deltas.tcp_out = count("tcp.OutSegs");
    deltas.tcp_retransmitted = count("tcp.RetransSegs");
    deltas.softnet_squeezed = count("softnet.squeezed");
    if before.queues.len() == after.queues.len() {
        let pairs = before.queues.iter().zip(&after.queues);
        deltas.per_queue = pairs.map(|(then, now)| now.saturating_sub(*then)).collect();
    } else {
        let (then, now) = (before.queues.len(), after.queues.len());
        deltas.notes.push(format!("receive queues went from {then} to {now} during the window"));
    }
    deltas.notes.extend(after.missing.iter().map(|why| format!("not counted: {why}")));
    if !backwards.is_empty() {
        let (some, more) = backwards.split_at(backwards.len().min(5));
        let rest =
            if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        deltas.notes.push(format!("counters went backwards: {}{rest}", some.join(", ")));
    }
    deltas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shot(values: &[(&str, u64)], queues: &[u64]) -> Snapshot {
        Snapshot {
            values: values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect(),
            queues: queues.to_vec(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_counter_that_went_backwards_is_noted_and_no_drop() {
        let before = shot(
            &[("nic.rx_missed_errors", 100), ("softnet.dropped", 5), ("tcp.OutSegs", 10), ("a", 1)],
            &[10, 20],
        );
        let after = shot(
            &[("nic.rx_missed_errors", 3), ("softnet.dropped", 7), ("tcp.OutSegs", 25), ("b", 1)],
            &[11, 25],
        );
        let deltas = between(&before, &after, "igb");
        assert_eq!(deltas.drops, BTreeMap::from([("softnet.dropped".to_owned(), 2)]));
        assert_eq!((deltas.tcp_out, deltas.per_queue), (15, vec![1, 5]));
        assert_eq!(deltas.counters.len(), 2, "what only one snapshot has is no delta");
        assert_eq!(deltas.notes, ["counters went backwards: nic.rx_missed_errors"]);
    }
}
