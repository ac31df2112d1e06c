//! The number-valued families of ethtool netlink, attribute by attribute.
//!
//! Numbers from include/uapi/linux/ethtool_netlink_generated.h of Linux 7.2, written down here apart
//! from the product's own rows, so that each checks the other.

/// How wide an attribute is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    U8,
    U32,
}

/// One attribute that carries a value.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) attr: u16,
    /// As the vocabulary names it, without the family.
    pub(super) name: &'static str,
    pub(super) width: Width,
    /// The attribute that carries its limit, if any.
    pub(super) max: Option<u16>,
}

const fn u32_of(attr: u16, name: &'static str) -> Row {
    Row { attr, name, width: Width::U32, max: None }
}

const fn u8_of(attr: u16, name: &'static str) -> Row {
    Row { attr, name, width: Width::U8, max: None }
}

const fn limited(attr: u16, name: &'static str, max: u16) -> Row {
    Row { attr, name, width: Width::U32, max: Some(max) }
}

/// ETHTOOL_A_RINGS_*
pub(super) const RING: &[Row] = &[
    limited(6, "rx", 2),
    limited(7, "rx-mini", 3),
    limited(8, "rx-jumbo", 4),
    limited(9, "tx", 5),
    u32_of(10, "rx-buf-len"),
    u8_of(11, "tcp-data-split"),
    u32_of(12, "cqe-size"),
    u8_of(13, "tx-push"),
    u8_of(14, "rx-push"),
    limited(15, "tx-push-buf-len", 16),
    limited(17, "hds-thresh", 18),
];

/// ETHTOOL_A_CHANNELS_*
pub(super) const CHANNELS: &[Row] =
    &[limited(6, "rx", 2), limited(7, "tx", 3), limited(8, "other", 4), limited(9, "combined", 5)];

/// ETHTOOL_A_COALESCE_*
pub(super) const COALESCE: &[Row] = &[
    u32_of(2, "rx-usecs"),
    u32_of(3, "rx-frames"),
    u32_of(4, "rx-usecs-irq"),
    u32_of(5, "rx-frames-irq"),
    u32_of(6, "tx-usecs"),
    u32_of(7, "tx-frames"),
    u32_of(8, "tx-usecs-irq"),
    u32_of(9, "tx-frames-irq"),
    u32_of(10, "stats-block-usecs"),
    u8_of(11, "adaptive-rx"),
    u8_of(12, "adaptive-tx"),
    u32_of(13, "pkt-rate-low"),
    u32_of(14, "rx-usecs-low"),
    u32_of(15, "rx-frames-low"),
    u32_of(16, "tx-usecs-low"),
    u32_of(17, "tx-frames-low"),
    u32_of(18, "pkt-rate-high"),
    u32_of(19, "rx-usecs-high"),
    u32_of(20, "rx-frames-high"),
    u32_of(21, "tx-usecs-high"),
    u32_of(22, "tx-frames-high"),
    u32_of(23, "sample-interval"),
    u8_of(24, "cqe-mode-tx"),
    u8_of(25, "cqe-mode-rx"),
    u32_of(26, "tx-aggr-max-bytes"),
    u32_of(27, "tx-aggr-max-frames"),
    u32_of(28, "tx-aggr-time-usecs"),
    u32_of(31, "rx-cqe-frames"),
    u32_of(32, "rx-cqe-nsecs"),
];

/// ETHTOOL_A_PAUSE_*
pub(super) const PAUSE: &[Row] = &[u8_of(2, "autoneg"), u8_of(3, "rx"), u8_of(4, "tx")];

/// ETHTOOL_A_EEE_*, those that can be written.
pub(super) const EEE: &[Row] =
    &[u8_of(5, "enabled"), u8_of(6, "tx-lpi-enabled"), u32_of(7, "tx-lpi-timer")];
