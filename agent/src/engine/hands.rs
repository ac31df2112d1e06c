//! Reading and writing settings for a run: fenced, on the right NIC, read back.

use std::time::Duration;

use playbooks::{Name, Value, vocabulary::Scope};

use super::{Engine, Telling};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Nic, NicId, nic},
    log::ReadBack,
    plan::Step,
    run::{Event, Run},
    setting::{Current, family_of},
    settings::sysctl,
};

/// A driver that is busy (EBUSY: a reset, another ethtool) is asked again: 20, 40, 80, 160 ms later.
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

impl Engine<'_> {
    pub(super) fn write(&mut self, run: &mut Run, step: &Step) -> Event {
        let before = self.host.now().mono_ns;
        let failed = self.write_fenced(run, step).err();
        let names: Vec<Name> = step.batch.iter().map(|change| change.name.clone()).collect();
        let values =
            if run.is_returning() { self.read(run, &names) } else { self.in_force(run, &names) };
        let nanoseconds = self.host.now().mono_ns.saturating_sub(before);
        let mut results = Vec::new();
        for (name, read) in values {
            let Some(change) = step.batch.iter().find(|change| change.name == name) else {
                continue;
            };
            let (got, fault) = match read {
                Ok(value) => (Some(value), None),
                Err(fault) => (None, Some(fault.to_string())),
            };
            results.push(ReadBack { name, asked: change.to.clone(), got, fault });
        }
        Event::Wrote { failed, results, nanoseconds }
    }

    /// What a write has come to: the value in force, where that is not the one configured (a feature
    /// that is wanted on and held off by another).
    fn in_force(&mut self, run: &mut Run, names: &[Name]) -> Vec<(Name, Result<Value>)> {
        if let Err(fault) = self.recognise(run) {
            return names.iter().map(|name| (name.clone(), Err(fault.clone()))).collect();
        }
        let force = |current: Current| current.effective.unwrap_or(current.value);
        read_currents(self.host, &run.nic, names)
            .into_iter()
            .map(|(name, read)| (name, read.map(force)))
            .collect()
    }

    fn write_fenced(&mut self, run: &mut Run, step: &Step) -> Result<()> {
        self.fence(run)?;
        let anywhere = run.is_returning() && step.batch.iter().all(|c| needs_no_nic(&c.name));
        if !anywhere {
            self.recognise(run)?;
        }
        let Some(first) = step.batch.first() else { return Ok(()) };
        let family = family_of(&first.name)?;
        // Told once it may be done: a writer that has been replaced says nothing.
        let what: Vec<String> =
            step.batch.iter().map(|c| format!("{} {} -> {}", c.name, c.from, c.to)).collect();
        (self.tell)(&Telling::Writing { what: what.join(", ") });
        let mut pause = BUSY_PAUSE;
        for _ in 1..BUSY_TRIES {
            match family.write(self.host, &run.nic, &step.batch) {
                Err(fault) if fault.kind == Kind::Busy => self.host.wait(pause),
                done => return done,
            }
            pause *= 2;
            // Time has passed: another writer may have taken over, the NIC may be another.
            self.fence(run)?;
            if !anywhere {
                self.recognise(run)?;
            }
        }
        family.write(self.host, &run.nic, &step.batch)
    }

    /// A writer that has been replaced may not write. On the way back an unreadable epoch is no
    /// reason to stop: reverting never waits for a disk, and whoever takes the epoch kills us first.
    pub(super) fn fence(&self, run: &Run) -> Result<()> {
        match self.store.epoch() {
            Ok(epoch) if epoch == self.epoch => Ok(()),
            Ok(epoch) => Err(self.replaced(epoch)),
            Err(_) if run.is_returning() => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Each setting as it is now, on the NIC that the run is about and no other.
    pub(super) fn read(&mut self, run: &mut Run, names: &[Name]) -> Vec<(Name, Result<Value>)> {
        let Err(fault) = self.recognise(run) else {
            return read_values(self.host, &run.nic, names);
        };
        // A NIC that is gone takes its own settings with it; the namespace's and the host's are there.
        let (there, gone): (Vec<Name>, Vec<Name>) =
            names.iter().cloned().partition(|name| run.is_returning() && needs_no_nic(name));
        let mut values = read_values(self.host, &run.nic, &there);
        values.extend(gone.into_iter().map(|name| (name, Err(fault.clone()))));
        values
    }

    /// The NIC under its name must be the NIC. On the way back one that was renamed is found again by
    /// its identity, a virtual one, whose name is part of that, by its index; on the way forward it is refused.
    fn recognise(&self, run: &mut Run) -> Result<()> {
        let cause = match nic::identify(self.host, &run.nic.name) {
            Ok((id, ifindex)) if id == run.nic.id => {
                run.nic.ifindex = ifindex;
                return Ok(());
            }
            Ok((id, index)) if run.is_returning() && is_renamed(&run.nic, &id, index) => {
                return Ok(());
            }
            Ok((id, _)) => format!("{} is now {id}", run.nic.name),
            Err(fault) => fault.to_string(),
        };
        if run.is_returning()
            && let Some(found) = again(self.host, &run.nic)
        {
            run.nic = Nic { id: run.nic.id.clone(), ..found };
            return Ok(());
        }
        Err(Fault::new(Kind::Gone, format!("find the NIC {}", run.nic.id), cause))
    }
}

/// A kernel parameter belongs to the namespace or the host, whatever became of the NIC; but one that
/// names an interface went with it.
fn needs_no_nic(name: &Name) -> bool {
    match name.setting().scope {
        Scope::Netns | Scope::Host => sysctl::interface_of(name).is_none(),
        Scope::Nic | Scope::Device => false,
    }
}

/// The NIC as it is called now. An index is given to one interface only in the life of a namespace, unless
/// somebody asks for it by number, who would have to copy the MAC, too.
fn again(host: &dyn crate::host::Host, known: &Nic) -> Option<Nic> {
    let all = nic::all(host).ok()?;
    let same = all.iter().position(|nic| nic.id == known.id);
    let same = same.or_else(|| all.iter().position(|n| is_renamed(known, &n.id, n.ifindex)));
    all.into_iter().nth(same?)
}

/// Whether what is there is the known virtual NIC under another name.
fn is_renamed(known: &Nic, id: &NicId, index: u32) -> bool {
    index != 0 && index == known.ifindex && id.is_renamed(&known.id)
}

/// The NIC with this identity, under whatever name, in this network namespace.
pub(crate) fn by_id(host: &dyn crate::host::Host, id: &NicId) -> Option<Nic> {
    nic::all(host).ok()?.into_iter().find(|nic| nic.id == *id)
}

/// Reads settings of several families, family by family, in the order asked.
pub(crate) fn read_values(
    host: &dyn crate::host::Host,
    nic: &Nic,
    names: &[Name],
) -> Vec<(Name, Result<Value>)> {
    read_currents(host, nic, names)
        .into_iter()
        .map(|(name, read)| (name, read.map(|current| current.value)))
        .collect()
}

fn read_currents(
    host: &dyn crate::host::Host,
    nic: &Nic,
    names: &[Name],
) -> Vec<(Name, Result<Current>)> {
    let mut values: Vec<(Name, Result<Current>)> = Vec::with_capacity(names.len());
    let mut rest = names;
    while let Some(first) = rest.first() {
        let same = |n: &Name| n.family() == first.family();
        let end = rest.iter().position(|n| !same(n)).unwrap_or(rest.len());
        let (group, tail) = rest.split_at(end);
        rest = tail;
        match family_of(first) {
            Ok(family) => {
                values.extend(group.iter().cloned().zip(family.read(host, nic, group)));
            }
            Err(fault) => {
                values.extend(group.iter().map(|name| (name.clone(), Err(fault.clone()))));
            }
        }
    }
    values
}
