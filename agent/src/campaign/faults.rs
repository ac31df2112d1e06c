//! Faults on purpose: laid, measured, lifted, and measured again until the path has recovered.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use playbooks::{
    Name, Playbook, Value, Wanted,
    playbook::{AppliesTo, Pattern, Stage},
};

use super::{Trial, Trouble, judge, stuck};
use crate::{
    engine::hands,
    fault::{Fault, Kind, Result as Faulty},
    host::{Burden, Nic},
    log::{Fact, RunState, after::Tried},
    measure::{Each, Meter, Window, WindowSpec},
    runs::{self, Apply, Declined, Desk, Exit, Meters, Outcome},
    settings::cpus::Cpus,
    verdict::Call,
};

/// How often the path is measured after a fault before it counts as not recovered; each time longer.
const TRIES: u32 = 3;
/// The ring of a NIC that does not tell.
const RING: u64 = 1024;
/// What a window of bursts may last, and send a second at most.
const BURSTS_MAX: Duration = Duration::from_secs(1);
const RATE_MAX: u64 = 1_000_000;
/// Microbursts come a hundred times a second (`measure::schedule`).
const BURSTS_A_SECOND: u64 = 100;
/// The baseline that a run must have, though a fault needs none.
const BRIEF: Duration = Duration::from_secs(1);

/// What came of laying a fault.
enum Laid {
    /// It could not be laid here, for this reason.
    Not(String),
    /// What was measured under it, and what the kernel said of it.
    Felt(Box<Window>, String),
}

