//! RDMA devices on the NIC: user contexts, queue pairs, and who has a verbs device open. Covers VMA, XLIO,
//! DPDK's mlx5 driver (which leaves the kernel's driver bound) and everything else on verbs.
//!
//! A context is asked for first: users of a driver's own commands (DevX) may have no queue pair that the
//! kernel counts. Whose a resource is: [`owner`].
//!
//! In exclusive mode (`rdma system`) a device that is in another network namespace is not listed here. Its
//! PCI function tells that there is one, and by which verbs device: who has that open is found, and who
//! has not is unknown.
//!
//! Source: include/uapi/rdma/rdma_netlink.h; Documentation/ABI/stable/sysfs-class-infiniband.

mod owner;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use policy::holders::{Certainty, Holder, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, held, unknown},
    pass,
    rdma::owner::Owner,
    scene::{Port, Scene, device, entries, number, present},
};
use crate::{
    fault::Result,
    host::{
        Ask, Host, Mode,
        tlv::{Attrs, Writer},
    },
};

// enum rdma_nldev_command
const GET: u8 = 1;
const PORT_GET: u8 = 5;
const RES_QP_GET: u8 = 10;
const RES_CM_ID_GET: u8 = 11;
const RES_CTX_GET: u8 = 22;
// enum rdma_nldev_attr
const DEV_INDEX: u16 = 1;
const DEV_NAME: u16 = 2;
const RES_QP: u16 = 19;
const NDEV_INDEX: u16 = 50;
const RES_CTX: u16 = 86;

const CLASS: &str = "/sys/class/infiniband";
const VERBS: &str = "/sys/class/infiniband_verbs";

pub(super) struct Rdma;

impl Sign for Rdma {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Rdma]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let names = entries(scene.host, Path::new(CLASS))?;
        let mut found = elsewhere(scene)?;
        // The kernel is not asked where there is nothing: that would load its module.
        if names.is_empty() {
            return Ok(found);
        }
        let devices = devices(scene.host);
        for port in &scene.ports {
            for name in &names {
                match is_on(scene, port, name, devices.as_ref().ok())? {
                    On::Yes => found.add(users(scene.host, port, name, &devices)?),
                    On::No => {}
                    On::Unknown => {
                        let how = format!("on which NIC the RDMA device {name} is, is not told");
                        found.holders.push(unknown(Signal::Rdma, &port.name, how));
                    }
                }
            }
        }
        Ok(found)
    }
}

enum On {
    Yes,
    No,
    Unknown,
}

/// What the kernel's netlink tells of one RDMA device.
struct Device {
    index: u32,
    /// The interfaces of its ports.
    interfaces: BTreeSet<u32>,
}

fn ask(host: &dyn Host, command: u8, index: Option<u32>) -> Result<Vec<Vec<u8>>> {
    let mut payload = Writer::new();
    if let Some(index) = index {
        payload.u32(DEV_INDEX, index);
    }
    host.request(&Ask::Rdma { command, mode: Mode::Dump, payload: payload.into_bytes() })
}

fn word(attributes: Attrs<'_>, kind: u16) -> Option<u32> {
    attributes.find(kind)?.number().and_then(|number| u32::try_from(number).ok())
}

fn devices(host: &dyn Host) -> Result<BTreeMap<String, Device>> {
    let mut devices = BTreeMap::new();
    for answer in ask(host, GET, None)? {
        let attributes = Attrs(&answer);
        let (Some(index), Some(name)) = (word(attributes, DEV_INDEX), attributes.find(DEV_NAME))
        else {
            continue;
        };
        let ports = ask(host, PORT_GET, Some(index))?;
        let interfaces = ports.iter().filter_map(|port| word(Attrs(port), NDEV_INDEX)).collect();
        devices.insert(name.text().to_owned(), Device { index, interfaces });
    }
    Ok(devices)
}

/// Whether a device is on this port: by its PCI function, or by the interface of one of its ports.
fn is_on(
    scene: &Scene<'_>,
    port: &Port,
    name: &str,
    devices: Option<&BTreeMap<String, Device>>,
) -> Result<On> {
    for address in port.function.iter().chain(&port.vfs) {
        if entries(scene.host, &device(address).join("infiniband"))?.iter().any(|on| on == name) {
            return Ok(On::Yes);
        }
    }
    let interfaces = devices.and_then(|devices| devices.get(name)).map(|device| &device.interfaces);
    if interfaces.is_some_and(|interfaces| !interfaces.is_disjoint(&port.stack)) {
        return Ok(On::Yes);
    }
    let folder = Path::new(CLASS).join(name);
    // rxe, and siw: a device made on an interface.
    if let Some(parent) = present(scene.host.read(&folder.join("parent")))? {
        let here = port.stack.iter().filter_map(|ifindex| scene.links.get(ifindex));
        let ours = here.into_iter().any(|link| link.name == parent.trim());
        return Ok(if ours { On::Yes } else { On::No });
    }
    // Another PCI function's, or one whose interface is another.
    let has_function = present(scene.host.target(&folder.join("device")))?.is_some();
    let elsewhere = has_function || interfaces.is_some_and(|interfaces| !interfaces.is_empty());
    Ok(if elsewhere { On::No } else { On::Unknown })
}

