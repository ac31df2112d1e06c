//! `policy`: are the policies sound, what do they say to a request now or at another time, which phase is a
//! venue in.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use playbooks::vocabulary::Disruption;
use policy::{
    Phase,
    config::Config,
    decide::{Decision, decide},
    request::{Action, Catalog, Clock, Consent, Facts, Principal, Request, Standby, Subject},
    set::{Checked, Flaw, Listed, Origin, PolicySet},
};
use serde_json::json;

use super::{Common, Done, after, apply::duration, law, law::Readers, out, place, site, withdraw};
use crate::{
    host::Host,
    inventory,
    law::{Law, Loaded, Texts, in_force},
    plan::Plan,
    run::length,
    runs::{
        self, Declined, Exit,
        permission::{self, Verdicts},
        standing,
    },
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Whether the site's configuration and policies hold against the schema; what is in force
    Check(CheckArgs),
    /// Why a request is allowed or refused now, by which policies, and what would satisfy them
    Explain(AskArgs),
    /// The same at another time
    Simulate(SimulateArgs),
    /// A venue's trading phase
    Phase(PhaseArgs),
    /// Go by what lies in CONFIG now though the law on record is gone from there; an entry of the log
    Withdraw(withdraw::Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Instead of CONFIG/policy: a folder of a site's policy files, or files (*.cedar, config.yaml).
    pub files: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits 0 where the request is allowed, 4 where it is refused. Every fact that is \
left out is taken from this host and from the plan."
)]
pub(super) struct AskArgs {
    /// apply, revert, revert-in-flight, flash, reset, campaign-outside-trading, override-hazard,
    /// allow-management, no-way-back, break-glass, approve, freeze, thaw, plan, inventory. When left out:
    /// everything that a run of --plan does (apply, and flash and reset where it does those), or apply.
    #[arg(value_parser = action)]
    pub action: Option<Action>,
    /// A stored plan, by its digest: what it does and how long it takes.
    #[arg(long, value_name = "DIGEST")]
    pub plan: Option<String>,
    /// Whoever asks: a person of the configuration, `agent`, `fleet` or `stranger`.
    #[arg(long = "as", value_name = "NAME")]
    pub principal: Option<String>,
    /// What traffic feels at worst: none, queue-reset, link-flap, nic-reset.
    #[arg(long, value_name = "DISRUPTION", value_parser = felt)]
    pub felt: Option<Disruption>,
    /// The phase of every venue, instead of the calendars'.
    #[arg(long, value_name = "PHASE", value_parser = phase_word)]
    pub phase: Option<Phase>,
    /// The run at its longest.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub run: Option<Duration>,
    /// A standby path is free.
    #[arg(long)]
    pub standby: bool,
    /// So many approvals by others.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    #[arg(default_value = "0")]
    pub approvals: u8,
    /// Somebody whom the run would hurt.
    #[arg(long, value_name = "WHO")]
    pub holder: Vec<String>,
    /// A hazard on record that is not overridden.
    #[arg(long, value_name = "ID")]
    pub hazard: Vec<String>,
    /// The firmware catalog's verdict: golden, good, drifted, blocked, unknown. That of the plan's NIC, or of
    /// the version that the plan flashes, when left out.
    #[arg(long, value_name = "VERDICT", value_parser = verdict)]
    pub catalog: Option<Catalog>,
    /// So many hosts that the fleet says it has changed today.
    #[arg(long, value_name = "N")]
    pub hosts_today: Option<u32>,
    /// Acting alone, for this reason.
    #[arg(long, value_name = "WHY")]
    pub break_glass: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    pub ask: AskArgs,
    /// The time: RFC 3339, or with a zone, as 2026-12-01T10:00[Asia/Shanghai]. The clock is then taken to
    /// be synchronised.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: jiff::Timestamp,
}

