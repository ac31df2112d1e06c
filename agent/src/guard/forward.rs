//! Traffic that this host forwards for others by the NIC: containers and guests behind its address (NAT), routed
//! networks. Their sockets are in other namespaces or on other machines; here is only what connection tracking
//! knows of them.
//!
//! Docker switches forwarding on for every interface, so that alone says nothing. What counts is a tracked
//! connection neither of whose ends is this host and one of whose ends is reached by the NIC. Where packets
//! have been forwarded and nothing is tracked, nobody knows for whom. What a flow table or XDP forwards past
//! the stack is counted by no one.
//!
//! Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h; net/netfilter/nf_conntrack_netlink.c.

mod flow;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use policy::holders::Signal;

use self::flow::Flow;
use super::{
    Sign,
    clue::{Found, held, unknown},
    leaves::Routes,
    scene::{Port, Scene, present},
};
use crate::{
    fault::Result,
    host::{Ask, Host},
};

/// NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET.
const CONNTRACK: u8 = 1;
const GET: u8 = 1;
/// `struct nfgenmsg`: family (any), version, resource.
const NFGENMSG: [u8; 4] = [0; 4];
const FLOWS_MAX: usize = 65_536;
/// There while the kernel's connection tracking is.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// Those for whom a port forwards that are named each; the rest is counted.
const NAMED_MAX: usize = 16;

pub(super) struct Forward;

impl Sign for Forward {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Forward]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut ports = Vec::new();
        for port in &scene.ports {
            if forwards(scene, port)? {
                ports.push(port);
            }
        }
        let count = if ports.is_empty() { 0 } else { forwarded(scene.host)? };
        if count == 0 {
            return Ok(Found::default());
        }
        let flows = flows(scene.host)?;
        let mut holders = Vec::new();
        if flows.is_empty() {
            // It may be a router without connection tracking.
            holders.extend(ports.iter().map(|port| {
                let how = format!(
                    "this host has forwarded {count} packets, and for whom is not told (no connection is tracked)"
                );
                unknown(Signal::Forward, &port.name, how)
            }));
            return Ok(Found::of(holders));
        }
        let routes = Routes::new(scene.host);
        for port in ports {
            let by_source = on(scene, port, &flows, &routes);
            for (source, of) in by_source.iter().take(NAMED_MAX) {
                let how = format!(
                    "forwards for {source}: {} connections, such as {} to {}",
                    of.len(),
                    of[0].source,
                    of[0].target
                );
                holders.push(held(Signal::Forward, &port.name, &source.to_string(), how));
            }
            if by_source.len() > NAMED_MAX {
                let how = format!("forwards for {} more addresses", by_source.len() - NAMED_MAX);
                holders.push(held(Signal::Forward, &port.name, &port.name, how));
            }
            let gap = if flows.len() >= FLOWS_MAX {
                Some(format!("more than {FLOWS_MAX} tracked connections to look through"))
            } else {
                routes.gap()
            };
            holders.extend(gap.map(|gap| unknown(Signal::Forward, &port.name, gap)));
        }
        Ok(Found::of(holders))
    }
}

/// The flows that go by this port, by the end that is not beyond it.
fn on<'f>(
    scene: &Scene<'_>,
    port: &Port,
    flows: &'f [Flow],
    routes: &Routes<'_>,
) -> BTreeMap<IpAddr, Vec<&'f Flow>> {
    let beyond =
        |end: IpAddr| routes.leaves_by(end, None).is_some_and(|oif| port.stack.contains(&oif));
    let own = |end: IpAddr| scene.local.contains(&end) || end.is_loopback();
    let mut found: BTreeMap<IpAddr, Vec<&Flow>> = BTreeMap::new();
    let through = |flow: &&Flow| {
        let received = flow.source.is_unspecified() || routes.is_for_all(flow.target);
        !own(flow.source) && !own(flow.target) && !received
    };
    for flow in flows.iter().filter(through) {
        match (beyond(flow.source), beyond(flow.target)) {
            (_, true) => found.entry(flow.source).or_default().push(flow),
            (true, false) => found.entry(flow.target).or_default().push(flow),
            (false, false) => {}
        }
    }
    found
}

/// Whether the port, or what sits on it, may forward at all.
fn forwards(scene: &Scene<'_>, port: &Port) -> Result<bool> {
    let names: BTreeSet<&str> = port
        .stack
        .iter()
        .filter_map(|ifindex| scene.links.get(ifindex))
        .map(|link| link.name.as_str())
        .collect();
    for name in names {
        for family in ["ipv4", "ipv6"] {
            let file: PathBuf =
                ["/proc/sys/net", family, "conf", name, "forwarding"].iter().collect();
            if present(scene.host.read(&file))?.is_some_and(|value| value.trim() != "0") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Packets forwarded in this network namespace since it was made.
fn forwarded(host: &dyn Host) -> Result<u64> {
    let v4 = present(host.read(Path::new("/proc/net/snmp")))?.unwrap_or_default();
    let mut rows = v4.lines().filter_map(|line| line.strip_prefix("Ip:"));
    let (names, values) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
    let at = names.split_whitespace().position(|name| name == "ForwDatagrams");
    let v4 = at.and_then(|at| values.split_whitespace().nth(at)?.parse::<u64>().ok());
    let v6 = present(host.read(Path::new("/proc/net/snmp6")))?.unwrap_or_default();
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams"));
    let v6 = v6.and_then(|value| value.trim().parse::<u64>().ok());
    Ok(v4.unwrap_or(0).saturating_add(v6.unwrap_or(0)))
}

/// Connections that are tracked. The kernel is not asked where there is no tracking: that would load it.
fn flows(host: &dyn Host) -> Result<Vec<Flow>> {
    let count = present(host.read(Path::new(COUNT)))?;
    if count.is_none_or(|count| count.trim() == "0") {
        return Ok(Vec::new());
    }
    let answers = host.request(&Ask::Netfilter {
        subsystem: CONNTRACK,
        message: GET,
        payload: NFGENMSG.to_vec(),
        most: FLOWS_MAX,
    })?;
    Ok(answers.iter().filter_map(|answer| Flow::parse(answer)).collect())
}
