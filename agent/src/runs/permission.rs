//! The one place where a request is held against the policies: facts in, decisions in the log, and on or
//! back. Putting back what is in flight does not come here: it waits for nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use playbooks::vocabulary::Disruption;
use policy::{
    Phase, Refusal,
    approval::{Tally, Terms},
    decide::{Decision, NO_PERMIT, decide, rule},
    request::{Action, Catalog, Clock, Consent, Facts, Principal, Request, Standby, Subject},
    set::PolicySet,
};
use serde_json::json;

use super::{
    Declined, Desk, Exit,
    consent::{approved, tally},
};
use crate::{
    approvals,
    engine::{Again, Telling},
    fault::Result,
    host::{Host, Nic},
    law::{self, Law, Loaded},
    log::{Fact, History, office},
    plan::HostId,
    store::Store,
};

/// Where no policies are in force.
const NO_POLICIES: &str = "policy-set";
/// Names of holders and hazards that go into a request; a host with more is refused all the same.
pub(super) const NAMED_MAX: usize = 64;
const DAY_NS: i64 = 86_400 * 1_000_000_000;
/// The clock may be off by a second, and be set back by as much.
const SET_BACK_NS: i64 = 1_000_000_000;
/// Boundaries that a window is looked for behind: a week of a dozen busy venues.
const BOUNDARIES_MAX: u32 = 1024;

/// What a run would do, as far as policies ask.
#[derive(Debug, Clone)]
pub struct Matter<'a> {
    /// What the request is called, then what else it does; each has to be allowed.
    pub actions: Vec<Action>,
    /// Refusals that the request overrides; each has to be allowed, too.
    pub overrides: BTreeSet<Action>,
    /// The plan's digest, or the run.
    pub on: &'a str,
    pub nic: &'a Nic,
    /// The worst that traffic feels, the way back included.
    pub disruption: Disruption,
    /// At the longest, revert included.
    pub length: Duration,
    /// What guards and hazards have found.
    pub refusals: &'a [Refusal],
    /// Hazards that the request overrides, by id.
    pub overridden: BTreeSet<String>,
    /// Another path for the traffic, as it was just probed.
    pub standby: Standby,
    pub catalog: Verdicts,
    pub break_glass: Option<&'a str>,
    /// What people consent to beside the plan itself.
    pub terms: Terms,
    /// The plan that people may have approved, and the host it is for.
    pub plan: Option<(&'a str, &'a HostId)>,
}

/// What the firmware catalog says, as far as policies ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdicts {
    /// Of the firmware that runs.
    pub running: Catalog,
    /// Of the one that would be flashed.
    pub flashed: Catalog,
}

impl Verdicts {
    /// Where nobody has looked.
    pub const UNKNOWN: Verdicts = Verdicts { running: Catalog::Unknown, flashed: Catalog::Unknown };

    /// The one that an action is about.
    pub fn about(self, action: Action) -> Catalog {
        if action == Action::Flash { self.flashed } else { self.running }
    }
}

/// Decides under the writer's lock and says so in the log. On, or back with every policy that refuses and
/// what would satisfy them.
///
/// `principal` is whoever acts: the person behind the request, or the agent by itself.
pub fn hold(
    desk: &Desk,
    run: Option<&str>,
    principal: &Principal,
    matter: &Matter,
) -> Result<Permit, Declined> {
    let law = desk.law.loaded();
    for flaw in &law.flaws {
        let words = format!("policy {flaw}; what loaded last stays in force");
        (desk.tell)(&Telling::Note(words));
    }
    for flaw in &law.unread {
        let words = format!("calendar {flaw}; the venue's phase is unknown");
        (desk.tell)(&Telling::Note(words));
    }
    let tally = approved(desk, principal, matter)?;
    let facts = facts((desk.host, desk.store), law, matter, &tally)?;
    let Some(set) = &law.set else {
        let why = "no policies are in force: the site's files do not load, and none loaded before \
                   (`nicmend policy check` says where)";
        return Err(Declined::new(Exit::Refused, NO_POLICIES, why));
    };
    desk.law.keep(desk.store)?;
    let decided = decisions(desk.host, set, principal, matter, &facts);
    let refused = decided.iter().find(|(_, decision)| !decision.allowed);
    let mut said = vec![Fact::Requested(requested(law, matter))];
    said.extend(decided.iter().map(|(request, decision)| told(request, decision, set, matter.on)));
    desk.say(run, said)?;
    match refused {
        Some((_, decision)) => {
            desk.store.sync()?;
            Err(Declined::new(Exit::Refused, decision.rule(), words(decision, set)))
        }
        None => {
            // What is begun on is used up: a second run needs consent of its own. Where a guard will
            // refuse, nothing begins.
            if let Some((plan, _)) = matter.plan
                && !tally.counted.is_empty()
                && matter.refusals.is_empty()
            {
                desk.say(run, approvals::used_up(plan, &tally))?;
            }
            if let Some(why) = matter.break_glass {
                let hours = law.config.countersign_within.as_secs() / 3600;
                let words = format!(
                    "BREAK-GLASS by {}: {why}; to be countersigned within {hours} h",
                    principal.name()
                );
                (desk.tell)(&Telling::Note(words));
            }
            let requests = decided.into_iter().map(|(request, _)| request).collect();
            Ok(Permit { on: matter.on.to_owned(), requests })
        }
    }
}

