//! Drives one run: performs each action of the transaction and hands back what happened.
//!
//! The only caller of [`Family::write`](crate::setting::Family::write).

mod again;
pub mod evidence;
mod firmware;
pub mod gather;
pub(crate) mod hands;
mod window;

use std::{sync::Arc, time::Duration};

use playbooks::{playbook::Verify, vocabulary::Disruption};

use self::evidence::Piece;
use crate::{
    fault::{Fault, Kind},
    firmware::kept::Kept,
    host::{Host, Nic},
    intake,
    log::{Entry, Fact, Stamp, Who},
    measure::{Meter, Reach, Window},
    plan::Step,
    run::{Action, Durable, End, Event, Point, Run, length::Ahead},
    store::Store,
    verdict::{Case, Verdict},
};

/// How soon a pause hears that somebody wants to stop.
const PAUSE_SLICE_MS: u64 = 100;

/// What an engine works with, and what it tells while it works.
pub struct Engine<'a> {
    pub host: &'a dyn Host,
    pub store: &'a dyn Store,
    /// The run's id.
    pub id: String,
    /// The epoch under which this process took the writer's lock.
    pub epoch: u64,
    /// On whose behalf it works.
    pub who: Who,
    /// The next entry's place in the log.
    pub seq: u64,
    /// Whether `seq` is in doubt since the disk failed, and must be counted anew.
    pub lost_count: bool,
    /// Asked often: `Some(why)` when the run is to be stopped and put back.
    pub stop: &'a dyn Fn() -> Option<String>,
    /// Told of everything worth a line, as it happens.
    pub tell: &'a dyn Fn(&Telling),
    pub bench: Option<Bench<'a>>,
    /// What the ports of a device were before it was restarted, by the name of its blob.
    pub kept: Option<(String, Kept)>,
    /// A restart that the ports are not back from.
    pub outages: Option<firmware::Outages>,
    /// When the guard before a restart last let it be, CLOCK_MONOTONIC.
    pub guarded_ns: Option<u64>,
    /// Why the policies refused it last.
    pub refused: Option<String>,
    /// Pings whom the run has no probe for.
    pub reach: &'a dyn Reach,
    /// The reflector of the run.
    pub peer: Option<String>,
    /// The file of the image that is placed for the kernel.
    pub placed: Option<String>,
}

/// What is needed to measure and judge; a run that only goes back needs none.
pub struct Bench<'a> {
    pub meter: &'a mut dyn Meter,
    /// Measures the untouched NIC at the same times.
    pub control: Option<&'a mut dyn Meter>,
    pub gate: &'a dyn Gate,
    pub verify: Verify,
    pub flows: u16,
    /// Criteria, seed and what else is known beforehand; its windows come as they are measured.
    pub case: Case,
    /// What the run began with: everything is compared with it, but turns with their own.
    pub baseline: Option<Taken>,
    /// What was measured since the stage was written, baseline and candidate, by name.
    pub sides: [Vec<Named>; 2],
}

/// What came of asking the policies again: the decisions, for the log, and the rule that refuses with its reason,
/// where one does.
pub type Again = (Vec<Fact>, Option<(String, String)>);

/// Asked on the way forward, right before what traffic feels.
pub trait Gate {
    /// Why a step that is felt so may not be made, if so.
    fn bars(&self, nic: &Nic, disruption: Disruption) -> Option<String>;

    /// Whether the policies still allow the run right before a device restarts: their decisions, for the log,
    /// and why not, if so.
    ///
    /// # Errors
    /// What they go by cannot be read.
    fn permits(&self) -> Result<(Vec<Fact>, Option<String>), Fault>;

    /// The same before a stage begins to write: a baseline takes minutes. The rule that refuses, and why.
    ///
    /// # Errors
    /// What they go by cannot be read.
    fn permits_stage(&self, ahead: Ahead) -> Result<Again, Fault>;
}

/// A window, as measured and as stored, with the control's.
#[derive(Debug, Clone)]
pub struct Taken {
    pub window: Arc<Window>,
    pub control: Option<Arc<Window>>,
    /// What names them on disk, once they are there.
    pub stored: Option<(Piece, Option<Piece>)>,
}

/// A window and the name it is stored under.
pub type Named = (String, Taken);

/// What an engine says while it works. The CLI prints it, the API streams it.
#[derive(Debug, Clone)]
pub enum Telling {
    /// A run has begun, under this id.
    Begun {
        run: String,
    },
    Settling {
        limit_ms: u64,
    },
    Measuring {
        point: Point,
        length_ms: u64,
    },
    Writing {
        what: String,
    },
    /// A flash or a restart of the device, and how far it is.
    Flashing {
        what: String,
    },
    /// A committed run is being watched.
    Watching {
        what: String,
    },
    Judged {
        stage: usize,
        verdict: Box<Verdict>,
    },
    Returning {
        why: String,
    },
    Note(String),
}

