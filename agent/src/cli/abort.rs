//! `abort RUN`: ask the process that drives the run to put it back, and wait until it has.

use std::time::Duration;

use super::{Common, Done, out, place};
use crate::{
    fault::{Fault, Kind},
    log::{History, RunState},
    runs::{Declined, Exit},
    store::Store,
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
    let Some(holder) = disk.holder()? else {
        let why = format!("run {id} has no process any more; `nicmend recover` finishes it");
        return Err(Declined::new(Exit::Failed, "run", why));
    };
    ask(&place::abort_file(common, holder))?;
    out::remark(&format!("asked process {holder} to put run {id} back"));
    let mut waited = Duration::ZERO;
    while waited < WAIT_MAX {
        std::thread::sleep(PAUSE);
        waited += PAUSE;
        let history = History::fold(&disk.entries()?)?;
        if let Ok(run) = history.find(&id)
            && run.state != RunState::Running
        {
            super::runs::show_one(common, run);
            return Ok(if run.state == RunState::Stuck { Exit::Stuck } else { Exit::Done });
        }
        if disk.holder()? != Some(holder) {
            let why = format!("process {holder} ended before run {id} did; `nicmend recover`");
            return Err(Declined::new(Exit::Failed, "run", why));
        }
    }
    let why = format!("run {id} did not end within {} s", WAIT_MAX.as_secs());
    Err(Declined::new(Exit::Failed, "run", why))
}

fn ask(file: &std::path::Path) -> Result<(), Fault> {
    let act = format!("write {}", file.display());
    let fault = |e: std::io::Error| Fault::new(Kind::Io, act.clone(), e.to_string());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(fault)?;
    }
    std::fs::write(file, b"abort\n").map_err(fault)
}
