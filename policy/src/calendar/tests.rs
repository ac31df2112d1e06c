use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn phase(venue: &str, time: &str) -> Phase {
    Calendars::shipped().phase(venue, at(time))
}

#[test]
fn every_shipped_calendar_loads_and_says_where_it_is_from() {
    let shipped = Calendars::shipped();
    let problems: Vec<_> = shipped.problems().collect();
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(shipped.names().count(), SHIPPED.len());
    for (venue, _) in SHIPPED {
        let calendar = shipped.get(venue).expect("it loads");
        assert!(!calendar.sources.is_empty() && !calendar.name.is_empty(), "{venue}");
    }
}

#[test]
fn phases_are_told_in_the_venues_own_time() {
    let cases = [
        ("SSE", "2026-11-30T09:20:00+08:00", Phase::Auction),
        ("SSE", "2026-11-30T09:29:59+08:00", Phase::PreOpen),
        ("SSE", "2026-11-30T09:30:00+08:00", Phase::Continuous),
        ("SSE", "2026-11-30T11:30:00+08:00", Phase::Break),
        ("SSE", "2026-11-30T14:58:00+08:00", Phase::Auction),
        ("SSE", "2026-11-30T16:00:00+08:00", Phase::Closed),
        ("SSE", "2026-11-29T10:00:00+08:00", Phase::Closed),
        ("SSE", "2026-10-01T10:00:00+08:00", Phase::Closed),
        // Saturdays that are working days in China are no trading days.
        ("SSE", "2026-02-14T10:00:00+08:00", Phase::Closed),
        ("HKEX", "2026-12-24T11:59:59+08:00", Phase::Continuous),
        ("HKEX", "2026-12-24T13:30:00+08:00", Phase::Closed),
        ("NYSE", "2026-11-27T12:59:59-05:00", Phase::Continuous),
        ("NYSE", "2026-11-27T13:00:00-05:00", Phase::Closed),
        ("NYSE", "2026-11-26T10:00:00-05:00", Phase::Closed),
        ("NYSE", "2028-07-03T14:00:00-04:00", Phase::Closed),
        ("NASDAQ", "2026-11-23T17:00:00-05:00", Phase::PreOpen),
        ("NASDAQ", "2026-12-07T22:00:00-05:00", Phase::Unknown),
        ("LSE", "2026-11-30T12:01:00+00:00", Phase::Auction),
        ("LSE", "2026-12-24T12:01:00+00:00", Phase::Continuous),
        ("JPX", "2026-11-30T15:27:00+09:00", Phase::Auction),
        ("CFFEX", "2026-11-30T15:10:00+08:00", Phase::Continuous),
        ("CME", "2026-11-30T16:30:00-06:00", Phase::Maintenance),
    ];
    for (venue, time, expected) in cases {
        assert_eq!(phase(venue, time), expected, "{venue} at {time}");
    }
}

#[test]
fn nights_reach_into_the_next_day_and_are_not_held_before_holidays() {
    let cases = [
        ("2026-11-30T21:30:00+08:00", Phase::Continuous),
        ("2026-12-01T02:29:59+08:00", Phase::Continuous),
        ("2026-12-01T02:30:00+08:00", Phase::Closed),
        // Friday's night ends on Saturday; Monday's morning has none before it.
        ("2026-11-28T01:00:00+08:00", Phase::Continuous),
        ("2026-11-30T01:00:00+08:00", Phase::Closed),
        ("2026-09-30T21:30:00+08:00", Phase::Closed),
        ("2026-10-01T01:00:00+08:00", Phase::Closed),
        ("2026-12-31T21:30:00+08:00", Phase::Unknown),
        // The night of 2024-12-31 is not covered: what is left of it is not known.
        ("2025-01-01T01:00:00+08:00", Phase::Unknown),
        ("2025-01-01T02:30:00+08:00", Phase::Closed),
    ];
    for (time, expected) in cases {
        assert_eq!(phase("SHFE", time), expected, "{time}");
    }
    let week = [
        ("2026-11-29T15:59:59-06:00", Phase::Closed),
        ("2026-11-29T16:30:00-06:00", Phase::PreOpen),
        ("2026-11-29T17:00:00-06:00", Phase::Continuous),
        ("2026-11-30T00:00:00-06:00", Phase::Continuous),
        ("2026-12-04T15:59:59-06:00", Phase::Continuous),
        ("2026-12-04T16:00:00-06:00", Phase::Closed),
    ];
    for (time, expected) in week {
        assert_eq!(phase("CME", time), expected, "{time}");
    }
}

