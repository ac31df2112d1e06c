//! YAML to [`Calendar`]: every error of the file at once, each with its place.

use std::{collections::BTreeMap, sync::OnceLock};

use jiff::{
    civil::Date,
    tz::{TimeZone, TimeZoneDatabase},
};
use playbooks::parse::{
    Problem,
    yaml::{self, Bounds, Fields, Findings, Mark, Node, shown},
};

use super::{Calendar, Clock, DAY_SECONDS, Reckoned, Span, Week};
use crate::Phase;

/// The largest calendar file, in bytes: ten years of a venue with many holidays take 20 KiB.
pub const SOURCE_MAX: usize = 128 * 1024;

const BOUNDS: Bounds = Bounds { noun: "calendar", bytes_max: SOURCE_MAX, nodes_max: 20_000 };
const SCHEDULES_MAX: usize = 32;
const SPANS_MAX: usize = 64;
const WEEKS_MAX: usize = 64;
const SOURCES_MAX: usize = 32;
/// No venue publishes further ahead.
const YEARS_MAX: i16 = 10;
/// A closure is a few weeks at most; a longer one is a typing error.
const RANGE_DAYS_MAX: i32 = 31;
/// A night session ends by noon.
const SPILL_MAX: i64 = 12 * 3600;

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Calendar {
    /// Reads the calendar of this venue.
    ///
    /// # Errors
    /// Every problem of the file, with its place, at least one.
    pub fn parse(venue: &str, source: &[u8]) -> Result<Calendar, Vec<Problem>> {
        let mut findings = Findings::default();
        let calendar = yaml::read(source, BOUNDS, &mut findings)
            .and_then(|document| calendar(venue, &document, &mut findings));
        match (calendar, findings.is_empty()) {
            (Some(calendar), true) => Ok(calendar),
            (Some(_) | None, _) => Err(findings.told(BOUNDS.noun)),
        }
    }
}

fn calendar(venue: &str, document: &Node, findings: &mut Findings) -> Option<Calendar> {
    const KEYS: &[&str] = &[
        "apiVersion",
        "kind",
        "venue",
        "name",
        "time-zone",
        "covers",
        "source",
        "note",
        "schedules",
        "weeks",
        "closed",
        "days",
    ];
    let fields = findings.fields(document, "a calendar", KEYS)?;
    for (key, value) in [("apiVersion", "nicmend/v1"), ("kind", "Calendar"), ("venue", venue)] {
        exactly(&fields, key, value, findings);
    }
    let name = fields.need("name", findings).and_then(|node| findings.line(node, "name", 120));
    let zone = fields.need("time-zone", findings).and_then(|node| zone(node, findings));
    let covers = fields.need("covers", findings).and_then(|node| covers(node, findings));
    let sources = fields.need("source", findings).and_then(|node| sources(node, findings));
    if let Some(node) = fields.get("note") {
        note(node, findings);
    }
    let schedules = fields.need("schedules", findings).and_then(|node| schedules(node, findings));
    let (names, schedules): (Vec<&str>, Vec<Vec<Span>>) = schedules?.into_iter().unzip();
    let weeks = fields.need("weeks", findings).and_then(|node| weeks(node, &names, findings));
    let covers = covers?;
    let days = days(&fields, &names, covers, findings);
    let weeks = weeks?;
    if weeks.first().is_some_and(|week| week.from > covers.0) {
        let message =
            format!("the first week is from {} on; {} is covered", weeks[0].from, covers.0);
        findings.wrong(fields.mark_of("weeks"), message);
    }
    let spans = || schedules.iter().flatten();
    let ends = spans().map(|span| span.to.seconds - DAY_SECONDS);
    let spill = ends.max().unwrap_or(0).max(0);
    let in_utc = spans().any(|span| Reckoned::Utc == span.from.of.max(span.to.of));
    let (zone_name, zone) = zone?;
    Some(Calendar {
        venue: venue.to_owned(),
        name: name?.to_owned(),
        zone_name,
        covers,
        sources: sources?,
        zone,
        schedules,
        weeks,
        days,
        spill,
        days_apart: spill == 0 && !in_utc,
    })
}

fn exactly(fields: &Fields<'_>, key: &str, value: &str, findings: &mut Findings) {
    let Some(node) = fields.need(key, findings) else { return };
    let Some(text) = findings.line(node, key, 64) else { return };
    if text != value {
        findings.mend(
            node.mark,
            format!("unknown {key} `{}`", shown(text)),
            format!("it is `{value}`"),
        );
    }
}

