//! Entries to history: which runs there were, how each ended, who owns which setting.

use std::collections::{BTreeMap, BTreeSet};

use playbooks::{Name, Value, vocabulary::Scope};
use serde::Serialize;
use serde_json::Value as Json;

use super::{
    after::{self, Campaign, Ending, Probation},
    fact::{Entry, Fact, Foreign, Kept, ReadBack},
    firmware::{self, FirmwareRecord},
    glass::{self, BreakGlass},
    office::Versions,
};
use crate::{
    fault::Result,
    host::{NicId, Now, nic::slot},
    plan::Step,
    verdict::Verdict,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    Running,
    Committed,
    Reverted,
    Refused,
    Stuck,
}

/// One run, as the log tells it.
#[derive(Debug, Clone)]
pub struct RunRecord {
    pub id: String,
    pub state: RunState,
    pub plan: String,
    pub playbook: String,
    pub nic: NicId,
    pub nic_name: String,
    pub netns: u64,
    /// With [`RunRecord::netns`], which namespace it is; not known of old runs and before Linux 5.14.
    pub netns_cookie: Option<u64>,
    /// The interface's index when it began.
    pub ifindex: Option<u32>,
    pub peer: Option<String>,
    pub uid: u32,
    /// Its standby path, which is its own until it ends.
    pub standby: Option<NicId>,
    pub started: Now,
    pub ended: Option<Now>,
    /// Why it ended so: the criterion, the refusal, the operator's word.
    pub why: String,
    /// The rule that refused it, where one did.
    pub rule: String,
    /// How often its way back was begun, since its commit where it has one.
    pub tries: u32,
    /// Every key that may have been changed, with the value before the run's first write to it.
    pub originals: Vec<Kept>,
    /// What we last left (or meant to leave) in each key that we wrote.
    pub written: BTreeMap<Name, Value>,
    /// Every value that the run wrote, meant to write or was given back, by key.
    pub ours: BTreeMap<Name, BTreeSet<Value>>,
    /// What it meant to write, from what and to what, and was given nothing back for: it died in between, or
    /// its disk did.
    pub unconfirmed: BTreeMap<Name, (Value, Value)>,
    /// The firmware stage that it began, if it did.
    pub firmware: Option<FirmwareRecord>,
    /// Why its commit was provisional when it was made.
    pub provisional: Option<String>,
    /// How it was watched since, if it was.
    pub probation: Option<Probation>,
    pub campaigns: Vec<Campaign>,
    /// Each time that somebody acted alone (to begin it, to put it back): why, and whether it was
    /// countersigned.
    pub break_glass: Vec<BreakGlass>,
    /// Asked for alone, and not done yet.
    pub breaking: Option<BreakGlass>,
    /// Verdicts by stage.
    pub verdicts: Vec<(usize, Verdict)>,
    pub foreign: Vec<Foreign>,
    /// What a person must do by hand, where the run is stuck.
    pub by_hand: Vec<String>,
    /// The run's own entries, in order.
    pub entries: Vec<Entry>,
}

impl RunRecord {
    /// Whether anything of it may still be in force though it did not commit.
    pub fn unfinished(&self) -> bool {
        match self.state {
            RunState::Running | RunState::Stuck => true,
            RunState::Committed | RunState::Reverted | RunState::Refused => false,
        }
    }

    /// Why its commit does not stand for good yet: no probation has held since.
    pub fn provisionally(&self) -> Option<&str> {
        let held = self.probation.as_ref().filter(|p| p.ending == Some(Ending::Held));
        let why = match held {
            Some(held) => self.provisional.as_ref().and(held.open.as_deref()),
            None => self.provisional.as_deref(),
        };
        why.filter(|_| self.state == RunState::Committed)
    }

    /// Whether it began in this boot.
    pub fn began_in(&self, boot_id: &str) -> bool {
        self.started.boot_id == boot_id
    }

    /// Whether it is about the network namespace of this inode and cookie. The cookie counts in the boot that
    /// gave it, where both are known.
    pub fn is_about(&self, (netns, cookie): (u64, Option<u64>), boot_id: &str) -> bool {
        let known = self.netns_cookie.filter(|_| self.began_in(boot_id)).zip(cookie);
        self.netns == netns && known.is_none_or(|(theirs, ours)| theirs == ours)
    }

