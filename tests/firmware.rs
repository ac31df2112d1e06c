//! Firmware for simulated devices: a site's catalog, and images that the simulation reads.

use agent::{firmware::images, host::sim::Machine, rehearsal::Shelf};
use firmware_catalog::{
    Catalog,
    catalog::{Part, SiteFile},
};
use serde::Deserialize;

/// Two ports of one ConnectX-4 Lx, and what happens to them of itself.
pub const MACHINE: &str = include_str!("fail_every_firmware_step/machine.yaml");
/// Its versions.
pub const FIRMWARE: &str = include_str!("fail_every_firmware_step/firmware.yaml");
/// Settings first, which do not suffice, then the golden firmware.
pub const MENDS: &str = include_str!("fail_every_firmware_step/mends.yaml");
/// A firmware that delays every packet: flashed back.
pub const HURTS: &str = include_str!("fail_every_firmware_step/hurts.yaml");

/// [`MACHINE`], to which nothing happens of itself.
///
/// # Panics
/// Where it is no machine.
pub fn quiet_machine() -> Machine {
    let mut machine: Machine = serde_saphyr::from_str(MACHINE).expect("a machine");
    machine.script.clear();
    machine
}

/// One version of a ConnectX-4 Lx, as a test's YAML says it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Version {
    version: String,
    board: String,
    /// `golden`, `good` or `blocked`.
    state: String,
    /// Whether its image lies in the store.
    stored: bool,
}

/// The bytes of an image as the simulated devices read it.
pub fn image(version: &str, board: &str) -> Vec<u8> {
    format!("version: {version}\nboard: {board}\n").into_bytes()
}

/// The shelf of the versions that a YAML file describes.
///
/// # Panics
/// Where they make no catalog.
pub fn read(yaml: &str) -> Shelf {
    let versions: Vec<Version> = serde_saphyr::from_str(yaml).expect("a list of versions");
    let mut shelf = Shelf::default();
    let mut text = "version-scheme: mlx5\nfirmware:\n".to_owned();
    for version in &versions {
        let bytes = image(&version.version, &version.board);
        let known = images::image_of(&bytes);
        text += &format!(
            "  - {{ model: \"ConnectX-4 Lx\", boards: [{}], version: \"{}\", state: {}, note: test, \
             source: test, image: {{ file: fw.bin, sha256: {}, bytes: {} }} }}\n",
            version.board, version.version, version.state, known.sha256, known.bytes
        );
        if version.stored {
            shelf.offer.images.push(known);
            shelf.images.push(bytes);
        }
    }
    let file = SiteFile {
        path: "firmware/test.yaml".to_owned(),
        part: Part::Firmware,
        text: text.clone().into_bytes(),
    };
    shelf.catalog = Catalog::with_site(&[file]).unwrap_or_else(|bad| panic!("{text}\n{bad:?}"));
    shelf
}

/// A machine as two of them are compared: a restart gives interfaces new indexes and another order.
pub fn known(mut machine: Machine) -> Machine {
    machine.nics.iter_mut().for_each(|nic| nic.ifindex = 0);
    machine.nics.sort_by(|a, b| a.name.cmp(&b.name));
    machine
}
