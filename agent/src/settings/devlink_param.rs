//! `devlink-param.*`: parameters that a device's driver shows by devlink, at run time.
//!
//! Source: include/uapi/linux/devlink.h, Documentation/networking/devlink/devlink-params.rst. A
//! parameter has values by configuration mode. The one of mode `runtime` is in force at once and gone
//! with the driver: writing the old one back undoes it. One of mode `driverinit` or `permanent` takes
//! effect at a reload or a reset, which writing it back does not undo: it is listed, and not written.

use std::collections::BTreeMap;

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};

use super::{disruption, plain, words::quote};
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Genl, Host, Mode, Nic,
        tlv::{Attrs, Writer},
    },
    setting::{Change, Current, Family, Readings},
};

const PARAM_GET: u8 = 38;
const PARAM_SET: u8 = 39;
const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const PARAM: u16 = 80;
const PARAM_NAME: u16 = 81;
const PARAM_TYPE: u16 = 83;
const PARAM_VALUES_LIST: u16 = 84;
const PARAM_VALUE: u16 = 85;
const PARAM_VALUE_DATA: u16 = 86;
const PARAM_VALUE_CMODE: u16 = 87;
/// DEVLINK_PARAM_CMODE_*.
const RUNTIME: u8 = 0;
const DRIVERINIT: u8 = 1;
/// Longer strings than __DEVLINK_PARAM_MAX_STRING_VALUE are refused by the kernel.
const STRING_BYTES_MAX: usize = 32;

/// The family of devlink parameters.
#[derive(Debug)]
pub(super) struct DevlinkParam;

/// How a value travels: the kernel's NLA_U8, NLA_U16, NLA_U32, NLA_U64, NLA_STRING, NLA_FLAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    U8,
    U16,
    U32,
    U64,
    Text,
    /// There for true, absent for false.
    Flag,
}

impl Type {
    fn of(number: u64) -> Option<Type> {
        Some(match number {
            1 => Type::U8,
            2 => Type::U16,
            3 => Type::U32,
            4 => Type::U64,
            5 => Type::Text,
            6 => Type::Flag,
            _ => return None,
        })
    }

    fn number(self) -> u8 {
        match self {
            Type::U8 => 1,
            Type::U16 => 2,
            Type::U32 => 3,
            Type::U64 => 4,
            Type::Text => 5,
            Type::Flag => 6,
        }
    }

    fn max(self) -> Option<u64> {
        match self {
            Type::U8 => Some(u8::MAX.into()),
            Type::U16 => Some(u16::MAX.into()),
            Type::U32 => Some(u32::MAX.into()),
            Type::U64 => Some(u64::MAX),
            Type::Text | Type::Flag => None,
        }
    }
}

/// One parameter of one device.
struct Parameter {
    kind: Type,
    /// The value of mode `runtime`.
    runtime: Option<String>,
    /// Of another mode, which takes effect later.
    later: Option<(&'static str, String)>,
}

impl Family for DevlinkParam {
    fn name(&self) -> &'static str {
        "devlink-param"
    }

