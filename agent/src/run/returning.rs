//! The way back of a firmware stage: look, flash the old image where another is stored, restart where
//! another runs, look again, until running and stored are what they were; then put back what a restart
//! took, then clear the kernel's firmware path. It comes before the settings, since a restart would take
//! those too.
//!
//! Like the way back of settings it is walked from what is there, not from what was done, so a crash in
//! the middle of it is mended by walking it again; after a reboot as well, which has activated whatever
//! was stored.
//!
//! What fails for good is given up part by part, firmware, ports, path ([`Left`](crate::log::firmware::Left)):
//! the parts behind it are put back all the same, and only what is not back is told to be so.

mod giving_up;

use super::{
    Action, Durable, Phase, RestoreStep, Restoring, Run,
    firmware::{Answer, Order, Restored, Seen},
};
use crate::{
    fault::{Fault, Kind, Result},
    log::{
        Fact,
        firmware::{FirmwareStep, Left},
    },
    plan::firmware::Which,
};

/// Orders and pauses until running and stored are what they were.
pub(super) const TRIES_MAX: u32 = 40;
/// A device that is flashed so often, and does not come to store it, will not.
pub(super) const FLASHES_MAX: u32 = 3;
pub(super) const RESTARTS_MAX: u32 = 3;
/// Flashes and restarts that have taken so long, all of one kind together, are not tried again by this process: the
/// time until a venue's next phase is promised.
pub(super) const AGAIN_MS_MAX: u64 = 300_000;
/// Waits for the ports; one follows each restart.
pub(super) const AWAITS_MAX: u32 = 6;
pub(super) const RESTORES_MAX: u32 = 3;
pub(super) const CLEARS_MAX: u32 = 5;
/// Looks at a device that tells no version, before that is believed: it may be coming up.
const SILENCES_MAX: u32 = 5;
/// While a flash of somebody else is being written, or a device restarts: 200 ms, doubled each time,
/// at most 10 s.
const PAUSE_MS: u64 = 200;
pub(super) const PAUSE_MS_MAX: u64 = 10_000;

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
    flashes_ms: u64,
    restarts: u32,
    restarts_ms: u64,
    awaits: u32,
    restores: u32,
    clears: u32,
    silences: u32,
    /// Why the last flash or restart failed, where it did.
    refused: Option<String>,
    /// Running and stored were read to be what they were, and nothing was written since.
    right: bool,
    /// The device answers, and its ports are not there: only another restart brings them.
    dead: bool,
    seen: Seen,
    restored: Restored,
    /// What is not back.
    pub(super) left: Left,
    /// Because the kernel still works on the device.
    pub(super) held: bool,
}

impl Effort {
    /// How long an order took.
    pub(super) fn took(&mut self, at: Back, ms: u64) {
        match at {
            Back::Flashing => self.flashes_ms = self.flashes_ms.saturating_add(ms),
            Back::Activating => self.restarts_ms = self.restarts_ms.saturating_add(ms),
            Back::Looking | Back::Placing | Back::Keeping | Back::Announcing => {}
            Back::Awaiting | Back::Restoring | Back::Clearing => {}
            Back::Recording | Back::Pausing => {}
        }
    }

    fn flashed_enough(&self) -> bool {
        self.flashes >= FLASHES_MAX || self.flashes_ms >= AGAIN_MS_MAX
    }

    fn restarted_enough(&self) -> bool {
        self.restarts >= RESTARTS_MAX || self.restarts_ms >= AGAIN_MS_MAX
    }
}

impl Run {
    /// The first action of the way back, for this goal: the firmware's, where there is any.
    pub(super) fn returning_begins(&mut self, way: Restoring) -> Action {
        let concerned = match (&way.goal, &self.held) {
            (_, None) => false,
            (super::Goal::Everything, Some(held)) => !held.returned,
            (super::Goal::Stage(stage), Some(held)) => !held.returned && held.stage == *stage,
        };
        // What the way back of the stage alone has given up stays given up.
        match concerned && way.firmware.left.is_empty() {
            true => self.back(way, Back::Looking, Order::Look),
            false => self.read_targets(way),
        }
    }

    /// An order on the way to the old firmware.
    fn back(&mut self, mut way: Restoring, at: Back, order: Order) -> Action {
        way.firmware.tries += 1;
        if way.firmware.tries > TRIES_MAX {
            return self.give_up(way, at, "it did not come to rest");
        }
        self.ask(way, at, order)
    }

