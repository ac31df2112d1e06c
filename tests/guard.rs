//! Who uses a NIC, found from the kernel's files as they are documented: each signal alone, on a machine
//! that has nothing else; and the same where a file may not be read.

#[path = "guard/beyond.rs"]
mod beyond;
#[path = "guard/rdma.rs"]
mod rdma;

use agent::{
    guard::{self, Report},
    host::{
        Nic, nic,
        sim::{Machine, Pci, Protocol, Sim, SimAddress, SimNic, SimSocket},
    },
};
use playbooks::vocabulary::Disruption;
use policy::holders::{Certainty, Effect, Holder, Signal, TABLE, effect};

const DEVICE: &str = "/sys/devices/pci0000:3b/0000:3b:00.0";
const VF: &str = "/sys/devices/pci0000:3b/0000:3b:02.0";
const PID: u32 = 7;

/// One physical NIC, one process that has nothing of it.
fn machine(driver: &str) -> Machine {
    let pci = Pci {
        address: "0000:3b:00.0".to_owned(),
        vendor: 0x8086,
        device: 0x1592,
        subsystem_vendor: 0,
        subsystem_device: 0,
        serial: None,
        board_serial: None,
        versions: Default::default(),
        stored: Default::default(),
        numa: 0,
    };
    let mut nic = SimNic { driver: driver.to_owned(), pci: Some(pci), ..SimNic::default() };
    nic.around.addresses = vec![address("192.0.2.1")];
    let mut machine = Machine { nics: vec![nic], ..Machine::default() };
    file(&mut machine, "/proc/7/comm", "feedd\n");
    file(&mut machine, "/proc/7/stat", "7 (feedd) S 1 7 7 0 -1 0\n");
    link(&mut machine, "/proc/7/fd/0", "/dev/null");
    link(&mut machine, "/proc/self/ns/pid", "pid:[4026531836]");
    machine
}

fn address(text: &str) -> SimAddress {
    SimAddress { address: text.parse().expect("an address"), length: 24, label: None }
}

fn file(machine: &mut Machine, path: &str, text: &str) {
    machine.files.insert(path.to_owned(), text.to_owned());
}

fn link(machine: &mut Machine, path: &str, target: &str) {
    machine.links.insert(path.to_owned(), target.to_owned());
}

/// The process has this character device open, under whatever name.
fn opens(machine: &mut Machine, name: &str, numbers: &str) {
    link(machine, "/proc/7/fd/3", name);
    machine.devices.insert(name.to_owned(), numbers.to_owned());
}

fn socket(machine: &mut Machine, protocol: Protocol, local: &str, remote: &str) {
    machine.sockets.push(SimSocket {
        protocol,
        inode: 4711,
        local: local.parse().ok(),
        remote: remote.parse().ok(),
        nic: Some("eth1".to_owned()).filter(|_| local.is_empty()),
        queue: 0,
    });
    link(machine, "/proc/7/fd/3", "socket:[4711]");
}

/// A virtual function of the NIC, bound to this driver.
fn virtual_function(machine: &mut Machine, driver: &str) {
    file(machine, &format!("{DEVICE}/sriov_numvfs"), "1\n");
    link(machine, &format!("{DEVICE}/virtfn0"), "../0000:3b:02.0");
    link(machine, "/sys/bus/pci/devices/0000:3b:02.0", "../../../devices/pci0000:3b/0000:3b:02.0");
    file(machine, &format!("{VF}/class"), "0x020000\n");
    link(machine, &format!("{VF}/driver"), &format!("../../../bus/pci/drivers/{driver}"));
}

fn sibling(machine: &mut Machine) {
    let mut other = machine.nics[0].clone();
    let pci = other.pci.as_mut().expect("a PCI function");
    "0000:3b:00.1".clone_into(&mut pci.address);
    "eth2".clone_into(&mut other.name);
    "02:00:00:00:00:02".clone_into(&mut other.mac);
    other.around.addresses.clear();
    machine.nics.push(other);
}

fn look(machine: Machine) -> Report {
    let sim = Sim::new(machine);
    let nic: Nic = nic::find(&sim, "eth1").expect("the NIC");
    guard::look(&sim, &[nic])
}

