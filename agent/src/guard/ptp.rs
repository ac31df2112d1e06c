//! Clock daemons (ptp4l, phc2sys, chronyd) on the NIC's hardware clock: who has /dev/ptpN open.
//!
//! Virtual clocks of it count too.
//!
//! Source: Documentation/driver-api/ptp.rst; drivers/ptp/ptp_vclock.c; `/sys/bus/pci/devices/BDF/ptp/ptpN/dev`.

use std::path::PathBuf;

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
            let mut clocks: Vec<(String, PathBuf)> = Vec::new();
            for clock in entries(scene.host, &folder)? {
                let folder = folder.join(&clock);
                // A virtual clock (n_vclocks) is below the one that it follows.
                let below = entries(scene.host, &folder)?;
                let below = below.into_iter().filter(|name| is_clock(name));
                clocks.extend(below.map(|name| (name.clone(), folder.join(name))));
                clocks.push((clock, folder));
            }
            for (clock, folder) in clocks {
                let numbers = number(scene.host, &folder.join("dev"))?;
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

/// `ptp3`, and not `ptp_clock`.
fn is_clock(name: &str) -> bool {
    name.strip_prefix("ptp").is_some_and(|number| number.parse::<u32>().is_ok())
}
