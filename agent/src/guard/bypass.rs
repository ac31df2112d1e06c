//! Programs that drive a NIC past the kernel: the probe's packets, which go through it, do not take
//! their path, so they say nothing about them.
//!
//! AF_XDP sockets by netdev-genl's queues (`xsk`, since Linux 6.15); RDMA verbs (VMA, XLIO, DPDK's mlx5
//! driver) by who holds `/dev/infiniband/uverbsN`; Onload, ef_vi and TCPDirect by who holds
//! `/dev/onload*` and `/dev/sfc_char` where the driver is sfc. Absence of all of these proves nothing;
//! AF_XDP sockets on a kernel before 6.15 are not seen at all.

use std::{collections::BTreeMap, path::Path};

use crate::{
    fault::Result,
    host::{Ask, Genl, Host, Mode, Nic, tlv::Attrs},
};

/// netdev-genl's queue-get, since Linux 6.8; Documentation/netlink/specs/netdev.yaml.
const QUEUE_GET: u8 = 10;
const QUEUE_ID: u16 = 1;
const QUEUE_IFINDEX: u16 = 2;
const QUEUE_XSK: u16 = 7;

/// Processes and files looked at; a host with more is not looked through to its end, and says so.
const PROCESSES_MAX: usize = 100_000;
const FILES_MAX: usize = 1_000_000;

/// What each program that bypasses the kernel on `nic` is and holds, in words; empty where none is found.
///
/// Fails where the processes cannot be listed though a device for bypassing is there: then nobody knows.
pub fn holders(host: &dyn Host, nic: &Nic) -> Result<Vec<String>> {
    let mut holders: Vec<String> = Vec::new();
    let bound = af_xdp(host, nic.ifindex);
    if !bound.is_empty() {
        holders.push(format!("AF_XDP sockets on queues {}", bound.join(", ")));
    }
    let devices = devices(host, nic);
    if !devices.is_empty() {
        holders.extend(open_by(host, &devices)?);
    }
    Ok(holders)
}

fn af_xdp(host: &dyn Host, ifindex: u32) -> Vec<String> {
    let ask = Ask::Genl {
        family: Genl::Netdev,
        command: QUEUE_GET,
        mode: Mode::Dump,
        payload: Vec::new(),
    };
    // An older kernel does not tell; neither does one whose interface is down.
    let answers = host.request(&ask).unwrap_or_default();
    let number = |answer: &[u8], kind| Attrs(answer).find(kind).and_then(|attr| attr.number());
    let mut queues: Vec<String> = answers
        .iter()
        .filter(|answer| number(answer, QUEUE_IFINDEX) == Some(ifindex.into()))
        .filter(|answer| Attrs(answer).find(QUEUE_XSK).is_some())
        .filter_map(|answer| Some(number(answer, QUEUE_ID)?.to_string()))
        .collect();
    // A socket may be bound to both directions of one queue.
    queues.sort();
    queues.dedup();
    queues
}

/// The device files by which this NIC can be driven past the kernel, and what each stands for.
fn devices(host: &dyn Host, nic: &Nic) -> BTreeMap<String, String> {
    let mut devices = BTreeMap::new();
    if let Some(address) = &nic.pci {
        let folder = Path::new("/sys/bus/pci/devices").join(address).join("infiniband_verbs");
        for verbs in host.list(&folder).unwrap_or_default() {
            devices.insert(format!("/dev/infiniband/{verbs}"), "RDMA verbs".to_owned());
        }
    }
    if nic.driver.starts_with("sfc") {
        for (file, words) in [
            ("/dev/onload", "Onload"),
            ("/dev/onload_epoll", "Onload"),
            ("/dev/sfc_char", "ef_vi or TCPDirect"),
        ] {
            devices.insert(file.to_owned(), words.to_owned());
        }
    }
    devices
}

fn open_by(host: &dyn Host, devices: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut holders = Vec::new();
    let mut files = 0;
    let entries = host.list(Path::new("/proc"))?;
    let pids = entries.iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    for pid in pids.take(PROCESSES_MAX) {
        let folder = Path::new("/proc").join(pid).join("fd");
        let open = match host.list(&folder) {
            Ok(open) => open,
            Err(_) if !alive(host, pid) => continue,
            Err(fault) => return Err(fault),
        };
        for file in open {
            files += 1;
            if files > FILES_MAX {
                holders.push(format!("unknown: more than {FILES_MAX} open files to look through"));
                return Ok(holders);
            }
            let Ok(target) = host.target(&folder.join(&file)) else { continue };
            if let Some(by) = devices.get(&target) {
                holders.push(format!("{} (pid {pid}) by {by} ({target})", name(host, pid)));
                break;
            }
        }
    }
    Ok(holders)
}

/// A process that has ended meanwhile holds nothing.
fn alive(host: &dyn Host, pid: &str) -> bool {
    host.read(&Path::new("/proc").join(pid).join("comm")).is_ok()
}

fn name(host: &dyn Host, pid: &str) -> String {
    let comm = host.read(&Path::new("/proc").join(pid).join("comm")).unwrap_or_default();
    comm.trim().chars().filter(|c| !c.is_control()).collect()
}
