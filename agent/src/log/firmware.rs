//! What the log says of a firmware stage, step by step: after a crash it tells where the run was.

use serde::{Deserialize, Serialize};

use super::fact::Entry;
use crate::plan::firmware::FirmwareAction;

/// One step of a firmware stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum FirmwareStep {
    /// The device's firmware will be changed. Durable before anything is placed or written. `kept` names
    /// the blob that holds what the activation will lose.
    Intent { action: Box<FirmwareAction>, kept: String },
    /// Written to the device and read back as stored.
    Flashed {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stored: Option<String>,
    },
    /// The device will restart into what is stored (`to`). Durable before, on the way forward. `kept` is
    /// what every port is brought back to.
    Activating { to: String, kept: String },
    /// It runs this version, as read from the device, and its ports have back what the restart lost.
    Activated {
        running: String,
        /// The kernel's own words for what it did: `fw_activate`, `driver_reinit`.
        performed: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        outage: Option<Outage>,
        /// From the restart until every port was as before, read back; milliseconds.
        #[serde(rename = "mended-ms", skip_serializing_if = "Option::is_none", default)]
        mended_ms: Option<u64>,
        /// What could not be brought back: sockets whose multicast membership died with the interface.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        lost: Vec<String>,
    },
    /// Running and stored are what they were before the run, as read from the device.
    Returned {
        running: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stored: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        outage: Option<Outage>,
        #[serde(rename = "mended-ms", skip_serializing_if = "Option::is_none", default)]
        mended_ms: Option<u64>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        lost: Vec<String>,
    },
}

impl FirmwareStep {
    /// One line, of the stage.
    pub fn words(&self) -> String {
        let without = |outage: &Option<Outage>| {
            outage.as_ref().map_or(String::new(), |o| format!("; {} ms without a packet", o.ms))
        };
        match self {
            FirmwareStep::Intent { action, .. } => {
                let back = match &action.way_back {
                    Some(image) => format!("back by image {}", image.sha256),
                    None => "NO WAY BACK".to_owned(),
                };
                format!(
                    "will take {} from {} to {} by image {}, {back}",
                    action.device.handle, action.from, action.to, action.image.sha256
                )
            }
            FirmwareStep::Flashed { stored } => {
                let stored = stored.as_deref().unwrap_or("what the device does not tell");
                format!("flashed; stored is {stored}")
            }
            FirmwareStep::Activating { to, .. } => format!("restarts the device into {to}"),
            FirmwareStep::Activated { running, outage, .. } => {
                format!("runs {running} and has its ports back{}", without(outage))
            }
            FirmwareStep::Returned { running, outage, .. } => {
                format!("is back on {running}, running and stored{}", without(outage))
            }
        }
    }
}

/// How long no packet came through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outage {
    /// From the last reply before to the first after, milliseconds.
    pub ms: u64,
    /// `false`: no reply came after it while it was waited for, and `ms` is a lower bound.
    pub over: bool,
    /// How it was measured, in words.
    pub how: String,
}

/// A run's firmware stage as the log tells it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FirmwareRecord {
    pub stage: usize,
    pub action: FirmwareAction,
    /// The blob that the ports are brought back to.
    pub kept: String,
    /// The boot in which an activation began whose losses are not known to be mended.
    pub losing: Option<String>,
    /// The version it was seen running after the activation.
    pub activated: Option<String>,
    pub performed: Vec<String>,
    pub returned: bool,
    pub outage: Option<Outage>,
    /// From a restart until every port of the device was as before, the longest: its link, its addresses, its
    /// settings; milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mended_ms: Option<u64>,
    pub lost: Vec<String>,
    /// When the intent was written, UTC nanoseconds.
    pub began_utc_ns: i64,
}

/// Takes one step into a run's record.
pub fn stepped(
    record: &mut Option<FirmwareRecord>,
    stage: usize,
    step: &FirmwareStep,
    entry: &Entry,
) {
    if let FirmwareStep::Intent { action, kept } = step {
        *record = Some(FirmwareRecord {
            stage,
            action: (**action).clone(),
            kept: kept.clone(),
            losing: None,
            activated: None,
            performed: Vec::new(),
            returned: false,
            outage: None,
            mended_ms: None,
            lost: Vec::new(),
            began_utc_ns: entry.at.utc_ns,
        });
    }
    let Some(record) = record else { return };
    match step {
        FirmwareStep::Intent { .. } | FirmwareStep::Flashed { .. } => {}
        FirmwareStep::Activating { to: _, kept } => {
            record.kept.clone_from(kept);
            record.losing = Some(entry.at.boot_id.clone());
        }
        FirmwareStep::Activated { running, performed, outage, mended_ms, lost } => {
            record.losing = None;
            record.activated = Some(running.clone());
            record.performed.clone_from(performed);
            record.outage = longer(record.outage.take(), outage.clone());
            record.mended_ms = record.mended_ms.max(*mended_ms);
            record.lost.clone_from(lost);
        }
        FirmwareStep::Returned { running: _, stored: _, outage, mended_ms, lost } => {
            record.losing = None;
            record.returned = true;
            record.outage = longer(record.outage.take(), outage.clone());
            record.mended_ms = record.mended_ms.max(*mended_ms);
            record.lost.extend(lost.iter().cloned());
        }
    }
}

/// A run that restarts the device twice is told by its longer outage.
fn longer(one: Option<Outage>, other: Option<Outage>) -> Option<Outage> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.ms > other.ms { one } else { other }),
        (one, other) => one.or(other),
    }
}
