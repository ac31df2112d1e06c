//! The way back as a request: finish what a crash interrupted, put back what a run committed.

use super::{Declined, Desk, Exit, begin};
use crate::{
    engine::{Engine, gather},
    fault::{Fault, Kind, Result},
    host::Nic,
    log::{Fact, RunRecord, RunState, fact::Foreign},
    run::{Event, Run},
};

/// Finishes every unfinished run, newest first. The records of those that were open.
pub fn recover(desk: &Desk) -> Result<Vec<RunRecord>, Declined> {
    let history = desk.history()?;
    let mut finished = Vec::new();
    for run in history.runs.iter().rev().filter(|run| run.unfinished()) {
        let why = format!("recovered: the process that ran {} ended before the run did", run.id);
        finished.push(put_back(desk, run, &why)?);
    }
    Ok(finished)
}

/// Before anything new: what is unfinished is finished. A run that stays stuck keeps only its keys.
pub(super) fn recover_all(desk: &Desk) -> Result<(), Declined> {
    for run in recover(desk)? {
        (desk.tell)(&crate::engine::Telling::Note(format!("run {}: {}", run.id, run.why)));
    }
    Ok(())
}

/// Puts back what a committed run changed.
pub fn revert(desk: &Desk, wanted: &str) -> Result<RunRecord, Declined> {
    recover_all(desk)?;
    let history = desk.history()?;
    let run = history.find(wanted).map_err(|why| Declined::new(Exit::Wrong, "run", why))?;
    match run.state {
        RunState::Committed => {}
        RunState::Reverted | RunState::Refused => return Ok(run.clone()),
        RunState::Running | RunState::Stuck => {
            let why = format!("run {} is unfinished: {}", run.id, run.why);
            return Err(Declined::new(Exit::Stuck, "unfinished", why));
        }
    }
    for name in run.changed() {
        let key = run.key(name);
        if let Some(owner) = history.owner(&key)
            && owner.id != run.id
        {
            let why =
                format!("{name} now belongs to the later run {}; revert that first", owner.id);
            return Err(Declined::new(Exit::Refused, "owner", why));
        }
    }
    put_back(desk, run, "reverted on request")
}

fn put_back(desk: &Desk, record: &RunRecord, why: &str) -> Result<RunRecord, Declined> {
    if record.originals.is_empty() {
        let fact = Fact::Refused { rule: "crashed".to_owned(), why: why.to_owned() };
        desk.say(Some(&record.id), vec![fact])?;
        desk.store.sync()?;
        return Ok(desk.history()?.find(&record.id).cloned().unwrap_or_else(|_| record.clone()));
    }
    let now = desk.host.now();
    let began = record.entries.first().map(|entry| entry.at.boot_id.clone());
    let rebooted = began.is_some_and(|boot| boot != now.boot_id);
    let here = gather::netns(desk.host);
    let nic = match begin::nic_of(desk.host, &record.nic) {
        Some(nic) => nic,
        // Its namespace's and its host's settings are put back even so; what it held itself stays open.
        None if here == record.netns && !rebooted => absent(record),
        None => return nic_gone(desk, record, rebooted),
    };
    if here != record.netns && !rebooted {
        let words = format!(
            "run {} changed network namespace {}, this is {here}; run it there (`ip netns exec`)",
            record.id, record.netns
        );
        return Err(Declined::new(Exit::Failed, "netns", words));
    }
    let stopless = || None;
    let mut engine = Engine {
        host: desk.host,
        store: desk.store,
        id: record.id.clone(),
        epoch: desk.epoch,
        seq: desk.store.entries()?.len() as u64,
        stop: &stopless,
        tell: desk.tell,
        bench: None,
    };
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
fn absent(record: &RunRecord) -> Nic {
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
