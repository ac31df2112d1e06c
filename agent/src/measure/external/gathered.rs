//! What came of one source, bounded, and what it comes to in a window.

use playbooks::external::Kind;

use super::Going;
use crate::measure::reading::{Reading, Recorded};

/// Readings of one source in one window. Of more, every second is left out, then every fourth, …: what
/// is kept goes on covering the whole window.
const READINGS_MAX: usize = 100_000;
/// One failed read in this many is an accident; more make the figure doubtful.
const REFUSED_PART: u64 = 20;

/// What one look at a source brought.
#[derive(Debug, Clone, Default)]
pub(in crate::measure) struct Look {
    /// UTC nanoseconds and values.
    readings: Vec<(i64, f64)>,
    refused: u64,
    why: Option<String>,
    stamp: Option<i128>,
    ended: Option<String>,
}

impl Look {
    pub(in crate::measure) fn reading(at_utc_ns: i64, value: f64) -> Look {
        let mut look = Look::default();
        look.add(at_utc_ns, Ok(value));
        look
    }

    pub(super) fn refused(why: String) -> Look {
        let mut look = Look::default();
        look.add(0, Err(why));
        look
    }

    /// There is nothing more to come, and why.
    pub(in crate::measure) fn ended(why: String) -> Look {
        Look { ended: Some(why), ..Look::default() }
    }

    pub(in crate::measure) fn add(&mut self, at_utc_ns: i64, value: Result<f64, String>) {
        match value {
            Ok(value) => self.readings.push((at_utc_ns, value)),
            Err(why) => {
                self.refused += 1;
                self.why.get_or_insert(why);
            }
        }
    }

    /// When the source itself says that it was written.
    pub(super) fn stamped(self, stamp: Option<i128>) -> Look {
        Look { stamp, ..self }
    }

    pub(super) fn end(&mut self, why: String) {
        self.ended = Some(why);
    }

    /// Why nothing can be read there, if so.
    pub(super) fn refusal(self) -> Option<String> {
        self.ended.or(self.why)
    }
}

/// Everything that came of a source.
#[derive(Debug, Default)]
pub(in crate::measure) struct Gathered {
    readings: Vec<(i64, f64)>,
    /// Of so many readings one is kept; 0 stands for 1.
    stride: u64,
    seen: u64,
    refused: u64,
    why: Option<String>,
    /// The first stamp, and whether another followed.
    stamp: Option<(i128, bool)>,
    ended: Option<String>,
}

impl Gathered {
    pub(in crate::measure) fn take(&mut self, look: Look) -> Going {
        for (at, value) in look.readings {
            self.push(at, value);
        }
        self.refused = self.refused.saturating_add(look.refused);
        self.why = self.why.take().or(look.why);
        if let Some(stamp) = look.stamp {
            let (first, moved) = self.stamp.unwrap_or((stamp, false));
            self.stamp = Some((first, moved || stamp != first));
        }
        self.ended = self.ended.take().or(look.ended);
        if self.ended.is_some() { Going::Over } else { Going::On }
    }

    fn push(&mut self, at: i64, value: f64) {
        let stride = self.stride.max(1);
        if self.seen.is_multiple_of(stride) {
            if self.readings.len() == READINGS_MAX {
                let mut place = 0;
                self.readings.retain(|_| {
                    place += 1;
                    place % 2 == 1
                });
                self.stride = stride * 2;
            }
            // With twice the stride this one may be among those left out.
            if self.seen.is_multiple_of(self.stride.max(1)) {
                self.readings.push((at, value));
            }
        }
        self.seen += 1;
    }

    /// `frame` with what came within the window, and a note where there is something to say.
    pub(in crate::measure) fn recorded(
        mut self,
        frame: Recorded,
        began_utc_ns: i64,
        length_ns: u64,
    ) -> (Recorded, Option<String>) {
        // A socket's lines may carry times of their own.
        self.readings.sort_by_key(|(at, _)| *at);
        let ends = began_utc_ns.saturating_add_unsigned(length_ns);
        let before = self.readings.partition_point(|(at, _)| *at < began_utc_ns);
        let until = self.readings.partition_point(|(at, _)| *at < ends);
        // What a counter read before the window began is what it began with.
        let from = match frame.kind {
            Kind::Counter => before.saturating_sub(1),
            Kind::Gauge => before,
        };
        let within = self.readings.get(from..until).unwrap_or(&[]);
        let reading = |&(at, value): &(i64, f64)| Reading {
            at_ns: at.saturating_sub(began_utc_ns).try_into().unwrap_or(0),
            value,
        };
        let readings: Vec<Reading> = within.iter().map(reading).collect();
        let trouble = self.trouble(readings.is_empty());
        let failed = || self.failed().filter(|_| trouble.is_none());
        let thinned = (self.stride > 1)
            .then(|| format!("{} readings, one in {} kept", self.seen, self.stride));
        let note = failed().or(thinned);
        (Recorded { readings, refused: self.refused, trouble, ..frame }, note)
    }

