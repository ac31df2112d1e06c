//! The simulated devices' firmware: flash, reload, images, and what goes wrong with them.
//!
//! An image is text: `version: 22.35.1012`, `board: MT_0000000359`, one a line. A device keeps what runs
//! in its ports' `versions` and what a reset would run in `stored`, where that differs. Functions of one
//! PCI slot are one device.

use super::{
    Refusal, Sim, State,
    machine::SimNic,
    quirk::{self, Quirk},
};
use crate::{
    fault::Result as Faulty,
    firmware::images::image_of,
    host::tlv::{Attrs, Writer},
    plan::firmware::image_name,
};

const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const FILE_NAME: u16 = 122;
const STATUS_MESSAGE: u16 = 124;
const STATUS_DONE: u16 = 125;
const STATUS_TOTAL: u16 = 126;
const RELOAD_ACTION: u16 = 153;
const RELOAD_ACTIONS_PERFORMED: u16 = 154;
const RELOAD_LIMITS: u16 = 155;
/// DEVLINK_CMD_FLASH_UPDATE_STATUS.
const STATUS: u8 = 60;
const DRIVER_REINIT: u64 = 1;
const FW_ACTIVATE: u64 = 2;
/// How long a flash and a reset hold the kernel, nanoseconds, and how long the link stays down after.
const FLASH_NS: u64 = 20_000_000_000;
const RESET_NS: u64 = 1_200_000_000;
const DOWN_NS: u64 = 400_000_000;
/// The names of versions that a device may go by.
const WHOLE: [&str; 4] = ["fw.version", "fw", "fw.bundle_id", "fw.mgmt"];

type Answers = Result<Vec<Vec<u8>>, Refusal>;

pub(super) fn place(sim: &Sim, sha256: &str, bytes: &[u8]) -> Faulty<String> {
    let name = image_name(sha256);
    sim.call(
        || format!("place {name}"),
        |state| {
            if !shadowing(state, &name).is_empty() {
                return Err(Refusal::because(libc::EACCES, "the kernel would find another file"));
            }
            if state.machine.nics.iter().any(|nic| nic.quirks.contains(&Quirk::PlaceFails)) {
                return Err(Refusal::errno(libc::ENOSPC));
            }
            let text = String::from_utf8_lossy(bytes).into_owned();
            state.machine.placed.insert(name.clone(), text);
            Ok(format!("/lib/firmware/{name}"))
        },
    )
}

pub(super) fn shadows(sim: &Sim, sha256: &str) -> Faulty<Vec<String>> {
    let name = image_name(sha256);
    sim.call(|| format!("look for {name}"), |state| Ok(shadowing(state, &name)))
}

pub(super) fn still_placed(sim: &Sim, sha256: &str) -> Faulty<()> {
    let name = image_name(sha256);
    sim.call(
        || format!("look at {name}"),
        |state| {
            let text = state.machine.placed.get(&name).ok_or(Refusal::errno(libc::ENOENT))?;
            let whole = image_of(text.as_bytes()).sha256 == sha256;
            match whole && shadowing(state, &name).is_empty() {
                true => Ok(()),
                false => Err(Refusal::because(libc::EACCES, "the kernel would find another file")),
            }
        },
    )
}

/// Other directories of the kernel's search path are files like any.
fn shadowing(state: &State, name: &str) -> Vec<String> {
    let same = |path: &&String| path.starts_with("/lib/firmware/") && path.ends_with(name);
    state.machine.files.keys().filter(same).cloned().collect()
}

pub(super) fn unplace(sim: &Sim) -> Faulty<()> {
    sim.call(
        || "remove images".to_owned(),
        |state| {
            let quirks = state.machine.nics.iter().flat_map(|nic| &nic.quirks);
            let tries = quirks.filter_map(|quirk| match quirk {
                Quirk::Unremovable { tries } => Some(*tries),
                _ => None,
            });
            let tries = tries.max().unwrap_or(0);
            let seen = state.refused.entry((0, "unplace".to_owned())).or_insert(0);
            if *seen < tries {
                *seen += 1;
                return Err(Refusal::errno(libc::EROFS));
            }
            state.machine.placed.clear();
            Ok(())
        },
    )
}

/// `22.35.1012` and `MT_0000000359` of an image.
fn read_image(text: &str) -> Option<(&str, &str)> {
    let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    Some((line("version: ")?, line("board: ")?))
}

pub(super) fn slot(nic: &SimNic) -> Option<&str> {
    nic.pci.as_ref().map(|pci| pci.address.rsplit_once('.').map_or("", |(slot, _)| slot))
}

