//! Network devices by PCI vendor and device: model, driver, limits, and how firmware gets into them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Answer, Origin, kernel::Version, scheme::Scheme, shipped};

/// What the shipped catalog knows of a PCI device. Only the vendor's own file is parsed, once.
pub fn lookup(vendor: u16, device: u16) -> Option<&'static Model> {
    shipped::models_of(vendor).iter().find(|model| model.device == device)
}

/// Every shipped device.
pub fn all() -> impl Iterator<Item = &'static Model> {
    shipped::models()
}

/// One PCI device.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub vendor: u16,
    pub device: u16,
    /// `NVIDIA (Mellanox)`.
    pub vendor_name: String,
    /// `ConnectX-6 Dx`: what a playbook's `applies-to: model` is held against.
    pub name: String,
    /// The name in pci.ids, where it has one.
    pub product: Option<String>,
    pub function: Function,
    /// The kernel driver that claims it.
    pub driver: String,
    /// How its firmware's version begins (`22.`), where the vendor gives each model its own.
    pub firmware_prefix: Option<String>,
    /// What this device shares with its relatives.
    pub family: Arc<Family>,
    pub origin: Origin,
}

/// What kind of PCI function it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Function {
    #[default]
    Physical,
    /// An SR-IOV virtual function.
    Virtual,
    /// A partition of a port (NPAR).
    Partition,
}

impl Function {
    pub(crate) const WORDS: [(&'static str, Function); 3] = [
        ("physical", Function::Physical),
        ("virtual", Function::Virtual),
        ("partition", Function::Partition),
    ];
}

/// Devices with one driver and the same limits. The notes are for people and carry their sources.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Family {
    pub name: String,
    /// How `ethtool -i` and devlink print the firmware's version.
    pub firmware_format: Option<String>,
    /// How the vendor numbers its releases, where that is not by model.
    pub firmware_train: Option<String>,
    /// Ring sizes: least, most, default.
    pub ring: Option<String>,
    /// Coalescing parameters the driver takes.
    pub coalesce: Option<String>,
    pub coalesce_limits: Option<String>,
    /// How its firmware versions are read and compared.
    pub scheme: Option<Scheme>,
    /// Ways to write firmware, best first; none: the host cannot.
    pub flash: Vec<Flash>,
    /// Ways to make stored firmware run, least disruptive first.
    pub activate: Vec<Activate>,
    /// The longest that an activation may take before it counts as failed, milliseconds: the sum of
    /// the driver's own waits.
    pub activation_ms_max: Option<u64>,
    /// What is known to stand in the way of older firmware.
    pub rollback: Option<String>,
    /// On which kernels devlink can do it.
    pub devlink: Vec<Support>,
    pub sources: Vec<String>,
}

/// A way to write firmware.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flash {
    /// `devlink dev flash`, overwrite mask none.
    Devlink,
    /// ETHTOOL_FLASHDEV (`ethtool -f`).
    Ethtool,
    /// The vendor's tool.
    Vendor(Adapter),
}

/// A way to make stored firmware run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activate {
    /// devlink reload, action `fw_activate`, limit `no_reset`: nothing resets.
    LivePatch,
    /// devlink reload, action `fw_activate`.
    FwActivate,
    /// devlink reload, action `driver_reinit`.
    DriverReinit,
    /// ETHTOOL_RESET with every flag of the device.
    EthtoolReset,
    /// The vendor's tool.
    Vendor(Adapter),
    /// Only a reboot or power cycle of the host: not ours to do.
    Reboot,
}

impl Activate {
    /// Whether the NIC alone restarts.
    pub fn is_of_the_nic_alone(&self) -> bool {
        match self {
            Activate::LivePatch
            | Activate::FwActivate
            | Activate::DriverReinit
            | Activate::EthtoolReset
            | Activate::Vendor(_) => true,
            Activate::Reboot => false,
        }
    }
}

/// A vendor's tool: a program and its arguments, never a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Adapter {
    pub name: String,
    /// The program, by name or absolute path, and its arguments. `{pci}` (`0000:3b:00.0`), `{nic}`
    /// and `{image}` (an absolute path) stand for what they say, inside an argument or as one.
    pub argv: Vec<String>,
    /// How long it may take, milliseconds, at most [`TIME_MS_MAX`]; then it is killed.
    pub timeout_ms: u64,
    pub source: String,
}

