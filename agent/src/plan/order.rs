//! In which order changes are written, forwards and backwards.
//!
//! One function serves both ways: a revert is planned from the values that are there to the
//! originals, not by reading the forward order backwards. The kernel refuses fewer channels while an
//! RSS table or an ntuple rule points above (net/ethtool/channels.c), so what points at queues moves
//! before the channels shrink and after they grow.

use std::collections::BTreeMap;

use playbooks::{
    Name, Value,
    vocabulary::{Disruption, Scope, TakesEffect},
};

use super::Step;
use crate::{
    host::Nic,
    setting::{Change, family_of},
};

/// The differences between what is and what is wanted. A key whose value is unknown is left out.
pub fn changes(now: &BTreeMap<Name, Value>, wanted: &[(Name, Value)]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (name, to) in wanted {
        let Some(from) = now.get(name) else { continue };
        if from != to && !changes.iter().any(|change| change.name == *name) {
            changes.push(Change { name: name.clone(), from: from.clone(), to: to.clone() });
        }
    }
    changes
}

/// Groups changes into requests, in an order that the kernel accepts.
pub fn steps(nic: &Nic, mut changes: Vec<Change>) -> Vec<Step> {
    let channels = ChannelMove::of(&changes);
    changes.sort_by_key(|change| rank(change, channels));
    let mut steps = Vec::new();
    while let Some(first) = changes.first() {
        let (name, place) = (first.name.family().to_owned(), rank(first, channels));
        let same = |c: &Change| c.name.family() == name && rank(c, channels) == place;
        let end = changes.iter().position(|c| !same(c)).unwrap_or(changes.len());
        let group: Vec<Change> = changes.drain(..end).collect();
        let Ok(family) = family_of(&group[0].name) else { continue };
        steps.extend(family.batches(nic, group).into_iter().map(|batch| step(nic, &name, batch)));
    }
    steps
}

fn step(nic: &Nic, family: &str, batch: Vec<Change>) -> Step {
    let felt = |change: &Change| {
        family_of(&change.name).map_or(Disruption::NicReset, |f| f.disruption(nic, &change.name))
    };
    let disruption = batch.iter().map(felt).max().unwrap_or(Disruption::None);
    let scope = batch.iter().map(|c| c.name.setting().scope).max().unwrap_or(Scope::Nic);
    let effect = |c: &Change| c.name.setting().takes_effect;
    let takes_effect = batch.iter().map(effect).find(|e| *e != TakesEffect::Now);
    Step {
        family: family.to_owned(),
        disruption,
        scope,
        takes_effect: takes_effect.unwrap_or(TakesEffect::Now),
        lease_ms: lease_ms(disruption),
        batch,
    }
}

/// Generous upper bounds of how long a driver holds the rtnl lock; mlx5 and ice wait for firmware.
pub fn lease_ms(disruption: Disruption) -> u64 {
    match disruption {
        Disruption::None => 5_000,
        Disruption::QueueReset => 15_000,
        Disruption::LinkFlap => 30_000,
        Disruption::NicReset => 300_000,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelMove {
    Shrink,
    GrowOrStay,
}

impl ChannelMove {
    fn of(changes: &[Change]) -> ChannelMove {
        let shrinks =
            |c: &Change| c.name.family() == "channels" && c.to.as_number() < c.from.as_number();
        if changes.iter().any(shrinks) { ChannelMove::Shrink } else { ChannelMove::GrowOrStay }
    }
}

/// Lower comes first. What may disturb others comes before the others.
fn rank(change: &Change, channels: ChannelMove) -> u8 {
    let removal = change.to == Value::Text("none".to_owned());
    match (change.name.family(), channels) {
        // A rule is removed before anything it depends on goes away.
        ("ntuple", _) if removal => 0,
        ("rss" | "ntuple", ChannelMove::Shrink) => 1,
        ("devlink-param" | "module-param", _) => 2,
        ("channels", _) => 3,
        ("ring", _) => 4,
        ("private-flag", _) => 5,
        ("feature", _) => 6,
        ("link", _) => 7,
        ("pause", _) => 8,
        ("eee", _) => 9,
        ("coalesce", _) => 10,
        ("rss" | "ntuple", ChannelMove::GrowOrStay) => 11,
        ("napi", _) => 12,
        ("irq", _) => 13,
        ("xps", _) => 14,
        ("rps", _) => 15,
        ("sysctl", _) => 16,
        (_, _) => 17,
    }
}
