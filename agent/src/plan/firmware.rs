//! A firmware stage, resolved: which device, from which version to which, by which image, and back by
//! which. Plain data; part of the plan's digest.

use std::time::Duration;

use firmware_catalog::{
    Answer, Scheme,
    model::{TIME_MS_MAX, filled},
};
use serde::{Deserialize, Serialize};

use crate::{host::NicId, settings::words::quote};

/// What is done to the firmware of one device, and the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FirmwareAction {
    pub device: DeviceId,
    /// The version that stands for the firmware, by devlink's name (`fw.version`); `None` where the
    /// driver has no devlink and `ethtool -i` is all there is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version_name: Option<String>,
    /// How its versions are read, so that what it prints is held against `to` as a version. Plans of before
    /// have none: theirs are compared as text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scheme: Option<Scheme>,
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

/// Which device: looked up by its handle, and known by serial and board; one without a serial number by what
/// it is and by its ports' permanent MACs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeviceId {
    /// devlink's: `pci/0000:3b:00.0`.
    pub handle: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub board: Option<String>,
    /// `15b3:1015 15b3:0016`: PCI vendor and device, then the subsystem's; where it tells no serial number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ids: Option<String>,
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
    /// How long it may take, milliseconds; then it is killed. Plans of before have none: the stage's lease
    /// bounds theirs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
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
    pub fn with_drain(drain: Duration) -> Leases {
        Leases {
            drain_ms: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX),
            flash_ms: 1_200_000,
            activate_ms: 180_000,
            back_ms: 120_000,
        }
    }
}

impl FirmwareAction {
    /// What comes before those lines where the kernel still works on the device.
    pub fn by_hand_when_free(&self) -> String {
        format!(
            "# first wait until the kernel has let go of {}: while it has not, nothing may be flashed \
             (`nicmend recover` says so, and puts all of it back afterwards; a reboot ends it, too)",
            self.device.handle
        )
    }

    /// Plain lines that bring the old firmware back with nicmend dead. `STATE` is the state directory.
    pub fn by_hand(&self) -> Vec<String> {
        let Some(back) = &self.way_back else {
            return vec![format!(
                "# {}: the plan has no image of {}; nothing here brings it back",
                self.device.handle, self.from
            )];
        };
        let name = image_name(&back.sha256);
        let mut lines = vec![
            "STATE=${NICMEND_STATE_DIR:-/var/lib/nicmend}".to_owned(),
            "mkdir -p /lib/firmware/nicmend".to_owned(),
            format!("cp \"$STATE/firmware/{}\" /lib/firmware/{name}", back.sha256),
        ];
        // Whoever reads this sees the interfaces' names; they may have changed since the plan.
        let port = self.ports.first().map_or("IF", |port| port.name.as_str());
        let command = |adapter: &Adapter, image: &str| {
            let words = adapter.command(self, port, image);
            words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
        };
        let (handle, port) = (&self.device.handle, quote(port));
        lines.push(match &self.flash {
            Flash::Devlink => match &self.component {
                Some(component) => {
                    format!("devlink dev flash {handle} file {name} component {component}")
                }
                None => format!("devlink dev flash {handle} file {name}"),
            },
            Flash::Ethtool => format!("ethtool -f {port} {name}"),
            Flash::Adapter(adapter) => command(adapter, &format!("/lib/firmware/{name}")),
        });
        lines.push(match &self.activate {
            Activation::NicReset => format!("devlink dev reload {handle} action fw_activate"),
            Activation::LivePatch => {
                format!("devlink dev reload {handle} action fw_activate limit no_reset")
            }
            Activation::EthtoolReset => format!("ethtool --reset {port} all"),
            Activation::Adapter(adapter) => command(adapter, ""),
        });
        lines.push(format!("rm /lib/firmware/{name}; rmdir /lib/firmware/nicmend"));
        lines
    }

