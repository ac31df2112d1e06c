//! `ring.*`: descriptors a queue and how they are used (ethtool -g, -G).

use super::tunable::{Row, Tunable};

pub(super) static RING: Tunable = Tunable {
    name: "ring",
    get: 15,
    set: 16,
    option: "-G",
    rows: &[
        Row::limited("ring.rx", "rx", 6, 2),
        Row::limited("ring.rx-mini", "rx-mini", 7, 3),
        Row::limited("ring.rx-jumbo", "rx-jumbo", 8, 4),
        Row::limited("ring.tx", "tx", 9, 5),
        Row::number("ring.rx-buf-len", "rx-buf-len", 10),
        Row::number("ring.cqe-size", "cqe-size", 12),
        Row::switch("ring.tx-push", "tx-push", 13),
    ],
    first: &[],
};
