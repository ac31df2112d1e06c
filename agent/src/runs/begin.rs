//! From a playbook to a run: plan, refuse what may not be, make the undo script, drive.

use std::{cell::RefCell, collections::BTreeSet};

use playbooks::{Name, Playbook, vocabulary::Disruption};
use policy::{
    Refusal, Ruling,
    approval::{Terms, Way},
    management::Consent,
    request::{Action, Standby},
};
use sha2::{Digest, Sha256};

use super::{
    Declined, Desk, Exit, Outcome,
    choose::Offer,
    claim, control, drift, finish, firmware,
    hazards::{self, Forbidden, Ground},
    owner,
    permission::{self, Matter, Permit},
    standing, undo,
    users::{self, Gate, StandbyPath},
    warnings,
};
use crate::{
    engine::{Bench, Telling, gather},
    fault::{Kind, Result},
    guard,
    host::{Host, Nic, nic},
    inventory::{self, NicFacts},
    log::{Fact, RunRecord},
    measure::Meter,
    plan::{Facts, Plan, Unplannable},
    run::{Allowance, Event, Run, length},
    verdict::{Case, Criterions},
};

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct Apply {
    pub playbook: Playbook,
    pub nic: String,
    pub peer: Option<String>,
    /// The reflector that the control NIC is measured against, where it is another one.
    pub control_peer: Option<String>,
    /// The digest of an approved plan, where one is named: anything else is stale.
    pub digest: Option<String>,
    pub allow_management: bool,
    pub force: bool,
    /// Holders by their ids (`held:udp:ntpd`) whose harm the operator takes upon himself.
    pub overridden: Vec<String>,
    /// Where strategies can go meanwhile.
    pub standby: Option<StandbyPath>,
    /// Why somebody acts without the approvals that are wanted, where he does.
    pub break_glass: Option<String>,
    /// The operator's own session, by its local address, so that it is not cut off.
    pub session: Option<String>,
    /// The catalog of known defects, and those that the operator takes upon himself.
    pub hazards: hazards::Terms,
    /// What a firmware stage may choose from.
    pub firmware: Offer,
    /// Kernel parameters that the site lets playbooks set besides those of the one list; a run goes by the
    /// configuration in force.
    pub sysctls: Vec<String>,
}

impl Apply {
    /// Nothing is overridden, nobody acts alone, traffic has nowhere else to go, no defect is known and no
    /// firmware to be had.
    pub fn plain(playbook: Playbook, nic: &str, peer: Option<String>) -> Apply {
        Apply {
            playbook,
            nic: nic.to_owned(),
            peer,
            control_peer: None,
            digest: None,
            allow_management: false,
            force: false,
            overridden: Vec::new(),
            standby: None,
            break_glass: None,
            session: None,
            hazards: hazards::Terms::default(),
            firmware: Offer::default(),
            sysctls: Vec::new(),
        }
    }
}

/// A plan with all that was learnt on the way.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub plan: Plan,
    pub facts: Facts,
    /// The NIC under change.
    pub subject: NicFacts,
    /// Who could feel it.
    pub users: guard::Report,
    /// What `apply` would refuse, each with its rule and what would satisfy it.
    pub refusals: Vec<Refusal>,
    /// Known hazards that the request overrides.
    pub overridden: Vec<Forbidden>,
}

/// Plans. Changes nothing and needs no lock.
pub fn prepare(host: &dyn Host, request: &Apply) -> Result<Prepared, Declined> {
    planned(host, request, &request.sysctls)
}

