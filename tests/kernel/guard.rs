//! Who uses a NIC, on a real link: sockets, bridges, other namespaces; and that a run hurts none of them.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself

#[path = "guard/conntrack.rs"]
mod conntrack;
#[path = "run/exchange.rs"]
mod exchange;
#[path = "guard/headless.rs"]
mod headless;
#[path = "guard/inet.rs"]
mod inet;
#[path = "guard/packet.rs"]
mod packet;
#[path = "judged/xsk.rs"]
mod xsk;

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use exchange::{CONTROL, CONTROL_FAR, Exchange, FAR, NIC, code, finished, json, kept, said};
use serde_json::Value;

/// Runs measure latency: one at a time.
static QUIET: Mutex<()> = Mutex::new(());

fn quiet() -> MutexGuard<'static, ()> {
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

fn yaml(settings: &str, window: &str) -> String {
    format!(
        "apiVersion: nicmend/v1\nkind: Playbook\n\
         metadata: {{ name: kernel-guard, version: 1.0.0, summary: A few settings }}\n\
         stages:\n  - name: all\n    settings: {{ {settings} }}\n\
         guardrails:\n  latency.p50: {{ no-worse-than: 2000% }}\n  \
         latency.slow-ratio: {{ at-most: 100% }}\n  latency.loss-ratio: {{ at-most: 50% }}\n  \
         latency.storm-rate: {{ at-most: 1000000 }}\n\
         verify: {{ transport: udp, settle: 2s, window: {window}, rate: 1000, payload: 64 }}\n"
    )
}

/// Queues stop for a moment on a veth.
const QUEUE_RESET: &str = "feature.rx-gro: true";

