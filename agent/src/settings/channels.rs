//! `channels.*`: how many queues (ethtool -l, -L).

use super::tunable::{Row, Tunable};

pub(super) static CHANNELS: Tunable = Tunable {
    name: "channels",
    get: 17,
    set: 18,
    option: "-L",
    rows: &[
        Row::limited("channels.rx", "rx", 6, 2),
        Row::limited("channels.tx", "tx", 7, 3),
        Row::limited("channels.other", "other", 8, 4),
        Row::limited("channels.combined", "combined", 9, 5),
    ],
    first: &[],
};
