//! The law of this host: what the site configured and wrote, read when it is first asked for.
//!
//! Configuration and policies are in force together or not at all. Where the site's files do not load, or are
//! gone, those that loaded last stay in force, and that is said; where none ever did, nothing changes until they
//! do. A calendar that does not load, or is gone, makes its venue `unknown`.

mod kept;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use firmware_catalog::Catalog;
use playbooks::library::LIBRARY;
use policy::{
    Phase,
    calendar::{Calendars, SHIPPED},
    config::Config,
    request::{Clock, Principal},
    set::{Checked, Flaw, PolicySet, Source},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    approvals::Registry,
    fault::{Fault, Kind, Result},
    host::Host,
    log::office::Versions,
    store::Store,
};

pub use kept::{GOOD, Kept, Own};

/// A file of the site, with its name for messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    pub file: String,
    pub text: String,
}

/// What a site has written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    /// `CONFIG/policy/config.yaml`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config: Option<Text>,
    /// `CONFIG/policy/*.cedar`, by name.
    pub policies: Vec<Text>,
}

/// Who asks: the uid of the process or of the socket's peer, and the uid that logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    pub uid: u32,
    /// /proc/PID/loginuid, where the kernel knows one.
    pub login: Option<u32>,
}

/// The site's own words, and what came of them.
#[derive(Debug)]
pub struct Law {
    texts: Result<Texts, Flaw>,
    good: Result<Option<Kept>, Flaw>,
    calendars: Own,
    /// Whose signatures count.
    pub registry: Registry,
    catalog: Option<Catalog>,
    asker: Asker,
    loaded: OnceLock<Loaded>,
}

/// The law in force.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// `None`: no set ever loaded here, and nothing changes until one does.
    pub set: Option<PolicySet>,
    /// Of the configured venues.
    pub calendars: Calendars,
    /// What keeps the site's files from being in force.
    pub flaws: Vec<Flaw>,
    /// What keeps calendars of the site's from being read: these venues' phases are not known.
    pub unread: Vec<Flaw>,
    /// Whoever asks, as the site knows him.
    pub asker: Principal,
    /// Whether these sources are to be kept as those that loaded last.
    news: bool,
}

impl Law {
    /// What a site has written, or why it could not be read; what loaded last, likewise; the site's own calendars;
    /// whose signatures count.
    pub fn new(
        texts: Result<Texts, Flaw>,
        good: Result<Option<Kept>, Flaw>,
        calendars: Own,
        registry: Registry,
        asker: Asker,
    ) -> Law {
        let (catalog, loaded) = (Some(Catalog::shipped()), OnceLock::new());
        Law { texts, good, calendars, registry, catalog, asker, loaded }
    }

    /// The shipped policies, no venue, nobody known but root.
    pub fn shipped(uid: u32) -> Law {
        let asker = Asker { uid, login: None };
        let (texts, own) = (Ok(Texts::default()), Ok(BTreeMap::new()));
        Law::new(texts, Ok(None), own, Registry::default(), asker)
    }

    /// The same, with these kernel parameters besides those that playbooks may set anywhere.
    pub fn permitting(sysctls: &[String]) -> Law {
        let list = serde_json::to_string(sysctls).unwrap_or_default();
        let text = Text { file: "config.yaml".to_owned(), text: format!("sysctls: {list}\n") };
        let config = Some(text).filter(|_| !sysctls.is_empty());
        let asker = Asker { uid: 0, login: None };
        let texts = Ok(Texts { config, policies: Vec::new() });
        Law::new(texts, Ok(None), Ok(BTreeMap::new()), Registry::default(), asker)
    }

    /// The same under this firmware catalog. `None`: the site's does not load, and nothing is known of any
    /// firmware.
    pub fn under(self, catalog: Option<Catalog>) -> Law {
        Law { catalog, ..self }
    }

    /// The shipped firmware catalog with the site's over it, where that loads.
    pub fn catalog(&self) -> Option<&Catalog> {
        self.catalog.as_ref()
    }

    /// The law in force; worked out the first time.
    pub fn loaded(&self) -> &Loaded {
        self.loaded.get_or_init(|| self.load())
    }

    /// The law in force, if it was asked for before.
    pub fn known(&self) -> Option<&Loaded> {
        self.loaded.get()
    }

