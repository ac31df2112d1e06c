//! `plan`: what would change, from what, in which order, how disruptive; changes nothing.

use playbooks::{
    playbook::Probation,
    vocabulary::{Disruption, Scope, TakesEffect},
};

use policy::{
    Phase,
    decide::Decision,
    holders::{Effect, Holder, effect},
    set::PolicySet,
};

use super::{Common, Done, accepted::Accepted, deeds, law, out, place, site};
use crate::{
    host::Host,
    law::{Law, Loaded},
    log::History,
    plan::{Plan, Step},
    runs::{
        self, Apply, Declined, Exit, Prepared, StandbyPath,
        drift::{self, Drift},
        hazards::{Overrides, Terms},
        permission,
    },
    store::{Store, disk::Disk},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A shipped or site playbook by name, or a file.
    pub playbook: String,
    /// The network interface.
    #[arg(long, value_name = "IF")]
    pub nic: String,
    /// The reflector that a run would measure against; part of the plan's digest.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub peer: Option<String>,
    /// The reflector for the playbook's control NIC, where --peer cannot be reached by it.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub control_peer: Option<String>,
    #[command(flatten)]
    pub accepted: Accepted,
    /// Plan a firmware stage even where no image of the running version is stored.
    #[arg(long)]
    pub no_way_back: bool,
}

pub(super) fn run(common: &Common, args: &Args) -> Done {
    let (overridden, known) = args.accepted.overrides();
    let law = law::read(common);
    let request = Apply {
        sysctls: law.loaded().config.sysctls.clone(),
        control_peer: args.control_peer.clone(),
        allow_management: args.accepted.allow_management,
        overridden,
        standby: args.accepted.standby(),
        session: place::session(),
        hazards: hazards(common, &known)?,
        firmware: super::firmware::offer(common, args.no_way_back.into())?,
        ..Apply::plain(place::playbook(common, &args.playbook)?, &args.nic, args.peer.clone())
    };
    let host = place::machine()?;
    let prepared = runs::prepare(&host, &request)?;
    if let Ok(disk) = place::reader(common) {
        runs::images_are_sound(&disk, &prepared.plan)?;
    }
    let kept = keep(common, &prepared.plan);
    let permitted = Permitted::of(common, &host, &law, (&request, &prepared))?;
    let history = place::reader(common).and_then(|disk| Ok(History::fold(&disk.entries()?)?));
    let history = history.unwrap_or_default();
    let drift = drift::look(&host, &history, &prepared.plan.nic);
    drift.iter().filter(|drift| drift.is_news()).for_each(|drift| seen(common, &law, drift));
    if common.json {
        out::json(&document(&prepared, &permitted, &drift));
    } else {
        print(&prepared, &request);
        section("drift", drift.iter().map(Drift::words));
        permitted.print(law.loaded());
        if let Err(fault) = &kept {
            out::remark(&format!("note      the plan was not stored: {fault}"));
        }
    }
    Ok(Exit::Done)
}

/// What was found changed belongs in the log. Whoever may not write it, or finds a run at work, is only told.
fn seen(common: &Common, law: &Law, drift: &Drift) {
    let disk = common.open_to_write().map_err(Declined::from);
    let run = Some(drift.run.id.as_str());
    if let Err(declined) = disk.and_then(|disk| deeds::say(&disk, law, run, drift.facts())) {
        out::remark(&format!("note      the log was not told of the drift: {declined}"));
    }
}

/// What a request's steps are held against, and what it overrides of that.
pub(super) fn hazards(common: &Common, overrides: &[String]) -> Result<Terms, Declined> {
    let catalog = site::catalog(common)?;
    let mut known: Vec<String> = overrides.to_vec();
    known.sort();
    known.dedup();
    Ok(Terms { catalog, overrides: Overrides::These(known) })
}

/// The plan that was stored under this digest.
pub(super) fn stored(common: &Common, wanted: &str) -> Result<(String, Plan), Declined> {
    let hex = wanted.trim_start_matches("sha256:");
    let wrong = |why: String| Declined::new(Exit::Wrong, "plan", why);
    if hex.len() < 8 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong(format!("`{wanted}` is not a plan's digest")));
    }
    let disk = place::reader(common)?;
    let name = format!("plans/{hex}.json");
    let Some(bytes) = disk.get(&name)? else {
        return Err(wrong(format!("no stored plan {wanted}: `nicmend plan` makes and stores one")));
    };
    let plan: Plan =
        serde_json::from_slice(&bytes).map_err(|e| wrong(format!("stored plan {hex}: {e}")))?;
    let digest = plan.digest();
    if digest != format!("sha256:{hex}") {
        return Err(wrong(format!("stored plan {hex} was altered: it now digests to {digest}")));
    }
    Ok((digest, plan))
}

/// Plans are kept so that `apply --plan` can name them; a reader without rights just prints.
fn keep(common: &Common, plan: &Plan) -> crate::fault::Result<()> {
    let json = serde_json::to_vec_pretty(plan).unwrap_or_default();
    let digest = plan.digest();
    let name = format!("plans/{}.json", digest.trim_start_matches("sha256:"));
    Disk::mark(&common.state_dir, &name, Some(&json))
}

