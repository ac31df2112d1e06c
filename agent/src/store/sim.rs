//! A disk that can be crashed: what was appended but not synced may be lost, in order, at any point.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Store;
use crate::{
    fault::{Fault, Result},
    host::sim::{Blow, Crash, Injection, Moment, Random},
};

/// The simulated state directory. Outlives the simulated process.
pub struct SimStore {
    state: Mutex<State>,
}

struct State {
    durable: Vec<Vec<u8>>,
    /// Appended, not synced: a prefix of it survives a crash.
    pending: Vec<Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    epoch: u64,
    calls: u64,
    injections: Vec<Injection>,
    full: bool,
    random: Random,
}

impl SimStore {
    /// An empty directory; `seed` decides how much of what was not synced survives a crash.
    pub fn new(seed: u64) -> SimStore {
        SimStore {
            state: Mutex::new(State {
                durable: Vec::new(),
                pending: Vec::new(),
                blobs: BTreeMap::new(),
                epoch: 0,
                calls: 0,
                injections: Vec::new(),
                full: false,
                random: Random::new(seed),
            }),
        }
    }

    /// Store calls so far: append, sync, entries, put, get and epoch each count one.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    pub fn inject(&self, injections: impl IntoIterator<Item = Injection>) {
        self.lock().injections.extend(injections);
    }

    /// From now on nothing more fits: append, sync of new bytes and put fail with ENOSPC.
    pub fn fill(&self) {
        self.lock().full = true;
    }

    /// Room again.
    pub fn empty_trash(&self) {
        self.lock().full = false;
    }

    /// The process or the power is gone: of what was not synced, the first few entries survive.
    pub fn restart(&self) {
        let mut state = self.lock();
        let most = state.pending.len() as u64 + 1;
        let survivors = usize::try_from(state.random.below(most)).unwrap_or(0);
        let pending = std::mem::take(&mut state.pending);
        state.durable.extend(pending.into_iter().take(survivors));
    }

    /// What taking the writer's lock does: a new epoch, durable.
    pub fn take_epoch(&self) -> Result<u64> {
        let mut state = self.lock();
        state.epoch += 1;
        Ok(state.epoch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // An injected crash unwinds with the lock held; every change is whole by then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call: fails or crashes before or after `act`, where that was injected.
    fn call<T>(&self, act: &str, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.lock();
        let call = state.calls;
        state.calls += 1;
        let hit = state.injections.iter().position(|injection| injection.call == call);
        let hit = hit.map(|index| state.injections.swap_remove(index));
        let strike = |blow: Blow| match blow {
            Blow::Fail(errno) => Fault::errno(act, errno, None),
            Blow::Crash => std::panic::panic_any(Crash { call }),
        };
        match hit {
            Some(Injection { moment: Moment::Before, blow, .. }) => Err(strike(blow)),
            Some(Injection { moment: Moment::After, blow, .. }) => {
                let _ = work(&mut state);
                Err(strike(blow))
            }
            None => work(&mut state),
        }
    }
}

fn no_room(state: &State, act: &str) -> Result<()> {
    if state.full { Err(Fault::errno(act, libc::ENOSPC, None)) } else { Ok(()) }
}

impl Store for SimStore {
    fn append(&self, entries: &[Vec<u8>]) -> Result<()> {
        self.call("append to the log", |state| {
            no_room(state, "append to the log")?;
            state.pending.extend_from_slice(entries);
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        self.call("sync the log", |state| {
            let pending = std::mem::take(&mut state.pending);
            state.durable.extend(pending);
            Ok(())
        })
    }

    fn entries(&self) -> Result<Vec<Vec<u8>>> {
        self.call("read the log", |state| {
            Ok(state.durable.iter().chain(&state.pending).cloned().collect())
        })
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.call("write a file", |state| {
            no_room(state, "write a file")?;
            state.blobs.insert(name.to_owned(), bytes.to_vec());
            Ok(())
        })
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.call("read a file", |state| Ok(state.blobs.get(name).cloned()))
    }

    fn epoch(&self) -> Result<u64> {
        self.call("read the epoch", |state| Ok(state.epoch))
    }
}
