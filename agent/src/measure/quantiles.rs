//! Exact quantiles: sorted, not estimated. A lost packet is larger than every latency.

use super::{Sample, window::Quantiles};

/// The value at or below which the share `fraction` of `sorted` lies (nearest rank); `None` of nothing.
pub fn quantile(sorted: &[u64], fraction: f64) -> Option<u64> {
    let rank = (fraction * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// Sorts `values` and reads the quantiles that a window's split states; zeros of nothing.
pub fn summarize(mut values: Vec<u64>) -> Quantiles {
    values.sort_unstable();
    let at = |fraction| quantile(&values, fraction).unwrap_or(0);
    Quantiles {
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        max: values.last().copied().unwrap_or(0),
    }
}

/// Every sample's latency in order, lost ones ([`Sample::LOST`]) last.
pub fn sorted_latencies(samples: &[Sample]) -> Vec<u64> {
    let mut latencies: Vec<u64> = samples.iter().map(|s| s.latency_ns).collect();
    latencies.sort_unstable();
    latencies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank_with_losses_on_top() {
        let sample = |latency_ns| Sample { due_ns: 0, latency_ns, flow: 0 };
        let mut samples: Vec<Sample> = (1..=98).rev().map(sample).collect();
        samples.extend([sample(Sample::LOST), sample(99)]);
        let sorted = sorted_latencies(&samples);
        assert_eq!(quantile(&sorted, 0.5), Some(50));
        assert_eq!(quantile(&sorted, 0.99), Some(99));
        assert_eq!(quantile(&sorted, 0.999), Some(Sample::LOST));
        assert_eq!(quantile(&sorted, 0.0), Some(1));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(summarize(vec![3, 1, 2]), Quantiles { p50: 2, p99: 3, p999: 3, max: 3 });
    }
}
