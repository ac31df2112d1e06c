//! The simulated /proc/sys: the keys that every kernel has, and the checks its handlers make.

use super::Refusal;

/// Key -> value on a fresh kernel with 8 GB. Machines add their own.
pub(super) const EVERYWHERE: &[(&str, &str)] = &[
    ("kernel.ostype", "Linux"),
    ("net.core.busy_poll", "0"),
    ("net.core.busy_read", "0"),
    ("net.core.default_qdisc", "pfifo_fast"),
    ("net.core.dev_weight", "64"),
    ("net.core.netdev_budget", "300"),
    ("net.core.netdev_budget_usecs", "8000"),
    ("net.core.netdev_max_backlog", "1000"),
    ("net.core.optmem_max", "131072"),
    ("net.core.rmem_default", "212992"),
    ("net.core.rmem_max", "212992"),
    ("net.core.rps_default_mask", "00"),
    ("net.core.rps_sock_flow_entries", "0"),
    ("net.core.somaxconn", "4096"),
    ("net.core.wmem_default", "212992"),
    ("net.core.wmem_max", "212992"),
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.tcp_autocorking", "1"),
    ("net.ipv4.tcp_available_congestion_control", "reno cubic"),
    ("net.ipv4.tcp_congestion_control", "cubic"),
    ("net.ipv4.tcp_low_latency", "0"),
    ("net.ipv4.tcp_moderate_rcvbuf", "1"),
    ("net.ipv4.tcp_notsent_lowat", "4294967295"),
    ("net.ipv4.tcp_rmem", "4096 131072 6291456"),
    ("net.ipv4.tcp_sack", "1"),
    ("net.ipv4.tcp_slow_start_after_idle", "1"),
    ("net.ipv4.tcp_timestamps", "1"),
    ("net.ipv4.tcp_tso_win_divisor", "3"),
    ("net.ipv4.tcp_window_scaling", "1"),
    ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
    ("net.ipv4.udp_mem", "186432 248578 372864"),
    ("net.ipv4.udp_rmem_min", "4096"),
    ("net.ipv4.udp_wmem_min", "4096"),
];

/// Keys whose file has no write permission.
const READ_ONLY: &[&str] = &["kernel.ostype", "net.ipv4.tcp_available_congestion_control"];

pub(super) fn writable(key: &str) -> bool {
    !READ_ONLY.contains(&key)
}

/// The path of a key under /proc/sys: dots separate, and a `/` in the key is a dot in a component,
/// as sysctl(8) has it.
pub(super) fn path(key: &str) -> String {
    let swapped: String = key
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    format!("/proc/sys/{swapped}")
}

/// As proc_dointvec prints it: fields separated by tabs.
pub(super) fn print(value: &str) -> String {
    let fields: Vec<&str> = value.split_whitespace().collect();
    let numbers = fields.iter().all(|f| f.parse::<i64>().is_ok());
    format!("{}\n", fields.join(if numbers { "\t" } else { " " }))
}

/// What writing `text` over `now` leaves behind, or the refusal.
///
/// proc_dointvec takes fewer numbers than there are and leaves the rest as they were; more, or
/// something that is no number, is EINVAL.
pub(super) fn written(key: &str, now: &str, text: &str) -> Result<String, Refusal> {
    let old: Vec<&str> = now.split_whitespace().collect();
    let new: Vec<&str> = text.split_whitespace().collect();
    let numeric = !old.is_empty() && old.iter().all(|f| f.parse::<i64>().is_ok());
    if !numeric {
        return match known_word(key, text.trim()) {
            true => Ok(new.join(" ")),
            false => Err(Refusal::errno(libc::ENOENT)),
        };
    }
    if new.is_empty() || new.len() > old.len() || new.iter().any(|f| f.parse::<i64>().is_err()) {
        return Err(Refusal::errno(libc::EINVAL));
    }
    let negative_is_refused = key.starts_with("net.");
    if negative_is_refused && new.iter().any(|f| f.starts_with('-')) {
        return Err(Refusal::errno(libc::EINVAL));
    }
    let kept = old.into_iter().skip(new.len());
    Ok(new.iter().copied().chain(kept).collect::<Vec<_>>().join(" "))
}

/// A congestion control or queueing discipline must be one that the kernel has (or can load).
fn known_word(key: &str, word: &str) -> bool {
    match key {
        "net.ipv4.tcp_congestion_control" => ["reno", "cubic", "bbr"].contains(&word),
        "net.core.default_qdisc" => ["pfifo_fast", "fq", "fq_codel", "noqueue"].contains(&word),
        _ => true,
    }
}
