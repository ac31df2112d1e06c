//! Runs as the page takes them, generated from fixed seeds: one that mended, one that hurt, one that
//! is stuck, one that was refused.

use std::collections::BTreeMap;

use agent::{
    log::{RunState, fact::Foreign},
    measure::{Sample, Window, window::Quantiles},
    report::{Act, Bar, Evidence, Fate, Judgement, Measured, Run, Seal, Setting, Undo},
    verdict::{self, Criterions},
};
use playbooks::{Metric, Name, Value, playbook::Criterion};

/// Small, seeded, good enough to draw with (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Log-normal by twelve rolls: `median` nanoseconds, spread `sigma`.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let normal = (0..12).map(|_| self.roll()).sum::<f64>() - 6.0;
        median * (normal * sigma).exp()
    }
}

pub(crate) fn window(
    count: u64,
    length_ns: u64,
    mut latency: impl FnMut(u64, f64) -> u64,
) -> Window {
    let sample = |index: u64| {
        let due_ns = index * length_ns / count.max(1);
        let latency_ns = latency(index, due_ns as f64 / length_ns as f64);
        Sample { due_ns, latency_ns, flow: 0 }
    };
    let samples: Vec<Sample> = (0..count).map(sample).collect();
    let lost = samples.iter().filter(|s| s.is_lost()).count() as u64;
    Window {
        began_utc_ns: BEGAN + 1_000_000_000,
        length_ns,
        sent: count,
        lost,
        split: BTreeMap::from([
            ("sender".to_owned(), Quantiles { p50: 3_100, p99: 9_800, p999: 21_000, max: 88_000 }),
            ("wire".to_owned(), Quantiles { p50: 11_900, p99: 31_000, p999: 60_300, max: 190_000 }),
        ]),
        stamps: BTreeMap::from([("software".to_owned(), count)]),
        per_queue: (0..8).map(|queue| count / 8 + queue * count / 200).collect(),
        load_pps: 12_400.0,
        tcp_out: 48_211,
        samples,
        ..Window::default()
    }
}

/// 2026-11-22T10:15:03Z.
const BEGAN: i64 = 1_795_342_503_000_000_000;

pub(crate) fn criteria(rows: &[(&str, Option<f64>, Option<f64>)]) -> BTreeMap<Metric, Criterion> {
    let row = |(name, at_most, no_worse_than): &(&str, Option<f64>, Option<f64>)| {
        let metric = Metric::try_from((*name).to_owned()).expect("a metric");
        let (at_most, no_worse_than) = (*at_most, *no_worse_than);
        (metric, Criterion { at_most, no_worse_than, ..Criterion::default() })
    };
    rows.iter().map(row).collect()
}

pub(crate) fn run(id: &str, playbook: &str, by: Criterions, windows: Vec<(&str, Window)>) -> Run {
    let baseline = windows[0].1.clone();
    let judged = windows[1..].iter().map(|(stage, window)| Judgement {
        stage: (*stage).to_owned(),
        verdict: verdict::judge(&baseline, window, &by, 7),
    });
    let judged = judged.collect();
    let evidence = windows.iter().enumerate().map(|(index, _)| Evidence {
        file: match index {
            0 => "baseline.samples".to_owned(),
            stage => format!("stage-{stage}.samples"),
        },
        digest: format!("sha256:{:064x}", index * 77_777),
        seal: Seal::Matches,
    });
    let evidence = evidence.collect();
    let measured =
        |(name, window): (&str, Window)| Measured { name: name.to_owned(), window: Ok(window) };
    Run {
        id: id.to_owned(),
        state: RunState::Committed,
        why: String::new(),
        rule: String::new(),
        playbook: playbook.to_owned(),
        summary: String::new(),
        references: vec!["https://docs.kernel.org/networking/ip-sysctl.html".to_owned()],
        nic: "trade0".to_owned(),
        started_utc_ns: BEGAN,
        took_ns: Some(14_322_000_000),
        about: [
            ("NIC", "trade0 (pci/0000:3b:00.0/MT2117X04512)"),
            ("driver", "mlx5_core"),
            ("firmware", "22.43.3608"),
            ("host", "colo-nj-17"),
            ("kernel", "6.1.0-56-amd64"),
            ("peer", "192.0.2.2:862"),
            ("plan", "sha256:8f1c0f2a77f0c9d4b2a8d1f2d4e7c55ab1d9f0c3e2a1b4c5d6e7f8091a2b3c4d"),
            ("measured by", "TCP request and response, 65536 bytes, 200 a second for 6s, calm"),
            ("asked for by", "uid 0"),
        ]
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .to_vec(),
        by,
        settings: Vec::new(),
        windows: windows.into_iter().map(measured).collect(),
        judged,
        timeline: Vec::new(),
        foreign: Vec::new(),
        notes: Vec::new(),
        evidence,
        undo: Undo::Nothing("Nothing is left to undo.".to_owned()),
    }
}

