//! The complementary distribution: for each latency, the share of packets that took longer. Both axes are
//! logarithmic, so that the one packet in ten thousand is as visible as the median.

use playbooks::{Metric, playbook::Criterion};

use super::{
    Measured, put,
    scale::Log,
    text::{escaped, tick_time, time},
};
use crate::verdict::Criterions;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 898.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 352.0;

/// Points of one curve at most: more than the chart has pixels for.
const POINTS_MAX: usize = 600;

/// Draws every window as one curve, with the criteria on latency quantiles as marks.
pub(super) fn chart(out: &mut String, windows: &[Measured], criteria: &Criterions) {
    let curves: Vec<Curve> = windows.iter().map(Curve::of).collect();
    let low = curves.iter().filter_map(|c| c.sorted.first()).min().copied().unwrap_or(1_000);
    let high = curves.iter().filter_map(|c| c.sorted.last()).max().copied().unwrap_or(1_000_000);
    let total = curves.iter().map(|c| c.total).max().unwrap_or(0).max(100);
    // Lost packets are drawn beyond the slowest: leave them room.
    let beyond = if curves.iter().any(|c| c.sorted.len() < c.total) { 1.6 } else { 1.1 };
    let x = Log::new(low as f64 / 1.1, high as f64 * beyond, LEFT, RIGHT);
    let floor = 10_f64.powf(-(total as f64).log10().ceil().min(8.0));
    let y = Log::new(floor, 1.0, BOTTOM, TOP);
    put!(
        out,
        "<figure>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Share of packets slower than a given latency, by window\">\n"
    );
    axes(out, &x, &y);
    for (at, curve) in curves.iter().enumerate() {
        curve.draw(out, at, &x, &y);
    }
    marks(out, windows, criteria, &x, &y);
    out.push_str(
        "</svg>\n<figcaption>How many packets took longer than a given time. Lower and further left is \
         better; a curve that ends in a dashed line lost that share of its packets.\
         </figcaption>\n</figure>\n",
    );
}

fn axes(out: &mut String, x: &Log, y: &Log) {
    for (value, labelled) in x.ticks() {
        let at = x.place(value);
        let weight = if labelled { "grid" } else { "grid fine" };
        put!(out, "<path class=\"{weight}\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>");
        if labelled {
            let (under, label) = (BOTTOM + 18.0, tick_time(value));
            put!(out, "<text class=\"tick mid\" x=\"{at:.1}\" y=\"{under}\">{label}</text>\n");
        }
    }
    for (value, labelled) in y.ticks() {
        // Only whole decades: a share is read as "one in ten, a hundred, a thousand".
        if !labelled || (value.log10() - value.log10().round()).abs() > 1e-9 {
            continue;
        }
        let at = y.place(value);
        let decade = -value.log10().round() as i32;
        put!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>");
        let digits = usize::try_from(decade - 2).unwrap_or(0);
        let share = format!("{:.digits$} %", value * 100.0);
        let (before, base) = (LEFT - 8.0, at + 4.0);
        put!(out, "<text class=\"tick end\" x=\"{before}\" y=\"{base:.1}\">{share}</text>");
        if decade > 0 {
            let nines = (1.0 - value) * 100.0;
            let (after, digits) = (RIGHT + 8.0, digits);
            put!(
                out,
                "<text class=\"tick\" x=\"{after}\" y=\"{base:.1}\">p{nines:.digits$}</text>\n"
            );
        }
    }
    let (middle, under) = ((LEFT + RIGHT) / 2.0, HEIGHT - 4.0);
    put!(out, "<text class=\"axis mid\" x=\"{middle}\" y=\"{under}\">latency</text>\n");
}

/// One window's latencies, sorted, lost packets counted apart.
struct Curve {
    sorted: Vec<u64>,
    total: usize,
}

impl Curve {
    fn of(measured: &Measured) -> Curve {
        let samples = &measured.window.samples;
        let mut sorted: Vec<u64> =
            samples.iter().filter(|s| !s.is_lost()).map(|s| s.latency_ns.max(1)).collect();
        sorted.sort_unstable();
        Curve { sorted, total: samples.len() }
    }

