//! `firmware import | list`: the images that a firmware stage may choose from.

use std::{io::Read, os::unix::fs::OpenOptionsExt, path::PathBuf};

use super::{Common, Done, out, registry};
use crate::{
    approvals::Registry,
    firmware::images,
    plan::firmware::Image,
    runs::{Declined, Exit, choose::Offer},
    store::disk::Disk,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Put an image into the state directory, named by its sha256
    Import {
        /// The vendor's image file.
        file: PathBuf,
    },
    /// The images that are there
    List,
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    match command {
        Command::Import { file } => import(common, file),
        Command::List => list(common),
    }
}

fn import(common: &Common, file: &std::path::Path) -> Done {
    let bytes = read(file)?;
    let image = images::image_of(&bytes);
    Disk::mark(&common.state_dir, &images::blob(&image.sha256), Some(&bytes))?;
    if common.json {
        out::json(&image);
    } else {
        out::line(&format!("{}  {} bytes", image.sha256, image.bytes));
    }
    Ok(Exit::Done)
}

/// A regular file of a bounded size: not a pipe that never ends, nor a device.
fn read(file: &std::path::Path) -> Result<Vec<u8>, Declined> {
    let wrong = |why: String| {
        // A name is whatever somebody chose: no line and no terminal command of its own.
        let name = file.display().to_string().escape_debug().to_string();
        Declined::new(Exit::Wrong, "firmware-image", format!("import {name}: {why}"))
    };
    let mut options = std::fs::OpenOptions::new();
    // A pipe without a writer must not hold us.
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
    let opened = options.open(file).map_err(|e| wrong(e.to_string()))?;
    let metadata = opened.metadata().map_err(|e| wrong(e.to_string()))?;
    if !metadata.is_file() {
        return Err(wrong("it is no regular file".to_owned()));
    }
    images::check_size(metadata.len()).map_err(|fault| wrong(fault.cause))?;
    let mut bytes = Vec::new();
    let limit = images::IMAGE_BYTES_MAX + 1;
    opened.take(limit).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    images::check_size(bytes.len() as u64).map_err(|fault| wrong(fault.cause))?;
    Ok(bytes)
}

fn list(common: &Common) -> Done {
    let images = stored(common).map_err(|error| unlistable(common, &error))?;
    if common.json {
        out::json(&images);
    } else if images.is_empty() {
        out::line("no images: `nicmend firmware import FILE` stores one");
    } else {
        for image in &images {
            out::line(&format!("{}  {} bytes", image.sha256, image.bytes));
        }
    }
    Ok(Exit::Done)
}

/// What a firmware stage may choose from on this host.
pub(super) fn offer(common: &Common, way: WayBack) -> Result<Offer, Declined> {
    let (images, unread) = match stored(common) {
        Ok(images) => (images, None),
        // Whoever may not read the state directory may still plan a playbook without firmware.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            (Vec::new(), Some(unlistable(common, &error).why))
        }
        Err(error) => return Err(unlistable(common, &error)),
    };
    // Without images nothing is flashed, and nobody's signature is asked for.
    let registry = match images.is_empty() {
        true => Ok(Registry::default()),
        false => registry::load(common),
    };
    let doubt = registry.as_ref().err().map(|declined| declined.why.clone());
    let registry = registry.unwrap_or_default();
    Ok(Offer {
        images,
        unread,
        registry,
        doubt,
        no_way_back: match way {
            WayBack::Needed => false,
            WayBack::Renounced => true,
        },
    })
}

/// Whether a firmware stage may begin without an image of what runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WayBack {
    Needed,
    Renounced,
}

impl From<bool> for WayBack {
    fn from(no_way_back: bool) -> WayBack {
        if no_way_back { WayBack::Renounced } else { WayBack::Needed }
    }
}

/// The images in the state directory; what is not named like one is none.
fn stored(common: &Common) -> std::io::Result<Vec<Image>> {
    let folder = common.state_dir.join(images::FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut images: Vec<Image> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let sha256 =
                entry.file_name().into_string().ok().filter(|name| images::is_name(name))?;
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some(Image { sha256, bytes: metadata.len() })
        })
        .collect();
    images.sort_by(|a, b| a.sha256.cmp(&b.sha256));
    Ok(images)
}

fn unlistable(common: &Common, error: &std::io::Error) -> Declined {
    let folder = common.state_dir.join(images::FOLDER);
    Declined::new(Exit::Failed, "firmware-image", format!("list {}: {error}", folder.display()))
}

pub(super) mod lines {
    //! Firmware stages in words.

