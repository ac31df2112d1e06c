//! The report page on generated runs: what it shows, what it must never show, how large it gets.
//!
//! The pages are left in the build's folder for temporary files, for people to look at.

// The pages are written for people to look at, and a million samples are timed.
#![allow(clippy::disallowed_methods)]

#[path = "report/runs.rs"]
mod runs;

use std::{collections::BTreeMap, time::Instant};

use agent::{
    measure::{Sample, window::Quantiles},
    report::{self, Act, Fate, Measured, Run, Undo},
    verdict::Criterions,
};

use runs::{Dice, bar, hurt, mended, refused, run, setting, stuck, window};

fn leave(name: &str, page: &str) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(folder.join(name), page).expect("write the page for a look");
}

#[test]
fn two_runs_on_a_page() {
    let runs = [mended(), hurt()];
    let page = report::page(&runs);
    leave("report.html", &page);
    for says in [
        "Committed: the change stays.",
        "Reverted: everything is as it was.",
        "href=\"#run-2\"",
        "p50 at most 5 ms",
        "sysctl -w net.ipv4.tcp_rmem=&#39;4096 4096 4096&#39;",
        "Changed by somebody else",
        ">lost</text>",
    ] {
        assert!(page.contains(says), "{says}");
    }
    assert!(page.len() < 600_000, "{} bytes", page.len());
    assert_eq!(page, report::page(&runs), "the same runs are the same page");
}

#[test]
fn every_kind_of_end() {
    let page = report::page(&[stuck(), refused()]);
    leave("report-ends.html", &page);
    for says in [
        "Stuck: something could not be put back.",
        "Refused: nothing was written.",
        "rule nothing-to-mend",
        "kernel is not drawn: runs/20261122T111503Z-77aa/stage-1.samples is missing.",
        "✗ not the file that was judged",
        "ethtool -G trade0 rx 512",
        "3 d 2 h",
    ] {
        assert!(page.contains(says), "{says}");
    }
}

