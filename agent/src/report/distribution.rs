//! A window's latencies, sorted, with what was lost beyond them all.

use crate::measure::Sample;

/// The empirical distribution of one window. A lost packet is slower than every latency.
pub(super) struct Distribution {
    /// Of the packets that came back, in order.
    sorted: Vec<u64>,
    pub(super) lost: u64,
}

impl Distribution {
    pub(super) fn of(samples: &[Sample]) -> Distribution {
        let mut sorted: Vec<u64> =
            samples.iter().filter(|s| !s.is_lost()).map(|s| s.latency_ns).collect();
        sorted.sort_unstable();
        let lost = (samples.len() - sorted.len()) as u64;
        Distribution { sorted, lost }
    }

    /// Every packet that was due.
    pub(super) fn count(&self) -> u64 {
        self.sorted.len() as u64 + self.lost
    }

    /// The share of packets slower than `ns`; never below the share that was lost. 0 where none was due.
    pub(super) fn beyond(&self, ns: f64) -> f64 {
        if self.count() == 0 {
            return 0.0;
        }
        let up_to = self.sorted.partition_point(|&latency| latency as f64 <= ns);
        (self.count() - up_to as u64) as f64 / self.count() as f64
    }

    /// The smallest latency that `hundredths` (of a percent) of the packets do not exceed. `None`
    /// where that packet was lost or none was due.
    pub(super) fn quantile(&self, hundredths: u16) -> Option<u64> {
        let rank = (u128::from(self.count()) * u128::from(hundredths)).div_ceil(10_000);
        let index = usize::try_from(rank).ok()?.saturating_sub(1);
        self.sorted.get(index).copied()
    }

    /// The fastest and the slowest packet that came back.
    pub(super) fn extremes(&self) -> Option<(u64, u64)> {
        Some((*self.sorted.first()?, *self.sorted.last()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(latencies: &[u64]) -> Vec<Sample> {
        let sample =
            |(at, &latency_ns): (usize, &u64)| Sample { due_ns: at as u64, latency_ns, flow: 0 };
        latencies.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn lost_packets_are_the_slowest() {
        let seen = Distribution::of(&samples(&[30, Sample::LOST, 10, 20]));
        assert_eq!((seen.count(), seen.lost), (4, 1));
        assert_eq!(seen.extremes(), Some((10, 30)));
        assert_eq!([seen.beyond(5.0), seen.beyond(10.0), seen.beyond(30.0)], [1.0, 0.75, 0.25]);
        assert_eq!(seen.beyond(1e18), 0.25, "the lost stay beyond every latency");
        assert_eq!(seen.quantile(5000), Some(20));
        assert_eq!(seen.quantile(7500), Some(30));
        assert_eq!(seen.quantile(9900), None, "the slowest of four is lost");
    }

    #[test]
    fn nothing_due_is_nothing_seen() {
        let seen = Distribution::of(&[]);
        assert_eq!(seen.count(), 0);
        assert_eq!(seen.beyond(0.0), 0.0);
        assert_eq!(seen.quantile(5000), None);
        assert_eq!(seen.extremes(), None);
    }
}
