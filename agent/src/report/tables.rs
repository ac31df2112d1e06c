//! What is told in tables and lists: settings, what the windows saw, other hands, evidence, undo.

use super::{
    Evidence, Fate, Run, Seal, Series, Setting, Undo,
    svg::{self, Area, Svg},
    text,
};
use crate::{log::fact::Foreign, measure::Window};

const SETTINGS_MAX: usize = 200;
const NOTES_MAX: usize = 40;
const EVIDENCE_MAX: usize = 64;
/// The most counters of a window and the most queues that are shown.
const COUNTERS_MAX: usize = 24;
const QUEUES_MAX: usize = 128;
/// An undo script of a few hundred settings is 30 KB.
const SCRIPT_BYTES_MAX: usize = 96 * 1024;

pub(super) fn settings(settings: &[Setting]) -> String {
    if settings.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section>\n<h3>Settings</h3>\n<div class=\"scroll\"><table class=\"settings stack\"><thead><tr>\
         <th>setting</th><th>original</th><th>asked</th><th>left</th>\
         <th class=\"words\">state</th></tr></thead>\n",
    );
    for setting in settings.iter().take(SETTINGS_MAX) {
        let value = |value: &Option<String>| match value {
            Some(value) => format!("<code>{}</code>", text::words(value, text::VALUE_MAX)),
            None => "–".to_owned(),
        };
        out.push_str(&format!(
            "<tr><th scope=\"row\"><code>{}</code></th><td data-h=\"original\">{}</td>\
             <td data-h=\"asked\">{}</td><td data-h=\"left\">{}</td><td class=\"words\">{}</td></tr>\n",
            text::words(&setting.name, text::NAME_MAX),
            value(&setting.original),
            value(&setting.asked),
            value(&setting.left),
            fate(&setting.fate),
        ));
    }
    out.push_str("</table></div>\n");
    if settings.len() > SETTINGS_MAX {
        let more = settings.len() - SETTINGS_MAX;
        out.push_str(&format!("<p class=\"note\">{more} more settings are in the log.</p>\n"));
    }
    out.push_str("</section>\n");
    out
}

fn fate(fate: &Fate) -> String {
    let (class, words) = match fate {
        Fate::InForce => ("chip good", "✓ in force"),
        Fate::PutBack => ("chip back", "↩ put back"),
        Fate::AsItWas => ("chip", "= as it was"),
        Fate::Unrecorded => ("chip", "not written"),
        Fate::Foreign => ("chip open", "◆ changed by somebody else"),
        Fate::NotPutBack => ("chip bad", "✗ not put back"),
        Fate::Unfinished => ("chip open", "… unfinished"),
        Fate::AlreadyRight => ("chip", "= right already"),
        Fate::NotReached => ("chip", "not reached"),
        Fate::Skipped(why) => {
            let why = text::words(why, text::SENTENCE_MAX);
            return format!("<span class=\"chip\">skipped</span> <span class=\"why\">{why}</span>");
        }
    };
    format!("<span class=\"{class}\">{words}</span>")
}

