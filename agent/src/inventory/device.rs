//! The driver behind a NIC: its version, whether it came with the kernel, the firmware it reports.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    NicFacts,
    pci::{attribute, last},
};
use crate::host::{Ask, Host, Nic};

/// ETHTOOL_GDRVINFO and the layout of `struct ethtool_drvinfo` (include/uapi/linux/ethtool.h).
const GDRVINFO: u32 = 3;
const DRVINFO_BYTES: usize = 196;
const VERSION: std::ops::Range<usize> = 36..68;
const FW_VERSION: std::ops::Range<usize> = 68..100;

/// What /sys/module says of each driver, read once a driver.
#[derive(Debug, Default)]
pub(super) struct Modules {
    known: BTreeMap<String, Module>,
}

#[derive(Debug, Clone, Default)]
struct Module {
    version: Option<String>,
    in_tree: Option<bool>,
}

/// Adds the driver's facts. Only where a device, real or emulated, stands behind the NIC is the
/// driver asked who it is: a veth or bridge has no firmware to report.
pub(super) fn describe(host: &dyn Host, nic: &Nic, modules: &mut Modules, facts: &mut NicFacts) {
    let module = modules.of(host, &nic.driver);
    facts.in_tree = module.in_tree;
    facts.driver_version = module.version;
    if facts.kind != super::PHYSICAL {
        return;
    }
    let Some(info) = drvinfo(host, nic) else { return };
    facts.driver_version = facts.driver_version.take().or_else(|| text(&info, VERSION));
    facts.firmware.running = text(&info, FW_VERSION);
    facts.board = facts.firmware.running.as_deref().and_then(psid);
}

fn drvinfo(host: &dyn Host, nic: &Nic) -> Option<Vec<u8>> {
    let mut buffer = vec![0; DRVINFO_BYTES];
    buffer[..4].copy_from_slice(&GDRVINFO.to_ne_bytes());
    let ask = Ask::Ethtool { nic: nic.name.clone(), buffer };
    host.request(&ask).ok()?.into_iter().next()
}

/// mlx5 and mlx4 print the board's PSID after the version: `22.43.3608 (MT_0000000359)`.
fn psid(firmware: &str) -> Option<String> {
    let (_, rest) = firmware.split_once(" (")?;
    rest.strip_suffix(')').map(str::to_owned)
}

fn text(answer: &[u8], field: std::ops::Range<usize>) -> Option<String> {
    let bytes = answer.get(field)?;
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]).trim().to_owned();
    (!text.is_empty() && text != "N/A").then_some(text)
}

impl Modules {
    fn of(&mut self, host: &dyn Host, driver: &str) -> Module {
        if let Some(module) = self.known.get(driver) {
            return module.clone();
        }
        let module = read(host, driver);
        self.known.insert(driver.to_owned(), module.clone());
        module
    }
}

/// Whether the driver came with the kernel, where that is known.
pub(super) fn in_tree(host: &dyn Host, driver: &str) -> Option<bool> {
    read(host, driver).in_tree
}

/// A module taints the kernel with `O` when it is not in the kernel's own tree. A driver without a
/// loaded module is built in, and so came with the kernel.
fn read(host: &dyn Host, driver: &str) -> Module {
    if driver.is_empty() || driver.contains('/') {
        return Module::default();
    }
    let link = Path::new("/sys/bus/pci/drivers").join(driver).join("module");
    let name = host.target(&link).map_or_else(|_| driver.replace('-', "_"), |path| last(&path));
    let folder: PathBuf = Path::new("/sys/module").join(name);
    let version = attribute(host, &folder, "version");
    let in_tree = match host.read(&folder.join("taint")) {
        Ok(taint) => Some(!taint.contains('O')),
        Err(fault) if fault.kind == crate::fault::Kind::Unsupported => Some(true),
        Err(_) => None,
    };
    Module { version, in_tree }
}

#[cfg(test)]
mod tests {
    use super::psid;

    #[test]
    fn a_psid_is_what_stands_in_brackets() {
        assert_eq!(psid("22.43.3608 (MT_0000000359)").as_deref(), Some("MT_0000000359"));
        assert_eq!(psid("4.40 0x8001c967 1.3534.0"), None);
    }
}
