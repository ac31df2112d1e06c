//! A machine that behaves: seeded faults, virtual time, real drivers' ways. Always compiled;
//! `nicmend playbook test` runs on it.
//!
//! It speaks the kernel's own bytes (ethtool, netdev and devlink generic netlink, rtnetlink,
//! SIOCETHTOOL, sysfs and procfs text) over a [`Machine`], which is plain data. It is written from the
//! uapi headers alone, apart from the code that talks to it, so that a number wrong on one side shows.
//!
//! A test holds it in an `Arc`, takes [`Sim::machine`] before and after, lets calls fail or the process
//! die at chosen call numbers ([`Sim::inject`]), and catches the death:
//!
//! ```ignore
//! sim.inject([Injection { call: 17, moment: Moment::After, blow: Blow::Crash }]);
//! let died = catch_unwind(AssertUnwindSafe(|| engine.run())).is_err();
//! sim.restart(); // the next process
//! ```

mod around;
mod ask;
mod bitset;
mod channels;
mod cpus;
mod devlink;
mod ethtool;
mod feature;
mod files;
mod firmware;
mod held;
mod hook;
mod ioctl;
mod machine;
mod meter;
mod model;
mod netdev;
mod numbers;
mod param;
mod quirk;
mod random;
mod rdma;
mod route;
mod script;
mod sockets;
mod sysctl;
mod tables;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use playbooks::Value;

use self::ask::{answer, describe};
use super::{Ask, Bearings, Clock, Host, Notice, Now, Stat, clock::Within};
use crate::fault::{Fault, Result};

pub use around::{Around, SimAddress, SimQdisc, SimRoute};
pub use machine::{
    Eee, Feature, Limited, Machine, Napi, NetdevGenl, Pause, Pci, Rss, Rule, SimNic,
};
pub use meter::{SimMeter, SimReach};
pub use model::{Effect, Traffic};
pub use param::{Param, ParamType};
pub use quirk::{Quirk, Reset};
pub use random::Random;
pub use rdma::{Maker, Owned, SimRdma};
pub use script::{Act, Blow, Event, Injection, Moment};
pub use sockets::{Protocol, SimSocket};

/// What the process dies of: the payload that a test finds in `catch_unwind`'s error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    pub call: u64,
}

/// UTC at which every simulation begins: 2026-01-05 01:30:00, nanoseconds.
const EPOCH_NS: i64 = 1_767_576_600_000_000_000;
/// What a call costs in virtual time, so that a loop that watches the clock ends.
const CALL_NS: u64 = 2_000;
const CLOCK_READ_NS: u64 = 100;
/// As a socket's receive buffer bounds the kernel's announcements.
const NOTICES_MAX: usize = 4096;

/// The simulated host.
pub struct Sim {
    state: Mutex<State>,
}

/// A refusal in the kernel's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    errno: i32,
    extack: Option<&'static str>,
}

impl Refusal {
    fn errno(errno: i32) -> Refusal {
        Refusal { errno, extack: None }
    }

    fn because(errno: i32, extack: &'static str) -> Refusal {
        Refusal { errno, extack: Some(extack) }
    }
}

/// The machine with everything about it that is not a setting.
struct State {
    machine: Machine,
    /// The NICs as they are when their driver has just been loaded, by ifindex.
    born: BTreeMap<u32, SimNic>,
    boot: Machine,
    boots: u32,
    mono_ns: u64,
    utc_ns: i64,
    calls: u64,
    injections: Vec<Injection>,
    dead: bool,
    subscribed: bool,
    notices: BTreeMap<u32, BTreeSet<&'static str>>,
    pending: Vec<Event>,
    unplugged: Vec<SimNic>,
    foreign_refusals: Vec<String>,
    tree: BTreeMap<String, files::Node>,
    link_down_until: BTreeMap<u32, u64>,
    refused: BTreeMap<(u32, String), u32>,
    irq_shift: BTreeMap<u32, u32>,
    napi_shift: u32,
    /// The lengthy call that nobody waits for any more.
    held: Option<held::Call>,
    /// Requests about its device meanwhile.
    overlaps: u32,
    counters: meter::Counters,
}

impl Sim {
    /// Boots the machine.
    pub fn new(machine: Machine) -> Sim {
        let machine = machine.booted();
        let mut state = State {
            born: machine.nics.iter().map(|nic| (nic.ifindex, nic.clone())).collect(),
            boot: machine.clone(),
            boots: 1,
            mono_ns: 60_000_000_000,
            utc_ns: EPOCH_NS,
            calls: 0,
            injections: Vec::new(),
            dead: false,
            subscribed: false,
            notices: BTreeMap::new(),
            pending: machine.script.clone(),
            unplugged: Vec::new(),
            foreign_refusals: Vec::new(),
            tree: BTreeMap::new(),
            link_down_until: BTreeMap::new(),
            refused: BTreeMap::new(),
            irq_shift: BTreeMap::new(),
            napi_shift: 0,
            held: None,
            overlaps: 0,
            counters: meter::Counters::default(),
            machine,
        };
        state.rebuild();
        Sim { state: Mutex::new(state) }
    }

