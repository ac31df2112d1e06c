//! The way back of a firmware stage: look, flash the old image where another is stored, restart where
//! another runs, look again, until running and stored are what they were; then put back what a restart
//! took. It comes before the settings, since a restart would take those too.
//!
//! Like the way back of settings it is walked from what is there, not from what was done, so a crash in
//! the middle of it is mended by walking it again; after a reboot as well, which has activated whatever
//! was stored.

use super::{
    Action, Durable, Phase, RestoreStep, Restoring, Run,
    firmware::{Answer, Order, Restored, Seen},
};
use crate::{
    fault::{Fault, Kind, Result},
    log::{Fact, firmware::FirmwareStep},
    plan::firmware::Which,
};

/// Orders of one way back, waiting included.
const TRIES_MAX: u32 = 40;
/// A device that is flashed so often, and does not come to store it, will not.
const FLASHES_MAX: u32 = 3;
const RESTARTS_MAX: u32 = 3;
const RESTORES_MAX: u32 = 3;
/// While a flash of somebody else is being written, or a device restarts: 200 ms, doubled each time,
/// at most 10 s.
const PAUSE_MS: u64 = 200;
const PAUSE_MS_MAX: u64 = 10_000;

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    Looking,
    Placing,
    Flashing,
    Keeping,
    Announcing,
    Activating,
    Awaiting,
    Restoring,
    Clearing,
    Recording,
    Pausing,
}

/// What it has cost so far, and what it has come to.
#[derive(Debug, Clone, Default)]
pub(super) struct Effort {
    tries: u32,
    flashes: u32,
    restarts: u32,
    restores: u32,
    /// The device answers, and its ports are not there: only another restart brings them.
    dead: bool,
    seen: Seen,
    restored: Restored,
    /// Why the firmware cannot be brought back, where it cannot.
    pub(super) stuck: Option<String>,
}

impl Run {
    /// The first action of the way back, for this goal: the firmware's, where there is any.
    pub(super) fn returning_begins(&mut self, way: Restoring) -> Action {
        let concerned = match (&way.goal, &self.held) {
            (_, None) => false,
            (super::Goal::Everything, Some(held)) => !held.returned,
            (super::Goal::Stage(stage), Some(held)) => !held.returned && held.stage == *stage,
        };
        match concerned {
            true => self.back(way, Back::Looking, Order::Look),
            false => self.read_targets(way),
        }
    }

    fn back(&mut self, mut way: Restoring, at: Back, order: Order) -> Action {
        way.firmware.tries += 1;
        if way.firmware.tries > TRIES_MAX {
            return self.give_up(way, "it did not come to rest");
        }
        way.step = RestoreStep::Firmware(at);
        self.phase = Phase::Restoring(way);
        Action::Firmware(order)
    }

    /// An order of the way back was answered.
    pub(super) fn came_back(
        &mut self,
        mut way: Restoring,
        at: Back,
        answer: Result<Answer>,
    ) -> Action {
        if way.firmware.stuck.is_some() {
            return self.salvage(way, at, answer);
        }
        match (at, answer) {
            (Back::Looking, Ok(Answer::Seen(seen))) => self.compare_firmware(way, seen),
            (Back::Placing, Ok(Answer::Done)) => {
                way.firmware.flashes += 1;
                self.back(way, Back::Flashing, Order::Flash(Which::Old))
            }
            (Back::Keeping, Ok(Answer::Kept(kept))) => {
                if let Some(held) = &mut self.held {
                    held.kept = kept;
                }
                self.announce_return(way)
            }
            // What they have come to is read from the device.
            (Back::Flashing | Back::Activating, Ok(_)) => {
                self.back(way, Back::Looking, Order::Look)
            }
            (Back::Awaiting, Ok(Answer::Back(nic))) => {
                self.nic = *nic;
                let Some(kept) = self.held.as_ref().map(|held| held.kept.clone()) else {
                    return self.read_targets(way);
                };
                way.firmware.restores += 1;
                self.back(way, Back::Restoring, Order::Restore(kept))
            }
            (Back::Restoring, Ok(Answer::Restored(restored))) => self.ports_restored(way, restored),
            (Back::Clearing, Ok(_)) => self.firmware_is_back(way),
            (Back::Awaiting, Err(fault)) if fault.kind == Kind::Gone => {
                way.firmware.dead = true;
                self.failed_back(way, at, &fault)
            }
            (Back::Clearing, Err(fault)) if way.firmware.tries >= TRIES_MAX / 2 => {
                self.give_up(way, &fault.to_string())
            }
            (_, Err(fault)) => self.failed_back(way, at, &fault),
            (_, Ok(answer)) => {
                let fault = Fault::new(Kind::Malformed, "go back", format!("{answer:?}"));
                self.failed_back(way, at, &fault)
            }
        }
    }

