//! The other ports of the device that are up: a device that resets takes them along.

use policy::holders::Signal;

use super::{
    Sign,
    clue::{Found, held, unknown},
    scene::{Kinship, Port, Scene, device, link_to},
};
use crate::fault::Result;

pub(super) struct Sibling;

impl Sign for Sibling {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Sibling]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut found = Found::default();
        for port in scene.ports.iter().filter(|port| port.kinship == Kinship::Sibling) {
            match &port.nic {
                Some(nic) => {
                    let up = scene.links.get(&nic.ifindex).is_none_or(|link| link.up);
                    if up {
                        let how = format!("{} is another port of the device, and up", port.name);
                        found.holders.push(held(Signal::Sibling, &port.name, &port.name, how));
                    }
                }
                None => found.holders.extend(faceless(scene, port)?),
            }
        }
        Ok(found)
    }
}

/// A function without an interface here: bound to a driver, it is somebody's. User-space drivers are told
/// by who has them open.
fn faceless(scene: &Scene<'_>, port: &Port) -> Result<Option<policy::holders::Holder>> {
    let Some(address) = &port.function else { return Ok(None) };
    let driver = link_to(scene.host, &device(address).join("driver"))?;
    Ok(driver.filter(|driver| !super::vfio::is_user_space(driver)).map(|driver| {
        let how = format!(
            "{address} is another function of the device, bound to {driver}, and has no interface in \
             this network namespace"
        );
        unknown(Signal::Sibling, &port.name, how)
    }))
}
