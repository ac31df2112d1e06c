//! What one NIC keeps for itself: rings, channels, features, flags, pause, EEE, RSS, flow rules, link.

use super::{
    Disruption::{LinkFlap, QueueReset},
    Kind,
    Scope::Device,
    Setting,
    row::{INT_MAX, number, row, switch},
};

/// Changing the number of queues makes the driver deal queues to CPUs and hashes anew.
const DEALT_ANEW: &[&str] = &["rss", "irq", "xps", "rps"];

pub(super) const ROWS: &[Setting] = &[
    number(
        "ring.rx",
        "descriptors",
        "Receive descriptors a queue: how many packets may wait for the host. igb, e1000e, ixgbe \
         and tg3 drop the link when it changes.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_RINGS_RX",
    )
    .costs(QueueReset),
    number(
        "ring.rx-mini",
        "descriptors",
        "Descriptors of the ring for small frames, where a NIC has one.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_RINGS_RX_MINI",
    )
    .costs(QueueReset),
    number(
        "ring.rx-jumbo",
        "descriptors",
        "Descriptors of the ring for jumbo frames, where a NIC has one.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_RINGS_RX_JUMBO",
    )
    .costs(QueueReset),
    number(
        "ring.tx",
        "descriptors",
        "Transmit descriptors a queue: how many packets may wait for the NIC.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_RINGS_TX",
    )
    .costs(QueueReset),
    number(
        "ring.rx-buf-len",
        "bytes",
        "Size of one receive buffer.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_RINGS_RX_BUF_LEN",
    )
    .costs(QueueReset),
    number(
        "ring.cqe-size",
        "bytes",
        "Size of one completion queue entry.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_RINGS_CQE_SIZE",
    )
    .costs(QueueReset),
    switch(
        "ring.tx-push",
        "Write the packet's descriptor straight into the device: less latency, more bus traffic.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_RINGS_TX_PUSH",
    )
    .costs(QueueReset),
    number(
        "channels.rx",
        "queues",
        "Channels that only receive.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_CHANNELS_RX_COUNT",
    )
    .costs(QueueReset)
    .disturbs(DEALT_ANEW),
    number(
        "channels.tx",
        "queues",
        "Channels that only send.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_CHANNELS_TX_COUNT",
    )
    .costs(QueueReset)
    .disturbs(DEALT_ANEW),
    number(
        "channels.combined",
        "queues",
        "Channels that receive and send. The kernel refuses fewer than RSS or a flow rule points \
         at; ice forgets its coalescing too.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_CHANNELS_COMBINED_COUNT",
    )
    .costs(QueueReset)
    .disturbs(DEALT_ANEW),
    number(
        "channels.other",
        "queues",
        "Channels for anything else, such as link interrupts.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_CHANNELS_OTHER_COUNT",
    )
    .costs(QueueReset)
    .disturbs(DEALT_ANEW),
    switch(
        "feature.*",
        "A device feature by the kernel's name for it (`rx-gro`). What was asked for is kept apart \
         from what is in force; a playbook asks.",
        "Documentation/networking/netdev-features.rst",
    ),
    switch(
        "feature.rx-lro",
        "Large receive offload: the NIC merges segments. mlx5, ixgbe and bnxt reopen their queues.",
        "net/ethtool/common.c netdev_features_strings",
    )
    .costs(QueueReset),
    switch(
        "feature.rx-gro-hw",
        "GRO done by the NIC. mlx5 and bnxt reopen their queues.",
        "net/ethtool/common.c netdev_features_strings",
    )
    .costs(QueueReset),
    switch(
        "feature.rx-ntuple-filter",
        "Flow rules (and aRFS on mlx5, which reopens its queues). Switching it off may drop the rules.",
        "Documentation/networking/scaling.rst",
    )
    .costs(QueueReset)
    .disturbs(&["ntuple"]),
    switch(
        "feature.tx-tcp-segmentation",
        "TCP segmentation by the NIC over IPv4. The kernel switches the mangled-id variant along.",
        "net/core/dev.c netdev_fix_features",
    )
    .disturbs(&["feature.tx-tcp-mangleid-segmentation"]),
    switch(
        "private-flag.*",
        "A flag that only this driver has, by the driver's name for it. Many reopen the queues.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_PRIVFLAGS_FLAGS",
    )
    .costs(QueueReset),
    switch(
        "private-flag.fw-lldp-agent",
        "ice: LLDP and DCB handled by the firmware. Reconfigures DCB; the firmware remembers it.",
        "drivers/net/ethernet/intel/ice/ice_ethtool.c ice_set_priv_flags",
    )
    .costs(QueueReset)
    .stays(),
    switch(
        "private-flag.vf-true-promisc-support",
        "Intel: a trusted virtual function in promiscuous mode hears all of the port's traffic. i40e has \
         one for the whole card, and lets the first function alone change it.",
        "drivers/net/ethernet/intel/i40e/i40e_ethtool.c i40e_gl_gstrings_priv_flags",
    )
    .scope(Device)
    .costs(QueueReset),
    switch(
        "pause.autoneg",
        "Negotiate flow control with the other end. Most drivers renegotiate the link.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_PAUSE_AUTONEG",
    )
    .costs(LinkFlap)
    .disturbs(&["pause.rx", "pause.tx"]),
    switch(
        "pause.rx",
        "Stop sending when the other end asks. Set it alike at both ends.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_PAUSE_RX",
    )
    .costs(LinkFlap),
    switch(
        "pause.tx",
        "Ask the other end to stop when buffers run full. Set it alike at both ends.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_PAUSE_TX",
    )
    .costs(LinkFlap),
    switch(
        "eee.enabled",
        "Energy-Efficient Ethernet: the link sleeps when idle and takes microseconds to wake.",
        "IEEE 802.3az; Documentation/networking/ethtool-netlink.rst ETHTOOL_A_EEE_ENABLED",
    )
    .costs(LinkFlap),
    switch(
        "eee.tx-lpi-enabled",
        "Whether this end puts its transmitter to sleep.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_EEE_TX_LPI_ENABLED",
    )
    .costs(LinkFlap),
    number(
        "eee.tx-lpi-timer",
        "us",
        "Idle time before the transmitter sleeps.",
        "Documentation/networking/ethtool-netlink.rst ETHTOOL_A_EEE_TX_LPI_TIMER",
    )
    .costs(LinkFlap),
    row(
        "rss.indirection",
        Kind::Indirection,
        "Which receive queue a flow's hash points at: `default`, `equal N`, or `weights a b c`.",
        "Documentation/networking/scaling.rst; include/uapi/linux/ethtool.h struct ethtool_rxfh",
    ),
    row(
        "ntuple.*",
        Kind::Text,
        "The flow rule in this slot of the NIC's table.",
        "include/uapi/linux/ethtool.h struct ethtool_rx_flow_spec",
    ),
    number(
        "link.mtu",
        "bytes",
        "Largest packet. Most drivers restart their queues; below 1280 the kernel takes IPv6 off.",
        "include/uapi/linux/if_link.h IFLA_MTU; RFC 8200 section 5",
    )
    .at_most(65_535)
    .costs(QueueReset),
    number(
        "link.tx-queue-len",
        "packets",
        "Packets the queueing discipline may hold. The kernel stops the queues while it resizes.",
        "include/uapi/linux/if_link.h IFLA_TXQLEN; net/sched/sch_generic.c \
         dev_qdisc_change_tx_queue_len",
    )
    .at_most(INT_MAX)
    .costs(QueueReset),
];
