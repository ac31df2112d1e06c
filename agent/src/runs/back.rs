//! Putting back what a committed run changed. That is a run: guards, hazards and policies apply to it, approvals
//! of its plan count, a disruptive one waits for its window. (What is in flight goes back at once, by `finish`.)

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use playbooks::vocabulary::Disruption;
use policy::{
    Refusal, Ruling, approval,
    management::{self, Consent},
    request::{Action, Principal, Standby},
};

use super::{
    Declined, Desk, Exit, begin,
    finish::{self, Asked},
    firmware,
    hazards::{self, Ground, Overrides, Terms, Weighed},
    permission::{self, Matter, Verdicts},
    plan_of, standing,
    users::{self, StandbyPath},
};
use crate::{
    fault::Result,
    guard,
    host::{Host, Nic},
    inventory::{self, NicFacts},
    log::{Entry, Fact, History, RunRecord, RunState},
    measure::Meter,
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
    /// Known hazards that are taken upon oneself.
    pub hazards: Overrides,
    /// Where strategies can go meanwhile.
    pub standby: Option<StandbyPath>,
    /// Why somebody acts without the approvals that are wanted, where he does.
    pub break_glass: Option<String>,
    /// The operator's own session, by its local address.
    pub session: Option<String>,
}

impl Back {
    /// Nothing is overridden, nobody acts alone, and traffic has nowhere else to go.
    pub fn plain(why: &str, by: Principal) -> Back {
        Back {
            why: why.to_owned(),
            by,
            consent: Consent::None,
            overridden: Vec::new(),
            hazards: Overrides::default(),
            standby: None,
            break_glass: None,
            session: None,
        }
    }
}

/// A way back whose plan cannot be read is taken to be this long, and to reset the NIC.
const UNREADABLE: Duration = Duration::from_secs(2 * 3600);

/// Puts back what a committed run changed. One that is unfinished is tried once more, however often it was.
///
/// # Errors
/// No such run, or it stays stuck (2, 5); a later run owns one of its keys, a guard or a policy refuses (4).
pub(super) fn revert(
    desk: &Desk,
    wanted: &str,
    back: &Back,
    standby: Option<&mut dyn Meter>,
) -> Result<RunRecord, Declined> {
    finish::recover_all(desk, unfinished(&desk.history()?, wanted))?;
    let history = desk.history()?;
    let Some(run) = self::wanted(&history, wanted)? else {
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
    let in_force = |other: &&RunRecord| other.state == RunState::Committed || other.unfinished();
    let later: Vec<&RunRecord> = later.filter(in_force).collect();
    // What this run disturbed it would put back, too: that may be somebody's by now.
    for kept in &run.originals {
        let (name, key) = (&kept.name, run.reserved(&kept.name));
        // One that is stuck goes back to what it found, and that is what this run left there.
        let owns = |other: &&&RunRecord| match other.unfinished() {
            true => other.originals.iter().any(|kept| other.reserved(&kept.name) == key),
            false => other.changed().any(|name| other.reserved(name) == key),
        };
        if let Some(owner) = later.iter().rev().find(owns) {
            let first = if owner.unfinished() { "finish" } else { "revert" };
            let why =
                format!("{name} now belongs to the later run {}; {first} that first", owner.id);
            return Err(Declined::new(Exit::Refused, "owner", why));
        }
    }
    if let Some(owner) = firmware::overtaken(run, &later) {
        let why =
            format!("its firmware now belongs to the later run {}; revert that first", owner.id);
        return Err(Declined::new(Exit::Refused, "owner", why));
    }
    permit(desk, run, back, standby)?;
    finish::put_back(desk, run, Asked::ByName, &back.why)
}

/// The unfinished run that is asked for: asking for it is what has it tried once more.
fn unfinished<'h>(history: &'h History, wanted: &str) -> Option<&'h str> {
    let run = self::wanted(history, wanted).ok().flatten()?;
    run.unfinished().then_some(run.id.as_str())
}

/// The run of this id or unique prefix of one; `last`: the last that is committed, if one is.
///
/// # Errors
/// No such run (2).
pub fn wanted<'h>(history: &'h History, wanted: &str) -> Result<Option<&'h RunRecord>, Declined> {
    match wanted {
        "last" => Ok(history.runs.iter().rfind(|run| run.state == RunState::Committed)),
        _ => history.find(wanted).map(Some).map_err(|why| Declined::new(Exit::Wrong, "run", why)),
    }
}

