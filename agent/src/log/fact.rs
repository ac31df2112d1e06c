//! What can be said in the log. A newer agent reads every older entry; names never change meaning.

use playbooks::{Name, Value};
use policy::holders::Holder;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{
    after::{Ending, Finding},
    firmware::FirmwareStep,
    office::{Decision, NewKey, Request, Rotation, Versions},
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Clock, NicId, Now},
    plan::Step,
    verdict::{Call, Verdict},
};

/// The largest entry: tlog-tiles frames an entry with a 16-bit length.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// The version of the entries that are written; 1 had no `who`, `host` and `clock`.
pub const VERSION: u32 = 2;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Format version of this entry.
    pub v: u32,
    /// Its place in the log, from 0. A gap or a repetition is damage.
    pub seq: u64,
    pub at: Now,
    /// The epoch that fenced the writer.
    pub epoch: u64,
    /// On whose behalf it was written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub who: Option<Who>,
    /// The host's name, which may change in the life of a log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// How good the clock was that `at.utc_ns` is read from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock: Option<Clock>,
    /// The run it belongs to, where it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    /// Where it was handed over to the log's writer: by whom, when and by which clock it was done is said above,
    /// and it stands here since then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entered: Option<Entered>,
    pub fact: Fact,
}

/// When the writer entered what somebody else had done, and under which name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    /// `sha256:<hex>` over the file in which it was handed over.
    pub deed: String,
    pub at: Now,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The user id of the process that asked, as the kernel gives it.
    pub uid: u32,
    /// The operator or service that policy knows this user as.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub principal: Option<String>,
}

impl Who {
    pub fn uid(uid: u32) -> Who {
        Who { uid, principal: None }
    }
}

/// By whom, where, when and by which clock: what the entries of one append have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamp {
    pub at: Now,
    pub epoch: u64,
    pub who: Who,
    pub host: String,
    pub clock: Clock,
}

impl Entry {
    pub fn new(seq: u64, stamp: &Stamp, run: Option<&str>, fact: Fact) -> Entry {
        Entry {
            v: VERSION,
            seq,
            at: stamp.at.clone(),
            epoch: stamp.epoch,
            who: Some(stamp.who.clone()),
            host: Some(stamp.host.clone()),
            clock: Some(stamp.clock.clone()),
            run: run.map(str::to_owned),
            entered: None,
            fact,
        }
    }

    /// The bytes that go to disk.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let act = "write a log entry";
        let bytes = serde_json::to_vec(self)
            .map_err(|e| Fault::new(Kind::Malformed, act, e.to_string()))?;
        if bytes.len() > ENTRY_BYTES_MAX {
            let cause = format!("{} bytes, at most {ENTRY_BYTES_MAX} fit", bytes.len());
            return Err(Fault::new(Kind::Malformed, act, cause));
        }
        Ok(bytes)
    }

    pub fn decode(bytes: &[u8], seq: u64) -> Result<Entry> {
        let act = format!("read log entry {seq}");
        let entry: Entry = serde_json::from_slice(bytes)
            .map_err(|e| Fault::new(Kind::Malformed, act.clone(), e.to_string()))?;
        if entry.seq != seq {
            let cause = format!("it says it is entry {}", entry.seq);
            return Err(Fault::new(Kind::Malformed, act, cause));
        }
        Ok(entry)
    }
}

/// The largest part of a list that goes into one entry, with room for what stands around it.
const PORTION_BYTES: usize = 40_000;

/// Splits a list so that each part fits an entry, whatever the size of its items.
pub fn portions<T: Serialize>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut bytes = PORTION_BYTES;
    for item in items {
        let size = serde_json::to_vec(&item).map_or(PORTION_BYTES, |json| json.len());
        if bytes + size > PORTION_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(part) = parts.last_mut() {
            part.push(item);
        }
    }
    parts
}

/// A setting that was written or may have been disturbed, with the value to put back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub name: Name,
    pub original: Value,
}

