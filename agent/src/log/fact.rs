//! What can be said in the log. A newer agent reads every older entry; names never change meaning.

use playbooks::{Name, Value};
use serde::{Deserialize, Serialize};

use crate::{
    fault::{Fault, Kind, Result},
    host::{NicId, Now},
    plan::Step,
    verdict::Verdict,
};

/// The largest entry: tlog-tiles frames an entry with a 16-bit length.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Format version of this entry.
    pub v: u32,
    /// Its place in the log, from 0. A gap or a repetition is damage.
    pub seq: u64,
    pub at: Now,
    /// Who wrote it: the epoch that fenced the writer.
    pub epoch: u64,
    /// The run it belongs to, where it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    pub fact: Fact,
}

impl Entry {
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
    /// A damaged tail, left by a crash while appending, was cut off.
    Mended {
        bytes: u64,
    },
    /// A run begins. The plan lies in `plans/<digest>`.
    Begun {
        plan: String,
        playbook: String,
        nic: NicId,
        nic_name: String,
        /// Inode of the network namespace in which namespace-scoped settings are meant.
        netns: u64,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        peer: Option<String>,
        uid: u32,
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
    /// No automatic act until thawed.
    Frozen {
        why: String,
        uid: u32,
    },
    Thawed {
        uid: u32,
    },
}
