//! Probation: a committed run is watched on, and put back when it regresses.
//!
//! Two comparisons take turns. A **check** is a window like the run's own (its patterns, rate, length)
//! held against the run's first baseline. Between checks packets are sent **steadily** at the
//! probation's own rate, and held against a reference that the watch takes of the committed state when
//! it begins: packets 100 ms apart meet sleeping CPUs and other moderation than packets 1 ms apart, and
//! would be "worse" than the baseline from the first minute on. What the verdict found the change to
//! have won is allowed to be lost again before the reference counts as worse than the baseline. Checks
//! come so often that they send about as many packets as the steady rate does.
//!
//! Both are watched by bets that are valid however long they run (`verdict::sequential`); counters are
//! held against their bounds window by window.
//!
//! A reflector that falls silent is no regression: a run in flight is reverted when its data is
//! missing, because its change has proved nothing yet; a committed change has, and a dead reflector
//! must not undo good tuning. The watch waits for replies a bounded time and ends inconclusive.
//!
//! The writer's lock is only taken to write facts and to revert, so that other runs are not kept out
//! for days. While another run is at work nothing is believed; when it has changed this NIC, the watch
//! ends.

pub(crate) mod around;
mod close;
mod terms;
pub(crate) mod vigil;
mod waiting;
mod watch;

use std::time::Duration;

use self::{around::Around, close::Closed, watch::Watch};
use crate::{
    engine::{Telling, gather},
    host::Host,
    log::{Fact, History, RunRecord},
    measure::Meter,
    runs::{Declined, Desk, Exit},
    store::Store,
};

pub use close::Outcome;
pub use terms::Terms;

/// Takes the writer's lock, at most so long in waiting, and acts under it.
pub type Claim<'a> =
    dyn Fn(Duration, &mut dyn FnMut(&Desk) -> Result<(), Declined>) -> Result<(), Declined> + 'a;

/// What a watch works with. It holds no lock.
pub struct Post<'a> {
    pub host: &'a dyn Host,
    /// For reading, and for evidence, which needs no lock.
    pub store: &'a dyn Store,
    pub claim: &'a Claim<'a>,
    pub stop: &'a dyn Fn() -> Option<String>,
    pub tell: &'a dyn Fn(&Telling),
}

/// How long to watch, and how densely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub length: Duration,
    /// Packets a second between checks.
    pub rate: u32,
    pub peer: String,
}

/// Watches a committed run for the time that is left of its probation; reverts it on regression.
///
/// # Errors
/// The run is not in force any more (4), or is another network namespace's (1); the log cannot be
/// written (1); it regressed and could not be reverted (1).
pub fn watch(
    post: &Post,
    terms: &Terms,
    order: &Order,
    meter: &mut dyn Meter,
) -> Result<Outcome, Declined> {
    let around = in_force(post.host, post.store, &terms.run)?;
    let length_ns = nanoseconds(order.length);
    let earlier = terms.run.probation.as_ref();
    let carried_ns = earlier.map_or(0, |p| p.carried_ns()).min(length_ns);
    let began = Fact::ProbationBegan {
        for_ns: length_ns,
        rate: order.rate,
        peer: order.peer.clone(),
        watched_ns: carried_ns,
    };
    close::say(post, &terms.run.id, vec![began])?;
    let mut watch = Watch::new(post, terms, order, around, carried_ns);
    for _ in 0..STALE_MAX {
        let ended = watch.drive(meter);
        let (so_far, last) = (watch.so_far(), watch.last.take());
        let close = close::Close { ended, so_far, last, around: &mut watch.around };
        match close::close(post, terms, meter, close)? {
            Closed::Over(outcome) => return Ok(*outcome),
            Closed::Stale(why) => watch.look_again(&why),
        }
    }
    let why = format!(
        "run {} regressed {STALE_MAX} times, and each time others were at work before it could be \
         reverted; it is STILL IN FORCE: `nicmend revert {}`",
        terms.run.id, terms.run.id
    );
    Err(Declined::new(Exit::Failed, "stale", why))
}

/// How often a regression may be looked at again because others were at work before it was reverted.
const STALE_MAX: u32 = 5;

/// Refuses where what the run left is not what is there.
pub(crate) fn in_force<'a>(
    host: &'a dyn Host,
    store: &'a dyn Store,
    run: &'a RunRecord,
) -> Result<Around<'a>, Declined> {
    let here = gather::netns(host);
    if here != run.netns {
        let words = format!(
            "run {} changed network namespace {}, this is {here}; it is there (`ip netns exec`)",
            run.id, run.netns
        );
        return Err(Declined::new(Exit::Failed, "netns", words));
    }
    let history = History::fold(&store.entries()?)?;
    if let Some((name, owner)) = around::taken_over(&history, run) {
        let why = format!("the later run {owner} has taken {name} over; watch that one");
        return Err(Declined::new(Exit::Refused, "owner", why));
    }
    let around = Around::new(host, store, run)?;
    if let Some(first) = around.foreign().first() {
        let why = format!(
            "run {} is not in force any more: it left {} at {}, and that is {}; apply it again",
            run.id, first.name, first.expected, first.found
        );
        return Err(Declined::new(Exit::Refused, "not-in-force", why));
    }
    Ok(around)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