    /// Every setting of the machine as it is now; compare two of these.
    pub fn machine(&self) -> Machine {
        self.lock().machine.clone()
    }

    /// Host calls so far: every call of [`Host`] but `now` counts one.
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

    /// The process dies now, by something that is no host call.
    pub fn kill(&self) {
        self.lock().dead = true;
    }

    /// Whether the process has died and the next one has not begun.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// The next process: the machine is as it is, the dead one's subscription is gone.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.dead = false;
        state.subscribed = false;
        state.notices.clear();
    }

    /// Boots anew: volatile settings are gone, flashed firmware stays, the boot id is another.
    pub fn reboot(&self) {
        let mut state = self.lock();
        let mut fresh = state.boot.clone();
        for nic in &mut fresh.nics {
            let mut before = state.machine.nics.iter().chain(&state.unplugged);
            let same = before.find(|old| old.mac == nic.mac);
            if let Some(old) = same {
                firmware::booted(nic, old);
            }
        }
        fresh.placed.clone_from(&state.machine.placed);
        state.born = fresh.nics.iter().map(|nic| (nic.ifindex, nic.clone())).collect();
        state.machine = fresh;
        state.boots += 1;
        state.mono_ns = 20_000_000_000;
        state.unplugged.clear();
        state.link_down_until.clear();
        state.refused.clear();
        state.held = None;
        state.irq_shift.clear();
        state.counters = meter::Counters::default();
        state.rebuild();
        drop(state);
        self.restart();
    }

    /// Somebody sets the clock; it goes on being called synchronised.
    pub fn set_clock(&self, utc_ns: i64) {
        self.with(|state| state.utc_ns = utc_ns);
    }

    /// Somebody else does this now.
    pub fn foreign(&self, act: &Act) {
        script::act(&mut self.lock(), act);
    }

    /// What somebody else tried and the kernel refused; a test's script should leave this empty.
    pub fn foreign_refusals(&self) -> Vec<String> {
        self.lock().foreign_refusals.clone()
    }

    /// A setting as it is, by its name in the vocabulary; not a host call.
    pub fn value(&self, nic: &str, setting: &str) -> Option<Value> {
        values::get(&self.lock().machine, nic, setting)
    }

    /// Looks at or moves the machine without this being a host call.
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans an unwinding: a crash is thrown only after the lock is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One host call: what is due happens, then the call, with the blows that are meant for it.
    fn call<T>(
        &self,
        act: impl Fn() -> String,
        work: impl FnOnce(&mut State) -> Result<T, Refusal>,
    ) -> Result<T> {
        let fault = |refusal: Refusal| Fault::errno(act(), refusal.errno, refusal.extack);
        let mut state = self.lock();
        if state.dead {
            // A dead process does nothing: neither its destructors nor its other threads.
            return Err(fault(Refusal::errno(libc::ESHUTDOWN)));
        }
        let call = state.calls;
        state.calls += 1;
        state.advance(CALL_NS);
        script::due(&mut state, call);
        held::due(&mut state);
        let outcome = match state.blow(call, Moment::Before) {
            Some(Blow::Crash) => None,
            Some(Blow::Fail(errno)) => Some(Err(Refusal::errno(errno))),
            None => {
                let done = work(&mut state);
                match state.blow(call, Moment::After) {
                    Some(Blow::Crash) => None,
                    Some(Blow::Fail(errno)) => Some(Err(Refusal::errno(errno))),
                    None => Some(done),
                }
            }
        };
        if let Some(done) = outcome {
            return done.map_err(fault);
        }
        state.dead = true;
        drop(state);
        // Unwinds as a panic does, without the panic hook: a crash is no bug to report.
        std::panic::resume_unwind(Box::new(Crash { call }))
    }
}

impl State {
    fn advance(&mut self, ns: u64) {
        self.mono_ns += ns;
        self.utc_ns += ns as i64;
    }

    /// The blow meant for this moment of this call, used up.
    fn blow(&mut self, call: u64, moment: Moment) -> Option<Blow> {
        let at = self.injections.iter().position(|i| i.call == call && i.moment == moment)?;
        Some(self.injections.swap_remove(at).blow)
    }

    /// Tells whoever listens that these settings of this NIC may have changed: one notice a NIC, its
    /// families sorted.
    fn announce(&mut self, ifindex: u32, family: &'static str) {
        if !self.subscribed {
            return;
        }
        if self.notices.len() < NOTICES_MAX || self.notices.contains_key(&ifindex) {
            self.notices.entry(ifindex).or_default().insert(family);
        }
    }

