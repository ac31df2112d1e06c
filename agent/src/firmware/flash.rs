//! Writing an image to a device.
//!
//! devlink: DEVLINK_CMD_FLASH_UPDATE without an overwrite mask, so that the device's own configuration
//! and identifiers stay (Documentation/networking/devlink/devlink-flash.rst). How far it is comes as
//! DEVLINK_CMD_FLASH_UPDATE_STATUS to the group `config`. ethtool: ETHTOOL_FLASHDEV of all regions.

use super::adapter;
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Genl, Host, Mode,
        tlv::{Attrs, Writer},
    },
    plan::firmware::{FirmwareAction, Flash, Which, image_name},
};

// DEVLINK_CMD_* of include/uapi/linux/devlink.h.
const FLASH_UPDATE: u8 = 58;
const FLASH_UPDATE_STATUS: u8 = 60;
// DEVLINK_ATTR_*
pub(super) const BUS_NAME: u16 = 1;
pub(super) const DEV_NAME: u16 = 2;
const FILE_NAME: u16 = 122;
const COMPONENT: u16 = 123;
const STATUS_MESSAGE: u16 = 124;
const STATUS_DONE: u16 = 125;
const STATUS_TOTAL: u16 = 126;
/// ETHTOOL_FLASHDEV: u32 command, u32 region (0: all), 128 bytes of file name.
const FLASHDEV: u32 = 0x33;
const FLASHDEV_NAME_BYTES: usize = 128;

/// How far a flash is, in the driver's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub message: String,
    pub component: Option<String>,
    /// Of `total`; the driver's own unit, mostly bytes. 0 of 0 where it does not tell.
    pub done: u64,
    pub total: u64,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(component) = &self.component {
            write!(f, " {component}")?;
        }
        // Widened: a driver's figures times a hundred need not fit.
        match u128::from(self.done) * 100 / u128::from(self.total.max(1)) {
            _ if self.total == 0 => Ok(()),
            percent => write!(f, " {}%", percent.min(100)),
        }
    }
}

/// Flashes the image that is placed at `path`. The device must have been recognised just before.
pub fn flash(
    host: &dyn Host,
    action: &FirmwareAction,
    which: Which,
    path: &str,
    port: &str,
    told: &mut dyn FnMut(Progress),
) -> Result<()> {
    let handle = &action.device.handle;
    let act = format!("flash {handle} to {}", action.version_of(which));
    let image = action.image_of(which).ok_or_else(|| {
        Fault::new(Kind::Unsupported, &act, "the request accepted that there is no image of it")
    })?;
    let name = image_name(&image.sha256);
    // The kernel goes by a name, a program by a path: what they find there is looked at last of all.
    host.still_placed(&image.sha256).map_err(|fault| fault.during(&act))?;
    let patience = super::patience(action.leases.flash_ms);
    let done = match &action.flash {
        Flash::Devlink => {
            let mut payload = device(handle);
            payload.text(FILE_NAME, &name);
            if let Some(component) = &action.component {
                payload.text(COMPONENT, component);
            }
            let ask = Ask::Genl {
                family: Genl::Devlink,
                command: FLASH_UPDATE,
                mode: Mode::Do,
                payload: payload.into_bytes(),
            };
            host.lengthy(handle, &ask, patience, &mut |command, attributes| {
                if command == FLASH_UPDATE_STATUS {
                    told(progress(attributes));
                }
            })
            .map(|_| ())
        }
        Flash::Ethtool => {
            let mut buffer = FLASHDEV.to_ne_bytes().to_vec();
            buffer.extend_from_slice(&0_u32.to_ne_bytes());
            buffer.extend_from_slice(name.as_bytes());
            buffer.resize(8 + FLASHDEV_NAME_BYTES, 0);
            let ask = Ask::Ethtool { nic: port.to_owned(), buffer };
            host.lengthy(handle, &ask, patience, &mut |_, _| ()).map(|_| ())
        }
        Flash::Adapter(tool) => {
            adapter::run(host, tool, action, (port, path), action.leases.flash_ms).map(|_| ())
        }
    };
    done.map_err(|fault| fault.during(act))
}

/// devlink's address of a device.
pub(super) fn device(handle: &str) -> Writer {
    let (bus, name) = handle.split_once('/').unwrap_or(("pci", handle));
    let mut payload = Writer::new();
    payload.text(BUS_NAME, bus).text(DEV_NAME, name);
    payload
}

fn progress(attributes: &[u8]) -> Progress {
    let find = |kind| Attrs(attributes).find(kind);
    let number = |kind| find(kind).and_then(|attr| attr.number()).unwrap_or(0);
    let text = |kind| find(kind).map(|attr| plain(attr.text()));
    Progress {
        message: text(STATUS_MESSAGE).unwrap_or_default(),
        component: text(COMPONENT),
        done: number(STATUS_DONE),
        total: number(STATUS_TOTAL),
    }
}

/// A driver's words end up on a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_bounded_and_plain_whatever_a_driver_says() {
        let mut status = Writer::new();
        status.text(STATUS_MESSAGE, "Flashing\u{1b}[2J").text(COMPONENT, "fw.mgmt");
        status.u64(STATUS_DONE, u64::MAX).u64(STATUS_TOTAL, 3);
        assert_eq!(progress(status.as_bytes()).to_string(), "Flashing[2J fw.mgmt 100%");
        assert_eq!(progress(&[]).to_string(), "");
        let whole = status.as_bytes();
        (0..whole.len()).for_each(|length| drop(progress(&whole[..length]).to_string()));
    }
}
