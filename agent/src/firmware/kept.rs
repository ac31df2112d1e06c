//! What a restart takes from a device's ports, kept beforehand and compared after.

use std::collections::BTreeMap;

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
    pub settings: Vec<(Name, Value)>,
}

/// Takes stock of the ports.
pub fn take(host: &dyn Host, ports: &[Nic]) -> Result<Kept> {
    let careful = Careful::new(host, ports, Reach::Given);
    let mut settings: Vec<BTreeMap<Name, Value>> = vec![BTreeMap::new(); ports.len()];
    for family in SETTINGS {
        for (of, readings) in settings.iter_mut().zip(family.survey(&careful, ports)) {
            for (name, current) in readings.supported {
                if current.fixed.is_none() && is_lost(&name) {
                    of.insert(name, current.value);
                }
            }
        }
    }
    let port = |(nic, settings): (&Nic, BTreeMap<Name, Value>)| KeptPort {
        id: nic.id.clone(),
        name: nic.name.clone(),
        settings: settings.into_iter().collect(),
    };
    let surroundings = surroundings::take(host, ports)?;
    let ports = ports.iter().zip(settings).map(port).collect();
    Ok(Kept { format: FORMAT, ports, surroundings })
}

/// Whether a restart of the NIC takes this setting.
fn is_lost(name: &Name) -> bool {
    let row = name.setting();
    let with_the_nic = match row.scope {
        Scope::Nic | Scope::Device => true,
        Scope::Netns | Scope::Host => false,
    };
    with_the_nic && row.persistence == Persistence::Volatile
}

impl Kept {
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
