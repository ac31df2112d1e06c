//! What NICs this host has: identity, firmware, driver, kernel, every setting, and who uses them.
//!
//! One pass of netlink dumps over all NICs, then a few sysfs files for each NIC with hardware. It
//! never reads a module's EEPROM or VPD, never dumps firmware, never switches time stamping on, and
//! leaves out what the catalog knows to hang this driver and kernel ([`hazard`]).

mod device;
pub(crate) mod devlink;
mod ethtool;
mod facts;
mod fingerprint;
pub mod hazard;
mod health;
pub(crate) mod link;
pub mod look;
mod machine;
pub(crate) mod management;
mod pci;
mod queue;
pub(crate) mod siblings;
pub mod subject;
mod survey;
mod ties;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use facts::{
    Firmware, HostFacts, Interrupt, Link, Member, NicFacts, PciFacts, Queue, Skip, Vfs, Xdp,
};
pub use health::{Health, Reporter};
pub use management::{ManagementFacts, addresses, management};
pub use ties::ties;

use self::{
    hazard::{Careful, Reach},
    look::Look,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic, nic},
};

/// The version of the JSON that an [`Inventory`] becomes.
pub const FORMAT: u32 = 1;

/// The kind of a NIC that is a device's own interface.
const PHYSICAL: &str = "physical";

/// The host's NICs, by ifindex.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inventory {
    pub format: u32,
    /// sha256, in hex, over the stable part of the host and of the NICs listed: identity, firmware,
    /// driver, kernel and configured settings; no counters, ifindex, NAPI ids, interrupt numbers or
    /// link state, and whatever their order.
    pub fingerprint: String,
    pub nics: Vec<NicFacts>,
    pub host: HostFacts,
    /// What could not be read, and why. An interface that this kernel does not have is no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Inventory {
    /// The NIC of this name or alternative name.
    pub fn nic(&self, name: &str) -> Option<&NicFacts> {
        let named = |nic: &&NicFacts| nic.name == name || nic.altnames.iter().any(|n| n == name);
        self.nics.iter().find(named)
    }
}

/// Takes stock of every NIC, or of the one named `only` (its name or an alternative name).
///
/// Fails where the kernel's list of links cannot be read, or `only` is not in it (`Gone`).
/// Everything else that fails is told in the inventory itself.
pub fn take(host: &dyn Host, only: Option<&str>) -> Result<Inventory> {
    taken(host, only).map(|taken| taken.inventory)
}

/// An inventory, with the look that it was taken by.
pub struct Taken<'a> {
    pub inventory: Inventory,
    /// The NICs in it, in its order.
    pub nics: Vec<Nic>,
    pub look: Look<'a>,
}

/// The same for whoever asks further as of the same moment.
///
/// # Errors
/// Those of [`take`].
pub fn taken<'a>(host: &'a dyn Host, only: Option<&str>) -> Result<Taken<'a>> {
    let mut tries = TRIES_MAX;
    loop {
        tries -= 1;
        let look = Look::new(host);
        match nic::all(&look) {
            Ok(all) => {
                let inventory = describe(&look, &all, only)?;
                let listed = |nic: &Nic| inventory.nics.iter().any(|facts| facts.id == nic.id);
                let nics = all.into_iter().filter(listed).collect();
                return Ok(Taken { inventory, nics, look });
            }
            // A NIC that goes away between being listed and being looked at (a container's, as it
            // ends) leaves no file behind: look again.
            Err(fault) if fault.kind == Kind::Unsupported && tries > 0 => {}
            Err(fault) => return Err(fault),
        }
    }
}

const TRIES_MAX: u32 = 4;

fn describe(host: &dyn Host, all: &[Nic], only: Option<&str>) -> Result<Inventory> {
    let mut notes = Notes::default();
    let links = link::dump(host, &mut notes)?;
    let (nics, reach) = match only {
        Some(name) => (vec![choose(all, &links, name)?], Reach::Given),
        None => (all.to_vec(), Reach::Everywhere),
    };
    let careful = Careful::new(host, &nics, reach);
    let sources = Sources::read(&careful, links, &mut notes);
    let mut surveyed = survey::all(&careful, &nics);
    let mut machine = machine::facts(host, nics.first().and_then(|nic| nic.kernel_base.as_deref()));
    let mut modules = device::Modules::default();
    let mut listed = Vec::with_capacity(nics.len());
    for (nic, settings) in nics.iter().zip(std::mem::take(&mut surveyed.nics)) {
        let Some(link) = sources.links.get(&nic.ifindex) else {
            notes.add(format!("read {}: it went away meanwhile", nic.name));
            continue;
        };
        let mut facts = sources.facts(nic, link, &machine);
        device::describe(host, nic, &mut modules, &mut facts);
        if let Some(address) = &nic.pci {
            pci::describe(host, address, &mut facts);
            devlink::describe(&sources.devices, address, &mut facts);
            facts.health = sources.health.get(address).cloned().unwrap_or_default();
            queue::interrupts(host, address, &mut facts);
        }
        facts.siblings = sources.siblings(nic, all);
        (facts.settings, facts.unsupported) = (settings.supported, settings.unsupported);
        facts.skips = settings.skips;
        facts.fingerprint = fingerprint::nic(&facts);
        listed.push(facts);
    }
    (machine.settings, machine.unsupported) = (surveyed.host.supported, surveyed.host.unsupported);
    let fingerprint = fingerprint::whole(&machine, &listed);
    Ok(Inventory { format: FORMAT, fingerprint, nics: listed, host: machine, notes: notes.0 })
}