    fn load(&self) -> Loaded {
        let (taken, flaws, news) = match self.own() {
            Ok((taken, news)) => (Some(taken), Vec::new(), news),
            Err(mut flaws) => {
                let good = self.kept().map(|good| in_force(&good.texts, good.checked()));
                let good = good.transpose().unwrap_or_else(|more| {
                    flaws.extend(more);
                    None
                });
                (good, flaws, false)
            }
        };
        let (config, set) = match taken {
            Some((config, set)) => (config, Some(set)),
            None => (Config::shipped(), None),
        };
        let calendars = self.calendars(&config.venues);
        let unread = config.venues.iter().filter_map(|venue| self.calendar(venue).err()).collect();
        let asker = config.principal(self.asker.uid, self.asker.login);
        Loaded { config, set, calendars, flaws, unread, asker, news }
    }

    /// What the site's own files say, and whether that is news.
    fn own(&self) -> Result<((Config, PolicySet), bool), Vec<Flaw>> {
        let texts = self.texts.as_ref().map_err(|flaw| vec![flaw.clone()])?;
        let nothing = *texts == Texts::default();
        let good = match &self.good {
            Ok(good) => good.as_ref(),
            // Nobody knows whether this host was told anything: what is there now has to say so.
            Err(flaw) if nothing => return Err(vec![flaw.clone()]),
            Err(_) => None,
        };
        if let Some(flaw) = good.and_then(|good| good.gone(texts)) {
            return Err(vec![flaw]);
        }
        // What is kept as good was held against the schema when it was stored, what is shipped by a test.
        let kept = good.filter(|good| good.texts == *texts).map(Kept::checked);
        let checked = kept.unwrap_or(if nothing { Checked::Before } else { Checked::Not });
        let news = !nothing && good != Some(&Kept::of(texts, &self.calendars, good));
        Ok((in_force(texts, checked)?, news))
    }

    /// What is in force: this nicmend, and the digests of what it goes by.
    pub fn versions(&self) -> Versions {
        let loaded = self.loaded();
        let mut digests = BTreeMap::new();
        let mut put = |name: &str, digest: String| digests.insert(name.to_owned(), digest);
        if let Some(set) = &loaded.set {
            put("policy", set.digest().to_owned());
        }
        // Its own words, where it is the one in force.
        if let (Ok(texts), true) = (&self.texts, loaded.flaws.is_empty())
            && let Some(config) = &texts.config
        {
            put("configuration", digest([config.text.as_bytes()].into_iter()));
        }
        let venues = loaded.config.venues.iter();
        let texts = venues.filter_map(|venue| self.calendar(venue).ok().flatten());
        let calendars: Vec<&[u8]> = texts.map(str::as_bytes).collect();
        if !calendars.is_empty() {
            put("calendars", digest(calendars.into_iter()));
        }
        if let Some(people) = &self.registry.digest {
            put("people", people.clone());
        }
        if let Some(catalog) = &self.catalog {
            put("catalog", digest(catalog.texts()));
        }
        put("playbooks", digest(LIBRARY.iter().map(|shipped| shipped.source.as_bytes())));
        Versions { nicmend: env!("CARGO_PKG_VERSION").to_owned(), digests }
    }

    /// The text of a venue's calendar: the site's own, or the shipped one. What the site meant and nobody can
    /// read has no stand-in.
    fn calendar(&self, venue: &str) -> Result<Option<&str>, Flaw> {
        let own = self.calendars.as_ref().map_err(Flaw::clone)?;
        if let Some(text) = own.get(venue) {
            return text.as_ref().map(|text| Some(text.text.as_str())).map_err(Flaw::clone);
        }
        if let Some(flaw) = self.kept().and_then(|good| good.calendar_gone(venue)) {
            return Err(flaw);
        }
        Ok(SHIPPED.iter().find(|(name, _)| *name == venue).map(|(_, text)| *text))
    }

    /// These venues' calendars: the site's own, or the shipped one.
    pub fn calendars(&self, venues: &[String]) -> Calendars {
        let mut calendars = Calendars::default();
        for venue in venues {
            match self.calendar(venue) {
                Ok(Some(text)) => calendars.add(venue, text.as_bytes()),
                Ok(None) => {}
                Err(flaw) => calendars.add_unread(venue, flaw.problem),
            }
        }
        calendars
    }

    /// Every venue that has a calendar.
    pub fn venues(&self) -> BTreeSet<&str> {
        let shipped = SHIPPED.iter().map(|(venue, _)| *venue);
        shipped.chain(self.calendars.iter().flatten().map(|(venue, _)| venue.as_str())).collect()
    }

