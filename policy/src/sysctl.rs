//! The one list of kernel parameters that playbooks may set, and the way from a key to its file.
//!
//! A key is written as sysctl(8) takes it: components divided by dots, a dot inside a component (a VLAN
//! interface, `eth1.100`) written as a slash. In a pattern `*` stands for any run of characters within one
//! component. The first rule that matches decides: the site's own list, then the refusals, then the
//! allowances; what nothing names is refused.

use std::path::PathBuf;

use crate::Refusal;

/// A pattern of keys, and the reason for its place in the list.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub pattern: &'static str,
    pub why: &'static str,
}

const fn rule(pattern: &'static str, why: &'static str) -> Rule {
    Rule { pattern, why }
}

/// What a playbook may set: keys that change how packets wait, not where they go.
pub static ALLOWED: &[Rule] = &[
    rule("net.core.*", "budgets, backlogs, busy polling and socket buffers of the packet path"),
    rule("net.ipv4.tcp_*", "TCP's buffers, timers and batching (for IPv6 too)"),
    rule("net.ipv4.udp_*", "UDP's buffers and early demultiplexing (for IPv6 too)"),
    rule("net.ipv4.ip_early_demux", "looks the socket up before the route: latency only"),
    rule("net.ipv4.igmp_max_memberships", "a feed handler may join more groups than the default"),
    rule("net.ipv4.igmp_max_msf", "sources a multicast group may be filtered by"),
    rule("net.ipv4.ipfrag_high_thresh", "memory for reassembling large datagrams"),
    rule("net.ipv4.ipfrag_low_thresh", "memory for reassembling large datagrams"),
    rule("net.ipv4.ipfrag_time", "how long a datagram waits for its fragments"),
    rule("net.ipv4.neigh.*.base_reachable_time_ms", "re-resolving a neighbour delays a packet"),
    rule("net.ipv4.neigh.*.gc_stale_time", "re-resolving a neighbour delays a packet"),
    rule("net.ipv4.neigh.*.gc_thresh*", "an overflowing neighbour table drops packets"),
    rule("net.ipv4.neigh.*.unres_qlen_bytes", "packets that wait for a neighbour's address"),
    rule("net.unix.max_dgram_qlen", "local sockets between feed handler and strategy"),
];

/// What a playbook may not set, though a wider pattern would take it, or people would look for it here.
pub static REFUSED: &[Rule] = &[
    rule("net.core.bpf_jit_*", "hardening of the BPF compiler is security, not latency"),
    rule("net.core.netdev_rss_key", "the receive hash key is secret and fixed at boot"),
    rule("net.core.xfrm_*", "IPsec's state timers are security"),
    rule("net.core.devconf_inherit_init_net", "decides what new network namespaces start with"),
    rule("net.core.fb_tunnels_only_for_init_net", "decides what new network namespaces have"),
    rule("net.ipv4.tcp_fastopen_key", "a secret; it would be written to the log"),
    rule("net.ipv4.tcp_l3mdev_accept", "routing between VRFs"),
    rule("net.ipv4.udp_l3mdev_accept", "routing between VRFs"),
    rule("net.ipv4.tcp_fwmark_accept", "routing by firewall mark"),
    rule("net.*.ip_forward*", "routing: turns a host into a router"),
    rule("net.*.*.*.forwarding", "routing: turns a host into a router"),
    rule("net.*.*.*.mc_forwarding", "routing of multicast"),
    rule("net.*.*.*.rp_filter", "filtering by source address"),
    rule("net.*.*.*.*accept_*", "which routes and packets are believed"),
    rule("net.*.*.*.*_redirects", "which routes are believed"),
    rule("net.*.*.*.arp_*", "which addresses the host answers for"),
    rule("net.*.route.*", "the routing table's own cache"),
    rule("net.*.fib_*", "routing: how paths are chosen"),
    rule("net.ipv4.icmp_*", "filtering of ICMP"),
    rule("net.ipv4.ip_nonlocal_bind", "which addresses programs may claim"),
    rule("net.ipv4.ip_unprivileged_port_start", "which ports programs may claim"),
    rule("net.netfilter.*", "the firewall's connection tracking"),
    rule("net.bridge.*", "the firewall's view of bridges"),
];

