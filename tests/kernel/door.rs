//! The real door on a real kernel: namespaces, sysfs, netlink, notifications.

// Tests on the real kernel use ip and ethtool as witnesses.
#![allow(clippy::disallowed_methods)]

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Output},
};

use agent::host::{Ask, Genl, Host, Mode, linux::Linux};
use tests::{Netns, programs_or_skip, root_or_skip};

const RTM_GETLINK: u16 = 18;
const IFINFOMSG_BYTES: usize = 16;

fn ready(name: &str) -> bool {
    root_or_skip(name) && programs_or_skip(name, &["ip", "ethtool"])
}

#[test]
fn opens_and_reads_in_this_namespace() {
    let linux = Linux::new().expect("open the machine");
    let links =
        Ask::Route { kind: RTM_GETLINK, mode: Mode::Dump, payload: vec![0; IFINFOMSG_BYTES] };
    assert!(!linux.request(&links).expect("list the interfaces").is_empty());
    assert!(linux.list(Path::new("/sys/class/net")).expect("list").contains(&"lo".to_owned()));
    let now = linux.now();
    assert!(now.utc_ns > 1_500_000_000_000_000_000 && now.mono_ns > 0);
    assert_eq!(now.boot_id.len(), 36, "{}", now.boot_id);
}

/// A JVM's mappings are longer than any file that is read whole.
#[test]
fn a_long_file_is_looked_through_in_parts() {
    let linux = Linux::new().expect("open the machine");
    let file = std::env::temp_dir().join(format!("nicmend-long-{}", std::process::id()));
    let words = ["/0000:3b:00.0/resource", "/dev/uio4\n", "nowhere"].map(str::to_owned);
    // Also across the end of a part.
    for at in [(1 << 16) - 40, (1 << 16) - 1, (1 << 16) + 5, 3 << 20] {
        let mut text = "x".repeat(at);
        text.push_str("/0000:3b:00.0/resource0\n");
        text.push_str(&"y".repeat(1 << 20));
        text.push_str("/dev/uio4\n");
        std::fs::write(&file, text).expect("a long file");
        assert!(linux.read(&file).is_err(), "it is not read whole");
        let found = linux.mentions(&file, &words).expect("look through it");
        assert_eq!(found, [true, true, false], "{at}");
    }
    std::fs::write(&file, "").expect("an empty file");
    assert!(linux.mentions(&file, &words).expect("look through it").is_empty());
    std::fs::remove_file(&file).expect("remove it");
}

#[test]
fn a_foreign_sysfs_is_noticed_and_replaced() {
    if !ready("a_foreign_sysfs_is_noticed_and_replaced") {
        return;
    }
    let netns = Netns::with_foreign_sysfs();
    netns.veth("nmdoor0", "nmdoor1", 2);
    assert!(!Path::new("/sys/class/net/nmdoor0").exists(), "/sys should show the other namespace");
    let linux = Linux::new().expect("open the machine");
    let names = linux.list(Path::new("/sys/class/net")).expect("list");
    assert_eq!(names, ["lo", "nmdoor0", "nmdoor1"]);
    let queue = Path::new("/sys/class/net/nmdoor0/gro_flush_timeout");
    linux.write(queue, "12345\n").expect("write");
    assert_eq!(linux.read(queue).expect("read").trim(), "12345");
    let link = linux.target(Path::new("/sys/class/net/nmdoor0")).expect("readlink");
    assert!(link.ends_with("virtual/net/nmdoor0"), "{link}");
}