    /// One dump over all devices. A NIC without any has nothing to name, so nothing is listed as
    /// unsupported either.
    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        let ask = Ask::Genl {
            family: Genl::Devlink,
            command: PARAM_GET,
            mode: Mode::Dump,
            payload: Vec::new(),
        };
        let mut devices: BTreeMap<String, Readings> = BTreeMap::new();
        for answer in host.request(&ask).unwrap_or_default() {
            let Some((address, name, parameter)) = parse(&answer) else { continue };
            let readings = devices.entry(address).or_default();
            if let Ok(name) = Name::try_from(format!("devlink-param.{name}")) {
                readings.supported.insert(name, current(&parameter));
            }
        }
        let of = |nic: &Nic| devices.get(nic.pci.as_ref()?).cloned();
        nics.iter().map(|nic| of(nic).unwrap_or_default()).collect()
    }

    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        names.iter().map(|name| get(host, nic, name).map(|found| current(&found))).collect()
    }

    fn resolve(
        &self,
        host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        now: &Current,
    ) -> Result<Value> {
        let act = plain::setting(name, &nic.name);
        let text = plain::text(&act, wanted)?;
        let kind = get(host, nic, name)?.kind;
        let value = Value::Text(canonical(kind, &text).map_err(|why| invalid(&act, why))?);
        match &now.fixed {
            Some(why) if now.value != value => Err(Fault::new(Kind::Unsupported, act, why.clone())),
            Some(_) | None => Ok(value),
        }
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        plain::one_by_one(changes)
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        for change in batch {
            let act = plain::change(change, &nic.name);
            let Value::Text(text) = &change.to else {
                return Err(plain::wrong_kind(change, &nic.name));
            };
            let kind = get(host, nic, &change.name)?.kind;
            let mut body = address(nic, &change.name)?;
            body.u8(PARAM_TYPE, kind.number()).u8(PARAM_VALUE_CMODE, RUNTIME);
            put(&mut body, kind, text).map_err(|why| invalid(&act, why))?;
            let (family, command, mode) = (Genl::Devlink, PARAM_SET, Mode::Do);
            let ask = Ask::Genl { family, command, mode, payload: body.into_bytes() };
            host.request(&ask).map_err(|fault| fault.during(act))?;
        }
        Ok(())
    }

    fn disruption(&self, nic: &Nic, name: &Name) -> Disruption {
        disruption::of(nic, name)
    }

    fn disturbs(&self, nic: &Nic, name: &Name) -> Vec<&'static str> {
        disruption::disturbed(nic, name)
    }

    fn by_hand(&self, nic: &Nic, batch: &[Change]) -> Vec<String> {
        let Some(device) = &nic.pci else { return Vec::new() };
        let line = |change: &Change| {
            let (name, value) = (quote(change.name.rest()), quote(&change.to.to_string()));
            format!("devlink dev param set pci/{device} name {name} value {value} cmode runtime")
        };
        batch.iter().map(line).collect()
    }
}

fn invalid(act: &str, why: String) -> Fault {
    Fault::new(Kind::Invalid, act, why)
}

fn address(nic: &Nic, name: &Name) -> Result<Writer> {
    let act = || format!("find {name} of {}", nic.name);
    let device = nic
        .pci
        .as_ref()
        .ok_or_else(|| Fault::new(Kind::Unsupported, act(), "only a PCI device has parameters"))?;
    let mut body = Writer::new();
    body.text(BUS_NAME, "pci").text(DEV_NAME, device).text(PARAM_NAME, name.rest());
    Ok(body)
}

fn get(host: &dyn Host, nic: &Nic, name: &Name) -> Result<Parameter> {
    let act = format!("read {name} on {}", nic.name);
    let payload = address(nic, name)?.into_bytes();
    let (family, command, mode) = (Genl::Devlink, PARAM_GET, Mode::Do);
    let none = |fault: Fault| match fault.kind {
        // ENODEV: no devlink device; EINVAL: no such parameter of it.
        Kind::Gone | Kind::Invalid | Kind::Unsupported => {
            Fault::new(Kind::Unsupported, &act, "the driver has no such parameter")
        }
        Kind::Busy | Kind::Denied | Kind::Drift | Kind::Malformed | Kind::Held | Kind::Io => {
            fault.during(&act)
        }
    };
    let answers = host.request(&Ask::Genl { family, command, mode, payload }).map_err(none)?;
    let found = answers.first().and_then(|answer| parse(answer));
    let strange = || Fault::new(Kind::Malformed, &act, "its type or value is not known here");
    found.map(|(_, _, parameter)| parameter).ok_or_else(strange)
}

/// The device's PCI address, the parameter's name, the parameter.
fn parse(answer: &[u8]) -> Option<(String, String, Parameter)> {
    let attrs = Attrs(answer);
    if attrs.find(BUS_NAME)?.text() != "pci" {
        return None;
    }
    let parameter = attrs.find(PARAM)?.nested();
    let kind = Type::of(parameter.find(PARAM_TYPE)?.number()?)?;
    let mut found = Parameter { kind, runtime: None, later: None };
    for value in parameter.find(PARAM_VALUES_LIST)?.nested().filter(|v| v.kind == PARAM_VALUE) {
        let mode = u8::try_from(value.nested().find(PARAM_VALUE_CMODE)?.number()?).ok()?;
        let text = text_of(kind, value.nested())?;
        match mode {
            RUNTIME => found.runtime = Some(text),
            DRIVERINIT => found.later = Some(("driverinit", text)),
            _ => found.later = found.later.or(Some(("permanent", text))),
        }
    }
    let name = parameter.find(PARAM_NAME)?.text().to_owned();
    Some((attrs.find(DEV_NAME)?.text().to_owned(), name, found))
}