fn planned(host: &dyn Host, request: &Apply, sysctls: &[String]) -> Result<Prepared, Declined> {
    let inventory = inventory::take(host, Some(&request.nic)).map_err(|fault| {
        let exit = if fault.kind == Kind::Gone { Exit::Wrong } else { Exit::Failed };
        Declined::new(exit, "nic", fault.to_string())
    })?;
    let Some(subject) = inventory.nic(&request.nic) else {
        return Err(Declined::new(Exit::Wrong, "nic", format!("no NIC {}", request.nic)));
    };
    super::applies(&request.hazards.catalog, &request.playbook, subject).map_err(|why| {
        let words = format!("playbook {} is not for {}: {why}", request.playbook.name, request.nic);
        Declined::new(Exit::Wrong, "applies-to", words)
    })?;
    permitted(&request.playbook, &subject.driver, sysctls)?;
    readable(host, subject, &request.playbook)?;
    let mut facts = gather::facts(host, &inventory, subject, &request.playbook)?;
    facts.firmware_stages = firmware::stages(host, &facts.nic, subject, request)?;
    let plan =
        Plan::make(&request.playbook, &facts, request.peer.as_deref()).map_err(|e| match e {
            Unplannable::NotForThisNic(_) | Unplannable::NoStepApplies { .. } => {
                Declined::new(Exit::Wrong, "no-step-applies", e.to_string())
            }
        })?;
    let mut plan = plan;
    if plan.playbook.verify.control.is_some() {
        plan.control_peer.clone_from(&request.control_peer);
    }
    facts.warnings = warnings::of(host, &plan);
    users::standby_nic(host, request.standby.as_ref())?;
    let users = users::of(host, &facts.nic, &plan);
    let mut refusals = refusals(host, &facts.nic, &plan, request)?;
    let around = firmware::around(host, &plan)?;
    refusals.extend(firmware::refusals(&plan, around.as_ref()));
    refusals.extend(users::refusal(&users, &plan, request));
    refusals.extend(control::refusal(host, subject, &plan)?);
    refusals.extend(blind(host, &facts.nic));
    let ground = Ground { nic: &facts.nic, facts: subject, around: around.as_ref() };
    let weighed = hazards::weigh(&request.hazards, &ground, &plan)?;
    refusals.extend(weighed.refusals);
    let subject = subject.clone();
    Ok(Prepared { plan, facts, subject, users, refusals, overridden: weighed.overridden })
}

/// Kernel parameters that a playbook may not set, whatever the NIC.
fn permitted(playbook: &Playbook, driver: &str, sysctls: &[String]) -> Result<(), Declined> {
    if let Some((_, refusal)) = refused_sysctls(playbook, sysctls).next() {
        return Err(Declined::new(Exit::Refused, refusal.rule, refusal.to_string()));
    }
    let names = playbook.stages.iter().flat_map(|stage| &stage.settings).map(|(name, _)| name);
    for name in names {
        let module = name.rest().split('.').next().unwrap_or_default();
        if name.family() == "module-param" && module != driver {
            let why = format!("{name} is no parameter of this NIC's driver ({driver})");
            return Err(Declined::new(Exit::Refused, "module-param", why));
        }
    }
    Ok(())
}

/// The sysctls of a playbook that neither the one list nor the site's own permits.
pub fn refused_sysctls<'p>(
    playbook: &'p Playbook,
    site: &'p [String],
) -> impl Iterator<Item = (&'p Name, Refusal)> {
    let names = playbook.stages.iter().flat_map(|stage| &stage.settings).map(|(name, _)| name);
    let sysctls = names.filter(|name| name.family() == "sysctl");
    sysctls.filter_map(|name| Some((name, policy::sysctl::permit(name.rest(), site).err()?)))
}

/// A plan that needs what must not be read here is refused: an override would hang the host.
fn readable(host: &dyn Host, subject: &NicFacts, playbook: &Playbook) -> Result<(), Declined> {
    let Some(skip) = gather::skipped(host, subject, playbook)? else { return Ok(()) };
    let refusal = Refusal {
        rule: "hazard",
        why: format!(
            "{} needs the {} settings of {}, and reading them is known to hurt here: {}: {} [{}]",
            playbook.name, skip.family, subject.name, skip.issue, skip.why, skip.source
        ),
        satisfy: "leave those settings out, or upgrade the kernel".to_owned(),
    };
    Err(Declined::new(Exit::Refused, refusal.rule, refusal.to_string()))
}

