//! A flash or a restart that the kernel works on for longer than anybody waits.

use std::time::Duration;

use super::{Refusal, Sim, State, answer, describe, firmware, quirk::Quirk};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Ask, Genl, tlv::Attrs},
};

// DEVLINK_CMD_*
const RELOAD: u8 = 37;
const FLASH_UPDATE: u8 = 58;
const DEV_NAME: u16 = 2;

impl Sim {
    /// How often a device was asked something while the kernel still worked on an earlier flash or restart of
    /// it: never, if all is well.
    pub fn overlaps(&self) -> u32 {
        self.lock().overlaps
    }

    pub(super) fn lengthy_within(
        &self,
        limit: Duration,
        ask: &Ask,
        heard: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<Vec<Vec<u8>>> {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX / 4);
        let answered = self.call(
            || describe(ask),
            |state| {
                asked(state, ask)?;
                if begins(state, ask, limit_ns) {
                    return Ok(None);
                }
                match ask {
                    Ask::Genl { family: Genl::Devlink, command: FLASH_UPDATE, payload, .. } => {
                        firmware::flash(state, payload, heard)
                    }
                    Ask::Genl { family: Genl::Devlink, command: RELOAD, payload, .. } => {
                        firmware::reload(state, payload)
                    }
                    other => answer(state, other),
                }
                .map(Some)
            },
        )?;
        answered.ok_or_else(|| {
            Fault::new(Kind::Held, describe(ask), "the kernel has not answered and still holds it")
        })
    }

    pub(super) fn is_free(&self, device: &str) -> Result<()> {
        let mut state = self.lock();
        due(&mut state);
        match holds(&state, device) {
            false => Ok(()),
            true => Err(Fault::new(Kind::Held, format!("ask about {device}"), "it is held")),
        }
    }
}

/// What the kernel is doing, whoever asked and whether or not he lives.
#[derive(Debug, Clone)]
pub(super) struct Call {
    slot: String,
    /// When it will have done it.
    until_ns: u64,
    ask: Ask,
}

/// Whether this exchange is not answered within the limit; the kernel goes on with it.
fn begins(state: &mut State, ask: &Ask, limit_ns: u64) -> bool {
    let Ask::Genl { family: Genl::Devlink, command, payload, .. } = ask else { return false };
    let on = match *command {
        FLASH_UPDATE => "flash",
        RELOAD => "reload",
        _ => return false,
    };
    let slot = slot(payload).unwrap_or_default();
    let held_ns = firmware::quirks(state, &slot).iter().find_map(|quirk| match quirk {
        Quirk::Holds { on: what, ms } if what == on => Some(ms * 1_000_000),
        _ => None,
    });
    let Some(held_ns) = held_ns.filter(|ns| *ns > limit_ns) else { return false };
    // The first of them; what comes after goes its usual way.
    let times = state.refused.entry((0, format!("held {on} {slot}"))).or_insert(0);
    *times += 1;
    if *times > 1 {
        return false;
    }
    state.advance(limit_ns);
    let until_ns = state.mono_ns + (held_ns - limit_ns);
    state.held = Some(Call { slot, until_ns, ask: ask.clone() });
    true
}

/// What was held is done once its time has come; nobody hears the answer.
pub(super) fn due(state: &mut State) {
    let Some(call) = state.held.take_if(|call| call.until_ns <= state.mono_ns) else { return };
    let Ask::Genl { command, payload, .. } = &call.ask else { return };
    let _ = match *command {
        FLASH_UPDATE => firmware::flash(state, payload, &mut |_, _| ()),
        _ => firmware::reload(state, payload),
    };
}

fn holds(state: &State, device: &str) -> bool {
    let slot = device.rsplit_once('.').map_or(device, |(slot, _)| slot);
    state.held.as_ref().is_some_and(|call| slot.ends_with(&call.slot))
}

/// A request about a device that is held waits behind it in the kernel: counted, since nobody should.
pub(super) fn asked(state: &mut State, ask: &Ask) -> Result<(), Refusal> {
    let (Ask::Genl { family: Genl::Devlink, payload, .. }, Some(call)) = (ask, &state.held) else {
        return Ok(());
    };
    if slot(payload).is_some_and(|slot| slot != call.slot) {
        return Ok(());
    }
    state.overlaps += 1;
    Err(Refusal::errno(libc::EBUSY))
}

fn slot(payload: &[u8]) -> Option<String> {
    let name = Attrs(payload).find(DEV_NAME)?.text().to_owned();
    Some(name.rsplit_once('.')?.0.to_owned())
}