    /// Whether what the device prints is this version, to the build. What cannot be read as one is only
    /// itself.
    pub fn is_version(&self, printed: &str, wanted: &str) -> bool {
        let read = |text: &str| self.scheme.and_then(|scheme| scheme.parse(text).ok());
        printed == wanted
            || read(printed)
                .zip(read(wanted))
                .is_some_and(|(printed, wanted)| printed.identity(&wanted) == Ok(Answer::Yes))
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
    /// The argument vector for this device, a port of it by the name that it has now, and an image file.
    pub fn command(&self, action: &FirmwareAction, nic: &str, image: &str) -> Vec<String> {
        let handle = &action.device.handle;
        let pci = handle.strip_prefix("pci/").unwrap_or(handle);
        filled(&self.argv, pci, nic, image)
    }

    /// Whether it is told an interface's name.
    pub fn names_the_nic(&self) -> bool {
        self.argv.iter().any(|word| word.contains("{nic}"))
    }

    /// How long it may take: its own time, or this lease; never longer than any adapter may.
    pub fn limit(&self, lease_ms: u64) -> Duration {
        Duration::from_millis(self.timeout_ms.unwrap_or(lease_ms).clamp(1, TIME_MS_MAX))
    }
}

/// An image's name for the kernel, below its firmware path.
pub fn image_name(sha256: &str) -> String {
    format!("nicmend/{sha256}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(more: &serde_json::Value) -> FirmwareAction {
        let nic = serde_json::json!({ "pci": { "address": "0000:3b:00.0", "serial": "52:54:00:00:00:02" } });
        let mut action = serde_json::json!({
            "device": { "handle": "pci/0000:3b:00.0" },
            "from": "14.32.1010", "to": "14.31.1014",
            "image": { "sha256": "ad", "bytes": 7 },
            "way-back": { "sha256": "be", "bytes": 7 },
            "flash": { "adapter": { "argv": ["tool", "{nic}", "{image}"], "raw-access": true } },
            "activate": "nic-reset",
            "ports": [{ "id": nic, "name": "a;b{image}" }],
            "leases": { "drain-ms": 0, "flash-ms": 7_000, "activate-ms": 1, "back-ms": 1 },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            action[key] = value.clone();
        }
        serde_json::from_value(action).expect("an action")
    }

    /// As plans and logs were written before versions had a scheme and adapters their time.
    #[test]
    fn what_was_written_before_is_read_and_written_as_it_was() {
        let old = action(&serde_json::Value::Null);
        let Flash::Adapter(adapter) = &old.flash else { panic!("{old:?}") };
        assert_eq!((old.scheme, adapter.timeout_ms), (None, None));
        assert_eq!(adapter.limit(old.leases.flash_ms), Duration::from_secs(7));
        let text = serde_json::to_string(&old).expect("JSON");
        assert!(!text.contains("scheme") && !text.contains("timeout"), "{text}");
        assert!(old.is_version("14.31.1014", "14.31.1014"));
        assert!(!old.is_version("14.31.1014 (MT_1)", "14.31.1014"));
    }

    #[test]
    fn an_adapters_time_is_its_own_and_bounded() {
        for (timeout_ms, limit_ms) in
            [(Some(400), 400), (None, 7), (Some(u64::MAX), TIME_MS_MAX), (Some(0), 1)]
        {
            let adapter = Adapter { argv: Vec::new(), raw_access: true, timeout_ms };
            assert_eq!(adapter.limit(7), Duration::from_millis(limit_ms));
        }
    }

    #[test]
    fn versions_compare_by_their_scheme() {
        let typed = action(&serde_json::json!({ "scheme": "mlx5" }));
        assert!(typed.is_version("14.31.1014 (MT_1)", "14.31.1014"));
        assert!(typed.is_version("14.31.0302", "14.31.302"));
        assert!(!typed.is_version("14.31.1014 (MT_1)", "14.31.1014 (MT_2)"));
        assert!(!typed.is_version("14.32.1010", "14.31.1014"));
        assert!(!typed.is_version("nonsense", "14.31.1014"));
        let package = action(&serde_json::json!({ "scheme": "bnxt" }));
        assert!(!package.is_version("233.0.151.0/pkg 233.1.135.7", "233.0.151.0"));
    }

    #[test]
    fn lines_to_be_pasted_are_quoted_and_filled_once() {
        let lines = action(&serde_json::Value::Null).by_hand();
        let tool = "tool 'a;b{image}' /lib/firmware/nicmend/be";
        assert!(lines.iter().any(|line| line == tool), "{lines:?}");
    }
}