    fn ask(&mut self, mut way: Restoring, at: Back, order: Order) -> Action {
        if matches!(order, Order::Flash(_) | Order::Activate(_)) {
            way.firmware.right = false;
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
                way.firmware.refused = None;
                self.back(way, Back::Looking, Order::Look)
            }
            (Back::Awaiting, Ok(Answer::Back(nic))) => {
                self.nic = *nic;
                let Some(kept) = self.held.as_ref().map(|held| held.kept.clone()) else {
                    return self.read_targets(way);
                };
                way.firmware.restores += 1;
                self.ask(way, Back::Restoring, Order::Restore(kept))
            }
            (Back::Restoring, Ok(Answer::Restored(restored))) => self.ports_restored(way, restored),
            (Back::Clearing, Ok(_)) => self.settle_firmware(way),
            (Back::Awaiting, Err(fault)) if fault.kind == Kind::Gone => {
                way.firmware.dead = true;
                self.failed_back(way, at, &fault)
            }
            (_, Err(fault)) => self.failed_back(way, at, &fault),
            (_, Ok(answer)) => {
                let fault = Fault::new(Kind::Malformed, "go back", format!("{answer:?}"));
                self.failed_back(way, at, &fault)
            }
        }
    }

    /// Something of it failed: after a pause it is read again what is there.
    fn failed_back(&mut self, mut way: Restoring, at: Back, fault: &Fault) -> Action {
        let effort = &way.firmware;
        // Without the old firmware no restart is worth another one: the ports are there or they are not.
        let last = effort.left.firmware.is_some() || effort.restarted_enough();
        let spent = match at {
            Back::Awaiting => last || effort.awaits >= AWAITS_MAX,
            Back::Restoring => effort.restores >= RESTORES_MAX,
            Back::Clearing => effort.clears >= CLEARS_MAX,
            // What it has come to is read from the device all the same.
            Back::Flashing | Back::Activating => {
                way.firmware.refused = Some(fault.to_string());
                false
            }
            Back::Looking | Back::Placing | Back::Keeping | Back::Announcing => false,
            Back::Recording | Back::Pausing => false,
        };
        // A pause and a look more would be too many.
        if fault.kind == Kind::Held && way.firmware.tries + 2 > TRIES_MAX {
            return self.still_held(way, fault);
        }
        let effort = &way.firmware;
        let firmware = effort.left.firmware.is_none() && !matches!(at, Back::Clearing);
        if spent || (firmware && effort.tries >= TRIES_MAX) {
            return self.give_up(way, at, &fault.to_string());
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
            | Back::Pausing => match way.firmware.left.is_empty() {
                true => self.back(way, Back::Looking, Order::Look),
                // Something is given up; what comes behind it goes on.
                false => self.mend(way),
            },
        }
    }

    fn compare_firmware(&mut self, mut way: Restoring, seen: Seen) -> Action {
        if let Some(held) = self.held.as_mut().filter(|_| seen.renewed) {
            held.losing = true;
        }
        let Some(held) = self.held.clone() else { return self.read_targets(way) };
        let from = held.action.from.as_str();
        way.firmware.seen = seen.clone();
        way.firmware.right = false;
        let stored = match &seen.stored {
            Some(stored) => held.action.is_version(stored, from),
            // A device that tells nothing stores no other version by that: it is asked again.
            None if held.tells_stored && way.firmware.silences < SILENCES_MAX => {
                return self.silent(way);
            }
            // Without a flash it stores what it did.
            None if !held.flashing => true,
            None if held.tells_stored => false,
            // A driver that does not tell what it stores is flashed once, to be sure.
            None => way.firmware.flashes > 0,
        };
        if !stored {
            return self.flash_back(way, from, &seen);
        }
        let running = match &seen.running {
            Some(running) => held.action.is_version(running, from),
            None if way.firmware.silences < SILENCES_MAX => return self.silent(way),
            // Nobody restarts a device for not telling its version; one that has been restarted and
            // tells none has not come up.
            None if !held.losing => {
                return self.give_up(way, Back::Looking, "it tells no running version");
            }
            None => false,
        };
        way.firmware.right = running;
        match (running, held.losing) {
            (true, true) if !way.firmware.dead => self.mend(way),
            (true, false) => self.mend(way),
            (_, _) if way.firmware.restarted_enough() => {
                let now = seen.running.unwrap_or_else(|| "nothing that can be read".to_owned());
                let (at, why) = match running {
                    true => (Back::Awaiting, "they did not come back".to_owned()),
                    false => (Back::Looking, format!("it was restarted and runs {now}")),
                };
                let why = way.firmware.refused.clone().unwrap_or(why);
                self.give_up(way, at, &why)
            }
            // Nothing is lost yet: what there is now is what the next restart will take.
            (false, false) => self.back(way, Back::Keeping, Order::Keep),
            (_, true) => self.announce_return(way),
        }
    }

    /// Another version is stored, or nobody can tell.
    fn flash_back(&mut self, way: Restoring, from: &str, seen: &Seen) -> Action {
        let without_image = self.held.as_ref().is_none_or(|held| held.action.way_back.is_none());
        let now = seen.stored.as_deref().unwrap_or("nothing that it tells");
        if without_image {
            let running = seen.running.as_deref().unwrap_or("nothing that it tells");
            let unverified = match seen.stored == seen.running {
                true => "",
                // Nobody has measured what is stored.
                false => {
                    ", which the next reset of the device or boot of the host runs, unverified"
                }
            };
            let why = format!(
                "no image of {from} is stored, as the request accepted; it runs {running} and stores \
                 {now}{unverified}"
            );
            return self.give_up(way, Back::Flashing, &why);
        }
        if way.firmware.flashed_enough() {
            let why = format!("it was flashed and stores {now}");
            let why = way.firmware.refused.clone().unwrap_or(why);
            return self.give_up(way, Back::Flashing, &why);
        }
        self.back(way, Back::Placing, Order::Place(Which::Old))
    }

    /// It tells no version now: that is no version.
    fn silent(&mut self, mut way: Restoring) -> Action {
        way.firmware.silences += 1;
        match way.firmware.tries >= TRIES_MAX {
            true => self.give_up(way, Back::Looking, "it tells no version"),
            false => self.pause_firmware(way),
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
        let left = restored.left.join("; ");
        way.firmware.restored = restored;
        if !left.is_empty() && way.firmware.restores < RESTORES_MAX {
            return self.pause_firmware(way);
        }
        if !left.is_empty() {
            return self.give_up(way, Back::Restoring, &left);
        }
        if let Some(held) = &mut self.held {
            held.losing = false;
        }
        self.mend(way)
    }
}
