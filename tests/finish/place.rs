//! A simulated host on which runs are interrupted.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

use agent::{
    engine::Telling,
    firmware::images,
    host::{
        Host,
        sim::{Act, Blow, Crash, Injection, Machine, Moment, Sim, SimMeter},
    },
    law::Law,
    log::{History, RunRecord},
    rehearsal::{Shelf, hush_injected_crashes},
    runs::{
        self, Apply, Back, Declined, Desk, Meters, Outcome,
        hazards::{Overrides, Terms},
    },
    store::{Store, sim::SimStore},
};
use tests::firmware::FIRMWARE;

/// A firmware stage and nothing else.
pub(crate) const FLASHES: &str = "apiVersion: nicmend/v1\nkind: Playbook\n\
     metadata: { name: flashes, version: 1.0.0, summary: Another firmware }\n\
     stages:\n  - name: firmware\n    firmware: { version: 14.32.1900, activate: nic-reset }\n\
     objective: { latency.p90: { at-most: 60us } }\n\
     guardrails: { latency.p50: { no-worse-than: 5% } }\n\
     verify: { transport: udp, settle: 5s, window: 1s, rate: 1000, payload: 64 }\n";
/// Less moderation.
pub(crate) const SETTINGS: &str = include_str!("../law/settings.yaml");

pub(crate) struct Place {
    pub(crate) sim: Arc<Sim>,
    pub(crate) store: SimStore,
    shelf: Shelf,
}

impl Place {
    pub(crate) fn new(machine: Machine) -> Place {
        hush_injected_crashes();
        let (store, shelf) = (SimStore::new(5), tests::firmware::read(FIRMWARE));
        for image in &shelf.images {
            images::import(&store, image).expect("room");
        }
        Place { sim: Arc::new(Sim::new(machine)), store, shelf }
    }

    /// A run of this playbook; `None`: it died.
    pub(crate) fn apply(
        &self,
        playbook: &str,
        nic: &str,
        tell: &dyn Fn(&Telling),
    ) -> Option<Result<RunRecord, Declined>> {
        let mut meter = SimMeter::new(Arc::clone(&self.sim), nic, 7);
        let playbook = playbooks::parse::parse(playbook.as_bytes()).expect("a playbook");
        let request = Apply {
            hazards: Terms { catalog: self.shelf.catalog.clone(), overrides: Overrides::All },
            firmware: self.shelf.offer.clone(),
            ..Apply::plain(playbook, nic, Some("192.0.2.2:862".to_owned()))
        };
        let ran = |desk: &Desk| match runs::apply(desk, &request, Meters::alone(&mut meter))? {
            Outcome::Ran(record) => Ok(*record),
            Outcome::AlreadyRight(_) => panic!("nothing to do"),
        };
        self.alive(|| self.at_desk_told(tell, ran))
    }

    /// The process dies as soon as it tells something with these words in it.
    pub(crate) fn dies_at(&self, playbook: &str, words: &str) {
        let tell = |telling: &Telling| {
            if format!("{telling:?}").contains(words) {
                // At the call after the one that comes next: that one still takes effect.
                let call = self.sim.calls() + 1;
                let (moment, blow) = (Moment::Before, Blow::Crash);
                self.sim.inject([Injection { call, moment, blow }]);
            }
        };
        assert!(self.apply(playbook, "eth1", &tell).is_none(), "it lived through `{words}`");
        self.sim.restart();
        self.store.restart_after(agent::store::sim::End::Killed);
        self.sim.disarm();
    }

    pub(crate) fn recover(&self) -> Result<Vec<RunRecord>, Declined> {
        self.at_desk_told(&|_| (), runs::recover)
    }

    pub(crate) fn revert(&self, run: &str) -> Result<RunRecord, Declined> {
        self.at_desk_told(&|_| (), |desk| {
            let by = desk.law.loaded().asker.clone();
            let back = Back { hazards: Overrides::All, ..Back::plain("asked for", by) };
            runs::revert(desk, run, &back, None)
        })
    }

    fn at_desk_told<T>(
        &self,
        tell: &dyn Fn(&Telling),
        act: impl FnOnce(&Desk) -> Result<T, Declined>,
    ) -> Result<T, Declined> {
        let epoch = self.store.take_epoch()?;
        let (host, store): (&dyn Host, &dyn Store) = (&*self.sim, &self.store);
        let law = Law::shipped(0).under(Some(self.shelf.catalog.clone()));
        act(&Desk {
            host,
            store,
            epoch,
            uid: 0,
            law: &law,
            stop: &|| None,
            tell,
            reach: &agent::measure::Nowhere,
        })
    }

    /// Until it returns or dies by an injection.
    pub(crate) fn alive<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(act)) {
            Ok(done) => Some(done),
            Err(death) if death.is::<Crash>() => None,
            Err(panic) => resume_unwind(panic),
        }
    }

    pub(crate) fn happens(&self, act: Act) {
        self.sim.foreign(&act);
        assert_eq!(self.sim.foreign_refusals(), Vec::<String>::new());
    }

    pub(crate) fn run(&self, index: usize) -> RunRecord {
        let history = History::fold(&self.store.entries().expect("a log")).expect("a whole log");
        history.runs[index].clone()
    }

    /// What the first NIC's device runs, and what it stores where that is something else.
    pub(crate) fn firmware(&self) -> (String, Option<String>) {
        let machine = self.sim.machine();
        let nic = machine.nic("eth1").expect("eth1 is there");
        let pci = nic.pci.as_ref().expect("a PCI function");
        (pci.versions["fw.version"].clone(), pci.stored.get("fw.version").cloned())
    }
}
