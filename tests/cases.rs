//! Test cases as data: `cases/<name>/{inventory,playbook}.yaml`, a machine and what is to be done to it.
//!
//! `ends.yaml` says how a run must end. `plan.yaml` and `revert.yaml`, where a case has them, are what the
//! planner must make of machine and playbook.
#![allow(clippy::disallowed_methods, reason = "cases are files")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent::{
    host::{
        Host, nic,
        sim::{Blow, Machine, Moment, Random, Sim, SimMeter},
    },
    log::RunState,
    measure::{Meter, Window, WindowSpec},
    rehearsal::{Door, Ending, Fall, Rehearsed, Shelf, Stage},
    setting::{Change, SETTINGS, family_of},
};
use playbooks::{Metric, Playbook, parse, playbook::Pattern};
use serde::Deserialize;
use tests::firmware::known;

/// The NIC that every case is about.
const NIC: &str = "eth1";

struct Case {
    name: String,
    machine: Machine,
    playbook: Playbook,
    ends: Ending,
    shelf: Shelf,
}

#[derive(Deserialize)]
struct Ends {
    ends: End,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum End {
    Committed,
    Reverted,
    AlreadyRight,
}

impl End {
    fn ending(self) -> Ending {
        match self {
            End::Committed => Ending::Ran(RunState::Committed),
            End::Reverted => Ending::Ran(RunState::Reverted),
            End::AlreadyRight => Ending::AlreadyRight,
        }
    }
}

/// Every case, by name.
fn cases() -> Vec<Case> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(root).unwrap().map(|folder| folder.unwrap().path()).collect();
    folders.sort();
    folders.iter().map(|folder| case(folder)).collect()
}

fn case(folder: &Path) -> Case {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let file = |file: &str| {
        fs::read_to_string(folder.join(file))
            .unwrap_or_else(|error| panic!("{name}/{file}: {error}"))
    };
    let machine = serde_saphyr::from_str(&file("inventory.yaml"));
    let machine = machine.unwrap_or_else(|error| panic!("{name}/inventory.yaml: {error}"));
    let source = file("playbook.yaml");
    let playbook = parse::parse(source.as_bytes()).unwrap_or_else(|problems| {
        let all: Vec<String> =
            problems.iter().map(|p| p.render("playbook.yaml", source.as_bytes())).collect();
        panic!("{name}:\n{}", all.join("\n"))
    });
    let ends: Ends = serde_saphyr::from_str(&file("ends.yaml")).unwrap();
    let firmware = fs::read_to_string(folder.join("firmware.yaml"));
    let shelf = firmware.map_or_else(|_| Shelf::default(), |yaml| tests::firmware::read(&yaml));
    Case { name, machine, playbook, ends: ends.ends.ending(), shelf }
}

#[test]
fn every_case_is_a_machine_and_a_playbook() {
    for case in cases() {
        let sim = Sim::new(case.machine);
        let nic = nic::find(&sim, NIC).unwrap_or_else(|fault| panic!("{}: {fault}", case.name));
        assert_eq!(nic.name, NIC);
        assert_eq!(case.playbook.name, case.name, "a playbook is called as its case");
        // A misspelt setting would never have its effect.
        let effects = sim.machine().traffic.effects;
        for effect in effects.iter().filter(|effect| effect.firmware.is_none()) {
            let value = sim.value(NIC, &effect.setting);
            assert!(value.is_some(), "{}: no {} here", case.name, effect.setting);
        }
    }
}

#[test]
fn every_family_has_a_case() {
    let cases = cases();
    let named: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    for family in SETTINGS {
        let name = format!("family-{}", family.name());
        assert!(named.contains(name.as_str()), "tests/cases/{name} is missing");
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let mut settings = case.playbook.stages.iter().flat_map(|stage| &stage.settings);
        assert!(settings.any(|(name, _)| name.family() == family.name()), "{name}");
    }
}

/// Each setting that a case asks for can be resolved on its machine, unless the case is about that.
#[test]
fn every_setting_of_a_case_is_there() {
    for case in cases().iter().filter(|case| case.name != "unsupported-skipped") {
        let sim = Sim::new(case.machine.clone());
        let nic = nic::find(&sim, NIC).unwrap();
        for (name, wanted) in case.playbook.stages.iter().flat_map(|stage| &stage.settings) {
            let family = family_of(name).unwrap();
            let now = family.read(&sim, &nic, std::slice::from_ref(name)).remove(0);
            let now = now.unwrap_or_else(|fault| panic!("{}: {fault}", case.name));
            let value = family.resolve(&sim, &nic, name, wanted, &now);
            let value = value.unwrap_or_else(|fault| panic!("{}: {fault}", case.name));
            assert_eq!(value == now.value, case.name == "already-right", "{}: {name}", case.name);
        }
    }
}

