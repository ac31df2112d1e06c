//! What would satisfy the policies: worked out by asking them again with a fact or two changed, never from a
//! list of guesses. Bounded: at most three facts at a time, at most eight answers.

use std::{collections::BTreeSet, fmt};

use playbooks::vocabulary::Disruption;
use serde::{Deserialize, Serialize};

use crate::{
    Phase,
    cedar::felt,
    decide::rule,
    request::{APPROVER, Catalog, Consent, Principal, Request, Standby},
    set::PolicySet,
};

/// Facts that, changed together, would have the request allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Way(pub Vec<Change>);

/// One fact changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// While the host's phase is one of these.
    Phase(BTreeSet<Phase>),
    /// While the time until the next boundary is at least this, seconds.
    Boundary(u64),
    Standby,
    /// So many consents by others, in all.
    Approvals(usize),
    BreakGlass,
    Clock,
    Thaw,
    /// Nobody is left whom a step would hurt.
    Holders,
    /// These hazards are overridden.
    Hazards(BTreeSet<String>),
    /// The firmware to be flashed is golden.
    Golden,
    /// No step is felt more than this.
    Felt(Disruption),
    /// Whoever asks has one of these roles.
    Role(BTreeSet<String>),
    /// Whoever asks proves who he is, and has a role.
    Known,
}

/// Facts changed at once.
const CHANGES_MAX: usize = 3;
const WAYS_MAX: usize = 8;

/// The shortest ways, fewest changes first.
pub(crate) fn of(request: &Request, set: &PolicySet) -> Vec<Way> {
    let candidates = candidates(request, set);
    let mut found: Vec<Vec<usize>> = Vec::new();
    for size in 1..=CHANGES_MAX {
        // Three facts at once are many choices, and of interest only where fewer do not help.
        if size == CHANGES_MAX && !found.is_empty() {
            break;
        }
        each(candidates.len(), size, &mut |chosen| {
            let longer = found.iter().any(|way| way.iter().all(|one| chosen.contains(one)));
            let twice = chosen.iter().enumerate().any(|(at, one)| {
                chosen[..at].iter().any(|other| candidates[*one].same(&candidates[*other]))
            });
            if longer || twice {
                return;
            }
            let mut changed = request.clone();
            chosen.iter().for_each(|one| candidates[*one].apply(&mut changed));
            if rule(&changed, set).allowed {
                found.push(chosen.to_vec());
            }
        });
    }
    let ways =
        found.into_iter().map(|way| way.into_iter().map(|i| candidates[i].clone()).collect());
    let mut ways = merged(ways.collect());
    ways.truncate(WAYS_MAX);
    ways
}

impl Way {
    /// The request with this way taken: once for each choice that it leaves.
    pub fn taken(&self, request: &Request) -> Vec<Request> {
        let mut requests = vec![request.clone()];
        for change in &self.0 {
            let choices = change.choices();
            let with = |request: &Request| {
                let request = request.clone();
                choices.clone().into_iter().map(move |choice| {
                    let mut request = request.clone();
                    choice.apply(&mut request);
                    request
                })
            };
            requests = requests.iter().flat_map(with).collect();
        }
        requests
    }
}

/// Every choice of `size` out of `count`, in order.
fn each(count: usize, size: usize, act: &mut dyn FnMut(&[usize])) {
    fn go(
        from: usize,
        count: usize,
        chosen: &mut Vec<usize>,
        size: usize,
        act: &mut dyn FnMut(&[usize]),
    ) {
        if chosen.len() == size {
            return act(chosen);
        }
        for next in from..count {
            chosen.push(next);
            go(next + 1, count, chosen, size, act);
            chosen.pop();
        }
    }
    go(0, count, &mut Vec::with_capacity(size), size, act);
}

/// What could be otherwise. Only what is not so already.
fn candidates(request: &Request, set: &PolicySet) -> Vec<Change> {
    let facts = &request.facts;
    let mut list = Vec::new();
    if !facts.venues.is_empty() {
        let others = Phase::ALL.into_iter().filter(|p| *p != facts.phase() && *p != Phase::Unknown);
        list.extend(others.map(|phase| Change::Phase(BTreeSet::from([phase]))));
        if facts.boundary_s.is_none_or(|left| left < facts.run_s) {
            list.push(Change::Boundary(facts.run_s));
        }
        list.push(Change::Clock);
    }
    if facts.standby != Standby::Free {
        list.push(Change::Standby);
    }
    let consents = request.consents().count();
    list.extend((consents + 1..=2).map(Change::Approvals));
    if facts.break_glass.is_none() {
        list.push(Change::BreakGlass);
    }
    if facts.frozen.is_some() {
        list.push(Change::Thaw);
    }
    if !facts.holders.is_empty() {
        list.push(Change::Holders);
    }
    if !facts.hazards.is_empty() {
        list.push(Change::Hazards(facts.hazards.clone()));
    }
    if request.action == crate::request::Action::Flash && facts.catalog != Catalog::Golden {
        list.push(Change::Golden);
    }
    let milder = [Disruption::None, Disruption::QueueReset];
    list.extend(milder.into_iter().filter(|felt| *felt < facts.disruption).map(Change::Felt));
    match &request.principal {
        Principal::Operator { roles, .. } => {
            let missing = set.roles().iter().filter(|role| !roles.contains(*role));
            list.extend(missing.map(|role| Change::Role(BTreeSet::from([role.clone()]))));
        }
        Principal::Stranger => list.push(Change::Known),
        Principal::Agent | Principal::Fleet { .. } => {}
    }
    list
}

