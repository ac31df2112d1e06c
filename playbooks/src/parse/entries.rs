//! Reading nodes: mappings with known or open keys, lists, texts, numbers, durations. What is not as it
//! should be is found and left out; reading goes on, so that all errors are told at once.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    findings::{Findings, Mark, shown},
    tree::{Node, Scalar, Shape},
    unit,
};
use crate::vocabulary;

/// One `key: value` of a mapping.
pub struct Entry<'t> {
    pub key: &'t str,
    pub mark: Mark,
    pub value: &'t Node,
}

/// A mapping whose keys are all known.
pub struct Fields<'t> {
    mark: Mark,
    what: &'static str,
    entries: Vec<Entry<'t>>,
}

impl<'t> Fields<'t> {
    pub fn get(&self, key: &str) -> Option<&'t Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.value)
    }

    /// The value of a key that must be there; its absence is found.
    pub fn need(&self, key: &str, findings: &mut Findings) -> Option<&'t Node> {
        let value = self.get(key);
        if value.is_none() {
            findings.wrong(self.mark, format!("{} lacks `{key}`", self.what));
        }
        value
    }

    /// Where `key` is written, or the mapping where it is not.
    pub fn mark_of(&self, key: &str) -> Mark {
        self.entries.iter().find(|entry| entry.key == key).map_or(self.mark, |entry| entry.mark)
    }
}

