//! `campaign RUN`: the triple verification after a commit.

use std::{path::Path, time::Duration};

use playbooks::playbook::Pattern;

use super::{
    Common, Done, after,
    apply::{at_desk, duration},
    out, place,
    runs::RunView,
    watch::probe_of,
};
use crate::{
    campaign::{self, Order, Outcome, Trouble},
    host::Host,
    log::History,
    probation::Terms,
    runs::{Declined, Exit},
    store::Store,
    verdict::Call,
};

const MEMORY_MIN: u64 = 16 << 20;
const MEMORY_MAX: u64 = 4 << 30;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Loads this host and its peer on purpose. It reverts nothing: exits 0 when \
everything kept, 3 when something broke or nothing could be concluded on it, 4 when it is not allowed."
)]
pub(super) struct Args {
    /// A committed run: its id, a unique prefix of one, or `last`.
    pub run: String,
    /// Traffic patterns, in order: calm, open-burst, close-burst, microburst, replay:FILE.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = pattern)]
    #[arg(default_value = "calm,open-burst,close-burst,microburst")]
    pub patterns: Vec<Pattern>,
    /// Faults, in order: memory, irq, cpu, burst.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = fault)]
    #[arg(default_value = "memory,irq,cpu,burst")]
    pub faults: Vec<Trouble>,
    /// How long in all; endurance gets what patterns and faults leave.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Duration,
    /// No trading is on: without this a campaign is refused.
    #[arg(long)]
    pub outside_trading: bool,
    /// The reflector to measure against; the run's own when left out.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub peer: Option<String>,
    /// What the memory fault may take: 16MiB to 4GiB, and no more than a quarter of what is available.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "64MiB")]
    pub memory: u64,
    /// Wait this long for another run to end.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub wait: Duration,
}

fn pattern(text: &str) -> Result<Pattern, String> {
    let known = [Pattern::Calm, Pattern::OpenBurst, Pattern::CloseBurst, Pattern::Microburst];
    if let Some(pattern) = known.into_iter().find(|known| campaign::word(known) == text) {
        return Ok(pattern);
    }
    match text.strip_prefix("replay:") {
        Some(file) if !file.is_empty() => Ok(Pattern::Replay(file.to_owned())),
        Some(_) | None => {
            Err("one of calm, open-burst, close-burst, microburst, replay:FILE".to_owned())
        }
    }
}

fn fault(text: &str) -> Result<Trouble, String> {
    let known = Trouble::ALL.into_iter().find(|known| known.word() == text);
    known.ok_or_else(|| "one of memory, irq, cpu, burst".to_owned())
}

/// `64MiB`, `1GiB`.
fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let found = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let bytes =
        found.and_then(|(digits, shift)| digits.parse::<u64>().ok()?.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if (MEMORY_MIN..=MEMORY_MAX).contains(&bytes) => Ok(bytes),
        Some(_) => Err("between 16MiB and 4GiB".to_owned()),
        None => Err("a whole number and KiB, MiB or GiB".to_owned()),
    }
}

pub(super) fn run(common: &Common, args: &Args) -> Done {
    // What is asked for is looked at before whether it is allowed.
    let store = place::reader(common)?;
    let terms = Terms::read(&store, &History::fold(&store.entries()?)?, &args.run)?;
    let Some(peer) = args.peer.clone().or(terms.run.peer.clone()) else {
        let why = "the run names no peer to measure against: --peer HOST";
        return Err(Declined::new(Exit::Wrong, "peer", why));
    };
    if !args.outside_trading {
        let why = "a campaign loads and disturbs this host on purpose, and whether trading is on is \
                   not known here; `--outside-trading` says that it is not";
        return Err(Declined::new(Exit::Refused, "outside-trading", why));
    }
    let host = place::machine()?;
    roomy(&host, args.memory)?;
    let mut probe = probe_of(&host, &terms, &peer)?;
    let order = Order {
        patterns: once(&args.patterns),
        faults: once(&args.faults),
        length: args.length,
        memory_bytes: args.memory,
        peer,
    };
    let disk = place::writer(common, args.wait)?;
    disk.holds(&terms.run.id);
    let outcome = at_desk(common, &host, &disk, |desk| {
        // Another campaign may have come between.
        let terms = Terms::read(desk.store, &desk.history()?, &terms.run.id)?;
        campaign::campaign(desk, &terms, &order, &mut probe)
    })?;
    show(common, &outcome);
    Ok(outcome.exit)
}

/// Each thing once, in the order asked.
fn once<T: Clone + PartialEq>(asked: &[T]) -> Vec<T> {
    let first = |(nth, thing): &(usize, &T)| !asked[..*nth].contains(thing);
    asked.iter().enumerate().filter(first).map(|(_, thing)| thing.clone()).collect()
}

/// The machine must not feel the memory fault.
fn roomy(host: &dyn Host, bytes: u64) -> Result<(), Declined> {
    let text = host.read(Path::new("/proc/meminfo"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 = line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    let available = kib.saturating_mul(1024);
    if bytes > available / 4 {
        let why = format!(
            "--memory: {} MiB is more than a quarter of the {} MiB available",
            bytes >> 20,
            available >> 20
        );
        return Err(Declined::new(Exit::Wrong, "memory", why));
    }
    Ok(())
}

fn show(common: &Common, outcome: &Outcome) {
    let record = &outcome.record;
    let campaign = record.campaigns.last();
    if common.json {
        out::json(&serde_json::json!({
            "call": outcome.call,
            "why": outcome.why,
            "campaign": campaign,
            "run": RunView::of(record),
        }));
        return;
    }
    out::line(&format!("{}: {}", after::called(outcome.call), outcome.why));
    for tried in campaign.iter().flat_map(|campaign| &campaign.judged) {
        out::line(&format!("  {}", after::item(tried)));
    }
    if outcome.call == Call::Revert {
        let id = &record.id;
        out::line(&format!("nothing was reverted: `nicmend revert {id}` does, if you agree"));
    }
}