pub(crate) fn setting(name: &str, values: [&str; 3], fate: Fate) -> Setting {
    let [original, asked, left] =
        values.map(|value| Some(value.to_owned()).filter(|v| !v.is_empty()));
    Setting { name: name.to_owned(), original, asked, left, fate }
}

pub(crate) fn bar(row: &str, act: Act, from_ms: f64, to_ms: f64, words: &str) -> Bar {
    let [from_ns, to_ns] = [from_ms, to_ms].map(|ms| (ms * 1e6) as u64);
    Bar { row: row.to_owned(), act, from_ns, to_ns, words: words.to_owned() }
}

fn timeline(stage: &str, tail: &[Bar]) -> Vec<Bar> {
    let mut bars = vec![
        bar("whole run", Act::Mark, 0.0, 0.0, "run begun; plan and undo script are durable"),
        bar("baseline", Act::Settle, 0.0, 420.0, "waited for carrier and replies"),
        bar("baseline", Act::Measure, 420.0, 6_420.0, "measured 1200 packets, 0 lost"),
        bar(
            stage,
            Act::Write,
            6_424.0,
            6_429.2,
            "intents durable; 1 setting in 1 request; 38.2 µs in the kernel",
        ),
        bar(stage, Act::Settle, 6_429.2, 7_010.0, "waited for carrier and replies"),
        bar(stage, Act::Measure, 7_010.0, 13_010.0, "measured 1200 packets, 0 lost"),
        bar(stage, Act::Judge, 13_010.0, 13_041.0, "judged: keep. every guardrail held (2)"),
    ];
    bars.extend_from_slice(tail);
    bars
}

/// A crippled receive buffer: 64 KiB messages wait for the delayed acknowledgement, 40 ms each.
pub(crate) fn mended() -> Run {
    let mut dice = Dice(1);
    let before = window(1_200, 6_000_000_000, |_, _| match dice.roll() {
        r if r < 0.06 => dice.log_normal(900e3, 0.3) as u64,
        _ => 40_000_000 + dice.log_normal(400e3, 0.7) as u64,
    });
    let mut dice = Dice(2);
    let after = window(1_200, 6_000_000_000, |_, _| match dice.roll() {
        r if r < 0.01 => dice.log_normal(1.4e6, 0.4) as u64,
        _ => dice.log_normal(298e3, 0.13) as u64,
    });
    let by = Criterions {
        objective: criteria(&[("latency.p50", Some(5e6), None)]),
        guardrails: criteria(&[
            ("latency.p50", None, Some(0.05)),
            ("latency.p90", None, Some(0.05)),
        ]),
    };
    let mut run = run(
        "20261122T101503Z-1f3a",
        "demo-mend 1.0.0",
        by,
        vec![("baseline", before), ("kernel", after)],
    );
    run.why = run.judged[0].verdict.why.clone();
    run.summary =
        "Give TCP its receive buffer back, so that a 64 KiB message crosses in one go".to_owned();
    let rmem = ["4096 4096 4096", "4096 131072 6291456", "4096 131072 6291456"];
    run.settings = vec![
        setting("sysctl.net.ipv4.tcp_rmem", rmem, Fate::InForce),
        setting("feature.rx-gro", ["on", "on", "on"], Fate::AlreadyRight),
        setting(
            "ring.rx",
            ["", "", ""],
            Fate::Skipped("veth has no rings (EOPNOTSUPP)".to_owned()),
        ),
    ];
    run.timeline =
        timeline("kernel", &[bar("whole run", Act::Mark, 13_044.0, 13_044.0, "committed")]);
    run.notes = vec![
        "sysctl.net.ipv4.tcp_rmem: sockets that are open now keep the old value".to_owned(),
        "traffic that bypasses the kernel (DPDK, Onload, VMA, AF_XDP) does not feel sysctls"
            .to_owned(),
    ];
    run.undo = Undo::ByHand {
        why: "`nicmend revert 20261122T101503Z-1f3a` puts everything back. Without nicmend, these lines do \
              the same:"
            .to_owned(),
        script: "#!/bin/sh\n# Puts back by hand what nicmend run 20261122T101503Z-1f3a changes on trade0.\n\
                 sysctl -w net.ipv4.tcp_rmem='4096 4096 4096'\n"
            .to_owned(),
    };
    run
}

