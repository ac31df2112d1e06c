//! Kernel parameters. One row stands for a whole directory; a key that is shared wider, or takes effect
//! later, than the rest of its directory has a row of its own.
//!
//! Scope is where the kernel registers the key: `net_core_table` and `ipv4_table` are the host's,
//! `netns_core_table` and `ipv4_net_table` are copied for each network namespace.

use super::{
    Kind,
    Scope::{Host, Netns},
    Setting,
    TakesEffect::{NewSockets, Reload},
    row::row,
};

const CORE: &str = "net/core/sysctl_net_core.c net_core_table";
const CORE_NETNS: &str = "net/core/sysctl_net_core.c netns_core_table";
const IPV4: &str = "net/ipv4/sysctl_net_ipv4.c ipv4_table";
const IP_SYSCTL: &str = "Documentation/networking/ip-sysctl.rst";
const NET: &str = "Documentation/admin-guide/sysctl/net.rst";

const fn key(name: &'static str, doc: &'static str, source: &'static str) -> Setting {
    row(name, Kind::Text, doc, source)
}

pub(super) const ROWS: &[Setting] = &[
    key(
        "sysctl.*",
        "A kernel parameter under /proc/sys, from the list that policy allows.",
        "Documentation/admin-guide/sysctl/index.rst",
    )
    .scope(Host),
    key("sysctl.net.core.*", "A parameter of the network core. A few are each namespace's own on newer kernels only.", CORE).scope(Host),
    key("sysctl.net.ipv4.*", "A parameter of IPv4, TCP or UDP (TCP over IPv6 too).", IP_SYSCTL)
        .scope(Netns),
    key("sysctl.net.ipv6.*", "A parameter of IPv6.", IP_SYSCTL).scope(Netns),
    key(
        "sysctl.net.core.rmem_default",
        "Bytes of receive buffer that a socket starts with.",
        "net/core/sock.c sock_init_data_uid",
    )
    .scope(Host)
    .from(NewSockets),
    key(
        "sysctl.net.core.wmem_default",
        "Bytes of send buffer that a socket starts with.",
        "net/core/sock.c sock_init_data_uid",
    )
    .scope(Host)
    .from(NewSockets),
    key(
        "sysctl.net.core.rmem_max",
        "Most bytes that SO_RCVBUF may ask for; checked when it asks.",
        "net/core/sock.c sk_setsockopt SO_RCVBUF",
    )
    .scope(Host)
    .from(NewSockets),
    key(
        "sysctl.net.core.wmem_max",
        "Most bytes that SO_SNDBUF may ask for; checked when it asks.",
        "net/core/sock.c sk_setsockopt SO_SNDBUF",
    )
    .scope(Host)
    .from(NewSockets),
    key(
        "sysctl.net.core.busy_read",
        "Microseconds that a blocking read polls the NIC; each socket copies it when it is made.",
        "net/core/sock.c sock_init_data_uid; Documentation/admin-guide/sysctl/net.rst busy_read",
    )
    .scope(Host)
    .from(NewSockets),
    key(
        "sysctl.net.core.default_qdisc",
        "The queueing discipline of devices that come up later.",
        NET,
    )
    .scope(Host)
    .from(Reload),
    key("sysctl.net.core.somaxconn", "Longest queue of a listening socket.", CORE_NETNS)
        .scope(Netns)
        .from(NewSockets),
    key("sysctl.net.core.txrehash", "Choose another path when TCP times out.", CORE_NETNS)
        .scope(Netns)
        .from(NewSockets),
    key(
        "sysctl.net.core.rps_default_mask",
        "RPS CPUs of devices that are made later.",
        CORE_NETNS,
    )
    .scope(Netns)
    .from(Reload),
    key(
        "sysctl.net.ipv4.tcp_rmem",
        "TCP receive buffer: smallest, first, largest bytes. The first is a socket's at its making; \
         the largest bounds its growth at once.",
        "net/ipv4/tcp.c tcp_init_sock; net/ipv4/tcp_input.c tcp_rcv_space_adjust",
    )
    .scope(Netns)
    .from(NewSockets),
    key(
        "sysctl.net.ipv4.tcp_wmem",
        "TCP send buffer: smallest, first, largest bytes. The first is a socket's at its making; \
         the largest bounds its growth at once.",
        "net/ipv4/tcp.c tcp_init_sock; net/ipv4/tcp_input.c tcp_sndbuf_expand",
    )
    .scope(Netns)
    .from(NewSockets),
    key(
        "sysctl.net.ipv4.tcp_congestion_control",
        "Congestion control of new connections.",
        "net/ipv4/tcp_cong.c tcp_assign_congestion_control",
    )
    .scope(Netns)
    .from(NewSockets),
    key("sysctl.net.ipv4.tcp_timestamps", "TCP time stamps; agreed at the handshake.", IP_SYSCTL)
        .scope(Netns)
        .from(NewSockets),
    key("sysctl.net.ipv4.tcp_sack", "Selective acknowledgement; agreed at the handshake.", IP_SYSCTL)
        .scope(Netns)
        .from(NewSockets),
    key("sysctl.net.ipv4.tcp_window_scaling", "Window scaling; agreed at the handshake.", IP_SYSCTL)
        .scope(Netns)
        .from(NewSockets),
    key(
        "sysctl.net.ipv4.tcp_ecn",
        "Explicit congestion notification; agreed at the handshake.",
        IP_SYSCTL,
    )
    .scope(Netns)
    .from(NewSockets),
    key("sysctl.net.ipv4.tcp_fastopen", "Data in the SYN: 1 for clients, 2 for servers.", IP_SYSCTL)
        .scope(Netns)
        .from(NewSockets),
    key(
        "sysctl.net.ipv4.tcp_mtu_probing",
        "Search for the path's MTU; set up when a connection is.",
        "net/ipv4/tcp_output.c tcp_mtup_init",
    )
    .scope(Netns)
    .from(NewSockets),
    key(
        "sysctl.net.ipv4.tcp_reordering",
        "Reordering that TCP expects at first.",
        "net/ipv4/tcp.c tcp_init_sock",
    )
    .scope(Netns)
    .from(NewSockets),
    key(
        "sysctl.net.ipv4.tcp_rto_min_us",
        "Shortest retransmission time-out, in microseconds.",
        "net/ipv4/tcp.c tcp_init_sock",
    )
    .scope(Netns)
    .from(NewSockets),
    key(
        "sysctl.net.ipv4.tcp_rto_max_ms",
        "Longest retransmission time-out, in milliseconds.",
        "net/ipv4/tcp.c tcp_init_sock",
    )
    .scope(Netns)
    .from(NewSockets),
    key("sysctl.net.ipv4.tcp_mem", "Pages of memory that all TCP sockets may take.", IPV4)
        .scope(Host),
    key("sysctl.net.ipv4.udp_mem", "Pages of memory that all UDP sockets may take.", IPV4)
        .scope(Host),
    key("sysctl.net.ipv4.tcp_max_orphans", "Sockets without an owner that TCP keeps.", IPV4)
        .scope(Host),
    key(
        "sysctl.net.ipv4.tcp_allowed_congestion_control",
        "Congestion controls that unprivileged programs may choose.",
        "net/ipv4/tcp_cong.c tcp_set_allowed_congestion_control",
    )
    .scope(Host),
    key("sysctl.net.ipv4.tcp_low_latency", "Has no effect any more; do not set it.", IP_SYSCTL)
        .scope(Host),
];
