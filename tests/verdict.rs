//! The verdict on traces whose truth is known. Error rates over thousands of pairs are the business of
//! `tests/bench/verdict`; here stand single pairs that must never go wrong.

use std::collections::BTreeMap;

use agent::{
    measure::{Sample, Window},
    verdict::{
        Call, Control, Criterions, Evidence, Outcome, Random, Verdict, judge, judge_evidence,
        judge_samples, sequential::Watch,
    },
};
use playbooks::{Metric, metric::Quantile, playbook::Criterion};
use sha2::{Digest, Sha256};
use tests::traces::{Noise, Planted, pair};

const N: usize = 60_000;
const P50: Metric = Metric::LatencyQuantile(Quantile(5000));
const P99: Metric = Metric::LatencyQuantile(Quantile(9900));

fn default() -> Criterions {
    Criterions::default_guardrails()
}

fn no_worse_than(metric: Metric, tolerance: f64) -> Criterions {
    let criterion = Criterion { no_worse_than: Some(tolerance), ..Criterion::default() };
    Criterions { guardrails: BTreeMap::from([(metric, criterion)]), ..Criterions::default() }
}

fn at_most(most: f64) -> Criterion {
    Criterion { at_most: Some(most), ..Criterion::default() }
}

fn judged(noise: Noise, planted: Planted, seed: u64) -> Verdict {
    let [baseline, candidate] = pair(noise, planted, N, seed);
    judge_samples(&baseline, &candidate, &default(), seed)
}

fn window(samples: &[Sample]) -> Window {
    let length_ns = samples.last().map_or(0, |s| s.due_ns - samples[0].due_ns + 1_000_000);
    Window { samples: samples.to_vec(), length_ns, sent: samples.len() as u64, ..Window::default() }
}

fn windows(noise: Noise, planted: Planted, seed: u64) -> [Window; 2] {
    pair(noise, planted, N, seed).map(|samples| window(&samples))
}

#[test]
fn an_unchanged_machine_is_never_reverted_and_mostly_kept() {
    for noise in Noise::ALL {
        let calls = (0..6).map(|seed| judged(noise, Planted::Nothing, seed).verdict);
        let calls: Vec<Call> = calls.collect();
        assert!(!calls.contains(&Call::Revert), "{noise:?}: {calls:?}");
        // Some of these windows hold a storm that the other does not.
        if noise != Noise::RareStorms {
            let kept = calls.iter().filter(|call| **call == Call::Keep).count();
            assert!(kept >= 5, "{noise:?}: {calls:?}");
        }
    }
}

#[test]
fn regressions_of_every_kind_are_reverted() {
    use Planted::{Hundredfold, Lost, Scale, Spread, Tail};
    let worse = [
        Hundredfold(0.3),
        Hundredfold(0.01),
        Scale(1.2),
        Spread(2.0),
        Lost(4.0),
        Tail { above: 0.95, by: 2.0 },
    ];
    for planted in worse {
        let verdict = judged(Noise::Independent, planted, 1);
        assert_eq!(verdict.verdict, Call::Revert, "{planted:?}: {}", verdict.why);
    }
    for planted in [Hundredfold(0.3), Spread(2.0), Scale(1.5)] {
        let verdict = judged(Noise::Autoregressive, planted, 1);
        assert_eq!(verdict.verdict, Call::Revert, "{planted:?}: {}", verdict.why);
    }
    let step = judged(Noise::Independent, Planted::Step(1.3), 1);
    assert_ne!(step.verdict, Call::Keep, "{}", step.why);
}

#[test]
fn a_change_that_leaves_the_median_alone_is_caught_where_only_the_median_is_guarded() {
    let [baseline, mut candidate] = pair(Noise::Independent, Planted::Nothing, N, 3);
    // The slower third becomes a hundred times slower: the median does not move at all.
    let mut sorted: Vec<u64> = candidate.iter().map(|s| s.latency_ns).collect();
    sorted.sort_unstable();
    let from = sorted[N * 7 / 10];
    candidate.iter_mut().filter(|s| s.latency_ns > from).for_each(|s| s.latency_ns *= 100);
    let verdict = judge_samples(&baseline, &candidate, &no_worse_than(P50, 0.05), 0);
    assert_eq!(verdict.metrics[&P50].guardrail, Some(true));
    assert_eq!(verdict.verdict, Call::Revert, "{}", verdict.why);
    assert!(verdict.why.contains("in no criterion"), "{}", verdict.why);
}

