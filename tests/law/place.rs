//! A simulated host with a site's law.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agent::{
    approvals::Registry,
    host::{
        Host,
        sim::{Machine, Sim, SimMeter},
    },
    law::{Asker, Law, Text, Texts},
    log::{History, RunRecord},
    runs::{
        self, Apply, Back, Declined, Desk, Meters, Outcome,
        choose::Offer,
        hazards::{Overrides, Terms},
    },
    store::{Store, sim::SimStore},
};
use firmware_catalog::Catalog;
use policy::management::Consent;

const MACHINE: &str = include_str!("../fail_every_firmware_step/machine.yaml");
const FIRMWARE: &str = include_str!("../fail_every_firmware_step/firmware.yaml");
const MENDS: &str = include_str!("../fail_every_firmware_step/mends.yaml");
const SETTINGS: &str = include_str!("settings.yaml");

/// What is asked for.
pub(crate) struct Wish {
    playbook: &'static str,
    pub(crate) catalog: Catalog,
    pub(crate) offer: Offer,
}

impl Wish {
    /// The golden firmware.
    pub(crate) fn firmware() -> Wish {
        let shelf = tests::firmware::read(FIRMWARE);
        Wish { playbook: MENDS, catalog: shelf.catalog, offer: shelf.offer }
    }

    /// A ring that flaps the link.
    pub(crate) fn settings() -> Wish {
        Wish { playbook: SETTINGS, ..Wish::firmware() }
    }

    /// The image of what runs is not stored, and that is accepted.
    pub(crate) fn no_way_back(&mut self) {
        self.offer.images.remove(1);
        self.offer.no_way_back = true;
    }
}

pub(crate) struct Place {
    pub(crate) sim: Arc<Sim>,
    pub(crate) store: SimStore,
    pub(crate) catalog: Option<Catalog>,
    policies: String,
}

impl Place {
    /// With these policies of the site's.
    pub(crate) fn new(policies: &str) -> Place {
        let mut machine: Machine = serde_saphyr::from_str(MACHINE).expect("a machine");
        machine.script.clear();
        let store = SimStore::new(3);
        let shelf = tests::firmware::read(FIRMWARE);
        for image in &shelf.images {
            agent::firmware::images::import(&store, image).expect("room");
        }
        let (sim, catalog) = (Arc::new(Sim::new(machine)), Some(shelf.catalog));
        Place { sim, store, catalog, policies: policies.to_owned() }
    }

    fn law(&self) -> Law {
        let text = |file: &str, text: &str| Text { file: file.to_owned(), text: text.to_owned() };
        let texts = Texts { config: None, policies: vec![text("site.cedar", &self.policies)] };
        let asker = Asker { uid: 0, login: None };
        let law = Law::new(Ok(texts), None, BTreeMap::new(), Registry::default(), asker);
        law.under(self.catalog.clone())
    }

    pub(crate) fn apply(&self, wish: &Wish) -> Result<RunRecord, Declined> {
        let playbook = playbooks::parse::parse(wish.playbook.as_bytes()).expect("a playbook");
        let request = Apply {
            playbook,
            nic: "eth1".to_owned(),
            peer: Some("192.0.2.2:862".to_owned()),
            control_peer: None,
            digest: None,
            allow_management: false,
            force: false,
            break_glass: None,
            overridden: Vec::new(),
            standby: None,
            session: None,
            hazards: Terms { catalog: wish.catalog.clone(), overrides: Overrides::All },
            firmware: wish.offer.clone(),
        };
        let mut meter = SimMeter::new(Arc::clone(&self.sim), "eth1", 7);
        match self.at_desk(|desk| runs::apply(desk, &request, Meters::alone(&mut meter)))? {
            Outcome::Ran(record) => Ok(*record),
            Outcome::AlreadyRight(_) => panic!("nothing to do"),
        }
    }

    pub(crate) fn revert(&self) -> Result<RunRecord, Declined> {
        self.at_desk(|desk| {
            let by = desk.law.loaded().asker.clone();
            let (why, consent) = ("asked for".to_owned(), Consent::None);
            let back = Back { why, by, consent, overridden: Vec::new(), session: None };
            runs::revert(desk, "last", &back)
        })
    }

    pub(crate) fn at_desk<T>(
        &self,
        act: impl FnOnce(&Desk) -> Result<T, Declined>,
    ) -> Result<T, Declined> {
        let epoch = self.store.take_epoch()?;
        let (host, store): (&dyn Host, &dyn Store) = (&*self.sim, &self.store);
        let law = self.law();
        act(&Desk { host, store, epoch, uid: 0, law: &law, stop: &|| None, tell: &|_| () })
    }

    /// The newest run, as the log tells it.
    pub(crate) fn last(&self) -> RunRecord {
        let history = History::fold(&self.store.entries().expect("a log")).expect("a whole log");
        history.runs.last().expect("a run").clone()
    }

    pub(crate) fn wait_hours(&self, hours: u64) {
        self.sim.wait(Duration::from_secs(3600 * hours));
    }
}
