//! How a campaign's items are judged, each by what it can be compared with.

use std::sync::Arc;

use playbooks::{
    Metric,
    playbook::{Criteria, Criterion},
};

use crate::{
    fault::Fault,
    log::after::Tried,
    measure::{
        Sample, Window,
        quantiles::{quantile, sorted_latencies},
    },
    probation::Terms,
    verdict::{self, Call, Criterions, Outcome},
};

/// Losses and drops may be this much more than the reference's, relatively.
const WORSE: f64 = 0.05;

/// All items together: what is broken counts most, then what is open.
pub(super) fn together(tried: &[Tried]) -> (Call, String) {
    let of = |call: Call| -> Vec<&str> {
        tried.iter().filter(|t| t.call == Some(call)).map(|t| t.item.as_str()).collect()
    };
    let (broken, open, kept) = (of(Call::Revert), of(Call::Inconclusive), of(Call::Keep));
    let skipped = tried.iter().filter(|t| t.call.is_none()).count();
    match (broken.as_slice(), open.as_slice()) {
        ([], []) => (Call::Keep, format!("{} kept, {skipped} skipped", kept.len())),
        ([], open) => (Call::Inconclusive, format!("nothing concluded on {}", open.join(", "))),
        (broken, _) => (Call::Revert, format!("broken under {}", broken.join(", "))),
    }
}

pub(super) fn said(call: Call) -> &'static str {
    match call {
        Call::Keep => "kept",
        Call::Revert => "broken",
        Call::Inconclusive => "inconclusive",
    }
}

/// An item that could not be measured.
pub(super) fn open(item: &str, fault: &Fault) -> Tried {
    Tried {
        item: item.to_owned(),
        call: Some(Call::Inconclusive),
        why: fault.to_string(),
        during: None,
        evidence: None,
    }
}

/// A pattern that the run was never measured with: bounds that need no baseline, and losses and drops
/// against the calm reference.
pub(super) fn without_baseline(
    terms: &Terms,
    reference: &Arc<Window>,
    window: &Arc<Window>,
) -> (Call, String) {
    let alone = absolutely(terms, window);
    let relative = Criterion { at_most: None, at_least: None, no_worse_than: Some(WORSE) };
    let metrics = [Metric::LossRatio, Metric::Drops];
    let guardrails: Criteria =
        metrics.iter().map(|metric| (metric.clone(), relative.clone())).collect();
    let by = Criterions { guardrails, ..Criterions::default() };
    let beside = verdict::judge(reference, window, &by, terms.seed);
    // Latency is another one under another pattern: of this verdict only these two count.
    let mut calls = vec![alone];
    for metric in &metrics {
        let Some(judged) = beside.metrics.get(metric) else { continue };
        let why = format!("{metric} against the calm reference: {}", judged.why);
        calls.push(match (judged.guardrail, judged.outcome) {
            (Some(true), _) => (Call::Keep, why),
            (_, Outcome::Regressed) => (Call::Revert, why),
            (_, Outcome::Improved | Outcome::Equivalent | Outcome::Inconclusive) => {
                (Call::Inconclusive, why)
            }
        });
    }
    for wanted in [Call::Revert, Call::Inconclusive] {
        if let Some(found) = calls.iter().find(|(call, _)| *call == wanted) {
            return found.clone();
        }
    }
    let bounds = at_most(&terms.by.guardrails).len();
    let why = format!(
        "not a pattern of the run: {bounds} absolute bounds hold, no more losses or drops than in the \
         calm reference"
    );
    (Call::Keep, why)
}

/// What needs no comparison: the guardrails' absolute bounds.
pub(super) fn absolutely(terms: &Terms, window: &Window) -> (Call, String) {
    let guardrails = at_most(&terms.by.guardrails);
    if guardrails.is_empty() {
        return (Call::Keep, "no absolute bounds".to_owned());
    }
    let by = Criterions { guardrails, ..Criterions::default() };
    // Against itself: nothing relative can be broken by that.
    let verdict = verdict::judge(window, window, &by, terms.seed);
    (verdict.verdict, verdict.why)
}

fn at_most(guardrails: &Criteria) -> Criteria {
    let bounded = guardrails.iter().filter(|(_, criterion)| criterion.at_most.is_some());
    let alone = |criterion: &Criterion| Criterion { no_worse_than: None, ..criterion.clone() };
    bounded.map(|(metric, criterion)| (metric.clone(), alone(criterion))).collect()
}

/// One pattern's part of the run's baseline, as a window of its own.
pub(super) fn part_of(terms: &Terms, part: usize) -> Window {
    let (whole, parts) = (&terms.baseline, terms.parts.max(1) as u64);
    if parts == 1 {
        return (**whole).clone();
    }
    let long_ns = whole.length_ns / parts;
    let (begin, end) = (part as u64 * long_ns, (part as u64 + 1) * long_ns);
    let inside = whole.samples.iter().filter(|s| (begin..end).contains(&s.due_ns));
    let samples: Vec<Sample> = inside.map(|s| Sample { due_ns: s.due_ns - begin, ..*s }).collect();
    // Counters are of the whole window: each part gets its share.
    let shared = |count: &i64| count / parts as i64;
    let share = |counts: &std::collections::BTreeMap<String, i64>| {
        counts.iter().map(|(name, count)| (name.clone(), shared(count))).collect()
    };
    Window {
        began_utc_ns: whole.began_utc_ns.saturating_add_unsigned(begin),
        length_ns: long_ns,
        sent: samples.len() as u64,
        lost: samples.iter().filter(|sample| sample.is_lost()).count() as u64,
        samples,
        counters: share(&whole.counters),
        drops: share(&whole.drops),
        tcp_out: whole.tcp_out / parts,
        tcp_retransmitted: whole.tcp_retransmitted / parts,
        softnet_squeezed: whole.softnet_squeezed / parts,
        ..(**whole).clone()
    }
}

/// `p50 21.3 us, p99 80.2 us, 3 of 2000 lost, 0 drops`.
pub(super) fn figures(window: &Window) -> String {
    let sorted = sorted_latencies(&window.samples);
    let at = |fraction| match quantile(&sorted, fraction) {
        None => "unknown".to_owned(),
        Some(Sample::LOST) => "lost".to_owned(),
        Some(ns) => format!("{:.1} us", ns as f64 / 1e3),
    };
    let drops = window.drops.values().fold(0_i64, |sum, &d| sum.saturating_add(d));
    format!(
        "p50 {}, p99 {}, {} of {} lost, {drops} drops",
        at(0.5),
        at(0.99),
        window.lost,
        window.samples.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(item: &str, call: Option<Call>) -> Tried {
        let (item, why) = (item.to_owned(), String::new());
        Tried { item, call, why, during: None, evidence: None }
    }

    #[test]
    fn what_is_broken_counts_more_than_what_is_open() {
        let kept = tried("calm", Some(Call::Keep));
        let open = tried("burst", Some(Call::Inconclusive));
        let broken = tried("cpu", Some(Call::Revert));
        let skipped = tried("irq", None);
        assert_eq!(together(&[kept.clone(), skipped.clone()]).0, Call::Keep);
        assert_eq!(together(&[kept.clone(), open.clone()]).0, Call::Inconclusive);
        let (call, why) = together(&[kept, open, broken, skipped]);
        assert_eq!((call, why.as_str()), (Call::Revert, "broken under cpu"));
    }
}