/// What a case claims of its traffic holds of the simulation itself, before any engine judges it: the
/// baseline misses the objective, and the settings meet it (unless the driver only pretends).
#[test]
fn settings_mend_what_a_case_says_they_mend() {
    let mut tried = 0;
    let by_settings = |case: &&Case| {
        let firmware = case.playbook.stages.iter().any(|stage| stage.firmware.is_some());
        !case.playbook.objective.is_empty() && !firmware
    };
    for case in cases().iter().filter(by_settings) {
        let sim = Arc::new(Sim::new(case.machine.clone()));
        let mut meter = SimMeter::new(sim.clone(), NIC, 1);
        let mut measure = || {
            meter.settle(Duration::from_secs(30), &|| false).unwrap();
            meter.window(&spec(&case.playbook), &|| false).unwrap()
        };
        let before = measure();
        write_all(case, &sim);
        let after = measure();
        for (metric, criterion) in &case.playbook.objective {
            let at_most = criterion.at_most.expect("the cases' objectives are absolute");
            let (then, now) = (figure(&before, metric), figure(&after, metric));
            assert!(then > at_most, "{}: {metric} was {then}", case.name);
            let mended = now <= at_most;
            assert_eq!(mended, case.name != "deaf-driver", "{}: {metric} is {now}", case.name);
        }
        tried += 1;
    }
    assert!(tried >= 5);
}

fn spec(playbook: &Playbook) -> WindowSpec {
    let verify = &playbook.verify;
    let (rate, payload) = (verify.rate, verify.payload);
    let (transport, length) = (verify.transport, verify.window);
    WindowSpec { transport, length, rate, payload, pattern: Pattern::Calm, flows: 16 }
}

/// Writes every setting; one that the kernel refuses waits until another has made room for it.
fn write_all(case: &Case, sim: &Sim) {
    let nic = nic::find(sim, NIC).unwrap();
    let mut left: Vec<_> = case.playbook.stages.iter().flat_map(|stage| &stage.settings).collect();
    for _ in 0..=left.len() {
        left.retain(|(name, wanted)| {
            let family = family_of(name).unwrap();
            let now = family.read(sim, &nic, std::slice::from_ref(name)).remove(0).unwrap();
            let to = family.resolve(sim, &nic, name, wanted, &now).unwrap();
            let change = Change { name: name.clone(), from: now.value, to };
            family.batches(&nic, vec![change]).iter().any(|b| family.write(sim, &nic, b).is_err())
        });
        sim.wait(Duration::from_secs(1));
    }
    assert!(left.is_empty(), "{}: {left:?} cannot be written", case.name);
}

fn figure(window: &Window, metric: &Metric) -> f64 {
    let mut sorted: Vec<u64> = window.samples.iter().map(|sample| sample.latency_ns).collect();
    sorted.sort_unstable();
    match metric {
        Metric::LatencyQuantile(quantile) => {
            sorted[(quantile.fraction() * sorted.len() as f64) as usize] as f64
        }
        Metric::LossRatio => window.lost as f64 / window.samples.len() as f64,
        other => panic!("no case is about {other}"),
    }
}

fn stage(case: &Case, seed: u64) -> Stage {
    let (machine, playbook) = (case.machine.clone(), case.playbook.clone());
    Stage {
        machine,
        playbook,
        nic: NIC.to_owned(),
        seed,
        shelf: case.shelf.clone(),
        sysctls: Vec::new(),
    }
}

fn play(case: &Case, seed: u64, falls: &[Fall]) -> Rehearsed {
    stage(case, seed).play(falls, &|_| ())
}

#[test]
fn every_case_ends_as_it_should() {
    for case in cases() {
        let before = known(Sim::new(case.machine.clone()).machine());
        let told = play(&case, 1, &[]);
        assert_eq!(told.ending, case.ends, "{}: {:?}", case.name, told.record);
        let committed = case.ends == Ending::Ran(RunState::Committed);
        assert_eq!(known(told.machine) != before, committed, "{}", case.name);
    }
}

