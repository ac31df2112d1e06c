//! A management controller on the port's sideband (NC-SI): what can be known from the host.
//!
//! The kernel shows no sideband. Known is whether there is a controller (the firmware's own tables: SMBIOS types
//! 38 and 42, ACPI's SPMI and IPI0001; an IPMI interface, where its module is loaded), and whether a function is part of the board (SMBIOS type 41 or ACPI's _DSM,
//! which give it a label or index). A board's own port of a host with a controller may be shared with it.
//! An OCP card may be, too; nothing that the host shows tells it from a card without a sideband.
//!
//! Source: DMTF DSP0222 (NC-SI), DSP0134 (SMBIOS); Documentation/ABI/testing/sysfs-bus-pci.

use std::path::Path;

use policy::holders::Signal;

use super::{
    Sign,
    clue::{Found, unknown},
    scene::{Scene, device, entries, present},
};
use crate::{fault::Result, host::Host};

/// A folder, and how the names in it begin that show a controller.
const SHOWN_BY: [(&str, &str); 6] = [
    ("/sys/firmware/dmi/entries", "38-"),
    ("/sys/firmware/dmi/entries", "42-"),
    ("/sys/firmware/acpi/tables", "SPMI"),
    ("/sys/bus/acpi/devices", "IPI0001"),
    ("/sys/bus/platform/devices", "ipmi_"),
    ("/sys/class/ipmi", "ipmi"),
];
/// SMBIOS as the firmware made it; the entries need a module of their own (dmi-sysfs).
const SMBIOS: &str = "/sys/firmware/dmi/tables/DMI";
/// DSP0134: IPMI device information; management controller host interface; end of the table.
const IPMI_DEVICE: u8 = 38;
const HOST_INTERFACE: u8 = 42;
const END: u8 = 127;
const BOARD: [&str; 3] = ["label", "index", "acpi_index"];

pub(super) struct Bmc;

impl Sign for Bmc {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Bmc]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        if !scene.is_physical() {
            return Ok(Found::default());
        }
        let Some(shown) = controller(scene.host)? else { return Ok(Found::default()) };
        let mut found = Found::default();
        for port in &scene.ports {
            let Some(address) = &port.function else { continue };
            for file in BOARD {
                let Some(label) = present(scene.host.read(&device(address).join(file)))? else {
                    continue;
                };
                let how = format!(
                    "{address} is the board's own ({file} {}), this host has a management controller \
                     ({shown}), and whether that uses the port's sideband is not told",
                    label.trim()
                );
                found.holders.push(unknown(Signal::Bmc, &port.name, how));
                break;
            }
        }
        Ok(found)
    }
}

fn controller(host: &dyn Host) -> Result<Option<String>> {
    for (folder, beginning) in SHOWN_BY {
        // Who may not list the tables may still know by another of these.
        let names = entries(host, Path::new(folder)).unwrap_or_default();
        if let Some(name) = names.iter().find(|name| name.starts_with(beginning)) {
            return Ok(Some(format!("{folder}/{name}")));
        }
    }
    let Some(table) = present(host.bytes(Path::new(SMBIOS)))? else { return Ok(None) };
    Ok(structure(&table).map(|kind| format!("SMBIOS type {kind}")))
}

/// The first structure that shows a controller: each has a type, a length, and behind it strings that end with
/// two zero bytes.
fn structure(table: &[u8]) -> Option<u8> {
    let mut rest = table;
    // Ends: every turn leaves less.
    while let [kind, length, ..] = *rest {
        if matches!(kind, IPMI_DEVICE | HOST_INTERFACE) {
            return Some(kind);
        }
        let strings = rest.get(usize::from(length.max(4))..)?;
        let end = strings.windows(2).position(|pair| pair == [0, 0])?;
        if kind == END {
            return None;
        }
        rest = strings.get(end + 2..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_found_behind_other_structures_and_damage_is_survived() {
        let bios = [&[0, 6, 0, 0, 1, 2][..], b"Acme\0v1.0\0\0"].concat();
        let bare = [&[2, 4, 1, 0][..], &[0, 0]].concat();
        let ipmi = [&[38, 6, 2, 0, 1, 0x20][..], &[0, 0]].concat();
        let end = [&[127, 4, 9, 0][..], &[0, 0]].concat();
        let whole = [bios.clone(), bare.clone(), ipmi, end.clone()].concat();
        assert_eq!(structure(&whole), Some(38));
        assert_eq!(structure(&[bios, bare, end].concat()), None);
        for length in 0..whole.len() {
            let _ = structure(&whole[..length]);
        }
    }
}