#[test]
fn improvements_are_kept() {
    for noise in [Noise::Independent, Noise::Autoregressive, Noise::SlowLevel, Noise::Diurnal] {
        let verdict = judged(noise, Planted::Scale(0.8), 2);
        assert_eq!(verdict.verdict, Call::Keep, "{noise:?}: {}", verdict.why);
    }
    let p50 = &judged(Noise::Independent, Planted::Scale(0.8), 2).metrics[&P50];
    assert_eq!(p50.outcome, Outcome::Improved);
    assert!(p50.ci[0] < -0.2 && -0.2 < p50.ci[1], "{:?}", p50.ci);

    let verdict = judged(Noise::Storms, Planted::StormsGone, 2);
    assert_eq!(verdict.verdict, Call::Keep, "{}", verdict.why);
    assert!(verdict.metrics[&Metric::StormRate].candidate == 0.0);
    assert!(verdict.metrics[&Metric::StormRate].baseline >= 5.0);
}

#[test]
fn the_smallest_visible_effect_is_seen_when_doubled() {
    for noise in [Noise::Independent, Noise::Autoregressive] {
        let by = 1.0 + 2.0 * judged(noise, Planted::Nothing, 7).metrics[&P99].smallest_visible;
        let verdict = judged(noise, Planted::Tail { above: 0.98, by }, 7);
        assert_eq!(verdict.verdict, Call::Revert, "{noise:?} x{by}: {}", verdict.why);
        assert_eq!(verdict.metrics[&P99].outcome, Outcome::Regressed);
    }
}

/// Samples without any floating point in their making, so that they are the same everywhere.
fn whole_numbers(seed: u64, slower: u64) -> Vec<Sample> {
    let mut random = Random::new(seed);
    let mut level = 0u64;
    (0..20_000)
        .map(|at| {
            // A slow level makes neighbours alike; one packet in 64 has a heavy tail.
            level = (level * 63 + random.below(20_000)) / 64;
            let tail = if random.below(64) == 0 { 1_000_000 / (1 + random.below(100)) } else { 0 };
            let lost = random.below(5_000) == 0;
            let latency_ns = 10_000 + level + tail + random.below(2_000) + slower;
            let latency_ns = if lost { Sample::LOST } else { latency_ns };
            Sample { due_ns: at * 1_000_000, latency_ns, flow: 0 }
        })
        .collect()
}

#[test]
fn the_same_evidence_gives_the_same_verdict_bit_for_bit() {
    let digest = |slower: u64, seed: u64| {
        let (baseline, candidate) = (whole_numbers(1, 0), whole_numbers(2, slower));
        let mut verdict = judge_samples(&baseline, &candidate, &default(), seed);
        // The numbers, not the wording.
        (verdict.why, verdict.provisional) = (String::new(), None);
        verdict.metrics.values_mut().for_each(|metric| metric.why.clear());
        let json = serde_json::to_vec(&verdict).expect("a verdict is JSON");
        let hash = Sha256::digest(&json);
        hash.iter().take(8).map(|b| format!("{b:02x}")).collect::<String>()
    };
    // Pinned: another machine, compiler or day must come to the same bits. A changed method changes
    // them, and is then to be said in docs/verdict.md.
    assert_eq!(
        [digest(0, 0), digest(0, 1), digest(3_000, 0)],
        ["0e74d5b177857c01", "9832e551102e2e4d", "9cfad47e4d6a1c9d"]
    );
}

#[test]
fn nothing_is_concluded_from_nothing() {
    let [good, _] = pair(Noise::Independent, Planted::Nothing, N, 4);
    let dead: Vec<Sample> =
        good.iter().map(|s| Sample { latency_ns: Sample::LOST, ..*s }).collect();
    let cases: [(&[Sample], &[Sample], &str); 6] = [
        (&[], &[], "no samples in the baseline"),
        (&good, &[], "no samples in the candidate"),
        (&good[..1], &good, "1 samples in the baseline"),
        (&good, &dead, "no reply in the whole candidate"),
        (&dead, &good, "no reply in the whole baseline"),
        (
            &good[..2_000],
            &good[2_000..4_000],
            "40 tail samples expected in both windows, 100 needed",
        ),
    ];
    for (baseline, candidate, says) in cases {
        let verdict = judge_samples(baseline, candidate, &default(), 0);
        assert_eq!(verdict.verdict, Call::Inconclusive, "{says}");
        assert!(verdict.why.contains(says), "{} should say {says}", verdict.why);
        serde_json::from_str::<Verdict>(&serde_json::to_string(&verdict).expect("JSON"))
            .expect("no infinity or NaN in it");
    }
    let verdict = judge_samples(&good, &good, &no_worse_than(P50, f64::NAN), 0);
    assert_eq!(verdict.verdict, Call::Inconclusive);
}

