//! The inventory on a real kernel, in network namespaces of its own.

use agent::{
    host::{Host, NicId, linux::Linux, nic},
    inventory::{self, Inventory, NicFacts},
};
use policy::management::Role;
use tests::{Netns, programs_or_skip, root_or_skip};

fn ready(name: &str) -> bool {
    root_or_skip(name) && programs_or_skip(name, &["ip"])
}

fn take() -> Inventory {
    let host = Linux::new().unwrap();
    inventory::take(&host, None).unwrap()
}

fn nic<'a>(inventory: &'a Inventory, name: &str) -> &'a NicFacts {
    inventory.nic(name).unwrap_or_else(|| panic!("{name} is not in the inventory"))
}

#[test]
fn every_nic_is_listed_with_what_it_is_and_what_it_belongs_to() {
    if !ready("every_nic_is_listed_with_what_it_is_and_what_it_belongs_to") {
        return;
    }
    let netns = Netns::new();
    netns.veth("left", "right", 2);
    netns.run("ip", &["link", "add", "br7", "type", "bridge"]);
    netns.run("ip", &["link", "set", "right", "master", "br7"]);
    netns.run("ip", &["link", "add", "mv0", "link", "left", "type", "macvlan"]);
    netns.run("ip", &["link", "property", "add", "dev", "left", "altname", "trading-link"]);
    netns.run("ip", &["link", "set", "left", "address", "02:00:00:00:00:07"]);
    netns.run("ip", &["addr", "add", "192.0.2.1/24", "dev", "left"]);
    netns.run("ip", &["route", "add", "default", "via", "192.0.2.254"]);

    let inventory = take();
    let names: Vec<&str> = inventory.nics.iter().map(|nic| nic.name.as_str()).collect();
    assert!(!names.contains(&"lo"), "loopback is no NIC");
    assert_eq!(inventory.notes, Vec::<String>::new());

    let left = nic(&inventory, "left");
    assert_eq!((left.kind.as_str(), left.driver.as_str()), ("veth", "veth"));
    assert_eq!(left.mac, "02:00:00:00:00:07");
    assert!(matches!(&left.id, NicId::Virtual { name, .. } if name == "left"));
    assert_eq!(left.altnames, ["trading-link"]);
    assert_eq!(nic(&inventory, "trading-link").name, "left");
    assert_eq!(left.peer.as_deref(), Some("right"));
    assert_eq!(left.under, ["mv0"]);
    assert!(left.link.up && left.link.carrier);
    assert_eq!(left.link.speed, Some(10_000));
    assert_eq!(left.link.duplex.as_deref(), Some("full"));
    assert_eq!(left.queues.iter().filter(|queue| queue.name.starts_with("rx-")).count(), 2);
    assert_eq!(left.default_route, ["ipv4"]);
    assert!(left.addresses.contains(&"192.0.2.1/24".to_owned()));
    assert_eq!(left.in_tree, Some(true));
    assert_eq!((&left.pci, left.numa_node, &left.vfs), (&None, None, &None));
    assert!(!left.kernel.is_empty() && !left.kernel_base.is_empty());
    assert_eq!(left.qdisc.as_deref(), Some("noqueue"));

    let right = nic(&inventory, "right");
    let member = right.member_of.as_ref().expect("a port of the bridge");
    assert_eq!((member.name.as_str(), member.kind.as_str()), ("br7", "bridge"));
    assert_eq!(nic(&inventory, "br7").kind, "bridge");
    assert_eq!(nic(&inventory, "mv0").over.as_deref(), Some("left"));
    assert!(right.default_route.is_empty());
}

#[test]
fn settings_are_told_with_values_and_the_missing_ones_with_reasons() {
    if !ready("settings_are_told_with_values_and_the_missing_ones_with_reasons") {
        return;
    }
    let netns = Netns::new();
    netns.veth("left", "right", 2);
    netns.run("ip", &["link", "set", "left", "mtu", "1400"]);
    let inventory = take();
    let json = serde_json::to_value(&inventory).unwrap();
    let nics = json["nics"].as_array().unwrap();
    let left = nics.iter().find(|nic| nic["name"] == "left").unwrap();
    for fact in ["mac", "driver", "kernel", "kernel-base", "fingerprint", "settings"] {
        assert!(!left[fact].is_null(), "{fact}");
    }
    assert_eq!(left["settings"]["link.mtu"]["value"], 1400);
    assert_eq!(left["settings"]["link.mtu"]["max"], 65535);
    let facts = nic(&inventory, "left");
    for (name, reason) in &facts.unsupported {
        assert!(!reason.is_empty(), "{name} has no reason");
        assert!(!facts.settings.contains_key(name), "{name} both ways");
    }
    let sysctls = json["host"]["settings"].as_object().unwrap();
    assert!(sysctls.contains_key("sysctl.net.ipv4.tcp_rmem"));
    assert!(left["settings"]["sysctl.net.ipv4.tcp_rmem"].is_null(), "the host's, told once");
    let back: Inventory = serde_json::from_value(json).unwrap();
    assert_eq!(back, inventory);
}

