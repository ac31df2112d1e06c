//! `eee.*`: Energy-Efficient Ethernet (ethtool --show-eee, --set-eee).

use super::tunable::{Row, Tunable};

pub(super) static EEE: Tunable = Tunable {
    name: "eee",
    get: 23,
    set: 24,
    option: "--set-eee",
    rows: &[
        Row::switch("eee.enabled", "eee", 5),
        Row::switch("eee.tx-lpi-enabled", "tx-lpi", 6),
        Row::number("eee.tx-lpi-timer", "tx-timer", 7),
    ],
    first: &[],
};
