//! What became of every setting that a run wrote, might have disturbed, or left alone.

use std::collections::BTreeMap;

use playbooks::{Name, Value};

use crate::{
    log::{Fact, ReadBack, RunRecord, RunState},
    plan::Plan,
    report::{Fate, Setting},
};

/// First what was written, then what might have been disturbed, then what was not touched, and why.
pub(super) fn of(run: &RunRecord, plan: Option<&Plan>) -> Vec<Setting> {
    let end = End::of(run);
    let mut rows: Vec<Setting> = Vec::new();
    let touched = run.originals.iter();
    let (written, disturbed): (Vec<_>, Vec<_>) =
        touched.partition(|kept| end.asked.contains_key(&kept.name));
    for kept in written.into_iter().chain(disturbed) {
        let (left, fate) = end.of_key(run, &kept.name, &kept.original);
        rows.push(Setting {
            name: kept.name.to_string(),
            original: Some(kept.original.to_string()),
            asked: end.asked.get(&kept.name).map(ToString::to_string),
            left: left.map(|value| value.to_string()),
            fate,
        });
    }
    if let Some(plan) = plan {
        rows.extend(untouched(run, plan));
    }
    rows
}

/// How a run left its keys, as its entries tell.
struct End<'a> {
    /// What the stages wanted of each key; the last one's word.
    asked: BTreeMap<Name, Value>,
    /// What was read at the very end, where the run was put back.
    read: Option<&'a [ReadBack]>,
}

impl<'a> End<'a> {
    fn of(run: &'a RunRecord) -> End<'a> {
        let mut end = End { asked: BTreeMap::new(), read: None };
        for entry in &run.entries {
            if let Fact::Intent { steps, .. } = &entry.fact {
                for change in steps.iter().flat_map(|step| &step.batch) {
                    end.asked.insert(change.name.clone(), change.to.clone());
                }
            } else if let Fact::Reverted { proof: read, .. } | Fact::Stuck { left: read, .. } =
                &entry.fact
            {
                end.read = Some(read);
            }
        }
        end
    }

    fn of_key(&self, run: &RunRecord, name: &Name, original: &Value) -> (Option<Value>, Fate) {
        let written = self.asked.contains_key(name);
        let read = self.read.and_then(|read| read.iter().find(|back| back.name == *name));
        let foreign = run.foreign.iter().any(|change| change.name == *name);
        let back = if written { Fate::PutBack } else { Fate::AsItWas };
        match run.state {
            RunState::Refused => (Some(original.clone()), Fate::AsItWas),
            RunState::Reverted => match read {
                Some(read) if read.holds() => (read.got.clone(), back),
                Some(read) if foreign => (read.got.clone(), Fate::Foreign),
                Some(read) => (read.got.clone(), Fate::NotPutBack),
                None => (None, Fate::Unrecorded),
            },
            // The log of a stuck run lists what is left; with an empty list nobody could look.
            RunState::Stuck => match (read, self.read) {
                (Some(read), _) => (read.got.clone(), Fate::NotPutBack),
                (None, Some([_, ..])) => (Some(original.clone()), back),
                (None, Some([]) | None) => (None, Fate::NotPutBack),
            },
            RunState::Running if written => (run.written.get(name).cloned(), Fate::Unfinished),
            RunState::Committed if written => match run.written.get(name) {
                Some(left) if left == original => (Some(left.clone()), Fate::PutBack),
                left => (left.cloned(), Fate::InForce),
            },
            RunState::Running | RunState::Committed => (None, Fate::Unrecorded),
        }
    }
}

/// What the playbook names and the run did not touch.
fn untouched(run: &RunRecord, plan: &Plan) -> Vec<Setting> {
    let plain = |name: &Name, value: &Value, fate: Fate| {
        let original = plan.snapshot.iter().find(|kept| kept.name == *name);
        let original = original.map_or_else(|| value.to_string(), |kept| kept.original.to_string());
        let (asked, left) = (Some(value.to_string()), Some(original.clone()));
        Setting { name: name.to_string(), original: Some(original), asked, left, fate }
    };
    let mut rows: Vec<Setting> = Vec::new();
    let reached = |name: &Name| run.originals.iter().any(|kept| kept.name == *name);
    for (name, value) in plan.stages.iter().flat_map(|stage| &stage.targets) {
        let known = plan.already.contains_key(name) || rows.iter().any(|r| r.name == name.as_str());
        if !known && !reached(name) {
            rows.push(plain(name, value, Fate::NotReached));
        }
    }
    let already = plan.already.iter().filter(|(name, _)| !reached(name));
    rows.extend(already.map(|(name, value)| plain(name, value, Fate::AlreadyRight)));
    rows.extend(plan.skipped.iter().map(|(name, why)| Setting {
        name: name.to_string(),
        original: None,
        asked: None,
        left: None,
        fate: Fate::Skipped(why.clone()),
    }));
    rows
}