/// Whether a playbook may set `key`; its file, if so. `site` holds the site's own patterns, which widen
/// the list (confinement to /proc/sys holds for them too).
pub fn permit(key: &str, site: &[String]) -> Result<PathBuf, Refusal> {
    let path = path_of(key)?;
    if site.iter().any(|pattern| matches(pattern, key)) {
        return Ok(path);
    }
    if let Some(rule) = REFUSED.iter().find(|rule| matches(rule.pattern, key)) {
        return Err(refusal(key, rule.why));
    }
    if ALLOWED.iter().any(|rule| matches(rule.pattern, key)) {
        return Ok(path);
    }
    let why = match key.split('.').next() {
        Some("net") => "not in the list of keys that playbooks may set",
        Some(_) | None => "only keys under net. are nicmend's to set",
    };
    Err(refusal(key, why))
}

/// Whether this may stand in a site's list: a key with `*` in it, or without.
///
/// # Errors
/// What is wrong with it. One that begins with a star would open all of /proc/sys.
pub fn pattern(pattern: &str) -> Result<(), String> {
    let plain = pattern.replace('*', "x");
    if pattern.starts_with('*') || pattern.contains("**") {
        return Err(format!(
            "`{pattern}` is too wide: its first part is to be named, stars stand apart"
        ));
    }
    path_of(&plain).map(|_| ()).map_err(|refusal| format!("`{pattern}` is no key: {}", refusal.why))
}

fn refusal(key: &str, why: &str) -> Refusal {
    Refusal {
        rule: "sysctl-list",
        why: format!("sysctl {key} is refused: {why}"),
        satisfy: "leave it out, or have the site add it to its own list: `sysctls` of \
                  CONFIG/policy/config.yaml"
            .to_owned(),
    }
}

/// The longest key taken, in bytes; the kernel's longest is under 80.
pub const KEY_BYTES_MAX: usize = 192;

/// The file of a key: always under /proc/sys, whatever the key says.
///
/// This is about the text alone. Whoever opens the file also makes sure that no part of the path is a
/// symbolic link (see `agent::settings::sysctl`).
pub fn path_of(key: &str) -> Result<PathBuf, Refusal> {
    let confined = |why: &str| Refusal {
        rule: "sysctl-confined",
        why: format!("sysctl key {key:?} is refused: {why}"),
        satisfy: "write the key as sysctl(8) lists it: net.ipv4.tcp_rmem".to_owned(),
    };
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(confined("it is empty or too long"));
    }
    if !key.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'*' && b != b'\\') {
        return Err(confined("it has a character that no kernel parameter has"));
    }
    let mut path = PathBuf::from("/proc/sys");
    let mut parts = 0;
    for part in key.split('.') {
        // A slash stands for a dot inside the component, so no component can hold a real slash.
        let part = part.replace('/', ".");
        if part.is_empty() || part.bytes().all(|b| b == b'.') {
            return Err(confined("a part of it is empty or only dots"));
        }
        path.push(part);
        parts += 1;
    }
    if parts < 2 {
        return Err(confined("it names a folder, not a parameter"));
    }
    Ok(path)
}

