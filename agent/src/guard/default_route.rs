//! The default route: the way by which the host itself is reached, or reaches others.

use policy::holders::Signal;

use super::{
    Sign,
    clue::{Found, held},
    scene::Scene,
};
use crate::fault::Result;

pub(super) struct DefaultRoute;

impl Sign for DefaultRoute {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::DefaultRoute]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let with = scene.ports.iter().filter(|port| !port.default_route.is_empty());
        let holders = with.map(|port| {
            let families: Vec<&str> = port.default_route.iter().map(String::as_str).collect();
            let how = format!("the default route leaves by it ({})", families.join(", "));
            held(Signal::DefaultRoute, &port.name, &port.name, how)
        });
        Ok(Found::of(holders.collect()))
    }
}
