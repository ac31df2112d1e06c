//! Committed settings that are not what their run left them at.
//!
//! Looked for whenever a plan is made for the NIC, and said in the log where it was not said before. Nothing is
//! put back: somebody else may have had a reason.

use playbooks::{Name, Value};

use super::Desk;
use crate::{
    engine::{Telling, gather, hands},
    fault::Result,
    host::{Host, NicId},
    log::{
        Fact, History, RunRecord, RunState,
        fact::{Foreign, portions},
    },
};

/// What became of the settings of one committed run.
#[derive(Debug, Clone)]
pub struct Drift<'h> {
    pub run: &'h RunRecord,
    pub changes: Vec<Foreign>,
}

impl Drift<'_> {
    /// For people.
    pub fn words(&self) -> String {
        let each = self.changes.iter().map(|change| {
            format!("{} was left at {}, and is {}", change.name, change.expected, change.found)
        });
        let each: Vec<String> = each.collect();
        format!("drift on {} since run {}: {}", self.run.nic_name, self.run.id, each.join("; "))
    }

    /// Whether this is not what the log said last of drift in this run.
    pub fn is_news(&self) -> bool {
        let seen = self.run.entries.iter().rev().find_map(|entry| {
            let Fact::DriftSeen { changes, .. } = &entry.fact else { return None };
            Some(changes)
        });
        seen != Some(&self.changes)
    }

    /// What is said of it.
    pub fn facts(&self) -> Vec<Fact> {
        let nic = self.run.nic_name.clone();
        let parts = portions(self.changes.clone()).into_iter();
        parts.map(|changes| Fact::DriftSeen { nic: nic.clone(), changes }).collect()
    }
}

/// The runs on this NIC, in this network namespace, of whose settings somebody has changed any. A setting
/// belongs to the last run that changed it; what cannot be read now is not known to differ.
pub fn look<'h>(host: &dyn Host, history: &'h History, nic: &NicId) -> Vec<Drift<'h>> {
    let (here, boot) = ((gather::netns(host), host.netns_cookie()), host.now().boot_id);
    let own = |run: &&RunRecord| run.nic == *nic && run.is_about(here, &boot);
    let runs = history.runs.iter().filter(|run| run.state == RunState::Committed).filter(own);
    let drift = |run: &'h RunRecord| {
        let changes = changes(host, history, run);
        (!changes.is_empty()).then_some(Drift { run, changes })
    };
    runs.filter_map(drift).collect()
}

fn changes(host: &dyn Host, history: &History, run: &RunRecord) -> Vec<Foreign> {
    let own = |name: &&Name| history.owner(&run.key(name)).is_some_and(|owner| owner.id == run.id);
    let names: Vec<Name> = run.changed().filter(own).cloned().collect();
    if names.is_empty() {
        return Vec::new();
    }
    let Some(nic) = hands::by_id(host, &run.nic) else { return Vec::new() };
    let differs = |(name, found): (Name, Result<Value>)| {
        let (expected, found) = (run.written.get(&name)?.clone(), found.ok()?);
        (found != expected).then_some(Foreign { name, expected, found })
    };
    hands::read_values(host, &nic, &names).into_iter().filter_map(differs).collect()
}

/// Tells of it, and says in the log what is news. Under the writer's lock.
pub(super) fn tell(desk: &Desk, nic: &NicId) -> Result<()> {
    let history = desk.history()?;
    for drift in look(desk.host, &history, nic) {
        (desk.tell)(&Telling::Note(drift.words()));
        if drift.is_news() {
            desk.say(Some(&drift.run.id), drift.facts())?;
        }
    }
    Ok(())
}
