//! TCP sockets that are bound to the NIC itself (SO_BINDTODEVICE), whatever their state.
//!
//! The kernel binds by the interface's index. A driver that takes its interface away and makes it anew leaves
//! them bound to an index that never comes back. UDP's are told by [`super::inet`], raw ones by
//! [`super::raw`]. Bound to its bond or bridge they outlive the port.
//!
//! Source: socket(7); net/core/sock.c sock_bindtoindex.

use std::collections::BTreeSet;

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, unknown},
    inet::{self, SOCKETS_MAX},
    scene::Scene,
};
use crate::{fault::Result, host::Ask};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// Every state but TCP_TIME_WAIT, which is no process's any more.
const STATES: u32 = !(1 << 6);

pub(super) struct Listener;

impl Sign for Listener {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Listener]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut all = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let payload = inet::request(family, IPPROTO_TCP, STATES);
            all.extend(inet::sockets(scene.host, &Ask::Diag { payload, most: SOCKETS_MAX })?);
        }
        let mut found = Found::default();
        for (port, nic) in scene.nics() {
            if all.len() >= SOCKETS_MAX {
                let how = format!("more than {SOCKETS_MAX} TCP sockets to look through");
                found.holders.push(unknown(Signal::Listener, &port.name, how));
            }
            let gone = going_with(scene, nic.ifindex);
            found.clues.extend(all.iter().filter(|socket| gone.contains(&socket.ifindex)).map(
                |socket| Clue {
                    signal: Signal::Listener,
                    port: port.name.clone(),
                    what: port.name.clone(),
                    token: Token::Socket(socket.inode.into()),
                    how: format!("TCP socket {} bound to the interface", socket.local),
                    certainty: Certainty::InUse,
                    alone: Alone::InUse,
                },
            ));
        }
        Ok(found)
    }
}

/// This interface and those that go with it: its VLANs and the like, but not its bond or bridge.
fn going_with(scene: &Scene<'_>, ifindex: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([ifindex]);
    let mut todo = vec![ifindex];
    // Ends: every interface is taken up once.
    while let Some(below) = todo.pop() {
        for link in scene.links.values().filter(|link| link.sits_on() == Some(below)) {
            if found.insert(link.ifindex) {
                todo.push(link.ifindex);
            }
        }
    }
    found
}
