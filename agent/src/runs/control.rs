//! Whether the playbook's control NIC can serve as one.

use playbooks::vocabulary::Scope;
use policy::{Refusal, Ruling, control::judge};

use super::{Declined, Exit};
use crate::{
    fault::Result,
    host::{Host, nic},
    inventory::{self, NicFacts},
    plan::Plan,
};

/// Refuses a control that the change would reach. A control that is not there is a wrong request.
pub(super) fn refusal(
    host: &dyn Host,
    subject: &NicFacts,
    plan: &Plan,
) -> Result<Option<Refusal>, Declined> {
    let Some(control) = &plan.playbook.verify.control else { return Ok(None) };
    nic::find(host, control)
        .map_err(|fault| Declined::new(Exit::Wrong, "control-nic", fault.to_string()))?;
    let inventory = inventory::take(host, Some(control))?;
    let Some(other) = inventory.nic(control) else {
        return Err(Declined::new(Exit::Wrong, "control-nic", format!("no NIC {control}")));
    };
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let reaching: Vec<&str> = steps
        .filter(|step| matches!(step.scope, Scope::Netns | Scope::Host))
        .flat_map(|step| &step.batch)
        .map(|change| change.name.as_str())
        .collect();
    Ok(match judge(&subject.name, control, &inventory::ties(subject, other), &reaching) {
        Ruling::Allowed => None,
        Ruling::Refused(refusal) => Some(refusal),
    })
}
