//! Probation on a real link: what holds stays, what regresses is put back and says why, and what says
//! nothing about the change (a dead reflector, somebody else's hand, Ctrl-C) changes nothing.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself

#[path = "run/exchange.rs"]
mod exchange;

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStderr},
    time::Duration,
};

use nix::sys::signal::Signal;

use exchange::{Exchange, NIC, code, finished, json, said, signal};

/// As many packets between checks as in them: every window is like the run's own.
const DENSE: &str = "{ for: 30s, rate: 1000 }";

/// Loose enough for a noisy machine: a median twenty times the baseline's is no noise. Tails have absolute
/// bounds: against a baseline that happened to have no slow packet, a single hiccup is an endless increase.
fn yaml(probation: &str) -> String {
    format!(
        "apiVersion: nicmend/v1\nkind: Playbook\n\
         metadata: {{ name: kernel-watch, version: 1.0.0, summary: Harmless settings }}\n\
         stages:\n  - name: all\n    settings: {{ feature.rx-gro: true, link.tx-queue-len: 500, \
         sysctl.net.ipv4.tcp_autocorking: 0 }}\n\
         guardrails:\n  latency.p50: {{ no-worse-than: 2000% }}\n  \
         latency.slow-ratio: {{ at-most: 100% }}\n  \
         latency.loss-ratio: {{ at-most: 50% }}\n  \
         latency.storm-rate: {{ at-most: 1000000 }}\n\
         verify: {{ transport: udp, settle: 2s, window: 1s, rate: 1000, payload: 64 }}\n{}",
        match probation {
            "" => String::new(),
            some => format!("probation: {some}\n"),
        }
    )
}

/// A host with a committed run, and what it looked like before and after.
fn committed(test: &str, probation: &str) -> Option<(Exchange, [String; 2])> {
    let exchange = Exchange::new(test)?;
    let before = exchange.witness();
    let playbook = exchange.playbook("watched", &yaml(probation));
    // A busy machine's baseline may be too noisy for a verdict: then once more.
    let apply = || finished(exchange.apply(&playbook).spawn().expect("start nicmend"));
    let output = (0..3).map(|_| apply()).find(|output| code(output) == 0).unwrap_or_else(apply);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let after = exchange.witness();
    assert_ne!(after, before);
    Some((exchange, [before, after]))
}

/// A watch that has begun: its process, and the rest of what it tells.
fn watching(exchange: &Exchange, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStderr>>) {
    let arguments = [&["watch", "last", "--json"], arguments].concat();
    let mut child = exchange.nicmend(&arguments).spawn().expect("start nicmend");
    let mut lines = BufReader::new(child.stderr.take().expect("its progress")).lines();
    let mut told = String::new();
    while !told.starts_with("watch ") {
        told = lines.next().expect("more progress").expect("text");
    }
    (child, lines)
}

/// A far end that cannot keep up: replies queue there for tens of milliseconds, some are dropped.
fn strangle(exchange: &Exchange) {
    let pid = exchange.reflector.id().to_string();
    let far = ["-t", pid.as_str(), "-n", "tc", "qdisc", "add", "dev", "nmrun1", "root"];
    let slow = ["tbf", "rate", "300kbit", "burst", "1540", "limit", "6000"];
    exchange.netns.run("nsenter", &[&far[..], &slow[..]].concat());
}

