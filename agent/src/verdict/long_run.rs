//! The long-run variance of a series that is not independent.
//!
//! Storms and slow phases make neighbours alike, so a sum varies more than its parts suggest. The
//! estimate is the flat-top kernel's of Politis and Romano (1995), over as many lags as the series
//! itself shows correlation (Politis and White's rule, 2004), at three scales of aggregation: a weak
//! correlation that lasts long drowns in the noise of fine blocks and stands out in coarse ones.

use super::level;

/// Neighbouring values summed before estimating.
const SCALES: [usize; 3] = [1, 4, 16];
/// Fewer values than this say nothing about correlation.
const LENGTH_MIN: usize = 32;
/// Lags in a row that must look uncorrelated before the correlation is taken to have ended.
const QUIET_LAGS: usize = 5;
/// The widest kernel, as a part of the series: beyond it an estimate would rest on less than six
/// independent stretches. What is correlated for longer shows at the next coarser scale.
const WIDTH_PART: usize = 8;

/// The variance of the sum of `series`, widened so that a normal interval at `z` is as wide as
/// Student's would be for the little that the estimate itself rests on.
pub(super) fn variance_of_sum(series: &[f64], z: f64) -> f64 {
    let mut largest: f64 = 0.0;
    let mut coarse: Vec<f64> = Vec::new();
    for scale in SCALES {
        let values = match scale {
            1 => series,
            _ => {
                coarse.clear();
                coarse.extend(series.chunks_exact(scale).map(|c| c.iter().sum::<f64>()));
                &coarse
            }
        };
        if scale > 1 && values.len() < LENGTH_MIN {
            break;
        }
        let (variance, freedom) = flat_top(values);
        let widen = level::student(z, freedom);
        let total = variance * series.len() as f64 / scale as f64;
        largest = largest.max(total * widen * widen);
    }
    largest
}

/// How many neighbours a value is visibly correlated with, at whatever scale shows the longest reach.
pub(super) fn correlated_lags(series: &[f64]) -> usize {
    let coarse = |scale: usize| series.chunks_exact(scale).map(|c| c.iter().sum()).collect();
    SCALES
        .into_iter()
        .map(|scale| (scale, coarse(scale)))
        .filter(|(_, values): &(usize, Vec<f64>)| values.len() >= LENGTH_MIN)
        .map(|(scale, values)| scale * Correlogram::new(&values).last)
        .max()
        .unwrap_or(0)
}

/// The long-run variance of one value, and the degrees of freedom the estimate has.
fn flat_top(values: &[f64]) -> (f64, f64) {
    let n = values.len();
    if n < 2 {
        return (0.0, 0.0);
    }
    let length = n as f64;
    let correlogram = Correlogram::new(values);
    let (own, last) = (correlogram.own, correlogram.last);
    if own <= 0.0 {
        return (0.0, length - 1.0);
    }
    // How far off the variance itself can be: with a few clusters among many empty blocks it rests on
    // those few, which shows as a large fourth moment (of a normal series: 3, so all of it counts).
    let fourth =
        correlogram.centred.iter().map(|v| v * v * v * v).sum::<f64>() / length / (own * own);
    let distinct = (2.0 * length / (fourth - 1.0).max(2.0)).min(length - 1.0);
    if last == 0 {
        return (own * length / (length - 1.0), distinct);
    }
    let width = (2 * last).min(n / WIDTH_PART).max(1);
    let mut sum = own;
    for lag in 1..width {
        let value = correlogram.covariance(lag);
        let place = lag as f64 / width as f64;
        let weight = if place <= 0.5 { 1.0 } else { 2.0 * (1.0 - place) };
        sum += 2.0 * weight * value;
    }
    // Taking the mean out of a short correlated series hides part of its variance. An alternating
    // series may come out below its own variance: then that is kept, on the safe side.
    let corrected = sum * length / (length - width as f64);
    (corrected.max(own), distinct.min(0.75 * length / width as f64))
}

/// The correlation of a series with itself, as far as it is visible.
struct Correlogram {
    centred: Vec<f64>,
    /// The variance.
    own: f64,
    /// The last lag at which the correlation stands out from noise.
    last: usize,
}

impl Correlogram {
    fn new(values: &[f64]) -> Correlogram {
        let n = values.len();
        let length = n as f64;
        let mean = values.iter().sum::<f64>() / length.max(1.0);
        let centred = values.iter().map(|v| v - mean).collect();
        let mut correlogram = Correlogram { centred, own: 0.0, last: 0 };
        correlogram.own = correlogram.covariance(0);
        if n < 2 || correlogram.own <= 0.0 {
            return correlogram;
        }
        // Two standard errors of a correlation that is none, with the decimal logarithm of a whole
        // power of two for that of the length: a platform's log10 need not be another's.
        let digits = f64::from(n.ilog2()) * std::f64::consts::LOG10_2;
        let noise = correlogram.own * 2.0 * (digits / length).sqrt();
        let mut lag = 1;
        while lag <= correlogram.last + QUIET_LAGS && lag < n / WIDTH_PART {
            if correlogram.covariance(lag).abs() > noise {
                correlogram.last = lag;
            }
            lag += 1;
        }
        correlogram
    }

    fn covariance(&self, lag: usize) -> f64 {
        let pairs = self.centred.iter().zip(&self.centred[lag..]);
        pairs.map(|(a, b)| a * b).sum::<f64>() / self.centred.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::random::Random;

    /// First-order autoregression with uniform innovations: long-run variance s² / (1 - phi)².
    fn autoregression(phi: f64, length: usize, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed);
        let mut value = 0.0;
        (0..length)
            .map(|_| {
                let innovation = random.below(1_000_001) as f64 / 1_000_000.0 - 0.5;
                value = phi * value + innovation;
                value
            })
            .collect()
    }

    #[test]
    fn correlation_is_found_whether_short_long_or_weak() {
        for phi in [0.0, 0.5, 0.9] {
            let truth = 1.0 / 12.0 / (1.0 - phi) / (1.0 - phi);
            let mean = (0..50)
                .map(|seed| variance_of_sum(&autoregression(phi, 1024, seed), 3.0) / 1024.0 / truth)
                .sum::<f64>()
                / 50.0;
            assert!((0.9..2.0).contains(&mean), "phi {phi}: {mean} of the truth");
        }
    }

    #[test]
    fn constants_and_stumps_do_not_panic() {
        assert_eq!(variance_of_sum(&[], 3.0), 0.0);
        assert_eq!(variance_of_sum(&[1.0], 3.0), 0.0);
        assert_eq!(variance_of_sum(&[2.0; 500], 3.0), 0.0);
    }
}
