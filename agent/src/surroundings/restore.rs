//! Putting it back: passes that read what is there and add what is missing, until nothing differs.

use std::time::Duration;

use super::{
    Change, Difference, Surroundings, address, device, function,
    links::Links,
    look,
    name::{self, Named},
    queue, stamping,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic, Now},
};

/// Passes at most. A link takes seconds to negotiate, and the kernel makes link-local addresses and
/// their routes only when it is up.
const PASSES_MAX: u32 = 60;
/// Between passes; the first follow at once, as long as each mends something.
const PAUSE: Duration = Duration::from_millis(250);
const AT_ONCE_MAX: u32 = 5;

impl Surroundings {
    /// Puts back what is missing on these ports, which are the same ones by identity and may have other
    /// names and indexes now. Idempotent: it may be interrupted anywhere and be done again, also by
    /// another process. At most about 15 seconds.
    ///
    /// Nothing is returned when all is as it was; otherwise what could not be done, and what differs.
    /// What somebody else added meanwhile is left and is no fault.
    pub fn restore(&self, host: &dyn Host, ports: &[Nic]) -> Vec<Fault> {
        if let Err(fault) = self.is_here(host, ports) {
            return vec![fault];
        }
        let mut before = usize::MAX;
        let mut last = Vec::new();
        for pass in 0..PASSES_MAX {
            let faults = self.pass(host, ports, pass);
            let left = match look(host, ports) {
                Ok(now) => self.unlike(&now),
                Err(fault) => return vec![fault],
            };
            if left.is_empty() {
                return Vec::new();
            }
            let progress = left.len() < before;
            before = left.len();
            last = faults;
            last.extend(left.iter().map(|left| {
                let cause = format!("expected {}, found {}", left.expected, left.found);
                Fault::new(Kind::Drift, format!("restore {}", left.what), cause)
            }));
            if !progress || pass >= AT_ONCE_MAX {
                host.wait(PAUSE);
            }
        }
        last
    }

    /// The differences that a restore is to mend.
    fn unlike(&self, now: &Surroundings) -> Vec<Difference> {
        let mut found = self.differences(now);
        found.retain(|difference| {
            // Queues come with the channels, which are put back after this.
            difference.change != Change::Added && difference.found != queue::ABSENT
        });
        found
    }

    fn is_here(&self, host: &dyn Host, ports: &[Nic]) -> Result<()> {
        let act = "put back what stood around the NIC";
        let netns = super::netns(host)?;
        if netns != self.netns {
            let cause = format!("this is network namespace {netns}, not {}", self.netns);
            return Err(Fault::new(Kind::Drift, act, cause));
        }
        match self.ports.iter().find(|port| !ports.iter().any(|nic| nic.id == port.id)) {
            Some(port) => Err(Fault::new(Kind::Gone, act, format!("{} is not there", port.id))),
            None => Ok(()),
        }
    }

