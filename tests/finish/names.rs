//! The interface and the namespace that a run changed, and no other that is called so.

use agent::{
    host::sim::{Act, Machine},
    log::RunState,
};

use crate::place::{Place, SETTINGS};

fn virtual_nic() -> Machine {
    let machine = "nics:\n  - { name: eth1, kind: veth, driver: veth, mac: 52:54:00:00:00:02, \
                   coalesce: { adaptive-rx: true, rx-usecs: 8 } }\n";
    serde_saphyr::from_str(machine).expect("a machine")
}

fn usecs(place: &Place, nic: &str) -> String {
    place.sim.value(nic, "coalesce.rx-usecs").expect("it has it").to_string()
}

#[test]
fn a_virtual_nic_that_was_renamed_is_put_back_under_its_new_name() {
    let place = Place::new(virtual_nic());
    place.dies_at(SETTINGS, "Stage(0)");
    place.happens(Act::Rename { nic: "eth1".to_owned(), to: "trade0".to_owned() });
    assert_eq!(usecs(&place, "trade0"), "4");
    let told = place.recover().expect("it is found");
    assert_eq!(told[0].state, RunState::Reverted, "{}", told[0].why);
    assert_eq!(usecs(&place, "trade0"), "8");
}

/// Unplugged and made anew under another name: another index.
#[test]
fn another_interface_is_not_taken_for_it_and_the_lines_say_which_is_meant() {
    let place = Place::new(virtual_nic());
    place.dies_at(SETTINGS, "Stage(0)");
    let index = place.run(0).ifindex.expect("an index");
    place.happens(Act::Remove { nic: "eth1".to_owned() });
    place.happens(Act::Return { nic: "eth1".to_owned() });
    place.happens(Act::Rename { nic: "eth1".to_owned(), to: "trade0".to_owned() });
    let told = place.recover().expect("it is tried");
    assert_eq!(told[0].state, RunState::Stuck, "{}", told[0].why);
    let which = format!("# eth1 stands for the interface of index {index}, MAC 52:54:00:00:00:02");
    assert!(told[0].by_hand[0].starts_with(&which), "{:?}", told[0].by_hand);
}

/// The kernel gives an inode's number again; a cookie it does not.
#[test]
fn a_namespace_with_the_same_number_is_not_the_same() {
    let place = Place::new(virtual_nic());
    place.dies_at(SETTINGS, "Stage(0)");
    let inode = place.run(0).netns;
    place.happens(Act::Namespace { inode, cookie: Some(99) });
    let declined = place.recover().expect_err("it is another one");
    assert!(declined.why.contains("that is gone"), "{declined}");
    assert_eq!(usecs(&place, "eth1"), "4", "somebody else's value is left alone");
    // Whose keys are its own.
    let told =
        place.apply(SETTINGS.replace("rx-usecs: 4", "rx-usecs: 2").as_str(), "eth1", &|_| ());
    let told = told.expect("it lives").expect("nobody owns its keys");
    assert_eq!(told.state, RunState::Committed, "{}", told.why);
    // And a kernel that does not tell is believed as ever.
    place.happens(Act::Namespace { inode, cookie: None });
    let told = place.recover().expect("it is put back");
    assert_eq!(told[0].state, RunState::Reverted, "{}", told[0].why);
}
