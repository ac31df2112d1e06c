//! What the firmware catalog says of a NIC, as policies ask.

use firmware_catalog::{Catalog, catalog::Status, firmware::State};
use policy::request;

use super::permission::Verdicts;
use crate::{
    host::{Host, Nic},
    inventory::{self, NicFacts, subject},
    law::Law,
    plan::Plan,
};

/// Of the firmware that runs, and of the one that the plan would flash.
pub fn verdicts(catalog: &Catalog, nic: &NicFacts, plan: &Plan) -> Verdicts {
    Verdicts { running: running(catalog, nic), flashed: flashed(catalog, nic, plan) }
}

/// Of the firmware that runs.
pub fn running(catalog: &Catalog, nic: &NicFacts) -> request::Catalog {
    match catalog.check(&subject::subject(nic)).status {
        Status::Golden => request::Catalog::Golden,
        Status::Drifted => request::Catalog::Drifted,
        Status::Blocked => request::Catalog::Blocked,
        Status::Unknown => request::Catalog::Unknown,
    }
}

/// Of the one that the plan would flash; unknown where it flashes none, or the catalog does not know it.
fn flashed(catalog: &Catalog, nic: &NicFacts, plan: &Plan) -> request::Catalog {
    let wanted = plan.playbook.stages.iter().find_map(|stage| stage.firmware.as_ref());
    let Some(wanted) = wanted else { return request::Catalog::Unknown };
    match catalog.resolve(&subject::subject(nic), &wanted.version).map(|target| target.state) {
        Ok(State::Golden) => request::Catalog::Golden,
        Ok(State::Good) => request::Catalog::Good,
        Ok(State::Blocked) => request::Catalog::Blocked,
        Err(_) => request::Catalog::Unknown,
    }
}

/// Of the firmware that runs on a NIC that nobody has looked at yet; unknown where looking fails.
pub fn look(host: &dyn Host, law: &Law, nic: &Nic) -> Verdicts {
    let taken = inventory::take(host, Some(&nic.name)).ok();
    let facts = taken.as_ref().and_then(|inventory| inventory.nic(&nic.name));
    let running = facts.map_or(request::Catalog::Unknown, |facts| of(law, facts));
    Verdicts { running, ..Verdicts::UNKNOWN }
}

/// Of the firmware that runs, by this host's catalog; unknown where that does not load.
pub fn of(law: &Law, nic: &NicFacts) -> request::Catalog {
    law.catalog().map_or(request::Catalog::Unknown, |catalog| running(catalog, nic))
}
