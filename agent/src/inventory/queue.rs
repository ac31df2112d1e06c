//! Queues with their NAPI instances, interrupts and CPUs: two netdev-genl dumps, then the files of
//! each device's interrupts.
//!
//! Source: Documentation/netlink/specs/netdev.yaml; Documentation/core-api/irq/irq-affinity.rst.

use std::{collections::BTreeMap, path::Path};

use super::{Interrupt, NicFacts, Notes, Queue, link};
use crate::host::{Ask, Genl, Host, Mode, tlv::Attrs};

/// Since Linux 6.8.
const QUEUE_GET: u8 = 10;
const NAPI_GET: u8 = 11;

const QUEUE_ID: u16 = 1;
const QUEUE_IFINDEX: u16 = 2;
const QUEUE_TYPE: u16 = 3;
const QUEUE_NAPI_ID: u16 = 4;
const QUEUE_XSK: u16 = 7;
const NAPI_ID: u16 = 2;
const NAPI_IRQ: u16 = 3;

/// Names in /proc/irq/N that are the kernel's own; any other is the handler's.
const IRQ_FILES: [&str; 7] = [
    "affinity_hint",
    "effective_affinity",
    "effective_affinity_list",
    "node",
    "smp_affinity",
    "smp_affinity_list",
    "spurious",
];

/// The queues that the kernel lists, by ifindex. It lists those of interfaces that are up.
pub(super) fn dump(host: &dyn Host, notes: &mut Notes) -> BTreeMap<u32, Vec<Queue>> {
    let mut ask = |command, act| {
        let payload = Vec::new();
        let ask = Ask::Genl { family: Genl::Netdev, command, mode: Mode::Dump, payload };
        notes.or_nothing(host.request(&ask), act)
    };
    let number = |answer: &[u8], kind| {
        let number = Attrs(answer).find(kind)?.number()?;
        u32::try_from(number).ok()
    };
    let napis = ask(NAPI_GET, "list NAPI instances");
    let irqs: BTreeMap<u32, u32> = napis
        .iter()
        .filter_map(|napi| Some((number(napi, NAPI_ID)?, number(napi, NAPI_IRQ)?)))
        .collect();
    let mut queues: BTreeMap<u32, Vec<Queue>> = BTreeMap::new();
    for answer in ask(QUEUE_GET, "list queues") {
        let (Some(id), Some(ifindex), Some(kind)) = (
            number(&answer, QUEUE_ID),
            number(&answer, QUEUE_IFINDEX),
            number(&answer, QUEUE_TYPE),
        ) else {
            continue;
        };
        let napi = number(&answer, QUEUE_NAPI_ID);
        queues.entry(ifindex).or_default().push(Queue {
            name: name(kind == 0, id),
            napi,
            irq: napi.and_then(|napi| irqs.get(&napi).copied()),
            cpus: None,
            af_xdp: Attrs(&answer).find(QUEUE_XSK).is_some(),
        });
    }
    queues
}

/// The queues that a link was made with, for kernels and interfaces whose queues are not listed.
pub(super) fn made(link: &link::Entry) -> Vec<Queue> {
    let queue =
        |rx, id| Queue { name: name(rx, id), napi: None, irq: None, cpus: None, af_xdp: false };
    // A driver may reserve thousands; more than any NIC has would only be noise.
    let rx = (0..link.queues_rx.min(QUEUES_MAX)).map(|id| queue(true, id));
    let tx = (0..link.queues_tx.min(QUEUES_MAX)).map(|id| queue(false, id));
    rx.chain(tx).collect()
}

const QUEUES_MAX: u32 = 4096;

fn name(rx: bool, id: u32) -> String {
    if rx { format!("rx-{id}") } else { format!("tx-{id}") }
}

/// Adds the interrupts of the device at this PCI address, and their CPUs to the queues.
pub(super) fn interrupts(host: &dyn Host, address: &str, facts: &mut NicFacts) {
    let folder = Path::new("/sys/bus/pci/devices").join(address);
    // Without MSI there is the one line that the function was wired to.
    let numbers = host
        .list(&folder.join("msi_irqs"))
        .or_else(|_| host.read(&folder.join("irq")).map(|number| vec![number.trim().to_owned()]))
        .unwrap_or_default();
    for number in numbers.iter().filter_map(|name| name.parse().ok()) {
        facts.interrupts.extend(interrupt(host, number));
    }
    facts.interrupts.sort_by_key(|interrupt| interrupt.number);
    for queue in &mut facts.queues {
        if queue.irq.is_none() {
            queue.irq = served_by(&facts.interrupts, &queue.name);
        }
        let interrupt = facts.interrupts.iter().find(|irq| Some(irq.number) == queue.irq);
        queue.cpus = interrupt.map(|interrupt| interrupt.cpus.clone());
    }
}

fn interrupt(host: &dyn Host, number: u32) -> Option<Interrupt> {
    let folder = format!("/proc/irq/{number}");
    let folder = Path::new(&folder);
    // A vector that is allocated but not requested has no folder: nothing to tell.
    let names = host.list(folder).ok()?;
    let name = names.into_iter().find(|name| !IRQ_FILES.contains(&name.as_str()));
    let cpus = |file: &str| {
        host.read(&folder.join(file)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    Some(Interrupt {
        number,
        name: name.unwrap_or_default(),
        cpus: cpus("smp_affinity_list"),
        effective_cpus: cpus("effective_affinity_list"),
    })
}

/// The interrupt whose name says that it serves this queue, where exactly one does.
///
/// Drivers end the name with the queue's number: `ice-eth0-TxRx-3`, `mlx5_comp3@pci:0000:3b:00.0`,
/// `eth0-rx-0`, `virtio2-input.0`.
fn served_by(interrupts: &[Interrupt], queue: &str) -> Option<u32> {
    let (direction, id) = queue.split_once('-')?;
    let mut serving = interrupts.iter().filter(|interrupt| {
        let name = interrupt.name.split('@').next().unwrap_or_default().to_lowercase();
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        if stem.len() == name.len() || &name[stem.len()..] != id {
            return false;
        }
        let stem = stem.trim_end_matches(['-', '.', '_']);
        let both = ["txrx", "tx-rx", "comp"].iter().any(|word| stem.ends_with(word));
        let own = match direction {
            "rx" => stem.ends_with("-rx") || stem.ends_with("input"),
            _ => stem.ends_with("-tx") || stem.ends_with("output"),
        };
        both || (own && !stem.ends_with("tx-rx"))
    });
    let first = serving.next()?;
    serving.next().is_none().then_some(first.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_matched_to_queues_by_their_names() {
        let names = [
            "ice-eth0-TxRx-0",
            "ice-eth0-TxRx-1",
            "eth0",
            "mlx5_comp7@pci:0000:3b:00.0",
            "eth0-rx-3",
            "virtio2-output.4",
            "mlx5_async9@pci:0000:3b:00.0",
        ];
        let interrupts: Vec<Interrupt> = names
            .iter()
            .zip(20..)
            .map(|(name, number)| Interrupt {
                number,
                name: (*name).to_owned(),
                cpus: String::new(),
                effective_cpus: String::new(),
            })
            .collect();
        let at = |queue| served_by(&interrupts, queue);
        assert_eq!((at("rx-0"), at("tx-0")), (Some(20), Some(20)));
        assert_eq!(at("rx-1"), Some(21));
        assert_eq!(at("rx-7"), Some(23));
        assert_eq!((at("rx-3"), at("tx-3")), (Some(24), None));
        assert_eq!((at("rx-4"), at("tx-4")), (None, Some(25)));
        assert_eq!(at("rx-9"), None);
    }
}