#[test]
fn summer_time_moves_the_venue_and_what_is_reckoned_in_utc_stays() {
    // New York changes on 2026-03-08, London and Frankfurt on 2026-03-29.
    assert_eq!(phase("NYSE", "2026-03-06T14:30:00Z"), Phase::Continuous);
    assert_eq!(phase("NYSE", "2026-03-09T13:29:59Z"), Phase::PreOpen);
    assert_eq!(phase("NYSE", "2026-03-09T13:30:00Z"), Phase::Continuous);
    assert_eq!(phase("LSE", "2026-03-27T08:00:00Z"), Phase::Continuous);
    assert_eq!(phase("LSE", "2026-03-30T07:00:00Z"), Phase::Continuous);
    for day in ["2026-03-27", "2026-03-30"] {
        assert_eq!(phase("EUREX", &format!("{day}T00:09:59Z")), Phase::PreOpen, "{day}");
        assert_eq!(phase("EUREX", &format!("{day}T00:10:00Z")), Phase::Continuous, "{day}");
    }
    assert_eq!(phase("EUREX", "2026-03-27T20:59:59Z"), Phase::Continuous);
    assert_eq!(phase("EUREX", "2026-03-30T20:00:00Z"), Phase::PreOpen);
}

#[test]
fn outside_the_dates_and_for_venues_without_a_calendar_nothing_is_known() {
    assert_eq!(phase("SSE", "2026-12-31T23:59:59+08:00"), Phase::Closed);
    assert_eq!(phase("SSE", "2027-01-01T00:00:00+08:00"), Phase::Unknown);
    assert_eq!(phase("SSE", "2024-12-31T10:00:00+08:00"), Phase::Unknown);
    assert_eq!(phase("NYSE", "2035-06-01T12:00:00Z"), Phase::Unknown);
    assert_eq!(phase("MOEX", "2026-11-30T10:00:00Z"), Phase::Unknown);
    let shipped = Calendars::shipped();
    assert_eq!(shipped.next_boundary("MOEX", at("2026-11-30T10:00:00Z")), None);
    assert_eq!(shipped.next_boundary("SSE", at("2027-02-01T00:00:00Z")), None);
}

#[test]
fn the_next_boundary_is_where_the_phase_changes() {
    let next = |venue: &str, time: &str| {
        let found = Calendars::shipped().next_boundary(venue, at(time));
        found.map_or("none".to_owned(), |at| at.to_string())
    };
    assert_eq!(next("SSE", "2026-11-30T02:00:00Z"), "2026-11-30T03:30:00Z");
    assert_eq!(next("SSE", "2026-11-30T03:30:00Z"), "2026-11-30T05:00:00Z");
    // From Friday to Monday, over the change of the clocks in between.
    assert_eq!(next("NYSE", "2026-03-06T21:00:00Z"), "2026-03-09T10:30:00Z");
    // Over the National Day week.
    assert_eq!(next("SSE", "2026-09-30T08:00:00Z"), "2026-10-08T01:15:00Z");
    // Midnight is no boundary for a market that trades through it.
    assert_eq!(next("CME", "2026-11-30T23:30:00Z"), "2026-12-01T22:00:00Z");
    assert_eq!(next("SHFE", "2026-11-30T13:30:00Z"), "2026-11-30T18:30:00Z");
    // The end of what is known is one, and so is its beginning.
    assert_eq!(next("SSE", "2026-12-31T12:00:00Z"), "2026-12-31T16:00:00Z");
    assert_eq!(next("SSE", "2020-01-01T00:00:00Z"), "2024-12-31T16:00:00Z");
}

