//! Bonds, teams, bridges and the like that the NIC, or what sits on it, is a port of: others' traffic passes
//! there, and no socket tells of it.

use policy::holders::Signal;

use super::{
    Sign,
    clue::{Found, held},
    scene::Scene,
};
use crate::fault::Result;

pub(super) struct Member;

impl Sign for Member {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Member]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut found = Found::default();
        for port in &scene.ports {
            for below in port.stack.iter().filter_map(|ifindex| scene.links.get(ifindex)) {
                let Some(above) = below.master.and_then(|master| scene.links.get(&master)) else {
                    continue;
                };
                let how = format!("{} is a port of {} {}", below.name, above.kind, above.name);
                found.holders.push(held(Signal::Member, &port.name, &below.name, how));
            }
        }
        Ok(found)
    }
}
