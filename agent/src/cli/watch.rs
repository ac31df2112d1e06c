//! `watch RUN`: probation by hand.

use std::{
    cell::Cell,
    fs::{File, TryLockError},
    time::Duration,
};

use playbooks::playbook::Probation;

use super::{
    Common, Done, after, apply::duration, deeds, law, out, place, runs::RunView, signals::Wishes,
    site,
};
use crate::{
    engine::{Telling, hands},
    host::{Host, linux::Linux},
    log::{History, RunRecord, after::Ending},
    measure::{
        Reachable,
        peer::Peer,
        probe::{Options, Probe},
        recording::Recording,
        sockets::Way,
    },
    probation::{self, Order, Outcome, Post, Terms},
    runs::{Declined, Desk, Exit},
    store::{Store, disk::Disk},
};

/// How often a held lock is tried again.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits 0 when the run has held (or watching was stopped: the time watched so \
far counts), 3 when it regressed and was reverted, 4 when it is not in force any more, or regressed \
while the host is frozen, 1 when nothing could be concluded."
)]
pub(super) struct Args {
    /// A committed run: its id, a unique prefix of one, or `last`.
    pub run: String,
    /// How long in all; what was watched before and not to the end counts. The playbook's
    /// `probation` when left out.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Option<Duration>,
    /// The reflector to measure against; the run's own when left out.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub peer: Option<String>,
}

pub(super) fn run(common: &Common, args: &Args) -> Done {
    let store = place::reader(common)?;
    let terms = Terms::read(&store, &History::fold(&store.entries()?)?, &args.run)?;
    let order = order(args, &terms)?;
    let _only = only_watch(common, &terms.run.id)?;
    let host = place::machine()?;
    let mut probe = probe_of(&host, &terms, &order.peer)?;
    let wishes = Wishes::take(None)
        .map_err(|e| Declined::new(Exit::Failed, "signals", format!("take over signals: {e}")))?;
    let stop = || wishes.stop();
    let claim = |wait: Duration, act: &mut dyn FnMut(&Desk) -> Result<(), Declined>| {
        let disk = lock(common, &host, wait, &stop)?;
        at_desk(common, &host, &disk, act)
    };
    let post = Post { host: &host, store: &store, claim: &claim, stop: &stop, tell: &place::tell };
    let nic = terms.run.nic_name.clone();
    let mut recording = Recording::beside(&mut probe, &host, &nic, &terms.playbook);
    let outcome = probation::watch(&post, &terms, &order, &mut recording)?;
    show(common, &outcome);
    Ok(outcome.exit)
}

fn order(args: &Args, terms: &Terms) -> Result<Order, Declined> {
    let wrong = |rule: &str, why: String| Declined::new(Exit::Wrong, rule, why);
    let asked = terms.playbook.probation.as_ref();
    let Some(length) = args.length.or(asked.map(|probation| probation.length)) else {
        let why = format!(
            "playbook {} has no probation: `--for DURATION` says how long to watch",
            terms.run.playbook
        );
        return Err(wrong("probation", why));
    };
    if length < Duration::from_secs(1) {
        return Err(wrong("usage", "--for: at least 1s".to_owned()));
    }
    let Some(peer) = args.peer.clone().or(terms.run.peer.clone()) else {
        return Err(wrong("peer", "the run names no peer to measure against: --peer HOST".into()));
    };
    let rate = asked.map_or(Probation::RATE, |probation| probation.rate);
    Ok(Order { length, rate, peer })
}

/// Through the NIC of the run, under whatever name it has now.
pub(super) fn probe_of<'h>(
    host: &'h Linux,
    terms: &Terms,
    peer: &str,
) -> Result<Probe<'h>, Declined> {
    let run = &terms.run;
    let nic = hands::by_id(host, &run.nic).ok_or_else(|| {
        let why = format!("{} ({}) is not in this network namespace", run.nic_name, run.nic);
        Declined::new(Exit::Failed, "nic", why)
    })?;
    let peer: Peer = peer.parse().map_err(|fault: crate::fault::Fault| {
        Declined::new(Exit::Wrong, "peer", fault.to_string())
    })?;
    let way = Way { nic: Some(nic.name), source: None };
    let options = Options::new(way, terms.playbook.verify.transport);
    Ok(Probe::open(host, &peer, options)?)
}

/// The writer's lock, waited for until the operator has enough of it.
/// One watch a run: two would tell the log two stories. The lock goes with the process.
fn only_watch(common: &Common, run: &str) -> Result<File, Declined> {
    let path = common.run_dir.join(format!("watch-{run}"));
    let failed = |e: std::io::Error| {
        Declined::new(Exit::Failed, "run-dir", format!("lock {}: {e}", path.display()))
    };
    std::fs::create_dir_all(&common.run_dir).map_err(failed)?;
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let why = format!("run {run} is being watched already; one watch is enough");
            Err(Declined::new(Exit::Refused, "one-watch", why))
        }
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

fn lock(
    common: &Common,
    host: &dyn Host,
    wait: Duration,
    stop: &dyn Fn() -> Option<String>,
) -> Result<Disk, Declined> {
    let told = Cell::new(false);
    let mut left = wait;
    loop {
        match common.open_to_write() {
            Err(fault) if fault.kind == crate::fault::Kind::Busy => {
                if left.is_zero() || stop().is_some() {
                    return Err(Declined::new(Exit::Refused, "one-writer", fault.to_string()));
                }
                if !told.replace(true) {
                    out::remark(&format!("note      waiting for the writer's lock: {fault}"));
                }
                host.wait(PAUSE.min(left));
                left = left.saturating_sub(PAUSE);
            }
            opened => return Ok(opened?),
        }
    }
}

/// Acts under the lock. What a crash left is finished first; nothing stops what is put back here.
fn at_desk(
    common: &Common,
    host: &dyn Host,
    disk: &Disk,
    act: &mut dyn FnMut(&Desk) -> Result<(), Declined>,
) -> Result<(), Declined> {
    let (stop, tell) = (|| None, |telling: &Telling| place::tell(telling));
    let (epoch, uid) = (disk.epoch()?, nix::unistd::getuid().as_raw());
    let law = law::read(common).under(site::adopt(common));
    let reach = Reachable { host };
    let desk =
        Desk { host, store: disk, epoch, uid, law: &law, stop: &stop, tell: &tell, reach: &reach };
    place::opened(&desk, disk)?;
    let result = act(&desk);
    deeds::take_up(&desk, disk);
    result
}

fn show(common: &Common, outcome: &Outcome) {
    let record: &RunRecord = &outcome.record;
    if common.json {
        out::json(&serde_json::json!({
            "ending": outcome.ending,
            "why": outcome.why,
            "run": RunView::of(record),
        }));
        return;
    }
    out::line(&format!("{}: {}", after::ended(outcome.ending), outcome.why));
    if outcome.ending == Ending::Stopped {
        let id = &record.id;
        out::line(&format!(
            "probation is not over: `nicmend watch {id}` goes on where this watch ended"
        ));
    }
    super::runs::print(record);
}