/// Whether a committed run may be put back now; the decision is in the log.
///
/// # Errors
/// The guard or the policies that refuse (4).
pub fn permit(
    desk: &Desk,
    run: &RunRecord,
    back: &Back,
    standby: Option<&mut dyn Meter>,
) -> Result<(), Declined> {
    let way = Way::of(desk, run, back)?;
    let (free, stands_by) = way.standby(desk, back, standby)?;
    let permitted = permission::hold(desk, Some(&run.id), &back.by, &way.matter(run, back, free));
    if !way.refusals.is_empty() {
        let all: Vec<String> = way.refusals.iter().map(ToString::to_string).collect();
        return Err(Declined::new(Exit::Refused, way.refusals[0].rule, all.join("; also: ")));
    }
    permitted?;
    desk.say(Some(&run.id), stands_by.into_iter().collect())?;
    begin::own_up(desk, &run.id, &way.overridden)?;
    // Putting a commit back is a run of its own: by which decision and whose approvals is durable before it.
    Ok(desk.store.sync()?)
}

/// The same, asked without a word in the log. A standby path that was named is taken to be good.
pub fn may(desk: &Desk, run: &RunRecord, back: &Back) -> Result<bool, Declined> {
    let way = Way::of(desk, run, back)?;
    let matter = way.matter(run, back, supposed(back));
    let decided = permission::foresee(desk.host, Some(desk.store), desk.law, (&back.by, &matter))?;
    let allowed = !decided.is_empty() && decided.iter().all(|decision| decision.allowed);
    Ok(allowed && way.refusals.is_empty())
}

/// When the policies would let the run go back, if nothing else changes: the next boundary of a venue's phase
/// from which on they do. `None`: not within a week, not as far as the calendars tell, or a guard refuses.
pub fn window(desk: &Desk, run: &RunRecord, back: &Back) -> Result<Option<Timestamp>, Declined> {
    let way = Way::of(desk, run, back)?;
    if !way.refusals.is_empty() {
        return Ok(None);
    }
    let matter = way.matter(run, back, supposed(back));
    Ok(permission::opens((desk.host, desk.store), desk.law, (&back.by, &matter))?)
}

fn supposed(back: &Back) -> Standby {
    match back.standby {
        Some(_) => Standby::Free,
        None => Standby::None,
    }
}

/// What stands in the way of a way back.
struct Way {
    /// `None` where it cannot be read.
    plan: Option<Plan>,
    /// `None` where the NIC is gone.
    subject: Option<NicFacts>,
    nic: Nic,
    disruption: Disruption,
    length: Duration,
    refusals: Vec<Refusal>,
    /// Known hazards that the request overrides.
    overridden: Vec<hazards::Forbidden>,
    catalog: Verdicts,
}

impl Way {
    fn of(desk: &Desk, run: &RunRecord, back: &Back) -> Result<Way, Declined> {
        let found = begin::nic_of(desk.host, &run.nic)?;
        let plan = plan_of(run, desk.store).ok();
        let (disruption, length) = match &plan {
            Some(plan) => (felt(run, plan), length::revert(plan)),
            None => (Disruption::NicReset, UNREADABLE),
        };
        let mut way = Way {
            plan,
            subject: None,
            nic: found.clone().unwrap_or_else(|| finish::absent(run)),
            disruption,
            length,
            refusals: Vec::new(),
            overridden: Vec::new(),
            catalog: Verdicts::UNKNOWN,
        };
        // A NIC that is gone has nobody whom it could cut off.
        let Some(nic) = found else { return Ok(way) };
        let reached = reached(desk.host, run, (&nic, way.plan.as_ref()));
        way.refusals = guarded(desk.host, &nic, (&reached, disruption), back)?;
        let inventory = inventory::take(desk.host, Some(&nic.name))?;
        way.subject = inventory.nic(&nic.name).cloned();
        if let Some(subject) = &way.subject {
            way.catalog.running = standing::of(desk.law, subject);
            let weighed = weigh(desk, run, back, (&way, subject))?;
            way.refusals.extend(weighed.refusals);
            way.overridden = weighed.overridden;
        }
        Ok(way)
    }

    fn standby(
        &self,
        desk: &Desk,
        back: &Back,
        meter: Option<&mut dyn Meter>,
    ) -> Result<(Standby, Option<Fact>), Declined> {
        match &self.subject {
            None => Ok((Standby::None, None)),
            Some(subject) => {
                let probed = users::standby(desk, back.standby.as_ref(), subject, meter)?;
                Ok((users::policys(&probed.0), probed.1))
            }
        }
    }