/// The longest that an adapter or an activation may take: an hour.
pub const TIME_MS_MAX: u64 = 3_600_000;

/// An adapter's command for one NIC: program first. Placeholders are replaced once; what replaces them
/// is not looked at again.
pub fn filled(argv: &[String], pci: &str, nic: &str, image: &str) -> Vec<String> {
    let fill = |argument: &String| {
        let (mut rest, mut filled) = (argument.as_str(), String::new());
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            let found = [("{pci}", pci), ("{nic}", nic), ("{image}", image)];
            let found = found.into_iter().find(|(name, _)| rest[at..].starts_with(name));
            let (taken, text) = found.unwrap_or(("{", "{"));
            filled.push_str(text);
            rest = &rest[at + taken.len()..];
        }
        filled.push_str(rest);
        filled
    };
    argv.iter().map(fill).collect()
}

/// What devlink can do with a driver, by upstream kernels that were looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Support {
    pub what: Devlink,
    /// Looked at, and there.
    pub present: Vec<Version>,
    /// Looked at, and not there.
    pub absent: Vec<Version>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devlink {
    Flash,
    FwActivate,
    DriverReinit,
    /// `fw_activate` with limit `no_reset`.
    NoReset,
}

impl Devlink {
    pub(crate) const WORDS: [(&'static str, Devlink); 4] = [
        ("flash", Devlink::Flash),
        ("fw-activate", Devlink::FwActivate),
        ("driver-reinit", Devlink::DriverReinit),
        ("no-reset", Devlink::NoReset),
    ];
}

impl Family {
    /// Whether devlink can do this on the kernel of this upstream base. What lies between a kernel
    /// without it and one with it is unknown; the kernel's own answer decides then.
    pub fn supports(&self, what: Devlink, base: Option<Version>) -> Answer {
        let Some(support) = self.devlink.iter().find(|support| support.what == what) else {
            return Answer::Unknown;
        };
        let Some(base) = base else { return Answer::Unknown };
        let there = support.present.iter().min().is_some_and(|least| base >= *least);
        let not_yet =
            support.absent.iter().max().is_some_and(|most| base.branch() <= most.branch());
        match (there, not_yet) {
            (true, _) => Answer::Yes,
            (false, true) => Answer::No,
            (false, false) => Answer::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found() {
        let cx6 = lookup(0x15b3, 0x101d).unwrap();
        assert_eq!((cx6.name.as_str(), cx6.driver.as_str()), ("ConnectX-6 Dx", "mlx5_core"));
        assert_eq!(cx6.firmware_prefix.as_deref(), Some("22."));
        assert_eq!(lookup(0x8086, 0x10c9).unwrap().driver, "igb");
        assert_eq!(lookup(0x8086, 0x10ed).unwrap().function, Function::Virtual);
        assert_eq!(lookup(0x8086, 0x10ed).unwrap().driver, "ixgbevf");
        assert_eq!(lookup(0x8086, 0xffff), None);
        assert_eq!(lookup(0x1234, 0x1111), None);
    }

    #[test]
    fn support_is_known_only_where_it_was_looked_at() {
        let base = |text| Version::parse(text);
        let ice = &lookup(0x8086, 0x1592).unwrap().family;
        assert_eq!(ice.supports(Devlink::DriverReinit, base("6.1.100")), Answer::No);
        assert_eq!(ice.supports(Devlink::DriverReinit, base("6.6.1")), Answer::Unknown);
        assert_eq!(ice.supports(Devlink::DriverReinit, base("6.12.3")), Answer::Yes);
        assert_eq!(ice.supports(Devlink::Flash, None), Answer::Unknown);
        let igb = &lookup(0x8086, 0x10c9).unwrap().family;
        assert_eq!(igb.activate, [Activate::Reboot]);
    }

    #[test]
    fn an_adapters_arguments_are_filled_once() {
        let argv = ["tool", "-d", "{pci}", "--file={image}", "{other}", "{"].map(String::from);
        let command = filled(&argv, "0000:3b:00.0", "eth1", "/x/{pci}; rm -rf");
        assert_eq!(
            command,
            ["tool", "-d", "0000:3b:00.0", "--file=/x/{pci}; rm -rf", "{other}", "{"]
        );
    }
}
