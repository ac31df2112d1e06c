//! Trading phases: what a venue does at an instant, as far as a change to a host is concerned.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A venue's phase, or a host's: the strictest of its venues'.
///
/// The order is how much a change could hurt, least first, so that `max` over a host's venues is the
/// phase that binds it. `Unknown` is the last: what nobody knows is closed to changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// No session: nights, weekends, holidays.
    Closed,
    /// The venue's own daily maintenance: it takes no orders.
    Maintenance,
    /// A pause within a trading day: lunch, between day and night session.
    Break,
    /// Orders are taken, nothing trades yet.
    PreOpen,
    /// Continuous trading.
    Continuous,
    /// A call auction: opening, closing, after a halt.
    Auction,
    /// Not covered by the calendar, or no time to look it up by.
    Unknown,
}

impl Phase {
    /// All of them, least strict first.
    pub const ALL: [Phase; 7] = [
        Phase::Closed,
        Phase::Maintenance,
        Phase::Break,
        Phase::PreOpen,
        Phase::Continuous,
        Phase::Auction,
        Phase::Unknown,
    ];

    /// The word in calendars, policies, logs and `nicmend policy phase`.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Closed => "closed",
            Phase::Maintenance => "maintenance",
            Phase::Break => "break",
            Phase::PreOpen => "pre-open",
            Phase::Continuous => "continuous",
            Phase::Auction => "auction",
            Phase::Unknown => "unknown",
        }
    }

    /// The phase of that word.
    pub fn of(word: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.word() == word)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::Phase;

    #[test]
    fn every_phase_has_one_word_and_unknown_is_the_strictest() {
        for phase in Phase::ALL {
            assert_eq!(Phase::of(phase.word()), Some(phase));
            assert!(phase <= Phase::Unknown, "{phase}");
        }
        assert!(Phase::ALL.is_sorted(), "listed in their order");
        assert_eq!(Phase::of("open"), None);
    }
}
