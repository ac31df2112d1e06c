//! The way back: finish what a crash interrupted.

use playbooks::vocabulary::Persistence;

use super::{Declined, Desk, Exit, begin, claim};
use crate::{
    engine::gather,
    fault::{Fault, Result},
    host::Nic,
    log::{Entry, Fact, Kept, RunRecord, RunState, after::Campaign, fact::Foreign},
    run::{Durable, Event, Run},
    verdict::Call,
};

/// How often the way back of a run is begun without anybody asking for it by name: each may flash and
/// restart a device. The run's own way back counts, those of processes that died on it too.
const TRIES_MAX: u32 = 4;

/// Who wants an unfinished run finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A person, for this run or for all: as often as he asks, and whether or not the disk can be told.
    ByName,
    /// Another request, before it begins: a bounded number of times, counted in the log.
    InPassing,
}

/// Finishes every unfinished run, newest first. The records of those that were open.
///
/// A run that cannot be finished from here (it is another network namespace's) stays as it is and
/// keeps the others from nothing; the first such is the error when all have been tried.
pub fn recover(desk: &Desk) -> Result<Vec<RunRecord>, Declined> {
    let (finished, open) = finish_all(desk, &|_| Asked::ByName)?;
    match open.into_iter().next() {
        Some(declined) => Err(declined),
        None => Ok(finished),
    }
}

fn finish_all(
    desk: &Desk,
    asked: &dyn Fn(&RunRecord) -> Asked,
) -> Result<(Vec<RunRecord>, Vec<Declined>), Declined> {
    let (history, damage) = desk.history_left();
    let (mut finished, mut open) = (Vec::new(), Vec::new());
    for run in history.runs.iter().rev().filter(|run| run.unfinished()) {
        let why = match run.state {
            RunState::Stuck => {
                format!("recovered: {} was stuck after {} and is tried again", run.id, tries(run))
            }
            RunState::Running | RunState::Committed | RunState::Reverted | RunState::Refused => {
                format!("recovered: the process that ran {} ended before the run did", run.id)
            }
        };
        let done =
            tried_enough(run, asked(run)).and_then(|()| put_back(desk, run, asked(run), &why));
        match done {
            Ok(record) => finished.push(record),
            Err(declined) => open.push(declined),
        }
    }
    for run in &history.runs {
        for campaign in run.campaigns.iter().filter(|one| one.interrupted(desk.epoch)) {
            if let Err(declined) = end_campaign(desk, run, campaign) {
                open.push(declined);
            }
        }
    }
    open.extend(damage.map(|fault| unread(&fault)));
    Ok((finished, open))
}

/// What else there may be where the log cannot be read.
fn unread(damage: &Fault) -> Declined {
    let why = format!(
        "{damage}; runs that began before that place are not known: `nicmend audit verify` names it, and \
         each run's directory below runs/ has an undo.sh that puts it back by hand"
    );
    Declined::new(Exit::Failed, "log", why)
}

/// A run that was not brought back so often will not come back by itself.
fn tried_enough(run: &RunRecord, asked: Asked) -> Result<(), Declined> {
    match asked {
        Asked::InPassing if run.tries >= TRIES_MAX => {
            let id = &run.id;
            let words = format!(
                "run {id} is not tried again by itself after {}: {}; `nicmend recover` or `nicmend revert {id}` \
                 tries once more",
                tries(run),
                run.why
            );
            Err(Declined::new(Exit::Stuck, "tries", words))
        }
        Asked::InPassing | Asked::ByName => Ok(()),
    }
}

fn tries(run: &RunRecord) -> String {
    match run.tries {
        1 => "1 try".to_owned(),
        tries => format!("{tries} tries"),
    }
}

/// Removes what the faults of a campaign left whose process ended before it did. Its processes ended
/// with it; a setting that it had moved is an unfinished run of its own.
fn end_campaign(desk: &Desk, run: &RunRecord, campaign: &Campaign) -> Result<(), Declined> {
    for left in &campaign.leaves {
        desk.host.unburden(left)?;
    }
    let number = campaign.campaign;
    let mut facts = Vec::new();
    if !campaign.leaves.is_empty() {
        facts.push(Fact::Unburdened { campaign: number, leaves: campaign.leaves.clone() });
    }
    if campaign.call.is_none() {
        let why = "interrupted: its process ended before it did".to_owned();
        facts.push(Fact::CampaignEnded { campaign: number, call: Call::Inconclusive, why });
    }
    desk.say(Some(&run.id), facts)?;
    Ok(desk.store.sync()?)
}

/// Before anything new: what is unfinished is finished, within [`TRIES_MAX`]; the run `named`, which the
/// request is about, in any case. A run that stays stuck keeps only its keys.
pub(super) fn recover_all(desk: &Desk, named: Option<&str>) -> Result<(), Declined> {
    let asked = |run: &RunRecord| match named == Some(run.id.as_str()) {
        true => Asked::ByName,
        false => Asked::InPassing,
    };
    let (finished, open) = finish_all(desk, &asked)?;
    let note = |words: String| (desk.tell)(&crate::engine::Telling::Note(words));
    finished.iter().for_each(|run| note(format!("run {}: {}", run.id, run.why)));
    open.iter().for_each(|declined| note(format!("still open: {declined}")));
    Ok(())
}

