//! The inventory of NICs that this machine does not have, and what it must never ask of them.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use agent::{
    fault::Result,
    host::{
        Ask, Genl, Host, Mode, Notice, Now,
        sim::{Machine, Sim},
        tlv::Attrs,
    },
    inventory::{self, Inventory, NicFacts},
};

use crate::{machine, name, rich};

/// A host that writes down what it is asked.
struct Recorder {
    sim: Sim,
    asks: Mutex<Vec<Ask>>,
    paths: Mutex<Vec<PathBuf>>,
    writes: Mutex<usize>,
}

impl Recorder {
    fn new(machine: Machine) -> Recorder {
        Recorder {
            sim: Sim::new(machine),
            asks: Mutex::default(),
            paths: Mutex::default(),
            writes: Mutex::default(),
        }
    }

    fn take(&self) -> Inventory {
        inventory::take(self, None).unwrap()
    }

    fn asks(&self) -> Vec<Ask> {
        self.asks.lock().unwrap().clone()
    }

    fn saw(&self, path: &Path) {
        self.paths.lock().unwrap().push(path.to_owned());
    }
}

impl Host for Recorder {
    fn read(&self, path: &Path) -> Result<String> {
        self.saw(path);
        self.sim.read(path)
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        *self.writes.lock().unwrap() += 1;
        self.sim.write(path, text)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.saw(path);
        self.sim.list(path)
    }

    fn target(&self, path: &Path) -> Result<String> {
        self.saw(path);
        self.sim.target(path)
    }

    fn mode(&self, path: &Path) -> Result<u32> {
        self.saw(path);
        self.sim.mode(path)
    }

    fn request(&self, ask: &Ask) -> Result<Vec<Vec<u8>>> {
        self.asks.lock().unwrap().push(ask.clone());
        self.sim.request(ask)
    }

    fn notices(&self) -> Result<Vec<Notice>> {
        self.sim.notices()
    }

    fn now(&self) -> Now {
        self.sim.now()
    }

    fn wait(&self, time: Duration) {
        self.sim.wait(time);
    }
}

const COALESCE_GET: u8 = 19;
const RSS_GET: u8 = 38;

/// Whether the NIC of this name and index could have been asked this: by a dump, by a request that
/// names it, or by ioctl.
fn reaches(ask: &Ask, command: u8, ioctls: &[u32], nic: &NicFacts, ifindex: u32) -> bool {
    match ask {
        Ask::Genl { family: Genl::Ethtool, command: asked, mode, payload } if *asked == command => {
            let header = Attrs(payload).find(1).map(|header| header.nested());
            let index = header.and_then(|header| header.find(1)).and_then(|index| index.number());
            *mode == Mode::Dump || index == Some(u64::from(ifindex))
        }
        Ask::Genl { .. }
        | Ask::Route { .. }
        | Ask::Diag { .. }
        | Ask::Rdma { .. }
        | Ask::Netfilter { .. }
        | Ask::Stamping { .. } => false,
        Ask::Ethtool { nic: name, buffer } => {
            let number = u32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
            *name == nic.name && ioctls.contains(&number)
        }
    }
}

fn nic<'a>(inventory: &'a Inventory, name: &str) -> &'a NicFacts {
    inventory.nic(name).unwrap_or_else(|| panic!("{name} is not in the inventory"))
}