impl Findings {
    /// A mapping of these keys only, each at most once.
    pub fn fields<'t>(
        &mut self,
        node: &'t Node,
        what: &'static str,
        known: &[&'static str],
    ) -> Option<Fields<'t>> {
        let mut entries = self.entries(node, what)?;
        entries.retain(|entry| {
            if known.contains(&entry.key) {
                return true;
            }
            let message = format!("unknown key `{}` in {what}", shown(entry.key));
            let help = match vocabulary::closest(entry.key, known.iter().copied()) {
                Some((_, name)) => format!("did you mean `{name}`?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            self.mend(entry.mark, message, help);
            false
        });
        Some(Fields { mark: node.mark, what, entries })
    }

    /// A mapping of whatever keys, each at most once; `None` where it is no mapping.
    pub fn entries<'t>(&mut self, node: &'t Node, what: &str) -> Option<Vec<Entry<'t>>> {
        let Shape::Map(pairs) = &node.shape else {
            self.mistyped(node, what, "a mapping");
            return None;
        };
        let mut entries: Vec<Entry<'t>> = Vec::with_capacity(pairs.len());
        let mut seen = std::collections::BTreeMap::new();
        for (key, value) in pairs {
            let mark = key.mark;
            let Shape::Scalar(Scalar { text, .. }) = &key.shape else {
                self.wrong(mark, format!("a key of {what} must be text"));
                continue;
            };
            if text == "<<" {
                self.wrong(mark, "merge keys (`<<`) are refused: write the keys out");
                continue;
            }
            if let Some(first) = seen.insert(text.as_str(), mark.line) {
                let message = format!("the key `{}` is there twice in {what}", shown(text));
                self.mend(mark, message, format!("it is already on line {first}"));
                continue;
            }
            entries.push(Entry { key: text, mark, value });
        }
        Some(entries)
    }

    /// A list of 1 to `most` items.
    pub fn list<'t>(&mut self, node: &'t Node, what: &str, most: usize) -> Option<&'t [Node]> {
        let Shape::List(items) = &node.shape else {
            self.mistyped(node, what, "a list");
            return None;
        };
        if items.is_empty() {
            self.mend(node.mark, format!("{what} is empty"), "name at least one, or drop the key");
            return None;
        }
        if items.len() > most {
            self.wrong(node.mark, format!("{what} has {} items, at most {most}", items.len()));
            return None;
        }
        Some(items)
    }

    /// A single value as it is written, whatever it looks like.
    pub fn scalar<'t>(&mut self, node: &'t Node, what: &str) -> Option<&'t Scalar> {
        match &node.shape {
            Shape::Scalar(scalar) => Some(scalar),
            Shape::Nothing | Shape::List(_) | Shape::Map(_) => {
                self.mistyped(node, what, "a single value");
                None
            }
        }
    }

    /// One line of text, not empty, at most `longest` characters; a bare number or boolean is no text.
    pub fn text<'t>(&mut self, node: &'t Node, what: &str, longest: usize) -> Option<&'t str> {
        let scalar = self.scalar(node, what)?;
        if !scalar.quoted && unit::is_number_or_boolean(&scalar.text) {
            let help = format!("quote it: \"{}\"", shown(&scalar.text));
            self.mend(node.mark, format!("{what} must be text"), help);
            return None;
        }
        self.line(node, what, longest)
    }

    /// As [`Findings::text`], but a bare number is taken as it is written (`20.31`, `0`).
    pub fn line<'t>(&mut self, node: &'t Node, what: &str, longest: usize) -> Option<&'t str> {
        let text = self.scalar(node, what)?.text.trim_end_matches('\n');
        let length = text.chars().count();
        if text.contains(['\n', '\t']) {
            self.wrong(node.mark, format!("{what} must be one line without tabs"));
        } else if text.trim().is_empty() {
            self.wrong(node.mark, format!("{what} is empty"));
        } else if length > longest {
            self.wrong(node.mark, format!("{what} is {length} characters, at most {longest}"));
        } else {
            return Some(text);
        }
        None
    }

    /// A name: lower-case letters, digits and dashes, starting with a letter or digit.
    pub fn name<'t>(&mut self, node: &'t Node, what: &str) -> Option<&'t str> {
        let name = self.text(node, what, 64)?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.bytes().all(plain) && !name.starts_with('-') {
            return Some(name);
        }
        let message = format!("{what} `{}` is not a name", shown(name));
        self.mend(node.mark, message, "lower-case letters, digits and dashes");
        None
    }

    /// A bare whole number of this range.
    pub fn whole(&mut self, node: &Node, what: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let Scalar { text, quoted } = self.scalar(node, what)?;
        let number = if *quoted { None } else { unit::whole(text) };
        let (least, most) = (*range.start(), *range.end());
        let message = match number {
            Some(n) => match u32::try_from(n) {
                Ok(small) if range.contains(&small) => return Some(small),
                Ok(_) | Err(_) => format!("{what} is {n}, not within {least} to {most}"),
            },
            None => format!("{what} must be a whole number, not `{}`", shown(text)),
        };
        self.mend(node.mark, message, format!("{least} to {most}"));
        None
    }

    pub fn switch(&mut self, node: &Node, what: &str) -> Option<bool> {
        let Scalar { text, quoted } = self.scalar(node, what)?;
        let value = if *quoted { None } else { unit::switch(text) };
        if value.is_none() {
            let message = format!("{what} must be true or false, not `{}`", shown(text));
            self.wrong(node.mark, message);
        }
        value
    }

    pub fn duration(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = &self.scalar(node, what)?.text;
        match unit::duration(text) {
            Ok(length) if range.contains(&length) => Some(length),
            Ok(_) => {
                let (least, most) = (unit::spelt(*range.start()), unit::spelt(*range.end()));
                let message = format!("{what} is {}, not within {least} to {most}", shown(text));
                self.wrong(node.mark, message);
                None
            }
            Err(help) => {
                let message = format!("{what} must be a duration, not `{}`", shown(text));
                self.mend(node.mark, message, help);
                None
            }
        }
    }

    /// One of these words.
    pub fn choice<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let text = &self.scalar(node, what)?.text;
        let found = words.iter().find(|(word, _)| word == text);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.unknown(node.mark, what, text, &known);
        }
        found.map(|(_, value)| *value)
    }

    /// `text` is none of the known words: says so, with the nearest.
    pub fn unknown(&mut self, at: Mark, what: &str, text: &str, known: &[&str]) {
        let help = match vocabulary::closest(text, known.iter().copied()) {
            Some((_, word)) => format!("did you mean `{word}`?"),
            None => format!("one of: {}", known.join(", ")),
        };
        self.mend(at, format!("unknown {what} `{}`", shown(text)), help);
    }

    fn mistyped(&mut self, node: &Node, what: &str, wanted: &str) {
        let found = node.shape.noun();
        self.wrong(node.mark, format!("{what} must be {wanted}, not {found}"));
    }
}