#[test]
fn no_samples_however_strange_make_it_fail() {
    let mut random = Random::new(16);
    let extremes = [0, 1, 1_000, u64::MAX / 2, u64::MAX - 1, u64::MAX];
    let mut strange = |many: u64, constant: bool| -> Vec<Sample> {
        let fixed = extremes[random.below(6) as usize];
        let one = |random: &mut Random| match constant {
            true => fixed,
            false => extremes[random.below(6) as usize].saturating_sub(random.below(50)),
        };
        let mut samples: Vec<Sample> = (0..many)
            .map(|_| Sample { due_ns: one(&mut random), latency_ns: one(&mut random), flow: 0 })
            .collect();
        samples.sort_by_key(|s| s.due_ns);
        samples
    };
    for round in 0..300 {
        let (many, other) = (1 + round * 7 % 900, 1 + round * 13 % 700);
        let baseline = strange(many, round % 3 == 0);
        let candidate = strange(other, round % 5 == 0);
        let verdict = judge_samples(&baseline, &candidate, &default(), round);
        let json = serde_json::to_string(&verdict).expect("JSON");
        assert!(!json.contains("null,null"), "{json}");
        serde_json::from_str::<Verdict>(&json).expect("every number is finite");
        Watch::of_samples(&baseline, &default()).feed(&candidate);
    }
}

#[test]
fn a_cut_short_window_reverts_or_says_nothing() {
    let [baseline, mut candidate] = windows(Noise::Independent, Planted::Nothing, 5);
    candidate.cut_short = Some("Ctrl-C".to_owned());
    let verdict = judge(&baseline, &candidate, &default(), 0);
    assert_eq!(verdict.verdict, Call::Inconclusive);
    assert!(verdict.why.contains("Ctrl-C"), "{}", verdict.why);
    let [baseline, mut worse] = windows(Noise::Independent, Planted::Scale(1.5), 5);
    worse.cut_short = Some("Ctrl-C".to_owned());
    assert_eq!(judge(&baseline, &worse, &default(), 0).verdict, Call::Revert);
}

#[test]
fn what_the_probe_cannot_represent_is_not_judged() {
    let [baseline, candidate] = windows(Noise::Independent, Planted::Scale(0.5), 5);
    let (before, after) = ([&baseline], [&candidate]);
    let mut evidence = Evidence::windows(&before, &after);
    evidence.blind = Some("onload holds eth1: its packets bypass the kernel".to_owned());
    let verdict = judge_evidence(&evidence, &default(), 0);
    assert_eq!(verdict.verdict, Call::Inconclusive);
    assert!(verdict.why.contains("onload"), "{}", verdict.why);
}

#[test]
fn interleaving_takes_out_a_drift_that_would_look_like_a_regression() {
    // Latency rises by half over the whole time, by itself.
    let drift = |at: u64| 1.0 + 0.5 * at as f64 / (2 * N) as f64;
    let [one, two] = pair(Noise::Independent, Planted::Nothing, N, 6);
    let mut all = [one, two].concat();
    for (at, sample) in all.iter_mut().enumerate() {
        sample.latency_ns = (sample.latency_ns as f64 * drift(at as u64)) as u64;
    }
    let plain = judge_samples(&all[..N], &all[N..], &default(), 0);
    assert_ne!(plain.verdict, Call::Keep, "one after the other it must not pass");

    let mut sides = [Vec::new(), Vec::new()];
    all.chunks(6_000).enumerate().for_each(|(turn, part)| sides[turn % 2].extend_from_slice(part));
    let verdict = judge_samples(&sides[0], &sides[1], &default(), 0);
    assert_eq!(verdict.verdict, Call::Keep, "{}", verdict.why);
    assert!(verdict.notes.iter().any(|note| note.contains("interleaved")));
    assert!(verdict.metrics[&P50].effect.abs() < 0.01, "{}", verdict.metrics[&P50].effect);
}

