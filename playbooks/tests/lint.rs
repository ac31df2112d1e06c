//! What is refused, where, and with which help. Each case changes one thing in a good playbook.

use playbooks::{
    Playbook,
    parse::{Problem, Style, parse},
};

const GOOD: &str = "\
apiVersion: nicmend/v1
kind: Playbook
metadata:
  name: good
  version: 1.2.0
  summary: A good one
  references: [https://example.org/x]
applies-to:
  driver: [mlx5_core]
  model: [\"ConnectX-6*\"]
  firmware: \">=20.31, <20.33\"
  kernel: \">=5.15\"
stages:
  - name: kernel
    settings: { sysctl.net.ipv4.tcp_autocorking: 0 }
  - name: driver
    settings: { coalesce.adaptive-rx: false, coalesce.rx-usecs: 0, ring.rx: max }
  - name: firmware
    firmware: { version: golden, activate: nic-reset }
objective: { latency.p99: { at-most: 50us } }
guardrails: { latency.p50: { no-worse-than: 5% }, latency.p99: { no-worse-than: 5% }, drops: { at-most: 0 } }
verify: { transport: udp, settle: 2s, window: 120s, rate: 1000, payload: 64, patterns: [calm, microburst] }
drain: 10s
probation: { for: 48h, rate: 10 }
";

fn good(source: &str) -> Playbook {
    parse(source.as_bytes()).unwrap_or_else(|problems| {
        panic!(
            "{}",
            problems.iter().map(|p| p.render("x.yaml", source.as_bytes())).collect::<String>()
        )
    })
}

fn problems(source: &str) -> Vec<Problem> {
    parse(source.as_bytes()).expect_err(source)
}

/// Replaces `from` by `to` in the good playbook: one problem, with these words in message or help, at
/// the line where the change begins.
#[track_caller]
fn refused(from: &str, to: &str, words: &[&str]) {
    let at = GOOD.find(from).unwrap_or_else(|| panic!("{from:?} is not there"));
    let line = GOOD[..at].matches('\n').count() + 1;
    let found = problems(&GOOD.replacen(from, to, 1));
    let told: Vec<String> = found.iter().map(Problem::to_string).collect();
    assert_eq!(found.len(), 1, "{from:?} to {to:?}: {told:?}");
    let lines = line..=line + to.matches('\n').count();
    assert!(lines.contains(&found[0].line), "{from:?} to {to:?}: not in {lines:?}: {told:?}");
    for word in words {
        assert!(told[0].contains(word), "{to:?}: no {word:?} in {told:?}");
    }
}

#[test]
fn the_contracts_example_is_read() {
    let playbook = good(GOOD);
    assert_eq!(playbook.stages.len(), 3);
    assert_eq!(playbook.verify.window.as_secs(), 120);
    assert_eq!(playbook.probation.as_ref().map(|p| p.length.as_secs()), Some(48 * 3600));
    let json = serde_json::to_string(&playbook).unwrap();
    assert_eq!(serde_json::from_str::<Playbook>(&json).unwrap(), playbook);
}

#[test]
fn what_is_absent_has_its_default() {
    let playbook = good(
        "{apiVersion: nicmend/v1, kind: Playbook, metadata: {name: a, version: 0.1.0},\n\
         stages: [{name: s, settings: {ring.rx: 512}}], guardrails: {latency.p99: {no-worse-than: 150%}}}",
    );
    assert_eq!(playbook.verify, playbooks::playbook::Verify::default());
    assert_eq!(playbook.drain, Playbook::DRAIN);
    assert_eq!((playbook.probation, playbook.applies_to), (None, Default::default()));
    let p99 = playbook.guardrails.values().next().and_then(|c| c.no_worse_than);
    assert_eq!(p99, Some(1.5), "percentages may exceed 100");
}

#[test]
fn keys_are_known_and_there_once() {
    refused("kind:", "knid: x\nkind:", &["unknown key `knid`", "did you mean `kind`?"]);
    refused("drain: 10s", "drain: 10s\ndrain: 10s", &["`drain`", "twice", "line 23"]);
    refused("window: 120s", "windows: 120s", &["unknown key `windows`", "`window`"]);
    refused("kind: Playbook", "kind: Playbok", &["unknown kind", "`Playbook`"]);
    refused("nicmend/v1", "nicmend/v2", &["unknown apiVersion", "`nicmend/v1`"]);
    refused("apiVersion: nicmend/v1\n", "", &["lacks `apiVersion`"]);
    refused("name: good\n  version", "version", &["metadata lacks `name`"]);
    refused("drain: 10s", "<<: {drain: 10s}", &["merge keys"]);
    refused("drain: 10s", "[a]: 10s", &["must be text"]);
    refused("drain: 10s", "drain: !!str 10s", &["tag"]);
    refused("drain: 10s", "!x drain: 10s", &["tag"]);
    refused("drain: 10s", "drain: 10s\n---\na: 1", &["second document"]);
}

#[test]
fn names_and_versions_are_well_formed() {
    refused("name: good", "name: ../good", &["is not a name"]);
    refused("name: good", "name: Good", &["is not a name"]);
    refused("name: good", "name: 5", &["must be text", "\"5\""]);
    refused("name: good", "name: [good]", &["not a list"]);
    refused("name: good", "name:", &["not nothing"]);
    refused("name: good", "name: \"a\\nb\"", &["one line"]);
    refused("summary: A good one", "summary: \"a\\eb\"", &["control character"]);
    refused("summary: A good one", "summary: \"a\\tb\"", &["without tabs"]);
    refused("1.2.0", "1.2", &["not a semantic version", "1.2.0"]);
    refused("1.2.0", "v1.2.0", &["not a semantic version"]);
    refused("1.2.0", "01.2.0", &["not a semantic version"]);
    refused("summary: A good one", "summary: true", &["must be text"]);
    refused("[https://example.org/x]", "https://example.org/x", &["must be a list"]);
}

#[test]
fn stages_are_there_and_differ() {
    refused("  - name: driver\n", "  - name: kernel\n", &["two stages are named `kernel`"]);
    refused(
        "{ version: golden, activate: nic-reset }",
        "{ version: golden }",
        &["lacks `activate`"],
    );
    refused("activate: nic-reset", "activate: nicreset", &["unknown way", "`nic-reset`"]);
    refused("version: golden,", "version: ../x,", &["not a firmware version"]);
    refused("settings: { sysctl.net.ipv4.tcp_autocorking: 0 }", "settings: {}", &["empty"]);
    let bare = GOOD.replacen("    settings: { sysctl.net.ipv4.tcp_autocorking: 0 }\n", "", 1);
    let found = problems(&bare);
    assert_eq!((found.len(), found[0].line), (1, 14));
    assert!(found[0].message.contains("changes nothing"));
    let twice = "{ ring.rx: max, coalesce.rx-usecs: 0, coalesce.adaptive-rx: off }";
    let found = problems(&GOOD.replacen("{ sysctl.net.ipv4.tcp_autocorking: 0 }", twice, 1));
    assert_eq!((found.len(), found[0].line), (1, 16));
    assert!(found[0].message.contains("stage `driver` repeats stage `kernel`"));
}

#[test]
fn settings_are_known_and_their_values_fit() {
    refused("ring.rx: max", "ring.rxx: max", &["unknown setting `ring.rxx`", "`ring.rx`"]);
    refused("coalesce.rx-usecs: 0", "rx-usecs: 0", &["`coalesce.rx-usecs`"]);
    refused("ring.rx: max", "feature.gro: on", &["`feature.rx-gro`"]);
    refused("sysctl.net.ipv4.tcp_a", "sysctl.net.//.tcp_a", &["unknown setting"]);
    refused("ring.rx: max", "ring.rx: maximum", &["ring.rx cannot be `maximum`", "descriptors"]);
    refused("ring.rx: max", "ring.rx: \"512\"", &["bare whole number"]);
    refused("ring.rx: max", "ring.rx: 4294967296", &["0 to 4294967295"]);
    refused("ring.rx: max", "ring.rx: -1", &["cannot be `-1`"]);
    refused("ring.rx: max", "ring.rx: 0x200", &["cannot be `0x200`"]);
    refused("ring.rx: max", "ring.rx: 1_000", &["cannot be `1_000`"]);
    refused("ring.rx: max", "ring.rx: 512.0", &["cannot be `512.0`"]);
    refused("ring.rx: max", "ring.rx: true", &["cannot be `true`"]);
    refused("ring.rx: max", "ring.rx: [512]", &["not a list"]);
    refused("ring.rx: max", "ring.rx: default", &["cannot be `default`"]);
    refused("adaptive-rx: false", "adaptive-rx: \"false\"", &["without quotes"]);
    refused("adaptive-rx: false", "adaptive-rx: 0", &["true or false"]);
    refused("adaptive-rx: false", "adaptive-rx: no", &["true or false"]);
    refused("tcp_autocorking: 0", "tcp_autocorking: 4294967296", &["quote a larger one"]);
    refused("ring.rx: max", "napi.threaded: on", &["one of disabled, enabled, busy-poll"]);
    refused("ring.rx: max", "irq.affinity: 3-1", &["local-cpus"]);
    refused("ring.rx: max", "irq.affinity: \"\"", &["cannot be ``"]);
    refused("ring.rx: max", "rss.indirection: equal 0", &["equal N"]);
    refused("ring.rx: max", "rss.indirection: weights 0 0", &["above 0"]);
    refused("ring.rx: max", "link.mtu: 70000", &["65535"]);
    refused(
        "ring.rx: max",
        "napi.budget: 600, sysctl.net.core.netdev_budget: 300",
        &["one kernel variable"],
    );
}

#[test]
fn good_values_are_taken() {
    for value in [
        "ring.rx: 0",
        "ring.rx: min",
        "feature.rx-gro: on",
        "feature.rx-gro: default",
        "sysctl.net.ipv4.tcp_rmem: 4096 131072 6291456",
        "sysctl.net.ipv4.tcp_rmem: \"4096\\t131072\\t6291456\"",
        "sysctl.net.ipv4.tcp_congestion_control: bbr",
        "sysctl.net.ipv4.tcp_notsent_lowat: \"4294967296\"",
        "module-param.mlx5_core.prof_sel: 2",
        "irq.affinity: local-cpus",
        "irq.affinity: 3",
        "rps.cpus: \"\"",
        "rps.cpus: default",
        "rss.indirection: default",
        "rss.indirection: equal 4",
        "rss.indirection: weights 1 0 2",
        "ntuple.7: flow-type udp4 dst-port 5000 action 2",
        "napi.threaded: busy-poll",
        "\"private-flag.SmartAN capable\": off",
    ] {
        good(&GOOD.replacen("ring.rx: max", value, 1));
    }
}

#[test]
fn criteria_have_metrics_bounds_and_units() {
    refused("{ latency.p99: { at-most", "{ latncy.max: { at-most", &["`latency.max`"]);
    refused("objective: { latency.p99:", "objective: { latency.p0:", &["quantile above 0"]);
    refused("objective: { latency.p99:", "objective: { latency.p100:", &["quantile above 0"]);
    refused("at-most: 50us", "at-most: 50", &["latency.p99 cannot be at most `50`", "50us"]);
    refused("at-most: 50us", "at_most: 50us", &["`at-most`"]);
    refused("at-most: 50us", "at-most: 5%", &["a whole number and one of"]);
    refused("{ at-most: 50us }", "{}", &["has no bound"]);
    refused("{ at-most: 50us }", "50us", &["must be a mapping"]);
    refused("drops: { at-most: 0 }", "drops: { at-most: 0.5 }", &["a count"]);
    refused("drops: { at-most: 0 }", "drops: { at-most: 4294967296 }", &["a count"]);
    refused("drops: { at-most: 0 }", "latency.loss-ratio: { at-most: 1s }", &["a ratio"]);
    refused("drops: { at-most: 0 }", "latency.storm-rate: { at-most: 1% }", &["storms a minute"]);
    refused("latency.p50: { no-worse-than: 5% }", "latency.p50: { no-worse-than: 5 }", &["5%"]);
    refused("latency.p50: { no-worse-than: 5% }", "latency.p50: { no-worse-than: -5% }", &["5%"]);
    refused("latency.p50: {", "latency.p99.0: {", &["there twice"]);
    refused("objective: { latency.p99: { at-most: 50us } }", "objective: {}", &["empty"]);
    good(&GOOD.replacen("drops: { at-most: 0 }", "latency.loss-ratio: { at-most: 0.001 }", 1));
    good(&GOOD.replacen("drops: {", "nic.rx_out_of_buffer: {", 1));
}

#[test]
fn something_must_decide() {
    let neither: String = GOOD
        .lines()
        .filter(|l| !l.starts_with("objective") && !l.starts_with("guardrails"))
        .map(|l| format!("{l}\n"))
        .collect();
    let found = problems(&neither);
    assert!(found.len() == 1 && found[0].message.contains("nothing decides"), "{found:?}");
}

/// 100 samples beyond the quantile: rate * window * (1 - q).
#[test]
fn the_window_must_see_the_tail() {
    let p999 = GOOD.replacen("objective: { latency.p99:", "objective: { latency.p99.9:", 1);
    good(&p999);
    let short = p999.replacen("window: 120s", "window: 99s", 1);
    let found = problems(&short);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("expects 99"), "{}", found[0]);
    assert!(found[0].help.as_deref().unwrap().contains("window: 100s"), "{}", found[0]);
    good(&p999.replacen("window: 120s", "window: 100s", 1));
    let fast = short.replacen("rate: 1000", "rate: 1011", 1);
    good(&fast);
    refused("objective: { latency.p99:", "objective: { latency.p99.99:", &["expects 12"]);
}

#[test]
fn verification_is_within_ranges() {
    refused("rate: 1000,", "rate: 0,", &["1 to 1000000"]);
    refused("rate: 1000,", "rate: 1000001,", &["1 to 1000000"]);
    // More than a probe remembers would be refused in the middle of a run.
    refused("rate: 1000,", "rate: 1000000,", &["at most 4194304"]);
    refused("payload: 64", "payload: 43", &["44 to 65507"]);
    refused("payload: 64", "payload: 65508", &["44 to 65507"]);
    refused("transport: udp", "transport: sctp", &["unknown transport", "udp, tcp"]);
    refused("window: 120s", "window: 0s", &["window is 0s"]);
    refused("window: 120s", "window: 120", &["add a unit", "120s"]);
    refused("window: 120s", "window: 2min", &["did you mean `2m`?"]);
    refused("window: 120s", "window: 1.5h", &["whole number"]);
    refused("patterns: [calm,", "patterns: [clam,", &["unknown pattern", "`calm`"]);
    refused("patterns: [calm, microburst]", "patterns: [calm, calm]", &["there twice"]);
    refused("patterns: [calm, microburst]", "patterns: []", &["empty"]);
    refused("patterns: [calm,", "patterns: [\"replay:../../x\",", &["names no trace"]);
    refused("settle: 2s", "interleave: 1", &["true or false"]);
    refused("settle: 2s", "control: a/b", &["not an interface"]);
    refused("for: 48h", "for: 0s", &["for is 0s"]);
    refused("rate: 10 }", "rate: 0 }", &["1 to 1000000"]);
    refused("drain: 10s", "drain: ten", &["must be a duration"]);
    let tcp = GOOD.replacen("transport: udp", "transport: tcp", 1);
    good(&tcp.replacen("payload: 64", "payload: 1048576", 1));
    assert_eq!(problems(&tcp.replacen("payload: 64", "payload: 1048577", 1)).len(), 1);
}

#[test]
fn ranges_are_comparators() {
    refused(">=20.31, <20.33", "20.31", &["not a firmware range", ">="]);
    refused(">=20.31, <20.33", ">=20.31,", &["not a firmware range"]);
    refused("\">=5.15\"", "5.15", &["not a kernel range"]);
    refused(">=5.15", ">=5.15-rc1", &["not a kernel range"]);
    refused("[mlx5_core]", "[]", &["driver is empty"]);
    refused("[mlx5_core]", "mlx5_core", &["must be a list"]);
}

#[test]
fn all_errors_are_told_at_once_in_order() {
    let source = GOOD
        .replacen("kind: Playbook", "kind: Play", 1)
        .replacen("1.2.0", "one", 1)
        .replacen("ring.rx: max", "ring.rx: lots, ring.xr: 1", 1)
        .replacen("at-most: 50us", "at-most: 50", 1)
        .replacen("rate: 1000", "rate: -5", 1)
        .replacen("drain: 10s", "drain: 10s, ", 1)
        .replacen("drain: 10s, ", "drain: ten\nwhat: 1", 1);
    let lines: Vec<usize> = problems(&source).iter().map(|p| p.line).collect();
    assert_eq!(lines, [2, 5, 17, 17, 20, 22, 23, 24]);
}

#[test]
fn a_problem_shows_its_place() {
    let source = GOOD.replacen("ring.rx: max", "ring.rxx: max", 1);
    let found = problems(&source);
    let told = found[0].render("pb.yaml", source.as_bytes());
    let expected = "\
error: unknown setting `ring.rxx`
  --> pb.yaml:17:68
   |
17 |     settings: { coalesce.adaptive-rx: false, coalesce.rx-usecs: 0, ring.rxx: max }
   |                                                                    ^^^^^^^^
   = help: did you mean `ring.rx`?
";
    assert_eq!(told, expected);
    let coloured = found[0].render_in(Style::Colour, "pb.yaml", source.as_bytes());
    assert!(coloured.contains("\x1b[1;31m^^^^^^^^\x1b[0m"));
}

#[test]
fn long_wide_and_steering_text_is_shown_safely() {
    let wide = GOOD.replacen("drain: 10s", "\u{65E5}\u{672C}: 1\ndrain: 10s", 1);
    let told = problems(&wide)[0].render("a\x1b[31mb.yaml", wide.as_bytes());
    assert!(told.contains("   | ^^^^\n"), "two wide characters, four columns: {told}");
    assert!(!told.contains('\x1b'));
    let long = GOOD.replacen("drain: 10s", &format!("{}: 1", "x".repeat(5_000)), 1);
    let told = problems(&long)[0].render("x.yaml", long.as_bytes());
    assert!(told.lines().all(|line| line.chars().count() < 200), "{told}");
    let far = GOOD.replacen(
        "ring.rx: max",
        &format!("ring.rx: max{}, ring.rxx: 1", " ".repeat(3_000)),
        1,
    );
    let told = problems(&far)[0].render("x.yaml", far.as_bytes());
    let lines: Vec<&str> = told.lines().collect();
    let column = |line: &str, text: &str| line.split(text).next().unwrap().chars().count();
    assert_eq!(column(lines[3], "ring.rxx"), column(lines[4], "^^^^^^^^"), "{told}");
}

/// The good playbook with a figure from outside, declared like this and held to this.
fn outside(declared: &str, criterion: &str) -> String {
    let metrics = format!("metrics: {{ {declared} }}\nverify:");
    GOOD.replacen("verify:", &metrics, 1).replacen(
        "drops: { at-most: 0 }",
        &format!("drops: {{ at-most: 0 }}, {criterion}"),
        1,
    )
}

#[test]
fn figures_from_outside_are_declared_and_named() {
    for (declared, criterion) in [
        ("t2t: { file: /run/desk/t2t }", "external.t2t: { at-most: 12.5, no-worse-than: 5% }"),
        ("t2t: { unix: /run/desk/t2t.sock }", "external.t2t: { no-worse-than: 5% }"),
        (
            "t2t: { prometheus: 'http://127.0.0.1:9100/metrics', series: 't2t{quantile=\"0.99\"}' }",
            "external.t2t: { at-most: 0.001 }",
        ),
        ("fills: { file: /f, better: higher, every: 10ms }", "external.fills: { at-least: 100 }"),
        ("gaps: { file: /f, counter: true, every: 15s }", "external.gaps: { at-most: 0 }"),
        ("unused: { file: /f }", "tcp.rtt: { at-most: 80us }"),
        ("unused: { file: /f }", "tcp.session-retransmits: { at-most: 0 }"),
    ] {
        let source = outside(declared, criterion);
        let playbook = good(&source);
        assert_eq!(playbook.metrics.len(), 1, "{source}");
        let json = serde_json::to_string(&playbook).unwrap();
        assert_eq!(serde_json::from_str::<Playbook>(&json).unwrap(), playbook, "{json}");
    }
    let without = serde_json::to_string(&good(GOOD)).unwrap();
    assert!(!without.contains("metrics") && !without.contains("at-least"), "an old digest moves");
}

#[test]
fn figures_from_outside_are_refused_with_help() {
    let fine = "t2t: { file: /run/desk/t2t }";
    for (declared, criterion, words) in [
        (fine, "external.tt: { at-most: 1 }", &["unknown metric", "`external.t2t`"][..]),
        (fine, "external.: { at-most: 1 }", &["unknown metric"]),
        (fine, "external.t2t: { at-least: 1 }", &["better lower", "`at-most`"]),
        (fine, "external.t2t: { at-most: 5us }", &["cannot be at most", "own unit"]),
        (fine, "external.t2t: { at-most: nan }", &["cannot be at most"]),
        (fine, "latency.max: { at-least: 1us }", &["better lower"]),
        (fine, "tcp.rtt: { at-most: 5 }", &["such as 50us"]),
        ("t2t: { file: /f, better: higher }", "external.t2t: { at-most: 1 }", &["`at-least`"]),
        ("t2t: { file: /f, better: more }", "external.t2t: { at-most: 1 }", &["higher"]),
        (
            "t2t: { file: /f, counter: true, better: higher }",
            "external.t2t: { at-most: 1 }",
            &["a counter is better lower"],
        ),
        ("t2t: { file: /f, every: 9ms }", "external.t2t: { at-most: 1 }", &["10ms to 1m"]),
        ("t2t: { file: /f, every: 61s }", "external.t2t: { at-most: 1 }", &["10ms to 1m"]),
        ("t2t: { file: /f, every: 2s }", "external.t2t: { at-most: 1 }", &["100 readings", "200s"]),
        (
            "t2t: { file: /f, counter: on, every: 20s }",
            "external.t2t: { at-most: 1 }",
            &["8 readings"],
        ),
        ("t2t: { unix: /f, every: 2s }", "external.t2t: { at-most: 1 }", &["not polled"]),
        ("t2t: { file: run/t2t }", "external.t2t: { at-most: 1 }", &["absolute"]),
        ("t2t: { file: /run/../etc/t2t }", "external.t2t: { at-most: 1 }", &["`..`"]),
        ("t2t: { file: /run//t2t }", "external.t2t: { at-most: 1 }", &["`//`"]),
        ("t2t: { file: / }", "external.t2t: { at-most: 1 }", &["absolute"]),
        ("t2t: { file: 7 }", "external.t2t: { at-most: 1 }", &["must be text"]),
        ("t2t: { file: /f, unix: /g }", "external.t2t: { at-most: 1 }", &["one place"]),
        ("t2t: {}", "external.t2t: { at-most: 1 }", &["one of: file, unix"]),
        ("t2t: /run/desk/t2t", "external.t2t: { at-most: 1 }", &["must be a mapping"]),
        ("t2t: { file: /f, series: a }", "external.t2t: { at-most: 1 }", &["Prometheus"]),
        ("t2t: { prometheus: 'http://1.2.3.4/' }", "external.t2t: { at-most: 1 }", &["`series`"]),
        (
            "t2t: { prometheus: 'http://desk/', series: a }",
            "external.t2t: { at-most: 1 }",
            &["name server"],
        ),
        (
            "t2t: { prometheus: 'http://1.2.3.4/', series: 'a{' }",
            "external.t2t: { at-most: 1 }",
            &["series cannot be"],
        ),
        ("t2t: { fil: /f }", "drops: { at-most: 0 }", &["did you mean `file`"]),
        ("a..b: { file: /f }", "latency.max: { at-most: 1s }", &["names no metric"]),
    ] {
        let source = outside(declared, criterion);
        let found = problems(&source);
        let told: Vec<String> = found.iter().map(Problem::to_string).collect();
        for word in words {
            assert!(told.iter().any(|t| t.contains(word)), "{declared}: no {word:?} in {told:?}");
        }
    }
    let undeclared = GOOD.replacen("drops", "external.t2t", 1);
    assert!(problems(&undeclared)[0].to_string().contains("under `metrics`"));
    let many: String = (0..17).map(|n| format!("m{n}: {{ file: /f }}, ")).collect();
    assert!(problems(&outside(&many, "latency.max: { at-most: 1s }"))[0].message.contains("17"));
}
