//! The families that go through files, ioctl and netdev-genl, on a real veth in a namespace of its own.
//! What they write is witnessed by `cat`, `sysctl`, `ip` and the kernel's own dumps.

// Tests on the real kernel look behind the door with their own eyes.
#![allow(clippy::disallowed_methods)]

use agent::{
    fault::Kind,
    host::{Ask, Genl, Host, Mode, Nic, linux::Linux, nic, tlv::Attrs, tlv::Writer},
    setting::{Change, Current, family_of},
};
use playbooks::{Name, Value, Wanted};
use tests::{Netns, programs_or_skip, root_or_skip};

const NIC: &str = "nmfile0";
const QUEUES: u32 = 4;

/// A namespace with a veth pair whose receive side polls (GRO on), and the door to it.
struct Bench {
    netns: Netns,
    linux: Linux,
    nic: Nic,
}

impl Bench {
    /// `None` where the test cannot run; that was said aloud.
    fn new(test: &str) -> Option<Bench> {
        if !root_or_skip(test) || !programs_or_skip(test, &["ip", "ethtool", "sysctl"]) {
            return None;
        }
        let netns = Netns::new();
        netns.veth(NIC, "nmfile1", QUEUES);
        netns.run("ethtool", &["-K", NIC, "gro", "on"]);
        let linux = Linux::new().expect("open the machine");
        let nic = nic::find(&linux, NIC).expect("the veth");
        Some(Bench { netns, linux, nic })
    }

    fn try_read(&self, name: &str) -> agent::fault::Result<Current> {
        let name = Name::try_from(name).expect("a known name");
        let family = family_of(&name).expect("a family");
        family.read(&self.linux, &self.nic, std::slice::from_ref(&name)).remove(0)
    }

    fn read(&self, name: &str) -> Value {
        self.try_read(name).unwrap_or_else(|fault| panic!("{fault}")).value
    }

    fn resolve(&self, name: &str, wanted: Wanted) -> agent::fault::Result<Value> {
        let now = self.try_read(name)?;
        let name = Name::try_from(name).expect("a known name");
        family_of(&name)?.resolve(&self.linux, &self.nic, &name, &wanted, &now)
    }

    fn change(&self, name: &str, to: Value) -> Change {
        Change { name: Name::try_from(name).expect("a known name"), from: self.read(name), to }
    }

    fn write(&self, name: &str, to: Value) -> agent::fault::Result<()> {
        let change = self.change(name, to);
        let family = family_of(&change.name)?;
        let batches = family.batches(&self.nic, vec![change]);
        batches.iter().try_for_each(|batch| family.write(&self.linux, &self.nic, batch))
    }

    /// Resolves, writes, reads back.
    fn set(&self, name: &str, wanted: Wanted) -> Value {
        let value = self.resolve(name, wanted).unwrap_or_else(|fault| panic!("{fault}"));
        self.write(name, value.clone()).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(self.read(name), value, "{name} read back");
        value
    }

    /// Types the line that a person would paste, and reads what it did.
    fn set_by_hand(&self, name: &str, to: Value) {
        let change = self.change(name, to.clone());
        let family = family_of(&change.name).expect("a family");
        let lines = family.by_hand(&self.nic, &[change]);
        assert!(!lines.is_empty(), "{name}");
        self.netns.run("sh", &["-ec", &lines.join("\n")]);
        assert_eq!(self.read(name), to, "{name} after {lines:?}");
    }

    fn cat(&self, path: &str) -> String {
        self.netns.run("cat", &[path]).trim().to_owned()
    }

    fn cat_nic(&self, file: &str) -> String {
        self.cat(&format!("/sys/class/net/{NIC}/{file}"))
    }

    fn unsupported(&self, name: &str) -> String {
        let fault = self.try_read(name).expect_err(name);
        assert_eq!(fault.kind, Kind::Unsupported, "{fault}");
        let name = Name::try_from(name).expect("a known name");
        let family = family_of(&name).expect("a family");
        let readings = family.survey(&self.linux, std::slice::from_ref(&self.nic)).remove(0);
        assert!(!readings.supported.contains_key(&name), "{name}");
        let reason = readings.unsupported.get(&name).unwrap_or_else(|| panic!("{name} is lost"));
        assert!(!reason.is_empty(), "{name}");
        fault.cause
    }

    /// Attribute `attr` of every NAPI instance of the NIC, in the kernel's order of dumping.
    fn napi_attr(&self, attr: u16) -> Vec<(u32, u64)> {
        let mut only = Writer::new();
        only.u32(1, self.nic.ifindex);
        let (family, mode) = (Genl::Netdev, Mode::Dump);
        let ask = Ask::Genl { family, command: 11, mode, payload: only.into_bytes() };
        let answers = self.linux.request(&ask).expect("napi-get");
        let number = |answer: &[u8], kind| Attrs(answer).find(kind).and_then(|a| a.number());
        let each = |answer: &Vec<u8>| Some((number(answer, 2)? as u32, number(answer, attr)?));
        answers.iter().filter_map(each).collect()
    }

