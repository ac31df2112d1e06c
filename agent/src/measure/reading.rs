//! Readings: figures that came beside the probe's packets while a window was measured.

use playbooks::{
    external::{Better, Kind},
    metric::READINGS_MIN,
};
use serde::{Deserialize, Serialize};

/// One figure at one moment. Written as `[at-ns, value]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, f64)", into = "(u64, f64)")]
pub struct Reading {
    /// Nanoseconds since the window began.
    pub at_ns: u64,
    /// In the figure's own unit; always finite.
    pub value: f64,
}

impl From<(u64, f64)> for Reading {
    fn from((at_ns, value): (u64, f64)) -> Reading {
        Reading { at_ns, value }
    }
}

impl From<Reading> for (u64, f64) {
    fn from(reading: Reading) -> (u64, f64) {
        (reading.at_ns, reading.value)
    }
}

/// Everything that a window holds of one metric, with what is needed to judge it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recorded {
    pub kind: Kind,
    pub better: Better,
    /// How often it was read; 0 where it came by itself.
    pub every_ns: u64,
    /// In order of time.
    pub readings: Vec<Reading>,
    /// What came and was no finite number, or did not come at all.
    pub refused: u64,
    /// Why nothing may be concluded from it, where the source gave a reason: it was stale, it went away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A figure that was silent for this part of a window does not stand for it.
const SILENCE_PART: u64 = 4;
/// A slowly read one may be silent for this many periods: one read may fail.
const SILENCE_PERIODS: u64 = 3;

impl Recorded {
    /// What keeps this from being judged, for a window of this length.
    pub fn missing(&self, length_ns: u64) -> Option<String> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.clone());
        }
        if self.readings.is_empty() {
            return Some("it gave no reading in a window".to_owned());
        }
        let allowed = (length_ns / SILENCE_PART).max(SILENCE_PERIODS * self.every_ns);
        let silence = self.longest_silence(length_ns);
        if silence > allowed {
            return Some(format!(
                "it was silent for {:.1} s of a window of {:.1} s",
                silence as f64 / 1e9,
                length_ns as f64 / 1e9
            ));
        }
        match self.kind {
            Kind::Gauge => None,
            Kind::Counter => self.reset().map(|at| {
                format!("it was reset: it fell from {} to {}", spelt(at[0]), spelt(at[1]))
            }),
        }
    }

    /// By how much a counter rose.
    pub fn increase(&self) -> f64 {
        match self.readings.as_slice() {
            [first, .., last] => last.value - first.value,
            [] | [_] => 0.0,
        }
    }

    /// Adds what was recorded right after this, from `offset_ns` on.
    pub(super) fn append(&mut self, next: Recorded, offset_ns: u64) {
        let later = |reading: Reading| Reading {
            at_ns: reading.at_ns.saturating_add(offset_ns),
            value: reading.value,
        };
        self.readings.extend(next.readings.into_iter().map(later));
        self.refused = self.refused.saturating_add(next.refused);
        self.trouble = self.trouble.take().or(next.trouble);
    }

    /// The two readings between which a counter fell.
    fn reset(&self) -> Option<[f64; 2]> {
        let fell = self.readings.windows(2).find(|pair| pair[1].value < pair[0].value)?;
        Some([fell[0].value, fell[1].value])
    }

    fn longest_silence(&self, length_ns: u64) -> u64 {
        let times = self.readings.iter().map(|reading| reading.at_ns);
        let all = std::iter::once(0).chain(times).chain([length_ns]);
        let next = all.clone().skip(1);
        all.zip(next).map(|(one, next)| next.saturating_sub(one)).max().unwrap_or(length_ns)
    }
}

/// Readings a window must hold of a gauge, on either side of a comparison.
pub const GAUGE_READINGS_MIN: u64 = READINGS_MIN;

/// A figure whose unit is its giver's: six digits.
pub fn spelt(value: f64) -> String {
    if !value.is_finite() {
        return "without bound".to_owned();
    }
    // Through the decimal text: a logarithm is not the same on every platform.
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    match rounded.abs() {
        0.0 => "0".to_owned(),
        size if (1e-6..1e12).contains(&size) => format!("{rounded}"),
        _ => format!("{rounded:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn recorded(kind: Kind, values: &[(u64, f64)]) -> Recorded {
        Recorded {
            kind,
            better: Better::Lower,
            every_ns: SECOND / 10,
            readings: values.iter().map(|&pair| pair.into()).collect(),
            refused: 0,
            trouble: None,
        }
    }

    #[test]
    fn silence_and_resets_are_not_judged() {
        let steady: Vec<(u64, f64)> =
            (0..100).map(|n| (n * SECOND / 10, f64::from(n as u32))).collect();
        assert_eq!(recorded(Kind::Counter, &steady).missing(10 * SECOND), None);
        assert_eq!(recorded(Kind::Counter, &steady).increase(), 99.0);
        let words = |r: Recorded| r.missing(10 * SECOND).unwrap();
        assert!(words(recorded(Kind::Gauge, &[])).contains("no reading"));
        assert!(words(recorded(Kind::Gauge, &steady[..50])).contains("silent for 5.1 s"));
        assert!(words(recorded(Kind::Gauge, &steady[40..])).contains("silent for 4.0 s"));
        let mut reset = steady.clone();
        reset[60].1 = 3.0;
        assert!(words(recorded(Kind::Counter, &reset)).contains("fell from 59 to 3"));
        assert_eq!(recorded(Kind::Gauge, &reset).missing(10 * SECOND), None);
    }

    #[test]
    fn readings_are_written_as_pairs_and_read_back() {
        let one = recorded(Kind::Gauge, &[(0, 0.1), (7, -3.5e-9)]);
        let json = serde_json::to_string(&one).unwrap();
        assert!(json.contains("[[0,0.1],[7,-3.5e-9]]"), "{json}");
        assert_eq!(serde_json::from_str::<Recorded>(&json).unwrap(), one);
    }

    #[test]
    fn figures_are_spelt_shortly() {
        for (value, text) in [
            (0.0, "0"),
            (12.5, "12.5"),
            (0.000_012_345_678, "0.0000123457"),
            (1e-9, "1e-9"),
            (-1_234_567.0, "-1234570"),
            (f64::INFINITY, "without bound"),
        ] {
            assert_eq!(spelt(value), text);
        }
    }
}
