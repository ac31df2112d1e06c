//! The verdict's error rates and speed, beside plain gates on the same traces.
//!
//! `bench-verdict [--quick | --full] [--pairs N] [--from SEED] [--only TEXT] [--resume FILE]`
//!
//! The quoted figures are of seeds 0 and up; `--from` names others, for whoever changes the verdict.

// A benchmark times, and starts itself anew; that is its purpose.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    ops::Range,
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use agent::{
    measure::{Sample, evidence},
    verdict::{Call, Criterions, DEFAULT, Judged, Verdict, judge_samples, sequential::Watch},
};
use playbooks::{Metric, metric::Quantile};
use tests::{
    rivals,
    traces::{Noise, Planted, Unchanged, pair},
};

const SAMPLES: usize = 60_000;
const P50: Metric = Metric::LatencyQuantile(Quantile(5000));
const P99: Metric = Metric::LatencyQuantile(Quantile(9900));
const P999: Metric = Metric::LatencyQuantile(Quantile(9990));

fn main() {
    let given: Vec<String> = env::args().skip(1).collect();
    if let [flag, files @ ..] = given.as_slice()
        && flag == "--judge-once"
    {
        return judge_once(files);
    }
    let mut args = given.into_iter();
    let (mut pairs, mut from, mut only, mut resume) = (200, 0, String::new(), None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => pairs = 200,
            "--full" => pairs = 3000,
            "--pairs" => pairs = args.next().and_then(|n| n.parse().ok()).unwrap_or(pairs),
            "--from" => from = args.next().and_then(|n| n.parse().ok()).unwrap_or(from),
            "--only" => only = args.next().unwrap_or_default(),
            "--resume" => resume = args.next(),
            other => panic!("unknown argument {other}"),
        }
    }
    speed();
    resolution();
    let done = resume.as_deref().map(|file| fs::read_to_string(file).unwrap_or_default());
    println!(
        "\n{pairs} pairs a row from seed {from}, {SAMPLES} samples a side; share of pairs in %"
    );
    println!("{}", Row::HEAD);
    let mut left: Vec<Subject> = Vec::new();
    for subject in subjects().into_iter().filter(|s| s.name().contains(&only)) {
        let key = subject.key(pairs);
        let known = done.iter().flat_map(|text| text.lines()).find(|line| line.starts_with(&key));
        match known {
            Some(line) => println!("{line}"),
            None => left.push(subject),
        }
    }
    let batches = left.chunk_by(|one, next| one.noise == next.noise);
    for batch in batches.flat_map(|noise| noise.chunks(BATCH)) {
        for (subject, row) in batch.iter().zip(rows(batch, from..from + pairs)) {
            let line = format!("{}{}", subject.key(pairs), row.line());
            println!("{line}");
            let Some(file) = &resume else { continue };
            let mut file =
                fs::File::options().append(true).create(true).open(file).expect("--resume");
            writeln!(file, "{line}").expect("--resume");
        }
    }
}

/// Rows that are tried on the same traces at once.
const BATCH: usize = 6;

/// Tries changes to one noise, each on the same traces.
fn rows(batch: &[Subject], seeds: Range<u64>) -> Vec<Row> {
    let next = AtomicU64::new(seeds.start);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut rows: Vec<Row> = batch.iter().map(|_| Row::default()).collect();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return rows;
            }
            let ground = Ground::new(batch[0].noise, seed);
            for (row, subject) in rows.iter_mut().zip(batch) {
                row.count(subject, &ground);
            }
        }
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let counted = handles.into_iter().map(|h| h.join().expect("worker"));
        let add = |all: Vec<Row>, more: Vec<Row>| {
            all.into_iter().zip(more).map(|(row, other)| row.add(other)).collect()
        };
        counted.reduce(add).expect("a worker")
    })
}

/// An unchanged pair, and what all changes to it are compared with.
struct Ground {
    pair: Unchanged,
    seed: u64,
    verdict: Verdict,
    sorted: Vec<u64>,
    watch: Watch,
}

