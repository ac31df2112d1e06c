//! Latency traces with known truth, from a seed: what a verdict is tried on.
//!
//! A trace is a background ([`Noise`]) and a change to the candidate ([`Planted`]). Every figure that
//! the documentation quotes is of these traces; their parameters are stated here and nowhere else.

use agent::measure::Sample;

/// Packets a second.
pub const RATE: u64 = 1000;
/// Nanoseconds between two packets.
const STEP_NS: u64 = 1_000_000_000 / RATE;
/// The median latency of every background, nanoseconds.
pub const MEDIAN_NS: f64 = 20_000.0;
/// Segments in which an interleaved pair alternates, both sides together.
pub const TURNS: usize = 20;

/// What latency does by itself. The same process runs through baseline and candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// Independent; log-normal (sigma 0.2) with 2 % from a Pareto tail (alpha 2 from 1.5 medians).
    Independent,
    /// Log-normal, its logarithm a first-order autoregression: lag-1 correlation 0.95 a sample
    /// (half gone after 14 ms), sigma 0.5.
    Autoregressive,
    /// The same with 0.998 a sample (half gone after 0.35 s): a minute holds some 60 independent
    /// stretches of it, which is where the verdict's limits show. Not one of [`Noise::ALL`].
    Sluggish,
    /// [`Noise::Independent`] times a slow level: autoregression of 0.999 a sample (half gone after
    /// 0.7 s), sigma 0.15.
    SlowLevel,
    /// [`Noise::Independent`], switching to threefold latency and a 10 % tail for 100 ms on average,
    /// every 2 s on average (a Markov chain).
    Modulated,
    /// [`Noise::Independent`] and every 10 s ± 2 s a storm of 100 ms in which 70 % of packets are
    /// 15-20 ms late: 0.7 % of all packets.
    Storms,
    /// The same share of late packets in a storm of 2.5 s every 6 min ± 1 min: most windows see none.
    RareStorms,
    /// [`Noise::Independent`] times a level that swings by half, one sine over twice the length;
    /// measured in turns of baseline and candidate.
    Diurnal,
    /// [`Noise::Independent`] and, every 8 s on average, 20 to 60 packets lost in a row.
    LossBursts,
}

impl Noise {
    pub const ALL: [Noise; 8] = [
        Noise::Independent,
        Noise::Autoregressive,
        Noise::SlowLevel,
        Noise::Modulated,
        Noise::Storms,
        Noise::RareStorms,
        Noise::Diurnal,
        Noise::LossBursts,
    ];
}

/// What is done to the candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Planted {
    Nothing,
    /// Every latency times this.
    Scale(f64),
    /// Latencies above the quantile `above` (a fraction), times `by`.
    Tail {
        above: f64,
        by: f64,
    },
    /// Latencies up to the quantile `below` (a fraction), times `by`.
    Body {
        below: f64,
        by: f64,
    },
    /// The distance to the median, as a factor, to this power: spread without location.
    Spread(f64),
    /// This share of packets, picked at random, a hundred times as late.
    Hundredfold(f64),
    /// Every latency times this from the middle of the candidate on.
    Step(f64),
    /// Packets lost in a row, so many times as often as every 8 s, 20 to 60 each.
    Lost(f64),
    /// This share of packets, picked at random, lost.
    LostAlone(f64),
    /// Packets later than 15 ms are as the background without storms.
    StormsGone,
}

/// Baseline and candidate, `samples` each, on one clock.
pub fn pair(noise: Noise, planted: Planted, samples: usize, seed: u64) -> [Vec<Sample>; 2] {
    let unchanged = Unchanged::new(noise, samples, seed);
    let candidate = unchanged.candidate(planted);
    [unchanged.baseline, candidate]
}

/// A pair before anything is done to the candidate: what several changes may be planted into.
pub struct Unchanged {
    pub baseline: Vec<Sample>,
    candidate: Vec<Sample>,
    chance: Chance,
}

