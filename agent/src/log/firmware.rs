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
    Intent {
        action: Box<FirmwareAction>,
        kept: String,
        /// Absent in entries of versions that did not say `flashing`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        found: Option<Found>,
    },
    /// The image of `to` is about to be written. Durable before: without it nothing was flashed.
    Flashing { to: String },
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
        /// Why there is no outage, where it could not be measured.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        unmeasured: Option<String>,
        /// From the restart until every port was as before, read back; milliseconds.
        #[serde(rename = "mended-ms", skip_serializing_if = "Option::is_none", default)]
        mended_ms: Option<u64>,
        /// What could not be brought back: sockets whose multicast membership died with the interface.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        lost: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        ports: Vec<PortBack>,
    },
    /// Running and stored are what they were before the run, as read from the device.
    Returned {
        running: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stored: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        outage: Option<Outage>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        unmeasured: Option<String>,
        #[serde(rename = "mended-ms", skip_serializing_if = "Option::is_none", default)]
        mended_ms: Option<u64>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        lost: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        ports: Vec<PortBack>,
    },
    /// A way back has ended, and not everything is as it was: `what` says which part, and no other. The versions
    /// are as read last.
    Left {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        running: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stored: Option<String>,
        #[serde(flatten)]
        what: Left,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        outage: Option<Outage>,
    },
}

/// The device as a stage began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Found {
    /// `None`: its driver does not tell what it stores.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stored: Option<String>,
}

/// What a way back has not brought back, and why, each in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Left {
    /// The device runs or stores another firmware, or nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub firmware: Option<String>,
    /// A port is not there, or not as it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ports: Option<String>,
    /// An image may still lie where the kernel looks for firmware.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
}

impl Left {
    pub fn is_empty(&self) -> bool {
        self.firmware.is_none() && self.ports.is_none() && self.path.is_none()
    }

    /// What is left, each thing in a sentence of its own.
    pub fn words(&self) -> Vec<String> {
        [&self.firmware, &self.ports, &self.path].into_iter().flatten().cloned().collect()
    }
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
            FirmwareStep::Flashing { to } => format!("flashes {to}"),
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
            FirmwareStep::Left { what, outage, .. } => {
                format!("could not be put back: {}{}", what.words().join("; "), without(outage))
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

/// One port of a device that was restarted, counted from the restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PortBack {
    /// The interface's name.
    pub name: String,
    /// Until its interface was seen there again, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub there_ms: Option<u64>,
    /// Until its carrier was seen there again, milliseconds; absent where it had none before, or has none yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub carrier_ms: Option<u64>,
    /// It had a carrier before, and has none since.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub dark: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outage: Option<Outage>,
    /// Why there is no outage, where it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unmeasured: Option<String>,
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
    /// A flash may have begun.
    #[serde(skip)]
    pub flashing: bool,
    /// The driver tells what the device stores.
    #[serde(skip)]
    pub tells_stored: bool,
    /// What the last way back has left, where it ended without all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    pub outage: Option<Outage>,
    /// Why there is no outage, where a restart's could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<String>,
    /// Every port of the device, after the last restart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortBack>,
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
    if let FirmwareStep::Intent { action, kept, found } = step {
        *record = Some(begun(stage, (action, kept, found.as_ref()), entry));
    }
    let Some(record) = record else { return };
    match step {
        FirmwareStep::Intent { .. } => {}
        FirmwareStep::Flashing { .. } | FirmwareStep::Flashed { .. } => record.flashing = true,
        FirmwareStep::Activating { to: _, kept } => {
            record.kept.clone_from(kept);
            record.losing = Some(entry.at.boot_id.clone());
        }
        FirmwareStep::Activated {
            running,
            performed,
            outage,
            unmeasured,
            mended_ms,
            lost,
            ports,
        } => {
            record.losing = None;
            record.unmeasured.clone_from(unmeasured);
            record.ports.clone_from(ports);
            record.activated = Some(running.clone());
            record.performed.clone_from(performed);
            record.outage = longer(record.outage.take(), outage.clone());
            record.mended_ms = record.mended_ms.max(*mended_ms);
            record.lost.clone_from(lost);
        }
        FirmwareStep::Returned {
            running: _,
            stored: _,
            outage,
            unmeasured,
            mended_ms,
            lost,
            ports,
        } => {
            record.losing = None;
            // Turning back without a restart says nothing about ports.
            if !ports.is_empty() || unmeasured.is_some() {
                record.ports.clone_from(ports);
                record.unmeasured.clone_from(unmeasured);
            }
            record.returned = true;
            record.left = None;
            record.outage = longer(record.outage.take(), outage.clone());
            record.mended_ms = record.mended_ms.max(*mended_ms);
            record.lost.extend(lost.iter().cloned());
        }
        FirmwareStep::Left { running: _, stored: _, what, outage } => {
            // What the restart took is there again, whatever else is not.
            record.losing = record.losing.take().filter(|_| what.ports.is_some());
            record.left = Some(what.clone());
            record.outage = longer(record.outage.take(), outage.clone());
        }
    }
}

fn begun(
    stage: usize,
    (action, kept, found): (&FirmwareAction, &String, Option<&Found>),
    entry: &Entry,
) -> FirmwareRecord {
    FirmwareRecord {
        stage,
        action: action.clone(),
        kept: kept.clone(),
        losing: None,
        activated: None,
        performed: Vec::new(),
        returned: false,
        flashing: found.is_none(),
        tells_stored: found.is_some_and(|found| found.stored.is_some()),
        left: None,
        outage: None,
        unmeasured: None,
        ports: Vec::new(),
        mended_ms: None,
        lost: Vec::new(),
        began_utc_ns: entry.at.utc_ns,
    }
}

/// A run that restarts the device twice is told by its longer outage.
fn longer(one: Option<Outage>, other: Option<Outage>) -> Option<Outage> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.ms > other.ms { one } else { other }),
        (one, other) => one.or(other),
    }
}
