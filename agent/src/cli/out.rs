//! Writing to people and programs. A terminal that died is no reason to stop: errors are ignored.

use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
};

use serde::Serialize;

use super::Common;
use crate::{
    report::is_invisible,
    runs::{Declined, Exit},
};

/// A line for people on stdout.
pub(super) fn line(text: &str) {
    raw(&plain(text));
}

/// Text as it is, for programs, on stdout.
fn raw(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Progress and remarks, on stderr.
pub(super) fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", plain(text));
}

/// A remark that begins with a word in colour.
pub(super) fn painted(code: &str, word: &str, rest: &str) {
    let _ = writeln!(std::io::stderr(), "{}{}", paint(code, word), plain(rest));
}

/// What no terminal obeys: an interface may be called anything but blanks, `/` and `:`, and whoever names
/// one writes to the operator's screen.
fn plain(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| matches!(c, '\n' | '\t') || !c.is_control() && !is_invisible(c);
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmless(c) { safe.push(c) } else { safe.extend(c.escape_unicode()) }
    }
    Cow::Owned(safe)
}

/// One JSON document.
pub(super) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => raw(&text),
        Err(error) => remark(&format!("error: cannot print as JSON: {error}")),
    }
}

/// One line of a stream of JSON documents.
pub(super) fn json_line(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => raw(&text),
        Err(error) => remark(&format!("error: cannot print as JSON: {error}")),
    }
}

pub(super) fn declined(common: &Common, declined: &Declined) {
    if common.json {
        json(&serde_json::json!({
            "error": declined.why,
            "rule": declined.rule,
            "exit": declined.exit as u8,
        }));
    }
    let rule = match declined.exit {
        Exit::Refused => format!(" (rule {})", declined.rule),
        Exit::Done | Exit::Failed | Exit::Wrong | Exit::Reverted | Exit::Stuck => String::new(),
    };
    // A refusal by policy names its rule itself.
    let rule = if declined.why.contains(&format!("(rule {})", declined.rule)) { "" } else { &rule };
    painted("31;1", "error", &format!("{rule}: {}", declined.why));
    if declined.exit == Exit::Failed && lacks_rights(&declined.why) {
        remark(
            "note      run it as root: it writes settings, and keeps a log that others cannot read",
        );
    }
}

/// Whether somebody other than root was turned away by the kernel, or by the state directory's owner.
fn lacks_rights(why: &str) -> bool {
    let words = ["EACCES", "EPERM", "(os error 13)", "(os error 1)", "it belongs to uid 0"];
    !nix::unistd::geteuid().is_root() && words.iter().any(|word| why.contains(word))
}

/// Colours a word when stderr is a terminal and colour is wanted (NO_COLOR is honoured).
fn paint(code: &str, word: &str) -> String {
    let wanted = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
}

/// `1 entry`, `2 entries`.
pub(super) fn count(n: u64, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

/// `1.234 ms`: nanoseconds with the unit that a person reads at once.
pub(super) fn time(ns: f64) -> String {
    match ns {
        ns if !ns.is_finite() => "lost".to_owned(),
        ns if ns < 1_000.0 => format!("{ns:.0} ns"),
        ns if ns < 1_000_000.0 => format!("{:.1} us", ns / 1e3),
        ns if ns < 1_000_000_000.0 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_name_does_not_command_the_terminal() {
        assert_eq!(plain("eth1\tup\n"), "eth1\tup\n");
        assert_eq!(plain("a\u{1b}[2J\u{202e}b\r\u{7f}"), "a\\u{1b}[2J\\u{202e}b\\u{d}\\u{7f}");
    }
}