impl Unchanged {
    pub fn new(noise: Noise, samples: usize, seed: u64) -> Unchanged {
        let mut chance = Chance::new(seed);
        let mut baseline = background(noise, 2 * samples, &mut chance);
        let [baseline, candidate] = match noise {
            Noise::Diurnal => take_turns(&baseline),
            Noise::Independent
            | Noise::Autoregressive
            | Noise::Sluggish
            | Noise::SlowLevel
            | Noise::Modulated
            | Noise::Storms
            | Noise::RareStorms
            | Noise::LossBursts => {
                let candidate = baseline.split_off(samples);
                [baseline, candidate]
            }
        };
        Unchanged { baseline, candidate, chance }
    }

    /// The candidate with this done to it.
    pub fn candidate(&self, planted: Planted) -> Vec<Sample> {
        let (mut candidate, mut chance) = (self.candidate.clone(), self.chance.clone());
        plant(&mut candidate, planted, &mut chance);
        candidate
    }
}

fn take_turns(both: &[Sample]) -> [Vec<Sample>; 2] {
    let mut sides = [Vec::new(), Vec::new()];
    for (turn, segment) in both.chunks(both.len().div_ceil(TURNS)).enumerate() {
        sides[turn % 2].extend_from_slice(segment);
    }
    sides
}

fn background(noise: Noise, samples: usize, chance: &mut Chance) -> Vec<Sample> {
    let latencies: Vec<f64> = match noise {
        Noise::Independent => (0..samples).map(|_| chance.heavy(0.02)).collect(),
        Noise::Autoregressive | Noise::Sluggish => {
            let phi = if noise == Noise::Sluggish { 0.998 } else { 0.95 };
            let levels = chance.autoregression(phi, samples);
            levels.into_iter().map(|z| MEDIAN_NS * (0.5 * z).exp()).collect()
        }
        Noise::SlowLevel => {
            let levels = chance.autoregression(0.999, samples);
            levels.into_iter().map(|z| chance.heavy(0.02) * (0.15 * z).exp()).collect()
        }
        Noise::Modulated => modulated(samples, chance),
        Noise::Storms => stormy(samples, [8.0, 12.0], 0.1, chance),
        Noise::RareStorms => stormy(samples, [300.0, 420.0], 2.5, chance),
        Noise::Diurnal => {
            let turn = std::f64::consts::TAU / (2 * samples) as f64;
            let phase = chance.uniform() * std::f64::consts::TAU;
            let level = |at: usize| 1.0 + 0.5 * (at as f64 * turn + phase).sin();
            (0..samples).map(|at| chance.heavy(0.02) * level(at)).collect()
        }
        Noise::LossBursts => {
            let mut latencies: Vec<f64> = (0..samples).map(|_| chance.heavy(0.02)).collect();
            lose(&mut latencies, 1.0, chance);
            latencies
        }
    };
    let sample = |(at, latency): (usize, f64)| Sample {
        due_ns: at as u64 * STEP_NS,
        latency_ns: nanoseconds(latency),
        flow: 0,
    };
    latencies.into_iter().enumerate().map(sample).collect()
}

fn modulated(samples: usize, chance: &mut Chance) -> Vec<f64> {
    let mut busy = chance.uniform() < 0.05;
    let mut step = || {
        let leave = if busy { 1.0 / (0.1 * RATE as f64) } else { 1.0 / (2.0 * RATE as f64) };
        busy ^= chance.uniform() < leave;
        if busy { 3.0 * chance.heavy(0.10) } else { chance.heavy(0.02) }
    };
    (0..samples).map(|_| step()).collect()
}

/// Storms of `seconds`, their beginnings a period apart that is drawn from `period` seconds.
fn stormy(samples: usize, period: [f64; 2], seconds: f64, chance: &mut Chance) -> Vec<f64> {
    let mut begins = chance.uniform() * period[1];
    let mut latencies = Vec::with_capacity(samples);
    for at in 0..samples {
        let now = at as f64 / RATE as f64;
        if now >= begins + seconds {
            begins += chance.between(period[0], period[1]);
        }
        let late = now >= begins && chance.uniform() < 0.7;
        let own = chance.heavy(0.02);
        latencies.push(if late { own + chance.between(15e6, 20e6) } else { own });
    }
    latencies
}

/// Loses 20 to 60 packets in a row, `often` times every 8 s.
fn lose(latencies: &mut [f64], often: f64, chance: &mut Chance) {
    let mut at = 0.0;
    loop {
        at += -chance.uniform().ln() * 8.0 * RATE as f64 / often;
        let begin = at as usize;
        if begin >= latencies.len() {
            return;
        }
        let end = (begin + 20 + (chance.uniform() * 41.0) as usize).min(latencies.len());
        latencies[begin..end].fill(f64::INFINITY);
        at = end as f64;
    }
}

