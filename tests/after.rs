//! What comes after a commit, in virtual time on a simulated machine: days of probation, and a campaign
//! that is killed at every so manieth call.

#![allow(clippy::disallowed_methods)] // a test may print how long it took

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use agent::{
    campaign::{self, Trouble},
    engine::Telling,
    fault::{Fault, Kind, Result},
    host::{
        Host,
        sim::{Act, Blow, Crash, Injection, Machine, Moment, Sim, SimMeter},
    },
    law::Law,
    log::{
        History, RunRecord, RunState,
        after::{Ending, Finding},
    },
    measure::{Each, Meter, Sample, Window, WindowSpec},
    probation::{self, Order, Outcome, Post, Terms},
    rehearsal::hush_injected_crashes,
    runs::{self, Apply, Declined, Desk, Exit, Meters},
    store::{Store, sim::SimStore},
    verdict::Call,
};
use playbooks::{Playbook, playbook::Pattern};

/// An ice port whose interrupts come late: mended by the playbook, from 45 us to 20 us.
const MACHINE: &str = include_str!("fail_every_step/machine.yaml");
const PLAYBOOK: &str = "apiVersion: nicmend/v1\nkind: Playbook\n\
     metadata: { name: after, version: 1.0.0, summary: Interrupts at once }\n\
     stages:\n  - name: all\n    settings: { coalesce.adaptive-rx: false, coalesce.rx-usecs: 0 }\n\
     guardrails: { latency.p50: { no-worse-than: 5% }, latency.p99: { no-worse-than: 5% }, \
     drops: { at-most: 0 } }\n\
     verify: { transport: udp, settle: 5s, window: 20s, rate: 1000, payload: 64 }\n\
     probation: { for: 48h, rate: 10 }\n";

const HOUR: u64 = 3_600_000_000_000;

/// What the weather does to a packet sent at this time (since the first), at this rate.
type Sky = Box<dyn Fn(u64, u32, u64) -> u64 + Send>;

/// The simulated machine's probe, under a sky of the test's own.
struct Weather {
    inner: SimMeter,
    sim: Arc<Sim>,
    began_ns: u64,
    sky: Sky,
    /// From when on nothing comes back.
    dead_from: u64,
}

impl Weather {
    fn now(&self) -> u64 {
        self.sim.now().mono_ns - self.began_ns
    }
}

impl Meter for Weather {
    fn settle(&mut self, limit: Duration, stop: &dyn Fn() -> bool) -> Result<Duration> {
        if self.now() >= self.dead_from {
            self.sim.wait(limit);
            return Err(Fault::new(Kind::Gone, "wait for replies", "none"));
        }
        self.inner.settle(limit, stop)
    }

    fn watched(
        &mut self,
        spec: &WindowSpec,
        stop: &dyn Fn() -> bool,
        each: Each<'_>,
    ) -> Result<Window> {
        let (began, dead_from, sky) = (self.now(), self.dead_from, &self.sky);
        let under = |sample: &Sample| {
            let at = began + sample.due_ns;
            let latency_ns = match (at >= dead_from, sample.is_lost()) {
                (false, false) => sky(at, spec.rate, sample.latency_ns),
                (true, _) | (_, true) => Sample::LOST,
            };
            Sample { latency_ns, ..*sample }
        };
        let mut window = self.inner.watched(spec, stop, &mut |samples| {
            let samples: Vec<Sample> = samples.iter().map(under).collect();
            each(&samples)
        })?;
        window.samples.iter_mut().for_each(|sample| *sample = under(sample));
        Ok(window)
    }
}

/// A simulated host with its disk.
struct Place {
    sim: Arc<Sim>,
    store: SimStore,
}

impl Place {
    /// With the playbook's run committed.
    fn committed() -> Place {
        let machine: Machine = serde_saphyr::from_str(MACHINE).expect("a machine");
        let place = Place { sim: Arc::new(Sim::new(machine)), store: SimStore::new(1) };
        let mut meter = SimMeter::new(Arc::clone(&place.sim), "eth1", 7);
        let request = Apply::plain(playbook(), "eth1", Some("192.0.2.2:862".to_owned()));
        place
            .at_desk(|desk| runs::apply(desk, &request, Meters::alone(&mut meter)).map(drop))
            .expect("it commits");
        assert_eq!(place.record().state, RunState::Committed, "{}", place.record().why);
        place
    }

    fn at_desk<T>(&self, act: impl FnOnce(&Desk) -> Result<T, Declined>) -> Result<T, Declined> {
        let epoch = self.store.take_epoch()?;
        let (host, store): (&dyn Host, &dyn Store) = (&*self.sim, &self.store);
        let law = Law::shipped(0);
        act(&Desk {
            host,
            store,
            epoch,
            uid: 0,
            law: &law,
            stop: &|| None,
            tell: &|_| (),
            reach: &agent::measure::Nowhere,
        })
    }

