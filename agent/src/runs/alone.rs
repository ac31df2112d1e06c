//! What somebody did alone, and nobody countersigned in time: said in the log, and told.

use super::Desk;
use crate::{engine::Telling, fault::Result, log::Fact};

/// Says of each that its time has passed, once, as an entry of its run.
pub fn lapsed(desk: &Desk) -> Result<()> {
    let history = desk.history()?;
    let newest = history.newest_utc_ns.unwrap_or(i64::MIN);
    let now = desk.host.now().utc_ns.max(newest);
    for run in &history.runs {
        let late = run.break_glass.iter().filter(|glass| glass.open() && !glass.lapsed);
        for glass in late.filter(|glass| now > glass.due_utc_ns) {
            let (action, by) = (glass.action.clone(), glass.by.clone());
            let (entry, due_utc_ns) = (glass.entry, glass.due_utc_ns);
            (desk.tell)(&Telling::Note(format!("run {}: {}", run.id, glass.words(now))));
            desk.say(Some(&run.id), vec![Fact::Uncountersigned { entry, action, by, due_utc_ns }])?;
            desk.store.sync()?;
        }
    }
    Ok(())
}
