//! Words and figures for people: escaped, clipped, in units one can read at a glance.

use playbooks::Metric;

use crate::measure::reading::spelt;

/// Names, identities, sentences: longer ones are cut, and the cut is said.
pub(super) const NAME_MAX: usize = 120;
pub(super) const VALUE_MAX: usize = 160;
pub(super) const SENTENCE_MAX: usize = 600;

/// Latencies from here on are no latencies: the packet was lost.
const LOST: f64 = 1e18;

/// Text from outside, safe anywhere in the page: markup is escaped, control characters and those that
/// turn the reading direction are spelt out, and what is longer than `chars_max` is cut.
pub(super) fn words(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(chars_max * 2));
    let mut chars = text.chars();
    chars.by_ref().take(chars_max).for_each(|c| push(&mut out, c));
    let left = chars.count();
    if left > 0 {
        out.push_str(&format!("… ({} more characters)", count(left as f64)));
    }
    out
}

/// A sentence of ours or of the log's, with what stands between backquotes set as code.
pub(super) fn prose(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in words(text, SENTENCE_MAX).split('`').enumerate() {
        match index % 2 {
            0 => out.push_str(part),
            _ => out.push_str(&format!("<code>{part}</code>")),
        }
    }
    out
}

/// Several lines, for a `pre` block: line ends and tabs stay.
pub(super) fn lines(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max) + 64);
    let mut used = 0;
    for line in text.lines() {
        used += line.len() + 1;
        if used > bytes_max {
            out.push_str("# … the rest is too long for this page\n");
            break;
        }
        for c in line.chars() {
            if c == '\t' { out.push('\t') } else { push(&mut out, c) }
        }
        out.push('\n');
    }
    out
}

fn push(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c if c.is_control() || is_invisible(c) => out.extend(c.escape_unicode()),
        c => out.push(c),
    }
}

/// Zero-width characters and the Unicode bidirectional controls (UAX #9), which make a text read
/// otherwise than it is written.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A latency or a time, three digits: `312 ns`, `40.2 µs`, `1.05 ms`; `lost` from 10^18 ns on.
pub(super) fn nanoseconds(ns: f64) -> String {
    if ns.is_nan() {
        return "unknown".to_owned();
    }
    if ns >= LOST {
        return "lost".to_owned();
    }
    let (scaled, unit) = in_unit(ns);
    format!("{} {unit}", three_digits(scaled))
}

