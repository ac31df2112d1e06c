//! Campaigns on a real link: every item gets its verdict, what cannot be laid here is skipped with its
//! reason, and nothing is left behind, killed or not.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself

#[path = "run/exchange.rs"]
mod exchange;

use std::{
    io::{BufRead, BufReader},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use exchange::{Exchange, code, finished, json, said};

/// Campaigns load the machine: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loose enough for a noisy machine, and short.
const PLAYBOOK: &str = "apiVersion: nicmend/v1\nkind: Playbook\n\
     metadata: { name: kernel-campaign, version: 1.0.0, summary: Harmless settings }\n\
     stages:\n  - name: all\n    settings: { feature.rx-gro: true, link.tx-queue-len: 500 }\n\
     guardrails:\n  latency.p50: { no-worse-than: 2000%, at-most: 1s }\n  \
     latency.slow-ratio: { at-most: 100% }\n  \
     latency.loss-ratio: { at-most: 50% }\n  \
     latency.storm-rate: { at-most: 1000000 }\n\
     verify: { transport: udp, settle: 2s, window: 500ms, rate: 1000, payload: 64 }\n";

/// A host with a committed run, and where its control groups are to be seen: the namespace's own
/// `/sys` hides them. `None` there where the memory controller cannot be used, which was said aloud.
fn committed(test: &str) -> Option<(Exchange, Option<String>)> {
    let exchange = Exchange::new(test)?;
    let playbook = exchange.playbook("tried", PLAYBOOK);
    // A busy machine's baseline may be too noisy for a verdict: then once more.
    let apply = || finished(exchange.apply(&playbook).spawn().expect("start nicmend"));
    let output = (0..3).map(|_| apply()).find(|output| code(output) == 0).unwrap_or_else(apply);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let groups = exchange.folder.join("cgroup");
    std::fs::create_dir(&groups).expect("a place for control groups");
    let groups = groups.display().to_string();
    let ways: [&[&str]; 2] = [
        &["-t", "cgroup", "-o", "memory", "cgroup", &groups],
        &["-t", "cgroup2", "cgroup2", &groups],
    ];
    let mounted = ways.iter().any(|way| exchange.netns.output("mount", way).status.success());
    let memory = mounted && {
        let kind = std::fs::read_to_string(format!("{groups}/cgroup.controllers"));
        kind.map_or(true, |list| list.contains("memory"))
    };
    if !memory {
        tests::skip(test, "no control groups with the memory controller can be mounted");
    }
    Some((exchange, memory.then_some(groups)))
}

/// Control groups of ours that are there now.
fn groups(exchange: &Exchange, place: &str) -> String {
    exchange.netns.run("find", &[place, "-type", "d", "-name", "nicmend-*"])
}

/// Processes of any campaign's burden that was started by this process.
fn burdens(parent: u32) -> usize {
    let wanted = format!("burden\0--parent\0{parent}\0");
    let all = std::fs::read_dir("/proc").expect("list processes").flatten();
    let text = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("cmdline"));
    all.filter_map(|entry| text(entry).ok()).filter(|line| line.contains(&wanted)).count()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_item_is_judged_and_nothing_is_left() {
    let test = "every_item_is_judged_and_nothing_is_left";
    let (_alone, Some((exchange, place))) = (alone(), committed(test)) else { return };
    let before = exchange.witness();
    let arguments = ["campaign", "last", "--for", "8s", "--outside-trading", "--json"];
    let which = ["--patterns", "calm,microburst", "--faults", "memory,irq,cpu,burst"];
    let asked = [&arguments[..], &which].concat();
    // The machine may be busy with something else: what was inconclusive is tried again.
    let mut output = exchange.done(&asked);
    for _ in 0..2 {
        if code(&output) == 0 {
            break;
        }
        output = exchange.done(&asked);
    }
    assert_eq!(code(&output), 0, "{}", said(&output));
    let campaign = &json(&output)["campaign"];
    let items: Vec<&str> =
        campaign["judged"].as_array().unwrap().iter().filter_map(|t| t["item"].as_str()).collect();
    assert_eq!(items, ["calm", "microburst", "memory", "irq", "cpu", "burst", "endurance"]);
    for tried in campaign["judged"].as_array().unwrap() {
        let (item, why) = (tried["item"].as_str().unwrap(), tried["why"].as_str().unwrap());
        if item == "irq" || (item == "memory" && place.is_none()) {
            assert!(tried["call"].is_null() && !why.is_empty(), "{tried}");
            continue;
        }
        assert_eq!(tried["call"], "keep", "{tried}");
        assert!(tried["evidence"].as_str().is_some_and(|d| d.starts_with("sha256:")), "{tried}");
        let during = tried["during"].as_str().unwrap_or_default();
        match item {
            "calm" => assert!(why.starts_with("against the run's own baseline"), "{why}"),
            "microburst" => assert!(why.starts_with("not a pattern of the run"), "{why}"),
            "memory" => {
                assert!(during.starts_with("1 of 1 processes at work; at its memory"), "{during}");
                assert!(!during.contains("limit 0 times"), "no pressure: {during}");
            }
            "cpu" => assert!(during.contains("processes at work"), "{during}"),
            "burst" => assert!(during.starts_with("bursts of 1281 packets"), "{during}"),
            _ => assert_eq!(item, "endurance"),
        }
    }
    assert_eq!(exchange.witness(), before);
    if let Some(place) = place {
        assert_eq!(groups(&exchange, &place), "");
    }
    let run = json(&exchange.done(&["runs", "last", "--json"]));
    assert_eq!(run["state"], "committed");
    assert_eq!(run["campaigns"].as_array().unwrap().last(), Some(campaign));
    let report = exchange.done(&["report", "last", "--json"]);
    let page = std::fs::read_to_string(json(&report)["report"].as_str().unwrap()).unwrap();
    assert!(page.contains("microburst: kept"), "the report lists the campaign");
}

#[test]
fn what_is_not_allowed_or_makes_no_sense_touches_nothing() {
    let test = "what_is_not_allowed_or_makes_no_sense_touches_nothing";
    let (_alone, Some((exchange, _))) = (alone(), committed(test)) else { return };
    let trading = exchange.done(&["campaign", "last", "--for", "1m"]);
    assert_eq!(code(&trading), 4, "{}", said(&trading));
    assert!(said(&trading).contains("outside-trading"), "{}", said(&trading));
    let refuse = |more: &[&str], wanted: i32| {
        let output = exchange.done(&[&["campaign", "last", "--outside-trading"], more].concat());
        assert_eq!(code(&output), wanted, "{more:?}: {}", said(&output));
    };
    refuse(&["--for", "2s"], 2);
    refuse(&["--for", "1m", "--faults", "earthquake"], 2);
    refuse(&["--for", "1m", "--patterns", "storm"], 2);
    refuse(&["--for", "1m", "--memory", "1TiB"], 2);
    refuse(&["--for", "1m", "--memory", "1KiB"], 2);
    assert_eq!(code(&exchange.done(&["freeze"])), 0);
    refuse(&["--for", "1m"], 4);
    let run = json(&exchange.done(&["runs", "last", "--json"]));
    assert!(run["campaigns"].is_null(), "nothing was begun: {run}");
}

#[test]
fn killed_in_the_middle_of_a_fault_nothing_stays() {
    let test = "killed_in_the_middle_of_a_fault_nothing_stays";
    let (_alone, Some((exchange, place))) = (alone(), committed(test)) else { return };
    let before = exchange.witness();
    for (fault, after_ms) in [("memory", 20), ("memory", 200), ("cpu", 100)] {
        let arguments = ["campaign", "last", "--for", "30s", "--outside-trading", "--patterns"];
        let which = ["calm", "--faults", fault];
        let mut child =
            exchange.nicmend(&[&arguments[..], &which].concat()).spawn().expect("start nicmend");
        let mut lines = BufReader::new(child.stderr.take().expect("its progress")).lines();
        let mut told = String::new();
        while !told.starts_with("watch     fault") {
            told = lines.next().expect("more progress").expect("text");
        }
        let skipped = fault == "memory" && place.is_none();
        if !skipped {
            until("the fault is there", || burdens(child.id()) > 0);
        }
        std::thread::sleep(Duration::from_millis(after_ms));
        child.kill().expect("kill nicmend");
        child.wait().expect("the end of nicmend");
        until("its processes are gone", || burdens(child.id()) == 0);
        let recovered = exchange.done(&["recover"]);
        assert_eq!(code(&recovered), 0, "{}", said(&recovered));
        if let Some(place) = &place {
            assert_eq!(groups(&exchange, place), "");
        }
        assert_eq!(exchange.witness(), before);
        let run = json(&exchange.done(&["runs", "last", "--json"]));
        let last = run["campaigns"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["call"], "inconclusive", "{last}");
        assert!(last["why"].as_str().unwrap().starts_with("interrupted"), "{last}");
        assert!(last["leaves"].is_null(), "{last}");
    }
}
