//! What happened when: one row a stage, and the same as a table, since a write of microseconds cannot be
//! seen beside a window of minutes.

use std::fmt::Write;

use super::{
    ROWS_MAX, Run, Span, SpanKind, put,
    scale::linear_ticks,
    text::{escaped, tick_time, time},
};

const LEFT: f64 = 132.0;
const RIGHT: f64 = 948.0;
const ROW: f64 = 30.0;

const KINDS: [SpanKind; 5] =
    [SpanKind::Settle, SpanKind::Window, SpanKind::Write, SpanKind::Judge, SpanKind::Revert];

fn word(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Settle => "settle",
        SpanKind::Window => "measure",
        SpanKind::Write => "write",
        SpanKind::Judge => "judge",
        SpanKind::Revert => "revert",
    }
}

pub(super) fn section(out: &mut String, run: &Run) {
    let spans = &run.spans[..run.spans.len().min(ROWS_MAX)];
    if spans.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Timeline</h2>\n<ul class=\"legend\">\n");
    for kind in KINDS.into_iter().filter(|kind| spans.iter().any(|span| span.kind == *kind)) {
        put!(
            out,
            "<li><svg viewBox=\"0 0 18 10\" aria-hidden=\"true\">\
             <rect class=\"{0}\" width=\"18\" height=\"10\" rx=\"2\"/></svg>{0}</li>\n",
            word(kind)
        );
    }
    out.push_str("</ul>\n");
    gantt(out, spans);
    table(out, spans);
    out.push_str("</section>\n");
}

fn gantt(out: &mut String, spans: &[Span]) {
    let mut rows: Vec<&str> = Vec::new();
    for span in spans {
        if !rows.contains(&span.row.as_str()) && rows.len() < 24 {
            rows.push(&span.row);
        }
    }
    let end = spans.iter().map(|span| span.to_ns).max().unwrap_or(0).max(1) as f64;
    let place = |ns: u64| LEFT + ns as f64 / end * (RIGHT - LEFT);
    let bottom = 8.0 + ROW * rows.len() as f64;
    put!(
        out,
        "<figure>\n<svg viewBox=\"0 0 960 {}\" role=\"img\" aria-label=\"Timeline of the run\">\n",
        bottom + 28.0
    );
    for tick in linear_ticks(end) {
        let (at, base) = (place(tick as u64), bottom + 18.0);
        let label = if tick == 0.0 { "0".to_owned() } else { tick_time(tick) };
        put!(out, "<path class=\"grid\" d=\"M{at:.1} 4V{bottom}\"/>");
        put!(out, "<text class=\"tick mid\" x=\"{at:.1}\" y=\"{base}\">{label}</text>\n");
    }
    for (at, name) in rows.iter().enumerate() {
        let (right, base) = (LEFT - 12.0, 8.0 + ROW * at as f64 + 19.0);
        // The column is narrow: a long name ends in an ellipsis here and is whole in the table below.
        let short: String = match name.char_indices().nth(18) {
            Some((cut, _)) => format!("{}…", &name[..cut]),
            None => (*name).to_owned(),
        };
        put!(
            out,
            "<text class=\"row end\" x=\"{right}\" y=\"{base}\">{}</text>\n",
            escaped(&short)
        );
    }
    for span in spans {
        let Some(row) = rows.iter().position(|name| *name == span.row) else { continue };
        let (from, to) = (place(span.from_ns), place(span.to_ns.max(span.from_ns)));
        put!(
            out,
            "<rect class=\"{0}\" x=\"{from:.1}\" y=\"{1:.1}\" width=\"{2:.1}\" height=\"18\" rx=\"2\">\
             <title>{0}, {3}: {4}</title></rect>\n",
            word(span.kind),
            8.0 + ROW * row as f64 + 6.0,
            (to - from).max(2.5),
            took(span),
            escaped(&span.note),
        );
    }
    out.push_str("</svg>\n</figure>\n");
}

fn table(out: &mut String, spans: &[Span]) {
    out.push_str(
        "<details><summary>As a table</summary>\n<div class=\"wide\"><table>\n<thead><tr>\
         <th class=\"n\">At</th><th class=\"n\">Took</th><th>Stage</th><th>What</th><th></th></tr></thead>\n\
         <tbody>\n",
    );
    for span in spans {
        put!(
            out,
            "<tr><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            time(span.from_ns as f64),
            took(span),
            escaped(&span.row),
            word(span.kind),
            escaped(&span.note),
        );
    }
    out.push_str("</tbody>\n</table></div>\n</details>\n");
}

fn took(span: &Span) -> String {
    time(span.to_ns.saturating_sub(span.from_ns) as f64)
}
