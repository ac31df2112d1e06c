//! Serial numbers, boards and firmware as devlink has them: one dump over all devices.
//!
//! Source: include/uapi/linux/devlink.h, Documentation/networking/devlink/devlink-info.rst. The
//! names of versions are the kernel's: `fw`, `fw.mgmt`, `fw.psid`, `board.id`.

use std::collections::BTreeMap;

use super::{Firmware, NicFacts, Notes};
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Genl, Host, Mode,
        tlv::{Attr, Attrs, Writer},
    },
};

const INFO_GET: u8 = 51;
const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const INFO_SERIAL_NUMBER: u16 = 99;
const INFO_VERSION_FIXED: u16 = 100;
const INFO_VERSION_RUNNING: u16 = 101;
const INFO_VERSION_STORED: u16 = 102;
const INFO_VERSION_NAME: u16 = 103;
const INFO_VERSION_VALUE: u16 = 104;
const INFO_BOARD_SERIAL_NUMBER: u16 = 146;

/// Names under which drivers keep the version that stands for the whole firmware, best first:
/// bnxt and mlx5 `fw.version` or `fw`, ice and i40e `fw.bundle_id`, others `fw.mgmt`.
const WHOLE: [&str; 4] = ["fw.version", "fw", "fw.bundle_id", "fw.mgmt"];

/// One device.
#[derive(Debug, Default)]
pub(crate) struct Device {
    serial: Option<String>,
    board_serial: Option<String>,
    pub(crate) fixed: BTreeMap<String, String>,
    pub(crate) running: BTreeMap<String, String>,
    pub(crate) stored: BTreeMap<String, String>,
}

impl Device {
    /// The board: mlx5's PSID, Intel's board id.
    pub(crate) fn board(&self) -> Option<&String> {
        ["fw.psid", "board.id"].iter().find_map(|&name| self.fixed.get(name))
    }

    /// The name of the version that stands for the whole firmware.
    pub(crate) fn whole(&self) -> Option<&'static str> {
        WHOLE.into_iter().find(|&name| self.running.contains_key(name))
    }

    /// The serial number, the board's where the device has none of its own.
    pub(crate) fn serial(&self) -> Option<&String> {
        self.serial.as_ref().or(self.board_serial.as_ref())
    }
}

/// One PCI device, asked alone.
pub(crate) fn one(host: &dyn Host, address: &str) -> Result<Device> {
    let act = format!("read devlink's info of pci/{address}");
    let mut payload = Writer::new();
    payload.text(BUS_NAME, "pci").text(DEV_NAME, address);
    let payload = payload.into_bytes();
    let ask = Ask::Genl { family: Genl::Devlink, command: INFO_GET, mode: Mode::Do, payload };
    let answers = host.request(&ask).map_err(|fault| fault.during(&act))?;
    let device = answers.iter().find_map(|answer| parse(answer));
    let (_, device) = device.ok_or_else(|| Fault::new(Kind::Malformed, act, "no device in it"))?;
    Ok(device)
}

/// Every PCI device that devlink knows, by address.
pub(super) fn dump(host: &dyn Host, notes: &mut Notes) -> BTreeMap<String, Device> {
    let ask = Ask::Genl {
        family: Genl::Devlink,
        command: INFO_GET,
        mode: Mode::Dump,
        payload: Vec::new(),
    };
    let answers = notes.or_nothing(host.request(&ask), "read devlink's device info");
    answers.iter().filter_map(|answer| parse(answer)).collect()
}

fn parse(answer: &[u8]) -> Option<(String, Device)> {
    let text = |kind| Attrs(answer).find(kind).map(|attribute| attribute.text().to_owned());
    if text(BUS_NAME)? != "pci" {
        return None;
    }
    let mut device = Device {
        serial: text(INFO_SERIAL_NUMBER).filter(|serial| !serial.is_empty()),
        board_serial: text(INFO_BOARD_SERIAL_NUMBER).filter(|serial| !serial.is_empty()),
        ..Device::default()
    };
    for attribute in Attrs(answer) {
        let versions = match attribute.kind {
            INFO_VERSION_FIXED => &mut device.fixed,
            INFO_VERSION_RUNNING => &mut device.running,
            INFO_VERSION_STORED => &mut device.stored,
            _ => continue,
        };
        versions.extend(version(attribute));
    }
    Some((text(DEV_NAME)?, device))
}

fn version(attribute: Attr<'_>) -> Option<(String, String)> {
    let name = attribute.nested().find(INFO_VERSION_NAME)?.text().to_owned();
    let value = attribute.nested().find(INFO_VERSION_VALUE)?.text().to_owned();
    Some((name, value))
}

/// Adds what devlink knows of the device at this PCI address.
pub(super) fn describe(devices: &BTreeMap<String, Device>, address: &str, facts: &mut NicFacts) {
    let Some(device) = devices.get(address) else { return };
    facts.serial = device.serial().cloned();
    facts.board = device.board().cloned().or(facts.board.take());
    let whole = |versions: &BTreeMap<String, String>| {
        WHOLE.iter().find_map(|&name| versions.get(name)).cloned()
    };
    // What `ethtool -i` prints stays first: it is what operators and catalogs compare.
    let running = facts.firmware.running.take().or_else(|| whole(&device.running));
    let same = device.stored.iter().all(|(name, stored)| device.running.get(name) == Some(stored));
    facts.firmware = Firmware {
        stored: match (device.stored.is_empty(), same) {
            (true, _) => None,
            (false, true) => running.clone(),
            (false, false) => whole(&device.stored),
        },
        running,
        components_running: device.running.clone(),
        components_stored: device.stored.clone(),
        fixed: device.fixed.clone(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tlv::Writer;

    #[test]
    fn versions_are_kept_apart_and_other_buses_left_out() {
        let version = |name: &str, value: &str| {
            let mut version = Writer::new();
            version.text(INFO_VERSION_NAME, name).text(INFO_VERSION_VALUE, value);
            version
        };
        let answer = |bus: &str| {
            let mut answer = Writer::new();
            answer.text(BUS_NAME, bus).text(DEV_NAME, "0000:3b:00.0");
            answer.nest(INFO_VERSION_FIXED, &version("fw.psid", "MT_0000000359"));
            answer.nest(INFO_VERSION_RUNNING, &version("fw.version", "22.43.3608"));
            answer.nest(INFO_VERSION_STORED, &version("fw.version", "22.45.1020"));
            answer.into_bytes()
        };
        let (address, device) = parse(&answer("pci")).unwrap();
        assert_eq!(address, "0000:3b:00.0");
        assert_eq!(device.fixed["fw.psid"], "MT_0000000359");
        assert_eq!(device.running["fw.version"], "22.43.3608");
        assert_eq!(device.stored["fw.version"], "22.45.1020");
        assert!(parse(&answer("auxiliary")).is_none());
        let whole = answer("pci");
        (0..whole.len()).for_each(|length| drop(parse(&whole[..length])));
    }
}