#[test]
fn a_control_tells_the_market_from_the_change() {
    let [baseline, candidate] = windows(Noise::Independent, Planted::Scale(1.3), 8);
    let [calm, busy] = windows(Noise::Independent, Planted::Scale(1.3), 9);
    let (before, after) = ([&baseline], [&candidate]);
    let (control_before, control_after) = ([&calm], [&busy]);
    let mut evidence = Evidence::windows(&before, &after);
    assert_eq!(judge_evidence(&evidence, &default(), 0).verdict, Call::Revert);
    evidence.control = Some(Control { baseline: &control_before, candidate: &control_after });
    let verdict = judge_evidence(&evidence, &default(), 0);
    assert_eq!(verdict.verdict, Call::Keep, "{}", verdict.why);
    assert!(verdict.metrics[&P50].effect.abs() < 0.01);

    // And a change that hides behind a calmer market is seen.
    let (calmer_before, calmer_after) = ([&busy], [&calm]);
    evidence = Evidence::windows(&before, &before);
    evidence.control = Some(Control { baseline: &calmer_before, candidate: &calmer_after });
    assert_eq!(judge_evidence(&evidence, &default(), 0).verdict, Call::Revert);
}

#[test]
fn storms_rarer_than_the_window_leave_the_verdict_provisional() {
    let [baseline, candidate] = windows(Noise::Independent, Planted::Nothing, 10);
    let (before, after) = ([&baseline], [&candidate]);
    let mut evidence = Evidence::windows(&before, &after);
    evidence.storm_period_ns = Some(360_000_000_000);
    let verdict = judge_evidence(&evidence, &default(), 0);
    assert_eq!(verdict.verdict, Call::Keep);
    let why = verdict.provisional.expect("a minute says nothing on storms every six");
    assert!(why.contains("every 360.0 s") && why.contains("1080.0 s needed"), "{why}");

    // Storms every ten seconds are met six times a minute.
    let stormy = judged(Noise::Storms, Planted::StormsGone, 1);
    assert!(!stormy.provisional.unwrap_or_default().contains("storms come"));
}

#[test]
fn a_load_shift_is_said() {
    let [mut baseline, mut candidate] = windows(Noise::Independent, Planted::Nothing, 11);
    (baseline.load_pps, candidate.load_pps) = (1_000.0, 50_000.0);
    let verdict = judge(&baseline, &candidate, &default(), 0);
    assert!(verdict.notes.iter().any(|n| n.contains("load shift")), "{:?}", verdict.notes);
    candidate.load_pps = 1_100.0;
    assert!(judge(&baseline, &candidate, &default(), 0).notes.is_empty());
}

#[test]
fn objectives_are_judged_on_the_bound_and_lost_packets_are_infinitely_late() {
    let [baseline, candidate] = windows(Noise::Independent, Planted::Nothing, 12);
    let mut by = default();
    let p99 = judge(&baseline, &candidate, &by, 0).metrics[&P99].candidate;
    let mut met = |times: f64| {
        by.objective = BTreeMap::from([(P99, at_most(p99 * times))]);
        let verdict = judge(&baseline, &candidate, &by, 0);
        (verdict.verdict, verdict.objective_met, verdict.call())
    };
    assert_eq!(met(2.0), (Call::Keep, true, Call::Keep));
    // Met as measured, but not by the bound; and out of reach.
    assert_eq!(met(1.01), (Call::Keep, false, Call::Inconclusive));
    assert_eq!(met(0.5), (Call::Keep, false, Call::Inconclusive));

    let mut lossy = candidate.clone();
    lossy.samples.iter_mut().step_by(50).for_each(|s| s.latency_ns = Sample::LOST);
    let verdict = judge(&baseline, &lossy, &default(), 0);
    assert_eq!(verdict.metrics[&P99].candidate, Sample::LOST as f64);
    assert_eq!(verdict.verdict, Call::Revert);
}

