//! The way forward: baseline, then stage by stage until the objective is met or the stages are used up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use playbooks::{Name, Value};

use super::{
    Action, Baseline, Durable, End, Event, Next, Phase, Point, Run, Turn, firmware::At,
    intents::intents,
};
use crate::{
    fault::{Fault, Kind, Result},
    log::{
        Fact, Kept, ReadBack, RunState,
        fact::{Foreign, portions},
    },
    plan::{Step, disturbed_by, order},
    verdict::{Call, Verdict},
};

impl Run {
    /// One event of the forward way. What does not belong to the phase is a defect of the engine and
    /// ends like every failure: revert, or refuse when nothing was written.
    pub(super) fn advance(&mut self, phase: Phase, event: Event) -> Action {
        match (phase, event) {
            (Phase::Fresh, Event::Begin) => self.settle(Point::Baseline),
            (Phase::Settling(point), Event::Settled(result)) => self.settled(point, result),
            (Phase::Baselining, Event::Baselined(result)) => self.baselined(result),
            (Phase::CheckingPlan { evidence }, Event::Values(values)) => {
                self.plan_checked(evidence, &values)
            }
            (Phase::RecordingBaseline, Event::Recorded(result)) => match result {
                Ok(()) => self.begin_stage(0),
                Err(fault) => self.refuse("log", &fault.to_string()),
            },
            (Phase::Firmware { stage, at }, Event::Firmware { answer, took_ms: _ }) => {
                self.firmware_done(stage, at, answer)
            }
            (Phase::Firmware { stage, at }, Event::Recorded(result)) => {
                self.firmware_recorded(stage, at, result)
            }
            (Phase::Intending { stage, steps, disturbed }, Event::Recorded(result)) => match result
            {
                Ok(()) => self.write_next(stage, steps.into(), disturbed),
                Err(fault) if !self.wrote => self.refuse("log", &fault.to_string()),
                Err(fault) => self.fail(stage, &fault),
            },
            (Phase::Firmware { stage, at: At::WaitingOut }, Event::Paused) => self.waited(stage),
            (
                Phase::Writing { stage, left, disturbed },
                Event::Wrote { failed, results, nanoseconds },
            ) => self.wrote(stage, left, disturbed, failed, results, nanoseconds),
            (Phase::Inspecting { stage, disturbed }, Event::Values(values)) => {
                self.inspected(stage, &disturbed, &values)
            }
            (Phase::Tidying { stage, left }, Event::Wrote { results, .. }) => {
                self.tidied(stage, left, &results)
            }
            (Phase::RecordingWrites { stage }, Event::Recorded(result)) => match result {
                Ok(()) => self.settle(Point::Stage(stage)),
                Err(fault) => self.fail(stage, &fault),
            },
            (Phase::Measuring(point), Event::Measured(result)) => self.measured(point, result),
            (Phase::Looking(turn), Event::Values(values)) => self.looked(turn, &values),
            (
                Phase::Switching { to, left, pass },
                Event::Wrote { failed, results, nanoseconds },
            ) => match self.take_in(to.stage, failed, results, nanoseconds) {
                Ok(()) => self.switch(to, left, pass),
                Err(action) => action,
            },
            (Phase::Landing { to, pass }, Event::Values(values)) => self.landed(to, pass, &values),
            (Phase::Checking { stage }, Event::Values(values)) => self.checked(stage, &values),
            (Phase::Judging(stage), Event::Judged(result)) => match result {
                Ok((verdict, evidence)) => self.judged(stage, verdict, evidence),
                Err(fault) => self.fail(stage, &fault),
            },
            (Phase::RecordingVerdict { next }, Event::Recorded(result)) => match result {
                Ok(()) => self.take(next),
                Err(fault) => self.revert(&fault.to_string()),
            },
            (Phase::Committing { why }, Event::Recorded(result)) => match result {
                Ok(()) => {
                    let end: End = self.end(RunState::Committed, &why);
                    Action::Finish(end)
                }
                Err(fault) => self.revert(&format!("the commit could not be recorded: {fault}")),
            },
            (_, event) => self.derailed(&event),
        }
    }

    pub(super) fn go(&mut self, phase: Phase, action: Action) -> Action {
        self.phase = phase;
        action
    }

    fn derailed(&mut self, event: &Event) -> Action {
        let why = format!("unexpected event in the transaction: {event:?}");
        if !self.wrote { self.refuse("defect", &why) } else { self.revert(&why) }
    }

