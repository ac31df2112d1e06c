//! A request, and the same with one thing safer.

use std::collections::BTreeSet;

use playbooks::vocabulary::Disruption;
use policy::request::{Clock, Consent, Facts, Request, Standby};

/// The same request with one thing safer.
pub(crate) fn safer(request: &Request) -> Vec<Request> {
    let changed = |change: &dyn Fn(&mut Facts)| {
        let mut safer = request.clone();
        change(&mut safer.facts);
        safer
    };
    vec![
        changed(&|facts| facts.standby = Standby::Free),
        changed(&|facts| facts.disruption = Disruption::None),
        changed(&|facts| facts.clock = Clock { synchronised: true, error_us: 0 }),
        changed(&|facts| facts.run_s = 0),
        changed(&|facts| facts.frozen = None),
        changed(&|facts| {
            facts.holders.clear();
            facts.hazards.clear();
        }),
        changed(&|facts| {
            let roles = BTreeSet::from(["approver".to_owned()]);
            facts.approvals.insert("fourth".to_owned(), Consent { roles });
        }),
    ]
}
