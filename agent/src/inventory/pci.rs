//! What sysfs says of a NIC's PCI function.
//!
//! Source: Documentation/ABI/testing/sysfs-bus-pci. Reads ids and link attributes only: never `vpd`
//! (some devices stall in it) and never `config`, `rom` or `resource*`.

use std::path::{Path, PathBuf};

use super::{NicFacts, PciFacts, Vfs, hazard};
use crate::host::Host;

/// Adds ids, PCIe link, VFs, RDMA devices, and the names that the catalog or the host has for them.
pub(super) fn describe(host: &dyn Host, address: &str, facts: &mut NicFacts) {
    let folder = Path::new("/sys/bus/pci/devices").join(address);
    let text = |file: &str| attribute(host, &folder, file);
    let id = |file: &str| {
        text(file).map(|id| id.trim_start_matches("0x").to_owned()).unwrap_or_default()
    };
    let lanes = |file: &str| text(file).and_then(|lanes| lanes.parse().ok()).filter(|&n| n != 0);
    // Virtual functions have no link of their own; the kernel says `Unknown`.
    let speed = |file: &str| text(file).filter(|speed| !speed.starts_with("Unknown"));
    let mut pci = PciFacts {
        address: address.to_owned(),
        vendor: id("vendor"),
        device: id("device"),
        subsystem_vendor: id("subsystem_vendor"),
        subsystem_device: id("subsystem_device"),
        product: None,
        speed: speed("current_link_speed"),
        speed_max: speed("max_link_speed"),
        width: lanes("current_link_width"),
        width_max: lanes("max_link_width"),
        physical_function: host.target(&folder.join("physfn")).ok().map(|path| last(&path)),
    };
    name(host, &mut pci, facts);
    let count = |file: &str| text(file).and_then(|count| count.parse().ok());
    facts.vfs = count("sriov_totalvfs")
        .map(|max| Vfs { configured: count("sriov_numvfs").unwrap_or_default(), max });
    facts.rdma = host.list(&folder.join("infiniband")).unwrap_or_default();
    facts.pci = Some(pci);
}

/// The catalog's name, else the one in the host's hardware database.
fn name(host: &dyn Host, pci: &mut PciFacts, facts: &mut NicFacts) {
    let number = |id: &str| u16::from_str_radix(id, 16).ok();
    let model = number(&pci.vendor)
        .zip(number(&pci.device))
        .and_then(|(vendor, device)| hazard::in_force().model(vendor, device));
    if let Some(model) = model {
        facts.vendor = Some(model.vendor_name.clone());
        facts.model = Some(model.name.clone());
        pci.product = model.product.clone();
        return;
    }
    // udev's database holds what its hwdb, made from pci.ids, says of this device. pci.ids itself
    // is larger than any file the door reads.
    let path = format!("/run/udev/data/+pci:{}", pci.address);
    let Ok(database) = host.read(Path::new(&path)) else { return };
    let value =
        |key: &str| database.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
    facts.vendor = value("E:ID_VENDOR_FROM_DATABASE=");
    facts.model = value("E:ID_MODEL_FROM_DATABASE=");
}

/// A one-line attribute, where it is there.
pub(super) fn attribute(host: &dyn Host, folder: &Path, file: &str) -> Option<String> {
    let path: PathBuf = folder.join(file);
    host.read(&path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The last part of a link's target.
pub(super) fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}
