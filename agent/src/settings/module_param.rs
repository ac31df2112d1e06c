//! `module-param.<module>.<name>`: parameters of kernel modules, of the whole host.
//!
//! Source: kernel/params.c; a parameter's permission bits say whether it may be written while the
//! module is loaded. What is not writable takes effect at a reload, which is not nicmend's to do.

use std::path::PathBuf;

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};

use super::plain;
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic},
    setting::{Change, Current, Family, Readings},
};

pub struct ModuleParam;

/// More than any module has.
const PARAMETERS_MAX: usize = 256;

impl Family for ModuleParam {
    fn name(&self) -> &'static str {
        "module-param"
    }

    /// The parameters of each NIC's own driver module, each module's read once.
    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        let mut known: Vec<(&str, Readings)> = Vec::new();
        let mut answers = Vec::new();
        for nic in nics {
            let found = known.iter().find(|(module, _)| *module == nic.driver);
            let readings = match found {
                Some((_, readings)) => readings.clone(),
                None => {
                    let readings = of_module(host, &nic.driver);
                    known.push((&nic.driver, readings.clone()));
                    readings
                }
            };
            answers.push(readings);
        }
        answers
    }

    fn read(&self, host: &dyn Host, _nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        names.iter().map(|name| current(host, name)).collect()
    }

    fn resolve(
        &self,
        _host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        now: &Current,
    ) -> Result<Value> {
        let act = plain::setting(name, &nic.name);
        if let Some(why) = &now.fixed {
            return Err(Fault::new(Kind::Unsupported, act, why.clone()));
        }
        let text = plain::text(&act, wanted)?;
        // The kernel prints a boolean as Y or N, whichever way it was written.
        let boolean = now.value == text_value("Y") || now.value == text_value("N");
        Ok(match (boolean, text.as_str()) {
            (true, "1" | "y" | "Y" | "on" | "true") => text_value("Y"),
            (true, "0" | "n" | "N" | "off" | "false") => text_value("N"),
            (true | false, _) => Value::Text(text),
        })
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        plain::one_by_one(changes)
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        for change in batch {
            let act = format!("set {} to {}", change.name, change.to);
            let Value::Text(text) = &change.to else {
                return Err(plain::wrong_kind(change, &nic.name));
            };
            host.write(&path_of(&change.name)?, text).map_err(|fault| fault.during(act))?;
        }
        Ok(())
    }

    fn disruption(&self, _nic: &Nic, name: &Name) -> Disruption {
        name.setting().disruption
    }

    fn disturbs(&self, _nic: &Nic, name: &Name) -> Vec<&'static str> {
        name.setting().disturbs.to_vec()
    }

    fn by_hand(&self, _nic: &Nic, batch: &[Change]) -> Vec<String> {
        let line = |change: &Change| {
            let path = path_of(&change.name).ok()?;
            Some(plain::echo(&change.to.to_string(), &path.display().to_string()))
        };
        batch.iter().filter_map(line).collect()
    }
}

fn text_value(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn of_module(host: &dyn Host, module: &str) -> Readings {
    let names = PathBuf::from(format!("/sys/module/{module}/parameters"));
    let names = match is_word(module) {
        true => host.list(&names).unwrap_or_default(),
        false => Vec::new(),
    };
    let outcomes = names.iter().take(PARAMETERS_MAX).filter_map(|parameter| {
        let name = plain::name(&format!("module-param.{module}.{parameter}"))?;
        let outcome = current(host, &name);
        Some((name, outcome))
    });
    plain::readings(outcomes)
}

fn current(host: &dyn Host, name: &Name) -> Result<Current> {
    let path = path_of(name)?;
    let none = "the module is not loaded, or shows no such parameter";
    let text = host.read(&path).map_err(|f| plain::absent(f, &format!("read {name}"), none))?;
    let mut current = Current::of(Value::text(&text));
    if !host.mode(&path).is_ok_and(|mode| mode & 0o222 != 0) {
        current.fixed =
            Some("takes effect when the module is loaded; not writable before".to_owned());
    } else if current.value == text_value("") {
        current.fixed = Some("empty now, which could not be written back".to_owned());
    }
    Ok(current)
}

/// `/sys/module/MODULE/parameters/NAME`. Neither part can be a path of its own.
fn path_of(name: &Name) -> Result<PathBuf> {
    match name.rest().split_once('.') {
        Some((module, parameter)) if is_word(module) && is_word(parameter) => {
            // The kernel calls a module by underscores, whatever its file is called.
            let module = module.replace('-', "_");
            Ok(PathBuf::from(format!("/sys/module/{module}/parameters/{parameter}")))
        }
        Some(_) | None => {
            let cause = "a module parameter is named module-param.<module>.<name>";
            Err(Fault::new(Kind::Invalid, format!("find {name}"), cause))
        }
    }
}

fn is_word(text: &str) -> bool {
    let sign = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(sign)
}
