//! Every host call and every store call of a run, failed and crashed, before and after it took
//! effect, forwards (the run would commit) and backwards (it would revert), singly and in seeded
//! pairs: the machine ends as it was, or committed. Never in between.

// The seed may come from the environment, to repeat a failure.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use agent::{
    host::sim::{Blow, Machine, Moment, Random, Sim},
    log::RunState,
    rehearsal::{Door, Ending, Fall, Rehearsed, Shelf, Stage, hush_injected_crashes},
};

/// A NIC with what can go wrong on it: channels that reset affinity, queues, tables.
const MACHINE: &str = include_str!("fail_every_step/machine.yaml");
/// Two stages over eleven settings of nine families; latency improves.
const MENDS: &str = include_str!("fail_every_step/mends.yaml");
/// The same with a value that hurts: every run ends reverted.
const HURTS: &str = include_str!("fail_every_step/hurts.yaml");
/// Stages that take turns with what was before, several times each.
const TURNS: &str = include_str!("fail_every_step/turns.yaml");

fn seed() -> u64 {
    let given = std::env::var("NICMEND_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(20_261_122)
}

fn stage(playbook: &str) -> Stage {
    let machine: Machine = serde_saphyr::from_str(MACHINE).expect("machine.yaml is a machine");
    let playbook = agent_parse(playbook);
    Stage {
        machine,
        playbook,
        nic: "eth1".to_owned(),
        seed: seed(),
        shelf: Shelf::default(),
        sysctls: Vec::new(),
    }
}

fn agent_parse(source: &str) -> playbooks::Playbook {
    playbooks::parse::parse(source.as_bytes()).unwrap_or_else(|problems| {
        let lines: Vec<String> =
            problems.iter().map(|p| p.render("playbook", source.as_bytes())).collect();
        panic!("{}", lines.join("\n"));
    })
}

/// What the machine may end as.
struct Ends {
    before: Machine,
    committed: Machine,
}

impl Ends {
    fn of(stage: &Stage) -> (Ends, Rehearsed) {
        let before = Sim::new(stage.machine.clone()).machine();
        let told = stage.play(&[], &|_| ());
        let ends = Ends { before, committed: told.machine.clone() };
        (ends, told)
    }

    fn check(&self, told: &Rehearsed, what: &str) -> String {
        let committed = told.ending == Ending::Ran(RunState::Committed);
        let wanted = if committed { &self.committed } else { &self.before };
        assert!(
            told.machine == *wanted,
            "{what}: {:?}\n{}",
            told.ending,
            differences(&told.machine, wanted)
        );
        // A failure that the disk can still be told of leaves nothing open.
        assert_ne!(told.ending, Ending::Ran(RunState::Running), "{what}");
        match &told.ending {
            Ending::Ran(state) => format!("{state:?}"),
            Ending::AlreadyRight => "AlreadyRight".to_owned(),
            Ending::Declined(rule) => format!("Declined({rule})"),
        }
    }
}

fn differences(left: &Machine, right: &Machine) -> String {
    let lines = |machine: &Machine| serde_json::to_string_pretty(machine).unwrap_or_default();
    let (left, right) = (lines(left), lines(right));
    let differ = |(l, r): &(&str, &str)| l != r;
    let rows = left.lines().zip(right.lines()).filter(differ).take(20);
    rows.map(|(l, r)| format!("  is {}  was {}\n", l.trim(), r.trim())).collect()
}

const MODES: [(Moment, Blow); 6] = [
    (Moment::Before, Blow::Fail(libc::EIO)),
    (Moment::After, Blow::Fail(libc::EIO)),
    (Moment::Before, Blow::Fail(libc::EBUSY)),
    (Moment::Before, Blow::Fail(libc::EOPNOTSUPP)),
    (Moment::Before, Blow::Crash),
    (Moment::After, Blow::Crash),
];

fn every_step(playbook: &str, expected: RunState) {
    hush_injected_crashes();
    let stage = stage(playbook);
    let (ends, plain) = Ends::of(&stage);
    assert_eq!(plain.ending, Ending::Ran(expected), "{:?}", plain.record.map(|r| r.why));
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut plays = 0;
    for (door, calls) in [(Door::Host, plain.host_calls), (Door::Store, plain.store_calls)] {
        for call in 0..calls {
            for (moment, blow) in MODES {
                let fall = Fall { door, call, moment, blow };
                let told = stage.play(&[fall], &|_| ());
                let ending = ends.check(&told, &format!("{fall:?}, seed {}", seed()));
                *counts.entry(format!("{door:?} {blow:?} {moment:?} -> {ending}")).or_default() +=
                    1;
                plays += 1;
            }
        }
    }
    println!(
        "{expected:?}: {plays} plays ({} host calls, {} store calls, {} modes), seed {}",
        plain.host_calls,
        plain.store_calls,
        MODES.len(),
        seed()
    );
    counts.iter().for_each(|(what, count)| println!("  {count:6}  {what}"));
}

#[test]
fn forwards_every_single_failure_ends_as_before_or_committed() {
    every_step(MENDS, RunState::Committed);
}

#[test]
fn backwards_every_single_failure_ends_as_before() {
    every_step(HURTS, RunState::Reverted);
}

#[test]
fn between_turns_every_single_failure_ends_as_before_or_committed() {
    every_step(TURNS, RunState::Committed);
}

#[test]
fn seeded_pairs_of_failures_end_as_before_or_committed() {
    const PAIRS: u64 = 1_000;
    hush_injected_crashes();
    let mut random = Random::new(seed());
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for playbook in [MENDS, HURTS] {
        let stage = stage(playbook);
        let (ends, plain) = Ends::of(&stage);
        for _ in 0..PAIRS {
            let falls = [(); 2].map(|()| {
                let door = if random.below(5) == 0 { Door::Store } else { Door::Host };
                let calls = match door {
                    Door::Host => plain.host_calls,
                    Door::Store => plain.store_calls,
                };
                let (moment, blow) = MODES[random.below(MODES.len() as u64) as usize];
                // Beyond the plain run's length too: the second may fall into the recovery.
                Fall { door, call: random.below(calls * 3 / 2), moment, blow }
            });
            let told = stage.play(&falls, &|_| ());
            let ending = ends.check(&told, &format!("{falls:?}, seed {}", seed()));
            *counts.entry(ending).or_default() += 1;
        }
    }
    println!("{} pairs, seed {}: {counts:?}", 2 * PAIRS, seed());
}

/// The test can fail: without the snapshot of what a step disturbs, reverting is wrong.
#[test]
fn without_the_disturbed_snapshot_the_machine_would_differ() {
    let stage = stage(HURTS);
    let before = Sim::new(stage.machine.clone()).machine();
    let sim = Sim::new(stage.machine.clone());
    sim.foreign(&agent::host::sim::Act::Set {
        nic: "eth1".to_owned(),
        setting: "channels.combined".to_owned(),
        value: playbooks::Value::Number(8),
    });
    sim.foreign(&agent::host::sim::Act::Set {
        nic: "eth1".to_owned(),
        setting: "channels.combined".to_owned(),
        value: playbooks::Value::Number(4),
    });
    assert!(sim.foreign_refusals().is_empty(), "{:?}", sim.foreign_refusals());
    assert_ne!(sim.machine(), before, "writing channels there and back must disturb something");
}
