//! From estimates to outcomes: the criteria held against the bounds, and what is said about it.

use playbooks::{Metric, playbook::Criterion};

use super::{Call, Judged, Outcome, estimate::Estimate, level};

/// How a criterion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Conclusively.
    Holds,
    /// Conclusively not.
    Broken,
    /// The evidence allows both.
    Open,
}

/// One metric with how its criteria stand.
pub(super) struct Decided {
    pub(super) metric: Metric,
    pub(super) judged: Judged,
    pub(super) guardrail: Option<Standing>,
    pub(super) objective: Option<Standing>,
    /// Nobody named the metric, and it is conclusively and grossly worse.
    pub(super) unnamed_broken: bool,
    /// The guardrail is finer than this window resolves, and held as far as it does.
    pub(super) coarse: Option<String>,
}

/// Holds one metric's criteria against its estimate.
pub(super) fn decide(
    metric: &Metric,
    estimate: &Estimate,
    objective: Option<&Criterion>,
    guardrail: Option<&Criterion>,
) -> Decided {
    let tolerance = guardrail
        .and_then(|c| c.no_worse_than)
        .filter(|tolerance| tolerance.is_finite())
        .unwrap_or(level::TOLERANCE);
    let guarded = guardrail.map(|criterion| stands(estimate, criterion, Leniency::Resolution));
    let met = objective.map(|criterion| stands(estimate, criterion, Leniency::None));
    let floor = if estimate.absolute { 0.0 } else { tolerance };
    let share = matches!(metric, Metric::SlowRatio | Metric::LossRatio);
    let named = guardrail.is_some() || objective.is_some();
    let judged = Judged {
        outcome: outcome(estimate, tolerance.min(level::TOLERANCE)),
        baseline: estimate.baseline,
        candidate: estimate.candidate,
        effect: finite(estimate.effect),
        ci: [finite(estimate.lower), finite(estimate.upper)],
        n: estimate.n,
        smallest_visible: finite(estimate.visible.max(floor)),
        guardrail: guarded.map(|standing| standing == Standing::Holds),
        objective: met.map(|standing| standing == Standing::Holds),
        why: why(metric, estimate, [(objective, met), (guardrail, guarded)]),
    };
    Decided {
        metric: metric.clone(),
        guardrail: guarded,
        objective: met,
        unnamed_broken: !named && grossly_worse(estimate, share),
        coarse: coarse(metric, estimate, guardrail, guarded),
        judged,
    }
}

/// What counts as conclusive beside the bound itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leniency {
    None,
    /// Where the window cannot resolve the tolerance: that nothing beyond its noise is seen.
    Resolution,
}

fn stands(estimate: &Estimate, criterion: &Criterion, leniency: Leniency) -> Standing {
    let absolute = criterion.at_most.map(|most| match estimate.candidate_bounds {
        _ if !most.is_finite() || estimate.missing.is_some() => Standing::Open,
        [_, high] if high <= most => Standing::Holds,
        [low, _] if low > most => Standing::Broken,
        [_, _] => Standing::Open,
    });
    let relative = criterion.no_worse_than.map(|tolerance| {
        let tolerance = if estimate.absolute { 0.0 } else { tolerance };
        let unchanged = leniency == Leniency::Resolution && unchanged(estimate);
        match estimate.missing {
            _ if !tolerance.is_finite() => Standing::Open,
            Some(_) => Standing::Open,
            None if estimate.upper <= tolerance || unchanged => Standing::Holds,
            None if estimate.lower > tolerance => Standing::Broken,
            None => Standing::Open,
        }
    });
    match (absolute, relative) {
        (None, None) => Standing::Open,
        (Some(one), None) | (None, Some(one)) => one,
        (Some(Standing::Broken), Some(_)) | (Some(_), Some(Standing::Broken)) => Standing::Broken,
        (Some(Standing::Holds), Some(Standing::Holds)) => Standing::Holds,
        (Some(_), Some(_)) => Standing::Open,
    }
}

/// Nothing is seen beyond what two windows of an unchanged machine show.
fn unchanged(estimate: &Estimate) -> bool {
    estimate.resolved() && estimate.effect <= estimate.noise
}

fn outcome(estimate: &Estimate, tolerance: f64) -> Outcome {
    let tolerance = if estimate.absolute { 0.0 } else { tolerance };
    let (lower, upper) = (estimate.lower, estimate.upper);
    // As far below as `noise` is above, in proportion.
    let gain = if estimate.absolute { -estimate.noise } else { 1.0 / (1.0 + estimate.noise) - 1.0 };
    match () {
        () if estimate.missing.is_some() => Outcome::Inconclusive,
        () if upper < 0.0 => Outcome::Improved,
        () if lower >= -tolerance && upper <= tolerance => Outcome::Equivalent,
        () if lower > 0.0 => Outcome::Regressed,
        () if unchanged(estimate) && estimate.effect >= gain => Outcome::Equivalent,
        () => Outcome::Inconclusive,
    }
}

/// More than doubled, beyond doubt; for a share of packets by more than a thousandth, too.
fn grossly_worse(estimate: &Estimate, share: bool) -> bool {
    let scale = if estimate.absolute { 1.0 } else { estimate.baseline };
    let worse = if estimate.absolute { 0.0 } else { level::UNNAMED_WORSE };
    estimate.missing.is_none()
        && estimate.lower > worse
        && (!share || estimate.lower * scale > level::UNNAMED_SHARE)
}

