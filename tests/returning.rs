//! The transaction of a firmware stage against a machine that answers as badly as it can: it ends, within the time
//! that is promised beforehand, and says of nothing that it is not back that was read to be back.

use std::time::Duration;

use agent::{
    fault::{Fault, Kind},
    host::{
        Nic,
        sim::{Random, Sim},
    },
    log::{Fact, ReadBack, RunState, firmware::FirmwareStep},
    plan::{Plan, Step, firmware::Which},
    rehearsal::Shelf,
    run::{
        Action, Allowance, Answer, Baseline, End, Event, Order, Restored, Run, Seen,
        lease::{self, Way},
        length,
    },
    runs::{
        Apply,
        hazards::{Overrides, Terms},
        prepare,
    },
};
use tests::firmware::{FIRMWARE, quiet_machine};

const PLAYBOOK: &str = "apiVersion: nicmend/v1\nkind: Playbook\n\
    metadata: { name: x, version: 1.0.0, summary: x }\nstages:\n  \
    - { name: firmware, firmware: { version: 14.32.1900, activate: nic-reset }, \
    settings: { ring.rx: 4096, coalesce.rx-usecs: 4 } }\n\
    guardrails: { latency.p50: { no-worse-than: 5% } }\n\
    verify: { transport: udp, settle: 5s, window: 1s, rate: 1000, payload: 64 }\n";
const FROM: &str = "14.32.1010";
const TO: &str = "14.32.1900";
/// Actions of one run: far beyond what any should take.
const ACTIONS_MAX: usize = 5_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum WayBack {
    Stored,
    None,
}

fn plan(way_back: WayBack) -> (Plan, Nic) {
    let playbook = playbooks::parse::parse(PLAYBOOK.as_bytes()).expect("a playbook");
    let Shelf { catalog, mut offer, .. } = tests::firmware::read(FIRMWARE);
    if way_back == WayBack::None {
        offer.images.remove(1);
        offer.no_way_back = true;
    }
    let request = Apply {
        hazards: Terms { catalog, overrides: Overrides::All },
        firmware: offer,
        ..Apply::plain(playbook, "eth1", Some("192.0.2.2:862".to_owned()))
    };
    let prepared = prepare(&Sim::new(quiet_machine()), &request).expect("a plan");
    (prepared.plan, prepared.facts.nic)
}

/// What the machine answers, order by order.
trait Machine {
    fn order(&mut self, order: &Order, way: Way) -> Result<Answer, Fault>;

    /// Whether this write takes effect.
    fn writes(&mut self) -> bool {
        true
    }

    fn records(&mut self) -> bool {
        true
    }

    /// How long an order lasts that may last so long.
    fn lasts(&mut self, lease: Duration) -> Duration {
        lease
    }
}

fn seen(running: Option<&str>, stored: Option<&str>) -> Seen {
    let text = |text: Option<&str>| text.map(str::to_owned);
    Seen { running: text(running), stored: text(stored), renewed: false }
}

fn fault(kind: Kind) -> Fault {
    Fault::new(kind, "do what was asked", "the machine would not")
}

/// How a run went.
struct Told {
    end: End,
    orders: Vec<(Order, Way)>,
    steps: Vec<FirmwareStep>,
    took: Duration,
    /// From the first word of the way back.
    back: Duration,
}

/// Drives a run to its end; every action takes as long as it may.
fn drive(plan: &Plan, nic: &Nic, machine: &mut dyn Machine) -> Told {
    let action = plan.stages[0].firmware.clone().expect("firmware");
    let mut run = Run::new(plan.clone(), nic.clone(), Allowance::default());
    let originals = &plan.snapshot;
    let mut values: std::collections::BTreeMap<_, _> =
        originals.iter().map(|kept| (kept.name.clone(), kept.original.clone())).collect();
    let (mut orders, mut steps) = (Vec::new(), Vec::new());
    let (mut took, mut forth) = (Duration::ZERO, None);
    let mut event = Event::Begin;
    for _ in 0..ACTIONS_MAX {
        let next = run.step(event);
        if run.is_returning() {
            forth.get_or_insert(took);
        }
        let way = if run.is_forward() { Way::Forth } else { Way::Back };
        event = match next {
            Action::Finish(end) => {
                let back = took - forth.unwrap_or(took);
                return Told { end, orders, steps, took, back };
            }
            Action::Record { facts, .. } => {
                for fact in facts {
                    if let Fact::Firmware { step, .. } = fact {
                        steps.push(step);
                    }
                }
                Event::Recorded(if machine.records() { Ok(()) } else { Err(fault(Kind::Io)) })
            }
            Action::Settle => {
                took += plan.playbook.verify.settle;
                Event::Settled(Ok(()))
            }
            Action::Measure(agent::run::Point::Baseline) => {
                took += plan.playbook.verify.window;
                let evidence = "sha256:00".to_owned();
                Event::Baselined(Ok(Baseline { evidence, unusable: None, meets_objective: false }))
            }
            Action::Measure(_) => {
                took += plan.playbook.verify.window;
                Event::Measured(Ok(()))
            }
            Action::Judge(_) => Event::Judged(Err(fault(Kind::Io))),
            Action::Write(step) => {
                took += Duration::from_millis(step.lease_ms);
                wrote(&step, &mut values, machine)
            }
            Action::Read(names) => Event::Values(
                names.into_iter().map(|name| (name.clone(), Ok(values[&name].clone()))).collect(),
            ),
            Action::Firmware(order) => {
                let lasts = machine.lasts(lease::of(&action, &order, way));
                took += lasts;
                orders.push((order.clone(), way));
                let took_ms = u64::try_from(lasts.as_millis()).expect("no age");
                Event::Firmware { answer: machine.order(&order, way), took_ms }
            }
            Action::Pause { ms } => {
                took += Duration::from_millis(ms);
                Event::Paused
            }
        };
    }
    panic!(
        "no end after {ACTIONS_MAX} actions; the last orders: {:?}",
        &orders[orders.len() - 20..]
    );
}

