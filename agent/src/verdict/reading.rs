//! Figures that were read beside the probe: from outside, or of live TCP sessions.
//!
//! A gauge's median is judged by the same test on ranks as a latency's (see `quantile`): readings follow
//! one another, are alike, and come from whatever distribution. Their values are mapped to whole numbers
//! of the same order, since only ranks are used. A counter's increase is judged as a driver's is.

use playbooks::{
    Metric,
    external::{Better, Kind},
    metric::Quantile,
};

use super::{
    arm::Segment,
    counter,
    estimate::Estimate,
    level,
    quantile::{Pair, worst},
    sides::Sides,
};
use crate::measure::{
    Sample, Window,
    reading::{GAUGE_READINGS_MIN, Reading, Recorded},
};

const MEDIAN: Quantile = Quantile(5000);

/// A figure that takes fewer values in a row than this says nothing of chance: eight of one side all
/// beyond eight of the other come once in 12,870 times.
const STRETCHES_MIN: usize = 8;

/// What a run's windows recorded, by side.
pub(super) struct Readings<'a> {
    pub(super) windows: [&'a [&'a Window]; 2],
    pub(super) seed: u64,
}

/// One side of one metric.
type Held<'a> = Vec<(&'a Window, &'a Recorded)>;

impl Readings<'_> {
    /// Judges a metric that was read. `sides` are the probe's.
    pub(super) fn estimate(&self, metric: &Metric, sides: &Sides, z: f64) -> Estimate {
        let name = metric.to_string();
        let held = self.windows.map(|windows| held(windows, &name));
        let n = held.each_ref().map(|side| match side {
            Ok(side) => side.iter().map(|(_, recorded)| recorded.readings.len() as u64).sum(),
            Err(_) => 0,
        });
        let missing = |why: String| Estimate { n, ..Estimate::missing(sides, why) };
        let [baseline, candidate] = match held {
            [Ok(baseline), Ok(candidate)] => [baseline, candidate],
            [Err(why), _] => return missing(format!("in the baseline, {why}")),
            [_, Err(why)] => return missing(format!("in the candidate, {why}")),
        };
        let Some((_, first)) = baseline.first() else {
            return missing("no window held it".to_owned());
        };
        let alike =
            |(_, r): &(&Window, &Recorded)| (r.kind, r.better) == (first.kind, first.better);
        if !baseline.iter().chain(&candidate).all(alike) {
            return missing("the windows do not agree on what it is".to_owned());
        }
        match first.kind {
            Kind::Counter => {
                let increase = |side: &Held| side.iter().map(|(_, r)| r.increase()).sum::<f64>();
                let events = [increase(&baseline), increase(&candidate)];
                Estimate { n, ..counter::moved(events, sides, z) }
            }
            Kind::Gauge => match n.iter().find(|n| **n < GAUGE_READINGS_MIN) {
                Some(few) => missing(format!(
                    "{few} readings in a side: {GAUGE_READINGS_MIN} needed, by a longer window or \
                     a shorter `every`"
                )),
                None => match median([&baseline, &candidate], first.better, self.seed, z) {
                    Ok(estimate) => estimate,
                    Err(why) => missing(why),
                },
            },
        }
    }
}

/// What every window of a side holds of a metric; the error is what one of them lacks.
fn held<'a>(windows: &[&'a Window], name: &str) -> Result<Held<'a>, String> {
    if windows.is_empty() {
        return Err("no window held it".to_owned());
    }
    let of = |window: &&'a Window| {
        let recorded = window.readings.get(name).ok_or("a window does not hold it")?;
        match recorded.missing(window.length_ns) {
            Some(missing) => Err(missing),
            None => Ok((*window, recorded)),
        }
    };
    windows.iter().map(of).collect()
}

/// The median of both sides, positive effects being worse.
fn median(held: [&Held; 2], better: Better, seed: u64, z: f64) -> Result<Estimate, String> {
    let samples = held.map(|side| -> Vec<Vec<Sample>> {
        side.iter().map(|(_, recorded)| samples(recorded, better)).collect()
    });
    let segments = |at: usize| -> Vec<Segment> {
        let windows = held[at].iter().map(|(window, _)| window).zip(&samples[at]);
        windows.map(|(window, samples)| segment(window, samples)).collect()
    };
    let sides = Sides::new(segments(0), segments(1), seed);
    let pair = Pair::new(&sides, MEDIAN, z).ok_or("no readings")?;
    let [base, cand] = [pair.baseline.point, pair.candidate.point].map(value);
    if base != cand {
        still(&samples)?;
    }
    let ends = [pair.candidate.lower(z), pair.candidate.upper(z)].map(value);
    let (baseline, candidate, candidate_bounds) = match better {
        Better::Lower => (base, cand, ends),
        Better::Higher => (-base, -cand, [-ends[1], -ends[0]]),
    };
    let [lower, upper] = bounds(&pair, z);
    let bounded = lower > f64::MIN || upper < f64::MAX || ends.iter().all(|end| end.is_finite());
    if !bounded {
        let [one, other] = [pair.baseline.count, pair.candidate.count];
        return Err(format!(
            "{one} and {other} readings that resemble their neighbours do not bound the median: a \
             longer window is needed"
        ));
    }
    Ok(Estimate {
        baseline,
        candidate,
        n: samples.each_ref().map(|side| side.iter().map(|s| s.len() as u64).sum()),
        effect: change(cand, [base; 2], base).map_or(0.0, |[effect, _]| effect),
        lower,
        upper,
        candidate_bounds,
        visible: noise(&pair, z + level::NOISE),
        visible_max: level::QUANTILE_VISIBLE_MAX,
        noise: noise(&pair, level::NOISE),
        jumped: false,
        absolute: base == 0.0,
        missing: None,
    })
}

