//! Measuring for a run: settle, window, evidence, verdict, with one eye on who else writes.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use playbooks::{Name, Value, playbook::Pattern};

use super::{
    Bench, Engine, Named, Taken, Telling,
    evidence::{self, Bundle, Piece},
    hands,
};
use crate::{
    fault::{Fault, Kind, Result},
    guard,
    host::{Host, Nic},
    log::fact::Foreign,
    measure::{Meter, Sample, Window, WindowSpec},
    run::{Baseline, Event, Point, Run, Side},
    verdict::{self, Case, Criterions, Lookout, Verdict},
};

/// Looks, while time passes, for a stop and for somebody else's hand.
struct Eye<'a> {
    host: &'a dyn Host,
    nic: Nic,
    /// What we left in the keys that we wrote.
    expected: Vec<(Name, Value)>,
    stop: &'a dyn Fn() -> Option<String>,
    tell: &'a dyn Fn(&Telling),
    moved: RefCell<Vec<Foreign>>,
}

impl Eye<'_> {
    fn wants_stop(&self) -> bool {
        (self.stop)().is_some() || self.intruded()
    }

    /// The kernel's notices say that something moved; our own writes are recognised by value.
    fn intruded(&self) -> bool {
        let Ok(notices) = self.host.notices() else { return false };
        // What a device says of itself (health, reloads) is told, whether or not it moved a setting.
        for words in notices.iter().flat_map(|notice| &notice.words) {
            (self.tell)(&Telling::Note(words.clone()));
        }
        let near = |ifindex: u32| ifindex == 0 || ifindex == self.nic.ifindex;
        let hit = |name: &Name| {
            notices.iter().any(|n| near(n.ifindex) && n.families.contains(&name.family()))
        };
        let names: Vec<Name> =
            self.expected.iter().map(|(name, _)| name.clone()).filter(hit).collect();
        for (name, read) in hands::read_values(self.host, &self.nic, &names) {
            let expected = self.expected.iter().find(|(n, _)| *n == name).map(|(_, v)| v);
            if let (Ok(found), Some(expected)) = (read, expected)
                && found != *expected
            {
                let expected = expected.clone();
                self.moved.borrow_mut().push(Foreign { name, expected, found });
            }
        }
        !self.moved.borrow().is_empty()
    }

    /// What was seen counts more than what was measured meanwhile.
    fn answer(self, event: Event) -> Event {
        let moved = self.moved.into_inner();
        if moved.is_empty() { event } else { Event::Intruded(moved) }
    }
}

impl<'a> Engine<'a> {
    pub(super) fn settle(&mut self, run: &Run) -> Event {
        let eye = self.eye(run);
        let Some(bench) = &mut self.bench else { return Event::Settled(Ok(())) };
        // What was recorded so far is signed before the long wait: whoever verifies the log meanwhile finds it
        // whole. A disk that fails here may have dropped it: nothing goes on over that.
        if let Err(fault) = self.store.sync() {
            self.lost_count = true;
            return Event::Settled(Err(fault));
        }
        let limit = bench.verify.settle;
        (self.tell)(&Telling::Settling { limit_ms: limit.as_millis() as u64 });
        let stop = || eye.wants_stop();
        let mut result = bench.meter.settle(limit, &stop).map(|_| ());
        if let (Ok(()), Some(control)) = (&result, &mut bench.control) {
            let during = |fault: Fault| {
                let act = format!("settle the control: {}", fault.act);
                fault.during(act)
            };
            result = control.settle(limit, &stop).map(|_| ()).map_err(during);
        }
        eye.answer(Event::Settled(result))
    }

    pub(super) fn measure(&mut self, run: &Run, point: Point) -> Event {
        let eye = self.eye(run);
        let result = self.take_window(point, &|| eye.wants_stop());
        let answer = match point {
            Point::Baseline => Event::Baselined(result.and_then(|taken| self.keep(taken))),
            Point::Stage(_) | Point::Turn(_) => {
                Event::Measured(result.and_then(|taken| self.keep_candidate(point, taken)))
            }
        };
        eye.answer(answer)
    }

