//! A firmware stage as part of a request: what it comes to here, and whether it may be tried again.

use playbooks::vocabulary::Disruption;
use policy::{Refusal, request::Action};

use super::{Apply, Declined, Desk, Exit, choose};
use crate::{
    fault::{Kind, Result},
    firmware::{device, images, restart},
    host::{Host, Nic},
    inventory::{NicFacts, subject},
    log::{History, RunRecord},
    plan::{Plan, firmware::FirmwareAction},
    store::Store,
    surroundings::{self, Surroundings},
};

/// Firmware stages begun for one device and version within a day; more is a loop.
const ATTEMPTS_MAX: usize = 3;
const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// By stage, what its firmware comes to on this NIC's device.
pub(super) fn stages(
    host: &dyn Host,
    nic: &Nic,
    facts: &NicFacts,
    request: &Apply,
) -> Result<Vec<Option<FirmwareAction>>, Declined> {
    let playbook = &request.playbook;
    let wanted: Vec<_> = playbook.stages.iter().map(|stage| stage.firmware.as_ref()).collect();
    if wanted.iter().flatten().count() > 1 {
        let why = "a playbook has one firmware stage at most: each restarts the device".to_owned();
        return Err(Declined::new(Exit::Wrong, "firmware", why));
    }
    if wanted.iter().flatten().next().is_none() {
        return Ok(vec![None; wanted.len()]);
    }
    let device = device::of(host, nic).map_err(|fault| {
        let exit = match fault.kind {
            Kind::Unsupported => Exit::Wrong,
            Kind::Denied => Exit::Refused,
            Kind::Busy
            | Kind::Invalid
            | Kind::Drift
            | Kind::Gone
            | Kind::Malformed
            | Kind::Held
            | Kind::Io => Exit::Failed,
        };
        Declined::new(exit, "firmware-device", fault.to_string())
    })?;
    let (subject, catalog) = (subject::subject(facts), &request.hazards.catalog);
    let now = i128::from(host.now().utc_ns);
    let at = jiff::Timestamp::from_nanosecond(now).map_err(|error| {
        Declined::new(Exit::Failed, "clock", format!("read the clock: {error}"))
    })?;
    let (offer, drain) = (&request.firmware, playbook.drain);
    let choose = |wanted| choose::choose(&device, &subject, catalog, wanted, offer, drain, at);
    let stages: Vec<Option<FirmwareAction>> = wanted
        .into_iter()
        .map(|wanted| wanted.map_or(Ok(None), choose))
        .collect::<Result<_, Declined>>()?;
    for action in stages.iter().flatten() {
        restart::locked_down(host, action)
            .map_err(|fault| Declined::new(Exit::Refused, "kernel-lockdown", fault.to_string()))?;
        found_first(host, action)?;
    }
    Ok(stages)
}

/// Refuses where the kernel would flash another file than one of the images.
fn found_first(host: &dyn Host, action: &FirmwareAction) -> Result<(), Declined> {
    for image in [Some(&action.image), action.way_back.as_ref()].into_iter().flatten() {
        let found = host.shadows(&image.sha256)?;
        if !found.is_empty() {
            let why = format!(
                "the kernel would flash {} instead of the image of that name that is placed: remove it",
                found.join(" and ")
            );
            return Err(Declined::new(Exit::Refused, "firmware-search-path", why));
        }
    }
    Ok(())
}

/// The NICs that a plan is felt on: its own, and every port of a device that it restarts.
pub(super) fn touched(host: &dyn Host, nic: &Nic, plan: &Plan) -> Result<Vec<Nic>> {
    match action(plan) {
        Some(action) => device::ports_now(host, action),
        None => Ok(vec![nic.clone()]),
    }
}

/// The firmware stage of a plan.
pub(super) fn action(plan: &Plan) -> Option<&FirmwareAction> {
    plan.stages.iter().find_map(|stage| stage.firmware.as_ref())
}

/// What a run of this plan does, as policies name it. A site's rules about `apply` bind a run that flashes, too.
pub fn actions(plan: &Plan) -> Vec<Action> {
    let mut actions = vec![Action::Apply];
    if action(plan).is_some() {
        actions.push(Action::Flash);
    }
    // By a restart into what was flashed, or by a setting that takes effect on a reload.
    if plan.disruption == Disruption::NicReset {
        actions.push(Action::Reset);
    }
    actions
}

