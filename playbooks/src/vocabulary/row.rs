//! Short words for writing rows, so that a row says only what is not ordinary.
//!
//! Ordinary is: this NIC's own state, no disruption, in force at once, gone after a reboot.

use super::{Disruption, Kind, Persistence, Scope, Setting, TakesEffect};

pub(super) const U32_MAX: u64 = u32::MAX as u64;
/// The kernel keeps many of its limits in a signed int.
pub(super) const INT_MAX: u64 = i32::MAX as u64;

/// A number of `unit`, to the largest a playbook may write.
pub(super) const fn number(
    name: &'static str,
    unit: &'static str,
    doc: &'static str,
    source: &'static str,
) -> Setting {
    row(name, Kind::Number { unit, max: U32_MAX }, doc, source)
}

pub(super) const fn switch(name: &'static str, doc: &'static str, source: &'static str) -> Setting {
    row(name, Kind::Bool, doc, source)
}

pub(super) const fn row(
    name: &'static str,
    kind: Kind,
    doc: &'static str,
    source: &'static str,
) -> Setting {
    Setting {
        name,
        kind,
        scope: Scope::Nic,
        disruption: Disruption::None,
        takes_effect: TakesEffect::Now,
        persistence: Persistence::Volatile,
        disturbs: &[],
        doc,
        source,
    }
}

impl Setting {
    pub(super) const fn at_most(mut self, largest: u64) -> Setting {
        if let Kind::Number { unit, max: _ } = self.kind {
            self.kind = Kind::Number { unit, max: largest };
        }
        self
    }

    pub(super) const fn scope(mut self, scope: Scope) -> Setting {
        self.scope = scope;
        self
    }

    pub(super) const fn costs(mut self, disruption: Disruption) -> Setting {
        self.disruption = disruption;
        self
    }

    pub(super) const fn from(mut self, takes_effect: TakesEffect) -> Setting {
        self.takes_effect = takes_effect;
        self
    }

    pub(super) const fn stays(mut self) -> Setting {
        self.persistence = Persistence::SurvivesReboot;
        self
    }

    pub(super) const fn disturbs(mut self, disturbed: &'static [&'static str]) -> Setting {
        self.disturbs = disturbed;
        self
    }
}

pub(super) const fn count(families: &[&[Setting]]) -> usize {
    let (mut sum, mut at) = (0, 0);
    while at < families.len() {
        sum += families[at].len();
        at += 1;
    }
    sum
}

/// The families end to end, `N` rows in all (see [`count`]).
pub(super) const fn join<const N: usize>(families: &[&[Setting]]) -> [Setting; N] {
    let mut all = [families[0][0]; N];
    let (mut to, mut family) = (0, 0);
    while family < families.len() {
        let mut from = 0;
        while from < families[family].len() {
            all[to] = families[family][from];
            to += 1;
            from += 1;
        }
        family += 1;
    }
    all
}
