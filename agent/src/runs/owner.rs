//! What an unfinished run may have changed belongs to it until it is finished.

use playbooks::vocabulary::Scope;

use super::{Declined, Desk, Exit};
use crate::{
    host::NicId,
    log::{RunState, fact::Kept, fold},
    plan::Plan,
};

/// A key that an unfinished run may have changed is not ours to write.
pub(super) fn free(desk: &Desk, plan: &Plan) -> Result<(), Declined> {
    let history = desk.history()?;
    let reserved = |kept: &Kept| fold::reserved(&plan.nic, plan.host.netns, &kept.name);
    let keys: Vec<String> = plan.snapshot.iter().map(reserved).collect();
    let (here, boot) = ((plan.host.netns, desk.host.netns_cookie()), desk.host.now().boot_id);
    for run in history.runs.iter().filter(|run| run.unfinished()) {
        // Another port of the device could take the standby along.
        if run.standby.as_ref().is_some_and(|standby| standby.shares_device(&plan.nic)) {
            let why = format!(
                "the device of {} is the standby path of run {}, which is not finished; `nicmend recover` first",
                plan.nic_name, run.id
            );
            return Err(Declined::new(Exit::Refused, "owner", why));
        }
        // An inode's number that another namespace has now: what was there is gone with it.
        let reached = |kept: &&Kept| match kept.name.setting().scope {
            Scope::Host => true,
            Scope::Netns => run.is_about(here, &boot),
            Scope::Nic | Scope::Device => match run.nic {
                NicId::Virtual { .. } => run.is_about(here, &boot),
                NicId::Pci { .. } => true,
            },
        };
        let mut own = run.originals.iter().filter(reached);
        let hit = own.find(|kept| keys.contains(&run.reserved(&kept.name)));
        if let Some(kept) = hit {
            let state = match run.state {
                RunState::Stuck => "is stuck with",
                RunState::Running
                | RunState::Committed
                | RunState::Reverted
                | RunState::Refused => "is unfinished with",
            };
            let of = match run.nic == plan.nic {
                true => String::new(),
                false => format!(" of {}", run.nic_name),
            };
            let why = format!("run {} {state} {}{of}; `nicmend recover` first", run.id, kept.name);
            return Err(Declined::new(Exit::Refused, "owner", why));
        }
    }
    Ok(())
}
