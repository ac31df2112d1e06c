//! YAML to a plain tree in which every key and value knows its place.
//!
//! Scalars keep their text as written: `1.10` stays `1.10`, and what kind of value it may be is decided
//! by whoever asks, not by YAML's guesses (`no`, `0755`, `1e3`).

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    Error, Location, Options, Spanned, Tagged,
    budget::BudgetBreach,
    options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy},
};

use super::findings::{Findings, Mark, shown, steers};

/// What kind of file is read, and how much of one.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What a file is called in messages: `playbook`, after "a".
    pub noun: &'static str,
    pub bytes_max: usize,
    /// Keys and values, aliases followed.
    pub nodes_max: usize,
}

/// Deeper than any playbook: the deepest is document, stages, stage, settings, list.
const DEPTH_MAX: usize = 16;
const ANCHORS_MAX: usize = 32;
const ALIASES_MAX: usize = 64;

/// A value of the file, with its place.
#[derive(Debug)]
pub struct Node {
    pub mark: Mark,
    pub shape: Shape,
}

#[derive(Debug)]
pub enum Shape {
    /// No value, `~` or `null`.
    Nothing,
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the file's order, repeated keys included.
    Map(Vec<(Node, Node)>),
}

/// A single value, its text as written.
#[derive(Debug)]
pub struct Scalar {
    pub text: String,
    /// Quoted or in block style: text, whatever it looks like.
    pub quoted: bool,
}

impl Shape {
    /// What it is, for "expected …, found …".
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Shape::Nothing => "nothing",
            Shape::Scalar(_) => "a single value",
            Shape::List(_) => "a list",
            Shape::Map(_) => "a mapping",
        }
    }
}

/// The document of this file, if it is YAML. What such a file must not hold at all (tags, several
/// documents, control characters) is found here.
pub fn read(source: &[u8], bounds: Bounds, findings: &mut Findings) -> Option<Node> {
    let text = text_of(source, bounds, findings)?;
    let raw = match serde_saphyr::from_str_with_options::<Raw>(text, options(bounds, 1)) {
        Ok(raw) => raw,
        Err(error) => {
            let several = is_several_documents(&error);
            report(error, bounds, findings);
            if !several {
                return None;
            }
            // The other errors of the first document are still worth telling.
            let all: Result<Vec<Raw>, _> =
                serde_saphyr::from_multiple_with_options(text, options(bounds, 8));
            all.ok()?.into_iter().next()?
        }
    };
    Some(node(raw, text, bounds.noun, findings))
}

fn text_of<'s>(source: &'s [u8], bounds: Bounds, findings: &mut Findings) -> Option<&'s str> {
    if source.len() > bounds.bytes_max {
        let (size, noun, most) = (source.len(), bounds.noun, bounds.bytes_max);
        findings
            .wrong(Mark::START, format!("the file is {size} bytes long, a {noun} at most {most}"));
        return None;
    }
    let text = match std::str::from_utf8(source) {
        Ok(text) => text,
        Err(error) => {
            let good = String::from_utf8_lossy(&source[..error.valid_up_to()]);
            findings.wrong(mark_after(&good), "not UTF-8 from here on");
            return None;
        }
    };
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let allowed = |c: char| matches!(c, '\n' | '\r' | '\t') || !steers(c);
    if let Some((at, bad)) = text.char_indices().find(|(_, c)| !allowed(*c)) {
        let name = shown(&bad.to_string());
        findings.wrong(mark_after(&text[..at]), format!("the control character {name} is refused"));
        return None;
    }
    Some(text)
}

/// The place just behind this text.
fn mark_after(text: &str) -> Mark {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or(text).chars().count() + 1;
    Mark { line, column, width: 1 }
}

fn options(bounds: Bounds, documents: usize) -> Options {
    let (nodes_max, bytes_max) = (bounds.nodes_max, bounds.bytes_max);
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 3 * nodes_max,
            max_nodes: nodes_max,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_documents: documents,
            max_anchors: ANCHORS_MAX,
            max_aliases: ALIASES_MAX,
            max_recorded_anchor_events: nodes_max,
            max_recorded_anchor_bytes: bytes_max,
            max_total_scalar_bytes: bytes_max,
            max_merge_keys: 0,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: nodes_max,
            max_replay_stack_depth: 4,
            max_alias_expansions_per_anchor: ALIASES_MAX,
        },
        // Repeated keys and `<<` reach us as they are written: we name them, with their place.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

