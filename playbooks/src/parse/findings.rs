//! Problems as they are found, each with its place.

use super::{PROBLEMS_MAX, Problem};

/// A place in the file: line and column from 1, and how many characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

impl Mark {
    /// Where a file that is wrong as a whole is wrong.
    pub const START: Mark = Mark { line: 1, column: 1, width: 1 };
}

/// What is wrong with one file, as it is found.
#[derive(Debug, Default)]
pub struct Findings {
    problems: Vec<Problem>,
    /// Found beyond what is told.
    more: usize,
}

impl Findings {
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Something is wrong here, and nothing is known that would mend it.
    pub fn wrong(&mut self, at: Mark, message: impl Into<String>) {
        self.add(at, message.into(), None);
    }

    /// Something is wrong here, and this would mend it.
    pub fn mend(&mut self, at: Mark, message: impl Into<String>, help: impl Into<String>) {
        self.add(at, message.into(), Some(help.into()));
    }

    fn add(&mut self, at: Mark, message: String, help: Option<String>) {
        if self.problems.len() >= PROBLEMS_MAX {
            self.more += 1;
            return;
        }
        let Mark { line, column, width } = at;
        self.problems.push(Problem { line, column, width: width.max(1), message, help });
    }

    /// In the file's order. Never empty: what could not be made of a file has a problem, and without
    /// any other it is that the file is no such `noun`.
    pub fn told(mut self, noun: &str) -> Vec<Problem> {
        if self.problems.is_empty() {
            self.wrong(Mark::START, format!("not a {noun}"));
        }
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        if let (Some(last), 1..) = (self.problems.last_mut(), self.more) {
            let more = format!("{} more problems are not shown", self.more);
            last.help = Some(match last.help.take() {
                Some(help) => format!("{help}; {more}"),
                None => more,
            });
        }
        self.problems
    }
}

/// Foreign text made safe for a message: short, and without characters that steer a terminal.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut safe: String = text.chars().take(LONGEST).flat_map(printable).collect();
    if text.chars().nth(LONGEST).is_some() {
        safe.push('…');
    }
    safe
}

fn printable(c: char) -> Vec<char> {
    if steers(c) { c.escape_unicode().collect() } else { vec![c] }
}

/// Control characters, and those that make text read otherwise than it is written: separators that
/// some programs break lines at, directional overrides, invisible marks (Unicode TR 36).
pub(super) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}')
        || matches!(c, '\u{00AD}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}
