//! A playbook as types: what to change, in which stages, and what decides whether it stays.

use std::{collections::BTreeMap, time::Duration};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{External, Metric, Name, Wanted};

/// One playbook, parsed and checked. Immutable; named by [`Playbook::digest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Playbook {
    pub name: String,
    pub version: Version,
    pub summary: String,
    pub references: Vec<String>,
    pub applies_to: AppliesTo,
    /// Least disruptive first; at least one.
    pub stages: Vec<Stage>,
    /// The run stops at the first stage that meets all of these; empty: all stages are applied once.
    pub objective: Criteria,
    pub guardrails: Criteria,
    /// Where to read figures that somebody else measures, by the name that criteria call them
    /// (`external.<name>`).
    // Left out where there are none: playbooks without them keep the digest they always had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, External>,
    pub verify: Verify,
    /// How long strategies get to leave before a disruptive step.
    #[serde(with = "duration_ns")]
    pub drain: Duration,
    pub probation: Option<Probation>,
}

/// Criteria by metric, each judged on its confidence bound.
pub type Criteria = BTreeMap<Metric, Criterion>;

/// All that are given must match; an empty list or `None` matches any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AppliesTo {
    pub driver: Vec<String>,
    /// Model names; `*` matches any run of characters.
    pub model: Vec<String>,
    /// A firmware range (`>=20.31, <20.33`), compared under the driver's own version scheme.
    pub firmware: Option<String>,
    /// A kernel range (`>=5.15`), compared with the upstream base.
    pub kernel: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stage {
    pub name: String,
    /// In the file's order; the planner orders them by what the kernel needs.
    pub settings: Vec<(Name, Wanted)>,
    pub firmware: Option<Firmware>,
}

/// A staged action, not a setting: what cannot simply be written back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Firmware {
    /// `golden`, or a version under the driver's scheme.
    pub version: String,
    pub activate: Activate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activate {
    /// `nic-reset`: the NIC alone restarts, the host does not.
    NicReset,
    /// `live-patch`: devlink's `fw_activate` with limit `no_reset`.
    LivePatch,
}

/// At least one bound. Absolute bounds are in the metric's own unit (nanoseconds, a ratio, a count).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Criterion {
    pub at_most: Option<f64>,
    /// For figures that are better higher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// Relative to the run's first baseline, as a fraction: 5 % is 0.05.
    pub no_worse_than: Option<f64>,
}

/// How a window is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verify {
    pub transport: Transport,
    /// The longest wait for carrier and replies after a change.
    #[serde(with = "duration_ns")]
    pub settle: Duration,
    #[serde(with = "duration_ns")]
    pub window: Duration,
    /// Packets a second, 1 to 1,000,000.
    pub rate: u32,
    /// Bytes of UDP or TCP payload.
    pub payload: u32,
    pub patterns: Vec<Pattern>,
    pub interleave: bool,
    /// An untouched NIC measured beside this one.
    pub control: Option<String>,
    /// The distance between storms, where it is known: a window shorter than three of them shows none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration_ns")]
    pub storm_period: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Udp,
    Tcp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    Calm,
    OpenBurst,
    CloseBurst,
    Microburst,
    /// A recorded trace of inter-arrival times.
    Replay(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Probation {
    #[serde(rename = "for-ns", with = "duration_ns")]
    pub length: Duration,
    /// Probing packets a second while watching.
    pub rate: u32,
}

impl Verify {
    /// The most packets in the window of one pattern: what a probe remembers of each takes about 100 bytes.
    pub const PACKETS_MAX: u64 = 4 << 20;
}

/// What a playbook that says nothing of `verify`, or of some key in it, is measured by.
impl Default for Verify {
    fn default() -> Verify {
        Verify {
            transport: Transport::Udp,
            settle: Duration::from_secs(5),
            window: Duration::from_secs(30),
            rate: 1000,
            payload: 64,
            patterns: vec![Pattern::Calm],
            interleave: false,
            control: None,
            storm_period: None,
        }
    }
}

impl Probation {
    /// Probing packets a second where `probation` gives no `rate`.
    pub const RATE: u32 = 10;
}

/// Durations in canonical JSON are whole nanoseconds, so that a digest never depends on spelling.
pub(crate) mod duration_ns {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(d.as_nanos().try_into().unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_nanos(u64::deserialize(d)?))
    }
}

mod optional_duration_ns {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match d {
            Some(d) => super::duration_ns::serialize(d, s),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(Duration::from_nanos))
    }
}

impl Playbook {
    /// How long strategies get to leave where `drain` is not given.
    pub const DRAIN: Duration = Duration::from_secs(10);

    /// `sha256:<hex>` over the canonical JSON: the same meaning has the same digest, whatever the
    /// YAML's comments, order of keys or spelling of units.
    pub fn digest(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut canonical = self.clone();
        for stage in &mut canonical.stages {
            // Their order in the file says nothing: the planner orders them by what the kernel needs.
            stage.settings.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        // Cannot fail: every map key here is a string, and nothing refuses to be serialized.
        let json = serde_json::to_vec(&canonical).unwrap_or_default();
        let hex: String = Sha256::digest(&json).iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256:{hex}")
    }
}