#[test]
fn what_holds_becomes_final() {
    let Some((exchange, [_, after])) =
        committed("what_holds_becomes_final", "{ for: 9s, rate: 100 }")
    else {
        return;
    };
    let output = exchange.done(&["watch", "last", "--json"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(json(&output)["ending"], "held");
    let run = json(&exchange.done(&["runs", "last", "--json"]));
    assert_eq!((&run["state"], &run["probation"]["ending"]), (&"committed".into(), &"held".into()));
    assert!(run["probation"]["evidence"].as_str().is_some_and(|d| d.starts_with("sha256:")));
    // Checks at 1000 a second at the beginning, when the reference is taken and at the end; between them
    // 100 a second.
    let samples = run["probation"]["samples"].as_u64().unwrap();
    assert!((3000..4500).contains(&samples), "{samples} packets");
    assert_eq!(exchange.witness(), after);
}

/// A path that is slow while the reference is taken must not become what is usual.
#[test]
fn what_is_slow_from_early_on_is_a_regression() {
    let test = "what_is_slow_from_early_on_is_a_regression";
    let Some((exchange, [before, _])) = committed(test, "{ for: 40s, rate: 100 }") else { return };
    let (child, _lines) = watching(&exchange, &[]);
    std::thread::sleep(Duration::from_millis(1500));
    strangle(&exchange);
    let output = finished(child);
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert_eq!(exchange.witness(), before);
    let run = json(&exchange.done(&["runs", "last", "--json"]));
    let watched_ns = run["probation"]["watched-ns"].as_u64().unwrap_or(u64::MAX);
    assert!(watched_ns < 30_000_000_000, "not only at the last check: {run}");
}

#[test]
fn a_campaign_is_no_regression() {
    let test = "a_campaign_is_no_regression";
    let Some((exchange, [_, after])) = committed(test, "{ for: 8s, rate: 1000 }") else { return };
    let (child, _lines) = watching(&exchange, &[]);
    let what = ["--patterns", "calm", "--faults", "burst,cpu", "--for", "10s", "--wait", "10s"];
    let campaign = [&["campaign", "last", "--outside-trading", "--json"], &what[..]].concat();
    let campaign = exchange.done(&campaign);
    assert!([0, 3].contains(&code(&campaign)), "{}", said(&campaign));
    let output = finished(child);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(exchange.witness(), after);
}

#[test]
fn one_watch_a_run() {
    let Some((exchange, _)) = committed("one_watch_a_run", DENSE) else { return };
    let (child, _lines) = watching(&exchange, &[]);
    let second = exchange.done(&["watch", "last", "--for", "2s"]);
    assert_eq!(code(&second), 4, "{}", said(&second));
    assert!(said(&second).contains("watched already"), "{}", said(&second));
    signal(&child, Signal::SIGINT);
    assert_eq!(code(&finished(child)), 0);
}

#[test]
fn a_regression_is_put_back_and_said_to_be_another_ones() {
    let test = "a_regression_is_put_back_and_said_to_be_another_ones";
    let Some((exchange, [before, _])) = committed(test, DENSE) else { return };
    let (child, lines) = watching(&exchange, &[]);
    std::thread::sleep(Duration::from_secs(2));
    strangle(&exchange);
    let output = finished(child);
    let told: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(code(&output), 3, "{}{}", said(&output), told.join("\n"));
    let run = &json(&output)["run"];
    assert_eq!(json(&output)["ending"], "regressed");
    assert_eq!(run["state"], "reverted");
    let why = run["why"].as_str().unwrap();
    assert!(why.starts_with("probation: latency.p50"), "{why}");
    assert_eq!(exchange.witness(), before);
    // The link is as slow with everything put back.
    assert_eq!(run["probation"]["aftermath"]["finding"], "still-there", "{run}");
    assert_eq!(code(&exchange.done(&["watch", "last"])), 2, "reverted: nothing to watch");
}

#[test]
fn a_frozen_host_is_left_as_it_is() {
    let Some((exchange, [_, after])) = committed("a_frozen_host_is_left_as_it_is", DENSE) else {
        return;
    };
    assert_eq!(code(&exchange.done(&["freeze", "--why", "a test"])), 0);
    let (child, _lines) = watching(&exchange, &[]);
    strangle(&exchange);
    let output = finished(child);
    assert_eq!(code(&output), 4, "{}", said(&output));
    assert!(json(&output)["why"].as_str().unwrap().contains("NOT reverted"), "{}", said(&output));
    assert_eq!(json(&output)["run"]["state"], "committed");
    assert_eq!(exchange.witness(), after);
}

#[test]
fn ctrl_c_ends_the_watch_and_nothing_else() {
    let test = "ctrl_c_ends_the_watch_and_nothing_else";
    let Some((exchange, [_, after])) = committed(test, "") else { return };
    let unlimited = exchange.done(&["watch", "last"]);
    assert_eq!(code(&unlimited), 2, "no probation, no --for: {}", said(&unlimited));
    let (child, _lines) = watching(&exchange, &["--for", "4s"]);
    std::thread::sleep(Duration::from_secs(2));
    signal(&child, Signal::SIGINT);
    let output = finished(child);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(json(&output)["ending"], "stopped");
    let watched = json(&output)["run"]["probation"]["watched-ns"].as_u64().unwrap();
    assert!((500_000_000..4_000_000_000).contains(&watched), "{watched} ns");
    assert_eq!(exchange.witness(), after);
    // The rest is shorter by what was watched.
    let output = exchange.done(&["watch", "last", "--for", "4s", "--json"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let run = &json(&output)["run"];
    let probation = &run["probation"];
    assert_eq!((&probation["ending"], &probation["watches"]), (&"held".into(), &2.into()));
    let fresh = probation["samples"].as_u64().unwrap() * 1_000_000;
    assert!(fresh + watched <= 4_500_000_000, "{probation}");
    assert_eq!(code(&exchange.done(&["watch", "no-such-run", "--for", "1s"])), 2);
}

#[test]
fn a_dead_reflector_undoes_nothing() {
    let Some((exchange, [_, after])) = committed("a_dead_reflector_undoes_nothing", DENSE) else {
        return;
    };
    let (child, _lines) = watching(&exchange, &[]);
    std::thread::sleep(Duration::from_secs(1));
    signal(&exchange.reflector, Signal::SIGSTOP);
    let output = finished(child);
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert_eq!(json(&output)["ending"], "inconclusive");
    assert_eq!(json(&output)["run"]["state"], "committed");
    assert_eq!(exchange.witness(), after);
}

#[test]
fn another_hand_ends_the_watch_and_is_left_alone() {
    let test = "another_hand_ends_the_watch_and_is_left_alone";
    let Some((exchange, _)) = committed(test, DENSE) else { return };
    let (child, _lines) = watching(&exchange, &[]);
    exchange.netns.run("ethtool", &["-K", NIC, "gro", "off"]);
    let output = finished(child);
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert_eq!(json(&output)["ending"], "overtaken");
    let run = &json(&output)["run"];
    assert_eq!(run["foreign"][0]["name"], "feature.rx-gro", "{run}");
    assert_eq!(run["state"], "committed");
    let features = exchange.netns.run("ethtool", &["-k", NIC]);
    assert!(features.contains("generic-receive-offload: off"), "{features}");
    let refused = exchange.done(&["watch", "last"]);
    assert_eq!(code(&refused), 4, "not in force any more: {}", said(&refused));
}

#[test]
fn another_run_is_let_in_and_ends_the_watch() {
    let test = "another_run_is_let_in_and_ends_the_watch";
    let Some((exchange, _)) = committed(test, DENSE) else { return };
    let first = json(&exchange.done(&["runs", "last", "--json"]))["id"].clone();
    let (child, _lines) = watching(&exchange, &[]);
    let other = yaml("").replace("feature.rx-gro: true", "link.mtu: 1400");
    let other = exchange.playbook("other", &other);
    let apply = || finished(exchange.apply(&other).spawn().expect("start nicmend"));
    let output = (0..3).map(|_| apply()).find(|output| code(output) == 0).unwrap_or_else(apply);
    assert_eq!(code(&output), 0, "the watch keeps nobody out: {}", said(&output));
    let second = json(&output)["id"].clone();
    let output = finished(child);
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert_eq!(json(&output)["ending"], "overtaken");
    let why = json(&output)["why"].clone();
    assert!(why.as_str().unwrap().contains(second.as_str().unwrap()), "{why}");
    assert_eq!(json(&output)["run"]["id"], first);
    assert_eq!(json(&output)["run"]["state"], "committed");
}