impl Engine<'_> {
    /// Drives `run` from `event` to its end. Bounded: every loop of the transaction is.
    pub fn drive(&mut self, run: &mut Run, event: Event) -> End {
        // Subscribe before the first read, so that no change falls between.
        let _ = self.host.notices();
        let mut event = event;
        loop {
            // A wait that was cut short because somebody wants to stop has nothing else to say.
            let mut action = match self.wanted_stop(run) {
                Some(why) if is_of_waiting(&event) => run.step(Event::Stop(why)),
                Some(_) | None => run.step(event),
            };
            if let Some(why) = self.wanted_stop(run) {
                action = run.step(Event::Stop(why));
            }
            if let Some(forbidden) = self.asked_again(run, &action) {
                event = forbidden;
                continue;
            }
            event = match action {
                Action::Finish(end) => {
                    // The last facts, made durable if the disk still can.
                    let _ = self.store.sync();
                    self.take_up();
                    let _ = self.store.seal();
                    return end;
                }
                Action::Record { facts, durable } => Event::Recorded(self.record(facts, durable)),
                Action::Settle => self.settle(run),
                Action::Measure(point) => self.measure(run, point),
                Action::Judge(stage) => Event::Judged(self.judge(run, stage)),
                Action::Write(step) => match self.barred(run, &step) {
                    Some(why) => Event::Barred(why),
                    None => self.write(run, &step),
                },
                Action::Firmware(order) => self.firmware(run, &order),
                Action::Read(names) => Event::Values(self.read(run, &names)),
                Action::Pause { ms } => {
                    self.pause(run, ms);
                    Event::Paused
                }
            };
        }
    }

    /// On the way back nobody ends it.
    fn pause(&self, run: &Run, ms: u64) {
        let slice = if run.is_forward() { PAUSE_SLICE_MS } else { ms };
        let mut left = ms;
        while left > 0 && self.wanted_stop(run).is_none() {
            let next = left.min(slice);
            self.host.wait(Duration::from_millis(next));
            left -= next;
        }
    }

    fn wanted_stop(&self, run: &Run) -> Option<String> {
        if run.is_returning() { None } else { (self.stop)() }
    }

    /// Nobody is asked on the way back: reverting stops for nobody.
    fn barred(&self, run: &Run, step: &Step) -> Option<String> {
        let bench = self.bench.as_ref().filter(|_| run.is_forward())?;
        bench.gate.bars(&run.nic, step.disruption)
    }

    /// Appends facts as entries of this run.
    pub fn record(&mut self, facts: Vec<Fact>, durable: Durable) -> Result<(), Fault> {
        self.in_office(durable)?;
        // On the way back nothing waits for a disk.
        if durable == Durable::Yes {
            self.take_up();
        }
        if self.lost_count {
            self.seq = self.store.length()?;
            self.lost_count = false;
        }
        let mut entries = Vec::with_capacity(facts.len());
        let stamp = stamp(self.host, self.epoch, &self.who);
        for (seq, fact) in (self.seq..).zip(facts) {
            if let Fact::Reverting { why } = &fact {
                (self.tell)(&Telling::Returning { why: why.clone() });
            }
            entries.push(Entry::new(seq, &stamp, Some(&self.id), fact).encode()?);
        }
        // What a failed append or sync left in the log only the log knows.
        self.lost_count = true;
        self.store.append(&entries)?;
        if durable == Durable::Yes {
            self.store.sync()?;
        }
        self.seq += entries.len() as u64;
        self.lost_count = false;
        Ok(())
    }

    /// Enters what others did meanwhile. A disk that fails here fails our own entry, too, and says so then.
    fn take_up(&mut self) {
        let taken = intake::take_up(self.host, self.store, (self.epoch, &self.who));
        let note = |words: String| (self.tell)(&Telling::Note(words));
        match taken {
            Ok(taken) if taken.is_nothing() => return,
            Ok(taken) => {
                taken.entered.iter().for_each(|deed| note(format!("{deed}: in the log")));
                taken.refused.into_iter().for_each(|why| note(format!("refused: {why}")));
            }
            Err(fault) => note(format!("what others did is not in the log yet: {fault}")),
        }
        self.lost_count = true;
    }

    /// A writer that has been replaced writes no more into the log than to the machine: whoever took over
    /// has decided about the run. Where the epoch cannot be read, what must be durable is not said.
    fn in_office(&self, durable: Durable) -> Result<(), Fault> {
        match (self.store.epoch(), durable) {
            (Ok(epoch), _) if epoch == self.epoch => Ok(()),
            (Ok(epoch), _) => Err(self.replaced(epoch)),
            (Err(_), Durable::BestEffort) => Ok(()),
            (Err(fault), Durable::Yes) => Err(fault),
        }
    }

    pub(crate) fn replaced(&self, by: u64) -> Fault {
        let cause = format!("epoch {by} has taken over from {}", self.epoch);
        Fault::new(Kind::Denied, format!("write for run {}", self.id), cause)
    }
}

/// Whether this answers an action that only waits or measures.
fn is_of_waiting(event: &Event) -> bool {
    match event {
        Event::Settled(_) | Event::Baselined(_) | Event::Measured(_) => true,
        Event::Begin
        | Event::Recorded(_)
        | Event::Judged(_)
        | Event::Wrote { .. }
        | Event::Values(_)
        | Event::Firmware { .. }
        | Event::Paused
        | Event::Intruded(_)
        | Event::Barred(_)
        | Event::Forbidden { .. }
        | Event::Stop(_) => false,
    }
}

/// By whom, where, when and by which clock an entry is made now.
pub fn stamp(host: &dyn Host, epoch: u64, who: &Who) -> Stamp {
    let bearings = host.bearings();
    Stamp { at: host.now(), epoch, who: who.clone(), host: bearings.host, clock: bearings.clock }
}
