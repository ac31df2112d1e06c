//! What people do without waiting for whoever writes the log: written down first, durably, then done, and entered
//! by the writer. Where nobody writes, this command does.

use std::time::Duration;

use super::{Common, out, place};
use crate::{
    fault::Kind,
    host::Host,
    intake,
    law::Law,
    log::{Fact, Who, deed::Deed},
    runs::{Declined, Desk},
    store::{Store, disk::Disk},
};

/// A writer that is just ending may have looked for the last time before ours lay there.
const ENDING: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(50);

/// Writes down what whoever runs this process does now, durably.
pub(super) fn hand(
    common: &Common,
    law: &Law,
    run: Option<&str>,
    facts: Vec<Fact>,
) -> Result<(), Declined> {
    let host = place::machine()?;
    let uid = nix::unistd::getuid().as_raw();
    let who = Who { uid, principal: Some(law.loaded().asker.name().to_owned()) };
    let bearings = host.bearings();
    let deed = Deed::new(host.now(), who, (bearings.host, bearings.clock), run);
    Ok(Disk::hand(&common.state_dir, &Deed { facts, ..deed })?)
}

/// Has what waits entered in the log: here, or by whoever writes it.
pub(super) fn enter(common: &Common, law: &Law) -> Result<(), Declined> {
    let mut left = ENDING;
    loop {
        match common.open_to_write() {
            Ok(disk) => return say(&disk, law, None, Vec::new()),
            Err(fault) if fault.kind == Kind::Busy && left.is_zero() => {
                out::remark(&format!(
                    "note      {}: that enters this in the log before its own next entry, or the next command \
                     that writes there does",
                    fault.cause
                ));
                return Ok(());
            }
            Err(fault) if fault.kind == Kind::Busy => {
                std::thread::sleep(PAUSE);
                left = left.saturating_sub(PAUSE);
            }
            Err(fault) => return Err(fault.into()),
        }
    }
}

/// Enters what waits, and says facts, under the writer's lock, durably.
pub(super) fn say(
    disk: &Disk,
    law: &Law,
    run: Option<&str>,
    facts: Vec<Fact>,
) -> Result<(), Declined> {
    let host = place::machine()?;
    let (stop, tell) = (|| None, |_: &crate::engine::Telling| ());
    let desk = Desk {
        host: &host as &dyn Host,
        store: disk,
        epoch: disk.epoch()?,
        uid: nix::unistd::getuid().as_raw(),
        law,
        stop: &stop,
        tell: &tell,
        reach: &crate::measure::Nowhere,
    };
    law.loaded();
    place::opened(&desk, disk)?;
    law.keep(disk)?;
    desk.say(run, facts)?;
    disk.sync()?;
    Ok(())
}

/// Enters what others did since the log was opened, or last looked for them. What cannot be entered now waits.
pub(super) fn take_up(desk: &Desk, disk: &Disk) {
    if disk.is_mute() {
        return;
    }
    match intake::take_up(desk.host, desk.store, (desk.epoch, &desk.who())) {
        Ok(taken) => {
            taken.refused.iter().for_each(|why| out::remark(&format!("WARNING   {why}; put aside")))
        }
        Err(fault) => {
            out::remark(&format!("WARNING   what others did is not in the log yet: {fault}"));
        }
    }
}