#[derive(Debug, clap::Args)]
pub(super) struct PhaseArgs {
    /// SSE, SZSE, HKEX, NYSE, NASDAQ, LSE, EUREX, JPX, CME, CFFEX, SHFE, or a venue of the site's.
    pub venue: String,
    /// The time: RFC 3339, or with a zone, as 2026-12-01T10:00[Asia/Shanghai]; now when left out.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<jiff::Timestamp>,
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    match command {
        Command::Check(args) => check(common, args),
        Command::Explain(args) => explain(common, args, None),
        Command::Simulate(args) => explain(common, &args.ask, Some(args.at)),
        Command::Phase(args) => phase(common, args),
        Command::Withdraw(args) => withdraw::run(common, args),
    }
}

fn action(text: &str) -> Result<Action, String> {
    let words = || Action::ALL.map(Action::word).join(", ");
    Action::of(text).ok_or_else(|| format!("one of {}", words()))
}

fn phase_word(text: &str) -> Result<Phase, String> {
    let words = || Phase::ALL.map(Phase::word).join(", ");
    Phase::of(text).ok_or_else(|| format!("one of {}", words()))
}

fn verdict(text: &str) -> Result<Catalog, String> {
    let known =
        [Catalog::Golden, Catalog::Good, Catalog::Drifted, Catalog::Blocked, Catalog::Unknown];
    let found = known.into_iter().find(|known| known.word() == text);
    found.ok_or_else(|| format!("one of {}", known.map(Catalog::word).join(", ")))
}

fn felt(text: &str) -> Result<Disruption, String> {
    match text {
        "none" => Ok(Disruption::None),
        "queue-reset" => Ok(Disruption::QueueReset),
        "link-flap" => Ok(Disruption::LinkFlap),
        "nic-reset" => Ok(Disruption::NicReset),
        _ => Err("one of none, queue-reset, link-flap, nic-reset".to_owned()),
    }
}

/// An instant, however its zone is given. A time without one is nobody's.
fn time(text: &str) -> Result<jiff::Timestamp, String> {
    let zoned = || text.parse::<jiff::Zoned>().map(|zoned| zoned.timestamp());
    let instant = text.parse::<jiff::Timestamp>().or_else(|_| zoned());
    instant.map_err(|_| "as 2026-12-01T02:00:00Z or 2026-12-01T10:00[Asia/Shanghai]".to_owned())
}

fn phase(common: &Common, args: &PhaseArgs) -> Done {
    let law = law::read(common);
    let known = law.venues();
    if !known.contains(args.venue.as_str()) {
        let known: Vec<&str> = known.into_iter().collect();
        let why = format!("no calendar of a venue {}: there are {}", args.venue, known.join(", "));
        return Err(Declined::new(Exit::Wrong, "venue", why));
    }
    let at = match args.at {
        Some(at) => at,
        None => now(&place::machine()?)?,
    };
    let calendars = law.calendars(std::slice::from_ref(&args.venue));
    for (venue, problems) in calendars.problems() {
        for problem in problems {
            let (line, column) = (problem.line, problem.column);
            out::remark(&format!("calendar {venue}.yaml:{line}:{column}: {}", problem.message));
        }
    }
    let phase = calendars.phase(&args.venue, at);
    let next = calendars.next_boundary(&args.venue, at);
    if common.json {
        let (venue, phase) = (&args.venue, phase.word());
        let next = next.map(|next| next.to_string());
        let document = json!({
            "venue": venue, "at": at.to_string(), "phase": phase, "next-boundary": next
        });
        out::json(&document);
    } else {
        let until = next.map_or(String::new(), |next| format!(", until {next}"));
        out::line(&format!("{} is {phase} at {at}{until}", args.venue));
    }
    Ok(Exit::Done)
}

fn now(host: &dyn Host) -> Result<jiff::Timestamp, Declined> {
    jiff::Timestamp::from_nanosecond(i128::from(host.now().utc_ns))
        .map_err(|e| Declined::new(Exit::Failed, "clock", format!("read the clock: {e}")))
}

