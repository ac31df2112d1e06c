//! What of a way back cannot be had: told exactly, with the lines that a person finishes it by.

use super::{
    super::{Action, Durable, Phase, RestoreStep, Restoring, Run, firmware::Order},
    AWAITS_MAX, Back,
};
use crate::{
    log::{Fact, firmware::FirmwareStep},
    plan::firmware::FirmwareAction,
};

/// The parts of a way back.
enum Part {
    Firmware,
    Ports,
    Path,
}

impl Run {
    /// What follows when the firmware is back, or given up: the ports, then the path.
    pub(super) fn mend(&mut self, mut way: Restoring) -> Action {
        let losing = self.held.as_ref().is_some_and(|held| held.losing);
        if losing && way.firmware.left.ports.is_none() {
            way.firmware.awaits += 1;
            return match way.firmware.awaits > AWAITS_MAX {
                true => self.give_up(way, Back::Awaiting, "they did not come to rest"),
                false => self.ask(way, Back::Awaiting, Order::Await),
            };
        }
        if way.firmware.left.path.is_none() {
            way.firmware.clears += 1;
            return self.ask(way, Back::Clearing, Order::Clear);
        }
        self.settle_firmware(way)
    }

    /// This part of it stays as it is, and the run will be stuck; what can be put back is put back even so.
    pub(super) fn give_up(&mut self, mut way: Restoring, at: Back, why: &str) -> Action {
        let Some(held) = &self.held else { return self.read_targets(way) };
        let (handle, from) = (&held.action.device.handle, &held.action.from);
        let effort = &mut way.firmware;
        let part = match at {
            Back::Awaiting | Back::Restoring => Part::Ports,
            Back::Clearing => Part::Path,
            // It was read to be right, and nothing was written since: only what comes after it fails.
            _ if effort.right && held.losing => Part::Ports,
            _ if effort.right => return self.mend(way),
            Back::Looking
            | Back::Placing
            | Back::Flashing
            | Back::Keeping
            | Back::Announcing
            | Back::Activating
            | Back::Pausing
            | Back::Recording => Part::Firmware,
        };
        let back = match effort.left.firmware {
            None => format!(", though it runs and stores {from} again"),
            Some(_) => String::new(),
        };
        match part {
            Part::Firmware => {
                let words = format!("{handle} is not back on firmware {from}: {why}");
                effort.left.firmware = Some(words);
            }
            Part::Ports => {
                let words = format!("the ports of {handle} are not as they were{back}: {why}");
                effort.left.ports = Some(words);
            }
            Part::Path => {
                let words =
                    format!("an image may be left where the kernel looks for firmware: {why}");
                effort.left.path = Some(words);
            }
        }
        self.mend(way)
    }

    /// The end of it: said, and then the settings.
    pub(super) fn settle_firmware(&mut self, mut way: Restoring) -> Action {
        let Some(held) = &mut self.held else { return self.read_targets(way) };
        let (effort, stage) = (&way.firmware, held.stage);
        let (seen, restored) = (effort.seen.clone(), effort.restored.clone());
        let step = match effort.left.is_empty() {
            true => {
                held.returned = true;
                FirmwareStep::Returned {
                    running: seen.running.unwrap_or_default(),
                    stored: seen.stored,
                    outage: restored.outage,
                    unmeasured: restored.unmeasured,
                    mended_ms: restored.mended_ms,
                    lost: restored.lost,
                    ports: restored.ports,
                }
            }
            false => FirmwareStep::Left {
                running: seen.running,
                stored: seen.stored,
                what: effort.left.clone(),
                outage: restored.outage,
            },
        };
        way.step = RestoreStep::Firmware(Back::Recording);
        self.phase = Phase::Restoring(way);
        let facts = vec![Fact::Firmware { stage, step }];
        Action::Record { facts, durable: Durable::BestEffort }
    }

    /// The lines that finish by hand what is stuck, and nothing else.
    pub(in crate::run) fn firmware_by_hand(&self, way: &Restoring) -> Vec<String> {
        let Some(held) = &self.held else { return Vec::new() };
        let effort = &way.firmware;
        let mut lines: Vec<String> =
            effort.held.then(|| held.action.by_hand_when_free()).into_iter().collect();
        if effort.left.firmware.is_some() {
            lines.extend(match held.action.way_back {
                Some(_) => held.action.by_hand(),
                None => without_image(&held.action, effort.seen.stored.as_deref()),
            });
        }
        if effort.left.ports.is_some() {
            lines.extend(effort.restored.left.iter().map(|left| format!("# {left}")));
            lines.extend(effort.restored.by_hand.iter().cloned());
        }
        if effort.left.path.is_some() {
            lines.push(CLEAR.to_owned());
        }
        lines
    }
}

/// The folder, where it is ours: we leave a mark in what we make.
const CLEAR: &str = "[ ! -e /lib/firmware/nicmend/.nicmend ] || rm -rf /lib/firmware/nicmend";

/// Nothing here brings the old firmware back; what a person can do, and what then.
fn without_image(action: &FirmwareAction, stored: Option<&str>) -> Vec<String> {
    let (handle, from) = (&action.device.handle, &action.from);
    let now = stored.unwrap_or(&action.to);
    vec![
        format!("# {handle}: no image of {from} is stored; nothing here brings it back."),
        format!(
            "# With the vendor's image of {from}: flash it (devlink dev flash {handle} file FILE), restart the"
        ),
        "# device where it runs another, then `nicmend recover`.".to_owned(),
        format!("# Until then any reset of the device and any boot of this host runs {now}."),
    ]
}