/// What the policies say to the plan: now, and in each phase.
struct Permitted {
    now: Vec<Decision>,
    by_phase: Vec<(Vec<Phase>, Vec<Decision>)>,
}

impl Permitted {
    fn of(
        common: &Common,
        host: &dyn Host,
        law: &Law,
        (request, prepared): (&Apply, &Prepared),
    ) -> Result<Permitted, Declined> {
        let digest = prepared.plan.digest();
        let matter = runs::matter(request, prepared, &digest);
        let store = place::reader(common).ok();
        let store = store.as_ref().map(|disk| disk as &dyn Store);
        let asked = (&law.loaded().asker, &matter);
        let now = permission::foresee(host, store, law, asked)?;
        Ok(Permitted { now, by_phase: permission::by_phase(host, law.loaded(), asked) })
    }

    fn print(&self, law: &Loaded) {
        law.flaws.iter().for_each(|flaw| out::remark(&format!("note      policy {flaw}")));
        law.unread.iter().for_each(|flaw| out::remark(&format!("note      calendar {flaw}")));
        let Some(set) = &law.set else {
            return section(
                "policy",
                ["no policies are in force: nothing may change".to_owned()].into_iter(),
            );
        };
        let asker = &law.asker;
        section("policy", self.now.iter().map(|decision| told(decision, set)));
        let lines = self.by_phase.iter().map(|(phases, decided)| {
            let phases: Vec<&str> = phases.iter().map(|phase| phase.word()).collect();
            let refused = decided.iter().find(|decision| !decision.allowed);
            let words = match refused {
                None => format!("{asker} alone"),
                Some(decision) => told(decision, set),
            };
            format!("while {}: {words}", phases.join(", "))
        });
        section("who must approve", lines);
    }
}

fn told(decision: &Decision, set: &PolicySet) -> String {
    match decision.allowed {
        true => format!("{} is allowed by {}", decision.action, decision.by.join(", ")),
        false => permission::words(decision, set),
    }
}

fn document(prepared: &Prepared, permitted: &Permitted, drift: &[Drift]) -> serde_json::Value {
    let plan = &prepared.plan;
    serde_json::json!({
        "digest": plan.digest(),
        "plan": plan,
        "used-by": prepared.users.holders(),
        "would-be-refused": prepared.refusals,
        "overridden-hazards": prepared.overridden,
        "policy": {
            "now": permitted.now,
            "by-phase": permitted.by_phase.iter().map(|(phases, decided)| {
                serde_json::json!({"phases": phases, "decisions": decided})
            }).collect::<Vec<_>>(),
        },
        "drift": drift.iter().map(|drift| {
            serde_json::json!({"run": drift.run.id, "changes": drift.changes})
        }).collect::<Vec<_>>(),
        "nothing-to-do": plan.is_done(),
    })
}

/// What the plan does and how it goes back: what an approver sees, too.
pub(super) fn in_words(plan: &Plan) {
    out::line(&format!(
        "plan      {} {} on {} ({}, {})",
        plan.playbook.name, plan.playbook.version, plan.nic_name, plan.driver, plan.nic
    ));
    out::line(&format!("digest    {}", plan.digest()));
    out::line(&format!("felt      {}", felt(plan.disruption)));
    for (index, stage) in plan.stages.iter().enumerate() {
        out::line(&format!("\nstage {}   {}", index + 1, stage.name));
        if stage.steps.is_empty() && stage.firmware.is_none() {
            out::line("  nothing to write");
        }
        print_steps(&stage.steps);
        if let Some(firmware) = &stage.firmware {
            let lines = super::firmware::lines::planned(firmware);
            lines.iter().for_each(|line| out::line(&format!("  {line}")));
        }
        if !stage.disturbs.is_empty() {
            let names: Vec<&str> = stage.disturbs.iter().map(playbooks::Name::as_str).collect();
            out::line(&format!("  may disturb (kept and put back): {}", names.join(", ")));
        }
    }
    section("measured", measured(plan).into_iter());
    if !plan.revert.is_empty() {
        out::line("\nrevert, in this order");
        print_steps(&plan.revert);
    }
}

fn print(prepared: &Prepared, request: &Apply) {
    let plan = &prepared.plan;
    in_words(plan);
    let warnings = prepared.facts.warnings.iter().cloned();
    section("mind", warnings.chain(plan.peer.is_none().then(|| PEERLESS.to_owned())));
    section("after the commit", plan.playbook.probation.as_ref().map(watched_on).into_iter());
    section("not in this version", not_yet(plan));
    section("right already", plan.already.iter().map(|(n, v)| format!("{n} = {}", value(v))));
    section("not on this NIC", plan.skipped.iter().map(|(n, why)| format!("{n}: {why}")));
    section("cannot affect", plan.cannot_affect.iter().cloned());
    let overridden = prepared.overridden.iter();
    section(
        "hazards overridden",
        overridden.map(|h| format!("{}: {} [{}]", h.issue, h.title, h.source)),
    );
    section("used by", used(prepared));
    section("standby", request.standby.iter().map(stands_by));
    let refusals = prepared.refusals.iter();
    section("would be refused", refusals.map(ToString::to_string));
}

