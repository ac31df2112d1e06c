//! The transaction: [`Run::step`] takes what happened and says what to do next. No IO, no clock.
//!
//! ```text
//! settle -> baseline -> [ intent -> write.. -> tidy -> settle -> measure -> check -> judge ]* -> commit
//!              |                     any failure, stop, foreign change or bad verdict
//!            refuse                                      v
//!                                  revert: read all, write what differs, again until equal
//! ```
//!
//! Every action is answered by exactly one event, so there is never more than one thing in flight.

mod firmware;
mod foreign;
mod forward;
mod held;
mod intents;
pub mod lease;
pub mod length;
mod restore;
mod returning;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use playbooks::{Name, Value};

use self::{
    firmware::{At, Held},
    returning::{Back, Effort},
};
use crate::{
    fault::{Fault, Result},
    host::Nic,
    log::{Fact, Kept, ReadBack, RunRecord, RunState, fact::Foreign, firmware::Found},
    plan::{Plan, Step},
    verdict::Verdict,
};

pub use firmware::{Answer, Before, Order, Restored, Seen};
pub use turns::{Side, Turn};

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Append to the log, and make it durable where it says so.
    Record {
        facts: Vec<Fact>,
        durable: Durable,
    },
    /// Wait until carrier and replies are back.
    Settle,
    /// Measure a window and keep it under this point's name.
    Measure(Point),
    /// Judge the window of this stage against the baseline.
    Judge(usize),
    /// Write one step and read it back.
    Write(Step),
    /// Read these settings.
    Read(Vec<Name>),
    /// Do this about the firmware of the device.
    Firmware(Order),
    /// Let a busy driver come to rest before the next pass.
    Pause {
        ms: u64,
    },
    Finish(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// The next action may not happen before this is on disk.
    Yes,
    /// Reverting never waits for a disk.
    BestEffort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    Baseline,
    Stage(usize),
    /// One of several windows of a stage between which it is switched off and on.
    Turn(Turn),
}

/// What happened: the answer to the last action, or a wish to stop.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Begin,
    Recorded(Result<()>),
    Settled(Result<()>),
    /// The baseline: whether it can be compared with, and whether it meets the objective already.
    Baselined(Result<Baseline>),
    Measured(Result<()>),
    /// The verdict, and the digest of the samples it was computed from.
    Judged(Result<(Verdict, String)>),
    /// The write's own result, and the read-back of every setting in it.
    Wrote {
        failed: Option<Fault>,
        results: Vec<ReadBack>,
        nanoseconds: u64,
    },
    Values(Vec<(Name, Result<Value>)>),
    /// The answer to an order, and how long it took.
    Firmware {
        answer: Result<Answer>,
        took_ms: u64,
    },
    Paused,
    /// The kernel announced a change that was not ours, and a re-read confirmed it.
    Intruded(Vec<Foreign>),
    /// A write was not made: it would hurt somebody who uses the NIC now.
    Barred(String),
    /// A stage was not begun: policies refuse it by now.
    Forbidden {
        rule: String,
        why: String,
    },
    /// The operator, a signal or `abort` wants it undone.
    Stop(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// Digest of its evidence.
    pub evidence: String,
    /// Why it cannot serve, where it cannot.
    pub unusable: Option<String>,
    pub meets_objective: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    pub state: RunState,
    pub why: String,
    pub foreign: Vec<Foreign>,
    /// Commands that finish by hand what is left, where it is stuck.
    pub by_hand: Vec<String>,
    /// Whether the operator stopped it.
    pub stopped: bool,
}

/// What the request allows beyond the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    /// Run even though the baseline meets the objective already.
    pub force: bool,
}

/// One run in flight.
#[derive(Debug, Clone)]
pub struct Run {
    /// The NIC as the settings see it; refreshed by the engine when its index or name moves.
    pub nic: Nic,
    plan: Option<Plan>,
    allowance: Allowance,
    phase: Phase,
    /// What should be in each key now, if nobody else writes.
    expected: BTreeMap<Name, Value>,
    /// The original of every key that an intent has named: what a revert goes back to.
    originals: BTreeMap<Name, Value>,
    /// Every value we wrote, meant to write or were given back: anything else is somebody else's.
    ours: BTreeMap<Name, BTreeSet<Value>>,
    /// Of a run that died: what it meant to write and was given nothing back for.
    unconfirmed: BTreeMap<Name, (Value, Value)>,
    /// Stages in force.
    kept: Vec<usize>,
    /// What each key held when the current stage began.
    entry: BTreeMap<Name, Value>,
    /// What each key held once the current stage was written: what a candidate's turn measures.
    candidate: BTreeMap<Name, Value>,
    foreign: Vec<Foreign>,
    /// Facts about writes that wait for the next record: nothing is gained by syncing each.
    writes: Vec<Fact>,
    /// What the stage being written disturbs.
    disturbed: BTreeSet<Name>,
    /// Whether a write has been asked for: from then on a run can only commit, revert or be stuck.
    wrote: bool,
    /// Whether a write has been made.
    touched: bool,
    /// Why the last stage was put back.
    last_why: String,
    /// Why the last verdict would keep only provisionally.
    provisional: Option<String>,
    stopped: bool,
    /// The firmware stage that has begun, if one has.
    held: Option<Held>,
    /// The device as its guard found it, until the stage begins.
    found: Found,
    /// The boot changed since the intents: what neither equals the original nor is ours is left alone.
    rebooted: bool,
}