type Trace = (Signal, &'static str, fn(&mut Machine), Option<u32>, &'static str);

/// Each signal: its driver, the trace it leaves, the process that is named, and a file without which nobody
/// would know ("": none).
#[rustfmt::skip] // one trace after another
const TRACES: &[Trace] = &[
    (Signal::Tcp, "ice", |m| socket(m, Protocol::Tcp, "192.0.2.1:5000", "192.0.2.9:443"), Some(PID), "/proc/7/fd"),
    (Signal::Udp, "ice", |m| socket(m, Protocol::Udp, "192.0.2.1:5000", ""), Some(PID), "/proc/7/fd"),
    (Signal::Udp, "ice", |m| {
        socket(m, Protocol::Udp, "0.0.0.0:5000", "");
        m.sockets[0].nic = Some("eth1".to_owned());
    }, Some(PID), "/proc/7/fd"),
    (Signal::Multicast, "ice", |m| {
        file(m, "/proc/net/igmp", "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
             2\teth1      :     2      V3\n\t\t\t\t010101EF     1 0:00000000\t\t0\n");
        socket(m, Protocol::Udp, "239.1.1.1:31001", "");
    }, Some(PID), "/proc/net/igmp"),
    (Signal::Multicast, "ice", |m| {
        file(m, "/proc/net/igmp", "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
             2\teth1      :     2      V3\n\t\t\t\t010101EF     1 0:00000000\t\t0\n");
    }, None, "/proc/net/igmp"),
    (Signal::Multicast, "ice", |m| {
        file(m, "/proc/net/igmp", "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
             2\teth1      :     2      V3\n\t\t\t\t120000E0     1 0:00000000\t\t0\n");
        // Its raw socket is bound to nothing.
        socket(m, Protocol::Raw, "0.0.0.0:112", "");
    }, Some(PID), "/proc/net/igmp"),
    (Signal::Raw, "ice", |m| {
        socket(m, Protocol::Raw, "0.0.0.0:89", "");
        m.sockets[0].nic = Some("eth1".to_owned());
    }, Some(PID), "/proc/7/fd"),
    (Signal::Raw, "ice", |m| socket(m, Protocol::Raw, "192.0.2.1:112", ""), Some(PID), "/proc/7/fd"),
    (Signal::Listener, "ice", |m| {
        socket(m, Protocol::Tcp, "0.0.0.0:443", "");
        m.sockets[0].nic = Some("eth1".to_owned());
    }, Some(PID), "/proc/7/fd"),
    (Signal::AfXdp, "ice", |m| socket(m, Protocol::Xdp, "", ""), Some(PID), "/proc/7/fd"),
    (Signal::MemoryProvider, "ice", |m| socket(m, Protocol::IoUring, "", ""), None, ""),
    (Signal::Packet, "ice", |m| {
        file(m, "/proc/net/packet", "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
             0000000000000000 3      3    0003   2     1 0      0      4711\n");
        link(m, "/proc/7/fd/3", "socket:[4711]");
    }, Some(PID), "/proc/net/packet"),
    (Signal::Rdma, "mlx5_core", |m| {
        file(m, "/sys/class/infiniband/mlx5_0/node_type", "1: CA\n");
        file(m, &format!("{DEVICE}/infiniband/mlx5_0/node_type"), "1: CA\n");
        file(m, "/sys/class/infiniband_verbs/uverbs0/ibdev", "mlx5_0\n");
        file(m, "/sys/class/infiniband_verbs/uverbs0/dev", "231:192\n");
        // Under a name of its own: a container's node.
        opens(m, "/srv/verbs", "231:192");
    }, Some(PID), "/sys/class/infiniband_verbs"),
    (Signal::Vfio, "ice", |m| {
        virtual_function(m, "vfio-pci");
        link(m, &format!("{VF}/iommu_group"), "../../../kernel/iommu_groups/12");
        file(m, "/sys/class/vfio/12/dev", "241:0\n");
        opens(m, "/dev/vfio/12", "241:0");
    }, Some(PID), "/sys/class/vfio"),
    (Signal::Vfio, "ice", |m| {
        virtual_function(m, "mlx5_vfio_pci");
        file(m, &format!("{VF}/vfio-dev/vfio3/dev"), "511:3\n");
        opens(m, "/dev/vfio/devices/vfio3", "511:3");
    }, Some(PID), "/sys/devices/pci0000:3b/0000:3b:02.0/vfio-dev"),
    (Signal::Vfio, "ice", |m| {
        // The group is closed again, and the device's own descriptor tells its function (Linux 6.18).
        virtual_function(m, "vfio-pci");
        link(m, &format!("{VF}/iommu_group"), "../../../kernel/iommu_groups/12");
        file(m, "/sys/class/vfio/12/dev", "241:0\n");
        link(m, "/proc/7/fd/3", "anon_inode:[vfio-device]");
        file(m, "/proc/7/fdinfo/3", "pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:3b/0000:3b:02.0\n");
    }, Some(PID), "/proc/7/fd"),
    (Signal::Uio, "ice", |m| {
        virtual_function(m, "igb_uio");
        file(m, &format!("{VF}/uio/uio0/dev"), "240:0\n");
        opens(m, "/dev/uio0", "240:0");
    }, Some(PID), "/proc/7/fd"),
    (Signal::Uio, "ice", |m| {
        virtual_function(m, "uio_pci_generic");
        file(m, &format!("{VF}/uio/uio0/dev"), "240:0\n");
        file(m, "/proc/7/maps", "7f0000000000-7f0000100000 rw-s 00000000 00:17 9 \
             /sys/devices/pci0000:3b/0000:3b:02.0/resource0\n");
    }, Some(PID), "/proc/7/maps"),
    (Signal::Uio, "ice", |m| {
        // A driver of another name; mapped by its own device, and that closed.
        virtual_function(m, "igb_uio_pf");
        file(m, &format!("{VF}/uio/uio4/dev"), "240:4\n");
        file(m, "/proc/7/maps", "7f0000000000-7f0000100000 rw-s 00000000 00:05 9 /dev/uio4\n");
    }, Some(PID), "/proc/7/maps"),
    (Signal::Dpdk, "ice", |m| {
        file(m, "/run/dpdk/rte/config", "");
        m.inodes.insert("/run/dpdk/rte/config".to_owned(), 4242);
        file(m, "/proc/locks", "1: POSIX  ADVISORY  WRITE 7 00:18:4242 0 EOF\n");
    }, Some(PID), "/proc/locks"),
    (Signal::Onload, "sfc", |m| {
        file(m, "/proc/devices", "Character devices:\n  1 mem\n234 onload\n\nBlock devices:\n259 blkext\n");
        opens(m, "/dev/onload", "234:0");
    }, Some(PID), "/proc/devices"),
    (Signal::Onload, "sfc", |m| file(m, "/proc/driver/onload/stacks", "0: 7 0 1 2 3\n"), Some(PID), "/proc/driver/onload/stacks"),
    (Signal::Onload, "sfc", |m| file(m, "/proc/driver/onload/stacks", "0: -1 0 1 2 3\n"), None, "/proc/driver/onload/stacks"),
    (Signal::Onload, "sfc", |m| link(m, "/proc/7/fd/3", "onload:[tcp:0:1]"), Some(PID), "/proc/7/fd"),
    (Signal::Onload, "sfc", |m| {
        file(m, "/proc/driver/sfc_resource/resources", "*** VI ***\ncurrent = 2\n    max = 4\n");
    }, None, "/proc/driver/sfc_resource/resources"),
    (Signal::Onload, "xilinx_efct", |m| file(m, "/proc/driver/onload/stacks_k", "4: -1 0 1 2 3\n"), None, "/proc/driver/onload/stacks_k"),
    (Signal::Onload, "ice", |m| {
        file(m, "/sys/module/sfc_resource/afxdp/register", "");
        file(m, "/proc/driver/onload/stacks", "0: 7 0 1 2 3\n");
    }, Some(PID), "/proc/driver/onload/stacks"),
    (Signal::PfRing, "ice", |m| {
        file(m, "/sys/module/pf_ring/refcnt", "1\n");
        file(m, "/proc/net/pf_ring/info", "PF_RING Version : 8.6.0\n");
        file(m, "/proc/net/pf_ring/7-eth1.0", "Bound Device(s)    : eth1\nActive : 1\n");
        file(m, "/proc/net/pf_ring/dev/eth1/info", "Name: eth1\nPolling Mode: NAPI/ZC\n");
    }, Some(PID), "/proc/net/pf_ring"),
    (Signal::PfRing, "ice", |m| {
        file(m, "/sys/module/pf_ring/refcnt", "1\n");
        file(m, "/proc/net/pf_ring/7-any.0", "Active : 1\n");
    }, Some(PID), "/proc/net/pf_ring"),
    (Signal::Netmap, "ixgbe", |m| {
        file(m, "/sys/class/misc/netmap/dev", "10:58\n");
        opens(m, "/dev/netmap", "10:58");
    }, Some(PID), "/sys/class/misc/netmap"),
    (Signal::Exanic, "exanic", |m| {
        file(m, "/sys/class/misc/exanic0/dev", "10:57\n");
        opens(m, "/dev/exanic0", "10:57");
    }, Some(PID), "/sys/class/misc"),
    (Signal::Registers, "mlx5_core", |m| {
        link(m, "/proc/7/fd/3", "/sys/devices/pci0000:3b/0000:3b:00.0/resource0");
    }, Some(PID), "/proc/7/fd"),
    (Signal::Registers, "mlx5_core", |m| {
        file(m, "/proc/7/maps", "7f0000000000-7f0000100000 rw-s 00000000 00:17 9 \
             /sys/devices/pci0000:3b/0000:3b:00.0/resource0\n");
    }, Some(PID), "/proc/7/maps"),
    (Signal::Vf, "ice", |m| virtual_function(m, "iavf"), None, "/sys/devices/pci0000:3b/0000:3b:02.0"),
    (Signal::Ptp, "ice", |m| {
        file(m, &format!("{DEVICE}/ptp/ptp0/dev"), "248:0\n");
        opens(m, "/dev/ptp0", "248:0");
    }, Some(PID), "/proc/7/fd"),
    (Signal::Ptp, "ice", |m| {
        file(m, &format!("{DEVICE}/ptp/ptp0/dev"), "248:0\n");
        // A virtual clock that follows it.
        file(m, &format!("{DEVICE}/ptp/ptp0/ptp1/dev"), "248:1\n");
        opens(m, "/dev/ptp1", "248:1");
    }, Some(PID), "/proc/7/fd"),
    (Signal::Forward, "ice", |m| {
        file(m, "/proc/sys/net/ipv4/conf/eth1/forwarding", "1\n");
        file(m, "/proc/net/snmp", "Ip: Forwarding ForwDatagrams\nIp: 1 77\n");
        file(m, "/proc/sys/net/netfilter/nf_conntrack_count", "1\n");
        m.tracked = vec![("172.17.0.2".parse().expect("an address"), "192.0.2.9".parse().expect("an address"))];
    }, None, "/proc/sys/net/netfilter"),
    (Signal::DefaultRoute, "ice", |m| m.default_route = Some("eth1".to_owned()), None, ""),
    (Signal::Sibling, "ice", sibling, None, "/sys/devices/pci0000:3b/0000:3b:00.1/class"),
    (Signal::Bmc, "ice", |m| {
        // SMBIOS itself, where no module shows it: type 38, six bytes, no strings.
        file(m, "/sys/firmware/dmi/tables/DMI", "\u{26}\u{6}\0\0\u{1}\u{20}\0\0");
        file(m, &format!("{DEVICE}/index"), "1\n");
    }, None, "/sys/firmware/dmi/tables/DMI"),
    (Signal::Bmc, "ice", |m| {
        file(m, "/sys/firmware/dmi/entries/38-0/raw", "");
        file(m, &format!("{DEVICE}/index"), "1\n");
    }, None, ""),
];

/// Real in the kernel's own tests: they need links that no file shows.
const REAL_ELSEWHERE: [Signal; 4] =
    [Signal::Member, Signal::Stacked, Signal::Tap, Signal::Namespace];

#[test]
fn an_idle_nic_has_no_holder() {
    for driver in ["ice", "mlx5_core", "sfc", "exanic", "ixgbe", "igb"] {
        let report = look(machine(driver));
        assert_eq!(report.holders(), [], "{driver}");
        assert_eq!(report.cost.processes, 1, "{}", report.cost);
    }
}

#[test]
fn each_signal_alone_is_found_with_its_process_and_blocks() {
    for (index, (signal, driver, leave, pid, _)) in TRACES.iter().enumerate() {
        let mut machine = machine(driver);
        leave(&mut machine);
        let report = look(machine);
        let found: Vec<&Holder> =
            report.holders().iter().filter(|holder| holder.signal == *signal).collect();
        let what = format!("trace {index}, {signal:?}: {:#?}", report.holders());
        assert!(!found.is_empty(), "{what}");
        if let Some(pid) = pid {
            let named = |holder: &&&Holder| {
                let process = holder.process.as_ref();
                process.is_some_and(|process| process.pid == *pid && process.name == "feedd")
            };
            assert!(found.iter().any(|holder| named(&holder)), "{what}");
        }
        // The default route is for the management rule to judge.
        let blocks = *signal != Signal::DefaultRoute
            && effect(*signal, Disruption::NicReset) == Effect::Blocks;
        assert_eq!(!report.blocking(Disruption::NicReset).is_empty(), blocks, "{what}");
        assert!(report.blocking(Disruption::None).is_empty(), "{what}");
    }
}

#[test]
fn what_may_not_be_read_is_unknown_and_blocks() {
    for (index, (signal, driver, leave, _, file)) in TRACES.iter().enumerate() {
        if file.is_empty() {
            continue;
        }
        let mut machine = machine(driver);
        leave(&mut machine);
        machine.sealed.insert((*file).to_owned());
        let report = look(machine);
        let what = format!("trace {index}, {signal:?} without {file}: {:#?}", report.holders());
        // The sockets are known from the kernel's tables, whoever's they are.
        let known = report.holders().iter().any(|holder| holder.signal == *signal);
        assert!(known, "{what}");
        assert!(!report.blocking(Disruption::NicReset).is_empty(), "{what}");
    }
}

#[test]
fn every_signal_is_tried_here_or_on_a_real_kernel() {
    for row in TABLE {
        let here = TRACES.iter().any(|(signal, ..)| *signal == row.signal);
        assert!(here || REAL_ELSEWHERE.contains(&row.signal), "{} is tried nowhere", row.name);
    }
}

#[test]
fn what_is_bound_or_left_behind_and_open_in_no_process_is_nobodys() {
    let mut idle = machine("ice");
    virtual_function(&mut idle, "vfio-pci");
    link(&mut idle, &format!("{VF}/iommu_group"), "../../../kernel/iommu_groups/12");
    file(&mut idle, "/sys/class/vfio/12/dev", "241:0\n");
    file(&mut idle, "/run/dpdk/rte/config", "");
    idle.inodes.insert("/run/dpdk/rte/config".to_owned(), 4242);
    file(&mut idle, "/proc/locks", "");
    file(&mut idle, &format!("{DEVICE}/ptp/ptp0/dev"), "248:0\n");
    assert_eq!(look(idle.clone()).holders(), []);
    // A DPDK process whose device is known, and another's, is no holder of this one.
    file(&mut idle, "/proc/locks", "1: POSIX  ADVISORY  WRITE 7 00:18:4242 0 EOF\n");
    opens(&mut idle, "/dev/vfio/99", "241:9");
    assert_eq!(look(idle).holders(), []);
}

#[test]
fn traffic_that_never_leaves_the_host_and_groups_of_the_local_network_do_not_count() {
    let mut inner = machine("ice");
    socket(&mut inner, Protocol::Tcp, "192.0.2.1:5000", "192.0.2.1:443");
    // Ping, whatever it is bound to; and a raw socket that is bound to nothing and has joined nothing.
    socket(&mut inner, Protocol::Raw, "192.0.2.1:1", "");
    socket(&mut inner, Protocol::Raw, "0.0.0.0:112", "");
    file(
        &mut inner,
        "/proc/net/igmp",
        "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
         2\teth1      :     2      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
         \t\t\t\tFB0000E0     1 0:00000000\t\t0\n",
    );
    assert_eq!(look(inner).holders(), []);
}

#[test]
fn another_process_id_namespace_hides_processes_and_says_so() {
    let mut inside = machine("ice");
    link(&mut inside, "/proc/self/ns/pid", "pid:[4026533000]");
    let report = look(inside);
    let unknown = |holder: &Holder| holder.certainty == Certainty::Unknown;
    assert!(!report.holders().is_empty() && report.holders().iter().all(unknown));
    assert!(!report.blocking(Disruption::NicReset).is_empty());
}

/// The kernel's threads are passed over; a program that the kernel has started (a user-mode helper) is
/// kthreadd's child like them, and is not.
#[test]
fn kernel_threads_are_passed_over_and_the_kernels_programs_are_not() {
    let mut held = machine("ice");
    socket(&mut held, Protocol::Udp, "192.0.2.1:5000", "");
    file(&mut held, "/proc/2/task/2/children", "7 8 ");
    // Would be counted if they were looked through.
    link(&mut held, "/proc/8/fd/0", "/dev/null");
    link(&mut held, "/proc/2/fd/0", "/dev/null");
    let mut program = held.clone();
    link(&mut program, "/proc/7/exe", "/usr/sbin/feedd");
    assert_eq!(look(held.clone()).cost.files, 0, "three kernel threads");
    let report = look(program);
    let named = report.holders().iter().any(|h| h.process.as_ref().is_some_and(|p| p.pid == PID));
    assert!(named, "{report:#?}");
    assert_eq!(report.cost.files, 2, "the program's alone");
    // In another process-id namespace process 2 is anybody, and his children are, too.
    link(&mut held, "/proc/self/ns/pid", "pid:[4026532000]");
    assert_eq!(look(held).cost.files, 4);
}

/// pthread_exit(3) in main: the first thread waits as a zombie, and the others go on.
#[test]
fn a_process_whose_first_thread_has_ended_holds_what_its_others_hold() {
    let mut held = machine("ice");
    socket(&mut held, Protocol::Udp, "192.0.2.1:5000", "");
    held.links.retain(|path, _| !path.starts_with("/proc/7/fd"));
    file(&mut held, "/proc/7/fd/none", "");
    file(&mut held, "/proc/7/stat", "7 (feedd) Z 1 7 7 0 -1 0\n");
    let dead = look(held.clone());
    assert!(dead.holders().iter().all(|holder| holder.process.is_none()), "{dead:#?}");
    file(&mut held, "/proc/7/task/7/comm", "feedd\n");
    link(&mut held, "/proc/7/task/9/fd/4", "socket:[4711]");
    let report = look(held);
    let pids: Vec<u32> =
        report.holders().iter().filter_map(|h| Some(h.process.as_ref()?.pid)).collect();
    assert_eq!(pids, [PID], "{report:#?}");
}

#[test]
fn many_connections_of_one_process_are_one_holder() {
    let mut busy = machine("ice");
    for port in 0..40 {
        socket(&mut busy, Protocol::Tcp, &format!("192.0.2.1:{}", 5000 + port), "192.0.2.9:443");
    }
    let report = look(busy);
    assert_eq!(report.holders().len(), 1, "{:?}", report.holders());
    assert!(report.holders()[0].how.ends_with("and 37 more"), "{}", report.holders()[0].how);
    assert_eq!(report.holders()[0].id(), "held:tcp:feedd");
}

/// A sibling's users count where the device resets, and only there.
#[test]
fn a_siblings_users_are_hurt_by_a_reset_alone() {
    let mut two = machine("ice");
    sibling(&mut two);
    two.nics[1].around.addresses = vec![address("198.51.100.2")];
    socket(&mut two, Protocol::Tcp, "198.51.100.2:5000", "198.51.100.9:443");
    let report = look(two);
    let tcp = report.holders().iter().find(|holder| holder.signal == Signal::Tcp);
    assert_eq!(tcp.expect("its connection").port, "eth2");
    assert!(report.blocking(Disruption::LinkFlap).is_empty());
    let blocking = report.blocking(Disruption::NicReset);
    assert!(blocking.iter().any(|holder| holder.signal == Signal::Tcp), "{blocking:?}");
}