    /// Judges what was measured since the stage was written. The evidence is durable before the verdict
    /// is known to anybody.
    pub(super) fn judge(&mut self, run: &Run, stage: usize) -> Result<(Verdict, String)> {
        let host = self.host;
        let bench = bench(&mut self.bench, "judge")?;
        // Whoever drives the NIC past the kernel by now was not represented by the window.
        let holders = guard::bypass::holders(host, &run.nic);
        bench.case.blind = (!holders.is_empty()).then(|| {
            format!("the probe does not represent what bypasses the kernel: {}", holders.join("; "))
        });
        let [baseline, candidate] = std::mem::take(&mut bench.sides);
        if baseline.is_empty() || candidate.is_empty() {
            let act = format!("judge stage {}", stage + 1);
            return Err(Fault::new(Kind::Malformed, act, "a window is missing"));
        }
        let case = bench.case_of(&baseline, &candidate);
        let point = format!("stage-{}", stage + 1);
        let digest = self.put_case(&point, &case, [&baseline, &candidate])?;
        let verdict = case.judge();
        (self.tell)(&Telling::Judged { stage, verdict: Box::new(verdict.clone()) });
        Ok((verdict, digest))
    }

    fn eye(&self, run: &Run) -> Eye<'a> {
        Eye {
            host: self.host,
            nic: run.nic.clone(),
            expected: run.written().map(|(n, v)| (n.clone(), v.clone())).collect(),
            stop: self.stop,
            tell: self.tell,
            moved: RefCell::new(Vec::new()),
        }
    }

    /// Measures one point: the NIC of the run and its control, at the same times.
    fn take_window(&mut self, point: Point, stop: &dyn Fn() -> bool) -> Result<Taken> {
        let tell = self.tell;
        let bench = bench(&mut self.bench, "measure")?;
        let specs = bench.specs(point);
        let length_ms = specs.iter().map(|spec| spec.length.as_millis() as u64).sum();
        tell(&Telling::Measuring { point, length_ms });
        let mut lookout = match point {
            Point::Stage(_) => bench.lookout(),
            Point::Baseline | Point::Turn(_) => None,
        };
        let Some(control) = &mut bench.control else {
            let window = Arc::new(in_turn(bench.meter, &specs, stop, &mut lookout)?);
            return Ok(Taken { window, control: None, stored: None });
        };
        let over = AtomicBool::new(false);
        let (window, beside) = std::thread::scope(|scope| {
            let beside = scope.spawn(|| {
                in_turn(&mut **control, &specs, &|| over.load(Ordering::Relaxed), &mut None)
            });
            let window = in_turn(bench.meter, &specs, stop, &mut lookout);
            // A whole window lets the control finish its own; one cut short has no use for it.
            over.store(!matches!(&window, Ok(w) if w.cut_short.is_none()), Ordering::Relaxed);
            (window, beside.join())
        });
        let beside = beside.unwrap_or_else(|_| {
            Err(Fault::new(Kind::Io, "measure the control", "its thread ended early"))
        })?;
        let (window, control) = (Arc::new(window?), Some(Arc::new(beside)));
        Ok(Taken { window, control, stored: None })
    }

    /// The baseline must be able to serve: with no replies there is nothing to compare with.
    fn keep(&mut self, mut taken: Taken) -> Result<Baseline> {
        let stored = self.put_taken("baseline", &taken)?;
        let evidence = stored.0.samples.clone();
        taken.stored = Some(stored);
        let bench = bench(&mut self.bench, "keep the baseline")?;
        let window = &taken.window;
        let answered = window.samples.iter().filter(|s| !s.is_lost()).count();
        let unusable = match (&window.cut_short, answered) {
            (Some(why), _) => Some(format!("the baseline was cut short: {why}")),
            (None, 0) => Some("no reply came in the whole baseline window".to_owned()),
            (None, _) => None,
        };
        let goal =
            Criterions { objective: bench.case.by.objective.clone(), ..Criterions::default() };
        let meets_objective = !goal.objective.is_empty()
            && unusable.is_none()
            && verdict::judge(window, window, &goal, bench.case.seed).objective_met;
        bench.baseline = Some(taken);
        Ok(Baseline { evidence, unusable, meets_objective })
    }

    fn keep_candidate(&mut self, point: Point, taken: Taken) -> Result<()> {
        let bench = bench(&mut self.bench, "keep the window")?;
        match point {
            Point::Baseline => {}
            Point::Stage(stage) => {
                let first = bench.baseline.clone().map(|taken| ("baseline".to_owned(), taken));
                bench.sides = [Vec::from_iter(first), vec![(stage_name(stage), taken)]];
            }
            Point::Turn(turn) => {
                let name = format!("{}-turn-{:02}", stage_name(turn.stage), turn.nth + 1);
                if turn.nth == 0 {
                    bench.sides = Default::default();
                }
                match turn.side() {
                    Side::Baseline => bench.sides[0].push((name, taken)),
                    Side::Candidate => bench.sides[1].push((name, taken)),
                }
            }
        }
        Ok(())
    }

    /// Stores all windows of a case that are not stored yet, and the bundle that names them.
    fn put_case(&self, point: &str, case: &Case, sides: [&[Named]; 2]) -> Result<String> {
        let mut pieces: [Vec<Piece>; 2] = Default::default();
        let mut beside: [Vec<Piece>; 2] = Default::default();
        for (nth, side) in sides.into_iter().enumerate() {
            for (name, taken) in side {
                let (piece, control) = self.put_taken(name, taken)?;
                pieces[nth].push(piece);
                beside[nth].extend(control);
            }
        }
        let control = case.control.is_some().then_some(beside);
        let bundle = Bundle::of(case, pieces, control);
        evidence::put_bundle(self.store, &self.id, point, &bundle)
    }

    fn put_taken(&self, name: &str, taken: &Taken) -> Result<(Piece, Option<Piece>)> {
        if let Some(stored) = &taken.stored {
            return Ok(stored.clone());
        }
        let put =
            |name: &str, window: &Window| evidence::put_window(self.store, &self.id, name, window);
        let control = taken.control.as_ref().map(|w| put(&format!("{name}-control"), w));
        Ok((put(name, &taken.window)?, control.transpose()?))
    }
}