    /// What is still done where the firmware itself is given up.
    fn salvage(&mut self, mut way: Restoring, at: Back, answer: Result<Answer>) -> Action {
        let (next, order) = match (at, answer, &self.held) {
            (Back::Awaiting, Ok(Answer::Back(nic)), Some(held)) => {
                self.nic = *nic;
                (Back::Restoring, Order::Restore(held.kept.clone()))
            }
            (Back::Clearing, _, _) => return self.read_targets(way),
            (_, _, _) => (Back::Clearing, Order::Clear),
        };
        way.step = RestoreStep::Firmware(next);
        self.phase = Phase::Restoring(way);
        Action::Firmware(order)
    }

    /// Something of it failed: after a pause it is read again what is there.
    fn failed_back(&mut self, way: Restoring, at: Back, fault: &Fault) -> Action {
        let effort = &way.firmware;
        let spent = match at {
            Back::Flashing => effort.flashes >= FLASHES_MAX && fault.kind != Kind::Busy,
            Back::Activating => effort.restarts >= RESTARTS_MAX && fault.kind != Kind::Busy,
            Back::Awaiting => effort.restarts >= RESTARTS_MAX,
            Back::Restoring => effort.restores >= RESTORES_MAX,
            Back::Looking | Back::Placing | Back::Keeping | Back::Announcing => false,
            Back::Clearing | Back::Recording | Back::Pausing => false,
        };
        if spent || effort.tries >= TRIES_MAX {
            return self.give_up(way, &fault.to_string());
        }
        self.pause_firmware(way)
    }

    fn pause_firmware(&mut self, mut way: Restoring) -> Action {
        way.firmware.tries += 1;
        let ms = (PAUSE_MS << way.firmware.tries.min(10)).min(PAUSE_MS_MAX);
        way.step = RestoreStep::Firmware(Back::Pausing);
        self.phase = Phase::Restoring(way);
        Action::Pause { ms }
    }

    /// A pause is over, or something was recorded (whether or not the disk took it).
    pub(super) fn back_again(&mut self, mut way: Restoring, at: Back) -> Action {
        match at {
            Back::Announcing => {
                way.firmware.restarts += 1;
                way.firmware.dead = false;
                self.back(way, Back::Activating, Order::Activate(Which::Old))
            }
            Back::Recording => self.read_targets(way),
            Back::Looking
            | Back::Placing
            | Back::Flashing
            | Back::Keeping
            | Back::Activating
            | Back::Awaiting
            | Back::Restoring
            | Back::Clearing
            | Back::Pausing => self.back(way, Back::Looking, Order::Look),
        }
    }

