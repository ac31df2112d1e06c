//! Which interrupt belongs to which queue.

use std::path::Path;

use super::queues::{Direction, Napis};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic},
};

/// More interrupts than one PCI function can have (PCIe MSI-X).
const VECTORS_MAX: usize = 2048;

/// An interrupt that wakes a queue, or a pair of queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vector {
    /// The queue's place among the NIC's queues of its kind, from 0.
    pub queue: u32,
    /// Good until the driver asks for its interrupts again; never kept.
    pub irq: u32,
}

/// What a vector's name says it wakes: which queues, and the driver's number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Served {
    number: u32,
    /// A transmit queue alone. A pair counts as receive.
    direction: Direction,
}

/// The interrupts of a NIC's queues, in queue order, receive before transmit. `napis` is what
/// netdev-genl told, maybe nothing.
pub fn of(host: &dyn Host, nic: &Nic, napis: &Napis) -> Result<Vec<Vector>> {
    match by_napi(nic, napis) {
        Some(vectors) => Ok(vectors),
        None => by_name(host, nic),
    }
}

/// By netdev-genl, where it names a queue and an interrupt for every instance that has a queue.
fn by_napi(nic: &Nic, napis: &Napis) -> Option<Vec<Vector>> {
    let queued = napis.of(nic.ifindex).iter().filter_map(|napi| Some((napi.queue?, napi.irq)));
    let mut vectors = Vec::new();
    for ((queue, _), irq) in queued {
        let vector = Vector { queue, irq: irq.filter(|&irq| irq > 0)? };
        // Two instances may share an interrupt.
        if !vectors.iter().any(|known: &Vector| known.irq == vector.irq) {
            vectors.push(vector);
        }
    }
    (!vectors.is_empty()).then_some(vectors)
}

/// By the names of the interrupts of the NIC's device.
fn by_name(host: &dyn Host, nic: &Nic) -> Result<Vec<Vector>> {
    let act = format!("find the interrupts of {}", nic.name);
    let none = |cause: &str| Fault::new(Kind::Unsupported, &act, cause);
    let irqs = numbers(host, nic);
    let named: Vec<(Served, u32)> = match irqs.as_slice() {
        [] => return Err(none("it has no interrupts of its own")),
        // One interrupt serves everything, whatever it is called.
        [irq] => vec![(Served { number: 0, direction: Direction::Rx }, *irq)],
        [_, _, ..] => {
            let names = names(host, &irqs);
            let named = names.iter().filter_map(|(irq, name)| Some((served(name, nic)?, *irq)));
            named.collect()
        }
    };
    if named.is_empty() {
        return Err(none("none of its interrupts is named after a queue"));
    }
    Ok(placed(named))
}

/// In queue order. Drivers that count from 1 (tg3) or leave numbers out are counted from 0.
fn placed(mut named: Vec<(Served, u32)>) -> Vec<Vector> {
    named.sort_unstable();
    let mut numbers: Vec<u32> = named.iter().map(|(served, _)| served.number).collect();
    numbers.dedup();
    let place = |number: u32| numbers.iter().position(|&n| n == number).unwrap_or(0);
    let vector = |&(served, irq): &(Served, u32)| Vector {
        queue: u32::try_from(place(served.number)).unwrap_or(u32::MAX),
        irq,
    };
    named.iter().map(vector).collect()
}

/// The interrupt numbers of the NIC's device, ascending.
fn numbers(host: &dyn Host, nic: &Nic) -> Vec<u32> {
    let Some(pci) = &nic.pci else { return Vec::new() };
    let device = Path::new("/sys/bus/pci/devices").join(pci);
    let names = host.list(&device.join("msi_irqs")).unwrap_or_default();
    let mut irqs: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    if irqs.is_empty() {
        // A device without MSI has one line; 0 is none.
        let text = host.read(&device.join("irq")).ok();
        let line = text.and_then(|text| text.trim().parse::<u32>().ok());
        irqs.extend(line.filter(|&irq| irq > 0));
    }
    irqs.sort_unstable();
    irqs.truncate(VECTORS_MAX);
    irqs
}

/// Each interrupt's name, from /sys/kernel/irq (Linux 4.9), else from /proc/interrupts.
fn names(host: &dyn Host, irqs: &[u32]) -> Vec<(u32, String)> {
    let action = |&irq: &u32| {
        let text = host.read(Path::new(&format!("/sys/kernel/irq/{irq}/actions"))).ok()?;
        Some((irq, text.trim().to_owned()))
    };
    let names: Vec<(u32, String)> = irqs.iter().filter_map(action).collect();
    if !names.is_empty() {
        return names;
    }
    let table = host.read(Path::new("/proc/interrupts")).unwrap_or_default();
    table.lines().filter_map(line).filter(|(irq, _)| irqs.contains(irq)).collect()
}

/// Number and name of a line of /proc/interrupts; the name is the last word.
fn line(line: &str) -> Option<(u32, String)> {
    let (irq, rest) = line.split_once(':')?;
    let name = rest.split_whitespace().next_back()?;
    Some((irq.trim().parse().ok()?, name.to_owned()))
}