/// What was allowed, to be asked again while it goes on.
#[derive(Debug, Clone)]
pub struct Permit {
    on: String,
    requests: Vec<Request>,
}

impl Permit {
    /// Asks again. Phases, boundary, clock and freeze are looked at anew, and what is `left` of the run must
    /// fit; what it was begun on stands: the approvals that it used up, the overrides, the standby path (which
    /// the guard probes again).
    ///
    /// # Errors
    /// The state directory cannot be read.
    pub fn again(
        &self,
        (host, store): (&dyn Host, &dyn Store),
        law: &Loaded,
        left: Duration,
    ) -> Result<Again> {
        let Some(set) = &law.set else {
            let why = "no policies are in force".to_owned();
            return Ok((Vec::new(), Some((NO_POLICIES.to_owned(), why))));
        };
        let (frozen, history) = (frozen(store)?, History::fold(&store.entries()?)?);
        let (mut said, mut refused) = (Vec::new(), None);
        for request in &self.requests {
            let mut request = request.clone();
            let facts = &mut request.facts;
            (facts.venues, facts.boundary_s) = law.phases(host.now().utc_ns);
            facts.clock = law::clock(host);
            if set_back(&history, host.now().utc_ns) {
                facts.clock = Clock { synchronised: false, error_us: u64::MAX };
            }
            facts.frozen.clone_from(&frozen);
            facts.run_s = seconds(left);
            let decision = decide(&request, set);
            if !decision.allowed && refused.is_none() {
                refused = Some((decision.rule().to_owned(), words(&decision, set)));
            }
            said.push(told(&request, &decision, set, &self.on));
        }
        Ok((said, refused))
    }
}

/// What the policies would say: nothing is logged. Empty where no policies are in force.
pub fn foresee(
    host: &dyn Host,
    store: Option<&dyn Store>,
    law: &Law,
    (principal, matter): (&Principal, &Matter),
) -> Result<Vec<Decision>> {
    let loaded = law.loaded();
    let Some(set) = &loaded.set else { return Ok(Vec::new()) };
    let facts = match store {
        Some(store) => {
            let tally = tally((host, store), law, (principal, matter))?;
            facts((host, store), loaded, matter, &tally)?
        }
        None => facts_without(host, loaded, matter),
    };
    let decided = decisions(host, set, principal, matter, &facts);
    Ok(decided.into_iter().map(|(_, decision)| decision).collect())
}

/// When they would allow it, if nothing else changes: the next boundary of a phase from which on they do.
/// `None`: not within a week, or not as far as the calendars tell.
pub fn opens(
    (host, store): (&dyn Host, &dyn Store),
    law: &Law,
    (principal, matter): (&Principal, &Matter),
) -> Result<Option<jiff::Timestamp>> {
    let loaded = law.loaded();
    let Some(set) = &loaded.set else { return Ok(None) };
    let tally = tally((host, store), law, (principal, matter))?;
    let mut facts = facts((host, store), loaded, matter, &tally)?;
    let began = host.now().utc_ns;
    let mut at = began;
    for _ in 0..BOUNDARIES_MAX {
        let Some(next) = loaded.next_boundary(at) else { break };
        at = i64::try_from(next.as_nanosecond()).unwrap_or(i64::MAX);
        if at.saturating_sub(began) > 7 * DAY_NS {
            break;
        }
        (facts.venues, facts.boundary_s) = loaded.phases(at);
        let mut asked = requests(host, principal, matter, &facts).into_iter();
        if asked.all(|request| rule(&request, set).allowed) {
            return Ok(Some(next));
        }
    }
    Ok(None)
}