/// Refuses where another run has the device, or where this has been tried too often.
pub(super) fn attempts(desk: &Desk, plan: &Plan) -> Result<(), Declined> {
    let Some(action) = action(plan) else { return Ok(()) };
    let history = desk.history()?;
    if let Some(run) = holder(&history, action) {
        let why = format!(
            "run {} is unfinished with {}; `nicmend recover` first",
            run.id,
            action.device.key()
        );
        return Err(Declined::new(Exit::Refused, "owner", why));
    }
    let since = desk.host.now().utc_ns - DAY_NS;
    let key = action.device.key();
    let same = |run: &&RunRecord| {
        run.firmware.as_ref().is_some_and(|firmware| {
            firmware.action.device.key() == key
                && firmware.action.to == action.to
                && firmware.began_utc_ns > since
        })
    };
    let tried: Vec<&str> = history.runs.iter().filter(same).map(|run| run.id.as_str()).collect();
    if tried.len() >= ATTEMPTS_MAX {
        let why = format!(
            "{} was tried on {} {} times within a day ({}): something else is wrong",
            action.to,
            action.device.handle,
            tried.len(),
            tried.join(", ")
        );
        return Err(Declined::new(Exit::Refused, "firmware-attempts", why));
    }
    Ok(())
}

/// What stands around the ports that a plan restarts; `None` where it restarts none.
pub(super) fn around(host: &dyn Host, plan: &Plan) -> Result<Option<Surroundings>> {
    let Some(action) = action(plan) else { return Ok(None) };
    surroundings::take(host, &device::ports_now(host, action)?).map(Some)
}

/// What a restart of the plan's device would take and nobody could put back.
pub(super) fn refusals(plan: &Plan, around: Option<&Surroundings>) -> Vec<Refusal> {
    let Some((action, around)) = action(plan).zip(around) else { return Vec::new() };
    let refusal = |what: &String| Refusal {
        rule: "surroundings",
        why: format!("a restart of {} would take for good: {what}", action.device.handle),
        satisfy: "take it away first, and make it again afterwards".to_owned(),
    };
    around.cannot_restore().iter().map(refusal).collect()
}

/// Refuses a plan whose images are not, byte for byte, what they are called: the new one, and the way
/// back. They are looked at again as they are flashed; this is before anything is begun.
pub fn images_are_sound(store: &dyn Store, plan: &Plan) -> Result<(), Declined> {
    let Some(action) = action(plan) else { return Ok(()) };
    for image in [Some(&action.image), action.way_back.as_ref()].into_iter().flatten() {
        images::load(store, image).map_err(|fault| {
            let exit = match fault.kind {
                Kind::Gone | Kind::Malformed | Kind::Invalid => Exit::Refused,
                Kind::Unsupported
                | Kind::Busy
                | Kind::Denied
                | Kind::Drift
                | Kind::Held
                | Kind::Io => Exit::Failed,
            };
            Declined::new(exit, "firmware-image", fault.to_string())
        })?;
    }
    Ok(())
}

/// The unfinished run that has this device's firmware.
fn holder<'h>(history: &'h History, action: &FirmwareAction) -> Option<&'h RunRecord> {
    let key = action.device.key();
    let has = |run: &&RunRecord| {
        run.unfinished()
            && run.firmware.as_ref().is_some_and(|f| !f.returned && f.action.device.key() == key)
    };
    history.runs.iter().find(has)
}

/// The later committed run that changed the firmware of the same device, if one did.
pub(super) fn overtaken<'h>(run: &RunRecord, later: &[&'h RunRecord]) -> Option<&'h RunRecord> {
    let mine = run.firmware.as_ref().filter(|firmware| !firmware.returned)?;
    let same = |other: &&&RunRecord| {
        other.firmware.as_ref().is_some_and(|theirs| {
            !theirs.returned && theirs.action.device.key() == mine.action.device.key()
        })
    };
    later.iter().rev().find(same).copied()
}

/// What `undo.sh` says of the firmware.
pub(super) fn undo_lines(plan: &Plan) -> Vec<String> {
    let Some(action) = action(plan) else { return Vec::new() };
    let mut lines = vec![format!(
        "# {} ran and stored firmware {}. It goes back before the settings above: a restart takes them.",
        action.device.handle, action.from
    )];
    lines.extend(action.by_hand());
    lines
}
