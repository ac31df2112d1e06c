//! What sysfs keeps for each queue, besides what is a setting of its own (`rps.cpus`, `xps.cpus`): a new
//! device starts from the driver's defaults.
//!
//! Source: net/core/net-sysfs.c, Documentation/ABI/testing/sysfs-class-net-queues.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{fault::Fault, host::Host};

const RECEIVE: [&str; 1] = [FLOWS];
const TRANSMIT: [&str; 6] = [
    "tx_maxrate",
    "xps_rxqs",
    "byte_queue_limits/hold_time",
    "byte_queue_limits/limit_max",
    "byte_queue_limits/limit_min",
    "byte_queue_limits/stall_thrs",
];
/// The size of a queue's table of flows (RFS).
const FLOWS: &str = "rps_flow_cnt";
const QUEUES_MAX: usize = 4096;
/// What is found of a queue that is not there: the channels are the settings', put back after this.
pub(super) const ABSENT: &str = "no such queue";

/// By `rx-0/rps_flow_cnt`. What the kernel does not show for a queue is not there.
pub(super) fn read(host: &dyn Host, device: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let folder = folder(device);
    for queue in host.list(&folder).unwrap_or_default().into_iter().take(QUEUES_MAX) {
        let names: &[&str] = if queue.starts_with("rx-") { &RECEIVE } else { &TRANSMIT };
        for name in names {
            // A single queue has no map to others; a driver may do without byte limits.
            if let Ok(text) = host.read(&folder.join(&queue).join(name)) {
                found.insert(format!("{queue}/{name}"), text.trim_end().to_owned());
            }
        }
    }
    found
}

/// Writes those that differ, on the queues that are there.
pub(super) fn restore(host: &dyn Host, device: &str, was: &BTreeMap<String, String>) -> Vec<Fault> {
    let now = read(host, device);
    let differ = was.iter().filter(|(key, value)| now.get(*key).is_some_and(|now| now != *value));
    let write = |(key, value): (&String, &String)| {
        let act = format!("set queues/{key} of {device} to {value}");
        host.write(&folder(device).join(key), value).err().map(|fault| fault.during(act))
    };
    differ.filter_map(write).collect()
}

/// Whether a queue steers flows to the CPUs of who reads them.
pub(super) fn steers_flows(queues: &BTreeMap<String, String>) -> bool {
    queues.iter().any(|(key, value)| key.ends_with(FLOWS) && value != "0")
}

fn folder(device: &str) -> PathBuf {
    PathBuf::from("/sys/class/net").join(device).join("queues")
}