#[test]
fn counters_are_exact_against_a_bound_and_clumped_against_the_baseline() {
    let [mut baseline, mut candidate] = windows(Noise::Independent, Planted::Nothing, 13);
    let mut call = |before: i64, after: i64, criterion: Criterion| {
        baseline.drops.insert("rx_missed".to_owned(), before);
        candidate.drops.insert("rx_missed".to_owned(), after);
        let guardrails = BTreeMap::from([(Metric::Drops, criterion)]);
        judge(&baseline, &candidate, &Criterions { guardrails, ..Criterions::default() }, 0).verdict
    };
    assert_eq!(call(5, 0, at_most(0.0)), Call::Keep);
    assert_eq!(call(0, 1, at_most(0.0)), Call::Revert);
    let relative = Criterion { no_worse_than: Some(0.05), ..Criterion::default() };
    assert_eq!(call(100, 110, relative.clone()), Call::Keep);
    assert_eq!(call(100, 5_000, relative.clone()), Call::Revert);
    assert_eq!(call(100, -1, relative), Call::Inconclusive);

    let missing = no_worse_than(Metric::NicCounter("rx_out_of_buffer".to_owned()), 0.05);
    assert_eq!(judge(&baseline, &candidate, &missing, 0).verdict, Call::Inconclusive);
}

#[test]
fn a_watch_calls_gross_regressions_early_and_nothing_else() {
    for noise in [Noise::Independent, Noise::Autoregressive, Noise::SlowLevel, Noise::Storms] {
        let [baseline, candidate] = pair(noise, Planted::Nothing, N, 14);
        let mut watch = Watch::of_samples(&baseline, &default());
        assert_eq!(watch.feed(&candidate), None, "{noise:?}");
        assert!(watch.watched().count() >= 4, "{noise:?}");

        let [_, worse] = pair(noise, Planted::Hundredfold(0.3), N, 14);
        let mut watch = Watch::of_samples(&baseline, &default());
        let alarm = watch.feed(&worse).expect("30 % of packets a hundred times later");
        assert!(alarm.samples < 9_000, "{noise:?}: {}", alarm.why);
    }
}

#[test]
fn one_storm_however_bad_raises_no_alarm_but_a_late_lasting_change_does() {
    let [baseline, mut candidate] = pair(Noise::Independent, Planted::Nothing, N, 15);
    candidate[20_000..23_000].iter_mut().for_each(|s| s.latency_ns += 20_000_000);
    assert_eq!(Watch::of_samples(&baseline, &default()).feed(&candidate), None);
    candidate[45_000..].iter_mut().for_each(|s| s.latency_ns *= 2);
    let alarm = Watch::of_samples(&baseline, &default()).feed(&candidate);
    assert!(alarm.is_some_and(|alarm| alarm.samples > 45_000));
}

/// Samples a millisecond apart.
fn every_ms(latencies: impl Iterator<Item = u64>) -> Vec<Sample> {
    let sample = |(at, latency_ns)| Sample { due_ns: at as u64 * 1_000_000, latency_ns, flow: 0 };
    latencies.enumerate().map(sample).collect()
}

#[test]
fn ties_and_coarse_clocks_are_no_evidence_and_hide_none() {
    let constant = |latency_ns: u64| every_ms((0..N).map(|_| latency_ns));
    let call = |baseline: u64, candidate: u64| {
        judge_samples(&constant(baseline), &constant(candidate), &default(), 0).verdict
    };
    assert_eq!(call(20_000, 20_000), Call::Keep);
    // One tick of a clock that counts microseconds is exactly the 5 % that are tolerated.
    assert_eq!(call(20_000, 21_000), Call::Keep);
    assert_eq!(call(20_000, 22_000), Call::Revert);
    assert_eq!(call(20_000, 19_000), Call::Keep);
    // Quicker than the clock can tell.
    assert_eq!(call(0, 0), Call::Keep);
    assert_eq!(call(0, 1_000), Call::Revert);
    assert_eq!(call(u64::MAX - 1, u64::MAX - 1), Call::Keep);
    assert_eq!(call(20_000, u64::MAX - 1), Call::Revert);

    let ticks = |samples: &[Sample], by: u64| -> Vec<Sample> {
        let tick = |s: &Sample| Sample { latency_ns: s.latency_ns / 1_000 * 1_000 * by / 10, ..*s };
        samples.iter().map(tick).collect()
    };
    for seed in 20..24 {
        let [baseline, candidate] = pair(Noise::Autoregressive, Planted::Nothing, N, seed);
        let baseline = ticks(&baseline, 10);
        let unchanged = judge_samples(&baseline, &ticks(&candidate, 10), &default(), seed);
        assert_eq!(unchanged.verdict, Call::Keep, "{}", unchanged.why);
        let worse = judge_samples(&baseline, &ticks(&candidate, 15), &default(), seed);
        assert_eq!(worse.verdict, Call::Revert, "{}", worse.why);
    }
}