/// One column a window: what was sent, what went missing, where time went, what the counters say.
pub(super) fn windows(series: &[Series]) -> String {
    if series.is_empty() {
        return String::new();
    }
    let windows: Vec<&Window> = series.iter().map(|one| one.window).collect();
    let mut out = String::from(
        "<section>\n<h3>What the windows saw</h3>\n<div class=\"scroll\"><table class=\"saw\"><thead>\
         <tr><th></th>",
    );
    for one in series {
        out.push_str(&format!("<th>{}</th>", text::words(one.name, text::NAME_MAX)));
    }
    out.push_str("</tr></thead>\n");
    let mut row = |label: &str, cell: &dyn Fn(&Window) -> String| {
        let cells: Vec<String> = windows.iter().map(|window| cell(window)).collect();
        out.push_str(&format!(
            "<tr><th scope=\"row\">{label}</th><td>{}</td></tr>\n",
            cells.join("</td><td>")
        ));
    };
    let count = |value: u64| text::count(value as f64);
    row("began (UTC)", &|w| match w.began_utc_ns {
        0 => "–".to_owned(),
        ns => text::utc(ns).trim_end_matches(" UTC").to_owned(),
    });
    row("length", &|w| text::took(w.length_ns));
    row("sent", &|w| count(w.sent));
    row("lost", &|w| count(w.lost));
    row("late (counted as lost) · duplicated · reordered", &|w| {
        [w.late, w.duplicated, w.reordered].map(count).join(" · ")
    });
    row("other load", &|w| format!("{} packets/s", text::count(w.load_pps)));
    row("TCP segments sent · retransmitted", &|w| {
        [w.tcp_out, w.tcp_retransmitted].map(count).join(" · ")
    });
    row("softnet squeezed", &|w| count(w.softnet_squeezed));
    row("stamped by", &stamps);
    row("packets a queue", &queues);
    for part in parts(&windows) {
        let label = format!("{}, p50 · p99 · slowest", text::words(part, text::NAME_MAX));
        row(&label, &|w| split(w, part));
    }
    for name in moved(&windows) {
        let label = format!("<code>{}</code>", text::words(name, text::NAME_MAX));
        row(&label, &|w| {
            let delta = w.drops.get(name).or_else(|| w.counters.get(name));
            delta.map_or("–".to_owned(), |delta| text::count(*delta as f64))
        });
    }
    out.push_str("</table></div>\n");
    for one in series {
        let cut = one.window.cut_short.iter().map(|why| format!("cut short: {why}"));
        for note in cut.chain(one.window.notes.iter().cloned()).take(8) {
            let name = text::words(one.name, text::NAME_MAX);
            let note = text::prose(&note);
            out.push_str(&format!("<p class=\"note\">{name}: {note}</p>\n"));
        }
    }
    out.push_str("</section>\n");
    out
}

fn stamps(window: &Window) -> String {
    let one = |(name, count): (&String, &u64)| {
        format!("{} {}", text::words(name, text::NAME_MAX), text::count(*count as f64))
    };
    window.stamps.iter().take(4).map(one).collect::<Vec<_>>().join("<br>")
}

/// A bar a receive queue: the proof that each was exercised.
fn queues(window: &Window) -> String {
    let queues = &window.per_queue;
    let Some(most) = queues.iter().copied().max() else { return "not counted".to_owned() };
    let (slot, height) = (if queues.len() > 24 { 4.0 } else { 8.0 }, 20.0);
    let mut svg = Svg::default();
    for (index, packets) in queues.iter().take(QUEUES_MAX).enumerate() {
        let part = *packets as f64 / most.max(1) as f64;
        let left = index as f64 * slot;
        let top = height - (part * (height - 1.0)).max(if *packets > 0 { 1.5 } else { 0.0 });
        svg.rect("queue", Area { left, right: left + slot - 1.5, top, bottom: height });
    }
    let least = queues.iter().copied().min().unwrap_or(0);
    let says = format!("{} queues, {least} to {most} packets each", queues.len());
    let width = queues.len().min(QUEUES_MAX) as f64 * slot;
    let drawn = svg::inline("queues", (width, height), &says, svg);
    let range = format!("{} … {}", text::count(least as f64), text::count(most as f64));
    format!("{drawn}<br>{range} on {}", queues.len())
}

fn parts<'a>(windows: &[&'a Window]) -> Vec<&'a str> {
    let mut names: Vec<&str> =
        windows.iter().flat_map(|window| window.split.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(8);
    names
}

fn split(window: &Window, part: &str) -> String {
    match window.split.get(part) {
        Some(q) => [q.p50, q.p99, q.max].map(|ns| text::nanoseconds(ns as f64)).join(" · "),
        None => "–".to_owned(),
    }
}

