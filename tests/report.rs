//! The report page: hostile text stays text, a million samples stay small, the same run is the same page.
//! The pages are left in the build's scratch directory, to be looked at.

// Writing the pages where a person can open them is this test's own doing, not the product's.
#![allow(clippy::disallowed_methods)]

use std::{collections::BTreeMap, path::Path, time::Instant};

use agent::{
    log::RunState,
    measure::{Sample, Window, window::Quantiles},
    report::{Fate, Measured, Run, Setting, Span, SpanKind, page},
    verdict::{Call, Criterions, Judged, Outcome, Verdict},
};
use playbooks::{Metric, Name, Value, playbook::Criterion};

const MS: u64 = 1_000_000;

/// Splitmix64: a seed, and the same noise on every machine.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A window of `n` packets at 1 kHz around `median_ns`, with a storm of `late_ns` every 7 s, some lost.
fn window(seed: u64, n: u64, median_ns: f64, late_ns: u64, lost_ratio: f64) -> Window {
    let mut noise = Noise(seed);
    let sample = |at: u64| {
        let due_ns = at * MS;
        let spread = (noise.unit() + noise.unit() + noise.unit() - 1.5) * 0.35;
        let tail = if noise.unit() < 0.01 { 1.0 + 3.0 * noise.unit() } else { 1.0 };
        let storm = late_ns > 0 && due_ns % (7_000 * MS) < 60 * MS && noise.unit() < 0.8;
        let late = if storm { late_ns as f64 * (0.75 + 0.25 * noise.unit()) } else { 0.0 };
        let latency_ns = match noise.unit() < lost_ratio {
            true => Sample::LOST,
            false => (median_ns * (1.0 + spread) * tail + late) as u64,
        };
        Sample { due_ns, latency_ns, flow: (at % 8) as u16 }
    };
    let samples: Vec<Sample> = (0..n).map(sample).collect();
    let split = |share: f64| Quantiles {
        p50: (median_ns * share) as u64,
        p99: (median_ns * share * 2.5) as u64,
        p999: (median_ns * share * 4.0) as u64 + late_ns / 4,
        max: (median_ns * share * 5.0) as u64 + late_ns,
    };
    Window {
        length_ns: n * MS,
        sent: n,
        lost: samples.iter().filter(|s| s.is_lost()).count() as u64,
        samples,
        split: BTreeMap::from([
            ("sender".to_owned(), split(0.1)),
            ("wire".to_owned(), split(0.5)),
            ("reflector".to_owned(), split(0.2)),
            ("receiver".to_owned(), split(0.2)),
        ]),
        per_queue: vec![n / 2 + 12, n / 2 - 12],
        ..Window::default()
    }
}

fn metric(name: &str) -> Metric {
    Metric::try_from(name.to_owned()).expect("a metric of the contract")
}

fn judged(
    base: f64,
    cand: f64,
    outcome: Outcome,
    holds: Option<bool>,
    objective: Option<bool>,
) -> Judged {
    let effect = if base > 0.0 { cand / base - 1.0 } else { cand };
    Judged {
        outcome,
        baseline: base,
        candidate: cand,
        effect,
        ci: [effect - 0.04, effect + 0.05],
        n: [60_000, 60_000],
        smallest_visible: 0.02,
        guardrail: holds,
        objective,
        why: String::new(),
    }
}

fn verdict(call: Call, why: &str, p50: f64, p99: f64, loss: f64) -> Verdict {
    let keep = call == Call::Keep;
    let tail = if keep { Outcome::Improved } else { Outcome::Regressed };
    let metrics = BTreeMap::from([
        (metric("latency.p50"), judged(31_000.0, p50, Outcome::Equivalent, Some(true), None)),
        (metric("latency.p99"), judged(15_800_000.0, p99, tail, None, Some(keep))),
        (metric("latency.loss-ratio"), judged(0.0, loss, Outcome::Inconclusive, None, None)),
        (metric("drops"), judged(0.0, 0.0, Outcome::Equivalent, Some(true), None)),
    ]);
    Verdict {
        verdict: call,
        objective_met: keep,
        why: why.to_owned(),
        provisional: keep
            .then(|| "too few storms to tell for good; 48 h of probation decide".to_owned()),
        notes: vec!["the load was 4 % higher than at baseline".to_owned()],
        metrics,
        seed: 7,
    }
}

fn setting(stage: &str, name: &str, from: Value, asked: Value, got: Value, fate: Fate) -> Setting {
    let name = Name::try_from(name).expect("a setting of the contract");
    let stage = stage.to_owned();
    Setting { stage, name, from: Some(from), asked: Some(asked), got: Some(got), fate }
}