fn users(
    host: &dyn Host,
    port: &Port,
    name: &str,
    devices: &Result<BTreeMap<String, Device>>,
) -> Result<Found> {
    let mut found = verbs(host, port, name)?;
    let device = match devices {
        Ok(devices) => devices.get(name),
        Err(fault) => {
            found.holders.push(super::clue::unread(Signal::Rdma, &port.name, fault));
            return Ok(found);
        }
    };
    let Some(device) = device else {
        let how = format!("{name} is not among the devices that RDMA netlink lists");
        found.holders.push(unknown(Signal::Rdma, &port.name, how));
        return Ok(found);
    };
    let pairs = ask(host, RES_QP_GET, Some(device.index))?;
    // Since Linux 5.14; before, queue pairs have to do.
    let contexts = present(ask(host, RES_CTX_GET, Some(device.index)).map_err(|mut fault| {
        if fault.kind == crate::fault::Kind::Invalid {
            fault.kind = crate::fault::Kind::Unsupported;
        }
        fault
    }))?;
    // Names alone: without them a module is told as the connection manager.
    let ids = ask(host, RES_CM_ID_GET, Some(device.index)).unwrap_or_default();
    let connections = owner::connections(&ids);
    let mut told = BTreeSet::new();
    let tables =
        [(RES_CTX, contexts.unwrap_or_default(), "verbs context"), (RES_QP, pairs, "queue pair")];
    for (table, answers, words) in tables {
        for owner in answers.iter().flat_map(|answer| owner::owners(answer, table, &connections)) {
            if told.insert(owner.clone()) {
                found.holders.extend(holder(host, port, name, owner, words));
            }
        }
    }
    Ok(found)
}

/// Each owner without a name of a process has an identifier of its own: who takes the harm to one upon himself
/// has not taken that to another.
fn holder(host: &dyn Host, port: &Port, name: &str, owner: Owner, words: &str) -> Option<Holder> {
    let how = format!("RDMA {words} on {name}");
    let of = |what: &str, how: String| held(Signal::Rdma, &port.name, what, how);
    match owner {
        Owner::Process(pid) if pass::is_ours(host, pid) => None,
        Owner::Process(pid) => {
            Some(Holder { process: Some(pass::process(host, pid)), ..of(name, how) })
        }
        Owner::Nobody => None,
        Owner::Kernel(user) => {
            Some(of(&format!("{name}/{user}"), format!("{how}, of the kernel's {user}")))
        }
        Owner::Hidden => {
            let how = format!("{how}, of a process that is hidden from this one");
            Some(of(&format!("{name}/hidden"), how))
        }
    }
}

/// RDMA devices of these functions that are in another network namespace. Their folder in sysfs is there,
/// and its entries are that namespace's (drivers/infiniband/core/device.c ib_class).
fn elsewhere(scene: &Scene<'_>) -> Result<Found> {
    let mut found = Found::default();
    for (port, address) in scene.functions() {
        let folder = device(address);
        let names = present(scene.host.list(&folder.join("infiniband")))?;
        if names.is_none_or(|names| !names.is_empty()) {
            continue;
        }
        let how = format!("the RDMA device of {address} is in another network namespace");
        let what = format!("{address}/elsewhere");
        found.holders.push(Holder { what, ..unknown(Signal::Rdma, &port.name, how) });
        let nodes = folder.join("infiniband_verbs");
        for node in entries(scene.host, &nodes)? {
            let numbers = number(scene.host, &nodes.join(&node).join("dev"))?;
            found.clues.extend(numbers.map(|numbers| open(port, address, &node, numbers)));
        }
    }
    Ok(found)
}

/// `/sys/class/infiniband_verbs/uverbs0/{ibdev,dev}`.
fn verbs(host: &dyn Host, port: &Port, name: &str) -> Result<Found> {
    let mut found = Found::default();
    for node in entries(host, Path::new(VERBS))? {
        if !node.starts_with("uverbs") {
            continue;
        }
        let folder = Path::new(VERBS).join(&node);
        if present(host.read(&folder.join("ibdev")))?.is_none_or(|device| device.trim() != name) {
            continue;
        }
        let numbers = number(host, &folder.join("dev"))?;
        found.clues.extend(numbers.map(|numbers| open(port, name, &node, numbers)));
    }
    Ok(found)
}

fn open(port: &Port, what: &str, node: &str, (major, minor): (u32, u32)) -> Clue {
    Clue {
        signal: Signal::Rdma,
        port: port.name.clone(),
        what: what.to_owned(),
        token: Token::Device(major, minor),
        how: format!("RDMA verbs on {what} (/dev/infiniband/{node} open)"),
        certainty: Certainty::InUse,
        alone: Alone::Nothing,
    }
}
