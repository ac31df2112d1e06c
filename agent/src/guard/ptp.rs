//! Clock daemons (ptp4l, phc2sys, chronyd) on the NIC's hardware clock: who has /dev/ptpN open.
//!
//! Source: Documentation/driver-api/ptp.rst; `/sys/bus/pci/devices/BDF/ptp/ptpN/dev`.

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token},
    scene::{Scene, device, entries, number},
};
use crate::fault::Result;

pub(super) struct Ptp;

impl Sign for Ptp {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Ptp]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut found = Found::default();
        for (port, address) in scene.functions() {
            let folder = device(address).join("ptp");
            for clock in entries(scene.host, &folder)? {
                let numbers = number(scene.host, &folder.join(&clock).join("dev"))?;
                found.clues.extend(numbers.map(|(major, minor)| Clue {
                    signal: Signal::Ptp,
                    port: port.name.clone(),
                    what: format!("/dev/{clock}"),
                    token: Token::Device(major, minor),
                    how: format!("has its clock open (/dev/{clock})"),
                    certainty: Certainty::InUse,
                    alone: Alone::Nothing,
                }));
            }
        }
        Ok(found)
    }
}