fn wrote(
    step: &Step,
    values: &mut std::collections::BTreeMap<playbooks::Name, playbooks::Value>,
    machine: &mut dyn Machine,
) -> Event {
    let takes = machine.writes();
    let mut results = Vec::new();
    for change in &step.batch {
        if takes {
            values.insert(change.name.clone(), change.to.clone());
        }
        let got = values.get(&change.name).cloned();
        results.push(ReadBack {
            name: change.name.clone(),
            asked: change.to.clone(),
            got,
            fault: None,
        });
    }
    Event::Wrote { failed: None, results, nanoseconds: 1 }
}

/// A device that does what it is told, but for what `unlike` makes of it.
struct Plain<F> {
    nic: Nic,
    running: &'static str,
    stored: &'static str,
    unlike: F,
}

impl<F> Plain<F>
where
    F: FnMut(&Order, Way) -> Option<Result<Answer, Fault>>,
{
    fn new(nic: &Nic, unlike: F) -> Plain<F> {
        Plain { nic: nic.clone(), running: FROM, stored: FROM, unlike }
    }
}

impl<F> Machine for Plain<F>
where
    F: FnMut(&Order, Way) -> Option<Result<Answer, Fault>>,
{
    fn order(&mut self, order: &Order, way: Way) -> Result<Answer, Fault> {
        let version = |which: &Which| match which {
            Which::New => TO,
            Which::Old => FROM,
        };
        if let Some(answer) = (self.unlike)(order, way) {
            return answer;
        }
        Ok(match order {
            Order::Guard(_) => Answer::Guarded(agent::log::firmware::Found {
                stored: Some(self.stored.to_owned()),
            }),
            Order::Keep => Answer::Kept("ports.json".to_owned()),
            Order::Place(_) | Order::Drain | Order::Clear => Answer::Done,
            Order::Flash(which) => {
                self.stored = version(which);
                Answer::Done
            }
            Order::Activate(_) => {
                self.running = self.stored;
                Answer::Activated(Vec::new())
            }
            Order::Look => Answer::Seen(seen(Some(self.running), Some(self.stored))),
            Order::Await => Answer::Back(Box::new(self.nic.clone())),
            Order::Restore(_) => Answer::Restored(Restored::default()),
        })
    }
}

/// Answers at random, each kind of failure as likely as this play's dice have it.
struct Adversary {
    random: Random,
    nic: Nic,
    /// Of 100, by order: how often it fails.
    odds: [u64; 8],
    /// Of 100: how often a look tells the truth, another version, nothing.
    looks: u64,
    /// The versions were told to be the old ones, and nothing was written since.
    right: Option<bool>,
}

impl Adversary {
    fn new(seed: u64, nic: &Nic) -> Adversary {
        let mut random = Random::new(seed);
        let steep = |random: &mut Random| [0, 5, 50, 95, 100][random.below(5) as usize];
        let odds = [(); 8].map(|()| steep(&mut random));
        let looks = steep(&mut random);
        Adversary { random, nic: nic.clone(), odds, looks, right: None }
    }

    fn fails(&mut self, nth: usize) -> Option<Fault> {
        let kinds = [Kind::Io, Kind::Busy, Kind::Gone, Kind::Denied];
        let kind = kinds[self.random.below(4) as usize];
        (self.random.below(100) < self.odds[nth]).then(|| fault(kind))
    }

