//! The page's tables and lists.

use std::fmt::Write;

use playbooks::{Value, vocabulary::Kind};

use super::{
    Fate, Measured, ROWS_MAX, Run, Setting, put, scatter,
    text::{count, escaped, percent, time},
};

pub(super) fn facts(out: &mut String, run: &Run) {
    if run.facts.is_empty() {
        return;
    }
    out.push_str("<section>\n<dl class=\"facts\">\n");
    for (what, fact) in run.facts.iter().take(ROWS_MAX) {
        put!(out, "<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(what), escaped(fact));
    }
    out.push_str("</dl>\n</section>\n");
}

pub(super) fn settings(out: &mut String, run: &Run) {
    if run.settings.is_empty() {
        return;
    }
    out.push_str(
        "<section>\n<h2>Settings</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>Setting</th>\
         <th class=\"n\">From</th><th class=\"n\">Asked</th><th class=\"n\">Got</th><th>Unit</th>\
         <th>Now</th></tr></thead>\n<tbody>\n",
    );
    let mut stage = None;
    for setting in run.settings.iter().take(ROWS_MAX) {
        if stage != Some(&setting.stage) {
            stage = Some(&setting.stage);
            let name = escaped(&setting.stage);
            put!(
                out,
                "<tr class=\"group\"><th colspan=\"6\" scope=\"rowgroup\">Stage {name}</th></tr>\n"
            );
        }
        row(out, setting);
    }
    out.push_str("</tbody>\n</table></div>\n");
    more(out, run.settings.len(), "settings");
    out.push_str("</section>\n");
}

fn row(out: &mut String, setting: &Setting) {
    let unit = match setting.name.setting().kind {
        Kind::Number { unit, .. } => unit,
        Kind::Bool | Kind::Choice(_) | Kind::Text | Kind::Indirection | Kind::Cpus => "",
    };
    let differs = setting.got.is_some() && setting.got != setting.asked;
    let (class, fate) = match &setting.fate {
        Fate::Kept => ("improved", "in force".to_owned()),
        Fate::PutBack => ("equivalent", "put back".to_owned()),
        Fate::AlreadyRight => ("equivalent", "was right already".to_owned()),
        Fate::NotReached => ("muted", "not reached".to_owned()),
        Fate::Skipped(why) => ("muted", format!("skipped: {why}")),
        Fate::Failed(why) => ("regressed", format!("failed: {why}")),
    };
    put!(
        out,
        "<tr><th scope=\"row\"><code>{}</code></th><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n{}\">{}</td><td class=\"unit\">{}</td><td class=\"{class}\">{}</td></tr>\n",
        escaped(setting.name.as_str()),
        shown(setting.from.as_ref()),
        shown(setting.asked.as_ref()),
        if differs { " regressed" } else { "" },
        shown(setting.got.as_ref()),
        escaped(unit),
        escaped(&fate),
    );
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "—".to_owned(),
        Some(Value::Number(n)) => count((*n).into()),
        Some(other @ (Value::Bool(_) | Value::Text(_) | Value::Numbers(_) | Value::Texts(_))) => {
            escaped(&other.to_string())
        }
    }
}

/// The curves' names, with what makes them tell apart without colour.
pub(super) fn legend(out: &mut String, windows: &[Measured]) {
    out.push_str("<ul class=\"legend\">\n");
    for (series, measured) in windows.iter().enumerate() {
        put!(
            out,
            "<li><svg viewBox=\"0 0 34 10\" aria-hidden=\"true\">\
             <path class=\"curve s{series}\" d=\"M1 5H33\"/></svg>{}</li>\n",
            escaped(&measured.label)
        );
    }
    out.push_str("</ul>\n");
}

