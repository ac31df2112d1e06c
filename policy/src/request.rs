//! A request as the policies see it: who asks for what, on what, under which circumstances.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use playbooks::vocabulary::Disruption;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Phase;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Principal {
    /// A person, by the name that the site knows him by, with what he may do here.
    Operator {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        uid: Option<u32>,
        roles: BTreeSet<String>,
    },
    /// The agent by itself: probation, drift.
    Agent,
    Fleet {
        name: String,
    },
    /// Whose identity is not proven.
    Stranger,
}

impl Principal {
    /// The name in logs and messages.
    pub fn name(&self) -> &str {
        match self {
            Principal::Operator { name, .. } | Principal::Fleet { name } => name,
            Principal::Agent => "agent",
            Principal::Stranger => "stranger",
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Operator { name, roles, .. } if roles.is_empty() => {
                write!(f, "{name} (no role)")
            }
            Principal::Operator { name, roles, .. } => {
                let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
                write!(f, "{name} ({})", roles.join(", "))
            }
            Principal::Fleet { name } => write!(f, "fleet {name}"),
            Principal::Agent => f.write_str("the agent"),
            Principal::Stranger => f.write_str("somebody unknown"),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Inventory,
    Plan,
    Apply,
    /// Putting back a committed run: a run.
    Revert,
    /// Putting back what a run has not committed yet.
    RevertInFlight,
    Flash,
    Reset,
    CampaignOutsideTrading,
    OverrideHazard,
    AllowManagement,
    NoWayBack,
    BreakGlass,
    Approve,
    Freeze,
    Thaw,
}

impl Action {
    pub const ALL: [Action; 15] = [
        Action::Inventory,
        Action::Plan,
        Action::Apply,
        Action::Revert,
        Action::RevertInFlight,
        Action::Flash,
        Action::Reset,
        Action::CampaignOutsideTrading,
        Action::OverrideHazard,
        Action::AllowManagement,
        Action::NoWayBack,
        Action::BreakGlass,
        Action::Approve,
        Action::Freeze,
        Action::Thaw,
    ];

    /// The word in policies, logs and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Action::Inventory => "inventory",
            Action::Plan => "plan",
            Action::Apply => "apply",
            Action::Revert => "revert",
            Action::RevertInFlight => "revert-in-flight",
            Action::Flash => "flash",
            Action::Reset => "reset",
            Action::CampaignOutsideTrading => "campaign-outside-trading",
            Action::OverrideHazard => "override-hazard",
            Action::AllowManagement => "allow-management",
            Action::NoWayBack => "no-way-back",
            Action::BreakGlass => "break-glass",
            Action::Approve => "approve",
            Action::Freeze => "freeze",
            Action::Thaw => "thaw",
        }
    }

    /// The action of that word.
    pub fn of(word: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.word() == word)
    }

    /// Whether it is about one NIC, or about the host.
    pub fn reach(self) -> Reach {
        match self {
            Action::Inventory | Action::Freeze | Action::Thaw => Reach::Host,
            Action::Plan
            | Action::Apply
            | Action::Revert
            | Action::RevertInFlight
            | Action::Flash
            | Action::Reset
            | Action::CampaignOutsideTrading
            | Action::OverrideHazard
            | Action::AllowManagement
            | Action::NoWayBack
            | Action::BreakGlass
            | Action::Approve => Reach::Nic,
        }
    }

    /// Whether it starts something that changes the host: what the floor binds.
    pub fn changes(self) -> bool {
        match self {
            Action::Apply
            | Action::Revert
            | Action::Flash
            | Action::Reset
            | Action::CampaignOutsideTrading => true,
            Action::Inventory
            | Action::Plan
            | Action::RevertInFlight
            | Action::OverrideHazard
            | Action::AllowManagement
            | Action::NoWayBack
            | Action::BreakGlass
            | Action::Approve
            | Action::Freeze
            | Action::Thaw => false,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Host,
    Nic,
}

/// The NIC that an action is about; of no account where it is about the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subject {
    pub host: String,
    /// What the NIC is: PCI address and MAC.
    pub nic: String,
    /// What it is called now.
    pub name: String,
    pub driver: String,
}

/// Another path for the traffic of the NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standby {
    /// Just probed good, and kept for the run.
    Free,
    /// There is one, and it cannot be had.
    Busy,
    None,
    Unknown,
}

impl Standby {
    pub fn word(self) -> &'static str {
        match self {
            Standby::Free => "free",
            Standby::Busy => "busy",
            Standby::None => "none",
            Standby::Unknown => "unknown",
        }
    }
}

/// The firmware catalog's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Catalog {
    Golden,
    Good,
    Drifted,
    Blocked,
    Unknown,
}

impl Catalog {
    pub fn word(self) -> &'static str {
        match self {
            Catalog::Golden => "golden",
            Catalog::Good => "good",
            Catalog::Drifted => "drifted",
            Catalog::Blocked => "blocked",
            Catalog::Unknown => "unknown",
        }
    }
}

/// What the kernel knows of its clock (adjtimex(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Clock {
    pub synchronised: bool,
    /// The largest error that the kernel reckons with, microseconds.
    pub error_us: u64,
}

/// A person's consent to one plan, verified: the signature holds and has not expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub roles: BTreeSet<String>,
}