fn check(common: &Common, args: &CheckArgs) -> Done {
    let folder = common.config_dir.join("policy");
    let texts = match args.files.as_slice() {
        [] => law::texts(&folder, Readers::Trusting(&common.config_dir)),
        [one] if one.is_dir() => law::texts(one, Readers::Trying),
        files => named(files),
    };
    let loaded = texts.map_err(|flaw| vec![flaw]).and_then(|texts| in_force(&texts, Checked::Not));
    let (config, set) = match loaded {
        Ok(loaded) => loaded,
        Err(flaws) => return unsound(common, &flaws),
    };
    let calendars = law::read(common).calendars(&config.venues);
    let missing: Vec<&String> =
        config.venues.iter().filter(|venue| calendars.get(venue).is_none()).collect();
    if common.json {
        let policies: Vec<&Listed> = set.listed().collect();
        let remarks: Vec<String> = set.remarks().iter().map(ToString::to_string).collect();
        out::json(&json!({
            "sound": true, "digest": set.digest(), "policies": policies, "remarks": remarks,
            "config": config, "venues-without-calendar": missing, "problems": [],
        }));
        return Ok(Exit::Done);
    }
    set.listed().for_each(print_policy);
    for flaw in set.remarks() {
        out::line(&format!("remark    {flaw}"));
    }
    let venues =
        if config.venues.is_empty() { "none".to_owned() } else { config.venues.join(", ") };
    out::line(&format!("venues    {venues}"));
    for venue in missing {
        out::line(&format!("venue     {venue} has no calendar that loads: its phase is unknown"));
    }
    out::line(&format!("people    {}", config.people.len()));
    out::line(&format!("digest    {}", set.digest()));
    Ok(Exit::Done)
}

/// These files as a site's: `config.yaml` by its ending, everything else policies.
fn named(files: &[PathBuf]) -> Result<Texts, Flaw> {
    let mut texts = Texts::default();
    for file in files {
        let text = law::text_of(file)?;
        match file.extension().is_some_and(|extension| extension == "yaml") {
            true => texts.config = Some(text),
            false => texts.policies.push(text),
        }
    }
    Ok(texts)
}

fn unsound(common: &Common, flaws: &[Flaw]) -> Done {
    let told: Vec<String> = flaws.iter().map(ToString::to_string).collect();
    if common.json {
        let problems: Vec<_> = flaws
            .iter()
            .map(|flaw| {
                let problem = &flaw.problem;
                json!({
                    "file": flaw.file, "line": problem.line, "column": problem.column,
                    "message": problem.message, "help": problem.help,
                })
            })
            .collect();
        out::json(&json!({"sound": false, "problems": problems}));
    }
    told.iter().for_each(|flaw| out::remark(flaw));
    let plural = if told.len() == 1 { "error" } else { "errors" };
    out::painted("31;1", "error", &format!(": {} {plural}; nothing of it loads", told.len()));
    Ok(Exit::Wrong)
}

fn print_policy(listed: &Listed) {
    let origin = match listed.origin {
        Origin::Floor => "floor",
        Origin::Shipped => "shipped",
        Origin::Site => "site",
        Origin::Replaced => "site, in place of the shipped one",
    };
    let place = match listed.origin {
        Origin::Floor | Origin::Shipped => String::new(),
        Origin::Site | Origin::Replaced => format!(" {}:{}", listed.file, listed.line),
    };
    let Listed { id, effect, why, .. } = listed;
    out::line(&format!("{effect:<9} {id:<24} {why} [{origin}{place}]"));
}

