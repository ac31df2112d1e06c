//! A problem as a person reads it: the place, the line, the spot underlined, what would mend it.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

use super::{Problem, findings::steers};

/// Whether the text may steer a terminal's colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colour,
}

/// Columns of the source line that are shown; longer lines are cut around the spot.
const COLUMNS_MAX: usize = 100;
const TAB: &str = "    ";

impl Problem {
    /// `error: …`, `--> FILE:LINE:COLUMN`, the source line with the spot underlined, and the help.
    ///
    /// Safe to print whatever `file` and `source` hold; ends with a newline.
    pub fn render(&self, file: &str, source: &[u8]) -> String {
        self.render_in(Style::Plain, file, source)
    }

    /// As [`Problem::render`], in this style.
    pub fn render_in(&self, style: Style, file: &str, source: &[u8]) -> String {
        let paint = |code: &str, text: &str| match style {
            Style::Plain => text.to_owned(),
            Style::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        };
        let (red, blue) = ("1;31", "1;34");
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let bar = paint(blue, "|");
        let arrow = paint(blue, "-->");
        let file: String = file.chars().map(|c| if steers(c) { '\u{FFFD}' } else { c }).collect();
        let mut text = format!("{}: {}\n", paint(red, "error"), self.message);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{gutter}{arrow} {file}:{}:{}", self.line, self.column);
        if let Some((line, before, under)) = self.spot(source) {
            let number = paint(blue, &number);
            let carets = paint(red, &"^".repeat(under));
            let space = " ".repeat(before);
            let _ = writeln!(text, "{gutter} {bar}");
            let _ = writeln!(text, "{number} {bar} {line}");
            let _ = writeln!(text, "{gutter} {bar} {space}{carets}");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(text, "{gutter} {} help: {help}", paint(blue, "="));
        }
        text
    }

    /// The line as it can be shown, the columns before the spot, and the columns under it.
    fn spot(&self, source: &[u8]) -> Option<(String, usize, usize)> {
        let source = source.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(source);
        let line = source.split(|b| *b == b'\n').nth(self.line.checked_sub(1)?)?;
        // No more of the line is looked at than can matter: it may be the whole of a hostile file.
        let reach = self.column.saturating_add(COLUMNS_MAX).saturating_mul(4);
        let line = String::from_utf8_lossy(&line[..line.len().min(reach)]);
        let cells: Vec<String> = line.trim_end_matches('\r').chars().map(cell).collect();
        let start = self.column.saturating_sub(1).min(cells.len());
        let end = start.saturating_add(self.width).min(cells.len());
        // A line that fits is shown whole. Both loops end after COLUMNS_MAX steps at most, whatever
        // the characters' widths (some have none).
        let mut from = 0;
        if cells.len() > COLUMNS_MAX || columns(&cells) > COLUMNS_MAX {
            from = start;
            let leftmost = start.saturating_sub(COLUMNS_MAX / 2);
            while from > leftmost && columns(&cells[from - 1..start]) <= COLUMNS_MAX / 2 {
                from -= 1;
            }
        }
        let (mut to, rightmost) = (from, cells.len().min(from + COLUMNS_MAX));
        while to < rightmost && columns(&cells[from..=to]) <= COLUMNS_MAX {
            to += 1;
        }
        let (left, right) =
            (if from > 0 { "…" } else { "" }, if to < cells.len() { "…" } else { "" });
        let before = usize::from(from > 0) + columns(&cells[from..start]);
        let under = columns(&cells[start..end.min(to).max(start)]).max(1);
        Some((format!("{left}{}{right}", cells[from..to].concat()), before, under))
    }
}

/// A character as it is shown.
fn cell(c: char) -> String {
    match c {
        '\t' => TAB.to_owned(),
        c if steers(c) => '\u{FFFD}'.to_string(),
        c => c.to_string(),
    }
}

fn columns(cells: &[String]) -> usize {
    cells.iter().flat_map(|cell| cell.chars()).map(|c| c.width().unwrap_or(1)).sum()
}

impl std::fmt::Display for Problem {
    /// `LINE:COLUMN: message (help)`, for logs and JSON.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}
