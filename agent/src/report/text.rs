//! Numbers and foreign text for people: humanised, escaped, bounded.

use playbooks::Metric;

/// Characters of one foreign string beyond this are dropped; the rest of the page must stay readable.
const CHARS_MAX: usize = 1_000;

/// Foreign text as HTML: nothing in it can open a tag, an attribute or an entity, turn the direction of
/// what follows, or hide as a control character.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(CHARS_MAX) + 16);
    for (at, c) in text.chars().enumerate() {
        if at == CHARS_MAX {
            out.push('…');
            break;
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            // Bidirectional controls could show one command and paste another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                out.push('\u{fffd}');
            }
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Nanoseconds with three significant digits: `850 ns`, `12.3 µs`, `4.00 ms`, `1.25 s`.
pub(super) fn time(ns: f64) -> String {
    if !ns.is_finite() {
        return "∞\u{a0}(lost)".to_owned();
    }
    let size = ns.abs();
    // The limits are where rounding to three digits would reach the next unit.
    let (value, unit) = match size {
        s if s < 999.5 => return format!("{ns:.0}\u{a0}ns"),
        s if s < 999_500.0 => (ns / 1e3, "µs"),
        s if s < 999_500_000.0 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let digits = match value.abs() {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}\u{a0}{unit}")
}

/// A tick's time: without needless digits.
pub(super) fn tick_time(ns: f64) -> String {
    match ns {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{} µs", n / 1e3),
        n if n < 1e9 => format!("{} ms", n / 1e6),
        n => format!("{} s", n / 1e9),
    }
}

/// A whole number with its thousands apart: `1 234 567`, the spaces thin and unbreakable.
pub(super) fn count(n: i128) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::from(if n < 0 { "−" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A share: `0.7 %`, `12.3 %`, `0.0012 %`.
pub(super) fn percent(share: f64) -> String {
    let value = share * 100.0;
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        _ => 4,
    };
    let plain = format!("{value:.digits$}");
    let short = if plain.contains('.') {
        plain.trim_end_matches('0').trim_end_matches('.')
    } else {
        &plain
    };
    format!("{short}\u{a0}%").replace('-', "−")
}

/// A relative change with its sign: `+5.0 %`, `−12 %`, `×8.2` where a percentage is no help any more.
pub(super) fn change(effect: f64) -> String {
    match effect {
        e if !e.is_finite() => "∞".to_owned(),
        e if e > 10.0 => format!("×{:.1}", e + 1.0),
        e if e.abs() < 0.000_5 => "0.0\u{a0}%".to_owned(),
        e => format!("{:+.1}\u{a0}%", e * 100.0).replace('-', "−"),
    }
}

/// A metric's value in its own unit.
pub(super) fn value(metric: &Metric, value: f64) -> String {
    match metric {
        Metric::LatencyQuantile(_) | Metric::LatencyMax => time(value),
        Metric::SlowRatio | Metric::LossRatio | Metric::TcpRetransmitRatio => percent(value),
        Metric::StormRate => format!("{value:.1}\u{a0}/min"),
        Metric::Drops | Metric::NicCounter(_) | Metric::SoftnetSqueezed => count(value as i128),
    }
}

/// RFC 3339, UTC, to the second: `2026-11-22 03:15:07 UTC`.
pub(super) fn utc(ns: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => "unknown".to_owned(),
    }
}