fn holders(exchange: &Exchange, signal: &str) -> Vec<Value> {
    let output = exchange.done(&["inventory", "--nic", NIC, "--json"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let nic = json(&output)["nics"][0].clone();
    let all = nic["holders"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|holder| holder["signal"] == signal).collect()
}

/// The one holder by this signal, with the process that is named.
#[track_caller]
fn held_by(exchange: &Exchange, signal: &str, pid: u32) -> Value {
    let found = holders(exchange, signal);
    let ours = found.iter().find(|holder| holder["process"]["pid"] == pid);
    ours.unwrap_or_else(|| panic!("{signal} of {pid} is not among {found:#?}")).clone()
}

#[test]
fn sockets_are_found_with_their_process() {
    let test = "sockets_are_found_with_their_process";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    for signal in ["tcp", "udp", "multicast", "af-xdp", "packet"] {
        assert!(holders(&exchange, signal).is_empty(), "{signal} before anything is open");
    }
    let me = std::process::id();
    let udp = UdpSocket::bind("10.98.0.1:0").expect("a UDP socket");
    assert!(held_by(&exchange, "udp", me)["how"].to_string().contains("10.98.0.1"));
    let tcp = TcpStream::connect((FAR, 862)).expect("the reflector takes TCP");
    let how = held_by(&exchange, "tcp", me)["how"].to_string();
    assert!(how.contains("10.98.0.2:862"), "{how}");
    let feed = UdpSocket::bind("239.9.9.9:31001").expect("a socket of a group");
    let (group, here) = (Ipv4Addr::new(239, 9, 9, 9), Ipv4Addr::new(10, 98, 0, 1));
    feed.join_multicast_v4(&group, &here).expect("join");
    assert!(held_by(&exchange, "multicast", me)["how"].to_string().contains("239.9.9.9"));
    let tap = packet::bound(NIC).expect("a packet socket");
    assert_eq!(held_by(&exchange, "packet", me)["certainty"], "in-use");
    drop((udp, tcp, feed, tap));
    for signal in ["tcp", "udp", "multicast", "packet"] {
        assert!(holders(&exchange, signal).is_empty(), "{signal} when all is closed");
    }
    match xsk::bound(NIC) {
        Ok(_socket) => {
            // By socket diag, where the kernel has it; else by the queue and the socket's protocol.
            let holder = held_by(&exchange, "af-xdp", me);
            assert_eq!(holder["certainty"], "in-use", "{holder}");
        }
        Err(why) => tests::skip(test, &format!("no AF_XDP socket can be bound here: {why}")),
    }
}

/// VRRP and OSPF daemons, and whoever listens on one interface: nothing of theirs has the NIC's address.
#[test]
fn raw_sockets_and_bound_listeners_are_found_with_their_process() {
    let test = "raw_sockets_and_bound_listeners_are_found_with_their_process";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let me = std::process::id();
    let here = Ipv4Addr::new(10, 98, 0, 1);
    for signal in ["raw", "multicast", "listener"] {
        assert!(holders(&exchange, signal).is_empty(), "{signal} before anything is open");
    }
    // OSPF: one socket for all interfaces, which joins on each.
    let ospf = inet::raw(89).expect("a raw socket");
    inet::join(&ospf, Ipv4Addr::new(224, 0, 0, 5), here).expect("join");
    let how = held_by(&exchange, "multicast", me)["how"].to_string();
    assert!(how.contains("OSPF") && how.contains("224.0.0.5"), "{how}");
    drop(ospf);
    // VRRP: a socket of the interface's own.
    let vrrp = inet::raw(112).expect("a raw socket");
    inet::bind_to(&vrrp, NIC).expect("bind to the interface");
    let how = held_by(&exchange, "raw", me)["how"].to_string();
    assert!(how.contains("112 (VRRP)"), "{how}");
    let listener = TcpListener::bind("0.0.0.0:0").expect("a listener");
    assert!(holders(&exchange, "listener").is_empty(), "it is bound to no interface yet");
    inet::bind_to(&listener, NIC).expect("bind to the interface");
    assert_eq!(held_by(&exchange, "listener", me)["certainty"], "in-use");
    drop((vrrp, listener));
    for signal in ["raw", "multicast", "listener"] {
        assert!(holders(&exchange, signal).is_empty(), "{signal} when all is closed");
    }
}

/// A container behind this host: its packets have no socket here.
#[test]
fn traffic_that_is_forwarded_for_others_is_found() {
    let test = "traffic_that_is_forwarded_for_others_is_found";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let netns = &exchange.netns;
    netns.veth("nmfw0", "nmfw1", 1);
    let mut container =
        Command::new("unshare").args(["-n", "sleep", "600"]).spawn().expect("start a container");
    let pid = container.id().to_string();
    let script = format!(
        "until [ \"$(readlink /proc/{pid}/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do \
         sleep 0.05; done; ip link set nmfw1 netns {pid}; ip addr add 10.97.0.1/24 dev nmfw0; \
         sysctl -q -w net.ipv4.conf.all.forwarding=1; \
         nsenter -t {pid} -n sh -ec 'ip addr add 10.97.0.2/24 dev nmfw1; ip link set nmfw1 up; \
         ip route add default via 10.97.0.1'"
    );
    netns.run("sh", &["-ec", &script]);
    assert_eq!(holders(&exchange, "forward"), Vec::<Value>::new(), "nothing was forwarded yet");
    let send = format!("nsenter -t {pid} -n bash -c 'echo > /dev/udp/{FAR}/9'");
    let forwarded = "for _ in $(seq 100); do SEND; \
        [ \"$(awk '/^Ip: [0-9]/ { print $7 }' /proc/net/snmp)\" != 0 ] && exit 0; sleep 0.1; done; exit 1";
    netns.run("sh", &["-c", &forwarded.replace("SEND", &send)]);
    // Nothing is tracked here: for whom, nobody knows.
    let found = holders(&exchange, "forward");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["certainty"], "unknown", "{found:#?}");
    let (inner, far) = (Ipv4Addr::new(10, 97, 0, 2), Ipv4Addr::new(10, 98, 0, 2));
    match conntrack::track(inner, far) {
        Ok(()) => {
            let found = holders(&exchange, "forward");
            assert_eq!(found.len(), 1, "{found:#?}");
            assert_eq!(found[0]["certainty"], "in-use", "{found:#?}");
            assert_eq!(found[0]["what"], "10.97.0.2", "{found:#?}");
        }
        Err(why) => tests::skip(test, &format!("no connection can be tracked here: {why}")),
    }
    container.kill().expect("end the container");
    container.wait().expect("end the container");
}

/// A service's address on lo, whose packets leave by the NIC.
#[test]
fn a_connection_from_another_address_is_found_by_its_route() {
    let test = "a_connection_from_another_address_is_found_by_its_route";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    exchange.netns.run("ip", &["addr", "add", "203.0.113.5/32", "dev", "lo"]);
    exchange.netns.run("ip", &["link", "set", "lo", "up"]);
    let socket = UdpSocket::bind("203.0.113.5:0").expect("a socket");
    assert!(holders(&exchange, "udp").is_empty(), "it goes nowhere yet");
    socket.connect((FAR, 9)).expect("a route");
    let how = held_by(&exchange, "udp", std::process::id())["how"].to_string();
    assert!(how.contains(&format!("leaves by {NIC}")), "{how}");
}

/// A capture on an interface that went away meanwhile says nothing of the others.
#[test]
fn a_tap_on_an_interface_that_is_gone_is_nobodys() {
    let test = "a_tap_on_an_interface_that_is_gone_is_nobodys";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    exchange.netns.veth("nmgone0", "nmgone1", 1);
    let tap = packet::bound("nmgone0").expect("a packet socket");
    exchange.netns.run("ip", &["link", "del", "nmgone0"]);
    let table = exchange.netns.run("cat", &["/proc/net/packet"]);
    assert!(table.lines().any(|line| line.split_whitespace().nth(4) == Some("-1")), "{table}");
    assert_eq!(holders(&exchange, "packet"), Vec::<Value>::new());
    drop(tap);
}

#[test]
fn a_process_whose_first_thread_has_ended_is_found() {
    let test = "a_process_whose_first_thread_has_ended_is_found";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let tap = packet::bound(NIC).expect("a packet socket");
    let other = headless::Headless::with(tap.as_fd());
    drop(tap);
    let patience = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        other.has_lost_its_head()
    });
    assert!(patience, "its first thread goes on");
    assert_eq!(held_by(&exchange, "packet", other.pid())["certainty"], "in-use");
}