    fn look(&mut self) -> Answer {
        let versions = [Some(FROM), Some(TO), None];
        let any = |random: &mut Random| versions[random.below(3) as usize];
        let told = match self.random.below(100) < self.looks {
            true => (Some(FROM), Some(FROM)),
            false => (any(&mut self.random), any(&mut self.random)),
        };
        self.right = Some(told == (Some(FROM), Some(FROM)));
        Answer::Seen(Seen { renewed: self.random.below(4) == 0, ..seen(told.0, told.1) })
    }

    fn forth(&mut self, order: &Order) -> Result<Answer, Fault> {
        // Far enough forward to have something to go back from.
        if let Order::Activate(_) = order
            && let Some(fault) = self.fails(0)
        {
            return Err(fault);
        }
        if let Order::Guard(agent::run::Before::Activation) = order
            && self.random.below(100) < self.odds[1]
        {
            return Ok(Answer::Barred(fault(Kind::Denied)));
        }
        let mut plain = Plain::new(&self.nic, |_, _| None);
        match order {
            Order::Look => {
                let running = if self.random.below(2) == 0 { TO } else { FROM };
                Ok(Answer::Seen(seen(Some(running), Some(TO))))
            }
            other => plain.order(other, Way::Forth),
        }
    }
}

impl Machine for Adversary {
    fn order(&mut self, order: &Order, way: Way) -> Result<Answer, Fault> {
        if way == Way::Forth {
            return self.forth(order);
        }
        let nth = match order {
            Order::Look => 0,
            Order::Place(_) => 1,
            Order::Flash(_) => 2,
            Order::Keep => 3,
            Order::Activate(_) => 4,
            Order::Await => 5,
            Order::Restore(_) => 6,
            Order::Clear => 7,
            Order::Guard(_) | Order::Drain => panic!("nobody is asked on the way back"),
        };
        if matches!(order, Order::Flash(_) | Order::Activate(_)) {
            self.right = None;
        }
        if let Some(fault) = self.fails(nth) {
            return Err(fault);
        }
        let nic = self.nic.clone();
        match order {
            Order::Look => Ok(self.look()),
            Order::Restore(_) if self.random.below(2) == 0 => {
                let left =
                    vec!["address 192.0.2.1/24 on eth1: expected it, found nothing".to_owned()];
                Ok(Answer::Restored(Restored { left, ..Restored::default() }))
            }
            other => Plain::new(&nic, |_, _| None).order(other, Way::Back),
        }
    }

    fn writes(&mut self) -> bool {
        self.random.below(100) >= self.odds[0]
    }

    fn lasts(&mut self, lease: Duration) -> Duration {
        // What fails soon is tried more often.
        let second = Duration::from_secs(1);
        [lease, second * 299, second * 149, second][self.random.below(4) as usize].min(lease)
    }

    fn records(&mut self) -> bool {
        // What is not durable does not begin; on the way back nothing depends on it.
        true
    }
}

#[test]
fn the_worst_machine_takes_no_longer_than_was_promised_and_is_not_slandered() {
    const PLAYS: u64 = 6_000;
    let (mut worst, mut back, mut ends) = (0.0_f64, 0.0_f64, [0_u32; 2]);
    for way_back in [WayBack::Stored, WayBack::None] {
        let (plan, nic) = plan(way_back);
        for seed in 0..PLAYS {
            let mut adversary = Adversary::new(seed, &nic);
            let told = drive(&plan, &nic, &mut adversary);
            let End { state, why, by_hand, .. } = &told.end;
            let words = format!("seed {seed}: {state:?} {why}");
            assert!(told.took <= length::worst(&plan), "{words}: {:?}", told.took);
            assert!(told.back <= length::revert(&plan), "{words}: back {:?}", told.back);
            worst = worst.max(told.took.as_secs_f64() / length::worst(&plan).as_secs_f64());
            back = back.max(told.back.as_secs_f64() / length::revert(&plan).as_secs_f64());
            let slander = why.contains("is not back on firmware");
            match state {
                RunState::Reverted => assert!(adversary.right == Some(true), "{words}"),
                RunState::Stuck => assert!(
                    !(adversary.right == Some(true) && slander),
                    "{words}: it was read to be back"
                ),
                RunState::Running | RunState::Committed | RunState::Refused => panic!("{words}"),
            }
            let flashes = by_hand.iter().any(|line| line.starts_with("devlink dev flash"));
            assert!(!flashes || slander, "{words}: {by_hand:?}");
            ends[usize::from(*state == RunState::Stuck)] += 1;
        }
    }
    println!(
        "{} plays: {} reverted, {} stuck; at most {:.0} % of the bound, {:.0} % of the way back's",
        2 * PLAYS,
        ends[0],
        ends[1],
        worst * 100.0,
        back * 100.0
    );
    assert!(ends.iter().all(|count| *count > 100), "{ends:?}: not every end was seen");
}

