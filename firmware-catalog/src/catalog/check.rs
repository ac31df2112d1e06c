//! Inventory against the catalog: golden, drifted, blocked or unknown.

use std::cmp::Ordering;

use serde::Serialize;

use super::{Catalog, Origin};
use crate::{
    Answer, Subject,
    firmware::{Release, State},
    issue::{Issue, Kind},
    scheme::Version,
};

/// What the catalog thinks of a NIC's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It runs, and would run after a reset, what it should.
    Golden,
    /// It runs, or would run after a reset, something else than the golden version.
    Drifted,
    /// It runs, or would run after a reset, what should never run.
    Blocked,
    /// The catalog cannot say.
    Unknown,
}

/// The answer about one NIC.
#[derive(Debug, Clone, PartialEq)]
pub struct Report<'c> {
    pub status: Status,
    /// One sentence.
    pub why: String,
    /// Where the status comes from, where anything was found.
    pub source: Option<String>,
    pub origin: Option<Origin>,
    pub model: Option<&'c str>,
    pub golden: Option<&'c Release>,
    /// The issues that it has, or may have.
    pub concerns: Vec<Concern<'c>>,
}

/// An issue, and whether the NIC has it (`Yes`) or that is not known (`Unknown`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Concern<'c> {
    pub issue: &'c Issue,
    pub applies: Answer,
}

/// Status, its reason, and what says so.
struct Finding<'c> {
    status: Status,
    why: String,
    by: Option<(&'c str, &'c Origin)>,
}

impl Catalog {
    /// Holds one NIC against the catalog.
    pub fn check<'c>(&'c self, subject: &'c Subject) -> Report<'c> {
        let model = self.model_name(subject);
        let concerns = self.concerns(subject);
        let golden = model.and_then(|model| self.golden(model, subject.board.as_deref()));
        let Finding { status, why, by } = self.find(subject, model, golden, &concerns);
        let source = by.map(|(source, _)| source.to_owned());
        let origin = by.map(|(_, origin)| origin.clone());
        Report { status, why, source, origin, model, golden, concerns }
    }

