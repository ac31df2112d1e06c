//! netmap: who has /dev/netmap open. It does not tell on which interface, and takes any: by its driver's own
//! support, or else emulated.
//!
//! Source: netmap's LINUX/netmap_linux.c: while it is on, ring and channel changes answer EBUSY.

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token},
    onload::nodes,
    scene::Scene,
};
use crate::fault::Result;

pub(super) struct Netmap;

impl Sign for Netmap {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Netmap]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let nodes = nodes(scene.host, "netmap")?;
        let each = scene.nics().flat_map(|(port, _)| {
            nodes.iter().map(|&(major, minor)| Clue {
                signal: Signal::Netmap,
                port: port.name.clone(),
                what: "/dev/netmap".to_owned(),
                token: Token::Device(major, minor),
                how: "has /dev/netmap open; on which interface is not told".to_owned(),
                certainty: Certainty::Unknown,
                alone: Alone::Nothing,
            })
        });
        Ok(Found { clues: each.collect(), holders: Vec::new() })
    }
}
