//! The run's timeline: what was going on, by stage, and every event in words below it.

use super::{
    Act, Bar, axis,
    svg::{self, Anchor, Area, Frame, Svg, num},
    text,
};

/// The most rows and bars that are shown; a playbook has few stages.
const ROWS_MAX: usize = 24;
const BARS_MAX: usize = 120;

const ROW_HEIGHT: f64 = 30.0;
/// A write of a few hundred microseconds must be seen beside a window of minutes.
const BAR_WIDTH_MIN: f64 = 3.0;
/// How wide a stretch is drawn in which nothing happened for longer than everything else took.
const BREAK_WIDTH: f64 = 56.0;

pub(super) fn section(bars: &[Bar]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let all = bars;
    let bars = &all[..all.len().min(BARS_MAX)];
    let rows = rows(bars);
    let end = bars.iter().map(|bar| bar.to_ns).max().unwrap_or(0);
    let says =
        format!("Timeline of the run, {} in all; the table below has the events.", text::took(end));
    let caption = [
        (Act::Settle, "settle"),
        (Act::Measure, "measure"),
        (Act::Write, "write"),
        (Act::Judge, "judge"),
        (Act::PutBack, "put back"),
    ];
    let caption: Vec<String> = caption.into_iter().map(|(act, word)| legend(act, word)).collect();
    let mut out = String::from("<section>\n<h3>Timeline</h3>\n");
    out.push_str(&svg::figure(&says, &caption.join(" "), |frame| draw(frame, bars, &rows)));
    out.push_str(&events(bars));
    if all.len() > bars.len() {
        let more = all.len() - bars.len();
        out.push_str(&format!("<p class=\"note\">{more} more events are in the log.</p>\n"));
    }
    out.push_str("</section>\n");
    out
}

fn legend(act: Act, word: &str) -> String {
    let mut svg = Svg::default();
    svg.rect(class(act), Area { left: 0.5, right: 17.5, top: 1.5, bottom: 11.5 });
    format!(
        "<span class=\"entry\">{} {word}</span>",
        svg::inline("swatch", (18.0, 13.0), word, svg)
    )
}

fn class(act: Act) -> &'static str {
    match act {
        Act::Settle => "bar settle",
        Act::Measure => "bar measure",
        Act::Write => "bar write",
        Act::Judge => "bar judge",
        Act::PutBack => "bar back",
        Act::Mark => "bar mark",
    }
}

/// Rows in order of their first bar.
fn rows(bars: &[Bar]) -> Vec<&str> {
    let mut rows: Vec<&str> = Vec::new();
    for bar in bars {
        if !rows.contains(&bar.row.as_str()) && rows.len() < ROWS_MAX {
            rows.push(&bar.row);
        }
    }
    rows
}

fn draw(frame: Frame, bars: &[Bar], rows: &[&str]) -> (Svg, f64) {
    let (left, right) = (frame.pick(126.0, 84.0), frame.width() - 14.0);
    let top = 6.0;
    let bottom = top + rows.len() as f64 * ROW_HEIGHT;
    let clock = Clock::new(bars, left, right);
    let mut svg = Svg::default();
    clock.grid(&mut svg, frame, (top, bottom));
    for (index, row) in rows.iter().enumerate() {
        let middle = top + (index as f64 + 0.5) * ROW_HEIGHT;
        svg.line("grid", (left, middle + ROW_HEIGHT / 2.0), (right, middle + ROW_HEIGHT / 2.0));
        let letters = frame.pick(17, 11);
        let mut name: String = row.chars().take(letters).collect();
        if row.chars().count() > letters {
            name.pop();
            name.push('…');
        }
        svg.text("name", (left - 10.0, middle + 4.0), Anchor::End, &name);
        for bar in bars.iter().filter(|bar| bar.row == *row) {
            one(&mut svg, &clock, bar, middle, right);
        }
    }
    (svg, bottom + 24.0)
}

fn one(svg: &mut Svg, clock: &Clock, bar: &Bar, middle: f64, right: f64) {
    let from = clock.at(bar.from_ns);
    if bar.act == Act::Mark || (bar.act == Act::Judge && bar.from_ns == bar.to_ns) {
        let x = from.min(right - 1.0);
        let class = class(bar.act);
        svg.path(class, &format!("M{} {}l5 6l-5 6l-5 -6z", num(x), num(middle - 6.0)));
        return;
    }
    let to = clock.at(bar.to_ns).max(from + BAR_WIDTH_MIN);
    let inset = 7.0;
    let area = Area {
        left: from.min(right - BAR_WIDTH_MIN),
        right: to.min(right),
        top: middle - ROW_HEIGHT / 2.0 + inset,
        bottom: middle + ROW_HEIGHT / 2.0 - inset,
    };
    svg.rect(class(bar.act), area);
    let words = text::took(bar.to_ns.saturating_sub(bar.from_ns));
    let fits = area.right - area.left > words.chars().count() as f64 * 7.0 + 8.0;
    if fits && bar.act == Act::Measure {
        let at = ((area.left + area.right) / 2.0, middle + 4.0);
        svg.text("inbar", at, Anchor::Middle, &words);
    }
}

/// Time to user units, with long stretches of nothing drawn short.
struct Clock {
    pieces: Vec<Piece>,
}

struct Piece {
    from_ns: u64,
    to_ns: u64,
    left: f64,
    right: f64,
    /// Nothing happened here, and it is drawn shorter than it was.
    broken: bool,
}

