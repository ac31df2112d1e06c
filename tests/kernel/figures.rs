//! Figures beside the probe's on a real link: a desk's file, socket and Prometheus endpoint decide runs,
//! and the kernel's own figures of live TCP sessions follow what is done to them.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself

#[path = "figures/desk.rs"]
mod desk;
#[path = "run/exchange.rs"]
mod exchange;

use std::{
    process::{Child, Command, Output},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agent::{
    fault::Result as Measured,
    host::linux::Linux,
    measure::{
        Each, Meter, Window, WindowSpec, clock,
        probe::{Options, Probe},
        recording::Recording,
        sockets::Way,
    },
};
use playbooks::{
    Playbook,
    playbook::{Pattern, Transport},
};

use desk::{Desk, Mood};
use exchange::{Exchange, FAR, NIC, finished, json, said};

/// Runs measure latency: one at a time.
static QUIET: Mutex<()> = Mutex::new(());

fn quiet() -> MutexGuard<'static, ()> {
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A playbook of one harmless change, which the made-up desks take for good or bad.
fn yaml(metric: &str, criteria: &str) -> String {
    format!(
        "apiVersion: nicmend/v1\nkind: Playbook\n\
         metadata: {{ name: figures, version: 1.0.0, summary: One setting }}\n\
         stages:\n  - name: all\n    settings: {{ link.tx-queue-len: 500 }}\n\
         metrics: {{ {metric} }}\n{criteria}\n\
         verify: {{ transport: udp, settle: 2s, window: 3s, rate: 500, payload: 64 }}\n"
    )
}

fn applied(exchange: &Exchange, name: &str, yaml: &str) -> Output {
    let playbook = exchange.playbook(name, yaml);
    finished(exchange.apply(&playbook).spawn().expect("start nicmend"))
}

/// A run whose change the figure reverts, naming it. On a busy machine a gauge's verdict may stay open,
/// which reverts as well; that it is broken on a quiet one is the verdict's own test.
#[track_caller]
fn reverts(exchange: &Exchange, name: &str, yaml: &str, words: &[&str]) {
    let before = exchange.witness();
    let output = applied(exchange, name, yaml);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let run = json(&output);
    assert_eq!(run["state"], "reverted", "{run}");
    let why = run["why"].as_str().expect("a reason");
    for word in words {
        assert!(why.contains(word), "no {word:?} in {why:?}");
    }
    assert_eq!(exchange.witness(), before);
}

#[test]
fn a_file_that_gets_worse_reverts() {
    let test = "a_file_that_gets_worse_reverts";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let desk = Desk::new(&exchange.folder, Mood::WorseBy(1.5));
    let metric = format!("t2t: {{ file: {}, every: 20ms }}", desk.file());
    let guarded = yaml(&metric, "guardrails: { external.t2t: { no-worse-than: 10% } }");
    reverts(&exchange, "file", &guarded, &["external.t2t: no-worse-than 10 % ", "measured +"]);
    // The evidence holds what it was judged by.
    let run = json(&exchange.done(&["runs", "last", "--json"]));
    let folder = exchange.state().join("runs").join(run["id"].as_str().expect("an id"));
    let stored = std::fs::read(folder.join("stage-1.json")).expect("the window");
    let window: Window = serde_json::from_slice(&stored).expect("a window");
    let readings = &window.readings["external.t2t"].readings;
    assert!(readings.len() >= 100, "{}", readings.len());
    assert!(readings.iter().all(|r| r.at_ns < window.length_ns && r.value > 12.0));
}

#[test]
fn a_socket_that_gets_better_is_an_objective() {
    let test = "a_socket_that_gets_better_is_an_objective";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let desk = Desk::new(&exchange.folder, Mood::WorseBy(0.5));
    let metric = format!("t2t: {{ unix: {} }}", desk.socket());
    let reached = yaml(&metric, "objective: { external.t2t: { at-most: 8 } }");
    let mut output = applied(&exchange, "socket", &reached);
    for _ in 0..3 {
        // On a busy machine too little may come for a verdict: a busy desk would ask again.
        if output.status.code() == Some(3) && json(&output)["why"].to_string().contains(" open") {
            output = applied(&exchange, "socket", &reached);
        }
    }
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(json(&output)["state"], "committed");
}

#[test]
fn an_endpoint_and_a_counter_are_guardrails() {
    let test = "an_endpoint_and_a_counter_are_guardrails";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let desk = Desk::new(&exchange.folder, Mood::WorseBy(0.5));
    let at = |series: &str, more: &str| {
        format!("m: {{ prometheus: '{}', series: '{series}', every: 20ms{more} }}", desk.url())
    };
    // Half of what is better higher is worse; the other venue's is not looked at.
    let fills = at("fill_ratio{venue=\"A\"}", ", better: higher");
    let guarded = yaml(&fills, "guardrails: { external.m: { no-worse-than: 10% } }");
    reverts(&exchange, "gauge", &guarded, &["external.m: no-worse-than 10 % ", "measured +"]);
    let gaps = at("feed_gaps_total", ", counter: true");
    let guarded = yaml(&gaps, "guardrails: { external.m: { at-most: 0 } }");
    reverts(&exchange, "counter", &guarded, &["external.m", "at-most 0 broken"]);
}

#[test]
fn live_sessions_guard_a_run() {
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new("live_sessions_guard_a_run")) else {
        return;
    };
    let guardrails = "guardrails: { tcp.session-retransmits: { at-most: 1000 } }";
    let text = yaml("unused: { file: /f }", guardrails);
    // Nobody talks: nothing to guard by, and nothing is written.
    let refused = applied(&exchange, "silent", &text);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("no live TCP session"), "{}", said(&refused));
    let mut talker = talking(&exchange);
    let output = applied(&exchange, "talking", &text);
    talker.kill().expect("end the talker");
    talker.wait().expect("its end");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(json(&output)["state"], "committed");
}

