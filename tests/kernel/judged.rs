//! How runs are judged, on a real link: early, in turns, against a control NIC, and again from evidence.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself

#[path = "run/exchange.rs"]
mod exchange;
#[path = "judged/xsk.rs"]
mod xsk;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Output},
    sync::{Mutex, MutexGuard, PoisonError},
};

use exchange::{
    CONTROL, CONTROL_FAR, Exchange, FAR, FAR_NIC, NIC, code, finished, json, kept, said,
};

/// Runs measure latency: one at a time.
static QUIET: Mutex<()> = Mutex::new(());

fn quiet() -> MutexGuard<'static, ()> {
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

const HELPS: &str = "feature.rx-gro: true, link.tx-queue-len: 500";
/// Nobody feels these: they may be switched to and fro.
const UNFELT: &str = "napi.gro-flush-timeout: 20000, napi.defer-hard-irqs: 1";
const HURTS: &str = "feature.rx-gro: true, feature.rx-gro-list: true, napi.defer-hard-irqs: 100, \
                     napi.gro-flush-timeout: 2000000";

/// A playbook that guards the median alone: the machine of a test is never quiet in its tails.
fn yaml(settings: &str, worse: &str, verify: &str) -> String {
    format!(
        "apiVersion: nicmend/v1\nkind: Playbook\n\
         metadata: {{ name: kernel-judged, version: 1.0.0, summary: A few settings }}\n\
         stages:\n  - name: all\n    settings: {{ {settings} }}\n\
         guardrails:\n  latency.p50: {{ no-worse-than: {worse} }}\n{LAX}\
         verify: {{ transport: udp, settle: 2s, rate: 1000, payload: 64, {verify} }}\n"
    )
}

/// Bounds far above what a busy machine does to a quiet link.
const LAX: &str = "  latency.slow-ratio: { at-most: 100% }\n  \
                   latency.loss-ratio: { at-most: 50% }\n  \
                   latency.storm-rate: { at-most: 1000000 }\n";
/// Where all packets get slow there are no storms to count.
const STORMS: &str = "  latency.storm-rate: { at-most: 1000000 }\n";

/// Follows a run's progress until it says a line with `wanted` in it.
fn until(child: &mut Child, wanted: &str) -> impl Sized + use<> {
    let mut lines = BufReader::new(child.stderr.take().expect("its progress")).lines();
    let mut told = String::new();
    loop {
        let line = lines.next().unwrap_or_else(|| panic!("no `{wanted}` in:\n{told}"));
        told += &line.expect("text");
        told.push('\n');
        if told.contains(wanted) {
            break;
        }
    }
    lines
}

fn folder(exchange: &Exchange) -> PathBuf {
    let run = json(&exchange.done(&["runs", "last", "--json"]));
    exchange.state().join("runs").join(run["id"].as_str().expect("an id"))
}

fn window(exchange: &Exchange, name: &str) -> serde_json::Value {
    let bytes = fs::read(folder(exchange).join(format!("{name}.json"))).expect("read the window");
    serde_json::from_slice(&bytes).expect("a window")
}

#[test]
fn a_gross_regression_ends_its_window_and_evidence_judges_the_same() {
    let test = "a_gross_regression_ends_its_window_and_evidence_judges_the_same";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange
        .playbook("hurts", &yaml(HURTS, "900%", "window: 12s, patterns: [calm, microburst]"));
    let early = |output: &Output| json(output)["why"].to_string().contains("called after");
    // Where the baseline itself was as bad as the change there is nothing to call. Ten times the median
    // is far from both, so that what a busy machine does to the baseline does not make blocks long.
    let output = (0..4)
        .map(|_| finished(exchange.apply(&playbook).spawn().unwrap()))
        .inspect(|output| assert_eq!(code(output), 3, "{}", said(output)))
        .inspect(|_| assert_eq!(exchange.witness(), before))
        .inspect(|output| println!("{}", json(output)["why"]))
        .find(early)
        .expect("one of four regressions a hundredfold is called early");
    let why = json(&output)["why"].to_string();
    let measured = window(&exchange, "stage-1");
    assert!(measured["length_ns"].as_u64().unwrap() < 11_000_000_000, "{}", measured["length_ns"]);

    let again = exchange.done(&["judge", "last", "--json"]);
    assert_eq!(code(&again), 3, "{}", said(&again));
    assert_eq!(json(&again)["why"].to_string(), why);
    // One sample altered: nothing is concluded from it.
    let file = folder(&exchange).join("baseline.samples");
    let samples = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("0 1\n{samples}")).unwrap();
    let altered = exchange.done(&["judge", "last"]);
    assert_eq!(code(&altered), 1, "{}", said(&altered));
    assert!(said(&altered).contains("altered since it was recorded"), "{}", said(&altered));
}

