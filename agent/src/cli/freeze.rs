//! `freeze` and `thaw`: no change to this host until thawed, but the putting back of a run in flight.

use policy::request::Action;

use super::{Common, Done, deeds, law, out, place};
use crate::{
    law::Law,
    log::Fact,
    runs::{Declined, Exit, permission},
    store::disk::Disk,
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
    let before = frozen(common);
    let mut facts = asked(common, &law, Action::Freeze)?;
    facts.push(Fact::Frozen { why: why.clone(), uid });
    let handed = deeds::hand(common, &law, None, facts);
    // A log that takes nothing down is no reason to let things go on.
    Disk::mark(&common.state_dir, "frozen", Some(why.as_bytes()))?;
    handed.and_then(|()| deeds::enter(common, &law)).map_err(|declined| {
        let why = format!("the host is frozen, but the log does not have it: {}", declined.why);
        Declined { why, ..declined }
    })?;
    if common.json {
        let was = before.is_some();
        out::json(&serde_json::json!({"frozen": true, "why": why, "was-frozen": was}));
        return Ok(Exit::Done);
    }
    match before {
        None => out::line(&format!("frozen: {why}")),
        Some(before) => out::line(&format!("frozen: {why} (it was frozen before: {before})")),
    }
    Ok(Exit::Done)
}

pub(super) fn thaw(common: &Common) -> Done {
    let uid = nix::unistd::getuid().as_raw();
    let law = law::read(common);
    let before = frozen(common);
    let mut facts = asked(common, &law, Action::Thaw)?;
    facts.extend(before.is_some().then_some(Fact::Thawed { uid }));
    deeds::hand(common, &law, None, facts)?;
    Disk::mark(&common.state_dir, "frozen", None)?;
    deeds::enter(common, &law)?;
    match (common.json, &before) {
        (true, _) => {
            out::json(&serde_json::json!({"frozen": false, "was-frozen": before.is_some()}));
        }
        (false, Some(why)) => out::line(&format!("thawed; it was frozen: {why}")),
        (false, None) => out::line("this host was not frozen: nothing to thaw"),
    }
    Ok(Exit::Done)
}

/// Why the host is frozen now, where it is.
fn frozen(common: &Common) -> Option<String> {
    let bytes = std::fs::read(common.state_dir.join("frozen")).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// The request and its decision, for the log; a refusal stands there, too, where whoever asks may write to it.
fn asked(common: &Common, law: &Law, action: Action) -> Result<Vec<Fact>, Declined> {
    let (facts, allowed) = permission::brake(&place::machine()?, law.loaded(), action);
    if let Err(declined) = allowed {
        let _ = deeds::hand(common, law, None, facts).and_then(|()| deeds::enter(common, law));
        return Err(declined);
    }
    Ok(facts)
}
