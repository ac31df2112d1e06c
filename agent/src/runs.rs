//! Requests, from the writer's lock to the result: apply, revert, recover.
//!
//! The CLI calls this; the resident agent will call the same.

mod alone;
mod back;
mod begin;
pub mod choose;
mod claim;
mod consent;
mod control;
pub mod drift;
mod finish;
mod firmware;
pub mod hazards;
mod noted;
mod owner;
pub mod patience;
pub mod permission;
mod renewal;
pub mod standing;
mod undo;
mod users;
mod warnings;

use firmware_catalog::{Catalog, Subject, scheme::SchemeError};
use playbooks::Playbook;
use serde::Serialize;

use crate::{
    engine::{self, Bench, Engine, Telling},
    fault::{Fault, Result},
    host::Host,
    inventory::{NicFacts, subject},
    law::Law,
    log::{Entry, Fact, History, RunRecord, RunState, Who},
    measure::Reach,
    plan::Plan,
    run::End,
    store::Store,
};

pub use alone::lapsed;
pub use back::{Back, may, permit, wanted, window};
pub use begin::{Apply, Meters, Prepared, matter, prepare, refused_sysctls};
pub use consent::may_approve;
pub use finish::recover;
pub use firmware::{actions, images_are_sound};
pub use noted::{apply, revert};
pub use users::StandbyPath;

/// The exit codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Wrong = 2,
    Reverted = 3,
    Refused = 4,
    Stuck = 5,
}

/// Why a request ended without a run of its own.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct Declined {
    pub exit: Exit,
    /// The rule, guard or check that decided.
    pub rule: String,
    pub why: String,
}

impl Declined {
    pub fn new(exit: Exit, rule: &str, why: impl Into<String>) -> Declined {
        Declined { exit, rule: rule.to_owned(), why: why.into() }
    }
}

impl From<Fault> for Declined {
    fn from(fault: Fault) -> Declined {
        Declined::new(Exit::Failed, "machine", fault.to_string())
    }
}

/// What a request works with: one machine, one disk, one writer's epoch.
pub struct Desk<'a> {
    pub host: &'a dyn Host,
    pub store: &'a dyn Store,
    /// The epoch under which the writer's lock was taken.
    pub epoch: u64,
    /// Who asks.
    pub uid: u32,
    /// What the site allows whom, and when.
    pub law: &'a Law,
    pub stop: &'a dyn Fn() -> Option<String>,
    pub tell: &'a dyn Fn(&Telling),
    /// Pings whom a run has no probe for, while a device restarts.
    pub reach: &'a dyn Reach,
}

/// What came of a request that touched, or might have touched, the machine.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Everything was right already: there was nothing to write.
    AlreadyRight(Box<Plan>),
    Ran(Box<RunRecord>),
}

impl Desk<'_> {
    /// Everything the log says now.
    pub fn history(&self) -> Result<History> {
        History::fold(&self.store.entries()?)
    }

    /// The same for who puts runs back: where the log is damaged, what is left of it, and what is wrong.
    pub fn history_left(&self) -> (History, Option<Fault>) {
        match self.history() {
            Ok(history) => (history, None),
            Err(fault) => {
                let (from, entries) = self.store.readable();
                (History::fold_left(from, &entries), Some(fault))
            }
        }
    }

    pub fn who(&self) -> Who {
        // Nobody's name is looked up for putting something back: that waits for no file of the site's.
        let principal = self.law.known().map(|law| law.asker.name().to_owned());
        Who { uid: self.uid, principal }
    }

    /// What drives this run; without a bench it only goes back.
    fn engine<'e>(
        &'e self,
        run: &RunRecord,
        stop: &'e dyn Fn() -> Option<String>,
        bench: Option<Bench<'e>>,
    ) -> Result<Engine<'e>> {
        // Where the log cannot be counted it cannot be told either; that keeps nobody from going back.
        let length = self.store.length();
        Ok(Engine {
            host: self.host,
            store: self.store,
            id: run.id.clone(),
            epoch: self.epoch,
            who: self.who(),
            lost_count: length.is_err(),
            seq: length.unwrap_or(0),
            stop,
            tell: self.tell,
            bench,
            kept: None,
            outages: None,
            guarded_ns: None,
            refused: None,
            reach: self.reach,
            peer: run.peer.clone(),
            placed: None,
        })
    }

    /// Says facts outside any engine: the beginning of a run, a freeze.
    pub fn say(&self, run: Option<&str>, facts: Vec<Fact>) -> Result<()> {
        let first = self.store.length()?;
        let stamp = engine::stamp(self.host, self.epoch, &self.who());
        let mut entries = Vec::with_capacity(facts.len());
        for (seq, fact) in (first..).zip(facts) {
            entries.push(Entry::new(seq, &stamp, run, fact).encode()?);
        }
        self.store.append(&entries)
    }

    /// The run as the log tells it. If the disk failed at the end, as the engine knows it.
    fn told(&self, begun: RunRecord, end: &End) -> RunRecord {
        let found = self.history().ok().and_then(|h| h.find(&begun.id).ok().cloned());
        let mut record = found.unwrap_or(begun);
        record.state = end.state;
        record.why.clone_from(&end.why);
        record.by_hand.clone_from(&end.by_hand);
        if record.ended.is_none() {
            record.ended = Some(self.host.now());
        }
        record
    }
}

