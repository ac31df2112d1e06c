//! Interfaces that sit on the NIC in this network namespace: VLANs, macvlans, tunnels. Who uses them is found
//! by their own sockets, since their addresses count as the NIC's; a macvtap's user by who has its character
//! device open (Documentation/networking/tuntap.rst, drivers/net/macvtap.c).

use std::path::PathBuf;

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, held},
    scene::{Port, Scene, number},
};
use crate::{fault::Result, inventory::link};

pub(super) struct Stacked;

impl Sign for Stacked {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Stacked, Signal::Tap]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut found = Found::default();
        for (port, nic) in scene.nics() {
            let above = port.stack.iter().filter(|&&ifindex| ifindex != nic.ifindex);
            for link in above.filter_map(|ifindex| scene.links.get(ifindex)) {
                if link.kind.ends_with("vtap") {
                    found.clues.extend(tap(scene, port, link)?);
                }
                // What has the NIC as its port is told by `member`.
                if link.sits_on().is_some() {
                    let how = format!("{} {} sits on it", link.kind, link.name);
                    found.holders.push(held(Signal::Stacked, &port.name, &port.name, how));
                }
            }
        }
        Ok(found)
    }
}

/// `/sys/class/net/macvtap0/tap7/dev`; the device is `/dev/tap7`.
fn tap(scene: &Scene<'_>, port: &Port, link: &link::Entry) -> Result<Option<Clue>> {
    let name = format!("tap{}", link.ifindex);
    let file = PathBuf::from(format!("/sys/class/net/{}/{name}/dev", link.name));
    let numbers = number(scene.host, &file)?;
    Ok(numbers.map(|(major, minor)| Clue {
        signal: Signal::Tap,
        port: port.name.clone(),
        what: format!("/dev/{name}"),
        token: Token::Device(major, minor),
        how: format!("has {} {} open (/dev/{name})", link.kind, link.name),
        certainty: Certainty::InUse,
        alone: Alone::Nothing,
    }))
}