    fn settled(&mut self, point: Point, result: Result<()>) -> Action {
        match (point, result) {
            (Point::Baseline, Ok(())) => {
                self.go(Phase::Baselining, Action::Measure(Point::Baseline))
            }
            (Point::Baseline, Err(fault)) => self.refuse("settle", &fault.to_string()),
            (Point::Stage(stage), Ok(())) => match self.first_turn(stage) {
                Some(turn) => self.measure(Point::Turn(turn)),
                None => self.measure(point),
            },
            (Point::Turn(_), Ok(())) => self.measure(point),
            (Point::Stage(stage) | Point::Turn(Turn { stage, .. }), Err(fault)) => {
                self.fail(stage, &fault)
            }
        }
    }

    fn measure(&mut self, point: Point) -> Action {
        self.go(Phase::Measuring(point), Action::Measure(point))
    }

    fn measured(&mut self, point: Point, result: Result<()>) -> Action {
        match (point, result) {
            (Point::Stage(stage), Ok(())) => self.check(stage),
            (Point::Turn(turn), Ok(())) => self.next_turn(turn),
            (Point::Stage(stage) | Point::Turn(Turn { stage, .. }), Err(fault)) => {
                self.fail(stage, &fault)
            }
            (Point::Baseline, result) => self.derailed(&Event::Measured(result)),
        }
    }

    fn baselined(&mut self, result: Result<Baseline>) -> Action {
        let baseline = match result {
            Ok(baseline) => baseline,
            Err(fault) => return self.refuse("baseline", &fault.to_string()),
        };
        if let Some(why) = baseline.unusable {
            return self.refuse("baseline", &why);
        }
        if baseline.meets_objective && !self.allowance.force {
            let why = "the baseline meets the objective already: nothing to mend (--force runs it)";
            return self.refuse("nothing-to-mend", why);
        }
        let names = self.expected.keys().cloned().collect();
        self.go(Phase::CheckingPlan { evidence: baseline.evidence }, Action::Read(names))
    }

    /// The plan is stale when one of its own preconditions changed, not when anything did.
    fn plan_checked(&mut self, evidence: String, values: &[(Name, Result<Value>)]) -> Action {
        for (name, read) in values {
            let planned = &self.expected[name];
            let why = match read {
                Ok(found) if found == planned => continue,
                Ok(found) => {
                    format!("stale plan: {name} is {found}, the plan was made at {planned}")
                }
                Err(fault) => format!("stale plan: {fault}"),
            };
            return self.refuse("stale-plan", &why);
        }
        let facts = vec![Fact::Baseline { evidence }];
        self.go(Phase::RecordingBaseline, Action::Record { facts, durable: Durable::BestEffort })
    }

    /// The next stage that has something to write, from `stage` on; past the last, the end.
    fn begin_stage(&mut self, stage: usize) -> Action {
        let Some(stages) = self.plan.as_ref().map(|plan| plan.stages.len()) else {
            return self.derailed(&Event::Begin);
        };
        for index in stage..stages {
            // A restart takes settings, so it comes before the stage's own.
            if self.planned_firmware(index).is_some() {
                return self.begin_firmware(index);
            }
            if let Some(action) = self.write_settings(index) {
                return action;
            }
        }
        self.out_of_stages()
    }

    /// The settings of a stage whose firmware is in force.
    pub(super) fn settings_of(&mut self, stage: usize) -> Action {
        match self.write_settings(stage) {
            Some(action) => action,
            None => self.record_writes(stage),
        }
    }

    fn write_settings(&mut self, stage: usize) -> Option<Action> {
        let targets = &self.plan.as_ref()?.stages.get(stage)?.targets;
        let steps = order::steps(&self.nic, order::changes(&self.expected, targets));
        // Of the steps as they are now: an earlier stage may have been put back.
        let disturbed = disturbed_by(&steps, &self.nic, self.expected.keys());
        (!steps.is_empty()).then(|| self.intend(stage, steps, disturbed))
    }

    fn intend(&mut self, stage: usize, steps: Vec<Step>, disturbed: BTreeSet<Name>) -> Action {
        self.entry = self.expected.clone();
        for change in steps.iter().flat_map(|step| &step.batch) {
            let original = self.expected.get(&change.name).unwrap_or(&change.from).clone();
            self.originals.entry(change.name.clone()).or_insert(original);
            self.own(&change.name, &change.from);
            self.own(&change.name, &change.to);
        }
        let mut kept = Vec::new();
        for name in &disturbed {
            if let Some(value) = self.expected.get(name) {
                let original = self.originals.entry(name.clone()).or_insert(value.clone());
                kept.push(Kept { name: name.clone(), original: original.clone() });
            }
        }
        let facts = intents(stage, &steps, kept);
        self.go(
            Phase::Intending { stage, steps, disturbed },
            Action::Record { facts, durable: Durable::Yes },
        )
    }

