//! `irq.affinity`: which CPU serves which queue's interrupt. One CPU list an interrupt, in queue order.
//!
//! Which interrupt is which queue's comes from netdev-genl where the driver tells it, else from the
//! names that drivers give their vectors. Interrupt numbers are looked up anew for every read and
//! write and never kept: they change when a driver asks for its vectors again.

use std::path::{Path, PathBuf};

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};

use super::{
    cpus::{self, Cpus, Share},
    plain,
    queues::Napis,
    vectors::{self, Vector},
    words,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic},
    setting::{Change, Current, Family, Readings},
};

pub struct Irq;

const NAME: &str = "irq.affinity";

/// The kernel's largest process id is below this (PID_MAX_LIMIT).
const PROCESSES_MAX: usize = 1 << 22;

/// Whether irqbalance runs: it would move the interrupts again. Looks at process names only.
pub fn irqbalance_running(host: &dyn Host) -> bool {
    let names = host.list(Path::new("/proc")).unwrap_or_default();
    let processes = names.iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    processes.take(PROCESSES_MAX).any(|process| {
        let comm = host.read(&Path::new("/proc").join(process).join("comm"));
        comm.is_ok_and(|comm| comm.trim() == "irqbalance")
    })
}

impl Family for Irq {
    fn name(&self) -> &'static str {
        "irq"
    }

    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        let Some(name) = plain::name(NAME) else { return vec![Readings::default(); nics.len()] };
        let napis = Napis::of_all(host).unwrap_or_default();
        let of = |nic| {
            let current = vectors::of(host, nic, &napis).and_then(|v| current(host, nic, &v));
            plain::readings([(name.clone(), current)])
        };
        nics.iter().map(of).collect()
    }

    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        let one = || own_vectors(host, nic).and_then(|vectors| current(host, nic, &vectors));
        names.iter().map(|_| one()).collect()
    }

    fn resolve(
        &self,
        host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        _now: &Current,
    ) -> Result<Value> {
        let act = plain::setting(name, &nic.name);
        let vectors = own_vectors(host, nic).map_err(|fault| fault.during(&act))?;
        let queues: Vec<u32> = vectors.iter().map(|vector| vector.queue).collect();
        let lists = match cpus::share(host, nic, wanted, &act)? {
            Share::Dealt(cpus) => cpus.deal(&queues),
            Share::Each(lists) => lists,
            Share::Default => vec![default_list(host)?; queues.len()],
        };
        if lists.len() != queues.len() {
            let cause = format!("{} lists for {} interrupts", lists.len(), queues.len());
            return Err(Fault::new(Kind::Invalid, act, cause));
        }
        match lists.iter().any(String::is_empty) {
            true => Err(Fault::new(Kind::Invalid, act, "an interrupt needs at least one CPU")),
            false => Ok(Value::Texts(lists)),
        }
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        plain::one_by_one(changes)
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        for change in batch {
            let act = plain::change(change, &nic.name);
            let Value::Texts(lists) = &change.to else {
                return Err(plain::wrong_kind(change, &nic.name));
            };
            let vectors = own_vectors(host, nic).map_err(|fault| fault.during(&act))?;
            if vectors.len() != lists.len() {
                let cause = format!("it has {} interrupts now, not {}", vectors.len(), lists.len());
                return Err(Fault::new(Kind::Gone, act, cause));
            }
            for (vector, list) in vectors.iter().zip(lists) {
                put(host, vector, list, &act)?;
            }
        }
        Ok(())
    }

    fn disruption(&self, _nic: &Nic, name: &Name) -> Disruption {
        name.setting().disruption
    }

    fn disturbs(&self, _nic: &Nic, name: &Name) -> Vec<&'static str> {
        name.setting().disturbs.to_vec()
    }

    fn by_hand(&self, nic: &Nic, batch: &[Change]) -> Vec<String> {
        let line = |change: &Change| match (&change.to, &nic.pci) {
            (Value::Texts(lists), Some(pci)) => Some(by_name(pci, lists)),
            (Value::Texts(_), None)
            | (Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Numbers(_), _) => None,
        };
        batch.iter().filter_map(line).collect()
    }
}

/// A shell line that finds the interrupts by their names, as [`vectors`] does, since numbers change:
/// sorts them by queue, receive before transmit, and gives each its CPUs.
fn by_name(pci: &str, lists: &[String]) -> String {
    let irqs = format!("/sys/bus/pci/devices/{}/msi_irqs", words::quote(pci));
    // Only CPU lists get into the line, whatever the change says.
    let lists: Vec<String> =
        lists.iter().filter_map(|list| Some(Cpus::from_list(list).ok()?.list())).collect();
    let cpus = lists.join(" ");
    if let [only] = lists.as_slice() {
        return format!(
            "for i in $(ls {irqs}); do echo {only} > /proc/irq/$i/smp_affinity_list; done"
        );
    }
    let queue = "s/^.*(comp|fp|rx|tx|input|output)[-.]?([0-9]+)(@.*)? ([0-9]+)$/\\2 \\1 \\4/Ip";
    format!(
        "for i in $(ls {irqs}); do echo \"$(cat /sys/kernel/irq/$i/actions) $i\"; done | \
         sed -nE '{queue}' | sort -k1,1n -k2,2 | while read -r queue kind i; do echo $i; done | \
         for c in {cpus}; do read -r i && echo $c > /proc/irq/$i/smp_affinity_list; done"
    )
}

fn own_vectors(host: &dyn Host, nic: &Nic) -> Result<Vec<Vector>> {
    let napis = Napis::of_one(host, nic.ifindex).unwrap_or_default();
    vectors::of(host, nic, &napis)
}

fn file(vector: &Vector) -> PathBuf {
    PathBuf::from(format!("/proc/irq/{}/smp_affinity_list", vector.irq))
}

fn current(host: &dyn Host, nic: &Nic, vectors: &[Vector]) -> Result<Current> {
    let act = format!("read {NAME} of {}", nic.name);
    let list = |vector: &Vector| {
        let text = host.read(&file(vector))?;
        Cpus::from_list(&text).map(|cpus| cpus.list())
    };
    let lists: Result<Vec<String>> = vectors.iter().map(list).collect();
    lists.map(|lists| Current::of(Value::Texts(lists))).map_err(|fault| fault.during(act))
}

fn put(host: &dyn Host, vector: &Vector, list: &str, act: &str) -> Result<()> {
    let wanted = Cpus::from_list(list).map_err(|fault| fault.during(act))?;
    let file = file(vector);
    // A managed interrupt refuses every write, also of what it is already.
    if host.read(&file).and_then(|now| Cpus::from_list(&now)).is_ok_and(|now| now == wanted) {
        return Ok(());
    }
    host.write(&file, &wanted.list()).map_err(|fault| {
        let act = format!("{act} (queue {}, interrupt {})", vector.queue, vector.irq);
        // EIO is irq_can_set_affinity_usr's word (kernel/irq/proc.c write_irq_affinity).
        match fault.cause.contains("(EIO)") {
            true => {
                let cause = "the kernel manages this interrupt's affinity itself (EIO)";
                Fault::new(Kind::Denied, act, cause)
            }
            false => fault.during(act),
        }
    })
}

/// Where the kernel puts interrupts nobody has moved.
fn default_list(host: &dyn Host) -> Result<String> {
    let mask = host.read(Path::new("/proc/irq/default_smp_affinity"))?;
    Ok(Cpus::from_mask(&mask)?.list())
}
