//! Latency over time: each window as a strip, thinned so that the fastest and the slowest packet of
//! every column stay. A storm's period is seen here, and nowhere else.

use super::{
    Series,
    axis::{self, Log},
    ccdf::{self, Goal},
    svg::{self, Anchor, Area, Frame, Svg, num},
    text,
};
use crate::{measure::Sample, verdict::Criterions};

/// How wide one column of a strip is, and one of its running median.
const COLUMN: f64 = 1.5;
const MEDIAN_COLUMN: f64 = 9.0;
/// The height of the place above a strip where lost packets are marked.
const LOST_HEIGHT: f64 = 12.0;
const STRIP_GAP: f64 = 5.0;

/// The figure; nothing where no window has samples.
pub(super) fn figure(series: &[Series], by: &Criterions) -> String {
    let shown: Vec<&Series> = series.iter().filter(|one| !one.samples.is_empty()).collect();
    let goals = ccdf::goals(by);
    let Some(domain) = ccdf::domain(series, &goals).filter(|_| !shown.is_empty()) else {
        return String::new();
    };
    let any_lost = shown.iter().any(|one| one.seen.lost > 0);
    let names: Vec<&str> = shown.iter().map(|one| one.name).collect();
    let says = format!("Latency over time in {}.", names.join(", "));
    let caption = match any_lost {
        false => {
            "Latency over time: from the fastest to the slowest packet of each moment, the median as \
             a line. Time since the window began."
        }
        true => {
            "Latency over time: from the fastest to the slowest packet of each moment, the median as \
             a line; marks in the strip above are moments with lost packets. Time since the window \
             began."
        }
    };
    svg::figure(&says, caption, |frame| {
        // Four are two by two: a row of three would leave the last one, mostly the best, alone.
        let columns = match shown.len() {
            4 => 2,
            more => more.min(frame.pick(3, 2)),
        };
        let rows = shown.len().div_ceil(columns);
        let (height, left, gap) = (frame.pick(210.0, 170.0), frame.pick(86.0, 60.0), 14.0);
        let room = frame.width() - left - frame.pick(52.0, 12.0) - gap * (columns - 1) as f64;
        let width = room / columns as f64;
        let mut svg = Svg::default();
        for (index, one) in shown.iter().enumerate() {
            let (row, column) = (index / columns, index % columns);
            let from = left + column as f64 * (width + gap);
            let top =
                row as f64 * height + if any_lost { 24.0 + LOST_HEIGHT + STRIP_GAP } else { 24.0 };
            let area = Area {
                left: from,
                right: from + width,
                top,
                bottom: (row + 1) as f64 * height - 30.0,
            };
            let strip = Strip { frame, area, any_lost, y: Log::new(domain, area.bottom, area.top) };
            strip.draw(&mut svg, one, &goals, column == 0);
        }
        (svg, rows as f64 * height)
    })
}

struct Strip {
    frame: Frame,
    area: Area,
    any_lost: bool,
    y: Log,
}

impl Strip {
    fn draw(&self, svg: &mut Svg, one: &Series, goals: &[Goal], first: bool) {
        let Area { left, right, top, .. } = self.area;
        let last_due = one.samples.last().map_or(0, |sample| sample.due_ns);
        let length_ns = one.window.length_ns.max(last_due.saturating_add(1)) as f64;
        let title = top - if self.any_lost { LOST_HEIGHT + STRIP_GAP + 7.0 } else { 8.0 };
        let name: String = one.name.chars().take(((right - left) / 7.5) as usize).collect();
        svg.text(&format!("name s{}", one.class), (left, title), Anchor::Start, &name);
        self.grid(svg, length_ns, first);
        let columns = self.columns(&one.samples, length_ns, COLUMN);
        let (spans, lost) = self.spans(&columns);
        svg.path(&format!("span s{}", one.class), &spans);
        if !lost.is_empty() {
            svg.path("lostmark", &lost);
        }
        let medians = self.columns(&one.samples, length_ns, MEDIAN_COLUMN);
        svg.path(&format!("median s{}", one.class), &self.medians(&medians));
        for goal in goals {
            let y = self.y.at(goal.at_most_ns);
            svg.line("goal", (left, y), (right, y));
        }
    }

