//! An interface's state and statistics, in one rtnetlink answer. Not from sysfs, whose mount may show
//! another network namespace.

use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Host, Mode,
        tlv::{Attrs, Writer},
    },
};

const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_STATS64: u16 = 23;
const IFLA_CARRIER: u16 = 33;
const IFINFOMSG: usize = 16;

/// `struct rtnl_link_stats64` in its order (include/uapi/linux/if_link.h); newer kernels append.
const STATS64: [&str; 25] = [
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_length_errors",
    "rx_over_errors",
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
    "rx_compressed",
    "tx_compressed",
    "rx_nohandler",
    "rx_otherhost_dropped",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub ifindex: u32,
    pub carrier: bool,
    /// By the kernel's names.
    pub stats: Vec<(&'static str, u64)>,
}

impl Link {
    /// Packets received and sent.
    pub fn packets(&self) -> u64 {
        let counted =
            |name: &str| self.stats.iter().find(|(n, _)| *n == name).map_or(0, |(_, v)| *v);
        counted("rx_packets").wrapping_add(counted("tx_packets"))
    }
}

/// The interface of this name in the host's network namespace.
pub fn read(host: &dyn Host, nic: &str) -> Result<Link> {
    let act = || format!("read the link {nic}");
    let mut attributes = Writer::new();
    attributes.text(IFLA_IFNAME, nic);
    let mut payload = vec![0; IFINFOMSG];
    payload.extend_from_slice(attributes.as_bytes());
    let answers = host.request(&Ask::Route { kind: RTM_GETLINK, mode: Mode::Do, payload })?;
    let answer = answers.first().and_then(|bytes| parse(bytes));
    answer.ok_or_else(|| Fault::new(Kind::Malformed, act(), "the answer holds no link"))
}

fn parse(answer: &[u8]) -> Option<Link> {
    let (header, attributes) = answer.split_first_chunk::<IFINFOMSG>()?;
    let attributes = Attrs(attributes);
    let ifindex = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    let carrier = attributes.find(IFLA_CARRIER).and_then(|a| a.number()) == Some(1);
    let stats = attributes.find(IFLA_STATS64)?;
    let (words, _) = stats.payload.as_chunks::<8>();
    let values = words.iter().map(|w| u64::from_ne_bytes(*w));
    Some(Link { ifindex, carrier, stats: STATS64.into_iter().zip(values).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_an_older_kernel() {
        let mut attributes = Writer::new();
        let stats: Vec<u8> = (0..23_u64).flat_map(|n| (n * 10).to_ne_bytes()).collect();
        attributes.text(IFLA_IFNAME, "eth1").u8(IFLA_CARRIER, 1).put(IFLA_STATS64, &stats);
        let mut answer = vec![0; IFINFOMSG];
        answer[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        answer.extend_from_slice(attributes.as_bytes());
        let link = parse(&answer).unwrap();
        assert_eq!((link.ifindex, link.carrier, link.stats.len()), (7, true, 23));
        assert_eq!(link.packets(), 10);
        assert!(link.stats.contains(&("rx_missed_errors", 150)));
        assert_eq!(parse(&answer[..10]), None);
    }
}
