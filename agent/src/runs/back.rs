//! Putting back what a committed run changed. That is a run: guards and policies apply to it, a disruptive one
//! waits for its window. (What is in flight goes back at once, by `finish`.)

use std::{collections::BTreeSet, time::Duration};

use playbooks::vocabulary::Disruption;
use policy::{
    Refusal, Ruling,
    management::{self, Consent},
    request::{Action, Principal, Standby},
};

use super::{
    Declined, Desk, Exit, begin, finish, firmware,
    permission::{self, Matter, Verdicts},
    plan_of, standing,
};
use crate::{
    fault::Result,
    guard,
    host::{Host, Nic},
    inventory,
    log::{RunRecord, RunState},
    plan::Plan,
    run::length,
};

/// Who puts a commit back, and why.
#[derive(Debug, Clone)]
pub struct Back {
    pub why: String,
    pub by: Principal,
    /// For a way back that drops the link of the NIC by which this host is reached.
    pub consent: Consent,
    /// Holders by their ids (`held:udp:ntpd`) whose harm is taken upon oneself.
    pub overridden: Vec<String>,
    /// The operator's own session, by its local address.
    pub session: Option<String>,
}

/// A way back whose plan cannot be read is taken to be this long, and to reset the NIC.
const UNREADABLE: Duration = Duration::from_secs(3600);

/// Puts back what a committed run changed.
///
/// # Errors
/// No such run, or another state (2, 5); a later run owns one of its keys, a guard or a policy refuses (4).
pub fn revert(desk: &Desk, wanted: &str, back: &Back) -> Result<RunRecord, Declined> {
    finish::recover_all(desk)?;
    let history = desk.history()?;
    let run = match wanted {
        "last" => history.runs.iter().rfind(|run| run.state == RunState::Committed),
        _ => Some(history.find(wanted).map_err(|why| Declined::new(Exit::Wrong, "run", why))?),
    };
    let Some(run) = run else {
        return Err(Declined::new(Exit::Wrong, "run", "no run is committed: nothing to put back"));
    };
    match run.state {
        RunState::Committed => {}
        RunState::Reverted | RunState::Refused => return Ok(run.clone()),
        RunState::Running | RunState::Stuck => {
            let why = format!("run {} is unfinished: {}", run.id, run.why);
            return Err(Declined::new(Exit::Stuck, "unfinished", why));
        }
    }
    let later = history.runs.iter().skip_while(|other| other.id != run.id).skip(1);
    let later: Vec<&RunRecord> = later.filter(|r| r.state == RunState::Committed).collect();
    // What this run disturbed it would put back, too: that may be somebody's by now.
    for kept in &run.originals {
        let (name, key) = (&kept.name, run.key(&kept.name));
        let owns = |other: &&&RunRecord| other.changed().any(|name| other.key(name) == key);
        if let Some(owner) = later.iter().rev().find(owns) {
            let why =
                format!("{name} now belongs to the later run {}; revert that first", owner.id);
            return Err(Declined::new(Exit::Refused, "owner", why));
        }
    }
    if let Some(owner) = firmware::overtaken(run, &later) {
        let why =
            format!("its firmware now belongs to the later run {}; revert that first", owner.id);
        return Err(Declined::new(Exit::Refused, "owner", why));
    }
    permit(desk, run, back)?;
    finish::put_back(desk, run, &back.why)
}

/// Whether a committed run may be put back now; the decision is in the log.
///
/// # Errors
/// The guard or the policies that refuse (4).
pub fn permit(desk: &Desk, run: &RunRecord, back: &Back) -> Result<(), Declined> {
    let way = Way::of(desk, run, back)?;
    let permitted = permission::hold(desk, Some(&run.id), &back.by, &way.matter(run, back));
    match way.refusals.first() {
        Some(refusal) => Err(Declined::new(Exit::Refused, refusal.rule, refusal.to_string())),
        None => permitted,
    }
}

/// The same, asked without a word in the log.
pub fn may(desk: &Desk, run: &RunRecord, back: &Back) -> Result<bool, Declined> {
    let way = Way::of(desk, run, back)?;
    let matter = way.matter(run, back);
    let decided = permission::foresee(desk.host, Some(desk.store), desk.law, (&back.by, &matter))?;
    let allowed = !decided.is_empty() && decided.iter().all(|decision| decision.allowed);
    Ok(allowed && way.refusals.is_empty())
}

/// What stands in the way of a way back.
struct Way {
    nic: Nic,
    disruption: Disruption,
    length: Duration,
    refusals: Vec<Refusal>,
    catalog: Verdicts,
}

impl Way {
    fn of(desk: &Desk, run: &RunRecord, back: &Back) -> Result<Way> {
        let found = begin::nic_of(desk.host, &run.nic)?;
        let (disruption, length) = match plan_of(run, desk.store) {
            Ok(plan) => (felt(&plan), length::revert(&plan)),
            Err(_) => (Disruption::NicReset, UNREADABLE),
        };
        let catalog = found.as_ref().map(|nic| standing::look(desk.host, desk.law, nic));
        let catalog = catalog.unwrap_or(Verdicts::UNKNOWN);
        // A NIC that is gone has nobody whom it could cut off.
        let refusals = match &found {
            Some(nic) => guarded(desk.host, nic, disruption, back)?,
            None => Vec::new(),
        };
        let nic = found.unwrap_or_else(|| finish::absent(run));
        Ok(Way { nic, disruption, length, refusals, catalog })
    }

    fn matter<'a>(&'a self, run: &'a RunRecord, back: &Back) -> Matter<'a> {
        let mut overrides = BTreeSet::new();
        if back.consent == Consent::AllowManagement && self.disruption >= Disruption::LinkFlap {
            overrides.insert(Action::AllowManagement);
        }
        if !back.overridden.is_empty() {
            overrides.insert(Action::OverrideHazard);
        }
        Matter {
            actions: vec![Action::Revert],
            overrides,
            on: &run.plan,
            nic: &self.nic,
            disruption: self.disruption,
            length: self.length,
            refusals: &self.refusals,
            overridden: back.overridden.iter().cloned().collect(),
            standby: Standby::Unknown,
            catalog: self.catalog,
            break_glass: None,
            // The approvals of the run were for the run: a way back in trading waits, or is asked for anew.
            plan: None,
        }
    }
}

fn felt(plan: &Plan) -> Disruption {
    plan.revert.iter().map(|step| step.disruption).max().unwrap_or(Disruption::None)
}

fn guarded(
    host: &dyn Host,
    nic: &Nic,
    disruption: Disruption,
    back: &Back,
) -> Result<Vec<Refusal>> {
    if disruption == Disruption::None {
        return Ok(Vec::new());
    }
    let users = guard::look_for(host, std::slice::from_ref(nic), disruption);
    let mut rulings = vec![users.judge(disruption, &back.overridden)];
    if disruption >= Disruption::LinkFlap {
        let facts = inventory::management(host, nic, back.session.as_deref())?;
        rulings.push(management::judge(&nic.name, &facts.duties, disruption, back.consent));
    }
    let refused = |ruling| match ruling {
        Ruling::Allowed => None,
        Ruling::Refused(refusal) => Some(refusal),
    };
    Ok(rulings.into_iter().filter_map(refused).collect())
}
