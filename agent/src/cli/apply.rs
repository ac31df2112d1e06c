//! `apply`, `recover`: the commands that write.

use std::time::Duration;

use playbooks::playbook::Transport;

use super::{
    Common, Done, accepted::Accepted, deeds, law, out, place, runs::RunView, signals::Wishes, site,
};
use crate::{
    engine::Telling,
    host::{Host, nic},
    law::Law,
    log::{RunRecord, RunState},
    measure::{
        Meter, Reachable,
        peer::Peer,
        probe::{Dead, Options, Probe, Second, confirm_dead},
        recording::Recording,
        sockets::Way,
    },
    plan::Plan,
    runs::{self, Apply, Declined, Desk, Exit, Meters, Outcome},
    store::{Store, disk::Disk},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A shipped or site playbook by name, or a file.
    #[arg(required_unless_present = "plan", conflicts_with = "plan")]
    pub playbook: Option<String>,
    /// The digest of a stored plan (`nicmend plan` prints it).
    #[arg(long, value_name = "DIGEST")]
    pub plan: Option<String>,
    /// The network interface.
    #[arg(long, value_name = "IF", required_unless_present = "plan")]
    pub nic: Option<String>,
    /// The reflector to measure against; port 862 unless given.
    #[arg(long, value_name = "HOST[:PORT]", required_unless_present = "plan")]
    pub peer: Option<String>,
    /// The reflector for the playbook's control NIC, where --peer cannot be reached by it.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub control_peer: Option<String>,
    /// A second reflector, asked when the first falls silent: tells a dead peer from a dead NIC.
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "second_nic")]
    pub second_peer: Option<String>,
    /// Another NIC by which a silent peer is asked once more, for the same end.
    #[arg(long, value_name = "IF")]
    pub second_nic: Option<String>,
    #[command(flatten)]
    pub accepted: Accepted,
    /// Flash firmware even where no image of the running version is stored: there is no way back then.
    #[arg(long)]
    pub no_way_back: bool,
    /// Run even though the baseline meets the objective already.
    #[arg(long)]
    pub force: bool,
    /// Act alone, without the approvals that are wanted, for this reason: loud, logged, and to be
    /// countersigned.
    #[arg(long, value_name = "WHY", value_parser = reason)]
    pub break_glass: Option<String>,
    /// Wait this long for another run to end.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub wait: Duration,
}

#[derive(Debug, clap::Args)]
pub(super) struct RecoverArgs {
    /// Wait this long for whoever holds the state directory.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub wait: Duration,
}

