//! From estimates to outcomes: the criteria held against the bounds, and what is said about it.

use playbooks::{Metric, playbook::Criterion};

use super::{Call, Judged, Outcome, estimate::Estimate, level};
use crate::measure::reading::spelt;

/// How a criterion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Conclusively: the confidence bound keeps it.
    Holds,
    /// The tolerance is finer than the window resolves, and nothing beyond the window's own noise is
    /// seen.
    Coarse,
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
    /// How coarsely the guardrail holds, where it does not hold by its bound.
    pub(super) coarse: Option<String>,
}

impl Standing {
    /// Both of two bounds, an absolute one first.
    fn and(self, other: Standing) -> Standing {
        match (self, other) {
            (Standing::Broken, _) | (_, Standing::Broken) => Standing::Broken,
            (Standing::Holds, other) => other,
            (Standing::Coarse | Standing::Open, _) => Standing::Open,
        }
    }

    fn kept(self) -> bool {
        match self {
            Standing::Holds | Standing::Coarse => true,
            Standing::Broken | Standing::Open => false,
        }
    }
}

/// Whether the shares of slow and of lost packets are resolved and no worse. They then speak for a
/// quantile that sits at the edge of a storm or of the losses, where it jumps between two levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shares {
    NoWorse,
    Unknown,
}

impl Shares {
    pub(super) fn of<'a>(mut estimates: impl Iterator<Item = &'a Estimate>) -> Shares {
        let fine = |e: &Estimate| {
            e.missing.is_none()
                && (e.upper <= 0.0 || (e.visible <= e.visible_max && e.effect <= e.noise))
        };
        if estimates.all(fine) { Shares::NoWorse } else { Shares::Unknown }
    }
}

/// Holds one metric's criteria against its estimate.
pub(super) fn decide(
    metric: &Metric,
    estimate: &Estimate,
    objective: Option<&Criterion>,
    guardrail: Option<&Criterion>,
    shares: Shares,
) -> Decided {
    let tolerance = guardrail
        .and_then(|c| c.no_worse_than)
        .filter(|tolerance| tolerance.is_finite())
        .unwrap_or(level::TOLERANCE);
    let quantile = matches!(metric, Metric::LatencyQuantile(_));
    let leniency = match quantile && shares == Shares::NoWorse {
        true => Leniency::Shares,
        false => Leniency::Noise,
    };
    let guarded = guardrail.map(|criterion| stands(estimate, criterion, leniency));
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
        guardrail: guarded.map(Standing::kept),
        objective: met.map(Standing::kept),
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

/// What lets a relative guardrail hold beside its bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leniency {
    None,
    /// That nothing beyond the window's noise is seen, where the window resolves the metric.
    Noise,
    /// Or, where it does not, that the shares of slow and of lost packets are no worse.
    Shares,
}

fn stands(estimate: &Estimate, criterion: &Criterion, leniency: Leniency) -> Standing {
    let absolute = criterion.at_most.map(|most| match estimate.candidate_bounds {
        _ if !most.is_finite() || estimate.missing.is_some() => Standing::Open,
        [_, high] if high <= most => Standing::Holds,
        [low, _] if low > most => Standing::Broken,
        [_, _] => Standing::Open,
    });
    let least = criterion.at_least.map(|least| match estimate.candidate_bounds {
        _ if !least.is_finite() || estimate.missing.is_some() => Standing::Open,
        [low, _] if low >= least => Standing::Holds,
        [_, high] if high < least => Standing::Broken,
        [_, _] => Standing::Open,
    });
    let relative = criterion.no_worse_than.map(|tolerance| {
        let tolerance = if estimate.absolute { 0.0 } else { tolerance };
        match estimate.missing {
            _ if !tolerance.is_finite() => Standing::Open,
            Some(_) => Standing::Open,
            None if estimate.upper <= tolerance => Standing::Holds,
            None if estimate.lower > tolerance => Standing::Broken,
            None if unchanged(estimate, leniency) => Standing::Coarse,
            None => Standing::Open,
        }
    });
    let all = [absolute, least, relative].into_iter().flatten();
    all.reduce(Standing::and).unwrap_or(Standing::Open)
}