    /// The NIC as its driver leaves it when freshly loaded.
    fn fresh(&self, ifindex: u32) -> SimNic {
        self.born.get(&ifindex).cloned().unwrap_or_default()
    }

    fn next_ifindex(&self) -> u32 {
        // An ifindex is never used twice in one boot.
        self.born.keys().max().map_or(2, |highest| highest + 1)
    }

    fn carrier(&self, nic: &SimNic) -> bool {
        let resetting =
            self.link_down_until.get(&nic.ifindex).is_some_and(|until| *until > self.mono_ns);
        nic.up && nic.cable && !resetting
    }

    /// The interrupt number of a NIC's vector.
    fn irq(&self, ifindex: u32, vector: usize) -> u32 {
        24 + ifindex * 64 + vector as u32 + self.irq_shift.get(&ifindex).copied().unwrap_or(0)
    }

    fn napi_id(&self, ifindex: u32, index: usize) -> u32 {
        8193 + ifindex * 256 + index as u32 + self.napi_shift
    }

    fn boot_id(&self) -> String {
        format!("5f0c9a1e-0000-4000-8000-{:012x}", self.boots)
    }

    /// Lays out the files anew; needed whenever names or numbers of queues change.
    fn rebuild(&mut self) {
        self.tree = files::tree(self);
    }
}

impl Host for Sim {
    fn read(&self, path: &Path) -> Result<String> {
        self.call(|| format!("read {}", path.display()), |state| hook::read(state, path))
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        self.call(
            || format!("write {:?} to {}", text.trim_end(), path.display()),
            |state| hook::write(state, path, text),
        )
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.call(|| format!("list {}", path.display()), |state| hook::list(state, path))
    }

    fn target(&self, path: &Path) -> Result<String> {
        self.call(|| format!("read the link {}", path.display()), |state| hook::target(state, path))
    }

    fn links(&self, path: &Path) -> Result<Vec<(String, String)>> {
        self.call(|| format!("list {}", path.display()), |state| hook::links(state, path))
    }

    fn stat(&self, path: &Path) -> Result<Stat> {
        self.call(|| format!("look at {}", path.display()), |state| hook::stat(state, path))
    }

    fn mode(&self, path: &Path) -> Result<u32> {
        let act = || format!("read the mode of {}", path.display());
        self.call(act, |state| hook::mode(state, path))
    }

    fn request(&self, ask: &Ask) -> Result<Vec<Vec<u8>>> {
        self.call(
            || describe(ask),
            |state| {
                held::asked(state, ask)?;
                answer(state, ask)
            },
        )
    }

    fn lengthy(
        &self,
        _: &str,
        ask: &Ask,
        limit: Duration,
        heard: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<Vec<Vec<u8>>> {
        self.lengthy_within(limit, ask, heard)
    }

    fn free(&self, device: &str) -> Result<()> {
        self.is_free(device)
    }

    fn place(&self, sha256: &str, bytes: &[u8]) -> Result<String> {
        firmware::place(self, sha256, bytes)
    }

    fn shadows(&self, sha256: &str) -> Result<Vec<String>> {
        firmware::shadows(self, sha256)
    }

    fn still_placed(&self, sha256: &str) -> Result<()> {
        firmware::still_placed(self, sha256)
    }

    fn unplace(&self) -> Result<()> {
        firmware::unplace(self)
    }

    fn notices(&self) -> Result<Vec<Notice>> {
        let act = || "read the kernel's notifications".to_owned();
        self.call(act, |state| {
            state.subscribed = true;
            let notices = std::mem::take(&mut state.notices).into_iter();
            let notice = |(ifindex, families): (u32, BTreeSet<&'static str>)| Notice {
                ifindex,
                families: families.into_iter().collect(),
                words: Vec::new(),
            };
            Ok(notices.map(notice).collect())
        })
    }

    fn now(&self) -> Now {
        let mut state = self.lock();
        state.advance(CLOCK_READ_NS);
        Now { utc_ns: state.utc_ns, mono_ns: state.mono_ns, boot_id: state.boot_id() }
    }

    fn bearings(&self) -> Bearings {
        let clock = Clock {
            synchronised: true,
            by: Some("the simulation".to_owned()),
            error_ns: Some(0),
            error_ns_max: Some(0),
            within_100us: Within::Yes,
        };
        Bearings { host: "sim".to_owned(), clock }
    }

    fn netns_cookie(&self) -> Option<u64> {
        self.lock().machine.netns_cookie
    }

    fn wait(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4);
        // Waiting cannot fail; a failure injected here is used up without effect, a crash is not.
        let _ = self.call(
            || "wait".to_owned(),
            |state| {
                state.advance(ns);
                Ok(())
            },
        );
    }
}