impl Trial<'_> {
    /// One fault from beginning to end. An error means that something of it is still there.
    pub(super) fn fault(
        &mut self,
        fault: Trouble,
        reference: &Arc<Window>,
    ) -> Result<Tried, Declined> {
        let item = fault.word().to_owned();
        self.telling(&format!("fault: {item}, {:.1} s", self.unit.as_secs_f64()));
        let laid = match fault {
            Trouble::Memory => {
                let group = format!("nicmend-{}-{}", self.terms.run.id, self.number);
                let bytes = self.order.memory_bytes;
                self.burdened(&item, &Burden::Memory { group, bytes })?
            }
            Trouble::Cpu => match self.online() {
                Ok(cpus) => self.burdened(&item, &Burden::Cpu { processes: cpus.len() })?,
                Err(fault) => Laid::Not(fault.to_string()),
            },
            Trouble::Irq => self.moved()?,
            Trouble::Burst => self.overrun(),
        };
        let (window, felt) = match laid {
            Laid::Not(why) => {
                return Ok(Tried { item, call: None, why, during: None, evidence: None });
            }
            Laid::Felt(window, felt) => (window, felt),
        };
        let (call, bounds) = judge::absolutely(self.terms, &window);
        let during = format!(
            "{felt}: {}; absolute bounds {}: {bounds}",
            judge::figures(&window),
            judge::said(call)
        );
        Ok(self.recovered(item, during, reference))
    }

    /// The fault is over: is the path as it was?
    fn recovered(&mut self, item: String, during: String, reference: &Arc<Window>) -> Tried {
        let mut answer = (Call::Inconclusive, "not measured".to_owned(), None);
        for attempt in 1..=TRIES {
            let measured =
                self.settle().and_then(|()| self.window(self.unit * attempt, Pattern::Calm));
            let window = match measured {
                Ok(window) => Arc::new(window),
                Err(fault) => {
                    answer = (Call::Inconclusive, fault.to_string(), None);
                    continue;
                }
            };
            let case = self.case(reference, &window);
            let verdict = case.judge();
            let evidence = self.keep(&self.point(&item), &self.point("reference"), &case);
            answer = (verdict.verdict, verdict.why, evidence);
            if answer.0 == Call::Keep {
                let times = if attempt == 1 { "" } else { ", not at once" };
                answer.1 = format!("recovered{times}: {} ({})", answer.1, judge::figures(&window));
                break;
            }
        }
        let (call, why, evidence) = answer;
        let why = match call {
            Call::Keep => why,
            Call::Revert => format!("did not recover: {why}"),
            Call::Inconclusive => format!("not shown to have recovered: {why}"),
        };
        Tried { item, call: Some(call), why, during: Some(during), evidence }
    }

    /// Processes of our own. What they would leave is in the log before they are there.
    fn burdened(&mut self, item: &str, burden: &Burden) -> Result<Laid, Declined> {
        let (host, number) = (self.desk.host, self.number);
        let leaves = match host.leaves(burden) {
            Ok(leaves) => leaves,
            Err(fault) => return Ok(Laid::Not(fault.cause)),
        };
        let say = |fact: Fact| -> Faulty<()> {
            self.desk.say(Some(&self.terms.run.id), vec![fact])?;
            self.desk.store.sync()
        };
        say(Fact::Burdened { campaign: number, item: item.to_owned(), leaves: leaves.clone() })?;
        let gone = Fact::Unburdened { campaign: number, leaves };
        let laid = match host.burden(burden) {
            Ok(laid) => laid,
            Err(fault) => {
                say(gone)?;
                return Ok(Laid::Not(fault.to_string()));
            }
        };
        let measured = {
            let spec = self.terms.spec(self.unit, self.terms.playbook.verify.rate, Pattern::Calm);
            let stop = self.desk.stop;
            self.meter.window(&spec, &|| stop().is_some())
        };
        let felt = laid.felt();
        laid.lift().map_err(|fault| {
            let why = format!("{fault}; `nicmend recover` tries again");
            Declined::new(Exit::Stuck, "burden", why)
        })?;
        self.desk.say(Some(&self.terms.run.id), vec![gone])?;
        self.desk.store.sync()?;
        Ok(match (measured, felt) {
            (Ok(window), Ok(felt)) => Laid::Felt(Box::new(window), felt),
            (Err(fault), _) | (Ok(_), Err(fault)) => Laid::Not(fault.to_string()),
        })
    }

    /// Every interrupt to the CPU after its own, by a run that goes back when it was measured.
    fn moved(&mut self) -> Result<Laid, Declined> {
        let playbook = match self.nic().and_then(|nic| self.elsewhere(&nic)) {
            Ok(playbook) => playbook,
            Err(fault) => return Ok(Laid::Not(fault.cause)),
        };
        let desk = self.desk;
        let over = AtomicBool::new(false);
        let why =
            format!("the fault of campaign {} of run {} is over", self.number, self.terms.run.id);
        let stop = || match over.load(Ordering::Relaxed) {
            true => Some(why.clone()),
            false => (desk.stop)(),
        };
        let (host, store, epoch, uid) = (desk.host, desk.store, desk.epoch, desk.uid);
        let own = Desk {
            host,
            store,
            epoch,
            uid,
            law: desk.law,
            stop: &stop,
            tell: desk.tell,
            reach: desk.reach,
        };
        let request = Apply {
            force: true,
            ..Apply::plain(
                playbook,
                &self.nic().map(|nic| nic.name)?,
                Some(self.order.peer.clone()),
            )
        };
        let mut hold = Hold { inner: &mut *self.meter, windows: 0, during: None, over: &over };
        let record = match runs::apply(&own, &request, Meters::alone(&mut hold)) {
            Ok(Outcome::Ran(record)) => record,
            Ok(Outcome::AlreadyRight(_)) => return Ok(Laid::Not("they are there already".into())),
            Err(declined) => return Ok(Laid::Not(declined.why)),
        };
        if let Some(declined) = stuck(&record) {
            return Err(declined);
        }
        Ok(match (hold.during, record.state) {
            (Some(window), RunState::Reverted) => Laid::Felt(
                Box::new(window),
                format!("interrupts moved and put back by run {}", record.id),
            ),
            (_, RunState::Reverted | RunState::Refused | RunState::Committed)
            | (_, RunState::Running | RunState::Stuck) => Laid::Not(record.why),
        })
    }

    /// Bursts longer than the ring, at the run's own packet size.
    fn overrun(&mut self) -> Laid {
        let ring = self.nic().ok().and_then(|nic| {
            let names = [Name::try_from("ring.rx").ok()?];
            let (_, read) = hands::read_values(self.desk.host, &nic, &names).pop()?;
            read.ok()?.as_number()
        });
        let known = match ring {
            Some(ring) => format!("a ring of {ring}"),
            None => format!("an unknown ring, taken as {RING}"),
        };
        let ring = ring.unwrap_or(RING).max(1);
        let rate = (ring + ring / 4 + 1).saturating_mul(BURSTS_A_SECOND).min(RATE_MAX);
        let burst = rate / BURSTS_A_SECOND;
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        let spec = self.terms.spec(self.unit.min(BURSTS_MAX), rate, Pattern::Microburst);
        let stop = self.desk.stop;
        match self.meter.window(&spec, &|| stop().is_some()) {
            Ok(window) => {
                Laid::Felt(Box::new(window), format!("bursts of {burst} packets on {known}"))
            }
            Err(fault) => Laid::Not(fault.to_string()),
        }
    }

    /// A playbook that moves each of the NIC's interrupts to the next CPU.
    fn elsewhere(&self, nic: &Nic) -> Faulty<Playbook> {
        let act = "move interrupts";
        let name = Name::try_from("irq.affinity")
            .map_err(|why| Fault::new(Kind::Invalid, act, why.to_string()))?;
        let read = hands::read_values(self.desk.host, nic, std::slice::from_ref(&name)).pop();
        let value = read.map_or(Err(Fault::new(Kind::Malformed, act, "no answer")), |(_, v)| v)?;
        let Value::Texts(lists) = value else {
            return Err(Fault::new(Kind::Malformed, act, "not a list a queue"));
        };
        let online = self.online()?;
        if online.len() < 2 {
            return Err(Fault::new(Kind::Unsupported, act, "there is only one CPU"));
        }
        let next = |list: &String| -> Faulty<String> {
            let first = Cpus::from_list(list)?.first();
            let after = online.iter().find(|cpu| Some(**cpu) > first);
            Ok(after.or(online.first()).map(u32::to_string).unwrap_or_default())
        };
        let moved = lists.iter().map(next).collect::<Faulty<Vec<String>>>()?;
        let settings = vec![(name, Wanted::Exactly(Value::Texts(moved)))];
        let stage = Stage { name: "elsewhere".to_owned(), settings, firmware: None };
        let mut verify = self.terms.playbook.verify.clone();
        verify.window = self.unit;
        verify.patterns = vec![Pattern::Calm];
        (verify.interleave, verify.control) = (false, None);
        Ok(Playbook {
            name: "campaign-irq".to_owned(),
            summary: "A fault on purpose: interrupts on other CPUs; put back when measured"
                .to_owned(),
            references: Vec::new(),
            applies_to: AppliesTo::default(),
            stages: vec![stage],
            objective: Default::default(),
            guardrails: Default::default(),
            probation: None,
            verify,
            ..self.terms.playbook.clone()
        })
    }

    fn online(&self) -> Faulty<Vec<u32>> {
        let text = self.desk.host.read(Path::new("/sys/devices/system/cpu/online"))?;
        Ok(Cpus::from_list(&text)?.iter().collect())
    }

    fn nic(&self) -> Faulty<Nic> {
        let run = &self.terms.run;
        hands::by_id(self.desk.host, &run.nic).ok_or_else(|| {
            Fault::new(Kind::Gone, format!("find {} of run {}", run.nic, run.id), "it is not here")
        })
    }
}

/// The meter of a run that is a fault: its baseline is brief, and once its stage was measured the
/// fault is over.
struct Hold<'m> {
    inner: &'m mut dyn Meter,
    windows: u32,
    during: Option<Window>,
    over: &'m AtomicBool,
}

impl Meter for Hold<'_> {
    fn settle(&mut self, limit: Duration, stop: &dyn Fn() -> bool) -> Faulty<Duration> {
        self.inner.settle(limit, stop)
    }

    /// Nobody calls it early: how bad it gets is what is measured.
    fn watched(
        &mut self,
        spec: &WindowSpec,
        stop: &dyn Fn() -> bool,
        _each: Each<'_>,
    ) -> Faulty<Window> {
        self.windows += 1;
        if self.windows == 1 {
            let spec = WindowSpec { length: spec.length.min(BRIEF), ..spec.clone() };
            return self.inner.window(&spec, stop);
        }
        let window = self.inner.window(spec, stop)?;
        self.during = Some(window.clone());
        self.over.store(true, Ordering::Relaxed);
        Ok(window)
    }
}