/// What they would say in each phase, as things stand otherwise: phases of one answer together. For `plan`,
/// which says who must approve before anybody knows when it will run.
pub fn by_phase(
    host: &dyn Host,
    law: &Loaded,
    (principal, matter): (&Principal, &Matter),
) -> Vec<(Vec<Phase>, Vec<Decision>)> {
    let Some(set) = &law.set else { return Vec::new() };
    let mut answers: Vec<(Vec<Phase>, Vec<Decision>)> = Vec::new();
    for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Unknown) {
        let mut facts = facts_without(host, law, matter);
        facts.venues = BTreeMap::from([("any".to_owned(), phase)]);
        facts.boundary_s = Some(facts.run_s);
        facts.clock = Clock { synchronised: true, error_us: 0 };
        let decided = decisions(host, set, principal, matter, &facts);
        let decided: Vec<Decision> = decided.into_iter().map(|(_, decision)| decision).collect();
        let alike = |(_, others): &&mut (Vec<Phase>, Vec<Decision>)| {
            let pairs = others.iter().zip(&decided);
            pairs.into_iter().all(|(a, b)| a.allowed == b.allowed && a.by == b.by)
        };
        match answers.iter_mut().find(alike) {
            Some((phases, _)) => phases.push(phase),
            None => answers.push((vec![phase], decided)),
        }
    }
    answers
}

/// Whether whoever asks may freeze or thaw this host, with the request and its decision for the log. Where no
/// policies are in force both are allowed: neither changes anything by itself.
pub fn brake(host: &dyn Host, law: &Loaded, action: Action) -> (Vec<Fact>, Result<(), Declined>) {
    let on = host.bearings().host;
    let asked = office::Request { action: action.word().to_owned(), on, ..Default::default() };
    let on = asked.on.clone();
    let mut said = vec![Fact::Requested(asked)];
    let Some(set) = &law.set else { return (said, Ok(())) };
    let subject = Subject { host: on.clone(), ..Subject::default() };
    let mut facts = Facts::quiet();
    (facts.venues, facts.boundary_s) = law.phases(host.now().utc_ns);
    facts.clock = law::clock(host);
    let request = Request { principal: law.asker.clone(), action, subject, facts };
    let decision = decide(&request, set);
    said.push(told(&request, &decision, set, &on));
    let allowed = match decision.allowed {
        true => Ok(()),
        false => Err(Declined::new(Exit::Refused, decision.rule(), words(&decision, set))),
    };
    (said, allowed)
}

/// One decision for each action, and one for each override.
fn decisions(
    host: &dyn Host,
    set: &PolicySet,
    principal: &Principal,
    matter: &Matter,
    facts: &Facts,
) -> Vec<(Request, Decision)> {
    let decided = |request| {
        let decision = decide(&request, set);
        (request, decision)
    };
    requests(host, principal, matter, facts).into_iter().map(decided).collect()
}

fn requests(
    host: &dyn Host,
    principal: &Principal,
    matter: &Matter,
    facts: &Facts,
) -> Vec<Request> {
    let subject = subject(host, matter);
    let each = matter.actions.iter().chain(&matter.overrides).copied();
    each.map(|action| {
        let (principal, mut facts) = (principal.clone(), facts.clone());
        facts.catalog = matter.catalog.about(action);
        Request { principal, action, subject: subject.clone(), facts }
    })
    .collect()
}

pub(super) fn subject(host: &dyn Host, matter: &Matter) -> Subject {
    Subject {
        host: host.bearings().host,
        nic: matter.nic.id.to_string(),
        name: matter.nic.name.clone(),
        driver: matter.nic.driver.clone(),
    }
}

/// By its own log this host has been later than that: nobody knows the time.
fn set_back(history: &History, now_utc_ns: i64) -> bool {
    history.newest_utc_ns.is_some_and(|newest| newest.saturating_sub(now_utc_ns) > SET_BACK_NS)
}

fn facts(
    (host, store): (&dyn Host, &dyn Store),
    law: &Loaded,
    matter: &Matter,
    tally: &Tally,
) -> Result<Facts> {
    let mut facts = facts_without(host, law, matter);
    let consent = |name: &String| (name.clone(), Consent { roles: law.config.roles_of(name) });
    facts.approvals = tally.counted.keys().map(consent).collect();
    let (now, history) = (host.now().utc_ns, History::fold(&store.entries()?)?);
    facts.runs_today = Some(committed_today(&history, now));
    if set_back(&history, now) {
        facts.clock = Clock { synchronised: false, error_us: u64::MAX };
    }
    facts.frozen = frozen(store)?;
    Ok(facts)
}

/// Why the host is frozen, where it is.
pub(super) fn frozen(store: &dyn Store) -> Result<Option<String>> {
    let why = store.get("frozen")?;
    Ok(why.map(|why| String::from_utf8_lossy(&why).trim().to_owned()))
}

