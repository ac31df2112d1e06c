//! What an inventory says: plain data, in the kernel's own words, the JSON of `nicmend inventory`.

use std::collections::BTreeMap;

use playbooks::Name;
use policy::holders::Holder;
use serde::{Deserialize, Serialize};

use super::health::Reporter;
use crate::{host::NicId, setting::Current};

/// One NIC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NicFacts {
    pub name: String,
    pub id: NicId,
    /// sha256 over this NIC's stable part, in hex.
    pub fingerprint: String,
    /// `physical` for a device's own interface, else the kernel's kind: `veth`, `bridge`, `bond`, …
    pub kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub altnames: Vec<String>,
    pub mac: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub permanent_mac: Option<String>,

    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vendor: Option<String>,
    /// `ConnectX-6 Dx`: what a playbook's `applies-to: model` is held against.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub serial: Option<String>,
    /// The board's own id (`board.id`, or the PSID of NVIDIA's firmware).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub board: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pci: Option<PciFacts>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub numa_node: Option<u32>,

    pub driver: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub driver_version: Option<String>,
    /// Whether the driver came with the kernel; absent where the kernel does not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_tree: Option<bool>,
    pub firmware: Firmware,
    /// The running kernel's release.
    pub kernel: String,
    /// The upstream version it is built from, or `unknown`.
    pub kernel_base: String,

    pub link: Link,
    pub queues: Vec<Queue>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub interrupts: Vec<Interrupt>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub qdisc: Option<String>,

    /// The bond, team, bridge or VRF it is a port of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub member_of: Option<Member>,
    /// The interface this one sits on: a VLAN's, macvlan's or tunnel's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub over: Option<String>,
    /// A veth's other end, where it is in this network namespace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<String>,
    /// A VLAN's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vlan: Option<u16>,
    /// Interfaces that sit on this one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub under: Vec<String>,
    /// Other ports of the same device.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub siblings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vfs: Option<Vfs>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub xdp: Option<Xdp>,
    /// RDMA devices on the same function: `mlx5_0`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rdma: Vec<String>,
    /// What the device says of its own health, where its driver reports it. Not in the fingerprint.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub health: Vec<Reporter>,
    /// The PTP hardware clock: `ptp0`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ptp: Option<String>,
    /// The families (`ipv4`, `ipv6`) whose default route leaves by this interface.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub default_route: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub addresses: Vec<String>,
    /// Who uses it, by [`crate::guard`]; looked for only when asked.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub holders: Vec<Holder>,

    pub settings: BTreeMap<Name, Current>,
    pub unsupported: BTreeMap<Name, String>,
    /// Reads left out because they are known to hurt this driver on this kernel.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub skips: Vec<Skip>,
}

/// A PCI function. Ids are four hex digits, as in pci.ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PciFacts {
    /// `0000:3b:00.0`.
    pub address: String,
    pub vendor: String,
    pub device: String,
    pub subsystem_vendor: String,
    pub subsystem_device: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub product: Option<String>,
    /// The PCIe link as trained, and as the device could have it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub speed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub speed_max: Option<String>,
    /// Lanes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub width_max: Option<u32>,
    /// The physical function, where this is a virtual one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub physical_function: Option<String>,
}

/// Firmware versions. `running` is what the driver reports as the NIC's firmware (`ethtool -i`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Firmware {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub running: Option<String>,
    /// What lies in flash and runs after the next reset, where devlink tells: the text of `running`
    /// where every component is the same, else the stored version of the whole.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stored: Option<String>,
    /// Every component by devlink's name: `fw.mgmt`, `fw.undi`, …
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub components_running: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub components_stored: BTreeMap<String, String>,
    /// What cannot change: `board.id`, `fw.psid`, `asic.id`, …
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub fixed: BTreeMap<String, String>,
}

/// The link as it is now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Link {
    /// Administratively up (`ip link set up`).
    pub up: bool,
    pub carrier: bool,
    /// `up`, `down`, `lowerlayerdown`, `dormant`, `unknown`, …: RFC 2863, as sysfs spells it.
    pub state: String,
    /// Mbit/s.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub speed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duplex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub autoneg: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lanes: Option<u32>,
    /// `twisted-pair`, `fibre`, `direct-attach`, …
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<String>,
}

/// One hardware or software queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Queue {
    /// `rx-0`, `tx-3`: as in sysfs.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub napi: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub irq: Option<u32>,
    /// The CPUs that its interrupt may go to, as a CPU list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpus: Option<String>,
    /// An AF_XDP socket is bound to it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub af_xdp: bool,
}

/// One interrupt of the NIC's device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Interrupt {
    pub number: u32,
    /// The handler's name, as in /proc/interrupts; empty while nothing has claimed it.
    pub name: String,
    /// Configured and in force, as CPU lists.
    pub cpus: String,
    pub effective_cpus: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Member {
    pub name: String,
    /// `bond`, `bridge`, `team`, `vrf`, …
    pub kind: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vfs {
    pub configured: u32,
    pub max: u32,
}

/// The XDP program attached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Xdp {
    /// `driver`, `generic`, `hardware` or `several`.
    pub mode: String,
    /// The BPF program's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub program: Option<u32>,
}

/// A read left out on purpose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Skip {
    /// The catalog's issue: `KB-078`.
    pub issue: String,
    /// `rss`, `coalesce`.
    pub family: String,
    pub why: String,
    pub source: String,
}

/// The host, as far as it bears on its NICs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostFacts {
    pub name: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub system: String,
    pub kernel: String,
    /// The upstream version, or `unknown`.
    pub kernel_base: String,
    /// CPU lists.
    pub cpus: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub isolated_cpus: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub nohz_full_cpus: String,
    pub numa_nodes: String,
    /// Maker and product of the machine, from DMI.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub machine: Option<String>,
    pub boot_id: String,
    /// Settings of the whole host or network namespace.
    pub settings: BTreeMap<Name, Current>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub unsupported: BTreeMap<Name, String>,
}
