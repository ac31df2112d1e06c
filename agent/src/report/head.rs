//! The top of the page and of each run: what came of it, in one glance.

use playbooks::Metric;

use super::{Run, metrics, svg, svg::Svg, text};
use crate::{
    log::RunState,
    verdict::{Judged, Outcome},
};

const STYLE: &str = include_str!("style.css");
/// How many metrics stand in large figures.
const CARDS: usize = 3;

/// Nothing may be loaded and nothing run, even if escaping had a hole.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

pub(super) fn open(runs: &[Run]) -> String {
    let title = match runs {
        [] => "no runs".to_owned(),
        [one] => format!("{} on {}: {}", one.playbook, one.nic, state(one.state)),
        many => format!("{} runs", many.len()),
    };
    let title = text::words(&title, text::SENTENCE_MAX);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>nicmend: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}<main>\n<h1>nicmend run report</h1>\n",
        patterns()
    )
}

pub(super) fn close() -> String {
    format!(
        "</main>\n<footer>nicmend {} · this page is complete in itself: it loads nothing and runs \
         nothing</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Hatchings, so that no bar is told from another by colour alone.
fn patterns() -> &'static str {
    "<svg class=\"defs\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\
     <pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
     <path class=\"hatch\" d=\"M0 0V6\"/></pattern>\
     <pattern id=\"back\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(-45)\">\
     <path class=\"hatchback\" d=\"M0 0V5\"/></pattern>\
     </defs></svg>\n"
}

pub(super) fn overview(runs: &[Run]) -> String {
    let mut out = String::from(
        "<nav class=\"overview\">\n<div class=\"scroll\"><table class=\"stack\"><thead><tr><th class=\"words\">outcome</th>\
         <th class=\"words\">run</th><th class=\"words\">metric</th><th>before</th><th>after</th>\
         <th class=\"words\">effect</th></tr></thead>\n",
    );
    for (index, run) in runs.iter().enumerate() {
        let cells = match headlines(run).first() {
            Some((metric, judged)) => format!(
                "<td class=\"words\">{}</td><td data-h=\"before\">{}</td><td data-h=\"after\">{}</td>\
                 <td class=\"words\">{}</td>",
                text::words(&metric.to_string(), text::NAME_MAX),
                text::in_metric(metric, judged.baseline),
                text::in_metric(metric, judged.candidate),
                metrics::outcome(judged.outcome),
            ),
            None => "<td></td><td></td><td></td><td></td>".to_owned(),
        };
        out.push_str(&format!(
            "<tr class=\"{}\"><th scope=\"row\" class=\"outcome\">{} {}</th><td class=\"words\">\
             <a href=\"#run-{}\">{}</a> on {}</td>{cells}</tr>\n",
            class(run.state),
            icon(run.state),
            state(run.state),
            index + 1,
            text::words(&run.playbook, text::NAME_MAX),
            text::words(&run.nic, text::NAME_MAX),
        ));
    }
    out.push_str("</table></div>\n</nav>\n");
    out
}

pub(super) fn banner(run: &Run) -> String {
    let took = run.took_ns.map_or(String::new(), |ns| format!(", took {}", text::took(ns)));
    let mut out = format!(
        "<header>\n<p class=\"kicker\">{} · {}{took}</p>\n<h2>{} <span>on {}</span></h2>\n",
        text::words(&run.id, text::NAME_MAX),
        text::utc(run.started_utc_ns),
        text::words(&run.playbook, text::NAME_MAX),
        text::words(&run.nic, text::NAME_MAX),
    );
    if !run.summary.is_empty() {
        let summary = text::words(&run.summary, text::SENTENCE_MAX);
        out.push_str(&format!("<p class=\"summary\">{summary}</p>\n"));
    }
    let rule = match run.rule.is_empty() {
        true => String::new(),
        false => {
            format!(" <span class=\"why\">rule {}</span>", text::words(&run.rule, text::NAME_MAX))
        }
    };
    out.push_str(&format!(
        "<div class=\"banner {}\">{}<div><strong>{}</strong>{rule}<p>{}</p></div></div>\n",
        class(run.state),
        icon(run.state),
        means(run.state),
        text::prose(&run.why),
    ));
    let cards: Vec<String> = headlines(run)
        .into_iter()
        .take(CARDS)
        .map(|(metric, judged)| card(metric, judged))
        .collect();
    if !cards.is_empty() {
        out.push_str(&format!("<div class=\"cards\">\n{}</div>\n", cards.concat()));
    }
    out.push_str("</header>\n");
    out
}

fn card(metric: &Metric, judged: &Judged) -> String {
    format!(
        "<div class=\"card\"><p class=\"metric\">{}</p><p class=\"figures\"><span class=\"before\">{}</span> \
         <span class=\"arrow\">→</span> <b>{}</b></p><p class=\"effect\">{} <span>{}</span></p></div>\n",
        text::words(&metric.to_string(), text::NAME_MAX),
        text::in_metric(metric, judged.baseline),
        text::in_metric(metric, judged.candidate),
        metrics::outcome(judged.outcome),
        times(judged),
    )
}

/// A change in words: how many times from a factor of two on, else in percent.
fn times(judged: &Judged) -> String {
    let ratio = judged.candidate / judged.baseline;
    match ratio {
        r if !r.is_finite() || r <= 0.0 || judged.candidate >= 1e18 => String::new(),
        r if r >= 2.0 => format!("{} times as much", text::factor(r)),
        r if r <= 0.5 => format!("{} times less", text::factor(1.0 / r)),
        r => text::effect(r - 1.0),
    }
}

/// The metrics of the last verdict, the telling ones first: what the objective names, what broke,
/// then the rest in their own order.
fn headlines(run: &Run) -> Vec<(&Metric, &Judged)> {
    let Some(last) = run.judged.last() else { return Vec::new() };
    let weight = |judged: &Judged| match judged {
        j if j.guardrail == Some(false) => 0,
        j if j.objective.is_some() => 1,
        j if j.guardrail.is_some() => 2,
        j if j.outcome == Outcome::Regressed => 3,
        _ => 4,
    };
    let named = last.verdict.metrics.iter().filter(|(metric, _)| match metric {
        Metric::LatencyQuantile(_) | Metric::LatencyMax => true,
        Metric::SlowRatio
        | Metric::StormRate
        | Metric::LossRatio
        | Metric::TcpRetransmitRatio
        | Metric::Drops
        | Metric::NicCounter(_)
        | Metric::SoftnetSqueezed
        | Metric::TcpRtt
        | Metric::TcpSessionRetransmits
        | Metric::External(_) => {
            run.by.objective.contains_key(*metric) || run.by.guardrails.contains_key(*metric)
        }
    });
    let mut metrics: Vec<(&Metric, &Judged)> = named.collect();
    // Stable: equals stay in the metrics' own order.
    metrics.sort_by_key(|(_, judged)| weight(judged));
    metrics
}

fn state(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Committed => "committed",
        RunState::Reverted => "reverted",
        RunState::Refused => "refused",
        RunState::Stuck => "stuck",
    }
}

fn means(state: RunState) -> &'static str {
    match state {
        RunState::Running => "Still running: nothing is decided.",
        RunState::Committed => "Committed: the change stays.",
        RunState::Reverted => "Reverted: everything is as it was.",
        RunState::Refused => "Refused: nothing was written.",
        RunState::Stuck => "Stuck: something could not be put back.",
    }
}

fn class(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Committed => "committed",
        RunState::Reverted => "reverted",
        RunState::Refused => "refused",
        RunState::Stuck => "stuck",
    }
}

fn icon(run: RunState) -> String {
    let d = match run {
        RunState::Running => "M6 12h.01M12 12h.01M18 12h.01",
        RunState::Committed => "M5 12.5l4.5 4.5L19 7.5",
        RunState::Reverted => "M9 5L4.5 9.5L9 14M5 9.5h9a5 5 0 0 1 0 10h-4",
        RunState::Refused => "M6 6l12 12M21 12a9 9 0 1 1-18 0a9 9 0 0 1 18 0z",
        RunState::Stuck => "M12 3.5L22 20.5H2zM12 10v5M12 17.7h.01",
    };
    let mut svg = Svg::default();
    svg.path("icon", d);
    svg::inline("icon", (24.0, 24.0), state(run), svg)
}
