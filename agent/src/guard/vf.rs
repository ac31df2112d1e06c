//! Virtual functions: their links and queues are their port's. One that is bound to vfio or uio is told by who
//! has it open; one with an interface that is down, or with no driver, is nobody's.

use policy::holders::{Holder, Signal};

use super::{
    Sign,
    clue::{Found, held, unknown},
    scene::{Port, Scene, device, entries, link_to},
};
use crate::fault::Result;

pub(super) struct Vf;

impl Sign for Vf {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Vf]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut holders = Vec::new();
        for port in &scene.ports {
            for address in &port.vfs {
                holders.extend(one(scene, port, address)?);
            }
        }
        Ok(Found::of(holders))
    }
}

fn one(scene: &Scene<'_>, port: &Port, address: &str) -> Result<Option<Holder>> {
    let Some(driver) = link_to(scene.host, &device(address).join("driver"))? else {
        return Ok(None);
    };
    if super::vfio::is_user_space(&driver) {
        return Ok(None);
    }
    let names = entries(scene.host, &device(address).join("net"))?;
    if names.is_empty() {
        let how = format!(
            "virtual function {address} is bound to {driver} and has no interface in this network \
             namespace"
        );
        return Ok(Some(unknown(Signal::Vf, &port.name, how)));
    }
    let up = |name: &&String| scene.links.values().any(|link| link.name == **name && link.up);
    Ok(names.iter().find(up).map(|name| {
        let how = format!("virtual function {address} is {name}, and up");
        held(Signal::Vf, &port.name, address, how)
    }))
}
