//! Objective and guardrails: metric names, bounds in the metric's own unit, and whether the window can
//! see what they ask for.

use std::{collections::BTreeMap, time::Duration};

use super::{
    entries::Entry,
    figures::Declared,
    findings::{Findings, Mark, shown},
    tree::{Node, Scalar, Shape},
    unit,
};
use crate::{
    External, Metric,
    external::{Better, Kind},
    metric::{EXTERNAL, FIXED, READINGS_MIN},
    playbook::{Criteria, Criterion, Verify},
    vocabulary,
};

const CRITERIA_MAX: usize = 64;
/// Fewer samples beyond a quantile than this say little about it.
const TAIL_SAMPLES_MIN: u128 = 100;
/// A counter that is read this often is known well enough at both ends of a window.
const COUNTER_READINGS_MIN: u64 = 8;

/// Criteria with the place of each metric, for what can only be said once `verify` is known.
pub(super) type Placed = BTreeMap<Metric, (Mark, Criterion)>;

pub(super) fn read(
    node: &Node,
    what: &str,
    declared: &Declared,
    findings: &mut Findings,
) -> Option<Placed> {
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
        let Some(metric) = metric(entry, declared, findings) else { continue };
        // Kept without bounds where these are wrong, so that the metric is still checked.
        let bounds =
            criterion(&metric, better(&metric, declared), entry, findings).unwrap_or_default();
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

fn metric(entry: &Entry, declared: &Declared, findings: &mut Findings) -> Option<Metric> {
    match Metric::try_from(entry.key.to_owned()) {
        Ok(Metric::External(name)) if !declared.contains_key(&name) => {}
        Ok(metric) => return Some(metric),
        Err(_) => {}
    }
    let common = ["latency.p50", "latency.p90", "latency.p99", "latency.p99.9", "latency.p99.99"];
    let outside: Vec<String> = declared.keys().map(|name| format!("{EXTERNAL}{name}")).collect();
    let known = FIXED.iter().copied().chain(common).chain(outside.iter().map(String::as_str));
    let help = if entry.key.starts_with(EXTERNAL) && outside.is_empty() {
        "say where it is read, under `metrics`".to_owned()
    } else if entry.key.starts_with("latency.p") {
        "a quantile above 0 and below 100 with at most two decimals, such as latency.p99.9".into()
    } else {
        match vocabulary::closest(entry.key, known.clone()) {
            Some((_, name)) => format!("did you mean `{name}`?"),
            None if entry.key.starts_with(EXTERNAL) => format!("one of: {}", outside.join(", ")),
            None => format!(
                "one of: latency.pNN, nic.<counter>, external.<name>, {}",
                FIXED.to_vec().join(", ")
            ),
        }
    };
    findings.mend(entry.mark, format!("unknown metric `{}`", shown(entry.key)), help);
    None
}

fn criterion(
    metric: &Metric,
    better: Option<Better>,
    entry: &Entry,
    findings: &mut Findings,
) -> Option<Criterion> {
    const KNOWN: &[&str] = &["at-most", "at-least", "no-worse-than"];
    let fields = findings.fields(entry.value, "a criterion", KNOWN)?;
    let sides = better.map(|better| match better {
        Better::Lower => ("at-least", "at-most", "lower"),
        Better::Higher => ("at-most", "at-least", "higher"),
    });
    if let Some((wrong, right, way)) = sides
        && fields.get(wrong).is_some()
    {
        let message = format!("{metric} is better {way}: it takes no `{wrong}`");
        findings.mend(fields.mark_of(wrong), message, format!("`{right}`"));
    }
    let at_most = fields.get("at-most").map(|node| bound(metric, "at most", node, findings));
    let at_least = fields.get("at-least").map(|node| bound(metric, "at least", node, findings));
    let no_worse = fields.get("no-worse-than").map(|node| no_worse_than(node, findings));
    if matches!(&entry.value.shape, Shape::Map(bounds) if bounds.is_empty()) {
        let help = "`{ at-most: … }` or `{ no-worse-than: 5% }`";
        findings.mend(entry.mark, format!("{metric} has no bound"), help);
    }
    Some(Criterion {
        at_most: at_most.flatten(),
        at_least: at_least.flatten(),
        no_worse_than: no_worse.flatten(),
    })
}

/// Which way a metric is better. Of a figure that is declared wrongly nothing is known.
fn better(metric: &Metric, declared: &Declared) -> Option<Better> {
    match metric {
        Metric::External(name) => Some(declared.get(name)?.as_ref()?.better),
        Metric::LatencyQuantile(_)
        | Metric::LatencyMax
        | Metric::SlowRatio
        | Metric::StormRate
        | Metric::LossRatio
        | Metric::TcpRetransmitRatio
        | Metric::Drops
        | Metric::NicCounter(_)
        | Metric::SoftnetSqueezed
        | Metric::TcpRtt
        | Metric::TcpSessionRetransmits => Some(Better::Lower),
    }
}

/// The bound in the metric's unit: nanoseconds, a fraction, storms a minute, a count.
fn bound(metric: &Metric, what: &str, node: &Node, findings: &mut Findings) -> Option<f64> {
    let Scalar { text, quoted } = findings.scalar(node, what)?;
    let bare = (!quoted).then_some(text.as_str());
    let (value, unit) = match metric {
        Metric::LatencyQuantile(_) | Metric::LatencyMax | Metric::TcpRtt => (
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
        Metric::External(_) => {
            (bare.and_then(unit::decimal), "a number in the figure's own unit, such as 12.5")
        }
        Metric::Drops
        | Metric::NicCounter(_)
        | Metric::SoftnetSqueezed
        | Metric::TcpSessionRetransmits => (
            // The count is small enough for a double to hold it exactly.
            bare.and_then(unit::whole).and_then(|n| u32::try_from(n).ok()).map(f64::from),
            "a whole number: a count over the window, such as 0",
        ),
    };
    if value.is_none() {
        let message = format!("{metric} cannot be {what} `{}`", shown(text));
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

/// Finds figures that a window would read too seldom to judge.
pub(super) fn check_readings(
    placed: &Placed,
    verify: &Verify,
    declared: &Declared,
    findings: &mut Findings,
) {
    for (metric, (mark, _)) in placed {
        let Some((every, needed)) = reading(metric, declared) else { continue };
        let readings = verify.window.as_nanos() / every.as_nanos().max(1);
        if readings >= needed {
            continue;
        }
        let seconds = (every.as_nanos() * needed).div_ceil(Duration::from_secs(1).as_nanos());
        let (window, every) = (unit::spelt(verify.window), unit::spelt(every));
        let message = format!(
            "{metric} needs {needed} readings; a window of {window} has {readings}, one every \
             {every}"
        );
        findings.mend(*mark, message, format!("`window: {seconds}s` under `verify`"));
    }
}

/// How often a metric is read, where it is, and how many readings a window must hold.
fn reading(metric: &Metric, declared: &Declared) -> Option<(Duration, u128)> {
    if *metric == Metric::TcpRtt {
        return Some((External::EVERY, READINGS_MIN.into()));
    }
    let Metric::External(name) = metric else { return None };
    let external = declared.get(name)?.as_ref()?;
    let needed = match external.kind {
        Kind::Gauge => READINGS_MIN,
        Kind::Counter => COUNTER_READINGS_MIN,
    };
    Some((external.period()?, needed.into()))
}

pub(super) fn without_places(placed: Placed) -> Criteria {
    placed.into_iter().map(|(metric, (_, criterion))| (metric, criterion)).collect()
}