    fn write_next(
        &mut self,
        stage: usize,
        mut left: VecDeque<Step>,
        disturbed: BTreeSet<Name>,
    ) -> Action {
        match left.pop_front() {
            Some(step) => {
                self.wrote = true;
                self.go(Phase::Writing { stage, left, disturbed }, Action::Write(step))
            }
            None if disturbed.is_empty() => self.record_writes(stage),
            None => {
                self.disturbed = disturbed.clone();
                let names = disturbed.iter().cloned().collect();
                self.go(Phase::Inspecting { stage, disturbed }, Action::Read(names))
            }
        }
    }

    fn wrote(
        &mut self,
        stage: usize,
        left: VecDeque<Step>,
        disturbed: BTreeSet<Name>,
        failed: Option<Fault>,
        results: Vec<ReadBack>,
        nanoseconds: u64,
    ) -> Action {
        match self.take_in(stage, failed, results, nanoseconds) {
            Ok(()) => self.write_next(stage, left, disturbed),
            Err(action) => action,
        }
    }

    /// Takes in what a write has come to; `Err` with what to do where it did not hold.
    fn take_in(
        &mut self,
        stage: usize,
        failed: Option<Fault>,
        results: Vec<ReadBack>,
        nanoseconds: u64,
    ) -> Result<(), Action> {
        for back in &results {
            if let Some(got) = &back.got {
                self.own(&back.name, got);
                self.expected.insert(back.name.clone(), got.clone());
            }
        }
        if let Some(fault) = failed {
            return Err(self.fail(stage, &fault));
        }
        if let Some(back) = results.iter().find(|back| !back.holds()) {
            let got = back.got.as_ref().map_or("nothing readable".to_owned(), Value::to_string);
            let act = format!("set {} to {}", back.name, back.asked);
            let cause = format!("the driver took it without an error, and it reads {got}");
            return Err(self.fail(stage, &Fault::new(Kind::Drift, act, cause)));
        }
        self.writes.push(Fact::Wrote { stage, results, nanoseconds });
        Ok(())
    }

    fn inspected(
        &mut self,
        stage: usize,
        disturbed: &BTreeSet<Name>,
        values: &[(Name, Result<Value>)],
    ) -> Action {
        let mut now = BTreeMap::new();
        for (name, read) in values {
            if let Ok(value) = read {
                now.insert(name.clone(), value.clone());
            }
        }
        // What this stage itself wants of a disturbed setting counts, not what it was before.
        let wanted: Vec<(Name, Value)> = disturbed
            .iter()
            .filter_map(|name| Some((name.clone(), self.expected.get(name)?.clone())))
            .collect();
        self.expected.extend(now.clone());
        let steps: VecDeque<Step> = order::steps(&self.nic, order::changes(&now, &wanted)).into();
        self.tidy(stage, steps)
    }

    fn tidy(&mut self, stage: usize, mut left: VecDeque<Step>) -> Action {
        match left.pop_front() {
            Some(step) => {
                for change in &step.batch {
                    self.own(&change.name, &change.to);
                }
                self.go(Phase::Tidying { stage, left }, Action::Write(step))
            }
            None => self.record_writes(stage),
        }
    }

    /// A disturbed setting that cannot be put back while the stage is in force (a CPU list for a queue
    /// that is gone) is left as the driver made it; the revert puts it back with everything else.
    fn tidied(&mut self, stage: usize, left: VecDeque<Step>, results: &[ReadBack]) -> Action {
        for back in results {
            if let Some(got) = &back.got {
                self.own(&back.name, got);
                self.expected.insert(back.name.clone(), got.clone());
            }
        }
        self.tidy(stage, left)
    }

    fn record_writes(&mut self, stage: usize) -> Action {
        let mut left = Vec::new();
        for name in std::mem::take(&mut self.disturbed) {
            if let Some(value) = self.expected.get(&name).cloned() {
                self.own(&name, &value);
                left.push(Kept { name, original: value });
            }
        }
        let facts = portions(left).into_iter().map(|left| Fact::Disturbed { stage, left });
        self.writes.extend(facts);
        let facts = std::mem::take(&mut self.writes);
        self.go(
            Phase::RecordingWrites { stage },
            Action::Record { facts, durable: Durable::BestEffort },
        )
    }

    /// Before judging: is everything that we wrote still as we left it?
    pub(super) fn check(&mut self, stage: usize) -> Action {
        let names: Vec<Name> = self.expected.keys().cloned().collect();
        self.go(Phase::Checking { stage }, Action::Read(names))
    }