/// Nothing is seen beyond what two windows of an unchanged machine show.
fn unchanged(estimate: &Estimate, leniency: Leniency) -> bool {
    // Either these windows would have shown something gross, or they show that there is none.
    let resolved = estimate.visible.min(estimate.upper) <= estimate.visible_max;
    let quiet = estimate.effect <= estimate.noise && estimate.missing.is_none();
    match leniency {
        Leniency::None => false,
        Leniency::Noise => quiet && resolved,
        Leniency::Shares => {
            let explained = estimate.jumped || estimate.effect <= level::UNRESOLVED_WORSE;
            quiet && (resolved || explained)
        }
    }
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
        () if unchanged(estimate, Leniency::Noise) && estimate.effect >= gain => {
            Outcome::Equivalent
        }
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
    // With nothing in the baseline there is no percentage to be finer than.
    if standing != Some(Standing::Coarse) || estimate.absolute {
        return None;
    }
    let guarded = format!("{metric} is guarded at {}", percent(tolerance));
    Some(match estimate.visible <= estimate.visible_max {
        true => {
            let times = (estimate.visible / tolerance) * (estimate.visible / tolerance);
            let visible = percent(estimate.visible);
            format!("{guarded} and resolved to {visible}: {times:.0} times the samples needed")
        }
        false => format!(
            "{guarded} and not resolved, being at the edge of storms or losses: \
             only the shares of slow and lost packets were compared"
        ),
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
            Standing::Coarse => "holds as far as the window resolves",
            Standing::Broken => "broken",
            Standing::Open => "open",
        };
        let bounds = [("at-most", criterion.at_most), ("at-least", criterion.at_least)];
        for (word, bound) in bounds {
            let Some(bound) = bound else { continue };
            let [low, high] = estimate.candidate_bounds.map(|v| in_unit(metric, v));
            parts.push(format!(
                "{word} {} {verb}: measured {} ({low} to {high}){}",
                in_unit(metric, bound),
                in_unit(metric, estimate.candidate),
                needed(standing, estimate.candidate, bound, estimate.candidate_bounds),
            ));
        }
        if let Some(tolerance) = criterion.no_worse_than {
            let by = |effect: f64| match estimate.absolute {
                true => format!("+{}", in_unit(metric, effect.max(0.0))),
                false => signed_percent(effect),
            };
            let bound = if estimate.absolute { 0.0 } else { tolerance };
            parts.push(format!(
                "no-worse-than {} {verb}: measured {} ({} to {}){}",
                percent(tolerance),
                by(estimate.effect),
                by(estimate.lower),
                by(estimate.upper),
                needed(standing, estimate.effect, bound, [estimate.lower, estimate.upper]),
            ));
        }
    }
    parts.join("; ")
}

/// What would settle an open bound, were the value what was measured: an interval narrows with the square root of
/// its samples. To the order of magnitude, rounded up; empty where it is settled.
fn needed(standing: Standing, measured: f64, bound: f64, [low, high]: [f64; 2]) -> String {
    if standing != Standing::Open {
        return String::new();
    }
    let (reach, margin) = match measured <= bound {
        true => (high - measured, bound - measured),
        false => (measured - low, measured - bound),
    };
    let times = (reach / margin) * (reach / margin);
    if times <= 1.0 {
        return String::new();
    }
    if !times.is_finite() || times > level::TIMES_MAX {
        return "; no window of a sensible length would settle it".to_owned();
    }
    let mut scale = 1.0;
    while times / scale >= 10.0 {
        scale *= 10.0;
    }
    // What is whole but for the last bits stays so.
    let times = (times / scale - 1e-6).ceil() * scale;
    format!("; about {times:.0} times the samples, a window as many times as long, would settle it")
}

/// A value in the metric's unit, for people.
fn in_unit(metric: &Metric, value: f64) -> String {
    match metric {
        Metric::LatencyQuantile(_) | Metric::LatencyMax | Metric::TcpRtt => match value {
            v if v >= 1e18 => "lost".to_owned(),
            v if v >= 1e6 => format!("{:.2} ms", v / 1e6),
            v if v >= 1e3 => format!("{:.2} us", v / 1e3),
            v => format!("{v:.0} ns"),
        },
        Metric::SlowRatio | Metric::LossRatio | Metric::TcpRetransmitRatio => {
            format!("{:.4} %", value * 100.0)
        }
        Metric::StormRate => format!("{value:.2} a minute"),
        Metric::Drops
        | Metric::NicCounter(_)
        | Metric::SoftnetSqueezed
        | Metric::TcpSessionRetransmits => format!("{value:.0}"),
        Metric::External(_) => spelt(value),
    }
}

fn percent(fraction: f64) -> String {
    format!("{} %", (fraction * 1000.0).round() / 10.0)
}

fn signed_percent(fraction: f64) -> String {
    match fraction {
        f if f.abs() >= 1e6 => "without bound".to_owned(),
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
        None if decided.iter().any(|d| d.objective.is_some()) => {
            format!("objective met, every guardrail held ({held})")
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_settle_an_open_bound_goes_by_the_square_of_the_intervals_reach() {
        let words = |measured, bound, interval| needed(Standing::Open, measured, bound, interval);
        let times = |n: u32| {
            format!(
                "; about {n} times the samples, a window as many times as long, would settle it"
            )
        };
        // It reaches 0.08 above what was measured, and 0.04 are left to the bound.
        assert_eq!(words(0.01, 0.05, [-0.07, 0.09]), times(4));
        // On the other side it is to be shown that the bound is broken.
        assert_eq!(words(0.07, 0.05, [0.01, 0.2]), times(9));
        assert_eq!(words(0.049, 0.05, [0.0, 0.07]), times(500));
        assert!(words(0.05, 0.05, [0.0, 0.1]).contains("no window"));
        assert!(words(0.01, 0.05, [f64::MIN, f64::MAX]).contains("no window"));
        assert_eq!(words(0.01, 0.05, [0.0, 0.04]), "");
        assert_eq!(needed(Standing::Broken, 0.2, 0.05, [0.1, 0.3]), "");
    }
}