/// The circumstances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    /// Every venue that this host trades at, with its phase. Empty: no venue is configured.
    pub venues: BTreeMap<String, Phase>,
    /// What traffic feels at worst, the way back included.
    pub disruption: Disruption,
    /// Whom the worst step would hurt, and whose harm the request does not override.
    pub holders: BTreeSet<String>,
    pub standby: Standby,
    pub catalog: Catalog,
    /// Hazards on record for a step of the plan that the request does not override.
    pub hazards: BTreeSet<String>,
    pub overridden: BTreeSet<String>,
    /// Who signed this plan, by name. Whoever asks does not count, nor who has not the role `approver`.
    pub approvals: BTreeMap<String, Consent>,
    /// For `approve`: whose plan it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requester: Option<String>,
    /// How many hosts the fleet has changed today, where it says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hosts_today: Option<u32>,
    /// How many runs were committed on this host since midnight, UTC; `None` where its log was not read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runs_today: Option<u32>,
    pub clock: Clock,
    /// Seconds until the next boundary of a phase at any venue; `None` where no venue is configured, or
    /// no calendar knows it.
    pub boundary_s: Option<u64>,
    /// The run at its longest, revert included, seconds.
    pub run_s: u64,
    /// Why the host is frozen, if it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frozen: Option<String>,
    /// The reason for acting without approvals, where one was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub break_glass: Option<String>,
}

impl Facts {
    /// A host without venues, a plan that nobody feels and that takes no time.
    pub fn quiet() -> Facts {
        Facts {
            venues: BTreeMap::new(),
            disruption: Disruption::None,
            holders: BTreeSet::new(),
            standby: Standby::Unknown,
            catalog: Catalog::Unknown,
            hazards: BTreeSet::new(),
            overridden: BTreeSet::new(),
            approvals: BTreeMap::new(),
            requester: None,
            hosts_today: None,
            runs_today: None,
            clock: Clock { synchronised: false, error_us: u64::MAX },
            boundary_s: None,
            run_s: 0,
            frozen: None,
            break_glass: None,
        }
    }

    /// The phase that binds the host: the strictest of its venues', `closed` without any.
    pub fn phase(&self) -> Phase {
        self.venues.values().copied().max().unwrap_or(Phase::Closed)
    }
}

/// Who asks for what, on what, when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub principal: Principal,
    pub action: Action,
    pub subject: Subject,
    pub facts: Facts,
}

/// The role without which a signature is no approval.
pub const APPROVER: &str = "approver";

impl Request {
    /// The consents that count: of people with the role `approver`, other than whoever asks.
    pub fn consents(&self) -> impl Iterator<Item = (&str, &Consent)> {
        let asks = match &self.principal {
            Principal::Operator { name, .. } => Some(name.as_str()),
            Principal::Agent | Principal::Fleet { .. } | Principal::Stranger => None,
        };
        self.facts
            .approvals
            .iter()
            .filter(move |(name, _)| Some(name.as_str()) != asks)
            .filter(|(_, consent)| consent.roles.contains(APPROVER))
            .map(|(name, consent)| (name.as_str(), consent))
    }

    /// `sha256:<hex>` over the request's canonical JSON: what a decision was made on.
    pub fn digest(&self) -> String {
        // Maps with string keys, and no floats: it always serializes.
        let canonical = serde_json::to_vec(self).unwrap_or_default();
        let hex: String = Sha256::digest(&canonical).iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256:{hex}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(roles: &[&str]) -> Consent {
        Consent { roles: roles.iter().map(|role| (*role).to_owned()).collect() }
    }

    #[test]
    fn neither_ones_own_consent_nor_that_of_a_bystander_counts() {
        let mut facts = Facts::quiet();
        facts.approvals.insert("ops-1".to_owned(), signed(&["approver"]));
        facts.approvals.insert("ops-2".to_owned(), signed(&["operator"]));
        facts.approvals.insert("risk-1".to_owned(), signed(&["approver", "supervisor"]));
        let ask = |principal| Request {
            principal,
            action: Action::Apply,
            subject: Subject::default(),
            facts: facts.clone(),
        };
        let asker = Principal::Operator {
            name: "ops-1".to_owned(),
            uid: Some(1),
            roles: BTreeSet::from(["approver".to_owned()]),
        };
        let names = |request: Request| -> Vec<String> {
            request.consents().map(|(name, _)| name.to_owned()).collect()
        };
        assert_eq!(names(ask(asker)), ["risk-1"]);
        assert_eq!(names(ask(Principal::Agent)), ["ops-1", "risk-1"]);
    }

    #[test]
    fn the_strictest_venue_binds_the_host() {
        let mut facts = Facts::quiet();
        assert_eq!(facts.phase(), Phase::Closed);
        facts.venues.insert("SSE".to_owned(), Phase::Break);
        facts.venues.insert("HKEX".to_owned(), Phase::Continuous);
        assert_eq!(facts.phase(), Phase::Continuous);
        facts.venues.insert("OWN".to_owned(), Phase::Unknown);
        assert_eq!(facts.phase(), Phase::Unknown);
    }

    #[test]
    fn a_digest_is_of_every_fact() {
        let request = Request {
            principal: Principal::Agent,
            action: Action::Revert,
            subject: Subject::default(),
            facts: Facts::quiet(),
        };
        let mut other = request.clone();
        assert_eq!(request.digest(), other.digest());
        other.facts.run_s = 1;
        assert_ne!(request.digest(), other.digest());
        assert!(Action::ALL.iter().all(|action| Action::of(action.word()) == Some(*action)));
    }
}