    fn checked(&mut self, stage: usize, values: &[(Name, Result<Value>)]) -> Action {
        match self.untouched(stage, values) {
            Ok(()) => self.go(Phase::Judging(stage), Action::Judge(stage)),
            Err(action) => action,
        }
    }

    /// Whether everything is as we left it; `Err` with what to do where it is not, or cannot be read.
    pub(super) fn untouched(
        &mut self,
        stage: usize,
        values: &[(Name, Result<Value>)],
    ) -> Result<(), Action> {
        if let Some((name, Err(fault))) = values.iter().find(|(_, read)| read.is_err()) {
            return Err(self.fail(stage, &fault.clone().during(format!("read {name} again"))));
        }
        let moved: Vec<Foreign> = values
            .iter()
            .filter_map(|(name, read)| {
                let (Ok(found), expected) = (read, self.expected.get(name)?) else { return None };
                (found != expected).then(|| Foreign {
                    name: name.clone(),
                    expected: expected.clone(),
                    found: found.clone(),
                })
            })
            .collect();
        if moved.is_empty() { Ok(()) } else { Err(self.intrude(moved)) }
    }

    fn judged(&mut self, stage: usize, verdict: Verdict, evidence: String) -> Action {
        let next = self.decide(stage, &verdict);
        self.last_why.clone_from(&verdict.why);
        // A commit rests on the last verdict: it compares everything in force with the baseline.
        self.provisional.clone_from(&verdict.provisional);
        // What turns have written since the last record goes before it.
        let mut facts = std::mem::take(&mut self.writes);
        facts.push(Fact::Judged { stage, evidence, verdict: Box::new(verdict) });
        self.go(
            Phase::RecordingVerdict { next },
            Action::Record { facts, durable: Durable::BestEffort },
        )
    }

    fn decide(&self, stage: usize, verdict: &Verdict) -> Next {
        let goal = self.plan.as_ref().is_some_and(|p| !p.playbook.objective.is_empty());
        let holds = verdict.verdict == Call::Keep;
        let why = verdict.why.clone();
        match (goal, holds) {
            (false, true) => Next::Stage(stage + 1),
            (false, false) => Next::Revert { why },
            (true, true) if verdict.objective_met => Next::Commit { stage, why },
            // Better, though not there yet, and nothing hurt: it stays while the next is tried.
            (true, true) if verdict.improved() => Next::Stage(stage + 1),
            (true, true) => Next::PutBack { stage, why: format!("no improvement: {why}") },
            (true, false) => Next::PutBack { stage, why },
        }
    }

    fn take(&mut self, next: Next) -> Action {
        match next {
            Next::Stage(stage) => {
                self.kept.push(stage - 1);
                self.begin_stage(stage)
            }
            Next::Commit { stage, why } => {
                self.kept.push(stage);
                self.commit(why)
            }
            Next::PutBack { stage, why } => self.put_back(stage, why),
            Next::Revert { why } => self.revert(&why),
        }
    }

    pub(super) fn after_put_back(&mut self, stage: usize, results: Vec<ReadBack>) -> Action {
        self.writes.extend(portions(results).into_iter().map(|results| Fact::Restored { results }));
        self.begin_stage(stage + 1)
    }

    fn out_of_stages(&mut self) -> Action {
        let goal = self.plan.as_ref().is_some_and(|p| !p.playbook.objective.is_empty());
        if goal {
            let why = format!("no stage met the objective; last: {}", self.last_why);
            return if !self.wrote {
                self.refuse("nothing-to-do", &why)
            } else {
                self.revert(&why)
            };
        }
        if self.kept.is_empty() {
            return self.refuse("nothing-to-do", "everything is right already");
        }
        self.commit("every guardrail holds".to_owned())
    }

    fn commit(&mut self, why: String) -> Action {
        let mut facts = std::mem::take(&mut self.writes);
        let (stages, provisional) = (self.kept.clone(), self.provisional.take());
        facts.push(Fact::Committed { stages, why: why.clone(), provisional });
        self.go(Phase::Committing { why }, Action::Record { facts, durable: Durable::Yes })
    }

    /// A step of this stage failed: everything goes back.
    pub(super) fn fail(&mut self, stage: usize, fault: &Fault) -> Action {
        let why = fault.to_string();
        let action = self.revert(&why);
        match action {
            Action::Record { mut facts, durable } => {
                let mut all = std::mem::take(&mut self.writes);
                all.push(Fact::WriteFailed { stage, why });
                all.append(&mut facts);
                Action::Record { facts: all, durable }
            }
            other => other,
        }
    }
}