/// The same for ticks and criteria, without trailing zeros: `5 ms`, `1.5 µs`.
pub(super) fn short_nanoseconds(ns: f64) -> String {
    if ns == 0.0 {
        return "0".to_owned();
    }
    let text = nanoseconds(ns);
    match text.split_once(' ') {
        Some((digits, unit)) if digits.contains('.') => {
            format!("{} {unit}", digits.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

fn in_unit(ns: f64) -> (f64, &'static str) {
    // The limits lie where three digits would round up to a thousand.
    match ns.abs() {
        v if v < 999.5 => (ns.round(), "ns"),
        v if v < 999.5e3 => (ns / 1e3, "µs"),
        v if v < 999.5e6 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    }
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        v if v.fract() == 0.0 && v < 10.0 => format!("{value:.0}"),
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        _ => count(value),
    }
}

/// How long something took: `1.2 ms`, `61.3 s`, `12 min 3 s`, `3 d 2 h`.
pub(super) fn took(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0 if ns == 0 => "0".to_owned(),
        0..=119 => short_nanoseconds(ns as f64),
        120..=7_199 => format!("{} min {} s", seconds / 60, seconds % 60),
        7_200..=172_799 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A whole number with its thousands apart.
pub(super) fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    if value < 0.0 && digits != "0" {
        out.push('−');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share as a percentage, down to a millionth of a percent.
pub(super) fn share(fraction: f64) -> String {
    match fraction * 100.0 {
        0.0 => "0 %".to_owned(),
        p if p.abs() < 1e-6 => "below 0.000001 %".to_owned(),
        p if p.abs() < 0.01 => {
            let text = format!("{p:.6}");
            format!("{} %", text.trim_end_matches('0'))
        }
        p if p.abs() < 9.995 => format!("{p:.2} %"),
        p => format!("{p:.1} %"),
    }
}

/// A value in the metric's own unit.
pub(super) fn in_metric(metric: &Metric, value: f64) -> String {
    match metric {
        Metric::LatencyQuantile(_) | Metric::LatencyMax | Metric::TcpRtt => nanoseconds(value),
        Metric::SlowRatio | Metric::LossRatio | Metric::TcpRetransmitRatio => share(value),
        Metric::StormRate => format!("{} /min", three_digits(value)),
        Metric::Drops
        | Metric::NicCounter(_)
        | Metric::SoftnetSqueezed
        | Metric::TcpSessionRetransmits => count(value),
        // Whoever gives it knows its unit.
        Metric::External(_) => spelt(value),
    }
}

/// A relative change: `−99.2 %`, `+4.1 %`, `× 12.3`; positive is worse.
pub(super) fn effect(fraction: f64) -> String {
    match fraction {
        f if f.is_nan() => "unknown".to_owned(),
        f if f >= 1e6 => "without bound".to_owned(),
        f if f >= 9.995 => format!("× {}", three_digits(f + 1.0)),
        // A gain this near to everything is what an unbounded interval says of its lower end.
        f if f <= -0.999_999 => "−100 %".to_owned(),
        f if f < -0.999 => format!("÷ {}", three_digits(1.0 / (1.0 + f))),
        f => {
            let sign = if f < 0.0 { "−" } else { "+" };
            let percent = (f * 1000.0).round().abs() / 10.0;
            if percent == 0.0 { "0.0 %".to_owned() } else { format!("{sign}{percent:.1} %") }
        }
    }
}

/// How many times: `2.4`, `129`.
pub(super) fn factor(ratio: f64) -> String {
    three_digits(ratio)
}

/// A tolerance: `5 %`, `0.5 %`.
pub(super) fn tolerance(fraction: f64) -> String {
    format!("{} %", (fraction * 100_000.0).round() / 1_000.0)
}

/// UTC to the second.
pub(super) fn utc(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns))
        .map(|t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_the_unit_that_fits() {
        for (ns, says) in [
            (0.0, "0 ns"),
            (312.4, "312 ns"),
            (999.6, "1.00 µs"),
            (40_230.0, "40.2 µs"),
            (999_960.0, "1.00 ms"),
            (40_230_000.0, "40.2 ms"),
            (1.5e9, "1.50 s"),
            (u64::MAX as f64, "lost"),
            (f64::MAX, "lost"),
        ] {
            assert_eq!(nanoseconds(ns), says);
        }
        assert_eq!(short_nanoseconds(5e6), "5 ms");
        assert_eq!(short_nanoseconds(1_500.0), "1.5 µs");
        assert_eq!(short_nanoseconds(100e3), "100 µs");
        assert_eq!(took(61_300_000_000), "61.3 s");
        assert_eq!(took(723_000_000_000), "12 min 3 s");
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!(count(-12.0), "−12");
        assert_eq!(share(0.000_01), "0.001 %");
        assert_eq!(share(1.0), "100.0 %");
    }

    #[test]
    fn effects_say_how_many_times_where_percent_say_nothing() {
        for (fraction, says) in [
            (0.0, "0.0 %"),
            (-0.000_01, "0.0 %"),
            (0.041, "+4.1 %"),
            (-0.992, "−99.2 %"),
            (-0.9999, "÷ 10,000"),
            (11.3, "× 12.3"),
            (f64::MAX, "without bound"),
            (f64::MIN, "−100 %"),
            (-0.999_999_9, "−100 %"),
            (f64::NAN, "unknown"),
        ] {
            assert_eq!(effect(fraction), says);
        }
    }

    #[test]
    fn nothing_from_outside_is_markup() {
        let hostile = "</title><script>alert(\"1\")</script>&'\u{1b}[2J\u{202e}\u{0}";
        let safe = words(hostile, 200);
        assert!(!safe.contains(['<', '>', '"', '\'', '\u{1b}', '\u{202e}', '\u{0}']), "{safe}");
        assert!(safe.contains("\\u{202e}") && safe.contains("&lt;script&gt;"), "{safe}");
        assert_eq!(words("abcdef", 3), "abc… (3 more characters)");
        assert_eq!(prose("run `a<b` and `c"), "run <code>a&lt;b</code> and <code>c</code>");
        assert_eq!(lines("a\tb\n<c>\n", 100), "a\tb\n&lt;c&gt;\n");
        assert!(lines(&"x\n".repeat(100), 10).ends_with("too long for this page\n"));
    }
}
