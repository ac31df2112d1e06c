//! Objective and guardrails: metric names, bounds in the metric's own unit, and whether the window can
//! see what they ask for.

use std::{collections::BTreeMap, time::Duration};

use super::{
    entries::Entry,
    findings::{Findings, Mark, shown},
    tree::{Node, Scalar, Shape},
    unit,
};
use crate::{
    Metric,
    metric::FIXED,
    playbook::{Criteria, Criterion, Verify},
    vocabulary,
};

const CRITERIA_MAX: usize = 64;
/// Fewer samples beyond a quantile than this say little about it.
const TAIL_SAMPLES_MIN: u128 = 100;

/// Criteria with the place of each metric, for what can only be said once `verify` is known.
pub(super) type Placed = BTreeMap<Metric, (Mark, Criterion)>;

pub(super) fn read(node: &Node, what: &str, findings: &mut Findings) -> Option<Placed> {
    let entries = findings.entries(node, what)?;
    if entries.is_empty() {
        findings.mend(node.mark, format!("{what} is empty"), "name a metric, or drop the key");
        return None;
    }
    if entries.len() > CRITERIA_MAX {
        findings.wrong(node.mark, format!("{what} has more than {CRITERIA_MAX} metrics"));
        return None;
    }
    let mut placed: Placed = BTreeMap::new();
    for entry in &entries {
        let Some(metric) = metric(entry, findings) else { continue };
        // Kept without bounds where these are wrong, so that the metric is still checked.
        let bounds = criterion(&metric, entry, findings)
            .unwrap_or(Criterion { at_most: None, no_worse_than: None });
        // `latency.p99` and `latency.p99.0` are two spellings of one metric.
        if let Some((first, _)) = placed.get(&metric) {
            let help = format!("{metric} is already on line {}", first.line);
            findings.mend(entry.mark, format!("the metric {metric} is there twice"), help);
        } else {
            placed.insert(metric, (entry.mark, bounds));
        }
    }
    Some(placed)
}

fn metric(entry: &Entry, findings: &mut Findings) -> Option<Metric> {
    if let Ok(metric) = Metric::try_from(entry.key.to_owned()) {
        return Some(metric);
    }
    let common = ["latency.p50", "latency.p90", "latency.p99", "latency.p99.9", "latency.p99.99"];
    let known = FIXED.iter().copied().chain(common);
    let help = if entry.key.starts_with("latency.p") {
        "a quantile above 0 and below 100 with at most two decimals, such as latency.p99.9".into()
    } else {
        match vocabulary::closest(entry.key, known.clone()) {
            Some((_, name)) => format!("did you mean `{name}`?"),
            None => format!("one of: latency.pNN, nic.<counter>, {}", FIXED.to_vec().join(", ")),
        }
    };
    findings.mend(entry.mark, format!("unknown metric `{}`", shown(entry.key)), help);
    None
}

fn criterion(metric: &Metric, entry: &Entry, findings: &mut Findings) -> Option<Criterion> {
    const KNOWN: &[&str] = &["at-most", "no-worse-than"];
    let fields = findings.fields(entry.value, "a criterion", KNOWN)?;
    let at_most = fields.get("at-most").map(|node| at_most(metric, node, findings));
    let no_worse = fields.get("no-worse-than").map(|node| no_worse_than(node, findings));
    if matches!(&entry.value.shape, Shape::Map(bounds) if bounds.is_empty()) {
        let help = "`{ at-most: … }` or `{ no-worse-than: 5% }`";
        findings.mend(entry.mark, format!("{metric} has no bound"), help);
    }
    Some(Criterion { at_most: at_most.flatten(), no_worse_than: no_worse.flatten() })
}

/// The bound in the metric's unit: nanoseconds, a fraction, storms a minute, a count.
fn at_most(metric: &Metric, node: &Node, findings: &mut Findings) -> Option<f64> {
    let Scalar { text, quoted } = findings.scalar(node, "at-most")?;
    let bare = (!quoted).then_some(text.as_str());
    let (value, unit) = match metric {
        Metric::LatencyQuantile(_) | Metric::LatencyMax => (
            unit::duration(text).ok().map(|bound| bound.as_nanos() as f64),
            "a whole number and one of ns, us, ms, s: latency, such as 50us",
        ),
        Metric::SlowRatio | Metric::LossRatio | Metric::TcpRetransmitRatio => (
            unit::percent(text).or_else(|| bare.and_then(unit::decimal)),
            "a percentage or a fraction: a ratio, such as 0.1%",
        ),
        Metric::StormRate => {
            (bare.and_then(unit::decimal), "a number: storms a minute, such as 0.5")
        }
        Metric::Drops | Metric::NicCounter(_) | Metric::SoftnetSqueezed => (
            // The count is small enough for a double to hold it exactly.
            bare.and_then(unit::whole).and_then(|n| u32::try_from(n).ok()).map(f64::from),
            "a whole number: a count over the window, such as 0",
        ),
    };
    if value.is_none() {
        let message = format!("{metric} cannot be at most `{}`", shown(text));
        findings.mend(node.mark, message, unit);
    }
    value
}

/// The bound as a fraction of the baseline.
fn no_worse_than(node: &Node, findings: &mut Findings) -> Option<f64> {
    let Scalar { text, .. } = findings.scalar(node, "no-worse-than")?;
    let value = unit::percent(text);
    if value.is_none() {
        let message = format!("no-worse-than cannot be `{}`", shown(text));
        findings.mend(node.mark, message, "a percentage of the baseline, such as 5%");
    }
    value
}

/// Finds quantiles that a window would see fewer than [`TAIL_SAMPLES_MIN`] samples beyond.
pub(super) fn check_tails(placed: &Placed, verify: &Verify, findings: &mut Findings) {
    for (metric, (mark, _)) in placed {
        let Metric::LatencyQuantile(quantile) = metric else { continue };
        let beyond = u128::from(10_000 - quantile.0);
        // Samples beyond the quantile = rate * window * (1 - q), all in whole numbers.
        let scale = 10_000 * Duration::from_secs(1).as_nanos();
        let rate = u128::from(verify.rate);
        let samples = rate * verify.window.as_nanos() * beyond / scale;
        if samples >= TAIL_SAMPLES_MIN {
            continue;
        }
        let seconds = (TAIL_SAMPLES_MIN * 10_000).div_ceil(rate * beyond);
        let per_second =
            (TAIL_SAMPLES_MIN * scale).div_ceil((verify.window.as_nanos() * beyond).max(1));
        let (window, rate) = (unit::spelt(verify.window), verify.rate);
        let message = format!(
            "{metric} needs {TAIL_SAMPLES_MIN} samples beyond it; a window of {window} at {rate} \
             packets a second expects {samples}"
        );
        let faster = match per_second <= u128::from(super::document::RATE_MAX) {
            true => format!(", or `rate: {per_second}`"),
            false => String::new(),
        };
        findings.mend(*mark, message, format!("`window: {seconds}s`{faster} under `verify`"));
    }
}

pub(super) fn without_places(placed: Placed) -> Criteria {
    placed.into_iter().map(|(metric, (_, criterion))| (metric, criterion)).collect()
}
