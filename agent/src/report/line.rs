//! The run as one line: the slow packets of each moment, all windows side by side on one linear axis
//! from 0. Logarithms show how much better a stage is; whether the line is straight shows here.

use super::{
    Series, axis,
    svg::{self, Anchor, Area, Frame, Svg, num},
    text,
};
use crate::measure::Sample;

/// A moment has at least so many packets: below a hundred its p99 would be its slowest one.
const PACKETS_MIN: usize = 100;
/// A window with fewer moments draws no line.
const MOMENTS_MIN: usize = 4;
const MOMENT_WIDTH: f64 = 3.0;
const GAP: f64 = 10.0;

/// The figure; nothing where fewer than two windows have moments enough.
pub(super) fn figure(series: &[Series]) -> String {
    let enough = |one: &&Series| one.samples.len() >= PACKETS_MIN * MOMENTS_MIN;
    let shown: Vec<&Series> = series.iter().filter(enough).collect();
    if shown.len() < 2 {
        return String::new();
    }
    let names: Vec<&str> = shown.iter().map(|one| one.name).collect();
    let says = format!("The p99 of each moment, window after window: {}.", names.join(", "));
    let caption = "The run as one line: the 99th percentile of each moment, of at least 100 packets, on a \
                   linear axis from 0; the windows in their order. The line breaks off where a moment \
                   lost more than one packet in a hundred.";
    svg::figure(&says, caption, |frame| {
        let height = frame.pick(230.0, 190.0);
        let (left, right) = (frame.pick(86.0, 60.0), frame.width() - frame.pick(52.0, 12.0));
        let room = right - left - GAP * (shown.len() - 1) as f64;
        let width = room / shown.len() as f64;
        let lines: Vec<Vec<Option<u64>>> = shown.iter().map(|one| moments(one, width)).collect();
        let highest = lines.iter().flatten().flatten().max().copied().unwrap_or(1) as f64;
        let mut svg = Svg::default();
        for (index, (one, line)) in shown.iter().zip(&lines).enumerate() {
            let from = left + index as f64 * (width + GAP);
            let area = Area { left: from, right: from + width, top: 24.0, bottom: height - 30.0 };
            let strip = Strip { frame, area, top_ns: highest * 1.08 };
            strip.draw(&mut svg, one, line, index == 0);
        }
        (svg, height)
    })
}

/// The p99 of each moment of a window; `None` where that packet was lost.
fn moments(one: &Series, width: f64) -> Vec<Option<u64>> {
    let most = (width / MOMENT_WIDTH).max(1.0) as usize;
    let count = (one.samples.len() / PACKETS_MIN).clamp(1, most);
    let size = one.samples.len().div_ceil(count);
    let p99 = |moment: &[Sample]| {
        let mut latencies: Vec<u64> = moment.iter().map(|sample| sample.latency_ns).collect();
        let rank = (latencies.len() * 99).div_ceil(100).max(1) - 1;
        let (_, &mut found, _) = latencies.select_nth_unstable(rank);
        Some(found).filter(|latency| *latency != Sample::LOST)
    };
    one.samples.chunks(size).map(p99).collect()
}

struct Strip {
    frame: Frame,
    area: Area,
    /// The latency at the upper edge; 0 is at the lower one.
    top_ns: f64,
}

impl Strip {
    fn y(&self, ns: f64) -> f64 {
        let Area { top, bottom, .. } = self.area;
        bottom - (ns / self.top_ns).clamp(0.0, 1.0) * (bottom - top)
    }

    fn draw(&self, svg: &mut Svg, one: &Series, line: &[Option<u64>], first: bool) {
        let Area { left, right, top, bottom } = self.area;
        svg.rect("plot", self.area);
        let step = axis::time_step(self.top_ns, self.frame.pick(5.0, 4.0));
        for index in 0..=(self.top_ns / step) as u32 {
            let value = f64::from(index) * step;
            let y = self.y(value);
            svg.line("grid", (left, y), (right, y));
            if first {
                let words = text::short_nanoseconds(value);
                svg.text("tick", (left - 8.0, y + 4.0), Anchor::End, &words);
            }
        }
        let name: String = one.name.chars().take(((right - left) / 7.5) as usize).collect();
        svg.text(&format!("name s{}", one.class), (left, top - 8.0), Anchor::Start, &name);
        let length = text::short_nanoseconds(one.window.length_ns as f64);
        svg.text("tick", (right, bottom + 17.0), Anchor::End, &length);
        let (mut d, mut pen) = (String::new(), 'M');
        for (index, moment) in line.iter().enumerate() {
            let Some(latency) = moment else {
                pen = 'M';
                continue;
            };
            let x = left + (index as f64 + 0.5) / line.len() as f64 * (right - left);
            d.push_str(&format!("{pen}{} {}", num(x), num(self.y(*latency as f64))));
            pen = 'L';
        }
        svg.path(&format!("median s{}", one.class), &d);
    }
}
