//! `abort RUN`: ask the process that drives the run to put it back, and wait until it has.

use std::time::Duration;

use super::{Common, Done, deeds, law, out, place};
use crate::{
    fault::{Fault, Kind},
    log::{Fact, History, RunRecord, RunState, office::Request},
    runs::{Declined, Exit},
    store::{Store, disk::Disk},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A run's id, a unique prefix of one, or `last`.
    pub run: String,
}

/// Longer than any lease of a step that a run can be in.
const WAIT_MAX: Duration = Duration::from_secs(400);
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(common: &Common, args: &Args) -> Done {
    let disk = place::reader(common)?;
    let history = History::fold(&disk.entries()?)?;
    let run = history.find(&args.run).map_err(|why| Declined::new(Exit::Wrong, "run", why))?;
    let id = run.id.clone();
    if run.state != RunState::Running {
        let why = format!("run {id} is not in flight; `nicmend revert {id}` puts a commit back");
        return Err(Declined::new(Exit::Wrong, "run", why));
    }
    let holder = holder(&disk, &id)?;
    ask(&place::abort_file(common, holder), &id)?;
    out::remark(&format!("asked process {holder} to put run {id} back"));
    let law = law::read(common);
    let request = Request { action: "abort".to_owned(), on: id.clone(), ..Request::default() };
    // What shall be stopped is stopped first, and waits for no file of the site's.
    if let Err(declined) = deeds::hand(common, &law, Some(&id), vec![Fact::Requested(request)]) {
        out::remark(&format!("WARNING   the log will not show who aborted: {declined}"));
    }
    let mut waited = Duration::ZERO;
    while waited < WAIT_MAX {
        std::thread::sleep(PAUSE);
        waited += PAUSE;
        let history = History::fold(&disk.entries()?)?;
        if let Ok(run) = history.find(&id)
            && run.state != RunState::Running
        {
            // The run may have looked for the last time before that lay there.
            let _ = deeds::enter(common, &law);
            return ended(common, run);
        }
        if disk.holder()?.map(|(pid, _)| pid) != Some(holder) {
            let why = format!("process {holder} ended before run {id} did; `nicmend recover`");
            return Err(Declined::new(Exit::Failed, "run", why));
        }
    }
    let why = format!("run {id} did not end within {} s", WAIT_MAX.as_secs());
    Err(Declined::new(Exit::Failed, "run", why))
}

/// The process that drives this run, and not another that holds the lock for a run of its own.
fn holder(disk: &Disk, id: &str) -> Result<u32, Declined> {
    let gone = |who: String| {
        let why = format!("run {id} has no process any more{who}; `nicmend recover` finishes it");
        Err(Declined::new(Exit::Failed, "run", why))
    };
    match disk.holder()? {
        None => gone(String::new()),
        Some((pid, Some(other))) if other != id => {
            gone(format!(" (process {pid} drives run {other})"))
        }
        Some((pid, _)) => Ok(pid),
    }
}

/// What the wish has come to: a run that committed first is in force.
fn ended(common: &Common, run: &RunRecord) -> Done {
    let shown = |exit| {
        super::runs::show_one(common, run);
        Ok(exit)
    };
    match run.state {
        RunState::Stuck => shown(Exit::Stuck),
        RunState::Committed => {
            let why = format!(
                "run {} had committed before it could be stopped and is in force; \
                 `nicmend revert {}` puts it back",
                run.id, run.id
            );
            Err(Declined::new(Exit::Failed, "run", why))
        }
        RunState::Running | RunState::Reverted | RunState::Refused => shown(Exit::Done),
    }
}

fn ask(file: &std::path::Path, id: &str) -> Result<(), Fault> {
    let act = format!("write {}", file.display());
    let fault = |e: std::io::Error| Fault::new(Kind::Io, act.clone(), e.to_string());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(fault)?;
    }
    std::fs::write(file, format!("{id}\n")).map_err(fault)
}