fn span(row: &str, kind: SpanKind, from_ms: u64, to_ms: u64, note: &str) -> Span {
    let (from_ns, to_ns) = (from_ms * MS, to_ms * MS);
    Span { row: row.to_owned(), kind, from_ns, to_ns, note: note.to_owned() }
}

fn run(samples: u64) -> Run {
    let fact = |what: &str, fact: &str| (what.to_owned(), fact.to_owned());
    let criterion = |at_most, no_worse_than| Criterion { at_most, no_worse_than };
    Run {
        id: "20261122-031507-9f2c".to_owned(),
        playbook: "small-packet-latency 1.2.0".to_owned(),
        summary: "Stop receive stalls under small-packet floods".to_owned(),
        state: RunState::Committed,
        why: "latency.p99 is at most 50 µs after stage driver, and every guardrail holds"
            .to_owned(),
        started_utc_ns: 1_795_317_307_000_000_000,
        ended_utc_ns: Some(1_795_317_502_000_000_000),
        facts: vec![
            fact("NIC", "eth2 · Intel 82576 Gigabit"),
            fact("Address", "0000:3b:00.0"),
            fact("Driver", "igb, in-tree"),
            fact("Firmware", "1.2.1"),
            fact("Host", "colo-17"),
            fact("Kernel", "6.1.0-56-amd64 (6.1.192)"),
            fact("Peer", "10.1.2.3:862, UDP 64 B at 1000/s"),
            fact("Plan", "sha256:4c1d8f…"),
        ],
        settings: vec![
            setting(
                "kernel",
                "sysctl.net.ipv4.tcp_rmem",
                Value::Text("4096 4096 4096".to_owned()),
                Value::Text("4096 131072 6291456".to_owned()),
                Value::Text("4096 131072 6291456".to_owned()),
                Fate::Kept,
            ),
            setting(
                "driver",
                "ring.rx",
                Value::Number(256),
                Value::Number(4096),
                Value::Number(4096),
                Fate::Kept,
            ),
        ],
        criteria: Criterions {
            objective: BTreeMap::from([(
                metric("latency.p99"),
                criterion(Some(1_000_000.0), None),
            )]),
            guardrails: BTreeMap::from([
                (metric("latency.p50"), criterion(None, Some(0.05))),
                (metric("drops"), criterion(Some(0.0), None)),
            ]),
        },
        windows: vec![
            Measured {
                label: "baseline".to_owned(),
                window: window(1, samples, 31_000.0, 18 * MS, 0.000_2),
                verdict: None,
            },
            Measured {
                label: "kernel".to_owned(),
                window: window(2, samples, 30_500.0, 17 * MS, 0.0),
                verdict: Some(verdict(
                    Call::Revert,
                    "latency.p99: at most 1.00 ms expected, 15.2 ms measured",
                    30_500.0,
                    15_200_000.0,
                    0.0,
                )),
            },
            Measured {
                label: "driver".to_owned(),
                window: window(3, samples, 29_000.0, 0, 0.0),
                verdict: Some(verdict(
                    Call::Keep,
                    "latency.p99 is at most 1.00 ms, every guardrail holds",
                    29_000.0,
                    86_000.0,
                    0.0,
                )),
            },
        ],
        spans: vec![
            span("baseline", SpanKind::Settle, 2, 110, "carrier and replies are there"),
            span("baseline", SpanKind::Window, 110, 60_110, "calm"),
            span("kernel", SpanKind::Write, 60_140, 60_141, "1 setting"),
            span("kernel", SpanKind::Settle, 60_141, 60_260, ""),
            span("kernel", SpanKind::Window, 60_260, 120_260, "calm"),
            span("kernel", SpanKind::Judge, 120_260, 120_400, "objective not met"),
            span("driver", SpanKind::Write, 120_420, 120_990, "1 setting"),
            span("driver", SpanKind::Settle, 120_990, 124_300, "link down for 3.2 s"),
            span("driver", SpanKind::Window, 124_300, 184_300, "calm"),
            span("driver", SpanKind::Judge, 184_300, 184_450, "objective met"),
        ],
        evidence: vec![
            fact("baseline.samples", "sha256:aa07…"),
            fact("stage-2.samples", "sha256:b14e…"),
        ],
        by_hand: vec![
            "ethtool -G eth2 rx 256".to_owned(),
            "sysctl -w net.ipv4.tcp_rmem='4096 4096 4096'".to_owned(),
        ],
    }
}

