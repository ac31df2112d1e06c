//! What stands around a NIC, put back after its network device went and came back with another index.
//! The witness is iproute2: what `ip`, `bridge` and `tc` print before and after, to the byte, but for
//! interface indexes, counters and remaining times.

// ip, bridge and tc are the witnesses.
#![allow(clippy::disallowed_methods)]

#[path = "surroundings/ethtool.rs"]
mod ethtool;
#[path = "surroundings/netfilter.rs"]
mod netfilter;

use std::{
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use agent::{
    fault::{Fault, Kind},
    host::{Ask, Host, Mode, Nic, Notice, Now, linux::Linux, nic},
    surroundings::{self, Change, Surroundings},
};
use serde_json::Value;
use tests::{Netns, programs_or_skip, root_or_skip};

#[path = "surroundings/nft.rs"]
mod nft;
#[path = "surroundings/renewed.rs"]
mod renewed;
#[path = "surroundings/sockets.rs"]
mod sockets;

const MAC1: &str = "02:00:00:00:01:01";
const MAC2: &str = "02:00:00:00:01:02";
/// What iproute2 prints that the moment makes: indexes, counters, times, negotiated ids.
const OF_THE_MOMENT: [&str; 17] = [
    "ifindex",
    "link_index",
    "stats",
    "stats64",
    "used",
    "valid_life_time",
    "preferred_life_time",
    "hello_timer",
    "message_age_timer",
    "forward_delay_timer",
    "hold_timer",
    "hash",
    "cache",
    "index",
    "bytes",
    "packets",
    "direct_packets_stat",
];
/// How long the witness may take to show the end state: IPv6 settles after a link comes up.
const PATIENCE: Duration = Duration::from_secs(20);

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !OF_THE_MOMENT.contains(&key.as_str()));
            map.values_mut().for_each(strip);
            // Those nexthops of an IPv6 route that survived come before those put back; a bridge prints its
            // groups newest first.
            for key in ["nexthops", "mdb"] {
                if let Some(Value::Array(unordered)) = map.get_mut(key) {
                    unordered.sort_by_key(Value::to_string);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the witnesses say of these interfaces, a line a question.
fn witness(netns: &Netns, devices: &[&str]) -> Vec<String> {
    let mut questions: Vec<Vec<&str>> = Vec::new();
    for device in devices {
        questions.push(vec!["ip", "-d", "-j", "address", "show", "dev", device]);
        questions.push(vec![
            "ip",
            "-d",
            "-j",
            "neighbor",
            "show",
            "dev",
            device,
            "nud",
            "permanent",
        ]);
        questions.push(vec!["tc", "-j", "qdisc", "show", "dev", device]);
        questions.push(vec!["tc", "-j", "class", "show", "dev", device]);
        questions.push(vec!["tc", "filter", "show", "dev", device]);
        questions.push(vec!["tc", "filter", "show", "dev", device, "ingress"]);
    }
    for family in ["-4", "-6"] {
        questions.push(vec!["ip", family, "-d", "-j", "route", "show", "table", "all"]);
        questions.push(vec!["ip", family, "-j", "rule", "show"]);
        questions.push(vec!["ip", family, "-j", "neighbor", "show", "proxy"]);
    }
    questions.push(vec!["ip", "-d", "-j", "nexthop", "show"]);
    questions.push(vec!["bridge", "-j", "fdb", "show"]);
    questions.push(vec!["bridge", "-d", "-j", "link", "show"]);
    questions.push(vec!["bridge", "-j", "vlan", "show"]);
    questions.push(vec!["bridge", "-d", "-j", "mdb", "show"]);
    questions.push(vec!["ip", "-j", "token", "show"]);
    let ask = |words: &Vec<&str>| {
        let said = netns.run(words[0], &words[1..]);
        let mut lines = match serde_json::from_str::<Value>(&said) {
            Ok(mut json) => {
                strip(&mut json);
                let list = json.as_array().cloned().unwrap_or_default();
                list.iter().map(Value::to_string).collect()
            }
            // The kernel notes in an action that it was asked for (`tc actions list`).
            Err(_) => {
                let lines = said.lines().filter(|line| !line.contains("used_hw_stats"));
                lines.map(str::to_owned).collect::<Vec<_>>()
            }
        };
        // Tables are printed in the order of their hashes.
        lines.sort();
        lines.into_iter().map(|line| format!("{}: {line}", words.join(" "))).collect::<Vec<_>>()
    };
    questions.iter().flat_map(ask).collect()
}

fn links(netns: &Netns, names: [&str; 2]) {
    for (name, mac) in names.iter().zip([MAC1, MAC2]) {
        let far = format!("far{}", &mac[16..]);
        netns.run(
            "ip",
            &["link", "add", name, "address", mac, "type", "veth", "peer", "name", &far],
        );
        netns.run("ip", &["link", "set", &far, "addrgenmode", "none", "up"]);
    }
}

fn commands(netns: &Netns, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        netns.run(words[0], &words[1..]);
    }
}

/// An L3 port with a stacked interface, and a bridge port.
const SETUP: &str = "
    ip link add ifb0 type ifb
    ip link set ifb0 up
    ip address add 10.9.0.1/24 dev ifb0
    ip -6 address add 2001:db8:9::1/64 dev ifb0 nodad
    ip link add br0 address 02:00:00:00:02:01 type bridge
    ip link set br0 up

    ip link set eth1 mtu 3000 txqueuelen 500 alias feed-A group 7
    ip link property add dev eth1 altname trading-line-a
    sysctl -q -w net.ipv4.conf.eth1.arp_ignore=1 net.ipv6.conf.eth1.accept_ra=0
    sysctl -q -w net.ipv4.neigh.eth1.base_reachable_time_ms=12345
    ip link set eth1 allmulticast on up
    ip address add 10.1.0.1/24 dev eth1 label eth1:md
    ip address add 10.1.0.2/24 dev eth1
    ip address add 10.1.0.3 peer 10.1.7.7/32 dev eth1 scope link
    ip address add 10.2.0.1/24 dev eth1 noprefixroute metric 50
    ip address add 10.4.0.1/24 dev eth1 valid_lft 3000 preferred_lft 2000
    ip -6 address add 2001:db8::1/64 dev eth1 nodad
    ip -6 address add 2001:db8::2/128 dev eth1 nodad preferred_lft 0
    ip route add 192.0.2.0/24 via 10.1.0.254 metric 10
    ip route add 192.0.2.0/24 via 10.1.0.253 metric 20 mtu 1400 advmss 1300 src 10.1.0.2
    ip route add 198.51.100.0/24 dev eth1 scope link proto 42
    ip route add 198.51.101.0/24 via 198.51.100.1
    ip route add 203.0.113.0/24 via 172.16.9.9 dev eth1 onlink table 100
    ip route add default via 10.1.0.254 table 100
    ip route add 100.64.0.0/16 nexthop via 10.1.0.254 weight 3 nexthop via 10.9.0.254
    ip route add 100.65.0.0/16 dev ifb0 src 10.1.0.1
    ip -6 route add 2001:db8:1::/48 via 2001:db8::ff metric 7
    ip -6 route add 2001:db8:2::/48 nexthop via 2001:db8::fe weight 2 nexthop via 2001:db8:9::fe
    ip -6 route add 2001:db8:3::/48 dev eth1 table 200
    ip nexthop add id 5 via 10.1.0.254 dev eth1
    ip nexthop add id 6 via 10.9.0.254 dev ifb0
    ip nexthop add id 7 group 5,2/6
    ip nexthop add id 8 via 2001:db8::fd dev eth1
    ip route add 100.66.0.0/16 nhid 7
    ip route add 100.67.0.0/16 nhid 5
    ip -6 route add 2001:db8:4::/48 nhid 8
    ip rule add iif eth1 lookup 100 priority 1000
    ip -6 rule add oif eth1 lookup 200 priority 1001
    ip neighbor add 10.1.0.254 lladdr 02:aa:00:00:00:01 dev eth1 nud permanent
    ip -6 neighbor add 2001:db8::fe lladdr 02:aa:00:00:00:02 dev eth1 nud permanent
    ip neighbor add proxy 10.1.0.77 dev eth1
    ip -6 neighbor add proxy 2001:db8::77 dev eth1

    ip link add mv0 link eth1 address 02:00:00:00:03:01 type macvlan mode bridge
    ip link set mv0 mtu 2900 up
    ip address add 10.3.0.1/24 dev mv0
    ip route add 100.68.0.0/16 via 10.3.0.254
    ip neighbor add 10.3.0.254 lladdr 02:aa:00:00:00:03 dev mv0 nud permanent

    tc qdisc add dev eth1 root handle 1: htb default 20 r2q 5
    tc class add dev eth1 parent 1: classid 1:1 htb rate 100mbit
    tc class add dev eth1 parent 1:1 classid 1:10 htb rate 30mbit ceil 90mbit prio 1
    tc class add dev eth1 parent 1:1 classid 1:20 htb rate 70mbit burst 20k
    tc qdisc add dev eth1 parent 1:10 handle 10: tbf rate 10mbit burst 20k limit 100k
    tc qdisc add dev eth1 parent 1:20 handle 20: pfifo limit 77
    tc filter add dev eth1 parent 1: protocol ip prio 3 u32 match ip dport 5000 0xffff flowid 1:10
    tc filter add dev eth1 parent 1: protocol ip prio 4 u32 match ip tos 16 0xff flowid 1:20
    tc qdisc add dev eth1 clsact
    tc filter add dev eth1 ingress protocol ip prio 1 u32 match u32 0 0 action mirred egress mirror dev ifb0

    ip link set eth2 master br0 up
    bridge link set dev eth2 hairpin on priority 5 learning off isolated on
    bridge fdb add 02:bb:00:00:00:01 dev eth2 master static
    bridge mdb add dev br0 port eth2 grp 239.9.9.9 permanent
    bridge mdb add dev br0 port eth2 grp 239.9.9.8 src 10.9.0.8 permanent
    bridge mdb add dev br0 port eth2 grp ff15::9 permanent
    bridge mdb add dev br0 port eth2 grp 01:02:03:04:05:06 permanent
    ip token set ::7 dev eth2
    ip token set ::42 dev mv0
";

struct Scene {
    netns: Netns,
    host: Linux,
    ports: Vec<Nic>,
    devices: Vec<&'static str>,
}

impl Scene {
    fn new(setup: &str) -> Scene {
        let netns = Netns::new();
        links(&netns, ["eth1", "eth2"]);
        commands(&netns, setup);
        let host = Linux::new().expect("open the machine");
        let mut devices = vec!["eth1", "eth2"];
        devices.extend(setup.contains("mv0").then_some("mv0"));
        let mut scene = Scene { netns, host, ports: Vec::new(), devices };
        scene.ports = ["eth1", "eth2"].map(|name| scene.find(name)).to_vec();
        scene.settle();
        scene
    }

    fn find(&self, name: &str) -> Nic {
        nic::find(&self.host, name).unwrap_or_else(|fault| panic!("{fault}"))
    }

    fn take(&self) -> Surroundings {
        surroundings::take(&self.host, &self.ports).unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Waits until the kernel has done by itself what follows from a link that came up.
    fn settle(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        loop {
            let said = witness(&self.netns, &self.devices);
            let moving = ["tentative", "listening", "learning\","];
            let moves = |line: &String| moving.iter().any(|word| line.contains(word));
            if said == before && !said.iter().any(moves) {
                return;
            }
            assert!(Instant::now() < deadline, "the links do not settle: {said:#?}");
            before = said;
            self.host.wait(Duration::from_millis(500));
        }
    }

    /// What a reset does that unregisters the device: everything on it goes, a bare one comes, under
    /// another index and maybe another name.
    fn reset(&mut self, names: [&str; 2]) {
        let old: Vec<Nic> = self.ports.clone();
        self.netns.run("ip", &["link", "delete", "eth1"]);
        self.netns.run("ip", &["link", "delete", "eth2"]);
        links(&self.netns, names);
        for (port, name) in self.ports.iter_mut().zip(names) {
            let id = port.id.clone();
            *port = nic::find(&self.host, name).unwrap_or_else(|fault| panic!("{fault}"));
            port.id = id;
        }
        for (old, new) in old.iter().zip(&self.ports) {
            assert_ne!(old.ifindex, new.ifindex, "the device is another one");
        }
    }

    fn is_as_it_was(&self, before: &[String]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let after = witness(&self.netns, &self.devices);
            if after == before {
                return;
            }
            if Instant::now() >= deadline {
                let gone = before.iter().filter(|line| !after.contains(line));
                let new = after.iter().filter(|line| !before.contains(line));
                let (gone, new): (Vec<_>, Vec<_>) = (gone.collect(), new.collect());
                panic!("the witness says it differs\n- {gone:#?}\n+ {new:#?}");
            }
            self.host.wait(Duration::from_millis(500));
        }
    }
}

fn ready(name: &str) -> bool {
    root_or_skip(name) && programs_or_skip(name, &["sysctl"])
}

fn words<T: ToString>(list: &[T]) -> String {
    list.iter().map(T::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn all_that_a_reset_lost_is_put_back() {
    if !ready("all_that_a_reset_lost_is_put_back") {
        return;
    }
    let mut scene = Scene::new(SETUP);
    let before = witness(&scene.netns, &scene.devices);
    let kept = scene.take();
    assert_eq!(kept.cannot_restore(), [] as [String; 0]);
    let journal = serde_json::to_string(&kept).expect("as JSON");
    let kept: Surroundings = serde_json::from_str(&journal).expect("from JSON");
    assert_eq!(words(&kept.differences(&scene.take())), "", "nothing happened yet");

    // The driver comes back under the kernel's own name, as before udev.
    scene.reset(["eth7", "eth8"]);
    let lost = kept.differences(&scene.take());
    for what in ["name of eth1", "address 10.1.0.1/24 on eth1", "interface mv0", "qdisc htb"] {
        let told = lost.iter().any(|difference| difference.what.starts_with(what));
        assert!(told, "{what} is not told: {}", words(&lost));
    }

    let faults = kept.restore(&scene.host, &scene.ports);
    assert_eq!(words(&faults), "", "nothing is left to do");
    assert_eq!(words(&kept.differences(&scene.take())), "");
    scene.is_as_it_was(&before);
    // Again: it finds nothing to do, and does nothing.
    assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "");
    scene.is_as_it_was(&before);
}

/// A door that lets through so many writes and then none, as if the process had been killed there.
struct Falling<'a> {
    inner: &'a Linux,
    left: AtomicI64,
}

impl<'a> Falling<'a> {
    /// One that never falls, and never waits.
    fn never(inner: &'a Linux) -> Falling<'a> {
        Falling { inner, left: AtomicI64::new(i64::MAX) }
    }

    fn spend(&self) -> Result<(), Fault> {
        match self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            true => Ok(()),
            false => Err(Fault::new(Kind::Io, "write", "the process is dead")),
        }
    }
}

impl Host for Falling<'_> {
    fn read(&self, path: &Path) -> Result<String, Fault> {
        self.inner.read(path)
    }
    fn write(&self, path: &Path, text: &str) -> Result<(), Fault> {
        self.spend()?;
        self.inner.write(path, text)
    }
    fn list(&self, path: &Path) -> Result<Vec<String>, Fault> {
        self.inner.list(path)
    }
    fn target(&self, path: &Path) -> Result<String, Fault> {
        self.inner.target(path)
    }
    fn mode(&self, path: &Path) -> Result<u32, Fault> {
        self.inner.mode(path)
    }
    fn request(&self, ask: &Ask) -> Result<Vec<Vec<u8>>, Fault> {
        if !matches!(ask, Ask::Route { mode: Mode::Dump, .. }) {
            self.spend()?;
        }
        self.inner.request(ask)
    }
    fn notices(&self) -> Result<Vec<Notice>, Fault> {
        self.inner.notices()
    }
    fn now(&self) -> Now {
        self.inner.now()
    }
    fn wait(&self, _time: Duration) {}
}

