//! The law of this host: what the site configured and wrote, read when it is first asked for.
//!
//! Configuration and policies are in force together or not at all. Where the site's files do not load, those
//! that loaded last stay in force, and that is said; where none ever did, nothing changes until they do. A
//! calendar that does not load makes its venue `unknown`.

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

use crate::{approvals::Registry, fault::Result, host::Host, log::office::Versions, store::Store};

/// Where the sources that loaded last are kept, below the state directory.
pub const GOOD: &str = "policy/good.json";
/// The version of that file's format.
const FORMAT: u32 = 1;

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

#[derive(Debug, Serialize, Deserialize)]
struct Good {
    v: u32,
    texts: Texts,
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
    good: Option<Texts>,
    /// The site's own calendars, by venue.
    calendars: BTreeMap<String, Text>,
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
    /// Whoever asks, as the site knows him.
    pub asker: Principal,
    /// Whether these sources are to be kept as those that loaded last.
    news: bool,
}

impl Law {
    /// What a site has written, or why it could not be read; what loaded last; the site's own calendars; whose
    /// signatures count.
    pub fn new(
        texts: Result<Texts, Flaw>,
        good: Option<Texts>,
        calendars: BTreeMap<String, Text>,
        registry: Registry,
        asker: Asker,
    ) -> Law {
        let (catalog, loaded) = (Some(Catalog::shipped()), OnceLock::new());
        Law { texts, good, calendars, registry, catalog, asker, loaded }
    }

    /// The shipped policies, no venue, nobody known but root.
    pub fn shipped(uid: u32) -> Law {
        let asker = Asker { uid, login: None };
        Law::new(Ok(Texts::default()), None, BTreeMap::new(), Registry::default(), asker)
    }

    /// The same, with these kernel parameters besides those that playbooks may set anywhere.
    pub fn permitting(sysctls: &[String]) -> Law {
        let list = serde_json::to_string(sysctls).unwrap_or_default();
        let text = Text { file: "config.yaml".to_owned(), text: format!("sysctls: {list}\n") };
        let config = Some(text).filter(|_| !sysctls.is_empty());
        let asker = Asker { uid: 0, login: None };
        let texts = Ok(Texts { config, policies: Vec::new() });
        Law::new(texts, None, BTreeMap::new(), Registry::default(), asker)
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
        let own = match &self.texts {
            Err(flaw) => Err(vec![flaw.clone()]),
            Ok(texts) => {
                let checked = self.checked(texts);
                in_force(texts, checked).map(|taken| (taken, checked == Checked::Not))
            }
        };
        let (taken, flaws, news) = match own {
            Ok((taken, news)) => (Some(taken), Vec::new(), news),
            Err(flaws) => {
                let good = self.good.as_ref();
                let good = good.and_then(|texts| in_force(texts, Checked::Before).ok());
                (good, flaws, false)
            }
        };
        let (config, set) = match taken {
            Some((config, set)) => (config, Some(set)),
            None => (Config::shipped(), None),
        };
        let calendars = self.calendars(&config.venues);
        let asker = config.principal(self.asker.uid, self.asker.login);
        Loaded { config, set, calendars, flaws, asker, news }
    }

    /// What is kept as good was held against the schema when it was stored, what is shipped by a test.
    fn checked(&self, texts: &Texts) -> Checked {
        let known = self.good.as_ref() == Some(texts) || *texts == Texts::default();
        if known { Checked::Before } else { Checked::Not }
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
        let venues = loaded.config.venues.iter().filter_map(|venue| self.calendar(venue));
        let calendars: Vec<&[u8]> = venues.map(str::as_bytes).collect();
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

    /// The text of a venue's calendar: the site's own, or the shipped one.
    fn calendar(&self, venue: &str) -> Option<&str> {
        let shipped = || SHIPPED.iter().find(|(name, _)| *name == venue).map(|(_, text)| *text);
        self.calendars.get(venue).map(|text| text.text.as_str()).or_else(shipped)
    }

    /// These venues' calendars: the site's own, or the shipped one.
    pub fn calendars(&self, venues: &[String]) -> Calendars {
        let mut calendars = Calendars::default();
        for venue in venues {
            if let Some(text) = self.calendar(venue) {
                calendars.add(venue, text.as_bytes());
            }
        }
        calendars
    }

    /// Every venue that has a calendar.
    pub fn venues(&self) -> BTreeSet<&str> {
        let shipped = SHIPPED.iter().map(|(venue, _)| *venue);
        shipped.chain(self.calendars.keys().map(String::as_str)).collect()
    }

    /// Keeps the site's sources as those that loaded last, where they are new. Under the writer's lock.
    pub fn keep(&self, store: &dyn Store) -> Result<()> {
        let Ok(texts) = &self.texts else { return Ok(()) };
        if !self.loaded().news {
            return Ok(());
        }
        let good = Good { v: FORMAT, texts: texts.clone() };
        // Strings: they always serialize.
        let json = serde_json::to_vec(&good).unwrap_or_default();
        store.put(GOOD, &json)
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

impl Texts {
    /// What was kept, if it can be read: what cannot is no law.
    pub fn kept(bytes: &[u8]) -> Option<Texts> {
        let good: Good = serde_json::from_slice(bytes).ok()?;
        (good.v == FORMAT).then_some(good.texts)
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