#[derive(Debug, Clone)]
enum Phase {
    Fresh,
    Settling(Point),
    Baselining,
    /// Baseline taken: are the plan's preconditions still true?
    CheckingPlan {
        evidence: String,
    },
    RecordingBaseline,
    Firmware {
        stage: usize,
        at: At,
    },
    Intending {
        stage: usize,
        steps: Vec<Step>,
        disturbed: BTreeSet<Name>,
    },
    Writing {
        stage: usize,
        left: VecDeque<Step>,
        disturbed: BTreeSet<Name>,
    },
    /// The stage is written: what did it disturb?
    Inspecting {
        stage: usize,
        disturbed: BTreeSet<Name>,
    },
    /// Putting back what it disturbed, as far as that goes.
    Tidying {
        stage: usize,
        left: VecDeque<Step>,
    },
    RecordingWrites {
        stage: usize,
    },
    Measuring(Point),
    /// Before a turn is switched to: is everything that we wrote still as we left it?
    Looking(Turn),
    /// Writing what the next turn measures.
    Switching {
        to: Turn,
        left: VecDeque<Step>,
        pass: u32,
    },
    /// Switched: did a write disturb another setting?
    Landing {
        to: Turn,
        pass: u32,
    },
    Checking {
        stage: usize,
    },
    Judging(usize),
    RecordingVerdict {
        next: Next,
    },
    Committing {
        why: String,
    },
    Restoring(Restoring),
    Done,
}

#[derive(Debug, Clone)]
enum Next {
    Stage(usize),
    PutBack { stage: usize, why: String },
    Commit { stage: usize, why: String },
    Revert { why: String },
}

/// The way back, for one stage or for everything.
#[derive(Debug, Clone)]
struct Restoring {
    goal: Goal,
    why: String,
    targets: Vec<(Name, Value)>,
    pass: u32,
    step: RestoreStep,
    results: Vec<ReadBack>,
    firmware: Box<Effort>,
}

#[derive(Debug, Clone)]
enum Goal {
    /// One stage; the run goes on with the next.
    Stage(usize),
    Everything,
}

#[derive(Debug, Clone)]
enum RestoreStep {
    Announcing,
    Firmware(Back),
    Reading,
    Writing(VecDeque<Step>),
    Pausing,
    Closing(End),
}

impl Run {
    /// A run that has not begun. The plan is on disk already, its undo script too.
    pub fn new(plan: Plan, nic: Nic, allowance: Allowance) -> Run {
        let keep = |kept: &Kept| (kept.name.clone(), kept.original.clone());
        let expected: BTreeMap<Name, Value> = plan.snapshot.iter().map(keep).collect();
        Run {
            nic,
            plan: Some(plan),
            allowance,
            phase: Phase::Fresh,
            expected,
            originals: BTreeMap::new(),
            ours: BTreeMap::new(),
            unconfirmed: BTreeMap::new(),
            kept: Vec::new(),
            entry: BTreeMap::new(),
            candidate: BTreeMap::new(),
            foreign: Vec::new(),
            writes: Vec::new(),
            disturbed: BTreeSet::new(),
            wrote: false,
            touched: false,
            last_why: String::new(),
            provisional: None,
            stopped: false,
            held: None,
            found: Found::default(),
            rebooted: false,
        }
    }

    /// A run that the log knows and that must be put back: after a crash, or on request after a commit.
    pub fn returning(record: &RunRecord, nic: Nic, rebooted: bool, why: &str) -> Run {
        let keep = |kept: &Kept| (kept.name.clone(), kept.original.clone());
        let originals: BTreeMap<Name, Value> = record.originals.iter().map(keep).collect();
        let mut run = Run {
            nic,
            plan: None,
            allowance: Allowance::default(),
            phase: Phase::Fresh,
            expected: originals.clone(),
            originals,
            ours: record.ours.clone(),
            unconfirmed: record.unconfirmed.clone(),
            kept: Vec::new(),
            entry: BTreeMap::new(),
            candidate: BTreeMap::new(),
            foreign: Vec::new(),
            writes: Vec::new(),
            disturbed: BTreeSet::new(),
            wrote: true,
            touched: true,
            last_why: String::new(),
            provisional: None,
            stopped: false,
            held: record.firmware.as_ref().map(Held::of),
            found: Found::default(),
            rebooted,
        };
        run.expected.extend(record.written.clone());
        run.phase = run.revert_phase(why);
        run
    }