    /// Keeps the site's sources as those that loaded last, where they are new. Under the writer's lock.
    pub fn keep(&self, store: &dyn Store) -> Result<()> {
        match &self.texts {
            Ok(texts) if self.loaded().news => {
                Kept::of(texts, &self.calendars, self.kept()).write(store)
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Goes by what is there now, whatever was on record: the one way in which a law may be gone. Under the
    /// writer's lock; the word of it is to be durable before.
    ///
    /// # Errors
    /// What is there does not load, or the disk fails.
    pub fn withdraw(&self, store: &dyn Store) -> Result<()> {
        let texts = self.there()?;
        Kept::of(texts, &self.calendars, None).write(store)
    }

    fn kept(&self) -> Option<&Kept> {
        self.good.as_ref().ok().and_then(Option::as_ref)
    }

    /// What is there now, if it loads.
    ///
    /// # Errors
    /// It does not load.
    pub fn there(&self) -> Result<&Texts> {
        let loads = |texts: &Texts| in_force(texts, Checked::Not).map(|_| ());
        let texts = self.texts.as_ref().map_err(|flaw| vec![flaw.clone()]);
        let texts = texts.and_then(|texts| loads(texts).map(|()| texts));
        texts.map_err(|flaws| {
            let told: Vec<String> = flaws.iter().map(ToString::to_string).collect();
            Fault::new(Kind::Invalid, "load what is there", told.join("; "))
        })
    }

    /// The digest of the configuration and policies on record, where there are any.
    ///
    /// # Errors
    /// What is on record cannot be read.
    pub fn on_record(&self) -> Result<Option<String>, Flaw> {
        let good = self.good.as_ref().map_err(Flaw::clone)?;
        Ok(good.as_ref().filter(|good| good.texts != Texts::default()).map(|good| {
            let texts = good.texts.config.iter().chain(&good.texts.policies);
            digest(texts.map(|text| text.text.as_bytes()))
        }))
    }
}

impl Loaded {
    /// Every configured venue with its phase, and the seconds until the next of them has another: `None`
    /// where there is no venue, or a venue's next phase is not known.
    pub fn phases(&self, utc_ns: i64) -> (BTreeMap<String, Phase>, Option<u64>) {
        let Ok(at) = jiff::Timestamp::from_nanosecond(i128::from(utc_ns)) else {
            let unknown = self.config.venues.iter().map(|venue| (venue.clone(), Phase::Unknown));
            return (unknown.collect(), None);
        };
        let phase = |venue: &String| (venue.clone(), self.calendars.phase(venue, at));
        let phases = self.config.venues.iter().map(phase).collect();
        let left = |venue: &String| {
            let next = self.calendars.next_boundary(venue, at)?;
            u64::try_from(next.duration_since(at).as_secs()).ok()
        };
        let each: Option<Vec<u64>> = self.config.venues.iter().map(left).collect();
        (phases, each.and_then(|each| each.into_iter().min()))
    }
}

impl Loaded {
    /// The next instant at which a configured venue's phase is another, as far as the calendars tell.
    pub fn next_boundary(&self, utc_ns: i64) -> Option<jiff::Timestamp> {
        let at = jiff::Timestamp::from_nanosecond(i128::from(utc_ns)).ok()?;
        let next = |venue: &String| self.calendars.next_boundary(venue, at);
        self.config.venues.iter().filter_map(next).min()
    }
}

/// What the kernel knows of this host's clock. An error that it does not tell is as large as can be.
pub fn clock(host: &dyn Host) -> Clock {
    let clock = host.bearings().clock;
    let error_ns = clock.error_ns_max.or(clock.error_ns).unwrap_or(u64::MAX);
    Clock { synchronised: clock.synchronised, error_us: error_ns.div_ceil(1000) }
}

/// `sha256:<hex>` over some texts, each with its length before it.
pub fn digest<'t>(texts: impl Iterator<Item = &'t [u8]>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Everything that these texts say.
///
/// # Errors
/// Everything that is wrong with them.
pub fn in_force(texts: &Texts, checked: Checked) -> Result<(Config, PolicySet), Vec<Flaw>> {
    let mut flaws = Vec::new();
    let config = match &texts.config {
        None => Config::shipped(),
        Some(Text { file, text }) => Config::parse(text.as_bytes()).unwrap_or_else(|problems| {
            let flaw = |problem| Flaw { file: file.clone(), problem };
            flaws.extend(problems.into_iter().map(flaw));
            Config::shipped()
        }),
    };
    let source = |text: &Text| Source { file: text.file.clone(), text: text.text.clone() };
    let site: Vec<Source> = texts.policies.iter().map(source).collect();
    match PolicySet::load(&site, &config.roles, checked) {
        Ok(set) if flaws.is_empty() => Ok((config, set)),
        Ok(_) => Err(flaws),
        Err(more) => {
            flaws.extend(more);
            Err(flaws)
        }
    }
}
