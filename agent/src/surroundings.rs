//! What a NIC-only reset loses besides the NIC's settings, and putting it back.
//!
//! A driver that reloads its firmware may unregister the network device: then its name, addresses,
//! routes, neighbours, stacked interfaces, memberships, qdiscs and sysctls are gone, and what comes back
//! is a bare device with another index. [`take`] keeps all that beforehand, by the port's identity and
//! by interface names, never by index; [`Surroundings::restore`] adds what is missing, in the order of
//! what needs what, until nothing differs; [`Surroundings::differences`] is the proof.
//!
//! Nothing that somebody else added meanwhile is removed. What cannot be put back exactly is told by
//! [`Surroundings::cannot_restore`] *before* anything is reset, so that it can be refused.
//!
//! Not seen from here, and so neither kept nor refused: TCX and other BPF links, and offloaded IPsec states.
//! Interfaces of other network namespaces are the guard's. `docs/surroundings.md` says so to the operator.

mod address;
mod afar;
mod beneath;
mod device;
mod ethtool;
mod filter;
mod function;
mod group;
mod join;
mod links;
mod membership;
mod message;
mod name;
mod neighbour;
mod nft;
mod object;
mod packet;
mod queue;
mod restore;
mod route;
mod stamping;
mod sysctl;
mod tc;

use std::{collections::BTreeSet, path::Path};

use serde::{Deserialize, Serialize};

use self::{address::Addresses, links::Links, packet::Taps, route::Hooks};
pub use self::{
    device::Device,
    ethtool::Ethtool,
    function::Functions,
    join::Join,
    membership::Membership,
    message::{Bytes, Message},
    object::{Class, Lifetime, Maker, Object},
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic, NicId, Now},
};

/// The version of the JSON that [`Surroundings`] becomes.
pub const FORMAT: u32 = 1;

/// What stood around some ports of one device at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Surroundings {
    pub format: u32,
    /// The network namespace's inode: it is put back there or nowhere.
    pub netns: u64,
    /// When; lifetimes count from then.
    pub taken: Now,
    /// By identity.
    pub ports: Vec<Port>,
    /// Interfaces on top of the ports, lower before upper; they die with them.
    pub stacked: Vec<Device>,
    /// What stands on all of these, in the order in which it is put back.
    pub objects: Vec<Object>,
    /// Multicast groups that sockets joined, and what packet sockets have an interface take in.
    pub joins: Vec<Join>,
    /// Link-layer groups that somebody gave an interface: its name, the group.
    pub link_groups: BTreeSet<(String, String)>,
    pub cannot_restore: Vec<String>,
}

/// One port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Port {
    pub id: NicId,
    pub device: Device,
    pub functions: Functions,
    /// `struct hwtstamp_config`, where the driver stamps packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamping: Option<Bytes>,
    /// Absent in what an older version kept.
    #[serde(default)]
    pub ethtool: Ethtool,
}

/// How something differs from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Missing,
    Changed,
    /// It was not there before: somebody else's, or the kernel's.
    Added,
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Difference {
    pub change: Change,
    /// `address 10.0.0.1/24 on eth1`
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: expected {}, found {}", self.what, self.expected, self.found)
    }
}

/// Keeps what stands around these ports. Fails where the kernel cannot be asked: then nobody knows what
/// a reset would lose, and nobody should reset.
pub fn take(host: &dyn Host, ports: &[Nic]) -> Result<Surroundings> {
    let mut taken = look(host, ports)?;
    let links = Links::read(host)?;
    let indexes: Vec<u32> = ports.iter().map(|port| port.ifindex).collect();
    let dying: BTreeSet<u32> = links.dying(&indexes)?.into_iter().collect();
    let cannot = &mut taken.cannot_restore;
    for port in ports {
        // By the name that it has now, whatever it had when it was found.
        let named = Nic { name: links.names.name(port.ifindex), ..port.clone() };
        cannot.extend(beneath::read(host, &named)?);
    }
    cannot.extend(nft::read(host, &links, &dying)?);
    cannot.extend(afar::label_routes(host, &links, &dying)?);
    cannot.sort();
    cannot.dedup();
    Ok(taken)
}