/// All that is known without a state directory.
pub(super) fn facts_without(host: &dyn Host, law: &Loaded, matter: &Matter) -> Facts {
    let (venues, boundary_s) = law.phases(host.now().utc_ns);
    let named = |rules: &[&str]| -> BTreeSet<String> {
        let of = matter.refusals.iter().filter(|refusal| rules.contains(&refusal.rule));
        of.take(NAMED_MAX).map(|refusal| refusal.why.clone()).collect()
    };
    Facts {
        venues,
        disruption: matter.disruption,
        holders: named(&["in-use", "kernel-bypass"]),
        standby: matter.standby,
        catalog: matter.catalog.running,
        hazards: named(&["hazard"]),
        overridden: matter.overridden.iter().take(NAMED_MAX).cloned().collect(),
        approvals: BTreeMap::new(),
        requester: None,
        // Other hosts are the fleet's to count.
        hosts_today: None,
        runs_today: None,
        clock: law::clock(host),
        boundary_s,
        run_s: seconds(matter.length),
        frozen: None,
        break_glass: matter.break_glass.map(str::to_owned),
    }
}

/// A length as it is held against a boundary: in whole seconds, and with the second by which the clock may be off.
pub fn seconds(length: Duration) -> u64 {
    length.as_secs() + 2
}

/// Runs that were committed here on the day of `now`, UTC, until then or later.
pub fn runs_today(store: &dyn Store, now_utc_ns: i64) -> Result<u32> {
    Ok(committed_today(&History::fold(&store.entries()?)?, now_utc_ns))
}

fn committed_today(history: &History, now_utc_ns: i64) -> u32 {
    let midnight = now_utc_ns - now_utc_ns.rem_euclid(DAY_NS);
    let committed = history.runs.iter().filter(|run| run.committed_since(midnight));
    u32::try_from(committed.count()).unwrap_or(u32::MAX)
}

/// What a request overrides, in the words that people sign: each refusal by its flag, but those that are named.
pub(super) fn named(overrides: &BTreeSet<Action>, ids: &BTreeSet<String>) -> BTreeSet<String> {
    let by_flag = [Action::AllowManagement, Action::NoWayBack];
    let flags = overrides.iter().filter(|action| by_flag.contains(action));
    flags.map(|action| action.word().to_owned()).chain(ids.iter().cloned()).collect()
}

fn requested(law: &Loaded, matter: &Matter) -> office::Request {
    let mut details = BTreeMap::new();
    if let Some(why) = matter.break_glass {
        let within = law.config.countersign_within.as_secs();
        details.insert("break-glass".to_owned(), json!(why));
        details.insert("countersign-within-s".to_owned(), json!(within));
    }
    let mut overrides: BTreeSet<String> =
        matter.overrides.iter().map(|action| action.word().to_owned()).collect();
    overrides.extend(matter.terms.overrides.iter().take(NAMED_MAX).cloned());
    if let Some(nic) = &matter.terms.standby {
        details.insert("standby".to_owned(), json!(nic));
    }
    let words: Vec<&str> = matter.actions.iter().map(|action| action.word()).collect();
    if words.len() > 1 {
        details.insert("actions".to_owned(), json!(words));
    }
    office::Request {
        action: words.first().copied().unwrap_or_default().to_owned(),
        on: matter.on.to_owned(),
        overrides: overrides.into_iter().collect(),
        details,
    }
}

pub(super) fn told(request: &Request, decision: &Decision, set: &PolicySet, on: &str) -> Fact {
    Fact::Decision(office::Decision {
        action: decision.action.word().to_owned(),
        on: on.to_owned(),
        allowed: decision.allowed,
        policies: decision.by.clone(),
        why: reasons(decision, set),
        satisfy: decision.ways.iter().map(ToString::to_string).collect(),
        // A request is maps with string keys: it always serializes.
        context: json!({
            "request": request,
            "request-digest": decision.context,
            "policies-digest": decision.policies,
        }),
    })
}

/// Every policy that decided, with the reason it gives.
pub fn reasons(decision: &Decision, set: &PolicySet) -> String {
    if let Some(fault) = decision.faults.first() {
        return format!("a policy could not be evaluated: {fault}");
    }
    if decision.by.is_empty() {
        let Decision { action, principal, .. } = decision;
        return format!("{NO_PERMIT}: nothing permits {principal} to {action}");
    }
    let reason = |id: &String| match set.find(id) {
        Some(listed) if !listed.why.is_empty() => format!("{id} ({})", listed.why),
        Some(_) | None => id.clone(),
    };
    decision.by.iter().map(reason).collect::<Vec<_>>().join("; ")
}

/// A refusal as people read it.
pub fn words(decision: &Decision, set: &PolicySet) -> String {
    let why = reasons(decision, set);
    let ways: Vec<String> = decision.ways.iter().map(ToString::to_string).collect();
    let satisfy = match ways.as_slice() {
        [] => "nothing that is known here would satisfy that".to_owned(),
        [one] => format!("this would satisfy that: {one}"),
        many => format!("each of these would satisfy that: {}", many.join("; or ")),
    };
    format!("policy refuses {}: {why}; {satisfy}", decision.action)
}
