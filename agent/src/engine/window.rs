//! Measuring for a run: settle, window, evidence, verdict, with one eye on who else writes.

use std::cell::RefCell;

use playbooks::{Name, Value, playbook::Pattern};
use sha2::{Digest, Sha256};

use super::{Bench, Engine, Telling, hands};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic},
    log::fact::Foreign,
    measure::{Window, WindowSpec, evidence},
    run::{Baseline, Event, Point, Run},
    verdict::{self, Criterions, Verdict},
};

/// Looks, while time passes, for a stop and for somebody else's hand.
struct Eye<'a> {
    host: &'a dyn Host,
    nic: Nic,
    /// What we left in the keys that we wrote.
    expected: Vec<(Name, Value)>,
    stop: &'a dyn Fn() -> Option<String>,
    moved: RefCell<Vec<Foreign>>,
}

impl Eye<'_> {
    fn wants_stop(&self) -> bool {
        (self.stop)().is_some() || self.intruded()
    }

    /// The kernel's notices say that something moved; our own writes are recognised by value.
    fn intruded(&self) -> bool {
        let Ok(notices) = self.host.notices() else { return false };
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
        let limit = bench.verify.settle;
        (self.tell)(&Telling::Settling { limit_ms: limit.as_millis() as u64 });
        let result = bench.meter.settle(limit, &|| eye.wants_stop()).map(|_| ());
        eye.answer(Event::Settled(result))
    }

    pub(super) fn measure(&mut self, run: &Run, point: Point) -> Event {
        let eye = self.eye(run);
        let result = self.measure_patterns(point, &|| eye.wants_stop());
        let answer = match point {
            Point::Baseline => Event::Baselined(result.and_then(|window| self.keep(window))),
            Point::Stage(stage) => {
                Event::Measured(result.and_then(|window| self.keep_candidate(stage, window)))
            }
        };
        eye.answer(answer)
    }

    pub(super) fn judge(&mut self, stage: usize) -> Result<(Verdict, String)> {
        let act = || format!("judge stage {}", stage + 1);
        let Some(Bench { baseline: Some(baseline), candidate: Some(candidate), by, seed, .. }) =
            &self.bench
        else {
            return Err(Fault::new(Kind::Malformed, act(), "a window is missing"));
        };
        let verdict = verdict::judge(baseline, candidate, by, *seed);
        let digest = digest(&evidence::write(&candidate.samples));
        (self.tell)(&Telling::Judged { stage, verdict: Box::new(verdict.clone()) });
        Ok((verdict, digest))
    }

    fn eye(&self, run: &Run) -> Eye<'a> {
        Eye {
            host: self.host,
            nic: run.nic.clone(),
            expected: run.written().map(|(n, v)| (n.clone(), v.clone())).collect(),
            stop: self.stop,
            moved: RefCell::new(Vec::new()),
        }
    }

    /// One window a pattern, of equal length, together as long as the playbook says.
    fn measure_patterns(&mut self, point: Point, stop: &dyn Fn() -> bool) -> Result<Window> {
        let tell = self.tell;
        let Some(bench) = &mut self.bench else {
            return Err(Fault::new(Kind::Malformed, "measure", "this run has no probe"));
        };
        let verify = bench.verify.clone();
        let length_ms = verify.window.as_millis() as u64;
        tell(&Telling::Measuring { point, length_ms });
        let patterns: Vec<Pattern> =
            if verify.patterns.is_empty() { vec![Pattern::Calm] } else { verify.patterns };
        let share = verify.window / u32::try_from(patterns.len()).unwrap_or(1);
        let mut whole: Option<Window> = None;
        for pattern in patterns {
            let spec = WindowSpec {
                transport: verify.transport,
                length: share,
                rate: verify.rate,
                payload: verify.payload,
                pattern,
                flows: bench.flows,
            };
            let part = bench.meter.window(&spec, stop)?;
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => whole.append(part),
            }
        }
        whole.ok_or_else(|| Fault::new(Kind::Malformed, "measure", "no pattern to measure"))
    }

    /// The baseline must be able to serve: with no replies there is nothing to compare with.
    fn keep(&mut self, window: Window) -> Result<Baseline> {
        let evidence = self.put_evidence("baseline", &window)?;
        let Some(bench) = &mut self.bench else {
            return Err(Fault::new(Kind::Malformed, "keep the baseline", "this run has no probe"));
        };
        let answered = window.samples.iter().filter(|s| !s.is_lost()).count();
        let unusable = match (&window.cut_short, answered) {
            (Some(why), _) => Some(format!("the baseline was cut short: {why}")),
            (None, 0) => Some("no reply came in the whole baseline window".to_owned()),
            (None, _) => None,
        };
        let goal = Criterions { objective: bench.by.objective.clone(), ..Criterions::default() };
        let meets_objective = !goal.objective.is_empty()
            && unusable.is_none()
            && verdict::judge(&window, &window, &goal, bench.seed).objective_met;
        bench.baseline = Some(window);
        Ok(Baseline { evidence, unusable, meets_objective })
    }

    fn keep_candidate(&mut self, stage: usize, window: Window) -> Result<()> {
        self.put_evidence(&format!("stage-{}", stage + 1), &window)?;
        if let Some(bench) = &mut self.bench {
            bench.candidate = Some(window);
        }
        Ok(())
    }

    /// The samples as text and the rest as JSON, durable before anything is decided by them.
    fn put_evidence(&self, point: &str, window: &Window) -> Result<String> {
        let samples = evidence::write(&window.samples);
        let folder = format!("runs/{}", self.id);
        self.store.put(&format!("{folder}/{point}.samples"), &samples)?;
        let json = serde_json::to_vec_pretty(window)
            .map_err(|e| Fault::new(Kind::Malformed, "store the window", e.to_string()))?;
        self.store.put(&format!("{folder}/{point}.json"), &json)?;
        Ok(digest(&samples))
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
