//! The catalog as it is asked: what ships, and what the site has laid over it.

mod check;
mod hazards;
mod resolve;

use std::sync::Arc;

use playbooks::parse::Problem;
use serde::Serialize;

use crate::{
    Subject,
    firmware::{Minimum, Release},
    issue::{Driver, Issue},
    model::Model,
    read,
    scheme::Scheme,
    shipped,
};

pub use check::{Concern, Report, Status};
pub use hazards::{Hazard, read_hazard};
pub use resolve::{Direction, Refusal, Target, WayBack};

/// Where an answer comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Built into this binary.
    Shipped,
    /// A file of the site's.
    Site(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Shipped => f.write_str("shipped catalog"),
            Origin::Site(file) => write!(f, "site catalog, {file}"),
        }
    }
}

/// The shipped catalog with the site's over it. Cheap to clone.
///
/// The site wins, and every answer says where it comes from: a PCI device, an issue id, or a model's
/// version that the site describes is the site's alone, and where the site names a golden version for
/// a board, no shipped one counts.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    site: Arc<Site>,
}

#[derive(Debug, Default)]
pub(crate) struct Site {
    pub(crate) files: Vec<SiteFile>,
    pub(crate) models: Vec<Model>,
    pub(crate) releases: Vec<Release>,
    pub(crate) minimums: Vec<Minimum>,
    pub(crate) issues: Vec<Issue>,
}

/// One file of a site's catalog.
#[derive(Debug, Clone)]
pub struct SiteFile {
    /// As it is called in messages.
    pub path: String,
    pub part: Part,
    pub text: Vec<u8>,
}

/// Which part of a catalog a file belongs to: the name of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Models,
    Firmware,
    Issues,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Models, Part::Firmware, Part::Issues];

    pub fn folder(self) -> &'static str {
        match self {
            Part::Models => "models",
            Part::Firmware => "firmware",
            Part::Issues => "issues",
        }
    }
}

/// What is wrong with one file of a site's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFile {
    pub path: String,
    pub problems: Vec<Problem>,
}

impl Catalog {
    /// What is built in, and nothing else.
    pub fn shipped() -> Catalog {
        Catalog::default()
    }

    /// With these files over it.
    ///
    /// # Errors
    ///
    /// Every problem of every file at once.
    pub fn with_site(files: &[SiteFile]) -> Result<Catalog, Vec<BadFile>> {
        let (mut site, mut bad) = (Site::default(), Vec::new());
        for file in files {
            let origin = Origin::Site(file.path.clone());
            let read = match file.part {
                Part::Models => {
                    read::models(&file.text, &origin).map(|models| site.models.extend(models))
                }
                Part::Issues => {
                    read::issues(&file.text, &origin).map(|issues| site.issues.extend(issues))
                }
                Part::Firmware => read::firmware(&file.text, &origin).map(|firmware| {
                    site.releases.extend(firmware.releases);
                    site.minimums.extend(firmware.minimums);
                }),
            };
            if let Err(problems) = read {
                bad.push(BadFile { path: file.path.clone(), problems });
            }
        }
        site.files = files.to_vec();
        if bad.is_empty() { Ok(Catalog { site: Arc::new(site) }) } else { Err(bad) }
    }

    /// Whether the site has laid anything over what ships.
    pub fn has_site(&self) -> bool {
        let Site { files: _, models, releases, minimums, issues } = &*self.site;
        !(models.is_empty() && releases.is_empty() && minimums.is_empty() && issues.is_empty())
    }

