//! Latencies in bins that widen with them: 1, 2, 5, 10, 20, 50, … nanoseconds.

use serde::Serialize;

use super::Sample;

/// One bin: from `from_ns` up to, not including, `to_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bin {
    pub from_ns: u64,
    pub to_ns: u64,
    pub count: u64,
}

/// Every bin from the fastest to the slowest sample, empty ones between included; lost ones are in none.
pub fn histogram(samples: &[Sample]) -> Vec<Bin> {
    let edges = edges();
    let mut counts = vec![0_u64; edges.len()];
    for sample in samples.iter().filter(|s| !s.is_lost()) {
        // The first edge is 0, so there always is one at or below.
        counts[edges.partition_point(|&edge| edge <= sample.latency_ns) - 1] += 1;
    }
    let bins = edges.iter().enumerate().map(|(i, &from_ns)| Bin {
        from_ns,
        to_ns: edges.get(i + 1).copied().unwrap_or(u64::MAX),
        count: counts[i],
    });
    let bins: Vec<Bin> = bins.collect();
    let first = bins.iter().position(|b| b.count > 0).unwrap_or(0);
    let end = bins.iter().rposition(|b| b.count > 0).map_or(0, |last| last + 1);
    bins.get(first..end).unwrap_or_default().to_vec()
}

/// 0, then 1, 2, 5 times the powers of ten up to 10 s.
fn edges() -> Vec<u64> {
    let decades = (0..=9).flat_map(|exponent| [1, 2, 5].map(|n| n * 10_u64.pow(exponent)));
    std::iter::once(0).chain(decades).chain(std::iter::once(10_000_000_000)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_every_reply_once() {
        let latencies = [0, 19, 20, 49, 50, 1_000, 40_000_000_000, Sample::LOST];
        let samples = latencies.map(|latency_ns| Sample { due_ns: 0, latency_ns, flow: 0 });
        let bins = histogram(&samples);
        assert_eq!(bins.iter().map(|b| b.count).sum::<u64>(), 7);
        assert!(bins.windows(2).all(|pair| pair[0].to_ns == pair[1].from_ns));
        assert_eq!(bins[0], Bin { from_ns: 0, to_ns: 1, count: 1 });
        let twenties = bins.iter().find(|b| b.from_ns == 20).unwrap();
        assert_eq!((twenties.to_ns, twenties.count), (50, 2));
        assert_eq!(bins.last().unwrap().from_ns, 10_000_000_000);
        assert_eq!(histogram(&samples[7..]), []);
    }
}
