//! What is consented to: from the command line, or from what somebody did alone; and whether it would count.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policy::{
    approval::{self, Alone, Approval, Filed, Statement, Terms, Void, Wanted, Way},
    config::Config,
    request::{Action, Standby},
};

use super::Args;
use crate::{
    approvals::{self, Registry},
    cli::{Common, out, place, site},
    host::{Host, Nic, linux::Linux},
    law::{Law, Loaded},
    log::{Fact, History, glass::BreakGlass},
    plan::Plan,
    run::length,
    runs::{
        self, Declined, Exit,
        permission::{Matter, Verdicts},
    },
    store::{Store, disk::Disk},
};

/// What is known where the command runs: the plan's host, or another machine that has no log of it.
pub(super) struct Here {
    pub(super) machine: Linux,
    /// Now; the newest entry's time where the clock has been set back since.
    pub(super) at: Timestamp,
    pub(super) disk: Option<Disk>,
    used: BTreeSet<String>,
    history: Option<History>,
}

impl Here {
    pub(super) fn look(common: &Common, args: &Args) -> Result<Here, Declined> {
        let machine = place::machine()?;
        let now = machine.now().utc_ns;
        let disk = match place::reader(common) {
            Ok(disk) => Some(disk),
            // A plan that was brought: its host is another one.
            Err(_) if args.plan.is_some() => None,
            Err(declined) => return Err(declined),
        };
        let (mut used, mut history) = (BTreeSet::new(), None);
        if let Some(disk) = &disk {
            used = approvals::used(disk)?;
            history = Some(History::fold(&disk.entries()?)?);
        }
        let newest = history.as_ref().and_then(|history| history.newest_utc_ns).unwrap_or(now);
        if newest > now {
            out::remark(
                "note      the clock is earlier than the log's newest entry: that one's time is taken",
            );
        }
        let at = Timestamp::from_nanosecond(i128::from(now.max(newest))).map_err(|error| {
            Declined::new(Exit::Failed, "clock", format!("read the clock: {error}"))
        })?;
        Ok(Here { machine, at, disk, used, history })
    }

    /// What somebody has done alone with this plan.
    pub(super) fn alone<'h>(&'h self, plan: &'h str) -> impl Iterator<Item = &'h BreakGlass> {
        let runs = self.history.iter().flat_map(|history| &history.runs);
        runs.filter(move |run| run.plan == plan).flat_map(|run| &run.break_glass)
    }

    /// Whose act these terms countersign, where they do.
    fn requester(&self, plan: &str, terms: &Terms) -> Result<Option<String>, Void> {
        let (Some(named), Some(_)) = (&terms.countersigns, &self.history) else { return Ok(None) };
        match self.alone(plan).find(|glass| glass.open() && glass.named() == *named) {
            Some(glass) if glass.action == terms.way.word() => Ok(glass.by.clone()),
            Some(glass) => {
                let why = format!("{named} was `{}`, not `{}`", glass.action, terms.way.word());
                Err(Void::OtherTerms(why))
            }
            None => Err(Void::OtherTerms(format!(
                "nothing that {named} names waits for a signature here"
            ))),
        }
    }
}

/// What the command line says.
pub(super) fn asked(args: &Args, digest: &str, here: &Here) -> Result<Terms, Declined> {
    let mut overrides: BTreeSet<String> = args.accepted.override_hazard.iter().cloned().collect();
    let flags = [
        (args.accepted.allow_management, "allow-management"),
        (args.no_way_back, "no-way-back"),
        (args.force, "force"),
    ];
    overrides.extend(flags.iter().filter(|(given, _)| *given).map(|(_, word)| (*word).to_owned()));
    let way = if args.revert { Way::Revert } else { Way::Apply };
    let standby = args.accepted.standby.clone();
    let terms = Terms { way, overrides, standby, countersigns: None };
    match &args.countersign {
        None => Ok(terms),
        Some(wanted) => countersigned(wanted, digest, here, terms),
    }
}