impl Change {
    /// Whether both are about one fact: never changed twice in one way.
    fn same(&self, other: &Change) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Each phase and each role by itself.
    fn choices(&self) -> Vec<Change> {
        match self {
            Change::Phase(phases) => {
                phases.iter().map(|phase| Change::Phase(BTreeSet::from([*phase]))).collect()
            }
            Change::Role(roles) => {
                roles.iter().map(|role| Change::Role(BTreeSet::from([role.clone()]))).collect()
            }
            Change::Boundary(_)
            | Change::Standby
            | Change::Approvals(_)
            | Change::BreakGlass
            | Change::Clock
            | Change::Thaw
            | Change::Holders
            | Change::Hazards(_)
            | Change::Golden
            | Change::Felt(_)
            | Change::Known => vec![self.clone()],
        }
    }

    fn apply(&self, request: &mut Request) {
        match self {
            Change::Phase(phases) => {
                let phase = phases.first().copied().unwrap_or(Phase::Unknown);
                request.facts.venues.values_mut().for_each(|of| *of = phase);
            }
            Change::Boundary(left) => request.facts.boundary_s = Some(*left),
            Change::Standby => request.facts.standby = Standby::Free,
            Change::Approvals(count) => {
                let there = request.consents().count();
                let facts = &mut request.facts;
                for nth in there..*count {
                    let roles = BTreeSet::from([APPROVER.to_owned()]);
                    // No name that anybody has: `people` names no one with a space.
                    facts.approvals.insert(format!("another {nth}"), Consent { roles });
                }
            }
            Change::BreakGlass => request.facts.break_glass = Some(String::new()),
            Change::Clock => {
                request.facts.clock = crate::request::Clock { synchronised: true, error_us: 0 };
            }
            Change::Thaw => request.facts.frozen = None,
            Change::Holders => request.facts.holders.clear(),
            Change::Hazards(hazards) => {
                request.facts.overridden.extend(hazards.iter().cloned());
                request.facts.hazards.clear();
            }
            Change::Golden => request.facts.catalog = Catalog::Golden,
            Change::Felt(felt) => request.facts.disruption = *felt,
            Change::Role(role) => {
                if let Principal::Operator { roles, .. } = &mut request.principal {
                    roles.extend(role.iter().cloned());
                }
            }
            Change::Known => {
                let roles = crate::set::ROLES.iter().map(|role| (*role).to_owned()).collect();
                request.principal =
                    Principal::Operator { name: "somebody known".to_owned(), uid: None, roles };
            }
        }
    }
}

/// Ways that differ in a phase, or in a role, and in nothing else are one way with a choice.
fn merged(ways: Vec<Vec<Change>>) -> Vec<Way> {
    let mut merged: Vec<Vec<Change>> = Vec::new();
    for way in ways {
        let alike = |other: &&mut Vec<Change>| {
            other.len() == way.len()
                && other.iter().zip(&way).filter(|(a, b)| a != b).count() == 1
                && other.iter().zip(&way).all(|(a, b)| a == b || a.joins(b))
        };
        match merged.iter_mut().find(alike) {
            Some(other) => {
                other.iter_mut().zip(way).for_each(|(one, more)| one.join(more));
            }
            None => merged.push(way),
        }
    }
    merged.into_iter().map(Way).collect()
}

impl Change {
    fn joins(&self, other: &Change) -> bool {
        matches!(
            (self, other),
            (Change::Phase(_), Change::Phase(_)) | (Change::Role(_), Change::Role(_))
        )
    }

    fn join(&mut self, more: Change) {
        match (self, more) {
            (Change::Phase(phases), Change::Phase(more)) => phases.extend(more),
            (Change::Role(roles), Change::Role(more)) => roles.extend(more),
            (_, _) => {}
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(", and "))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Phase(phases) => {
                let words: Vec<&str> = phases.iter().map(|phase| phase.word()).collect();
                write!(f, "wait for phase {}", words.join(" or "))
            }
            Change::Boundary(left) => write!(f, "begin {left} s or more before the next phase"),
            Change::Standby => f.write_str("a free standby path"),
            Change::Approvals(1) => f.write_str("an approval by another person"),
            Change::Approvals(count) => write!(f, "{count} approvals by other people"),
            Change::BreakGlass => f.write_str("--break-glass WHY, countersigned afterwards"),
            Change::Clock => f.write_str("a clock synchronised to within a second"),
            Change::Thaw => f.write_str("`nicmend thaw`"),
            Change::Holders => f.write_str("nobody left on the NIC whom a step would hurt"),
            Change::Hazards(ids) => {
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                write!(f, "--override-hazard {}", ids.join(" --override-hazard "))
            }
            Change::Golden => f.write_str("firmware that the catalog calls golden"),
            Change::Felt(Disruption::None) => {
                f.write_str("leave out every step that traffic feels")
            }
            Change::Felt(most) => write!(f, "no step felt more than a {}", felt(*most)),
            Change::Role(roles) => {
                let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
                write!(f, "a person with the role {}", roles.join(" or "))
            }
            Change::Known => f.write_str("somebody whom this host knows"),
        }
    }
}