fn text_of(kind: Type, value: Attrs<'_>) -> Option<String> {
    let data = value.find(PARAM_VALUE_DATA);
    Some(match kind {
        Type::Flag => data.is_some().to_string(),
        Type::Text => data?.text().to_owned(),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => data?.number()?.to_string(),
    })
}

fn current(parameter: &Parameter) -> Current {
    let (value, fixed) = match (&parameter.runtime, &parameter.later) {
        (Some(text), _) => (text.clone(), None),
        (None, Some((mode, text))) => {
            let why = format!("{mode}: it takes effect at a reload or reset, not at run time");
            (text.clone(), Some(why))
        }
        (None, None) => (String::new(), Some("it has no value".to_owned())),
    };
    Current { max: parameter.kind.max(), fixed, ..Current::of(Value::Text(value)) }
}

/// One spelling a value, as a read gives it.
fn canonical(kind: Type, text: &str) -> Result<String, String> {
    match kind {
        Type::Flag => match text {
            "1" | "true" | "on" => Ok("true".to_owned()),
            "0" | "false" | "off" => Ok("false".to_owned()),
            _ => Err("it takes true or false".to_owned()),
        },
        Type::Text if text.len() < STRING_BYTES_MAX => Ok(text.to_owned()),
        Type::Text => Err(format!("it takes less than {STRING_BYTES_MAX} bytes")),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => {
            let max = kind.max().unwrap_or(0);
            let number: u64 = text.parse().map_err(|_| "it takes a whole number".to_owned())?;
            match number <= max {
                true => Ok(number.to_string()),
                false => Err(format!("above its limit of {max}")),
            }
        }
    }
}

fn put(body: &mut Writer, kind: Type, text: &str) -> Result<(), String> {
    let text = canonical(kind, text)?;
    let number = || text.parse::<u64>().unwrap_or(0);
    match kind {
        Type::Flag if text == "true" => {
            body.flag(PARAM_VALUE_DATA);
        }
        Type::Flag => {}
        Type::Text => {
            body.text(PARAM_VALUE_DATA, &text);
        }
        Type::U8 => {
            body.u8(PARAM_VALUE_DATA, number() as u8);
        }
        Type::U16 => {
            body.put(PARAM_VALUE_DATA, &(number() as u16).to_ne_bytes());
        }
        Type::U32 => {
            body.u32(PARAM_VALUE_DATA, number() as u32);
        }
        Type::U64 => {
            body.u64(PARAM_VALUE_DATA, number());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_one_spelling_and_their_types_limits() {
        assert_eq!(canonical(Type::Flag, "1").unwrap(), "true");
        assert_eq!(canonical(Type::U8, "255").unwrap(), "255");
        assert_eq!(canonical(Type::U16, "007").unwrap(), "7");
        for (kind, text) in [
            (Type::U8, "256"),
            (Type::U16, "65536"),
            (Type::U32, "4294967296"),
            (Type::U64, "-1"),
            (Type::Flag, "yes"),
            (Type::Text, "0123456789abcdef0123456789abcdef"),
        ] {
            assert!(canonical(kind, text).is_err(), "{kind:?} {text}");
        }
    }

    #[test]
    fn damaged_answers_are_survived() {
        let (mut value, mut list, mut param, mut whole) =
            (Writer::new(), Writer::new(), Writer::new(), Writer::new());
        value.u8(PARAM_VALUE_CMODE, RUNTIME).u32(PARAM_VALUE_DATA, 64);
        list.nest(PARAM_VALUE, &value);
        param.text(PARAM_NAME, "max_macs").u8(PARAM_TYPE, 3).nest(PARAM_VALUES_LIST, &list);
        whole.text(BUS_NAME, "pci").text(DEV_NAME, "0000:3b:00.0").nest(PARAM, &param);
        let whole = whole.into_bytes();
        let (address, name, parameter) = parse(&whole).unwrap();
        assert_eq!((address.as_str(), name.as_str()), ("0000:3b:00.0", "max_macs"));
        assert_eq!(parameter.runtime.as_deref(), Some("64"));
        (0..whole.len()).for_each(|length| drop(parse(&whole[..length])));
        for position in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[position] ^= 0xff;
            let _ = parse(&bytes);
        }
    }
}
