//! The way back: read every key, write what differs in the planned order, read again, until equal.
//!
//! The same loop serves a stage that is put back, a whole run, a recovery and a committed run; it is
//! idempotent, so a crash in the middle of it is mended by walking it again.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use playbooks::{Name, Value, vocabulary::Persistence};

use super::{Action, Durable, End, Event, Goal, Phase, RestoreStep, Restoring, Run};
use crate::{
    fault::Result,
    host::NicId,
    log::{
        Fact, ReadBack, RunState,
        fact::{Foreign, portions},
    },
    plan::order,
    setting::family_of,
};

/// How often everything is read and written before the run is stuck.
pub(super) const PASSES_MAX: u32 = 6;
/// Between passes, for a busy driver: 100 ms, doubled each time, 3.2 s at the last.
const PAUSE_MS: u64 = 100;

/// All pauses of a way back together.
pub(super) fn pauses() -> Duration {
    (0..PASSES_MAX).map(pause).sum()
}

fn pause(pass: u32) -> Duration {
    Duration::from_millis(PAUSE_MS << pass.min(5))
}

impl Restoring {
    /// A way back that has not begun.
    pub(super) fn to(goal: Goal, why: String, targets: Vec<(Name, Value)>) -> Restoring {
        Restoring {
            goal,
            why,
            targets,
            pass: 0,
            step: RestoreStep::Announcing,
            results: Vec::new(),
            firmware: Box::default(),
        }
    }
}

impl Run {
    pub(super) fn restore(&mut self, mut way: Restoring, event: Event) -> Action {
        match (way.step.clone(), event) {
            (RestoreStep::Closing(end), _) => {
                self.phase = Phase::Done;
                Action::Finish(end)
            }
            // Whether or not that could be said to the disk: the machine comes first.
            (RestoreStep::Announcing, _) => self.returning_begins(way),
            (RestoreStep::Firmware(at), Event::Firmware { answer, took_ms }) => {
                way.firmware.took(at, took_ms);
                self.came_back(way, at, answer)
            }
            (RestoreStep::Firmware(at), _) => self.back_again(way, at),
            (RestoreStep::Pausing, _) => self.read_targets(way),
            (RestoreStep::Reading, Event::Values(values)) => self.compare(way, values),
            (RestoreStep::Writing(left), Event::Wrote { results, .. }) => {
                // A failure needs no word here: the next pass reads everything again.
                for back in &results {
                    if let Some(got) = &back.got {
                        self.own(&back.name, got);
                    }
                }
                self.next_write(way, left)
            }
            // An answer that does not belong here: read again, a bounded number of times.
            (RestoreStep::Reading | RestoreStep::Writing(_), _) => self.pause(way),
        }
    }

    pub(super) fn end(&self, state: RunState, why: &str) -> End {
        End {
            state,
            why: why.to_owned(),
            foreign: self.foreign.clone(),
            by_hand: Vec::new(),
            stopped: self.stopped,
        }
    }

    pub(super) fn read_targets(&mut self, mut way: Restoring) -> Action {
        let names = way.targets.iter().map(|(name, _)| name.clone()).collect();
        way.step = RestoreStep::Reading;
        self.phase = Phase::Restoring(way);
        Action::Read(names)
    }

    fn compare(&mut self, mut way: Restoring, values: Vec<(Name, Result<Value>)>) -> Action {
        way.results = way.targets.iter().map(|(name, to)| back(name, to, &values)).collect();
        if way.pass == 0 {
            self.name_strangers(&way, &values);
        }
        // What a reboot has put back by itself, or to something else, is compared and not written.
        let left_alone =
            |name: &Name| self.rebooted && name.setting().persistence == Persistence::Volatile;
        let open: Vec<&ReadBack> =
            way.results.iter().filter(|b| !b.holds() && !left_alone(&b.name)).collect();
        if open.is_empty() {
            return self.arrived(way);
        }
        if way.pass >= PASSES_MAX {
            return self.stuck(way);
        }
        let mut now: BTreeMap<Name, Value> = BTreeMap::new();
        for result in &open {
            if let Some(got) = &result.got {
                now.insert(result.name.clone(), got.clone());
            }
        }
        let steps = order::steps(&self.nic, order::changes(&now, &way.targets));
        way.pass += 1;
        if steps.is_empty() {
            // Nothing can be written (unreadable keys): give it time and read again.
            return self.pause(way);
        }
        self.next_write(way, steps.into())
    }

    fn next_write(&mut self, mut way: Restoring, mut left: VecDeque<crate::plan::Step>) -> Action {
        match left.pop_front() {
            Some(step) => {
                way.step = RestoreStep::Writing(left);
                self.phase = Phase::Restoring(way);
                Action::Write(step)
            }
            None if way.pass <= 1 => {
                // The first pass nearly always suffices; look at once.
                self.read_targets(way)
            }
            None => self.pause(way),
        }
    }

    fn pause(&mut self, mut way: Restoring) -> Action {
        if way.pass >= PASSES_MAX {
            return self.stuck(way);
        }
        let ms = pause(way.pass).as_millis() as u64;
        way.pass += 1;
        way.step = RestoreStep::Pausing;
        self.phase = Phase::Restoring(way);
        Action::Pause { ms }
    }