    /// Whether another firmware than it found is, or may be, in force because of it.
    pub fn firmware_open(&self) -> bool {
        self.firmware.as_ref().is_some_and(|firmware| !firmware.returned)
    }

    /// Whether it was committed then or later, whatever became of it since.
    pub fn committed_since(&self, utc_ns: i64) -> bool {
        let committed = |entry: &&Entry| matches!(entry.fact, Fact::Committed { .. });
        self.entries.iter().filter(committed).any(|entry| entry.at.utc_ns >= utc_ns)
    }

    /// The settings that this run left at another value than it found.
    pub fn changed(&self) -> impl Iterator<Item = &Name> {
        let original = |name: &Name| self.originals.iter().find(|kept| kept.name == *name);
        self.written
            .iter()
            .filter(move |(name, value)| original(name).is_some_and(|k| k.original != **value))
            .map(|(name, _)| name)
    }

    /// The name of a key across NICs and namespaces: who owns `ring.rx` of which NIC.
    pub fn key(&self, name: &Name) -> String {
        key(&self.nic, self.netns, name)
    }

    /// What this run has for itself by having changed this.
    pub fn reserved(&self, name: &Name) -> String {
        reserved(&self.nic, self.netns, name)
    }
}

/// A setting's full key: its scope's subject and its name.
pub fn key(nic: &NicId, netns: u64, name: &Name) -> String {
    // Three kernel parameters have two names here; who owns one owns the other.
    match name.as_str() {
        "sysctl.net.core.dev_weight" => return "host/napi.weight".to_owned(),
        "sysctl.net.core.netdev_budget" => return "host/napi.budget".to_owned(),
        "sysctl.net.core.netdev_budget_usecs" => return "host/napi.budget-usecs".to_owned(),
        _ => {}
    }
    match (name.setting().scope, nic) {
        // A device's own settings are one thing, whichever of its interfaces one comes by.
        (Scope::Device, NicId::Pci { address, serial: _ }) => format!("device/{address}/{name}"),
        (Scope::Nic, _) | (Scope::Device, NicId::Virtual { .. }) => format!("{nic}/{name}"),
        (Scope::Netns, _) => format!("netns/{netns}/{name}"),
        (Scope::Host, _) => format!("host/{name}"),
    }
}

/// What a run has for itself while it changes a setting: the key; of a device's setting that of the whole card.
/// Its functions show it each as its own, and the firmware may have it once for all of them (i40e's
/// `vf-true-promisc-support`, bnxt's `enable_remote_dev_reset`): which is not told.
pub fn reserved(nic: &NicId, netns: u64, name: &Name) -> String {
    match (name.setting().scope, nic) {
        (Scope::Device, NicId::Pci { address, serial: _ }) => {
            format!("card/{}/{name}", slot(address))
        }
        (Scope::Device, NicId::Virtual { .. }) | (Scope::Nic | Scope::Netns | Scope::Host, _) => {
            key(nic, netns, name)
        }
    }
}

/// Everything the log says so far.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Oldest first.
    pub runs: Vec<RunRecord>,
    /// Entries in the log: the next one's `seq`.
    pub length: u64,
    /// What was said to be in force last.
    pub versions: Option<Versions>,
    /// Approvals that runs used up, by the entries that say so.
    pub approvals_used: Vec<(u64, Vec<Json>)>,
    /// The latest time of an entry that was made by a synchronised clock.
    pub newest_utc_ns: Option<i64>,
}

impl History {
    pub fn fold(entries: &[Vec<u8>]) -> Result<History> {
        let mut history = History::default();
        for (seq, bytes) in (0_u64..).zip(entries) {
            history.add(Entry::decode(bytes, seq)?);
        }
        Ok(history)
    }

    /// The same of what is left of a damaged log: entries from number `from` on. What cannot be read begins
    /// it anew: of a run that began before such a place nobody knows how it went on, so it is not told.
    pub fn fold_left(from: u64, entries: &[Vec<u8>]) -> History {
        let mut history = History { length: from, ..History::default() };
        for (seq, bytes) in (from..).zip(entries) {
            match Entry::decode(bytes, seq) {
                Ok(entry) => history.add(entry),
                Err(_) => history = History { length: seq + 1, ..History::default() },
            }
        }
        history
    }

