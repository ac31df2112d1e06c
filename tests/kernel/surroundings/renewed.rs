//! What comes back as another: under another's name, with another random address, without who held it.

use std::{collections::BTreeSet, path::Path, sync::atomic::AtomicI64};

use agent::{host::Host, surroundings::Surroundings};
use serde_json::Value;

use super::{
    Falling, SETUP, Scene, commands,
    nft::{self, By},
    ready,
    sockets::{promiscuous, routed},
    witness, words,
};

/// Two ports that register at the same moment may each come back under the other's name.
#[test]
fn ports_that_have_each_others_names_are_told_apart() {
    if !ready("ports_that_have_each_others_names_are_told_apart") {
        return;
    }
    let mut scene = Scene::new(SETUP);
    let before = witness(&scene.netns, &scene.devices);
    let kept = scene.take();
    scene.reset(["eth2", "eth1"]);
    // As udev or a first try left them: up.
    commands(&scene.netns, "ip link set eth1 up\nip link set eth2 up");
    assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "");
    assert_eq!(words(&kept.differences(&scene.take())), "");
    scene.is_as_it_was(&before);

    // Killed at any moment of the exchange, it is done again.
    for writes in [1, 2, 4] {
        scene.reset(["eth2", "eth1"]);
        let falling = Falling { inner: &scene.host, left: AtomicI64::new(writes) };
        assert_ne!(kept.restore(&falling, &scene.ports), [], "it died after {writes} writes");
        assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "", "after {writes} writes");
    }
    scene.is_as_it_was(&before);
}

/// Somebody else's interface has the name meanwhile: nothing of the port's lands on it.
#[test]
fn a_name_that_is_taken_gets_nothing() {
    if !ready("a_name_that_is_taken_gets_nothing") {
        return;
    }
    let mut scene = Scene::new("ip link set eth1 up\nip address add 10.1.0.1/24 dev eth1");
    let kept = scene.take();
    scene.reset(["eth7", "eth2"]);
    commands(&scene.netns, "ip link add eth1 type ifb");
    let said = words(&kept.restore(&Falling::never(&scene.host), &scene.ports));
    assert!(said.contains("rename a port to eth1: interface"), "{said}");
    assert_eq!(
        scene.netns.run("ip", &["-4", "-j", "-br", "address", "show", "dev", "eth1"]),
        "[]\n"
    );
    commands(&scene.netns, "ip link delete eth1");
    assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "");
}

/// Privacy addresses: a new interface makes others.
#[test]
fn a_temporary_address_is_made_again_and_is_another() {
    if !ready("a_temporary_address_is_made_again_and_is_another") {
        return;
    }
    let mut scene = Scene::new(
        "sysctl -q -w net.ipv6.conf.eth1.use_tempaddr=2
         ip link set eth1 up
         ip -6 address add 2001:db8:5::5/64 dev eth1 nodad mngtmpaddr
         ip -6 address add 2001:db8:6::5/64 dev eth1 nodad mngtmpaddr valid_lft 3000 preferred_lft 2000",
    );
    let temporary = |scene: &Scene| {
        let said =
            scene.netns.run("ip", &["-6", "-o", "address", "show", "dev", "eth1", "temporary"]);
        let words = said.split_whitespace().map(str::to_owned);
        words.filter(|word| word.starts_with("2001:db8:")).collect::<BTreeSet<_>>()
    };
    let before = temporary(&scene);
    assert_eq!(before.len(), 2, "the kernel made one of each prefix: {before:?}");
    let kept = scene.take();
    assert_eq!(kept.cannot_restore(), [] as [String; 0]);
    scene.reset(["eth1", "eth2"]);
    let lost = words(&kept.differences(&scene.take()));
    assert!(lost.contains("address of 2001:db8:5::/64 made at random on eth1"), "{lost}");
    assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "");
    let after = temporary(&scene);
    assert_eq!(after.len(), 2, "{after:?}");
    assert!(before.is_disjoint(&after), "they are not the same ones: {after:?}");
}

