//! One row of the matrix: a request in few words, and what must come of it.

use std::collections::{BTreeMap, BTreeSet};

use playbooks::vocabulary::Disruption;
use policy::{
    Phase,
    request::{Action, Catalog, Clock, Consent, Facts, Principal, Request, Standby, Subject},
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    #[serde(rename = "as", default = "operator")]
    principal: String,
    #[serde(rename = "do", default = "apply")]
    action: Action,
    #[serde(default = "closed")]
    phase: Phase,
    /// Instead of one venue in `phase`.
    #[serde(default)]
    venues: BTreeMap<String, Phase>,
    #[serde(default)]
    venueless: bool,
    #[serde(default = "unfelt")]
    felt: Disruption,
    #[serde(default = "no_standby")]
    standby: Standby,
    #[serde(default)]
    approvals: usize,
    /// Instead of `approvals`: who signed.
    #[serde(default)]
    signers: Vec<String>,
    #[serde(default)]
    glass: bool,
    #[serde(default)]
    holders: usize,
    #[serde(default)]
    hazards: usize,
    #[serde(default)]
    clock: State,
    #[serde(default = "an_hour")]
    left: Option<u64>,
    #[serde(default = "a_minute")]
    run: u64,
    #[serde(default)]
    frozen: bool,
    #[serde(default = "golden")]
    catalog: Catalog,
    #[serde(default = "no_hosts")]
    hosts: Option<u32>,
    #[serde(default)]
    requester: Option<String>,
    expect: Expected,
    pub(crate) by: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    #[default]
    Good,
    Unsynchronised,
    /// Synchronised, and 2 s off at most.
    Off,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expected {
    Allowed,
    Refused,
}

fn operator() -> String {
    "operator".to_owned()
}

fn apply() -> Action {
    Action::Apply
}

fn closed() -> Phase {
    Phase::Closed
}

fn unfelt() -> Disruption {
    Disruption::None
}

fn no_standby() -> Standby {
    Standby::None
}

fn an_hour() -> Option<u64> {
    Some(3600)
}

fn a_minute() -> u64 {
    60
}

fn no_hosts() -> Option<u32> {
    Some(0)
}

fn golden() -> Catalog {
    Catalog::Golden
}

impl Row {
    pub(crate) fn allowed(&self) -> bool {
        matches!(self.expect, Expected::Allowed)
    }

    pub(crate) fn request(&self) -> Request {
        let subject = Subject {
            host: "trade1".to_owned(),
            nic: "pci 0000:81:00.0".to_owned(),
            name: "eth1".to_owned(),
            driver: "mlx5_core".to_owned(),
        };
        Request { principal: self.principal(), action: self.action, subject, facts: self.facts() }
    }

    fn principal(&self) -> Principal {
        let roles = match self.principal.as_str() {
            "agent" => return Principal::Agent,
            "fleet" => return Principal::Fleet { name: "fleet1".to_owned() },
            "stranger" => return Principal::Stranger,
            "nobody" => BTreeSet::new(),
            role => BTreeSet::from([role.to_owned()]),
        };
        Principal::Operator { name: "asker".to_owned(), uid: Some(1000), roles }
    }

    fn facts(&self) -> Facts {
        let one = || BTreeMap::from([("SSE".to_owned(), self.phase)]);
        let venues = match (self.venueless, self.venues.is_empty()) {
            (true, _) => BTreeMap::new(),
            (false, true) => one(),
            (false, false) => self.venues.clone(),
        };
        let clock = match self.clock {
            State::Good => Clock { synchronised: true, error_us: 100 },
            State::Unsynchronised => Clock { synchronised: false, error_us: 16_000_000 },
            State::Off => Clock { synchronised: true, error_us: 2_000_000 },
        };
        let counted =
            |what: &str, count: usize| (1..=count).map(|n| format!("{what}-{n}")).collect();
        let signers: Vec<String> = match self.signers.is_empty() {
            true => counted("approver", self.approvals),
            false => self.signers.clone(),
        };
        Facts {
            venues,
            disruption: self.felt,
            holders: counted("held:udp:feed", self.holders).into_iter().collect(),
            standby: self.standby,
            catalog: self.catalog,
            hazards: counted("hazard", self.hazards).into_iter().collect(),
            overridden: BTreeSet::new(),
            approvals: signers.into_iter().map(|name| (name.clone(), consent(&name))).collect(),
            requester: self.requester.clone(),
            hosts_today: self.hosts,
            runs_today: Some(0),
            clock,
            boundary_s: self.left,
            run_s: self.run,
            frozen: self.frozen.then(|| "a test".to_owned()),
            break_glass: self.glass.then(|| "a test".to_owned()),
        }
    }
}

/// A bystander's signature is good, and he is no approver.
fn consent(name: &str) -> Consent {
    let role = if name.starts_with("bystander") { "operator" } else { "approver" };
    Consent { roles: BTreeSet::from([role.to_owned()]) }
}