/// Whether `key` fits `pattern`, component by component.
fn matches(pattern: &str, key: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('.'), key.split('.'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if fits(pattern, part) => {}
            (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

/// Whether one component fits a pattern with any number of `*`. Linear in both for our few stars.
fn fits(pattern: &str, part: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == part };
    let Some(mut rest) = part.strip_prefix(head) else { return false };
    let mut pieces = tail.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_packet_paths_keys_are_permitted() {
        for key in [
            "net.core.busy_poll",
            "net.core.rmem_max",
            "net.ipv4.tcp_rmem",
            "net.ipv4.udp_early_demux",
            "net.ipv4.neigh.eth1/100.gc_stale_time",
            "net.ipv4.neigh.default.gc_thresh3",
        ] {
            assert!(permit(key, &[]).is_ok(), "{key}");
        }
    }

    #[test]
    fn routing_filtering_secrets_and_other_trees_are_refused() {
        for key in [
            "net.ipv4.ip_forward",
            "net.ipv4.conf.all.rp_filter",
            "net.ipv4.conf.eth0.accept_redirects",
            "net.ipv6.conf.all.forwarding",
            "net.ipv4.route.flush",
            "net.ipv4.tcp_fastopen_key",
            "net.core.bpf_jit_harden",
            "net.netfilter.nf_conntrack_max",
            "net.ipv6.conf.eth0.disable_ipv6",
            "kernel.panic",
            "vm.swappiness",
            "fs.protected_symlinks",
        ] {
            let refusal = permit(key, &[]).unwrap_err();
            assert_eq!(refusal.rule, "sysctl-list", "{key}");
            assert!(refusal.why.contains(key), "{refusal}");
        }
    }

    #[test]
    fn a_site_list_widens_but_never_leaves_proc_sys() {
        let site = ["vm.stat_interval".to_owned(), "net.ipv4.conf.*.rp_filter".to_owned()];
        assert!(permit("vm.stat_interval", &site).is_ok());
        assert!(permit("net.ipv4.conf.all.rp_filter", &site).is_ok());
        assert!(permit("vm.swappiness", &site).is_err());
        let everything = ["*.*".to_owned(), "*.*.*".to_owned()];
        assert_eq!(permit("net.//.x", &everything).unwrap_err().rule, "sysctl-confined");
    }

    #[test]
    fn no_key_leads_out_of_proc_sys() {
        for key in [
            "",
            "net",
            "net..core",
            ".net.core.busy_poll",
            "net.core.",
            "net./.x",
            "net.//.//.//.etc.passwd",
            "net.core.\0",
            "net.core.busy poll",
            "net.core.busy\npoll",
            "net.core.bus\u{fc}",
            "net.core.*",
        ] {
            assert_eq!(path_of(key).unwrap_err().rule, "sysctl-confined", "{key:?}");
        }
        assert!(path_of(&format!("net.{}", "a".repeat(KEY_BYTES_MAX))).is_err());
        // Slashes become dots, so `/../` is an odd file name and no way up.
        let odd = path_of("net.core/../../../etc/passwd.x").unwrap_err();
        assert_eq!(odd.rule, "sysctl-confined");
        assert_eq!(
            path_of("net.ipv4.conf.eth1/100.mtu").unwrap(),
            Path::new("/proc/sys/net/ipv4/conf/eth1.100/mtu")
        );
    }

    #[test]
    fn every_key_we_permit_stays_below_proc_sys() {
        // A small fuzz: all words of up to four signs from an unfriendly alphabet, in the middle of a key.
        let signs = ['.', '/', 'a', '\0', '*', '-'];
        for n in 0..signs.len().pow(4) {
            let word: String =
                (0..4).map(|i| signs[n / signs.len().pow(i) % signs.len()]).collect();
            if let Ok(path) = path_of(&format!("net.{word}.x")) {
                assert!(path.starts_with("/proc/sys/net"), "{word:?}");
                let names: Vec<_> = path.components().map(|c| c.as_os_str()).collect();
                assert!(!names.contains(&std::ffi::OsStr::new("..")), "{word:?}");
            }
        }
    }

    #[test]
    fn stars_match_within_one_component() {
        assert!(fits("*accept_*", "drop_accept_x") && fits("a*b*c", "a1b2c") && fits("*", ""));
        assert!(!fits("a*b", "ac") && !fits("gc_thresh*", "gc_tresh1"));
        assert!(!matches("net.core.*", "net.core.a.b") && !matches("net.*.*", "net.core"));
    }

    #[test]
    fn every_rule_has_a_reason_and_a_pattern_that_can_match() {
        for rule in ALLOWED.iter().chain(REFUSED) {
            assert!(rule.why.len() > 10, "{}", rule.pattern);
            assert!(path_of(&rule.pattern.replace('*', "x")).is_ok(), "{}", rule.pattern);
        }
    }
}