/// What a driver's name for its vector says: `eth1-TxRx-0`, `ice-eth1-TxRx-0`, `eth1-rx-0`,
/// `mlx5_comp0@pci:0000:3b:00.0`, `virtio0-input.0`. `None` for the rest (mailbox, link, other).
fn served(name: &str, nic: &Nic) -> Option<Served> {
    let name = name.split('@').next()?;
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[stem.len()..].parse().ok()?;
    let stem = stem.trim_end_matches(['-', '.']).to_ascii_lowercase();
    let direction = match stem.rsplit(['-', '_', '.']).next()? {
        "txrx" | "rxtx" | "comp" | "fp" => Direction::Rx,
        "rx" | "input" => Direction::Rx,
        // ena writes `Tx-Rx`, which ends in rx as well.
        "tx" | "output" => Direction::Tx,
        // sfc names a channel of both kinds by its number alone: `eth1-0`.
        _ if nic.driver == "sfc" && stem == nic.name.to_ascii_lowercase() => Direction::Rx,
        _ => return None,
    };
    Some(Served { number, direction })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::NicId;

    fn nic(name: &str, driver: &str) -> Nic {
        Nic {
            id: NicId::Pci { address: "0000:3b:00.0".into(), serial: "x".into() },
            name: name.into(),
            ifindex: 2,
            driver: driver.into(),
            kernel_base: None,
            pci: None,
            numa: None,
        }
    }

    /// Lines as /proc/interrupts has them, of the drivers we ship playbooks for.
    const INTERRUPTS: &str = "\
           CPU0       CPU1
  24:          1          0  IO-APIC   5-edge      ACPI:Ged
  37:          0          0 PCI-MSIX-0000:00:03.0   0-edge      virtio2-config
  38:          0       6906 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
  39:       4243          0 PCI-MSIX-0000:00:03.0   2-edge      virtio2-output.0
  40:          0       6906 PCI-MSIX-0000:00:03.0   3-edge      virtio2-input.1
  41:       4243          0 PCI-MSIX-0000:00:03.0   4-edge      virtio2-output.1
 NMI:          0          0   Non-maskable interrupts
 ERR:          0
";

    #[test]
    fn the_table_gives_a_name_to_each_number() {
        let names: Vec<(u32, String)> = INTERRUPTS.lines().filter_map(line).collect();
        assert_eq!(names.len(), 6);
        assert_eq!(names[1], (37, "virtio2-config".to_owned()));
        let nic = nic("eth0", "virtio_net");
        let named = names.iter().filter_map(|(irq, name)| Some((served(name, &nic)?, *irq)));
        let vectors = placed(named.collect());
        let pairs: Vec<(u32, u32)> = vectors.iter().map(|v| (v.queue, v.irq)).collect();
        assert_eq!(pairs, [(0, 38), (0, 39), (1, 40), (1, 41)]);
    }

    #[test]
    fn every_drivers_names_are_understood() {
        let (rx, tx) = (Direction::Rx, Direction::Tx);
        for (driver, name, expected) in [
            ("igb", "eth1-TxRx-7", Some((7, rx))),
            ("igb", "eth1", None),
            ("ixgbe", "eth1-TxRx-63", Some((63, rx))),
            ("i40e", "i40e-eth1-TxRx-0", Some((0, rx))),
            ("i40e", "i40e-0000:3b:00.0:misc", None),
            ("ice", "ice-eth1-TxRx-12", Some((12, rx))),
            ("ice", "ice-0000:3b:00.0:misc", None),
            ("iavf", "iavf-eth1-TxRx-3", Some((3, rx))),
            ("mlx5_core", "mlx5_comp5@pci:0000:3b:00.0", Some((5, rx))),
            ("mlx5_core", "mlx5_async0@pci:0000:3b:00.0", None),
            ("bnxt_en", "eth1-TxRx-2", Some((2, rx))),
            ("ena", "eth1-Tx-Rx-4", Some((4, rx))),
            ("ena", "ena-mgmnt@pci:0000:00:05.0", None),
            ("e1000e", "eth1-rx-0", Some((0, rx))),
            ("e1000e", "eth1-tx-0", Some((0, tx))),
            ("tg3", "eth1-txrx-1", Some((1, rx))),
            ("tg3", "eth1-tx-0", Some((0, tx))),
            ("vmxnet3", "eth1-rxtx-1", Some((1, rx))),
            ("qede", "eth1-fp-3", Some((3, rx))),
            ("sfc", "eth1-3", Some((3, rx))),
            ("igb", "eth1-3", None),
            ("virtio_net", "virtio2-output.1", Some((1, tx))),
            ("virtio_net", "virtio2-config", None),
            ("igb", "99999999999", None),
            ("igb", "", None),
        ] {
            let expected = expected.map(|(number, direction)| Served { number, direction });
            assert_eq!(served(name, &nic("eth1", driver)), expected, "{driver} {name}");
        }
    }

    #[test]
    fn drivers_that_count_from_one_are_counted_from_zero() {
        let from = |number| (Served { number, direction: Direction::Rx }, 100 + number);
        let queues: Vec<u32> = placed(vec![from(3), from(1)]).iter().map(|v| v.queue).collect();
        assert_eq!(queues, [0, 1]);
    }
}