impl Clock {
    fn new(bars: &[Bar], left: f64, right: f64) -> Clock {
        let stretches = busy(bars);
        let all: u64 = stretches.iter().map(|(from, to)| to - from).sum::<u64>().max(1);
        // A gap longer than everything else together would leave no room to see it.
        let gaps = stretches.windows(2).filter(|pair| pair[1].0 - pair[0].1 > all).count();
        let idle: u64 =
            stretches.windows(2).map(|pair| pair[1].0 - pair[0].1).filter(|gap| *gap <= all).sum();
        let room = (right - left - gaps as f64 * BREAK_WIDTH).max(60.0);
        let scale = room / (all + idle) as f64;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut x = left;
        for (from_ns, to_ns) in stretches {
            if let Some(before) = pieces.last().map(|piece| piece.to_ns) {
                let broken = from_ns - before > all;
                let width = if broken { BREAK_WIDTH } else { (from_ns - before) as f64 * scale };
                pieces.push(Piece {
                    from_ns: before,
                    to_ns: from_ns,
                    left: x,
                    right: x + width,
                    broken,
                });
                x += width;
            }
            let width = (to_ns - from_ns) as f64 * scale;
            pieces.push(Piece { from_ns, to_ns, left: x, right: x + width, broken: false });
            x += width;
        }
        Clock { pieces }
    }

    fn at(&self, ns: u64) -> f64 {
        let holds = |piece: &&Piece| ns <= piece.to_ns;
        let Some(piece) = self.pieces.iter().find(holds).or(self.pieces.last()) else { return 0.0 };
        let length = (piece.to_ns - piece.from_ns).max(1) as f64;
        let part = (ns.saturating_sub(piece.from_ns) as f64 / length).min(1.0);
        piece.left + part * (piece.right - piece.left)
    }

    fn grid(&self, svg: &mut Svg, frame: Frame, (top, bottom): (f64, f64)) {
        let mut taken = f64::MIN;
        for (from_ns, to_ns, left, right) in self.runs() {
            let length = to_ns - from_ns;
            let room = (right - left) / frame.pick(90.0, 62.0);
            let step = axis::time_step(length as f64, room.max(1.0)).max(1.0);
            for index in 0..=(length as f64 / step) as u64 {
                let ns = from_ns + (index as f64 * step) as u64;
                let x = self.at(ns);
                svg.line("grid", (x, top), (x, bottom));
                if x - taken > 44.0 {
                    // After a break the clock starts anew: 3 days and 2 seconds is no tick to read.
                    let words = text::short_nanoseconds(index as f64 * step);
                    let words = if from_ns > 0 { format!("+{words}") } else { words };
                    svg.text("tick", (x, bottom + 17.0), Anchor::Middle, &words);
                    taken = x;
                }
            }
        }
        for piece in self.pieces.iter().filter(|piece| piece.broken) {
            let (left, right) = (piece.left + 4.0, piece.right - 4.0);
            svg.rect("break", Area { left, right, top, bottom });
            let words = text::took(piece.to_ns - piece.from_ns);
            let words = words.split(' ').take(2).collect::<Vec<_>>().join(" ");
            svg.text("tick", ((left + right) / 2.0, bottom + 17.0), Anchor::Middle, &words);
        }
    }

    /// Stretches between breaks: begin and end in time and on the drawing.
    fn runs(&self) -> Vec<(u64, u64, f64, f64)> {
        let whole = self.pieces.split(|piece| piece.broken);
        whole
            .filter_map(|pieces| {
                let (first, last) = (pieces.first()?, pieces.last()?);
                Some((first.from_ns, last.to_ns, first.left, last.right))
            })
            .collect()
    }
}

/// The stretches in which something was going on, merged, in order.
fn busy(bars: &[Bar]) -> Vec<(u64, u64)> {
    let mut spans: Vec<(u64, u64)> =
        bars.iter().map(|bar| (bar.from_ns, bar.to_ns.max(bar.from_ns))).collect();
    spans.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            Some(_) | None => merged.push((from, to)),
        }
    }
    merged
}

fn events(bars: &[Bar]) -> String {
    let mut out = String::from(
        "<div class=\"scroll\"><table class=\"events\"><thead><tr><th>after</th><th>took</th>\
         <th>where</th><th>what</th></tr></thead>\n",
    );
    for bar in bars {
        let took = match bar.to_ns.saturating_sub(bar.from_ns) {
            0 => String::new(),
            ns => text::took(ns),
        };
        out.push_str(&format!(
            "<tr><td>{}</td><td>{took}</td><td class=\"words\">{}</td><td class=\"words\">{}</td></tr>\n",
            text::took(bar.from_ns),
            text::words(&bar.row, text::NAME_MAX),
            text::words(&bar.words, text::SENTENCE_MAX),
        ));
    }
    out.push_str("</table></div>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(from_ns: u64, to_ns: u64) -> Bar {
        let (row, words) = (String::new(), String::new());
        Bar { row, act: Act::Measure, from_ns, to_ns, words }
    }

    #[test]
    fn time_is_drawn_to_scale_and_a_long_gap_is_not() {
        let clock = Clock::new(&[bar(0, 40), bar(50, 100)], 0.0, 100.0);
        assert_eq!([clock.at(0), clock.at(45), clock.at(100)].map(f64::round), [0.0, 45.0, 100.0]);
        let clock = Clock::new(&[bar(0, 100), bar(1_000_000, 1_000_100)], 0.0, 256.0);
        assert_eq!(
            [clock.at(100), clock.at(1_000_000), clock.at(1_000_100)],
            [100.0, 156.0, 256.0]
        );
        let clock = Clock::new(&[bar(7, 7)], 0.0, 100.0);
        assert!(clock.at(7).is_finite() && clock.at(u64::MAX).is_finite());
    }
}