/// A valid calendar, to be spoiled.
const SMALL: &str = "\
apiVersion: nicmend/v1
kind: Calendar
venue: X
name: A venue
time-zone: Asia/Shanghai
covers: { from: 2026-01-01, through: 2026-12-31 }
source: [its own pages]
schedules:
  day: [09:30-15:00 continuous]
weeks:
  - { from: 2026-01-01, mon-fri: day }
closed:
  2026-10-01..2026-10-07: National Day
";

#[test]
fn a_sites_own_calendar_takes_the_place_of_a_shipped_one_and_a_broken_one_leaves_nothing() {
    let mut calendars = Calendars::shipped();
    calendars.add("X", SMALL.as_bytes());
    assert_eq!(calendars.phase("X", at("2026-11-30T02:00:00Z")), Phase::Continuous);
    assert_eq!(calendars.phase("X", at("2026-10-05T02:00:00Z")), Phase::Closed);
    calendars.add("SSE", b"kind: Calendar");
    assert_eq!(calendars.phase("SSE", at("2026-11-30T02:00:00Z")), Phase::Unknown);
    assert_eq!(calendars.problems().map(|(venue, _)| venue).collect::<Vec<_>>(), ["SSE"]);
}

#[test]
fn every_error_of_a_file_is_told_with_its_place() {
    let spoiled = SMALL
        .replace("venue: X", "venue: Y")
        .replace("Asia/Shanghai", "Asia/Shanghi")
        .replace(
            "09:30-15:00 continuous",
            "15:00-09:30 continuous, 09:30-11:30 opne, 25:00-26:00 break",
        )
        .replace("mon-fri: day", "mon-fry: day, sun: nigth")
        .replace("2026-10-01..2026-10-07", "2026-10-07..2026-10-01")
        + "  2026-13-01: none\n  2027-01-01: not covered\nopen: []\n";
    let problems = Calendar::parse("X", spoiled.as_bytes()).expect_err("it is spoiled");
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        "3:8: unknown venue `Y`",
        "5:12: unknown time zone",
        "9:9: `15:00-09:30` ends before it begins",
        "`opne` is not a phase",
        "begins on the next day",
        "11:25: `mon-fry` is not a weekday",
        "unknown schedule `nigth`",
        "13:3: `2026-10-07..2026-10-01` is not 1 to 31 days",
        "14:3: `2026-13-01` is not a date",
        "15:3: 2027-01-01 is not among the dates covered",
        "16:1: unknown key `open`",
    ];
    for words in expected {
        assert!(told.iter().any(|line| line.contains(words)), "{words}\n{}", told.join("\n"));
    }
    for (from, to, words) in [
        ("from: 2026-01-01, through", "from: 2010-01-01, through", "more than 10 years"),
        ("from: 2026-01-01, mon", "from: 2026-02-01, mon", "the first week is from 2026-02-01"),
        ("continuous]", "continuous, 14:00-16:00 break]", "before the phase above it ends"),
        ("09:30-15:00", "9:30-15:00", "not a time of the day"),
        ("09:30-15:00", "09:30-36:01", "not a time of the day"),
        ("source: [its own pages]\n", "", "lacks `source`"),
    ] {
        let problems = Calendar::parse("X", SMALL.replace(from, to).as_bytes()).expect_err(words);
        assert!(problems.iter().any(|p| p.to_string().contains(words)), "{words}: {problems:?}");
    }
    assert!(Calendar::parse("X", &vec![b'x'; SOURCE_MAX + 1]).is_err());
}
