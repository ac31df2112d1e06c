//! The verdicts: each metric before and after, its effect with the confidence interval, and how it
//! stands against the criteria.

use playbooks::{Metric, playbook::Criterion};

use super::{
    Judgement, Run,
    svg::{self, Area, Svg, num},
    text,
};
use crate::verdict::{Call, Criterions, Judged, Outcome};

/// The most metrics of a verdict and the most verdicts that are shown.
const METRICS_MAX: usize = 60;
const VERDICTS_MAX: usize = 16;

/// The small interval drawing's size, and half of what it spans: a factor of a hundred.
const SIZE: (f64, f64) = (132.0, 18.0);
const SPAN: f64 = 100.0;
/// Around 0 the drawing is linear in percent, beyond this logarithmic.
const LINEAR: f64 = 0.05;
/// Where no guardrail says how much worse is still alike.
const TOLERANCE: f64 = 0.05;

pub(super) fn verdicts(run: &Run) -> String {
    let mut out = String::new();
    for judgement in run.judged.iter().take(VERDICTS_MAX) {
        out.push_str(&verdict(run, judgement));
    }
    out
}

fn verdict(run: &Run, judgement: &Judgement) -> String {
    let verdict = &judgement.verdict;
    let stage = text::words(&judgement.stage, text::NAME_MAX);
    let mut out = format!("<section>\n<h3>Verdict on {stage}: {}</h3>\n", call(verdict.verdict));
    out.push_str(&format!("<p>{}</p>\n", text::prose(&verdict.why)));
    if let Some(why) = &verdict.provisional {
        let why = text::prose(why);
        out.push_str(&format!("<p class=\"note\">Provisional: {why}</p>\n"));
    }
    out.push_str(
        "<div class=\"scroll\"><table class=\"metrics stack\"><thead><tr><th>metric</th><th>baseline</th>\
         <th>candidate</th><th>effect and its<br>confidence interval</th>\
         <th class=\"drawn\"><span>← better</span><span>worse →</span></th>\
         <th class=\"words\">outcome and criteria</th></tr></thead>\n",
    );
    for (metric, judged) in verdict.metrics.iter().take(METRICS_MAX) {
        out.push_str(&row(metric, judged, &run.by));
    }
    out.push_str("</table></div>\n");
    if verdict.metrics.len() > METRICS_MAX {
        let more = verdict.metrics.len() - METRICS_MAX;
        out.push_str(&format!("<p class=\"note\">{more} more metrics are in the log.</p>\n"));
    }
    for note in verdict.notes.iter().take(8) {
        let note = text::words(note, text::SENTENCE_MAX);
        out.push_str(&format!("<p class=\"note\">{note}</p>\n"));
    }
    out.push_str(&format!(
        "<p class=\"note\">Seed {}. The same samples and seed give the same verdict.</p>\n</section>\n",
        verdict.seed
    ));
    out
}

fn call(call: Call) -> &'static str {
    match call {
        Call::Keep => "keep",
        Call::Revert => "revert",
        Call::Inconclusive => "inconclusive",
    }
}

fn row(metric: &Metric, judged: &Judged, by: &Criterions) -> String {
    let name = text::words(&metric.to_string(), text::NAME_MAX);
    let [low, high] = judged.ci;
    let known = low > f64::MIN || high < f64::MAX;
    let n = format!("{} and {} samples", judged.n[0], judged.n[1]);
    let (effect, interval, drawn) = match (known, is_absolute(judged)) {
        (false, _) => ("–".to_owned(), String::new(), String::new()),
        (true, true) => (
            signed(metric, judged.effect),
            between(low, high, |v| signed(metric, v)),
            String::new(),
        ),
        (true, false) => {
            let tolerance = by.guardrails.get(metric).and_then(|c| c.no_worse_than);
            let drawn = interval(judged, tolerance.unwrap_or(TOLERANCE));
            (text::effect(judged.effect), between(low, high, text::effect), drawn)
        }
    };
    format!(
        "<tr><th scope=\"row\">{name}</th><td data-h=\"baseline\">{}</td>\
         <td data-h=\"candidate\">{}</td><td data-h=\"effect\" title=\"{n}\">{effect}{interval}</td>\
         <td class=\"drawn\">{drawn}</td><td class=\"words\">{}{}</td></tr>\n",
        text::in_metric(metric, judged.baseline),
        text::in_metric(metric, judged.candidate),
        outcome(judged.outcome),
        criteria(metric, judged, by),
    )
}

/// Effects are differences where there is nothing to divide by.
fn is_absolute(judged: &Judged) -> bool {
    judged.baseline == 0.0
}