    /// The first run, as the log tells it.
    fn record(&self) -> RunRecord {
        let history = History::fold(&self.store.entries().expect("a log")).expect("a whole log");
        history.runs[0].clone()
    }

    fn terms(&self) -> Terms {
        let history = History::fold(&self.store.entries().expect("a log")).expect("a whole log");
        Terms::read(&self.store, &history, &history.runs[0].id).expect("terms")
    }

    fn weather(&self, sky: Sky, dead_from: u64) -> Weather {
        let (sim, began_ns) = (Arc::clone(&self.sim), self.sim.now().mono_ns);
        let inner = SimMeter::new(Arc::clone(&sim), "eth1", 11);
        Weather { inner, sim, began_ns, sky, dead_from }
    }

    fn watch(&self, hours: u64, weather: &mut dyn Meter) -> Outcome {
        let terms = self.terms();
        let length = Duration::from_secs(hours * 3600);
        let order = Order { length, rate: 10, peer: "192.0.2.2:862".to_owned() };
        let claim = |_: Duration, act: &mut dyn FnMut(&Desk) -> Result<(), Declined>| {
            self.at_desk(|desk| act(desk))
        };
        let tell = |_: &Telling| ();
        let (host, store): (&dyn Host, &dyn Store) = (&*self.sim, &self.store);
        let post = Post { host, store, claim: &claim, stop: &|| None, tell: &tell };
        probation::watch(&post, &terms, &order, weather).expect("an outcome")
    }
}

fn playbook() -> Playbook {
    playbooks::parse::parse(PLAYBOOK.as_bytes()).unwrap_or_else(|p| panic!("{p:?}"))
}

fn clear() -> Sky {
    Box::new(|_, _, ns| ns)
}

#[test]
fn two_quiet_days_hold() {
    let place = Place::committed();
    let before = place.sim.machine();
    // A storm of two seconds every hour, and single packets between that are late.
    let sky: Sky = Box::new(|at, _, ns| if at % HOUR < 2_000_000_000 { ns * 50 } else { ns });
    let outcome = place.watch(48, &mut place.weather(sky, u64::MAX));
    assert_eq!(outcome.ending, Ending::Held, "{}", outcome.why);
    assert_eq!(outcome.exit, Exit::Done);
    let probation = place.record().probation.expect("a probation");
    assert!(probation.watched_ns >= 48 * HOUR - 1_000_000_000, "{probation:?}");
    // Ten a second steadily, and about as many in checks.
    assert!((3_000_000..4_000_000).contains(&probation.samples), "{}", probation.samples);
    assert_eq!(place.sim.machine(), before);
}

#[test]
fn what_the_change_has_won_may_be_lost_again() {
    let place = Place::committed();
    // Still far better than the 45 us before the change.
    let sky: Sky = Box::new(|at, _, ns| if at > 2 * HOUR { ns + 8_000 } else { ns });
    let outcome = place.watch(12, &mut place.weather(sky, u64::MAX));
    assert_eq!(outcome.ending, Ending::Held, "{}", outcome.why);
}

#[test]
fn a_regression_of_sparse_packets_is_seen_between_checks() {
    let place = Place::committed();
    // Only packets far apart suffer, as with CPUs that fall asleep: no check would show it.
    let slow = |rate: u32, at: u64| rate == 10 && at > 5 * HOUR;
    let sky: Sky = Box::new(move |at, rate, ns| if slow(rate, at) { ns + 90_000 } else { ns });
    let outcome = place.watch(48, &mut place.weather(sky, u64::MAX));
    assert_eq!((outcome.ending, outcome.exit), (Ending::Regressed, Exit::Reverted));
    let record = place.record();
    assert_eq!(record.state, RunState::Reverted);
    assert!(record.why.starts_with("probation: latency.p"), "{}", record.why);
    let probation = record.probation.expect("a probation");
    let late = probation.watched_ns - 5 * HOUR;
    assert!(late < HOUR / 30, "seen {} s late", late / 1_000_000_000);
    // At the run's own rate everything is as it was before the change.
    let aftermath = probation.aftermath.expect("measured after the revert");
    assert_eq!(aftermath.finding, Finding::Gone, "{}", aftermath.why);
}