#[test]
fn a_thread_in_another_namespace_is_refused_its_sysctls() {
    if !ready("a_thread_in_another_namespace_is_refused_its_sysctls") {
        return;
    }
    let linux = Linux::new().expect("open the machine");
    let key = Path::new("/proc/sys/net/ipv4/tcp_rmem");
    linux.read(key).expect("read in the door's own namespace");
    let netns = Netns::new();
    let fault = linux.read(key).expect_err("the thread has moved");
    assert_eq!(fault.kind, agent::fault::Kind::Drift, "{fault}");
    // The sockets stay where they were opened: the new namespace's veth is not seen through them.
    netns.veth("nmdoor0", "nmdoor1", 1);
    let own = Linux::new().expect("open the new namespace");
    let get_link = |door: &Linux| {
        let mode = Mode::Dump;
        door.request(&Ask::Route { kind: RTM_GETLINK, mode, payload: vec![0; IFINFOMSG_BYTES] })
    };
    let has_veth = |answers: Vec<Vec<u8>>| {
        answers.iter().any(|answer| answer.windows(8).any(|bytes| bytes == b"nmdoor0\0"))
    };
    assert!(has_veth(get_link(&own).expect("own links")));
    assert!(!has_veth(get_link(&linux).expect("the old namespace's links")));
    assert_ne!(own.netns(), linux.netns());
    // Since Linux 5.14, and then of both.
    let (here, there) = (linux.netns_cookie(), own.netns_cookie());
    assert_eq!(here.is_some(), there.is_some());
    assert!(here.is_none() || here != there, "{here:?}");
    assert_eq!(Linux::new().expect("open it again").netns_cookie(), there);
    // /proc/net is the first thread's; the door answers for its own namespace.
    let devices = own.read(Path::new("/proc/net/dev")).expect("read");
    assert!(devices.contains("nmdoor0"), "{devices}");
    let fault = linux.read(Path::new("/proc/net/dev")).expect_err("the thread has moved");
    assert_eq!(fault.kind, agent::fault::Kind::Drift, "{fault}");
}

#[test]
fn refusals_carry_the_kernels_words() {
    if !ready("refusals_carry_the_kernels_words") {
        return;
    }
    let _netns = Netns::new();
    let linux = Linux::new().expect("open the machine");
    let mut header = agent::host::tlv::Writer::new();
    header.text(2, "absent0");
    let mut body = agent::host::tlv::Writer::new();
    body.nest(1, &header);
    let ask = Ask::Genl {
        family: Genl::Ethtool,
        command: 15,
        mode: Mode::Do,
        payload: body.into_bytes(),
    };
    let fault = linux.request(&ask).expect_err("no such NIC");
    assert_eq!(fault.kind, agent::fault::Kind::Gone, "{fault}");
    assert!(fault.cause.contains("no device matches name"), "{fault}");
    let fault = linux.read(Path::new("/sys/class/net/../../etc/passwd")).expect_err("dots");
    assert_eq!(fault.kind, agent::fault::Kind::Invalid, "{fault}");
    let fault = linux.write(Path::new("/etc/motd"), "x").expect_err("not ours to write");
    assert_eq!(fault.kind, agent::fault::Kind::Denied, "{fault}");
}

#[test]
fn drvinfo_comes_through_the_ioctl() {
    if !ready("drvinfo_comes_through_the_ioctl") {
        return;
    }
    let netns = Netns::new();
    netns.veth("nmdoor0", "nmdoor1", 1);
    let linux = Linux::new().expect("open the machine");
    // struct ethtool_drvinfo is 196 bytes: u32 command (ETHTOOL_GDRVINFO 3), then driver[32].
    let mut buffer = vec![0_u8; 196];
    buffer[0] = 3;
    let ask = Ask::Ethtool { nic: "nmdoor0".into(), buffer };
    let answer = linux.request(&ask).expect("drvinfo").remove(0);
    assert_eq!(&answer[4..9], b"veth\0");
    // A buffer shorter than what the kernel writes faults instead of overwriting our memory.
    let ask = Ask::Ethtool { nic: "nmdoor0".into(), buffer: 3_u32.to_ne_bytes().to_vec() };
    let fault = linux.request(&ask).expect_err("too short");
    assert!(fault.cause.contains("EFAULT"), "{fault}");
}

