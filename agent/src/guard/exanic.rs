//! ExaNIC cards: who has /dev/exanicN, /dev/exasock or /dev/exabond-* open. Which card a descriptor is of is not
//! held against the port: any of them counts for every port of the driver.
//!
//! Source: exanic-software's modules/exanic/exanic-main.c: miscellaneous devices.

use std::path::Path;

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token},
    onload::nodes,
    scene::{Scene, entries},
};
use crate::fault::Result;

pub(super) struct Exanic;

impl Sign for Exanic {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Exanic]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let ports: Vec<&str> = scene
            .nics()
            .filter(|(_, nic)| nic.driver == "exanic")
            .map(|(port, _)| port.name.as_str())
            .collect();
        if ports.is_empty() {
            return Ok(Found::default());
        }
        let ours =
            |name: &String| ["exanic", "exasock", "exabond"].iter().any(|p| name.starts_with(p));
        let mut names = entries(scene.host, Path::new("/sys/class/misc"))?;
        names.extend(entries(scene.host, Path::new("/dev"))?);
        names.retain(ours);
        names.sort();
        names.dedup();
        let mut found = Found::default();
        for name in names {
            for (major, minor) in nodes(scene.host, &name)? {
                found.clues.extend(ports.iter().map(|port| Clue {
                    signal: Signal::Exanic,
                    port: (*port).to_owned(),
                    what: format!("/dev/{name}"),
                    token: Token::Device(major, minor),
                    how: format!("has /dev/{name} open"),
                    certainty: Certainty::InUse,
                    alone: Alone::Nothing,
                }));
            }
        }
        Ok(found)
    }
}