/// The same without what only refuses: enough to compare with.
pub fn look(host: &dyn Host, ports: &[Nic]) -> Result<Surroundings> {
    let links = Links::read(host)?;
    let indexes: Vec<u32> = ports.iter().map(|port| port.ifindex).collect();
    let order = links.dying(&indexes)?;
    let dying: BTreeSet<u32> = order.iter().copied().collect();
    let taps = Taps::read(host, &links, &dying);
    let mut cannot = Vec::new();
    let mut kept = Vec::new();
    for port in ports {
        let link = links.by_index.get(&port.ifindex).ok_or_else(|| {
            let act = format!("keep what stands around {}", port.name);
            Fault::new(Kind::Gone, act, format!("interface {} is not there", port.ifindex))
        })?;
        let mut device = Device::of(link, &links, &mut cannot);
        taps.leave_out(&mut device, link);
        device.sysctls = sysctl::read(host, &link.name);
        device.queues = queue::read(host, &link.name);
        let functions = function::read(host, port, &mut cannot)?;
        let stamping = stamping::read(host, &link.name);
        let named = Nic { name: link.name.clone(), ..port.clone() };
        let ethtool = Ethtool::read(host, &named, &mut cannot);
        kept.push(Port { id: port.id.clone(), device, functions, stamping, ethtool });
    }
    kept.sort_by(|a, b| a.id.cmp(&b.id));
    let mut stacked = Vec::new();
    for link in order[ports.len()..].iter().filter_map(|index| links.by_index.get(index)) {
        let mut device = Device::stacked(link, &links, &mut cannot);
        taps.leave_out(&mut device, link);
        device.sysctls = sysctl::read(host, &link.name);
        device.queues = queue::read(host, &link.name);
        stacked.push(device);
    }
    for link in dying.iter().filter_map(|index| links.by_index.get(index)) {
        cannot.extend(link.xdp.map(|id| {
            format!("XDP program {id} on {}: its only reference may be the device", link.name)
        }));
    }
    let devices: Vec<String> = dying.iter().map(|index| links.names.name(*index)).collect();
    let objects = objects(host, &links, &dying, &devices, &mut cannot)?;
    cannot.extend(taps.unexplained(host, &links, &dying, &objects));
    cannot.extend(afar::homes(host, ports));
    let devices: BTreeSet<String> = devices.into_iter().collect();
    let link_groups = join::link_layer(host, &devices);
    cannot.extend(link_groups.iter().map(|(device, group)| {
        format!("link-layer group {group} of {device} (ip maddr): rtnetlink cannot set it")
    }));
    let mut joins = join::read(host, &devices);
    joins.extend(taps.joins(host, &links, &dying));
    cannot.sort();
    cannot.dedup();
    Ok(Surroundings {
        format: FORMAT,
        netns: netns(host)?,
        taken: host.now(),
        ports: kept,
        stacked,
        objects,
        joins,
        link_groups,
        cannot_restore: cannot,
    })
}

fn objects(
    host: &dyn Host,
    links: &Links,
    dying: &BTreeSet<u32>,
    devices: &[String],
    cannot: &mut Vec<String>,
) -> Result<Vec<Object>> {
    let mut objects = membership::vlans(host, links, dying, cannot)?;
    objects.extend(group::read(host, links, dying, cannot)?);
    cannot.extend(afar::vlan_options(host, links, dying)?);
    let Addresses { objects: addresses, locals, temporary } = address::read(host, links, dying)?;
    objects.extend(addresses);
    objects.extend(neighbour::read(host, links, dying)?);
    let (nexthops, ids) = route::nexthops(host, links, dying, cannot)?;
    objects.extend(nexthops);
    let hooks = Hooks { dying, locals: &locals, temporary: &temporary, nexthops: &ids };
    objects.extend(route::read(host, links, &hooks, cannot)?);
    objects.extend(route::rules(host, links, devices)?);
    objects.extend(neighbour::forwarding(host, links, dying, cannot)?);
    let mut redirects = BTreeSet::new();
    objects.extend(tc::read(host, links, dying, cannot, &mut redirects)?);
    cannot.extend(afar::redirects(host, links, dying, &redirects)?);
    objects.sort_by(|a, b| a.rank().cmp(&b.rank()).then_with(|| a.key.cmp(&b.key)));
    Ok(objects)
}

fn netns(host: &dyn Host) -> Result<u64> {
    let link = host.target(Path::new("/proc/thread-self/ns/net"))?;
    let inode = link.strip_prefix("net:[").and_then(|rest| rest.strip_suffix(']'));
    inode
        .and_then(|inode| inode.parse().ok())
        .ok_or_else(|| Fault::new(Kind::Malformed, "read the network namespace", link.clone()))
}

impl Surroundings {
    /// What a reset would lose for good, or what could not be put back exactly: to refuse on.
    pub fn cannot_restore(&self) -> &[String] {
        &self.cannot_restore
    }

