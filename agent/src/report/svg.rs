//! Drawing: a few shapes, written as SVG whose colours come from the page's style sheet.

use super::text;

/// Every figure is drawn twice, so that its lettering keeps its size: for a page and for a phone. The
/// style sheet shows one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    Wide,
    Narrow,
}

impl Frame {
    /// User units, about CSS pixels.
    pub(super) fn width(self) -> f64 {
        match self {
            Frame::Wide => 880.0,
            Frame::Narrow => 380.0,
        }
    }

    /// One of two figures, by frame.
    pub(super) fn pick<T>(self, wide: T, narrow: T) -> T {
        match self {
            Frame::Wide => wide,
            Frame::Narrow => narrow,
        }
    }
}

/// Where a text hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A rectangle in user units; `y` grows downwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

/// A drawing under way.
#[derive(Debug, Default)]
pub(super) struct Svg {
    body: String,
}

impl Svg {
    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(num);
        self.body.push_str(&format!("<path class=\"{class}\" d=\"M{x1} {y1}L{x2} {y2}\"/>"));
    }

    pub(super) fn rect(&mut self, class: &str, area: Area) {
        let [x, y] = [area.left, area.top].map(num);
        let [w, h] = [area.right - area.left, area.bottom - area.top].map(|v| num(v.max(0.0)));
        self.body.push_str(&format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\"/>"
        ));
    }

    pub(super) fn circle(&mut self, class: &str, at: (f64, f64), radius: f64) {
        let [x, y, r] = [at.0, at.1, radius].map(num);
        self.body.push_str(&format!("<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{r}\"/>"));
    }

    /// `d` is made by this program, never from outside.
    pub(super) fn path(&mut self, class: &str, d: &str) {
        self.body.push_str(&format!("<path class=\"{class}\" d=\"{d}\"/>"));
    }

    /// A text with its baseline at `at`; escaped here.
    pub(super) fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, words: &str) {
        let [x, y] = [at.0, at.1].map(num);
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let words = text::words(words, text::NAME_MAX);
        self.body.push_str(&format!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\"{anchor}>{words}</text>"
        ));
    }

    fn finish(self, frame: Frame, height: f64, says: &str) -> String {
        let class = frame.pick("wide", "narrow");
        let (width, height) = (num(frame.width()), num(height));
        let says = text::words(says, text::SENTENCE_MAX);
        let body = self.body;
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{says}\">{body}</svg>\n"
        )
    }
}

/// Both drawings of a figure with its caption. `says` is what a screen reader says of it; `draw`
/// returns the drawing and its height.
pub(super) fn figure(says: &str, caption: &str, draw: impl Fn(Frame) -> (Svg, f64)) -> String {
    let mut out = String::from("<figure>\n");
    for frame in [Frame::Wide, Frame::Narrow] {
        let (svg, height) = draw(frame);
        out.push_str(&svg.finish(frame, height, says));
    }
    out.push_str(&format!("<figcaption>{caption}</figcaption>\n</figure>\n"));
    out
}

/// One small drawing inside a line of text or a table cell.
pub(super) fn inline(class: &str, size: (f64, f64), says: &str, svg: Svg) -> String {
    let (width, height) = (num(size.0), num(size.1));
    let says = text::words(says, text::SENTENCE_MAX);
    let body = svg.body;
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{says}\">{body}</svg>"
    )
}

/// A coordinate to a tenth: finer than any screen, and short.
pub(super) fn num(value: f64) -> String {
    let tenths = if value.is_finite() { (value * 10.0).round() as i64 } else { 0 };
    let sign = if tenths < 0 { "-" } else { "" };
    let (whole, part) = (tenths.abs() / 10, tenths.abs() % 10);
    if part == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}
