//! Which device a NIC is a port of: its versions, its identity, all of its ports.

use std::collections::BTreeSet;

use crate::{
    fault::{Fault, Kind, Result},
    host::{Ask, Host, Nic, nic},
    inventory::{devlink, siblings, slot},
    plan::firmware::{DeviceId, FirmwareAction, Port},
    run::Seen,
};

/// The driver's own words about itself; include/uapi/linux/ethtool.h, `struct ethtool_drvinfo`.
const GDRVINFO: u32 = 0x03;
const DRVINFO_BYTES: usize = 196;
const DRVINFO_FIRMWARE: std::ops::Range<usize> = 68..100;

/// A device as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub id: DeviceId,
    /// devlink's name of the version that stands for the whole, where the driver has devlink.
    pub version_name: Option<String>,
    pub seen: Seen,
    pub ports: Vec<Port>,
}

/// The device that `nic` is a port of.
///
/// # Errors
/// `Unsupported` where the NIC is no physical function or tells no version; `Denied` where a port of the
/// device cannot be seen from here, since nobody can then say who uses it.
pub fn of(host: &dyn Host, nic: &Nic) -> Result<Device> {
    let act = format!("find the device of {}", nic.name);
    let unsupported = |cause: String| Err(Fault::new(Kind::Unsupported, &act, cause));
    let Some(address) = &nic.pci else {
        return unsupported("it is no PCI function: it has no firmware to flash".to_owned());
    };
    if siblings::is_virtual(host, address) {
        return unsupported("it is a virtual function: the firmware is its parent's".to_owned());
    }
    let (known, version_name) = match devlink::one(host, address) {
        Ok(known) => {
            let name = known.whole().map(str::to_owned);
            (known, name)
        }
        Err(fault) if matches!(fault.kind, Kind::Unsupported | Kind::Gone) => Default::default(),
        Err(fault) => return Err(fault),
    };
    let (serial, board) = (known.serial().cloned(), known.board().cloned());
    let ids = match serial {
        Some(_) => None,
        None => Some(siblings::ids(host, address)?),
    };
    let id = DeviceId { handle: format!("pci/{address}"), serial, board, ids };
    let seen = match &version_name {
        Some(name) => seen_of(&known, name),
        None => Seen { running: drvinfo(host, &nic.name)?, ..Seen::default() },
    };
    if seen.running.is_none() {
        return unsupported("its driver tells no firmware version".to_owned());
    }
    let ports = ports(host, address)?;
    let port = |nic: &Nic| Port { id: nic.id.clone(), name: nic.name.clone() };
    Ok(Device { id, version_name, seen, ports: ports.iter().map(port).collect() })
}

/// What runs and what is stored, of the device that the action is about and no other.
pub fn look(host: &dyn Host, action: &FirmwareAction) -> Result<Seen> {
    let Some(name) = &action.version_name else {
        let port = found(host, action)?.into_iter().next();
        let port = port.ok_or_else(|| gone(action, "none of its ports is there"))?;
        return Ok(Seen { running: drvinfo(host, &port.name)?, ..Seen::default() });
    };
    let known = recognise(host, action)?;
    Ok(seen_of(&known, name))
}

/// The device behind the action's handle must be the device.
pub(crate) fn recognise(host: &dyn Host, action: &FirmwareAction) -> Result<devlink::Device> {
    let handle = &action.device.handle;
    let known = devlink::one(host, handle.strip_prefix("pci/").unwrap_or(handle))?;
    let (serial, board) = (known.serial(), known.board());
    if serial != action.device.serial.as_ref() || board != action.device.board.as_ref() {
        let said = |text: Option<&String>| text.cloned().unwrap_or_else(|| "none".to_owned());
        let cause = format!(
            "another card is there: serial {}, board {}; the plan is for serial {}, board {}",
            said(serial),
            said(board),
            said(action.device.serial.as_ref()),
            said(action.device.board.as_ref())
        );
        return Err(gone(action, &cause));
    }
    if action.device.serial.is_none() {
        known_otherwise(host, action)?;
    }
    Ok(known)
}