/// A reason that will stand in the log: one line that says something.
pub(super) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) || text.chars().count() > 512 {
        return Err("a reason in one line, at most 512 characters".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    playbooks::parse::duration(text)
}

pub(super) fn run(common: &Common, args: &Args) -> Done {
    let request = request(common, args)?;
    let host = place::machine()?;
    // A NIC that is not there is a wrong request, and no reason to make a state directory.
    nic::find(&host, &request.nic)
        .map_err(|fault| Declined::new(Exit::Wrong, "nic", fault.to_string()))?;
    let Some(peer) = request.peer.clone() else {
        return Err(Declined::new(Exit::Wrong, "peer", "no peer to measure against: --peer HOST"));
    };
    let disk = place::writer(common, args.wait)?;
    let mut probe = probe_of(&host, &request, &request.nic, &peer)?;
    let mut control = match &request.playbook.verify.control {
        None if request.control_peer.is_some() => {
            let why = "--control-peer, but the playbook names no `control` under `verify`";
            return Err(Declined::new(Exit::Wrong, "usage", why));
        }
        None => None,
        Some(nic) => {
            let peer = request.control_peer.as_deref().unwrap_or(&peer);
            Some(probe_of(&host, &request, nic, peer)?)
        }
    };
    let mut standby = match &request.standby {
        None => None,
        Some(path) => {
            nic::find(&host, &path.nic)
                .map_err(|fault| Declined::new(Exit::Wrong, "standby", fault.to_string()))?;
            let peer = path.peer.as_deref().unwrap_or(&peer);
            Some(probe_of(&host, &request, &path.nic, peer)?)
        }
    };
    let mut recording = Recording::beside(&mut probe, &host, &request.nic, &request.playbook);
    let control = control.as_mut().map(|probe| probe as &mut dyn Meter);
    let standby = standby.as_mut().map(|probe| probe as &mut dyn Meter);
    let meters = Meters { nic: &mut recording, control, standby };
    let second = second_path(args)?;
    let outcome = at_desk(common, &host, &disk, |desk| runs::apply(desk, &request, meters))?;
    if let Outcome::Ran(record) = &outcome
        && fell_silent(record)
    {
        out::remark(&format!("peer      {}", whose_fault(&request, &peer, second.as_ref())));
        out::remark(&format!("peer      {}", place::REFLECTOR));
    }
    let exit = show(common, &outcome)?;
    if let Outcome::Ran(record) = &outcome
        && record.state == RunState::Committed
        && request.playbook.probation.is_some()
    {
        out::remark(&format!("next      `nicmend watch {}` for its probation", record.id));
    }
    Ok(exit)
}

fn second_path(args: &Args) -> Result<Option<Second>, Declined> {
    let wrong = |fault: crate::fault::Fault| Declined::new(Exit::Wrong, "peer", fault.to_string());
    Ok(match (&args.second_peer, &args.second_nic) {
        (Some(peer), _) => Some(Second::Peer(peer.parse().map_err(wrong)?)),
        (None, Some(nic)) => Some(Second::Nic(Way { nic: Some(nic.clone()), source: None })),
        (None, None) => None,
    })
}

/// Whether the run ended because nothing came back.
fn fell_silent(record: &RunRecord) -> bool {
    let gone = record.why.contains("answer") || record.why.contains("repl");
    // A figure from outside that did not come is not the peer's silence.
    let beside = ["read external.", "record external.", "record tcp."];
    let beside = beside.iter().any(|act| record.why.starts_with(act));
    match record.state {
        RunState::Refused => !beside && matches!(record.rule.as_str(), "settle" | "baseline"),
        RunState::Reverted | RunState::Stuck => gone,
        RunState::Committed | RunState::Running => false,
    }
}

/// Before the NIC is blamed, the peer is asked by its own path.
fn whose_fault(request: &Apply, peer: &str, second: Option<&Second>) -> String {
    let way = Way { nic: Some(request.nic.clone()), source: None };
    let options = Options::new(way, request.playbook.verify.transport);
    let asked =
        peer.parse::<Peer>().and_then(|peer| confirm_dead(&peer, &options, second, SILENCE_MAX));
    match asked {
        Ok(Dead::Nobody(words) | Dead::Peer(words) | Dead::Nic(words) | Dead::Unknown(words)) => {
            words
        }
        Err(fault) => fault.to_string(),
    }
}

/// How long a silent peer is asked once more, by each path.
const SILENCE_MAX: Duration = Duration::from_secs(2);

pub(super) fn recover(common: &Common, args: &RecoverArgs) -> Done {
    let host = place::machine()?;
    let disk = place::rescuer(common, args.wait)?;
    // Nothing of the site's is read for it, and no word of the log's is waited for: the machine comes first.
    let law = Law::shipped(nix::unistd::getuid().as_raw());
    let records = by_desk(common, &host, &disk, &law, |desk| {
        if let Err(declined) = place::opened(desk, &disk) {
            out::remark(&format!("WARNING   {declined}; what is put back may not be in the log"));
        }
        runs::recover(desk)
    })?;
    if common.json {
        out::json(&records.iter().map(RunView::of).collect::<Vec<_>>());
    } else if records.is_empty() {
        out::line("nothing to recover: no run is unfinished");
    } else {
        records.iter().for_each(super::runs::print);
    }
    let stuck = records.iter().any(|record| runs::exit_of(record) == Exit::Stuck);
    Ok(if stuck { Exit::Stuck } else { Exit::Done })
}

/// Runs `act` with the machine, the disk and the signals in place.
pub(super) fn at_desk<T>(
    common: &Common,
    host: &dyn Host,
    disk: &Disk,
    act: impl FnOnce(&Desk) -> Result<T, Declined>,
) -> Result<T, Declined> {
    let catalog = site::adopt(common);
    let law = law::read(common).under(catalog);
    by_desk(common, host, disk, &law, |desk| {
        place::opened(desk, disk)?;
        let done = act(desk);
        // A countersignature that waited meanwhile comes before the question whether there was one.
        deeds::take_up(desk, disk);
        // No reason to refuse anything, nor to wait before it.
        if let Err(fault) = runs::lapsed(desk) {
            let what = "who was countersigned in time could not be looked up";
            out::remark(&format!("note      {what}: {fault}"));
        }
        done
    })
}

fn by_desk<T>(
    common: &Common,
    host: &dyn Host,
    disk: &Disk,
    law: &Law,
    act: impl FnOnce(&Desk) -> Result<T, Declined>,
) -> Result<T, Declined> {
    let abort = place::abort_file(common, std::process::id());
    // What another process of this pid was asked is not for us.
    let _ = std::fs::remove_file(&abort);
    let wishes = Wishes::take(Some(abort.clone()))
        .map_err(|e| Declined::new(Exit::Failed, "signals", format!("take over signals: {e}")))?;
    let stop = || wishes.stop();
    let tell = |telling: &Telling| {
        if let Telling::Begun { run } = telling {
            // Whoever is refused meanwhile is told by which run.
            disk.holds(run);
            wishes.drives(run);
        }
        place::tell(telling);
    };
    let desk = Desk {
        host,
        store: disk,
        epoch: disk.epoch()?,
        uid: nix::unistd::getuid().as_raw(),
        law,
        stop: &stop,
        tell: &tell,
        reach: &Reachable { host },
    };
    let result = act(&desk);
    deeds::take_up(&desk, disk);
    let _ = std::fs::remove_file(abort);
    result
}

/// A probe of the run: through the NIC under test, so that what is measured is what is changed, or
/// through its control.
pub(super) fn probe_of<'h>(
    host: &'h dyn Host,
    request: &Apply,
    nic: &str,
    peer: &str,
) -> Result<Probe<'h>, Declined> {
    probe_by(host, request.playbook.verify.transport, nic, peer)
}