    /// Whether the way back is being walked: nothing may stop it then.
    pub fn is_returning(&self) -> bool {
        match &self.phase {
            Phase::Restoring(restoring) => matches!(restoring.goal, Goal::Everything),
            Phase::Done => true,
            Phase::Fresh
            | Phase::Settling(_)
            | Phase::Baselining
            | Phase::CheckingPlan { .. }
            | Phase::RecordingBaseline
            | Phase::Firmware { .. }
            | Phase::Intending { .. }
            | Phase::Writing { .. }
            | Phase::Inspecting { .. }
            | Phase::Tidying { .. }
            | Phase::RecordingWrites { .. }
            | Phase::Measuring(_)
            | Phase::Looking(_)
            | Phase::Switching { .. }
            | Phase::Landing { .. }
            | Phase::Checking { .. }
            | Phase::Judging(_)
            | Phase::RecordingVerdict { .. }
            | Phase::Committing { .. } => false,
        }
    }

    /// Whether a step is on the way to what the playbook wants, and not back.
    pub fn is_forward(&self) -> bool {
        !matches!(self.phase, Phase::Restoring(_) | Phase::Done)
    }

    /// What should be in the keys that this run has written: the engine compares when the kernel
    /// announces a change.
    pub fn written(&self) -> impl Iterator<Item = (&Name, &Value)> {
        self.expected.iter().filter(|(name, _)| self.ours.contains_key(*name))
    }

    /// What happened, and so what to do next.
    pub fn step(&mut self, event: Event) -> Action {
        if let Event::Stop(why) = &event {
            return self.stop(why);
        }
        match &event {
            Event::Barred(why) if self.is_forward() => return self.barred(&why.clone()),
            Event::Forbidden { rule, why } if self.is_forward() => {
                return self.forbidden(&rule.clone(), &why.clone());
            }
            Event::Wrote { .. } => self.touched = true,
            Event::Begin
            | Event::Recorded(_)
            | Event::Settled(_)
            | Event::Baselined(_)
            | Event::Measured(_)
            | Event::Judged(_)
            | Event::Values(_)
            | Event::Firmware { .. }
            | Event::Paused
            | Event::Intruded(_)
            | Event::Barred(_)
            | Event::Forbidden { .. }
            | Event::Stop(_) => {}
        }
        if let (Event::Intruded(moved), false) = (&event, self.is_returning()) {
            return self.intruded(moved.clone());
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Done);
        match phase {
            Phase::Restoring(restoring) => self.restore(restoring, event),
            forward => self.advance(forward, event),
        }
    }

    fn stop(&mut self, why: &str) -> Action {
        self.stopped = true;
        if !self.wrote {
            return self.refuse("stopped", why);
        }
        self.revert(why)
    }

    /// Before the first write it is a refusal like any other; after it, what was written goes back.
    fn barred(&mut self, why: &str) -> Action {
        if self.touched { self.revert(why) } else { self.refuse("in-use", why) }
    }

    /// The same for a stage that policies no longer allow.
    fn forbidden(&mut self, rule: &str, why: &str) -> Action {
        if self.wrote || self.touched { self.revert(why) } else { self.refuse(rule, why) }
    }

    fn refuse(&mut self, rule: &str, why: &str) -> Action {
        let end = self.end(RunState::Refused, why);
        self.close(Fact::Refused { rule: rule.to_owned(), why: why.to_owned() }, end)
    }

    /// Records the last fact, then finishes with `end`.
    fn close(&mut self, fact: Fact, end: End) -> Action {
        self.close_with(vec![fact], end)
    }

    fn close_with(&mut self, facts: Vec<Fact>, end: End) -> Action {
        let why = end.why.clone();
        let way = Restoring::to(Goal::Everything, why, Vec::new());
        self.phase = Phase::Restoring(Restoring { step: RestoreStep::Closing(end), ..way });
        Action::Record { facts, durable: Durable::BestEffort }
    }

    fn revert(&mut self, why: &str) -> Action {
        self.phase = self.revert_phase(why);
        Action::Record {
            facts: vec![Fact::Reverting { why: why.to_owned() }],
            durable: Durable::BestEffort,
        }
    }

    fn revert_phase(&self, why: &str) -> Phase {
        let targets = self.originals.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        Phase::Restoring(Restoring::to(Goal::Everything, why.to_owned(), targets))
    }
}