#[test]
fn a_physical_nic_is_known_by_its_device_driver_and_firmware() {
    let inventory = Recorder::new(rich()).take();
    assert_eq!(inventory.notes, Vec::<String>::new());
    let ice = nic(&inventory, "eth1");
    assert_eq!((ice.kind.as_str(), ice.driver.as_str()), ("physical", "ice"));
    assert_eq!((ice.vendor.as_deref(), ice.model.as_deref()), (Some("Intel"), Some("E810-C")));
    assert_eq!(ice.driver_version.as_deref(), Some("1.14.9"));
    assert_eq!(ice.in_tree, Some(true));
    assert_eq!(ice.firmware.running.as_deref(), Some("4.40 0x8001c7b1 1.3534.0"));
    assert_eq!(ice.firmware.stored, ice.firmware.running, "devlink has the same of each part");
    assert_eq!(ice.firmware.components_running["fw.mgmt"], "7.4.13");
    assert_eq!(ice.board.as_deref(), Some("K91258-000"));
    assert_eq!(ice.serial.as_deref(), Some("00-01-00-ff-ff-00-00-00"));
    assert_eq!(ice.numa_node, Some(1));
    assert_eq!(ice.permanent_mac.as_deref(), Some("52:54:00:00:00:02"));
    assert_eq!((ice.kernel.as_str(), ice.kernel_base.as_str()), ("6.18.5", "6.18.5"));
    let pci = ice.pci.as_ref().unwrap();
    assert_eq!((pci.vendor.as_str(), pci.device.as_str()), ("8086", "1592"));
    assert_eq!((pci.subsystem_vendor.as_str(), pci.subsystem_device.as_str()), ("8086", "0002"));
    assert_eq!(pci.product.as_deref(), Some("Ethernet Controller E810-C for QSFP"));
    assert_eq!((pci.width, pci.width_max), (Some(8), Some(8)));
    assert_eq!(pci.speed.as_deref(), Some("8.0 GT/s PCIe"));
    assert_eq!(ice.interrupts.len(), 8);
    for queue in ["rx-3", "tx-3"] {
        let queue = ice.queues.iter().find(|known| known.name == queue).unwrap();
        assert!(queue.napi.is_some() && queue.irq.is_some());
        assert_eq!(queue.cpus.as_deref(), Some("0-7"));
    }
    assert_eq!(ice.settings[&name("ring.rx")].max, Some(8160));
    assert!(ice.settings.contains_key(&name("rss.indirection")));
    assert_eq!(nic(&inventory, "eth0").default_route, ["ipv4"]);
    assert!(nic(&inventory, "veth0").unsupported.contains_key(&name("pause.rx")));
}

#[test]
fn an_out_of_tree_driver_is_told_apart() {
    let mut machine = rich();
    machine.files.insert("/sys/module/ice/taint".to_owned(), "OE\n".to_owned());
    let inventory = Recorder::new(machine).take();
    assert_eq!(nic(&inventory, "eth1").in_tree, Some(false));
}

#[test]
fn ports_of_one_device_know_each_other() {
    let inventory = Recorder::new(machine(
        r#"
nics:
  - { name: p0, driver: ice, mac: "52:54:00:00:00:01", pci: { address: "0000:3b:00.0", vendor: 0x8086, device: 0x1592 } }
  - { name: p1, driver: ice, mac: "52:54:00:00:00:02", pci: { address: "0000:3b:00.1", vendor: 0x8086, device: 0x1592 } }
  - { name: q0, driver: mlx5_core, mac: "52:54:00:00:00:03", pci: { address: "0000:5e:00.0", vendor: 0x15b3, device: 0x101d, serial: MT1, versions: { fw.version: 22.43.3608, fw.psid: MT_0000000359 } } }
  - { name: q1, driver: mlx5_core, mac: "52:54:00:00:00:04", pci: { address: "0000:86:00.0", vendor: 0x15b3, device: 0x101d, serial: MT1, versions: { fw.version: 22.43.3608, fw.psid: MT_0000000359 } } }
"#,
    ))
    .take();
    assert_eq!(nic(&inventory, "p0").siblings, ["p1"]);
    // One card on two sockets: two slots, one serial number.
    assert_eq!(nic(&inventory, "q1").siblings, ["q0"]);
    assert_eq!(nic(&inventory, "q0").board.as_deref(), Some("MT_0000000359"));
    assert_eq!(nic(&inventory, "q0").model.as_deref(), Some("ConnectX-6 Dx"));
}