#[test]
fn a_stage_takes_turns_and_stays() {
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new("a_stage_takes_turns_and_stays")) else {
        return;
    };
    let before = exchange.witness();
    let text = yaml(UNFELT, "2000%", "window: 4s, interleave: true");
    let playbook = exchange.playbook("turns", &text);
    let output = kept(|| finished(exchange.apply(&playbook).spawn().unwrap()));
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_ne!(exchange.witness(), before, "in force at the end");
    for turn in 1..=5 {
        let length = window(&exchange, &format!("stage-1-turn-{turn:02}"))["length_ns"].clone();
        assert_eq!(length.as_u64(), Some(2_000_000_000), "turn {turn}");
    }
    let again = exchange.done(&["judge", "last", "--json"]);
    assert_eq!(code(&again), 0, "{}", said(&again));
    assert!(json(&again)["notes"].to_string().contains("interleaved"), "{}", said(&again));
    let page = exchange.done(&["report", "last"]);
    assert_eq!(code(&page), 0, "{}", said(&page));
    assert_eq!(code(&exchange.done(&["revert", "last"])), 0);
    assert_eq!(exchange.witness(), before);
}

#[test]
fn a_run_killed_between_turns_is_recovered() {
    let test = "a_run_killed_between_turns_is_recovered";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let text = yaml(UNFELT, "2000%", "window: 4s, interleave: true");
    let playbook = exchange.playbook("turns", &text);
    for turn in ["turn 2 of 5", "turn 3 of 5"] {
        let mut child = exchange.apply(&playbook).spawn().unwrap();
        let _progress = until(&mut child, turn);
        let off = turn.starts_with("turn 2");
        assert_eq!(exchange.witness() == before, off, "{turn}");
        child.kill().unwrap();
        child.wait().unwrap();
        let recovered = exchange.done(&["recover"]);
        assert_eq!(code(&recovered), 0, "{}", said(&recovered));
        assert_eq!(exchange.witness(), before, "{turn}");
    }
}

#[test]
fn a_hand_between_turns_is_seen() {
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new("a_hand_between_turns_is_seen")) else {
        return;
    };
    let before = exchange.witness();
    let text = yaml(UNFELT, "2000%", "window: 4s, interleave: true");
    let playbook = exchange.playbook("turns", &text);
    let mut child = exchange.apply(&playbook).spawn().unwrap();
    let _progress = until(&mut child, "turn 2 of 5");
    // No notice tells of a file in sysfs: only looking does.
    exchange.write_sysfs("gro_flush_timeout", "777000");
    let output = finished(child);
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert_eq!(json(&output)["foreign"][0]["found"], 777_000, "{}", said(&output));
    assert_eq!(exchange.witness(), before);
}

/// The far host's NIC holds received packets back for this long.
fn hold_back(exchange: &Exchange, end: &str, nanoseconds: u32) {
    let gro = if nanoseconds == 0 { "off" } else { "on" };
    exchange.far("ethtool", &["-K", end, "gro", gro, "rx-gro-list", gro]);
    // The kernel shows a namespace's NICs in a sysfs that was mounted in it.
    let script = format!(
        "mount -t sysfs none /sys && cd /sys/class/net/{end} && \
         echo {nanoseconds} > gro_flush_timeout && echo 100 > napi_defer_hard_irqs"
    );
    exchange.far("unshare", &["-m", "sh", "-ec", &script]);
}

/// Both links get slower at the same moment, half-way through the run: the market moved.
#[test]
fn a_control_tells_the_market_from_the_change() {
    let test = "a_control_tells_the_market_from_the_change";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    exchange.second_link();
    let before = exchange.witness();
    let run = |verify: &str| -> Output {
        let playbook =
            exchange.playbook("control", &yaml(UNFELT, "1000%", verify).replace(STORMS, ""));
        let mut apply = exchange.apply(&playbook);
        if verify.contains("control") {
            apply.args(["--control-peer", CONTROL_FAR]);
        }
        let mut child = apply.spawn().unwrap();
        let _progress = until(&mut child, "write ");
        for end in [FAR_NIC, "nmctl1"] {
            hold_back(&exchange, end, 2_000_000);
        }
        let output = finished(child);
        for end in [FAR_NIC, "nmctl1"] {
            hold_back(&exchange, end, 0);
        }
        output
    };
    let fooled = run("window: 4s");
    assert_eq!(code(&fooled), 3, "{}", said(&fooled));
    assert_eq!(exchange.witness(), before);
    let told = kept(|| run(&format!("window: 4s, control: {CONTROL}")));
    assert_eq!(code(&told), 0, "{}", said(&told));
    let again = exchange.done(&["judge", "last", "--json"]);
    assert_eq!(code(&again), 0, "{}", said(&again));
    assert!(json(&again)["notes"].to_string().contains("control"), "{}", said(&again));
    assert_eq!(code(&exchange.done(&["revert", "last"])), 0);
    assert_eq!(exchange.witness(), before);
}

