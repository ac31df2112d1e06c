//! The gates that others commit by, as plainly as they are usually written: what the verdict is
//! compared with. Each takes the samples for independent and answers revert (`true`) or keep.

use agent::measure::Sample;

/// Latencies in order; a lost packet is the largest.
pub fn sorted(samples: &[Sample]) -> Vec<u64> {
    let mut latencies: Vec<u64> = samples.iter().map(|s| s.latency_ns).collect();
    latencies.sort_unstable();
    latencies
}

/// Mann-Whitney's U, one-sided at 1 %, normal approximation with the correction for ties.
pub fn mann_whitney(baseline: &[u64], candidate: &[u64]) -> bool {
    let (n, m) = (baseline.len() as f64, candidate.len() as f64);
    let (mut i, mut j) = (0, 0);
    let (mut wins, mut ties) = (0.0, 0.0);
    while i < baseline.len() || j < candidate.len() {
        let next = match (baseline.get(i), candidate.get(j)) {
            (Some(&a), Some(&b)) => a.min(b),
            (Some(&a), None) | (None, Some(&a)) => a,
            (None, None) => break,
        };
        let same =
            |side: &[u64], from: usize| side[from..].iter().take_while(|&&v| v <= next).count();
        let (a, b) = (same(baseline, i), same(candidate, j));
        // Every candidate sample beats all baseline samples before it, and half of those it ties.
        wins += b as f64 * (i as f64 + a as f64 / 2.0);
        let tied = (a + b) as f64;
        ties += tied * tied * tied - tied;
        i += a;
        j += b;
    }
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    (wins - n * m / 2.0) / variance.sqrt() > 2.3263
}

/// Kolmogorov and Smirnov's two-sample test, one-sided at 1 %.
pub fn kolmogorov_smirnov(baseline: &[u64], candidate: &[u64]) -> bool {
    let (n, m) = (baseline.len() as f64, candidate.len() as f64);
    let (mut j, mut distance) = (0, 0.0f64);
    for (i, &latency) in baseline.iter().enumerate() {
        while j < candidate.len() && candidate[j] <= latency {
            j += 1;
        }
        distance = distance.max((i + 1) as f64 / n - j as f64 / m);
    }
    distance > 1.5174 * ((n + m) / (n * m)).sqrt()
}

/// p50, p99 and p99.9 as measured, each at most 5 % above the baseline's.
pub fn thresholds(baseline: &[u64], candidate: &[u64]) -> bool {
    let at =
        |side: &[u64], per_mille: usize| side[(side.len() * per_mille / 1000).min(side.len() - 1)];
    [500, 990, 999].into_iter().any(|q| at(candidate, q) as f64 > at(baseline, q) as f64 * 1.05)
}
