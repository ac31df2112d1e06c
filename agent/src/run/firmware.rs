//! A firmware stage on its way forward.
//!
//! ```text
//! guard -> keep -> intent -> place -> flashing -> flash -> look -> drain -> guard -> activating -> activate
//!       -> await -> look -> restore -> clear -> activated
//! ```
//!
//! The intent is durable before anything is placed, `flashing` before the flash, `activating` before the
//! restart. From the intent on, whatever fails is answered by the way back (`returning.rs`). Where the
//! request accepted that there is no image to go back by, a flash cannot be undone: whoever comes to need a
//! port before the restart is waited for, [`WAITS_MAX`] times.

use super::{Action, Durable, Phase, Run};
use crate::{
    fault::{Fault, Kind, Result},
    host::Nic,
    log::{
        Fact,
        firmware::{FirmwareRecord, FirmwareStep, Found, Outage, PortBack},
    },
    plan::firmware::{FirmwareAction, Which},
};

/// Without a way back, how often a guard that refuses the restart is asked again: ten minutes in all.
pub(super) const WAITS_MAX: u32 = 20;
pub(super) const WAIT_MS: u64 = 30_000;
/// A restart that was barred while the device was busy counts as so many waits.
pub(super) const WAITS_A_RESTART: u32 = 10;

/// What the engine is to do about the firmware; answered by one [`Answer`].
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Is it still this device, and does nobody hold its ports?
    Guard(Before),
    /// Keep, under a name of its own, all that a restart loses of every port.
    Keep,
    /// Put an image where the kernel looks for firmware.
    Place(Which),
    Flash(Which),
    /// Read what runs and what is stored.
    Look,
    /// Give the ports' users time to leave.
    Drain,
    Activate(Which),
    /// Wait until every port is there again.
    Await,
    /// Put back what the restart lost, as kept under this name.
    Restore(String),
    /// Leave nothing where the kernel looks for firmware.
    Clear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Flash,
    Activation,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Done,
    /// Nobody stands in the way, and the device is as it was found.
    Guarded(Found),
    /// The device may not restart now.
    Barred(Fault),
    Kept(String),
    Seen(Seen),
    /// What the kernel says it did.
    Activated(Vec<String>),
    /// The ports are there again; this is the run's own NIC, as it is now.
    Back(Box<Nic>),
    Restored(Restored),
}

/// The device's versions as read from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub running: Option<String>,
    /// `None` where the driver does not tell.
    pub stored: Option<String>,
    /// On the way back: a port is another interface than the one that was kept.
    pub renewed: bool,
}

/// What became of the ports after a restart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Restored {
    /// What is not as it was, in words; empty: all of it is.
    pub left: Vec<String>,
    /// Lines that bring back what is left, for a person.
    pub by_hand: Vec<String>,
    /// What nobody can bring back from outside, in words.
    pub lost: Vec<String>,
    pub outage: Option<Outage>,
    /// Why there is no outage, where it could not be measured.
    pub unmeasured: Option<String>,
    /// Every port of the device, the run's own among them.
    pub ports: Vec<PortBack>,
    /// From the restart until all of it was as it was.
    pub mended_ms: Option<u64>,
    /// The run's own NIC, which may have its name back by now.
    pub nic: Option<Box<Nic>>,
}

/// The firmware stage of a run, from its intent on.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) stage: usize,
    pub(super) action: FirmwareAction,
    /// The blob with what a restart loses.
    pub(super) kept: String,
    /// A flash may have begun.
    pub(super) flashing: bool,
    /// Its driver tells what the device stores: that it tells nothing says nothing.
    pub(super) tells_stored: bool,
    /// A restart may have taken it, and it has not been put back yet.
    pub(super) losing: bool,
    /// Everything is as it was before the stage.
    pub(super) returned: bool,
    pub(super) performed: Vec<String>,
    /// What runs after the restart, as the device prints it.
    pub(super) running: Option<String>,
    /// How often a guard was waited for.
    waits: u32,
}