/// What a read-back found: equal to what was asked, or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadBack {
    pub name: Name,
    pub asked: Value,
    /// `None` where it could not be read, with the reason in `fault`.
    pub got: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<String>,
}

impl ReadBack {
    pub fn holds(&self) -> bool {
        self.got.as_ref() == Some(&self.asked)
    }
}

/// Somebody else's change, noticed by us.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Foreign {
    pub name: Name,
    /// What we had left there.
    pub expected: Value,
    pub found: Value,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fact {
    /// A damaged tail, left by a crash while appending, was cut off, or other files of the log were
    /// made whole again from its entries.
    Mended {
        /// Cut off from the last bundle.
        bytes: u64,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        files: Vec<String>,
    },
    /// These entries were there and signed by nobody when the log was opened for writing: a writer was
    /// killed before it signed them, or somebody appended them. From here on they are signed with the
    /// rest, and nothing but their place and this entry vouches for them.
    Adopted {
        from: u64,
        /// The last one.
        to: u64,
        /// The root of the tree of these entries alone (RFC 6962), base64.
        root: String,
    },
    /// The log's first key. Entries before this one were signed by nobody when they were made.
    KeyCreated(NewKey),
    /// From here on another key signs.
    KeyRotated(Rotation),
    /// Somebody asks for something to be done.
    Requested(Request),
    /// Policy has decided on a request.
    Decision(Decision),
    /// Approvals were used up for a run.
    ApprovalsUsed {
        plan: String,
        /// Each as policy has it: signer, roles, when it was given, until when it holds.
        approvals: Vec<Json>,
    },
    /// What somebody did alone was countersigned by nobody in time.
    Uncountersigned {
        /// The entry in which he asked for it.
        entry: u64,
        action: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        by: Option<String>,
        due_utc_ns: i64,
    },
    /// What was in force when a run or the agent began: rules that decide, catalog that warns. The agent's own
    /// has no run.
    Versions(Versions),
    /// The resident agent took up its work. Nothing writes this, and what comes next, before there is one.
    AgentStarted {
        version: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        details: Option<Json>,
    },
    AgentStopped {
        why: String,
    },
    /// Settings of a committed run are not what it left them at, and no run of ours is the cause.
    DriftSeen {
        nic: String,
        changes: Vec<Foreign>,
    },
    /// A run begins. The plan lies in `plans/<digest>`.
    Begun {
        plan: String,
        playbook: String,
        nic: NicId,
        nic_name: String,
        /// Inode of the network namespace in which namespace-scoped settings are meant.
        netns: u64,
        /// The kernel's cookie of that namespace: an inode's number is given again, a cookie is not in one boot.
        #[serde(rename = "netns-cookie", skip_serializing_if = "Option::is_none", default)]
        netns_cookie: Option<u64>,
        /// The interface's index in that namespace and boot.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        ifindex: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        peer: Option<String>,
        uid: u32,
    },
    /// A known hazard that would have refused the run was overridden by who asked for it.
    HazardOverridden {
        /// The catalog's issue: `KB-096`.
        issue: String,
        acts: Vec<String>,
        title: String,
        source: String,
    },
    /// Who was found to use the NIC and could feel the run, and whose harm the operator took upon himself.
    Users {
        holders: Vec<Holder>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        overridden: Vec<String>,
    },
    /// Another NIC is this run's standby path until the run ends; it was just probed good.
    Standby {
        nic: NicId,
        nic_name: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        peer: Option<String>,
        /// What it has in common with the NIC under change.
        shared_risks: Vec<String>,
    },
    /// The window that everything later is compared with. `evidence` is the digest of its samples.
    Baseline {
        evidence: String,
    },
    /// These steps will be written, and these values may be disturbed. Durable before the first.
    /// A stage with many settings says it in several entries.
    Intent {
        stage: usize,
        steps: Vec<Step>,
        disturbed: Vec<Kept>,
    },
    /// A step was written and read back.
    Wrote {
        stage: usize,
        results: Vec<ReadBack>,
        nanoseconds: u64,
    },
    /// What a stage's steps have made of the settings that they disturb (`original` is the value now):
    /// later, another value there is somebody else's.
    Disturbed {
        stage: usize,
        left: Vec<Kept>,
    },
    /// A step of a firmware stage.
    Firmware {
        stage: usize,
        #[serde(flatten)]
        step: FirmwareStep,
    },
    /// A step failed.
    WriteFailed {
        stage: usize,
        why: String,
    },
    /// A stage was measured and judged.
    Judged {
        stage: usize,
        evidence: String,
        verdict: Box<Verdict>,
    },
    /// Somebody else changed settings while the run was on.
    ForeignChange {
        changes: Vec<Foreign>,
    },
    /// A stage is being put back, the run goes on.
    PutBack {
        stage: usize,
        why: String,
    },
    /// Everything the run changed is being put back.
    Reverting {
        why: String,
    },
    /// Settings put back, read back.
    Restored {
        results: Vec<ReadBack>,
    },
    /// The change stays.
    Committed {
        stages: Vec<usize>,
        why: String,
        /// Why it does not stand for good yet: probation (`nicmend watch`) settles it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        provisional: Option<String>,
    },
    /// Every key equals its original, as `proof` shows; `foreign` was found and is named.
    Reverted {
        why: String,
        proof: Vec<ReadBack>,
        foreign: Vec<Foreign>,
    },
    /// Something could not be put back. `by_hand` finishes it.
    Stuck {
        why: String,
        left: Vec<ReadBack>,
        by_hand: Vec<String>,
    },
    /// Ended before the first write.
    Refused {
        rule: String,
        why: String,
    },
    /// A commit is watched from here on, `for_ns` in all, of which `watched_ns` were watched before.
    ProbationBegan {
        for_ns: u64,
        /// Probing packets a second.
        rate: u32,
        peer: String,
        watched_ns: u64,
    },
    /// How far the watch has come: what its sudden death must not lose.
    ProbationWatched {
        watched_ns: u64,
        samples: u64,
    },
    /// The watch is over. `evidence` is the digest of the bundle of what was seen last.
    ProbationEnded {
        ending: Ending,
        why: String,
        /// Why the commit stays provisional though nothing regressed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        open: Option<String>,
        watched_ns: u64,
        samples: u64,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        evidence: Option<String>,
    },
    /// Probation had the run reverted, and it was measured once more.
    Aftermath {
        finding: Finding,
        why: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        evidence: Option<String>,
    },
    /// A campaign over a committed run: patterns, faults, endurance.
    CampaignBegan {
        /// From 1, by run.
        campaign: u32,
        items: Vec<String>,
        for_ns: u64,
        peer: String,
    },
    /// A fault will be laid on the machine; whoever finds it unfinished removes what it `leaves`.
    /// Durable before. Settings that a fault writes have a run of their own, with its intents.
    Burdened {
        campaign: u32,
        item: String,
        leaves: Vec<String>,
    },
    /// These are gone again.
    Unburdened {
        campaign: u32,
        leaves: Vec<String>,
    },
    /// An item of a campaign was tried; no `call`: skipped, for this reason.
    CampaignJudged {
        campaign: u32,
        item: String,
        call: Option<Call>,
        why: String,
        /// What a fault looked like while it lasted.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        during: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        evidence: Option<String>,
    },
    CampaignEnded {
        campaign: u32,
        call: Call,
        why: String,
    },
    /// No automatic act until thawed.
    Frozen {
        why: String,
        uid: u32,
    },
    Thawed {
        uid: u32,
    },
    /// Something in `STATE/spool` is no deed that somebody could have handed over; it was put aside.
    DeedRefused {
        file: String,
        /// `sha256:<hex>`, where it could be read.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        digest: Option<String>,
        why: String,
    },
}
