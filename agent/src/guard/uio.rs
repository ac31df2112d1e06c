//! Functions handed to user space by uio: DPDK with igb_uio or uio_pci_generic.
//!
//! What counts is who has `/dev/uioN` open, or the function's memory mapped: the mapping stays when the
//! descriptor is closed, so where a function is bound to uio every process's mappings are looked through.
//!
//! Source: Documentation/driver-api/uio-howto.rst.

use std::path::{Path, PathBuf};

use policy::holders::{Certainty, Holder, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, unknown},
    pass::{self, Seen},
    scene::{Port, Scene, device, entries, link_to, number, present},
};
use crate::fault::Result;

/// Processes whose mappings are looked through.
const PROCESSES_MAX: usize = 20_000;

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
        for (port, address) in bound(scene)? {
            let folder = device(address).join("uio");
            let names = entries(scene.host, &folder)?;
            for name in &names {
                let numbers = number(scene.host, &folder.join(name).join("dev"))?;
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

    fn after(&self, scene: &Scene<'_>, seen: &Seen) -> Vec<Holder> {
        // Where it cannot be read what is bound, `look` has said so.
        let bound = bound(scene).unwrap_or_default();
        if bound.is_empty() {
            return Vec::new();
        }
        let mut holders = Vec::new();
        for pid in seen.pids.iter().take(PROCESSES_MAX) {
            let maps = present(scene.host.read(&PathBuf::from(format!("/proc/{pid}/maps"))));
            for (port, address) in &bound {
                let (how, certainty) = match &maps {
                    Ok(Some(maps)) if maps.contains(&format!("/{address}/resource")) => {
                        (format!("has the memory of {address} mapped"), Certainty::InUse)
                    }
                    Ok(_) => continue,
                    Err(fault) => (fault.to_string(), Certainty::Unknown),
                };
                let process = Some(pass::process(scene.host, *pid));
                let what = (*address).to_owned();
                let holder = unknown(Signal::Uio, &port.name, how);
                holders.push(Holder { process, what, certainty, ..holder });
            }
        }
        if seen.pids.len() > PROCESSES_MAX {
            let how = format!("more than {PROCESSES_MAX} processes' mappings to look through");
            holders.extend(
                bound.iter().map(|(port, _)| unknown(Signal::Uio, &port.name, how.clone())),
            );
        }
        holders
    }
}

fn bound<'s>(scene: &'s Scene<'_>) -> Result<Vec<(&'s Port, &'s str)>> {
    let mut bound = Vec::new();
    for (port, address) in scene.functions() {
        let driver = link_to(scene.host, Path::new(&device(address).join("driver")))?;
        if driver.is_some_and(|driver| is_uio(&driver)) {
            bound.push((port, address));
        }
    }
    Ok(bound)
}
