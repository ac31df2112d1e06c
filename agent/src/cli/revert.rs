//! `revert RUN`: what a committed run changed is put back; that is a run, and may have to wait for its window.

use std::time::Duration;

use jiff::Timestamp;
use policy::management::Consent;

use super::{
    Common, Done,
    accepted::Accepted,
    apply::{at_desk, duration, probe_by, reason},
    out, place,
    signals::Wishes,
};
use crate::{
    host::{Host, linux::Linux},
    log::{History, RunRecord, RunState},
    measure::Meter,
    runs::{self, Back, Declined, Desk, Exit, hazards::Overrides},
    store::Store,
};

/// How often the alarm is raised while a way back waits.
const ALARM_EVERY: Duration = Duration::from_secs(300);
/// How often policies and guards are asked again meanwhile: somebody may approve, or leave the NIC.
const ASK_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A long weekend has a window in it.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

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

/// What came of asking once.
enum Asked {
    Back(Box<RunRecord>),
    /// Refused now, and allowed from then on.
    Later(Declined, Timestamp),
}

pub(super) fn run(common: &Common, args: &Args) -> Done {
    let host = place::machine()?;
    let ends_ns = ns(args.wait_window.min(WAIT_MAX)).saturating_add(host.now().mono_ns);
    loop {
        match ask(common, args, &host)? {
            Asked::Back(record) => {
                super::runs::show_one(common, &record);
                let stuck = runs::exit_of(&record) == Exit::Stuck;
                return Ok(if stuck { Exit::Stuck } else { Exit::Done });
            }
            Asked::Later(declined, opens) => wait(common, args, &host, (declined, opens), ends_ns)?,
        }
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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

/// Puts it back, or says from when on it may be.
fn ask(common: &Common, args: &Args, host: &Linux) -> Result<Asked, Declined> {
    let disk = place::writer(common, args.wait)?;
    let history = History::fold(&disk.entries()?)?;
    let mut probe = match &args.accepted.standby {
        None => None,
        Some(nic) => {
            let run = runs::wanted(&history, &args.run)?;
            let peer = run.and_then(|run| run.peer.clone());
            let Some(peer) = args.accepted.standby_peer.clone().or(peer) else {
                let why = "the run names no reflector to probe the standby against: --standby-peer";
                return Err(Declined::new(Exit::Wrong, "standby", why));
            };
            Some(probe_by(host, playbooks::playbook::Transport::Udp, nic, &peer)?)
        }
    };
    at_desk(common, host, &disk, |desk| {
        let back = back(args, desk);
        let meter = probe.as_mut().map(|probe| probe as &mut dyn Meter);
        let declined = match runs::revert(desk, &args.run, &back, meter) {
            Ok(record) => return Ok(Asked::Back(Box::new(record))),
            Err(declined) => declined,
        };
        if declined.exit != Exit::Refused || args.wait_window.is_zero() {
            return Err(declined);
        }
        match committed(desk, &args.run) {
            Some(run) => match runs::window(desk, &run, &back)? {
                Some(opens) => Ok(Asked::Later(declined, opens)),
                None => Err(declined),
            },
            None => Err(declined),
        }
    })
}

/// The run that was asked for, while it is in force.
fn committed(desk: &Desk, wanted: &str) -> Option<RunRecord> {
    let history = desk.history().ok()?;
    let run = runs::wanted(&history, wanted).ok()?;
    run.filter(|run| run.state == RunState::Committed).cloned()
}

/// Until it may be put back, somebody has enough of it, or the time is up.
fn wait(
    common: &Common,
    args: &Args,
    host: &Linux,
    (declined, opens): (Declined, Timestamp),
    ends_ns: u64,
) -> Result<(), Declined> {
    let wishes = Wishes::take(None)
        .map_err(|e| Declined::new(Exit::Failed, "signals", format!("take over signals: {e}")))?;
    let alarm = format!(
        "run {} is STILL IN FORCE and waits to be put back, until {opens} if nothing changes: {}",
        args.run, declined.why
    );
    let began = host.now().mono_ns;
    let (mut next_alarm, mut next_ask) = (began, began.saturating_add(ns(ASK_EVERY)));
    loop {
        let now = host.now();
        if let Some(stopped) = wishes.stop() {
            return Err(Declined { why: format!("{stopped}; {alarm}"), ..declined });
        }
        if now.mono_ns >= ends_ns {
            let why = format!("--wait-window is over; {alarm}");
            return Err(Declined { why, ..declined });
        }
        if now.mono_ns >= next_alarm {
            out::painted("31;1", "ALARM", &format!("   {alarm}"));
            next_alarm = now.mono_ns.saturating_add(ns(ALARM_EVERY));
        }
        let due = i128::from(now.utc_ns) >= opens.as_nanosecond();
        if due || (now.mono_ns >= next_ask && allowed(common, args, host)) {
            return Ok(());
        }
        if now.mono_ns >= next_ask {
            next_ask = now.mono_ns.saturating_add(ns(ASK_EVERY));
        }
        host.wait(LOOK_EVERY);
    }
}

/// Whether it may be put back by now; nothing is logged. Not where another run is at work.
fn allowed(common: &Common, args: &Args, host: &Linux) -> bool {
    let Ok(disk) = place::writer(common, Duration::ZERO) else { return false };
    let asked = at_desk(common, host, &disk, |desk| match committed(desk, &args.run) {
        Some(run) => runs::may(desk, &run, &back(args, desk)),
        // Somebody else put it back: to be told by asking.
        None => Ok(true),
    });
    asked.unwrap_or(false)
}