    use crate::{
        log::firmware::{FirmwareRecord, Outage, PortBack},
        plan::firmware::{Activation, FirmwareAction, Flash},
    };

    /// What a stage would do, a line each.
    pub(in crate::cli) fn planned(action: &FirmwareAction) -> Vec<String> {
        let ports: Vec<&str> = action.ports.iter().map(|port| port.name.as_str()).collect();
        let by = match &action.flash {
            Flash::Devlink => "devlink flash",
            Flash::Ethtool => "ethtool flash",
            Flash::Adapter(adapter) => adapter.argv.first().map_or("a program", String::as_str),
        };
        let restart = match &action.activate {
            Activation::NicReset => {
                "devlink reload fw_activate, without a reset where the device can"
            }
            Activation::LivePatch => "devlink reload fw_activate limit no_reset",
            Activation::EthtoolReset => "ethtool reset",
            Activation::Adapter(adapter) => {
                adapter.argv.first().map_or("a program", String::as_str)
            }
        };
        let back = match &action.way_back {
            Some(image) => format!("{} (image {})", action.from, image.sha256),
            None => format!("NONE: no image of {} is stored that may be flashed", action.from),
        };
        let mut lines = vec![
            format!("firmware of {}: {} -> {}", action.device.handle, action.from, action.to),
            format!("  image     {} ({} bytes), by {by}", action.image.sha256, action.image.bytes),
            format!("  restart   {restart}; felt by {}", ports.join(", ")),
            format!("  way back  {back}"),
        ];
        if action.way_back.is_none() {
            // What `--no-way-back` accepts, said before it is accepted.
            lines.extend([
                "            once it is flashed nothing turns it back. Who comes to need a port before the restart".to_owned(),
                format!("            is waited for ten minutes; then the run is STUCK with {} stored: any reset runs it", action.to),
            ]);
        }
        lines
    }

    /// What became of a run's firmware stage, word and text.
    pub(in crate::cli) fn told(firmware: &FirmwareRecord) -> Vec<(&'static str, String)> {
        let action = &firmware.action;
        let left = firmware.left.as_ref();
        let now = match (firmware.returned, left, &firmware.activated) {
            (false, Some(left), _) if left.firmware.is_some() => {
                format!("{} -> {}, and not back", action.from, action.to)
            }
            (true, _, _) | (false, Some(_), _) => {
                format!("{} again (it was to be {})", action.from, action.to)
            }
            (false, None, Some(running)) => format!("{} -> {running}", action.from),
            (false, None, None) => format!("{} -> {}, not activated", action.from, action.to),
        };
        let mut lines = vec![("firmware", format!("{}: {now}", action.device.handle))];
        lines.extend(left.iter().flat_map(|left| left.words()).map(|words| ("not back", words)));
        lines.extend(firmware.outage.iter().map(|outage| ("outage", words(outage))));
        let unmeasured = firmware.unmeasured.iter();
        lines.extend(unmeasured.map(|why| ("outage", format!("not measured: {why}"))));
        lines.extend(firmware.mended_ms.map(|ms| ("ports", mended(action, ms))));
        lines.extend(firmware.ports.iter().map(|back| ("port", port(back))));
        lines.extend(firmware.lost.iter().map(|lost| ("lost", lost.clone())));
        lines
    }

    /// `eth2: interface 700 ms, carrier 900 ms after the restart began; outage 950 ms (…)`
    fn port(back: &PortBack) -> String {
        let ms = |what: &str, ms: &Option<u64>| ms.map(|ms| format!("{what} {ms} ms"));
        let times = [ms("interface", &back.there_ms), ms("carrier", &back.carrier_ms)];
        let times: Vec<String> = times.into_iter().flatten().collect();
        let mut words = match times.is_empty() {
            true => back.name.clone(),
            false => format!("{}: {} after the restart began", back.name, times.join(", ")),
        };
        if back.dark {
            words += "; NO CARRIER since, though it had one";
        }
        match (&back.outage, &back.unmeasured) {
            (Some(outage), _) => words + "; outage " + &self::words(outage),
            (None, Some(why)) => words + "; outage not measured: " + why,
            (None, None) => words,
        }
    }

    fn mended(action: &FirmwareAction, ms: u64) -> String {
        let names: Vec<&str> = action.ports.iter().map(|port| port.name.as_str()).collect();
        format!("{} as before {ms} ms after the restart began", names.join(", "))
    }

    fn words(outage: &Outage) -> String {
        let at_least = if outage.over { "" } else { "at least " };
        format!("{at_least}{} ms ({})", outage.ms, outage.how)
    }
}
