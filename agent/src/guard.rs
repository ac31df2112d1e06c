//! Who else uses a NIC. Facts only; what may be done about them is decided by [`policy::holders`].
//!
//! Each signal has one file and one line in [`SIGNALS`]. A signal reads the kernel's own tables and names
//! clues (a socket's inode, a device's number); one pass over /proc then finds the processes that have
//! them open. What cannot be found out is told as a holder of certainty `unknown`, and counts as in use.
//! Absence of all signals is no proof: what no table of the kernel shows is not seen.

mod bmc;
pub mod bypass;
mod clue;
mod default_route;
mod dpdk;
mod elsewhere;
mod exanic;
mod forward;
mod inet;
mod leaves;
mod listener;
mod maps;
mod member;
mod multicast;
mod netmap;
mod onload;
mod packet;
mod pass;
mod pf_ring;
mod ptp;
mod raw;
mod rdma;
mod registers;
mod scene;
mod sibling;
mod stacked;
pub mod standby;
mod uio;
mod vf;
mod vfio;
mod xdp;

use std::collections::{BTreeMap, BTreeSet};

use playbooks::vocabulary::Disruption;
use policy::{
    Ruling,
    holders::{self, Certainty, Holder, Process, Signal},
};

use self::{
    clue::{Alone, Clue, Found},
    pass::Seen,
    scene::{Breadth, Scene},
};
use crate::{
    fault::Result,
    host::{Host, Nic},
    inventory::look::Look,
};

/// One way of finding out who uses a NIC.
trait Sign: Sync {
    /// The signals that it may find.
    fn signals(&self) -> &'static [Signal];

    /// What the kernel's tables tell. A failure becomes a holder of certainty `unknown`.
    fn look(&self, scene: &Scene<'_>) -> Result<Found>;

    /// What the pass over the processes tells beyond who has which clue open.
    fn after(&self, _scene: &Scene<'_>, _seen: &Seen) -> Vec<Holder> {
        Vec::new()
    }

    /// Whether [`Sign::after`] has use for a pass though there are no clues.
    fn wants_a_pass(&self, _scene: &Scene<'_>) -> bool {
        false
    }
}

/// Every signal, in the order in which holders are told.
static SIGNALS: &[&dyn Sign] = &[
    &inet::Tcp,
    &inet::Udp,
    &listener::Listener,
    &multicast::Multicast,
    &raw::Raw,
    &xdp::Queues,
    &packet::Packet,
    &rdma::Rdma,
    &vfio::Vfio,
    &uio::Uio,
    &dpdk::Dpdk,
    &onload::Onload,
    &pf_ring::PfRing,
    &netmap::Netmap,
    &exanic::Exanic,
    &registers::Registers,
    &maps::Maps,
    &vf::Vf,
    &ptp::Ptp,
    &forward::Forward,
    &member::Member,
    &stacked::Stacked,
    &elsewhere::Elsewhere,
    &default_route::DefaultRoute,
    &sibling::Sibling,
    &bmc::Bmc,
];

/// Who uses a device, and what finding it out has cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    holders: Vec<Holder>,
    /// The interfaces that were asked about.
    ports: Vec<String>,
    pub cost: Cost,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    pub nanoseconds: u64,
    pub processes: usize,
    pub files: usize,
}

impl Report {
    /// Everybody found, in the order of the signals.
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// Those whom a step on the ports asked about would hurt.
    pub fn blocking(&self, disruption: Disruption) -> Vec<&Holder> {
        let ports: Vec<&str> = self.ports.iter().map(String::as_str).collect();
        holders::blocking(&self.holders, &ports, disruption, &[])
    }

    /// The ruling on such a step, where the operator has taken the harm to some upon himself.
    pub fn judge(&self, disruption: Disruption, overridden: &[String]) -> Ruling {
        let ports: Vec<&str> = self.ports.iter().map(String::as_str).collect();
        holders::judge(&ports.join(", "), &self.holders, &ports, disruption, overridden)
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cost { nanoseconds, processes, files } = self;
        let ms = *nanoseconds as f64 / 1e6;
        write!(f, "{processes} processes and {files} open files looked through in {ms:.1} ms")
    }
}

/// Who uses these NICs, the other ports of their devices and their virtual functions.
pub fn look(host: &dyn Host, ports: &[Nic]) -> Report {
    look_for(host, ports, Disruption::NicReset)
}

/// The same as of this moment: what has been asked already is not asked again.
pub fn look_further(look: &Look<'_>, ports: &[Nic]) -> Report {
    look_by(look, ports, &holders::felt_by(Disruption::NicReset), Breadth::Device)
}

/// Only those who could feel such a disruption: cheaper the less there is to feel.
pub fn look_for(host: &dyn Host, ports: &[Nic], disruption: Disruption) -> Report {
    let breadth = match disruption {
        Disruption::None | Disruption::QueueReset | Disruption::LinkFlap => Breadth::Ports,
        Disruption::NicReset => Breadth::Device,
    };
    let felt = holders::felt_by(disruption);
    look_by(&Look::new(host), ports, &felt, breadth)
}

