//! The shipped calendars against PyPI's exchange_calendars, every minute of the dates they cover. Where
//! the two differ, `tests/calendars/VENUE.yaml` says when and why; a difference that is not listed fails,
//! and so does one that is listed and not found.

// The reference is another program's answer, and the lists of differences are files.
#![allow(clippy::disallowed_methods)]

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, sync::OnceLock};

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time},
    tz::{TimeZone, TimeZoneDatabase},
};
use policy::{
    Phase,
    calendar::{Calendar, Calendars, SHIPPED},
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Comparison {
    /// The package's name of the market.
    against: String,
    /// The package does not model the venue: only its trading days are compared.
    #[serde(default)]
    days_only: bool,
    /// Two instants of a night session, which is held but before holidays.
    #[serde(default)]
    nights: Vec<String>,
    #[serde(default)]
    differences: Vec<Difference>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    /// `HH:MM-HH:MM`, in the venue's time.
    at: String,
    /// On these dates only.
    #[serde(default)]
    on: Vec<String>,
    ours: Phase,
    theirs: Theirs,
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Theirs {
    Open,
    Break,
    Closed,
}

/// Date, open, start and end of the break, close.
type Session = (String, i64, Option<i64>, Option<i64>, i64);

const MINUTE: i64 = 60;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn comparison(venue: &str) -> Comparison {
    let path = root().join(format!("calendars/{venue}.yaml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn ours(venue: &str) -> Calendar {
    Calendars::shipped().get(venue).unwrap_or_else(|| panic!("{venue} does not load")).clone()
}

/// What the package is asked for: a market, and the dates that our calendar covers.
fn asked(venue: &str) -> String {
    let (from, through) = ours(venue).covers;
    format!("{}:{from}:{through}", comparison(venue).against)
}

/// The package's sessions, by what was asked for; `None` where it cannot be had here.
fn reference() -> Option<&'static BTreeMap<String, Vec<Session>>> {
    static FOUND: OnceLock<Option<BTreeMap<String, Vec<Session>>>> = OnceLock::new();
    let ask = || {
        let mut questions: Vec<String> = SHIPPED.iter().map(|(venue, _)| asked(venue)).collect();
        questions.sort();
        questions.dedup();
        let output = Command::new(root().join("calendars/reference")).args(questions).output();
        match output {
            Ok(output) if output.status.success() => {
                Some(serde_json::from_slice(&output.stdout).expect("the package's sessions"))
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.lines().last().unwrap_or_default();
                tests::skip("calendars", &format!("exchange_calendars: {last}"));
                None
            }
            Err(error) => {
                tests::skip("calendars", &format!("tests/calendars/reference: {error}"));
                None
            }
        }
    };
    FOUND.get_or_init(ask).as_ref()
}

/// Minutes since local midnight of both ends.
fn window(at: &str) -> (i64, i64) {
    let (from, to) = at.split_once('-').expect("FROM-TO");
    (minutes(from), minutes(to))
}

fn minutes(time: &str) -> i64 {
    let (hours, minutes) = time.split_once(':').expect("HH:MM");
    let number = |text: &str| text.parse::<i64>().expect("a number");
    number(hours) * 60 + number(minutes)
}

fn date_of(text: &str) -> Date {
    text.parse().expect("a date")
}

/// From this second on it is so.
type Since<T> = Vec<(i64, T)>;

fn their_phases(sessions: &[Session]) -> Since<Theirs> {
    let mut since = vec![(i64::MIN, Theirs::Closed)];
    for (_, open, from, to, close) in sessions {
        // The package's sessions of a market without a night touch: the next begins where one ends.
        if since.last().is_some_and(|(at, _)| at == open) {
            since.pop();
        }
        since.push((*open, Theirs::Open));
        if let (Some(from), Some(to)) = (from, to) {
            since.extend([(*from, Theirs::Break), (*to, Theirs::Open)]);
        }
        since.push((*close, Theirs::Closed));
    }
    since
}

/// Walked from boundary to boundary.
fn our_phases(calendar: &Calendar, from: Timestamp, to: Timestamp) -> Since<Phase> {
    let mut since = vec![(from.as_second(), calendar.phase(from))];
    let mut at = from;
    while let Some(next) = calendar.next_boundary(at).filter(|next| *next < to) {
        assert!(next > at, "{calendar}: the boundary after {at} is {next}");
        since.push((next.as_second(), calendar.phase(next)));
        at = next;
    }
    since
}

/// The entry that holds at `at`; `index` only grows.
fn held<T: Copy>(since: &Since<T>, index: &mut usize, at: i64) -> T {
    while since.get(*index + 1).is_some_and(|(from, _)| *from <= at) {
        *index += 1;
    }
    since[*index].1
}

fn plain(ours: Phase, theirs: Theirs) -> bool {
    matches!(
        (ours, theirs),
        (Phase::Continuous, Theirs::Open)
            | (Phase::Break, Theirs::Break)
            | (Phase::Closed, Theirs::Closed)
    )
}

fn span(calendar: &Calendar, zone: &TimeZone) -> (Timestamp, Timestamp) {
    let midnight = |date: Date| date.to_zoned(zone.clone()).expect("a midnight").timestamp();
    (midnight(calendar.covers.0), midnight(calendar.covers.1.tomorrow().expect("a date")))
}

fn zone(calendar: &Calendar) -> TimeZone {
    TimeZoneDatabase::bundled().get(&calendar.zone_name).expect("the venue's time zone")
}

/// Every minute of one venue; answers how many there were.
fn compare(venue: &str, sessions: &[Session]) -> u64 {
    let (calendar, wanted) = (ours(venue), comparison(venue));
    let zone = zone(&calendar);
    let (from, to) = span(&calendar, &zone);
    let (mine, their) = (our_phases(&calendar, from, to), their_phases(sessions));
    let (mut index, mut other) = (0, 0);
    let mut seen = vec![0_u64; wanted.differences.len()];
    let (mut strangers, mut minutes) = (Vec::new(), 0);
    for at in (from.as_second()..to.as_second()).step_by(MINUTE as usize) {
        minutes += 1;
        let (ours, theirs) = (held(&mine, &mut index, at), held(&their, &mut other, at));
        // What the walk from boundary to boundary says, a question at that minute says too.
        if minutes % 7 == 0 {
            let asked = calendar.phase(Timestamp::from_second(at).expect("a time"));
            assert_eq!(asked, ours, "{venue} at {at}: asked, and walked to");
        }
        if plain(ours, theirs) {
            continue;
        }
        let local = zone.to_datetime(Timestamp::from_second(at).expect("a time"));
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        let date = local.date().to_string();
        let listed = wanted.differences.iter().position(|difference| {
            let (begin, end) = window(&difference.at);
            let dated = difference.on.is_empty() || difference.on.contains(&date);
            let words = (difference.ours, difference.theirs) == (ours, theirs);
            words && dated && (begin..end).contains(&minute)
        });
        match listed {
            Some(listed) => seen[listed] += 1,
            None => strangers.push(format!("{local}: {ours}, theirs {theirs:?}")),
        }
    }
    let first: Vec<&String> = strangers.iter().take(20).collect();
    assert!(strangers.is_empty(), "{venue}: {} minutes differ: {first:#?}", strangers.len());
    let stale = wanted.differences.iter().zip(&seen).filter(|(_, seen)| **seen == 0);
    let stale: Vec<String> =
        stale.map(|(d, _)| format!("{} {} ({})", d.at, d.ours, d.why)).collect();
    assert!(stale.is_empty(), "{venue}: listed, and not found: {stale:#?}");
    minutes
}

#[test]
fn every_minute_of_the_covered_years_is_as_in_exchange_calendars_or_listed() {
    let Some(reference) = reference() else { return };
    let mut minutes = 0;
    for (venue, _) in SHIPPED {
        if !comparison(venue).days_only {
            minutes += compare(venue, &reference[&asked(venue)]);
        }
    }
    assert!(minutes > 10_000_000, "{minutes} minutes were compared");
}

#[test]
fn where_the_package_models_only_the_days_they_are_the_same() {
    let Some(reference) = reference() else { return };
    for (venue, _) in SHIPPED.iter().filter(|(venue, _)| comparison(venue).days_only) {
        let calendar = ours(venue);
        let zone = zone(&calendar);
        let sessions = &reference[&asked(venue)];
        let mut theirs = sessions.iter().map(|session| date_of(&session.0)).peekable();
        let (from, through) = calendar.covers;
        for date in from.series(1.day()).take_while(|date| *date <= through) {
            let noon = date.to_datetime(Time::constant(11, 0, 0, 0));
            let at = zone.to_timestamp(noon).expect("a time");
            let trades = theirs.next_if_eq(&date).is_some();
            assert_eq!(calendar.phase(at) == Phase::Continuous, trades, "{venue} on {date}");
        }
        assert_eq!(theirs.next(), None, "{venue}");
    }
}

/// The rule by which the lists of evenings without a night session were made: a weekday without trading
/// before the next trading day.
#[test]
fn night_sessions_are_held_but_before_holidays() {
    let Some(reference) = reference() else { return };
    for (venue, _) in SHIPPED {
        let nights = comparison(venue).nights;
        let calendar = ours(venue);
        let zone = zone(&calendar);
        for pair in reference[&asked(venue)].windows(2).filter(|_| !nights.is_empty()) {
            let (day, next) = (date_of(&pair[0].0), date_of(&pair[1].0));
            let between = day.tomorrow().expect("a date").series(1.day());
            let weekday = |date: Date| date.weekday().to_monday_zero_offset() < 5;
            let holiday = between.take_while(|date| *date < next).any(weekday);
            for time in &nights {
                let civil = day.at(0, 0, 0, 0) + minutes(time).minutes();
                let at = zone.to_timestamp(civil).expect("a time");
                let expected = if holiday { Phase::Closed } else { Phase::Continuous };
                assert_eq!(calendar.phase(at), expected, "{venue}, the night of {day} at {time}");
            }
        }
    }
}