    fn grid(&self, svg: &mut Svg, length_ns: f64, first: bool) {
        let Area { left, right, top, bottom } = self.area;
        svg.rect("plot", self.area);
        for value in self.y.ticks(self.frame.pick(8, 7)) {
            let y = self.y.at(value);
            svg.line("grid", (left, y), (right, y));
            if first {
                let words = text::short_nanoseconds(value);
                svg.text("tick", (left - 8.0, y + 4.0), Anchor::End, &words);
            }
        }
        let step = axis::time_step(length_ns, ((right - left) / 58.0).max(2.0));
        for index in 0..=(length_ns / step) as u32 {
            let part = f64::from(index) * step / length_ns;
            let x = left + part * (right - left);
            svg.line("grid", (x, bottom), (x, bottom + 4.0));
            let anchor = match part {
                p if p < 0.04 => Anchor::Start,
                p if p > 0.96 => Anchor::End,
                _ => Anchor::Middle,
            };
            let words = text::short_nanoseconds(f64::from(index) * step);
            svg.text("tick", (x, bottom + 17.0), anchor, &words);
        }
        if self.any_lost {
            let strip =
                Area { top: top - LOST_HEIGHT - STRIP_GAP, bottom: top - STRIP_GAP, left, right };
            svg.rect("plot strip", strip);
            if first {
                svg.text("tick", (left - 8.0, top - STRIP_GAP - 2.0), Anchor::End, "lost");
            }
        }
    }

    /// The samples that fall into each column of the strip; they are in order of `due_ns`.
    fn columns<'s>(&self, samples: &'s [Sample], length_ns: f64, width: f64) -> Vec<&'s [Sample]> {
        let Area { left, right, .. } = self.area;
        let count = ((right - left) / width).max(1.0) as usize;
        let mut left_over = samples;
        let mut columns = Vec::with_capacity(count);
        for index in 1..=count {
            let end_ns = length_ns * index as f64 / count as f64;
            let inside = left_over.partition_point(|sample| (sample.due_ns as f64) < end_ns);
            let (column, rest) = left_over.split_at(inside);
            columns.push(column);
            left_over = rest;
        }
        columns
    }

    /// From the fastest to the slowest of each column; and the columns in which packets were lost.
    fn spans(&self, columns: &[&[Sample]]) -> (String, String) {
        let (mut spans, mut lost) = (String::new(), String::new());
        for (index, column) in columns.iter().enumerate() {
            let x = num(self.middle(index, columns.len()));
            let answered = || column.iter().filter(|s| !s.is_lost()).map(|s| s.latency_ns);
            if let (Some(low), Some(high)) = (answered().min(), answered().max()) {
                let (from, to) = (num(self.y.at(low as f64)), num(self.y.at(high as f64)));
                // A line without length and with round ends is a dot.
                let end = if from == to { "h0".to_owned() } else { format!("V{to}") };
                spans.push_str(&format!("M{x} {from}{end}"));
            }
            if column.iter().any(Sample::is_lost) {
                let y = num(self.area.top - LOST_HEIGHT - STRIP_GAP);
                lost.push_str(&format!("M{x} {y}v{LOST_HEIGHT}"));
            }
        }
        (spans, lost)
    }

    /// Where half of a column was lost the line breaks off: there is no median to draw.
    fn medians(&self, columns: &[&[Sample]]) -> String {
        let mut d = String::new();
        let mut pen = 'M';
        let mut latencies: Vec<u64> = Vec::new();
        for (index, column) in columns.iter().enumerate().filter(|(_, column)| !column.is_empty()) {
            latencies.clear();
            latencies.extend(column.iter().map(|sample| sample.latency_ns));
            let middle = (latencies.len() - 1) / 2;
            let (_, &mut median, _) = latencies.select_nth_unstable(middle);
            if median == Sample::LOST {
                pen = 'M';
                continue;
            }
            let (x, y) = (self.middle(index, columns.len()), self.y.at(median as f64));
            d.push_str(&format!("{pen}{} {}", num(x), num(y)));
            pen = 'L';
        }
        d
    }

    fn middle(&self, index: usize, count: usize) -> f64 {
        let Area { left, right, .. } = self.area;
        left + (index as f64 + 0.5) / count as f64 * (right - left)
    }
}
