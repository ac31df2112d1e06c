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
            let ours = self.ours.get(name).is_some_and(|set| set.contains(found))
                || self.unconfirmed.get(name).is_some_and(|asked| rounded(name, asked, found));
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

/// Families whose drivers round and clamp what they are told, in silence.
const ROUNDED: [&str; 2] = ["ring", "coalesce"];

/// Whether a driver may have made this of what it was told, where the process died before it could look. A clamp
/// stays between what there was and what was asked; a power of two or a multiple is less than twice, and at
/// least half, of what was asked. Anything else is somebody's: better one value left alone and named than
/// another's trampled.
fn rounded(name: &Name, (from, to): &(Value, Value), found: &Value) -> bool {
    let (Value::Number(from), Value::Number(to), Value::Number(found)) = (from, to, found) else {
        return false;
    };
    let clamped = (*from.min(to)..=*from.max(to)).contains(found);
    let near = (to / 2..to.saturating_mul(2)).contains(found);
    ROUNDED.contains(&name.family()) && (clamped || near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_near_what_was_asked_is_the_drivers_making_and_a_far_one_somebodys() {
        let name = |name: &str| Name::try_from(name).expect("a setting");
        let is = |of: &str, from, to, found| {
            let asked = (Value::Number(from), Value::Number(to));
            rounded(&name(of), &asked, &Value::Number(found))
        };
        assert!(is("ring.rx", 512, 3000, 4096), "a power of two");
        assert!(is("ring.rx", 512, 9000, 8160), "its limit");
        assert!(is("coalesce.rx-usecs", 50, 7, 4), "a multiple of 4");
        assert!(!is("ring.rx", 512, 1000, 4096) && !is("ring.rx", 512, 1000, 64));
        assert!(!is("coalesce.rx-usecs", 8, 0, 50), "nothing is near 0");
        assert!(!is("link.mtu", 1500, 9000, 8000), "no driver rounds it in silence");
    }
}
