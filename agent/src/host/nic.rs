//! One NIC as the host knows it: what it is (stable) and where it is now (not).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Ask, Host, Mode, kernel,
    tlv::{Attrs, Writer},
};
use crate::fault::{Fault, Kind, Result};

/// What a NIC is, across renames, reboots and re-plugging. Never an ifindex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NicId {
    /// A PCI function, by address and by serial number or else permanent MAC.
    Pci { address: String, serial: String },
    /// A virtual NIC: its network namespace's inode, its name and its MAC.
    Virtual { netns: u64, name: String, mac: String },
}

impl NicId {
    /// Whether both are ports of one device, by PCI slot or serial number: it resets as a whole.
    pub fn shares_device(&self, other: &NicId) -> bool {
        match (self, other) {
            (NicId::Pci { address, serial }, NicId::Pci { address: theirs, serial: other }) => {
                let slot = crate::inventory::slot;
                slot(address) == slot(theirs) || (!serial.is_empty() && serial == other)
            }
            (NicId::Virtual { .. }, NicId::Virtual { .. }) => self == other,
            (NicId::Pci { .. }, NicId::Virtual { .. })
            | (NicId::Virtual { .. }, NicId::Pci { .. }) => false,
        }
    }

    /// Whether this is that virtual NIC under another name, if they are one interface (of one index).
    pub fn is_renamed(&self, other: &NicId) -> bool {
        match (self, other) {
            (
                NicId::Virtual { netns, name, mac },
                NicId::Virtual { netns: theirs, name: called, mac: of },
            ) => netns == theirs && mac == of && name != called,
            (NicId::Pci { .. }, _) | (NicId::Virtual { .. }, NicId::Pci { .. }) => false,
        }
    }
}

impl std::fmt::Display for NicId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NicId::Pci { address, serial } => write!(f, "pci/{address}/{serial}"),
            NicId::Virtual { netns, name, mac } => write!(f, "netns/{netns}/{name}/{mac}"),
        }
    }
}

