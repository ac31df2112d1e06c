//! The PCI functions of one device: ports of one card share its firmware and its resets.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{serials, slot};
use crate::{fault::Result, host::Host};

const DEVICES: &str = "/sys/bus/pci/devices";
/// PCI class of network controllers, as sysfs prints it.
const NETWORK_CLASS: &str = "0x02";

/// What is known of the functions that share a device with some that are known to be its.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Siblings {
    /// Those known to be, the given ones included: of the same slot, or with the same serial number (the
    /// board's where the device has none of its own) wherever they are. Virtual functions may be among them.
    pub(crate) functions: BTreeSet<String>,
    /// Whether those given have a serial number that others could be told by.
    known_by_serial: bool,
    /// Functions of other slots that tell no serial number here.
    mute: Vec<String>,
}

/// Looks through every PCI function of the host, whoever has it.
pub(crate) fn of(host: &dyn Host, given: &BTreeSet<String>) -> Result<Siblings> {
    let serials = serials(host)?;
    let ours: BTreeSet<&String> = given.iter().filter_map(|f| serials.get(f)).collect();
    let mut siblings = Siblings { functions: given.clone(), ..Siblings::default() };
    siblings.known_by_serial = !ours.is_empty();
    for address in host.list(Path::new(DEVICES))? {
        let one_slot = given.iter().any(|ours| slot(ours) == slot(&address));
        match (one_slot, serials.get(&address)) {
            (true, _) => siblings.add(host, address)?,
            (false, Some(serial)) if ours.contains(serial) => siblings.add(host, address)?,
            (false, Some(_)) => {}
            (false, None) => siblings.mute.push(address),
        }
    }
    Ok(siblings)
}

impl Siblings {
    fn add(&mut self, host: &dyn Host, address: String) -> Result<()> {
        if is_network(host, &address)? {
            self.functions.insert(address);
        }
        Ok(())
    }

    /// Functions that may be the device's, and nobody here can tell: of other slots, of the same vendor and
    /// model as those given, without a serial number (bound to a user-space driver or to none, or with their
    /// devlink in another network namespace).
    pub(crate) fn doubtful(&self, host: &dyn Host, given: &str) -> Result<Vec<String>> {
        if !self.known_by_serial {
            return Ok(Vec::new());
        }
        let model = model(host, given)?;
        let mut doubtful = Vec::new();
        for address in &self.mute {
            if is_network(host, address)?
                && self::model(host, address)? == model
                && !is_virtual(host, address)
            {
                doubtful.push(address.clone());
            }
        }
        Ok(doubtful)
    }
}

/// Whether it is a virtual function of another.
pub(crate) fn is_virtual(host: &dyn Host, address: &str) -> bool {
    host.target(&function(address).join("physfn")).is_ok()
}

/// Vendor and device, then those of the subsystem: `15b3:1015 15b3:0016`.
pub(crate) fn ids(host: &dyn Host, address: &str) -> Result<String> {
    let id = |file: &str| -> Result<String> {
        let text = host.read(&function(address).join(file))?;
        Ok(text.trim().trim_start_matches("0x").to_owned())
    };
    let [vendor, device] = [id("vendor")?, id("device")?];
    let [of, model] = [id("subsystem_vendor")?, id("subsystem_device")?];
    Ok(format!("{vendor}:{device} {of}:{model}"))
}

fn model(host: &dyn Host, address: &str) -> Result<[String; 2]> {
    let read = |file: &str| host.read(&function(address).join(file));
    Ok([read("vendor")?, read("device")?])
}

fn is_network(host: &dyn Host, address: &str) -> Result<bool> {
    Ok(host.read(&function(address).join("class"))?.starts_with(NETWORK_CLASS))
}

fn function(address: &str) -> PathBuf {
    Path::new(DEVICES).join(address)
}
