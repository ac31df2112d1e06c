//! The distribution: which share of the packets is slower than x, on two logarithmic axes, so that one
//! packet in ten thousand is as plain to see as the median.

use playbooks::Metric;

use super::{
    Series,
    axis::{self, Log},
    svg::{self, Anchor, Area, Frame, Svg, num},
    text,
};
use crate::verdict::Criterions;

/// The most goals that are drawn.
const GOALS_MAX: usize = 3;

/// An absolute bound on a latency quantile: the curve has to pass below it.
pub(super) struct Goal {
    /// The share of packets that may be slower.
    share: f64,
    pub(super) at_most_ns: f64,
    words: String,
}

pub(super) fn goals(by: &Criterions) -> Vec<Goal> {
    let goal = |(metric, criterion): (&Metric, &playbooks::playbook::Criterion)| {
        let at_most_ns = criterion.at_most.filter(|ns| ns.is_finite() && *ns > 0.0)?;
        let share = match metric {
            Metric::LatencyQuantile(quantile) => 1.0 - quantile.fraction(),
            Metric::LatencyMax
            | Metric::SlowRatio
            | Metric::StormRate
            | Metric::LossRatio
            | Metric::TcpRetransmitRatio
            | Metric::Drops
            | Metric::NicCounter(_)
            | Metric::SoftnetSqueezed
            | Metric::TcpRtt
            | Metric::TcpSessionRetransmits
            | Metric::External(_) => return None,
        };
        let name = metric.to_string();
        let name = name.trim_start_matches("latency.");
        let words = format!("{name} at most {}", text::short_nanoseconds(at_most_ns));
        Some(Goal { share, at_most_ns, words })
    };
    by.objective.iter().chain(&by.guardrails).filter_map(goal).take(GOALS_MAX).collect()
}

/// The latencies that every figure of this run shows.
pub(super) fn domain(series: &[Series], goals: &[Goal]) -> Option<(f64, f64)> {
    let extremes = series.iter().filter_map(|one| one.seen.extremes());
    let seen = extremes.flat_map(|(low, high)| [low as f64, high as f64]);
    axis::latency_domain(seen.chain(goals.iter().map(|goal| goal.at_most_ns)))
}

