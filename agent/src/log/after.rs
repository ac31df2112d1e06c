//! What the log says of a run after its commit: its probation and its campaigns.

use serde::{Deserialize, Serialize};

use super::fact::Fact;
use crate::verdict::Call;

/// How a watch over a committed run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Watched to the end of its time, and nothing regressed: the commit is final.
    Held,
    /// A guardrail was broken: the run is to be reverted.
    Regressed,
    /// Nothing could be concluded: the peer fell silent, or too little was seen.
    Inconclusive,
    /// Somebody else, or a later run, changed what was watched.
    Overtaken,
    /// The operator stopped watching; what was watched so far counts.
    Stopped,
}

/// What a measurement after the revert showed of the regression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    Gone,
    /// It was not, or not only, this change.
    StillThere,
    Unknown,
}

/// A run's probation so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Probation {
    /// How often it was begun or taken up again.
    pub watches: u32,
    pub for_ns: u64,
    /// Probing packets a second.
    pub rate: u32,
    pub watched_ns: u64,
    pub samples: u64,
    /// `None` while it is watched, or since its process was killed.
    pub ending: Option<Ending>,
    pub why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// After a revert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aftermath: Option<Aftermath>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Aftermath {
    pub finding: Finding,
    pub why: String,
}

impl Campaign {
    /// Whether its process ended before it did, for whoever writes under this epoch.
    pub fn interrupted(&self, epoch: u64) -> bool {
        self.epoch != epoch && (self.call.is_none() || !self.leaves.is_empty())
    }
}

impl Probation {
    /// What counts of an earlier watch when another is begun: nothing of one that came to its end.
    pub fn carried_ns(&self) -> u64 {
        match self.ending {
            Some(Ending::Held | Ending::Regressed) => 0,
            None | Some(Ending::Inconclusive | Ending::Overtaken | Ending::Stopped) => {
                self.watched_ns
            }
        }
    }
}

/// One campaign after a commit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Campaign {
    /// From 1.
    pub campaign: u32,
    /// Of the writer that began it: one with another epoch is that of another process.
    #[serde(skip)]
    pub epoch: u64,
    /// What it was to try, in order.
    pub items: Vec<String>,
    pub for_ns: u64,
    pub judged: Vec<Tried>,
    /// Control groups that its faults made and that may still be there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<String>,
    /// `None` while it is on, or since its process was killed.
    pub call: Option<Call>,
    pub why: String,
}

/// One item of a campaign: a traffic pattern, a fault, or the endurance.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tried {
    pub item: String,
    /// `None` where it was skipped.
    pub call: Option<Call>,
    pub why: String,
    /// What a fault looked like while it lasted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub during: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// Takes one more fact into a probation.
pub(super) fn watched(probation: &mut Option<Probation>, fact: &Fact) {
    if let Fact::ProbationBegan { for_ns, rate, peer: _, watched_ns } = fact {
        *probation = Some(Probation {
            watches: probation.as_ref().map_or(0, |p| p.watches) + 1,
            for_ns: *for_ns,
            rate: *rate,
            watched_ns: *watched_ns,
            samples: 0,
            ending: None,
            why: String::new(),
            evidence: None,
            aftermath: None,
        });
    }
    let Some(probation) = probation else { return };
    if let Fact::ProbationWatched { watched_ns, samples } = fact {
        (probation.watched_ns, probation.samples) = (*watched_ns, *samples);
    }
    if let Fact::ProbationEnded { ending, why, watched_ns, samples, evidence } = fact {
        (probation.watched_ns, probation.samples) = (*watched_ns, *samples);
        probation.ending = Some(*ending);
        probation.why.clone_from(why);
        probation.evidence.clone_from(evidence);
    }
    if let Fact::Aftermath { finding, why, evidence: _ } = fact {
        probation.aftermath = Some(Aftermath { finding: *finding, why: why.clone() });
    }
}

/// Takes one more fact into the campaigns of a run.
pub(super) fn tried(campaigns: &mut Vec<Campaign>, fact: &Fact, epoch: u64) {
    if let Fact::CampaignBegan { campaign, items, for_ns, peer: _ } = fact {
        campaigns.push(Campaign {
            campaign: *campaign,
            epoch,
            items: items.clone(),
            for_ns: *for_ns,
            judged: Vec::new(),
            leaves: Vec::new(),
            call: None,
            why: String::new(),
        });
    }
    let Some(last) = campaigns.last_mut() else { return };
    if let Fact::Burdened { leaves, .. } = fact {
        last.leaves.extend(leaves.iter().cloned());
    }
    if let Fact::Unburdened { leaves, .. } = fact {
        last.leaves.retain(|left| !leaves.contains(left));
    }
    if let Fact::CampaignJudged { item, call, why, during, evidence, .. } = fact {
        last.judged.push(Tried {
            item: item.clone(),
            call: *call,
            why: why.clone(),
            during: during.clone(),
            evidence: evidence.clone(),
        });
    }
    if let Fact::CampaignEnded { call, why, .. } = fact {
        last.call = Some(*call);
        last.why.clone_from(why);
    }
}