#[test]
fn a_source_that_dies_reverts_and_one_that_is_not_there_refuses() {
    let test = "a_source_that_dies_reverts_and_one_that_is_not_there_refuses";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let desk = Desk::new(&exchange.folder, Mood::Dies);
    let guardrail = "guardrails: { external.t2t: { no-worse-than: 900% } }";
    let file = yaml(&format!("t2t: {{ file: {}, every: 20ms }}", desk.file()), guardrail);
    reverts(&exchange, "stale", &file, &["external.t2t", "stale"]);
    let socket = yaml(&format!("t2t: {{ unix: {} }}", desk.socket()), guardrail);
    reverts(&exchange, "closed", &socket, &["external.t2t", "closed it"]);
    let before = exchange.witness();
    for (name, metric, words) in [
        ("nofile", "t2t: { file: /nonexistent/t2t, every: 20ms }", "no such file"),
        ("nosocket", "t2t: { unix: /nonexistent/t2t.sock }", "cannot connect"),
        (
            "nourl",
            "t2t: { prometheus: 'http://127.0.0.1:1/', series: a, every: 20ms }",
            "connect to",
        ),
        ("device", "t2t: { file: /dev/zero, every: 20ms }", "not a regular file"),
    ] {
        let output = applied(&exchange, name, &yaml(metric, guardrail));
        assert_eq!(output.status.code(), Some(1), "{name}: {}", said(&output));
        let told = said(&output);
        assert!(told.contains("read external.t2t from") && told.contains(words), "{name}: {told}");
        assert!(!told.contains("write ") && !told.contains("peer  "), "{name}: {told}");
    }
    assert_eq!(exchange.witness(), before);
}

/// Nothing but a stretch of time.
struct Still;

impl Meter for Still {
    fn settle(&mut self, _: Duration, _: &dyn Fn() -> bool) -> Measured<Duration> {
        Ok(Duration::ZERO)
    }

    fn watched(
        &mut self,
        spec: &WindowSpec,
        _: &dyn Fn() -> bool,
        _: Each<'_>,
    ) -> Measured<Window> {
        let began_utc_ns = clock::realtime_ns();
        std::thread::sleep(spec.length);
        let length_ns = spec.length.as_nanos() as u64;
        Ok(Window { began_utc_ns, length_ns, ..Window::default() })
    }
}

fn spec(transport: Transport) -> WindowSpec {
    let (length, pattern) = (Duration::from_secs(2), Pattern::Calm);
    WindowSpec { transport, length, rate: 200, payload: 64, pattern, flows: 2 }
}

fn sessions() -> Playbook {
    let text =
        yaml("unused: { file: /f }", "guardrails: { tcp.session-retransmits: { at-most: 0 } }");
    playbooks::parse::parse(text.as_bytes()).expect("a playbook")
}

const NEVER: &dyn Fn() -> bool = &|| false;

