//! Every host call and every store call of a run with a firmware stage, failed and crashed, before and
//! after it took effect, forwards (it would commit) and backwards (it would revert): the machine ends as
//! it was, with firmware (running and stored), images and every port's settings, or committed. A reboot
//! after the crash, which runs whatever is stored, changes nothing of that.

// The seed may come from the environment, to repeat a failure.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use agent::{
    host::sim::{Blow, Machine, Moment, Random, Sim},
    log::RunState,
    rehearsal::{Door, Ending, Fall, Rehearsed, Stage, hush_injected_crashes},
};
use tests::firmware::{FIRMWARE, HURTS, MACHINE, MENDS, known};

fn seed() -> u64 {
    let given = std::env::var("NICMEND_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(20_261_128)
}

fn stage(playbook: &str) -> Stage {
    let machine: Machine = serde_saphyr::from_str(MACHINE).expect("machine.yaml is a machine");
    let playbook = playbooks::parse::parse(playbook.as_bytes()).expect("a playbook");
    let (nic, shelf) = ("eth1".to_owned(), tests::firmware::read(FIRMWARE));
    Stage { machine, playbook, nic, seed: seed(), shelf, sysctls: Vec::new() }
}

/// The machine as the run finds it.
fn before(stage: &Stage) -> Machine {
    let sim = Sim::new(stage.machine.clone());
    stage.machine.script.iter().for_each(|event| sim.foreign(&event.act));
    assert!(sim.foreign_refusals().is_empty(), "{:?}", sim.foreign_refusals());
    known(sim.machine())
}

struct Ends {
    /// Before the script that the machine's first call sets off.
    untouched: Machine,
    before: Machine,
    committed: Machine,
}

impl Ends {
    fn of(stage: &Stage, plain: &Rehearsed) -> Ends {
        Ends {
            untouched: known(Sim::new(stage.machine.clone()).machine()),
            before: before(stage),
            committed: known(plain.machine.clone()),
        }
    }

    fn check(&self, told: &Rehearsed, what: &str) -> String {
        let why = told.record.as_ref().map(|record| record.why.clone()).unwrap_or_default();
        let committed = told.ending == Ending::Ran(RunState::Committed);
        let wanted = match (committed, told.host_calls) {
            (true, _) => &self.committed,
            (false, 0) => &self.untouched,
            (false, _) => &self.before,
        };
        let is = known(told.machine.clone());
        assert!(is == *wanted, "{what}: {:?} {why}\n{}", told.ending, differences(&is, wanted));
        match &told.ending {
            Ending::Ran(state @ (RunState::Running | RunState::Stuck)) => {
                panic!("{what}: {state:?} {why}")
            }
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

const MODES: [(Moment, Blow); 4] = [
    (Moment::Before, Blow::Fail(libc::EIO)),
    (Moment::After, Blow::Fail(libc::EIO)),
    (Moment::Before, Blow::Crash),
    (Moment::After, Blow::Crash),
];

fn every_step(playbook: &str, expected: RunState) {
    hush_injected_crashes();
    let stage = stage(playbook);
    let plain = stage.play(&[], &|_| ());
    assert_eq!(plain.ending, Ending::Ran(expected), "{:?}", plain.record.map(|r| r.why));
    let ends = Ends::of(&stage, &plain);
    ends.check(&plain, "undisturbed");
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

/// The power fails at every host call: what was stored runs at the next boot, and goes back all the same.
#[test]
fn power_offs_end_with_the_firmware_as_before_or_committed() {
    hush_injected_crashes();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for playbook in [MENDS, HURTS] {
        let stage = stage(playbook);
        let plain = stage.play(&[], &|_| ());
        let ends = Ends::of(&stage, &plain);
        let versions = |machine: &Machine| -> Vec<_> {
            let pci = machine.nics.iter().filter_map(|nic| nic.pci.clone());
            pci.map(|pci| (pci.versions, pci.stored)).collect()
        };
        for call in 0..plain.host_calls {
            let blow = Blow::Crash;
            for moment in [Moment::Before, Moment::After] {
                let fall = Fall { door: Door::Host, call, moment, blow };
                let told = stage.play_over_reboots(&[fall], &|_| ());
                let what = format!("{fall:?}, seed {}: {:?}", seed(), told.ending);
                let is = known(told.machine.clone());
                if told.ending == Ending::Ran(RunState::Committed) {
                    assert_eq!(versions(&is), versions(&ends.committed), "{what}");
                } else {
                    // The boot has put the settings back to what drivers begin with.
                    assert!(is == ends.untouched, "{what}\n{}", differences(&is, &ends.untouched));
                }
                *counts.entry(format!("{:?}", told.ending)).or_default() += 1;
            }
        }
    }
    println!("power-offs, seed {}: {counts:?}", seed());
}

#[test]
fn seeded_pairs_of_failures_end_as_before_or_committed() {
    const PAIRS: u64 = 400;
    hush_injected_crashes();
    let mut random = Random::new(seed());
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for playbook in [MENDS, HURTS] {
        let stage = stage(playbook);
        let plain = stage.play(&[], &|_| ());
        let ends = Ends::of(&stage, &plain);
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