fn explain(common: &Common, args: &AskArgs, at: Option<jiff::Timestamp>) -> Done {
    let host = place::machine()?;
    let law = law::read(common);
    let loaded = law.loaded();
    loaded.flaws.iter().for_each(|flaw| out::remark(&format!("policy {flaw}")));
    loaded.unread.iter().for_each(|flaw| out::remark(&format!("calendar {flaw}")));
    let Some(set) = &loaded.set else {
        let why = "no policies are in force: the site's files do not load, and none loaded before";
        return Err(Declined::new(Exit::Refused, "policy-set", why));
    };
    let requests = requests(common, &host, &law, args, at)?;
    let decide = |request| {
        let decision = decide(&request, set);
        (request, decision)
    };
    let decided: Vec<(Request, Decision)> = requests.into_iter().map(decide).collect();
    let at = at.map_or_else(|| now(&host), Ok)?;
    // The first that is refused decides; where none is, what was asked first.
    let refused = decided.iter().find(|(_, decision)| !decision.allowed);
    let Some((request, decision)) = refused.or(decided.first()) else { return Ok(Exit::Done) };
    match common.json {
        true => {
            let mut document = document(request, decision, set, at);
            if decided.len() > 1 {
                let all: Vec<&Decision> = decided.iter().map(|(_, decision)| decision).collect();
                document["decisions"] = json!(all);
            }
            out::json(&document);
        }
        false => decided.iter().for_each(|(request, decision)| print(request, decision, set, at)),
    }
    Ok(if decision.allowed { Exit::Done } else { Exit::Refused })
}

/// What is asked, from the arguments, a stored plan and this host.
fn requests(
    common: &Common,
    host: &dyn Host,
    law: &Law,
    args: &AskArgs,
    at: Option<jiff::Timestamp>,
) -> Result<Vec<Request>, Declined> {
    let loaded = law.loaded();
    let (mut actions, mut catalog) = (vec![Action::Apply], Verdicts::UNKNOWN);
    let mut facts = circumstances(common, host, loaded, at)?;
    let mut subject = Subject { host: host.bearings().host, ..Subject::default() };
    if let Some(digest) = &args.plan {
        let (_, plan) = super::plan::stored(common, digest)?;
        facts.disruption = plan.disruption;
        let probing = if args.standby { length::probing(&plan) } else { Duration::ZERO };
        facts.run_s = permission::seconds(length::worst(&plan) + probing);
        subject.nic = plan.nic.to_string();
        subject.name.clone_from(&plan.nic_name);
        subject.driver.clone_from(&plan.driver);
        actions = runs::actions(&plan);
        catalog = verdicts(common, host, &plan);
    }
    facts.disruption = args.felt.unwrap_or(facts.disruption);
    facts.run_s = args.run.map_or(facts.run_s, |run| run.as_secs() + 1);
    if let Some(phase) = args.phase {
        let venue = || ("any".to_owned(), phase);
        match facts.venues.is_empty() {
            true => facts.venues.extend([venue()]),
            false => facts.venues.values_mut().for_each(|of| *of = phase),
        }
        // Of a phase that is only supposed nobody knows the end.
        facts.boundary_s = Some(u64::from(u32::MAX));
    }
    if args.standby {
        facts.standby = Standby::Free;
    }
    for nth in 1..=args.approvals {
        let roles = BTreeSet::from(["approver".to_owned()]);
        facts.approvals.insert(format!("supposed {nth}"), Consent { roles });
    }
    facts.holders.extend(args.holder.iter().cloned());
    facts.hazards.extend(args.hazard.iter().cloned());
    facts.break_glass.clone_from(&args.break_glass);
    facts.hosts_today = args.hosts_today;
    let principal = principal(&loaded.config, loaded, args.principal.as_deref())?;
    let actions = args.action.map_or(actions, |action| vec![action]);
    let request = |action| {
        let mut facts = facts.clone();
        facts.catalog = args.catalog.unwrap_or(catalog.about(action));
        Request { principal: principal.clone(), action, subject: subject.clone(), facts }
    };
    Ok(actions.into_iter().map(request).collect())
}

/// The catalog's word on the NIC of a plan, where it is here; a site's catalog that does not load says nothing.
fn verdicts(common: &Common, host: &dyn Host, plan: &Plan) -> Verdicts {
    let inventory = inventory::take(host, Some(&plan.nic_name)).ok();
    let nic = inventory.as_ref().and_then(|inventory| inventory.nic(&plan.nic_name));
    match (site::adopt(common), nic) {
        (Some(catalog), Some(nic)) => standing::verdicts(&catalog, nic, plan),
        (_, _) => Verdicts::UNKNOWN,
    }
}