#[test]
fn one_nic_may_be_asked_for_and_an_unknown_one_is_named() {
    if !ready("one_nic_may_be_asked_for_and_an_unknown_one_is_named") {
        return;
    }
    let netns = Netns::new();
    netns.veth("left", "right", 1);
    netns.run("ip", &["link", "property", "add", "dev", "right", "altname", "other-end"]);
    let host = Linux::new().unwrap();
    let all = inventory::take(&host, None).unwrap();
    let one = inventory::take(&host, Some("other-end")).unwrap();
    assert_eq!(one.nics.len(), 1);
    assert_eq!(&one.nics[0], nic(&all, "right"), "asked alone, it says the same");
    let fault = inventory::take(&host, Some("rihgt")).unwrap_err();
    assert_eq!(fault.kind, agent::fault::Kind::Gone);
    assert_eq!(fault.to_string(), "find NIC rihgt: no such NIC here; there are right, left");
}

#[test]
fn the_fingerprint_covers_settings_and_identity_but_nothing_that_moves_by_itself() {
    if !ready("the_fingerprint_covers_settings_and_identity_but_nothing_that_moves_by_itself") {
        return;
    }
    let netns = Netns::new();
    netns.veth("left", "right", 1);
    let before = take();
    assert_eq!(before.fingerprint, take().fingerprint, "taken twice");

    netns.run("ip", &["addr", "add", "192.0.2.1/24", "dev", "left"]);
    netns.output("ping", &["-c", "1", "-W", "1", "-I", "left", "192.0.2.2"]);
    assert_eq!(before.fingerprint, take().fingerprint, "addresses and counters");

    netns.run("ip", &["link", "set", "left", "down"]);
    let down = take();
    assert!(!nic(&down, "left").link.up);
    assert_eq!(before.fingerprint, down.fingerprint, "link state");
    netns.run("ip", &["link", "set", "left", "up"]);
    assert_eq!(before.fingerprint, take().fingerprint, "down and up");

    netns.run("ip", &["link", "set", "left", "mtu", "1400"]);
    let changed = take();
    assert_ne!(before.fingerprint, changed.fingerprint, "a setting");
    assert_eq!(nic(&before, "right").fingerprint, nic(&changed, "right").fingerprint);
    netns.run("ip", &["link", "set", "left", "mtu", "1500"]);
    assert_eq!(before.fingerprint, take().fingerprint, "put back");

    netns.run("ip", &["link", "set", "left", "name", "middle"]);
    assert_ne!(before.fingerprint, take().fingerprint, "a virtual NIC is its name");
}

#[test]
fn the_order_in_which_nics_were_made_does_not_matter() {
    if !ready("the_order_in_which_nics_were_made_does_not_matter") {
        return;
    }
    let netns = Netns::new();
    let make = |name: &str, last: &str| {
        let mac = format!("02:00:00:00:00:{last}");
        netns.run("ip", &["link", "add", name, "address", &mac, "type", "bridge"]);
    };
    make("one", "01");
    make("two", "02");
    let before = take();
    for name in ["one", "two"] {
        netns.run("ip", &["link", "del", name]);
    }
    make("two", "02");
    make("one", "01");
    let after = take();
    let order = |inventory: &Inventory| -> Vec<String> {
        inventory.nics.iter().map(|nic| nic.name.clone()).collect()
    };
    assert_ne!(order(&before), order(&after), "new indices, another order");
    assert_eq!(before.fingerprint, after.fingerprint);
}

#[test]
fn management_is_found_through_bridges_and_by_the_operators_session() {
    if !ready("management_is_found_through_bridges_and_by_the_operators_session") {
        return;
    }
    let netns = Netns::new();
    netns.veth("left", "right", 1);
    netns.run("ip", &["link", "add", "br7", "up", "type", "bridge"]);
    netns.run("ip", &["link", "set", "left", "master", "br7"]);
    netns.run("ip", &["addr", "add", "192.0.2.1/24", "dev", "br7"]);
    let host = Linux::new().unwrap();
    let duties = |name: &str, session: Option<&str>| {
        let found = nic::find(&host, name).unwrap();
        inventory::management(&host, &found, session).unwrap().duties
    };
    assert_eq!(duties("left", None), []);

    let session = duties("left", Some("::ffff:192.0.2.1"));
    assert_eq!(session[0].role, Role::Session { address: "192.0.2.1".to_owned() });
    assert_eq!(session[0].through.as_deref(), Some("br7"));
    assert_eq!(duties("right", Some("192.0.2.1")), [], "another NIC's address");

    netns.run("ip", &["route", "add", "default", "via", "192.0.2.254"]);
    let way_out = duties("left", None);
    assert_eq!((way_out.len(), &way_out[0].role), (1, &Role::DefaultRoute));
    assert_eq!(way_out[0].through.as_deref(), Some("br7"));

    let found = nic::find(&host, "left").unwrap();
    let unknown = inventory::management(&host, &found, Some("somewhere")).unwrap_err();
    assert_eq!(unknown.kind, agent::fault::Kind::Invalid);
    assert!(!host.now().boot_id.is_empty());
}