impl Ground {
    fn new(noise: Noise, seed: u64) -> Ground {
        let pair = Unchanged::new(noise, SAMPLES, seed);
        let verdict = judge(&pair.baseline, &pair.candidate(Planted::Nothing), seed);
        let sorted = rivals::sorted(&pair.baseline);
        let watch = Watch::of_samples(&pair.baseline, &Criterions::default_guardrails());
        Ground { pair, seed, verdict, sorted, watch }
    }
}

/// One row of the table.
struct Subject {
    noise: Noise,
    change: Change,
}

#[derive(Clone)]
enum Change {
    None,
    /// This regression or improvement.
    Planted(&'static str, Planted),
    /// Twice what the verdict on the unchanged pair calls the smallest visible effect on this metric,
    /// planted so that exactly this metric's quantile moves by it.
    TwiceVisible(Metric),
}

/// Noise by noise, what is asked first before what is there for completeness.
fn subjects() -> Vec<Subject> {
    use Planted::{Body, Hundredfold, Lost, Scale, Spread, Step, StormsGone, Tail};
    let planted = |name, planted| Change::Planted(name, planted);
    let quicker = || planted("better: all x0.8", Scale(0.8));
    let visible = [P50, P99, P999, Metric::SlowRatio, Metric::LossRatio];
    let mut all = Vec::new();
    let mut add = |noise, change| all.push(Subject { noise, change });
    for noise in [Noise::Independent, Noise::Autoregressive] {
        add(noise, Change::None);
        visible.iter().for_each(|metric| add(noise, Change::TwiceVisible(metric.clone())));
        add(noise, quicker());
        add(noise, planted("better: up to p60 x0.8", Body { below: 0.6, by: 0.8 }));
        add(noise, planted("worse: step x1.3 half-way", Step(1.3)));
        add(noise, planted("worse: tail beyond p95 x2", Tail { above: 0.95, by: 2.0 }));
        add(noise, planted("worse: spread only, squared", Spread(2.0)));
        add(noise, planted("worse: loss bursts", Lost(1.0)));
        add(noise, planted("worse: loss bursts often", Lost(4.0)));
        add(noise, planted("worse: 30 % of packets x100", Hundredfold(0.3)));
        add(noise, planted("worse: slowest 30 % x100", Tail { above: 0.7, by: 100.0 }));
        add(noise, planted("worse: 1 % of packets x100", Hundredfold(0.01)));
    }
    add(Noise::Storms, planted("better: storms gone", StormsGone));
    for noise in [Noise::Storms, Noise::Diurnal] {
        add(noise, Change::None);
        add(noise, quicker());
        add(noise, planted("worse: all x1.2", Scale(1.2)));
    }
    for noise in [Noise::RareStorms, Noise::LossBursts] {
        add(noise, Change::None);
        add(noise, quicker());
    }
    for noise in [Noise::SlowLevel, Noise::Modulated, Noise::Sluggish] {
        add(noise, Change::None);
        add(noise, quicker());
        visible.iter().for_each(|metric| add(noise, Change::TwiceVisible(metric.clone())));
    }
    all
}

impl Subject {
    fn name(&self) -> String {
        match &self.change {
            Change::None => format!("{:?} A/A", self.noise),
            Change::Planted(name, _) => format!("{:?} {name}", self.noise),
            Change::TwiceVisible(metric) => {
                format!("{:?} worse: {metric} +2x visible", self.noise)
            }
        }
    }

    fn key(&self, pairs: u64) -> String {
        format!("{:<53} {pairs:>5} ", self.name())
    }