/// A card that tells no serial number is known by its place, by what it is, and by the permanent MACs of its
/// ports. One that has no port at all (its activation failed) is known by the former alone: another card would
/// show other MACs.
fn known_otherwise(host: &dyn Host, action: &FirmwareAction) -> Result<()> {
    let handle = &action.device.handle;
    let address = handle.strip_prefix("pci/").unwrap_or(handle);
    let other = |is: String, was: &str| {
        Err(gone(action, &format!("another card is there: {is}; the plan is for {was}")))
    };
    // Plans of older versions do not say.
    if let Some(planned) = &action.device.ids {
        let ids = siblings::ids(host, address)?;
        if ids != *planned {
            return other(ids, planned);
        }
    }
    let in_slot = |nic: &&Nic| nic.pci.as_deref().is_some_and(|pci| slot(pci) == slot(address));
    let all = nic::all(host)?;
    let there: Vec<&Nic> = all.iter().filter(in_slot).collect();
    let known = |nic: &&Nic| action.ports.iter().any(|port| port.id == nic.id);
    if there.is_empty() || there.iter().any(known) {
        return Ok(());
    }
    let names = |ids: Vec<String>| ids.join(", ");
    let is = names(there.iter().map(|nic| nic.id.to_string()).collect());
    other(is, &names(action.ports.iter().map(|port| port.id.to_string()).collect()))
}

fn gone(action: &FirmwareAction, cause: &str) -> Fault {
    Fault::new(Kind::Gone, format!("find the device {}", action.device.handle), cause)
}

/// Those ports of the action's device that are there now, by what they are.
pub fn found(host: &dyn Host, action: &FirmwareAction) -> Result<Vec<Nic>> {
    let all = nic::all(host)?;
    let is_port = |nic: &Nic| action.ports.iter().any(|port| port.id == nic.id);
    Ok(all.into_iter().filter(is_port).collect())
}

/// Every port, or `Gone` with the names of those that are missing.
pub fn ports_now(host: &dyn Host, action: &FirmwareAction) -> Result<Vec<Nic>> {
    let there = found(host, action)?;
    let missing: Vec<&str> = action
        .ports
        .iter()
        .filter(|port| there.iter().all(|nic| nic.id != port.id))
        .map(|port| port.name.as_str())
        .collect();
    match missing.is_empty() {
        true => Ok(there),
        false => Err(gone(action, &format!("its port {} is not there", missing.join(", ")))),
    }
}

fn seen_of(known: &devlink::Device, name: &str) -> Seen {
    let of = |versions: &std::collections::BTreeMap<String, String>| versions.get(name).cloned();
    Seen { running: of(&known.running), stored: of(&known.stored), renewed: false }
}

/// The firmware version as `ethtool -i` prints it.
fn drvinfo(host: &dyn Host, name: &str) -> Result<Option<String>> {
    let mut buffer = GDRVINFO.to_ne_bytes().to_vec();
    buffer.resize(DRVINFO_BYTES, 0);
    let answers = host.request(&Ask::Ethtool { nic: name.to_owned(), buffer })?;
    let text = answers.first().and_then(|answer| answer.get(DRVINFO_FIRMWARE));
    let text = text.unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text).trim().to_owned();
    Ok((!text.is_empty() && text != "N/A").then_some(text))
}

/// Every port of the device at `address`, as the guard counts them: functions of its PCI slot, and those with
/// its serial number, wherever they are.
fn ports(host: &dyn Host, address: &str) -> Result<Vec<Nic>> {
    let device = siblings::of(host, &BTreeSet::from([address.to_owned()]))?;
    let act = format!("list the ports of the device at {address}");
    let physical = |function: &&String| !siblings::is_virtual(host, function);
    let functions: BTreeSet<&String> = device.functions.iter().filter(physical).collect();
    let here = |nic: &Nic| nic.pci.as_ref().is_some_and(|theirs| functions.contains(theirs));
    let ports: Vec<Nic> = nic::all(host)?.into_iter().filter(here).collect();
    let has_interface =
        |function: &str| ports.iter().any(|nic| nic.pci.as_deref() == Some(function));
    let unseen: Vec<&str> =
        functions.iter().map(|f| f.as_str()).filter(|f| !has_interface(f)).collect();
    if !unseen.is_empty() {
        let cause = format!(
            "function {} has no interface here (another driver, namespace or a guest has it): who uses \
             it is not known",
            unseen.join(", ")
        );
        return Err(Fault::new(Kind::Denied, act, cause));
    }
    let doubtful = device.doubtful(host, address)?;
    if !doubtful.is_empty() {
        let cause = format!(
            "{} is of the same model and tells no serial number here (another driver, namespace or a guest \
             has it): whether it is a port of this card is not known; it is once its driver has it here",
            doubtful.join(", ")
        );
        return Err(Fault::new(Kind::Denied, act, cause));
    }
    Ok(ports)
}
