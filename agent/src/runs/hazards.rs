//! Every intended step, and its way back, against what this driver, kernel and firmware are known not
//! to stand.

use std::collections::BTreeSet;

use firmware_catalog::{
    Act, Answer, Catalog, Circumstance,
    act::{Deed, Direction, Write},
};
use playbooks::vocabulary::Disruption;
use policy::Refusal;
use serde::Serialize;

use super::{Declined, Exit, renewal};
use crate::{
    host::Nic,
    inventory::{NicFacts, subject},
    log::{Kept, RunRecord},
    plan::{
        Plan, Step,
        firmware::{Activation, FirmwareAction},
    },
    surroundings::Surroundings,
};

/// By what a request is held against hazards, and which of them it takes upon itself.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    pub catalog: Catalog,
    pub overrides: Overrides,
}

/// The hazards that a request takes upon itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overrides {
    /// `--override-hazard`, by issue id.
    These(Vec<String>),
    /// A rehearsal's: no defect can hurt a simulated machine.
    All,
}

impl Default for Overrides {
    fn default() -> Overrides {
        Overrides::These(Vec::new())
    }
}

impl Overrides {
    fn cover(&self, issue: &str) -> bool {
        match self {
            Overrides::These(ids) => ids.iter().any(|id| id == issue),
            Overrides::All => true,
        }
    }

    /// These, and some more.
    pub fn with(self, more: &[String]) -> Overrides {
        match self {
            Overrides::These(mut ids) => {
                ids.extend(more.iter().cloned());
                Overrides::These(ids)
            }
            Overrides::All => Overrides::All,
        }
    }

    fn named(&self) -> &[String] {
        match self {
            Overrides::These(ids) => ids,
            Overrides::All => &[],
        }
    }
}

/// What a plan's acts are done to, as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    pub nic: &'a Nic,
    pub facts: &'a NicFacts,
    /// What stands around the ports that a firmware stage restarts; `None` where that is not known.
    pub around: Option<&'a Surroundings>,
}

/// An issue that forbids some of the acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Forbidden {
    /// `KB-096`.
    pub issue: String,
    /// What it forbids of what was intended.
    pub acts: Vec<String>,
    pub title: String,
    pub symptom: String,
    pub remedy: String,
    /// What is not known, where the defect may not be there at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    pub source: String,
    /// The shipped catalog, or the site's file.
    pub origin: String,
}

impl Forbidden {
    /// As it is refused: which issue, what it does, who says so, and what would satisfy it.
    pub fn refusal(&self, nic: &str) -> Refusal {
        let Forbidden { issue, title, symptom, source, origin, .. } = self;
        let acts = self.acts.join(", ");
        let why = match &self.unknown {
            None => format!(
                "{acts} on {nic} meets {issue}: {title}; symptom: {symptom} [{source}; {origin}]"
            ),
            Some(unknown) => format!(
                "{acts} on {nic} may meet {issue}: {title}; symptom: {symptom}; {unknown} \
                 [{source}; {origin}]"
            ),
        };
        let satisfy = format!("{}; or pass --override-hazard {issue}", self.remedy);
        Refusal { rule: "hazard", why, satisfy }
    }
}

/// The issues that forbid these acts on this NIC, each once.
pub fn forbidden(catalog: &Catalog, nic: &NicFacts, acts: &[Act]) -> Vec<Forbidden> {
    let mut subject = subject::subject(nic);
    // The acts are this host's, whatever host the facts were taken on.
    subject.circumstances.insert(Circumstance::WeaklyOrderedCpu, cfg!(target_arch = "aarch64"));
    // What is read and written around a restart meets the device in the middle of it.
    if acts.iter().any(renewal::resets) {
        subject.circumstances.insert(Circumstance::Resetting, true);
    }
    let mut all: Vec<Forbidden> = Vec::new();
    for act in acts {
        for hazard in catalog.hazards(&subject, act) {
            let words = act.to_string();
            let issue = hazard.issue;
            match all.iter_mut().find(|known| known.issue == issue.id) {
                Some(known) if known.acts.contains(&words) => {}
                Some(known) => known.acts.push(words),
                None => all.push(Forbidden {
                    issue: issue.id.clone(),
                    acts: vec![words],
                    title: issue.title.clone(),
                    symptom: issue.symptom.clone(),
                    remedy: issue.remedy.clone(),
                    unknown: hazard.unknown.filter(|_| hazard.certainty == Answer::Unknown),
                    source: issue.source.clone(),
                    origin: issue.origin.to_string(),
                }),
            }
        }
    }
    all
}

/// The same as refusals, for whoever intends acts that are no plan's steps (flash, reset).
pub fn hazards_of(catalog: &Catalog, nic: &NicFacts, acts: &[Act]) -> Vec<Refusal> {
    forbidden(catalog, nic, acts).iter().map(|hazard| hazard.refusal(&nic.name)).collect()
}

