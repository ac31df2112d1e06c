//! Health reporters: what a device's driver says of its own state, by one devlink dump.
//!
//! Source: Documentation/networking/devlink/devlink-health.rst. Only states and counts are read: a
//! diagnosis or a dump asks the firmware, and can stall it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Notes;
use crate::host::{Ask, Genl, Host, Mode, tlv::Attrs};

const HEALTH_REPORTER_GET: u8 = 52;
const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const REPORTER: u16 = 114;
const REPORTER_NAME: u16 = 115;
const REPORTER_STATE: u16 = 116;
const REPORTER_ERR_COUNT: u16 = 117;
const REPORTER_RECOVER_COUNT: u16 = 118;

/// One reporter: `fw`, `fw_fatal`, `tx`, `rx`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reporter {
    pub name: String,
    pub state: Health,
    /// Since the driver was loaded.
    pub errors: u64,
    pub recoveries: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Healthy,
    Error,
}

/// The reporters of every PCI device, by address, sorted; those of its ports too.
pub(super) fn dump(host: &dyn Host, notes: &mut Notes) -> BTreeMap<String, Vec<Reporter>> {
    let ask = Ask::Genl {
        family: Genl::Devlink,
        command: HEALTH_REPORTER_GET,
        mode: Mode::Dump,
        payload: Vec::new(),
    };
    let answers = notes.or_nothing(host.request(&ask), "read devlink's health reporters");
    let mut devices: BTreeMap<String, Vec<Reporter>> = BTreeMap::new();
    for (address, reporter) in answers.iter().filter_map(|answer| parse(answer)) {
        devices.entry(address).or_default().push(reporter);
    }
    devices.values_mut().for_each(|reporters| reporters.sort());
    devices
}

fn parse(answer: &[u8]) -> Option<(String, Reporter)> {
    let attrs = Attrs(answer);
    if attrs.find(BUS_NAME)?.text() != "pci" {
        return None;
    }
    let reporter = attrs.find(REPORTER)?.nested();
    let number = |kind| reporter.find(kind).and_then(|attr| attr.number());
    let state = match number(REPORTER_STATE)? {
        0 => Health::Healthy,
        _ => Health::Error,
    };
    let found = Reporter {
        name: reporter.find(REPORTER_NAME)?.text().to_owned(),
        state,
        errors: number(REPORTER_ERR_COUNT).unwrap_or(0),
        recoveries: number(REPORTER_RECOVER_COUNT).unwrap_or(0),
    };
    Some((attrs.find(DEV_NAME)?.text().to_owned(), found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tlv::Writer;

    #[test]
    fn states_and_counts_are_read_and_damage_is_survived() {
        let (mut reporter, mut answer) = (Writer::new(), Writer::new());
        reporter.text(REPORTER_NAME, "tx").u8(REPORTER_STATE, 1);
        reporter.u64(REPORTER_ERR_COUNT, 7).u64(REPORTER_RECOVER_COUNT, 6);
        answer.text(BUS_NAME, "pci").text(DEV_NAME, "0000:3b:00.0").nest(REPORTER, &reporter);
        let whole = answer.into_bytes();
        let (address, found) = parse(&whole).unwrap();
        assert_eq!(address, "0000:3b:00.0");
        let expected =
            Reporter { name: "tx".to_owned(), state: Health::Error, errors: 7, recoveries: 6 };
        assert_eq!(found, expected);
        (0..whole.len()).for_each(|length| drop(parse(&whole[..length])));
    }
}