fn is_several_documents(error: &Error) -> bool {
    matches!(
        cause(error),
        Error::MultipleDocuments { .. }
            | Error::Budget { breach: BudgetBreach::Documents { .. }, .. }
    )
}

fn report(error: Error, bounds: Bounds, findings: &mut Findings) {
    let noun = bounds.noun;
    let several = || format!("a second document; a {noun} is one");
    let large = || format!("larger than a {noun} may be once its aliases are followed");
    let at = error.location().map_or(Mark::START, |location| mark(location, 1));
    let message = match cause(&error) {
        Error::MultipleDocuments { .. } => several(),
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Documents { .. } => several(),
            BudgetBreach::Depth { .. } => too_deep(),
            BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
                format!("more than {} keys and values", bounds.nodes_max)
            }
            BudgetBreach::Anchors { .. } => format!("more than {ANCHORS_MAX} anchors"),
            BudgetBreach::Aliases { .. } => format!("more than {ALIASES_MAX} aliases"),
            // The parser may come to know more limits; each of them means the same to us.
            _ => large(),
        },
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => large(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias inside what it stands for".to_owned()
        }
        other => {
            let text = other.to_string();
            // The place is told apart from the message.
            match text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]) {
                // The scanner's own limit, where it reads ahead of ours.
                "recursion limit exceeded" => too_deep(),
                message => shown(message),
            }
        }
    };
    findings.wrong(at, message);
}

fn too_deep() -> String {
    format!("nested deeper than {DEPTH_MAX} levels")
}

/// What went wrong inside an alias, where it did.
fn cause(mut error: &Error) -> &Error {
    while let Error::AliasError { error: inner, .. } | Error::WithSnippet { error: inner, .. } =
        error
    {
        error = inner;
    }
    error
}

fn mark(location: Location, width: usize) -> Mark {
    let from_one = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    Mark { line: from_one(location.line()), column: from_one(location.column()), width }
}

/// A node as the YAML parser gives it: with tag and places, its text still in the source.
type Raw = Tagged<Spanned<Given>>;

enum Given {
    Text(String),
    /// Something plain that YAML takes for a number, a boolean or null.
    Plain,
    Nothing,
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

/// Finishes a node: its text from the source, its tag reported.
fn node(Tagged(spanned, tag): Raw, source: &str, noun: &str, findings: &mut Findings) -> Node {
    let span = spanned.defined.span();
    let slice = span.byte_offset().zip(span.byte_len()).and_then(|(from, length)| {
        let from = usize::try_from(from).ok()?;
        source.get(from..from.checked_add(usize::try_from(length).ok()?)?)
    });
    let slice = slice.unwrap_or("");
    let aliased = spanned.referenced != spanned.defined;
    let width = if aliased { 1 } else { slice.lines().next().unwrap_or("").chars().count() };
    let mark = mark(spanned.referenced, width.max(1));
    if let Some(tag) = tag {
        let tag = shown(&tag);
        findings.wrong(mark, format!("the tag `{tag}` is refused: a {noun} has no tags"));
    }
    let shape = match spanned.value {
        Given::Nothing => Shape::Nothing,
        Given::Plain => Shape::Scalar(Scalar { text: slice.to_owned(), quoted: false }),
        Given::Text(text) => {
            if let Some(bad) = text.chars().find(|c| steers(*c) && !matches!(c, '\n' | '\t')) {
                let bad = shown(&bad.to_string());
                findings.wrong(mark, format!("the control character {bad} is refused"));
            }
            let quoted = slice != text;
            Shape::Scalar(Scalar { text, quoted })
        }
        Given::List(items) => {
            let items = items.into_iter();
            Shape::List(items.map(|item| node(item, source, noun, findings)).collect())
        }
        Given::Map(entries) => {
            let mut pairs = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = node(key, source, noun, findings);
                pairs.push((key, node(value, source, noun, findings)));
            }
            Shape::Map(pairs)
        }
    };
    Node { mark, shape }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Given, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Given, E> {
        Ok(Given::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Given, E> {
        Ok(Given::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Given, E> {
        Ok(Given::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Given, E> {
        Ok(Given::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Given, E> {
        Ok(Given::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Given, E> {
        Ok(Given::Plain)
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Nothing)
    }

    fn visit_none<E>(self) -> Result<Given, E> {
        Ok(Given::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Given, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Given::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Given, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Given::Map(map))
    }
}