    fn compare_firmware(&mut self, mut way: Restoring, seen: Seen) -> Action {
        if let Some(held) = self.held.as_mut().filter(|_| seen.renewed) {
            held.losing = true;
        }
        let Some(held) = self.held.clone() else { return self.read_targets(way) };
        let from = held.action.from.as_str();
        way.firmware.seen = seen.clone();
        let stored = match &seen.stored {
            Some(stored) => stored == from,
            // A driver that does not tell what it stores is flashed once, to be sure.
            None => way.firmware.flashes > 0,
        };
        if !stored {
            if held.action.way_back.is_none() {
                let why = format!("no image of {from} is stored, as the request accepted");
                return self.give_up(way, &why);
            }
            if way.firmware.flashes >= FLASHES_MAX {
                let now = seen.stored.unwrap_or_default();
                return self.give_up(way, &format!("it was flashed and stores {now}"));
            }
            return self.back(way, Back::Placing, Order::Place(Which::Old));
        }
        match (seen.running.as_deref() == Some(from), held.losing) {
            (true, true) if !way.firmware.dead => self.back(way, Back::Awaiting, Order::Await),
            (true, false) => self.back(way, Back::Clearing, Order::Clear),
            (_, _) if way.firmware.restarts >= RESTARTS_MAX => {
                let now = seen.running.unwrap_or_else(|| "nothing that can be read".to_owned());
                self.give_up(way, &format!("it was restarted and runs {now}"))
            }
            // Nothing is lost yet: what there is now is what the next restart will take.
            (false, false) => self.back(way, Back::Keeping, Order::Keep),
            (_, true) => self.announce_return(way),
        }
    }

    fn announce_return(&mut self, mut way: Restoring) -> Action {
        let Some(held) = &mut self.held else { return self.read_targets(way) };
        held.losing = true;
        let step =
            FirmwareStep::Activating { to: held.action.from.clone(), kept: held.kept.clone() };
        let facts = vec![Fact::Firmware { stage: held.stage, step }];
        way.step = RestoreStep::Firmware(Back::Announcing);
        self.phase = Phase::Restoring(way);
        // The one entry of the way back that is worth a sync: without it the next process would not know
        // what the restart has taken. A disk that fails is no reason to stay, all the same.
        Action::Record { facts, durable: Durable::Yes }
    }

    fn ports_restored(&mut self, mut way: Restoring, restored: Restored) -> Action {
        if let Some(nic) = &restored.nic {
            self.nic = (**nic).clone();
        }
        if !restored.left.is_empty() && way.firmware.restores < RESTORES_MAX {
            return self.pause_firmware(way);
        }
        if !restored.left.is_empty() {
            let left = restored.left.join("; ");
            way.firmware.restored = restored;
            return self.give_up(way, &format!("its ports are not as they were: {left}"));
        }
        way.firmware.restored = restored;
        if let Some(held) = &mut self.held {
            held.losing = false;
        }
        self.back(way, Back::Clearing, Order::Clear)
    }

    fn firmware_is_back(&mut self, mut way: Restoring) -> Action {
        let Some(held) = &mut self.held else { return self.read_targets(way) };
        held.returned = true;
        let seen = way.firmware.seen.clone();
        let step = FirmwareStep::Returned {
            running: seen.running.unwrap_or_default(),
            stored: seen.stored,
            outage: way.firmware.restored.outage.clone(),
            mended_ms: way.firmware.restored.mended_ms,
            lost: way.firmware.restored.lost.clone(),
        };
        let facts = vec![Fact::Firmware { stage: held.stage, step }];
        way.step = RestoreStep::Firmware(Back::Recording);
        self.phase = Phase::Restoring(way);
        Action::Record { facts, durable: Durable::BestEffort }
    }

    /// The firmware stays as it is, and the run will be stuck; what can be put back is put back even so:
    /// what its ports have lost, the kernel's firmware path, the settings.
    fn give_up(&mut self, mut way: Restoring, why: &str) -> Action {
        let Some(held) = &self.held else { return self.read_targets(way) };
        let (handle, from) = (&held.action.device.handle, &held.action.from);
        let words = format!("{handle} is not back on firmware {from}: {why}");
        let first = way.firmware.stuck.is_none();
        way.firmware.stuck.get_or_insert(words);
        let (at, order) = match first && held.losing && way.firmware.restores < RESTORES_MAX {
            true => (Back::Awaiting, Order::Await),
            false => (Back::Clearing, Order::Clear),
        };
        way.step = RestoreStep::Firmware(at);
        self.phase = Phase::Restoring(way);
        Action::Firmware(order)
    }

    /// The lines that finish by hand what is stuck.
    pub(super) fn firmware_by_hand(&self, way: &Restoring) -> Vec<String> {
        match (&way.firmware.stuck, &self.held) {
            (Some(_), Some(held)) => held.action.by_hand(),
            (Some(_) | None, _) => Vec::new(),
        }
    }
}