/// What this host knows of the time: phases, boundary, clock, freeze.
fn circumstances(
    common: &Common,
    host: &dyn Host,
    loaded: &Loaded,
    at: Option<jiff::Timestamp>,
) -> Result<Facts, Declined> {
    let mut facts = Facts::quiet();
    let now = host.now().utc_ns;
    let utc_ns = at.map_or(Ok(now), |at| i64::try_from(at.as_nanosecond()));
    let utc_ns = utc_ns
        .map_err(|_| Declined::new(Exit::Wrong, "usage", "--at: outside what a clock can show"))?;
    (facts.venues, facts.boundary_s) = loaded.phases(utc_ns);
    if let Ok(disk) = place::reader(common) {
        facts.runs_today = Some(permission::runs_today(&disk, utc_ns)?);
    }
    facts.clock = match at {
        Some(_) => Clock { synchronised: true, error_us: 0 },
        None => crate::law::clock(host),
    };
    let frozen = common.state_dir.join("frozen");
    facts.frozen = std::fs::read_to_string(frozen).ok().map(|why| why.trim().to_owned());
    Ok(facts)
}

fn principal(config: &Config, loaded: &Loaded, name: Option<&str>) -> Result<Principal, Declined> {
    match name {
        None => Ok(loaded.asker.clone()),
        Some("agent") => Ok(Principal::Agent),
        Some("fleet") => Ok(Principal::Fleet { name: "fleet".to_owned() }),
        Some("stranger") => Ok(Principal::Stranger),
        Some(name) => match config.people.get(name) {
            Some(person) => Ok(Principal::Operator {
                name: name.to_owned(),
                uid: person.uid,
                roles: person.roles.clone(),
            }),
            None => {
                let known: Vec<&str> = config.people.keys().map(String::as_str).collect();
                let why =
                    format!("--as {name}: nobody of that name; known are {}", known.join(", "));
                Err(Declined::new(Exit::Wrong, "usage", why))
            }
        },
    }
}

fn document(
    request: &Request,
    decision: &Decision,
    set: &PolicySet,
    at: jiff::Timestamp,
) -> serde_json::Value {
    let by: Vec<&Listed> = decision.by.iter().filter_map(|id| set.find(id)).collect();
    let ways: Vec<String> = decision.ways.iter().map(ToString::to_string).collect();
    json!({
        "allowed": decision.allowed,
        "action": decision.action,
        "principal": decision.principal,
        "at": at.to_string(),
        "phase": request.facts.phase(),
        "by": by,
        "rule": (!decision.allowed).then(|| decision.rule()),
        "faults": decision.faults,
        "satisfy": ways,
        "ways": decision.ways,
        "facts": request.facts,
        "context": decision.context,
        "policies": decision.policies,
    })
}

fn print(request: &Request, decision: &Decision, set: &PolicySet, at: jiff::Timestamp) {
    let facts = &request.facts;
    let word = if decision.allowed { "allowed" } else { "refused" };
    out::line(&format!("{word:<9} {} for {}", decision.action, decision.principal));
    let venues: Vec<String> =
        facts.venues.iter().map(|(venue, phase)| format!("{venue} {phase}")).collect();
    let venues =
        if venues.is_empty() { "no venue is configured".to_owned() } else { venues.join(", ") };
    let left = facts.boundary_s.map_or(String::new(), boundary);
    let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
    out::line(&format!("phase     {} at {at} ({venues}{left})", facts.phase()));
    out::line(&format!("run       at most {} s", facts.run_s));
    for id in &decision.by {
        let why = set.find(id).map_or("", |listed| listed.why.as_str());
        out::line(&format!("by        {id}: {why}"));
    }
    if decision.by.is_empty() {
        out::line("by        no policy permits it");
    }
    decision.faults.iter().for_each(|fault| out::line(&format!("fault     {fault}")));
    decision.ways.iter().for_each(|way| out::line(&format!("satisfy   {way}")));
}

/// When the next phase begins. None that is known within 136 years comes as the largest number.
fn boundary(seconds: u64) -> String {
    if seconds >= u64::from(u32::MAX) {
        return String::new();
    }
    format!("; next boundary in {}", after::time(seconds * 1_000_000_000))
}