fn signed(metric: &Metric, value: f64) -> String {
    match value {
        v if v >= 1e18 => "without bound".to_owned(),
        0.0 => text::in_metric(metric, 0.0),
        v if v < 0.0 => format!("−{}", text::in_metric(metric, (-v).min(1e18))),
        v => format!("+{}", text::in_metric(metric, v)),
    }
}

fn between(low: f64, high: f64, show: impl Fn(f64) -> String) -> String {
    format!("<br><span class=\"why\">{} … {}</span>", show(low), show(high))
}

pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Improved => "<span class=\"chip good\">▼ improved</span>",
        Outcome::Equivalent => "<span class=\"chip\">= equivalent</span>",
        Outcome::Regressed => "<span class=\"chip bad\">▲ regressed</span>",
        Outcome::Inconclusive => "<span class=\"chip open\">? inconclusive</span>",
    }
}

/// The criteria on a metric, each with how it stands, and in words what is missing.
fn criteria(metric: &Metric, judged: &Judged, by: &Criterions) -> String {
    let mut parts = Vec::new();
    let both = [
        ("objective", by.objective.get(metric), judged.objective),
        ("guardrail", by.guardrails.get(metric), judged.guardrail),
    ];
    for (role, criterion, held) in both {
        if let Some(criterion) = criterion {
            let held = match (role, held) {
                ("objective", Some(true)) => "<b class=\"good\">✓ met</b>",
                ("objective", Some(false)) => "<b class=\"bad\">✗ not met</b>",
                (_, Some(true)) => "<b class=\"good\">✓ holds</b>",
                (_, Some(false)) => "<b class=\"bad\">✗ not held</b>",
                (_, None) => "not judged",
            };
            parts.push(format!("{role}: {} {held}", bounds(metric, criterion)));
        }
    }
    let open = judged.objective == Some(false) || judged.guardrail == Some(false);
    if (open || parts.is_empty()) && !judged.why.is_empty() {
        let why = text::words(&judged.why, text::SENTENCE_MAX);
        parts.push(format!("<span class=\"why\">{why}</span>"));
    }
    parts.into_iter().map(|part| format!("<br><span class=\"criterion\">{part}</span>")).collect()
}

fn bounds(metric: &Metric, criterion: &Criterion) -> String {
    let most = criterion.at_most.map(|most| match metric {
        Metric::LatencyQuantile(_) | Metric::LatencyMax | Metric::TcpRtt => {
            format!("at most {}", text::short_nanoseconds(most))
        }
        Metric::SlowRatio
        | Metric::StormRate
        | Metric::LossRatio
        | Metric::TcpRetransmitRatio
        | Metric::Drops
        | Metric::NicCounter(_)
        | Metric::SoftnetSqueezed
        | Metric::TcpSessionRetransmits
        | Metric::External(_) => format!("at most {}", text::in_metric(metric, most)),
    });
    let least =
        criterion.at_least.map(|least| format!("at least {}", text::in_metric(metric, least)));
    let worse = criterion.no_worse_than;
    let worse = worse.map(|fraction| format!("no worse than {}", text::tolerance(fraction)));
    let parts: Vec<String> = most.into_iter().chain(least).chain(worse).collect();
    parts.join(", ")
}

/// The interval on a scale on which a change of 5 % and one of a hundred times are both seen; the
/// shaded middle is what counts as alike.
fn interval(judged: &Judged, tolerance: f64) -> String {
    let (width, height) = SIZE;
    let middle = height / 2.0;
    let place = |effect: f64| {
        let ratio = (1.0 + effect).clamp(1.0 / SPAN, SPAN).ln();
        width / 2.0 + (ratio / LINEAR).asinh() / (SPAN.ln() / LINEAR).asinh() * (width / 2.0 - 3.0)
    };
    let [low, high] = judged.ci.map(place);
    let mut svg = Svg::default();
    let (left, right) = (place(-tolerance / (1.0 + tolerance)), place(tolerance));
    svg.rect("alike", Area { left, right, top: 0.0, bottom: height });
    svg.line("zero", (width / 2.0, 0.0), (width / 2.0, height));
    let class = match judged.outcome {
        Outcome::Improved => "whisker good",
        Outcome::Regressed => "whisker bad",
        Outcome::Equivalent | Outcome::Inconclusive => "whisker",
    };
    let (low, high) = if high - low < 2.0 { (low - 1.0, high + 1.0) } else { (low, high) };
    svg.line(class, (low, middle), (high, middle));
    let [a, b, top, bottom] = [low, high, middle - 4.0, middle + 4.0].map(num);
    svg.path(class, &format!("M{a} {top}V{bottom}M{b} {top}V{bottom}"));
    svg.circle(class, (place(judged.effect), middle), 2.6);
    svg::inline("interval", SIZE, "the interval on a scale from better to worse", svg)
}