    /// What somebody else wrote meanwhile is named before it is written over.
    fn name_strangers(&mut self, way: &Restoring, values: &[(Name, Result<Value>)]) {
        // A disturbed key holds whatever the driver made of it; after a reboot nothing did.
        let written = |f: &Foreign| self.rebooted || self.ours.contains_key(&f.name);
        let strangers: Vec<Foreign> = self.strangers(values).into_iter().filter(written).collect();
        for stranger in strangers {
            let known = self.foreign.iter().any(|f| f.name == stranger.name);
            if !known && way.targets.iter().any(|(name, _)| *name == stranger.name) {
                self.foreign.push(stranger);
            }
        }
    }

    fn arrived(&mut self, way: Restoring) -> Action {
        for (name, value) in &way.targets {
            self.expected.insert(name.clone(), value.clone());
        }
        if !way.firmware.left.is_empty() {
            return self.stuck(way);
        }
        match way.goal {
            Goal::Stage(stage) => self.after_put_back(stage, way.results),
            Goal::Everything => {
                let end = self.end(RunState::Reverted, &way.why);
                // The proof in as many entries as it needs; the last one closes the run.
                let mut parts = portions(way.results);
                let proof = parts.pop().unwrap_or_default();
                let mut facts: Vec<Fact> =
                    parts.into_iter().map(|results| Fact::Restored { results }).collect();
                let named = portions(self.foreign.clone());
                facts.extend(named.into_iter().map(|changes| Fact::ForeignChange { changes }));
                facts.push(Fact::Reverted { why: way.why.clone(), proof, foreign: Vec::new() });
                self.close_with(facts, end)
            }
        }
    }

    pub(super) fn stuck(&mut self, way: Restoring) -> Action {
        if let Goal::Stage(stage) = way.goal {
            let why = format!("stage {} could not be put back alone; {}", stage + 1, way.why);
            let action = self.revert(&why);
            // What has been given up is not given up a second time, but told.
            if let Phase::Restoring(everything) = &mut self.phase
                && !way.firmware.left.is_empty()
            {
                everything.firmware = way.firmware;
            }
            return action;
        }
        let firmware_lines = self.firmware_by_hand(&way);
        let left: Vec<ReadBack> = way.results.into_iter().filter(|b| !b.holds()).collect();
        let firmware = way.firmware.left.words();
        let words: Vec<String> = firmware.into_iter().chain(left.iter().map(describe)).collect();
        let why = format!("{}; could not be put back: {}", way.why, words.join("; "));
        let mut by_hand = firmware_lines;
        by_hand.extend(self.which_interface(&left));
        for result in &left {
            let from = result.got.clone().unwrap_or_else(|| result.asked.clone());
            let (name, to) = (result.name.clone(), result.asked.clone());
            let change = crate::setting::Change { name, from, to };
            if let Ok(family) = family_of(&change.name) {
                by_hand.extend(family.by_hand(&self.nic, &[change]));
            }
        }
        let mut end: End = self.end(RunState::Stuck, &why);
        end.by_hand.clone_from(&by_hand);
        let mut parts = portions(left);
        let left = parts.pop().unwrap_or_default();
        let mut facts: Vec<Fact> =
            parts.into_iter().map(|results| Fact::Restored { results }).collect();
        facts.push(Fact::Stuck { why, left, by_hand });
        self.close_with(facts, end)
    }

    /// Which interface the lines are about, where it was not found under its name.
    fn which_interface(&self, left: &[ReadBack]) -> Option<String> {
        let NicId::Virtual { netns, mac, .. } = &self.nic.id else { return None };
        let unread = left.iter().any(|back| back.got.is_none());
        let index = match self.nic.ifindex {
            0 => String::new(),
            index => format!("index {index}, "),
        };
        let name = &self.nic.name;
        unread.then(|| {
            format!("# {name} stands for the interface of {index}MAC {mac} in network namespace net:[{netns}], whatever its name is now (ip link)")
        })
    }

    /// Begins to put one stage back; the run goes on afterwards.
    pub(super) fn put_back(&mut self, stage: usize, why: String) -> Action {
        let touched = self.originals.keys().filter(|name| self.entry.contains_key(*name));
        let targets: Vec<(Name, Value)> =
            touched.map(|name| (name.clone(), self.entry[name].clone())).collect();
        self.phase = Phase::Restoring(Restoring::to(Goal::Stage(stage), why.clone(), targets));
        Action::Record { facts: vec![Fact::PutBack { stage, why }], durable: Durable::BestEffort }
    }
}

fn back(name: &Name, to: &Value, values: &[(Name, Result<Value>)]) -> ReadBack {
    let read = values.iter().find(|(other, _)| other == name).map(|(_, read)| read);
    let (got, fault) = match read {
        Some(Ok(value)) => (Some(value.clone()), None),
        Some(Err(fault)) => (None, Some(fault.to_string())),
        None => (None, Some("not read".to_owned())),
    };
    ReadBack { name: name.clone(), asked: to.clone(), got, fault }
}

fn describe(back: &ReadBack) -> String {
    match (&back.got, &back.fault) {
        (Some(got), _) => format!("{} is {got}, was {}", back.name, back.asked),
        (None, Some(fault)) => format!("{} (was {}): {fault}", back.name, back.asked),
        (None, None) => format!("{} (was {}): unreadable", back.name, back.asked),
    }
}