#[test]
fn windows_without_packets_or_without_replies_are_said_not_drawn() {
    let nothing = window(0, 0, |_, _| 0);
    let lost = window(100, 1_000_000_000, |_, _| Sample::LOST);
    for (window, says) in [(nothing, "no packet was due"), (lost, "every packet was lost")] {
        let by = Criterions::default_guardrails();
        let run = run("id", "p 1.0.0", by, vec![("baseline", window.clone()), ("kernel", window)]);
        let page = report::page(&[run]);
        assert!(page.contains(says), "{says}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "no figure comes of nothing");
    }
}

/// The line of the candidate must end in the lost packets' place at the share that was lost.
#[test]
fn lost_packets_are_drawn_at_the_right_edge() {
    let before = window(1_000, 1_000_000_000, |index, _| 10_000 + index);
    let after = window(1_000, 1_000_000_000, |index, _| match index {
        500..510 => Sample::LOST,
        index => 10_000 + index,
    });
    let by = Criterions::default();
    let lossless = run("id", "p 1.0.0", by.clone(), vec![("baseline", before.clone())]);
    assert!(!report::page(&[lossless]).contains(">lost</text>"), "no loss, no place for it");
    let page =
        report::page(&[run("id", "p 1.0.0", by, vec![("baseline", before), ("kernel", after)])]);
    assert!(page.contains("10 (1.00 %)") && page.contains("class=\"lostmark\""));
    let edge = |class: &str| {
        let ends = page.split(&format!("<path class=\"curve {class}\" d=\"M86 26")).nth(1);
        ends.and_then(|rest| rest.split('"').next()).expect("the wide drawing's line").to_owned()
    };
    // Down to the axis without losses; with them level to the right edge, at the share that was lost.
    assert!(edge("s0").ends_with("V356"), "{}", edge("s0"));
    assert!(edge("s1").ends_with("H828"), "{}", edge("s1"));
    let height = |path: &str, after: char| -> f64 {
        let digits = path.rsplit(after).next().expect("a step").split('H').next().expect("digits");
        digits.parse().expect("a coordinate")
    };
    // One in a hundred of 1,000: two thirds of the way down, less the room below one packet.
    assert!((height(&edge("s1"), 'V') - 229.0).abs() < 2.0, "{}", edge("s1"));
}

/// A run in which every text from outside tries to be markup.
fn hostile(evil: &str) -> Run {
    let mut run = mended();
    for text in [
        &mut run.id,
        &mut run.why,
        &mut run.rule,
        &mut run.playbook,
        &mut run.summary,
        &mut run.nic,
    ] {
        *text = evil.to_owned();
    }
    run.references = vec![
        format!("https://{evil}"),
        "javascript:alert(1)".to_owned(),
        "https://a\" onclick=b".to_owned(),
    ];
    run.about = vec![(evil.to_owned(), evil.to_owned())];
    run.settings = vec![
        setting(evil, [evil, evil, evil], Fate::InForce),
        setting(evil, [evil, evil, evil], Fate::Skipped(evil.to_owned())),
    ];
    run.timeline = vec![bar(evil, Act::Write, 0.0, 1.0, evil)];
    run.notes = vec![evil.to_owned()];
    run.undo = Undo::ByHand { why: evil.to_owned(), script: format!("{evil}\n</pre>{evil}") };
    run.evidence[0].file = evil.to_owned();
    run.evidence[0].digest = evil.to_owned();
    run.windows[0].name = evil.to_owned();
    run.judged[0].stage = evil.to_owned();
    run.judged[0].verdict.why = evil.to_owned();
    run.judged[0].verdict.notes = vec![evil.to_owned()];
    run.judged[0].verdict.provisional = Some(evil.to_owned());
    for judged in run.judged[0].verdict.metrics.values_mut() {
        judged.why = evil.to_owned();
        judged.guardrail = Some(false);
    }
    if let Ok(window) = &mut run.windows[1].window {
        window.notes = vec![evil.to_owned()];
        window.cut_short = Some(evil.to_owned());
        window.drops = BTreeMap::from([(evil.to_owned(), 1)]);
        window.stamps = BTreeMap::from([(evil.to_owned(), 1)]);
        window.split = BTreeMap::from([(evil.to_owned(), Quantiles::default())]);
    }
    run
}

#[test]
fn hostile_words_stay_words() {
    let evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}\u{0}\u{1b}[2J`";
    let run = hostile(evil);
    let other = Run {
        windows: vec![Measured { name: evil.to_owned(), window: Err(evil.to_owned()) }],
        ..run.clone()
    };
    let page = report::page(&[run, other]);
    for never in [
        "<script",
        "<img",
        "onerror=alert(1)>",
        "\u{202e}",
        "\u{0}",
        "\u{1b}",
        "href=\"javascript",
        "\" onclick",
    ] {
        assert!(!page.contains(never), "{never:?} came through");
    }
    let body = page.split("</style>").nth(1).expect("a style sheet before the body");
    let [opened, closed] = ['<', '>'].map(|end| body.matches(end).count());
    assert_eq!(opened, closed, "every tag that opens also closes");
    assert_eq!(page.matches("<pre>").count(), page.matches("</pre>").count());
    assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
    for loads in ["src=", "url(http", "@import", "<link", "<iframe"] {
        let own = page.replace(evil, "").replace("src=x", "");
        assert!(!own.contains(loads), "{loads} would load something");
    }
}

#[test]
fn a_million_samples_a_window_are_a_small_page_made_at_once() {
    let mut dice = Dice(6);
    let mut big = || {
        window(1_000_000, 120_000_000_000, |_, _| match dice.roll() {
            r if r < 1e-4 => Sample::LOST,
            r if r < 0.01 => (30e3 / (r * 100.0 + 1e-4)) as u64,
            r => 20_000 + (r * 9_000.0) as u64,
        })
    };
    let by = Criterions::default_guardrails();
    let small = window(100, 1_000_000_000, |_, _| 20_000);
    let mut run = run("id", "p 1.0.0", by, vec![("baseline", small.clone()), ("kernel", small)]);
    for measured in &mut run.windows {
        measured.window = Ok(big());
    }
    let mut page = String::new();
    // The best of three: other tests run beside this one.
    let took = (0..3).map(|_| {
        let began = Instant::now();
        page = report::page(std::slice::from_ref(&run));
        began.elapsed()
    });
    let took = took.min().expect("three tries");
    println!("two windows of 1,000,000 samples: {} bytes in {took:?}", page.len());
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(took.as_millis() < 1_000, "{took:?}");
}

/// Whatever is put in, each list and each text has its limit.
#[test]
fn no_input_makes_the_page_large() {
    let mut run = mended();
    let long = "'".repeat(5_000);
    run.why = long.clone();
    run.settings = vec![setting(&long, [&long, &long, &long], Fate::Skipped(long.clone())); 2_000];
    run.timeline = vec![bar(&long, Act::Write, 0.0, 1.0, &long); 2_000];
    run.notes = vec![long.clone(); 2_000];
    run.about = vec![(long.clone(), long.clone()); 2_000];
    run.references = vec![long.clone(); 2_000];
    run.undo = Undo::ByHand { why: long.clone(), script: format!("{long}\n").repeat(1_000) };
    run.judged = vec![run.judged[0].clone(); 300];
    run.windows = vec![run.windows[0].clone(); 300];
    if let Ok(window) = &mut run.windows[0].window {
        window.per_queue = vec![1; 100_000];
        window.drops = (0..50_000).map(|index| (format!("drop {index}"), index)).collect();
        window.notes = vec![long.clone(); 1_000];
    }
    let page = report::page(&[run]);
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
}