/// The time zones in the binary; the host's own are not asked.
fn zones() -> &'static TimeZoneDatabase {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    ZONES.get_or_init(TimeZoneDatabase::bundled)
}

fn zone(node: &Node, findings: &mut Findings) -> Option<(String, TimeZone)> {
    let name = findings.line(node, "time-zone", 64)?;
    match zones().get(name) {
        Ok(zone) => Some((name.to_owned(), zone)),
        Err(_) => {
            let message = format!("unknown time zone `{}`", shown(name));
            findings.mend(node.mark, message, "an IANA name: Asia/Shanghai");
            None
        }
    }
}

fn covers(node: &Node, findings: &mut Findings) -> Option<(Date, Date)> {
    let fields = findings.fields(node, "covers", &["from", "through"])?;
    let (from, through) = (fields.need("from", findings), fields.need("through", findings));
    let from = from.and_then(|node| dated(node, findings));
    let through = through.and_then(|node| dated(node, findings));
    let (from, through) = (from?, through?);
    if from > through {
        findings.wrong(node.mark, format!("{from} is after {through}"));
        return None;
    }
    if through.year() - from.year() > YEARS_MAX {
        findings.wrong(node.mark, format!("more than {YEARS_MAX} years"));
        return None;
    }
    Some((from, through))
}

fn sources(node: &Node, findings: &mut Findings) -> Option<Vec<String>> {
    let items = findings.list(node, "source", SOURCES_MAX)?;
    let texts = items.iter().filter_map(|item| findings.line(item, "a source", 500));
    Some(texts.map(str::to_owned).collect())
}

fn note(node: &Node, findings: &mut Findings) {
    if findings.scalar(node, "note").is_some_and(|scalar| scalar.text.len() > 4000) {
        findings.wrong(node.mark, "a note of more than 4000 bytes");
    }
}

type Named<'t> = Vec<(&'t str, Vec<Span>)>;

fn schedules<'t>(node: &'t Node, findings: &mut Findings) -> Option<Named<'t>> {
    let mut schedules = Vec::new();
    for entry in findings.entries(node, "schedules")? {
        let mut spans: Vec<Span> = Vec::new();
        for item in findings.list(entry.value, "a schedule", SPANS_MAX)? {
            let Some(text) = findings.line(item, "a phase", 64) else { continue };
            let span = match span(text) {
                Ok(span) => span,
                Err(why) => {
                    findings.mend(item.mark, why, "like `09:30-11:30 continuous`");
                    continue;
                }
            };
            // Times of two reckonings cannot be compared before there is a date.
            let overlaps = |before: &&Span| {
                before.to.of == span.from.of && before.to.seconds > span.from.seconds
            };
            if spans.last().as_ref().is_some_and(overlaps) {
                findings.wrong(item.mark, "it begins before the phase above it ends");
            }
            spans.push(span);
        }
        if schedules.len() == SCHEDULES_MAX {
            findings.wrong(entry.mark, format!("more than {SCHEDULES_MAX} schedules"));
            return None;
        }
        schedules.push((entry.key, spans));
    }
    Some(schedules)
}

/// `FROM-TO PHASE`.
fn span(text: &str) -> Result<Span, String> {
    let wrong = || format!("`{}` is not a time, a time and a phase", shown(text));
    let (times, word) = text.split_once(' ').ok_or_else(wrong)?;
    let (from, to) = times.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (clock(from)?, clock(to)?);
    let phase =
        Phase::of(word.trim()).filter(|phase| *phase != Phase::Closed).ok_or_else(|| {
            let known = Phase::ALL.map(Phase::word).join(", ");
            format!("`{}` is not a phase to be listed; of {known}, all but closed are", shown(word))
        })?;
    if from.of == to.of && from.seconds >= to.seconds {
        return Err(format!(
            "`{times}` ends before it begins; after midnight goes on as 24:00, 25:30"
        ));
    }
    if from.seconds >= DAY_SECONDS {
        return Err(format!("`{times}` begins on the next day"));
    }
    Ok(Span { from, to, phase })
}

/// `HH:MM[:SS]`, from 00:00 to 36:00, with `Z` in UTC.
fn clock(text: &str) -> Result<Clock, String> {
    let wrong = || format!("`{}` is not a time of the day, HH:MM", shown(text));
    let (digits, of) = match text.strip_suffix('Z') {
        Some(digits) => (digits, Reckoned::Utc),
        None => (text, Reckoned::Local),
    };
    let parts: Vec<&str> = digits.split(':').collect();
    let two = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(two) {
        return Err(wrong());
    }
    let numbers: Vec<i64> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    let (hours, minutes) = (numbers[0], numbers[1]);
    let seconds = numbers.get(2).copied().unwrap_or(0);
    let total = hours * 3600 + minutes * 60 + seconds;
    if minutes > 59 || seconds > 59 || total > DAY_SECONDS + SPILL_MAX {
        return Err(wrong());
    }
    Ok(Clock { seconds: total, of })
}