/// Two seconds of the sessions there are.
fn watched(host: &Linux) -> Window {
    let playbook = sessions();
    let mut still = Still;
    let mut meter = Recording::beside(&mut still, host, NIC, &playbook);
    meter.window(&spec(Transport::Udp), NEVER).expect("a window")
}

/// Their median round trip, in milliseconds.
fn rtt_ms(window: &Window) -> f64 {
    let mut rtts: Vec<f64> =
        window.readings["tcp.rtt"].readings.iter().map(|reading| reading.value / 1e6).collect();
    rtts.sort_by(f64::total_cmp);
    assert!(rtts.len() >= 5, "{:?}", window.readings);
    rtts[rtts.len() / 2]
}

/// Another process that talks TCP over the link for as long as it lives.
fn talking(exchange: &Exchange) -> Child {
    let arguments = ["probe", FAR, "--nic", NIC, "--transport", "tcp", "--for", "60s"];
    let mut command = exchange.nicmend(&arguments);
    command.args(["--rate", "1000", "--payload", "400", "--json"]).spawn().expect("start a talker")
}

#[test]
fn sessions_figures_follow_the_link() {
    let test = "sessions_figures_follow_the_link";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    if !tests::programs_or_skip(test, &["tc", "bash"]) {
        return;
    }
    let host = Linux::new().expect("the machine");
    let mut talker = talking(&exchange);
    std::thread::sleep(Duration::from_millis(500));
    let again = |window: &Window| window.readings["tcp.session-retransmits"].increase();
    let calm = watched(&host);
    // 3.5 Mbit/s through one of 1: what does not fit at once waits.
    let shape = "root tbf rate 1mbit burst 2kb limit 12500";
    let tc = |words: &str| exchange.netns.run("tc", &words.split(' ').collect::<Vec<_>>());
    tc(&format!("qdisc add dev {NIC} {shape}"));
    std::thread::sleep(Duration::from_millis(1500));
    let narrow_ms = rtt_ms(&watched(&host));
    tc(&format!("qdisc del dev {NIC} root"));
    talker.kill().expect("end the talker");
    talker.wait().expect("its end");
    // An IPv6 socket that holds an IPv4 session, and sends to a station that is not there.
    let speak = format!(
        "exec 3<>/dev/tcp/::ffff:{FAR}/862; sleep 1; while sleep 0.02; do echo x >&3; done"
    );
    let mut speaker = Command::new("bash").args(["-c", &speak]).spawn().expect("start a speaker");
    std::thread::sleep(Duration::from_millis(500));
    let ip = |words: &str| exchange.netns.run("ip", &words.split(' ').collect::<Vec<_>>());
    ip(&format!("neigh replace {FAR} lladdr 02:00:00:00:00:99 dev {NIC} nud permanent"));
    let lossy = watched(&host);
    speaker.kill().expect("end the speaker");
    speaker.wait().expect("its end");
    let (calm_ms, calm_again, lossy_again) = (rtt_ms(&calm), again(&calm), again(&lossy));
    println!(
        "rtt {calm_ms:.3} ms, {calm_again} sent again; through a narrow link {narrow_ms:.3} ms; \
         without an answer {lossy_again} sent again"
    );
    assert!(narrow_ms > calm_ms + 5.0 && narrow_ms < 1000.0, "{calm_ms} to {narrow_ms} ms");
    assert!(lossy_again >= 1.0, "{lossy_again}");
    assert!(lossy.readings["tcp.rtt"].trouble.is_some(), "nothing was acknowledged");
}

#[test]
fn the_probes_own_sessions_do_not_count() {
    let test = "the_probes_own_sessions_do_not_count";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let host = Linux::new().expect("the machine");
    let way = Way { nic: Some(NIC.to_owned()), source: None };
    let options = Options::new(way, Transport::Tcp);
    let mut probe = Probe::open(&host, &FAR.parse().expect("a peer"), options).expect("a probe");
    let playbook = sessions();
    let mut meter = Recording::beside(&mut probe, &host, NIC, &playbook);
    meter.settle(Duration::from_secs(5), NEVER).expect("replies");
    let refused = meter.window(&spec(Transport::Tcp), NEVER).expect_err("nothing to judge by");
    assert!(refused.to_string().contains("no live TCP session of nmrun0"), "{refused}");
    // What the first window must hold, a later one may lack.
    let later = meter.window(&spec(Transport::Tcp), NEVER).expect("a window");
    assert!(later.readings["tcp.rtt"].trouble.is_some() && !later.samples.is_empty());
    drop(exchange);
}
