//! The shipped catalog: built into the binary, each file parsed when first asked for.

use std::sync::OnceLock;

use crate::{
    Origin,
    issue::Issue,
    model::Model,
    read::{self, Firmware},
};

/// The models of one PCI vendor.
pub(crate) fn models_of(vendor: u16) -> &'static [Model] {
    let file = MODELS.iter().find(|file| file.key == vendor);
    file.map_or(&[], |file| file.get(|text| read::models(text, &Origin::Shipped)))
}

pub(crate) fn models() -> impl Iterator<Item = &'static Model> {
    MODELS.iter().flat_map(|file| models_of(file.key))
}

/// The issues of one driver's file, then those of the kernel's own code.
pub(crate) fn issues_of(driver: &str) -> impl Iterator<Item = &'static Issue> {
    let own = ISSUES.iter().filter(move |file| file.key == driver);
    let files = own.chain(ISSUES.iter().filter(|file| file.key == ANY));
    files.flat_map(|file| file.get(|text| read::issues(text, &Origin::Shipped)))
}

pub(crate) fn issues() -> impl Iterator<Item = &'static Issue> {
    ISSUES.iter().flat_map(|file| file.get(|text| read::issues(text, &Origin::Shipped)))
}

pub(crate) fn firmware() -> impl Iterator<Item = &'static Firmware> {
    FIRMWARE.iter().flat_map(|file| {
        file.get(|text| read::firmware(text, &Origin::Shipped).map(|all| vec![all]))
    })
}

struct File<K, T: 'static> {
    key: K,
    text: &'static str,
    parsed: OnceLock<Vec<T>>,
}

impl<K, T> File<K, T> {
    const fn new(key: K, text: &'static str) -> File<K, T> {
        File { key, text, parsed: OnceLock::new() }
    }

    /// A file that does not parse cannot ship: the tests read every one.
    fn get<E>(&'static self, read: impl FnOnce(&[u8]) -> Result<Vec<T>, E>) -> &'static [T] {
        self.parsed.get_or_init(|| read(self.text.as_bytes()).unwrap_or_default())
    }
}

/// The key of the file of defects that are in no driver.
const ANY: &str = "any";

static MODELS: [File<u16, Model>; 10] = [
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

static ISSUES: [File<&str, Issue>; 16] = [
    File::new("any", include_str!("../issues/any.yaml")),
    File::new("bnxt_en", include_str!("../issues/bnxt_en.yaml")),
    File::new("e1000e", include_str!("../issues/e1000e.yaml")),
    File::new("ena", include_str!("../issues/ena.yaml")),
    File::new("gve", include_str!("../issues/gve.yaml")),
    File::new("i40e", include_str!("../issues/i40e.yaml")),
    File::new("ice", include_str!("../issues/ice.yaml")),
    File::new("igb", include_str!("../issues/igb.yaml")),
    File::new("igc", include_str!("../issues/igc.yaml")),
    File::new("ixgbe", include_str!("../issues/ixgbe.yaml")),
    File::new("mlx5_core", include_str!("../issues/mlx5_core.yaml")),
    File::new("sfc", include_str!("../issues/sfc.yaml")),
    File::new("tg3", include_str!("../issues/tg3.yaml")),
    File::new("veth", include_str!("../issues/veth.yaml")),
    File::new("virtio_net", include_str!("../issues/virtio_net.yaml")),
    File::new("vmxnet3", include_str!("../issues/vmxnet3.yaml")),
];

static FIRMWARE: [File<&str, Firmware>; 1] =
    [File::new("nvidia", include_str!("../firmware/nvidia.yaml"))];

/// Every shipped text, in a fixed order.
pub(crate) fn texts() -> impl Iterator<Item = &'static str> {
    let models = MODELS.iter().map(|file| file.text);
    let issues = ISSUES.iter().map(|file| file.text);
    models.chain(issues).chain(FIRMWARE.iter().map(|file| file.text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::issue::Driver;

    #[test]
    fn every_file_parses_and_holds_what_its_name_says() {
        for file in &MODELS {
            let models = read::models(file.text.as_bytes(), &Origin::Shipped).unwrap();
            assert!(!models.is_empty() && models.iter().all(|model| model.vendor == file.key));
        }
        for file in &ISSUES {
            let issues = read::issues(file.text.as_bytes(), &Origin::Shipped).unwrap();
            let driver = match file.key {
                ANY => Driver::Any,
                name => Driver::Named(name.to_owned()),
            };
            assert!(!issues.is_empty() && issues.iter().all(|issue| issue.driver == driver));
        }
        for file in &FIRMWARE {
            read::firmware(file.text.as_bytes(), &Origin::Shipped).unwrap();
        }
    }

    #[test]
    fn every_file_of_the_folders_ships() {
        let folder = |name: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            #[allow(clippy::disallowed_methods)] // a test looks at the source tree
            let files = std::fs::read_dir(path).unwrap();
            files.count()
        };
        assert_eq!(folder("models"), MODELS.len());
        assert_eq!(folder("issues"), ISSUES.len());
        assert_eq!(folder("firmware"), FIRMWARE.len());
        let keys: BTreeSet<&str> = ISSUES.iter().map(|file| file.key).collect();
        assert_eq!(keys.len(), ISSUES.len());
    }
}
