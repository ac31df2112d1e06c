//! Programs that have the device's registers or memory open through sysfs (`resourceN`,
//! `rom`): firmware tools such as mstflint at work. `config` does not count: who lists devices reads it.
//!
//! Source: Documentation/PCI/sysfs-pci.rst. A program that has mapped them and closed the file is told
//! by [`super::maps`].

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token},
    scene::Scene,
};
use crate::fault::Result;

pub(super) struct Registers;

impl Sign for Registers {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Registers]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let each = scene.functions().flat_map(|(port, address)| {
            ["resource", "rom"].map(|file| Clue {
                signal: Signal::Registers,
                port: port.name.clone(),
                what: address.to_owned(),
                token: Token::File(format!("/{address}/{file}")),
                how: format!("has {file} of {address} open"),
                certainty: Certainty::InUse,
                alone: Alone::Nothing,
            })
        });
        Ok(Found { clues: each.collect(), holders: Vec::new() })
    }
}