    /// `None` where the unchanged pair does not resolve the metric: then there is no smallest visible
    /// effect to plant twice.
    fn planted(&self, unchanged: &Verdict) -> Option<Planted> {
        match &self.change {
            Change::None => Some(Planted::Nothing),
            Change::Planted(_, planted) => Some(*planted),
            Change::TwiceVisible(metric) => twice_visible(metric, &unchanged.metrics[metric]),
        }
    }
}

/// A quantile that cannot be told from its tenfold is not resolved.
const UNRESOLVED: f64 = 9.0;

/// What moves this metric by twice its smallest visible effect, where it has one.
fn twice_visible(metric: &Metric, unchanged: &Judged) -> Option<Planted> {
    let by = 1.0 + 2.0 * unchanged.smallest_visible;
    let share = match unchanged.baseline {
        0.0 => 2.0 * unchanged.smallest_visible,
        baseline => 2.0 * unchanged.smallest_visible * baseline,
    };
    Some(match metric {
        Metric::LatencyQuantile(_) if unchanged.smallest_visible > UNRESOLVED => return None,
        Metric::LatencyQuantile(Quantile(5000)) => Planted::Scale(by),
        Metric::LatencyQuantile(Quantile(9900)) => Planted::Tail { above: 0.98, by },
        Metric::LatencyQuantile(_) => Planted::Tail { above: 0.998, by },
        Metric::LossRatio => Planted::LostAlone(share),
        _ => Planted::Hundredfold(share),
    })
}

fn judge(baseline: &[Sample], candidate: &[Sample], seed: u64) -> Verdict {
    judge_samples(baseline, candidate, &Criterions::default_guardrails(), seed)
}

#[derive(Default)]
struct Row {
    /// Pairs judged.
    pairs: u64,
    keep: u64,
    /// Of the kept: not for good yet.
    provisional: u64,
    revert: u64,
    inconclusive: u64,
    /// Reverts by Mann-Whitney, Kolmogorov-Smirnov, quantile thresholds.
    rivals: [u64; 3],
    /// Pairs in which some metric's interval does not hold 0.
    away: u64,
    /// After how many samples the sequential watch called a regression, where it did.
    alarms: Vec<u64>,
    /// How often each metric's guardrail was not held.
    refused_by: BTreeMap<Metric, u64>,
}

impl Row {
    const HEAD: &str = "trace                                                 pairs judged    keep revert incon. |  prov. | CI!=0 | early  at % | reverts: M-W    K-S thresh. | guardrails not held";

    fn count(&mut self, subject: &Subject, ground: &Ground) {
        let Some(planted) = subject.planted(&ground.verdict) else { return };
        let candidate = ground.pair.candidate(planted);
        let verdict = match planted {
            Planted::Nothing => ground.verdict.clone(),
            _ => judge(&ground.pair.baseline, &candidate, ground.seed),
        };
        self.pairs += 1;
        self.provisional += u64::from(verdict.provisional.is_some());
        match verdict.verdict {
            Call::Keep => self.keep += 1,
            Call::Revert => self.revert += 1,
            Call::Inconclusive => self.inconclusive += 1,
        }
        let away = |j: &Judged| j.ci[0] > 0.0 || j.ci[1] < 0.0;
        self.away += u64::from(verdict.metrics.values().any(away));
        for (metric, judged) in verdict.metrics {
            *self.refused_by.entry(metric).or_default() +=
                u64::from(judged.guardrail != Some(true));
        }
        // Interleaved windows are judged at their end: a watch on one side would see the drift.
        if subject.noise != Noise::Diurnal {
            let alarm = ground.watch.clone().feed(&candidate);
            self.alarms.extend(alarm.map(|alarm| alarm.samples));
        }
        let (base, cand) = (&ground.sorted, &rivals::sorted(&candidate));
        self.rivals[0] += u64::from(rivals::mann_whitney(base, cand));
        self.rivals[1] += u64::from(rivals::kolmogorov_smirnov(base, cand));
        self.rivals[2] += u64::from(rivals::thresholds(base, cand));
    }

    fn add(mut self, other: Row) -> Row {
        self.pairs += other.pairs;
        self.provisional += other.provisional;
        self.keep += other.keep;
        self.revert += other.revert;
        self.inconclusive += other.inconclusive;
        for (own, more) in self.rivals.iter_mut().zip(other.rivals) {
            *own += more;
        }
        self.away += other.away;
        self.alarms.extend(other.alarms);
        for (metric, count) in other.refused_by {
            *self.refused_by.entry(metric).or_default() += count;
        }
        self
    }