fn plant(samples: &mut [Sample], planted: Planted, chance: &mut Chance) {
    let middle = samples.len() / 2;
    let at_quantile = |samples: &[Sample], at: f64| {
        let mut sorted: Vec<u64> = samples.iter().map(|s| s.latency_ns).collect();
        let place = (at * sorted.len() as f64) as usize;
        *sorted.select_nth_unstable(place.min(samples.len() - 1)).1
    };
    let mut scale = |of: &mut dyn FnMut(usize, f64) -> f64| {
        for (at, sample) in samples.iter_mut().enumerate().filter(|(_, s)| !s.is_lost()) {
            sample.latency_ns = nanoseconds(of(at, sample.latency_ns as f64));
        }
    };
    match planted {
        Planted::Nothing => {}
        Planted::Scale(by) => scale(&mut |_, latency| latency * by),
        Planted::Step(by) => scale(&mut |at, l| if at >= middle { l * by } else { l }),
        Planted::Spread(power) => {
            scale(&mut |_, latency| MEDIAN_NS * (latency / MEDIAN_NS).powf(power));
        }
        Planted::Hundredfold(share) => {
            scale(&mut |_, l| if chance.uniform() < share { l * 100.0 } else { l });
        }
        Planted::StormsGone => scale(&mut |_, latency| {
            if latency >= 15e6 { chance.heavy(0.02) } else { latency }
        }),
        Planted::Tail { above, by } => {
            let from = at_quantile(samples, above);
            let tail = |s: &&mut Sample| s.latency_ns > from && !s.is_lost();
            for sample in samples.iter_mut().filter(tail) {
                sample.latency_ns = nanoseconds(sample.latency_ns as f64 * by);
            }
        }
        Planted::Body { below, by } => {
            let to = at_quantile(samples, below);
            for sample in samples.iter_mut().filter(|s| s.latency_ns <= to) {
                sample.latency_ns = nanoseconds(sample.latency_ns as f64 * by);
            }
        }
        Planted::LostAlone(share) => {
            for sample in samples.iter_mut().filter(|_| chance.uniform() < share) {
                sample.latency_ns = Sample::LOST;
            }
        }
        Planted::Lost(often) => {
            let mut marks = vec![0.0; samples.len()];
            lose(&mut marks, often, chance);
            for (sample, mark) in samples.iter_mut().zip(marks) {
                if mark == f64::INFINITY {
                    sample.latency_ns = Sample::LOST;
                }
            }
        }
    }
}

fn nanoseconds(latency: f64) -> u64 {
    if latency == f64::INFINITY { Sample::LOST } else { latency.round() as u64 }
}

/// Chance from a seed: xoshiro256++ (Blackman and Vigna 2019), seeded by SplitMix64.
#[derive(Clone)]
pub struct Chance {
    state: [u64; 4],
}

impl Chance {
    pub fn new(seed: u64) -> Chance {
        let mut mix = agent::verdict::Random::new(seed);
        Chance { state: [mix.draw(), mix.draw(), mix.draw(), mix.draw()] }
    }

    pub fn draw(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let out = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        out
    }

    /// Above 0, at most 1.
    pub fn uniform(&mut self) -> f64 {
        ((self.draw() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Standard normal (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (self.between(-1.0, 1.0), self.between(-1.0, 1.0));
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }

    /// A heavy-tailed latency: log-normal, or with probability `tail` Pareto.
    fn heavy(&mut self, tail: f64) -> f64 {
        match self.uniform() < tail {
            true => MEDIAN_NS * 1.5 / self.uniform().sqrt(),
            false => MEDIAN_NS * (0.2 * self.normal()).exp(),
        }
    }

    /// A first-order autoregression with standard normal margins.
    fn autoregression(&mut self, phi: f64, samples: usize) -> Vec<f64> {
        let step = (1.0 - phi * phi).sqrt();
        let mut value = self.normal();
        let mut next = || {
            value = phi * value + step * self.normal();
            value
        };
        (0..samples).map(|_| next()).collect()
    }
}