    /// The kept names, and the indexes that these ports have now.
    fn named<'s>(&'s self, ports: &[Nic]) -> Vec<Named<'s>> {
        let now = |port: &'s super::Port| {
            let nic = ports.iter().find(|nic| nic.id == port.id)?;
            Some((port.device.name.as_str(), nic.ifindex))
        };
        self.ports.iter().filter_map(now).collect()
    }

    fn pass(&self, host: &dyn Host, ports: &[Nic], pass: u32) -> Vec<Fault> {
        let named = self.named(ports);
        // Everything from here on goes by name: under a wrong one it would land on another port.
        let mut faults = name::restore(host, &named);
        if !faults.is_empty() {
            return faults;
        }
        for port in &self.ports {
            let Some(nic) = ports.iter().find(|nic| nic.id == port.id) else { continue };
            faults.extend(self.device(host, &port.device, nic.ifindex, pass));
            faults.extend(stamping::restore(host, &port.device.name, port.stamping.as_ref()));
            // It has its old name by now.
            let named = Nic { name: port.device.name.clone(), ..nic.clone() };
            faults.extend(port.ethtool.restore(host, &named));
            if port.functions.count > 0 {
                faults.extend(function::restore(host, nic, &port.functions));
            }
        }
        for stacked in &self.stacked {
            faults.extend(self.stacked(host, stacked, &named, pass));
        }
        match (look(host, ports), Links::read(host)) {
            (Ok(now), Ok(links)) => match name::wrong(&links, &named) {
                Some(fault) => faults.push(fault),
                None => faults.extend(self.objects(host, &now, &links)),
            },
            (Err(fault), _) | (_, Err(fault)) => faults.push(fault),
        }
        faults
    }

    fn device(&self, host: &dyn Host, was: &device::Device, index: u32, pass: u32) -> Vec<Fault> {
        let links = match Links::read(host) {
            Ok(links) => links,
            Err(fault) => return vec![fault],
        };
        let act = || format!("make {} what it was", was.name);
        let Some(link) = links.by_index.get(&index) else {
            return vec![Fault::new(Kind::Gone, act(), format!("interface {index} is not there"))];
        };
        if link.name != was.name {
            let cause = format!("interface {index} is called {} meanwhile", link.name);
            return vec![Fault::new(Kind::Drift, act(), cause)];
        }
        let restored = device::restore(host, was, link, &links, pass);
        let mut faults = restored.faults;
        if restored.joined && was.membership.as_ref().is_some_and(|m| m.kind == "bridge") {
            let had = self.objects.iter().filter(|o| o.class == super::Class::BridgeVlan);
            let had: Vec<&super::Object> = had.collect();
            let taken = super::membership::take_back_vlans(host, index, &was.name, &had);
            faults.extend(taken.err());
        }
        faults
    }

    fn stacked(
        &self,
        host: &dyn Host,
        was: &device::Device,
        ports: &[Named<'_>],
        pass: u32,
    ) -> Vec<Fault> {
        let links = match Links::read(host) {
            Ok(links) => links,
            Err(fault) => return vec![fault],
        };
        if let Some(fault) = name::wrong(&links, ports) {
            return vec![fault];
        }
        if links.named(&was.name).is_none() {
            let Some(make) = &was.make else { return Vec::new() };
            let act = format!("make {}", was.name);
            let made = make.send(host, &links.names, crate::host::Mode::Create, &act, &[]);
            if let Err(fault) = made {
                return vec![fault];
            }
        }
        match Links::read(host).map(|links| links.named(&was.name).map(|link| link.index)) {
            Ok(Some(index)) => self.device(host, was, index, pass),
            Ok(None) => Vec::new(),
            Err(fault) => vec![fault],
        }
    }

    fn objects(&self, host: &dyn Host, now: &Surroundings, links: &Links) -> Vec<Fault> {
        let elapsed_s = elapsed_s(&self.taken, &now.taken);
        let mut faults = Vec::new();
        for object in self.objects.iter().filter(|object| object.is_ours_to_make()) {
            let same = |o: &&super::Object| o.class == object.class && o.key == object.key;
            let there = now.objects.iter().find(same);
            let made = match there {
                // A group that lost members is completed; anything else that is there is left.
                Some(other) if object.class == super::Class::NexthopGroup => object.same(other),
                Some(_) => true,
                None => false,
            };
            if made {
                continue;
            }
            let more = match object.lifetime.map(|of| address::remaining(of, elapsed_s)) {
                Some(Some(attribute)) => attribute,
                Some(None) => continue,
                None => Vec::new(),
            };
            let act = format!("restore {}", object.named());
            let mode = object.class.mode();
            let sent = object.message.send(host, &links.names, mode, &act, &more);
            faults.extend(sent.err());
        }
        faults
    }
}

/// Whole seconds between two moments of one boot; of different boots, nothing is known to be left.
pub(super) fn elapsed_s(then: &Now, now: &Now) -> u32 {
    if then.boot_id != now.boot_id {
        return u32::MAX - 1;
    }
    u32::try_from(now.mono_ns.saturating_sub(then.mono_ns) / 1_000_000_000).unwrap_or(u32::MAX - 1)
}