fn coarse(
    metric: &Metric,
    estimate: &Estimate,
    guardrail: Option<&Criterion>,
    standing: Option<Standing>,
) -> Option<String> {
    let tolerance = guardrail?.no_worse_than?;
    let held = standing == Some(Standing::Holds) && !estimate.absolute;
    let finer = held && estimate.upper > tolerance;
    finer.then(|| {
        let times = (estimate.visible / tolerance) * (estimate.visible / tolerance);
        format!(
            "{metric} is guarded at {} and resolved to {}: {:.0} times the samples needed",
            percent(tolerance),
            percent(estimate.visible),
            times.min(1e9),
        )
    })
}

type Stated<'a> = (Option<&'a Criterion>, Option<Standing>);

fn why(metric: &Metric, estimate: &Estimate, criteria: [Stated; 2]) -> String {
    if let Some(missing) = &estimate.missing {
        return missing.clone();
    }
    let mut parts = Vec::new();
    for (criterion, standing) in criteria {
        let (Some(criterion), Some(standing)) = (criterion, standing) else { continue };
        let verb = match standing {
            Standing::Holds => "holds",
            Standing::Broken => "broken",
            Standing::Open => "open",
        };
        if let Some(most) = criterion.at_most {
            let [low, high] = estimate.candidate_bounds.map(|v| in_unit(metric, v));
            parts.push(format!(
                "at-most {} {verb}: measured {} ({low} to {high})",
                in_unit(metric, most),
                in_unit(metric, estimate.candidate),
            ));
        }
        if let Some(tolerance) = criterion.no_worse_than {
            let by = |effect: f64| match estimate.absolute {
                true => format!("+{}", in_unit(metric, effect.max(0.0))),
                false => signed_percent(effect),
            };
            parts.push(format!(
                "no-worse-than {} {verb}: measured {} ({} to {})",
                percent(tolerance),
                by(estimate.effect),
                by(estimate.lower),
                by(estimate.upper),
            ));
        }
    }
    parts.join("; ")
}

/// A value in the metric's unit, for people.
fn in_unit(metric: &Metric, value: f64) -> String {
    match metric {
        Metric::LatencyQuantile(_) | Metric::LatencyMax => match value {
            v if v >= 1e18 => "lost".to_owned(),
            v if v >= 1e6 => format!("{:.2} ms", v / 1e6),
            v if v >= 1e3 => format!("{:.2} us", v / 1e3),
            v => format!("{v:.0} ns"),
        },
        Metric::SlowRatio | Metric::LossRatio | Metric::TcpRetransmitRatio => {
            format!("{:.4} %", value * 100.0)
        }
        Metric::StormRate => format!("{value:.2} a minute"),
        Metric::Drops | Metric::NicCounter(_) | Metric::SoftnetSqueezed => format!("{value:.0}"),
    }
}

fn percent(fraction: f64) -> String {
    format!("{} %", (fraction * 1000.0).round() / 10.0)
}

fn signed_percent(fraction: f64) -> String {
    match fraction {
        f if f >= 1e6 => "without bound".to_owned(),
        f => format!("{:+.1} %", f * 100.0),
    }
}

/// JSON knows no infinity: what is unbounded is written as the largest number there is.
fn finite(value: f64) -> f64 {
    match value.is_nan() {
        true => f64::MAX,
        false => value.clamp(f64::MIN, f64::MAX),
    }
}

/// The decision on all metrics together, and the sentence that says why.
pub(super) fn call(decided: &[Decided]) -> (Call, String) {
    let broken = |d: &&Decided| d.unnamed_broken || d.guardrail == Some(Standing::Broken);
    if let Some(worst) = decided.iter().find(broken) {
        return (Call::Revert, sentence(worst));
    }
    if let Some(open) = decided.iter().find(|d| d.guardrail == Some(Standing::Open)) {
        return (Call::Inconclusive, sentence(open));
    }
    let missed = decided.iter().find(|d| d.objective.is_some_and(|s| s != Standing::Holds));
    let held = decided.iter().filter(|d| d.guardrail.is_some()).count();
    let why = match missed {
        Some(missed) => format!("guardrails held, objective not met: {}", sentence(missed)),
        None => format!("every guardrail held ({held})"),
    };
    (Call::Keep, why)
}

fn sentence(decided: &Decided) -> String {
    let Decided { metric, judged, .. } = decided;
    match judged.why.is_empty() {
        false => format!("{metric}: {}", judged.why),
        // No criterion names it: said in the same words as one that does.
        true => format!(
            "{metric} (in no criterion) is more than doubled: {} to {}",
            in_unit(metric, judged.baseline),
            in_unit(metric, judged.candidate)
        ),
    }
}

/// Why a kept change is only provisionally kept.
pub(super) fn provisional(decided: &[Decided], storms: Option<String>) -> Option<String> {
    let coarse = decided.iter().filter_map(|d| d.coarse.clone());
    let reasons: Vec<String> = storms.into_iter().chain(coarse).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
