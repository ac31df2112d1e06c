//! What only a whole catalog can say: ids that are unique, models that exist, versions of the branch
//! of their model, one golden version a board.
//!
//! That ranges parse and every entry has a source is seen while a file is read.

use std::collections::BTreeMap;

use playbooks::applies::glob_matches;

use crate::{
    Catalog, Origin,
    firmware::{Release, State},
    issue::{Driver, Issue, Kind},
    model::Model,
    scheme::Scheme,
    shipped,
};

/// One thing that is wrong with the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    pub origin: Origin,
    pub what: String,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    pub models: usize,
    pub versions: usize,
    pub issues: usize,
    /// Issues that forbid an act of ours.
    pub hazards: usize,
}

impl Catalog {
    /// Everything that is wrong, the shipped part included; nothing where it is sound.
    pub fn lint(&self) -> (Extent, Vec<Flaw>) {
        let site = self.site();
        let mut flaws = Vec::new();
        let mut models: Vec<&Model> = shipped::models().collect();
        unique(
            &models,
            |model| format!("PCI device {:04x}:{:04x}", model.vendor, model.device),
            &mut flaws,
        );
        let ours: Vec<&Model> = site.models.iter().collect();
        unique(
            &ours,
            |model| format!("PCI device {:04x}:{:04x}", model.vendor, model.device),
            &mut flaws,
        );
        models.extend(ours);
        let shipped_issues: Vec<&Issue> = shipped::issues().collect();
        let site_issues: Vec<&Issue> = site.issues.iter().collect();
        unique(&shipped_issues, |issue| format!("issue {}", issue.id), &mut flaws);
        unique(&site_issues, |issue| format!("issue {}", issue.id), &mut flaws);
        let issues: Vec<&Issue> = site_issues.into_iter().chain(shipped_issues).collect();
        issues.iter().for_each(|issue| self.issue_is_sound(issue, &models, &mut flaws));
        let shipped_releases = shipped::firmware().flat_map(|file| &file.releases);
        let releases: Vec<&Release> = site.releases.iter().chain(shipped_releases).collect();
        releases.iter().for_each(|release| self.release_is_sound(release, &models, &mut flaws));
        one_golden_a_board(&releases, &mut flaws);
        let minimums = shipped::firmware().flat_map(|file| &file.minimums);
        for minimum in site.minimums.iter().chain(minimums) {
            let what = format!("the minimum {} of {}", minimum.version, minimum.model);
            model_exists(
                &what,
                &minimum.model,
                minimum.version.scheme(),
                &models,
                &minimum.origin,
                &mut flaws,
            );
        }
        let hazards = issues.iter().filter(|issue| !issue.forbids.is_empty()).count();
        let (models, versions, issues) = (models.len(), releases.len(), issues.len());
        (Extent { models, versions, issues, hazards }, flaws)
    }

    fn issue_is_sound(&self, issue: &Issue, models: &[&Model], flaws: &mut Vec<Flaw>) {
        let mut flaw = |what: String| flaws.push(Flaw { origin: issue.origin.clone(), what });
        if issue.kind == Kind::RemediationActionHazard && issue.forbids.is_empty() {
            flaw(format!("issue {} is a remediation hazard that forbids nothing", issue.id));
        }
        let Driver::Named(driver) = &issue.driver else { return };
        let of_driver: Vec<&&Model> =
            models.iter().filter(|model| model.driver == *driver).collect();
        let globs = issue.models.iter().chain(issue.firmware.iter().map(|(glob, _)| glob));
        for glob in globs {
            // Of some drivers the catalog has issues and no models.
            if !of_driver.is_empty() && !of_driver.iter().any(|m| glob_matches(glob, &m.name)) {
                flaw(format!("issue {}: no model of {driver} is called `{glob}`", issue.id));
            }
        }
        for (glob, range) in &issue.firmware {
            let scheme = of_driver.iter().find(|model| glob_matches(glob, &model.name));
            let scheme = scheme.and_then(|model| model.family.scheme);
            let Some(scheme) = scheme.or_else(|| Scheme::of_driver(driver)) else {
                flaw(format!("issue {}: how {driver} numbers firmware is not known", issue.id));
                continue;
            };
            if let Err(error) = scheme.check_range(range) {
                flaw(format!("issue {}: {error}", issue.id));
            }
        }
    }

