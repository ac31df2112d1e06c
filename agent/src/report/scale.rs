//! From measured values to places on the page.

/// A logarithmic axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Log {
    /// From `low` (drawn at `from`) to `high` (drawn at `to`); both are made positive and apart.
    pub(super) fn new(low: f64, high: f64, from: f64, to: f64) -> Log {
        let low = if low.is_finite() && low > 0.0 { low } else { 1.0 };
        let high = if high.is_finite() && high > low { high } else { low * 10.0 };
        Log { low: low.log10(), high: high.log10(), from, to }
    }

    /// Where `value` is drawn, kept inside the axis.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = if value > 0.0 { value.log10() } else { self.low };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }

    /// The 1-2-5 values on the axis, each with whether it deserves a label. At most 60.
    pub(super) fn ticks(&self) -> Vec<(f64, bool)> {
        let decades = self.high - self.low;
        let mut ticks = Vec::new();
        for decade in (self.low.floor() as i32)..=(self.high.ceil() as i32) {
            for step in [1.0, 2.0, 5.0] {
                let value: f64 = step * 10_f64.powi(decade);
                let at = value.log10();
                if at < self.low - 1e-9 || at > self.high + 1e-9 || ticks.len() == 60 {
                    continue;
                }
                let labelled = step == 1.0 || decades < 1.3 || (decades < 2.6 && step != 2.0);
                ticks.push((value, labelled));
            }
        }
        ticks
    }
}

/// Round steps for an axis that begins at 0: about six to `end`, in the unit of `end`.
pub(super) fn linear_ticks(end: f64) -> Vec<f64> {
    if !end.is_finite() || end <= 0.0 {
        return vec![0.0];
    }
    let rough = end / 6.0;
    let decade = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|s| s * decade)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    (0..=12).map(|n| f64::from(n) * step).take_while(|at| *at <= end * 1.000_001).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_axis_puts_its_ends_at_its_ends() {
        let axis = Log::new(1e3, 1e6, 0.0, 300.0);
        assert_eq!((axis.place(1e3), axis.place(1e6)), (0.0, 300.0));
        assert!((axis.place(1e4) - 100.0).abs() < 1e-9);
        // Nothing leaves the page, whatever the value.
        for value in [0.0, -5.0, 1.0, 1e300, f64::INFINITY] {
            assert!((0.0..=300.0).contains(&axis.place(value)), "{value}");
        }
    }

    #[test]
    fn degenerate_axes_still_have_ticks() {
        for (low, high) in [(0.0, 0.0), (f64::NAN, 1.0), (5.0, 5.0), (1.0, f64::INFINITY)] {
            let ticks = Log::new(low, high, 0.0, 1.0).ticks();
            assert!((1..=60).contains(&ticks.len()), "{low} {high}: {ticks:?}");
        }
        assert_eq!(linear_ticks(0.0), [0.0]);
        assert_eq!(linear_ticks(f64::NAN), [0.0]);
    }

    #[test]
    fn linear_ticks_are_round() {
        assert_eq!(linear_ticks(10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(linear_ticks(65.0), [0.0, 20.0, 40.0, 60.0]);
    }
}
