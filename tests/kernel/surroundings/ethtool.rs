//! What ethtool gives a port; ethtool is the witness.

use agent::{
    host::{Nic, linux::Linux, nic},
    surroundings,
};
use tests::{Netns, programs_or_skip};

use super::{commands, ready, words};

/// A tap keeps what ethtool told it, and a new one starts from 10 Mbit/s.
#[test]
fn what_ethtool_held_a_link_to_is_put_back() {
    let name = "what_ethtool_held_a_link_to_is_put_back";
    if !ready(name) || !programs_or_skip(name, &["ethtool"]) {
        return;
    }
    let netns = Netns::new();
    let make = "ip tuntap add eth1 mode tap\n ip link set eth1 address 02:00:00:00:01:01";
    let witness = || netns.run("ethtool", &["eth1"]);
    commands(&netns, make);
    commands(&netns, "ethtool -s eth1 speed 1000 duplex half autoneg off");
    let before = witness();
    let host = Linux::new().unwrap_or_else(|fault| panic!("{fault}"));
    let port = nic::find(&host, "eth1").unwrap_or_else(|fault| panic!("{fault}"));
    let kept = surroundings::take(&host, std::slice::from_ref(&port));
    let kept = kept.unwrap_or_else(|fault| panic!("{fault}"));
    commands(&netns, "ip link delete eth1");
    commands(&netns, make);
    assert_ne!(witness(), before, "a new tap has its own speed");
    let again = nic::find(&host, "eth1").unwrap_or_else(|fault| panic!("{fault}"));
    let faults = kept.restore(&host, &[Nic { id: port.id, ..again }]);
    assert!(faults.is_empty(), "{}", words(&faults));
    assert_eq!(witness(), before);
}
