//! Our own acts against the issues: which of them this driver, kernel and firmware cannot stand.

use super::Catalog;
use crate::{
    Answer, Subject,
    act::{Act, Read},
    issue::{Driver, Issue, Kernels},
    subject::Circumstance,
};

/// An issue that forbids an act here.
#[derive(Debug, Clone, PartialEq)]
pub struct Hazard<'c> {
    pub issue: &'c Issue,
    /// `Yes`: this kernel, driver and firmware have the defect. `Unknown`: nobody knows, and the act
    /// is disruptive.
    pub certainty: Answer,
    /// What is not known, in words.
    pub unknown: Option<String>,
}

impl Catalog {
    /// The issues that forbid this act on this NIC.
    ///
    /// An act is forbidden where the defect is known to be there, and, if traffic feels the act, also
    /// where it is not known: an unknown base, a driver from outside the kernel's tree, a range that
    /// was not established. A circumstance that is not known counts as given.
    pub fn hazards<'c>(&'c self, subject: &Subject, act: &Act) -> Vec<Hazard<'c>> {
        let (model, scheme) = (self.model_name(subject), self.scheme_of(subject));
        let forbidding = self
            .issues_of(&subject.driver)
            .filter(|issue| issue.forbids.iter().any(|pattern| pattern.covers(act)));
        let mut hazards = Vec::new();
        for issue in forbidding {
            let circumstances = issue.circumstances(subject);
            let certainty = issue.affects(subject, model, scheme);
            // A reset is rare and short: where the defect itself is in doubt, one that nobody has
            // announced is no reason to stay blind.
            let settled = issue.when == Some(Circumstance::Resetting);
            let hits = match (certainty, circumstances) {
                (Answer::No, _) | (_, Answer::No) => false,
                (Answer::Yes, Answer::Yes | Answer::Unknown) => true,
                (Answer::Unknown, Answer::Yes) => act.is_disruptive(),
                (Answer::Unknown, Answer::Unknown) => act.is_disruptive() && !settled,
            };
            if hits {
                let unknown = (certainty == Answer::Unknown).then(|| doubt(issue, subject, model));
                hazards.push(Hazard { issue, certainty, unknown });
            }
        }
        hazards
    }
}

/// What is not known about this issue here.
fn doubt(issue: &Issue, subject: &Subject, model: Option<&str>) -> String {
    let named = matches!(issue.driver, Driver::Named(_));
    match (&issue.kernels, subject.in_tree) {
        (Kernels::All, _) => {}
        (Kernels::Unknown | Kernels::Ranges(_), Some(false)) if named => {
            return format!("{} is not the kernel's own driver", subject.driver);
        }
        (Kernels::Unknown | Kernels::Ranges(_), None) if named => {
            return format!("whether {} is the kernel's own driver is not known", subject.driver);
        }
        (Kernels::Unknown, _) => return "which kernels have it is not established".to_owned(),
        (Kernels::Ranges(_), _) if subject.kernel_base.is_none() => {
            return "the kernel's upstream base is not known".to_owned();
        }
        (Kernels::Ranges(_), _) if issue.in_code_of(subject) == Answer::Unknown => {
            return "its fix in this kernel's branch is not established".to_owned();
        }
        (Kernels::Ranges(_), _) => {}
    }
    if !issue.models.is_empty() && model.is_none() {
        return "the NIC's model is not known".to_owned();
    }
    "whether this firmware has it is not established".to_owned()
}

/// The issue that makes this read unsafe for this NIC, if any is known.
///
/// A read that needs nothing but itself to hang is refused where nobody knows whether the defect is there,
/// too: an unknown base, a driver from outside the kernel's tree. One that hurts only during a reset is
/// refused wherever the defect is known to be, since a reset can begin under our hands; where that is not
/// known, only while one is known to go on ([`Circumstance::Resetting`]).
pub fn read_hazard<'c>(catalog: &'c Catalog, subject: &Subject, read: Read) -> Option<&'c Issue> {
    catalog.hazards(subject, &Act::Read(read)).into_iter().next().map(|hazard| hazard.issue)
}
