//! Trading calendars: which phase a venue is in at an instant, and when that changes.
//!
//! A calendar is data (`policy/calendars/*.yaml`, and the site's own): schedules of phases in the venue's
//! own time, which weekday has which, and the days that differ. It covers the dates that the venue has
//! published and no others: outside them the phase is [`Phase::Unknown`], never guessed.
//!
//! Time zones come with the binary (the IANA database in `jiff`), whatever the host has.

mod parse;

use std::{collections::BTreeMap, fmt, sync::OnceLock};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use playbooks::parse::Problem;

use crate::Phase;

pub use parse::SOURCE_MAX;

/// The shipped calendars: venue and text.
pub const SHIPPED: &[(&str, &str)] = &[
    ("SSE", include_str!("../calendars/SSE.yaml")),
    ("SZSE", include_str!("../calendars/SZSE.yaml")),
    ("HKEX", include_str!("../calendars/HKEX.yaml")),
    ("NYSE", include_str!("../calendars/NYSE.yaml")),
    ("NASDAQ", include_str!("../calendars/NASDAQ.yaml")),
    ("LSE", include_str!("../calendars/LSE.yaml")),
    ("EUREX", include_str!("../calendars/EUREX.yaml")),
    ("JPX", include_str!("../calendars/JPX.yaml")),
    ("CME", include_str!("../calendars/CME.yaml")),
    ("CFFEX", include_str!("../calendars/CFFEX.yaml")),
    ("SHFE", include_str!("../calendars/SHFE.yaml")),
];

/// Every calendar of a host, by venue. One that did not load stays here as such: its venue is `unknown`.
#[derive(Debug, Clone, Default)]
pub struct Calendars {
    venues: BTreeMap<String, Result<Calendar, Vec<Problem>>>,
}

impl Calendars {
    /// The shipped ones.
    pub fn shipped() -> Calendars {
        static PARSED: OnceLock<Calendars> = OnceLock::new();
        let parsed = || {
            let mut calendars = Calendars::default();
            for (venue, source) in SHIPPED {
                calendars.add(venue, source.as_bytes());
            }
            calendars
        };
        PARSED.get_or_init(parsed).clone()
    }

    /// Adds a site's own calendar, in place of a shipped one of the same venue. `venue` is the file's name
    /// without `.yaml`. A file that does not load takes its venue with it: an old calendar is no stand-in
    /// for the one that somebody meant.
    pub fn add(&mut self, venue: &str, source: &[u8]) {
        self.venues.insert(venue.to_owned(), Calendar::parse(venue, source));
    }

    /// A site's own calendar that could not even be read: its venue is `unknown`, too.
    pub fn add_unread(&mut self, venue: &str, why: Problem) {
        self.venues.insert(venue.to_owned(), Err(vec![why]));
    }

    /// The venue's phase; `unknown` for a venue without a calendar, or outside the dates it covers.
    pub fn phase(&self, venue: &str, at: Timestamp) -> Phase {
        self.get(venue).map_or(Phase::Unknown, |calendar| calendar.phase(at))
    }

    /// When the venue's phase next becomes another; `None` where that is not known.
    pub fn next_boundary(&self, venue: &str, at: Timestamp) -> Option<Timestamp> {
        self.get(venue)?.next_boundary(at)
    }

    pub fn get(&self, venue: &str) -> Option<&Calendar> {
        self.venues.get(venue)?.as_ref().ok()
    }

    /// The venues that have a calendar, those that did not load included.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.venues.keys().map(String::as_str)
    }

    /// What is wrong with the calendars that did not load, by venue.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &[Problem])> {
        self.venues.iter().filter_map(|(venue, calendar)| {
            calendar.as_ref().err().map(|problems| (venue.as_str(), problems.as_slice()))
        })
    }
}

/// One venue's calendar.
#[derive(Debug, Clone)]
pub struct Calendar {
    pub venue: String,
    /// What of the venue it is about: `Shanghai Stock Exchange, shares`.
    pub name: String,
    /// The IANA name of the venue's time zone.
    pub zone_name: String,
    /// The first and the last date it covers, in the venue's time.
    pub covers: (Date, Date),
    /// Where its hours and days are from.
    pub sources: Vec<String>,
    zone: TimeZone,
    schedules: Vec<Vec<Span>>,
    /// By first date, in order.
    weeks: Vec<Week>,
    /// The days that are not as their weekday; `None`: closed.
    days: BTreeMap<Date, Option<usize>>,
    /// How far the longest schedule reaches into the next day.
    spill: i64,
    /// Whether a day's schedule is all that can bear on it.
    days_apart: bool,
}

/// A phase within a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: Clock,
    to: Clock,
    phase: Phase,
}

