//! The kernel's side of devlink parameters.
//!
//! Source: net/devlink/param.c; Documentation/networking/devlink/devlink-params.rst.

use serde::{Deserialize, Serialize};

use super::{Refusal, State, machine::SimNic, quirk};
use crate::host::{
    Mode,
    tlv::{Attrs, Writer},
};

pub(super) const PARAM_GET: u8 = 38;
pub(super) const PARAM_SET: u8 = 39;
const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const PARAM: u16 = 80;
const PARAM_NAME: u16 = 81;
const PARAM_TYPE: u16 = 83;
const PARAM_VALUES_LIST: u16 = 84;
const PARAM_VALUE: u16 = 85;
const PARAM_VALUE_DATA: u16 = 86;
const PARAM_VALUE_CMODE: u16 = 87;

type Answers = Result<Vec<Vec<u8>>, Refusal>;

/// A parameter: its wire type, and its value in each mode that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Param {
    #[serde(rename = "type")]
    pub kind: ParamType,
    #[serde(default)]
    pub runtime: Option<String>,
    #[serde(default)]
    pub driverinit: Option<String>,
    #[serde(default)]
    pub permanent: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParamType {
    U8,
    U16,
    U32,
    U64,
    String,
    Bool,
}

impl ParamType {
    fn number(self) -> u8 {
        match self {
            ParamType::U8 => 1,
            ParamType::U16 => 2,
            ParamType::U32 => 3,
            ParamType::U64 => 4,
            ParamType::String => 5,
            ParamType::Bool => 6,
        }
    }

    fn put(self, out: &mut Writer, text: &str) {
        let number = || text.parse::<u64>().unwrap_or(0);
        match self {
            ParamType::U8 => {
                out.u8(PARAM_VALUE_DATA, number() as u8);
            }
            ParamType::U16 => {
                out.put(PARAM_VALUE_DATA, &(number() as u16).to_ne_bytes());
            }
            ParamType::U32 => {
                out.u32(PARAM_VALUE_DATA, number() as u32);
            }
            ParamType::U64 => {
                out.u64(PARAM_VALUE_DATA, number());
            }
            ParamType::String => {
                out.text(PARAM_VALUE_DATA, text);
            }
            ParamType::Bool if text == "true" => {
                out.flag(PARAM_VALUE_DATA);
            }
            ParamType::Bool => {}
        }
    }

    fn text(self, attrs: Attrs<'_>) -> Option<String> {
        let data = attrs.find(PARAM_VALUE_DATA);
        match self {
            ParamType::Bool => Some(data.is_some().to_string()),
            ParamType::String => Some(data?.text().to_owned()),
            ParamType::U8 | ParamType::U16 | ParamType::U32 | ParamType::U64 => {
                let width = match self {
                    ParamType::U8 => 1,
                    ParamType::U16 => 2,
                    ParamType::U64 => 8,
                    ParamType::U32 | ParamType::String | ParamType::Bool => 4,
                };
                data.filter(|data| data.payload.len() == width)?.number().map(|n| n.to_string())
            }
        }
    }
}

pub(super) fn get(state: &State, mode: Mode, payload: &[u8]) -> Answers {
    let attrs = Attrs(payload);
    let text = |kind| attrs.find(kind).map(|attr| attr.text().to_owned());
    if mode == Mode::Dump {
        let each = |nic: &SimNic| {
            nic.devlink_params.iter().map(|(n, p)| answer(nic, n, p)).collect::<Vec<_>>()
        };
        return Ok(state.machine.nics.iter().flat_map(each).collect());
    }
    let nic = named(state, &text(DEV_NAME).unwrap_or_default())?;
    let name = text(PARAM_NAME).unwrap_or_default();
    let param = nic.devlink_params.get(&name).ok_or_else(|| Refusal::errno(libc::EINVAL))?;
    Ok(vec![answer(nic, &name, param)])
}

fn named<'a>(state: &'a State, device: &str) -> Result<&'a SimNic, Refusal> {
    let is = |nic: &&SimNic| nic.pci.as_ref().is_some_and(|pci| pci.address == device);
    state.machine.nics.iter().find(is).ok_or_else(|| Refusal::errno(libc::ENODEV))
}

fn answer(nic: &SimNic, name: &str, param: &Param) -> Vec<u8> {
    let (mut out, mut inner, mut list) = (Writer::new(), Writer::new(), Writer::new());
    let modes = [&param.runtime, &param.driverinit, &param.permanent];
    for (mode, text) in modes.iter().enumerate() {
        let Some(text) = text else { continue };
        let mut value = Writer::new();
        param.kind.put(&mut value, text);
        value.u8(PARAM_VALUE_CMODE, mode as u8);
        list.nest(PARAM_VALUE, &value);
    }
    inner.text(PARAM_NAME, name).u8(PARAM_TYPE, param.kind.number());
    inner.nest(PARAM_VALUES_LIST, &list);
    let address = nic.pci.as_ref().map_or("", |pci| pci.address.as_str());
    out.text(BUS_NAME, "pci").text(DEV_NAME, address).nest(PARAM, &inner);
    out.into_bytes()
}

pub(super) fn set(state: &mut State, payload: &[u8]) -> Answers {
    let attrs = Attrs(payload);
    let text = |kind| attrs.find(kind).map(|attr| attr.text().to_owned());
    let number = |kind| attrs.find(kind).and_then(|attr| attr.number());
    let invalid = || Refusal::errno(libc::EINVAL);
    let nic = named(state, &text(DEV_NAME).unwrap_or_default())?;
    let (ifindex, name) = (nic.ifindex, text(PARAM_NAME).unwrap_or_default());
    let param = nic.devlink_params.get(&name).ok_or_else(invalid)?;
    if number(PARAM_TYPE) != Some(param.kind.number().into()) {
        return Err(Refusal::because(libc::EINVAL, "Configured parameter type mismatch"));
    }
    let value = param.kind.text(attrs).ok_or_else(invalid)?;
    let mode = number(PARAM_VALUE_CMODE).ok_or_else(invalid)?;
    write(state, ifindex, &name, mode, value).map(|()| Vec::new())
}

/// Somebody writes a value of this mode (DEVLINK_PARAM_CMODE_*).
pub(super) fn write(
    state: &mut State,
    ifindex: u32,
    name: &str,
    mode: u64,
    value: String,
) -> Result<(), Refusal> {
    let invalid = || Refusal::errno(libc::EINVAL);
    quirk::busy(state, ifindex, "devlink-param")?;
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(invalid)?;
    let ignored = quirk::ignored(nic, &format!("devlink-param.{name}"));
    let param = nic.devlink_params.get_mut(name).ok_or_else(invalid)?;
    let place = match mode {
        0 => &mut param.runtime,
        1 => &mut param.driverinit,
        _ => &mut param.permanent,
    };
    // A mode that the driver did not declare is EOPNOTSUPP.
    let place = place.as_mut().ok_or_else(|| Refusal::errno(libc::EOPNOTSUPP))?;
    if !ignored {
        *place = value;
    }
    Ok(())
}

/// For scripts and tests' own eyes: the value that the vocabulary means.
pub(super) fn value(nic: &SimNic, name: &str) -> Option<String> {
    let param = nic.devlink_params.get(name)?;
    param.runtime.clone().or(param.driverinit.clone()).or(param.permanent.clone())
}
