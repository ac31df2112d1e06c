//! The kernel's side of devlink, as far as inventory reads it: devices, and their versions.
//!
//! Source: include/uapi/linux/devlink.h; Documentation/networking/devlink/devlink-info.rst.

use super::{
    Refusal, State,
    machine::{Pci, SimNic},
    param,
    quirk::Quirk,
};
use crate::host::{
    Mode,
    tlv::{Attrs, Writer},
};

// DEVLINK_CMD_*
const GET: u8 = 1;
const PORT_GET: u8 = 5;
const INFO_GET: u8 = 51;
// DEVLINK_ATTR_*
const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const PORT_INDEX: u16 = 3;
const PORT_TYPE: u16 = 4;
const PORT_NETDEV_IFINDEX: u16 = 6;
const PORT_NETDEV_NAME: u16 = 7;
const PORT_IBDEV_NAME_FREE_TYPE_ETH: u16 = 2;
const INFO_DRIVER_NAME: u16 = 98;
const INFO_BOARD_SERIAL_NUMBER: u16 = 146;
const INFO_SERIAL_NUMBER: u16 = 99;
const INFO_VERSION_FIXED: u16 = 100;
const INFO_VERSION_RUNNING: u16 = 101;
const INFO_VERSION_STORED: u16 = 102;
const INFO_VERSION_NAME: u16 = 103;
const INFO_VERSION_VALUE: u16 = 104;

type Answers = Result<Vec<Vec<u8>>, Refusal>;

pub(super) fn ask(state: &mut State, command: u8, mode: Mode, payload: &[u8]) -> Answers {
    let fill: fn(&SimNic, &Pci) -> Vec<u8> = match command {
        param::PARAM_GET => return param::get(state, mode, payload),
        param::PARAM_SET => return param::set(state, payload),
        GET => handle,
        PORT_GET => port,
        INFO_GET => info,
        _ => return Err(Refusal::errno(libc::EOPNOTSUPP)),
    };
    // A device outlives its interface.
    let all = state.machine.nics.iter().chain(&state.unplugged);
    let devices: Vec<(&SimNic, &Pci)> =
        all.filter_map(|nic| Some((nic, nic.pci.as_ref()?))).collect();
    // Only drivers that registered with devlink have a device: here, those that state versions.
    let known = devices.into_iter().filter(|(_, pci)| !pci.versions.is_empty());
    let asked = Attrs(payload).find(DEV_NAME).map(|a| a.text().to_owned());
    let answers: Vec<Vec<u8>> = known
        .filter(|(_, pci)| asked.as_ref().is_none_or(|asked| *asked == pci.address))
        .map(|(nic, pci)| fill(nic, pci))
        .collect();
    match mode {
        Mode::Do if answers.is_empty() => Err(Refusal::errno(libc::ENODEV)),
        Mode::Do | Mode::Dump | Mode::Create | Mode::Append | Mode::Replace => Ok(answers),
    }
}

fn begin(pci: &Pci) -> Writer {
    let mut out = Writer::new();
    out.text(BUS_NAME, "pci").text(DEV_NAME, &pci.address);
    out
}

fn handle(_: &SimNic, pci: &Pci) -> Vec<u8> {
    begin(pci).into_bytes()
}

fn port(nic: &SimNic, pci: &Pci) -> Vec<u8> {
    let mut out = begin(pci);
    out.u32(PORT_INDEX, 0).put(PORT_TYPE, &PORT_IBDEV_NAME_FREE_TYPE_ETH.to_ne_bytes());
    out.u32(PORT_NETDEV_IFINDEX, nic.ifindex).text(PORT_NETDEV_NAME, &nic.name);
    out.into_bytes()
}

fn info(nic: &SimNic, pci: &Pci) -> Vec<u8> {
    let mut out = begin(pci);
    out.text(INFO_DRIVER_NAME, &nic.driver);
    if let Some(serial) = &pci.serial {
        out.text(INFO_SERIAL_NUMBER, serial);
    }
    if let Some(serial) = &pci.board_serial {
        out.text(INFO_BOARD_SERIAL_NUMBER, serial);
    }
    let untold = nic.quirks.contains(&Quirk::StoresUntold);
    let silent = nic.quirks.contains(&Quirk::SilentWhilePending) && !pci.stored.is_empty();
    for (name, value) in &pci.versions {
        let mut version = Writer::new();
        version.text(INFO_VERSION_NAME, name).text(INFO_VERSION_VALUE, value);
        let is_board = name.starts_with("board.") || name == "fw.psid";
        if is_board {
            out.nest(INFO_VERSION_FIXED, &version);
        } else {
            let mut stored = Writer::new();
            let kept = pci.stored.get(name).unwrap_or(value);
            stored.text(INFO_VERSION_NAME, name).text(INFO_VERSION_VALUE, kept);
            if !silent {
                out.nest(INFO_VERSION_RUNNING, &version);
            }
            if !untold {
                out.nest(INFO_VERSION_STORED, &stored);
            }
        }
    }
    out.into_bytes()
}
