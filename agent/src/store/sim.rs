//! A disk that can be crashed: what was not synced may be lost, calls fail, space runs out.
//!
//! It dies together with the simulated machine it is tied to: a crash in either is the end of the one
//! process, and neither then does anything more until both are restarted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Fate, Handed, Store, bundle};
use crate::{
    fault::{Fault, Kind, Result},
    host::sim::{Blow, Crash, Injection, Moment, Random, Sim},
};

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Killed: the kernel still writes out what it was given.
    Killed,
    /// The power failed: of what was not synced, a prefix survives, and perhaps a torn entry after it.
    PowerLoss,
}

/// The simulated store.
pub struct SimStore {
    disk: Mutex<Disk>,
    sim: Option<Arc<Sim>>,
}

struct Disk {
    /// The log's bytes, as entry bundles put one after the other.
    log: Vec<u8>,
    durable: usize,
    blobs: BTreeMap<String, Vec<u8>>,
    /// What other processes handed over, and what became of what was none.
    spool: BTreeMap<String, Vec<u8>>,
    aside: BTreeMap<String, Vec<u8>>,
    epoch: u64,
    calls: u64,
    injections: Vec<Injection>,
    full: bool,
    dead: bool,
    random: Random,
    torn: bool,
}

impl SimStore {
    /// An empty store. `seed` decides what survives a crash.
    pub fn new(seed: u64) -> SimStore {
        let disk = Disk {
            log: Vec::new(),
            durable: 0,
            blobs: BTreeMap::new(),
            spool: BTreeMap::new(),
            aside: BTreeMap::new(),
            epoch: 0,
            calls: 0,
            injections: Vec::new(),
            full: false,
            dead: false,
            random: Random::new(seed),
            torn: false,
        };
        SimStore { disk: Mutex::new(disk), sim: None }
    }

    /// The same process drives this machine: each dies with the other.
    pub fn tied_to(mut self, sim: Arc<Sim>) -> SimStore {
        self.sim = Some(sim);
        self
    }

    /// Calls so far: every call of [`Store`] counts one.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Lets these happen, besides those set before.
    pub fn inject(&self, injections: impl IntoIterator<Item = Injection>) {
        self.lock().injections.extend(injections);
    }

    /// Takes back every injection that has not happened; gives how many there were.
    pub fn disarm(&self) -> usize {
        std::mem::take(&mut self.lock().injections).len()
    }

    /// The process is gone, killed or with the power, as the seed has it.
    pub fn restart(&self) {
        let end = if self.lock().random.one_in(2) { End::Killed } else { End::PowerLoss };
        self.restart_after(end);
    }

    /// The next process finds what this end left: a torn tail is cut off.
    pub fn restart_after(&self, end: End) {
        let mut disk = self.lock();
        match end {
            End::Killed => disk.durable = disk.log.len(),
            End::PowerLoss => {
                let unsynced = (disk.log.len() - disk.durable) as u64;
                let survives = disk.durable + disk.random.below(unsynced + 1) as usize;
                disk.log.truncate(survives);
            }
        }
        let whole = disk.whole();
        disk.torn = whole < disk.log.len();
        disk.log.truncate(whole);
        disk.durable = whole;
        disk.dead = false;
    }

    /// Whether the last restart found a torn entry.
    pub fn torn(&self) -> bool {
        self.lock().torn
    }

    /// From now on nothing more fits: append and put fail with ENOSPC.
    pub fn fill(&self) {
        self.lock().full = true;
    }

    /// Room again.
    pub fn empty_trash(&self) {
        self.lock().full = false;
    }

    /// Another process hands something over, durably.
    pub fn hand(&self, name: &str, bytes: &[u8]) {
        self.lock().spool.insert(name.to_owned(), bytes.to_vec());
    }

    /// The names of what waits for the writer, and of what was put aside.
    pub fn spool(&self) -> (Vec<String>, Vec<String>) {
        let disk = self.lock();
        (disk.spool.keys().cloned().collect(), disk.aside.keys().cloned().collect())
    }

