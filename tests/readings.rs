//! Figures beside the probe's: what comes of them in a verdict, on made-up windows.

use std::collections::BTreeMap;

use agent::{
    measure::{Sample, Window, reading::Recorded},
    verdict::{Call, Criterions, Judged, Outcome, Random, Verdict, judge},
};
use playbooks::{
    Metric,
    external::{Better, Kind},
    playbook::Criterion,
};

const SECOND: u64 = 1_000_000_000;
const LENGTH: u64 = 30 * SECOND;

fn figure() -> Metric {
    Metric::External("figure".to_owned())
}

/// A calm window of 30 s whose probe saw nothing worth a word, with this beside it.
fn window(recorded: Option<Recorded>, began_s: i64) -> Window {
    let samples: Vec<Sample> = (0..3000)
        .map(|n| Sample { due_ns: n * 10_000_000, latency_ns: 20_000 + n % 100, flow: 0 })
        .collect();
    Window {
        began_utc_ns: began_s * SECOND as i64,
        length_ns: LENGTH,
        sent: samples.len() as u64,
        samples,
        readings: recorded.map(|r| (figure().to_string(), r)).into_iter().collect(),
        ..Window::default()
    }
}

fn recorded(kind: Kind, better: Better, values: &[f64]) -> Recorded {
    let step = LENGTH / values.len().max(1) as u64;
    let readings = (0..).map(|n| n * step).zip(values.iter().copied()).map(Into::into).collect();
    Recorded { kind, better, every_ns: step, readings, refused: 0, trouble: None }
}

fn gauge(values: &[f64]) -> Option<Recorded> {
    Some(recorded(Kind::Gauge, Better::Lower, values))
}

fn judged(baseline: Option<Recorded>, candidate: Option<Recorded>, by: Criterion) -> Verdict {
    let guardrails = BTreeMap::from([(figure(), by)]);
    let by = Criterions { objective: BTreeMap::new(), guardrails };
    judge(&window(baseline, 0), &window(candidate, 40), &by, 7)
}

fn of(verdict: &Verdict) -> &Judged {
    &verdict.metrics[&figure()]
}

fn no_worse_than(tolerance: f64) -> Criterion {
    Criterion { no_worse_than: Some(tolerance), ..Criterion::default() }
}

fn at_most(most: f64) -> Criterion {
    Criterion { at_most: Some(most), ..Criterion::default() }
}

fn at_least(least: f64) -> Criterion {
    Criterion { at_least: Some(least), ..Criterion::default() }
}

/// Readings around `level`, each alike to the one before: first-order autoregression with `phi`, a tenth
/// of the level wide, and one in 40 three times as high.
fn readings(random: &mut Random, phi: f64, level: f64) -> Vec<f64> {
    let mut value = 0.0;
    let wide = 0.1 * (1.0 - phi * phi).sqrt() * 3.46;
    (0..300)
        .map(|_| {
            value = phi * value + wide * (random.below(1_000_001) as f64 / 1e6 - 0.5);
            let high = if random.below(40) == 0 { 3.0 } else { 1.0 };
            level * high * (1.0 + value)
        })
        .collect()
}

#[test]
fn likes_are_not_reverted_and_changes_are_seen() {
    // At 0.9 the 300 readings say as much as 15 that are independent would: doubt is due.
    for (phi, doubtful) in [(0.0, 0.05), (0.5, 0.05), (0.9, 0.25)] {
        let mut random = Random::new(11);
        let (mut false_reverts, mut false_gains, mut open, mut missed) = (0, 0, 0, 0);
        let pairs: u32 = 400;
        for _ in 0..pairs {
            let base = gauge(&readings(&mut random, phi, 12e-6));
            let alike = gauge(&readings(&mut random, phi, 12e-6));
            let worse = gauge(&readings(&mut random, phi, 18e-6));
            let same = judged(base.clone(), alike, no_worse_than(0.05));
            match same.verdict {
                Call::Keep => {}
                Call::Revert => false_reverts += 1,
                Call::Inconclusive => open += 1,
            }
            false_gains += u32::from(of(&same).outcome == Outcome::Improved);
            missed += u32::from(judged(base, worse, no_worse_than(0.05)).verdict == Call::Keep);
        }
        println!(
            "phi {phi}: of {pairs}: {false_reverts} false reverts, {false_gains} false gains, {open} \
             inconclusive, {missed} regressions of half missed"
        );
        assert!(false_reverts * 100 <= pairs && false_gains * 100 <= pairs, "phi {phi}");
        assert!(f64::from(open) <= doubtful * f64::from(pairs), "phi {phi}");
        assert!(missed * 100 <= pairs, "phi {phi}");
    }
}