/// Quantiles from the samples themselves, a lost packet above all others.
pub(super) fn quantiles(out: &mut String, windows: &[Measured]) {
    out.push_str(
        "<div class=\"wide\"><table>\n<thead><tr><th>Window</th><th class=\"n\">Packets</th>\
         <th class=\"n\">Lost</th><th class=\"n\">p50</th><th class=\"n\">p90</th><th class=\"n\">p99</th>\
         <th class=\"n\">p99.9</th><th class=\"n\">Slowest</th></tr></thead>\n<tbody>\n",
    );
    for measured in windows {
        let samples = &measured.window.samples;
        let mut all: Vec<u64> = samples.iter().map(|s| s.latency_ns).collect();
        all.sort_unstable();
        let lost = samples.iter().filter(|s| s.is_lost()).count();
        let share = if all.is_empty() { 0.0 } else { lost as f64 / all.len() as f64 };
        put!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>",
            escaped(&measured.label),
            count(all.len() as i128),
            if lost == 0 {
                "0".to_owned()
            } else {
                format!("{} ({})", count(lost as i128), percent(share))
            },
        );
        for quantile in [0.5, 0.9, 0.99, 0.999] {
            put!(out, "<td class=\"n\">{}</td>", at_quantile(&all, quantile));
        }
        let worst = scatter::worst(measured).unwrap_or_else(|| "—".to_owned());
        put!(out, "<td class=\"n\">{worst}</td></tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

/// The smallest value that at least this share of `sorted` does not exceed.
fn at_quantile(sorted: &[u64], quantile: f64) -> String {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    match sorted.get(rank.max(1) - 1) {
        None => "—".to_owned(),
        Some(&u64::MAX) => time(f64::INFINITY),
        Some(&ns) => time(ns as f64),
    }
}

const WAY: [&str; 4] = ["sender", "wire", "reflector", "receiver"];

/// Where the time went, and whether every receive queue was exercised.
pub(super) fn split(out: &mut String, windows: &[Measured]) {
    if windows.iter().all(|w| w.window.split.is_empty() && w.window.per_queue.is_empty()) {
        return;
    }
    out.push_str(
        "<h3>Where the time went</h3>\n<div class=\"wide\"><table>\n<thead><tr><th>Part</th>\
         <th>Window</th><th class=\"n\">p50</th><th class=\"n\">p99</th><th class=\"n\">p99.9</th>\
         <th class=\"n\">Slowest</th></tr></thead>\n<tbody>\n",
    );
    let mut parts: Vec<&String> = windows.iter().flat_map(|w| w.window.split.keys()).collect();
    // In the order in which a packet meets them; a part of another name comes last.
    let way = |part: &str| WAY.iter().position(|p| *p == part).unwrap_or(WAY.len());
    parts.sort_unstable_by_key(|part| (way(part), *part));
    parts.dedup();
    for part in parts.into_iter().take(ROWS_MAX / 10) {
        for (at, measured) in windows.iter().enumerate() {
            let Some(q) = measured.window.split.get(part) else { continue };
            let cells: String = [q.p50, q.p99, q.p999, q.max]
                .map(|ns| format!("<td class=\"n\">{}</td>", time(ns as f64)))
                .concat();
            let part = if at == 0 { escaped(part) } else { String::new() };
            let label = escaped(&measured.label);
            put!(out, "<tr><th scope=\"row\">{part}</th><td>{label}</td>{cells}</tr>\n");
        }
    }
    out.push_str("</tbody>\n</table></div>\n");
    for measured in windows.iter().filter(|w| !w.window.per_queue.is_empty()) {
        let counts = measured.window.per_queue.iter().take(ROWS_MAX).enumerate();
        let queues: Vec<String> =
            counts.map(|(queue, n)| format!("{queue}: {}", count((*n).into()))).collect();
        put!(
            out,
            "<p class=\"small\">Packets by receive queue, {}: {}</p>\n",
            escaped(&measured.label),
            queues.join(" · ")
        );
    }
}

/// What a reader should know about a window.
pub(super) fn notes(out: &mut String, windows: &[Measured]) {
    let mut lines: Vec<String> = Vec::new();
    for measured in windows {
        let window = &measured.window;
        let label = escaped(&measured.label);
        if let Some(why) = &window.cut_short {
            lines.push(format!("{label}: cut short: {}", escaped(why)));
        }
        for (what, n) in [
            ("late", window.late),
            ("duplicated", window.duplicated),
            ("reordered", window.reordered),
        ] {
            if n > 0 {
                lines.push(format!("{label}: {} replies {what}", count(n.into())));
            }
        }
        let drops = window.drops.iter().filter(|(_, n)| **n != 0);
        lines.extend(
            drops.map(|(name, n)| {
                format!("{label}: drops, {}: {}", escaped(name), count((*n).into()))
            }),
        );
        lines.extend(window.notes.iter().map(|note| format!("{label}: {}", escaped(note))));
    }
    if lines.is_empty() {
        return;
    }
    out.push_str("<ul class=\"notes\">\n");
    for line in lines.iter().take(ROWS_MAX) {
        put!(out, "<li>{line}</li>\n");
    }
    out.push_str("</ul>\n");
    more(out, lines.len(), "notes");
}

pub(super) fn by_hand(out: &mut String, run: &Run) {
    if run.by_hand.is_empty() {
        return;
    }
    out.push_str(
        "<section class=\"hand\">\n<h2>Undo by hand</h2>\n<p>These lines put back what the run found, with \
         nothing but the system's own tools.</p>\n<pre><code>",
    );
    for line in run.by_hand.iter().take(ROWS_MAX) {
        put!(out, "{}\n", escaped(line));
    }
    out.push_str("</code></pre>\n");
    more(out, run.by_hand.len(), "lines");
    out.push_str("</section>\n");
}

pub(super) fn evidence(out: &mut String, run: &Run) {
    if run.evidence.is_empty() {
        return;
    }
    out.push_str(
        "<section>\n<h2>Evidence</h2>\n<div class=\"wide\"><table class=\"digests\">\n<tbody>\n",
    );
    for (what, digest) in run.evidence.iter().take(ROWS_MAX) {
        let (what, digest) = (escaped(what), escaped(digest));
        put!(out, "<tr><th scope=\"row\">{what}</th><td><code>{digest}</code></td></tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n</section>\n");
}

fn more(out: &mut String, len: usize, what: &str) {
    if len > ROWS_MAX {
        put!(out, "<p class=\"more\">and {} more {what}</p>\n", len - ROWS_MAX);
    }
}