impl Bench<'_> {
    /// What to measure at a point: a window a pattern, of equal length, together as long as the playbook
    /// says; a turn is a part of that.
    fn specs(&self, point: Point) -> Vec<WindowSpec> {
        let verify = &self.verify;
        let length = match point {
            Point::Baseline | Point::Stage(_) => verify.window,
            Point::Turn(turn) => verify.window / u32::try_from(turn.pairs).unwrap_or(1).max(1),
        };
        let share = length / u32::try_from(self.case.parts).unwrap_or(1).max(1);
        let patterns = match verify.patterns.as_slice() {
            [] => vec![Pattern::Calm],
            some => some.to_vec(),
        };
        let spec = |pattern| WindowSpec {
            transport: verify.transport,
            length: share,
            rate: verify.rate,
            payload: verify.payload,
            pattern,
            flows: self.flows,
        };
        patterns.into_iter().map(spec).collect()
    }

    /// Sees regressions while a stage's window runs.
    fn lookout(&self) -> Option<Lookout> {
        let first = self.baseline.as_ref()?;
        let baseline = vec![first.window.clone()];
        let control = first.control.clone().map(|window| [vec![window], Vec::new()]);
        Case { baseline, control, ..self.case.clone() }.lookout()
    }

    fn case_of(&self, baseline: &[Named], candidate: &[Named]) -> Case {
        let windows = |side: &[Named]| side.iter().map(|(_, t)| t.window.clone()).collect();
        let beside =
            |side: &[Named]| side.iter().map(|(_, t)| t.control.clone()).collect::<Option<_>>();
        let control = beside(baseline).zip(beside(candidate)).map(|(b, c)| [b, c]);
        let (baseline, candidate) = (windows(baseline), windows(candidate));
        Case { baseline, candidate, control, ..self.case.clone() }
    }
}

fn bench<'b, 'a>(bench: &'b mut Option<Bench<'a>>, act: &str) -> Result<&'b mut Bench<'a>> {
    bench.as_mut().ok_or_else(|| Fault::new(Kind::Malformed, act, "this run has no probe"))
}

fn stage_name(stage: usize) -> String {
    format!("stage-{}", stage + 1)
}

/// Windows one after the other, as one. What a lookout calls ends them all.
fn in_turn(
    meter: &mut dyn Meter,
    specs: &[WindowSpec],
    stop: &dyn Fn() -> bool,
    lookout: &mut Option<Lookout>,
) -> Result<Window> {
    let mut whole: Option<Window> = None;
    for spec in specs {
        let offset_ns = whole.as_ref().map_or(0, |window| window.length_ns);
        let mut shifted = Vec::new();
        let part = meter.watched(spec, stop, &mut |samples| {
            let Some(lookout) = lookout else { return false };
            shifted.clear();
            let later = |s: &Sample| Sample { due_ns: s.due_ns + offset_ns, ..*s };
            shifted.extend(samples.iter().map(later));
            lookout.feed(&shifted).is_some()
        })?;
        let ended = part.cut_short.is_some();
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => whole.append(part),
        }
        if ended {
            break;
        }
    }
    whole.ok_or_else(|| Fault::new(Kind::Malformed, "measure", "no pattern to measure"))
}
