//! What goes on around a watch: other runs, and other people's hands on what was committed.

use std::collections::BTreeSet;

use playbooks::Name;

use crate::{
    engine::hands,
    fault::Result,
    host::Host,
    log::{History, RunRecord, RunState, fact::Foreign},
    store::Store,
};

/// What a look around found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// Everything is as it was at the last look.
    Same,
    /// Another run is at work: what is measured meanwhile says nothing about this one.
    Busy(String),
    /// One was at work since the last look.
    Disturbed,
    /// What was committed is not what is there any more.
    Overtaken { why: String, foreign: Vec<Foreign> },
}

/// Looks around for one run.
pub(crate) struct Around<'a> {
    host: &'a dyn Host,
    store: &'a dyn Store,
    run: &'a RunRecord,
    /// Runs that were open already, and that nobody here can finish.
    open: BTreeSet<String>,
    /// Later runs that had committed already.
    later: BTreeSet<String>,
    /// Entries that other runs had in the log at the last look.
    others: usize,
}

impl<'a> Around<'a> {
    /// The first look: what is there now is taken as given.
    pub(crate) fn new(
        host: &'a dyn Host,
        store: &'a dyn Store,
        run: &'a RunRecord,
    ) -> Result<Around<'a>> {
        let history = History::fold(&store.entries()?)?;
        let ids = |runs: Vec<&RunRecord>| runs.into_iter().map(|run| run.id.clone()).collect();
        let running = history.runs.iter().filter(|other| other.state == RunState::Running);
        let mut around = Around {
            host,
            store,
            run,
            open: ids(running.collect()),
            later: ids(committed_after(&history, run)),
            others: 0,
        };
        around.others = around.entries_of_others(&history);
        Ok(around)
    }

    pub(crate) fn look(&mut self) -> Result<Found> {
        let history = History::fold(&self.store.entries()?)?;
        if let Some(why) = self.taken(&history) {
            return Ok(Found::Overtaken { why, foreign: Vec::new() });
        }
        let others = self.entries_of_others(&history);
        let moved = std::mem::replace(&mut self.others, others) != others;
        let at_work =
            |other: &&RunRecord| other.state == RunState::Running && other.id != self.run.id;
        let busy = history.runs.iter().filter(at_work).find(|run| !self.open.contains(&run.id));
        if let Some(busy) = busy {
            return Ok(Found::Busy(busy.id.clone()));
        }
        let foreign = self.foreign();
        if !foreign.is_empty() {
            let words: Vec<String> = foreign
                .iter()
                .map(|f| format!("{} was left at {}, and is {}", f.name, f.expected, f.found))
                .collect();
            let why = format!("changed by somebody else: {}", words.join("; "));
            return Ok(Found::Overtaken { why, foreign });
        }
        Ok(if moved { Found::Disturbed } else { Found::Same })
    }

    /// Settings that do not hold what this run left there; what cannot be read now is not known to differ.
    pub(crate) fn foreign(&self) -> Vec<Foreign> {
        let Some(nic) = hands::by_id(self.host, &self.run.nic) else { return Vec::new() };
        let names: Vec<Name> = self.run.written.keys().cloned().collect();
        let read = hands::read_values(self.host, &nic, &names);
        let differs = |(name, found): (Name, Result<playbooks::Value>)| {
            let (expected, found) = (self.run.written.get(&name)?.clone(), found.ok()?);
            (found != expected).then_some(Foreign { name, expected, found })
        };
        read.into_iter().filter_map(differs).collect()
    }

    /// Whether another run has taken this one's place, or it was reverted.
    fn taken(&self, history: &History) -> Option<String> {
        let id = &self.run.id;
        let Some(mine) = history.runs.iter().find(|run| run.id == *id) else {
            return Some(format!("run {id} is not in the log any more"));
        };
        if mine.state != RunState::Committed {
            return Some(format!("run {id} is not committed any more: {}", mine.why));
        }
        if let Some((name, owner)) = taken_over(history, self.run) {
            return Some(format!("the later run {owner} has taken {name} over"));
        }
        let newer = committed_after(history, self.run).into_iter();
        let newer = newer.filter(|other| !self.later.contains(&other.id));
        let beside = newer.into_iter().find(|other| other.nic == self.run.nic)?;
        Some(format!("run {} has changed {} since; watch that one", beside.id, beside.nic_name))
    }

    fn entries_of_others(&self, history: &History) -> usize {
        let others = history.runs.iter().filter(|run| run.id != self.run.id);
        others.map(|run| run.entries.len()).sum()
    }
}

/// A setting that this run left, and that a later committed run has changed since: with that run's id.
pub(crate) fn taken_over(history: &History, run: &RunRecord) -> Option<(Name, String)> {
    run.changed().find_map(|name| {
        let owner = history.owner(&run.key(name))?;
        (owner.id != run.id).then(|| (name.clone(), owner.id.clone()))
    })
}

fn committed_after<'h>(history: &'h History, run: &RunRecord) -> Vec<&'h RunRecord> {
    let later = history.runs.iter().skip_while(|other| other.id != run.id).skip(1);
    later.filter(|other| other.state == RunState::Committed).collect()
}
