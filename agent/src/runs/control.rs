//! Whether the playbook's control NIC can serve as one.

use playbooks::vocabulary::Scope;
use policy::{
    Refusal, Ruling,
    control::{Tie, judge},
};

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
    Ok(match judge(&subject.name, control, &ties(subject, other), &reaching) {
        Ruling::Allowed => None,
        Ruling::Refused(refusal) => Some(refusal),
    })
}

fn ties(nic: &NicFacts, other: &NicFacts) -> Vec<Tie> {
    let mut ties = Vec::new();
    let upper = |facts: &NicFacts| facts.member_of.as_ref().map(|member| member.name.clone());
    let on = |one: &NicFacts, two: &NicFacts| {
        one.over.as_ref() == Some(&two.name) || upper(one).as_ref() == Some(&two.name)
    };
    if nic.name == other.name {
        ties.push(Tie::Same);
    }
    if nic.siblings.contains(&other.name) || other.siblings.contains(&nic.name) {
        ties.push(Tie::Sibling);
    }
    if nic.peer.as_ref() == Some(&other.name) {
        ties.push(Tie::OneLink);
    }
    if let (Some(one), Some(two)) = (upper(nic), upper(other))
        && one == two
    {
        ties.push(Tie::Shared { upper: one });
    }
    if on(nic, other) || on(other, nic) {
        ties.push(Tie::Stacked);
    }
    ties
}
