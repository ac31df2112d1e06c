//! Virtual functions: how many a port has, what the host set for each, and who drives them.
//!
//! Source: Documentation/PCI/pci-iov-howto.rst, IFLA_VFINFO_LIST of include/uapi/linux/if_link.h.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    links::{IFINFOMSG_BYTES, IFLA_EXT_MASK, RTM_GETLINK},
    message::{Bytes, raw},
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Host, Mode, Nic,
        tlv::{Attrs, NESTED, Writer},
    },
};

const RTM_SETLINK: u16 = 19;
const IFLA_VFINFO_LIST: u16 = 22;
const IFLA_VF_INFO: u16 = 1;
/// RTEXT_FILTER_VF.
const WITH_FUNCTIONS: u32 = 1;
/// IFLA_VF_MAC, _VLAN, _TX_RATE, _SPOOFCHK, _LINK_STATE, _RATE, _RSS_QUERY_EN, _TRUST, _VLAN_LIST.
const TOLD: [u16; 9] = [1, 2, 3, 4, 5, 6, 7, 9, 12];
/// IFLA_VF_TX_RATE is the older spelling of IFLA_VF_RATE; IFLA_VF_VLAN of IFLA_VF_VLAN_LIST.
const RATE: u16 = 6;
const TX_RATE: u16 = 3;
const VLAN_LIST: u16 = 12;
const VLAN: u16 = 2;
const FUNCTIONS_MAX: u32 = 256;

/// A port's virtual functions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Functions {
    pub count: u32,
    /// One IFLA_VF_INFO each: what somebody set of MAC, VLAN, rate, trust, spoof check, link state.
    pub(super) settings: Vec<Bytes>,
}

/// The functions of this port. One that has a driver has a user, whose interface or guest dies too.
pub(super) fn read(host: &dyn Host, port: &Nic, cannot: &mut Vec<String>) -> Result<Functions> {
    let Some(place) = place(port) else { return Ok(Functions::default()) };
    let count = host.read(&place.join("sriov_numvfs")).unwrap_or_default();
    let count = count.trim().parse().unwrap_or(0_u32).min(FUNCTIONS_MAX);
    if count == 0 {
        return Ok(Functions::default());
    }
    for function in 0..count {
        let link = place.join(format!("virtfn{function}"));
        let Ok(target) = host.target(&link) else { continue };
        let address = target.rsplit('/').next().unwrap_or_default();
        let driver = PathBuf::from("/sys/bus/pci/devices").join(address).join("driver");
        if let Ok(driver) = host.target(&driver) {
            let driver = driver.rsplit('/').next().unwrap_or_default();
            let name = &port.name;
            cannot.push(format!("VF {function} of {name} ({address}): driver {driver} uses it"));
        }
    }
    let mut payload = vec![0; IFINFOMSG_BYTES];
    payload[4..8].copy_from_slice(&port.ifindex.to_ne_bytes());
    let mut attrs = Writer::new();
    attrs.u32(IFLA_EXT_MASK, WITH_FUNCTIONS);
    payload.extend_from_slice(attrs.as_bytes());
    let act = format!("read the VFs of {}", port.name);
    let ask = Ask::Route { kind: RTM_GETLINK, mode: Mode::Do, payload };
    let answers = host.request(&ask).map_err(|fault| fault.during(act))?;
    let link = answers.first().and_then(|answer| answer.get(IFINFOMSG_BYTES..)).unwrap_or(&[]);
    let list = Attrs(link).find(IFLA_VFINFO_LIST).map(|list| list.nested());
    let infos = list.into_iter().flatten().filter(|info| info.kind == IFLA_VF_INFO);
    Ok(Functions { count, settings: infos.map(|info| settings(info.payload)).collect() })
}

fn place(port: &Nic) -> Option<PathBuf> {
    Some(PathBuf::from("/sys/bus/pci/devices").join(port.pci.as_ref()?))
}

fn settings(info: &[u8]) -> Bytes {
    let has = |kind: u16| Attrs(info).find(kind).is_some();
    let mut told = Writer::new();
    for (kind, attr) in raw(info).filter(|(_, attr)| TOLD.contains(&attr.kind)) {
        let older = (attr.kind == TX_RATE && has(RATE)) || (attr.kind == VLAN && has(VLAN_LIST));
        if !older {
            told.put(kind, attr.payload);
        }
    }
    Bytes(told.into_bytes())
}

/// Makes as many functions as there were and sets each as it was, where they differ.
pub(super) fn restore(host: &dyn Host, port: &Nic, was: &Functions) -> Vec<Fault> {
    let Ok(now) = read(host, port, &mut Vec::new()) else {
        return vec![Fault::new(Kind::Gone, "read the VFs again", "the port does not answer")];
    };
    let mut faults = Vec::new();
    if let (0, true, Some(place)) = (now.count, was.count > 0, place(port)) {
        let act = format!("make {} VFs of {}", was.count, port.name);
        let made = host.write(&place.join("sriov_numvfs"), &was.count.to_string());
        faults.extend(made.err().map(|fault| fault.during(act)));
    }
    for (function, settings) in was.settings.iter().enumerate() {
        if now.settings.get(function) == Some(settings) {
            continue;
        }
        // One by one: a driver refuses the whole request for one thing that it lacks.
        for (kind, attr) in raw(&settings.0) {
            let (mut info, mut list, mut body) = (Writer::new(), Writer::new(), Writer::new());
            info.put(kind, attr.payload);
            list.nest(IFLA_VF_INFO, &info);
            body.put(IFLA_VFINFO_LIST | NESTED, list.as_bytes());
            let mut payload = vec![0; IFINFOMSG_BYTES];
            payload[4..8].copy_from_slice(&port.ifindex.to_ne_bytes());
            payload.extend_from_slice(body.as_bytes());
            let act = format!("set attribute {} of VF {function} of {}", attr.kind, port.name);
            let ask = Ask::Route { kind: RTM_SETLINK, mode: Mode::Do, payload };
            // What the driver never had it cannot take back; the comparison decides.
            let fault = host.request(&ask).err().filter(|fault| fault.kind != Kind::Unsupported);
            faults.extend(fault.map(|fault| fault.during(act)));
        }
    }
    faults
}
