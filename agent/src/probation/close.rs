//! How a watch ends: what is said in the log, and on regression the way back and a look at what it
//! brought.

use std::{sync::Arc, time::Duration};

use playbooks::Metric;

use super::{
    Post, Terms,
    around::{Around, Found},
    waiting,
    watch::{Compared, Ended, SoFar},
};
use crate::{
    engine::{Telling, evidence},
    fault::Result as Faulty,
    log::{
        Fact, History, RunRecord, RunState,
        after::{Ending, Finding},
        fact::portions,
    },
    measure::{Meter, Window},
    runs::{self, Declined, Desk, Exit},
    verdict::{Call, Case, Outcome as Judgement, Verdict},
};

/// How long the lock is waited for to say something in the log.
const SAY_WAIT: Duration = Duration::from_secs(600);
/// How long a revert waits for a run that holds the lock.
const REVERT_WAIT: Duration = Duration::from_secs(3600);
/// What was seen longer ago than two windows, and than this, is looked at again before it counts.
const FRESH: Duration = Duration::from_secs(5);
/// As many storm periods must have passed as a window would have to hold.
const STORM_PERIODS: u32 = 3;
/// What is measured after a revert is no longer than this.
const AFTER_MAX: Duration = Duration::from_secs(60);

/// What a watch came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub ending: Ending,
    pub why: String,
    pub exit: Exit,
    /// The run as the log tells it now.
    pub record: RunRecord,
}

/// A watch that is over.
pub(super) struct Close<'c, 'a> {
    pub(super) around: &'c mut Around<'a>,
    pub(super) ended: Ended,
    pub(super) so_far: SoFar,
    pub(super) last: Option<Compared>,
}

/// Whether the watch is over.
pub(super) enum Closed {
    Over(Box<Outcome>),
    /// Others were at work between the regression and its revert: to be measured again.
    Stale(String),
}

/// What became of a run that regressed.
enum Fate {
    Stale(String),
    Overtaken(String),
    Reverted(Box<RunRecord>),
    /// Somebody else put it back meanwhile.
    NotOurs(Box<RunRecord>),
    /// A guard or a policy has it wait.
    Waits(String),
    Frozen(String),
}

/// Says facts about the run under the writer's lock, durably.
pub(super) fn say(post: &Post, run: &str, facts: Vec<Fact>) -> Result<(), Declined> {
    (post.claim)(SAY_WAIT, &mut |desk| {
        desk.say(Some(run), facts.clone())?;
        Ok(desk.store.sync()?)
    })
}

/// Records the end of a watch; reverts what regressed, and measures what that has brought.
pub(super) fn close(
    post: &Post,
    terms: &Terms,
    meter: &mut dyn Meter,
    close: Close<'_, '_>,
) -> Result<Closed, Declined> {
    let Close { around, ended, so_far, last } = close;
    let number = terms.run.probation.as_ref().map_or(0, |p| p.watches) + 1;
    let point = format!("probation-{number}");
    let evidence = last.and_then(|last| kept(post, terms, &point, last));
    let fact = Fact::ProbationEnded {
        ending: ended.ending,
        why: ended.why.clone(),
        open: still_open(terms, so_far.watched_ns),
        watched_ns: so_far.watched_ns,
        samples: so_far.samples,
        evidence,
    };
    let exit = match ended.ending {
        Ending::Held | Ending::Stopped => Exit::Done,
        Ending::Inconclusive | Ending::Overtaken => Exit::Failed,
        Ending::Regressed => {
            return regressed(post, terms, meter, &point, (fact, ended, around));
        }
    };
    let named = portions(ended.foreign).into_iter().map(|changes| Fact::ForeignChange { changes });
    let facts = named.chain([fact]).collect();
    match say(post, &terms.run.id, facts) {
        // Whoever stops the watch does not wait for another run's lock.
        Err(declined) if ended.ending == Ending::Stopped => {
            let words = format!("the log does not know how far this watch came: {declined}");
            (post.tell)(&Telling::Note(words));
        }
        said => said?,
    }
    let record = record(post, terms)?;
    let outcome = Outcome { ending: ended.ending, why: ended.why, exit, record };
    Ok(Closed::Over(Box::new(outcome)))
}

/// A commit that waits for storms is not settled by a watch that is too short to meet them.
fn still_open(terms: &Terms, watched_ns: u64) -> Option<String> {
    let period = terms.playbook.verify.storm_period.filter(|_| terms.run.provisional.is_some())?;
    let needed = period * STORM_PERIODS;
    let watched = Duration::from_nanos(watched_ns);
    (watched < needed).then(|| {
        format!(
            "storms come every {:.0} s: {:.0} s of probation are needed, {:.0} s were watched",
            period.as_secs_f64(),
            needed.as_secs_f64(),
            watched.as_secs_f64()
        )
    })
}

