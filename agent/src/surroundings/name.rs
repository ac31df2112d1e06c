//! The ports' own names, given back before anything else: all the rest goes by them.
//!
//! Two ports that register at the same moment come back in either order, so that each may have the other's
//! name. The kernel knows no exchange: whoever is in the way takes a third name first.

use super::{device, links::Links};
use crate::{
    fault::{Fault, Kind},
    host::Host,
};

/// The name that a port has to have, and its index now.
pub(super) type Named<'a> = (&'a str, u32);

/// Gives each port its name. Nothing is returned when all have them; otherwise what stands in the way.
/// Interrupted anywhere it can be done again: ports are known by what they are, whatever their names.
pub(super) fn restore(host: &dyn Host, ports: &[Named<'_>]) -> Vec<Fault> {
    let links = match Links::read(host) {
        Ok(links) => links,
        Err(fault) => return vec![fault],
    };
    let mut faults = Vec::new();
    for (name, index) in ports {
        let Some(holder) = links.named(name).filter(|holder| holder.index != *index) else {
            continue;
        };
        if !ports.iter().any(|(_, own)| *own == holder.index) {
            let cause = format!("interface {} has that name now", holder.index);
            faults.push(Fault::new(Kind::Drift, format!("rename a port to {name}"), cause));
            continue;
        }
        faults.extend(device::rename(host, holder, &third(&links, holder.index)));
    }
    if !faults.is_empty() {
        return faults;
    }
    let links = match Links::read(host) {
        Ok(links) => links,
        Err(fault) => return vec![fault],
    };
    for (name, index) in ports {
        match links.by_index.get(index) {
            Some(link) if link.name == *name => {}
            Some(link) => faults.extend(device::rename(host, link, name)),
            None => {
                let cause = format!("interface {index} is not there");
                faults.push(Fault::new(Kind::Gone, format!("rename a port to {name}"), cause));
            }
        }
    }
    faults
}

/// The first port that has another name.
pub(super) fn wrong(links: &Links, ports: &[Named<'_>]) -> Option<Fault> {
    let (name, index) =
        ports.iter().find(|(name, index)| links.names.index(name) != Some(*index))?;
    let cause = format!("interface {index} is not called so");
    Some(Fault::new(Kind::Drift, format!("put back what stood around {name}"), cause))
}

/// A name that nobody has: within IFNAMSIZ - 1 bytes whatever the index.
fn third(links: &Links, index: u32) -> String {
    let mut name = format!("nm{index:x}");
    while links.names.index(&name).is_some() && name.len() < 15 {
        name.push('x');
    }
    name
}
