//! Functions handed to user space by vfio: DPDK, and virtual machines.
//!
//! Bound is not open: what counts is who has the function's group (`/dev/vfio/N`) or device
//! (`/dev/vfio/devices/vfioN`) open, or the descriptor that either gave out. That one says which function
//! it is since Linux 6.18 (`vfio-device-syspath:` in fdinfo); before, any of them counts. What is mapped and
//! closed is told by [`super::maps`].
//!
//! Source: Documentation/driver-api/vfio.rst.

use policy::holders::{Certainty, Holder, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, unknown},
    pass::{self, Seen},
    scene::{Port, Scene, device, entries, link_to, number},
};
use crate::fault::Result;

pub(super) struct Vfio;

/// `vfio-pci`, and the drivers made from it (`mlx5_vfio_pci`, `pds_vfio_pci`).
pub(super) fn is_vfio(driver: &str) -> bool {
    driver.replace('-', "_").ends_with("vfio_pci")
}

/// Whether a function with this driver is a user-space program's.
pub(super) fn is_user_space(driver: &str) -> bool {
    is_vfio(driver) || super::uio::is_uio(driver)
}

impl Sign for Vfio {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Vfio]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut found = Found::default();
        for (port, address) in bound(scene)? {
            found.add(one(scene, port, address)?);
        }
        Ok(found)
    }

    fn after(&self, scene: &Scene<'_>, seen: &Seen) -> Vec<Holder> {
        // Where it cannot be read what is bound, `look` has said so.
        let bound = bound(scene).unwrap_or_default();
        let mut holders = Vec::new();
        for (port, address) in bound {
            let holder = |pid: u32, how: String, certainty| Holder {
                process: Some(pass::process(scene.host, pid)),
                what: address.to_owned(),
                certainty,
                ..unknown(Signal::Vfio, &port.name, how)
            };
            for (pid, path) in seen.vfio.iter().filter(|(_, path)| path.ends_with(address)) {
                let how = format!("has {address} open (vfio, {path})");
                holders.push(holder(*pid, how, Certainty::InUse));
            }
            for pid in &seen.nameless_vfio {
                let how = format!("has a vfio device open that may be {address}");
                holders.push(holder(*pid, how, Certainty::Unknown));
            }
        }
        holders
    }
}

fn bound<'s>(scene: &'s Scene<'_>) -> Result<Vec<(&'s Port, &'s str)>> {
    let mut bound = Vec::new();
    for (port, address) in scene.functions() {
        if is_bound(scene, address)? {
            bound.push((port, address));
        }
    }
    Ok(bound)
}

pub(super) fn is_bound(scene: &Scene<'_>, address: &str) -> Result<bool> {
    let driver = link_to(scene.host, &device(address).join("driver"))?;
    Ok(driver.is_some_and(|driver| is_vfio(&driver)))
}

fn one(scene: &Scene<'_>, port: &Port, address: &str) -> Result<Found> {
    let folder = device(address);
    let mut nodes = Vec::new();
    if let Some(group) = link_to(scene.host, &folder.join("iommu_group"))? {
        for name in [group.clone(), format!("noiommu-{group}")] {
            let file = std::path::Path::new("/sys/class/vfio").join(&name).join("dev");
            nodes.extend(number(scene.host, &file)?.map(|n| (format!("/dev/vfio/{name}"), n)));
        }
    }
    for name in entries(scene.host, &folder.join("vfio-dev"))? {
        let file = folder.join("vfio-dev").join(&name).join("dev");
        nodes.extend(number(scene.host, &file)?.map(|n| (format!("/dev/vfio/devices/{name}"), n)));
    }
    if nodes.is_empty() {
        let how = format!("{address} is bound to vfio, and by which device is not told");
        return Ok(Found::of(vec![unknown(Signal::Vfio, &port.name, how)]));
    }
    let clues = nodes.into_iter().map(|(node, (major, minor))| Clue {
        signal: Signal::Vfio,
        port: port.name.clone(),
        what: address.to_owned(),
        token: Token::Device(major, minor),
        how: format!("has {address} open ({node})"),
        certainty: Certainty::InUse,
        alone: Alone::Nothing,
    });
    Ok(Found { clues: clues.collect(), holders: Vec::new() })
}