#[test]
fn bridges_vlans_and_other_namespaces_are_found() {
    let test = "bridges_vlans_and_other_namespaces_are_found";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let netns = &exchange.netns;
    netns.run("ip", &["link", "add", "nmmv0", "link", NIC, "type", "macvlan"]);
    assert!(holders(&exchange, "stacked")[0]["how"].to_string().contains("nmmv0"));
    // A container: a process in a namespace of its own, with the macvlan in it.
    let mut container =
        Command::new("unshare").args(["-n", "sleep", "600"]).spawn().expect("start a container");
    let pid = container.id().to_string();
    let script = format!(
        "until [ \"$(readlink /proc/{pid}/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do \
         sleep 0.05; done; ip link set nmmv0 netns {pid}"
    );
    netns.run("sh", &["-ec", &script]);
    let holder = held_by(&exchange, "namespace", container.id());
    assert_eq!(holder["process"]["name"], "sleep", "{holder}");
    assert!(holder["how"].to_string().contains("macvlan nmmv0 sits on"), "{holder}");
    assert!(holders(&exchange, "stacked").is_empty(), "it is not here any more");
    container.kill().expect("end the container");
    container.wait().expect("end the container");
    netns.run("ip", &["link", "add", "nmbr0", "type", "bridge"]);
    // The namespace, and the macvlan in it, goes a while after its last process.
    let enslave = format!(
        "for _ in $(seq 100); do ip link set {NIC} master nmbr0 2> /dev/null && exit 0; sleep 0.1; done; exit 1"
    );
    netns.run("sh", &["-c", &enslave]);
    assert!(holders(&exchange, "member")[0]["how"].to_string().contains("bridge nmbr0"));
    netns.run("ip", &["link", "set", NIC, "nomaster"]);
}

#[test]
fn who_may_not_look_is_told_that_nobody_knows() {
    let test = "who_may_not_look_is_told_that_nobody_knows";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let nicmend = exchange.nicmend(&["inventory", "--nic", NIC, "--json"]);
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]);
    nobody.arg(nicmend.get_program()).args(nicmend.get_args());
    nobody.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finished(nobody.spawn().expect("start nicmend"));
    if code(&output) != 0 {
        // Its program file, or /sys, may be closed to strangers here.
        return tests::skip(test, &said(&output));
    }
    let nic = json(&output)["nics"][0].clone();
    let unknown: Vec<&Value> = nic["holders"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|holder| holder["certainty"] == "unknown")
        .collect();
    assert!(!unknown.is_empty(), "{nic:#}");
    let why = unknown[0]["how"].to_string();
    assert!(why.contains("could not be"), "{why}");
}

