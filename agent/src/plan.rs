//! Playbook + the NIC's facts -> [`Plan`]: immutable, named by its digest, leaving execution no choice.
//!
//! Pure. A plan holds no timestamp, no ifindex, no IRQ number: made twice on an unchanged host it is
//! the same plan, and an approval can be bound to its digest.

pub mod firmware;
pub mod order;

use std::collections::{BTreeMap, BTreeSet};

use playbooks::{
    Name, Playbook, Value,
    playbook::Activate,
    vocabulary::{Disruption, Scope, TakesEffect},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::firmware::FirmwareAction;
use crate::{
    host::{Nic, NicId},
    log::Kept,
    setting::{Change, Current},
};

/// The version of the plan's format.
pub const FORMAT: u32 = 1;

/// What would be done, to what, from what, in which order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub format: u32,
    pub host: HostId,
    pub nic: NicId,
    /// The interface's name when planned: for people and for `undo.sh`, never to find the NIC by.
    pub nic_name: String,
    pub driver: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub firmware: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<String>,
    /// The control NIC's peer, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub control_peer: Option<String>,
    pub playbook: Playbook,
    pub stages: Vec<PlannedStage>,
    /// The revert of all of it, in its own order.
    pub revert: Vec<Step>,
    /// Every value that the plan writes or may disturb, as it was: the plan's preconditions.
    pub snapshot: Vec<Kept>,
    /// Settings that are right already.
    pub already: BTreeMap<Name, Value>,
    /// Settings that this NIC does not have, each with the reason.
    pub skipped: BTreeMap<Name, String>,
    /// What the plan cannot reach, in words.
    pub cannot_affect: Vec<String>,
    /// What traffic will feel at worst.
    pub disruption: Disruption,
}

/// Which host a plan is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostId {
    pub name: String,
    /// `/etc/machine-id`, where there is one.
    pub machine: String,
    pub kernel: String,
    /// Inode of the network namespace the plan is for.
    pub netns: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStage {
    pub name: String,
    /// What the stage wants, resolved to this NIC, in the playbook's order.
    pub targets: Vec<(Name, Value)>,
    /// The writes that it takes, if every stage before it stays.
    pub steps: Vec<Step>,
    /// Settings of others that the steps may change behind the operator's back.
    pub disturbs: BTreeSet<Name>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub firmware: Option<FirmwareAction>,
}

/// One request to the kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub family: String,
    pub batch: Vec<Change>,
    pub disruption: Disruption,
    pub scope: Scope,
    pub takes_effect: TakesEffect,
    /// How long this step may hold the kernel before silence counts as death, milliseconds.
    pub lease_ms: u64,
}

/// What planning needs to know of the machine; gathered through the door beforehand.
#[derive(Debug, Clone)]
pub struct Facts {
    pub host: HostId,
    pub nic: Nic,
    pub firmware: Option<String>,
    /// Every setting of the families involved, as it is now.
    pub settings: BTreeMap<Name, Current>,
    pub unsupported: BTreeMap<Name, String>,
    /// What an operator should know before; forbids nothing and is no part of the plan.
    pub warnings: Vec<String>,
    /// By stage: what each setting of the playbook comes to on this NIC, or why it comes to nothing.
    pub resolved: Vec<Vec<(Name, Result<Value, String>)>>,
    /// By stage: what its firmware comes to here; `None` where it has none, or what it wants runs already.
    pub firmware_stages: Vec<Option<FirmwareAction>>,
}

/// Why there is nothing to plan. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unplannable {
    #[error("{0}")]
    NotForThisNic(String),
    #[error("playbook {playbook} has no step that applies to {nic}: {why}")]
    NoStepApplies { playbook: String, nic: String, why: String },
}

impl Plan {
    /// Works the plan out.
    pub fn make(
        playbook: &Playbook,
        facts: &Facts,
        peer: Option<&str>,
    ) -> Result<Plan, Unplannable> {
        let mut expected: BTreeMap<Name, Value> = BTreeMap::new();
        for (name, current) in &facts.settings {
            expected.insert(name.clone(), current.value.clone());
        }
        let start = expected.clone();
        let mut plan = Plan::empty(playbook, facts, peer);
        for (index, (stage, resolved)) in playbook.stages.iter().zip(&facts.resolved).enumerate() {
            let mut targets = Vec::new();
            for (name, outcome) in resolved {
                match outcome {
                    Ok(value) => targets.push((name.clone(), value.clone())),
                    Err(why) => {
                        plan.skipped.insert(name.clone(), why.clone());
                    }
                }
            }
            let steps = order::steps(&facts.nic, order::changes(&expected, &targets));
            let disturbs = disturbed_by(&steps, &facts.nic, facts.settings.keys());
            for change in steps.iter().flat_map(|step| &step.batch) {
                expected.insert(change.name.clone(), change.to.clone());
            }
            let name = stage.name.clone();
            let firmware = facts.firmware_stages.get(index).cloned().flatten();
            plan.stages.push(PlannedStage { name, targets, steps, disturbs, firmware });
        }
        plan.settle_snapshot(&start, &expected, &facts.nic);
        plan.refuse_empty(facts)?;
        Ok(plan)
    }

    /// `sha256:<hex>` over the plan's canonical JSON.
    pub fn digest(&self) -> String {
        // A plan is maps with string keys and finite numbers: it always serializes.
        let canonical = serde_json::to_vec(self).unwrap_or_default();
        let hex: String = Sha256::digest(&canonical).iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256:{hex}")
    }