/// Puts back whatever a run may have changed.
pub(super) fn put_back(
    desk: &Desk,
    record: &RunRecord,
    asked: Asked,
    why: &str,
) -> Result<RunRecord, Declined> {
    // A firmware stage that was begun and is back closes as what it is, reverted: it has written.
    if record.originals.is_empty() && record.firmware.is_none() {
        let fact = Fact::Refused { rule: "crashed".to_owned(), why: why.to_owned() };
        desk.say(Some(&record.id), vec![fact])?;
        desk.store.sync()?;
        return Ok(desk.history()?.find(&record.id).cloned().unwrap_or_else(|_| record.clone()));
    }
    let now = desk.host.now();
    let rebooted = !record.began_in(&now.boot_id);
    let here = (gather::netns(desk.host), desk.host.netns_cookie());
    if !rebooted && !record.is_about(here, &now.boot_id) {
        return Err(elsewhere(record, here.0));
    }
    let nic = match begin::nic_of(desk.host, &record.nic)? {
        Some(nic) => nic,
        None if rebooted && !outlives_a_boot(record) => return nic_gone(desk, record),
        None if rebooted => absent(record),
        // Its namespace's and its host's settings are put back even so, a device may be there though its
        // interface is not, and a virtual NIC is known by its index. What nobody can read stays open.
        None => Nic { ifindex: record.ifindex.unwrap_or(0), ..absent(record) },
    };
    let mut record = record.clone();
    if let Some(firmware) = &mut record.firmware {
        // What a restart took in another boot the reboot has decided.
        firmware.losing = firmware.losing.take().filter(|boot| *boot == now.boot_id);
        // A disk that failed may have kept the word of a restart to itself. Before a commit what was kept
        // is as fresh as the run, and putting back what is there already does nothing.
        let committed = |entry: &Entry| matches!(entry.fact, Fact::Committed { .. });
        if !rebooted && !firmware.returned && !record.entries.iter().any(committed) {
            firmware.losing.get_or_insert_with(|| now.boot_id.clone());
        }
    }
    let record = &record;
    let stopless = || None;
    let settings = record.originals.iter().map(|kept| &kept.name);
    // Another process at work on the NIC is waited for; a claim that cannot be made keeps nobody from going back.
    let claimed = claim::take(desk, (&record.nic, record.netns), settings);
    let _claim = match claimed {
        Ok(claim) => Some(claim),
        Err(declined) if declined.exit == Exit::Refused => return Err(declined),
        Err(declined) => {
            (desk.tell)(&crate::engine::Telling::Note(declined.to_string()));
            None
        }
    };
    let mut engine = desk.engine(record, &stopless, None)?;
    let mut run = Run::returning(record, nic, rebooted, why);
    // The machine comes first: the disk may be what failed.
    let fact = Fact::Reverting { why: why.to_owned() };
    match asked {
        Asked::ByName => drop(engine.record(vec![fact], Durable::BestEffort)),
        // A try that is not counted could be made for ever.
        Asked::InPassing => engine.record(vec![fact], Durable::Yes).map_err(|fault| {
            let words = format!(
                "run {} is not tried by itself, since the log cannot count it: {fault}; `nicmend recover` does",
                record.id
            );
            Declined::new(Exit::Failed, "tries", words)
        })?,
    }
    let end = engine.drive(&mut run, Event::Begin);
    Ok(desk.told(record.clone(), &end))
}

/// Whether something of the run is not decided by a reboot: firmware, and what a device keeps.
fn outlives_a_boot(record: &RunRecord) -> bool {
    let kept = |kept: &Kept| match kept.name.setting().persistence {
        Persistence::SurvivesReboot => true,
        Persistence::Volatile => false,
    };
    record.firmware_open() || record.originals.iter().any(kept)
}

/// In another network namespace nothing of it is seen or changed from here.
fn elsewhere(record: &RunRecord, here: u64) -> Declined {
    let (id, netns) = (&record.id, record.netns);
    let words = match here == netns {
        true => format!(
            "run {id} changed a network namespace net:[{netns}] that is gone: this is another one, which the \
             kernel gave its number"
        ),
        false => format!(
            "run {id} changed network namespace {netns}, this is {here}; run it there (`ip netns exec`)"
        ),
    };
    Declined::new(Exit::Failed, "netns", words)
}

/// The NIC is not there, and the reboot took all that the run had changed of it.
fn nic_gone(desk: &Desk, record: &RunRecord) -> Result<RunRecord, Declined> {
    let why = format!("{} is gone since the reboot, its volatile settings with it", record.nic);
    let foreign: Vec<Foreign> = Vec::new();
    desk.say(Some(&record.id), vec![Fact::Reverted { why, proof: Vec::new(), foreign }])?;
    desk.store.sync()?;
    Ok(desk.history()?.find(&record.id).cloned().unwrap_or_else(|_| record.clone()))
}

/// The NIC as the run knew it, for what does not need it to be there.
pub(super) fn absent(record: &RunRecord) -> Nic {
    Nic::told(&record.nic, &record.nic_name, "")
}
