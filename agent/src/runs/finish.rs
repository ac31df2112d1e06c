//! The way back: finish what a crash interrupted.

use super::{Declined, Desk, Exit, begin, claim};
use crate::{
    engine::gather,
    fault::{Fault, Kind, Result},
    host::Nic,
    log::{Entry, Fact, RunRecord, RunState, after::Campaign, fact::Foreign},
    run::{Event, Run},
    verdict::Call,
};

/// Finishes every unfinished run, newest first. The records of those that were open.
///
/// A run that cannot be finished from here (it is another network namespace's) stays as it is and
/// keeps the others from nothing; the first such is the error when all have been tried.
pub fn recover(desk: &Desk) -> Result<Vec<RunRecord>, Declined> {
    let (finished, open) = finish_all(desk)?;
    match open.into_iter().next() {
        Some(declined) => Err(declined),
        None => Ok(finished),
    }
}

fn finish_all(desk: &Desk) -> Result<(Vec<RunRecord>, Vec<Declined>), Declined> {
    let (history, damage) = desk.history_left();
    let (mut finished, mut open) = (Vec::new(), Vec::new());
    for run in history.runs.iter().rev().filter(|run| run.unfinished()) {
        let why = match run.state {
            RunState::Stuck => format!("recovered: {} was stuck and is tried again", run.id),
            RunState::Running | RunState::Committed | RunState::Reverted | RunState::Refused => {
                format!("recovered: the process that ran {} ended before the run did", run.id)
            }
        };
        match put_back(desk, run, &why) {
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

/// Before anything new: what is unfinished is finished. A run that stays stuck keeps only its keys.
pub(super) fn recover_all(desk: &Desk) -> Result<(), Declined> {
    let (finished, open) = finish_all(desk)?;
    let note = |words: String| (desk.tell)(&crate::engine::Telling::Note(words));
    finished.iter().for_each(|run| note(format!("run {}: {}", run.id, run.why)));
    open.iter().for_each(|declined| note(format!("still open: {declined}")));
    Ok(())
}

/// Puts back whatever a run may have changed.
pub(super) fn put_back(desk: &Desk, record: &RunRecord, why: &str) -> Result<RunRecord, Declined> {
    if record.originals.is_empty() && !record.firmware_open() {
        let fact = Fact::Refused { rule: "crashed".to_owned(), why: why.to_owned() };
        desk.say(Some(&record.id), vec![fact])?;
        desk.store.sync()?;
        return Ok(desk.history()?.find(&record.id).cloned().unwrap_or_else(|_| record.clone()));
    }
    let now = desk.host.now();
    let began = record.entries.first().map(|entry| entry.at.boot_id.clone());
    let rebooted = began.is_some_and(|boot| boot != now.boot_id);
    let here = gather::netns(desk.host);
    let nic = match begin::nic_of(desk.host, &record.nic)? {
        Some(nic) => nic,
        // Its namespace's and its host's settings are put back even so; what it held itself stays open.
        // A device may be there though its interface is not.
        None if here == record.netns && (!rebooted || record.firmware_open()) => absent(record),
        None => return nic_gone(desk, record, rebooted),
    };
    if here != record.netns && !rebooted {
        let words = format!(
            "run {} changed network namespace {}, this is {here}; run it there (`ip netns exec`)",
            record.id, record.netns
        );
        return Err(Declined::new(Exit::Failed, "netns", words));
    }
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
    let _claim = claim::take(desk, (&record.nic, record.netns), settings)?;
    let mut engine = desk.engine(record, &stopless, None)?;
    let mut run = Run::returning(record, nic, rebooted, why);
    // The machine comes first: the disk may be what failed.
    let fact = Fact::Reverting { why: why.to_owned() };
    let _ = engine.record(vec![fact], crate::run::Durable::BestEffort);
    let end = engine.drive(&mut run, Event::Begin);
    Ok(desk.told(record.clone(), &end))
}

/// The NIC is not there. After a reboot its volatile settings are gone with it. In another network
/// namespace it cannot be seen from here.
fn nic_gone(desk: &Desk, record: &RunRecord, rebooted: bool) -> Result<RunRecord, Declined> {
    if !rebooted {
        let here = gather::netns(desk.host);
        let act = format!("find {} of run {}", record.nic, record.id);
        let cause = format!("it is in network namespace {}, this is {here}", record.netns);
        return Err(Fault::new(Kind::Gone, act, cause).into());
    }
    let why = format!("{} is gone since the reboot, its volatile settings with it", record.nic);
    let foreign: Vec<Foreign> = Vec::new();
    desk.say(Some(&record.id), vec![Fact::Reverted { why, proof: Vec::new(), foreign }])?;
    desk.store.sync()?;
    Ok(desk.history()?.find(&record.id).cloned().unwrap_or_else(|_| record.clone()))
}

/// The NIC as the run knew it, for what does not need it to be there.
pub(super) fn absent(record: &RunRecord) -> Nic {
    Nic {
        id: record.nic.clone(),
        name: record.nic_name.clone(),
        ifindex: 0,
        driver: String::new(),
        kernel_base: None,
        pci: None,
        numa: None,
    }
}