/// The stored plan of a run, or why there is none: what cannot be read is said, never guessed.
pub fn plan_of(run: &RunRecord, store: &dyn Store) -> Result<Plan, String> {
    let hex = run.plan.trim_start_matches("sha256:");
    if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("`{}` is no digest", run.plan));
    }
    let file = format!("plans/{hex}.json");
    let bytes = store.get(&file).map_err(|fault| fault.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("{file} is missing"))?;
    let plan: Plan = serde_json::from_slice(&bytes).map_err(|e| format!("read {file}: {e}"))?;
    match plan.digest() == run.plan {
        true => Ok(plan),
        false => Err(format!("{file} is not the plan that was run: its digest differs")),
    }
}

/// The exit code that a run's end comes to.
pub fn exit_of(record: &RunRecord) -> Exit {
    match record.state {
        RunState::Committed => Exit::Done,
        RunState::Reverted => Exit::Reverted,
        RunState::Stuck => Exit::Stuck,
        RunState::Running => Exit::Failed,
        RunState::Refused => match record.rule.as_str() {
            "stopped" => Exit::Reverted,
            "settle" | "baseline" | "log" | "defect" | "machine" => Exit::Failed,
            _ => Exit::Refused,
        },
    }
}

/// Whether a playbook is meant for this NIC; in words where it is not, or where nobody knows.
pub fn applies(catalog: &Catalog, playbook: &Playbook, nic: &NicFacts) -> Result<(), String> {
    use playbooks::applies::{Match, driver_matches, kernel_matches, model_matches};
    let asked = &playbook.applies_to;
    let subject = subject::subject(nic);
    let answers = [
        driver_matches(&asked.driver, &nic.driver),
        model_matches(&asked.model, catalog.model_name(&subject)),
        asked
            .kernel
            .as_deref()
            .map_or(Match::Yes, |range| kernel_matches(range, subject.kernel_base.as_deref())),
        asked
            .firmware
            .as_deref()
            .map_or(Match::Yes, |range| firmware_matches(catalog, range, &subject)),
    ];
    answers.into_iter().try_for_each(|answer| match answer {
        Match::Yes => Ok(()),
        Match::No(why) | Match::Unknown(why) => Err(why),
    })
}

/// A range is held against the running firmware under the model's own scheme. What a version string
/// means is not known without one, and unknown is no match.
fn firmware_matches(
    catalog: &Catalog,
    range: &str,
    subject: &Subject,
) -> playbooks::applies::Match {
    use playbooks::applies::{Match, firmware_range};
    let Some(running) = &subject.running else {
        return Match::Unknown(format!("{} does not tell its firmware version", subject.name));
    };
    let Some(scheme) = catalog.scheme_of(subject) else {
        let why =
            format!("how {} orders firmware versions ({running}) is not known", subject.driver);
        return Match::Unknown(why);
    };
    let Ok(range_read) = firmware_range(range) else {
        return Match::Unknown(format!("`{range}` is not a firmware range"));
    };
    let within = scheme.parse(running).and_then(|version| scheme.within(&range_read, &version));
    match within {
        Ok(true) => Match::Yes,
        Ok(false) => Match::No(format!("firmware {running} is not within {range}")),
        Err(error @ SchemeError::Branches { .. }) => {
            Match::No(format!("firmware {running} is not within {range}: {error}"))
        }
        Err(
            error @ (SchemeError::NotAVersion { .. }
            | SchemeError::Schemes { .. }
            | SchemeError::Builds { .. }),
        ) => Match::Unknown(error.to_string()),
    }
}
