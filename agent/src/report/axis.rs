//! Scales: a logarithmic one for latencies and shares, and the round figures to mark on it.

/// A logarithmic scale from a domain to user units. The pixels may run either way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    low: f64,
    high: f64,
    /// Where `low` and `high` are drawn.
    from: f64,
    to: f64,
}

impl Log {
    /// A scale over `low..=high`, both above 0; drawn from `from` to `to`.
    pub(super) fn new(domain: (f64, f64), from: f64, to: f64) -> Log {
        Log { low: domain.0, high: domain.1, from, to }
    }

    /// Where a value is drawn; what lies outside the domain is drawn at its edge.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + part * (self.to - self.from)
    }

    /// The value that is drawn at `place`.
    pub(super) fn value(&self, place: f64) -> f64 {
        let part = (place - self.from) / (self.to - self.from);
        self.low * (self.high / self.low).powf(part)
    }

    /// Round values in the domain, at most `most` of them: 1, 2 and 5 of each decade where there is
    /// room, else 1 and 3, else every decade or every few.
    pub(super) fn ticks(&self, most: usize) -> Vec<f64> {
        let sets: [&[f64]; 2] = [&[1.0, 2.0, 5.0], &[1.0, 3.0]];
        let fits = sets.into_iter().map(|set| self.multiples(set)).find(|all| all.len() <= most);
        fits.unwrap_or_else(|| {
            let all = self.multiples(&[1.0]);
            let every = all.len().div_ceil(most.max(1)).max(1);
            all.into_iter().step_by(every).collect()
        })
    }

    /// Every whole multiple of each power of ten in the domain: the fine lines of the grid.
    pub(super) fn fine(&self) -> Vec<f64> {
        self.multiples(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    }

    fn multiples(&self, factors: &[f64]) -> Vec<f64> {
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let mut values = Vec::new();
        for power in first..=last {
            let decade = 10_f64.powi(power);
            let inside =
                |value: &f64| *value >= self.low * 0.999_999 && *value <= self.high * 1.000_001;
            values.extend(factors.iter().map(|factor| factor * decade).filter(inside));
        }
        values
    }
}

/// The domain that shows these latencies with a little air; wide enough for a round figure or two.
/// `None` where there is nothing to show.
pub(super) fn latency_domain(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    // A latency of 0 ns has no logarithm: clocks that agree to the nanosecond are drawn at 1 ns.
    for value in values.map(|value| value.max(1.0)) {
        low = low.min(value);
        high = high.max(value);
    }
    if low > high {
        return None;
    }
    let (low, high) = (low / 1.25, high * 1.25);
    let widen = (6.0 / (high / low)).max(1.0).sqrt();
    Some((low / widen, high * widen))
}

/// Round seconds between 0 and `length_ns`, at most `most` steps: 1, 2, 5 or 10 of a power of ten.
pub(super) fn time_step(length_ns: f64, most: f64) -> f64 {
    let rough = (length_ns / most).max(1.0);
    let decade = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * decade >= rough * 0.999);
    factor.unwrap_or(10.0) * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_scale_there_and_back() {
        let scale = Log::new((1.0, 1000.0), 300.0, 0.0);
        assert_eq!([scale.at(1.0), scale.at(1000.0)], [300.0, 0.0]);
        assert!((scale.at(10.0) - 200.0).abs() < 1e-9 && (scale.value(200.0) - 10.0).abs() < 1e-9);
        assert_eq!(scale.at(1e9), 0.0, "outside is drawn at the edge");
        assert_eq!(scale.ticks(6), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(scale.ticks(12)[..4], [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(scale.fine().len(), 28);
    }

    #[test]
    fn every_domain_has_ticks() {
        for values in [vec![40_000.0], vec![0.0], vec![300e3, 310e3], vec![1.0, 1e12]] {
            let domain = latency_domain(values.into_iter()).expect("something to show");
            let ticks = Log::new(domain, 0.0, 1.0).ticks(8).len();
            assert!((2..=8).contains(&ticks), "{domain:?}: {ticks}");
        }
        assert_eq!(latency_domain(std::iter::empty()), None);
        assert_eq!(time_step(6e9, 6.0), 1e9);
        assert_eq!(time_step(120e9, 5.0), 50e9);
    }
}