/// The ports of the device that a request names, by ifindex.
fn ports(state: &State, payload: &[u8]) -> Result<(String, Vec<u32>), Refusal> {
    let name = Attrs(payload).find(DEV_NAME).map(|a| a.text().to_owned()).unwrap_or_default();
    let slot = name.rsplit_once('.').map_or("", |(slot, _)| slot).to_owned();
    let own = |nic: &&SimNic| self::slot(nic) == Some(slot.as_str());
    let there: Vec<u32> = state.machine.nics.iter().filter(own).map(|n| n.ifindex).collect();
    let away = state.unplugged.iter().any(|nic| self::slot(nic) == Some(slot.as_str()));
    match there.is_empty() && !away {
        true => Err(Refusal::errno(libc::ENODEV)),
        false => Ok((slot, there)),
    }
}

/// The quirks of the device's first port.
pub(super) fn quirks(state: &State, slot: &str) -> Vec<Quirk> {
    let all = state.machine.nics.iter().chain(&state.unplugged);
    let mut own = all.filter(|nic| self::slot(nic) == Some(slot));
    own.next().map(|nic| nic.quirks.clone()).unwrap_or_default()
}

/// What the device runs or, where that differs, stores.
fn version(state: &State, slot: &str) -> Option<(&'static str, String, String)> {
    let all = state.machine.nics.iter().chain(&state.unplugged);
    let pci = all.filter(|nic| self::slot(nic) == Some(slot)).find_map(|nic| nic.pci.as_ref())?;
    let name = WHOLE.into_iter().find(|name| pci.versions.contains_key(*name))?;
    let running = pci.versions.get(name)?.clone();
    let stored = pci.stored.get(name).unwrap_or(&running).clone();
    Some((name, running, stored))
}

pub(super) fn flash(
    state: &mut State,
    payload: &[u8],
    heard: &mut dyn FnMut(u8, &[u8]),
) -> Answers {
    let (slot, there) = ports(state, payload)?;
    if let Some(first) = there.first() {
        quirk::busy(state, *first, "flash")?;
    }
    let file = Attrs(payload).find(FILE_NAME).map(|a| a.text().to_owned()).unwrap_or_default();
    let image = state.machine.placed.get(&file).cloned();
    let image = image.ok_or_else(|| Refusal::errno(libc::ENOENT))?;
    let (name, _, stored) =
        version(state, &slot).ok_or_else(|| Refusal::errno(libc::EOPNOTSUPP))?;
    let Some((version, board)) = read_image(&image) else {
        return Err(Refusal::because(libc::EINVAL, "the image is not for this device"));
    };
    let quirks = quirks(state, &slot);
    let ours = state.machine.nics.iter().filter(|nic| self::slot(nic) == Some(slot.as_str()));
    let boards = ours.filter_map(|nic| nic.pci.as_ref()?.versions.get("fw.psid"));
    if boards.into_iter().any(|ours| ours != board) {
        return Err(Refusal::because(libc::EINVAL, "the image is for another board"));
    }
    if quirks.contains(&Quirk::DowngradeRefused) && number(version) < number(&stored) {
        let words = "downgrade refused: security version of the image is below the device's";
        return Err(Refusal::because(libc::EPERM, words));
    }
    let fails = quirks.iter().find_map(|quirk| match quirk {
        Quirk::FlashFails { percent } => Some(u64::from(*percent)),
        _ => None,
    });
    let mut tell = |done: u64| {
        let mut status = Writer::new();
        status.text(BUS_NAME, "pci").text(STATUS_MESSAGE, "Flashing");
        status.u64(STATUS_DONE, done).u64(STATUS_TOTAL, 100);
        heard(STATUS, status.as_bytes());
    };
    for done in [0, 25, 50, 75, 100] {
        if fails.is_some_and(|at| done >= at) {
            return Err(Refusal::because(libc::EIO, "flash erase failed"));
        }
        tell(done);
        state.advance(FLASH_NS / 5);
    }
    if !quirks.contains(&Quirk::FlashLies) {
        store(state, &slot, name, version);
    }
    Ok(Vec::new())
}