fn choose(all: &[Nic], links: &BTreeMap<u32, link::Entry>, name: &str) -> Result<Nic> {
    let named = |nic: &&Nic| {
        let altnames = links.get(&nic.ifindex).map(|link| link.altnames.as_slice());
        nic.name == name || altnames.unwrap_or_default().iter().any(|altname| altname == name)
    };
    all.iter().find(named).cloned().ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|nic| nic.name.as_str()).take(16).collect();
        let cause = match names.is_empty() {
            true => "this network namespace has no NIC".to_owned(),
            false => format!("no such NIC here; there are {}", names.join(", ")),
        };
        Fault::new(Kind::Gone, format!("find NIC {name}"), cause)
    })
}

/// What the dumps told, all NICs at once.
struct Sources {
    links: BTreeMap<u32, link::Entry>,
    ports: BTreeMap<u32, ethtool::Port>,
    devices: BTreeMap<String, devlink::Device>,
    health: BTreeMap<String, Vec<Reporter>>,
    queues: BTreeMap<u32, Vec<Queue>>,
    uses: management::Uses,
}

impl Sources {
    fn read(host: &Careful<'_>, links: BTreeMap<u32, link::Entry>, notes: &mut Notes) -> Sources {
        Sources {
            links,
            ports: ethtool::dump(host, notes),
            devices: devlink::dump(host, notes),
            health: health::dump(host, notes),
            queues: queue::dump(host, notes),
            uses: management::Uses::read(host).unwrap_or_else(|fault| {
                notes.add(fault.to_string());
                management::Uses::default()
            }),
        }
    }

    /// The facts that need no file of the NIC's own.
    fn facts(&self, nic: &Nic, link: &link::Entry, machine: &HostFacts) -> NicFacts {
        let port = self.ports.get(&nic.ifindex);
        let entry = |ifindex: u32| self.links.get(&ifindex);
        let name = |ifindex: u32| entry(ifindex).map(|link| link.name.clone());
        let on_top = |above: &&link::Entry| above.sits_on() == Some(nic.ifindex);
        let queues = self.queues.get(&nic.ifindex).cloned();
        NicFacts {
            name: nic.name.clone(),
            id: nic.id.clone(),
            fingerprint: String::new(),
            kind: link.kind_in_words(),
            altnames: link.altnames.clone(),
            mac: link.mac.clone(),
            permanent_mac: link.permanent_mac.clone(),
            vendor: None,
            model: None,
            serial: None,
            board: None,
            pci: None,
            numa_node: nic.numa,
            driver: nic.driver.clone(),
            driver_version: None,
            in_tree: None,
            firmware: Firmware::default(),
            kernel: machine.kernel.clone(),
            kernel_base: machine.kernel_base.clone(),
            link: ethtool::link(link, port),
            queues: queues.unwrap_or_else(|| queue::made(link)),
            interrupts: Vec::new(),
            qdisc: link.qdisc.clone(),
            member_of: link
                .master
                .and_then(entry)
                .map(|master| Member { name: master.name.clone(), kind: master.kind.clone() }),
            over: link.sits_on().and_then(name),
            peer: link.peer().and_then(name),
            vlan: link.vlan,
            under: self.links.values().filter(on_top).map(|link| link.name.clone()).collect(),
            siblings: Vec::new(),
            vfs: None,
            xdp: link.xdp.clone(),
            rdma: Vec::new(),
            health: Vec::new(),
            ptp: port.and_then(ethtool::Port::clock),
            default_route: self.uses.default_route(nic.ifindex),
            addresses: self.uses.addresses(nic.ifindex),
            holders: Vec::new(),
            settings: BTreeMap::new(),
            unsupported: BTreeMap::new(),
            skips: Vec::new(),
        }
    }

    /// Ports of the same device: functions of one PCI slot, or devices with one serial number.
    fn siblings(&self, nic: &Nic, all: &[Nic]) -> Vec<String> {
        let Some(address) = &nic.pci else { return Vec::new() };
        let serial = |address: &str| self.devices.get(address)?.serial();
        let is_sibling = |other: &&Nic| {
            let Some(theirs) = other.pci.as_deref().filter(|_| other.ifindex != nic.ifindex) else {
                return false;
            };
            let one_serial = serial(address).is_some() && serial(address) == serial(theirs);
            one_serial || slot(address) == slot(theirs)
        };
        all.iter().filter(is_sibling).map(|other| other.name.clone()).collect()
    }
}

pub(crate) use nic::slot;

/// Every link of this network namespace, by ifindex.
pub(crate) fn links(host: &dyn Host) -> Result<BTreeMap<u32, link::Entry>> {
    link::dump(host, &mut Notes::default())
}

/// The serial numbers that devlink knows, by PCI address: the device's, or else the board's.
pub(crate) fn serials(host: &dyn Host) -> Result<BTreeMap<String, String>> {
    let mut notes = Notes::default();
    let devices = devlink::dump(host, &mut notes);
    match notes.0.into_iter().next() {
        Some(why) => Err(Fault::new(Kind::Io, "find the ports of a device", why)),
        None => Ok(devices
            .into_iter()
            .filter_map(|(address, device)| Some((address, device.serial()?.clone())))
            .collect()),
    }
}

/// What could not be read, in words.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Notes {
    fn add(&mut self, note: String) {
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// The answers, or none with a note; without one where this kernel has no such interface.
    fn or_nothing(&mut self, answers: Result<Vec<Vec<u8>>>, act: &str) -> Vec<Vec<u8>> {
        answers.unwrap_or_else(|fault| {
            match fault.kind {
                Kind::Unsupported => {}
                Kind::Busy
                | Kind::Denied
                | Kind::Invalid
                | Kind::Drift
                | Kind::Gone
                | Kind::Malformed
                | Kind::Held
                | Kind::Io => self.add(fault.during(act).to_string()),
            }
            Vec::new()
        })
    }
}