    /// Every text that it is read from: the shipped ones, then the site's, in a fixed order. Their digest
    /// tells one catalog from another.
    pub fn texts<'c>(&'c self) -> impl Iterator<Item = &'c [u8]> + use<'c> {
        let site = self.site.files.iter().map(|file| file.text.as_slice());
        let shipped = shipped::texts().map(|text| -> &'c [u8] { text.as_bytes() });
        shipped.chain(site)
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// The model of a PCI device.
    pub fn model(&self, vendor: u16, device: u16) -> Option<&Model> {
        let ours = |model: &&Model| (model.vendor, model.device) == (vendor, device);
        self.site.models.iter().find(ours).or_else(|| crate::lookup(vendor, device))
    }

    /// Every PCI device there is; the site's first.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        let replaced = |shipped: &&Model| {
            let same =
                |ours: &Model| (ours.vendor, ours.device) == (shipped.vendor, shipped.device);
            self.site.models.iter().any(same)
        };
        let shipped = crate::model::all().filter(move |model| !replaced(model));
        self.site.models.iter().chain(shipped.map(shorter))
    }

    /// The model of this NIC, by its PCI ids.
    pub fn model_of(&self, subject: &Subject) -> Option<&Model> {
        subject.pci.and_then(|(vendor, device)| self.model(vendor, device))
    }

    /// Its name: the catalog's, or the one that the facts bring along.
    pub fn model_name<'a>(&'a self, subject: &'a Subject) -> Option<&'a str> {
        let known = self.model_of(subject).map(|model| model.name.as_str());
        known.or(subject.model.as_deref())
    }

    /// How this NIC's firmware versions are read.
    pub fn scheme_of(&self, subject: &Subject) -> Option<Scheme> {
        let of_model = self.model_of(subject).and_then(|model| model.family.scheme);
        of_model.or_else(|| Scheme::of_driver(&subject.driver))
    }

    /// Every issue that may concern a NIC of this driver, the kernel's own included; the site's first.
    pub fn issues_of<'c>(&'c self, driver: &str) -> impl Iterator<Item = &'c Issue> {
        let concerns = move |issue: &&Issue| match &issue.driver {
            Driver::Any => true,
            Driver::Named(name) => name == driver,
        };
        let shipped = shipped::issues_of(driver).filter(|issue| !self.replaces(issue)).map(shorter);
        self.site.issues.iter().filter(concerns).chain(shipped)
    }

    /// Every issue there is; the site's first.
    pub fn issues(&self) -> impl Iterator<Item = &Issue> {
        let shipped = shipped::issues().filter(|issue| !self.replaces(issue));
        self.site.issues.iter().chain(shipped.map(shorter))
    }

    /// The issue with this id.
    pub fn issue(&self, id: &str) -> Option<&Issue> {
        self.issues().find(|issue| issue.id == id)
    }

    fn replaces(&self, shipped: &Issue) -> bool {
        self.site.issues.iter().any(|issue| issue.id == shipped.id)
    }

    /// Every driver that a model or an issue is of, by name, each once.
    pub fn drivers(&self) -> Vec<&str> {
        let of_models = self.models().map(|model| model.driver.as_str());
        let of_issues = self.issues().filter_map(|issue| match &issue.driver {
            Driver::Any => None,
            Driver::Named(name) => Some(name.as_str()),
        });
        let mut names: Vec<&str> = of_models.chain(of_issues).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Every version known of this model's firmware; the site's first.
    pub fn releases_of<'c>(&'c self, model: &str) -> impl Iterator<Item = &'c Release> {
        let site = self.site.releases.iter().filter(move |release| release.model == model);
        let replaced = move |shipped: &&Release| {
            let same = |ours: &Release| {
                ours.model == model && ours.version.same(&shipped.version).unwrap_or(false)
            };
            self.site.releases.iter().any(same)
        };
        let shipped = shipped::firmware().flat_map(|file| &file.releases);
        site.chain(shipped.filter(move |r| r.model == model).filter(move |r| !replaced(r)))
    }

    /// The least versions that boards of this model may be given. The site's add to the shipped ones:
    /// neither lowers the other.
    pub fn minimums_of<'c>(&'c self, model: &str) -> impl Iterator<Item = &'c Minimum> {
        let shipped = shipped::firmware().flat_map(|file| &file.minimums);
        self.site.minimums.iter().chain(shipped).filter(move |minimum| minimum.model == model)
    }

    /// The golden version for this board of this model; the site's where it names one.
    pub fn golden(&self, model: &str, board: Option<&str>) -> Option<&Release> {
        use crate::firmware::State;
        let golden = |release: &&Release| {
            release.state == State::Golden
                && release.model == model
                && release.is_for(board) == Some(true)
        };
        let shipped = shipped::firmware().flat_map(|file| &file.releases);
        self.site.releases.iter().find(golden).or_else(|| shipped.into_iter().find(golden))
    }

    /// The models whose firmware branch this is (`14.`: ConnectX-4 Lx), by name, each once.
    pub fn models_of_branch(&self, branch: u32) -> Vec<&str> {
        let prefix = format!("{branch}.");
        let of_branch = |model: &&Model| model.firmware_prefix.as_deref() == Some(prefix.as_str());
        let all = self.site.models.iter().chain(shipped::models_of(MELLANOX));
        let mut names: Vec<&str> = all.filter(of_branch).map(|model| model.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// What ships lives as long as anything.
fn shorter<'c, T>(shipped: &'static T) -> &'c T {
    shipped
}

/// The one vendor whose firmware has a branch a model.
const MELLANOX: u16 = 0x15b3;