/// A Solarflare beside an Intel NIC, both with what is dangerous to read.
fn hazardous(kernel: &str) -> Recorder {
    let nic = |name: &str, driver: &str, n: u32, ids: &str| {
        format!(
            r#"
  - name: {name}
    driver: {driver}
    mac: "52:54:00:00:00:0{n}"
    pci: {{ address: "0000:0{n}:00.0", {ids} }}
    channels: {{ combined: {{ value: 4, max: 8 }} }}
    coalesce: {{ rx-usecs: 20 }}
    rss: {{ size: 128 }}"#
        )
    };
    let solarflare = nic("sf0", "sfc", 1, "vendor: 0x1924, device: 0x0b03");
    let intel = nic("e810", "ice", 2, "vendor: 0x8086, device: 0x1592");
    Recorder::new(machine(&format!("kernel: {kernel}\nnics:{solarflare}{intel}\n")))
}

#[test]
fn a_read_that_hangs_this_kernel_is_left_out_and_told() {
    let host = hazardous("6.18.5");
    let inventory = host.take();
    let (sf0, e810) = (nic(&inventory, "sf0"), nic(&inventory, "e810"));
    // 0x38 ETHTOOL_GRXFHINDIR, 0x46 ETHTOOL_GRSSH
    let reached = host.asks().iter().any(|ask| reaches(ask, RSS_GET, &[0x38, 0x46], sf0, 2));
    assert!(!reached, "the table of sf0 was asked for");
    assert_eq!(sf0.skips.len(), 1);
    assert_eq!((sf0.skips[0].issue.as_str(), sf0.skips[0].family.as_str()), ("KB-078", "rss"));
    assert!(sf0.skips[0].source.contains("CVE-2026-23165"));
    let reason = &sf0.unsupported[&name("rss.indirection")];
    assert_eq!(
        reason,
        "not read: reading the RSS table deadlocks on this driver and kernel (KB-078)"
    );
    assert!(sf0.settings.contains_key(&name("coalesce.rx-usecs")), "the rest is read");
    assert!(e810.settings.contains_key(&name("rss.indirection")), "the other NIC is read");
    assert!(e810.skips.is_empty());
}

#[test]
fn fixed_and_older_kernels_are_read_in_full() {
    for kernel in ["6.18.9", "6.16.4", "7.2.13"] {
        let inventory = hazardous(kernel).take();
        let sf0 = nic(&inventory, "sf0");
        assert!(sf0.skips.is_empty(), "{kernel}");
        assert!(sf0.settings.contains_key(&name("rss.indirection")), "{kernel}");
    }
}

#[test]
fn an_unknown_base_counts_as_affected_by_what_hangs() {
    let inventory = hazardous("5.14.0-503.11.1.el9_5.x86_64").take();
    let (sf0, e810) = (nic(&inventory, "sf0"), nic(&inventory, "e810"));
    assert_eq!(sf0.kernel_base, "unknown");
    assert_eq!(sf0.skips[0].issue, "KB-078");
    // KB-029 needs a reset at the same moment: on an unknown base it is read.
    assert!(e810.settings.contains_key(&name("coalesce.rx-usecs")));
}

#[test]
fn coalescing_that_crashes_during_resets_is_left_out_where_that_is_known() {
    let host = hazardous("6.1.100");
    let inventory = host.take();
    let e810 = nic(&inventory, "e810");
    let reached = host.asks().iter().any(|ask| reaches(ask, COALESCE_GET, &[0x0e], e810, 3));
    assert!(!reached, "the coalescing of e810 was asked for");
    assert_eq!(e810.skips[0].issue, "KB-029");
    assert!(nic(&inventory, "sf0").settings.contains_key(&name("coalesce.rx-usecs")));
    assert!(hazardous("6.1.110").take().nics.iter().all(|nic| nic.skips.is_empty()));
}

