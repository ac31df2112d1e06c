//! Everything a plan needs to know of the machine, read through the door in one go.

use std::{collections::BTreeMap, path::Path};

use playbooks::{Name, Playbook, Value, Wanted};

use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic, NicId, nic},
    inventory::{
        Inventory, NicFacts, Skip,
        hazard::{Careful, Reach},
    },
    plan::{Facts, HostId},
    setting::{Current, family_of},
    settings::cpus::{self, Share},
};

/// What planning this playbook on the inventory's NIC needs. Changes nothing; reads again only what
/// the inventory could not tell for certain, past what is known to hang this driver on this kernel.
pub fn facts(
    host: &dyn Host,
    inventory: &Inventory,
    subject: &NicFacts,
    playbook: &Playbook,
) -> Result<Facts> {
    let nic = nic::find(host, &subject.name)?;
    let nics = [nic.clone()];
    let careful = Careful::new(host, &nics, Reach::Given);
    let host: &dyn Host = &careful;
    let wanted = wanted(playbook);
    let families = families(&nic, &wanted);
    let both = |nic: &BTreeMap<Name, Current>, host: &BTreeMap<Name, Current>| {
        let all = nic.iter().chain(host);
        all.filter(|(name, _)| families.contains(&name.family()))
            .map(|(name, current)| (name.clone(), current.clone()))
            .collect::<BTreeMap<Name, Current>>()
    };
    let mut settings = both(&subject.settings, &inventory.host.settings);
    let mut unsupported = subject.unsupported.clone();
    unsupported.extend(inventory.host.unsupported.clone());
    settle_doubts(host, &nic, &wanted, &families, &mut settings, &mut unsupported)?;
    let mut resolved = Vec::with_capacity(playbook.stages.len());
    let mut queues = Queues::of(&settings);
    for stage in &playbook.stages {
        let mut row: Vec<(Name, Result<Value, String>)> = Vec::new();
        for (name, wanted) in &stage.settings {
            let value = resolve(host, &nic, name, wanted, &settings, &unsupported);
            if let Ok(value) = &value {
                queues.learn(name, value);
            }
            row.push((name.clone(), value));
        }
        for ((name, wanted), (_, value)) in stage.settings.iter().zip(&mut row) {
            if let Some(lists) = queues.deal(host, &nic, name, wanted, &settings) {
                *value = lists;
            }
        }
        resolved.push(row);
    }
    let host = host_id(host, &nic);
    let firmware = subject.firmware.running.clone();
    let (warnings, firmware_stages) = (Vec::new(), Vec::new());
    Ok(Facts { host, nic, firmware, settings, unsupported, warnings, resolved, firmware_stages })
}

/// What the inventory left unread though this playbook needs it, if anything.
pub fn skipped<'n>(
    host: &dyn Host,
    subject: &'n NicFacts,
    playbook: &Playbook,
) -> Result<Option<&'n Skip>> {
    if subject.skips.is_empty() {
        return Ok(None);
    }
    let nic = nic::find(host, &subject.name)?;
    let wanted = wanted(playbook);
    let families = families(&nic, &wanted);
    Ok(subject.skips.iter().find(|skip| families.contains(&skip.family.as_str())))
}

fn wanted(playbook: &Playbook) -> Vec<&Name> {
    playbook.stages.iter().flat_map(|s| &s.settings).map(|(name, _)| name).collect()
}

/// The families of these settings and of those that they disturb.
fn families<'p>(nic: &Nic, wanted: &[&'p Name]) -> Vec<&'p str> {
    let mut families: Vec<&str> = wanted.iter().map(|name| name.family()).collect();
    for name in wanted {
        if let Ok(family) = family_of(name) {
            // A disturbed setting is given by its family or by its full name.
            families.extend(family.disturbs(nic, name).iter().map(|d| head(d)));
        }
    }
    families
}

/// How many queues of each kind there are, and how many there will be when the playbook has changed
/// the channels: CPUs are dealt to the queues that are there when the lists are written.
struct Queues {
    /// `combined`, `rx`, `tx`: as they are.
    now: [u64; 3],
    then: [u64; 3],
}