/// What the hazards of a request come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weighed {
    pub refusals: Vec<Refusal>,
    /// Taken upon himself by who asked: part of the request, and logged.
    pub overridden: Vec<Forbidden>,
}

/// Holds the plan's steps against the catalog under the request's terms.
///
/// # Errors
///
/// An override that nothing here needs is a wrong request: it was meant for something else.
pub fn weigh(terms: &Terms, at: &Ground, plan: &Plan) -> Result<Weighed, Declined> {
    // Asked for again after it is done, the same request is still right.
    let unknown = |id: &&String| terms.catalog.issue(id).is_none();
    let needed = match plan.is_done() {
        true => Overrides::These(terms.overrides.named().iter().filter(unknown).cloned().collect()),
        false => terms.overrides.clone(),
    };
    weighed(terms, at.facts, &acts(plan, at), &needed)
}

/// The same for any acts. `needed`: the overrides of which something must be left to override.
///
/// # Errors
///
/// As [`weigh`].
pub fn weighed(
    terms: &Terms,
    facts: &NicFacts,
    acts: &[Act],
    needed: &Overrides,
) -> Result<Weighed, Declined> {
    let mut weighed = Weighed::default();
    for hazard in forbidden(&terms.catalog, facts, acts) {
        match terms.overrides.cover(&hazard.issue) {
            true => weighed.overridden.push(hazard),
            false => weighed.refusals.push(hazard.refusal(&facts.name)),
        }
    }
    let mut named = needed.named().iter();
    let needless = named.find(|id| !weighed.overridden.iter().any(|h| h.issue == **id));
    match needless {
        Some(id) => {
            let why = match terms.catalog.issue(id) {
                Some(issue) => format!(
                    "--override-hazard {id}: {} forbids no step of this plan on {}",
                    issue.title, facts.name
                ),
                None => format!("--override-hazard {id}: the catalog has no such issue"),
            };
            Err(Declined::new(Exit::Wrong, "override-hazard", why))
        }
        None => Ok(weighed),
    }
}

/// Everything that this plan would do: its steps, its way back, and what it may have to put back.
fn acts(plan: &Plan, at: &Ground) -> Vec<Act> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let mut acts: Vec<Act> = steps.flat_map(acts_of_step).collect();
    acts.extend(acts_back(plan, at));
    acts
}

/// What its way back does, and may have to.
pub fn acts_back(plan: &Plan, at: &Ground) -> Vec<Act> {
    let mut acts: Vec<Act> = plan.revert.iter().flat_map(acts_of_step).collect();
    let written: BTreeSet<_> =
        plan.revert.iter().flat_map(|step| &step.batch).map(|change| &change.name).collect();
    let disturbed = plan.snapshot.iter().filter(|kept| !written.contains(&kept.name));
    acts.extend(disturbed.map(|kept| put_back(kept, at.nic)));
    for firmware in plan.stages.iter().filter_map(|stage| stage.firmware.as_ref()) {
        acts.extend(acts_of_firmware(firmware));
        acts.extend(renewal::acts(at.nic, at.facts, at.around));
    }
    acts
}

/// What putting a run back does, as the log alone tells it.
pub fn acts_of(run: &RunRecord, at: &Ground) -> Vec<Act> {
    let mut acts: Vec<Act> = run.originals.iter().map(|kept| put_back(kept, at.nic)).collect();
    for firmware in run.firmware.iter().filter(|firmware| !firmware.returned) {
        acts.extend(acts_of_firmware(&firmware.action));
        acts.extend(renewal::acts(at.nic, at.facts, at.around));
    }
    acts
}

fn put_back(kept: &Kept, nic: &Nic) -> Act {
    renewal::write(nic, &kept.name, Direction::Elsewhere)
}

fn acts_of_firmware(firmware: &FirmwareAction) -> Vec<Act> {
    let mut acts = vec![Act::Do(Deed::Flash)];
    // What limit `no_reset` cannot do the whole reset does; and where a device that is back on its firmware
    // refuses that, its driver is started again.
    match &firmware.activate {
        Activation::NicReset => {
            let deeds = [Deed::LivePatch, Deed::FwActivate, Deed::DriverReinit];
            acts.extend(deeds.map(Act::Do));
        }
        Activation::LivePatch => acts.push(Act::Do(Deed::LivePatch)),
        Activation::EthtoolReset => acts.push(Act::Do(Deed::EthtoolReset)),
        // A vendor's tool resets the function, whatever else it does.
        Activation::Adapter(_) => {
            acts.extend([Act::Do(Deed::FwActivate), Act::Do(Deed::FunctionReset)]);
        }
    }
    acts
}

fn acts_of_step(step: &Step) -> impl Iterator<Item = Act> {
    let writes = step.batch.iter().map(|change| {
        Act::Set(Write::new(change.name.as_str(), &change.from, &change.to, step.disruption))
    });
    // A driver that drops the link for a setting goes the way of closing and opening.
    let down = (step.disruption >= Disruption::LinkFlap).then_some(Act::Do(Deed::LinkDown));
    writes.chain(down)
}