#[test]
fn asking_about_one_nic_leaves_the_others_alone() {
    let host = Recorder::new(rich());
    let one = inventory::take(&host, Some("eth1")).unwrap();
    assert_eq!(one.nics.len(), 1);
    for ask in host.asks() {
        match &ask {
            Ask::Genl { family: Genl::Ethtool, mode, .. } => {
                let is_string_set = matches!(&ask, Ask::Genl { command: 1, .. });
                assert!(*mode == Mode::Do || is_string_set, "{ask:?}");
            }
            Ask::Ethtool { nic, .. } => assert_eq!(nic, "eth1"),
            Ask::Genl { .. } | Ask::Route { .. } => {}
            Ask::Diag { .. } | Ask::Rdma { .. } | Ask::Netfilter { .. } => {
                panic!("an inventory lists no sockets")
            }
            Ask::Stamping { .. } => panic!("an inventory asks for none"),
        }
    }
    let all = Recorder::new(rich()).take();
    assert_eq!(&one.nics[0], nic(&all, "eth1"));
}

#[test]
fn one_failing_driver_does_not_hide_the_others() {
    use agent::host::sim::{Blow, Injection, Moment};
    let whole = Recorder::new(rich()).take();
    let calls = {
        let host = Recorder::new(rich());
        host.take();
        host.sim.calls()
    };
    // Whatever single call fails, the inventory is taken or refused as a whole, and a NIC that is
    // listed is listed with its own name and address.
    let mut refused = 0;
    for call in 0..calls {
        let host = Recorder::new(rich());
        host.sim.inject([Injection { call, moment: Moment::Before, blow: Blow::Fail(libc::EIO) }]);
        match inventory::take(&host, None) {
            Ok(taken) => {
                for (nic, known) in taken.nics.iter().zip(&whole.nics) {
                    assert_eq!((&nic.name, &nic.mac), (&known.name, &known.mac), "call {call}");
                    assert_eq!(nic.link.speed, known.link.speed, "call {call}: a dump that failed");
                }
            }
            Err(fault) => {
                assert!(!fault.act.is_empty() && !fault.cause.is_empty());
                refused += 1;
            }
        }
    }
    println!("{calls} calls failed one by one, {refused} of them fatal");
    assert!(refused < 16, "{refused} of {calls}: only listing the NICs is fatal");
}

#[test]
fn it_never_reads_what_stalls_nics_and_never_writes() {
    let host = Recorder::new(rich());
    host.take();
    assert_eq!(*host.writes.lock().unwrap(), 0);
    for path in host.paths.lock().unwrap().iter() {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let stalls = ["vpd", "rom", "config", "eeprom", "nvmem"].contains(&file.as_ref());
        assert!(!stalls && !file.starts_with("resource"), "{}", path.display());
    }
    // GETs have odd and even numbers alike; these are the ones that inventory and families use:
    // STRSET, LINKINFO, LINKMODES, FEATURES, PRIVFLAGS, RINGS, CHANNELS, COALESCE, PAUSE, EEE, TSINFO,
    // RSS. Not MODULE_EEPROM (31), FEC (29), MODULE (34), nor any SET or ACT.
    const READS: [u8; 12] = [1, 2, 4, 11, 13, 15, 17, 19, 21, 23, 25, RSS_GET];
    // GDRVINFO, GSSET_INFO, GSTRINGS, and RSS and ntuple: GRXRINGS, GRXCLSR*, GRXFHINDIR, GRSSH.
    const IOCTLS: [u32; 9] = [0x03, 0x37, 0x1b, 0x2d, 0x2e, 0x2f, 0x30, 0x38, 0x46];
    for ask in host.asks() {
        match ask {
            Ask::Genl { family: Genl::Ethtool, command, .. } => {
                assert!(READS.contains(&command), "ethtool netlink command {command}");
            }
            // QUEUE_GET, NAPI_GET; INFO_GET.
            Ask::Genl { family: Genl::Netdev, command, .. } => {
                assert!([10, 11].contains(&command), "netdev command {command}");
            }
            Ask::Genl { family: Genl::Devlink, command, .. } => assert_eq!(command, 51),
            // RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE.
            Ask::Route { kind, .. } => assert!([18, 22, 26].contains(&kind), "rtnetlink {kind}"),
            Ask::Diag { .. } | Ask::Rdma { .. } | Ask::Netfilter { .. } => {
                panic!("an inventory lists no sockets")
            }
            Ask::Stamping { .. } => panic!("an inventory asks for none"),
            Ask::Ethtool { buffer, .. } => {
                let number = u32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
                assert!(IOCTLS.contains(&number), "ioctl {number:#x}");
            }
        }
    }
}

