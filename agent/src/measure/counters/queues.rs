//! Packets received a queue: the proof that a probe's flows reached every one.
//!
//! From netdev-genl's queue statistics (Linux 6.10 and drivers that offer them), else from the names
//! that drivers give their own statistics.

use crate::host::{
    Ask, Genl, Host, Mode,
    tlv::{Attrs, Writer},
};

use super::{link, statistics};

// include/uapi/linux/netdev.h
const NETDEV_CMD_QSTATS_GET: u8 = 12;
const QSTATS_IFINDEX: u16 = 1;
const QSTATS_QUEUE_TYPE: u16 = 2;
const QSTATS_QUEUE_ID: u16 = 3;
const QSTATS_SCOPE: u16 = 4;
const QSTATS_RX_PACKETS: u16 = 8;
const QUEUE_TYPE_RX: u64 = 0;
const SCOPE_QUEUE: u64 = 1;

/// include/uapi/linux/ethtool.h, `struct ethtool_channels`: nine words, counts from the sixth on.
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const CHANNELS_BYTES: usize = 36;
const CHANNELS_RX: usize = 20;
const CHANNELS_COMBINED: usize = 32;

/// More queues than this no NIC has.
const QUEUES_MAX: usize = 4096;

/// What stands before and after the queue's number in a driver's names, and where that is written.
const NAMES: &[(&str, &str, &str)] = &[
    ("rx_queue_", "_packets", "igb, ixgbe, ice (ice_ethtool.c), virtio_net: rx_queue_%u_packets"),
    ("rx-", ".packets", "i40e, iavf: i40e_ethtool.c rx-%u.packets"),
    ("rx", "_packets", "mlx5_core (counters.rst rx[i]_packets), mlx4_en, newer virtio_net"),
    ("[", "]: rx_ucast_packets", "bnxt_en: bnxt_ethtool.c [%d]: rx_ucast_packets"),
    ("queue_", "_rx_cnt", "ena: ena_ethtool.c queue_%u_rx_cnt"),
    ("rx-", ".rx_packets", "sfc: efx_ethtool.c rx-%hu.rx_packets"),
    ("rx_packets[", "]", "gve: gve_ethtool.c rx_packets[%u]"),
    ("rx_", "_packets", "mana: mana_ethtool.c rx_%d_packets"),
    ("rx_queue_", "_xdp_packets", "veth: veth.c rx_queue_%u_xdp_packets, counted by its NAPI"),
];

/// Packets received so far, by queue; empty where nothing counts them. `own` are the driver's statistics.
pub fn read(host: &dyn Host, nic: &str, own: &[(String, u64)]) -> Vec<u64> {
    let mut queues = from_netdev(host, nic).unwrap_or_else(|| from_names(own));
    if let Some(active) = active(host, nic)
        && active > 0
    {
        // Some drivers name every queue they could have; the rest never receives.
        queues.truncate(active);
    }
    queues
}

/// How many receive queues are in use, where the driver says.
fn active(host: &dyn Host, nic: &str) -> Option<usize> {
    let answer = statistics::ask(host, nic, ETHTOOL_GCHANNELS, CHANNELS_BYTES, &[]).ok()?;
    let count = |at| statistics::word(&answer, at);
    Some(count(CHANNELS_RX)? as usize + count(CHANNELS_COMBINED)? as usize)
}

fn from_netdev(host: &dyn Host, nic: &str) -> Option<Vec<u64>> {
    let ifindex = link::read(host, nic).ok()?.ifindex;
    let mut payload = Writer::new();
    payload.u32(QSTATS_IFINDEX, ifindex).u32(QSTATS_SCOPE, SCOPE_QUEUE as u32);
    let ask = Ask::Genl {
        family: Genl::Netdev,
        command: NETDEV_CMD_QSTATS_GET,
        mode: Mode::Dump,
        payload: payload.into_bytes(),
    };
    let answers = host.request(&ask).ok()?;
    let numbered = answers.iter().filter_map(|answer| {
        let number = |kind| Attrs(answer).find(kind).and_then(|a| a.number());
        let ours = number(QSTATS_IFINDEX) == Some(u64::from(ifindex));
        let receives = number(QSTATS_QUEUE_TYPE) == Some(QUEUE_TYPE_RX);
        if !(ours && receives) {
            return None;
        }
        Some((number(QSTATS_QUEUE_ID)? as usize, number(QSTATS_RX_PACKETS)?))
    });
    let queues = in_order(numbered);
    (!queues.is_empty()).then_some(queues)
}

fn from_names(own: &[(String, u64)]) -> Vec<u64> {
    let by_pattern = NAMES.iter().map(|(before, after, _)| {
        in_order(own.iter().filter_map(|(name, value)| {
            let digits = name.strip_prefix(before)?.strip_suffix(after)?;
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            Some((plain.then(|| digits.parse().ok())??, *value))
        }))
    });
    // Two patterns may match one driver; the one that names more queues is the right one.
    by_pattern.rev().max_by_key(Vec::len).unwrap_or_default()
}

/// Numbered values as a list, the first that is missing ending it.
fn in_order(numbered: impl Iterator<Item = (usize, u64)>) -> Vec<u64> {
    let mut numbered: Vec<_> = numbered.filter(|(queue, _)| *queue < QUEUES_MAX).collect();
    numbered.sort_unstable();
    numbered.dedup_by_key(|(queue, _)| *queue);
    let whole = numbered.into_iter().enumerate().take_while(|(i, (queue, _))| i == queue);
    whole.map(|(_, (_, value))| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_by_each_drivers_names() {
        let own = |names: &[&str]| -> Vec<(String, u64)> {
            names.iter().zip(1..).map(|(n, v)| ((*n).to_owned(), v)).collect()
        };
        for (names, expected) in [
            (&["rx_queue_1_packets", "rx_queue_0_packets", "rx_queue_0_bytes"][..], vec![2, 1]),
            (&["rx-0.packets", "rx-1.packets", "tx-0.packets"], vec![1, 2]),
            (&["rx_packets", "rx0_packets", "rx1_packets", "rx1_xdp_drop"], vec![2, 3]),
            (&["[0]: rx_ucast_packets", "[0]: rx_mcast_packets"], vec![1]),
            (&["queue_0_rx_cnt", "queue_1_rx_cnt", "queue_2_rx_cnt"], vec![1, 2, 3]),
            (&["rx_queue_0_xdp_packets", "rx_queue_0_drops", "tx_queue_0_xdp_xmit"], vec![1]),
            (&["rx_queue_0_packets", "rx_queue_2_packets"], vec![1]),
            (&["rx_packets", "rx_queue_99999999999999999999_packets"], vec![]),
        ] {
            assert_eq!(from_names(&own(names)), expected, "{names:?}");
        }
    }
}
