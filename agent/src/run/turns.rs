//! Taking turns: a stage that nothing feels is switched off and on between windows, so that a drift of
//! the market is not taken for the change.
//!
//! Every value written here was named by a durable intent before, as original or as target: a crash at
//! any moment of it is recovered from like one at the first write.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use playbooks::{
    Name, Value,
    vocabulary::{Disruption, TakesEffect},
};

use super::{Action, Phase, Point, Run};
use crate::{
    fault::{Fault, Kind, Result},
    plan::{Step, order},
};

/// The shortest turn worth switching for.
const TURN_MIN: Duration = Duration::from_secs(2);
/// How often what a switch disturbed is written again before the run gives up.
pub(super) const PASSES_MAX: u32 = 2;
/// Turns of the baseline: the more, the faster a drift may be; each costs two switches.
const PAIRS: std::ops::RangeInclusive<usize> = 2..=10;

/// Candidate and baseline take turns: the candidate first and last, so that the stage is in force at
/// the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    pub stage: usize,
    /// From 0.
    pub nth: usize,
    /// How many turns the baseline gets; the candidate gets one more.
    pub pairs: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Baseline,
    Candidate,
}

impl Turn {
    pub fn side(self) -> Side {
        if self.nth.is_multiple_of(2) { Side::Candidate } else { Side::Baseline }
    }

    pub(super) fn next(self) -> Option<Turn> {
        (self.nth < 2 * self.pairs).then_some(Turn { nth: self.nth + 1, ..self })
    }
}

/// How many turns of each side a window is divided into.
pub(super) fn pairs(window: Duration) -> usize {
    let fits = window.as_millis() / TURN_MIN.as_millis();
    usize::try_from(fits).unwrap_or(usize::MAX).clamp(*PAIRS.start(), *PAIRS.end())
}

impl Run {
    /// The first turn of a stage, where the playbook wants turns and all that is in force may be
    /// switched without anybody feeling it.
    pub(super) fn first_turn(&mut self, stage: usize) -> Option<Turn> {
        let verify = &self.plan.as_ref()?.playbook.verify;
        // A firmware in force cannot be switched off and on.
        if !verify.interleave || self.firmware_open() {
            return None;
        }
        let pairs = pairs(verify.window);
        self.candidate = self.expected.clone();
        let off = self.steps_to(&self.originals);
        let unfelt = |step: &Step| {
            step.disruption == Disruption::None && step.takes_effect != TakesEffect::Reload
        };
        (!off.is_empty() && off.iter().all(unfelt)).then_some(Turn { stage, nth: 0, pairs })
    }

    /// A value that somebody else wrote meanwhile must not be written over by the next switch.
    pub(super) fn next_turn(&mut self, turn: Turn) -> Action {
        let Some(next) = turn.next() else { return self.check(turn.stage) };
        let names = self.expected.keys().cloned().collect();
        self.go(Phase::Looking(next), Action::Read(names))
    }

    pub(super) fn looked(&mut self, next: Turn, values: &[(Name, Result<Value>)]) -> Action {
        if let Err(action) = self.untouched(next.stage, values) {
            return action;
        }
        let steps = self.steps_to(self.side(next));
        self.switch(next, steps.into(), 0)
    }

    pub(super) fn switch(&mut self, to: Turn, mut left: VecDeque<Step>, pass: u32) -> Action {
        match left.pop_front() {
            Some(step) => self.go(Phase::Switching { to, left, pass }, Action::Write(step)),
            None => {
                let names = self.originals.keys().cloned().collect();
                self.go(Phase::Landing { to, pass }, Action::Read(names))
            }
        }
    }

    /// A driver may change other settings along with the one written (mlx5's and bnxt's usecs with
    /// `adaptive-rx`): those are written again, so that every turn of a side measures the same.
    pub(super) fn landed(
        &mut self,
        to: Turn,
        pass: u32,
        values: &[(Name, Result<Value>)],
    ) -> Action {
        for (name, read) in values {
            match read {
                Ok(found) => self.expected.insert(name.clone(), found.clone()),
                Err(fault) => {
                    let fault = fault.clone().during(format!("read {name} after a switch"));
                    return self.fail(to.stage, &fault);
                }
            };
        }
        let steps = self.steps_to(self.side(to));
        if steps.is_empty() {
            return self.settle(Point::Turn(to));
        }
        if pass == PASSES_MAX {
            let names: Vec<&str> =
                steps.iter().flat_map(|step| &step.batch).map(|c| c.name.as_str()).collect();
            let cause = format!("{} will not stay as it was", names.join(", "));
            return self.fail(to.stage, &Fault::new(Kind::Drift, "switch to the next turn", cause));
        }
        self.switch(to, steps.into(), pass + 1)
    }

    pub(super) fn settle(&mut self, point: Point) -> Action {
        self.go(Phase::Settling(point), Action::Settle)
    }

    /// What is in force in a turn of this side.
    fn side(&self, turn: Turn) -> &BTreeMap<Name, Value> {
        match turn.side() {
            Side::Baseline => &self.originals,
            Side::Candidate => &self.candidate,
        }
    }

    /// From what is in force to these values, of the keys that this run has written or disturbed.
    fn steps_to(&self, values: &BTreeMap<Name, Value>) -> Vec<Step> {
        let wanted: Vec<(Name, Value)> = self
            .originals
            .keys()
            .filter_map(|name| Some((name.clone(), values.get(name)?.clone())))
            .collect();
        order::steps(&self.nic, order::changes(&self.expected, &wanted))
    }
}