/// A probe through this NIC.
pub(super) fn probe_by<'h>(
    host: &'h dyn Host,
    transport: Transport,
    nic: &str,
    peer: &str,
) -> Result<Probe<'h>, Declined> {
    let wrong = |fault: crate::fault::Fault| Declined::new(Exit::Wrong, "peer", fault.to_string());
    let peer: Peer = peer.parse().map_err(wrong)?;
    let way = Way { nic: Some(nic.to_owned()), source: None };
    Ok(Probe::open(host, &peer, Options::new(way, transport))?)
}

/// The request, with what the operator takes upon himself.
fn request(common: &Common, args: &Args) -> Result<Apply, Declined> {
    let firmware = super::firmware::offer(common, args.no_way_back.into())?;
    let (overridden, known) = args.accepted.overrides();
    let hazards = super::plan::hazards(common, &known)?;
    let wanted = wanted(common, args)?;
    Ok(Apply {
        allow_management: args.accepted.allow_management,
        force: args.force,
        overridden,
        standby: args.accepted.standby(),
        break_glass: args.break_glass.clone(),
        session: place::session(),
        hazards,
        firmware,
        ..wanted
    })
}

/// What is to be run, on which NIC: from a playbook or from a stored plan.
fn wanted(common: &Common, args: &Args) -> Result<Apply, Declined> {
    if let Some(wanted) = &args.plan {
        let (digest, plan) = super::plan::stored(common, wanted)?;
        same_peer(args, &plan)?;
        let peer = args.peer.clone().or(plan.peer);
        let control_peer = args.control_peer.clone().or(plan.control_peer);
        let plain = Apply::plain(plan.playbook, &plan.nic_name, peer);
        return Ok(Apply { control_peer, digest: Some(digest), ..plain });
    }
    let (Some(playbook), Some(nic)) = (&args.playbook, &args.nic) else {
        return Err(Declined::new(Exit::Wrong, "usage", "a playbook and --nic are needed"));
    };
    let plain = Apply::plain(place::playbook(common, playbook)?, nic, args.peer.clone());
    Ok(Apply { control_peer: args.control_peer.clone(), ..plain })
}

/// The peer is part of a plan: another one, or one where the plan has none, makes another plan.
fn same_peer(args: &Args, plan: &Plan) -> Result<(), Declined> {
    let why = match (&plan.peer, &args.peer) {
        (None, _) => "the plan names no peer to measure against: plan again with --peer".to_owned(),
        (Some(of), Some(given)) if of != given => {
            format!("the plan is to be measured against {of}: leave --peer out, or plan again")
        }
        (Some(_), Some(_) | None) => return Ok(()),
    };
    Err(Declined::new(Exit::Wrong, "peer", why))
}

/// Says what came of it, and which exit code that is.
pub(super) fn show(common: &Common, outcome: &Outcome) -> Done {
    match outcome {
        Outcome::AlreadyRight(plan) => {
            if common.json {
                out::json(&serde_json::json!({
                    "state": "committed",
                    "id": null,
                    "playbook": format!("{} {}", plan.playbook.name, plan.playbook.version),
                    "nic": plan.nic_name,
                    "started": null,
                    "why": "everything is right already: nothing was written",
                }));
            } else {
                out::line("everything is right already: nothing was written");
            }
            Ok(Exit::Done)
        }
        Outcome::Ran(record) => {
            super::runs::show_one(common, record);
            Ok(runs::exit_of(record))
        }
    }
}