    /// Whether a queue of theirs steers flows (RFS): its table is written again.
    pub fn steers_flows(&self) -> bool {
        let own = self.ports.iter().map(|port| &port.device).chain(&self.stacked);
        own.into_iter().any(|device| queue::steers_flows(&device.queues))
    }

    /// Everything that is not as it was, additions included. Joins are not here: see
    /// [`Surroundings::lost_joins`].
    pub fn differences(&self, now: &Surroundings) -> Vec<Difference> {
        let mut found = Vec::new();
        for port in &self.ports {
            let what = |what: &str| format!("{what} of {}", port.device.name);
            match now.ports.iter().find(|other| other.id == port.id) {
                Some(other) => {
                    found.extend(changed(port.device.differences(&other.device)));
                    let ethtool = port.ethtool.differences(&other.ethtool, &port.device.name);
                    found.extend(changed(ethtool));
                    if port.device.name != other.device.name {
                        let names = (port.device.name.clone(), other.device.name.clone());
                        found.extend(changed(vec![(what("name"), names.0, names.1)]));
                    }
                    found.extend(changed(stamping::differs(port, other)));
                    if port.functions != other.functions {
                        let show = |f: &Functions| {
                            let each = f.settings.iter().map(Bytes::to_string);
                            format!("{}: {}", f.count, each.collect::<Vec<_>>().join(" "))
                        };
                        let both = (show(&port.functions), show(&other.functions));
                        found.extend(changed(vec![(what("VFs"), both.0, both.1)]));
                    }
                }
                None => found.push(missing(format!("port {}", port.id))),
            }
        }
        for device in &self.stacked {
            match now.stacked.iter().find(|other| other.name == device.name) {
                Some(other) => found.extend(changed(device.differences(other))),
                None => found.push(missing(format!("interface {}", device.name))),
            }
        }
        let new = |device: &&Device| !self.stacked.iter().any(|old| old.name == device.name);
        let added = now.stacked.iter().filter(new);
        found.extend(added.map(|d| added_now(format!("interface {}", d.name), String::new())));
        self.compare_objects(now, &mut found);
        for (device, group) in self.link_groups.difference(&now.link_groups) {
            found.push(missing(format!("link-layer group {group} of {device}")));
        }
        found
    }

    fn compare_objects(&self, now: &Surroundings, found: &mut Vec<Difference>) {
        let elapsed_s = restore::elapsed_s(&self.taken, &now.taken);
        // Rules are found by the names of the interfaces; under another name they are not looked for.
        let renamed = self.ports.iter().any(|port| {
            let other = now.ports.iter().find(|other| other.id == port.id);
            other.is_none_or(|other| other.device.name != port.device.name)
        });
        let is = |object: &Object| {
            now.objects.iter().find(|o| o.class == object.class && o.key == object.key)
        };
        for object in &self.objects {
            match is(object) {
                Some(other) if object.same(other) => {}
                Some(other) => found.push(Difference {
                    change: Change::Changed,
                    what: object.named(),
                    expected: object.words(other),
                    found: other.words(object),
                }),
                None if object.class == Class::Rule && renamed => {}
                None if object.expired(elapsed_s) => {}
                None => found.push(missing(object.named())),
            }
        }
        let known = |object: &&Object| {
            self.objects.iter().any(|o| o.class == object.class && o.key == object.key)
        };
        let added = now.objects.iter().filter(|object| !known(object));
        found.extend(added.map(|object| added_now(object.named(), object.detail.clone())));
    }

    /// Multicast joins that there were and that are gone, each with who is known to have had it. Only
    /// the sockets' owners can join again.
    pub fn lost_joins(&self, now: &Surroundings) -> Vec<String> {
        let still = |join: &Join| {
            let same = now.joins.iter().find(|j| j.device == join.device && j.group == join.group);
            same.map_or(0, |join| join.users)
        };
        let lost = self.joins.iter().filter(|join| still(join) < join.users);
        lost.map(Join::words).collect()
    }
}

fn changed(differs: Vec<device::Differs>) -> impl Iterator<Item = Difference> {
    differs.into_iter().map(|(what, expected, found)| Difference {
        change: Change::Changed,
        what,
        expected,
        found,
    })
}

fn missing(what: String) -> Difference {
    let (expected, found) = ("there".to_owned(), "missing".to_owned());
    Difference { change: Change::Missing, what, expected, found }
}

fn added_now(what: String, found: String) -> Difference {
    let found = if found.is_empty() { "there".to_owned() } else { found };
    Difference { change: Change::Added, what, expected: "absent".to_owned(), found }
}