impl Held {
    /// What the log knows of it.
    pub(super) fn of(record: &FirmwareRecord) -> Held {
        Held {
            stage: record.stage,
            action: record.action.clone(),
            kept: record.kept.clone(),
            flashing: record.flashing,
            tells_stored: record.tells_stored,
            losing: record.losing.is_some(),
            returned: record.returned,
            performed: record.performed.clone(),
            running: record.activated.clone(),
            waits: 0,
        }
    }
}

/// Where a firmware stage is on its way forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Guarding,
    Keeping,
    Intending,
    Placing,
    AnnouncingFlash,
    Flashing,
    Looking,
    Draining,
    GuardingAgain,
    /// A guard refuses the restart, and there is no way back.
    WaitingOut,
    Announcing,
    Activating,
    Awaiting,
    Verifying,
    Restoring,
    Clearing,
    Reporting,
}

impl Run {
    /// What is being done to the firmware, for whoever performs the orders.
    pub fn firmware(&self) -> Option<&FirmwareAction> {
        match (&self.held, &self.phase) {
            (Some(held), _) => Some(&held.action),
            (None, Phase::Firmware { stage, .. }) => self.planned_firmware(*stage),
            (None, _) => None,
        }
    }

    /// Whether another firmware than at the beginning is, or may be, in force.
    pub(super) fn firmware_open(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.returned)
    }

    pub(super) fn planned_firmware(&self, stage: usize) -> Option<&FirmwareAction> {
        self.plan.as_ref()?.stages.get(stage)?.firmware.as_ref()
    }

    pub(super) fn begin_firmware(&mut self, stage: usize) -> Action {
        self.entry = self.expected.clone();
        self.order(stage, At::Guarding, Order::Guard(Before::Flash))
    }

    fn order(&mut self, stage: usize, at: At, order: Order) -> Action {
        self.go(Phase::Firmware { stage, at }, Action::Firmware(order))
    }

    fn say(&mut self, stage: usize, at: At, step: FirmwareStep, durable: Durable) -> Action {
        let facts = vec![Fact::Firmware { stage, step }];
        self.go(Phase::Firmware { stage, at }, Action::Record { facts, durable })
    }

    /// An order was answered.
    pub(super) fn firmware_done(&mut self, stage: usize, at: At, answer: Result<Answer>) -> Action {
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return self.firmware_failed(stage, at, &fault),
        };
        match (at, answer) {
            (At::Guarding, Answer::Guarded(found)) => {
                self.found = found;
                self.order(stage, At::Keeping, Order::Keep)
            }
            (At::Keeping, Answer::Kept(kept)) => self.intend_firmware(stage, kept),
            (At::Placing, Answer::Done) => self.announce_flash(stage),
            (At::Flashing, Answer::Done) => self.order(stage, At::Looking, Order::Look),
            (At::Looking, Answer::Seen(seen)) => self.stored(stage, &seen),
            (At::Draining, Answer::Done) => {
                self.order(stage, At::GuardingAgain, Order::Guard(Before::Activation))
            }
            (At::GuardingAgain, Answer::Guarded(found)) => self.announce(stage, &found),
            (At::GuardingAgain | At::Activating, Answer::Barred(fault)) => {
                let waits = if at == At::Activating { WAITS_A_RESTART } else { 1 };
                match self.waits_on(waits) {
                    true => self.go(
                        Phase::Firmware { stage, at: At::WaitingOut },
                        Action::Pause { ms: WAIT_MS },
                    ),
                    false => self.fail(stage, &fault),
                }
            }
            (At::Activating, Answer::Activated(performed)) => {
                if let Some(held) = &mut self.held {
                    held.performed = performed;
                }
                self.order(stage, At::Awaiting, Order::Await)
            }
            (At::Awaiting, Answer::Back(nic)) => {
                self.nic = *nic;
                self.order(stage, At::Verifying, Order::Look)
            }
            (At::Verifying, Answer::Seen(seen)) => self.verified(stage, &seen),
            (At::Restoring, Answer::Restored(restored)) => self.restored(stage, restored),
            (At::Clearing, Answer::Done) => self.report_firmware(stage),
            (at, answer) => {
                let cause = format!("unexpected answer {answer:?} while {at:?}");
                self.firmware_failed(stage, at, &Fault::new(Kind::Malformed, "flash", cause))
            }
        }
    }

    /// What was to be recorded was, or was not.
    pub(super) fn firmware_recorded(&mut self, stage: usize, at: At, done: Result<()>) -> Action {
        match (at, done) {
            (At::Intending, Ok(())) => {
                (self.wrote, self.touched) = (true, true);
                self.order(stage, At::Placing, Order::Place(Which::New))
            }
            (At::Intending, Err(fault)) if !self.wrote => self.refuse("log", &fault.to_string()),
            (At::AnnouncingFlash, Ok(())) => {
                if let Some(held) = &mut self.held {
                    held.flashing = true;
                }
                self.order(stage, At::Flashing, Order::Flash(Which::New))
            }
            (At::Announcing, Ok(())) => {
                self.order(stage, At::Activating, Order::Activate(Which::New))
            }
            // How far it went is folded from what was durable; nothing rests on this entry.
            (At::Reporting, _) => self.settings_of(stage),
            (_, Ok(())) => {
                let fault = Fault::new(Kind::Malformed, "flash", "unexpected record");
                self.fail(stage, &fault)
            }
            (_, Err(fault)) => self.fail(stage, &fault),
        }
    }

    fn firmware_failed(&mut self, stage: usize, at: At, fault: &Fault) -> Action {
        let rule = match (at, fault.kind) {
            (At::Guarding | At::Keeping, Kind::Denied) => "guard",
            (At::Guarding, Kind::Drift | Kind::Gone) => "stale-plan",
            _ => "machine",
        };
        match self.wrote {
            // Nothing is touched yet.
            false => self.refuse(rule, &fault.to_string()),
            true => self.fail(stage, fault),
        }
    }

    /// Whether it is better to wait for the guard than to turn back: what is flashed could not be taken back,
    /// and whatever restarts the device would run it unverified.
    fn waits_on(&mut self, waits: u32) -> bool {
        let Some(held) = &mut self.held else { return false };
        held.waits += waits;
        held.action.way_back.is_none() && held.waits <= WAITS_MAX
    }

    /// The guard has been waited for.
    pub(super) fn waited(&mut self, stage: usize) -> Action {
        self.order(stage, At::GuardingAgain, Order::Guard(Before::Activation))
    }

    fn announce_flash(&mut self, stage: usize) -> Action {
        let Some(held) = &self.held else { return self.lost_track(stage) };
        let step = FirmwareStep::Flashing { to: held.action.to.clone() };
        self.say(stage, At::AnnouncingFlash, step, Durable::Yes)
    }

    fn intend_firmware(&mut self, stage: usize, kept: String) -> Action {
        let Some(action) = self.planned_firmware(stage).cloned() else {
            let fault = Fault::new(Kind::Malformed, "flash", "the plan has no firmware here");
            return self.firmware_failed(stage, At::Keeping, &fault);
        };
        let found = std::mem::take(&mut self.found);
        let tells_stored = found.stored.is_some();
        let step = FirmwareStep::Intent {
            action: Box::new(action.clone()),
            kept: kept.clone(),
            found: Some(found),
        };
        self.held = Some(Held {
            stage,
            action,
            kept,
            flashing: false,
            tells_stored,
            losing: false,
            returned: false,
            performed: Vec::new(),
            running: None,
            waits: 0,
        });
        self.say(stage, At::Intending, step, Durable::Yes)
    }

    /// What is stored now must be what was asked; a device that took the image and kept nothing of it is
    /// not restarted.
    fn stored(&mut self, stage: usize, seen: &Seen) -> Action {
        let Some(held) = &self.held else { return self.lost_track(stage) };
        let stored = match &seen.stored {
            Some(stored) if held.action.is_version(stored, &held.action.to) => None,
            Some(stored) => Some(stored.as_str()),
            None => held.tells_stored.then_some("nothing that it tells, as it did before"),
        };
        if let Some(stored) = stored {
            let act = format!("flash {} to {}", held.action.device.handle, held.action.to);
            let cause = format!("the device took the image without an error, and stores {stored}");
            return self.fail(stage, &Fault::new(Kind::Drift, act, cause));
        }
        self.writes.push(Fact::Firmware {
            stage,
            step: FirmwareStep::Flashed { stored: seen.stored.clone() },
        });
        self.order(stage, At::Draining, Order::Drain)
    }

    fn announce(&mut self, stage: usize, found: &Found) -> Action {
        let Some(held) = &mut self.held else { return self.lost_track(stage) };
        if held.tells_stored && found.stored.is_none() {
            let act = format!("restart {} into {}", held.action.device.handle, held.action.to);
            let cause = "it tells no more what it stores";
            return self.fail(stage, &Fault::new(Kind::Drift, act, cause));
        }
        held.losing = true;
        let step = FirmwareStep::Activating { to: held.action.to.clone(), kept: held.kept.clone() };
        let mut facts = std::mem::take(&mut self.writes);
        facts.push(Fact::Firmware { stage, step });
        self.go(
            Phase::Firmware { stage, at: At::Announcing },
            Action::Record { facts, durable: Durable::Yes },
        )
    }

    /// Success is the running version as read from the device, never the request.
    fn verified(&mut self, stage: usize, seen: &Seen) -> Action {
        let Some(held) = &mut self.held else { return self.lost_track(stage) };
        let wanted = |running: &String| held.action.is_version(running, &held.action.to);
        if !seen.running.as_ref().is_some_and(wanted) {
            let running = seen.running.as_deref().unwrap_or("no version that can be read");
            let act = format!("activate {} on {}", held.action.to, held.action.device.handle);
            let cause = format!("it came back without an error, and runs {running}");
            return self.fail(stage, &Fault::new(Kind::Drift, act, cause));
        }
        held.running.clone_from(&seen.running);
        let kept = held.kept.clone();
        self.order(stage, At::Restoring, Order::Restore(kept))
    }

    fn restored(&mut self, stage: usize, restored: Restored) -> Action {
        if let Some(nic) = restored.nic {
            self.nic = *nic;
        }
        let Some(held) = &mut self.held else { return self.lost_track(stage) };
        if !restored.left.is_empty() {
            let act = format!("put back what the restart of {} took", held.action.device.handle);
            let fault = Fault::new(Kind::Drift, act, restored.left.join("; "));
            return self.fail(stage, &fault);
        }
        held.losing = false;
        let step = FirmwareStep::Activated {
            running: held.running.clone().unwrap_or_default(),
            performed: held.performed.clone(),
            outage: restored.outage,
            unmeasured: restored.unmeasured,
            mended_ms: restored.mended_ms,
            lost: restored.lost,
            ports: restored.ports,
        };
        self.writes.push(Fact::Firmware { stage, step });
        self.order(stage, At::Clearing, Order::Clear)
    }

    fn report_firmware(&mut self, stage: usize) -> Action {
        let facts = std::mem::take(&mut self.writes);
        self.go(
            Phase::Firmware { stage, at: At::Reporting },
            Action::Record { facts, durable: Durable::BestEffort },
        )
    }

    fn lost_track(&mut self, stage: usize) -> Action {
        let fault = Fault::new(Kind::Malformed, "flash", "no intent stands for this stage");
        self.fail(stage, &fault)
    }
}
