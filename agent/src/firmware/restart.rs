//! Restarting a device into what it stores.
//!
//! devlink: DEVLINK_CMD_RELOAD with action `fw_activate`, limit `no_reset` first
//! (Documentation/networking/devlink/devlink-reload.rst): a device that can patch itself while it runs
//! loses no packet. The kernel answers which actions it performed. ethtool: ETHTOOL_RESET.

use std::path::Path;

use super::{adapter, flash::device, patience};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Ask, Genl, Host, Mode, tlv::Attrs},
    plan::firmware::{Activation, Adapter, FirmwareAction, Flash, Which},
};

const RELOAD: u8 = 37;
const RELOAD_ACTION: u16 = 153;
const RELOAD_ACTIONS_PERFORMED: u16 = 154;
const RELOAD_LIMITS: u16 = 155;
// enum devlink_reload_action, devlink_reload_limit.
const DRIVER_REINIT: u8 = 1;
const FW_ACTIVATE: u8 = 2;
const NO_RESET: u32 = 1;
/// ETHTOOL_RESET: u32 command, u32 flags; ETH_RESET_ALL: all components used by this interface, the
/// shared ones included.
const RESET: u32 = 0x34;
const RESET_ALL: u32 = u32::MAX;

/// Restarts the device; answers what the kernel says it performed.
pub fn restart(
    host: &dyn Host,
    action: &FirmwareAction,
    which: Which,
    port: &str,
) -> Result<Vec<String>> {
    let handle = &action.device.handle;
    let act = format!("activate {} on {handle}", action.version_of(which));
    let done = match &action.activate {
        Activation::NicReset => match reload(host, action, FW_ACTIVATE, Some(NO_RESET)) {
            // A driver without live patches refuses the limit; one with them refuses an image that
            // needs a reset. Either way nothing has happened yet.
            Err(fault) if refuses_the_limit(fault.kind) => {
                match reload(host, action, FW_ACTIVATE, None) {
                    Err(fault) if reinit_serves(host, action, which, &fault)? => {
                        reload(host, action, DRIVER_REINIT, None)
                    }
                    done => done,
                }
            }
            done => done,
        },
        Activation::LivePatch => reload(host, action, FW_ACTIVATE, Some(NO_RESET)),
        Activation::EthtoolReset => {
            let buffer = [RESET.to_ne_bytes(), RESET_ALL.to_ne_bytes()].concat();
            let ask = Ask::Ethtool { nic: port.to_owned(), buffer };
            let patience = patience(action.leases.activate_ms);
            host.lengthy(handle, &ask, patience, &mut |_, _| ()).map(|answer| reset_words(&answer))
        }
        Activation::Adapter(tool) => {
            let lease_ms = action.leases.activate_ms;
            adapter::run(host, tool, action, (port, ""), lease_ms).map(|command| vec![command])
        }
    };
    done.map_err(|fault| fault.during(act))
}

/// Whether starting its driver again is what is left: on the way back, where the kernel will not activate what
/// the device runs already. That is read from it just then; whatever else failed (it is busy, it died) is no
/// reason for an act of another kind.
fn reinit_serves(
    host: &dyn Host,
    action: &FirmwareAction,
    which: Which,
    fault: &Fault,
) -> Result<bool> {
    let refused = match fault.kind {
        Kind::Unsupported | Kind::Invalid => which == Which::Old,
        Kind::Busy
        | Kind::Denied
        | Kind::Drift
        | Kind::Gone
        | Kind::Malformed
        | Kind::Held
        | Kind::Io => false,
    };
    if !refused {
        return Ok(false);
    }
    let seen = super::device::look(host, action)?;
    let old = Some(&action.from);
    Ok(seen.running.as_ref() == old && seen.stored.as_ref() == old)
}

fn refuses_the_limit(kind: Kind) -> bool {
    match kind {
        Kind::Unsupported | Kind::Invalid | Kind::Denied => true,
        Kind::Busy | Kind::Drift | Kind::Gone | Kind::Malformed | Kind::Held | Kind::Io => false,
    }
}

fn reload(
    host: &dyn Host,
    planned: &FirmwareAction,
    action: u8,
    limit: Option<u32>,
) -> Result<Vec<String>> {
    let handle = &planned.device.handle;
    let mut payload = device(handle);
    payload.u8(RELOAD_ACTION, action);
    if let Some(limit) = limit {
        // struct nla_bitfield32: value, selector.
        let bit = (1_u32 << limit).to_ne_bytes();
        payload.put(RELOAD_LIMITS, &[bit, bit].concat());
    }
    let payload = payload.into_bytes();
    let ask = Ask::Genl { family: Genl::Devlink, command: RELOAD, mode: Mode::Do, payload };
    let patience = patience(planned.leases.activate_ms);
    let answers = host.lengthy(handle, &ask, patience, &mut |_, _| ())?;
    let performed = answers.iter().find_map(|a| Attrs(a).find(RELOAD_ACTIONS_PERFORMED));
    let bits = performed.and_then(|attr| attr.payload.first_chunk().copied());
    let bits = bits.map_or(0, u32::from_ne_bytes);
    let mut words: Vec<String> = [(DRIVER_REINIT, "driver_reinit"), (FW_ACTIVATE, "fw_activate")]
        .into_iter()
        .filter(|(bit, _)| bits >> bit & 1 == 1)
        .map(|(_, word)| word.to_owned())
        .collect();
    if limit.is_some() {
        words.push("limit no_reset".to_owned());
    }
    Ok(words)
}

/// The kernel clears the flags of what it has reset.
fn reset_words(answer: &[Vec<u8>]) -> Vec<String> {
    let left = answer.first().and_then(|buffer| buffer.get(4..8)).and_then(|b| b.first_chunk());
    let left = left.copied().map_or(0, u32::from_ne_bytes);
    vec![format!("ethtool reset of components {:#010x}", !left)]
}

/// What this kernel's lockdown forbids of the action, known before it is tried: under secure boot a
/// program may not map a device's registers (`security/lockdown`, kernel_lockdown(7)); devlink and
/// ethtool stay allowed.
pub fn locked_down(host: &dyn Host, action: &FirmwareAction) -> Result<()> {
    let adapters = [adapter_of_flash(&action.flash), adapter_of_activation(&action.activate)];
    let Some(raw) = adapters.into_iter().flatten().find(|adapter| adapter.raw_access) else {
        return Ok(());
    };
    // Without the file the kernel has no lockdown, or securityfs is not mounted: then the kernel refuses.
    let text = host.read(Path::new("/sys/kernel/security/lockdown")).unwrap_or_default();
    let mode = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    match mode {
        None | Some("none") => Ok(()),
        Some(mode) => {
            let act = format!("flash {}", action.device.handle);
            let cause = format!(
                "the kernel is locked down ({mode}), and {} writes to the device past the kernel",
                raw.argv.first().map_or("the vendor's program", String::as_str)
            );
            Err(Fault::new(Kind::Denied, act, cause))
        }
    }
}

fn adapter_of_flash(flash: &Flash) -> Option<&Adapter> {
    match flash {
        Flash::Adapter(adapter) => Some(adapter),
        Flash::Devlink | Flash::Ethtool => None,
    }
}

fn adapter_of_activation(activation: &Activation) -> Option<&Adapter> {
    match activation {
        Activation::Adapter(adapter) => Some(adapter),
        Activation::NicReset | Activation::LivePatch | Activation::EthtoolReset => None,
    }
}
