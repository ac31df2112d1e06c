//! Figures that somebody else measures: the desk's own tick-to-trade, feed gaps, a capture appliance's
//! latency. A playbook says under `metrics` where each is read; criteria call it `external.<name>`.

mod endpoint;
mod series;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use endpoint::Endpoint;
pub use series::Series;

use crate::playbook::duration_ns;

/// One figure: where it is read, and what it means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct External {
    pub source: Source,
    pub kind: Kind,
    pub better: Better,
    /// How often a file or an endpoint is read; a socket speaks when it likes.
    #[serde(with = "duration_ns")]
    pub every: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A regular file whose last line is one number.
    File(String),
    /// A unix stream socket that sends lines: `value`, or `time-ns value`.
    Unix(String),
    /// One series of a Prometheus endpoint.
    Prometheus { url: Endpoint, series: Series },
}

/// What two readings mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Each is a figure of its own; the median of a window is judged.
    Gauge,
    /// A count since some beginning; its increase over a window is judged.
    Counter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    Lower,
    Higher,
}

impl External {
    /// How often a figure is read where `every` is not given.
    pub const EVERY: Duration = Duration::from_millis(100);
    pub const EVERY_MIN: Duration = Duration::from_millis(10);
    pub const EVERY_MAX: Duration = Duration::from_secs(60);

    /// How often it is read; `None` where it comes by itself.
    pub fn period(&self) -> Option<Duration> {
        match self.source {
            Source::File(_) | Source::Prometheus { .. } => Some(self.every),
            Source::Unix(_) => None,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::File(path) => write!(f, "file {path}"),
            Source::Unix(path) => write!(f, "unix socket {path}"),
            Source::Prometheus { url, series } => write!(f, "{series} of {url}"),
        }
    }
}
