//! A device's memory that a process has mapped: the mapping stays when its descriptor is closed, so every
//! process's mappings are looked through.
//!
//! A mapping of a function's `resourceN` in sysfs is a user of uio where the function is bound to that, and
//! otherwise a firmware tool's or a driver's in user space. A vfio device that was opened by its group maps
//! without saying which function it is.
//!
//! Source: proc_pid_maps(5); drivers/pci/pci-sysfs.c; drivers/vfio/vfio_main.c.

use std::path::{Path, PathBuf};

use policy::holders::{Certainty, Holder, Signal};

use super::{
    Sign,
    clue::{Found, unknown},
    pass::{self, Seen},
    scene::{Port, Scene, device, entries},
    uio, vfio,
};
use crate::fault::{Kind, Result};

const TIME_NS_MAX: u64 = 2_000_000_000;

pub(super) struct Maps;

impl Sign for Maps {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Vfio, Signal::Uio, Signal::Registers]
    }

    fn look(&self, _scene: &Scene<'_>) -> Result<Found> {
        Ok(Found::default())
    }

    fn wants_a_pass(&self, scene: &Scene<'_>) -> bool {
        scene.is_physical()
    }

    fn after(&self, scene: &Scene<'_>, seen: &Seen) -> Vec<Holder> {
        // Where it cannot be read what a function is bound to, the signals' own looks have said so.
        let marks = marks(scene).unwrap_or_default();
        if marks.is_empty() {
            return Vec::new();
        }
        let words: Vec<String> = marks.iter().map(|mark| mark.text.clone()).collect();
        let mut holders = Vec::new();
        let mut gaps = Gaps::default();
        let began = scene.host.now().mono_ns;
        for &pid in &seen.pids {
            if scene.host.now().mono_ns.saturating_sub(began) > TIME_NS_MAX {
                gaps.add(pid, "the mappings could not be looked through in 2 s".to_owned());
                break;
            }
            match mapped(scene, pid, &words) {
                Ok(has) => {
                    let hits = marks.iter().zip(has).filter(|(_, has)| *has);
                    // Who has a vfio device open is named by it already.
                    let opened = |mark: &Mark<'_>| {
                        mark.certainty == Certainty::Unknown
                            && (seen.nameless_vfio.contains(&pid)
                                || seen.vfio.iter().any(|(by, _)| *by == pid))
                    };
                    let hits = hits.map(|(mark, _)| mark).filter(|mark| !opened(mark));
                    let hits: Vec<&Mark<'_>> = hits.collect();
                    if !hits.is_empty() && !pass::is_ours(scene.host, pid) {
                        holders.extend(hits.into_iter().map(|mark| mark.holder(scene, pid)));
                    }
                }
                // It has ended.
                Err(fault) if matches!(fault.kind, Kind::Unsupported | Kind::Gone) => {}
                Err(fault) => gaps.add(pid, fault.cause),
            }
        }
        holders.extend(gaps.told(&marks));
        holders
    }
}

/// A text in somebody's mappings, and what it shows.
struct Mark<'s> {
    text: String,
    signal: Signal,
    port: &'s Port,
    address: &'s str,
    certainty: Certainty,
}

impl Mark<'_> {
    fn holder(&self, scene: &Scene<'_>, pid: u32) -> Holder {
        let how = match self.certainty {
            Certainty::InUse => format!("has the memory of {} mapped", self.address),
            Certainty::Unknown => {
                format!("has a vfio device mapped that may be {}", self.address)
            }
        };
        Holder {
            process: Some(pass::process(scene.host, pid)),
            what: self.address.to_owned(),
            certainty: self.certainty,
            ..unknown(self.signal, &self.port.name, how)
        }
    }
}

fn marks<'s>(scene: &'s Scene<'_>) -> Result<Vec<Mark<'s>>> {
    let mut marks = Vec::new();
    for (port, address) in scene.functions() {
        let mark =
            |text: String, signal, certainty| Mark { text, signal, port, address, certainty };
        let nodes = uio::nodes(scene, address)?;
        let signal = match nodes {
            Some(_) => Signal::Uio,
            None => Signal::Registers,
        };
        marks.push(mark(format!("/{address}/resource"), signal, Certainty::InUse));
        // A line of the table ends with the name.
        let nodes = nodes.into_iter().flatten();
        marks.extend(nodes.map(|node| mark(format!("/dev/{node}\n"), signal, Certainty::InUse)));
        if vfio::is_bound(scene, address)? {
            let names = entries(scene.host, &device(address).join("vfio-dev"))?.into_iter();
            marks.extend(names.map(|name| {
                mark(format!("/dev/vfio/devices/{name}\n"), Signal::Vfio, Certainty::InUse)
            }));
            let nameless = "anon_inode:[vfio-device]".to_owned();
            marks.push(mark(nameless, Signal::Vfio, Certainty::Unknown));
        }
    }
    Ok(marks)
}

/// Which of the words are in a process's mappings. Its first thread has none once it has ended: then they are
/// the other threads'.
fn mapped(scene: &Scene<'_>, pid: u32, words: &[String]) -> Result<Vec<bool>> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let found = scene.host.mentions(&folder.join("maps"), words)?;
    if !found.is_empty() {
        return Ok(found);
    }
    // A kernel thread has no mappings and no second thread.
    let tasks = scene.host.list(&folder.join("task")).unwrap_or_default();
    let other = tasks.iter().find(|task| **task != pid.to_string());
    match other {
        Some(other) => scene.host.mentions(&maps_of(&folder, other), words),
        None => Ok(Vec::new()),
    }
}

fn maps_of(folder: &Path, task: &str) -> PathBuf {
    folder.join("task").join(task).join("maps")
}

/// Processes whose mappings could not be looked through: told in one line a port.
#[derive(Default)]
struct Gaps {
    count: usize,
    first: Option<String>,
}

impl Gaps {
    fn add(&mut self, pid: u32, cause: String) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("pid {pid}: {cause}"));
    }

    fn told(self, marks: &[Mark<'_>]) -> Vec<Holder> {
        let Some(first) = self.first else { return Vec::new() };
        let mut ports: Vec<(Signal, &str)> =
            marks.iter().map(|mark| (mark.signal, mark.port.name.as_str())).collect();
        ports.sort_unstable();
        ports.dedup();
        let how = format!("the mappings of {} processes could not be read ({first})", self.count);
        ports.into_iter().map(|(signal, port)| unknown(signal, port, how.clone())).collect()
    }
}
