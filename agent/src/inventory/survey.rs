//! Every setting of every NIC: one survey a family over all NICs at once.

use std::collections::BTreeMap;

use playbooks::{
    Name,
    vocabulary::{self, Scope, Setting},
};

use super::{
    Skip,
    hazard::{Careful, read_of_family, refusal, why},
};
use crate::{
    host::Nic,
    setting::{Current, Family, Readings, SETTINGS},
};

/// What was read, NIC by NIC in the order asked, and what belongs to the host.
#[derive(Debug, Default)]
pub(super) struct Surveyed {
    pub(super) nics: Vec<Settings>,
    pub(super) host: Settings,
}

#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) supported: BTreeMap<Name, Current>,
    pub(super) unsupported: BTreeMap<Name, String>,
    pub(super) skips: Vec<Skip>,
}

pub(super) fn all(host: &Careful<'_>, nics: &[Nic]) -> Surveyed {
    let mut surveyed = Surveyed::default();
    surveyed.nics.resize_with(nics.len(), Settings::default);
    for &family in SETTINGS {
        // What is the host's own is the same seen from every NIC: one is asked.
        let asked = if is_of_host(family) { &nics[..nics.len().min(1)] } else { nics };
        one(host, family, asked, &mut surveyed);
    }
    surveyed
}

fn one(host: &Careful<'_>, family: &dyn Family, nics: &[Nic], surveyed: &mut Surveyed) {
    let read = read_of_family(family.name());
    let mut safe = Vec::with_capacity(nics.len());
    let mut places = Vec::with_capacity(nics.len());
    for (place, nic) in nics.iter().enumerate() {
        match refusal(host, nic, read) {
            Some(issue) => surveyed.nics[place].skip(family, issue),
            None => {
                safe.push(nic.clone());
                places.push(place);
            }
        }
    }
    if safe.is_empty() {
        return;
    }
    for (place, readings) in places.into_iter().zip(family.survey(host, &safe)) {
        surveyed.take(place, readings);
    }
}

impl Surveyed {
    fn take(&mut self, place: usize, readings: Readings) {
        for (name, current) in readings.supported {
            let home = if belongs_to_host(&name) { &mut self.host } else { &mut self.nics[place] };
            home.supported.insert(name, current);
        }
        for (name, reason) in readings.unsupported {
            let home = if belongs_to_host(&name) { &mut self.host } else { &mut self.nics[place] };
            home.unsupported.insert(name, reason);
        }
    }
}

impl Settings {
    fn skip(&mut self, family: &dyn Family, issue: &firmware_catalog::Issue) {
        let prefix = format!("{}.", family.name());
        let rows = vocabulary::SETTINGS.iter().filter(|row| row.name.starts_with(&prefix));
        for name in rows.filter_map(|row| Name::try_from(row.name).ok()) {
            self.unsupported.insert(name, why(issue));
        }
        self.skips.push(Skip {
            issue: issue.id.clone(),
            family: family.name().to_owned(),
            why: issue.symptom.clone(),
            source: issue.source.clone(),
        });
    }
}

/// Whether a setting is shared by all NICs of the namespace or host. A module's parameters are kept
/// with the NICs that the module drives, shared or not.
fn belongs_to_host(name: &Name) -> bool {
    let is_of_host = |row: &Setting| match row.scope {
        Scope::Host | Scope::Netns => true,
        Scope::Nic | Scope::Device => false,
    };
    match name.family() {
        "sysctl" => true,
        "module-param" => false,
        // Most families have no such member, and finding a name's row costs a walk.
        family => FAMILIES_WITH_HOST_SETTINGS.contains(&family) && is_of_host(name.setting()),
    }
}

/// Of the families that are asked NIC by NIC, those of which the host has a part.
const FAMILIES_WITH_HOST_SETTINGS: [&str; 1] = ["napi"];

fn is_of_host(family: &dyn Family) -> bool {
    family.name() == "sysctl"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_the_host_is_told_with_the_host() {
        for row in vocabulary::SETTINGS.iter().filter(|row| !row.name.ends_with('*')) {
            let name = Name::try_from(row.name).unwrap();
            let shared = matches!(row.scope, Scope::Host | Scope::Netns);
            assert_eq!(belongs_to_host(&name), shared, "{name}");
        }
    }
}