#[test]
fn a_run_refuses_to_hurt_a_holder_and_the_operator_may_insist() {
    let test = "a_run_refuses_to_hurt_a_holder_and_the_operator_may_insist";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("felt", &yaml(QUEUE_RESET, "1s"));
    // Somebody who comes while the run measures its baseline.
    let mut child = exchange.apply(&playbook).spawn().expect("start nicmend");
    let mut lines = BufReader::new(child.stderr.take().expect("its progress")).lines();
    let mut told = String::new();
    while !told.contains("measure   baseline") {
        told += &lines.next().expect("more progress").expect("text");
    }
    let socket = match xsk::bound(NIC) {
        Ok(socket) => socket,
        Err(why) => {
            child.kill().expect("end the run");
            child.wait().expect("end the run");
            return tests::skip(test, &format!("no AF_XDP socket can be bound here: {why}"));
        }
    };
    let output = finished(child);
    assert_eq!(code(&output), 4, "{}", said(&output));
    let run = json(&output);
    assert_eq!(run["state"], "refused", "{run:#}");
    let why = run["why"].to_string();
    let me = format!("(pid {})", std::process::id());
    assert!(why.contains("rule in-use") && why.contains(&me) && why.contains("AF_XDP"), "{why}");
    assert_eq!(exchange.witness(), before);
    // Known beforehand: the plan shows it, the run is not begun.
    let arguments = ["plan", playbook.as_str(), "--nic", NIC, "--peer", FAR];
    let plan = said(&exchange.done(&arguments));
    assert!(plan.contains("used by") && plan.contains(&me), "{plan}");
    assert!(plan.contains("in the way: held:af-xdp:"), "{plan}");
    let refused = finished(exchange.apply(&playbook).spawn().expect("start nicmend"));
    assert_eq!(code(&refused), 4, "{}", said(&refused));
    assert!(said(&refused).contains("in-use"), "{}", said(&refused));
    // Insisted on, the next rule is met: nothing that the probe measures stands for that socket.
    let id = plan.split("in the way: ").nth(1).and_then(|rest| rest.split(']').next());
    let mut insist = exchange.apply(&playbook);
    insist.args(["--override-hazard", id.expect("an id")]);
    let output = finished(insist.spawn().expect("start nicmend"));
    assert_eq!(code(&output), 4, "{}", said(&output));
    let words = said(&output);
    assert!(words.contains("kernel-bypass") && !words.contains("in-use"), "{words}");
    assert_eq!(exchange.witness(), before);
    drop(socket);
}

#[test]
fn a_standby_path_is_probed_and_is_the_runs_own() {
    let test = "a_standby_path_is_probed_and_is_the_runs_own";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    exchange.second_link();
    let before = exchange.witness();
    let playbook = exchange.playbook("standby", &yaml(QUEUE_RESET, "1s"));
    let run = |standby: &[&str]| {
        let mut apply = exchange.apply(&playbook);
        finished(apply.args(standby).spawn().expect("start nicmend"))
    };
    let output = run(&["--standby", NIC]);
    assert_eq!(code(&output), 4, "{}", said(&output));
    assert!(said(&output).contains("the NIC under change itself"), "{}", said(&output));
    let output = run(&["--standby", CONTROL, "--standby-peer", "10.99.0.9"]);
    assert_eq!(code(&output), 4, "{}", said(&output));
    assert!(said(&output).contains("does not answer"), "{}", said(&output));
    let output = run(&["--standby", "nosuch0"]);
    assert_eq!(code(&output), 2, "{}", said(&output));
    assert_eq!(exchange.witness(), before);
    let standby = ["--standby", CONTROL, "--standby-peer", CONTROL_FAR];
    let output = kept(|| run(&standby));
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(code(&exchange.done(&["revert", "last"])), 0);
    assert_eq!(exchange.witness(), before);
    // The log names it, with what both have in common.
    let log = said(&exchange.done(&["audit", "show"]));
    let told = log.lines().find(|line| line.contains("stands by")).expect("it is in the log");
    assert!(told.contains(CONTROL) && told.contains("both are driven by veth"), "{told}");
}