/// A run whose probe cannot represent what the NIC is used for would end inconclusive: better not begun.
fn blind(host: &dyn Host, nic: &Nic) -> Option<Refusal> {
    let holders = guard::bypass::holders(host, nic);
    (!holders.is_empty()).then(|| Refusal {
        rule: "kernel-bypass",
        why: format!("{} is used past the kernel: {}", nic.name, holders.join("; ")),
        satisfy: "the probe's packets go through the kernel and say nothing about that traffic; \
                  move it to another NIC first"
            .to_owned(),
    })
}

/// Who else needs this NIC: nobody knows is no permission.
fn refusals(host: &dyn Host, nic: &Nic, plan: &Plan, request: &Apply) -> Result<Vec<Refusal>> {
    if plan.disruption < Disruption::LinkFlap {
        return Ok(Vec::new());
    }
    let consent = if request.allow_management { Consent::AllowManagement } else { Consent::None };
    let mut refusals = Vec::new();
    // A firmware stage hits every port of the device.
    for nic in firmware::touched(host, nic, plan)? {
        let facts = inventory::management(host, &nic, request.session.as_deref())?;
        match policy::management::judge(&nic.name, &facts.duties, plan.disruption, consent) {
            Ruling::Allowed => {}
            Ruling::Refused(refusal) => refusals.push(refusal),
        }
    }
    Ok(refusals)
}

/// What a run measures with; opened by the caller, in the namespace and on the NICs it is about.
pub struct Meters<'a> {
    pub nic: &'a mut dyn Meter,
    /// Through the NIC that the playbook names as `control`.
    pub control: Option<&'a mut dyn Meter>,
    /// Through the standby, where one is named.
    pub standby: Option<&'a mut dyn Meter>,
}

impl<'a> Meters<'a> {
    pub fn alone(nic: &'a mut dyn Meter) -> Meters<'a> {
        Meters { nic, control: None, standby: None }
    }
}

/// The whole run.
pub(super) fn apply(
    desk: &Desk,
    request: &Apply,
    mut meters: Meters<'_>,
) -> Result<Outcome, Declined> {
    finish::recover_all(desk, None)?;
    vouched_for(desk)?;
    // From here on the log names whoever asks.
    let asker = desk.law.loaded().asker.clone();
    let prepared = planned(desk.host, request, &desk.law.loaded().config.sysctls)?;
    let (plan, digest) = (&prepared.plan, prepared.plan.digest());
    if let Some(approved) = &request.digest
        && *approved != digest
    {
        let words = format!(
            "stale plan: what {approved} starts from is not so any more; planned anew it is {digest}"
        );
        return Err(Declined::new(Exit::Refused, "stale-plan", words));
    }
    if plan.is_done() {
        return Ok(Outcome::AlreadyRight(Box::new(prepared.plan)));
    }
    owner::free(desk, plan)?;
    let settings = plan.snapshot.iter().map(|kept| &kept.name);
    let _claim = claim::take(desk, (&plan.nic, plan.host.netns), settings)?;
    firmware::attempts(desk, plan)?;
    drift::tell(desk, &plan.nic)?;
    firmware::images_are_sound(desk.store, plan)?;
    for warning in &prepared.facts.warnings {
        (desk.tell)(&Telling::Note(warning.clone()));
    }
    let probe = meters.standby.as_mut().map(|meter| &mut **meter as &mut dyn Meter);
    let (standby, standing_by) =
        users::standby(desk, request.standby.as_ref(), &prepared.subject, probe)?;
    let mut beside = users::facts(&prepared.users, request);
    beside.extend(standing_by);
    let begun = begin(desk, &prepared, &digest, beside)?;
    own_up(desk, &begun.id, &prepared.overridden)?;
    let matter =
        Matter { standby: users::policys(&standby), ..matter(request, &prepared, &digest) };
    let permitted = permission::hold(desk, Some(&begun.id), &asker, &matter);
    let guarded = match prepared.refusals.first() {
        Some(refusal) => {
            // All at once: who overrides one hazard should not have to meet the next one by one.
            let all: Vec<String> = prepared.refusals.iter().map(ToString::to_string).collect();
            Err(Declined::new(Exit::Refused, refusal.rule, all.join("; also: ")))
        }
        None => Ok(()),
    };
    // A guard's words are about this machine: they come first. The log has both.
    match guarded.and(permitted) {
        Ok(permit) => drive(desk, request, (prepared, permit), begun, meters),
        Err(declined) => {
            let (rule, why) = (declined.rule.clone(), declined.why.clone());
            desk.say(Some(&begun.id), vec![Fact::Refused { rule, why }])?;
            desk.store.sync()?;
            Err(declined)
        }
    }
}

/// A run of this plan, as policies ask about it.
pub fn matter<'a>(request: &'a Apply, prepared: &'a Prepared, digest: &'a str) -> Matter<'a> {
    let plan = &prepared.plan;
    let mut overrides = BTreeSet::new();
    if request.allow_management && plan.disruption >= Disruption::LinkFlap {
        overrides.insert(Action::AllowManagement);
    }
    if request.break_glass.is_some() {
        overrides.insert(Action::BreakGlass);
    }
    if !prepared.overridden.is_empty() || !request.overridden.is_empty() {
        overrides.insert(Action::OverrideHazard);
    }
    let hazards = prepared.overridden.iter().map(|hazard| hazard.issue.clone());
    if request.firmware.no_way_back
        && firmware::action(plan).is_some_and(|action| action.way_back.is_none())
    {
        overrides.insert(Action::NoWayBack);
    }
    let beside = request.standby.as_ref().map(|_| length::probing(plan)).unwrap_or_default();
    let overridden: BTreeSet<String> = hazards.chain(request.overridden.iter().cloned()).collect();
    let mut named = permission::named(&overrides, &overridden);
    named.extend(request.force.then(|| "force".to_owned()));
    let standby = request.standby.as_ref().map(|path| path.nic.clone());
    let terms = Terms { overrides: named, standby, ..Terms::plain(Way::Apply) };
    Matter {
        actions: firmware::actions(plan),
        overrides,
        on: digest,
        nic: &prepared.facts.nic,
        disruption: plan.disruption,
        length: length::worst(plan) + beside,
        refusals: &prepared.refusals,
        overridden,
        standby: Standby::Unknown,
        catalog: standing::verdicts(&request.hazards.catalog, &prepared.subject, plan),
        break_glass: request.break_glass.as_deref(),
        terms,
        plan: Some((digest, &plan.host)),
    }
}