fn regressed(
    post: &Post,
    terms: &Terms,
    meter: &mut dyn Meter,
    point: &str,
    (fact, ended, around): (Fact, Ended, &mut Around<'_>),
) -> Result<Closed, Declined> {
    let (id, why) = (&terms.run.id, format!("probation: {}", ended.why));
    let mut fate = None;
    let seen_ns = post.host.now().mono_ns;
    let claimed = (post.claim)(REVERT_WAIT, &mut |desk| {
        let now = desk.history()?;
        let run = now.find(id).map_err(|why| Declined::new(Exit::Failed, "run", why))?;
        if run.state != RunState::Committed {
            fate = Some(Fate::NotOurs(Box::new(run.clone())));
            return Ok(());
        }
        let waited = Duration::from_nanos(post.host.now().mono_ns.saturating_sub(seen_ns));
        fate = out_of_date(desk, terms, around, (&fact, waited))?;
        if fate.is_some() {
            return Ok(());
        }
        if let Some(frozen) = desk.store.get("frozen")? {
            let _ = desk.say(Some(id), vec![fact.clone()]);
            fate = Some(Fate::Frozen(String::from_utf8_lossy(&frozen).trim().to_owned()));
            return Ok(desk.store.sync()?);
        }
        let back = waiting::back(&why);
        if !runs::may(desk, run, &back)? {
            let refused = runs::permit(desk, run, &back, None).err();
            fate = Some(Fate::Waits(refused.map_or_else(String::new, |declined| declined.why)));
            return Ok(());
        }
        // The machine comes first: a disk that cannot take this must not keep it from being put back.
        let _ = desk.say(Some(id), vec![fact.clone()]);
        fate = Some(Fate::Reverted(Box::new(runs::revert(desk, id, &back, None)?)));
        Ok(())
    });
    came_of(post, terms, meter, point, (fate, claimed), (&fact, &ended, why))
}

/// What is told of a regression, by what became of the run.
fn came_of(
    post: &Post,
    terms: &Terms,
    meter: &mut dyn Meter,
    point: &str,
    (fate, claimed): (Option<Fate>, Result<(), Declined>),
    (fact, ended, why): (&Fact, &Ended, String),
) -> Result<Closed, Declined> {
    let id = &terms.run.id;
    let ending = Ending::Regressed;
    let outcome = match (fate, claimed) {
        (Some(Fate::Stale(why)), _) => {
            return Ok(Closed::Stale(format!("{}, but {why}", ended.why)));
        }
        (Some(Fate::Overtaken(why)), _) => {
            let (ending, exit) = (Ending::Overtaken, Exit::Failed);
            Outcome { ending, why, exit, record: record(post, terms)? }
        }
        (Some(Fate::Reverted(record)), _) => {
            if record.state == RunState::Reverted {
                let metric = ended.metric.as_ref();
                aftermath(post, terms, meter, &format!("{point}-after"), metric)?;
            }
            let exit = runs::exit_of(&record);
            let told = self::record(post, terms).unwrap_or(*record);
            Outcome { ending, why, exit, record: told }
        }
        (Some(Fate::NotOurs(record)), _) => {
            let why = format!("{why}; it was put back by somebody else meanwhile: {}", record.why);
            Outcome { ending, why, exit: Exit::Reverted, record: *record }
        }
        (Some(Fate::Waits(refused)), _) => {
            return waiting::wait(post, terms, (fact, &why), &refused);
        }
        (Some(Fate::Frozen(frozen)), _) => {
            let why = not_reverted(id, &why, &frozen);
            Outcome { ending, why, exit: Exit::Refused, record: record(post, terms)? }
        }
        (None, Ok(())) => {
            return Err(Declined::new(Exit::Failed, "defect", "the claim came to nothing"));
        }
        (None, Err(declined)) => {
            let words = format!(
                "{why}; run {id} is STILL IN FORCE, it could not be reverted: {declined}; \
                 `nicmend revert {id}`"
            );
            return Err(Declined::new(Exit::Failed, &declined.rule, words));
        }
    };
    Ok(Closed::Over(Box::new(outcome)))
}

fn not_reverted(id: &str, why: &str, frozen: &str) -> String {
    format!(
        "{why}; NOT reverted, since this host is frozen ({frozen}): `nicmend thaw`, then `nicmend revert \
         {id}` or the next watch puts it back"
    )
}

/// Looked at again under the lock: does what was seen still hold? Who waited for the lock may be late.
fn out_of_date(
    desk: &Desk,
    terms: &Terms,
    around: &mut Around<'_>,
    (fact, waited): (&Fact, Duration),
) -> Result<Option<Fate>, Declined> {
    let fresh = (terms.playbook.verify.window * 2).max(FRESH);
    Ok(match around.look()? {
        Found::Overtaken { why, foreign } => {
            let named =
                portions(foreign).into_iter().map(|changes| Fact::ForeignChange { changes });
            let over = overtaken(fact, why.clone());
            desk.say(Some(&terms.run.id), named.chain([over]).collect())?;
            desk.store.sync()?;
            Some(Fate::Overtaken(why))
        }
        Found::Busy(run) => Some(Fate::Stale(format!("{run} is at work"))),
        Found::Disturbed => Some(Fate::Stale("others were at work meanwhile".to_owned())),
        Found::Same if waited > fresh => {
            Some(Fate::Stale(format!("the lock was held for {:.0} s", waited.as_secs_f64())))
        }
        Found::Same => None,
    })
}

/// The end of a watch that has nothing left to watch.
fn overtaken(fact: &Fact, overtaken_by: String) -> Fact {
    match fact.clone() {
        Fact::ProbationEnded { open, watched_ns, samples, evidence, .. } => {
            let (ending, why) = (Ending::Overtaken, overtaken_by);
            Fact::ProbationEnded { ending, why, open, watched_ns, samples, evidence }
        }
        other => other,
    }
}

/// Measures once more, like the run's own window: has the regression gone with the change?
fn aftermath(
    post: &Post,
    terms: &Terms,
    meter: &mut dyn Meter,
    point: &str,
    metric: Option<&Metric>,
) -> Result<(), Declined> {
    let measured = measure_after(post, terms, meter);
    let (finding, why, evidence) = match measured {
        Err(fault) => (Finding::Unknown, fault.to_string(), None),
        Ok(window) => {
            let (reference, by) = (Arc::clone(&terms.baseline), terms.by.clone());
            let compared = Compared { reference, window, by, parts: terms.parts };
            let verdict = case(terms, &compared).judge();
            let (finding, why) = found(&verdict, metric);
            (finding, why, kept(post, terms, point, compared))
        }
    };
    (post.tell)(&Telling::Note(format!("after the revert: {why}")));
    say(post, &terms.run.id, vec![Fact::Aftermath { finding, why, evidence }])
}

fn measure_after(post: &Post, terms: &Terms, meter: &mut dyn Meter) -> Faulty<Window> {
    let stop = || (post.stop)().is_some();
    let verify = &terms.playbook.verify;
    meter.settle(verify.settle, &stop)?;
    let length = verify.window.min(AFTER_MAX);
    (post.tell)(&Telling::Watching {
        what: format!("what the revert has brought, {:.1} s", length.as_secs_f64()),
    });
    let share = length / u32::try_from(terms.parts).unwrap_or(1).max(1);
    let mut whole: Option<Window> = None;
    for pattern in terms.patterns() {
        let next = meter.window(&terms.spec(share, verify.rate, pattern.clone()), &stop)?;
        match &mut whole {
            None => whole = Some(next),
            Some(whole) => whole.append(next),
        }
    }
    Ok(whole.unwrap_or_default())
}

/// Whether the metric that regressed is still worse than the baseline, with everything put back.
fn found(verdict: &Verdict, metric: Option<&Metric>) -> (Finding, String) {
    let judged = metric.and_then(|metric| Some((metric, verdict.metrics.get(metric)?)));
    let Some((metric, judged)) = judged else {
        return (Finding::Unknown, verdict.why.clone());
    };
    let why = match judged.why.as_str() {
        "" => format!("{metric}: {:.0}, {:.0} in the baseline", judged.candidate, judged.baseline),
        why => format!("{metric}: {why}"),
    };
    let finding = match (judged.guardrail, judged.outcome) {
        (Some(true), _) => Finding::Gone,
        (_, Judgement::Regressed) => Finding::StillThere,
        (Some(false), _) if verdict.verdict == Call::Revert => Finding::StillThere,
        (_, Judgement::Equivalent | Judgement::Improved) => Finding::Gone,
        (_, Judgement::Inconclusive) => Finding::Unknown,
    };
    (finding, why)
}

pub(super) fn case(terms: &Terms, compared: &Compared) -> Case {
    Case {
        by: compared.by.clone(),
        seed: terms.seed,
        baseline: vec![Arc::clone(&compared.reference)],
        candidate: vec![Arc::new(compared.window.clone())],
        parts: compared.parts,
        ..Case::default()
    }
}

/// Stores what was compared; the bundle's digest. What cannot be stored is said, and changes nothing.
fn kept(post: &Post, terms: &Terms, point: &str, compared: Compared) -> Option<String> {
    let (case, reference) = (case(terms, &compared), format!("{point}-reference"));
    match evidence::put_case(post.store, &terms.run.id, (point, &reference), &case) {
        Ok(digest) => Some(digest),
        Err(fault) => {
            (post.tell)(&Telling::Note(format!("the evidence was not kept: {fault}")));
            None
        }
    }
}

pub(super) fn record(post: &Post, terms: &Terms) -> Result<RunRecord, Declined> {
    let history = History::fold(&post.store.entries()?)?;
    let found = history.find(&terms.run.id).cloned();
    found.map_err(|why| Declined::new(Exit::Failed, "run", why))
}