    fn draw(&self, out: &mut String, series: usize, x: &Log, y: &Log) {
        let Some(last) = self.sorted.last() else { return };
        let total = self.total as f64;
        let mut path = String::new();
        for (at, rank) in ranks(self.sorted.len(), self.total).into_iter().enumerate() {
            let (px, share) =
                (x.place(self.sorted[rank] as f64), (self.total - rank - 1) as f64 / total);
            let py = y.place(share);
            if at == 0 {
                put!(path, "M{px:.1} {:.1}V{py:.1}", y.place(1.0));
            } else {
                put!(path, "H{px:.1}V{py:.1}");
            }
        }
        put!(out, "<path class=\"curve s{series}\" d=\"{path}\"/>\n");
        let lost = self.total - self.sorted.len();
        if lost > 0 {
            let (px, py) = (x.place(*last as f64), y.place(lost as f64 / total));
            put!(out, "<path class=\"curve lost s{series}\" d=\"M{px:.1} {py:.1}H{RIGHT}\"/>\n");
        }
    }
}

/// Which of `len` sorted values to draw: evenly spaced in the logarithm of how many lie above, so that the
/// tail keeps every point and the bulk is thinned. Always has the first and the last.
fn ranks(len: usize, total: usize) -> Vec<usize> {
    if len <= POINTS_MAX {
        return (0..len).collect();
    }
    let lost = total - len;
    let (top, bottom) = ((total as f64).ln(), ((lost + 1) as f64).ln());
    let mut ranks: Vec<usize> = (0..POINTS_MAX)
        .map(|n| top + (bottom - top) * n as f64 / (POINTS_MAX - 1) as f64)
        .map(|log| (total as f64 - log.exp()).round() as usize)
        .map(|rank| rank.min(len - 1))
        .collect();
    ranks.push(len - 1);
    ranks.dedup();
    ranks
}

/// Each bound on a latency quantile: a curve must pass to the left of its mark.
fn marks(out: &mut String, windows: &[Measured], criteria: &Criterions, x: &Log, y: &Log) {
    let bounds = criteria.objective.iter().chain(&criteria.guardrails).take(12);
    for (metric, criterion) in bounds {
        let Metric::LatencyQuantile(quantile) = metric else { continue };
        let Some(bound) = bound(windows, metric, criterion) else { continue };
        let (px, py) = (x.place(bound), y.place(1.0 - quantile.fraction()));
        put!(
            out,
            "<path class=\"mark\" d=\"M{px:.1} {:.1}v14m0 -7h-8m3 -3l-3 3l3 3\"/>\
             <text class=\"marked\" x=\"{:.1}\" y=\"{:.1}\">{} ≤ {}</text>\n",
            py - 7.0,
            px + 5.0,
            py - 4.0,
            escaped(metric.to_string().trim_start_matches("latency.")),
            time(bound),
        );
    }
}

/// The tighter of the criterion's two bounds, in nanoseconds.
fn bound(windows: &[Measured], metric: &Metric, criterion: &Criterion) -> Option<f64> {
    let baseline =
        windows.iter().find_map(|w| w.verdict.as_ref()?.metrics.get(metric)).map(|j| j.baseline);
    let relative = criterion.no_worse_than.zip(baseline).map(|(worse, base)| base * (1.0 + worse));
    let bounds = [criterion.at_most, relative].into_iter().flatten();
    bounds.filter(|b| b.is_finite() && *b > 0.0).reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_ends_and_the_tail() {
        for (len, total) in [(1, 1), (600, 700), (601, 601), (1_000_000, 1_000_010)] {
            let ranks = ranks(len, total);
            assert!(ranks.len() <= POINTS_MAX + 1);
            assert_eq!((ranks[0], ranks[ranks.len() - 1]), (0, len - 1));
            assert!(ranks.is_sorted());
        }
        // The ten largest of a million are all drawn.
        assert!(ranks(1_000_000, 1_000_000).ends_with(&[999_996, 999_997, 999_998, 999_999]));
    }
}
