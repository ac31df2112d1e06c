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

use super::{Action, Phase, Point, Run, Side, Turn};
use crate::plan::{Step, order};

/// The shortest turn worth switching for.
const TURN_MIN: Duration = Duration::from_secs(2);
/// Turns of the baseline: the more, the faster a drift may be; each costs two switches.
const PAIRS: std::ops::RangeInclusive<usize> = 2..=10;

impl Run {
    /// The first turn of a stage, where the playbook wants turns and all that is in force may be
    /// switched without anybody feeling it.
    pub(super) fn first_turn(&mut self, stage: usize) -> Option<Turn> {
        let verify = &self.plan.as_ref()?.playbook.verify;
        if !verify.interleave {
            return None;
        }
        let fits = verify.window.as_millis() / TURN_MIN.as_millis();
        let pairs = usize::try_from(fits).unwrap_or(usize::MAX).clamp(*PAIRS.start(), *PAIRS.end());
        self.candidate = self.expected.clone();
        let off = self.steps_to(&self.originals);
        let unfelt = |step: &Step| {
            step.disruption == Disruption::None && step.takes_effect != TakesEffect::Reload
        };
        (!off.is_empty() && off.iter().all(unfelt)).then_some(Turn { stage, nth: 0, pairs })
    }

    pub(super) fn next_turn(&mut self, turn: Turn) -> Action {
        let Some(next) = turn.next() else { return self.check(turn.stage) };
        let steps = match next.side() {
            Side::Baseline => self.steps_to(&self.originals),
            Side::Candidate => self.steps_to(&self.candidate),
        };
        self.switch(next, steps.into())
    }

    pub(super) fn switch(&mut self, to: Turn, mut left: VecDeque<Step>) -> Action {
        match left.pop_front() {
            Some(step) => self.go(Phase::Switching { to, left }, Action::Write(step)),
            None => self.go(Phase::Settling(Point::Turn(to)), Action::Settle),
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