/// Falls at random calls of every case: what a driver does must not make a recovery go wrong. Every
/// single call is tried in `fail_every_step`, on one machine.
#[test]
fn cases_survive_random_falls() {
    const FALLS: usize = 12;
    let mut random = Random::new(20_261_122);
    let mut tried = 0;
    for case in cases() {
        let before = known(Sim::new(case.machine.clone()).machine());
        let whole = play(&case, 1, &[]);
        let mended = known(whole.machine.clone());
        for _ in 0..FALLS {
            let fall = fall(&mut random, &whole);
            let told = play(&case, 1, &[fall]);
            let committed = told.ending == Ending::Ran(RunState::Committed);
            let wanted = if committed { &mended } else { &before };
            let what = format!("{} {fall:?}: {:?}", case.name, told.ending);
            assert!(known(told.machine) == *wanted, "{what}");
            assert_ne!(told.ending, Ending::Ran(RunState::Running), "{what}");
            tried += 1;
        }
    }
    println!("{tried} falls");
}

fn fall(random: &mut Random, whole: &Rehearsed) -> Fall {
    let door = if random.one_in(6) { Door::Store } else { Door::Host };
    let calls = match door {
        Door::Host => whole.host_calls,
        Door::Store => whole.store_calls,
    };
    let moment = if random.one_in(2) { Moment::Before } else { Moment::After };
    let blow = if random.one_in(2) { Blow::Crash } else { Blow::Fail(libc::EIO) };
    Fall { door, call: random.below(calls), moment, blow }
}

/// What the planner makes of a case, a line a change: reviewed by people, compared by this test.
#[derive(Debug, PartialEq, serde::Serialize, Deserialize)]
struct Lines {
    stage: String,
    /// From which version to which, and whether there is a way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    firmware: Option<String>,
    /// One list a request to the kernel.
    requests: Vec<Vec<String>>,
    /// Kept, and put back if the stage changes them.
    #[serde(default)]
    disturbs: Vec<String>,
}

fn firmware(action: &agent::plan::firmware::FirmwareAction) -> String {
    let back = if action.way_back.is_some() { "and back" } else { "no way back" };
    let ports: Vec<&str> = action.ports.iter().map(|port| port.name.as_str()).collect();
    format!("{} -> {} on {}, {back}", action.from, action.to, ports.join(" "))
}

fn requests(steps: &[agent::plan::Step]) -> Vec<Vec<String>> {
    let line = |c: &Change| format!("{} {} -> {}", c.name, c.from, c.to);
    steps.iter().map(|step| step.batch.iter().map(line).collect()).collect()
}

/// `NICMEND_BLESS=1` writes the files anew, for review in the diff.
#[test]
fn plans_and_reverts_are_as_written() {
    let bless = std::env::var("NICMEND_BLESS").is_ok();
    let mut wrong = Vec::new();
    for case in cases() {
        let sim = Sim::new(case.machine.clone());
        let request = agent::runs::Apply {
            hazards: agent::runs::hazards::Terms {
                catalog: case.shelf.catalog.clone(),
                overrides: agent::runs::hazards::Overrides::All,
            },
            firmware: case.shelf.offer.clone(),
            ..agent::runs::Apply::plain(
                case.playbook.clone(),
                NIC,
                Some("192.0.2.2:862".to_owned()),
            )
        };
        let prepared = agent::runs::prepare(&sim, &request)
            .unwrap_or_else(|declined| panic!("{}: {declined}", case.name));
        let plan = &prepared.plan;
        let stage = |stage: &agent::plan::PlannedStage| Lines {
            stage: stage.name.clone(),
            firmware: stage.firmware.as_ref().map(firmware),
            requests: requests(&stage.steps),
            disturbs: stage.disturbs.iter().map(ToString::to_string).collect(),
        };
        let stages: Vec<Lines> = plan.stages.iter().map(stage).collect();
        let revert = requests(&plan.revert);
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases").join(&case.name);
        if bless {
            let text = serde_saphyr::to_string(&stages).expect("plain data");
            fs::write(folder.join("plan.yaml"), text).expect("write plan.yaml");
            let text = serde_saphyr::to_string(&revert).expect("plain data");
            fs::write(folder.join("revert.yaml"), text).expect("write revert.yaml");
        }
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let written: Vec<Lines> = serde_saphyr::from_str(&read("plan.yaml")).unwrap_or_default();
        let back: Vec<Vec<String>> =
            serde_saphyr::from_str(&read("revert.yaml")).unwrap_or_default();
        if written != stages || back != revert {
            wrong.push(format!("{}: is {stages:#?}\nrevert {revert:#?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
