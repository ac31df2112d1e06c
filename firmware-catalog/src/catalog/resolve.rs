//! From "golden" or a version to an image, the way to flash it and the way back; or why not.

use std::cmp::Ordering;

use serde::Serialize;

use super::{Catalog, check::because};
use crate::{
    Answer, Subject,
    firmware::{Entry, Release, State},
    model::{Activate, Family, Flash},
    scheme::{SchemeError, Version},
};

/// What a firmware action needs to know. All of it is the catalog's word; the device has the last.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub model: String,
    pub board: Option<String>,
    pub entry: Entry,
    pub state: State,
    /// Against what is running.
    pub direction: Direction,
    /// Ways to write it, best first; at least one.
    pub flash: Vec<Flash>,
    /// Ways to make it run, least disruptive first; at least one, none of them a reboot.
    pub activate: Vec<Activate>,
    /// The longest that the driver's own waits add up to, milliseconds, where they are known.
    pub activation_ms_max: Option<u64>,
    /// What is known to stand in the way of older firmware.
    pub rollback: Option<String>,
    pub way_back: WayBack,
    /// The least version that this board may be given, where one is set.
    pub minimum: Option<Version>,
}

/// Which way the new version lies from the running one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    Older,
    Same,
    /// The same as far as both say, and one of them names a build or a package that the other leaves out.
    Perhaps,
    Newer,
    /// The running version is not known, or the two carry no order.
    Unordered,
}

/// Whether what runs now can be flashed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayBack {
    /// The catalog knows the running version's image. Whether that may be flashed is asked as for the new
    /// one: signature, length, and whether its file is stored.
    Entry(Box<Entry>),
    /// Why it does not, and what would settle it.
    None(String),
}

/// Why a wanted version is not to be flashed. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the NIC's model is not in the catalog")]
    UnknownModel,
    #[error("how {driver} numbers firmware is not known: name a `version-scheme` for {model}")]
    NoScheme { model: String, driver: String },
    #[error(transparent)]
    NotAVersion(#[from] SchemeError),
    #[error("no golden version is named for {model}{}", with_board(.board))]
    NoGolden { model: String, board: Option<String> },
    #[error("{version} is of several builds in the catalog ({}): name the one that is meant", .builds.join("; "))]
    SeveralBuilds { version: String, builds: Vec<String> },
    #[error("{version} of {model} is not in the catalog")]
    NotInCatalog { version: String, model: String },
    /// Refused by name: which model's branch it is, and which this NIC's.
    #[error("{version}: {why}")]
    OtherModel { version: String, why: String },
    #[error("{version} is for {}, and this board is {board}", .boards.join(", "))]
    WrongBoard { version: String, boards: Vec<String>, board: String },
    #[error("{version} is for {}, and this NIC does not tell its board", .boards.join(", "))]
    BoardUnknown { version: String, boards: Vec<String> },
    #[error("{version} is blocked: {why} ({blocker})")]
    Blocked { version: String, why: String, blocker: String },
    #[error("{version} is below {minimum}, the least that this board may be given ({by})")]
    BelowMinimum { version: String, minimum: String, by: String },
    #[error("the catalog has no image for {version} of {model}")]
    NoImage { version: String, model: String },
    #[error("the host cannot write firmware into a {model}: {family} has no way to flash")]
    NoFlashPath { model: String, family: String },
    #[error("no way is known to make a {model} run new firmware without a reboot of the host")]
    NeedsReboot { model: String },
}

fn with_board(board: &Option<String>) -> String {
    board.as_ref().map_or_else(String::new, |board| format!(" on board {board}"))
}

impl Refusal {
    /// The rule that an operator sees.
    pub fn rule(&self) -> &'static str {
        match self {
            Refusal::UnknownModel | Refusal::NoScheme { .. } => "firmware-model",
            Refusal::NotAVersion(_) | Refusal::SeveralBuilds { .. } => "firmware-version",
            Refusal::NoGolden { .. } | Refusal::NotInCatalog { .. } => "firmware-catalog",
            Refusal::OtherModel { .. } => "firmware-branch",
            Refusal::WrongBoard { .. } | Refusal::BoardUnknown { .. } => "firmware-board",
            Refusal::Blocked { .. } => "firmware-blocked",
            Refusal::BelowMinimum { .. } => "firmware-minimum",
            Refusal::NoImage { .. } => "firmware-image",
            Refusal::NoFlashPath { .. } | Refusal::NeedsReboot { .. } => "firmware-path",
        }
    }

    /// Whether the request itself makes no sense (exit 2); else it is refused (exit 4).
    pub fn is_wrong_request(&self) -> bool {
        match self {
            Refusal::NotAVersion(_) | Refusal::SeveralBuilds { .. } => true,
            Refusal::UnknownModel
            | Refusal::NoScheme { .. }
            | Refusal::NoGolden { .. }
            | Refusal::NotInCatalog { .. }
            | Refusal::OtherModel { .. }
            | Refusal::WrongBoard { .. }
            | Refusal::BoardUnknown { .. }
            | Refusal::Blocked { .. }
            | Refusal::BelowMinimum { .. }
            | Refusal::NoImage { .. }
            | Refusal::NoFlashPath { .. }
            | Refusal::NeedsReboot { .. } => false,
        }
    }
}

