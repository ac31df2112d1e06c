//! What other tools have set in a port's driver and device, and nothing here puts back: found, so that it can
//! be refused before a reset takes it.
//!
//! Source: include/uapi/linux/{devlink,dcbnl,ethtool}.h, net/dcb/dcbnl.c, net/ethtool/{ioctl,rss}.c.

use firmware_catalog::Read;

use super::message::word;
use crate::{
    fault::{Kind, Result},
    host::{
        Ask, Genl, Host, Mode, Nic,
        tlv::{Attrs, Writer},
    },
    inventory::hazard,
};

/// Everything of that kind on this port.
pub(super) fn read(host: &dyn Host, port: &Nic) -> Result<Vec<String>> {
    let mut found = switch(host, port)?;
    found.extend(bridging(host, port)?);
    found.extend(contexts(host, port)?);
    Ok(found)
}

/// What a kernel or driver does not know is not there; what cannot be told otherwise is a fault.
fn known(answer: Result<Vec<Vec<u8>>>, act: String) -> Result<Vec<Vec<u8>>> {
    match answer {
        Err(fault) if fault.kind == Kind::Unsupported => Ok(Vec::new()),
        answer => answer.map_err(|fault| fault.during(act)),
    }
}

const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const PORT_GET: u8 = 5;
const PORT_FLAVOUR: u16 = 77;
/// DEVLINK_PORT_FLAVOUR_PCI_SF.
const SUBFUNCTION: u64 = 7;
const ESWITCH_GET: u8 = 29;
const ESWITCH_MODE: u16 = 25;
/// DEVLINK_ESWITCH_MODE_SWITCHDEV.
const SWITCHDEV: u64 = 1;

/// The device's switch with its representors, and subfunctions: a reload begins without them.
fn switch(host: &dyn Host, port: &Nic) -> Result<Vec<String>> {
    let Some(address) = &port.pci else { return Ok(Vec::new()) };
    let devlink = |command, mode, payload| {
        let ask = Ask::Genl { family: Genl::Devlink, command, mode, payload };
        known(host.request(&ask), format!("read the switch of pci/{address}"))
    };
    let mut device = Writer::new();
    device.text(BUS_NAME, "pci").text(DEV_NAME, address);
    let number = |answer: &[u8], kind| Attrs(answer).find(kind).and_then(|attr| attr.number());
    let mut found = Vec::new();
    let mode = match devlink(ESWITCH_GET, Mode::Do, device.into_bytes()) {
        // ENODEV: the driver has no devlink (igb), and so no switch of its own. EPERM: the function does not
        // manage its switch (mlx5 before 5.12, a DPU's host side).
        Err(fault) if matches!(fault.kind, Kind::Gone | Kind::Denied) => Vec::new(),
        mode => mode?,
    };
    if mode.iter().any(|answer| number(answer, ESWITCH_MODE) == Some(SWITCHDEV)) {
        found.push(format!("the switchdev mode of pci/{address}, with its representors and rules"));
    }
    let ours = |answer: &&Vec<u8>| {
        let name = Attrs(answer).find(DEV_NAME);
        name.is_some_and(|name| name.text() == address)
    };
    let ports = devlink(PORT_GET, Mode::Dump, Vec::new())?;
    let own = ports.iter().filter(ours);
    let subfunctions = own.filter(|port| number(port, PORT_FLAVOUR) == Some(SUBFUNCTION)).count();
    if subfunctions > 0 {
        found.push(format!("{subfunctions} subfunctions of pci/{address}"));
    }
    Ok(found)
}

const RTM_GETDCB: u16 = 78;
/// Bytes of `struct dcbmsg`: u8 family, u8 command, u16 pad.
const DCBMSG_BYTES: usize = 4;
const DCB_CMD_IEEE_GET: u8 = 21;
const DCB_ATTR_IFNAME: u16 = 1;
const DCB_ATTR_IEEE: u16 = 13;
/// `struct ieee_pfc`: u8 capabilities, u8 enabled priorities, …
const IEEE_PFC: u16 = 2;
const IEEE_APP_TABLE: u16 = 3;

/// Priority flow control and the table of applications (lldpad, mlnx_qos, `dcb`). The driver has traffic
/// classes of its own making, too, which cannot be told from somebody's.
fn bridging(host: &dyn Host, port: &Nic) -> Result<Vec<String>> {
    let mut payload = vec![0, DCB_CMD_IEEE_GET, 0, 0];
    let mut attrs = Writer::new();
    attrs.text(DCB_ATTR_IFNAME, &port.name);
    payload.extend_from_slice(attrs.as_bytes());
    let ask = Ask::Route { kind: RTM_GETDCB, mode: Mode::Do, payload };
    let answers = known(host.request(&ask), format!("read the DCB settings of {}", port.name))?;
    Ok(answers.iter().flat_map(|answer| dcb(answer, &port.name)).collect())
}