    /// The run with this id or unique prefix of one, or `last`.
    pub fn find(&self, wanted: &str) -> Result<&RunRecord, String> {
        if wanted.is_empty() {
            return Err("a run's id is needed, or `last`".to_owned());
        }
        if wanted == "last" {
            return self.runs.last().ok_or_else(|| "there are no runs yet".to_owned());
        }
        let hits: Vec<&RunRecord> =
            self.runs.iter().filter(|run| run.id.starts_with(wanted)).collect();
        match hits.as_slice() {
            [one] => Ok(one),
            [] => Err(format!("no run `{wanted}`: `nicmend runs` lists them")),
            many => {
                Err(format!("`{wanted}` begins the ids of {} runs; give more of it", many.len()))
            }
        }
    }

    /// The committed run that wrote this key last, if it is still in force.
    pub fn owner(&self, full_key: &str) -> Option<&RunRecord> {
        self.runs.iter().rev().find(|run| {
            run.state == RunState::Committed && run.changed().any(|name| run.key(name) == full_key)
        })
    }

    fn add(&mut self, entry: Entry) {
        self.length += 1;
        if let Fact::Versions(versions) = &entry.fact {
            self.versions = Some(versions.clone());
        }
        if let Fact::ApprovalsUsed { plan: _, approvals } = &entry.fact {
            self.approvals_used.push((entry.seq, approvals.clone()));
        }
        if let Fact::Requested(request) = &entry.fact {
            let newest = self.newest_utc_ns;
            let signed = |run: &mut RunRecord| glass::countersigned(run, request, &entry, newest);
            self.runs.iter_mut().for_each(signed);
        }
        if entry.clock.as_ref().is_some_and(|clock| clock.synchronised) {
            self.newest_utc_ns = self.newest_utc_ns.max(Some(entry.at.utc_ns));
        }
        let Some(id) = entry.run.clone() else { return };
        if let Fact::Begun {
            plan,
            playbook,
            nic,
            nic_name,
            netns,
            netns_cookie,
            ifindex,
            peer,
            uid,
        } = &entry.fact
        {
            self.runs.push(RunRecord {
                id,
                state: RunState::Running,
                plan: plan.clone(),
                playbook: playbook.clone(),
                nic: nic.clone(),
                nic_name: nic_name.clone(),
                netns: *netns,
                netns_cookie: *netns_cookie,
                ifindex: *ifindex,
                peer: peer.clone(),
                uid: *uid,
                standby: None,
                started: entry.at.clone(),
                ended: None,
                why: String::new(),
                rule: String::new(),
                tries: 0,
                originals: Vec::new(),
                written: BTreeMap::new(),
                ours: BTreeMap::new(),
                unconfirmed: BTreeMap::new(),
                firmware: None,
                provisional: None,
                probation: None,
                campaigns: Vec::new(),
                break_glass: Vec::new(),
                breaking: None,
                verdicts: Vec::new(),
                foreign: Vec::new(),
                by_hand: Vec::new(),
                entries: vec![entry],
            });
            return;
        }
        // Looked up from the end: entries belong to the newest runs.
        if let Some(run) = self.runs.iter_mut().rev().find(|run| run.id == id) {
            apply(run, &entry);
            run.entries.push(entry);
        }
    }
}