#[test]
fn bounds_hold_break_and_stay_open() {
    let mut random = Random::new(3);
    let at = |random: &mut Random, level| gauge(&readings(random, 0.5, level));
    let (base, cand) = (at(&mut random, 100.0), at(&mut random, 100.0));
    let call = |by| judged(base.clone(), cand.clone(), by);
    assert_eq!(call(at_most(120.0)).verdict, Call::Keep);
    let broken = call(at_most(80.0));
    assert_eq!(broken.verdict, Call::Revert);
    assert!(
        broken.why.starts_with("external.figure: at-most 80 broken: measured"),
        "{}",
        broken.why
    );
    assert_eq!(call(at_most(of(&broken).candidate)).verdict, Call::Inconclusive);
    let better = judged(base.clone(), at(&mut random, 50.0), no_worse_than(0.05));
    assert_eq!((better.verdict, of(&better).outcome), (Call::Keep, Outcome::Improved));
    assert_eq!(of(&better).n, [300, 300]);
    let again = judged(base, at(&mut Random::new(9), 50.0), no_worse_than(0.05));
    assert_eq!(
        again,
        judged(
            gauge(&readings(&mut Random::new(3), 0.5, 100.0)),
            at(&mut Random::new(9), 50.0),
            no_worse_than(0.05)
        ),
        "the same evidence, the same verdict"
    );
}

#[test]
fn what_is_better_higher_is_mirrored() {
    let mut random = Random::new(5);
    let mut at =
        |level| Some(recorded(Kind::Gauge, Better::Higher, &readings(&mut random, 0.5, level)));
    let (base, more, less) = (at(100.0), at(150.0), at(60.0));
    let up = judged(base.clone(), more.clone(), no_worse_than(0.05));
    assert_eq!((up.verdict, of(&up).outcome), (Call::Keep, Outcome::Improved));
    assert!(of(&up).effect < -0.3 && of(&up).candidate > 140.0, "{:?}", of(&up));
    let down = judged(base.clone(), less, no_worse_than(0.05));
    assert_eq!((down.verdict, of(&down).outcome), (Call::Revert, Outcome::Regressed));
    assert_eq!(judged(base.clone(), more.clone(), at_least(120.0)).verdict, Call::Keep);
    assert_eq!(judged(base, more, at_least(180.0)).verdict, Call::Revert);
}

#[test]
fn counters_are_judged_by_their_increase() {
    let counter = |per_reading: f64| {
        let values: Vec<f64> = (0..300).map(|n| 1e6 + f64::from(n) * per_reading).collect();
        Some(recorded(Kind::Counter, Better::Lower, &values))
    };
    let none = judged(counter(0.0), counter(0.0), at_most(0.0));
    assert_eq!((none.verdict, of(&none).candidate), (Call::Keep, 0.0));
    assert_eq!(judged(counter(0.0), counter(1.0), at_most(0.0)).verdict, Call::Revert);
    assert_eq!(judged(counter(100.0), counter(100.0), no_worse_than(0.05)).verdict, Call::Keep);
    assert_eq!(judged(counter(10.0), counter(100.0), no_worse_than(0.05)).verdict, Call::Revert);
    let mut reset = counter(10.0).unwrap();
    reset.readings[150].value = 0.0;
    let verdict = judged(counter(10.0), Some(reset), at_most(1e6));
    assert_eq!(verdict.verdict, Call::Inconclusive);
    assert!(verdict.why.contains("in the candidate, it was reset"), "{}", verdict.why);
}

