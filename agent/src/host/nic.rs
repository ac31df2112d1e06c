//! One NIC as the host knows it: what it is (stable) and where it is now (not).

use serde::{Deserialize, Serialize};

/// What a NIC is, across renames, reboots and re-plugging. Never an ifindex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NicId {
    /// A PCI function, by address and by serial number or else permanent MAC.
    Pci { address: String, serial: String },
    /// A virtual NIC: its network namespace's inode, its name and its MAC.
    Virtual { netns: u64, name: String, mac: String },
}

impl std::fmt::Display for NicId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NicId::Pci { address, serial } => write!(f, "pci/{address}/{serial}"),
            NicId::Virtual { netns, name, mac } => write!(f, "netns/{netns}/{name}/{mac}"),
        }
    }
}

/// What a setting needs to find its NIC and to know its driver's ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    pub id: NicId,
    /// The interface's name now.
    pub name: String,
    /// The interface's index now.
    pub ifindex: u32,
    /// The kernel driver: `mlx5_core`, `igb`, `veth`; empty where the kernel names none.
    pub driver: String,
    /// The upstream kernel version (`6.1.192` for Debian's `6.1.0-56`), where it is known.
    pub kernel_base: Option<String>,
    /// `0000:3b:00.0`, where the NIC is a PCI function.
    pub pci: Option<String>,
    /// The NUMA node, where the device has one.
    pub numa: Option<u32>,
}