#[test]
fn a_foreign_ethtool_is_noticed() {
    if !ready("a_foreign_ethtool_is_noticed") {
        return;
    }
    let netns = Netns::new();
    netns.veth("nmdoor0", "nmdoor1", 4);
    let linux = Linux::new().expect("open the machine");
    let index = linux.read(Path::new("/sys/class/net/nmdoor0/ifindex")).expect("ifindex");
    let index: u32 = index.trim().parse().expect("a number");
    assert_eq!(linux.notices().expect("subscribe"), []);
    netns.run("ethtool", &["-K", "nmdoor0", "gro", "on"]);
    netns.run("ethtool", &["-L", "nmdoor0", "rx", "2"]);
    netns.run("ip", &["link", "set", "nmdoor0", "mtu", "1400"]);
    let notices = linux.notices().expect("drain");
    let ours = notices.iter().find(|notice| notice.ifindex == index).expect("our NIC");
    for family in ["feature", "channels", "link"] {
        assert!(ours.families.contains(&family), "{family} in {ours:?}");
    }
    assert_eq!(linux.notices().expect("drain again"), []);
}

#[test]
fn an_overflow_of_notices_concerns_every_family() {
    if !ready("an_overflow_of_notices_concerns_every_family") {
        return;
    }
    let netns = Netns::new();
    netns.veth("nmdoor0", "nmdoor1", 1);
    let linux = Linux::new().expect("open the machine");
    assert_eq!(linux.notices().expect("subscribe"), []);
    // Each change announces itself to the link group; the queue holds a few thousand.
    let script = "for i in $(seq 6000); do echo link set nmdoor0 mtu $((1000 + i % 400)); done";
    netns.run("sh", &["-c", &format!("({script}) | ip -batch -")]);
    let notices = linux.notices().expect("drain");
    let any = notices.iter().find(|notice| notice.ifindex == 0).expect("a notice for any NIC");
    for family in ["ring", "coalesce", "channels", "feature", "rss", "link"] {
        assert!(any.families.contains(&family), "{family} in {any:?}");
    }
    assert_eq!(linux.notices().expect("drain again"), []);
    netns.run("ip", &["link", "set", "nmdoor0", "mtu", "1500"]);
    assert_eq!(linux.notices().expect("goes on").len(), 1);
}

/// Runs one of this file's ignored tests as the user nobody.
fn as_nobody(test: &str) -> Output {
    // Not by its path: nobody need not be let into the directory that this was built in.
    Command::new("/proc/self/exe")
        .args([test, "--exact", "--ignored", "--nocapture"])
        .uid(65534)
        .gid(65534)
        .output()
        .expect("run as nobody")
}

#[test]
fn without_privilege_reads_work_and_a_foreign_sysfs_is_refused() {
    if !ready("without_privilege_reads_work_and_a_foreign_sysfs_is_refused") {
        return;
    }
    for (test, foreign) in [("reads_as_nobody", false), ("is_refused_sysfs_as_nobody", true)] {
        let enter = move || if foreign { Netns::with_foreign_sysfs() } else { Netns::new() };
        let run = move || {
            let netns = enter();
            netns.veth("nmdoor0", "nmdoor1", 1);
            as_nobody(test)
        };
        let output = std::thread::spawn(run).join().expect("the thread");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{test}: {output:?}");
    }
}

#[test]
#[ignore = "run as nobody by another test"]
fn reads_as_nobody() {
    let linux = Linux::new().expect("open the machine");
    let nics = agent::host::nic::all(&linux).expect("all NICs");
    assert_eq!(nics.len(), 2, "{nics:?}");
    for family in agent::setting::SETTINGS {
        family.survey(&linux, &nics);
    }
    assert_eq!(linux.notices().expect("subscribe"), []);
    let fault = linux
        .write(Path::new("/sys/class/net/nmdoor0/gro_flush_timeout"), "1\n")
        .expect_err("nobody may not write");
    assert_eq!(fault.kind, agent::fault::Kind::Denied, "{fault}");
}

#[test]
#[ignore = "run as nobody by another test"]
fn is_refused_sysfs_as_nobody() {
    let linux = Linux::new().expect("open the machine");
    let fault = linux.list(Path::new("/sys/class/net")).expect_err("another namespace's sysfs");
    assert_eq!(fault.kind, agent::fault::Kind::Denied, "{fault}");
    assert!(fault.cause.contains("ip netns exec"), "{fault}");
}
