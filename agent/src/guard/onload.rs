//! Onload, and with it ef_vi and TCPDirect, on NICs of Solarflare's drivers; Onload over AF_XDP on any.
//!
//! A stack may live on without a process (closing connections), so the kernel's lists count beside open
//! devices. Which NIC a stack is on is not told: any live stack counts for every NIC of the driver; and
//! where Onload may use AF_XDP, whose register reads empty, it may be on any other.
//!
//! Source: Onload's src/driver/linux_onload/linux_stats.c (`/proc/driver/onload/stacks`: a line a stack,
//! `ID: PID UID …`) and src/driver/linux_resource/kernel_proc.c (`current = N` a kind of resource).

use std::path::Path;

use policy::holders::{Certainty, Holder, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, held},
    pass,
    scene::{Port, Scene, number, present},
};
use crate::{fault::Result, host::Host};

/// Those of processes, and those that live on in the kernel alone (orphans).
const STACKS: [&str; 2] = ["/proc/driver/onload/stacks", "/proc/driver/onload/stacks_k"];
const RESOURCES: &str = "/proc/driver/sfc_resource/resources";
const OVER_XDP: &str = "/sys/module/sfc_resource/afxdp/register";
/// Device, and what it stands for.
const DEVICES: [(&str, &str); 3] =
    [("onload", "Onload"), ("onload_epoll", "Onload"), ("sfc_char", "ef_vi or TCPDirect")];

pub(super) struct Onload;

impl Sign for Onload {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Onload]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let anywhere = present(scene.host.stat(Path::new(OVER_XDP)))?.is_some();
        let mut found = Found::default();
        for port in &scene.ports {
            let driver = port.nic.as_ref().map_or("", |nic| &nic.driver);
            let certainty = match (is_solarflares(driver), anywhere) {
                (true, _) => Certainty::InUse,
                (false, true) => Certainty::Unknown,
                (false, false) => continue,
            };
            found.add(one(scene.host, port, certainty)?);
        }
        Ok(found)
    }
}

/// `sfc`, `sfc_ef100`, `sfc_siena`; `xilinx_efct` is the X3's.
fn is_solarflares(driver: &str) -> bool {
    driver.starts_with("sfc") || driver == "xilinx_efct"
}

fn one(host: &dyn Host, port: &Port, certainty: Certainty) -> Result<Found> {
    let mut found = Found::default();
    for (name, words) in DEVICES {
        found.clues.extend(nodes(host, name)?.into_iter().map(|(major, minor)| Clue {
            signal: Signal::Onload,
            port: port.name.clone(),
            what: format!("/dev/{name}"),
            token: Token::Device(major, minor),
            how: format!("has /dev/{name} open ({words})"),
            certainty,
            alone: Alone::Nothing,
        }));
    }
    found.clues.push(Clue {
        signal: Signal::Onload,
        port: port.name.clone(),
        what: port.name.clone(),
        token: Token::Link("onload:["),
        how: "has an Onload stack open".to_owned(),
        certainty,
        alone: Alone::Nothing,
    });
    let mut lists = String::new();
    for file in STACKS {
        lists.push_str(&present(host.read(Path::new(file)))?.unwrap_or_default());
    }
    let mut told: Vec<(u32, u32)> = stacks(&lists);
    told.sort_unstable();
    told.dedup_by_key(|(id, _)| *id);
    for (id, pid) in told {
        let how = format!("Onload stack {id}");
        let process = (pid > 0).then(|| pass::process(host, pid));
        let holder = held(Signal::Onload, &port.name, &port.name, how);
        found.holders.push(Holder { process, certainty, ..holder });
    }
    let resources = present(host.read(Path::new(RESOURCES)))?.unwrap_or_default();
    if let Some((kind, count)) = in_use(&resources) {
        let how = format!("the driver's resources are in use ({count} of {kind})");
        let holder = held(Signal::Onload, &port.name, &port.name, how);
        found.holders.push(Holder { certainty, ..holder });
    }
    Ok(found)
}

/// The numbers of a character device by its name: as the class of miscellaneous devices has it, as it
/// stands in /dev, and as /proc/devices has its major number.
pub(super) fn nodes(host: &dyn Host, name: &str) -> Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    found.extend(number(host, &Path::new("/sys/class/misc").join(name).join("dev"))?);
    let node = present(host.stat(&Path::new("/dev").join(name)))?;
    found.extend(node.and_then(|node| node.device));
    let majors = present(host.read(Path::new("/proc/devices")))?.unwrap_or_default();
    let characters = majors.split("Block devices:").next().unwrap_or_default();
    found.extend(characters.lines().filter_map(|line| {
        let (major, of) = line.trim().split_once(' ')?;
        (of == name).then(|| Some((major.parse().ok()?, 0))).flatten()
    }));
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Id and process of each stack.
fn stacks(table: &str) -> Vec<(u32, u32)> {
    let line = |line: &str| {
        let (id, rest) = line.split_once(':')?;
        let pid = rest.split_whitespace().next()?.parse::<i64>().ok()?;
        Some((id.trim().parse().ok()?, u32::try_from(pid).unwrap_or(0)))
    };
    table.lines().filter_map(line).collect()
}

/// A kind of resource of which some are in use.
fn in_use(table: &str) -> Option<(String, u32)> {
    let mut kind = String::new();
    for line in table.lines() {
        if let Some(name) = line.strip_prefix("*** ") {
            name.trim_end_matches([' ', '*']).clone_into(&mut kind);
        }
        let count =
            line.trim().strip_prefix("current").map(|rest| rest.trim_start_matches([' ', '=']));
        if let Some(count) = count.and_then(|count| count.parse().ok()).filter(|count| *count > 0) {
            return Some((kind, count));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_and_resources_are_read_as_the_driver_prints_them() {
        let table = "0: 1234 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n3: -1 0 0\n";
        assert_eq!(stacks(table), [(0, 1234), (3, 0)]);
        let table = "*** IOBUFSET ***\n  total = 10\ncurrent = 0\n    max = 4\n\n\
                     *** VI ***\ncurrent = 2\n    max = 4\n";
        assert_eq!(in_use(table), Some(("VI".to_owned(), 2)));
        assert_eq!(in_use("*** VI ***\ncurrent = 0\n"), None);
    }
}
