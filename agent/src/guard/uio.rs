//! Functions handed to user space by uio: DPDK with igb_uio or uio_pci_generic.
//!
//! What counts is who has `/dev/uioN` open, or the function's memory mapped ([`super::maps`]).
//!
//! Source: Documentation/driver-api/uio-howto.rst.

use std::path::Path;

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, unknown},
    scene::{Scene, device, entries, link_to, number},
};
use crate::fault::Result;

pub(super) struct Uio;

pub(super) fn is_uio(driver: &str) -> bool {
    matches!(driver, "igb_uio" | "uio_pci_generic")
}

impl Sign for Uio {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Uio]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut found = Found::default();
        for (port, address) in scene.functions() {
            let Some(names) = nodes(scene, address)? else { continue };
            for name in &names {
                let file = device(address).join("uio").join(name).join("dev");
                let numbers = number(scene.host, &file)?;
                found.clues.extend(numbers.map(|(major, minor)| Clue {
                    signal: Signal::Uio,
                    port: port.name.clone(),
                    what: address.to_owned(),
                    token: Token::Device(major, minor),
                    how: format!("has {address} open (/dev/{name})"),
                    certainty: Certainty::InUse,
                    alone: Alone::Nothing,
                }));
            }
            if names.is_empty() {
                let how = format!("{address} is bound to uio, and by which device is not told");
                found.holders.push(unknown(Signal::Uio, &port.name, how));
            }
        }
        Ok(found)
    }
}

/// `uio0`: the devices of a function that is a user-space program's by uio, whatever its driver is called.
/// `None` where it is not.
pub(super) fn nodes(scene: &Scene<'_>, address: &str) -> Result<Option<Vec<String>>> {
    let names = entries(scene.host, &device(address).join("uio"))?;
    if !names.is_empty() {
        return Ok(Some(names));
    }
    let driver = link_to(scene.host, Path::new(&device(address).join("driver")))?;
    Ok(driver.is_some_and(|driver| is_uio(&driver)).then_some(names))
}