fn dcb(answer: &[u8], port: &str) -> Vec<String> {
    let attributes = answer.get(DCBMSG_BYTES..).unwrap_or(&[]);
    let Some(ieee) = Attrs(attributes).find(DCB_ATTR_IEEE).map(|ieee| ieee.nested()) else {
        return Vec::new();
    };
    let enabled = ieee.find(IEEE_PFC).and_then(|pfc| pfc.payload.get(1).copied()).unwrap_or(0);
    let applications = ieee.find(IEEE_APP_TABLE).map_or(0, |table| table.nested().count());
    let pfc = (enabled != 0)
        .then(|| format!("priority flow control of {port} (DCB, priorities {enabled:#04x})"));
    let table = (applications > 0)
        .then(|| format!("{applications} applications' priorities on {port} (DCB)"));
    pfc.into_iter().chain(table).collect()
}

const RSS_GET: u8 = 38;
const RSS_HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const RSS_CONTEXT: u16 = 2;
const ETHTOOL_GRSSH: u32 = 0x46;
/// Bytes of `struct ethtool_rxfh` without a table: u32 command, context, table and key sizes, …
const RXFH_BYTES: usize = 24;
/// The ids that are tried where they cannot be listed; drivers give the lowest that is free.
const CONTEXTS_MAX: u32 = 32;

/// RSS contexts besides the first, with the ntuple rules that lead there.
fn contexts(host: &dyn Host, port: &Nic) -> Result<Vec<String>> {
    if let Some(issue) = hazard::refusal(host, port, Some(Read::Rss)) {
        let why = hazard::why(issue);
        return Ok(vec![format!("the RSS table of {}, and contexts: {why}", port.name)]);
    }
    let (mut header, mut attrs) = (Writer::new(), Writer::new());
    header.u32(HEADER_DEV_INDEX, port.ifindex);
    attrs.nest(RSS_HEADER, &header);
    let (family, mode, payload) = (Genl::Ethtool, Mode::Dump, attrs.into_bytes());
    let listed = host.request(&Ask::Genl { family, command: RSS_GET, mode, payload });
    let ids: Vec<u32> = match listed {
        Ok(answers) => answers.iter().filter_map(|answer| context(answer, port.ifindex)).collect(),
        // Before Linux 6.12 they cannot be listed.
        Err(fault) if fault.kind == Kind::Unsupported => {
            (1..=CONTEXTS_MAX).filter(|id| has_context(host, port, *id)).collect()
        }
        Err(fault) => return Err(fault.during(format!("list the RSS contexts of {}", port.name))),
    };
    Ok(ids.iter().map(|id| format!("RSS context {id} of {}", port.name)).collect())
}

fn context(answer: &[u8], index: u32) -> Option<u32> {
    let header = Attrs(answer).find(RSS_HEADER)?.nested();
    let ours = header.find(HEADER_DEV_INDEX).is_some_and(|own| word(own.payload) == index);
    let id = Attrs(answer).find(RSS_CONTEXT).map(|id| word(id.payload));
    id.filter(|id| ours && *id != 0)
}

fn has_context(host: &dyn Host, port: &Nic, id: u32) -> bool {
    let mut buffer = vec![0; RXFH_BYTES];
    buffer[..4].copy_from_slice(&ETHTOOL_GRSSH.to_ne_bytes());
    buffer[4..8].copy_from_slice(&id.to_ne_bytes());
    host.request(&Ask::Ethtool { nic: port.name.clone(), buffer }).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tlv::NESTED;

    /// As mlx5 answers where `mlnx_qos --pfc 0,0,0,1,0,0,0,0` and one application were set.
    #[test]
    fn flow_control_and_applications_are_told_and_their_absence_is_not() {
        let answer = |enabled: u8, applications: u32| {
            let (mut ieee, mut table, mut attrs) = (Writer::new(), Writer::new(), Writer::new());
            let mut pfc = vec![0; 136];
            (pfc[0], pfc[1]) = (8, enabled);
            for _ in 0..applications {
                table.put(1, &[1, 3, 0, 0, 6, 0x89]);
            }
            ieee.put(IEEE_PFC, &pfc).put(IEEE_APP_TABLE | NESTED, table.as_bytes());
            attrs.text(DCB_ATTR_IFNAME, "eth1").nest(DCB_ATTR_IEEE, &ieee);
            [&[0, DCB_CMD_IEEE_GET, 0, 0][..], attrs.as_bytes()].concat()
        };
        let told = dcb(&answer(8, 1), "eth1");
        assert_eq!(
            told,
            [
                "priority flow control of eth1 (DCB, priorities 0x08)",
                "1 applications' priorities on eth1 (DCB)"
            ]
        );
        assert!(dcb(&answer(0, 0), "eth1").is_empty());
        assert!(dcb(&[], "eth1").is_empty());
    }

    #[test]
    fn another_context_is_told_from_the_first_and_from_another_nics() {
        let answer = |index: u32, id: Option<u32>| {
            let (mut header, mut attrs) = (Writer::new(), Writer::new());
            header.u32(HEADER_DEV_INDEX, index);
            attrs.nest(RSS_HEADER, &header);
            if let Some(id) = id {
                attrs.u32(RSS_CONTEXT, id);
            }
            attrs.into_bytes()
        };
        assert_eq!(context(&answer(7, Some(2)), 7), Some(2));
        assert_eq!(context(&answer(7, None), 7), None);
        assert_eq!(context(&answer(7, Some(0)), 7), None);
        assert_eq!(context(&answer(8, Some(2)), 7), None);
    }
}