/// A fault that takes the device away from the first restart on: back it goes, and then something fails.
fn told(unlike: impl FnMut(&Order, Way) -> Option<Result<Answer, Fault>>) -> Told {
    let (plan, nic) = plan(WayBack::Stored);
    drive(&plan, &nic, &mut Plain::new(&nic, unlike))
}

#[test]
fn a_device_that_tells_no_version_for_a_moment_is_not_restarted_for_it() {
    for silence in [1, 4, 100] {
        let mut left = silence;
        let told = told(|order, way| match (order, way) {
            (Order::Guard(agent::run::Before::Activation), _) => {
                Some(Ok(Answer::Barred(fault(Kind::Denied))))
            }
            // What it stores is told.
            (Order::Look, Way::Back) if left > 0 => {
                left -= 1;
                let stored = if left == silence - 1 { TO } else { FROM };
                Some(Ok(Answer::Seen(seen(None, Some(stored)))))
            }
            _ => None,
        });
        let restarts = told.orders.iter().filter(|(order, _)| matches!(order, Order::Activate(_)));
        assert_eq!(restarts.count(), 0, "silent for {silence} looks");
        let state = if silence == 100 { RunState::Stuck } else { RunState::Reverted };
        assert_eq!(told.end.state, state, "{}", told.end.why);
        if silence == 100 {
            assert!(told.end.why.contains("it tells no running version"), "{}", told.end.why);
        }
    }
}

#[test]
fn a_path_that_stays_is_told_as_that_and_the_settings_are_put_back() {
    let told = told(|order, _| match order {
        Order::Clear => Some(Err(fault(Kind::Io))),
        _ => None,
    });
    assert_eq!(told.end.state, RunState::Stuck);
    assert!(!told.end.why.contains("not back on firmware"), "{}", told.end.why);
    let Some(FirmwareStep::Left { running, stored, what, .. }) = told.steps.last() else {
        panic!("{:?}", told.steps)
    };
    assert_eq!((running.as_deref(), stored.as_deref()), (Some(FROM), Some(FROM)));
    assert_eq!((&what.firmware, &what.ports, what.path.is_some()), (&None, &None, true));
}

/// Firmware that was read to be back is back, whatever else is not.
#[test]
fn ports_that_do_not_come_back_as_they_were_are_told_as_that() {
    let told = told(|order, way| match (order, way) {
        (Order::Restore(_), Way::Back) => Some(Ok(Answer::Restored(Restored {
            left: vec!["ring.rx on eth2 is 1024, was 2048".to_owned()],
            by_hand: vec!["ethtool -G eth2 rx 2048".to_owned()],
            ..Restored::default()
        }))),
        _ => None,
    });
    assert_eq!(told.end.state, RunState::Stuck);
    let why = &told.end.why;
    assert!(!why.contains("not back on firmware"), "{why}");
    let words = format!("though it runs and stores {FROM} again: ring.rx on eth2 is 1024");
    assert!(why.contains(&words), "{why}");
    let Some(FirmwareStep::Left { what, .. }) = told.steps.last() else {
        panic!("{:?}", told.steps)
    };
    assert_eq!((&what.firmware, what.ports.is_some(), &what.path), (&None, true, &None));
    let lines = told.end.by_hand.join("\n");
    assert!(lines.contains("ethtool -G eth2 rx 2048"), "{lines}");
    assert!(!lines.contains("devlink dev flash"), "{lines}");
}

/// Without an image to go back by, a guard that refuses the restart is waited for.
#[test]
fn without_a_way_back_a_guard_is_waited_for_and_then_the_end_says_what_is_stored() {
    let (plan, nic) = plan(WayBack::None);
    for (refusals, state) in [(3, RunState::Stuck), (1_000, RunState::Stuck)] {
        let mut left = refusals;
        let machine = &mut Plain::new(&nic, |order, way| match (order, way) {
            (Order::Guard(agent::run::Before::Activation), _) if left > 0 => {
                left -= 1;
                Some(Ok(Answer::Barred(fault(Kind::Denied))))
            }
            _ => None,
        });
        let told = drive(&plan, &nic, machine);
        assert_eq!(told.end.state, state);
        let restarted = told.orders.iter().any(|(order, _)| matches!(order, Order::Activate(_)));
        // Waited out, it restarts and is measured; its judge fails, and nothing leads back.
        assert_eq!(restarted, refusals == 3, "{}", told.end.why);
        let words = match refusals {
            3 => format!("it runs {TO} and stores {TO}"),
            _ => format!(
                "it runs {FROM} and stores {TO}, which the next reset of the device or boot of the host runs, \
                 unverified"
            ),
        };
        assert!(told.end.why.contains(&words), "{}", told.end.why);
        let lines = told.end.by_hand.join("\n");
        assert!(lines.contains(&format!("no image of {FROM} is stored")), "{lines}");
    }
}