/// The counters that moved in any window: drops first, then whatever moved most.
fn moved<'a>(windows: &[&'a Window]) -> Vec<&'a str> {
    let mut seen: Vec<(bool, u64, &str)> = Vec::new();
    for window in windows {
        let drops = window.drops.iter().map(|(name, delta)| (true, name, delta));
        let others = window.counters.iter().map(|(name, delta)| (false, name, delta));
        for (drop, name, delta) in drops.chain(others).filter(|(_, _, delta)| **delta != 0) {
            seen.push((drop, delta.unsigned_abs(), name));
        }
    }
    seen.sort_unstable_by(|a, b| (b.0, b.1, a.2).cmp(&(a.0, a.1, b.2)));
    let mut names: Vec<&str> = Vec::new();
    for (_, _, name) in seen {
        if names.len() < COUNTERS_MAX && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

pub(super) fn foreign(changes: &[Foreign]) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section>\n<h3>Changed by somebody else</h3>\n<div class=\"scroll\"><table><thead><tr>\
         <th>setting</th><th>we had left</th><th>found</th></tr></thead>\n",
    );
    for change in changes.iter().take(SETTINGS_MAX) {
        out.push_str(&format!(
            "<tr><th scope=\"row\"><code>{}</code></th><td><code>{}</code></td><td><code>{}</code></td></tr>\n",
            text::words(change.name.as_str(), text::NAME_MAX),
            text::words(&change.expected.to_string(), text::VALUE_MAX),
            text::words(&change.found.to_string(), text::VALUE_MAX),
        ));
    }
    out.push_str("</table></div>\n</section>\n");
    out
}

pub(super) fn notes(notes: &[String]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let mut out = String::from("<section>\n<h3>Worth knowing</h3>\n<ul>\n");
    for note in notes.iter().take(NOTES_MAX) {
        out.push_str(&format!("<li>{}</li>\n", text::prose(note)));
    }
    out.push_str("</ul>\n</section>\n");
    out
}

pub(super) fn about(run: &Run) -> String {
    let mut out = String::from("<section>\n<h3>What was run, where</h3>\n<dl class=\"about\">\n");
    for (label, value) in run.about.iter().take(40) {
        out.push_str(&format!(
            "<div{}><dt>{}</dt><dd>{}</dd></div>\n",
            if value.len() > 40 { " class=\"long\"" } else { "" },
            text::words(label, text::NAME_MAX),
            text::words(value, text::SENTENCE_MAX)
        ));
    }
    for reference in run.references.iter().take(8) {
        let words = text::words(reference, text::SENTENCE_MAX);
        // Only what is plainly a web address becomes a link; a playbook's author is not trusted.
        let plain = reference.bytes().all(|b| b.is_ascii_graphic()) && reference.len() < 500;
        let value = match reference.starts_with("https://") && plain {
            true => format!("<a href=\"{words}\" rel=\"noreferrer noopener\">{words}</a>"),
            false => words,
        };
        out.push_str(&format!("<div class=\"long\"><dt>reference</dt><dd>{value}</dd></div>\n"));
    }
    out.push_str("</dl>\n</section>\n");
    out
}

pub(super) fn undo(undo: &Undo) -> String {
    let body = match undo {
        Undo::Nothing(why) => format!("<p>{}</p>\n", text::prose(why)),
        Undo::ByHand { why, script } => format!(
            "<p>{}</p>\n<pre>{}</pre>\n",
            text::prose(why),
            text::lines(script, SCRIPT_BYTES_MAX)
        ),
    };
    format!("<section>\n<h3>Undo by hand</h3>\n{body}</section>\n")
}

pub(super) fn evidence(run: &Run) -> String {
    let evidence: &[Evidence] = &run.evidence;
    if evidence.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<section>\n<h3>Evidence</h3>\n<p>Files of <code>runs/{}/</code> in the state directory, as \
         they were when this page was made.</p>\n<div class=\"scroll\"><table class=\"evidence\"><thead><tr>\
         <th>file</th><th class=\"words\">digest</th><th class=\"words\">against the log</th></tr></thead>\n",
        text::words(&run.id, text::NAME_MAX)
    );
    for one in evidence.iter().take(EVIDENCE_MAX) {
        let seal = match one.seal {
            Seal::Matches => "<span class=\"chip good\">✓ as judged</span>",
            Seal::Differs => "<span class=\"chip bad\">✗ not the file that was judged</span>",
            Seal::NotInLog => "<span class=\"chip\">never judged</span>",
            Seal::Missing => "<span class=\"chip bad\">✗ missing</span>",
        };
        out.push_str(&format!(
            "<tr><th scope=\"row\"><code>{}</code></th><td class=\"words\"><code>{}</code></td>\
             <td class=\"words\">{seal}</td></tr>\n",
            text::words(&one.file, text::NAME_MAX),
            text::words(&one.digest, text::NAME_MAX),
        ));
    }
    out.push_str("</table></div>\n</section>\n");
    out
}
