//! What has no socket at the NIC's own addresses: others' traffic, other addresses, mapped memory; and what
//! looks like it and is nobody's.

use agent::host::sim::Protocol;
use policy::holders::{Certainty, Holder, Signal};

use super::{PID, VF, file, link, look, machine, socket, virtual_function};

/// Docker's way: forwarding is on everywhere, and packets have been forwarded.
fn router() -> agent::host::sim::Machine {
    let mut machine = machine("ice");
    file(&mut machine, "/proc/sys/net/ipv4/conf/eth1/forwarding", "1\n");
    file(&mut machine, "/proc/net/snmp", "Ip: Forwarding ForwDatagrams\nIp: 1 77\n");
    file(&mut machine, "/proc/sys/net/netfilter/nf_conntrack_count", "2\n");
    machine
}

#[test]
fn connections_of_others_count_where_they_go_by_the_nic() {
    let mut busy = router();
    let pair = |from: &str, to: &str| (from.parse().unwrap(), to.parse().unwrap());
    // Of a container, to another network: not by this NIC. Of this host itself: told by its sockets.
    busy.tracked = vec![pair("172.17.0.2", "198.51.100.7"), pair("192.0.2.1", "192.0.2.9")];
    assert_eq!(look(busy.clone()).holders(), [], "a host with containers can be mended");
    busy.tracked.push(pair("172.17.0.2", "192.0.2.9"));
    busy.tracked.push(pair("192.0.2.8", "172.17.0.3"));
    let report = look(busy);
    let ids: Vec<String> = report.holders().iter().map(Holder::id).collect();
    assert_eq!(ids, ["held:forward:172.17.0.2", "held:forward:172.17.0.3"]);
    assert!(report.holders().iter().all(|holder| holder.certainty == Certainty::InUse));
}

#[test]
fn a_router_that_tracks_nothing_is_unknown_and_one_that_forwarded_nothing_is_free() {
    let report = look(router());
    assert_eq!(report.holders().len(), 1, "{:#?}", report.holders());
    assert_eq!(report.holders()[0].id(), "held:forward:eth1");
    assert_eq!(report.holders()[0].certainty, Certainty::Unknown);
    let mut quiet = router();
    file(&mut quiet, "/proc/net/snmp", "Ip: Forwarding ForwDatagrams\nIp: 1 0\n");
    assert_eq!(look(quiet).holders(), []);
    let mut closed = router();
    file(&mut closed, "/proc/sys/net/ipv4/conf/eth1/forwarding", "0\n");
    assert_eq!(look(closed).holders(), []);
}

/// A service's address on lo or dummy, announced by a routing daemon.
#[test]
fn a_connection_from_another_address_counts_where_its_route_leaves_by_the_nic() {
    for (protocol, signal) in [(Protocol::Tcp, Signal::Tcp), (Protocol::Udp, Signal::Udp)] {
        let mut busy = machine("ice");
        socket(&mut busy, protocol, "203.0.113.5:5000", "192.0.2.9:443");
        let report = look(busy);
        assert_eq!(report.holders().len(), 1, "{:#?}", report.holders());
        assert_eq!(report.holders()[0].signal, signal);
        assert!(report.holders()[0].how.contains("leaves by eth1"), "{}", report.holders()[0].how);
        let mut elsewhere = machine("ice");
        socket(&mut elsewhere, protocol, "203.0.113.5:5000", "198.51.100.9:443");
        assert_eq!(look(elsewhere).holders(), []);
    }
}

/// Mapped, and the descriptor closed.
#[test]
fn a_mapped_vfio_device_may_be_any_that_is_bound() {
    let mut mapped = machine("ice");
    let line = "7f0000000000-7f0000100000 rw-s 00000000 00:0e 9 anon_inode:[vfio-device]\n";
    file(&mut mapped, "/proc/7/maps", line);
    assert_eq!(look(mapped.clone()).holders(), [], "no function here is bound to vfio");
    virtual_function(&mut mapped, "vfio-pci");
    link(&mut mapped, &format!("{VF}/iommu_group"), "../../../kernel/iommu_groups/12");
    file(&mut mapped, "/sys/class/vfio/12/dev", "241:0\n");
    let report = look(mapped.clone());
    assert_eq!(report.holders().len(), 1, "{:#?}", report.holders());
    assert_eq!(report.holders()[0].certainty, Certainty::Unknown);
    assert_eq!(report.holders()[0].id(), "held:vfio:feedd");
    // Opened by its own device, the mapping has that one's name.
    file(&mut mapped, &format!("{VF}/vfio-dev/vfio3/dev"), "511:3\n");
    let line = "7f0000000000-7f0000100000 rw-s 00000000 00:0e 9 /dev/vfio/devices/vfio3\n";
    file(&mut mapped, "/proc/7/maps", line);
    let report = look(mapped);
    assert_eq!(report.holders()[0].certainty, Certainty::InUse, "{:#?}", report.holders());
}

/// main() has called pthread_exit: the first thread's table of mappings is empty.
#[test]
fn mappings_of_a_process_without_its_first_thread_are_its_other_threads() {
    let mut headless = machine("ice");
    file(&mut headless, "/proc/7/stat", "7 (feedd) Z 1 7 7 0 -1 0\n");
    file(&mut headless, "/proc/7/maps", "");
    file(&mut headless, "/proc/7/task/7/stat", "7 (feedd) Z 1 7 7 0 -1 0\n");
    let line = "7f0000000000-7f0000100000 rw-s 00000000 00:17 9 \
                /sys/devices/pci0000:3b/0000:3b:00.0/resource0\n";
    file(&mut headless, "/proc/7/task/9/maps", line);
    let report = look(headless);
    let named = |holder: &Holder| {
        holder.signal == Signal::Registers && holder.process.as_ref().is_some_and(|p| p.pid == PID)
    };
    assert!(report.holders().iter().any(named), "{:#?}", report.holders());
}

#[test]
fn a_ring_that_is_bound_to_nothing_yet_or_elsewhere_is_nobodys() {
    let mut rings = machine("ice");
    file(&mut rings, "/sys/module/pf_ring/refcnt", "1\n");
    file(&mut rings, "/proc/net/pf_ring/info", "PF_RING Version : 8.6.0\n");
    file(&mut rings, "/proc/net/pf_ring/7-none.0", "Active : 0\n");
    file(&mut rings, "/proc/net/pf_ring/7-eth9.1", "Bound Device(s)    : eth9\n");
    assert_eq!(look(rings).holders(), []);
}
