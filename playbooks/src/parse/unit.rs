//! Numbers with units as a playbook spells them. Pure text in, value or help out.

use std::time::Duration;

use super::findings::shown;

/// Longer than any window, drain or probation.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// Digits and nothing else. Zero-padded numbers are refused: some readers take them for octal.
pub(super) fn whole(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    (plain && !padded).then(|| text.parse().ok()).flatten()
}

/// `true`/`false`, or `on`/`off` as ethtool(8) says it.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "on" => Some(true),
        "false" | "off" => Some(false),
        _ => None,
    }
}

/// Whether YAML readers commonly take this plain text for something else than text.
pub(super) fn is_number_or_boolean(text: &str) -> bool {
    text.parse::<f64>().is_ok() || switch(text).is_some() || matches!(text, "yes" | "no")
}

/// A whole number and its unit, at most [`LONGEST`]. The error is the help to give.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, name) = text.split_at(digits);
    let units = || UNITS.iter().map(|(unit, _)| *unit);
    let known = || units().collect::<Vec<_>>().join(", ");
    let Some((_, factor)) = UNITS.iter().find(|(unit, _)| *unit == name) else {
        return Err(match (number, name) {
            ("", _) => "a whole number and its unit, such as 50ms".to_owned(),
            (_, "") => format!("add a unit ({}), such as {}s", known(), shown(number)),
            (_, other) => match nearest_unit(other) {
                Some(unit) => format!("did you mean `{}{unit}`?", shown(number)),
                None => format!("a whole number and one of {}", known()),
            },
        });
    };
    let nanoseconds = whole(number).and_then(|n| n.checked_mul(*factor)).map(Duration::from_nanos);
    match nanoseconds {
        Some(length) if length <= LONGEST => Ok(length),
        Some(_) | None if whole(number).is_none() && number.len() < 20 => {
            Err("a whole number without leading zeros, and its unit".to_owned())
        }
        Some(_) | None => Err(format!("at most {}", spelt(LONGEST))),
    }
}

/// Units that people write for ours.
fn nearest_unit(text: &str) -> Option<&'static str> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        "msec" | "msecs" | "millis" | "milliseconds" => "ms",
        "usec" | "usecs" | "µs" | "μs" | "micros" | "microseconds" => "us",
        "nsec" | "nsecs" | "nanos" | "nanoseconds" => "ns",
        lower => UNITS.iter().map(|(unit, _)| *unit).find(|unit| *unit == lower)?,
    })
}

/// The shortest spelling of a duration.
pub(super) fn spelt(length: Duration) -> String {
    let ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let fits = UNITS.iter().rev().find(|(_, factor)| ns >= *factor && ns.is_multiple_of(*factor));
    let (unit, factor) = fits.copied().unwrap_or(("ns", 1));
    format!("{}{unit}", ns / factor)
}

/// `5%`, `0.5%`: as a fraction.
pub(super) fn percent(text: &str) -> Option<f64> {
    decimal(text.strip_suffix('%')?).map(|hundredths| hundredths / 100.0)
}

/// `0.05` or `12`: digits with at most one dot inside, below a billion; no sign, no exponent.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.len() <= 9 && s.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(part) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        assert_eq!(duration("50us"), Ok(Duration::from_micros(50)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("48h"), duration("2d"));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for bad in ["", "5", "s", "-5s", "1.5s", "5 s", "05s", "1e3s", "5S ", "5sec", "5m5s"] {
            assert!(duration(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(duration("5min"), Err("did you mean `5m`?".to_owned()));
        assert_eq!(
            duration("120"),
            Err("add a unit (ns, us, ms, s, m, h, d), such as 120s".into())
        );
        assert_eq!(duration("18446744073709551615d"), Err("at most 366d".into()));
        assert_eq!(duration("99999999999999999999999s"), Err("at most 366d".into()));
        assert_eq!(duration("367d"), Err("at most 366d".into()));
    }

    #[test]
    fn spelt_is_read_back() {
        for text in ["1ns", "50us", "5s", "90s", "2m", "2d", "366d"] {
            let length = duration(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(duration(&spelt(length)), Ok(length));
        }
        assert_eq!(spelt(Duration::ZERO), "0ns");
    }

    #[test]
    fn percentages_may_exceed_a_hundred_and_nothing_else_is_odd() {
        assert_eq!(percent("5%"), Some(0.05));
        assert_eq!(percent("250%"), Some(2.5));
        assert_eq!(percent("0.5%"), Some(0.005));
        for bad in ["5", "%", "-5%", "5 %", "nan%", "inf%", "1e3%", ".5%", "5.%", "9999999999%"] {
            assert_eq!(percent(bad), None, "{bad:?} was taken");
        }
    }

    #[test]
    fn whole_numbers_are_digits() {
        assert_eq!(whole("0"), Some(0));
        assert_eq!(whole("4096"), Some(4096));
        for bad in ["", "00", "007", "+1", "-1", "1.0", "0x10", "1_000", "99999999999999999999"] {
            assert_eq!(whole(bad), None, "{bad:?} was taken");
        }
    }
}
