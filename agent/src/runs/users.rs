//! Who is hurt by a run, before it and right before each of its steps; and where traffic goes meanwhile.

use std::cell::RefCell;

use playbooks::vocabulary::Disruption;
use policy::{Refusal, Ruling};

use super::{Apply, Declined, Desk, Exit, permission::Permit};
use crate::{
    engine::{self, Again},
    fault::{Kind, Result},
    guard::{
        self, Report,
        standby::{self, Standby},
    },
    host::{Host, Nic, nic},
    inventory::NicFacts,
    law::Loaded,
    log::Fact,
    measure::Meter,
    plan::Plan,
    run::length::{self, Ahead},
    store::Store,
};

/// A NIC that strategies can go to while this one is mended, and the reflector it is probed against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandbyPath {
    pub nic: String,
    pub peer: Option<String>,
}

/// Everybody who could feel the plan.
pub(super) fn of(host: &dyn Host, nic: &Nic, plan: &Plan) -> Report {
    guard::look_for(host, std::slice::from_ref(nic), plan.disruption)
}

/// Refuses what would hurt one of them.
pub(super) fn refusal(users: &Report, plan: &Plan, request: &Apply) -> Option<Refusal> {
    match users.judge(plan.disruption, &request.overridden) {
        Ruling::Allowed => None,
        Ruling::Refused(refusal) => Some(refusal),
    }
}

/// What the log keeps of them: who was found, and whose harm the operator took upon himself.
pub(super) fn facts(users: &Report, request: &Apply) -> Vec<Fact> {
    if users.holders().is_empty() && request.overridden.is_empty() {
        return Vec::new();
    }
    let overridden = request.overridden.clone();
    let parts = crate::log::fact::portions(users.holders().to_vec()).into_iter();
    let mut facts: Vec<Fact> =
        parts.map(|holders| Fact::Users { holders, overridden: overridden.clone() }).collect();
    if facts.is_empty() {
        facts.push(Fact::Users { holders: Vec::new(), overridden });
    }
    facts
}

/// The standby that was asked for, found and not yet probed: a wrong name is a wrong request.
pub(super) fn standby_nic(
    host: &dyn Host,
    path: Option<&StandbyPath>,
) -> Result<Option<Nic>, Declined> {
    let Some(path) = path else { return Ok(None) };
    let found = nic::find(host, &path.nic).map_err(|fault| {
        let exit = if fault.kind == Kind::Gone { Exit::Wrong } else { Exit::Failed };
        Declined::new(exit, "standby", fault.to_string())
    })?;
    Ok(Some(found))
}

/// Probes the standby and judges it. Whoever asked for one that is unfit is refused.
pub(super) fn standby(
    desk: &Desk,
    path: Option<&StandbyPath>,
    subject: &NicFacts,
    meter: Option<&mut (dyn Meter + '_)>,
) -> Result<(Standby, Option<Fact>), Declined> {
    let Some(path) = path else { return Ok((Standby::None, None)) };
    let Some(found) = standby_nic(desk.host, Some(path))? else { return Ok((Standby::None, None)) };
    let Some(meter) = meter else {
        let why = format!("{} is the standby, and nothing probes it", path.nic);
        return Err(Declined::new(Exit::Wrong, "standby", why));
    };
    let history = desk.history()?;
    let busy = |run: &&crate::log::RunRecord| {
        let takes = |id: &crate::host::NicId| id.shares_device(&found.id);
        run.unfinished() && (takes(&run.nic) || run.standby.as_ref().is_some_and(takes))
    };
    let owner = history.runs.iter().find(busy).map(|run| run.id.clone());
    let probed = standby::probe(meter);
    let judged = standby::look(desk.host, subject, &path.nic, &probed, owner.as_deref())?;
    match &judged {
        Standby::Unfit { nic, why } => {
            let words = format!("{nic} cannot be the standby of {}: {why}", subject.name);
            Err(Declined::new(Exit::Refused, "standby", words))
        }
        Standby::None => Ok((judged, None)),
        Standby::Free { shared_risks, .. } => {
            let fact = Fact::Standby {
                nic: found.id,
                nic_name: found.name,
                peer: path.peer.clone(),
                shared_risks: shared_risks.clone(),
            };
            Ok((judged, Some(fact)))
        }
    }
}

/// What policies are told of it.
pub(super) fn policys(standby: &Standby) -> policy::request::Standby {
    match standby {
        Standby::None => policy::request::Standby::None,
        Standby::Unfit { .. } => policy::request::Standby::Busy,
        Standby::Free { .. } => policy::request::Standby::Free,
    }
}

/// Somebody may have begun to use the NIC since it was planned, the standby may have died, a venue may have
/// opened, the host may have been frozen.
pub(super) struct Gate<'a> {
    pub(super) host: &'a dyn Host,
    pub(super) store: &'a dyn Store,
    pub(super) law: &'a Loaded,
    /// What the run was allowed.
    pub(super) permit: Permit,
    /// How long what is left of it takes at the worst is asked of it.
    pub(super) plan: &'a Plan,
    /// Whose harm the operator took upon himself.
    pub(super) overridden: Vec<String>,
    /// Probes the standby once more, where there is one.
    pub(super) standby: Option<RefCell<&'a mut dyn Meter>>,
}

impl engine::Gate for Gate<'_> {
    fn permits(&self) -> Result<(Vec<Fact>, Option<String>)> {
        let (said, refused) = self.permits_stage(Ahead::Restart)?;
        Ok((said, refused.map(|(_, why)| why)))
    }

    fn permits_stage(&self, ahead: Ahead) -> Result<Again> {
        let probing = self.standby.as_ref().map(|_| length::probing(self.plan));
        let left = length::left(self.plan, ahead) + probing.unwrap_or_default();
        self.permit.again((self.host, self.store), self.law, left)
    }

    fn bars(&self, nic: &Nic, disruption: Disruption) -> Option<String> {
        if disruption == Disruption::None {
            return None;
        }
        let users = guard::look_for(self.host, std::slice::from_ref(nic), disruption);
        if let Ruling::Refused(refusal) = users.judge(disruption, &self.overridden) {
            return Some(refusal.to_string());
        }
        let meter = self.standby.as_ref().filter(|_| disruption >= Disruption::LinkFlap)?;
        let probed = standby::probe(*meter.borrow_mut());
        standby::answers(&probed).err().map(|why| format!("the standby path is gone: {why}"))
    }
}
