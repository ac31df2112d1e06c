//! A setting's value, and the words a playbook may use for one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a setting holds, as it was read from the kernel or is to be written.
///
/// Serialized as the plain JSON value. Two values are compared typed: `Number(1)` is not `Bool(true)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A switch: features, private flags, pause, adaptive moderation.
    Bool(bool),
    /// A count or a time in the setting's own unit (see the vocabulary).
    Number(u64),
    /// A word, or a sysctl's text with white space normalised to single spaces.
    Text(String),
    /// One number a slot: an RSS indirection table.
    Numbers(Vec<u64>),
    /// One text a queue, in queue order: CPU lists as the kernel prints them (`0-3,8`).
    Texts(Vec<String>),
}

impl Value {
    /// The text of a sysctl or a file, trimmed, inner white space folded to single spaces.
    pub fn text(raw: &str) -> Value {
        Value::Text(raw.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    pub fn as_number(&self) -> Option<u64> {
        match self {
            Value::Number(n) => Some(*n),
            Value::Bool(_) | Value::Text(_) | Value::Numbers(_) | Value::Texts(_) => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            Value::Number(_) | Value::Text(_) | Value::Numbers(_) | Value::Texts(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(true) => f.write_str("on"),
            Value::Bool(false) => f.write_str("off"),
            Value::Number(n) => write!(f, "{n}"),
            Value::Text(t) => f.write_str(t),
            Value::Numbers(ns) => {
                let words: Vec<String> = ns.iter().map(u64::to_string).collect();
                f.write_str(&words.join(" "))
            }
            Value::Texts(ts) => f.write_str(&ts.join(" ; ")),
        }
    }
}

/// What a playbook asks a setting to be. The words are resolved against the NIC when planning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// This value, as written.
    Exactly(Value),
    /// The driver's own upper limit.
    Max,
    /// The driver's own lower limit.
    Min,
    /// The kernel's default, where it knows one (RSS, wanted features).
    Default,
    /// RSS: spread equally over the first N queues.
    Equal(u32),
    /// RSS: one weight a queue.
    Weights(Vec<u32>),
    /// The NIC's NUMA node, isolated and nohz_full CPUs left out, dealt to the queues in order.
    LocalCpus,
    /// These CPUs, dealt to the queues in order: a CPU list as the kernel reads it.
    Cpus(String),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Exactly(value) => value.fmt(f),
            Wanted::Max => f.write_str("max"),
            Wanted::Min => f.write_str("min"),
            Wanted::Default => f.write_str("default"),
            Wanted::Equal(n) => write!(f, "equal {n}"),
            Wanted::Weights(ws) => {
                let words: Vec<String> = ws.iter().map(u32::to_string).collect();
                write!(f, "weights {}", words.join(" "))
            }
            Wanted::LocalCpus => f.write_str("local-cpus"),
            Wanted::Cpus(list) => f.write_str(list),
        }
    }
}