fn number(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn store(state: &mut State, slot: &str, name: &str, version: &str) {
    let State { machine, unplugged, .. } = state;
    let all = machine.nics.iter_mut().chain(unplugged.iter_mut());
    for nic in all.filter(|nic| self::slot(nic) == Some(slot)) {
        let Some(pci) = &mut nic.pci else { continue };
        match pci.versions.get(name).is_some_and(|running| running == version) {
            true => drop(pci.stored.remove(name)),
            false => drop(pci.stored.insert(name.to_owned(), version.to_owned())),
        }
    }
}

/// `fw_activate`: the interfaces are unregistered and come back as new ones, as mlx5's do: with new
/// indexes and a fresh driver's settings.
pub(super) fn reload(state: &mut State, payload: &[u8]) -> Answers {
    let (slot, there) = ports(state, payload)?;
    let action = Attrs(payload).find(RELOAD_ACTION).and_then(|a| a.number());
    if action != Some(FW_ACTIVATE) && action != Some(DRIVER_REINIT) {
        return Err(Refusal::errno(libc::EOPNOTSUPP));
    }
    if Attrs(payload).find(RELOAD_LIMITS).is_some() {
        let words = "Requested limit is not supported by the driver";
        return Err(Refusal::because(libc::EOPNOTSUPP, words));
    }
    if let Some(first) = there.first() {
        quirk::busy(state, *first, "reload")?;
    }
    let quirks = quirks(state, &slot);
    let Some((name, running, stored)) = version(state, &slot) else {
        return Err(Refusal::errno(libc::EOPNOTSUPP));
    };
    let activates = action == Some(FW_ACTIVATE);
    if activates && running == stored && quirks.contains(&Quirk::ActivatesNewOnly) {
        return Err(Refusal::because(libc::EOPNOTSUPP, "no new firmware is stored"));
    }
    state.advance(RESET_NS);
    let once = state.refused.entry((0, format!("dead {slot}"))).or_insert(0);
    let dead = quirks.contains(&Quirk::ActivationDead) && *once == 0;
    *once += u32::from(dead);
    let old = dead || quirks.contains(&Quirk::ActivatesOld) || !activates;
    let runs = if old { running } else { stored };
    let mut gone: Vec<SimNic> = Vec::new();
    let is_own = |nic: &SimNic| self::slot(nic) == Some(slot.as_str());
    let (own, rest): (Vec<_>, Vec<_>) = state.machine.nics.drain(..).partition(is_own);
    state.machine.nics = rest;
    let (back, other): (Vec<_>, Vec<_>) = state.unplugged.drain(..).partition(is_own);
    state.unplugged = other;
    gone.extend(own.into_iter().chain(back));
    gone.sort_by(|a, b| a.name.cmp(&b.name));
    for old in gone {
        state.announce(old.ifindex, "link");
        let mut nic = state.fresh(old.ifindex);
        nic.ifindex = state.next_ifindex();
        nic.pci.clone_from(&old.pci);
        runs_now(&mut nic, name, &runs);
        state.born.insert(nic.ifindex, nic.clone());
        state.link_down_until.insert(nic.ifindex, state.mono_ns + DOWN_NS);
        match dead {
            true => state.unplugged.push(nic),
            false => state.machine.nics.push(nic),
        }
    }
    state.machine.nics.sort_by(|a, b| a.name.cmp(&b.name));
    state.rebuild();
    if dead {
        return Err(Refusal::because(libc::ETIMEDOUT, "the device did not come back"));
    }
    let mut answer = Writer::new();
    answer.text(BUS_NAME, "pci").text(DEV_NAME, &format!("{slot}.0"));
    // To activate firmware the driver is started again, too; struct nla_bitfield32.
    let performed = 1 << DRIVER_REINIT | u32::from(activates) << FW_ACTIVATE;
    let performed = [performed.to_ne_bytes(), 0b110_u32.to_ne_bytes()].concat();
    answer.put(RELOAD_ACTIONS_PERFORMED, &performed);
    Ok(vec![answer.into_bytes()])
}

/// Also what a boot does with what is stored.
pub(super) fn runs_now(nic: &mut SimNic, name: &str, version: &str) {
    let Some(pci) = &mut nic.pci else { return };
    let old = pci.versions.insert(name.to_owned(), version.to_owned());
    let stored = pci.stored.get(name).is_some_and(|stored| stored == version);
    if stored {
        pci.stored.remove(name);
    }
    if let Some(old) = old {
        nic.firmware = nic.firmware.replace(&old, version);
    }
}

/// A boot runs whatever is stored.
pub(super) fn booted(nic: &mut SimNic, before: &SimNic) {
    nic.firmware.clone_from(&before.firmware);
    if let (Some(pci), Some(old)) = (&mut nic.pci, &before.pci) {
        pci.versions.clone_from(&old.versions);
        pci.stored.clone_from(&old.stored);
    }
    let stored = nic.pci.as_ref().map(|pci| pci.stored.clone()).unwrap_or_default();
    for (name, version) in stored {
        runs_now(nic, &name, &version);
    }
}