impl Catalog {
    /// What `wanted` (`golden`, or a version under the NIC's own scheme) comes to on this NIC.
    ///
    /// Checked here: the model and its branch, the board, blocked versions, the least version, that
    /// there is an image with a digest, a way to flash it and a way to run it without a reboot. Not
    /// checked here: hazards ([`Catalog::hazards`]), and of both entries the image's bytes
    /// ([`Image::check_length`](crate::firmware::Image::check_length),
    /// [`Image::check_hash`](crate::firmware::Image::check_hash)), signature and file.
    ///
    /// # Errors
    ///
    /// The first reason why not.
    pub fn resolve(&self, subject: &Subject, wanted: &str) -> Result<Target, Refusal> {
        let model = self.model_of(subject).ok_or(Refusal::UnknownModel)?;
        let name = model.name.clone();
        let scheme = self.scheme_of(subject).ok_or_else(|| Refusal::NoScheme {
            model: name.clone(),
            driver: subject.driver.clone(),
        })?;
        let release = match wanted {
            "golden" => self.golden_for(subject, &name)?,
            version => self.version_for(subject, &name, &scheme.parse(version)?)?,
        };
        self.permitted(subject, release)?;
        let minimum = self.above_minimum(subject, release)?;
        let missing =
            || Refusal::NoImage { version: release.version.to_string(), model: name.clone() };
        let entry = release.entry().ok_or_else(missing)?;
        let running = subject.running.as_deref().and_then(|text| scheme.parse(text).ok());
        let (flash, activate) = ways(&model.family, &name)?;
        Ok(Target {
            board: subject.board.clone(),
            state: release.state,
            direction: direction(running.as_ref(), &release.version),
            entry,
            flash,
            activate,
            activation_ms_max: model.family.activation_ms_max,
            rollback: model.family.rollback.clone(),
            way_back: self.way_back(subject, &name, running.as_ref()),
            minimum,
            model: name,
        })
    }

    fn golden_for(&self, subject: &Subject, model: &str) -> Result<&Release, Refusal> {
        let board = subject.board.as_deref();
        if let Some(golden) = self.golden(model, board) {
            return Ok(golden);
        }
        let mut others = self.releases_of(model).filter(|r| r.state == State::Golden);
        // There is one, for boards that this is not, or may not be.
        Err(match others.next() {
            Some(other) => wrong_board(other, board),
            None => Refusal::NoGolden { model: model.to_owned(), board: subject.board.clone() },
        })
    }

    fn version_for(
        &self,
        subject: &Subject,
        model: &str,
        version: &Version,
    ) -> Result<&Release, Refusal> {
        if let Some(why) = self.other_branch(subject, version) {
            return Err(Refusal::OtherModel { version: version.to_string(), why });
        }
        let board = subject.board.as_deref();
        if let Some(named) = version.board().filter(|named| board != Some(named)) {
            return Err(other_board(version, vec![named.to_owned()], board));
        }
        let same = |r: &&Release| r.version.same(version).unwrap_or(false);
        let mut found: Vec<&Release> = self.releases_of(model).filter(same).collect();
        // What is blocked for this board is so whatever another entry says of it.
        let exact = |r: &Release| r.version.identity(version) == Ok(Answer::Yes);
        found.sort_by_key(|release| (release.state != State::Blocked, !exact(release)));
        let mut own = found.iter().filter(|release| release.is_for(board) == Some(true));
        if let Some(release) = own.next() {
            let others = own.filter(|other| other.version.same(&release.version) != Ok(true));
            let mut builds: Vec<String> = others.map(|other| other.version.to_string()).collect();
            if release.state == State::Blocked || exact(release) || builds.is_empty() {
                return Ok(release);
            }
            builds.insert(0, release.version.to_string());
            return Err(Refusal::SeveralBuilds { version: version.to_string(), builds });
        }
        Err(match found.first() {
            Some(other) => wrong_board(other, board),
            None => Refusal::NotInCatalog { version: version.to_string(), model: model.to_owned() },
        })
    }

