//! Answers that know when they do not know.

use serde::Serialize;

/// Whether something holds. Ordered: `No < Unknown < Yes`, so that the least of several answers is
/// the answer to whether all of them hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    No,
    Unknown,
    Yes,
}

impl Answer {
    pub fn of(holds: bool) -> Answer {
        if holds { Answer::Yes } else { Answer::No }
    }

    /// Unknown where nothing is known.
    pub fn of_known(holds: Option<bool>) -> Answer {
        holds.map_or(Answer::Unknown, Answer::of)
    }
}