/// `0000:3b:00` of `0000:3b:00.1`: the card of a function.
pub fn slot(address: &str) -> &str {
    address.rsplit_once('.').map_or(address, |(slot, _)| slot)
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

impl Nic {
    /// One that a plan or the log tells of, for what does not need it to be there.
    pub fn told(id: &NicId, name: &str, driver: &str) -> Nic {
        Nic {
            id: id.clone(),
            name: name.to_owned(),
            ifindex: 0,
            driver: driver.to_owned(),
            kernel_base: None,
            pci: None,
            numa: None,
        }
    }
}

/// The NIC of this name (or alternative name), as it is now.
pub fn find(host: &dyn Host, name: &str) -> Result<Nic> {
    let act = format!("find NIC {name}");
    let link = link(host, name, &act)?;
    if !link.is_nic() {
        let cause = format!("neither Ethernet nor InfiniBand (ARPHRD type {})", link.hardware);
        return Err(Fault::new(Kind::Unsupported, act, cause));
    }
    Surroundings::of(host)?.nic(host, link)
}

/// What the NIC of this name is, and its index now: one netlink request and two links read, cheap enough
/// to recheck before each write. Driver and kernel, which [`find`] reads too, do not change under a run.
pub fn identify(host: &dyn Host, name: &str) -> Result<(NicId, u32)> {
    let link = link(host, name, &format!("find NIC {name}"))?;
    let netns = netns(host)?;
    let index = link.index;
    let pci = pci_of(&place(host, &link.name)?);
    Ok((link.id(netns, pci), index))
}

fn link(host: &dyn Host, name: &str, act: &str) -> Result<Link> {
    let mut payload = vec![0; IFINFOMSG_BYTES];
    let mut attrs = Writer::new();
    attrs.text(IFLA_IFNAME, name).u32(IFLA_EXT_MASK, SKIP_STATS);
    payload.extend_from_slice(attrs.as_bytes());
    let ask = Ask::Route { kind: RTM_GETLINK, mode: Mode::Do, payload };
    let answers = host.request(&ask).map_err(|fault| fault.during(act))?;
    let link = answers.first().and_then(|answer| Link::parse(answer));
    link.ok_or_else(|| Fault::new(Kind::Malformed, act, "the link has no name"))
}

/// Every NIC in the host's network namespace, by index: Ethernet and InfiniBand interfaces, virtual
/// ones included; not the loopback, nor tunnels of other kinds.
pub fn all(host: &dyn Host) -> Result<Vec<Nic>> {
    let mut payload = vec![0; IFINFOMSG_BYTES];
    let mut attrs = Writer::new();
    attrs.u32(IFLA_EXT_MASK, SKIP_STATS);
    payload.extend_from_slice(attrs.as_bytes());
    let ask = Ask::Route { kind: RTM_GETLINK, mode: Mode::Dump, payload };
    let answers = host.request(&ask).map_err(|fault| fault.during("list the NICs"))?;
    let around = Surroundings::of(host)?;
    let links = answers.iter().filter_map(|answer| Link::parse(answer)).filter(Link::is_nic);
    let mut nics = links.map(|link| around.nic(host, link)).collect::<Result<Vec<Nic>>>()?;
    nics.sort_by_key(|nic| nic.ifindex);
    Ok(nics)
}

/// include/uapi/linux/rtnetlink.h and if_link.h.
const RTM_GETLINK: u16 = 18;
/// Bytes of `struct ifinfomsg`: u8 family, u8 pad, u16 type, i32 index, u32 flags, u32 change.
const IFINFOMSG_BYTES: usize = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_PERM_ADDRESS: u16 = 54;
/// RTEXT_FILTER_SKIP_STATS: some drivers take locks to count.
const SKIP_STATS: u32 = 1 << 3;
/// include/uapi/linux/if_arp.h.
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_INFINIBAND: u16 = 32;

/// What rtnetlink says of an interface.
struct Link {
    hardware: u16,
    index: u32,
    name: String,
    address: String,
    permanent: Option<String>,
    /// `veth`, `bond`, …; a physical NIC has none.
    kind: Option<String>,
}

impl Link {
    fn parse(answer: &[u8]) -> Option<Link> {
        let header = answer.get(..IFINFOMSG_BYTES)?;
        let attrs = Attrs(answer.get(IFINFOMSG_BYTES..)?);
        let info = attrs.find(IFLA_LINKINFO);
        let kind = info.and_then(|info| info.nested().find(IFLA_INFO_KIND));
        let mac = |attr| attrs.find(attr).map(|attr| mac(attr.payload));
        Some(Link {
            hardware: u16::from_ne_bytes([header[2], header[3]]),
            index: u32::from_ne_bytes([header[4], header[5], header[6], header[7]]),
            name: attrs.find(IFLA_IFNAME)?.text().to_owned(),
            address: mac(IFLA_ADDRESS).unwrap_or_default(),
            permanent: mac(IFLA_PERM_ADDRESS),
            kind: kind.map(|kind| kind.text().to_owned()),
        })
    }

    fn is_nic(&self) -> bool {
        matches!(self.hardware, ARPHRD_ETHER | ARPHRD_INFINIBAND)
    }

    /// What the NIC is, in this namespace and on this PCI function.
    fn id(self, netns: u64, pci: Option<String>) -> NicId {
        match pci {
            Some(address) => NicId::Pci { address, serial: self.permanent.unwrap_or(self.address) },
            None => NicId::Virtual { netns, name: self.name, mac: self.address },
        }
    }
}

/// What all NICs of one look at the machine share.
struct Surroundings {
    netns: u64,
    kernel_base: Option<String>,
}

impl Surroundings {
    fn of(host: &dyn Host) -> Result<Surroundings> {
        Ok(Surroundings { netns: netns(host)?, kernel_base: kernel::base(host) })
    }

    fn nic(&self, host: &dyn Host, link: Link) -> Result<Nic> {
        let place = place(host, &link.name)?;
        let pci = pci_of(&place);
        let device = PathBuf::from("/sys/class/net").join(&link.name).join("device");
        let physical = !place.contains("/devices/virtual/");
        let driver = physical.then(|| host.target(&device.join("driver")).ok()).flatten();
        let driver = driver.as_deref().map(last_component).map(str::to_owned);
        let numa = physical.then(|| host.read(&device.join("numa_node")).ok()).flatten();
        Ok(Nic {
            name: link.name.clone(),
            ifindex: link.index,
            driver: driver.or_else(|| link.kind.clone()).unwrap_or_default(),
            id: link.id(self.netns, pci.clone()),
            kernel_base: self.kernel_base.clone(),
            pci,
            // -1: no node.
            numa: numa.and_then(|node| node.trim().parse().ok()),
        })
    }
}

/// Where sysfs has the NIC: `../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/net/eth1`.
fn place(host: &dyn Host, name: &str) -> Result<String> {
    let class = PathBuf::from("/sys/class/net").join(name);
    host.target(&class).map_err(|fault| fault.during(format!("find NIC {name}")))
}

/// The inode of the network namespace we are in: `net:[4026531840]`.
fn netns(host: &dyn Host) -> Result<u64> {
    let namespace = host.target(&PathBuf::from("/proc/thread-self/ns/net"))?;
    let inode = namespace.strip_prefix("net:[").and_then(|rest| rest.strip_suffix(']'));
    inode
        .and_then(|inode| inode.parse().ok())
        .ok_or_else(|| Fault::new(Kind::Malformed, "read the network namespace", namespace.clone()))
}

/// The PCI function that a NIC's sysfs place is on: its parent, or its parent's where the NIC is a
/// virtio device or an auxiliary one (a subfunction). A USB NIC is not the PCI function of its hub.
fn pci_of(place: &str) -> Option<String> {
    let (parents, _) = place.rsplit_once("/net/")?;
    let mut upwards = parents.rsplit('/');
    let parent = upwards.next()?;
    if is_pci_address(parent) {
        return Some(parent.to_owned());
    }
    let through = parent.starts_with("virtio") || parent.contains(".sf.");
    let grandparent = upwards.next()?;
    (through && is_pci_address(grandparent)).then(|| grandparent.to_owned())
}

/// `0000:3b:00.0`; a domain may have more digits (VMD, Hyper-V).
fn is_pci_address(text: &str) -> bool {
    let hex = |part: &str, digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let Some((bus_path, function)) = text.rsplit_once('.') else { return false };
    let mut parts = bus_path.split(':');
    let mut part = |digits| parts.next().is_some_and(|p| hex(p, digits));
    let whole = part(4..=8) && part(2..=2) && part(2..=2);
    whole && parts.next().is_none() && hex(function, 1..=1)
}

fn last_component(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Bytes as `ac:1f:6b:00:00:01`; 20 of them for InfiniBand.
fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::{NicId, is_pci_address, pci_of};

    #[test]
    fn ports_of_a_device_share_a_slot_or_a_serial_number() {
        let id = |address: &str, serial: &str| NicId::Pci {
            address: address.to_owned(),
            serial: serial.to_owned(),
        };
        let one = id("0000:3b:00.0", "aa");
        assert!(one.shares_device(&one));
        assert!(one.shares_device(&id("0000:3b:00.1", "ab")));
        assert!(one.shares_device(&id("0000:5e:00.0", "aa")));
        assert!(!one.shares_device(&id("0000:5e:00.0", "ab")));
        assert!(!id("0000:3b:00.0", "").shares_device(&id("0000:5e:00.0", "")));
        let made = |name: &str| NicId::Virtual {
            netns: 1,
            name: name.to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
        };
        assert!(made("veth0").shares_device(&made("veth0")));
        assert!(!made("veth0").shares_device(&made("veth1")) && !one.shares_device(&made("veth0")));
    }

    #[test]
    fn only_the_nics_own_function_is_its_pci_address() {
        let pci = "../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1";
        for (place, address) in [
            (format!("{pci}/net/eth1"), Some("0000:3b:00.1")),
            (format!("{pci}/virtio0/net/eth0"), Some("0000:3b:00.1")),
            (format!("{pci}/mlx5_core.sf.4/net/en3f0pf0sf88"), Some("0000:3b:00.1")),
            (format!("{pci}/usb1/1-1/1-1:1.0/net/enx00"), None),
            ("../../devices/virtual/net/veth0".to_owned(), None),
            ("../../devices/platform/virtio-mmio.0/virtio0/net/eth0".to_owned(), None),
            ("eth0".to_owned(), None),
        ] {
            assert_eq!(pci_of(&place).as_deref(), address, "{place}");
        }
        assert!(is_pci_address("10000:e1:00.0"));
        assert!(!is_pci_address("0000:3b:00"));
        assert!(!is_pci_address("pci0000:3a"));
    }
}
