//! Network devices by PCI vendor and device: model, driver, firmware branch, limits.

use std::sync::{Arc, OnceLock};

use serde::Deserialize;

/// What is known of a PCI device. Only the vendor's own file is parsed, once.
pub fn lookup(vendor: u16, device: u16) -> Option<&'static Model> {
    let file = FILES.iter().find(|file| file.vendor == vendor)?;
    file.models().iter().find(|model| model.device == device)
}

/// Every known device.
pub fn all() -> impl Iterator<Item = &'static Model> {
    FILES.iter().flat_map(|file| file.models())
}

/// One PCI device.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Devices with one driver and the same limits. The notes are for people and carry their sources.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub sources: Vec<String>,
}

struct File {
    vendor: u16,
    text: &'static str,
    models: OnceLock<Vec<Model>>,
}

impl File {
    const fn new(vendor: u16, text: &'static str) -> File {
        File { vendor, text, models: OnceLock::new() }
    }

    /// A file that does not parse cannot ship: the tests below read every one.
    fn models(&self) -> &[Model] {
        self.models.get_or_init(|| parse(self.text).unwrap_or_default())
    }
}

static FILES: [File; 10] = [
    File::new(0x1077, include_str!("../models/qlogic.yaml")),
    File::new(0x1137, include_str!("../models/cisco.yaml")),
    File::new(0x1425, include_str!("../models/chelsio.yaml")),
    File::new(0x14e4, include_str!("../models/broadcom.yaml")),
    File::new(0x15ad, include_str!("../models/vmware.yaml")),
    File::new(0x15b3, include_str!("../models/nvidia.yaml")),
    File::new(0x1924, include_str!("../models/solarflare.yaml")),
    File::new(0x1af4, include_str!("../models/virtio.yaml")),
    File::new(0x1d0f, include_str!("../models/amazon.yaml")),
    File::new(0x8086, include_str!("../models/intel.yaml")),
];

mod yaml {
    use serde::Deserialize;

    use super::Function;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct File {
        pub(super) vendor: Vendor,
        pub(super) families: Vec<Family>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Vendor {
        pub(super) id: String,
        pub(super) name: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    pub(super) struct Family {
        pub(super) family: String,
        pub(super) driver: String,
        pub(super) firmware_format: Option<String>,
        pub(super) firmware_train: Option<String>,
        pub(super) ring: Option<String>,
        pub(super) coalesce: Option<String>,
        pub(super) coalesce_limits: Option<String>,
        pub(super) sources: Vec<String>,
        pub(super) devices: Vec<Device>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    pub(super) struct Device {
        pub(super) id: String,
        pub(super) name: String,
        pub(super) product: Option<String>,
        pub(super) firmware_prefix: Option<String>,
        #[serde(default)]
        pub(super) function: Function,
    }
}

fn parse(text: &str) -> Result<Vec<Model>, String> {
    let file: yaml::File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let vendor = hex(&file.vendor.id)?;
    let mut models = Vec::new();
    for family in file.families {
        let yaml::Family { driver, devices, .. } = family;
        let shared = Arc::new(Family {
            name: family.family,
            firmware_format: family.firmware_format,
            firmware_train: family.firmware_train,
            ring: family.ring,
            coalesce: family.coalesce,
            coalesce_limits: family.coalesce_limits,
            sources: family.sources,
        });
        for device in devices {
            models.push(Model {
                vendor,
                device: hex(&device.id)?,
                vendor_name: file.vendor.name.clone(),
                name: device.name,
                product: device.product,
                function: device.function,
                driver: driver.clone(),
                firmware_prefix: device.firmware_prefix,
                family: Arc::clone(&shared),
            });
        }
    }
    Ok(models)
}

fn hex(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 16).map_err(|error| format!("PCI id `{text}`: {error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_parses_into_unique_devices_with_sources() {
        let mut seen = BTreeSet::new();
        for file in &FILES {
            let models = parse(file.text).unwrap();
            assert!(!models.is_empty());
            for model in models {
                let id = (model.vendor, model.device);
                assert_eq!(model.vendor, file.vendor, "{id:04x?} in the wrong file");
                assert!(seen.insert(id), "{id:04x?} twice");
                assert!(!model.name.is_empty() && !model.driver.is_empty(), "{id:04x?}");
                assert!(!model.family.sources.is_empty(), "{id:04x?} without a source");
                assert!(model.family.sources.iter().all(|source| !source.is_empty()), "{id:04x?}");
            }
        }
        assert_eq!(seen.len(), all().count());
        assert!(seen.len() > 400, "{} devices", seen.len());
    }

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
}