fn weeks(node: &Node, names: &[&str], findings: &mut Findings) -> Option<Vec<Week>> {
    let mut weeks: Vec<Week> = Vec::new();
    for item in findings.list(node, "weeks", WEEKS_MAX)? {
        let Some(entries) = findings.entries(item, "a week") else { continue };
        let mut week = Week { from: Date::MIN, days: [None; 7] };
        for entry in entries {
            if entry.key == "from" {
                week.from = dated(entry.value, findings).unwrap_or(Date::MAX);
            } else if let Some(days) = weekdays(entry.key, entry.mark, findings) {
                let schedule = named(entry.value, names, findings);
                week.days[days].fill(schedule);
            }
        }
        if weeks.last().is_some_and(|before| before.from >= week.from) {
            findings
                .wrong(item.mark, "weeks are listed by their first date, each later than before");
        }
        weeks.push(week);
    }
    Some(weeks)
}

/// `fri`, or `mon-fri`.
fn weekdays(
    key: &str,
    mark: Mark,
    findings: &mut Findings,
) -> Option<std::ops::RangeInclusive<usize>> {
    let (first, last) = key.split_once('-').unwrap_or((key, key));
    let number = |name: &str| WEEKDAYS.iter().position(|day| *day == name);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Some(first..=last),
        _ => {
            let message = format!("`{}` is not a weekday", shown(key));
            findings.mend(mark, message, "mon to sun, mon-fri, and from");
            None
        }
    }
}

fn named(node: &Node, names: &[&str], findings: &mut Findings) -> Option<usize> {
    let name = findings.line(node, "a schedule's name", 64)?;
    let found = names.iter().position(|known| *known == name);
    if found.is_none() {
        findings.unknown(node.mark, "schedule", name, names);
    }
    found
}

/// `closed` (date or range to the reason) and `days` (date to schedule).
fn days(
    fields: &Fields<'_>,
    names: &[&str],
    covers: (Date, Date),
    findings: &mut Findings,
) -> BTreeMap<Date, Option<usize>> {
    let mut days = BTreeMap::new();
    for (key, closed) in [("closed", true), ("days", false)] {
        let Some(node) = fields.get(key) else { continue };
        for entry in findings.entries(node, key).into_iter().flatten() {
            let schedule = match closed {
                true => findings.line(entry.value, "why it is closed", 120).map(|_| None),
                false => named(entry.value, names, findings).map(Some),
            };
            let Some((first, last)) = range(entry.key, entry.mark, findings) else { continue };
            let Some(schedule) = schedule else { continue };
            for date in first.series(jiff::Span::new().days(1)).take_while(|date| *date <= last) {
                if !(covers.0..=covers.1).contains(&date) {
                    findings.wrong(entry.mark, format!("{date} is not among the dates covered"));
                } else if days.insert(date, schedule).is_some() {
                    findings.wrong(entry.mark, format!("{date} is there already"));
                }
            }
        }
    }
    days
}

/// `2026-10-01`, or `2026-10-01..2026-10-07`.
fn range(key: &str, mark: Mark, findings: &mut Findings) -> Option<(Date, Date)> {
    let (first, last) = key.split_once("..").unwrap_or((key, key));
    let (first, last) = (date(first, mark, findings)?, date(last, mark, findings)?);
    let days = first.until(last).map(|span| span.get_days()).unwrap_or(i32::MAX);
    if !(0..RANGE_DAYS_MAX).contains(&days) {
        findings.wrong(mark, format!("`{}` is not 1 to {RANGE_DAYS_MAX} days", shown(key)));
        return None;
    }
    Some((first, last))
}

fn dated(node: &Node, findings: &mut Findings) -> Option<Date> {
    let text = findings.line(node, "a date", 32)?;
    date(text, node.mark, findings)
}

/// `YYYY-MM-DD` and nothing else.
fn date(text: &str, mark: Mark, findings: &mut Findings) -> Option<Date> {
    let parsed = (text.len() == 10).then(|| Date::strptime("%Y-%m-%d", text).ok()).flatten();
    if parsed.is_none() {
        findings.mend(mark, format!("`{}` is not a date", shown(text)), "like 2026-10-01");
    }
    parsed
}