    fn line(mut self) -> String {
        self.alarms.sort_unstable();
        let median = self.alarms.get(self.alarms.len() / 2);
        let at =
            median.map_or("-".to_owned(), |&n| format!("{:.1}", 100.0 * n as f64 / SAMPLES as f64));
        let early = 100.0 * self.alarms.len() as f64 / self.pairs.max(1) as f64;
        let share = |count: u64| 100.0 * count as f64 / self.pairs.max(1) as f64;
        let [whitney, smirnov, threshold] = self.rivals.map(share);
        // No pair may have been judged at all.
        let refused = |metric| share(self.refused_by.get(&metric).copied().unwrap_or(0));
        let refused = DEFAULT.map(|metric| format!("{:.1}", refused(metric))).join(" ");
        format!(
            "{:>6} {:>7.2} {:>6.2} {:>6.2} | {:>6.1} | {:>5.1} | {early:>5.1} {at:>5} |         {whitney:>6.1} {smirnov:>6.1}  {threshold:>6.1} | {refused}",
            self.pairs,
            share(self.keep),
            share(self.revert),
            share(self.inconclusive),
            share(self.provisional),
            share(self.away),
        )
    }
}

/// One million samples, half on either side, judged on all default metrics by one thread. In a process
/// of its own, which holds the evidence as `nicmend judge` does and nothing else.
fn speed() {
    let folder = env::temp_dir().join(format!("bench-verdict-{}", process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    for noise in [Noise::Independent, Noise::Autoregressive, Noise::Storms] {
        let files = ["baseline", "candidate"].map(|name| folder.join(name));
        let sides = pair(noise, Planted::Nothing, 500_000, 1);
        for (file, samples) in files.iter().zip(&sides) {
            fs::write(file, evidence::write(samples)).expect("write the evidence");
        }
        let own = env::current_exe().expect("this program");
        let child = process::Command::new(own).arg("--judge-once").args(&files).output();
        let said = child.expect("judge in a process of its own").stdout;
        println!("1,000,000 samples {noise:?}: {}", String::from_utf8_lossy(&said).trim());
    }
    let _ = fs::remove_dir_all(&folder);
}

/// The smallest effect that windows of several lengths tell from none.
fn resolution() {
    let mut by = Criterions::default_guardrails();
    // A tolerance finer than any window's resolution, so that it is the resolution that is said.
    by.guardrails.values_mut().for_each(|criterion| criterion.no_worse_than = Some(1e-9));
    println!(
        "\nsmallest visible effect in % by samples a side (median of 9 pairs; n: not resolved)"
    );
    println!("{:<16} {:>9}  {:>8} {:>8} {:>8}", "trace", "samples", P50, P99, P999);
    for noise in [Noise::Independent, Noise::Autoregressive, Noise::SlowLevel] {
        for samples in [10_000, 60_000, 240_000, 1_000_000] {
            let mut visible = [const { Vec::new() }; 3];
            for seed in 0..9 {
                let [baseline, candidate] = pair(noise, Planted::Nothing, samples, seed);
                let verdict = judge_samples(&baseline, &candidate, &by, seed);
                for (list, metric) in visible.iter_mut().zip([P50, P99, P999]) {
                    let judged = &verdict.metrics[&metric];
                    let few = judged.why.contains("tail samples");
                    list.push(if few { f64::MAX } else { judged.smallest_visible });
                }
            }
            let middle = visible.map(|mut list| {
                list.sort_by(f64::total_cmp);
                if list[4] > UNRESOLVED {
                    "n".to_owned()
                } else {
                    format!("{:.1}", 100.0 * list[4])
                }
            });
            let [p50, p99, p999] = middle;
            println!("{:<16} {samples:>9}  {p50:>11} {p99:>11} {p999:>13}", format!("{noise:?}"));
        }
    }
}

/// The other process: reads, judges five times, says how long and how large.
fn judge_once(files: &[String]) {
    let [baseline, candidate] = [&files[0], &files[1]].map(|file| {
        let bytes = fs::read(file).expect("the evidence");
        evidence::read(&bytes, file).expect("the evidence")
    });
    // Processor time: the machine may be busy with other things.
    let mut times: Vec<f64> = (0..5)
        .map(|seed| {
            let begin = processor_ms();
            std::hint::black_box(judge(&baseline, &candidate, seed));
            processor_ms() - begin
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    println!(
        "judged in {:.1} ms of one processor (median of 5), peak memory {}",
        times[2],
        peak.trim()
    );
}

/// What this thread has run, milliseconds (/proc/thread-self/schedstat; its first number is
/// nanoseconds on a processor, Documentation/scheduler/sched-stats.rst).
fn processor_ms() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ran = text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
    ran.unwrap_or(f64::NAN) / 1e6
}