#[test]
fn a_restore_that_died_is_done_again() {
    if !ready("a_restore_that_died_is_done_again") {
        return;
    }
    let mut scene = Scene::new(SETUP);
    let before = witness(&scene.netns, &scene.devices);
    let kept = scene.take();
    for writes in [0, 1, 5, 17, 40] {
        scene.reset(["eth1", "eth2"]);
        let falling = Falling { inner: &scene.host, left: AtomicI64::new(writes) };
        assert_ne!(kept.restore(&falling, &scene.ports), [], "it died after {writes} writes");
        assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "", "after {writes} writes");
        scene.is_as_it_was(&before);
    }
}

#[test]
fn what_somebody_else_added_stays_and_is_told() {
    if !ready("what_somebody_else_added_stays_and_is_told") {
        return;
    }
    let mut scene = Scene::new("ip link set eth1 up\nip address add 10.1.0.1/24 dev eth1");
    let kept = scene.take();
    scene.reset(["eth1", "eth2"]);
    let theirs = "ip link set eth1 up\nip address add 10.99.0.1/24 dev eth1
                  ip route add 192.0.2.0/24 via 10.99.0.254";
    commands(&scene.netns, theirs);
    assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "");
    let told = kept.differences(&scene.take());
    assert!(told.iter().all(|difference| difference.change == Change::Added), "{}", words(&told));
    for what in ["address 10.99.0.1/24 on eth1", "route 192.0.2.0/24"] {
        assert!(told.iter().any(|d| d.what.starts_with(what)), "{what}: {}", words(&told));
    }
    let routes = scene.netns.run("ip", &["route"]);
    assert!(routes.contains("192.0.2.0/24 via 10.99.0.254"), "{routes}");
    assert!(routes.contains("10.1.0.0/24"), "{routes}");
}

