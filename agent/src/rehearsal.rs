//! A playbook against a simulated machine, once as it should go, then failed at every step.
//!
//! Every host call and every store call of the run is failed or crashed, before and after it took
//! effect; what follows is recovered; the machine must end as it was, or committed. `nicmend playbook
//! test` shows the result to authors; the tests walk every step and seeded pairs of steps.

mod card;
mod machine;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

use firmware_catalog::Catalog;
use playbooks::Playbook;

pub use card::shelf_for;
pub use machine::machine_for;

use crate::{
    engine::Telling,
    firmware::images,
    host::{
        Host,
        sim::{Blow, Crash, Injection, Machine, Moment, Sim, SimMeter, SimReach},
    },
    law::Law,
    log::{History, RunRecord, RunState},
    runs::{
        self, Apply, Declined, Desk, Meters, Outcome,
        choose::Offer,
        hazards::{Overrides, Terms},
    },
    store::{Store, sim::SimStore},
};

/// Where a blow falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Host,
    Store,
}

/// One failure: at the `call`-th call through `door` since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fall {
    pub door: Door,
    pub call: u64,
    pub moment: Moment,
    pub blow: Blow,
}

/// What one rehearsal came to.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    pub ending: Ending,
    /// The process died, and a new one recovered.
    pub recovered: bool,
    /// Calls made through each door, recovery included.
    pub host_calls: u64,
    pub store_calls: u64,
    pub machine: Machine,
    pub record: Option<RunRecord>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    Ran(RunState),
    AlreadyRight,
    /// Declined before a run began, by this rule.
    Declined(String),
}

/// One machine, one playbook, one seed.
#[derive(Debug, Clone)]
pub struct Stage {
    pub machine: Machine,
    pub playbook: Playbook,
    pub nic: String,
    pub seed: u64,
    pub shelf: Shelf,
    /// Kernel parameters that the site lets playbooks set besides those of the one list.
    pub sysctls: Vec<String>,
}

/// What firmware there is to choose from, and the images that are stored.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    pub catalog: Catalog,
    pub offer: Offer,
    pub images: Vec<Vec<u8>>,
}

/// Recoveries after which a machine that still crashes is given up: every crash is injected once.
const LIVES: usize = 8;

impl Stage {
    /// Plays the run with these falls, recovering as often as the process dies.
    ///
    /// # Panics
    /// With whatever the run itself panics with, injected crashes apart.
    pub fn play(&self, falls: &[Fall], tell: &dyn Fn(&Telling)) -> Rehearsed {
        self.play_on(falls, tell, &Sim::restart)
    }

    /// The same, where the whole machine goes down with the process and boots anew.
    ///
    /// # Panics
    /// As [`Stage::play`].
    pub fn play_over_reboots(&self, falls: &[Fall], tell: &dyn Fn(&Telling)) -> Rehearsed {
        self.play_on(falls, tell, &Sim::reboot)
    }

    fn play_on(&self, falls: &[Fall], tell: &dyn Fn(&Telling), next: &dyn Fn(&Sim)) -> Rehearsed {
        let sim = Arc::new(Sim::new(self.machine.clone()));
        let store = SimStore::new(self.seed);
        for image in &self.shelf.images {
            // Nothing fails before the falls are laid out.
            let _ = images::import(&store, image);
        }
        let at = |door: Door| {
            falls.iter().filter(move |fall| fall.door == door).map(|fall| Injection {
                call: fall.call,
                moment: fall.moment,
                blow: fall.blow,
            })
        };
        sim.inject(at(Door::Host));
        store.inject(at(Door::Store));
        let mut recovered = false;
        let mut result = alive(|| self.apply(&sim, &store, tell));
        for _ in 0..LIVES {
            // A recovery that failed, or that the disk could not be told of, is walked again, as the
            // next process would.
            let again = recovered && matches!(&result, Ok(told) if told_open(told));
            if result.is_ok() && !again {
                break;
            }
            if result.is_err() {
                next(&sim);
                store.restart();
            }
            recovered = true;
            result = alive(|| recover(&sim, &store, tell));
        }
        let (ending, record) = match result {
            Ok(Ok(Some(record))) => (Ending::Ran(record.state), Some(record)),
            Ok(Ok(None)) => (Ending::AlreadyRight, None),
            Ok(Err(declined)) => (Ending::Declined(declined.rule), None),
            Err(Crash { .. }) => (Ending::Declined("crashed".to_owned()), None),
        };
        store.disarm();
        // Whatever fell, the log is whole: a damaged one would keep every later run from being known.
        if let Err(fault) = store.entries().and_then(|entries| History::fold(&entries)) {
            panic!("the log is damaged: {fault}");
        }
        let (host_calls, store_calls) = (sim.calls(), store.calls());
        let machine = sim.machine();
        Rehearsed { ending, recovered, host_calls, store_calls, machine, record }
    }

    fn apply(
        &self,
        sim: &Arc<Sim>,
        store: &SimStore,
        tell: &dyn Fn(&Telling),
    ) -> Result<Option<RunRecord>, Declined> {
        let mut meter = SimMeter::new(Arc::clone(sim), &self.nic, self.seed);
        let request = Apply {
            hazards: Terms { catalog: self.shelf.catalog.clone(), overrides: Overrides::All },
            firmware: self.shelf.offer.clone(),
            ..Apply::plain(self.playbook.clone(), &self.nic, Some("192.0.2.2:862".to_owned()))
        };
        let law = Law::permitting(&self.sysctls).under(Some(self.shelf.catalog.clone()));
        at_desk(sim, store, (tell, law), |desk| {
            match runs::apply(desk, &request, Meters::alone(&mut meter))? {
                Outcome::Ran(record) => Ok(Some(*record)),
                Outcome::AlreadyRight(_) => Ok(None),
            }
        })
    }
}

fn told_open(told: &Result<Option<RunRecord>, Declined>) -> bool {
    match told {
        Ok(Some(record)) => record.state == RunState::Running,
        Ok(None) => false,
        Err(_) => true,
    }
}

/// What the next process does first. The last run's record, however it ended.
fn recover(
    sim: &Arc<Sim>,
    store: &SimStore,
    tell: &dyn Fn(&Telling),
) -> Result<Option<RunRecord>, Declined> {
    at_desk(sim, store, (tell, Law::shipped(0)), |desk| {
        runs::recover(desk)?;
        Ok(desk.history()?.runs.last().cloned())
    })
}

fn at_desk<T>(
    sim: &Arc<Sim>,
    store: &SimStore,
    (tell, law): (&dyn Fn(&Telling), Law),
    act: impl FnOnce(&Desk) -> Result<T, Declined>,
) -> Result<T, Declined> {
    let epoch = store.epoch()?;
    let host: &dyn Host = &**sim;
    let reach = SimReach { sim: Arc::clone(sim) };
    act(&Desk { host, store, epoch, uid: 0, law: &law, stop: &|| None, tell, reach: &reach })
}

/// Runs `act` until it returns or the simulated process dies.
fn alive<T>(act: impl FnOnce() -> T) -> Result<T, Crash> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|payload| match payload.downcast::<Crash>() {
        Ok(crash) => *crash,
        Err(other) => resume_unwind(other),
    })
}

/// Keeps injected crashes from printing a panic message; every other panic prints as ever.
pub fn hush_injected_crashes() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<Crash>().is_none() {
            before(info);
        }
    }));
}