fn apply(run: &mut RunRecord, entry: &Entry) {
    glass::took(run, entry);
    match &entry.fact {
        Fact::Intent { stage: _, steps, disturbed } => intend(run, steps, disturbed),
        Fact::Wrote { stage: _, results, nanoseconds: _ } => left(run, results),
        Fact::Restored { results } => left(run, results),
        Fact::Disturbed { stage: _, left } => {
            for kept in left {
                own(run, &kept.name, &kept.original);
                run.written.insert(kept.name.clone(), kept.original.clone());
            }
        }
        Fact::Judged { stage, evidence: _, verdict } => {
            run.verdicts.push((*stage, (**verdict).clone()));
        }
        Fact::Firmware { stage, step } => {
            firmware::stepped(&mut run.firmware, *stage, step, entry);
        }
        Fact::ForeignChange { changes } => name_strangers(run, changes),
        Fact::Reverting { why } => goes_back(run, why),
        Fact::Committed { stages: _, why, provisional } => {
            run.provisional.clone_from(provisional);
            run.tries = 0;
            end(run, entry, RunState::Committed, why);
        }
        Fact::Reverted { why, proof, foreign } => {
            left(run, proof);
            name_strangers(run, foreign);
            end(run, entry, RunState::Reverted, why);
        }
        Fact::Stuck { why, left: _, by_hand } => {
            run.by_hand.clone_from(by_hand);
            end(run, entry, RunState::Stuck, why);
        }
        Fact::Standby { nic, .. } => run.standby = Some(nic.clone()),
        Fact::Refused { rule, why } => refused(run, entry, (rule, why)),
        watch @ (Fact::ProbationBegan { .. }
        | Fact::ProbationWatched { .. }
        | Fact::ProbationEnded { .. }
        | Fact::Aftermath { .. }) => after::watched(&mut run.probation, watch),
        trial @ (Fact::CampaignBegan { .. }
        | Fact::Burdened { .. }
        | Fact::Unburdened { .. }
        | Fact::CampaignJudged { .. }
        | Fact::CampaignEnded { .. }) => after::tried(&mut run.campaigns, trial, entry.epoch),
        Fact::Begun { .. }
        | Fact::Mended { .. }
        | Fact::Adopted { .. }
        | Fact::HazardOverridden { .. }
        | Fact::Users { .. }
        | Fact::Baseline { .. }
        | Fact::WriteFailed { .. }
        | Fact::PutBack { .. }
        | Fact::Frozen { .. }
        | Fact::Thawed { .. }
        | Fact::DeedRefused { .. }
        | Fact::KeyCreated(_)
        | Fact::KeyRotated(_)
        | Fact::Requested(_)
        | Fact::Decision(_)
        | Fact::Uncountersigned { .. }
        | Fact::ApprovalsUsed { .. }
        | Fact::Versions(_)
        | Fact::AgentStarted { .. }
        | Fact::AgentStopped { .. }
        | Fact::DriftSeen { .. } => {}
    }
}

fn goes_back(run: &mut RunRecord, why: &str) {
    run.state = RunState::Running;
    run.tries = run.tries.saturating_add(1);
    why.clone_into(&mut run.why);
    run.ended = None;
}

fn intend(run: &mut RunRecord, steps: &[Step], disturbed: &[Kept]) {
    for change in steps.iter().flat_map(|step| &step.batch) {
        remember(run, &change.name, &change.from);
        own(run, &change.name, &change.from);
        own(run, &change.name, &change.to);
        let both = (change.from.clone(), change.to.clone());
        run.unconfirmed.insert(change.name.clone(), both);
        run.written.insert(change.name.clone(), change.to.clone());
    }
    for kept in disturbed {
        remember(run, &kept.name, &kept.original);
    }
}

/// What the driver made of a value is what we left there. A disturbed key that was never written
/// stays out of `written`.
fn left(run: &mut RunRecord, results: &[ReadBack]) {
    for back in results {
        if let (Some(got), true) = (&back.got, run.written.contains_key(&back.name)) {
            own(run, &back.name, got);
            run.unconfirmed.remove(&back.name);
            run.written.insert(back.name.clone(), got.clone());
        }
    }
}

fn name_strangers(run: &mut RunRecord, strangers: &[Foreign]) {
    for stranger in strangers {
        if !run.foreign.contains(stranger) {
            run.foreign.push(stranger.clone());
        }
    }
}

fn end(run: &mut RunRecord, entry: &Entry, state: RunState, why: &str) {
    run.state = state;
    run.why = why.to_owned();
    run.ended = Some(entry.at.clone());
}

fn refused(run: &mut RunRecord, entry: &Entry, (rule, why): (&str, &str)) {
    rule.clone_into(&mut run.rule);
    end(run, entry, RunState::Refused, why);
}

fn own(run: &mut RunRecord, name: &Name, value: &Value) {
    run.ours.entry(name.clone()).or_default().insert(value.clone());
}

/// The first original counts: a later stage starts from what an earlier one left.
fn remember(run: &mut RunRecord, name: &Name, original: &Value) {
    if !run.originals.iter().any(|kept| kept.name == *name) {
        run.originals.push(Kept { name: name.clone(), original: original.clone() });
    }
}
