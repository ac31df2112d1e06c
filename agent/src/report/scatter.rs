//! Latency over time, one panel a window: stalls and storms show here and in no quantile.

use super::{
    Measured, put,
    scale::{Log, linear_ticks},
    text::{escaped, tick_time, time},
};
use std::fmt::Write;

const HEIGHT: f64 = 230.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 948.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 190.0;
const GAP: f64 = 22.0;
/// The strip above the panel's axis where losses are ticked.
const STRIP: f64 = 12.0;
const PER_ROW: usize = 4;

/// Cells of one panel: a dot is drawn where a cell holds a packet, so no slow packet is thinned away.
const COLUMNS: usize = 160;
const ROWS: usize = 80;

/// Draws the panels in rows, all with one latency axis.
pub(super) fn chart(out: &mut String, windows: &[Measured]) {
    let latencies = || {
        let samples = windows.iter().flat_map(|w| &w.window.samples);
        samples.filter(|s| !s.is_lost()).map(|s| s.latency_ns.max(1))
    };
    let low = latencies().min().unwrap_or(1_000) as f64;
    let high = latencies().max().unwrap_or(1_000_000) as f64;
    let y = Log::new(low / 1.1, high * 1.1, BOTTOM, TOP + STRIP);
    for (row, panels) in windows.chunks(PER_ROW).enumerate() {
        put!(
            out,
            "<figure>\n<svg viewBox=\"0 0 960 {HEIGHT}\" role=\"img\" \
             aria-label=\"Latency of each packet over the time of its window\">\n"
        );
        latency_axis(out, &y);
        let width = (RIGHT - LEFT + GAP) / panels.len() as f64 - GAP;
        for (at, measured) in panels.iter().enumerate() {
            let left = LEFT + at as f64 * (width + GAP);
            Panel { left, width, y }.draw(out, measured, row * PER_ROW + at);
        }
        out.push_str("</svg>\n</figure>\n");
    }
}

fn latency_axis(out: &mut String, y: &Log) {
    for (value, _) in y.ticks().into_iter().filter(|(_, labelled)| *labelled) {
        let (at, before) = (y.place(value), LEFT - 8.0);
        let (base, label) = (at + 4.0, tick_time(value));
        put!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>");
        put!(out, "<text class=\"tick end\" x=\"{before}\" y=\"{base:.1}\">{label}</text>\n");
    }
}

struct Panel {
    left: f64,
    width: f64,
    y: Log,
}

impl Panel {
    fn draw(&self, out: &mut String, measured: &Measured, series: usize) {
        let Panel { left, width, .. } = *self;
        let window = &measured.window;
        let last = window.samples.last().map_or(0, |s| s.due_ns);
        let length = window.length_ns.max(last).max(1);
        let height = BOTTOM - TOP;
        let axis = height - STRIP;
        put!(
            out,
            "<rect class=\"panel\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>\
             <text class=\"panel-name\" x=\"{left:.1}\" y=\"16\">{}</text>\n",
            escaped(&measured.label)
        );
        self.times(out, length);
        let (cells, lost) = self.cells(measured, length);
        for (class, limits) in [("few", 1..=1), ("some", 2..=9), ("many", 10..=u32::MAX)] {
            let mut path = String::new();
            for (at, _) in cells.iter().enumerate().filter(|(_, n)| limits.contains(*n)) {
                let px = left + (at % COLUMNS) as f64 / COLUMNS as f64 * width;
                let py = BOTTOM - (at / COLUMNS) as f64 / ROWS as f64 * axis;
                put!(path, "M{px:.1} {py:.1}h0");
            }
            if !path.is_empty() {
                put!(out, "<path class=\"dots {class} s{series}\" d=\"{path}\"/>\n");
            }
        }
        let mut path = String::new();
        for (at, _) in lost.iter().enumerate().filter(|(_, lost)| **lost) {
            let px = left + at as f64 / COLUMNS as f64 * width;
            put!(path, "M{px:.1} {TOP}v7");
        }
        if !path.is_empty() {
            put!(out, "<path class=\"gone\" d=\"{path}\"><title>packets lost</title></path>\n");
        }
    }

    fn times(&self, out: &mut String, length_ns: u64) {
        let length = length_ns as f64;
        let ticks = linear_ticks(length);
        // A narrow panel has room for its first and last tick only.
        let stride = if self.width < 300.0 { (ticks.len() - 1).max(1) } else { 1 };
        for tick in ticks.into_iter().step_by(stride) {
            let (px, base) = (self.left + tick / length * self.width, BOTTOM + 18.0);
            let anchor = match tick / length {
                share if share < 0.02 => "",
                share if share > 0.98 => " end",
                _ => " mid",
            };
            let label = if tick == 0.0 { "0".to_owned() } else { tick_time(tick) };
            put!(out, "<text class=\"tick{anchor}\" x=\"{px:.1}\" y=\"{base}\">{label}</text>\n");
        }
    }

    /// How many packets fell into each cell, and in which columns any was lost.
    fn cells(&self, measured: &Measured, length: u64) -> (Vec<u32>, Vec<bool>) {
        let (mut cells, mut lost) = (vec![0_u32; COLUMNS * ROWS], vec![false; COLUMNS]);
        for sample in &measured.window.samples {
            let share = sample.due_ns as f64 / length as f64;
            let column = ((share * COLUMNS as f64) as usize).min(COLUMNS - 1);
            if sample.is_lost() {
                lost[column] = true;
                continue;
            }
            let up = (BOTTOM - self.y.place(sample.latency_ns as f64)) / (BOTTOM - TOP - STRIP);
            let row = ((up * ROWS as f64) as usize).min(ROWS - 1);
            let cell = &mut cells[row * COLUMNS + column];
            *cell = cell.saturating_add(1);
        }
        (cells, lost)
    }
}

/// For a table's cell: the worst packet of a window and when it was due.
pub(super) fn worst(measured: &Measured) -> Option<String> {
    let finite = measured.window.samples.iter().filter(|s| !s.is_lost());
    let worst = finite.max_by_key(|s| s.latency_ns)?;
    Some(format!("{} at {}", time(worst.latency_ns as f64), time(worst.due_ns as f64)))
}