/// Nothing begins on a log that is not signed.
pub(super) const UNSIGNED: &str = "log-unsigned";

/// A log that somebody has rewritten vouches for nothing, not even for who owns which key.
fn vouched_for(desk: &Desk) -> Result<(), Declined> {
    desk.store.seal().map_err(|fault| match fault.kind {
        Kind::Io | Kind::Busy | Kind::Held | Kind::Unsupported => {
            Declined::new(Exit::Failed, "log", fault.to_string())
        }
        Kind::Denied | Kind::Invalid | Kind::Drift | Kind::Gone | Kind::Malformed => {
            Declined::new(Exit::Refused, UNSIGNED, fault.to_string())
        }
    })
}

/// Says in the log which hazards the run was begun in spite of.
pub(super) fn own_up(desk: &Desk, run: &str, overridden: &[Forbidden]) -> Result<()> {
    let fact = |hazard: &Forbidden| Fact::HazardOverridden {
        issue: hazard.issue.clone(),
        acts: hazard.acts.clone(),
        title: hazard.title.clone(),
        source: hazard.source.clone(),
    };
    for hazard in overridden {
        let words = format!("hazard {} is overridden: {}", hazard.issue, hazard.title);
        (desk.tell)(&Telling::Note(words));
        desk.say(Some(run), vec![fact(hazard)])?;
    }
    Ok(())
}