#[test]
fn requests_do_not_grow_with_virtual_nics() {
    let count = |nics: u32| {
        let mut text = "nics:\n".to_owned();
        for n in 0..nics {
            text += &format!(
                "  - {{ name: v{n}, driver: veth, kind: veth, mac: \"02:00:00:00:01:{n:02x}\" }}\n"
            );
        }
        let host = Recorder::new(machine(&text));
        assert_eq!(host.take().nics.len(), nics as usize);
        let asks = host.asks();
        asks.iter().filter(|ask| !matches!(ask, Ask::Ethtool { .. })).count()
    };
    assert_eq!(count(2), count(64));
}

#[test]
fn the_fingerprint_tells_firmware_and_settings_apart() {
    let base = Recorder::new(rich()).take();
    assert_eq!(base.fingerprint, Recorder::new(rich()).take().fingerprint);
    let differs = |change: fn(&mut Machine)| {
        let mut machine = rich();
        change(&mut machine);
        let other = Recorder::new(machine).take();
        assert_eq!(nic(&base, "eth0").fingerprint, nic(&other, "eth0").fingerprint);
        nic(&base, "eth1").fingerprint != nic(&other, "eth1").fingerprint
            && base.fingerprint != other.fingerprint
    };
    assert!(differs(|m| m.nics[1].firmware = "4.50 0x8001d8ba 1.3597.0".to_owned()));
    assert!(differs(|m| m.nics[1].rings.get_mut("rx").unwrap().value = 4096));
    assert!(differs(|m| m.nics[1].driver_version = "1.15.0".to_owned()));
    assert!(!differs(|m| {
        m.nics[1].stats.insert("rx_dropped.nic".to_owned(), 8);
    }));
    assert!(!differs(|m| m.nics[1].cable = false));
}

#[test]
fn the_list_has_a_line_a_nic_and_details_fold_what_is_missing() {
    use agent::cli::inventory::{View, render};
    let inventory = Recorder::new(rich()).take();
    let list = render(&inventory, View::List);
    let details = render(&inventory, View::Details);
    println!("{list}\n{details}");
    for line in list.lines().chain(details.lines()) {
        // A single word may be longer than a line; nothing else is.
        let words = line.split_whitespace().count();
        assert!(line.chars().count() <= 100 || words < 3, "{line}");
        assert_eq!(line, line.trim_end());
    }
    let rows: Vec<&str> = list.lines().skip(2).collect();
    assert_eq!(rows.len(), 1 + inventory.nics.len());
    let column = rows[0].find("DRIVER").unwrap();
    for (row, driver) in rows[1..].iter().zip(["e1000e", "ice", "veth"]) {
        assert!(row[column..].starts_with(driver), "{row}");
    }
    let lines: Vec<&str> = details.lines().collect();
    let at = |start: &str| lines.iter().position(|line| line.starts_with(start)).unwrap();
    assert!(at("eth1") < at("veth0"));
    assert!(lines.iter().any(|line| line.contains("rx 2048 (to 8160)")), "{details}");
    assert!(details.contains("the driver has no coalesce settings: coalesce.* ("), "{details}");
    // The last block of the first NIC, before the next one begins.
    let folded = lines[at("eth0")..].iter().position(|l| l.starts_with("unsupported (")).unwrap();
    assert!(at("eth0") + folded < at("eth1"));
}