/// Refuses figures that differ between the sides and hardly move within one: whether they differ by
/// chance cannot be told.
fn still(samples: &[Vec<Vec<Sample>>; 2]) -> Result<(), String> {
    let stretches = |side: &Vec<Vec<Sample>>| -> usize {
        side.iter().map(|s| s.chunk_by(|a, b| a.latency_ns == b.latency_ns).count()).sum()
    };
    let fewest = samples.iter().map(stretches).min().unwrap_or(0);
    if fewest >= STRETCHES_MIN {
        return Ok(());
    }
    Err(format!(
        "it took {fewest} values in a row in a whole side, {STRETCHES_MIN} needed to tell a change \
         from chance: a longer window"
    ))
}

fn segment<'a>(window: &Window, samples: &'a [Sample]) -> Segment<'a> {
    let first = samples.first().map_or(0, |s| s.due_ns);
    Segment {
        begins_ns: i128::from(window.began_utc_ns) + i128::from(first),
        length_ns: window.length_ns.saturating_sub(first),
        samples,
        weight: 1,
    }
}

/// Readings as samples, in the order in which they are worse.
fn samples(recorded: &Recorded, better: Better) -> Vec<Sample> {
    let worse = |value: f64| match better {
        Better::Lower => value,
        Better::Higher => -value,
    };
    let sample =
        |r: &Reading| Sample { due_ns: r.at_ns, latency_ns: rank(worse(r.value)), flow: 0 };
    recorded.readings.iter().map(sample).collect()
}

/// A whole number of the same order: the bits of an IEEE 754 number, the negative ones turned over. No
/// finite number comes to 0 or to [`Sample::LOST`].
fn rank(value: f64) -> u64 {
    // The two zeros are one.
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The number of this rank; without bound where there is no reading to say.
fn value(rank: u64) -> f64 {
    match rank {
        0 => f64::NEG_INFINITY,
        Sample::LOST => f64::INFINITY,
        rank if rank >> 63 == 1 => f64::from_bits(rank & !(1 << 63)),
        rank => f64::from_bits(!rank),
    }
}

/// Bounds of how much worse the candidate is: the worst over all ways in which the two sides can share
/// the error.
fn bounds(pair: &Pair, z: f64) -> [f64; 2] {
    let base = |z: f64| [pair.baseline.lower(z), pair.baseline.upper(z)].map(value);
    let point = value(pair.baseline.point);
    let changes = |to: u64, z: f64| change(value(to), base(z), point);
    let upper = |a: f64, b: f64| {
        changes(pair.candidate.upper(z * a), z * b).map_or(f64::MAX, |[one, other]| one.max(other))
    };
    let lower = |a: f64, b: f64| {
        changes(pair.candidate.lower(z * a), z * b).map_or(f64::MIN, |[one, other]| one.min(other))
    };
    [-worst(|a, b| -lower(a, b)), worst(upper)]
}

/// As a latency's: what `z` standard errors would look like if the candidate were another window of the
/// baseline.
fn noise(pair: &Pair, z: f64) -> f64 {
    let base = &pair.baseline;
    let scale = (base.count as f64 / pair.candidate.count.max(1) as f64).sqrt();
    let range = |z: f64| [base.lower(z), base.upper(z)].map(value);
    let point = value(base.point);
    worst(|a, b| {
        let [_, high] = range(z * a * scale);
        change(high, range(z * b), point).map_or(f64::MAX, |[one, other]| one.max(other))
    })
}

/// The changes to `to` from either end of `from`, as fractions of them; in the figure's own unit where
/// the median, `point`, is 0. A baseline that may be 0, or of either sign, knows no percentage.
fn change(to: f64, from: [f64; 2], point: f64) -> Option<[f64; 2]> {
    if point == 0.0 {
        return Some(from.map(|from| to - from));
    }
    let sound = |from: f64| from.is_finite() && from * point.signum() > 0.0;
    from.into_iter().all(sound).then(|| from.map(|from| (to - from) / from.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_keep_order_and_values() {
        let values = [f64::MIN, -1e9, -2.5, -1e-300, 0.0, 1e-300, 0.1, 7.0, f64::MAX];
        let ranks = values.map(rank);
        assert!(ranks.is_sorted() && ranks[0] > 0 && ranks[8] < Sample::LOST);
        assert_eq!(ranks.map(value), values);
        assert_eq!(rank(-0.0), rank(0.0));
    }

    #[test]
    fn changes_are_fractions_where_there_is_something_to_be_a_fraction_of() {
        assert_eq!(change(110.0, [100.0, 88.0], 95.0), Some([0.1, 0.25]));
        // Better higher: figures are negative here, and falling from 100 to 90 is 10 % worse.
        assert_eq!(change(-90.0, [-100.0; 2], -100.0), Some([0.1; 2]));
        assert_eq!(change(3.0, [0.0, 1.0], 0.0), Some([3.0, 2.0]));
        assert_eq!(change(3.0, [-1.0, 1.0], 0.5), None);
        assert_eq!(change(3.0, [1.0, f64::INFINITY], 2.0), None);
    }
}