/// Leaves a page where a person can open it.
fn keep(name: &str, page: &str) {
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), page).expect("keep the page");
}

#[test]
fn every_outcome_has_a_page_that_names_it() {
    let committed = page(&run(60_000));
    keep("report-committed.html", &committed);
    assert!(committed.contains("Committed") && committed.contains("The change is in force."));

    let mut bad = run(60_000);
    bad.state = RunState::Reverted;
    bad.windows.truncate(2);
    bad.windows[1].window = window(4, 60_000, 31_500.0, 40 * MS, 0.003);
    bad.settings.iter_mut().for_each(|s| s.fate = Fate::PutBack);
    bad.why = "latency.p99: at most 1.00 ms expected, 15.2 ms measured".to_owned();
    let reverted = page(&bad);
    keep("report-reverted.html", &reverted);
    for word in ["Reverted", "The machine is as it was", "<dt>Criterion</dt>", "at most 1.00 ms"] {
        assert!(reverted.contains(word), "{word}");
    }

    for (state, word) in [(RunState::Stuck, "Stuck"), (RunState::Refused, "Refused")] {
        let mut other = run(0);
        (other.state, other.windows) = (state, Vec::new());
        let page = page(&other);
        keep(&format!("report-{}.html", word.to_lowercase()), &page);
        assert!(page.contains(&format!("<h2>{word}</h2>")));
    }
}

#[test]
fn hostile_text_stays_text() {
    let evil = "</td><script>alert(1)</script>\" onload='x' &amp; \u{202e}\u{0}\u{1b}[31m";
    let mut hostile = run(100);
    hostile.id = evil.to_owned();
    hostile.playbook = evil.to_owned();
    hostile.summary = evil.to_owned();
    hostile.why = evil.to_owned();
    hostile.facts = vec![(evil.to_owned(), evil.to_owned())];
    for setting in &mut hostile.settings {
        setting.stage = evil.to_owned();
        setting.got = Some(Value::Text(evil.to_owned()));
        setting.fate = Fate::Failed(evil.to_owned());
    }
    for measured in &mut hostile.windows {
        measured.label = evil.to_owned();
        measured.window.split = BTreeMap::from([(evil.to_owned(), Quantiles::default())]);
        measured.window.drops = BTreeMap::from([(evil.to_owned(), 3)]);
        measured.window.notes = vec![evil.to_owned()];
        measured.window.cut_short = Some(evil.to_owned());
        if let Some(verdict) = &mut measured.verdict {
            verdict.why = evil.to_owned();
            verdict.provisional = Some(evil.to_owned());
            verdict.notes = vec![evil.to_owned()];
            verdict.metrics.values_mut().for_each(|j| j.why = evil.to_owned());
        }
    }
    hostile.spans.iter_mut().for_each(|s| (s.row, s.note) = (evil.to_owned(), evil.to_owned()));
    hostile.evidence = vec![(evil.to_owned(), evil.to_owned())];
    hostile.by_hand = vec![evil.to_owned()];
    for state in [RunState::Committed, RunState::Reverted, RunState::Stuck] {
        hostile.state = state;
        let page = page(&hostile);
        for bad in ["<script", "onload='", "\" onload", "\u{202e}", "\u{0}", "\u{1b}"] {
            assert!(!page.contains(bad), "{state:?}: {bad:?}");
        }
        assert_eq!(page.matches("<td").count(), page.matches("</td>").count(), "{state:?}");
    }
}

#[test]
fn a_million_samples_and_endless_tables_make_a_small_page() {
    let mut large = run(1_000_000);
    let row = large.settings[0].clone();
    large.settings = vec![row; 20_000];
    large.by_hand = vec!["x".repeat(100_000); 5_000];
    large.spans = vec![large.spans[0].clone(); 20_000];
    large.windows[0].window.notes = vec!["a note".to_owned(); 20_000];
    large.windows[0].window.per_queue = vec![1_000; 20_000];
    let began = Instant::now();
    let page = page(&large);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[test]
fn the_same_run_is_the_same_page() {
    assert_eq!(page(&run(20_000)), page(&run(20_000)));
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = page(&run(1_000));
    for outside in ["http://", "https://", "src=", "@import", "url(", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn windows_without_a_single_reply_still_make_a_page() {
    let mut dead = run(0);
    dead.windows[1].window = window(1, 500, 30_000.0, 0, 1.0);
    let page = page(&dead);
    assert!(page.contains("500 (100\u{a0}%)"), "a lost window says so");
    assert!(!page.contains("NaN") && !page.contains("inf"));
}