    fn napi_set(&self, id: u32, attr: u16, value: u32) {
        let mut payload = Writer::new();
        payload.u32(2, id).u32(attr, value);
        let (family, mode) = (Genl::Netdev, Mode::Do);
        let ask = Ask::Genl { family, command: 14, mode, payload: payload.into_bytes() };
        self.linux.request(&ask).expect("napi-set");
    }
}

fn number(n: u64) -> Wanted {
    Wanted::Exactly(Value::Number(n))
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn sysctls_are_written_and_put_back() {
    let Some(bench) = Bench::new("sysctls_are_written_and_put_back") else { return };
    let key = "sysctl.net.ipv4.tcp_rmem";
    let original = bench.read(key);
    let crippled = bench.set(key, Wanted::Exactly(text("4096\t 8192  16384")));
    assert_eq!(crippled, text("4096 8192 16384"));
    let witness = bench.netns.run("sysctl", &["-n", "net.ipv4.tcp_rmem"]);
    assert_eq!(witness.split_whitespace().collect::<Vec<_>>(), ["4096", "8192", "16384"]);
    bench.set_by_hand(key, original.clone());
    bench.write(key, crippled).expect("cripple again");
    bench.write(key, original.clone()).expect("put back");
    assert_eq!(bench.read(key), original);
    bench.set("sysctl.net.ipv4.tcp_autocorking", number(0));
    assert_eq!(bench.netns.run("sysctl", &["-n", "net.ipv4.tcp_autocorking"]).trim(), "0");
    let fault = bench.write("sysctl.net.ipv4.tcp_rmem", text("nonsense")).expect_err("nonsense");
    assert_eq!(fault.kind, Kind::Invalid, "{fault}");
    let odd = format!("sysctl.net.ipv4.neigh.{NIC}.gc_stale_time");
    bench.set(&odd, number(61));
    let fixed = bench.try_read("sysctl.net.ipv4.tcp_available_congestion_control").expect("read");
    assert!(fixed.fixed.is_some(), "{fixed:?}");
    let fault = bench.try_read("sysctl.net.ipv4.tcp_no_such_key").expect_err("no such key");
    assert_eq!(fault.kind, Kind::Unsupported, "{fault}");
}

#[test]
fn a_symbolic_link_leads_no_sysctl_astray() {
    let Some(bench) = Bench::new("a_symbolic_link_leads_no_sysctl_astray") else { return };
    // The kernel has none; somebody with a mount might. Ours is in this thread's namespace only.
    let folder = "/proc/sys/net/ipv4/neigh";
    bench.netns.run("mount", &["-t", "tmpfs", "tmpfs", folder]);
    let there = |lines: &str| {
        bench.netns.run("sh", &["-ec", &format!("cd {folder}; {lines}")]);
    };
    there(&format!("mkdir real {NIC}; echo 1 | tee real/gc_stale_time > {NIC}/gc_stale_time"));
    let key = format!("sysctl.net.ipv4.neigh.{NIC}.gc_stale_time");
    assert_eq!(bench.read(&key), text("1"));
    let link = format!("rm -r {NIC}; ln -s real {NIC}");
    let file = format!("rm {NIC}; mkdir {NIC}; ln -s ../real/gc_stale_time {NIC}/gc_stale_time");
    for way in [link, file] {
        there(&way);
        let fault = bench.try_read(&key).expect_err(&way);
        assert_eq!(fault.kind, Kind::Denied, "{fault}");
        let name = Name::try_from(key.as_str()).expect("a known name");
        let change = Change { name, from: text("1"), to: text("2") };
        let sysctl = family_of(&change.name).expect("sysctl");
        let fault = sysctl.write(&bench.linux, &bench.nic, &[change]).expect_err(&way);
        assert!(fault.cause.contains("symbolic link"), "{fault}");
    }
    assert_eq!(bench.cat("/proc/sys/net/ipv4/neigh/real/gc_stale_time"), "1");
}

#[test]
fn a_dotted_interface_is_reached_by_its_key() {
    let Some(bench) = Bench::new("a_dotted_interface_is_reached_by_its_key") else { return };
    let stacked = ["link", "add", "nmfile0.7", "link", NIC, "type", "macvlan"];
    bench.netns.run("ip", &stacked);
    bench.set("sysctl.net.ipv4.neigh.nmfile0/7.gc_stale_time", number(62));
    assert_eq!(bench.cat("/proc/sys/net/ipv4/neigh/nmfile0.7/gc_stale_time"), "62");
    bench.set_by_hand("sysctl.net.ipv4.neigh.nmfile0/7.gc_stale_time", text("63"));
}

#[test]
fn links_are_written_and_put_back() {
    let Some(bench) = Bench::new("links_are_written_and_put_back") else { return };
    assert_eq!(bench.set("link.mtu", number(9000)), Value::Number(9000));
    assert_eq!(bench.cat_nic("mtu"), "9000");
    let Value::Number(largest) = bench.set("link.mtu", Wanted::Max) else { panic!("no number") };
    assert_eq!(bench.cat_nic("mtu"), largest.to_string());
    bench.set_by_hand("link.mtu", Value::Number(1500));
    bench.set("link.tx-queue-len", number(777));
    assert_eq!(bench.cat_nic("tx_queue_len"), "777");
    bench.set_by_hand("link.tx-queue-len", Value::Number(1000));
    for (wrong, why) in [(u64::from(u32::MAX), "limit"), (67, "limit"), (1279, "IPv6")] {
        let fault = bench.resolve("link.mtu", number(wrong)).expect_err("refused");
        assert!(fault.cause.contains(why), "{fault}");
    }
    let fault = bench.write("link.mtu", Value::Number(66_000)).expect_err("too large");
    assert!(fault.to_string().contains("mtu greater than device maximum"), "{fault}");
}

#[test]
fn steering_masks_are_written_and_put_back() {
    let Some(bench) = Bench::new("steering_masks_are_written_and_put_back") else { return };
    for (name, queue, file) in [("rps.cpus", "rx", "rps_cpus"), ("xps.cpus", "tx", "xps_cpus")] {
        let original = bench.read(name);
        assert_eq!(original, Value::Texts(vec![String::new(); QUEUES as usize]), "{name}");
        bench.set(name, Wanted::Cpus("0".to_owned()));
        for n in 0..QUEUES {
            let mask = bench.cat_nic(&format!("queues/{queue}-{n}/{file}"));
            assert_eq!(u64::from_str_radix(&mask.replace(',', ""), 16).expect(file), 1, "{mask}");
        }
        bench.set_by_hand(name, original.clone());
        let dealt = bench.set(name, Wanted::LocalCpus);
        assert_ne!(dealt, original, "{name}");
        bench.write(name, original.clone()).expect("put back");
        assert_eq!(bench.read(name), original, "{name}");
        let fewer = Value::Texts(vec!["0".to_owned()]);
        assert_eq!(bench.write(name, fewer).expect_err("one list").kind, Kind::Gone);
        assert!(bench.resolve(name, Wanted::Cpus("0-".to_owned())).is_err());
        assert!(bench.write(name, Value::Texts(vec!["8191".to_owned(); 4])).is_err());
    }
    bench.set("rps.cpus", Wanted::Default);
    assert_eq!(
        bench.resolve("xps.cpus", Wanted::Default).expect_err("xps").kind,
        Kind::Unsupported
    );
}

#[test]
fn xps_needs_more_than_one_queue() {
    let Some(mut bench) = Bench::new("xps_needs_more_than_one_queue") else { return };
    bench.netns.veth("nmfile2", "nmfile3", 1);
    bench.nic = nic::find(&bench.linux, "nmfile2").expect("the veth");
    assert!(bench.unsupported("xps.cpus").contains("single transmit queue"));
}

#[test]
fn napi_settings_of_the_interface_reach_every_instance() {
    let test = "napi_settings_of_the_interface_reach_every_instance";
    let Some(bench) = Bench::new(test) else { return };
    for (name, file, attr) in [
        ("napi.defer-hard-irqs", "napi_defer_hard_irqs", 5),
        ("napi.gro-flush-timeout", "gro_flush_timeout", 6),
    ] {
        assert_eq!(bench.read(name), Value::Number(0), "{name}");
        bench.set(name, number(20_000));
        assert_eq!(bench.cat_nic(file), "20000");
        assert!(bench.napi_attr(attr).iter().all(|(_, value)| *value == 20_000), "{name}");
        bench.set_by_hand(name, Value::Number(0));
    }
    let threaded = "napi.threaded";
    assert_eq!(bench.read(threaded), text("disabled"));
    bench.set(threaded, Wanted::Exactly(text("enabled")));
    assert_eq!(bench.cat_nic("threaded"), "1");
    bench.set_by_hand(threaded, text("disabled"));
    assert!(bench.resolve(threaded, Wanted::Exactly(text("sometimes"))).is_err());
}

#[test]
fn napi_instances_get_back_each_its_own_value() {
    let test = "napi_instances_get_back_each_its_own_value";
    let Some(bench) = Bench::new(test) else { return };
    let original = bench.napi_attr(5);
    if original.is_empty() {
        return tests::skip(test, "needs per-NAPI settings (Linux 6.13)");
    }
    assert_eq!(original.len(), QUEUES as usize);
    let ids: Vec<u32> = original.iter().map(|(id, _)| *id).collect();
    for (name, attr) in [
        ("napi.defer-hard-irqs", 5),
        ("napi.gro-flush-timeout", 6),
        ("napi.irq-suspend-timeout", 7),
    ] {
        // Somebody has tuned two of the instances and left the others.
        bench.napi_set(ids[1], attr, 7);
        bench.napi_set(ids[2], attr, 9);
        let mixed = bench.read(name);
        let Value::Numbers(numbers) = &mixed else { panic!("{name}: {mixed:?}") };
        assert_eq!(numbers.iter().filter(|&&n| n == 7 || n == 9).count(), 2, "{name}: {mixed}");
        let before = bench.napi_attr(attr);
        bench.set(name, number(40));
        assert!(bench.napi_attr(attr).iter().all(|(_, value)| *value == 40), "{name}");
        bench.write(name, mixed.clone()).expect("put back");
        assert_eq!(bench.read(name), mixed, "{name}");
        assert_eq!(bench.napi_attr(attr), before, "{name}");
        // Instances that have gone are no place to write to, and nothing else is written.
        let too_many = Value::Numbers(vec![1; QUEUES as usize + 2]);
        assert_eq!(bench.write(name, too_many).expect_err("too many").kind, Kind::Gone);
        assert_eq!(bench.read(name), mixed, "{name}");
    }
}

#[test]
fn a_namespace_of_its_own_has_no_host_settings_and_says_so() {
    let test = "a_namespace_of_its_own_has_no_host_settings_and_says_so";
    let Some(bench) = Bench::new(test) else { return };
    for name in ["napi.weight", "napi.budget", "napi.budget-usecs"] {
        assert!(bench.unsupported(name).contains("first network namespace only"), "{name}");
    }
    assert!(bench.unsupported("sysctl.net.core.busy_read").contains("this network namespace"));
}

#[test]
fn what_a_veth_has_not_is_absent_with_its_reason() {
    let test = "what_a_veth_has_not_is_absent_with_its_reason";
    let Some(bench) = Bench::new(test) else { return };
    assert!(bench.unsupported("rss.indirection").contains("no table"));
    assert!(bench.unsupported("irq.affinity").contains("no interrupts of its own"));
    assert!(bench.unsupported("ntuple.0").contains("no flow rules"));
    let fault = bench.try_read("module-param.no_such_module.x").expect_err("absent");
    assert!(fault.cause.contains("not loaded"), "{fault}");
}

#[test]
fn module_parameters_say_whether_they_can_be_written() {
    let test = "module_parameters_say_whether_they_can_be_written";
    let Some(bench) = Bench::new(test) else { return };
    let parameters = std::path::Path::new("/sys/module/tcp_cubic/parameters");
    let Ok(entries) = std::fs::read_dir(parameters) else {
        return tests::skip(test, "needs the tcp_cubic module's parameters");
    };
    let mut seen = 0;
    for entry in entries {
        use std::os::unix::fs::PermissionsExt;
        let entry = entry.expect("an entry");
        let name = format!("module-param.tcp_cubic.{}", entry.file_name().to_string_lossy());
        let writable = entry.metadata().expect("metadata").permissions().mode() & 0o222 != 0;
        let current = bench.try_read(&name).expect("read");
        assert_eq!(current.fixed.is_none(), writable, "{name}");
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn one_survey_tells_of_every_nic_what_reading_each_tells() {
    let test = "one_survey_tells_of_every_nic_what_reading_each_tells";
    let Some(bench) = Bench::new(test) else { return };
    bench.netns.run("ip", &["link", "set", "nmfile1", "mtu", "1400"]);
    bench.netns.run("sh", &["-c", "echo 3 > /sys/class/net/nmfile0/napi_defer_hard_irqs"]);
    let nics = ["nmfile0", "nmfile1"].map(|name| nic::find(&bench.linux, name).expect(name));
    let mut settings = 0;
    for family in agent::setting::SETTINGS {
        let surveyed = family.survey(&bench.linux, &nics);
        assert_eq!(surveyed.len(), nics.len(), "{}", family.name());
        for (nic, readings) in nics.iter().zip(surveyed) {
            for (name, current) in readings.supported {
                let read = family.read(&bench.linux, nic, std::slice::from_ref(&name)).remove(0);
                assert_eq!(read.as_ref(), Ok(&current), "{name} of {}", nic.name);
                settings += 1;
            }
            for name in readings.unsupported.keys() {
                let read = family.read(&bench.linux, nic, std::slice::from_ref(name)).remove(0);
                assert!(read.is_err(), "{name} of {}", nic.name);
            }
        }
    }
    assert!(settings > 50, "{settings}");
}