/// What is measured against is part of what is planned.
const PEERLESS: &str =
    "this plan names no peer, so `apply --plan` cannot take it: plan with --peer HOST";

fn section(title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        out::line(&format!("\n{title}"));
        lines.iter().for_each(|text| out::line(&format!("  {text}")));
    }
}

/// Who could feel it, and what it costs to know.
fn used(prepared: &Prepared) -> impl Iterator<Item = String> {
    let users = &prepared.users;
    let felt = prepared.plan.disruption;
    let line = move |holder: &Holder| match effect(holder.signal, felt) {
        Effect::Blocks => format!("{holder}  [in the way: {}]", holder.id()),
        Effect::Warns => format!("{holder}  [feels it and goes on]"),
        Effect::Passes => holder.to_string(),
    };
    let lines: Vec<String> = users.holders().iter().map(line).collect();
    let looked = (felt > Disruption::None).then(|| match lines.is_empty() {
        true => format!("nobody who would feel it ({})", users.cost),
        false => users.cost.to_string(),
    });
    lines.into_iter().chain(looked)
}

fn stands_by(path: &StandbyPath) -> String {
    let peer = path.peer.as_deref().unwrap_or("--peer");
    format!(
        "{}: must be another device, is probed against {peer} before the run and before each step that \
         drops the link, and is the run's alone until it ends",
        path.nic
    )
}

fn watched_on(probation: &Probation) -> String {
    format!(
        "probation: `nicmend watch RUN` watches it for {} at {} packets a second, and reverts it on \
         regression",
        super::after::time(probation.length.as_nanos() as u64),
        probation.rate
    )
}

/// What the playbook asks for and this version does not do.
fn not_yet(plan: &Plan) -> impl Iterator<Item = String> {
    let mut words = Vec::new();
    if plan.disruption >= Disruption::LinkFlap {
        words.push("drain: strategies are not told to leave before a disruptive step".to_owned());
    }
    words.into_iter()
}

/// How a run would measure, and for how long at most.
fn measured(plan: &Plan) -> Vec<String> {
    let verify = &plan.playbook.verify;
    let seconds = |time: std::time::Duration| format!("{:.0} s", time.as_secs_f64());
    let writing = plan.stages.iter().filter(|stage| !stage.steps.is_empty()).count();
    let stages = u32::try_from(writing).unwrap_or(u32::MAX);
    let windows = if verify.interleave { stages.saturating_mul(2) } else { stages };
    let whole = verify.window.saturating_mul(windows.saturating_add(1));
    let plural = if stages == 1 { "stage" } else { "stages" };
    let mut words = vec![format!(
        "a baseline and {stages} {plural}, windows of {}: {} in all, and settling",
        seconds(verify.window),
        seconds(whole)
    )];
    if verify.interleave {
        words.push("interleaved: stages that nobody feels are switched off and on".to_owned());
    }
    if let Some(control) = &verify.control {
        let peer = plan.control_peer.as_ref().or(plan.peer.as_ref());
        let peer = peer.map_or("--peer", String::as_str);
        words.push(format!("beside it {control}, untouched, against {peer}"));
    }
    words
}

/// One line a change, the values below each other.
fn print_steps(steps: &[Step]) {
    let names = steps.iter().flat_map(|step| &step.batch).map(|change| change.name.as_str().len());
    let width = names.max().unwrap_or(0);
    steps.iter().for_each(|step| print_step(step, width));
}

fn print_step(step: &Step, width: usize) {
    for change in &step.batch {
        let mut notes = vec![felt(step.disruption).to_owned()];
        match step.takes_effect {
            TakesEffect::Now => {}
            TakesEffect::NewSockets => notes.push("new sockets only".to_owned()),
            TakesEffect::Reload => notes.push("after the driver is loaded anew".to_owned()),
        }
        match step.scope {
            Scope::Nic => {}
            Scope::Device => notes.push("all ports of the device".to_owned()),
            Scope::Netns => notes.push("whole network namespace".to_owned()),
            Scope::Host => notes.push("whole host".to_owned()),
        }
        let name = change.name.as_str();
        out::line(&format!(
            "  {name:<width$}  {} -> {}  [{}]",
            value(&change.from),
            value(&change.to),
            notes.join(", ")
        ));
    }
}

/// Nothing is a value too (a list of no CPUs), and is written as a playbook writes it.
fn value(value: &playbooks::Value) -> String {
    let text = value.to_string();
    if text.is_empty() { "\"\"".to_owned() } else { text }
}

fn felt(disruption: Disruption) -> &'static str {
    match disruption {
        Disruption::None => "no disruption",
        Disruption::QueueReset => "queues stop briefly",
        Disruption::LinkFlap => "link goes down and comes back",
        Disruption::NicReset => "NIC resets",
    }
}
