//! Which interfaces people and programs reach this host by.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netlink_packet_core::{DecodeError, Parseable};
use netlink_packet_route::{
    address::{AddressAttribute, AddressMessage},
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteType},
};
use policy::management::{Duty, Role};
use serde::{Deserialize, Serialize};

use super::{Notes, link};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Ask, Host, Mode, Nic},
};

/// include/uapi/linux/rtnetlink.h
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
/// `struct ifaddrmsg` and `struct rtmsg`.
const IFADDRMSG_BYTES: usize = 8;
const RTMSG_BYTES: usize = 12;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Why taking this NIC down may cut somebody off. Facts only; policy decides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ManagementFacts {
    /// What [`policy::management::judge`] rules on.
    pub duties: Vec<Duty>,
    /// The NIC itself and what sits on it (its bond, bridge, VLANs): where duties were looked for.
    pub interfaces: Vec<String>,
}

/// What depends on `nic`. `session` is the local address of the operator's connection (the third
/// word of `SSH_CONNECTION`), where there is one.
///
/// Fails where links, addresses or routes cannot be read, or `session` is no address: then nobody
/// knows, and nobody should act.
pub fn management(host: &dyn Host, nic: &Nic, session: Option<&str>) -> Result<ManagementFacts> {
    let session = session.map(canonical).transpose()?;
    let links = link::dump(host, &mut Notes::default())?;
    let uses = Uses::read(host)?;
    let mut facts = ManagementFacts::default();
    for ifindex in stack(&links, nic.ifindex) {
        let name = links.get(&ifindex).map(|link| link.name.clone());
        let through = name.clone().filter(|_| ifindex != nic.ifindex);
        if uses.default_routes.contains_key(&ifindex) {
            facts.duties.push(Duty { role: Role::DefaultRoute, through: through.clone() });
        }
        let mut addresses = uses.addresses.get(&ifindex).into_iter().flatten();
        if let Some(here) = session.filter(|here| addresses.any(|(address, _)| address == here)) {
            let role = Role::Session { address: here.to_string() };
            facts.duties.push(Duty { role, through });
        }
        facts.interfaces.extend(name);
    }
    Ok(facts)
}

/// The addresses by which sessions use `nic`: its own, and those of what sits on it (its bond, bridge,
/// VLANs).
pub fn addresses(host: &dyn Host, nic: &Nic) -> Result<Vec<IpAddr>> {
    let links = link::dump(host, &mut Notes::default())?;
    let uses = Uses::addressed(host)?;
    let of = |ifindex: u32| uses.addresses.get(&ifindex).into_iter().flatten();
    Ok(stack(&links, nic.ifindex).into_iter().flat_map(of).map(|(address, _)| *address).collect())
}

/// The address as the kernel lists it: without a scope (`fe80::1%eth0`), and plain IPv4 where an
/// IPv6 socket shows it as `::ffff:192.0.2.1`.
fn canonical(session: &str) -> Result<IpAddr> {
    let address = session.split('%').next().unwrap_or_default();
    let address: IpAddr = address.parse().map_err(|_| {
        let act = "find the operator's session";
        Fault::new(Kind::Invalid, act, format!("`{session}` is no IP address"))
    })?;
    Ok(address.to_canonical())
}

/// This interface and all that sit on it, directly or not.
pub(crate) fn stack(links: &BTreeMap<u32, link::Entry>, ifindex: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([ifindex]);
    let mut todo = vec![ifindex];
    // Ends: every interface is taken up once.
    while let Some(below) = todo.pop() {
        let master = links.get(&below).and_then(|link| link.master);
        let upper = links.values().filter(|link| link.sits_on() == Some(below));
        for above in upper.map(|link| link.ifindex).chain(master) {
            if found.insert(above) {
                todo.push(above);
            }
        }
    }
    found
}

fn dump(host: &dyn Host, kind: u16, payload: Vec<u8>) -> Result<Vec<Vec<u8>>> {
    host.request(&Ask::Route { kind, mode: Mode::Dump, payload })
}

/// Addresses and default routes of this network namespace, by ifindex.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    addresses: BTreeMap<u32, Vec<(IpAddr, u8)>>,
    default_routes: BTreeMap<u32, BTreeSet<&'static str>>,
}

impl Uses {
    pub(crate) fn read(host: &dyn Host) -> Result<Uses> {
        let mut uses = Uses::addressed(host)?;
        for (family, name) in [(AF_INET, "ipv4"), (AF_INET6, "ipv6")] {
            let mut payload = vec![0; RTMSG_BYTES];
            payload[0] = family;
            let answers = dump(host, RTM_GETROUTE, payload)
                .map_err(|fault| fault.during(format!("list the host's {name} routes")))?;
            answers.iter().try_for_each(|answer| uses.route(answer, name))?;
        }
        Ok(uses)
    }

    /// Addresses alone.
    fn addressed(host: &dyn Host) -> Result<Uses> {
        let mut uses = Uses::default();
        let answers = dump(host, RTM_GETADDR, vec![0; IFADDRMSG_BYTES])
            .map_err(|fault| fault.during("list the host's addresses"))?;
        answers.iter().for_each(|answer| uses.address(answer));
        Ok(uses)
    }

    pub(crate) fn plain(&self, ifindex: u32) -> impl Iterator<Item = IpAddr> {
        self.addresses.get(&ifindex).into_iter().flatten().map(|(address, _)| *address)
    }

    /// Every address of the namespace.
    pub(crate) fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.values().flatten().map(|(address, _)| *address)
    }

    /// Addresses with their prefix lengths, as `ip addr` prints them.
    pub(super) fn addresses(&self, ifindex: u32) -> Vec<String> {
        let addresses = self.addresses.get(&ifindex).into_iter().flatten();
        addresses.map(|(address, length)| format!("{address}/{length}")).collect()
    }

    pub(crate) fn default_route(&self, ifindex: u32) -> Vec<String> {
        let families = self.default_routes.get(&ifindex).into_iter().flatten();
        families.map(|&family| family.to_owned()).collect()
    }

    fn address(&mut self, answer: &[u8]) {
        let Ok(message) = AddressMessage::parse(answer) else { return };
        let find = |want: fn(&AddressAttribute) -> Option<IpAddr>| {
            message.attributes.iter().find_map(want)
        };
        // IFA_LOCAL is ours; on a point-to-point link IFA_ADDRESS is the other end.
        let local = find(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = local.or_else(|| {
            find(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        });
        if let Some(address) = address {
            let entry = self.addresses.entry(message.header.index).or_default();
            entry.push((address, message.header.prefix_len));
        }
    }

    /// Only default routes are decoded: the rest of a long table costs a look at its header.
    fn route(&mut self, answer: &[u8], family: &'static str) -> Result<()> {
        let malformed = |error: DecodeError| {
            let act = format!("list the host's {family} routes");
            Fault::new(Kind::Malformed, act, error.to_string())
        };
        let header = RouteHeader::parse(answer).map_err(malformed)?;
        if header.destination_prefix_length != 0 || header.kind != RouteType::Unicast {
            return Ok(());
        }
        let mut leave = |ifindex| {
            self.default_routes.entry(ifindex).or_default().insert(family);
        };
        for attribute in RouteMessage::parse(answer).map_err(malformed)?.attributes {
            match attribute {
                RouteAttribute::Oif(ifindex) => leave(ifindex),
                RouteAttribute::MultiPath(hops) => {
                    hops.iter().for_each(|hop| leave(hop.interface_index));
                }
                // Another crate's type, not exhaustive: nothing else names an interface to leave by.
                _ => {}
            }
        }
        Ok(())
    }
}