#[test]
fn a_storm_that_only_the_candidate_met_is_not_the_changes_fault() {
    for seconds in [1, 3, 10] {
        let [baseline, mut candidate] = pair(Noise::Independent, Planted::Nothing, N, 21);
        let storm = candidate[20_000..20_000 + seconds * 1_000].iter_mut().enumerate();
        storm.filter(|(at, _)| at % 3 != 0).for_each(|(_, s)| s.latency_ns += 20_000_000);
        let verdict = judge_samples(&baseline, &candidate, &default(), 0);
        assert_eq!(verdict.verdict, Call::Inconclusive, "{seconds} s: {}", verdict.why);
        // Whatever lies inside the storm: its own size is what is not known.
        assert!(verdict.metrics.values().all(|m| m.outcome != Outcome::Regressed), "{seconds} s");
        // Seen from the other side it is no reason to refuse.
        let gone = judge_samples(&candidate, &baseline, &default(), 0);
        assert_eq!(gone.verdict, Call::Keep, "{seconds} s: {}", gone.why);
        assert!(gone.provisional.is_some_and(|why| why.contains("storms come every")));
    }
}

#[test]
fn windows_of_any_pace_and_of_unequal_length_are_compared() {
    let paced = |noise, planted, seed: u64, step_ns: u64, from: u64| {
        pair(noise, planted, N, seed).map(|side| {
            let at = |(at, s): (usize, Sample)| Sample {
                due_ns: from.saturating_add(at as u64 * step_ns),
                ..s
            };
            side.into_iter().enumerate().map(at).collect::<Vec<Sample>>()
        })
    };
    // A million packets a second; one a minute for six weeks; at the end of time.
    let paces = [(1_000, 0), (60_000_000_000, 0), (1_000_000, u64::MAX - 60_000_000_000)];
    for (step_ns, from) in paces {
        let [baseline, same] = paced(Noise::Independent, Planted::Nothing, 22, step_ns, from);
        let [_, worse] = paced(Noise::Independent, Planted::Scale(1.2), 22, step_ns, from);
        let unchanged = judge_samples(&baseline, &same, &default(), 0);
        assert_eq!(unchanged.verdict, Call::Keep, "every {step_ns} ns: {}", unchanged.why);
        assert_eq!(judge_samples(&baseline, &worse, &default(), 0).verdict, Call::Revert);
        let mut watch = Watch::of_samples(&baseline, &default());
        assert_eq!(watch.feed(&same), None, "every {step_ns} ns");
    }

    let [few, _] = pair(Noise::Independent, Planted::Nothing, 200, 23);
    let [_, many] = pair(Noise::Independent, Planted::Nothing, 1_000_000, 23);
    let verdict = judge_samples(&few, &many, &default(), 0);
    assert_eq!(verdict.verdict, Call::Inconclusive, "{}", verdict.why);
    assert!(verdict.why.contains("2 tail samples expected in the smaller window"));
    let [_, worse] = pair(Noise::Independent, Planted::Scale(2.0), 1_000_000, 23);
    assert_eq!(judge_samples(&few, &worse, &default(), 0).verdict, Call::Revert);
    assert_ne!(judge_samples(&worse, &few, &default(), 0).verdict, Call::Revert);
}

#[test]
fn samples_out_of_order_or_all_at_once_conclude_nothing_wrong() {
    let [baseline, candidate] = pair(Noise::Autoregressive, Planted::Nothing, N, 24);
    let backwards = |samples: &[Sample]| samples.iter().rev().copied().collect::<Vec<Sample>>();
    let verdict = judge_samples(&backwards(&baseline), &backwards(&candidate), &default(), 0);
    assert_ne!(verdict.verdict, Call::Revert, "{}", verdict.why);
    let at_once = |samples: &[Sample]| -> Vec<Sample> {
        samples.iter().map(|s| Sample { due_ns: 7, ..*s }).collect()
    };
    let verdict = judge_samples(&at_once(&baseline), &at_once(&candidate), &default(), 0);
    assert_eq!(verdict.verdict, Call::Inconclusive);
    assert!(verdict.why.contains("no time between samples"), "{}", verdict.why);
    // One window against itself: every sample twice.
    assert_eq!(judge_samples(&baseline, &baseline, &default(), 0).verdict, Call::Keep);
}
