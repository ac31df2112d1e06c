//! Which counters mean a dropped packet, driver by driver. Data; a `*` stands for a queue's number.
//!
//! Not counted: tail drops on purpose (XDP programs, shaping allowances are listed since they lose
//! packets all the same), flow-table misses that are no loss (mlx5 `rx_steer_missed_packets`), link
//! errors (they are in `counters`). The interface's `rx_dropped` also counts frames that nobody on this
//! host wanted (LLDP, spanning tree: net/core/dev.c), so it is a drop only where the driver has no list.

/// One driver's drop counters, in its own spelling, and where they are described.
struct Drops {
    driver: &'static str,
    names: &'static [&'static str],
    #[expect(dead_code, reason = "for the reader: the source of each row")]
    source: &'static str,
}

const DRIVERS: &[Drops] = &[
    Drops {
        driver: "mlx5_core",
        names: &[
            "rx_out_of_buffer",
            "rx_discards_phy",
            "tx_discards_phy",
            "rx_oversize_pkts_sw_drop",
            "tx_queue_dropped",
        ],
        source: "Documentation/networking/device_drivers/ethernet/mellanox/mlx5/counters.rst",
    },
    Drops {
        driver: "ice",
        names: &["rx_dropped.nic", "rx_dropped", "rx_alloc_fail", "rx_pg_alloc_fail"],
        source: "drivers/net/ethernet/intel/ice/ice_ethtool.c",
    },
    Drops {
        driver: "i40e",
        names: &["port.rx_discards", "port.tx_dropped_link_down", "rx_alloc_fail"],
        source: "drivers/net/ethernet/intel/i40e/i40e_ethtool.c",
    },
    Drops {
        driver: "ixgbe",
        names: &["rx_no_buffer_count", "rx_missed_errors", "rx_no_dma_resources"],
        source: "drivers/net/ethernet/intel/ixgbe/ixgbe_ethtool.c",
    },
    Drops {
        driver: "igb",
        names: &["rx_no_buffer_count", "rx_missed_errors", "rx_queue_*_drops"],
        source: "drivers/net/ethernet/intel/igb/igb_ethtool.c",
    },
    Drops {
        driver: "e1000e",
        names: &["rx_no_buffer_count", "rx_missed_errors"],
        source: "drivers/net/ethernet/intel/e1000e/ethtool.c",
    },
    Drops {
        driver: "bnxt_en",
        names: &[
            "[*]: rx_discards",
            "[*]: tx_discards",
            "rx_total_oom_discards",
            "rx_total_ring_discards",
            "tx_total_ring_discards",
            "rx_stat_discard",
            "tx_stat_discard",
        ],
        source: "drivers/net/ethernet/broadcom/bnxt/bnxt_ethtool.c",
    },
    Drops {
        driver: "ena",
        names: &[
            "rx_drops",
            "tx_drops",
            "rx_overruns",
            "bw_in_allowance_exceeded",
            "bw_out_allowance_exceeded",
            "pps_allowance_exceeded",
            "conntrack_allowance_exceeded",
            "linklocal_allowance_exceeded",
        ],
        source: "drivers/net/ethernet/amazon/ena/ena_ethtool.c",
    },
    Drops {
        driver: "sfc",
        names: &["port_rx_nodesc_drops", "port_rx_pm_discard_*"],
        source: "drivers/net/ethernet/sfc/ef10.c",
    },
    Drops {
        driver: "virtio_net",
        names: &["rx_drops", "rx_queue_*_drops", "rx*_drops"],
        source: "drivers/net/virtio_net.c",
    },
    Drops {
        driver: "vmxnet3",
        names: &["pkts rx OOB", "drv dropped rx total", "rx buf alloc fail"],
        source: "drivers/net/vmxnet3/vmxnet3_ethtool.c",
    },
    Drops {
        driver: "veth",
        names: &["rx_queue_*_drops", "tx_dropped"],
        source: "drivers/net/veth.c veth_rq_stats_desc",
    },
];

/// Drops that every interface may count (Documentation/networking/statistics.rst).
const INTERFACE: &[&str] =
    &["rx_missed_errors", "rx_fifo_errors", "rx_over_errors", "tx_dropped", "tx_fifo_errors"];

/// Drops above the NIC (net/ipv4/proc.c, net/core/net-procfs.c).
const HOST: &[&str] = &[
    "softnet.dropped",
    "ip.InDiscards",
    "ip.OutDiscards",
    "ip6.InDiscards",
    "ip6.OutDiscards",
    "udp.RcvbufErrors",
    "udp.SndbufErrors",
    "udp.MemErrors",
    "udp6.RcvbufErrors",
    "tcpext.TCPBacklogDrop",
    "tcpext.TCPRcvQDrop",
    "tcpext.TCPZeroWindowDrop",
    "tcpext.RcvPruned",
    "tcpext.ListenDrops",
];

/// Whether this counter of a snapshot (`nic.rx_missed_errors`, `softnet.dropped`) counts dropped packets.
pub fn means_drop(driver: &str, counter: &str) -> bool {
    let Some(name) = counter.strip_prefix("nic.") else { return HOST.contains(&counter) };
    if INTERFACE.contains(&name) {
        return true;
    }
    match DRIVERS.iter().find(|row| row.driver == driver) {
        Some(row) => row.names.iter().any(|pattern| matches(pattern, name)),
        None => name == "rx_dropped",
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let middle = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    middle.is_some_and(|m| {
        !m.is_empty() && (after.is_empty() || m.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_driver_and_spelling() {
        for (driver, counter, expected) in [
            ("mlx5_core", "nic.rx_out_of_buffer", true),
            ("mlx5_core", "nic.rx_steer_missed_packets", false),
            ("igb", "nic.rx_queue_12_drops", true),
            ("igb", "nic.rx_queue_x_drops", false),
            ("igb", "nic.rx_dropped", false),
            ("bnxt_en", "nic.[7]: rx_discards", true),
            ("sfc", "nic.port_rx_pm_discard_bb_overflow", true),
            ("virtio_net", "nic.rx0_drops", true),
            ("virtio_net", "nic.rx0_xdp_drops", false),
            ("tun", "nic.rx_dropped", true),
            ("tun", "nic.rx_missed_errors", true),
            ("", "softnet.dropped", true),
            ("", "softnet.squeezed", false),
            ("", "udp.RcvbufErrors", true),
        ] {
            assert_eq!(means_drop(driver, counter), expected, "{driver} {counter}");
        }
    }
}