    fn matter<'a>(&'a self, run: &'a RunRecord, back: &'a Back, standby: Standby) -> Matter<'a> {
        let mut overrides = BTreeSet::new();
        if back.consent == Consent::AllowManagement && self.disruption >= Disruption::LinkFlap {
            overrides.insert(Action::AllowManagement);
        }
        if back.break_glass.is_some() {
            overrides.insert(Action::BreakGlass);
        }
        if !back.overridden.is_empty() || !self.overridden.is_empty() {
            overrides.insert(Action::OverrideHazard);
        }
        let hazards = self.overridden.iter().map(|hazard| hazard.issue.clone());
        let overridden: BTreeSet<String> = hazards.chain(back.overridden.iter().cloned()).collect();
        let terms = approval::Terms {
            overrides: permission::named(&overrides, &overridden),
            standby: back.standby.as_ref().map(|path| path.nic.clone()),
            ..approval::Terms::plain(approval::Way::Revert)
        };
        Matter {
            actions: vec![Action::Revert],
            overrides,
            on: &run.plan,
            nic: &self.nic,
            disruption: self.disruption,
            length: self.length,
            refusals: &self.refusals,
            overridden,
            standby,
            catalog: self.catalog,
            break_glass: back.break_glass.as_deref(),
            terms,
            // Those that the run used up are gone: the plan is approved anew for its way back.
            plan: self.plan.as_ref().map(|plan| (run.plan.as_str(), &plan.host)),
        }
    }
}

/// The way back's steps against what this NIC is known not to stand. Where the site's catalog does not load the
/// shipped one is asked: a host must not be kept on what hurts it by a typing error.
fn weigh(
    desk: &Desk,
    run: &RunRecord,
    back: &Back,
    (way, subject): (&Way, &NicFacts),
) -> Result<Weighed, Declined> {
    let catalog = desk.law.catalog().cloned().unwrap_or_default();
    // Who overrode a hazard to begin the run did so for its way back, too.
    let consented = consented(run);
    let overrides = back.hazards.clone().with(&consented);
    let terms = Terms { catalog, overrides };
    let around = way.plan.as_ref().filter(|_| run.firmware_open());
    let around = around.and_then(|plan| firmware::around(desk.host, plan).ok().flatten());
    let ground = Ground { nic: &way.nic, facts: subject, around: around.as_ref() };
    let acts = match &way.plan {
        Some(plan) => hazards::acts_back(plan, &ground),
        None => hazards::acts_of(run, &ground),
    };
    let mut weighed = hazards::weighed(&terms, subject, &acts, &back.hazards)?;
    weighed.overridden.retain(|hazard| !consented.contains(&hazard.issue));
    Ok(weighed)
}

/// The hazards that the run was begun in spite of.
fn consented(run: &RunRecord) -> Vec<String> {
    let issue = |entry: &Entry| {
        let Fact::HazardOverridden { issue, .. } = &entry.fact else { return None };
        Some(issue.clone())
    };
    run.entries.iter().filter_map(issue).collect()
}

fn felt(run: &RunRecord, plan: &Plan) -> Disruption {
    // Old firmware runs after a restart only.
    let firmware = run.firmware_open().then_some(Disruption::NicReset);
    let steps = plan.revert.iter().map(|step| step.disruption);
    steps.chain(firmware).max().unwrap_or(Disruption::None)
}

/// The NICs that it is felt on: every port of a device that goes back to its firmware. Ports that cannot be found
/// now have nobody whom it could cut off.
fn reached(host: &dyn Host, run: &RunRecord, (nic, plan): (&Nic, Option<&Plan>)) -> Vec<Nic> {
    let all = plan.filter(|_| run.firmware_open());
    let all = all.and_then(|plan| firmware::touched(host, nic, plan).ok());
    all.unwrap_or_else(|| vec![nic.clone()])
}

fn guarded(
    host: &dyn Host,
    nic: &Nic,
    (reached, disruption): (&[Nic], Disruption),
    back: &Back,
) -> Result<Vec<Refusal>> {
    if disruption == Disruption::None {
        return Ok(Vec::new());
    }
    let users = guard::look_for(host, std::slice::from_ref(nic), disruption);
    let mut rulings = vec![users.judge(disruption, &back.overridden)];
    if disruption >= Disruption::LinkFlap {
        for nic in reached {
            let facts = inventory::management(host, nic, back.session.as_deref())?;
            rulings.push(management::judge(&nic.name, &facts.duties, disruption, back.consent));
        }
    }
    let refused = |ruling| match ruling {
        Ruling::Allowed => None,
        Ruling::Refused(refusal) => Some(refusal),
    };
    Ok(rulings.into_iter().filter_map(refused).collect())
}
