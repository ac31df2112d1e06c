//! Counters of the network stack: /proc/net/snmp, netstat, snmp6 and softnet_stat, parsed by name,
//! since their columns differ from kernel to kernel.
//!
//! Read under /proc/thread-self, so that they are those of the calling thread's network namespace
//! (/proc/net is the process leader's). softnet_stat is the whole host's everywhere.

use crate::fault::{Fault, Kind, Result};

type Parsed = Result<Vec<(String, u64)>>;
type Parser = fn(&str) -> Parsed;

/// Each file with its parser.
pub const FILES: &[(&str, Parser)] = &[
    ("/proc/thread-self/net/snmp", snmp),
    ("/proc/thread-self/net/netstat", snmp),
    ("/proc/thread-self/net/snmp6", snmp6),
    ("/proc/thread-self/net/softnet_stat", softnet),
];

/// The counters worth keeping, by the kernel's protocol and name (net/ipv4/proc.c).
const KEPT: &[(&str, &[&str])] = &[
    ("Ip", &["InDiscards", "OutDiscards"]),
    ("Tcp", &["InSegs", "OutSegs", "RetransSegs", "InErrs", "InCsumErrors"]),
    ("Udp", &["InErrors", "RcvbufErrors", "SndbufErrors", "InCsumErrors", "MemErrors"]),
    (
        "TcpExt",
        &[
            "TCPTimeouts",
            "TCPLossProbes",
            "TCPFastRetrans",
            "TCPSlowStartRetrans",
            "TCPLostRetransmit",
            "TCPSpuriousRTOs",
            "TCPSynRetrans",
            "TCPBacklogDrop",
            "TCPRcvQDrop",
            "TCPZeroWindowDrop",
            "PruneCalled",
            "RcvPruned",
            "ListenDrops",
            "ListenOverflows",
            "TCPAutoCorking",
            "BusyPollRxPackets",
            "TCPRetransFail",
            "TCPOFOQueue",
            "TCPDSACKRecv",
            "TCPAckCompressed",
            "DelayedACKLost",
        ],
    ),
];

/// Pairs of lines, `Tcp: names` and `Tcp: values`. Values may be negative (`MaxConn -1`): not counters.
fn snmp(text: &str) -> Parsed {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((protocol, names)), Some((same, values))) =
            (names.split_once(':'), values.split_once(':'))
        else {
            return Err(malformed("snmp", names));
        };
        if protocol != same {
            return Err(malformed("snmp", values));
        }
        let Some((_, kept)) = KEPT.iter().find(|(name, _)| *name == protocol) else { continue };
        for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
            if let (true, Ok(value)) = (kept.contains(&name), value.parse()) {
                found.push((format!("{}.{name}", protocol.to_ascii_lowercase()), value));
            }
        }
    }
    Ok(found)
}

/// `Udp6RcvbufErrors  0`, one a line.
fn snmp6(text: &str) -> Parsed {
    const NAMES: &[(&str, &str)] = &[
        ("Ip6InDiscards", "ip6.InDiscards"),
        ("Ip6OutDiscards", "ip6.OutDiscards"),
        ("Udp6InErrors", "udp6.InErrors"),
        ("Udp6RcvbufErrors", "udp6.RcvbufErrors"),
    ];
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (name, value) = (words.next()?, words.next()?.parse().ok()?);
        let (_, ours) = NAMES.iter().find(|(theirs, _)| *theirs == name)?;
        Some(((*ours).to_owned(), value))
    });
    Ok(lines.collect())
}

/// One row a CPU, hexadecimal: processed, dropped, time_squeeze, … (softnet_seq_show).
fn softnet(text: &str) -> Parsed {
    let mut sums = [0_u64; 3];
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        for sum in &mut sums {
            let word = words.next().and_then(|w| u64::from_str_radix(w, 16).ok());
            *sum += word.ok_or_else(|| malformed("softnet_stat", line))?;
        }
    }
    let names = ["softnet.processed", "softnet.dropped", "softnet.squeezed"];
    Ok(names.map(str::to_owned).into_iter().zip(sums).collect())
}

fn malformed(file: &str, line: &str) -> Fault {
    let line: String = line.chars().take(80).collect();
    Fault::new(Kind::Malformed, format!("read /proc/net/{file}"), format!("unexpected `{line}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_whatever_the_columns() {
        let text = "Ip: Forwarding InDiscards New\nIp: 1 7 9\n\
                    Tcp: RtoAlgorithm MaxConn OutSegs RetransSegs\nTcp: 1 -1 1000 3\n\
                    Icmp: InMsgs\nIcmp: 4\n";
        let expected = [("ip.InDiscards", 7), ("tcp.OutSegs", 1000), ("tcp.RetransSegs", 3)];
        let expected: Vec<_> = expected.map(|(n, v)| (n.to_owned(), v)).into_iter().collect();
        assert_eq!(snmp(text).unwrap(), expected);
        assert!(snmp("Tcp: OutSegs\nUdp: 1\n").is_err());
        assert!(snmp("garbage\nmore\n").is_err());
        let six = snmp6("Ip6InReceives \t4\nUdp6RcvbufErrors\t 2\n").unwrap();
        assert_eq!(six, [("udp6.RcvbufErrors".to_owned(), 2)]);
    }

    #[test]
    fn softnet_sums_over_cpus_in_hexadecimal() {
        let text = "0000000a 00000001 00000010 0 0\n00000002 00000002 00000001 0 0\n";
        let values: Vec<u64> = softnet(text).unwrap().into_iter().map(|(_, v)| v).collect();
        assert_eq!(values, [12, 3, 17]);
        assert!(softnet("zz 1 2\n").is_err());
        assert!(softnet("1 2\n").is_err());
    }
}