/// What a packet socket holds is its own; a person's flag is put back.
#[test]
fn a_tap_is_named_and_the_flag_is_put_back() {
    if !ready("a_tap_is_named_and_the_flag_is_put_back") {
        return;
    }
    let mut scene = Scene::new("ip link set eth1 promisc on up\nip link set eth2 up");
    let index = |scene: &Scene, port: usize| scene.ports[port].ifindex;
    let taps = [
        promiscuous(index(&scene, 0)).expect("a packet socket"),
        promiscuous(index(&scene, 1)).expect("a packet socket"),
    ];
    let kept = scene.take();
    assert_eq!(kept.cannot_restore(), [] as [String; 0], "they are known");
    scene.reset(["eth1", "eth2"]);
    assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "");
    let count = |name: &str| {
        let said = scene.netns.run("ip", &["-d", "-j", "link", "show", name]);
        let said: Value = serde_json::from_str(&said).expect("JSON");
        said[0]["promiscuity"].as_u64()
    };
    assert_eq!((count("eth1"), count("eth2")), (Some(1), Some(0)));
    let lost = words(&kept.lost_joins(&scene.take()));
    let owner = format!("pid {}", std::process::id());
    for name in ["eth1", "eth2"] {
        let told = format!("promiscuous mode (packet socket) on {name}, joined once");
        assert!(lost.contains(&told) && lost.contains(&owner), "{lost}");
    }
    drop(taps);
}

/// `ip mroute` daemons: their virtual interfaces go for good.
#[test]
fn a_multicast_router_is_refused() {
    if !ready("a_multicast_router_is_refused") {
        return;
    }
    let scene = Scene::new("ip link set eth1 up\nip address add 10.1.0.1/24 dev eth1");
    let router = routed(scene.ports[0].ifindex).expect("a multicast router");
    let told = words(scene.take().cannot_restore());
    assert!(told.contains("IPv4 multicast routing through eth1"), "{told}");
    drop(router);
    assert_eq!(scene.take().cannot_restore(), [] as [String; 0]);
}

/// Flow steering's tables are each queue's own.
#[test]
fn what_each_queue_has_is_put_back() {
    if !ready("what_each_queue_has_is_put_back") {
        return;
    }
    let mut scene = Scene::new("ip link set eth1 up\nip link set eth2 up");
    let table = Path::new("/sys/class/net/eth1/queues/rx-0/rps_flow_cnt");
    scene.host.write(table, "64").expect("a table of flows");
    let kept = scene.take();
    assert!(kept.steers_flows());
    scene.reset(["eth1", "eth2"]);
    assert_eq!(scene.host.read(table).expect("the table").trim(), "0", "a new device has none");
    let lost = words(&kept.differences(&scene.take()));
    assert!(lost.contains("queues/rx-0/rps_flow_cnt of eth1: expected 64, found 0"), "{lost}");
    assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "");
    assert_eq!(scene.host.read(table).expect("the table").trim(), "64");

    // A queue that comes with the channels, which are not put back here: told, and not waited for.
    let journal = serde_json::to_string(&kept).expect("as JSON");
    let own = r#""rx-0/rps_flow_cnt":"64""#;
    let more = journal.replacen(own, &format!(r#"{own},"rx-9/rps_flow_cnt":"64""#), 1);
    let kept: Surroundings = serde_json::from_str(&more).expect("from JSON");
    assert_eq!(words(&kept.restore(&scene.host, &scene.ports)), "");
    let lost = words(&kept.differences(&scene.take()));
    assert_eq!(lost, "queues/rx-9/rps_flow_cnt of eth1: expected 64, found no such queue");
}

/// A rule that knows an interface by its index goes on matching nothing.
#[test]
fn a_firewalls_rule_by_index_is_refused() {
    if !ready("a_firewalls_rule_by_index_is_refused") {
        return;
    }
    let scene = Scene::new("ip link add ifb0 type ifb");
    let (own, other) = (scene.ports[0].ifindex, scene.find("ifb0").ifindex);
    for (table, by) in [("others", By::Comparison), ("others-set", By::Set)] {
        nft::rule(table, by, other).unwrap_or_else(|error| panic!("{table}: {error}"));
    }
    assert_eq!(scene.take().cannot_restore(), [] as [String; 0], "another interface's");
    for (table, by) in [("own", By::Comparison), ("own-set", By::Set)] {
        nft::rule(table, by, own).unwrap_or_else(|error| panic!("{table}: {error}"));
        let told = words(scene.take().cannot_restore());
        let rule = format!("a rule of nftables (table {table}, chain c) knows eth1 by its index");
        assert!(told.contains(&rule), "{told}");
        assert!(!told.contains("table others"), "{told}");
    }
}