#[test]
fn a_control_that_the_change_reaches_is_refused() {
    let test = "a_control_that_the_change_reaches_is_refused";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    exchange.second_link();
    let before = exchange.witness();
    let refused = |settings: &str, control: &str| {
        let verify = format!("window: 1s, control: {control}");
        let playbook = exchange.playbook("refused", &yaml(settings, "50%", &verify));
        let output = finished(exchange.apply(&playbook).spawn().unwrap());
        (code(&output), said(&output))
    };
    let (exit, words) = refused("sysctl.net.ipv4.tcp_autocorking: 0", CONTROL);
    assert!(exit == 4 && words.contains("tcp_autocorking"), "{exit} {words}");
    let (exit, words) = refused(HELPS, NIC);
    assert!(exit == 4 && words.contains("the NIC of the run itself"), "{exit} {words}");
    let alone = exchange.playbook("alone", &yaml(HELPS, "50%", "window: 1s"));
    let mut apply = exchange.apply(&alone);
    let output = finished(apply.args(["--control-peer", CONTROL_FAR]).spawn().unwrap());
    assert_eq!(code(&output), 2, "{}", said(&output));
    let (exit, words) = refused(HELPS, "nosuch0");
    assert!(exit == 2 && words.contains("nosuch0"), "{exit} {words}");
    assert_eq!(exchange.witness(), before);
}

#[test]
fn a_window_shorter_than_three_storm_periods_commits_provisionally() {
    let test = "a_window_shorter_than_three_storm_periods_commits_provisionally";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let text = yaml(HELPS, "2000%", "window: 2s, storm-period: 6m");
    let playbook = exchange.playbook("storms", &text);
    let plan = exchange.done(&["plan", &playbook, "--nic", NIC, "--peer", FAR]);
    assert!(said(&plan).contains("three storm periods"), "{}", said(&plan));
    let output = kept(|| finished(exchange.apply(&playbook).spawn().unwrap()));
    assert_eq!(code(&output), 0, "{}", said(&output));
    let again = json(&exchange.done(&["judge", "last", "--json"]));
    assert!(again["provisional"].as_str().is_some_and(|why| why.contains("1080.0 s")), "{again}");
}

#[test]
fn what_bypasses_the_kernel_is_not_judged() {
    let test = "what_bypasses_the_kernel_is_not_judged";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("blind", &yaml(UNFELT, "2000%", "window: 3s"));
    // Bound while the window runs: it was not represented by what was measured.
    let mut child = exchange.apply(&playbook).spawn().unwrap();
    let _progress = until(&mut child, "measure   stage 1");
    let socket = match xsk::bound(NIC) {
        Ok(socket) => socket,
        Err(why) => {
            child.kill().unwrap();
            child.wait().unwrap();
            return tests::skip(test, &format!("no AF_XDP socket can be bound here: {why}"));
        }
    };
    let output = finished(child);
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert!(said(&output).contains("AF_XDP"), "{}", said(&output));
    assert_eq!(exchange.witness(), before);
    // Bound beforehand: nothing is even begun.
    let refused = finished(exchange.apply(&playbook).spawn().unwrap());
    assert_eq!(code(&refused), 4, "{}", said(&refused));
    assert!(said(&refused).contains("kernel-bypass"), "{}", said(&refused));
    drop(socket);
    // The kernel takes the queue back a little later (xp_release_deferred).
    let plan = ["plan", playbook.as_str(), "--nic", NIC, "--peer", FAR];
    for _ in 0..50 {
        if !said(&exchange.done(&plan)).contains("kernel-bypass") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let output = kept(|| finished(exchange.apply(&playbook).spawn().unwrap()));
    assert_eq!(code(&output), 0, "{}", said(&output));
}