#[test]
fn doubt_is_inconclusive_and_says_what_is_needed() {
    let good = || gauge(&readings(&mut Random::new(1), 0.5, 100.0));
    let stale =
        Recorded { trouble: Some("stale: it was not written".to_owned()), ..good().unwrap() };
    let few: Vec<f64> = (0..60).map(f64::from).collect();
    let constant = |value: f64| gauge(&[value; 300]);
    // One slow swing: whatever its median, another window could catch another part of it.
    let swing = |n: i32| f64::from((n - 60).abs());
    let alike = |times: f64| gauge(&(0..120).map(|n| times * (9.0 + swing(n))).collect::<Vec<_>>());
    for (baseline, candidate, words) in [
        (None, good(), "in the baseline, a window does not hold it"),
        (good(), None, "in the candidate, a window does not hold it"),
        (good(), Some(stale), "stale"),
        (good(), gauge(&[]), "no reading"),
        (good(), gauge(&few), "60 readings in a side: 100 needed"),
        (constant(5.0), constant(4.0), "1 values in a row"),
        (alike(1.0), alike(1.1), "resemble their neighbours"),
    ] {
        let verdict = judged(baseline, candidate, no_worse_than(10.0));
        assert_eq!(verdict.verdict, Call::Inconclusive, "{words}");
        assert!(verdict.why.contains(words), "{words}: {}", verdict.why);
        assert_eq!(of(&verdict).outcome, Outcome::Inconclusive);
    }
    // One that never moves is known as well as one can know it.
    assert_eq!(judged(constant(0.0), constant(0.0), no_worse_than(0.0)).verdict, Call::Keep);
    assert_eq!(judged(constant(5.0), constant(5.0), at_most(5.0)).verdict, Call::Keep);
}

#[test]
fn signs_and_zeros_know_no_percentage_but_a_bound() {
    let offset = |centre: f64| {
        let mut random = Random::new(2);
        gauge(&(0..300).map(|_| centre + random.below(2001) as f64 - 1000.0).collect::<Vec<_>>())
    };
    let around = judged(offset(0.0), offset(10.0), no_worse_than(0.5));
    assert_eq!(around.verdict, Call::Inconclusive, "{}", around.why);
    assert_eq!(judged(offset(0.0), offset(10.0), at_most(500.0)).verdict, Call::Keep);
    let below = judged(offset(-5000.0), offset(-2000.0), no_worse_than(0.1));
    assert_eq!(below.verdict, Call::Revert, "less negative is worse: {}", below.why);
}

#[test]
fn interleaved_windows_are_compared_with_the_drift_taken_out() {
    use agent::verdict::{Evidence, judge_evidence};
    let mut random = Random::new(8);
    let windows: Vec<Window> = (0..12)
        .map(|turn| {
            let drift = 1.0 + 0.05 * f64::from(turn);
            let shift = if turn % 2 == 1 { 1.4 } else { 1.0 };
            let values = readings(&mut random, 0.5, 100.0 * drift * shift);
            window(gauge(&values), i64::from(turn) * 40)
        })
        .collect();
    let side = |odd: usize| -> Vec<&Window> { windows.iter().skip(odd).step_by(2).collect() };
    let guardrails = BTreeMap::from([(figure(), no_worse_than(0.05))]);
    let by = Criterions { objective: BTreeMap::new(), guardrails };
    let verdict = judge_evidence(&Evidence::windows(&side(0), &side(1)), &by, 1);
    assert_eq!(verdict.verdict, Call::Revert, "{}", verdict.why);
    let effect = of(&verdict).effect;
    assert!((0.3..0.5).contains(&effect), "{effect}");
}

#[test]
fn a_window_with_readings_is_read_back_and_an_old_one_still_is() {
    let one = window(gauge(&readings(&mut Random::new(4), 0.5, 0.1)), 3);
    let json = serde_json::to_string(&one).unwrap();
    let mut back: Window = serde_json::from_str(&json).unwrap();
    back.samples.clone_from(&one.samples);
    assert_eq!(back, one);
    let old = serde_json::to_string(&window(None, 3)).unwrap();
    assert!(!old.contains("readings"));
    assert!(serde_json::from_str::<Window>(&old).unwrap().readings.is_empty());
}

#[test]
fn appended_windows_go_on_in_time() {
    let values: Vec<f64> = (0..300).map(f64::from).collect();
    let counter = || Some(recorded(Kind::Counter, Better::Lower, &values));
    let mut whole = window(counter(), 0);
    whole.append(window(counter(), 30));
    let readings = &whole.readings[&figure().to_string()].readings;
    assert_eq!((readings.len(), readings[300].at_ns), (600, LENGTH));
    let mut late = window(None, 0);
    late.append(window(counter(), 30));
    let recorded = &late.readings[&figure().to_string()];
    assert!(recorded.missing(late.length_ns).unwrap().contains("silent for 30.0 s"));
}