    fn permitted(&self, subject: &Subject, release: &Release) -> Result<(), Refusal> {
        let version = release.version.to_string();
        if let Some(why) = self.other_branch(subject, &release.version) {
            return Err(Refusal::OtherModel { version, why });
        }
        let board = subject.board.as_deref();
        let blocked = self.releases_of(&release.model).find(|other| {
            other.state == State::Blocked
                && other.is_for(board) != Some(false)
                && other.version.same(&release.version).unwrap_or(true)
        });
        match blocked {
            Some(entry) => Err(Refusal::Blocked {
                version,
                why: because(entry),
                blocker: format!("{}; {}", entry.source, entry.origin),
            }),
            None => Ok(()),
        }
    }

    /// The least version for this board, all that are set held against the release.
    fn above_minimum(
        &self,
        subject: &Subject,
        release: &Release,
    ) -> Result<Option<Version>, Refusal> {
        let board = subject.board.as_deref();
        let mut least: Option<&Version> = None;
        for minimum in self.minimums_of(&release.model) {
            if minimum.is_for(board) == Some(false) {
                continue;
            }
            // Without an order nobody can say that it is not below.
            if !release.version.compare(&minimum.version).is_ok_and(Ordering::is_ge) {
                return Err(Refusal::BelowMinimum {
                    version: release.version.to_string(),
                    minimum: minimum.version.to_string(),
                    by: format!("{}; {}", minimum.source, minimum.origin),
                });
            }
            let higher = |v: &Version| minimum.version.compare(v).is_ok_and(Ordering::is_gt);
            if least.is_none_or(higher) {
                least = Some(&minimum.version);
            }
        }
        Ok(least.cloned())
    }

    fn way_back(&self, subject: &Subject, model: &str, running: Option<&Version>) -> WayBack {
        let Some(running) = running else {
            return WayBack::None("the running version is not known".to_owned());
        };
        let board = subject.board.as_deref();
        let own = self.releases_of(model).filter(|release| release.is_for(board) == Some(true));
        let mut unsure = None;
        for release in own {
            let Some(entry) = release.entry() else { continue };
            match release.version.identity(running).unwrap_or(Answer::No) {
                Answer::Yes => return WayBack::Entry(Box::new(entry)),
                Answer::Unknown => unsure = unsure.or(Some(entry.version)),
                Answer::No => {}
            }
        }
        WayBack::None(match unsure {
            Some(version) => format!(
                "whether the catalog's {version} is the build that runs, {running}, is not told: an entry \
                 whose version is written as the driver prints it would settle that"
            ),
            None => format!("the catalog has no image for the running {running}"),
        })
    }
}

fn wrong_board(release: &Release, board: Option<&str>) -> Refusal {
    let boards = release.for_boards().unwrap_or_default();
    other_board(&release.version, boards.into_iter().map(str::to_owned).collect(), board)
}

fn other_board(version: &Version, boards: Vec<String>, board: Option<&str>) -> Refusal {
    let version = version.to_string();
    match board {
        Some(board) => Refusal::WrongBoard { version, boards, board: board.to_owned() },
        None => Refusal::BoardUnknown { version, boards },
    }
}

fn direction(running: Option<&Version>, wanted: &Version) -> Direction {
    let Some(running) = running else { return Direction::Unordered };
    match (wanted.compare(running), wanted.identity(running)) {
        (Ok(Ordering::Less), _) => Direction::Older,
        (Ok(Ordering::Greater), _) => Direction::Newer,
        (Ok(Ordering::Equal), Ok(Answer::Yes)) => Direction::Same,
        (Ok(Ordering::Equal), Ok(Answer::Unknown)) => Direction::Perhaps,
        (Ok(Ordering::Equal), Ok(Answer::No) | Err(_)) | (Err(_), _) => Direction::Unordered,
    }
}

fn ways(family: &Family, model: &str) -> Result<(Vec<Flash>, Vec<Activate>), Refusal> {
    let model = model.to_owned();
    if family.flash.is_empty() {
        return Err(Refusal::NoFlashPath { model, family: family.name.clone() });
    }
    let alone = family.activate.iter().filter(|way| way.is_of_the_nic_alone());
    let activate: Vec<Activate> = alone.cloned().collect();
    match activate.is_empty() {
        true => Err(Refusal::NeedsReboot { model }),
        false => Ok((family.flash.clone(), activate)),
    }
}
