//! A management controller on the port's sideband (NC-SI): what can be known from the host.
//!
//! The kernel shows no sideband. Known is whether there is a controller (SMBIOS type 38, the ACPI table
//! SPMI, an IPMI interface), and whether a function is part of the board (SMBIOS type 41 or ACPI's _DSM,
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
const SHOWN_BY: [(&str, &str); 4] = [
    ("/sys/class/ipmi", "ipmi"),
    ("/sys/firmware/dmi/entries", "38-"),
    ("/sys/firmware/acpi/tables", "SPMI"),
    ("/sys/bus/platform/devices", "ipmi_"),
];
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
    Ok(None)
}
