//! `desk_t2t_seconds{quantile="0.99"}`: one series, as a playbook names it and as an endpoint lists it.
//!
//! Source: the Prometheus text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// A metric's name and labels. Their order says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

const LABELS_MAX: usize = 64;
const TEXT_MAX: usize = 1000;

impl Series {
    /// Whether `other`, as an endpoint lists it, has this name and at least these labels.
    pub fn covers(&self, other: &Series) -> bool {
        let has = |(name, value): (&String, &String)| other.labels.get(name) == Some(value);
        self.name == other.name && self.labels.iter().all(has)
    }

    /// Reads a series from the beginning of a line; what follows it is handed back.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn scan(text: &str) -> Result<(Series, &str), &'static str> {
        let (name, rest) = word(text, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return Err("a series begins with a name of letters, digits, `_` and `:`");
        }
        let mut series = Series { name: name.to_owned(), labels: BTreeMap::new() };
        let Some(mut rest) = blank(rest).strip_prefix('{') else { return Ok((series, rest)) };
        loop {
            rest = blank(rest);
            if let Some(rest) = rest.strip_prefix('}') {
                return Ok((series, rest));
            }
            if series.labels.len() == LABELS_MAX {
                return Err("more than 64 labels");
            }
            let (label, after) = word(rest, |b| b.is_ascii_alphanumeric() || b == b'_');
            if label.is_empty() || label.as_bytes()[0].is_ascii_digit() {
                return Err("a label has a name of letters, digits and `_`");
            }
            let value = blank(after).strip_prefix('=').ok_or("a label is name=\"value\"")?;
            let (value, after) = quoted(blank(value))?;
            if series.labels.insert(label.to_owned(), value).is_some() {
                return Err("a label is there twice");
            }
            rest = blank(after);
            // A comma after the last label is allowed.
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None if rest.starts_with('}') => {}
                None => return Err("labels end with `}`"),
            }
        }
    }
}

fn word(text: &str, of: fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|b| !of(b)).unwrap_or(text.len());
    text.split_at(end)
}

fn blank(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

/// A value in double quotes, with `\\`, `\"` and `\n` in it.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let inner = text.strip_prefix('"').ok_or("a label's value is in double quotes")?;
    let mut value = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &inner[at + 1..])),
            '\\' => match characters.next() {
                Some((_, '\\')) => value.push('\\'),
                Some((_, '"')) => value.push('"'),
                Some((_, 'n')) => value.push('\n'),
                Some(_) | None => return Err("a backslash stands before `\\`, `\"` or `n`"),
            },
            '\n' => return Err("a label's value is one line"),
            plain => value.push(plain),
        }
    }
    Err("a label's value does not end")
}

impl TryFrom<String> for Series {
    type Error = String;

    fn try_from(text: String) -> Result<Series, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("at most {TEXT_MAX} bytes"));
        }
        let (series, rest) = Series::scan(&text)?;
        match rest.trim().is_empty() {
            true => Ok(series),
            false => Err("nothing behind its labels".to_owned()),
        }
    }
}

impl From<Series> for String {
    fn from(series: Series) -> String {
        series.to_string()
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.labels.is_empty() {
            return Ok(());
        }
        let escaped =
            |value: &String| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let pairs =
            self.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
        write!(f, "{{{}}}", pairs.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Series, String> {
        Series::try_from(text.to_owned())
    }

    #[test]
    fn order_and_blanks_say_nothing() {
        let one = read(r#"t2t{quantile="0.99",venue="A"}"#).unwrap();
        let other = read(" t2t".trim()).unwrap();
        assert_eq!(one, read(r#"t2t { venue = "A" , quantile="0.99", }"#).unwrap());
        assert_eq!(one.to_string(), r#"t2t{quantile="0.99",venue="A"}"#);
        assert!(other.covers(&one) && !one.covers(&other) && one.covers(&one));
        let escaped = read(r#"a{b="\\\"\n}"}"#).unwrap();
        assert_eq!(escaped.labels["b"], "\\\"\n}");
        assert_eq!(read(&escaped.to_string()).unwrap(), escaped);
    }

    #[test]
    fn what_follows_is_handed_back() {
        let (series, rest) = Series::scan("up 1 1700000000000").unwrap();
        assert_eq!((series.name.as_str(), rest), ("up", " 1 1700000000000"));
        assert_eq!(Series::scan("a{} NaN").unwrap().1, " NaN");
    }

    #[test]
    fn hostile_series_are_refused() {
        let many: String = (0..100).map(|n| format!("l{n}=\"\",")).collect();
        for text in [
            "",
            "{a=\"b\"}",
            "9a",
            "a-b",
            "a{",
            "a{b",
            "a{b=",
            "a{b=c}",
            "a{b=\"c}",
            "a{b=\"c\"",
            "a{b=\"\\x\"}",
            "a{b=\"c\" d=\"e\"}",
            "a{b=\"c\",b=\"d\"}",
            "a{9b=\"c\"}",
            "a{b=~\"c\"}",
            "a{,}",
            "a{} 1",
            "é",
            &format!("a{{{many}}}"),
            &format!("a{{b=\"{}\"}}", "x".repeat(2000)),
        ] {
            assert!(read(text).is_err(), "{text:?} was taken");
        }
    }
}