    /// What opening for writing does, in this process or another: a new epoch, durable.
    pub fn take_epoch(&self) -> Result<u64> {
        let mut disk = self.lock();
        disk.epoch += 1;
        Ok(disk.epoch)
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // No invariant spans an unwinding: a crash is thrown only after the lock is released.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<T>(&self, act: &str, work: impl FnOnce(&mut Disk) -> Result<T>) -> Result<T> {
        let failed = |errno| Err(Fault::errno(act, errno, None));
        let mut disk = self.lock();
        if disk.dead || self.sim.as_ref().is_some_and(|sim| sim.is_dead()) {
            return failed(libc::ESHUTDOWN);
        }
        let call = disk.calls;
        disk.calls += 1;
        let outcome = match disk.blow(call, Moment::Before) {
            Some(Blow::Crash) => None,
            Some(Blow::Fail(errno)) => Some(failed(errno)),
            None => {
                let done = work(&mut disk);
                match disk.blow(call, Moment::After) {
                    Some(Blow::Crash) => None,
                    Some(Blow::Fail(errno)) => Some(failed(errno)),
                    None => Some(done),
                }
            }
        };
        if let Some(done) = outcome {
            return done;
        }
        disk.dead = true;
        drop(disk);
        if let Some(sim) = &self.sim {
            sim.kill();
        }
        std::panic::resume_unwind(Box::new(Crash { call }))
    }
}

impl Disk {
    fn blow(&mut self, call: u64, moment: Moment) -> Option<Blow> {
        let at = self.injections.iter().position(|i| i.call == call && i.moment == moment)?;
        Some(self.injections.swap_remove(at).blow)
    }

    fn whole(&self) -> usize {
        self.entries().iter().map(|entry| bundle::encoded_bytes(entry)).sum()
    }

    /// Bundle by bundle, as the real store reads them.
    fn entries(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = Vec::new();
        let mut rest = self.log.as_slice();
        while let Some(length) = rest.first_chunk::<2>() {
            let end = 2 + usize::from(u16::from_be_bytes(*length));
            let Some(entry) = rest.get(2..end) else { break };
            all.push(entry.to_vec());
            rest = &rest[end..];
        }
        all
    }

    fn room(&self, act: &str) -> Result<()> {
        match self.full {
            true => Err(Fault::errno(act, libc::ENOSPC, None)),
            false => Ok(()),
        }
    }
}

impl Store for SimStore {
    fn append(&self, entries: &[Vec<u8>]) -> Result<()> {
        let act = "append to the log";
        self.call(act, |disk| {
            if entries.iter().any(|entry| !bundle::fits(entry)) {
                return Err(Fault::new(Kind::Invalid, act, "an entry is too long or no JSON text"));
            }
            disk.room(act)?;
            disk.log.extend(bundle::encode(entries));
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        let done = self.call("sync the log", |disk| {
            disk.durable = disk.log.len();
            Ok(())
        });
        if done.is_err() {
            // As the real store: what a failed sync did not make durable does not count as there.
            let mut disk = self.lock();
            let durable = disk.durable;
            disk.log.truncate(durable);
        }
        done
    }

    fn entries(&self) -> Result<Vec<Vec<u8>>> {
        self.call("read the log", |disk| Ok(disk.entries()))
    }

    fn handed_over(&self) -> Result<Vec<Handed>> {
        // Where nothing waits there is nothing to fail.
        if self.lock().spool.is_empty() {
            return Ok(Vec::new());
        }
        let handed = |(name, bytes): (&String, &Vec<u8>)| Handed {
            name: name.clone(),
            found: Ok(bytes.clone()),
        };
        self.call("list the spool", |disk| Ok(disk.spool.iter().map(handed).collect()))
    }

    fn settle(&self, name: &str, fate: Fate) -> Result<()> {
        self.call(&format!("take up {name}"), |disk| {
            let bytes = disk.spool.remove(name);
            if let (Some(bytes), Fate::Refused) = (bytes, fate) {
                disk.aside.insert(name.to_owned(), bytes);
            }
            Ok(())
        })
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let act = format!("store {name}");
        self.call(&act, |disk| {
            disk.room(&act)?;
            disk.blobs.insert(name.to_owned(), bytes.to_vec());
            Ok(())
        })
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.call(&format!("read {name} of the store"), |disk| Ok(disk.blobs.get(name).cloned()))
    }

    fn epoch(&self) -> Result<u64> {
        self.call("read the epoch", |disk| Ok(disk.epoch))
    }
}
