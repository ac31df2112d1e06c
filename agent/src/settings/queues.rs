//! Queues, the NAPI instances that serve them and the interrupts that wake those.
//!
//! Since Linux 6.8 netdev-genl tells all three; nothing is kept by NAPI id or IRQ number, which change
//! when a driver re-opens its queues: the identity of an instance is its place in queue order.
//! Source: Documentation/netlink/specs/netdev.yaml, net/core/netdev-genl.c.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Genl, Host, Mode, Nic,
        tlv::{Attrs, Writer},
    },
};

/// More queues than any NIC has.
const QUEUES_MAX: usize = 4096;

const CMD_QUEUE_GET: u8 = 10;
const CMD_NAPI_GET: u8 = 11;

const QUEUE_ID: u16 = 1;
const QUEUE_IFINDEX: u16 = 2;
const QUEUE_TYPE: u16 = 3;
const QUEUE_NAPI_ID: u16 = 4;
/// NETDEV_QUEUE_TYPE_RX; transmit is 1.
const TYPE_RX: u64 = 0;

const NAPI_IFINDEX: u16 = 1;
const NAPI_ID: u16 = 2;
const NAPI_IRQ: u16 = 3;

/// Receive or transmit, as sysfs names the queues' directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    Rx,
    Tx,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Direction::Rx => "rx",
            Direction::Tx => "tx",
        }
    }
}

/// A NAPI instance, with whatever the kernel tells of it by attribute number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Napi {
    /// Good until the driver re-opens its queues; never kept.
    pub id: u32,
    pub irq: Option<u32>,
    /// The lowest queue it serves, receive before transmit; `None` where the driver does not say.
    pub queue: Option<(u32, Direction)>,
    /// NETDEV_A_NAPI_* to its number.
    pub attrs: BTreeMap<u16, u64>,
}

/// The NAPI instances of every interface, in queue order: what two dumps tell.
#[derive(Debug, Clone, Default)]
pub struct Napis(BTreeMap<u32, Vec<Napi>>);

impl Napis {
    /// Of all interfaces of the namespace that are up. Unsupported before Linux 6.8.
    pub fn of_all(host: &dyn Host) -> Result<Napis> {
        Napis::dump(host, &Writer::new(), &Writer::new())
    }

    /// Of one interface.
    pub fn of_one(host: &dyn Host, ifindex: u32) -> Result<Napis> {
        let (mut queue, mut napi) = (Writer::new(), Writer::new());
        queue.u32(QUEUE_IFINDEX, ifindex);
        napi.u32(NAPI_IFINDEX, ifindex);
        Napis::dump(host, &queue, &napi)
    }

    /// The instances of one interface, in queue order; none where it is down or has no NAPI.
    pub fn of(&self, ifindex: u32) -> &[Napi] {
        self.0.get(&ifindex).map_or(&[], Vec::as_slice)
    }

    fn dump(host: &dyn Host, queue: &Writer, napi: &Writer) -> Result<Napis> {
        let ask = |command, payload: &Writer| {
            let payload = payload.as_bytes().to_vec();
            host.request(&Ask::Genl { family: Genl::Netdev, command, mode: Mode::Dump, payload })
        };
        let queues = served(&ask(CMD_QUEUE_GET, queue)?);
        let mut napis: BTreeMap<u32, Vec<Napi>> = BTreeMap::new();
        for answer in ask(CMD_NAPI_GET, napi)? {
            let attrs: BTreeMap<u16, u64> =
                Attrs(&answer).filter_map(|attr| Some((attr.kind, attr.number()?))).collect();
            let number = |kind: u16| u32::try_from(*attrs.get(&kind)?).ok();
            let (Some(ifindex), Some(id)) = (number(NAPI_IFINDEX), number(NAPI_ID)) else {
                continue;
            };
            let queue = queues.get(&id).copied();
            napis.entry(ifindex).or_default().push(Napi {
                id,
                irq: number(NAPI_IRQ),
                queue,
                attrs,
            });
        }
        for instances in napis.values_mut() {
            // Instances whose queue is not told follow in the order in which they were made.
            instances.sort_by_key(|napi| (napi.queue.is_none(), napi.queue, napi.id));
        }
        Ok(Napis(napis))
    }
}

/// NAPI id to the lowest queue it serves; receive queues go before transmit queues of the same number.
fn served(answers: &[Vec<u8>]) -> BTreeMap<u32, (u32, Direction)> {
    let mut queues: BTreeMap<u32, (u32, Direction)> = BTreeMap::new();
    for answer in answers {
        let number = |kind: u16| Attrs(answer).find(kind).and_then(|attr| attr.number());
        let id = |kind: u16| number(kind).and_then(|n| u32::try_from(n).ok());
        let (Some(queue), Some(napi)) = (id(QUEUE_ID), id(QUEUE_NAPI_ID)) else { continue };
        let direction = match number(QUEUE_TYPE) {
            Some(TYPE_RX) => Direction::Rx,
            Some(_) | None => Direction::Tx,
        };
        let lowest = queues.entry(napi).or_insert((queue, direction));
        *lowest = (*lowest).min((queue, direction));
    }
    queues
}

/// `/sys/class/net/eth1/queues/rx-0/rps_cpus` for every queue of this direction, in queue order.
pub fn files(host: &dyn Host, nic: &Nic, direction: Direction, file: &str) -> Result<Vec<PathBuf>> {
    let folder = PathBuf::from(format!("/sys/class/net/{}/queues", nic.name));
    let names = host.list(&folder)?;
    let prefix = format!("{}-", direction.word());
    let mut numbers: Vec<u32> =
        names.iter().filter_map(|name| name.strip_prefix(&prefix)?.parse().ok()).collect();
    numbers.sort_unstable();
    if numbers.is_empty() || numbers.len() > QUEUES_MAX {
        let cause = format!("it has {} such queues", numbers.len());
        let act = format!("list the {} queues of {}", direction.word(), nic.name);
        return Err(Fault::new(Kind::Unsupported, act, cause));
    }
    Ok(numbers.iter().map(|n| folder.join(format!("{prefix}{n}")).join(file)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(napi: u32, queue: u32, direction: u32) -> Vec<u8> {
        let mut attrs = Writer::new();
        attrs.u32(QUEUE_ID, queue).u32(QUEUE_IFINDEX, 7).u32(QUEUE_TYPE, direction);
        attrs.u32(QUEUE_NAPI_ID, napi);
        attrs.into_bytes()
    }

    #[test]
    fn an_instance_is_known_by_its_lowest_queue() {
        let served =
            served(&[queue(90, 1, 0), queue(80, 0, 0), queue(80, 0, 1), queue(85, 0, 1), vec![1]]);
        assert_eq!(served[&80], (0, Direction::Rx));
        assert_eq!(served[&85], (0, Direction::Tx));
        assert_eq!(served[&90], (1, Direction::Rx));
    }
}
