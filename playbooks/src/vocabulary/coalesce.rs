//! Interrupt moderation: every attribute of ethtool netlink's COALESCE but the DIM profiles, by the names
//! that ethtool(8) prints.

use super::{
    Disruption, Setting,
    row::{number, switch},
};

const RX: &[&str] = &["coalesce.rx-usecs", "coalesce.rx-frames"];
const TX: &[&str] = &["coalesce.tx-usecs", "coalesce.tx-frames"];

pub(super) const ROWS: &[Setting] = &[
    switch(
        "coalesce.adaptive-rx",
        "Let the driver choose the receive delay by load. mlx5 and bnxt drop delays sent in the \
         same request as switching it off.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_USE_ADAPTIVE_RX",
    )
    .disturbs(RX),
    switch(
        "coalesce.adaptive-tx",
        "Let the driver choose the transmit delay by load.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_USE_ADAPTIVE_TX",
    )
    .disturbs(TX),
    number(
        "coalesce.rx-usecs",
        "us",
        "Longest delay between a packet's arrival and its interrupt.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RX_USECS",
    ),
    number(
        "coalesce.rx-frames",
        "packets",
        "Packets that raise the receive interrupt before the delay is over.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RX_MAX_FRAMES",
    ),
    number(
        "coalesce.rx-usecs-irq",
        "us",
        "The receive delay while an interrupt is being served.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RX_USECS_IRQ",
    ),
    number(
        "coalesce.rx-frames-irq",
        "packets",
        "The receive packet count while an interrupt is being served.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RX_MAX_FRAMES_IRQ",
    ),
    number(
        "coalesce.tx-usecs",
        "us",
        "Longest delay between a packet's sending and the interrupt that frees it.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_USECS",
    ),
    number(
        "coalesce.tx-frames",
        "packets",
        "Sent packets that raise the transmit interrupt before the delay is over. virtio_net \
         refuses 0 to non-zero and back while the NIC is up.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_MAX_FRAMES",
    ),
    number(
        "coalesce.tx-usecs-irq",
        "us",
        "The transmit delay while an interrupt is being served.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_USECS_IRQ",
    ),
    number(
        "coalesce.tx-frames-irq",
        "packets",
        "The transmit packet count while an interrupt is being served.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_MAX_FRAMES_IRQ",
    ),
    number(
        "coalesce.stats-block-usecs",
        "us",
        "Time between the NIC's writes of its statistics to memory. bnxt reopens its queues.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_STATS_BLOCK_USECS",
    )
    .costs(Disruption::QueueReset),
    number(
        "coalesce.pkt-rate-low",
        "packets/s",
        "Below this rate the `-low` values govern, where the driver adapts by rate.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_PKT_RATE_LOW",
    ),
    number(
        "coalesce.rx-usecs-low",
        "us",
        "The receive delay at a low packet rate.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RX_USECS_LOW",
    ),
    number(
        "coalesce.rx-frames-low",
        "packets",
        "The receive packet count at a low packet rate.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RX_MAX_FRAMES_LOW",
    ),
    number(
        "coalesce.tx-usecs-low",
        "us",
        "The transmit delay at a low packet rate.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_USECS_LOW",
    ),
    number(
        "coalesce.tx-frames-low",
        "packets",
        "The transmit packet count at a low packet rate.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_MAX_FRAMES_LOW",
    ),
    number(
        "coalesce.pkt-rate-high",
        "packets/s",
        "Above this rate the `-high` values govern, where the driver adapts by rate.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_PKT_RATE_HIGH",
    ),
    number(
        "coalesce.rx-usecs-high",
        "us",
        "The receive delay at a high packet rate. On ice and i40e: the least time between \
         interrupts (0 is no limit; ice takes 0 or 4 to 236).",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RX_USECS_HIGH",
    ),
    number(
        "coalesce.rx-frames-high",
        "packets",
        "The receive packet count at a high packet rate.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RX_MAX_FRAMES_HIGH",
    ),
    number(
        "coalesce.tx-usecs-high",
        "us",
        "The transmit delay at a high packet rate.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_USECS_HIGH",
    ),
    number(
        "coalesce.tx-frames-high",
        "packets",
        "The transmit packet count at a high packet rate.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_MAX_FRAMES_HIGH",
    ),
    number(
        "coalesce.sample-interval",
        "s",
        "How often the driver samples the packet rate to adapt.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RATE_SAMPLE_INTERVAL",
    ),
    switch(
        "coalesce.cqe-mode-rx",
        "Start the receive delay anew at each completion rather than at each event. mlx5 resets \
         its delays.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_USE_CQE_MODE_RX",
    )
    .disturbs(RX),
    switch(
        "coalesce.cqe-mode-tx",
        "Start the transmit delay anew at each completion rather than at each event. mlx5 resets \
         its delays.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_USE_CQE_MODE_TX",
    )
    .disturbs(TX),
    number(
        "coalesce.tx-aggr-max-bytes",
        "bytes",
        "Bytes gathered into one transmission, where the device aggregates.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_AGGR_MAX_BYTES",
    ),
    number(
        "coalesce.tx-aggr-max-frames",
        "packets",
        "Packets gathered into one transmission, where the device aggregates.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_AGGR_MAX_FRAMES",
    ),
    number(
        "coalesce.tx-aggr-time-usecs",
        "us",
        "Longest wait for a transmission to fill.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_TX_AGGR_TIME_USECS",
    ),
    number(
        "coalesce.rx-cqe-frames",
        "packets",
        "Packets reported in one receive completion, where the device coalesces completions.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RX_CQE_FRAMES",
    ),
    number(
        "coalesce.rx-cqe-nsecs",
        "ns",
        "Longest wait for a receive completion to fill.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_COALESCE_RX_CQE_NSECS",
    ),
];
