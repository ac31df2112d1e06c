//! What the log says besides runs: requests, decisions, keys, versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// What somebody asked for, before anything was decided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// `apply`, `revert`, `flash`, … as policy names actions.
    pub action: String,
    /// The NIC, run or plan it is about.
    pub on: String,
    /// Refusals that were overridden on request, by their flags.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub overrides: Vec<String>,
    /// Anything else that was said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub details: BTreeMap<String, Json>,
}

/// What was decided, by which policies, on what grounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub action: String,
    pub on: String,
    pub allowed: bool,
    /// The ids of the policies that decided; none where nothing permits.
    pub policies: Vec<String>,
    pub why: String,
    /// What would satisfy a refusal.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub satisfy: Vec<String>,
    /// Everything that the policies could see.
    pub context: Json,
}

/// A key of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// The checkpoints' first line, by which this log is told from others.
    pub origin: String,
    /// The public key as a verifier key of c2sp.org/signed-note: `name+id+base64`.
    pub vkey: String,
}

/// One key handing over to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    pub old: String,
    pub new: String,
    /// Entries in the log before this one.
    pub size: u64,
    pub why: String,
    /// The old key's signature over [`Rotation::message`], base64.
    pub signature: String,
}

impl Rotation {
    /// What the old key signs: `nicmend/key-rotation/v1`, the origin, the new key, the size; one a line.
    pub fn message(origin: &str, new: &str, size: u64) -> Vec<u8> {
        format!("nicmend/key-rotation/v1\n{origin}\n{new}\n{size}\n").into_bytes()
    }
}

/// What was in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// nicmend's own.
    pub nicmend: String,
    /// Digests by name: `policy`, `configuration`, `calendars` (of the configured venues), `people` (whose
    /// signatures count), `catalog`, `playbooks` (the shipped ones; a run's own is in its plan). What is not
    /// there is not named.
    pub digests: BTreeMap<String, String>,
}
