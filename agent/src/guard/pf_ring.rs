//! PF_RING, with or without zero copy: its rings in /proc/net/pf_ring of this network namespace.
//!
//! Source: PF_RING's kernel/pf_ring.c: a file `PID-DEVICE.ID` a ring, with `Bound Device(s)`.

use std::path::{Path, PathBuf};

use policy::holders::{Holder, Signal};

use super::{
    Sign,
    clue::{Found, held, unknown},
    pass,
    scene::{Scene, present},
};
use crate::{
    fault::{Kind, Result},
    host::Host,
};

const FOLDER: &str = "/proc/net/pf_ring";
const MODULE: &str = "/sys/module/pf_ring/refcnt";

pub(super) struct PfRing;

impl Sign for PfRing {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::PfRing]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        // Without the module nobody has a ring.
        let Some(count) = present(scene.host.read(Path::new(MODULE)))? else {
            return Ok(Found::default());
        };
        let rings = match scene.host.list(Path::new(FOLDER)) {
            Ok(names) => names.into_iter().filter(|name| ring(name).is_some()).collect(),
            Err(fault) if fault.kind == Kind::Unsupported && count.trim() == "0" => Vec::new(),
            Err(fault) => return Err(fault),
        };
        let mut holders = Vec::new();
        for name in &rings {
            holders.extend(bound(scene, name));
        }
        Ok(Found::of(holders))
    }
}

fn bound(scene: &Scene<'_>, name: &str) -> Vec<Holder> {
    let Some((pid, device)) = ring(name) else { return Vec::new() };
    let info = scene.host.read(&Path::new(FOLDER).join(name));
    let devices = info.map(|info| devices(&info));
    let mut holders = Vec::new();
    for (port, _) in scene.nics() {
        let names: Vec<&str> = port
            .stack
            .iter()
            .filter_map(|ifindex| scene.links.get(ifindex))
            .map(|link| link.name.as_str())
            .collect();
        let holder = match &devices {
            Ok(devices) if devices.iter().any(|device| names.contains(&device.as_str())) => {
                held(Signal::PfRing, &port.name, &port.name, said(scene.host, name, &port.name))
            }
            Ok(devices) if !devices.is_empty() => continue,
            // Not told: by its name.
            Ok(_) if names.contains(&device) => {
                held(Signal::PfRing, &port.name, &port.name, said(scene.host, name, &port.name))
            }
            // Made, and not yet bound to anything.
            Ok(_) if device == "none" => continue,
            Ok(_) if scene.links.values().any(|link| link.name == device) => continue,
            Ok(_) => {
                let how =
                    format!("PF_RING ring {name} is on any interface, or does not tell on which");
                unknown(Signal::PfRing, &port.name, how)
            }
            // It ended meanwhile.
            Err(fault) if fault.kind == Kind::Unsupported => continue,
            Err(fault) => unknown(Signal::PfRing, &port.name, fault.to_string()),
        };
        holders.push(Holder { process: Some(pass::process(scene.host, pid)), ..holder });
    }
    holders
}

fn said(host: &dyn Host, ring: &str, nic: &str) -> String {
    let file = PathBuf::from(FOLDER).join("dev").join(nic).join("info");
    let info = host.read(&file).unwrap_or_default();
    let mode = info.lines().find_map(|line| line.strip_prefix("Polling Mode:"));
    match mode.map(str::trim) {
        Some(mode) => format!("PF_RING ring {ring} ({mode})"),
        None => format!("PF_RING ring {ring}"),
    }
}

/// `1234-eth1.5`: process and device. `dev`, `info` and `stats` are no rings.
fn ring(name: &str) -> Option<(u32, &str)> {
    let (pid, rest) = name.split_once('-')?;
    let (device, id) = rest.rsplit_once('.')?;
    id.parse::<u32>().ok()?;
    Some((pid.parse().ok()?, device))
}

/// `Bound Device(s)    : eth1,eth2`
fn devices(info: &str) -> Vec<String> {
    let line = info.lines().find_map(|line| line.strip_prefix("Bound Device(s)"));
    let names = line.and_then(|rest| rest.split_once(':')).map_or("", |(_, names)| names.trim());
    // Zero copy writes `zc:eth1`, a queue `eth1@2`.
    names
        .split([',', ' '])
        .filter(|name| !name.is_empty())
        .map(|name| name.trim_start_matches("zc:").split('@').next().unwrap_or(name).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_and_their_devices_are_read() {
        assert_eq!(ring("1234-eth1.5"), Some((1234, "eth1")));
        assert_eq!(ring("77-eth1.100.2"), Some((77, "eth1.100")));
        assert_eq!((ring("dev"), ring("info"), ring("x-y.z")), (None, None, None));
        assert_eq!(devices("Bound Device(s)    : zc:eth1@2,eth2\n"), ["eth1", "eth2"]);
        assert!(devices("Active : 1\n").is_empty());
    }
}