#[test]
fn what_cannot_be_put_back_is_told_beforehand() {
    if !ready("what_cannot_be_put_back_is_told_beforehand") {
        return;
    }
    let scene = Scene::new(
        "ip link set eth1 up
         ip address add 10.1.0.1/24 dev eth1
         ip maddress add 01:00:5e:7f:00:01 dev eth1
         ip link add vx0 type vxlan id 7 group 239.2.2.2 dev eth1 dstport 4789
         bridge fdb add 02:cc:00:00:00:01 dev eth1 self
         ip -6 route add 2001:db8:5::/48 dev eth1 expires 600
         ip link add ifb0 type ifb
         tc qdisc add dev ifb0 clsact
         tc filter add dev ifb0 ingress protocol ip prio 1 u32 match u32 0 0 action mirred egress mirror dev eth1",
    );
    let hooked = netfilter::chain_on("eth1");
    let told = words(scene.take().cannot_restore());
    assert_eq!(told.contains("nftables chain c of table t on eth1"), hooked, "{told}");
    for what in [
        "link-layer group 01:00:5e:7f:00:01 of eth1",
        "vx0, a vxlan on eth1",
        "02:cc:00:00:00:01 on eth1 self belongs to nothing",
        "2001:db8:5::/48",
        "another interface's filter sends to eth1",
    ] {
        assert!(told.contains(what), "{what} is not told: {told}");
    }
}

#[test]
fn joins_that_died_are_named_with_their_owner() {
    if !ready("joins_that_died_are_named_with_their_owner") {
        return;
    }
    let mut scene = Scene::new("ip link set eth1 up\nip address add 10.1.0.1/24 dev eth1");
    let group = Ipv4Addr::new(239, 1, 1, 1);
    let socket = UdpSocket::bind((group, 5000)).expect("bind to the group");
    socket.join_multicast_v4(&group, &Ipv4Addr::new(10, 1, 0, 1)).expect("join it");
    let kept = scene.take();
    assert_eq!(kept.lost_joins(&scene.take()), [] as [String; 0]);
    scene.reset(["eth1", "eth2"]);
    assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "");
    let lost = words(&kept.lost_joins(&scene.take()));
    let owner = format!("pid {}", std::process::id());
    assert!(lost.contains("239.1.1.1 on eth1, joined once") && lost.contains(&owner), "{lost}");
}
