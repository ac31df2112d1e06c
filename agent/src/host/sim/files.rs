//! The simulated /sys and /proc as a map: path -> text, link, or a hook into the machine's state.
//!
//! The layout follows a real host's: /sys/class/net holds links into /sys/devices, a PCI function's
//! directory holds its driver, vectors and NIC. Rebuilt whenever a name or a count changes.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, machine::SimNic, sockets, sysctl};

/// What stands at a path. A directory is implied by what is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// An empty one, as /proc/irq/N/ACTION is.
    Directory,
    Text(String),
    Link(String),
    Hook(Hook),
}

/// A file whose content is computed, and whose writing may have effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hook {
    Sysctl(String),
    Module {
        module: String,
        parameter: String,
    },
    Nic {
        ifindex: u32,
        file: NicFile,
    },
    Affinity {
        ifindex: u32,
        vector: usize,
        form: Form,
    },
    /// Where the interrupts really go: the same list here.
    Effective {
        ifindex: u32,
        vector: usize,
    },
    Interrupts,
    SoftnetStat,
    Snmp,
    Netstat,
    NetDev,
    Route,
    Uptime,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NicFile {
    Mtu,
    TxQueueLen,
    Carrier,
    Operstate,
    Speed,
    Flags,
    GroFlushTimeout,
    DeferHardIrqs,
    Threaded,
    Rps(usize),
    Xps(usize),
    Statistic(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    List,
    Mask,
}

pub(super) const STATISTICS: &[&str] = &[
    "collisions",
    "multicast",
    "rx_bytes",
    "rx_crc_errors",
    "rx_dropped",
    "rx_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "rx_packets",
    "tx_bytes",
    "tx_dropped",
    "tx_errors",
    "tx_packets",
];

type Tree = BTreeMap<String, Node>;

pub(super) fn tree(state: &State) -> Tree {
    let mut tree = Tree::new();
    host(state, &mut tree);
    for nic in &state.machine.nics {
        interface(state, nic, &mut tree);
    }
    for key in state.machine.sysctls.keys() {
        tree.insert(sysctl::path(key), Node::Hook(Hook::Sysctl(key.clone())));
    }
    for (module, parameters) in &state.machine.modules {
        for parameter in parameters.keys() {
            let hook = Hook::Module { module: module.clone(), parameter: parameter.clone() };
            let path = format!("/sys/module/{module}/parameters/{parameter}");
            tree.insert(path, Node::Hook(hook));
        }
    }
    for (path, text) in &state.machine.files {
        match path.strip_suffix('/') {
            Some(path) => tree.insert(path.to_owned(), Node::Directory),
            None => tree.insert(path.clone(), Node::Text(text.clone())),
        };
    }
    for (path, target) in &state.machine.links {
        tree.insert(path.clone(), Node::Link(target.clone()));
    }
    for path in state.machine.devices.keys() {
        tree.entry(path.clone()).or_insert(Node::Text(String::new()));
    }
    tree
}

fn text(value: impl std::fmt::Display) -> Node {
    Node::Text(format!("{value}\n"))
}

fn host(state: &State, tree: &mut Tree) {
    let machine = &state.machine;
    let all = machine.all_cpus();
    let mut put = |path: &str, node: Node| tree.insert(path.to_owned(), node);
    put("/proc/interrupts", Node::Hook(Hook::Interrupts));
    put("/proc/net/softnet_stat", Node::Hook(Hook::SoftnetStat));
    put("/proc/net/snmp", Node::Hook(Hook::Snmp));
    put("/proc/net/netstat", Node::Hook(Hook::Netstat));
    put("/proc/net/dev", Node::Hook(Hook::NetDev));
    put("/proc/net/route", Node::Hook(Hook::Route));
    put("/proc/net/protocols", Node::Text(sockets::protocols(state)));
    put("/proc/uptime", Node::Hook(Hook::Uptime));
    put("/proc/sys/kernel/random/boot_id", text(state.boot_id()));
    put("/proc/sys/kernel/osrelease", text(&machine.kernel));
    put("/proc/version", text(format!("Linux version {} (sim@host) #1 SMP", machine.kernel)));
    put("/proc/cmdline", text("root=/dev/sda1 ro"));
    put("/proc/irq/default_smp_affinity", text("ff"));
    let netns = Node::Link(format!("net:[{}]", machine.netns));
    put("/proc/self/ns/net", netns.clone());
    put("/proc/thread-self/ns/net", netns);
    let cpu = "/sys/devices/system/cpu";
    for name in ["online", "possible", "present"] {
        put(&format!("{cpu}/{name}"), text(&all));
    }
    put(&format!("{cpu}/isolated"), text(&machine.isolated));
    put(&format!("{cpu}/nohz_full"), text(&machine.nohz_full));
    let nodes = if machine.nodes.is_empty() { vec![all] } else { machine.nodes.clone() };
    let numbers: BTreeSet<u32> = (0..nodes.len() as u32).collect();
    put("/sys/devices/system/node/online", text(super::cpus::list(&numbers)));
    for (i, cpus) in nodes.iter().enumerate() {
        put(&format!("/sys/devices/system/node/node{i}/cpulist"), text(cpus));
    }
    put("/sys/class/net/bonding_masters", text(""));
}

/// Where a NIC's device directory is: `/sys/devices/pci0000:3b/0000:3b:00.0`, or none.
fn device_dir(nic: &SimNic) -> Option<String> {
    let address = &nic.pci.as_ref()?.address;
    let bus = address.rsplit_once(':').map_or("0000:00", |(bus, _)| bus);
    Some(format!("/sys/devices/pci{bus}/{address}"))
}

fn interface(state: &State, nic: &SimNic, tree: &mut Tree) {
    let device = device_dir(nic);
    let dir = match &device {
        Some(device) => format!("{device}/net/{}", nic.name),
        None => format!("/sys/devices/virtual/net/{}", nic.name),
    };
    let class = format!("/sys/class/net/{}", nic.name);
    tree.insert(class, Node::Link(dir.replace("/sys/", "../../")));
    if let Some(device) = &device {
        pci(state, nic, device, tree);
        let own = device.rsplit_once('/').map_or("", |(_, own)| own);
        tree.insert(format!("{dir}/device"), Node::Link(format!("../../../{own}")));
    }
    let fixed = [
        ("address", nic.mac.clone()),
        ("addr_assign_type", if nic.pci.is_some() { "0" } else { "3" }.to_owned()),
        ("ifindex", nic.ifindex.to_string()),
        ("iflink", nic.ifindex.to_string()),
        ("type", "1".to_owned()),
        ("duplex", "full".to_owned()),
        ("dev_port", "0".to_owned()),
        ("dev_id", "0x0".to_owned()),
        ("name_assign_type", "4".to_owned()),
    ];
    for (name, value) in fixed {
        tree.insert(format!("{dir}/{name}"), text(value));
    }
    let mut hook = |name: &str, file: NicFile| {
        let node = Node::Hook(Hook::Nic { ifindex: nic.ifindex, file });
        tree.insert(format!("{dir}/{name}"), node);
    };
    hook("mtu", NicFile::Mtu);
    hook("tx_queue_len", NicFile::TxQueueLen);
    hook("carrier", NicFile::Carrier);
    hook("operstate", NicFile::Operstate);
    hook("speed", NicFile::Speed);
    hook("flags", NicFile::Flags);
    hook("gro_flush_timeout", NicFile::GroFlushTimeout);
    hook("napi_defer_hard_irqs", NicFile::DeferHardIrqs);
    hook("threaded", NicFile::Threaded);
    for name in STATISTICS {
        hook(&format!("statistics/{name}"), NicFile::Statistic(name));
    }
    for queue in 0..nic.rx_queues() {
        hook(&format!("queues/rx-{queue}/rps_cpus"), NicFile::Rps(queue));
    }
    for queue in 0..nic.tx_queues() {
        hook(&format!("queues/tx-{queue}/xps_cpus"), NicFile::Xps(queue));
    }
    tree.insert(format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", nic.name), text(0));
    vectors(state, nic, tree);
}

fn pci(state: &State, nic: &SimNic, device: &str, tree: &mut Tree) {
    let Some(pci) = &nic.pci else { return };
    let nodes = &state.machine.nodes;
    let local = nodes.get(pci.numa as usize).cloned().unwrap_or_else(|| state.machine.all_cpus());
    let fixed = [
        ("vendor", format!("0x{:04x}", pci.vendor)),
        ("device", format!("0x{:04x}", pci.device)),
        ("subsystem_vendor", format!("0x{:04x}", pci.subsystem_vendor)),
        ("subsystem_device", format!("0x{:04x}", pci.subsystem_device)),
        ("class", "0x020000".to_owned()),
        ("revision", "0x01".to_owned()),
        ("numa_node", pci.numa.to_string()),
        ("local_cpulist", local),
        ("current_link_speed", "8.0 GT/s PCIe".to_owned()),
        ("current_link_width", "8".to_owned()),
        ("max_link_speed", "8.0 GT/s PCIe".to_owned()),
        ("max_link_width", "8".to_owned()),
    ];
    for (name, value) in fixed {
        tree.insert(format!("{device}/{name}"), text(value));
    }
    let address = &pci.address;
    let driver = &nic.driver;
    tree.insert(
        format!("{device}/driver"),
        Node::Link(format!("../../../bus/pci/drivers/{driver}")),
    );
    tree.insert(format!("{device}/subsystem"), Node::Link("../../../bus/pci".to_owned()));
    let link = device.replace("/sys/", "../../../");
    tree.insert(format!("/sys/bus/pci/devices/{address}"), Node::Link(link.clone()));
    let bound = format!("/sys/bus/pci/drivers/{driver}/{address}");
    tree.insert(bound, Node::Link(format!("../{link}")));
    let module = Node::Link(format!("../../../../module/{driver}"));
    tree.insert(format!("/sys/bus/pci/drivers/{driver}/module"), module);
    let version = if nic.driver_version.is_empty() { None } else { Some(&nic.driver_version) };
    if let Some(version) = version {
        tree.insert(format!("/sys/module/{driver}/version"), text(version));
    }
    tree.insert(format!("/sys/module/{driver}/taint"), text(""));
    tree.insert(format!("/sys/module/{driver}/initstate"), text("live"));
    for vector in 0..nic.vectors() {
        let irq = state.irq(nic.ifindex, vector);
        tree.insert(format!("{device}/msi_irqs/{irq}"), text("msix"));
    }
}

fn vectors(state: &State, nic: &SimNic, tree: &mut Tree) {
    for vector in 0..nic.vectors() {
        let dir = format!("/proc/irq/{}", state.irq(nic.ifindex, vector));
        let node = |form| Node::Hook(Hook::Affinity { ifindex: nic.ifindex, vector, form });
        tree.insert(format!("{dir}/smp_affinity_list"), node(Form::List));
        tree.insert(format!("{dir}/smp_affinity"), node(Form::Mask));
        let effective = Node::Hook(Hook::Effective { ifindex: nic.ifindex, vector });
        tree.insert(format!("{dir}/effective_affinity_list"), effective);
        tree.insert(format!("{dir}/node"), text(nic.pci.as_ref().map_or(0, |pci| pci.numa)));
        tree.insert(format!("{dir}/{}", nic.irq_label(vector)), Node::Directory);
    }
}
