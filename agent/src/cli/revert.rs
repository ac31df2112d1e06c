//! `revert RUN`: what a committed run changed is put back; that is a run, and may have to wait for its window.

use std::{cell::OnceCell, time::Duration};

use policy::management::Consent;

use super::{
    Common, Done,
    accepted::Accepted,
    apply::{at_desk, duration, probe_by, reason},
    out, place,
    signals::Wishes,
};
use crate::{
    host::linux::Linux,
    log::History,
    measure::Meter,
    runs::{
        self, Back, Declined, Desk, Exit,
        hazards::Overrides,
        patience::{self, Asked, Patience},
    },
    store::Store,
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits 0 when the machine is at rest as it was before the run. Where the policies refuse it now \
and allow it later (a venue closes), it waits, raises the alarm every five minutes, and asks again every ten \
seconds; Ctrl-C ends that with the run still in force (exit 4). `--wait-window 0s` exits 4 at once."
)]
pub(super) struct Args {
    /// A run's id, a unique prefix of one, or `last`.
    pub run: String,
    #[command(flatten)]
    pub accepted: Accepted,
    /// Act alone, without the approvals that are wanted, for this reason: loud, logged, and to be
    /// countersigned.
    #[arg(long, value_name = "WHY", value_parser = reason)]
    pub break_glass: Option<String>,
    /// Wait this long for another run to end.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub wait: Duration,
    /// Wait at most this long for the time at which the policies allow it, 7d at most.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "7d")]
    pub wait_window: Duration,
}

pub(super) fn run(common: &Common, args: &Args) -> Done {
    let host = place::machine()?;
    // Whatever is committed while this one waits, `last` was said of this one.
    let run = named(common, &args.run);
    let wishes: OnceCell<Wishes> = OnceCell::new();
    let patience = Patience {
        host: &host,
        run: &run,
        wait_max: args.wait_window,
        stop: &|| wishes.get().and_then(Wishes::stop),
        alarm: &|words| out::painted("31;1", "ALARM", &format!("   {words}")),
        ask: &|| {
            let asked = ask(common, (args, &run), &host)?;
            if wishes.get().is_none() && matches!(asked, Asked::Later(..)) {
                let failed = |e| format!("take over signals: {e}");
                let taken = Wishes::take(None)
                    .map_err(|e| Declined::new(Exit::Failed, "signals", failed(e)))?;
                let _ = wishes.set(taken);
            }
            Ok(asked)
        },
        may: &|| allowed(common, (args, &run), &host),
    };
    let record = patience.put_back()?;
    super::runs::show_one(common, &record);
    let stuck = runs::exit_of(&record) == Exit::Stuck;
    Ok(if stuck { Exit::Stuck } else { Exit::Done })
}

fn back(args: &Args, desk: &Desk) -> Back {
    let (overridden, known) = args.accepted.overrides();
    let consent =
        if args.accepted.allow_management { Consent::AllowManagement } else { Consent::None };
    Back {
        consent,
        overridden,
        hazards: Overrides::These(known),
        standby: args.accepted.standby(),
        break_glass: args.break_glass.clone(),
        session: place::session(),
        ..Back::plain("reverted on request", desk.law.loaded().asker.clone())
    }
}

/// The run's id, where it can be told now.
fn named(common: &Common, wanted: &str) -> String {
    let id = || {
        let entries = place::reader(common).ok()?.entries().ok()?;
        let history = History::fold(&entries).ok()?;
        runs::wanted(&history, wanted).ok()?.map(|run| run.id.clone())
    };
    id().unwrap_or_else(|| wanted.to_owned())
}

/// Puts it back, or says from when on it may be.
fn ask(common: &Common, (args, run): (&Args, &str), host: &Linux) -> Result<Asked, Declined> {
    let disk = place::writer(common, args.wait)?;
    let history = History::fold(&disk.entries()?)?;
    let mut probe = match &args.accepted.standby {
        None => None,
        Some(nic) => {
            let found = runs::wanted(&history, run)?;
            let peer = found.and_then(|run| run.peer.clone());
            let Some(peer) = args.accepted.standby_peer.clone().or(peer) else {
                let why = "the run names no reflector to probe the standby against: --standby-peer";
                return Err(Declined::new(Exit::Wrong, "standby", why));
            };
            Some(probe_by(host, playbooks::playbook::Transport::Udp, nic, &peer)?)
        }
    };
    at_desk(common, host, &disk, |desk| {
        let meter = probe.as_mut().map(|probe| probe as &mut dyn Meter);
        patience::ask(desk, run, &back(args, desk), meter)
    })
}

/// Whether it may be put back by now; nothing is logged. Not where another run is at work.
fn allowed(common: &Common, (args, run): (&Args, &str), host: &Linux) -> bool {
    let Ok(disk) = place::writer(common, Duration::ZERO) else { return false };
    let asked = at_desk(common, host, &disk, |desk| patience::open(desk, run, &back(args, desk)));
    asked.unwrap_or(false)
}