    /// Why this may not be judged.
    fn trouble(&self, none_within: bool) -> Option<String> {
        if let Some(ended) = &self.ended {
            return Some(ended.clone());
        }
        if self.refused > self.seen.saturating_add(self.refused) / REFUSED_PART {
            return self.failed();
        }
        if let Some((_, false)) = self.stamp {
            return Some("stale: it was not written in the whole window".to_owned());
        }
        let elsewhere = none_within && self.seen > 0;
        elsewhere.then(|| format!("none of {} readings was of the window's own time", self.seen))
    }

    fn failed(&self) -> Option<String> {
        let why = self.why.as_deref()?;
        let all = self.seen.saturating_add(self.refused);
        Some(format!("{} of {all} reads failed: {why}", self.refused))
    }
}

#[cfg(test)]
mod tests {
    use playbooks::external::Better;

    use super::*;

    fn frame(kind: Kind) -> Recorded {
        Recorded {
            kind,
            better: Better::Lower,
            every_ns: 1,
            readings: Vec::new(),
            refused: 0,
            trouble: None,
        }
    }

    fn gathered(looks: impl IntoIterator<Item = Look>) -> Gathered {
        let mut gathered = Gathered::default();
        for look in looks {
            gathered.take(look);
        }
        gathered
    }

    #[test]
    fn only_the_window_counts_and_a_counter_knows_what_it_began_with() {
        let looks = || (0..10).map(|n| Look::reading(n * 10, n as f64));
        let (gauge, note) = gathered(looks()).recorded(frame(Kind::Gauge), 35, 30);
        let pairs: Vec<(u64, f64)> = gauge.readings.iter().map(|&r| r.into()).collect();
        assert_eq!((pairs, note), (vec![(5, 4.0), (15, 5.0), (25, 6.0)], None));
        let (counter, _) = gathered(looks()).recorded(frame(Kind::Counter), 35, 30);
        assert_eq!((counter.readings[0], counter.increase()), ((0, 3.0).into(), 3.0));
        let (none, _) = gathered(looks()).recorded(frame(Kind::Gauge), 1_000, 30);
        assert!(none.trouble.unwrap().contains("own time"));
    }

    #[test]
    fn a_flood_is_thinned_over_the_whole_window() {
        let many = 450_000;
        let mut flood = Gathered::default();
        for at in 0..many {
            flood.push(at, at as f64);
        }
        let (recorded, note) = flood.recorded(frame(Kind::Gauge), 0, many as u64);
        let count = recorded.readings.len();
        assert!((50_000..=READINGS_MAX).contains(&count), "{count}");
        assert!(recorded.readings.windows(2).all(|w| w[1].at_ns - w[0].at_ns == 8));
        assert!(recorded.readings.last().unwrap().at_ns > many as u64 - 9);
        assert_eq!(note.unwrap(), "450000 readings, one in 8 kept");
    }

    #[test]
    fn failures_staleness_and_ends_are_trouble() {
        let good = || (0..95).map(|n| Look::reading(n, 1.0));
        let bad = |n| std::iter::repeat_n(Look::refused("`x` is not a number".to_owned()), n);
        let (few, note) = gathered(good().chain(bad(5))).recorded(frame(Kind::Gauge), 0, 100);
        assert_eq!((few.trouble, few.refused), (None, 5));
        assert_eq!(note.unwrap(), "5 of 100 reads failed: `x` is not a number");
        let (many, note) = gathered(good().chain(bad(6))).recorded(frame(Kind::Gauge), 0, 100);
        assert!(many.trouble.unwrap().starts_with("6 of 101 reads failed") && note.is_none());
        let stale = good().map(|look| look.stamped(Some(7)));
        let (stale, _) = gathered(stale).recorded(frame(Kind::Gauge), 0, 100);
        assert!(stale.trouble.unwrap().starts_with("stale"));
        let ended = good().chain([Look::ended("the other end closed it".to_owned())]);
        let (ended, _) = gathered(ended).recorded(frame(Kind::Gauge), 0, 100);
        assert_eq!(ended.trouble.unwrap(), "the other end closed it");
    }
}
