//! `pause.*`: Ethernet flow control (ethtool -a, -A).

use super::tunable::{Row, Tunable};

pub(super) static PAUSE: Tunable = Tunable {
    name: "pause",
    get: 21,
    set: 22,
    option: "-A",
    rows: &[
        Row::switch("pause.autoneg", "autoneg", 2),
        Row::switch("pause.rx", "rx", 3),
        Row::switch("pause.tx", "tx", 4),
    ],
    first: &[],
};