/// A time of the day: seconds from its midnight, beyond 24 hours in the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Clock {
    seconds: i64,
    of: Reckoned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reckoned {
    Local,
    /// What does not move with the venue's own summer time.
    Utc,
}

/// Which schedule a weekday has, from Monday; `None`: closed.
#[derive(Debug, Clone, Copy)]
struct Week {
    from: Date,
    days: [Option<usize>; 7],
}

const DAY_SECONDS: i64 = 24 * 3600;

impl Calendar {
    /// The phase at this instant.
    pub fn phase(&self, at: Timestamp) -> Phase {
        let date = self.date(at);
        if !self.covered(date) {
            return Phase::Unknown;
        }
        let mut phase = Phase::Closed;
        let neighbours = if self.days_apart { None } else { Some(date) };
        let before = neighbours.and_then(|date| date.yesterday().ok());
        let after = neighbours.and_then(|date| date.tomorrow().ok());
        for day in [before, Some(date), after].into_iter().flatten() {
            if !self.covered(day) {
                // What began on a day that is not covered may still last.
                let morning =
                    self.instant(date, Clock { seconds: self.spill, of: Reckoned::Local });
                if day < date && morning.is_none_or(|end| at < end) && self.spill > 0 {
                    return Phase::Unknown;
                }
                continue;
            }
            let now = |span: &&Span| {
                let (from, to) = (self.instant(day, span.from), self.instant(day, span.to));
                from.is_some_and(|from| from <= at) && to.is_some_and(|to| at < to)
            };
            let spans = self.spans(day).iter().filter(now);
            phase = spans.map(|span| span.phase).chain([phase]).max().unwrap_or(phase);
        }
        phase
    }

    /// The first instant after `at` from which the phase is another. Beyond the dates it covers nothing
    /// is known, so the last boundary is the one at which it becomes `unknown`.
    pub fn next_boundary(&self, at: Timestamp) -> Option<Timestamp> {
        let now = self.phase(at);
        let (first, last) = self.covers;
        let mut day = self.date(at).yesterday().ok()?.max(first);
        let end = last.tomorrow().ok()?;
        while day <= end {
            let mut edges: Vec<Timestamp> = self.edges(day).filter(|edge| *edge > at).collect();
            edges.sort_unstable();
            // A day's own edges may lie behind the next one's first: both days are looked at.
            let next = day.tomorrow().ok()?;
            edges.extend(self.edges(next).filter(|edge| *edge > at));
            edges.sort_unstable();
            if let Some(found) = edges.into_iter().find(|edge| self.phase(*edge) != now) {
                return Some(found);
            }
            day = next;
        }
        None
    }

    /// Every instant at which something begins or ends on this day: midnight is one, where coverage
    /// begins or ends.
    fn edges(&self, day: Date) -> impl Iterator<Item = Timestamp> {
        let (first, last) = self.covers;
        let local = |seconds| Clock { seconds, of: Reckoned::Local };
        let outer = [
            (day == first).then_some(local(0)),
            (day == first).then_some(local(self.spill)),
            (day == last).then_some(local(DAY_SECONDS)),
        ];
        let spans = if self.covered(day) { self.spans(day) } else { &[] };
        let inner = spans.iter().flat_map(|span| [span.from, span.to]);
        let clocks: Vec<Clock> = outer.into_iter().flatten().chain(inner).collect();
        clocks.into_iter().filter_map(move |clock| self.instant(day, clock))
    }

    fn date(&self, at: Timestamp) -> Date {
        self.zone.to_datetime(at).date()
    }

    fn covered(&self, date: Date) -> bool {
        (self.covers.0..=self.covers.1).contains(&date)
    }

    /// The phases of this day; what is not among them is closed.
    fn spans(&self, date: Date) -> &[Span] {
        let schedule = match self.days.get(&date) {
            Some(other) => *other,
            None => {
                let week = self.weeks.iter().rev().find(|week| week.from <= date);
                let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
                week.and_then(|week| week.days[weekday])
            }
        };
        schedule.and_then(|index| self.schedules.get(index)).map_or(&[], Vec::as_slice)
    }

    /// A time that the clocks skip is the instant they skip at; one that comes twice is the first.
    fn instant(&self, date: Date, clock: Clock) -> Option<Timestamp> {
        let midnight = date.at(0, 0, 0, 0);
        let civil = midnight.checked_add(clock.seconds.seconds()).ok()?;
        match clock.of {
            Reckoned::Local => self.zone.to_ambiguous_timestamp(civil).compatible().ok(),
            Reckoned::Utc => TimeZone::UTC.to_timestamp(civil).ok(),
        }
    }
}

/// For people: `SSE, Asia/Shanghai, 2025-01-01 to 2026-12-31`.
impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, through) = self.covers;
        write!(f, "{}, {}, {from} to {through}", self.venue, self.zone_name)
    }
}

#[cfg(test)]
mod tests;
