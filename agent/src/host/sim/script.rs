//! What goes wrong, and what somebody else does: by call number or by virtual time.

use playbooks::Value;
use serde::{Deserialize, Serialize};

use super::{Refusal, State, around, values};

/// A blow at one host call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection {
    /// Counted from 0 since the simulation began; see [`super::Sim::calls`].
    pub call: u64,
    pub moment: Moment,
    pub blow: Blow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The call has no effect.
    Before,
    /// The call takes effect and its caller never learns of it.
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The call fails with this errno.
    Fail(i32),
    /// The process dies: the call unwinds with [`super::Crash`].
    Crash,
}

/// Something that happens to the machine without us.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Event {
    /// Before the host call of this number.
    #[serde(default)]
    pub call: Option<u64>,
    /// Once so many milliseconds have passed since boot.
    #[serde(default)]
    pub after_ms: Option<u64>,
    pub act: Act,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Somebody writes a setting, by its name in the vocabulary; `nic` may be empty for a sysctl.
    Set {
        #[serde(default)]
        nic: String,
        setting: String,
        value: Value,
    },
    /// The cable is pulled or plugged.
    Cable {
        nic: String,
        carries: bool,
    },
    /// The NIC is unplugged.
    Remove {
        nic: String,
    },
    /// The NIC that was removed is plugged in again: same identity, new ifindex, fresh settings.
    Return {
        nic: String,
    },
    Rename {
        nic: String,
        to: String,
    },
    /// The driver unregisters the interface and registers a bare one, under this name and another index.
    Reborn {
        nic: String,
        name: String,
    },
    /// From here on we are in another network namespace, with what the machine has.
    Namespace {
        inode: u64,
        cookie: Option<u64>,
    },
    /// Another card of the same kind sits in the slot: other MAC and serial, fresh settings.
    Replace {
        nic: String,
        mac: String,
    },
}

/// Carries out what is due before call number `call`.
pub(super) fn due(state: &mut State, call: u64) {
    let now_ms = state.mono_ns / 1_000_000;
    let mut i = 0;
    while i < state.pending.len() {
        let event = &state.pending[i];
        let is_due = event.call.is_some_and(|at| at <= call)
            || event.after_ms.is_some_and(|at| at <= now_ms);
        if is_due {
            let event = state.pending.remove(i);
            act(state, &event.act);
        } else {
            i += 1;
        }
    }
}

pub(super) fn act(state: &mut State, act: &Act) {
    // An act on a NIC that is not there does nothing, as it would for whoever tried it.
    let done: Result<(), Refusal> = match act {
        Act::Set { nic, setting, value } => values::set(state, nic, setting, value),
        Act::Cable { nic, carries } => on(state, nic, |state, ifindex| {
            if let Some(nic) = state.machine.by_index_mut(ifindex) {
                nic.cable = *carries;
            }
            state.announce(ifindex, "link");
        }),
        Act::Remove { nic } => on(state, nic, |state, ifindex| {
            let (gone, stay) = state.machine.nics.drain(..).partition(|nic| nic.ifindex == ifindex);
            state.machine.nics = stay;
            state.unplugged.extend::<Vec<_>>(gone);
            state.announce(ifindex, "link");
        }),
        Act::Return { nic } => plug(state, nic, None),
        Act::Rename { nic, to } => on(state, nic, |state, ifindex| {
            if let Some(nic) = state.machine.by_index_mut(ifindex) {
                nic.name.clone_from(to);
            }
            state.announce(ifindex, "link");
        }),
        Act::Reborn { nic, name } => on(state, nic, |state, ifindex| {
            around::reborn(state, ifindex, name);
        }),
        Act::Namespace { inode, cookie } => {
            (state.machine.netns, state.machine.netns_cookie) = (*inode, *cookie);
            Ok(())
        }
        Act::Replace { nic, mac } => {
            let removed = Act::Remove { nic: nic.clone() };
            self::act(state, &removed);
            plug(state, nic, Some(mac))
        }
    };
    state.rebuild();
    if let Err(refusal) = done {
        state.foreign_refusals.push(format!("{act:?}: {refusal:?}"));
    }
}

fn on(state: &mut State, nic: &str, what: impl FnOnce(&mut State, u32)) -> Result<(), Refusal> {
    let found = state.machine.nic(nic).map(|nic| nic.ifindex);
    let ifindex = found.ok_or_else(|| Refusal::errno(libc::ENODEV))?;
    what(state, ifindex);
    Ok(())
}

/// Plugs in a removed NIC, or one like it with another MAC.
fn plug(state: &mut State, name: &str, mac: Option<&String>) -> Result<(), Refusal> {
    let at = state.unplugged.iter().position(|nic| nic.name == name);
    let gone = state.unplugged.remove(at.ok_or_else(|| Refusal::errno(libc::ENODEV))?);
    let mut nic = state.fresh(gone.ifindex);
    nic.ifindex = state.next_ifindex();
    if let Some(mac) = mac {
        nic.mac.clone_from(mac);
        if let Some(pci) = &mut nic.pci {
            pci.serial = pci.serial.as_ref().map(|_| format!("SN-{mac}"));
        }
    }
    state.born.insert(nic.ifindex, nic.clone());
    let ifindex = nic.ifindex;
    state.machine.nics.push(nic);
    state.announce(ifindex, "link");
    Ok(())
}
