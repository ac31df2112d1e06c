//! What NICs this host has: identity, firmware, driver, kernel, every setting, and who uses them.
//!
//! One pass of netlink dumps over all NICs, then a few sysfs files for each NIC with hardware. It
//! never reads a module's EEPROM or VPD, never dumps firmware, never switches time stamping on, and
//! leaves out what the catalog knows to hang this driver and kernel ([`hazard`]).

mod device;
mod devlink;
mod ethtool;
mod facts;
mod fingerprint;
pub mod hazard;
mod link;
mod machine;
mod management;
mod pci;
mod queue;
mod survey;

use std::collections::BTreeMap;

use playbooks::Name;

pub use facts::{
    Binding, Firmware, HostFacts, Interrupt, Link, Member, NicFacts, PciFacts, Queue, Skip, Vfs,
    Xdp,
};
pub use management::{ManagementFacts, management};

use crate::{
    fault::{Fault, Kind, Result},
    host::{self, Host, Nic},
    setting::Current,
};

/// The version of the JSON that [`Inventory`] becomes.
pub const FORMAT: u32 = 1;

/// The host's NICs, in the kernel's order.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inventory {
    pub format: u32,
    /// sha256 over the stable part of the host and of the NICs listed, in hex. Covers identity,
    /// firmware, driver, kernel and configured settings; not counters, ifindex, NAPI ids, interrupt
    /// numbers, link state, nor the order of the NICs.
    pub fingerprint: String,
    pub nics: Vec<NicFacts>,
    pub host: HostFacts,
    /// What could not be read and why. A kernel without a whole interface is no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Inventory {
    pub fn nic(&self, name: &str) -> Option<&NicFacts> {
        self.nics.iter().find(|nic| nic.name == name)
    }
}

impl NicFacts {
    pub fn setting(&self, name: &Name) -> Option<&Current> {
        self.settings.get(name)
    }
}

/// Takes stock of every NIC, or of the one named `only` (its name or an alternative name).
///
/// Fails where the kernel's list of links cannot be read (`Io`, `Denied`) or `only` is not there
/// (`Gone`). Everything else that fails is told in the inventory itself.
pub fn take(host: &dyn Host, only: Option<&str>) -> Result<Inventory> {
    let mut notes = Notes::default();
    let all = host::nic::all(host)?;
    let links = link::dump(host, &mut notes)?;
    let chosen = choose(&all, &links, only)?;

    let careful = hazard::Careful::new(host, &chosen, chosen.len() < all.len());
    let ports = ethtool::dump(&careful, &mut notes);
    let devices = devlink::dump(host, &mut notes);
    let queues = queue::dump(host, &mut notes);
    let routes = management::default_routes(host, &mut notes);
    let mut surveyed = survey::all(&careful, &chosen, &mut notes);
    let machine = machine::facts(host);
    let mut modules = device::Modules::default();

    let mut nics = Vec::with_capacity(chosen.len());
    for (index, nic) in chosen.iter().enumerate() {
        let Some(link) = links.get(&nic.ifindex) else {
            notes.add(format!("{}: gone while its facts were read", nic.name));
            continue;
        };
        let mut facts = NicFacts::of(nic, link, &links);
        facts.kernel = machine.kernel.clone();
        facts.kernel_base = nic.kernel_base.clone().unwrap_or_else(|| "unknown".to_owned());
        facts.link = ethtool::link(link, ports.get(&nic.ifindex));
        facts.queues = queues.get(&nic.ifindex).cloned().unwrap_or_default();
        facts.default_route = routes.get(&nic.ifindex).cloned().unwrap_or_default();
        facts.addresses = routes.addresses(nic.ifindex);
        facts.ptp = ports.get(&nic.ifindex).and_then(|port| port.clock());
        device::describe(host, nic, link, &mut modules, &mut facts);
        if let Some(address) = &nic.pci {
            pci::describe(host, address, &mut facts);
            devlink::describe(&devices, address, &mut facts);
            queue::interrupts(host, nic, &mut facts);
        }
        let survey = std::mem::take(&mut surveyed.nics[index]);
        facts.settings = survey.settings;
        facts.unsupported = survey.unsupported;
        facts.skips = survey.skips;
        nics.push(facts);
    }
    relate(&mut nics, &all, &devices);
    Ok(finish(nics, machine, surveyed, notes))
}