    /// The issues that this NIC has or may have, circumstances aside.
    pub fn concerns<'c>(&'c self, subject: &Subject) -> Vec<Concern<'c>> {
        let model = self.model_name(subject);
        let scheme = self.scheme_of(subject);
        let asked = self
            .issues_of(&subject.driver)
            .map(|issue| Concern { issue, applies: issue.affects(subject, model, scheme) });
        asked.filter(|concern| concern.applies != Answer::No).collect()
    }

    fn find<'c>(
        &'c self,
        subject: &'c Subject,
        model: Option<&'c str>,
        golden: Option<&'c Release>,
        concerns: &[Concern<'c>],
    ) -> Finding<'c> {
        let unknown = |why: String| Finding { status: Status::Unknown, why, by: None };
        let Some(model) = model else {
            return unknown("its model is not in the catalog".to_owned());
        };
        let Some(running) = &subject.running else {
            return unknown("its driver does not tell a firmware version".to_owned());
        };
        let Some(scheme) = self.scheme_of(subject) else {
            return unknown(format!(
                "how {} numbers firmware ({running}) is not known",
                subject.driver
            ));
        };
        let running = match scheme.parse(running) {
            Ok(version) => version,
            Err(error) => return unknown(error.to_string()),
        };
        if let Some(bad) = self.blocked(subject, model, &running, concerns) {
            return bad;
        }
        if let Some(bad) = self.stores_blocked(subject, model, &running, scheme) {
            return bad;
        }
        if let Some(why) = self.other_branch(subject, &running) {
            return unknown(why);
        }
        let known = self.known(subject, model, &running);
        let Some(golden) = golden else {
            let by = known.map(|release| (release.source.as_str(), &release.origin));
            let why = match known {
                Some(_) => {
                    format!("{running} is a released version; no golden one is named for {model}")
                }
                None => format!(
                    "{running} is not in the catalog, and no golden version is named for {model}"
                ),
            };
            return Finding { status: Status::Unknown, why, by };
        };
        let by = Some((golden.source.as_str(), &golden.origin));
        let (status, why) = held(golden, &running, subject, scheme);
        Finding { status, why, by }
    }

    /// By an entry, by a minimum, or by an issue that takes the NIC down.
    fn blocked<'c>(
        &'c self,
        subject: &Subject,
        model: &'c str,
        running: &Version,
        concerns: &[Concern<'c>],
    ) -> Option<Finding<'c>> {
        let board = subject.board.as_deref();
        let is_it = |release: &&Release| {
            release.state == State::Blocked
                && release.is_for(board) == Some(true)
                && release.version.same(running).unwrap_or(false)
        };
        if let Some(release) = self.releases_of(model).find(is_it) {
            let why = format!("{running} is blocked: {}", because(release));
            let by = Some((release.source.as_str(), &release.origin));
            return Some(Finding { status: Status::Blocked, why, by });
        }
        let below = self.minimums_of(model).find(|minimum| {
            minimum.is_for(board) == Some(true)
                && running.compare(&minimum.version).is_ok_and(Ordering::is_lt)
        });
        if let Some(minimum) = below {
            let why = format!("{running} is below {}, the least that may run", minimum.version);
            let by = Some((minimum.source.as_str(), &minimum.origin));
            return Some(Finding { status: Status::Blocked, why, by });
        }
        let fatal = concerns.iter().find(|concern| {
            concern.issue.kind == Kind::FatalFirmwareReset && concern.applies == Answer::Yes
        })?;
        let why = format!("{running} has {}: {}", fatal.issue.id, fatal.issue.title);
        let by = Some((fatal.issue.source.as_str(), &fatal.issue.origin));
        Some(Finding { status: Status::Blocked, why, by })
    }

    /// What lies in flash, where it is something else than what runs: the next reset runs it.
    fn stores_blocked<'c>(
        &'c self,
        subject: &Subject,
        model: &'c str,
        running: &Version,
        scheme: crate::Scheme,
    ) -> Option<Finding<'c>> {
        let stored = scheme.parse(subject.stored.as_deref()?).ok()?;
        if stored.same(running).unwrap_or(false) {
            return None;
        }
        let next = Subject { running: subject.stored.clone(), ..subject.clone() };
        let bad = self.blocked(&next, model, &stored, &self.concerns(&next))?;
        let why = format!("runs {running}, but a reset would run {stored}: {}", bad.why);
        Some(Finding { why, ..bad })
    }

    /// Firmware that is numbered as another model's.
    pub(super) fn other_branch(&self, subject: &Subject, version: &Version) -> Option<String> {
        let branch = version.branch()?;
        let model = self.model_of(subject)?;
        let prefix = model.firmware_prefix.as_deref()?;
        if prefix == format!("{branch}.") {
            return None;
        }
        let owners = self.models_of_branch(branch);
        let whose = match owners.is_empty() {
            true => format!("firmware branch {branch}. is no known model's"),
            false => format!("firmware branch {branch}. is {}'s", owners.join("'s and ")),
        };
        Some(format!("{whose}; this is a {}, whose branch is {prefix}", model.name))
    }

    fn known<'c>(
        &'c self,
        subject: &Subject,
        model: &'c str,
        version: &Version,
    ) -> Option<&'c Release> {
        let board = subject.board.as_deref();
        self.releases_of(model).find(|release| {
            release.is_for(board) != Some(false) && release.version.same(version).unwrap_or(false)
        })
    }
}

/// Running and stored against the golden version.
fn held(
    golden: &Release,
    running: &Version,
    subject: &Subject,
    scheme: crate::Scheme,
) -> (Status, String) {
    let version = &golden.version;
    match running.compare(version) {
        Ok(Ordering::Equal) if running.identity(version) == Ok(Answer::Unknown) => {
            let why = format!(
                "runs {running}; whether that is the golden {version} is not told: one of them leaves out \
                 the build"
            );
            return (Status::Unknown, why);
        }
        Ok(Ordering::Equal) => {}
        Ok(Ordering::Less) => {
            return (Status::Drifted, format!("runs {running}, older than the golden {version}"));
        }
        Ok(Ordering::Greater) => {
            return (Status::Drifted, format!("runs {running}, newer than the golden {version}"));
        }
        Err(error) => {
            return (Status::Drifted, format!("runs {running}, not the golden {version}: {error}"));
        }
    }
    let Some(stored) = &subject.stored else {
        return (Status::Golden, format!("runs the golden {version}"));
    };
    let same = scheme.parse(stored).and_then(|stored| stored.same(version));
    match same {
        Ok(true) => (Status::Golden, format!("runs and stores the golden {version}")),
        Ok(false) | Err(_) => {
            let why = format!("runs the golden {version}, but a reset would run {stored}");
            (Status::Drifted, why)
        }
    }
}

/// Why a release is blocked, in the entry's words.
pub(super) fn because(release: &Release) -> String {
    match (&release.issue, &release.note) {
        (Some(issue), Some(note)) => format!("{issue}, {note}"),
        (Some(issue), None) => issue.clone(),
        (None, Some(note)) => note.clone(),
        (None, None) => "the catalog says so".to_owned(),
    }
}