/// Interrupts held back for two milliseconds; a few replies lost on the way.
pub(crate) fn hurt() -> Run {
    let mut dice = Dice(3);
    let before = window(12_000, 6_000_000_000, |_, _| match dice.roll() {
        r if r < 0.002 => dice.log_normal(160e3, 0.5) as u64,
        _ => dice.log_normal(23e3, 0.18) as u64,
    });
    let mut dice = Dice(4);
    let after = window(12_000, 6_000_000_000, |_, part| match (dice.roll(), part) {
        (r, part) if (0.55..0.56).contains(&part) && r < 0.3 => Sample::LOST,
        (r, _) if r < 0.04 => dice.log_normal(25e3, 0.2) as u64,
        _ => (30e3 + dice.roll() * 2.0e6) as u64,
    });
    let by = Criterions {
        objective: criteria(&[]),
        guardrails: criteria(&[
            ("latency.p50", None, Some(0.05)),
            ("latency.p99", None, Some(0.05)),
        ]),
    };
    let mut run = run(
        "20261122T101519Z-c07e",
        "demo-hurt 1.0.0",
        by,
        vec![("baseline", before), ("napi", after)],
    );
    run.state = RunState::Reverted;
    run.why = run.judged[0].verdict.why.clone();
    run.summary =
        "Hold interrupts back to save CPU time, as an over-aggressive firmware does".to_owned();
    run.settings = vec![
        setting("napi.defer-hard-irqs", ["0", "100", "0"], Fate::PutBack),
        setting("napi.gro-flush-timeout", ["0", "2000000", "0"], Fate::PutBack),
        setting(
            "irq.affinity",
            ["0-3 ; 0-3 ; 4-7 ; 4-7", "", "0-3 ; 0-3 ; 4-7 ; 4-7"],
            Fate::AsItWas,
        ),
    ];
    run.timeline = timeline(
        "napi",
        &[
            bar(
                "whole run",
                Act::PutBack,
                13_041.0,
                13_049.0,
                "put back: latency.p50 broke its guardrail",
            ),
            bar("whole run", Act::Mark, 13_049.0, 13_049.0, "reverted"),
        ],
    );
    if let Ok(window) = &mut run.windows[1].window {
        window.drops = BTreeMap::from([("rx_dropped".to_owned(), 36)]);
        window.counters = BTreeMap::from([("rx_packets".to_owned(), 11_964)]);
        window.notes = vec!["rx_missed_errors went backwards: not counted".to_owned()];
    }
    run.foreign = vec![Foreign {
        name: Name::try_from("coalesce.rx-usecs".to_owned()).expect("a name"),
        expected: Value::Number(8),
        found: Value::Number(64),
    }];
    run
}

/// Three stages, the last of them stuck; one window is gone, one is empty.
pub(crate) fn stuck() -> Run {
    let mut dice = Dice(5);
    let mut some = |median: f64| {
        let storm = |part: f64| (part * 12.0).fract() < 0.04;
        window(30_000, 30_000_000_000, |_, part| match storm(part) {
            true => dice.log_normal(median * 40.0, 0.4) as u64,
            false => dice.log_normal(median, 0.25) as u64,
        })
    };
    let by = Criterions {
        objective: criteria(&[("latency.p99", Some(50e3), None), ("drops", Some(0.0), None)]),
        guardrails: criteria(&[("latency.p50", None, Some(0.05))]),
    };
    let windows = vec![
        ("baseline", some(21e3)),
        ("kernel", some(20e3)),
        ("driver", some(17e3)),
        ("rings", some(15e3)),
    ];
    let mut run = run("20261122T111503Z-77aa", "small-packet-latency 1.2.0", by, windows);
    run.state = RunState::Stuck;
    run.why =
        "no stage met the objective; could not be put back: ring.rx is 4096, was 512".to_owned();
    run.windows[1].window = Err("runs/20261122T111503Z-77aa/stage-1.samples is missing".to_owned());
    run.windows.push(Measured { name: "last".to_owned(), window: Ok(Window::default()) });
    run.evidence[1].seal = Seal::Missing;
    run.evidence[2].seal = Seal::Differs;
    run.settings = vec![
        setting("ring.rx", ["512", "4096", "4096"], Fate::NotPutBack),
        setting("coalesce.rx-usecs", ["8", "0", "64"], Fate::Foreign),
        setting("private-flag.striding-rq", ["off", "on", "off"], Fate::NotReached),
        setting("irq.affinity", ["0-63 ; ".repeat(60).as_str(), "", ""], Fate::Unrecorded),
    ];
    let day = 86_400_000.0;
    run.timeline = timeline(
        "kernel",
        &[bar("whole run", Act::PutBack, 3.1 * day, 3.1 * day + 9_000.0, "put back: recovered")],
    );
    run.undo = Undo::ByHand {
        why: "These commands put back by hand what nicmend could not:".to_owned(),
        script: "ethtool -G trade0 rx 512\n".to_owned(),
    };
    run
}

pub(crate) fn refused() -> Run {
    let mut run = hurt();
    run.state = RunState::Refused;
    run.rule = "nothing-to-mend".to_owned();
    run.why =
        "the baseline meets the objective already: nothing to mend (--force runs it)".to_owned();
    run.judged.clear();
    run.windows.truncate(1);
    run.settings.clear();
    run.foreign.clear();
    run.timeline.truncate(3);
    run
}
