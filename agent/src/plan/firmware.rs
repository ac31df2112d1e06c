//! A firmware stage, resolved: which device, from which version to which, by which image, and back by
//! which. Plain data; part of the plan's digest.

use serde::{Deserialize, Serialize};

use crate::host::NicId;

/// What is done to the firmware of one device, and the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FirmwareAction {
    pub device: DeviceId,
    /// The version that stands for the firmware, by devlink's name (`fw.version`); `None` where the
    /// driver has no devlink and `ethtool -i` is all there is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version_name: Option<String>,
    /// What was running, and stored.
    pub from: String,
    pub to: String,
    pub image: Image,
    /// The image of `from`; `None` where the request accepted that there is no way back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub way_back: Option<Image>,
    /// devlink's component, where not the whole image's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub component: Option<String>,
    pub flash: Flash,
    pub activate: Activation,
    /// Every port of the device: they share its fate.
    pub ports: Vec<Port>,
    pub leases: Leases,
}

/// Which of a stage's two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    New,
    Old,
}

/// Which device: looked up by its handle, and known by serial and board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeviceId {
    /// devlink's: `pci/0000:3b:00.0`.
    pub handle: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub board: Option<String>,
}

impl DeviceId {
    /// The name under which a run owns the device's firmware. Ports of one card have handles of their
    /// own and one serial number.
    pub fn key(&self) -> String {
        format!("device/{}/firmware", self.serial.as_ref().unwrap_or(&self.handle))
    }
}

/// An image in `STATE/firmware/<sha256>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// 64 hexadecimal digits.
    pub sha256: String,
    pub bytes: u64,
}

/// How an image gets onto the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flash {
    /// DEVLINK_CMD_FLASH_UPDATE, overwrite mask none: the device's own configuration stays.
    Devlink,
    /// ETHTOOL_FLASHDEV, all regions.
    Ethtool,
    Adapter(Adapter),
}

/// How what was flashed comes to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `devlink dev reload action fw_activate`, with limit `no_reset` tried first.
    NicReset,
    /// The same with limit `no_reset` only: the device patches itself while it runs.
    LivePatch,
    /// ETHTOOL_RESET of everything that the interface uses.
    EthtoolReset,
    Adapter(Adapter),
}

/// A vendor's program, declared by the catalog: an argument vector, never a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Adapter {
    /// The program, by absolute path or by name in the system's own directories, and its arguments.
    /// `{pci}`, `{nic}` and `{image}` stand for the device's address, a port and the image's file.
    pub argv: Vec<String>,
    /// It maps the device's registers or writes its configuration space itself, which kernel lockdown
    /// forbids.
    pub raw_access: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Port {
    pub id: NicId,
    /// The interface's name when planned: for people only.
    pub name: String,
}

/// How long each part may take before silence counts as death, milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Leases {
    pub drain_ms: u64,
    pub flash_ms: u64,
    pub activate_ms: u64,
    /// From the activation's end until every port is there again.
    pub back_ms: u64,
}

impl Leases {
    /// mlx5 and bnxt flash in one to three minutes, ice in up to fifteen; mlx5 gives the other hosts of
    /// a device a minute to agree to a reset, ice waits as long for its EMP reset.
    pub fn with_drain(drain: std::time::Duration) -> Leases {
        Leases {
            drain_ms: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX),
            flash_ms: 1_200_000,
            activate_ms: 180_000,
            back_ms: 120_000,
        }
    }
}

impl FirmwareAction {
    /// Plain lines that bring the old firmware back with nicmend dead. `STATE` is the state directory.
    pub fn by_hand(&self) -> Vec<String> {
        let Some(back) = &self.way_back else {
            return vec![format!(
                "# {}: no image of {} is stored; nothing here brings it back",
                self.device.handle, self.from
            )];
        };
        let name = image_name(&back.sha256);
        let mut lines = vec![
            "STATE=${NICMEND_STATE_DIR:-/var/lib/nicmend}".to_owned(),
            "mkdir -p /lib/firmware/nicmend".to_owned(),
            format!("cp \"$STATE/firmware/{}\" /lib/firmware/{name}", back.sha256),
        ];
        let port = self.ports.first().map_or("IF", |port| port.name.as_str());
        let handle = &self.device.handle;
        lines.push(match &self.flash {
            Flash::Devlink => match &self.component {
                Some(component) => {
                    format!("devlink dev flash {handle} file {name} component {component}")
                }
                None => format!("devlink dev flash {handle} file {name}"),
            },
            Flash::Ethtool => format!("ethtool -f {port} {name}"),
            Flash::Adapter(adapter) => {
                adapter.command(self, &format!("/lib/firmware/{name}")).join(" ")
            }
        });
        lines.push(match &self.activate {
            Activation::NicReset => format!("devlink dev reload {handle} action fw_activate"),
            Activation::LivePatch => {
                format!("devlink dev reload {handle} action fw_activate limit no_reset")
            }
            Activation::EthtoolReset => format!("ethtool --reset {port} all"),
            Activation::Adapter(adapter) => adapter.command(self, "").join(" "),
        });
        lines.push(format!("rm /lib/firmware/{name}; rmdir /lib/firmware/nicmend"));
        lines
    }

    pub fn image_of(&self, which: Which) -> Option<&Image> {
        match which {
            Which::New => Some(&self.image),
            Which::Old => self.way_back.as_ref(),
        }
    }

    pub fn version_of(&self, which: Which) -> &str {
        match which {
            Which::New => &self.to,
            Which::Old => &self.from,
        }
    }
}

impl Adapter {
    /// The argument vector for this device and image file.
    pub fn command(&self, action: &FirmwareAction, image: &str) -> Vec<String> {
        let handle = &action.device.handle;
        let pci = handle.strip_prefix("pci/").unwrap_or(handle);
        let nic = port_of(action);
        let fill = |word: &String| {
            word.replace("{pci}", pci).replace("{nic}", nic).replace("{image}", image)
        };
        self.argv.iter().map(fill).collect()
    }
}

fn port_of(action: &FirmwareAction) -> &str {
    action.ports.first().map_or("", |port| port.name.as_str())
}

/// An image's name for the kernel, below its firmware path.
pub fn image_name(sha256: &str) -> String {
    format!("nicmend/{sha256}")
}