/// Makes everything durable that a stranger would need if we died at the first write.
fn begin(
    desk: &Desk,
    prepared: &Prepared,
    digest: &str,
    beside: Vec<Fact>,
) -> Result<RunRecord, Declined> {
    let plan = &prepared.plan;
    let id = run_id(desk, digest);
    let json = serde_json::to_vec_pretty(plan)
        .map_err(|e| Declined::new(Exit::Failed, "plan", format!("store the plan: {e}")))?;
    let hex = digest.trim_start_matches("sha256:");
    desk.store.put(&format!("plans/{hex}.json"), &json)?;
    let script = undo::script(&id, plan, &prepared.facts.nic);
    desk.store.put(&format!("runs/{id}/undo.sh"), script.as_bytes())?;
    let begun = Fact::Begun {
        plan: digest.to_owned(),
        playbook: format!("{} {}", plan.playbook.name, plan.playbook.version),
        nic: plan.nic.clone(),
        nic_name: plan.nic_name.clone(),
        netns: plan.host.netns,
        netns_cookie: desk.host.netns_cookie(),
        ifindex: Some(prepared.facts.nic.ifindex),
        peer: plan.peer.clone(),
        uid: desk.uid,
    };
    let mut facts = vec![begun, Fact::Versions(desk.law.versions())];
    facts.extend(beside);
    desk.say(Some(&id), facts)?;
    (desk.tell)(&Telling::Begun { run: id.clone() });
    let history = desk.history()?;
    history.find(&id).cloned().map_err(|why| Declined::new(Exit::Failed, "log", why))
}

fn drive(
    desk: &Desk,
    request: &Apply,
    (prepared, permit): (Prepared, Permit),
    begun: RunRecord,
    meters: Meters<'_>,
) -> Result<Outcome, Declined> {
    let Prepared { plan, facts, subject: _, users: _, refusals: _, overridden: _ } = prepared;
    let by = Criterions {
        objective: plan.playbook.objective.clone(),
        guardrails: plan.playbook.guardrails.clone(),
    };
    let verify = plan.playbook.verify.clone();
    let case = Case {
        by,
        seed: seed_of(&plan),
        parts: verify.patterns.len().max(1),
        storm_period_ns: verify.storm_period.map(|period| period.as_nanos() as u64),
        notes: warnings::limits(&plan),
        ..Case::default()
    };
    let meter = meters.nic;
    let control = meters.control.map(|meter| meter as &mut dyn Meter);
    let (baseline, sides) = (None, Default::default());
    let planned = plan.clone();
    let gate = Gate {
        host: desk.host,
        store: desk.store,
        law: desk.law.loaded(),
        permit,
        plan: &planned,
        overridden: request.overridden.clone(),
        standby: meters.standby.map(|meter| RefCell::new(meter as &mut dyn Meter)),
    };
    let gate = &gate;
    let flows = 0;
    let bench = Bench { meter, control, gate, verify, flows, case, baseline, sides };
    let mut engine = desk.engine(&begun, desk.stop, Some(bench))?;
    let mut run = Run::new(plan, facts.nic, Allowance { force: request.force });
    let end = engine.drive(&mut run, Event::Begin);
    Ok(Outcome::Ran(Box::new(desk.told(begun, &end))))
}

/// `20261122T101503Z-1f3a`: sortable, short, unique on this host.
fn run_id(desk: &Desk, digest: &str) -> String {
    let now = desk.host.now();
    let stamp = jiff::Timestamp::from_nanosecond(i128::from(now.utc_ns))
        .map(|t| t.strftime("%Y%m%dT%H%M%SZ").to_string())
        .unwrap_or_default();
    let salt = format!("{digest} {} {} {}", now.utc_ns, now.mono_ns, desk.epoch);
    let hash = Sha256::digest(salt.as_bytes());
    format!("{stamp}-{:02x}{:02x}", hash[0], hash[1])
}

/// From the plan's digest, so that the same plan on the same evidence is judged the same.
fn seed_of(plan: &Plan) -> u64 {
    let digest = plan.digest();
    let hex = digest.trim_start_matches("sha256:");
    u64::from_str_radix(hex.get(..16).unwrap_or("0"), 16).unwrap_or(0)
}

/// The NIC of a run, found again by what it is.
pub(super) fn nic_of(host: &dyn Host, id: &crate::host::NicId) -> Result<Option<Nic>> {
    Ok(nic::all(host)?.into_iter().find(|nic| nic.id == *id))
}