fn look_by(look: &Look<'_>, ports: &[Nic], felt: &[Signal], breadth: Breadth) -> Report {
    let began = look.now().mono_ns;
    let names: Vec<String> = ports.iter().map(|nic| nic.name.clone()).collect();
    let mut report = Report { ports: names, ..Report::default() };
    let signs: Vec<&dyn Sign> = SIGNALS
        .iter()
        .copied()
        .filter(|sign| sign.signals().iter().any(|signal| felt.contains(signal)))
        .collect();
    if !signs.is_empty() {
        match scene::read(look, ports, breadth) {
            Ok(scene) => report.fill(look, &scene, &signs),
            Err(fault) => {
                let port = report.ports.join(", ");
                let all = signs.iter().flat_map(|sign| sign.signals());
                report.holders = all.map(|&signal| clue::unread(signal, &port, &fault)).collect();
            }
        }
    }
    report.holders.retain(|holder| felt.contains(&holder.signal));
    report.cost.nanoseconds = look.now().mono_ns.saturating_sub(began);
    report
}

impl Report {
    fn fill(&mut self, host: &dyn Host, scene: &Scene<'_>, signs: &[&dyn Sign]) {
        let mut found = Found::default();
        for sign in signs {
            match sign.look(scene) {
                Ok(more) => found.add(more),
                Err(fault) => found.holders.extend(unreadable(scene, *sign, &fault)),
            }
        }
        let pass = !found.clues.is_empty() || signs.iter().any(|sign| sign.wants_a_pass(scene));
        let seen = match pass {
            true => pass::over_processes(host, &found.clues),
            false => Seen::default(),
        };
        (self.cost.processes, self.cost.files) = (seen.pids.len(), seen.files);
        self.holders = found.holders;
        self.holders.extend(of_clues(host, found.clues, &seen));
        for sign in signs {
            self.holders.extend(sign.after(scene, &seen));
        }
        self.holders.sort_by_key(|holder| holder.signal);
    }
}

/// A table that cannot be read: on every port asked about it may be in use.
fn unreadable(scene: &Scene<'_>, sign: &dyn Sign, fault: &crate::fault::Fault) -> Vec<Holder> {
    let each = sign.signals().iter().flat_map(|&signal| {
        scene.ports.iter().map(move |port| clue::unread(signal, &port.name, fault))
    });
    each.collect()
}

/// What holds what: signal, port, thing, process, how sure.
type Grip = (Signal, String, String, Option<u32>, Certainty);

/// Holders from clues: one a process and thing, whatever the number of sockets.
fn of_clues(host: &dyn Host, clues: Vec<Clue>, seen: &Seen) -> Vec<Holder> {
    let mut grips: BTreeMap<Grip, Vec<String>> = BTreeMap::new();
    let mut unseen: BTreeSet<(Signal, String)> = BTreeSet::new();
    // A process may have thousands of sockets.
    let mut ours: BTreeMap<u32, bool> = BTreeMap::new();
    let mut is_ours = |pid: u32| *ours.entry(pid).or_insert_with(|| pass::is_ours(host, pid));
    let sessions = match clues.iter().any(|clue| clue.signal == Signal::Tcp) {
        true => pass::sessions(host),
        false => BTreeSet::new(),
    };
    for clue in clues {
        let Clue { signal, port, what, token, how, certainty, alone } = clue;
        let pids = seen.open.get(&token);
        // The operator's own session is the management rule's matter.
        let own_session = signal == Signal::Tcp
            && pids.is_some_and(|pids| pids.iter().any(|pid| sessions.contains(pid)));
        let strangers: Vec<u32> = match pids {
            Some(_) if own_session => continue,
            Some(pids) => pids.iter().copied().filter(|&pid| !is_ours(pid)).collect(),
            None => Vec::new(),
        };
        for &pid in &strangers {
            let grip = (signal, port.clone(), what.clone(), Some(pid), certainty);
            grips.entry(grip).or_default().push(how.clone());
        }
        if pids.is_none() {
            match alone {
                Alone::InUse => {
                    grips.entry((signal, port, what, None, certainty)).or_default().push(how);
                }
                // Those who could not be looked through may have it open.
                Alone::Nothing if !seen.gaps.is_empty() => {
                    unseen.insert((signal, port));
                }
                Alone::Nothing => {}
            }
        }
    }
    let mut holders: Vec<Holder> = grips.into_iter().map(|grip| holder(host, grip)).collect();
    let gaps = seen.gaps.join("; ");
    holders.extend(
        unseen.into_iter().map(|(signal, port)| clue::unknown(signal, &port, gaps.clone())),
    );
    holders
}

/// Ways of holding that are spelled out; the rest is counted.
const WAYS_MAX: usize = 3;

fn holder(host: &dyn Host, (grip, ways): (Grip, Vec<String>)) -> Holder {
    let (signal, port, what, pid, certainty) = grip;
    let mut how = ways[..ways.len().min(WAYS_MAX)].join(", ");
    if ways.len() > WAYS_MAX {
        how.push_str(&format!(" and {} more", ways.len() - WAYS_MAX));
    }
    let process: Option<Process> = pid.map(|pid| pass::process(host, pid));
    Holder { signal, port, what, process, how, certainty }
}
