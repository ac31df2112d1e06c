//! Everything a plan needs to know of the machine, read through the door in one go.

use std::{collections::BTreeMap, path::Path};

use playbooks::{Name, Playbook, Value, Wanted};

use crate::{
    fault::Result,
    host::{Host, Nic, NicId, nic},
    plan::{Facts, HostId},
    setting::{Current, SETTINGS, family_of},
};

/// Reads what planning this playbook on this NIC needs. Changes nothing.
pub fn facts(
    host: &dyn Host,
    nic_name: &str,
    playbook: &Playbook,
    firmware: Option<String>,
) -> Result<Facts> {
    let nic = nic::find(host, nic_name)?;
    let wanted: Vec<&Name> =
        playbook.stages.iter().flat_map(|s| &s.settings).map(|(name, _)| name).collect();
    let mut families: Vec<&str> = wanted.iter().map(|name| name.family()).collect();
    for name in &wanted {
        if let Ok(family) = family_of(name) {
            // A disturbed setting is given by its family or by its full name.
            families.extend(family.disturbs(&nic, name).iter().map(|d| head(d)));
        }
    }
    let (mut settings, mut unsupported) = (BTreeMap::new(), BTreeMap::new());
    for family in SETTINGS.iter().filter(|family| families.contains(&family.name())) {
        for readings in family.survey(host, std::slice::from_ref(&nic)) {
            settings.extend(readings.supported);
            unsupported.extend(readings.unsupported);
        }
    }
    // A survey lists the known; a playbook may name more (a sysctl outside the surveyed list).
    for name in wanted {
        if !settings.contains_key(name) && !unsupported.contains_key(name) {
            match read_one(host, &nic, name) {
                Ok(current) => drop(settings.insert(name.clone(), current)),
                Err(fault) => drop(unsupported.insert(name.clone(), fault.to_string())),
            }
        }
    }
    let resolve = |(name, wanted): &(Name, Wanted)| {
        (name.clone(), resolve(host, &nic, name, wanted, &settings, &unsupported))
    };
    let resolved =
        playbook.stages.iter().map(|stage| stage.settings.iter().map(resolve).collect()).collect();
    let host = host_id(host, &nic);
    Ok(Facts { host, nic, firmware, settings, unsupported, resolved })
}

fn head(setting: &str) -> &str {
    setting.split_once('.').map_or(setting, |(family, _)| family)
}

fn read_one(host: &dyn Host, nic: &Nic, name: &Name) -> Result<Current> {
    let names = [name.clone()];
    let mut read = family_of(name)?.read(host, nic, &names);
    read.pop().unwrap_or_else(|| {
        Err(crate::fault::Fault::new(
            crate::fault::Kind::Malformed,
            format!("read {name} on {}", nic.name),
            "no answer",
        ))
    })
}

fn resolve(
    host: &dyn Host,
    nic: &Nic,
    name: &Name,
    wanted: &Wanted,
    settings: &BTreeMap<Name, Current>,
    unsupported: &BTreeMap<Name, String>,
) -> Result<Value, String> {
    let Some(current) = settings.get(name) else {
        let why = unsupported.get(name).cloned();
        return Err(why.unwrap_or_else(|| "this NIC does not have it".to_owned()));
    };
    let family = family_of(name).map_err(|fault| fault.cause)?;
    let value = family.resolve(host, nic, name, wanted, current).map_err(|fault| fault.cause)?;
    match &current.fixed {
        Some(why) if current.value != value => Err(why.clone()),
        Some(_) | None => Ok(value),
    }
}

/// Which host this is, and which network namespace of it.
pub fn host_id(host: &dyn Host, nic: &Nic) -> HostId {
    let line = |path: &str| {
        host.read(Path::new(path)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let netns = match &nic.id {
        NicId::Virtual { netns, .. } => *netns,
        NicId::Pci { .. } => netns(host),
    };
    HostId {
        name: line("/proc/sys/kernel/hostname"),
        machine: line("/etc/machine-id"),
        kernel: line("/proc/sys/kernel/osrelease"),
        netns,
    }
}

/// The inode of the network namespace we are in: `net:[4026531840]` is how the kernel names it.
pub fn netns(host: &dyn Host) -> u64 {
    let link = host.target(Path::new("/proc/thread-self/ns/net")).unwrap_or_default();
    let digits: String = link.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}
