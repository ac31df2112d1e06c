//! `coalesce.*`: interrupt moderation (ethtool -c, -C). The kernel tells no limits of it.

use super::tunable::{Row, Tunable};

/// Switching adaptive moderation off makes these drivers drop the delays sent along (mlx5
/// en_ethtool.c `mlx5e_ethtool_set_coalesce`, bnxt_ethtool.c `bnxt_set_coalesce`), and mlx5 resets
/// them when the mode changes. Sent ahead, they are in force before the delays are written.
const AHEAD: &[&str] = &[
    "coalesce.adaptive-rx",
    "coalesce.adaptive-tx",
    "coalesce.cqe-mode-rx",
    "coalesce.cqe-mode-tx",
];

pub(super) static COALESCE: Tunable = Tunable {
    name: "coalesce",
    get: 19,
    set: 20,
    option: "-C",
    rows: &[
        Row::switch("coalesce.adaptive-rx", "adaptive-rx", 11),
        Row::switch("coalesce.adaptive-tx", "adaptive-tx", 12),
        Row::number("coalesce.rx-usecs", "rx-usecs", 2),
        Row::number("coalesce.rx-frames", "rx-frames", 3),
        Row::number("coalesce.rx-usecs-irq", "rx-usecs-irq", 4),
        Row::number("coalesce.rx-frames-irq", "rx-frames-irq", 5),
        Row::number("coalesce.tx-usecs", "tx-usecs", 6),
        Row::number("coalesce.tx-frames", "tx-frames", 7),
        Row::number("coalesce.tx-usecs-irq", "tx-usecs-irq", 8),
        Row::number("coalesce.tx-frames-irq", "tx-frames-irq", 9),
        Row::number("coalesce.stats-block-usecs", "stats-block-usecs", 10),
        Row::number("coalesce.pkt-rate-low", "pkt-rate-low", 13),
        Row::number("coalesce.rx-usecs-low", "rx-usecs-low", 14),
        Row::number("coalesce.rx-frames-low", "rx-frames-low", 15),
        Row::number("coalesce.tx-usecs-low", "tx-usecs-low", 16),
        Row::number("coalesce.tx-frames-low", "tx-frames-low", 17),
        Row::number("coalesce.pkt-rate-high", "pkt-rate-high", 18),
        Row::number("coalesce.rx-usecs-high", "rx-usecs-high", 19),
        Row::number("coalesce.rx-frames-high", "rx-frames-high", 20),
        Row::number("coalesce.tx-usecs-high", "tx-usecs-high", 21),
        Row::number("coalesce.tx-frames-high", "tx-frames-high", 22),
        Row::number("coalesce.sample-interval", "sample-interval", 23),
        Row::switch("coalesce.cqe-mode-tx", "cqe-mode-tx", 24),
        Row::switch("coalesce.cqe-mode-rx", "cqe-mode-rx", 25),
        Row::number("coalesce.tx-aggr-max-bytes", "tx-aggr-max-bytes", 26),
        Row::number("coalesce.tx-aggr-max-frames", "tx-aggr-max-frames", 27),
        Row::number("coalesce.tx-aggr-time-usecs", "tx-aggr-time-usecs", 28),
        Row::number("coalesce.rx-cqe-frames", "rx-cqe-frames", 31),
        Row::number("coalesce.rx-cqe-nsecs", "rx-cqe-nsecs", 32),
    ],
    // ice and iavf refuse an interval together with moderation that is, or goes, on (EINVAL).
    first: &[("mlx5_core", AHEAD), ("bnxt_en", AHEAD), ("ice", AHEAD), ("iavf", AHEAD)],
};