const CHANNELS: [&str; 3] = ["channels.combined", "channels.rx", "channels.tx"];

impl Queues {
    fn of(settings: &BTreeMap<Name, Current>) -> Queues {
        let count = |channel: &str| {
            let found = settings.iter().find(|(name, _)| name.as_str() == channel);
            found.and_then(|(_, current)| current.value.as_number()).unwrap_or(0)
        };
        let now = CHANNELS.map(count);
        Queues { now, then: now }
    }

    fn learn(&mut self, name: &Name, value: &Value) {
        let channel = CHANNELS.iter().position(|channel| *channel == name.as_str());
        if let (Some(index), Some(count)) = (channel, value.as_number()) {
            self.then[index] = count;
        }
    }

    /// How many queues a per-queue setting has, of these channels.
    fn count(channels: [u64; 3], name: &Name) -> u64 {
        let [combined, rx, tx] = channels;
        match name.family() {
            "rps" => combined + rx,
            "xps" => combined + tx,
            // One interrupt serves a pair where channels are combined; else one each way.
            _ => combined + rx + tx,
        }
    }

    /// The lists of a per-queue setting for the coming number of queues, where that is another one.
    fn deal(
        &self,
        host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        settings: &BTreeMap<Name, Current>,
    ) -> Option<Result<Value, String>> {
        let per_queue = matches!(name.family(), "irq" | "xps" | "rps");
        let Some(Value::Texts(lists)) = settings.get(name).map(|current| &current.value) else {
            return None;
        };
        let (now, then) = (Queues::count(self.now, name), Queues::count(self.then, name));
        if !per_queue || then == now || lists.len() as u64 != now {
            return None;
        }
        let numbers: Vec<u32> = (0..u32::try_from(then).unwrap_or(0)).collect();
        match cpus::share(host, nic, wanted, &format!("deal CPUs for {name}")) {
            Ok(Share::Dealt(cpus)) => Some(Ok(Value::Texts(cpus.deal(&numbers)))),
            Ok(Share::Each(_) | Share::Default) => None,
            Err(fault) => Some(Err(fault.cause)),
        }
    }
}

/// A survey says in words why a setting is not there. Where the plan depends on it, "the driver has
/// none" must be told from "it could not be read just now": a disturbed setting that was taken for
/// absent would not be put back. A playbook may also name what a survey does not list.
fn settle_doubts(
    host: &dyn Host,
    nic: &Nic,
    wanted: &[&Name],
    families: &[&str],
    settings: &mut BTreeMap<Name, Current>,
    unsupported: &mut BTreeMap<Name, String>,
) -> Result<()> {
    let fixed = playbooks::vocabulary::SETTINGS.iter().map(|row| row.name);
    let of_interest = fixed
        .filter(|name| families.contains(&head(name)) && !name.ends_with(".*"))
        .filter_map(|name| Name::try_from(name).ok());
    let named = wanted.iter().map(|name| (*name).clone());
    let listed = unsupported.keys().filter(|n| families.contains(&n.family())).cloned();
    let doubts: std::collections::BTreeSet<Name> =
        of_interest.chain(named).chain(listed).filter(|n| !settings.contains_key(n)).collect();
    for name in doubts {
        match read_one(host, nic, &name) {
            Ok(current) => {
                unsupported.remove(&name);
                settings.insert(name, current);
            }
            Err(fault) if fault.kind == Kind::Unsupported => {
                unsupported.entry(name).or_insert(fault.cause);
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

fn head(setting: &str) -> &str {
    setting.split_once('.').map_or(setting, |(family, _)| family)
}

fn read_one(host: &dyn Host, nic: &Nic, name: &Name) -> Result<Current> {
    let names = [name.clone()];
    let mut read = family_of(name)?.read(host, nic, &names);
    read.pop().unwrap_or_else(|| {
        let act = format!("read {name} on {}", nic.name);
        Err(Fault::new(Kind::Malformed, act, "no answer"))
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
