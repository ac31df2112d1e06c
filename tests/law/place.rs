//! A simulated host with a site's law.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agent::{
    approvals::Registry,
    engine::Telling,
    host::{
        Host,
        sim::{Sim, SimMeter, SimReach},
    },
    law::{Asker, Law, Text, Texts},
    log::{History, RunRecord},
    measure::Meter,
    runs::{
        self, Apply, Back, Declined, Desk, Meters, Outcome, StandbyPath,
        choose::Offer,
        hazards::{Overrides, Terms},
    },
    store::{Store, sim::SimStore},
};
use firmware_catalog::Catalog;
use tests::firmware::{FIRMWARE, MENDS, quiet_machine};

const SETTINGS: &str = include_str!("settings.yaml");

/// Another card, which carries what the first one does.
const STANDBY: &str = r#"
name: eth3
driver: ice
firmware: 4.40 0x8001c967 1.3534.0
mac: 52:54:00:00:00:09
pci: { address: "0000:5e:00.0", vendor: 0x8086, device: 0x1592 }
"#;

/// What is asked for.
pub(crate) struct Wish {
    playbook: &'static str,
    pub(crate) catalog: Catalog,
    pub(crate) offer: Offer,
    /// Of the plan that is meant, where one is named.
    pub(crate) digest: Option<String>,
}

impl Wish {
    /// The golden firmware.
    pub(crate) fn firmware() -> Wish {
        let shelf = tests::firmware::read(FIRMWARE);
        Wish { playbook: MENDS, catalog: shelf.catalog, offer: shelf.offer, digest: None }
    }

    /// Less moderation.
    pub(crate) fn settings() -> Wish {
        Wish::of(SETTINGS)
    }

    pub(crate) fn of(playbook: &'static str) -> Wish {
        Wish { playbook, ..Wish::firmware() }
    }

    pub(crate) fn request(&self) -> Apply {
        Apply {
            hazards: Terms { catalog: self.catalog.clone(), overrides: Overrides::All },
            firmware: self.offer.clone(),
            digest: self.digest.clone(),
            ..Apply::plain(
                playbooks::parse::parse(self.playbook.as_bytes()).expect("a playbook"),
                "eth1",
                Some("192.0.2.2:862".to_owned()),
            )
        }
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
    pub(crate) config: Option<&'static str>,
    pub(crate) registry: Registry,
    policies: String,
}

impl Place {
    /// With these policies of the site's.
    pub(crate) fn new(policies: &str) -> Place {
        let mut machine = quiet_machine();
        let id = "4c4c45440043301080355b4c04f4a593\n".to_owned();
        machine.files.insert("/etc/machine-id".to_owned(), id);
        machine.nics.push(serde_saphyr::from_str(STANDBY).expect("a NIC"));
        let store = SimStore::new(3);
        let shelf = tests::firmware::read(FIRMWARE);
        for image in &shelf.images {
            agent::firmware::images::import(&store, image).expect("room");
        }
        let (sim, catalog) = (Arc::new(Sim::new(machine)), Some(shelf.catalog));
        let (policies, registry) = (policies.to_owned(), Registry::default());
        Place { sim, store, catalog, config: None, registry, policies }
    }

    fn law(&self) -> Law {
        let text = |file: &str, text: &str| Text { file: file.to_owned(), text: text.to_owned() };
        let config = self.config.map(|config| text("config.yaml", config));
        let texts = Texts { config, policies: vec![text("site.cedar", &self.policies)] };
        let asker = Asker { uid: 0, login: None };
        let law = Law::new(Ok(texts), Ok(None), Ok(BTreeMap::new()), self.registry.clone(), asker);
        law.under(self.catalog.clone())
    }

    pub(crate) fn apply(&self, wish: &Wish) -> Result<RunRecord, Declined> {
        self.apply_told(wish, &|_| ())
    }

    /// The same, with somebody listening.
    pub(crate) fn apply_told(
        &self,
        wish: &Wish,
        tell: &dyn Fn(&Telling),
    ) -> Result<RunRecord, Declined> {
        let request = wish.request();
        let mut meter = SimMeter::new(Arc::clone(&self.sim), "eth1", 7);
        let act = |desk: &Desk| runs::apply(desk, &request, Meters::alone(&mut meter));
        match self.at_desk_told(tell, act)? {
            Outcome::Ran(record) => Ok(*record),
            Outcome::AlreadyRight(_) => panic!("nothing to do"),
        }
    }

    pub(crate) fn revert(&self) -> Result<RunRecord, Declined> {
        self.revert_by(|back| back)
    }

    /// The same, asked for in another way.
    pub(crate) fn revert_by(
        &self,
        change: impl FnOnce(Back) -> Back,
    ) -> Result<RunRecord, Declined> {
        self.at_desk(|desk| {
            let back = change(self.back(desk));
            let mut meter = back
                .standby
                .as_ref()
                .map(|path| SimMeter::new(Arc::clone(&self.sim), &path.nic, 7));
            runs::revert(desk, "last", &back, meter.as_mut().map(|meter| meter as &mut dyn Meter))
        })
    }

    pub(crate) fn back(&self, desk: &Desk) -> Back {
        let by = desk.law.loaded().asker.clone();
        Back { hazards: Overrides::All, ..Back::plain("asked for", by) }
    }

    pub(crate) fn at_desk<T>(
        &self,
        act: impl FnOnce(&Desk) -> Result<T, Declined>,
    ) -> Result<T, Declined> {
        let noted = |telling: &Telling| {
            if let Telling::Note(words) = telling {
                println!("{words}");
            }
        };
        self.at_desk_told(&noted, act)
    }

    fn at_desk_told<T>(
        &self,
        tell: &dyn Fn(&Telling),
        act: impl FnOnce(&Desk) -> Result<T, Declined>,
    ) -> Result<T, Declined> {
        let epoch = self.store.take_epoch()?;
        let (host, store): (&dyn Host, &dyn Store) = (&*self.sim, &self.store);
        let law = self.law();
        let reach = SimReach { sim: Arc::clone(&self.sim) };
        act(&Desk { host, store, epoch, uid: 0, law: &law, stop: &|| None, tell, reach: &reach })
    }

    pub(crate) fn history(&self) -> History {
        History::fold(&self.store.entries().expect("a log")).expect("a whole log")
    }

    /// The newest run, as the log tells it.
    pub(crate) fn last(&self) -> RunRecord {
        self.history().runs.last().expect("a run").clone()
    }

    pub(crate) fn with_standby(&self, back: Back) -> Back {
        let standby = Some(StandbyPath { nic: "eth3".to_owned(), peer: None });
        Back { standby, ..back }
    }

    pub(crate) fn wait_hours(&self, hours: u64) {
        self.wait_seconds(3600 * hours);
    }

    pub(crate) fn wait_seconds(&self, seconds: u64) {
        self.sim.wait(Duration::from_secs(seconds));
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(self.sim.now().utc_ns.into()).expect("a time")
    }
}
