//! `freeze` and `thaw`: no change to this host until thawed, but the putting back of a run in flight.

use policy::request::Action;

use super::{Common, Done, law, out, place};
use crate::{
    fault::Kind,
    host::Host,
    law::Law,
    log::Fact,
    runs::{Desk, Exit, permission},
    store::{Store, disk::Disk},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Why, for those who find the host frozen.
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    pub why: String,
}

/// Freezes at once: a run in flight does not delay it (it goes on to its stated end).
pub(super) fn freeze(common: &Common, args: &Args) -> Done {
    let why: String = args.why.chars().filter(|c| !c.is_control()).take(512).collect();
    let uid = nix::unistd::getuid().as_raw();
    let law = law::read(common);
    permission::brake(&place::machine()?, law.loaded(), Action::Freeze)?;
    Disk::mark(&common.state_dir, "frozen", Some(why.as_bytes()))?;
    log(common, &law, vec![Fact::Frozen { why: why.clone(), uid }])?;
    if common.json {
        out::json(&serde_json::json!({"frozen": true, "why": why}));
    } else {
        out::line(&format!("frozen: {why}"));
    }
    Ok(Exit::Done)
}

pub(super) fn thaw(common: &Common) -> Done {
    let uid = nix::unistd::getuid().as_raw();
    let law = law::read(common);
    permission::brake(&place::machine()?, law.loaded(), Action::Thaw)?;
    Disk::mark(&common.state_dir, "frozen", None)?;
    log(common, &law, vec![Fact::Thawed { uid }])?;
    if common.json {
        out::json(&serde_json::json!({"frozen": false}));
    } else {
        out::line("thawed");
    }
    Ok(Exit::Done)
}

/// The log has one writer. While a run holds it, the mark itself is the record.
pub(super) fn log(
    common: &Common,
    law: &Law,
    facts: Vec<Fact>,
) -> Result<(), crate::runs::Declined> {
    let disk = match common.open_to_write() {
        Ok(disk) => disk,
        Err(fault) if fault.kind == Kind::Busy => {
            out::remark(
                "note      a run is in flight: this binds at once, but the log will not show it",
            );
            return Ok(());
        }
        Err(fault) => return Err(fault.into()),
    };
    say(&disk, law, None, facts)
}

/// Says facts in the log under the writer's lock, durably.
pub(super) fn say(
    disk: &Disk,
    law: &Law,
    run: Option<&str>,
    facts: Vec<Fact>,
) -> Result<(), crate::runs::Declined> {
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
    place::opened(&desk, disk)?;
    law.loaded();
    law.keep(disk)?;
    desk.say(run, facts)?;
    disk.sync()?;
    Ok(())
}