#[test]
fn silence_and_other_hands_revert_nothing() {
    let place = Place::committed();
    let before = place.sim.machine();
    let outcome = place.watch(48, &mut place.weather(clear(), 3 * HOUR));
    assert_eq!((outcome.ending, outcome.exit), (Ending::Inconclusive, Exit::Failed));
    let watched = place.record().probation.expect("a probation").watched_ns;
    assert!((3 * HOUR - 5_000_000_000..=3 * HOUR).contains(&watched), "{watched}");
    assert_eq!(place.sim.machine(), before);
    // The rest of it, until somebody changes what was committed.
    let mut weather = place.weather(clear(), u64::MAX);
    let sim = Arc::clone(&place.sim);
    weather.sky = Box::new(move |at, _, ns| {
        let touched = sim.value("eth1", "coalesce.rx-usecs").map(|v| v.to_string());
        if at > HOUR && touched.as_deref() == Some("0") {
            let setting = "coalesce.rx-usecs".to_owned();
            sim.foreign(&Act::Set {
                nic: "eth1".to_owned(),
                setting,
                value: playbooks::Value::Number(3),
            });
        }
        ns
    });
    let outcome = place.watch(48, &mut weather);
    assert_eq!(
        (outcome.ending, outcome.exit),
        (Ending::Overtaken, Exit::Failed),
        "{}",
        outcome.why
    );
    assert!(outcome.why.contains("coalesce.rx-usecs was left at 0, and is 3"), "{}", outcome.why);
    let record = place.record();
    assert_eq!(record.state, RunState::Committed);
    assert!(record.probation.expect("a probation").watched_ns > 4 * HOUR - 60_000_000_000);
}

fn order() -> campaign::Order {
    campaign::Order {
        patterns: vec![Pattern::Calm, Pattern::Microburst],
        faults: Trouble::ALL.to_vec(),
        length: Duration::from_secs(400),
        memory_bytes: 64 << 20,
        peer: "192.0.2.2:862".to_owned(),
    }
}

#[test]
fn interrupts_are_moved_by_a_run_that_goes_back() {
    let place = Place::committed();
    let before = place.sim.machine();
    let terms = place.terms();
    let mut meter = SimMeter::new(Arc::clone(&place.sim), "eth1", 11);
    let outcome = place
        .at_desk(|desk| campaign::campaign(desk, &terms, &order(), &mut meter))
        .expect("an outcome");
    assert_eq!((outcome.call, outcome.exit), (Call::Keep, Exit::Done), "{}", outcome.why);
    let judged = &outcome.record.campaigns[0].judged;
    let of = |item: &str| judged.iter().find(|tried| tried.item == item).expect("tried");
    assert_eq!(of("irq").call, Some(Call::Keep));
    assert_eq!((of("memory").call, of("cpu").call), (None, None), "a simulated machine has none");
    let history = History::fold(&place.store.entries().unwrap()).unwrap();
    let [_, fault] = history.runs.as_slice() else { panic!("{} runs", history.runs.len()) };
    assert_eq!((fault.state, fault.playbook.as_str()), (RunState::Reverted, "campaign-irq 1.0.0"));
    let moved = fault.written.values().next().expect("what it wrote last");
    assert_eq!(moved, &fault.originals[0].original);
    assert_eq!(place.sim.machine(), before);
}

#[test]
fn a_campaign_killed_anywhere_leaves_nothing() {
    hush_injected_crashes();
    let (mut killed, mut moved) = (0, 0);
    for call in (0..).step_by(13) {
        let place = Place::committed();
        let before = place.sim.machine();
        let terms = place.terms();
        let mut meter = SimMeter::new(Arc::clone(&place.sim), "eth1", 11);
        let call = place.sim.calls() + call;
        place.sim.inject([Injection { call, moment: Moment::After, blow: Blow::Crash }]);
        let order = campaign::Order { faults: vec![Trouble::Irq], ..order() };
        let lived = catch_unwind(AssertUnwindSafe(|| {
            place.at_desk(|desk| campaign::campaign(desk, &terms, &order, &mut meter)).map(drop)
        }));
        match lived {
            Ok(_) => break,
            Err(payload) if payload.downcast_ref::<Crash>().is_none() => resume_unwind(payload),
            Err(_) => {}
        }
        killed += 1;
        place.sim.restart();
        place.store.restart();
        moved += u32::from(place.sim.machine() != before);
        place.at_desk(runs::recover).expect("a recovery");
        assert_eq!(place.sim.machine(), before, "killed at call {call}");
        let record = place.record();
        assert_eq!(record.state, RunState::Committed);
        assert!(record.campaigns.iter().all(|campaign| campaign.call.is_some()), "call {call}");
    }
    assert!(killed > 10 && moved > 0, "{killed} kills, {moved} with interrupts moved");
}
