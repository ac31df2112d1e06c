//! Somebody else's hand on a setting of the run.

use playbooks::{Name, Value};

use super::{Action, Run};
use crate::{
    fault::Result,
    log::{
        Fact,
        fact::{Foreign, portions},
    },
};

impl Run {
    pub(super) fn intruded(&mut self, moved: Vec<Foreign>) -> Action {
        if !self.wrote {
            let words: Vec<String> =
                moved.iter().map(|f| format!("{} became {}", f.name, f.found)).collect();
            let why =
                format!("changed by somebody else before the first write: {}", words.join("; "));
            return self.refuse("stale-plan", &why);
        }
        self.intrude(moved)
    }

    /// Somebody else writes here: what was measured is not what was planned.
    pub(super) fn intrude(&mut self, moved: Vec<Foreign>) -> Action {
        let words: Vec<String> = moved
            .iter()
            .map(|f| format!("{} was {}, somebody else made it {}", f.name, f.expected, f.found))
            .collect();
        let why = format!("changed by somebody else during the run: {}", words.join("; "));
        self.foreign.extend(moved.iter().cloned());
        let action = self.revert(&why);
        match action {
            Action::Record { mut facts, durable } => {
                let mut all: Vec<Fact> = portions(moved)
                    .into_iter()
                    .map(|changes| Fact::ForeignChange { changes })
                    .collect();
                all.append(&mut facts);
                Action::Record { facts: all, durable }
            }
            other => other,
        }
    }

    /// Keys that hold something neither expected nor ours: somebody else wrote them.
    pub(super) fn strangers(&self, values: &[(Name, Result<Value>)]) -> Vec<Foreign> {
        let mut strangers = Vec::new();
        for (name, read) in values {
            let (Ok(found), Some(expected)) = (read, self.expected.get(name)) else { continue };
            let ours = self.ours.get(name).is_some_and(|set| set.contains(found));
            let original = self.originals.get(name) == Some(found);
            if found != expected && (self.rebooted || !ours) && !original {
                strangers.push(Foreign {
                    name: name.clone(),
                    expected: expected.clone(),
                    found: found.clone(),
                });
            }
        }
        strangers
    }

    /// Remembers that `value` in `name` is of our making.
    pub(super) fn own(&mut self, name: &Name, value: &Value) {
        self.ours.entry(name.clone()).or_default().insert(value.clone());
    }
}