/// The terms of the one act of this plan that is named and waits.
fn countersigned(wanted: &str, digest: &str, here: &Here, given: Terms) -> Result<Terms, Declined> {
    let wrong = |why: String| Declined::new(Exit::Wrong, "approval", why);
    let named = |glass: &&BreakGlass| match Alone::parse(wanted) {
        Some(act) => glass.named() == act,
        None => glass.run.starts_with(wanted),
    };
    if let (None, Some(act)) = (&here.history, Alone::parse(wanted)) {
        return Ok(Terms { countersigns: Some(act), ..given });
    }
    let open: Vec<&BreakGlass> =
        here.alone(digest).filter(|glass| glass.open()).filter(named).collect();
    match open.as_slice() {
        [] => Err(wrong(format!(
            "nothing that anybody did alone with this plan and that {wanted} names waits for a \
             countersignature: `nicmend runs RUN` says what does"
        ))),
        [glass] => Ok(Terms {
            way: Way::of(&glass.action).unwrap_or(given.way),
            overrides: glass.overrides.iter().cloned().collect(),
            standby: glass.standby.clone(),
            countersigns: Some(glass.named()),
        }),
        many => {
            let names: Vec<String> = many.iter().map(|glass| glass.named().to_string()).collect();
            Err(wrong(format!("{wanted} names {}: say which", names.join(", "))))
        }
    }
}

/// What the overrides are, for whoever is to sign.
pub(super) fn explained(common: &Common, terms: &Terms) -> Vec<String> {
    let catalog = site::catalog(common).ok();
    let line = |word: &String| {
        let issue = catalog.as_ref().and_then(|catalog| catalog.issue(word));
        match (issue, word.strip_prefix("held:")) {
            (Some(issue), _) => format!("overrides the known hazard {word}: {}", issue.title),
            (None, Some(who)) => format!("hurts somebody who uses the NIC: {who}"),
            (None, None) => format!("overrides {word}"),
        }
    };
    terms.overrides.iter().map(line).collect()
}

/// An approval by itself: form, signature, plan, host, expiry, use; and whether what it countersigns waits.
pub(super) fn check(
    filed: &Filed,
    registry: &Registry,
    (digest, plan): (&str, &Plan),
    here: &Here,
) -> Result<(Approval, Terms), Void> {
    let terms = Statement::parse(&filed.text)?.terms;
    let requester = here.requester(digest, &terms)?;
    let (scope, used, at) = (approvals::scope(&plan.host), &here.used, here.at);
    let requester = requester.as_deref();
    let wanted = Wanted { plan: digest, scope: &scope, terms: &terms, requester, used, at };
    let approval = approval::check(filed, &wanted, &registry.people, &registry.revoked)?;
    Ok((approval, terms))
}

/// Whether the policies let its signer: their decision for the log, and why not.
pub(super) fn permitted(
    law: &Law,
    (digest, plan): (&str, &Plan),
    (approver, terms): (&str, &Terms),
    here: &Here,
) -> Result<(Option<Fact>, Option<String>), Declined> {
    let nic = Nic::told(&plan.nic, &plan.nic_name, &plan.driver);
    let length = match terms.way {
        Way::Apply => length::worst(plan),
        Way::Revert => length::revert(plan),
    };
    let matter = Matter {
        actions: vec![Action::Approve],
        overrides: BTreeSet::new(),
        on: digest,
        nic: &nic,
        disruption: plan.disruption,
        length,
        refusals: &[],
        overridden: terms.overrides.clone(),
        standby: Standby::Unknown,
        catalog: Verdicts::UNKNOWN,
        break_glass: None,
        terms: terms.clone(),
        plan: None,
    };
    let requester = here.requester(digest, terms).ok().flatten();
    let host = (&here.machine as &dyn Host, here.disk.as_ref().map(|disk| disk as &dyn Store));
    let asked = runs::may_approve(host, law.loaded(), &matter, (approver, requester.as_deref()))?;
    Ok(match asked {
        Some((decision, refused)) => (Some(decision), refused),
        None => (None, Some("no policies are in force: the site's files do not load".to_owned())),
    })
}

/// Whether the site has said who its people are: before that nobody has the role, and nothing asks for it.
pub(super) fn knows_people(law: &Loaded) -> bool {
    law.set.is_none() || law.config.people != Config::shipped().people
}