/// What the lines mean, with the figures that people ask for first.
pub(super) fn key(series: &[Series]) -> String {
    let mut out = String::from(
        "<div class=\"scroll\"><table class=\"key stack\"><thead><tr><th>window</th><th>packets</th>\
         <th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>slowest</th><th>lost</th></tr></thead>\n",
    );
    for one in series {
        let name = text::words(one.name, text::NAME_MAX);
        let mut swatch = Svg::default();
        swatch.line(&format!("curve s{}", one.class), (1.0, 6.0), (31.0, 6.0));
        let swatch = svg::inline("swatch", (32.0, 12.0), "line", swatch);
        out.push_str(&format!("<tr><th scope=\"row\">{swatch} {name}</th>"));
        let mut cell = |label: &str, words: String| {
            out.push_str(&format!("<td data-h=\"{label}\">{words}</td>"));
        };
        cell("packets", text::count(one.seen.count() as f64));
        for (label, hundredths) in [("p50", 5000), ("p90", 9000), ("p99", 9900), ("p99.9", 9990)] {
            cell(label, quantile(one, hundredths));
        }
        let slowest = one.seen.extremes().map(|(_, high)| text::nanoseconds(high as f64));
        cell("slowest", slowest.unwrap_or_else(|| "–".to_owned()));
        cell("lost", lost(one));
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
    out
}

fn quantile(one: &Series, hundredths: u16) -> String {
    match one.seen.quantile(hundredths) {
        Some(ns) => text::nanoseconds(ns as f64),
        None if one.seen.count() == 0 => "–".to_owned(),
        None => "lost".to_owned(),
    }
}

fn lost(one: &Series) -> String {
    match (one.seen.lost, one.seen.count()) {
        (_, 0) => "–".to_owned(),
        (0, _) => "none".to_owned(),
        (lost, all) => {
            format!("{} ({})", text::count(lost as f64), text::share(lost as f64 / all as f64))
        }
    }
}

/// The figure; a sentence where no packet came back at all.
pub(super) fn figure(series: &[Series], by: &Criterions) -> String {
    let goals = goals(by);
    let most = series.iter().map(|one| one.seen.count()).max().unwrap_or(0);
    let any = series.iter().any(|one| one.seen.extremes().is_some());
    let (Some(domain), true) = (domain(series, &goals), any) else {
        let words = if most == 0 { "no packet was due" } else { "every packet was lost" };
        return format!("<p class=\"note\">There is no distribution to draw: {words}.</p>\n");
    };
    let says = says(series);
    let caption = "Share of packets slower than x, both axes logarithmic: the further left and down a \
                   line runs, the better. It ends at the slowest packet; a lost packet is slower than \
                   every other, so a line with losses runs on to the right edge.";
    svg::figure(&says, caption, |frame| {
        let plot = Plot::new(frame, series, domain, most);
        (plot.draw(series, &goals), plot.height)
    })
}

fn says(series: &[Series]) -> String {
    let one = |one: &Series| {
        let (p50, p99) = (quantile(one, 5000), quantile(one, 9900));
        format!("{}: median {p50}, p99 {p99}, lost {}", one.name, lost(one))
    };
    let parts: Vec<String> = series.iter().map(one).collect();
    format!("Latency distribution. {}", parts.join("; "))
}

struct Plot {
    frame: Frame,
    area: Area,
    /// Where lost packets are drawn, right of every latency; `None` where none was lost.
    lost: Option<Area>,
    x: Log,
    y: Log,
    /// The share that one packet is.
    one_packet: f64,
    height: f64,
}

impl Plot {
    fn new(frame: Frame, series: &[Series], domain: (f64, f64), most: u64) -> Plot {
        let height = frame.pick(400.0, 330.0);
        let (left, right) = frame.pick((86.0, 52.0), (78.0, 46.0));
        let edge = frame.width() - right;
        let (top, bottom) = (26.0, height - 44.0);
        let any_lost = series.iter().any(|one| one.seen.lost > 0);
        let band = frame.pick(52.0, 34.0);
        let end = if any_lost { edge - band - 6.0 } else { edge };
        let area = Area { left, right: end, top, bottom };
        let lost = any_lost.then_some(Area { left: end + 6.0, right: edge, top, bottom });
        let one_packet = 1.0 / most.max(1) as f64;
        let floor = (one_packet * 0.55).min(0.05);
        let x = Log::new(domain, left, end);
        let y = Log::new((floor, 1.0), bottom, top);
        Plot { frame, area, lost, x, y, one_packet, height }
    }

    fn draw(&self, series: &[Series], goals: &[Goal]) -> Svg {
        let mut svg = Svg::default();
        self.grid(&mut svg);
        // The baseline lies below: what it is compared with is what one looks for.
        for one in series {
            self.curve(&mut svg, one);
        }
        for (index, goal) in goals.iter().enumerate() {
            self.goal(&mut svg, goal, index);
        }
        svg
    }

    fn grid(&self, svg: &mut Svg) {
        let Area { left, right, top, bottom } = self.area;
        svg.rect("plot", self.area);
        for value in self.x.fine() {
            let x = self.x.at(value);
            svg.line("grid fine", (x, top), (x, bottom));
        }
        for value in self.x.ticks(self.frame.pick(11, 6)) {
            let x = self.x.at(value);
            svg.line("grid", (x, top), (x, bottom));
            svg.text("tick", (x, bottom + 16.0), Anchor::Middle, &text::short_nanoseconds(value));
        }
        for (share, odds, quantile) in decades() {
            if share < self.one_packet * 0.999 {
                break;
            }
            let y = self.y.at(share);
            svg.line("grid", (left, y), (right, y));
            svg.text("tick", (left - 8.0, y + 4.0), Anchor::End, odds);
            let edge = self.lost.map_or(right, |lost| lost.right);
            svg.text("tick", (edge + 6.0, y + 4.0), Anchor::Start, quantile);
        }
        let y = self.y.at(self.one_packet);
        svg.line("grid one", (left, y), (right, y));
        svg.text("hint", (left + 6.0, y - 4.0), Anchor::Start, "one packet");
        svg.text("label", (left, top - 10.0), Anchor::Start, "share of packets slower than x");
        let middle = (left + right) / 2.0;
        svg.text("label", (middle, bottom + 36.0), Anchor::Middle, "latency x");
        if let Some(lost) = self.lost {
            svg.rect("plot lost", lost);
            let middle = (lost.left + lost.right) / 2.0;
            svg.text("tick", (middle, bottom + 16.0), Anchor::Middle, "lost");
        }
    }

    /// Exact to half a pixel: the share beyond each column's latency is looked up, not interpolated,
    /// so neither steps nor the last packet can go astray whatever the number of samples.
    fn curve(&self, svg: &mut Svg, one: &Series) {
        if one.seen.count() == 0 {
            return;
        }
        let Area { left, right, bottom, .. } = self.area;
        let class = format!("curve s{}", one.class);
        let mut d = format!("M{} {}", num(left), num(self.y.at(1.0)));
        let (mut drawn, mut share) = (1.0, 1.0);
        for half in 0..=((right - left) * 2.0) as u32 {
            let x = left + f64::from(half) / 2.0;
            share = one.seen.beyond(self.x.value(x));
            if share == drawn {
                continue;
            }
            let y = if share > 0.0 { self.y.at(share) } else { bottom };
            d.push_str(&format!("H{}V{}", num(x), num(y)));
            drawn = share;
            if share == 0.0 {
                break;
            }
        }
        match (self.lost, one.seen.lost) {
            (Some(lost), 1..) => {
                let y = self.y.at(share);
                d.push_str(&format!("H{}", num(lost.right)));
                svg.path(&class, &d);
                svg.circle(&format!("end s{}", one.class), (lost.right, y), 4.0);
                let words = text::share(share);
                svg.text(
                    &format!("mark s{}", one.class),
                    (lost.right, y - 7.0),
                    Anchor::End,
                    &words,
                );
            }
            (_, _) => {
                svg.path(&class, &d);
                let slowest = one.seen.extremes().map_or(left, |(_, high)| self.x.at(high as f64));
                let y = self.y.at(1.0 / one.seen.count() as f64);
                svg.circle(&format!("end s{}", one.class), (slowest, y), 3.5);
            }
        }
    }

    fn goal(&self, svg: &mut Svg, goal: &Goal, index: usize) {
        let Area { left, right, top, bottom } = self.area;
        let (x, y) = (self.x.at(goal.at_most_ns), self.y.at(goal.share));
        svg.line("goal", (x, top), (x, bottom));
        svg.circle("goal", (x, y), 5.0);
        let (place, anchor) = if x > (left + right) / 2.0 {
            (x - 9.0, Anchor::End)
        } else {
            (x + 9.0, Anchor::Start)
        };
        // At its own height, above the ring; goals on one quantile do not write over each other.
        svg.text("goal", (place, y - 8.0 - index as f64 * 14.0), anchor, &goal.words);
    }
}

/// The shares that are marked: how rare, and the quantile's name.
fn decades() -> [(f64, &'static str, &'static str); 9] {
    [
        (1.0, "all", ""),
        (0.5, "half", "p50"),
        (1e-1, "1 in 10", "p90"),
        (1e-2, "1 in 100", "p99"),
        (1e-3, "1 in 1,000", "p99.9"),
        (1e-4, "1 in 10,000", "p99.99"),
        (1e-5, "1 in 100 k", "5 nines"),
        (1e-6, "1 in 1 M", "6 nines"),
        (1e-7, "1 in 10 M", "7 nines"),
    ]
}
