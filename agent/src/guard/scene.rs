//! What is looked at: the ports given, the other ports of their device, their virtual functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use crate::{
    fault::{Kind, Result},
    host::{Host, Nic, nic},
    inventory::{self, link, management, siblings},
};

/// A NIC and everything that the signals ask of it, read once.
pub(super) struct Scene<'a> {
    /// Answers the same question once.
    pub(super) host: &'a dyn Host,
    pub(super) ports: Vec<Port>,
    /// Every link of this network namespace.
    pub(super) links: BTreeMap<u32, link::Entry>,
    /// Every address of it, so that what never leaves the host is told apart.
    pub(super) local: BTreeSet<IpAddr>,
}

/// One port of the device.
#[derive(Debug)]
pub(super) struct Port {
    /// Its interface's name; its PCI address, where it has none here.
    pub(super) name: String,
    /// `None` where it has no interface in this network namespace.
    pub(super) nic: Option<Nic>,
    pub(super) kinship: Kinship,
    /// Its PCI function.
    pub(super) function: Option<String>,
    /// The PCI addresses of its virtual functions.
    pub(super) vfs: Vec<String>,
    /// Itself and what sits on it, by ifindex.
    pub(super) stack: BTreeSet<u32>,
    /// The addresses of those.
    pub(super) addresses: Vec<IpAddr>,
    /// The families whose default route leaves by one of those.
    pub(super) default_route: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kinship {
    /// The step is about it.
    Given,
    /// It shares the device with one that the step is about.
    Sibling,
}

/// How far a look goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breadth {
    /// The ports given, with their virtual functions.
    Ports,
    /// The whole device.
    Device,
}

pub(super) fn read<'a>(host: &'a dyn Host, given: &[Nic], breadth: Breadth) -> Result<Scene<'a>> {
    let links = inventory::links(host)?;
    let uses = management::Uses::read(host)?;
    let mut scene = Scene { host, ports: Vec::new(), links, local: uses.all().collect() };
    for nic in given {
        scene.add(nic.name.clone(), Some(nic), nic.pci.clone(), Kinship::Given, &uses)?;
    }
    if breadth == Breadth::Device {
        scene.add_siblings(given, &uses)?;
    }
    Ok(scene)
}

impl Scene<'_> {
    /// Every PCI function looked at, virtual ones included, with the port that it belongs to.
    pub(super) fn functions(&self) -> impl Iterator<Item = (&Port, &str)> {
        self.ports.iter().flat_map(|port| {
            let own = port.function.iter().chain(&port.vfs);
            own.map(move |function| (port, function.as_str()))
        })
    }

    /// Ports with an interface in this network namespace.
    pub(super) fn nics(&self) -> impl Iterator<Item = (&Port, &Nic)> {
        self.ports.iter().filter_map(|port| Some((port, port.nic.as_ref()?)))
    }

    pub(super) fn is_physical(&self) -> bool {
        self.ports.iter().any(|port| port.function.is_some())
    }

    fn add(
        &mut self,
        name: String,
        nic: Option<&Nic>,
        function: Option<String>,
        kinship: Kinship,
        uses: &management::Uses,
    ) -> Result<()> {
        let stack = nic.map(|nic| management::stack(&self.links, nic.ifindex)).unwrap_or_default();
        let addresses = stack.iter().flat_map(|&ifindex| uses.plain(ifindex)).collect();
        let default_route = stack.iter().flat_map(|&ifindex| uses.default_route(ifindex)).collect();
        let vfs = match &function {
            Some(address) => virtual_functions(self.host, address)?,
            None => Vec::new(),
        };
        let nic = nic.cloned();
        self.ports.push(Port {
            name,
            nic,
            kinship,
            function,
            vfs,
            stack,
            addresses,
            default_route,
        });
        Ok(())
    }

    /// Other interfaces of the same functions, other functions of the same slot, other devices with the
    /// same serial number.
    fn add_siblings(&mut self, given: &[Nic], uses: &management::Uses) -> Result<()> {
        let functions: BTreeSet<String> = given.iter().filter_map(|nic| nic.pci.clone()).collect();
        if functions.is_empty() {
            return Ok(());
        }
        let mut device = siblings::of(self.host, &functions)?.functions;
        // A virtual function is told with its port.
        let vfs: BTreeSet<&String> = self.ports.iter().flat_map(|port| &port.vfs).collect();
        device.retain(|address| !vfs.contains(address));
        let all = nic::all(self.host)?;
        let is_given = |nic: &Nic| given.iter().any(|given| given.ifindex == nic.ifindex);
        for address in device {
            let there: Vec<&Nic> =
                all.iter().filter(|nic| nic.pci.as_ref() == Some(&address)).collect();
            for nic in there.iter().filter(|nic| !is_given(nic)) {
                let function = (!functions.contains(&address)).then(|| address.clone());
                self.add(nic.name.clone(), Some(nic), function, Kinship::Sibling, uses)?;
            }
            if there.is_empty() && !functions.contains(&address) {
                self.add(address.clone(), None, Some(address), Kinship::Sibling, uses)?;
            }
        }
        Ok(())
    }
}

const DEVICES: &str = "/sys/bus/pci/devices";

pub(super) fn device(address: &str) -> PathBuf {
    Path::new(DEVICES).join(address)
}

/// The last part of a link's target; `None` where there is no such link.
pub(super) fn link_to(host: &dyn Host, path: &Path) -> Result<Option<String>> {
    Ok(present(host.target(path))?
        .map(|target| target.rsplit('/').next().unwrap_or(&target).to_owned()))
}

/// Entries of a folder that may not be there.
pub(super) fn entries(host: &dyn Host, folder: &Path) -> Result<Vec<String>> {
    Ok(present(host.list(folder))?.unwrap_or_default())
}

/// What is there, or that it is not; any other failure is no answer.
pub(super) fn present<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(fault) if matches!(fault.kind, Kind::Unsupported | Kind::Gone) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The number in a `dev` file of sysfs, `231:192`.
pub(super) fn number(host: &dyn Host, file: &Path) -> Result<Option<(u32, u32)>> {
    let Some(text) = present(host.read(file))? else { return Ok(None) };
    let parsed = text
        .trim()
        .split_once(':')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match parsed {
        Some(numbers) => Ok(Some(numbers)),
        None => Err(crate::fault::Fault::new(
            Kind::Malformed,
            format!("read {}", file.display()),
            format!("`{}` is no device number", text.trim()),
        )),
    }
}

/// `virtfn0`, `virtfn1`, …: links to the virtual functions that are switched on.
fn virtual_functions(host: &dyn Host, address: &str) -> Result<Vec<String>> {
    let folder = device(address);
    if present(host.read(&folder.join("sriov_numvfs")))?.is_none_or(|count| count.trim() == "0") {
        return Ok(Vec::new());
    }
    let links = host.links(&folder)?.into_iter();
    let functions = links.filter(|(name, _)| name.starts_with("virtfn"));
    Ok(functions
        .map(|(_, target)| target.rsplit('/').next().unwrap_or(&target).to_owned())
        .collect())
}
