//! What was judged: each metric against its criterion, with the confidence interval drawn to scale.

use std::fmt::Write;

use playbooks::{Metric, playbook::Criterion};

use super::{
    Measured, ROWS_MAX, Run, put,
    text::{change, count, escaped, percent, value},
};
use crate::{
    log::RunState,
    verdict::{Criterions, Judged, Outcome},
};

/// The criterion that decided a run against its change.
pub(super) struct Decision {
    pub(super) criterion: String,
    pub(super) expected: String,
    pub(super) measured: String,
}

/// The first criterion of the last verdict that does not hold. A committed run has none.
pub(super) fn deciding<'a>(run: &'a Run) -> Option<Decision> {
    match run.state {
        RunState::Committed | RunState::Running => return None,
        RunState::Reverted | RunState::Refused | RunState::Stuck => {}
    }
    let measured = run.windows.iter().rev().find(|w| w.verdict.is_some())?;
    let verdict = measured.verdict.as_ref()?;
    let broken = |(metric, judged): (&'a Metric, &'a Judged)| {
        let guardrail =
            run.criteria.guardrails.get(metric).filter(|_| judged.guardrail == Some(false));
        let objective =
            run.criteria.objective.get(metric).filter(|_| judged.objective == Some(false));
        let named = guardrail.map(|c| ("guardrail", c)).or(objective.map(|c| ("objective", c)));
        named.map(|(kind, criterion)| (metric, judged, kind, criterion))
    };
    let all = || verdict.metrics.iter().filter_map(broken);
    // What got worse decides before what merely did not get good enough.
    let worse = all().find(|(_, judged, _, _)| judged.outcome == Outcome::Regressed);
    let (metric, judged, kind, criterion) = worse.or_else(|| all().next())?;
    Some(Decision {
        criterion: format!("{metric} ({kind}, stage {})", measured.label),
        expected: bounds(metric, criterion),
        measured: format!(
            "{} against {} at baseline ({}, {} to {})",
            value(metric, judged.candidate),
            value(metric, judged.baseline),
            change(judged.effect),
            change(judged.ci[0]),
            change(judged.ci[1]),
        ),
    })
}

/// One table a judged stage.
pub(super) fn section(out: &mut String, run: &Run) {
    let judged: Vec<&Measured> = run.windows.iter().filter(|w| w.verdict.is_some()).collect();
    if judged.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Metrics</h2>\n");
    for measured in judged.iter().take(super::WINDOWS_MAX) {
        table(out, measured, &run.criteria);
    }
    out.push_str("</section>\n");
}

fn table(out: &mut String, measured: &Measured, criteria: &Criterions) {
    let Some(verdict) = &measured.verdict else { return };
    put!(
        out,
        "<h3>Stage {} against the baseline</h3>\n<p>{}</p>\n",
        escaped(&measured.label),
        escaped(&verdict.why),
    );
    for note in verdict.provisional.iter().chain(&verdict.notes).take(ROWS_MAX) {
        put!(out, "<p class=\"small\">{}</p>\n", escaped(note));
    }
    out.push_str(
        "<div class=\"wide\"><table>\n<thead><tr>\
         <th>Metric</th><th class=\"n\">Baseline</th><th class=\"n\">Candidate</th>\
         <th class=\"n\">Change</th><th>Confidence interval</th><th>Criterion</th><th>Outcome</th>\
         </tr></thead>\n<tbody>\n",
    );
    let reach = reach(verdict.metrics.values());
    for (metric, judged) in verdict.metrics.iter().take(ROWS_MAX) {
        row(out, metric, judged, criteria, reach);
    }
    out.push_str("</tbody>\n</table></div>\n");
    put!(
        out,
        "<p class=\"small\">The bar spans the interval, the line is no change, the scale ends at {}. \
         Seed {}.</p>\n",
        change(reach),
        verdict.seed,
    );
}

fn row(out: &mut String, metric: &Metric, judged: &Judged, criteria: &Criterions, reach: f64) {
    let mut wanted: Vec<String> = Vec::new();
    let guardrail = criteria.guardrails.get(metric);
    let objective = criteria.objective.get(metric);
    for (kind, criterion, holds) in
        [("objective", objective, judged.objective), ("guardrail", guardrail, judged.guardrail)]
    {
        let Some(criterion) = criterion else { continue };
        let sign = match holds {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "?",
        };
        wanted.push(format!("{sign} {kind} {}", bounds(metric, criterion)));
    }
    let wanted = if wanted.is_empty() { "—".to_owned() } else { wanted.join(", ") };
    put!(
        out,
        "<tr><th scope=\"row\"><code>{}</code><small>{} and {} samples{}</small></th>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>",
        escaped(&metric.to_string()),
        count(judged.n[0].into()),
        count(judged.n[1].into()),
        because(judged),
        value(metric, judged.baseline),
        value(metric, judged.candidate),
        change(judged.effect),
    );
    interval(out, judged, reach);
    put!(
        out,
        "</td><td>{}</td><td class=\"{}\">{}</td></tr>\n",
        escaped(&wanted),
        class(judged.outcome),
        word(judged.outcome),
    );
}

fn because(judged: &Judged) -> String {
    if judged.why.is_empty() { String::new() } else { format!("; {}", escaped(&judged.why)) }
}

/// The largest change that the table's bars must show, at least 10 %, at most tenfold.
fn reach<'a>(judged: impl Iterator<Item = &'a Judged>) -> f64 {
    let ends = judged.flat_map(|j| j.ci).map(f64::abs).filter(|e| e.is_finite());
    ends.fold(0.1, f64::max).min(10.0)
}

/// The interval as a bar: left is less, the line in the middle is no change.
fn interval(out: &mut String, judged: &Judged, reach: f64) {
    if judged.ci.iter().any(|end| end.is_nan()) {
        out.push('—');
        return;
    }
    let place = |effect: f64| 80.0 + 72.0 * (effect / reach).clamp(-1.0, 1.0);
    let (from, to, at) = (place(judged.ci[0]), place(judged.ci[1]), place(judged.effect));
    put!(
        out,
        "<svg class=\"ci {}\" viewBox=\"0 0 160 18\" role=\"img\" aria-label=\"{} to {}\">\
         <path class=\"zero\" d=\"M80 1V17\"/><path class=\"bar\" d=\"M{from:.1} 9H{:.1}\"/>\
         <circle cx=\"{at:.1}\" cy=\"9\" r=\"3.2\"/></svg>",
        class(judged.outcome),
        change(judged.ci[0]),
        change(judged.ci[1]),
        to.max(from + 0.5),
    );
}

fn bounds(metric: &Metric, criterion: &Criterion) -> String {
    let absolute = criterion.at_most.map(|most| format!("at most {}", value(metric, most)));
    let relative = criterion.no_worse_than.map(|by| format!("no worse than {}", percent(by)));
    let both: Vec<String> = [absolute, relative].into_iter().flatten().collect();
    both.join(" and ")
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Improved => "↓ improved",
        Outcome::Equivalent => "= equivalent",
        Outcome::Regressed => "↑ regressed",
        Outcome::Inconclusive => "? inconclusive",
    }
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Improved => "improved",
        Outcome::Equivalent => "equivalent",
        Outcome::Regressed => "regressed",
        Outcome::Inconclusive => "inconclusive",
    }
}