    /// Whether there is nothing to write: everything is right already.
    pub fn is_done(&self) -> bool {
        self.stages.iter().all(|stage| stage.steps.is_empty() && stage.firmware.is_none())
    }

    /// Every key the plan writes, in order of first write.
    pub fn written(&self) -> Vec<Name> {
        let mut names = Vec::new();
        for change in self.stages.iter().flat_map(|s| &s.steps).flat_map(|s| &s.batch) {
            if !names.contains(&change.name) {
                names.push(change.name.clone());
            }
        }
        names
    }

    fn empty(playbook: &Playbook, facts: &Facts, peer: Option<&str>) -> Plan {
        Plan {
            format: FORMAT,
            host: facts.host.clone(),
            nic: facts.nic.id.clone(),
            nic_name: facts.nic.name.clone(),
            driver: facts.nic.driver.clone(),
            firmware: facts.firmware.clone(),
            peer: peer.map(str::to_owned),
            control_peer: None,
            playbook: playbook.clone(),
            stages: Vec::new(),
            revert: Vec::new(),
            snapshot: Vec::new(),
            already: BTreeMap::new(),
            skipped: BTreeMap::new(),
            cannot_affect: Vec::new(),
            disruption: Disruption::None,
        }
    }

    /// Fills in what follows from the steps: snapshot, revert, what is right already, limits.
    fn settle_snapshot(
        &mut self,
        start: &BTreeMap<Name, Value>,
        end: &BTreeMap<Name, Value>,
        nic: &Nic,
    ) {
        let written: BTreeSet<Name> = self.written().into_iter().collect();
        let disturbed = self.stages.iter().flat_map(|s| s.disturbs.iter().cloned());
        let keys: BTreeSet<Name> = written.iter().cloned().chain(disturbed).collect();
        let keep = |name: &Name| {
            let original = start.get(name)?.clone();
            Some(Kept { name: name.clone(), original })
        };
        self.snapshot = keys.iter().filter_map(keep).collect();
        let back: Vec<(Name, Value)> =
            self.snapshot.iter().map(|kept| (kept.name.clone(), kept.original.clone())).collect();
        self.revert = order::steps(nic, order::changes(end, &back));
        for (name, value) in self.stages.iter().flat_map(|s| &s.targets) {
            if !written.contains(name) {
                self.already.insert(name.clone(), value.clone());
            }
        }
        let steps = || self.stages.iter().flat_map(|s| &s.steps).chain(&self.revert);
        let restarts = self.stages.iter().any(|stage| stage.firmware.is_some());
        let firmware = self.playbook.stages.iter().filter_map(|stage| stage.firmware.as_ref());
        let felt = firmware.filter(|_| restarts).map(|firmware| match firmware.activate {
            Activate::NicReset => Disruption::NicReset,
            Activate::LivePatch => Disruption::QueueReset,
        });
        let felt = felt.chain(steps().map(|s| s.disruption)).max();
        self.disruption = felt.unwrap_or(Disruption::None);
        self.cannot_affect = limits_of(&written);
    }

    fn refuse_empty(&self, facts: &Facts) -> Result<(), Unplannable> {
        let targets = self.stages.iter().any(|s| !s.targets.is_empty())
            || self.playbook.stages.iter().any(|s| s.firmware.is_some());
        if targets {
            return Ok(());
        }
        let why: Vec<String> =
            self.skipped.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        Err(Unplannable::NoStepApplies {
            playbook: self.playbook.name.clone(),
            nic: facts.nic.name.clone(),
            why: why.join("; "),
        })
    }
}

/// The supported settings, not written by these steps themselves, that the steps may change.
pub fn disturbed_by<'a>(
    steps: &[Step],
    nic: &Nic,
    settings: impl Iterator<Item = &'a Name> + Clone,
) -> BTreeSet<Name> {
    let mut hit = BTreeSet::new();
    for change in steps.iter().flat_map(|step| &step.batch) {
        let Ok(family) = crate::setting::family_of(&change.name) else { continue };
        for what in family.disturbs(nic, &change.name) {
            let names = settings.clone().filter(|n| n.family() == what || n.as_str() == what);
            hit.extend(names.filter(|n| **n != change.name).cloned());
        }
    }
    hit
}

fn limits_of(written: &BTreeSet<Name>) -> Vec<String> {
    let mut limits = Vec::new();
    let mut names_with = |effect: TakesEffect, words: &str| {
        let names: Vec<&str> = written
            .iter()
            .filter(|name| name.setting().takes_effect == effect)
            .map(Name::as_str)
            .collect();
        if !names.is_empty() {
            limits.push(format!("{}: {words}", names.join(", ")));
        }
    };
    names_with(TakesEffect::NewSockets, "sockets that are open now keep the old value");
    names_with(TakesEffect::Reload, "in force only after the driver is loaded anew");
    if written.iter().any(|name| name.as_str() == "napi.weight") {
        limits.push(
            "napi.weight: on receive it governs the backlog (RPS, loopback, veth) only; \
             drivers fix their own poll weight"
                .to_owned(),
        );
    }
    if written.iter().any(|name| name.family() == "sysctl") {
        limits.push(
            "traffic that bypasses the kernel (DPDK, Onload, VMA, AF_XDP) does not feel sysctls"
                .to_owned(),
        );
    }
    limits
}