    fn release_is_sound(&self, release: &Release, models: &[&Model], flaws: &mut Vec<Flaw>) {
        let what = format!("{} of {}", release.version, release.model);
        let scheme = release.version.scheme();
        model_exists(&what, &release.model, scheme, models, &release.origin, flaws);
        let mut flaw = |what: String| flaws.push(Flaw { origin: release.origin.clone(), what });
        if let (Some(branch), Some(model)) =
            (release.version.branch(), models.iter().find(|model| model.name == release.model))
            && model.firmware_prefix.as_ref().is_some_and(|p| *p != format!("{branch}."))
        {
            let owners = self.models_of_branch(branch).join(", ");
            flaw(format!("{what}: branch {branch}. is of {owners}"));
        }
        if let Some(named) = release.version.board()
            && !release.boards.is_empty()
            && release.boards != [named]
        {
            let boards = release.boards.join(", ");
            flaw(format!("{what}: its version names board {named}, and `boards` {boards}"));
        }
        if let Some(issue) = &release.issue
            && self.issue(issue).is_none()
        {
            flaw(format!("{what}: there is no issue {issue}"));
        }
        if release.state == State::Golden && release.image.is_none() {
            flaw(format!("{what} is golden and has no image: nothing could be flashed"));
        }
    }
}

fn model_exists(
    what: &str,
    name: &str,
    scheme: Scheme,
    models: &[&Model],
    origin: &Origin,
    flaws: &mut Vec<Flaw>,
) {
    let mut flaw = |what: String| flaws.push(Flaw { origin: origin.clone(), what });
    let Some(model) = models.iter().find(|model| model.name == name) else {
        flaw(format!("{what}: no model is called so"));
        return;
    };
    let theirs = model.family.scheme.or_else(|| Scheme::of_driver(&model.driver));
    if theirs != Some(scheme) {
        let theirs = theirs.map_or("none", Scheme::name);
        flaw(format!("{what}: read by the {scheme} scheme, and the model's is {theirs}"));
    }
}

/// Two golden versions for one board of one model, both the site's or both shipped.
fn one_golden_a_board(releases: &[&Release], flaws: &mut Vec<Flaw>) {
    let golden: Vec<&&Release> = releases.iter().filter(|r| r.state == State::Golden).collect();
    for (at, one) in golden.iter().enumerate() {
        for other in &golden[at + 1..] {
            let shipped = |release: &Release| release.origin == Origin::Shipped;
            let share = match (one.for_boards(), other.for_boards()) {
                (None, _) | (_, None) => true,
                (Some(ones), Some(others)) => ones.iter().any(|board| others.contains(board)),
            };
            if one.model == other.model && shipped(one) == shipped(other) && share {
                let what = format!(
                    "{} has two golden versions for one board: {} and {}",
                    one.model, one.version, other.version
                );
                flaws.push(Flaw { origin: other.origin.clone(), what });
            }
        }
    }
}

trait HasOrigin {
    fn origin(&self) -> &Origin;
}

impl HasOrigin for Model {
    fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl HasOrigin for Issue {
    fn origin(&self) -> &Origin {
        &self.origin
    }
}

fn unique<T: HasOrigin>(all: &[&T], key: impl Fn(&T) -> String, flaws: &mut Vec<Flaw>) {
    let mut seen: BTreeMap<String, &Origin> = BTreeMap::new();
    for item in all {
        let key = key(item);
        if let Some(first) = seen.insert(key.clone(), item.origin()) {
            let what = format!("{key} is there twice; the first is in the {first}");
            flaws.push(Flaw { origin: item.origin().clone(), what });
        }
    }
}
