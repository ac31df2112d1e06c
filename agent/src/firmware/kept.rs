//! What a restart takes from a device's ports, kept beforehand and compared after.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use playbooks::{
    Name, Value,
    vocabulary::{Persistence, Scope},
};
use serde::{Deserialize, Serialize};

use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic, NicId},
    inventory::hazard::{Careful, Reach},
    setting::SETTINGS,
    surroundings::{self, Surroundings},
};

/// The version of this blob's format.
const FORMAT: u32 = 1;

/// All ports of a device, as they were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    pub format: u32,
    pub ports: Vec<KeptPort>,
    /// Names, addresses, routes, stacked interfaces and what else stands around them.
    pub surroundings: Surroundings,
}

/// One port: every setting that can be written and that a restart loses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeptPort {
    pub id: NicId,
    pub name: String,
    /// The interface that it was then; another one has nothing of it. 0: not known.
    #[serde(default)]
    pub ifindex: u32,
    /// It had a link. `false` too where that was not known.
    #[serde(default)]
    pub carrier: bool,
    pub settings: Vec<(Name, Value)>,
}

/// Takes stock of the ports.
pub fn take(host: &dyn Host, ports: &[Nic]) -> Result<Kept> {
    let careful = Careful::new(host, ports, Reach::Given);
    let mut settings: Vec<BTreeMap<Name, Value>> = vec![BTreeMap::new(); ports.len()];
    for family in SETTINGS {
        let surveyed = ports.iter().zip(family.survey(&careful, ports));
        for (of, (nic, readings)) in settings.iter_mut().zip(surveyed) {
            let mut found = readings.supported;
            // A survey says in words why a setting is not there; what could not be read just now would
            // be taken for absent, and not be put back.
            let doubts = doubts(family.name(), &readings.unsupported);
            for name in doubts {
                if found.contains_key(&name) {
                    continue;
                }
                let read = family.read(&careful, nic, std::slice::from_ref(&name)).pop();
                match read {
                    Some(Ok(current)) => drop(found.insert(name, current)),
                    Some(Err(fault)) if fault.kind == Kind::Unsupported => {}
                    Some(Err(fault)) => return Err(fault),
                    None => {
                        let act = format!("read {name} on {}", nic.name);
                        return Err(Fault::new(Kind::Malformed, act, "no answer"));
                    }
                }
            }
            let lost = found.into_iter().filter(|(n, c)| c.fixed.is_none() && is_lost(n));
            of.extend(lost.map(|(name, current)| (name, current.value)));
        }
    }
    let port = |(nic, settings): (&Nic, BTreeMap<Name, Value>)| KeptPort {
        id: nic.id.clone(),
        name: nic.name.clone(),
        ifindex: nic.ifindex,
        carrier: carries(host, &nic.name),
        settings: settings.into_iter().collect(),
    };
    let surroundings = surroundings::take(host, ports)?;
    let ports = ports.iter().zip(settings).map(port).collect();
    Ok(Kept { format: FORMAT, ports, surroundings })
}

/// Whether an interface has a carrier; one that is down tells none.
pub fn carries(host: &dyn Host, name: &str) -> bool {
    let file = Path::new("/sys/class/net").join(name).join("carrier");
    host.read(&file).is_ok_and(|text| text.trim() == "1")
}

/// Settings of a family that may be there though a survey does not have them.
fn doubts(family: &str, unsupported: &BTreeMap<Name, String>) -> BTreeSet<Name> {
    let rows = playbooks::vocabulary::SETTINGS.iter().map(|row| row.name);
    let fixed = rows.filter(|name| !name.ends_with(".*")).filter_map(|n| Name::try_from(n).ok());
    let own = fixed.filter(|name| name.family() == family);
    own.chain(unsupported.keys().cloned()).filter(is_lost).collect()
}

/// Whether a restart of the NIC takes this setting.
pub fn is_lost(name: &Name) -> bool {
    let row = name.setting();
    let with_the_nic = match row.scope {
        Scope::Nic | Scope::Device => true,
        Scope::Netns | Scope::Host => false,
    };
    with_the_nic && row.persistence == Persistence::Volatile
}

impl Kept {
    /// Whether one of these ports is another interface than the one that was kept.
    pub fn is_older_than(&self, ports: &[Nic]) -> bool {
        let renewed = |kept: &KeptPort| {
            ports.iter().any(|nic| nic.id == kept.id && nic.ifindex != kept.ifindex)
        };
        self.ports.iter().any(renewed)
    }

    /// These interfaces have what was kept now.
    pub fn stand_on(&mut self, ports: &[Nic]) {
        for kept in &mut self.ports {
            if let Some(nic) = ports.iter().find(|nic| nic.id == kept.id) {
                kept.ifindex = nic.ifindex;
            }
        }
    }

    pub fn encode(&self) -> Result<Vec<u8>> {
        let act = "keep what a restart takes";
        serde_json::to_vec(self).map_err(|e| Fault::new(Kind::Malformed, act, e.to_string()))
    }

    pub fn decode(bytes: &[u8]) -> Result<Kept> {
        let act = "read what was kept before the restart";
        let kept: Kept = serde_json::from_slice(bytes)
            .map_err(|e| Fault::new(Kind::Malformed, act, e.to_string()))?;
        match kept.format <= FORMAT {
            true => Ok(kept),
            false => {
                let cause = format!("format {}, this version reads {FORMAT}", kept.format);
                Err(Fault::new(Kind::Malformed, act, cause))
            }
        }
    }
}
