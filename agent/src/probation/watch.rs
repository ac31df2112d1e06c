//! The watch itself: checks and steady windows in turn, each weighed against what else goes on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use playbooks::{Metric, playbook::Pattern};

use super::{
    Order, Post, Terms,
    around::{Around, Found},
    close::case,
    nanoseconds,
    vigil::{Breach, Look, Seen, Vigil},
};
use crate::{
    engine::Telling,
    fault::Result as Faulty,
    log::{Fact, after::Ending, fact::Foreign},
    measure::{Meter, Window},
    verdict::{Call, Criterions, Judged, Outcome},
};

/// How often a watch says in the log how far it has come.
const MARK_NS: u64 = 1_800_000_000_000;
/// How often it tells people.
const TELL_NS: u64 = 600_000_000_000;
/// A steady window: short enough for bounded memory and for looking around often.
const STEADY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// Packets in a steady window or a reference at most.
const PACKETS_MAX: u64 = 2_000_000;
/// The reference: a fiftieth of the watch, within these limits.
const REFERENCE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(600);
/// How long silence is waited out: a tenth of the watch, within these limits.
const SILENCE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(600);
/// How long another run at work is waited for.
const BUSY_MAX: Duration = Duration::from_secs(3600);
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// Windows that could not be measured, one after the other, before the watch gives up.
const FAILURES_MAX: u32 = 10;

/// How a watch ended, before anything was done about it.
pub(super) struct Ended {
    pub(super) ending: Ending,
    pub(super) why: String,
    /// What regressed.
    pub(super) metric: Option<Metric>,
    pub(super) foreign: Vec<Foreign>,
}

impl Ended {
    fn with(ending: Ending, why: impl Into<String>) -> Ended {
        Ended { ending, why: why.into(), metric: None, foreign: Vec::new() }
    }
}

/// What was compared last: a window, and what it was held against.
pub(super) struct Compared {
    pub(super) reference: Arc<Window>,
    pub(super) window: Window,
    pub(super) by: Criterions,
    pub(super) parts: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct SoFar {
    pub(super) watched_ns: u64,
    pub(super) samples: u64,
}

/// The steady part: first its reference is gathered, then it is watched against that.
enum Steady {
    Gathering { vigil: Vigil, so_far: Option<Box<Window>> },
    Against { vigil: Vigil, reference: Arc<Window>, by: Criterions },
}

/// What to do next, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Check(Duration),
    Steady(Duration),
}

pub(super) struct Watch<'a> {
    post: &'a Post<'a>,
    terms: &'a Terms,
    order: &'a Order,
    pub(super) around: Around<'a>,
    checks: Vigil,
    steady: Steady,
    watched_ns: u64,
    samples: u64,
    /// Steady time since the last check; `None` before the first.
    unchecked_ns: Option<u64>,
    failures: u32,
    /// Guarded figures from outside: windows in a row that lack them, and why the last one did.
    unsound: BTreeMap<Metric, (u32, String)>,
    marked_ns: u64,
    told_ns: u64,
    pub(super) last: Option<Compared>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        post: &'a Post<'a>,
        terms: &'a Terms,
        order: &'a Order,
        around: Around<'a>,
        watched_ns: u64,
    ) -> Watch<'a> {
        Watch {
            post,
            terms,
            order,
            around: around.heeding_campaigns(),
            checks: Vigil::over(&terms.baseline, &terms.by, terms.parts),
            steady: gathering(terms),
            watched_ns,
            samples: 0,
            unchecked_ns: None,
            failures: 0,
            unsound: BTreeMap::new(),
            marked_ns: watched_ns,
            told_ns: watched_ns,
            last: None,
        }
    }

    pub(super) fn so_far(&self) -> SoFar {
        SoFar { watched_ns: self.watched_ns, samples: self.samples }
    }

    pub(super) fn drive(&mut self, meter: &mut dyn Meter) -> Ended {
        let length_ns = nanoseconds(self.order.length);
        self.introduce();
        // What is left over by silences is not worth a window of its own.
        let slack_ns = (length_ns / 10).min(1_000_000_000);
        // Watched time only grows with replies: the clock bounds the whole.
        let patience_ns = length_ns.saturating_mul(2).saturating_add(nanoseconds(BUSY_MAX));
        let began_ns = self.post.host.now().mono_ns;
        let stop = self.post.stop;
        let settled = meter.settle(self.terms.playbook.verify.settle, &|| stop().is_some());
        if let Err(ended) = self.weigh(settled.map(|_| Seen::Nothing), meter) {
            return ended;
        }
        while self.watched_ns + slack_ns < length_ns {
            let seen = match self.next(length_ns - self.watched_ns) {
                Act::Check(length) => self.check(meter, length),
                Act::Steady(length) => self.steadily(meter, length),
            };
            if let Err(ended) = self.weigh(seen, meter) {
                return ended;
            }
            self.progress();
            if self.post.host.now().mono_ns.saturating_sub(began_ns) > patience_ns {
                let why = "twice its time has passed, and too little of it could be watched";
                return Ended::with(Ending::Inconclusive, why);
            }
        }
        match self.watches_any() {
            true => Ended::with(Ending::Held, "no guardrail was broken"),
            false => Ended::with(
                Ending::Inconclusive,
                "baseline and reference were too small, or too noisy, for any guardrail to be watched",
            ),
        }
    }

    fn watches_any(&self) -> bool {
        let (Steady::Gathering { vigil, .. } | Steady::Against { vigil, .. }) = &self.steady;
        !self.checks.watched().is_empty() || !vigil.watched().is_empty()
    }

    /// What comes next, with so many nanoseconds left. The last thing is a check.
    fn next(&self, left_ns: u64) -> Act {
        let verify = &self.terms.playbook.verify;
        let window_ns = nanoseconds(verify.window);
        let check = Act::Check(Duration::from_nanos(window_ns.min(left_ns)));
        let times = u64::from(verify.rate.div_ceil(self.order.rate.max(1)));
        let every_ns = window_ns.saturating_mul(times).saturating_sub(window_ns);
        let Some(unchecked_ns) = self.unchecked_ns else { return check };
        let rate = u64::from(self.order.rate.max(1));
        let steady = verify.window.clamp(*STEADY.start(), *STEADY.end());
        let steady = steady.min(Duration::from_nanos(PACKETS_MAX * 1_000_000_000 / rate));
        let room_ns = left_ns.saturating_sub(window_ns).min(every_ns.saturating_sub(unchecked_ns));
        let steady = steady.min(Duration::from_nanos(room_ns));
        if steady < *STEADY.start() { check } else { Act::Steady(steady) }
    }

    /// The run's own window again, against the run's baseline.
    fn check(&mut self, meter: &mut dyn Meter, length: Duration) -> Faulty<Seen> {
        let (terms, stop) = (self.terms, self.post.stop);
        let share = length / u32::try_from(terms.parts).unwrap_or(1).max(1);
        let mut whole: Option<Window> = None;
        let mut seen = Seen::Nothing;
        for (part, pattern) in terms.patterns().iter().enumerate() {
            let spec = terms.spec(share, terms.playbook.verify.rate, pattern.clone());
            let look = self.checks.window(meter, &spec, part, &|| stop().is_some())?;
            self.count(&look);
            match &mut whole {
                None => whole = Some(look.window),
                Some(whole) => whole.append(look.window),
            }
            seen = look.seen;
            if seen != Seen::Nothing {
                break;
            }
        }
        self.unchecked_ns = Some(0);
        if let Some(window) = whole {
            let (reference, by) = (Arc::clone(&terms.baseline), terms.by.clone());
            let compared = Compared { reference, window, by, parts: terms.parts };
            if seen == Seen::Nothing && compared.window.cut_short.is_none() {
                seen = judged(terms, &compared);
            }
            self.last = Some(compared);
        }
        Ok(seen)
    }

    fn steadily(&mut self, meter: &mut dyn Meter, length: Duration) -> Faulty<Seen> {
        let spec = self.terms.spec(length, self.order.rate, Pattern::Calm);
        let stop = self.post.stop;
        let stop = || stop().is_some();
        let look = match &mut self.steady {
            Steady::Gathering { vigil, .. } | Steady::Against { vigil, .. } => {
                vigil.window(meter, &spec, 0, &stop)?
            }
        };
        self.count(&look);
        self.unchecked_ns = self.unchecked_ns.map(|ns| ns.saturating_add(look.watched_ns));
        match &mut self.steady {
            Steady::Against { reference, by, .. } => {
                let (reference, by) = (Arc::clone(reference), by.clone());
                self.last = Some(Compared { reference, window: look.window, by, parts: 1 });
            }
            Steady::Gathering { so_far, .. } if look.seen == Seen::Nothing => {
                match so_far {
                    None => *so_far = Some(Box::new(look.window)),
                    Some(so_far) => so_far.append(look.window),
                }
                self.settle_reference();
            }
            Steady::Gathering { .. } => {}
        }
        Ok(look.seen)
    }

    /// Begins to watch steadily once the reference is long enough.
    fn settle_reference(&mut self) {
        let Steady::Gathering { so_far, .. } = &mut self.steady else { return };
        let wanted = (self.order.length / 50).clamp(*REFERENCE.start(), *REFERENCE.end());
        let enough = |window: &Window| {
            window.length_ns >= nanoseconds(wanted) || window.samples.len() as u64 >= PACKETS_MAX
        };
        let Some(reference) = so_far.take_if(|window| enough(window)) else { return };
        let by = self.terms.by_for_committed();
        let vigil = Vigil::over(&reference, &by, 1);
        self.steady = Steady::Against { vigil, reference: Arc::new(*reference), by };
        // What is bad already must not become what is usual: a check says whether it is.
        self.unchecked_ns = None;
    }

    fn count(&mut self, look: &Look) {
        self.watched_ns = self.watched_ns.saturating_add(look.watched_ns);
        self.samples += look.window.samples.len() as u64;
        for metric in self.terms.by.guardrails.keys() {
            if let Some(why) = unsound(metric, &look.window) {
                let (times, last) = self.unsound.entry(metric.clone()).or_default();
                (*times, *last) = (*times + 1, why);
            } else {
                self.unsound.remove(metric);
            }
        }
    }

    /// Weighs what a window has shown against what else was going on.
    fn weigh(&mut self, seen: Faulty<Seen>, meter: &mut dyn Meter) -> Result<(), Ended> {
        if let Some(why) = (self.post.stop)() {
            return Err(Ended::with(Ending::Stopped, why));
        }
        let seen = match seen {
            Ok(seen) => {
                self.failures = 0;
                seen
            }
            Err(fault) => {
                self.failures += 1;
                self.note(fault.to_string());
                if self.failures >= FAILURES_MAX {
                    return Err(Ended::with(Ending::Inconclusive, fault.to_string()));
                }
                Seen::Silent
            }
        };
        match self.around.look() {
            Ok(Found::Same) => {}
            Ok(Found::Busy(run)) => return self.wait_for(&run),
            Ok(Found::Disturbed) => {
                self.begin_anew("another run was at work meanwhile");
                return Ok(());
            }
            Ok(Found::Overtaken { why, foreign }) => {
                return Err(Ended { foreign, ..Ended::with(Ending::Overtaken, why) });
            }
            Err(fault) => return Err(Ended::with(Ending::Inconclusive, fault.to_string())),
        }
        let missing = self.unsound.iter().find(|(_, (times, _))| *times >= FAILURES_MAX);
        match seen {
            Seen::Nothing => match missing {
                None => Ok(()),
                Some((metric, (times, why))) => {
                    let why = format!("{metric} was missing from {times} windows: {why}");
                    Err(Ended::with(Ending::Inconclusive, why))
                }
            },
            Seen::Broken(Breach { metric, why }) => {
                Err(Ended { metric: Some(metric), ..Ended::with(Ending::Regressed, why) })
            }
            Seen::Silent => self.wait_for_replies(meter),
            Seen::Stopped => Err(Ended::with(Ending::Stopped, "stopped")),
        }
    }

    /// Silence: the peer's, or the whole path's. Not a regression, and not watched time.
    fn wait_for_replies(&mut self, meter: &mut dyn Meter) -> Result<(), Ended> {
        let limit = (self.order.length / 10).clamp(*SILENCE.start(), *SILENCE.end());
        let peer = &self.order.peer;
        let seconds = limit.as_secs_f64();
        self.note(format!("no reply from {peer} any more: waiting for it, {seconds:.0} s at most"));
        let stop = self.post.stop;
        match meter.settle(limit, &|| stop().is_some()) {
            Ok(waited) => {
                self.note(format!("replies are back after {:.1} s", waited.as_secs_f64()));
                Ok(())
            }
            Err(fault) => Err(match stop() {
                Some(why) => Ended::with(Ending::Stopped, why),
                None => {
                    let why = format!(
                        "{peer} fell silent, and whether it or the path is gone cannot be told from \
                         here: {fault}"
                    );
                    Ended::with(Ending::Inconclusive, why)
                }
            }),
        }
    }

    /// Another run is at work: nothing is measured meanwhile.
    fn wait_for(&mut self, run: &str) -> Result<(), Ended> {
        self.note(format!("run {run} is at work: waiting for its end"));
        let began_ns = self.post.host.now().mono_ns;
        loop {
            if let Some(why) = (self.post.stop)() {
                return Err(Ended::with(Ending::Stopped, why));
            }
            match self.around.look() {
                Ok(Found::Busy(_)) => {}
                Ok(Found::Same | Found::Disturbed) => {
                    self.begin_anew(&format!("run {run} has ended"));
                    return Ok(());
                }
                Ok(Found::Overtaken { why, foreign }) => {
                    return Err(Ended { foreign, ..Ended::with(Ending::Overtaken, why) });
                }
                Err(fault) => return Err(Ended::with(Ending::Inconclusive, fault.to_string())),
            }
            let waited_ns = self.post.host.now().mono_ns.saturating_sub(began_ns);
            if waited_ns > nanoseconds(BUSY_MAX) {
                let why = format!("run {run} was at work for more than an hour");
                return Err(Ended::with(Ending::Inconclusive, why));
            }
            self.post.host.wait(BUSY_PAUSE);
        }
    }

    /// What was seen is out of date: it is measured again before anything is done about it.
    pub(super) fn look_again(&mut self, why: &str) {
        let window_ns = nanoseconds(self.terms.playbook.verify.window);
        self.watched_ns = self.watched_ns.saturating_sub(2 * window_ns);
        self.begin_anew(why);
    }

    /// Forgets what was bet on, not for how long was watched.
    fn begin_anew(&mut self, why: &str) {
        self.note(format!("{why}: the comparison begins anew"));
        self.checks = Vigil::over(&self.terms.baseline, &self.terms.by, self.terms.parts);
        self.steady = gathering(self.terms);
        self.unchecked_ns = None;
    }

    fn introduce(&self) {
        let watched = self.checks.watched();
        let open = self.terms.by.guardrails.keys().filter(|metric| !watched.contains(metric));
        let open: Vec<String> = open.map(ToString::to_string).collect();
        let left_ns = nanoseconds(self.order.length).saturating_sub(self.watched_ns);
        let what = format!(
            "run {} for {:.1} s, {} packets a second and checks like its own window",
            self.terms.run.id,
            left_ns as f64 / 1e9,
            self.order.rate
        );
        (self.post.tell)(&Telling::Watching { what });
        if !open.is_empty() {
            self.note(format!(
                "not watched, for want of a figure at every moment or of baseline samples: {}",
                open.join(", ")
            ));
        }
    }

    fn progress(&mut self) {
        let seconds = self.watched_ns as f64 / 1e9;
        if self.watched_ns.saturating_sub(self.told_ns) >= TELL_NS {
            self.told_ns = self.watched_ns;
            let what = format!("{seconds:.0} s so far, {} packets: quiet", self.samples);
            (self.post.tell)(&Telling::Watching { what });
        }
        if self.watched_ns.saturating_sub(self.marked_ns) >= MARK_NS {
            self.marked_ns = self.watched_ns;
            let (watched_ns, samples) = (self.watched_ns, self.samples);
            let fact = Fact::ProbationWatched { watched_ns, samples };
            // Whoever holds the lock is not waited for: it is said at the next mark.
            let run = &self.terms.run.id;
            let _ = (self.post.claim)(Duration::ZERO, &mut |desk| {
                Ok(desk.say(Some(run), vec![fact.clone()])?)
            });
        }
    }

    fn note(&self, note: String) {
        (self.post.tell)(&Telling::Note(note));
    }
}

/// A whole check, as the run's own windows were judged: what bets need many windows for, a conclusive
/// verdict on one shows at once.
fn judged(terms: &Terms, compared: &Compared) -> Seen {
    let verdict = case(terms, compared).judge();
    let broken = |(_, judged): &(&Metric, &Judged)| judged.outcome == Outcome::Regressed;
    match (verdict.verdict, verdict.metrics.iter().find(broken)) {
        (Call::Revert, Some((metric, _))) => {
            Seen::Broken(Breach { metric: metric.clone(), why: verdict.why })
        }
        (Call::Revert | Call::Keep | Call::Inconclusive, _) => Seen::Nothing,
    }
}

/// Why a window does not hold a guarded figure from outside, where it should.
fn unsound(metric: &Metric, window: &Window) -> Option<String> {
    let Metric::External(_) = metric else { return None };
    match window.readings.get(&metric.to_string()) {
        Some(recorded) => recorded.missing(window.length_ns),
        None => Some("the window does not hold it".to_owned()),
    }
}

fn gathering(terms: &Terms) -> Steady {
    Steady::Gathering { vigil: Vigil::blind(&terms.by.guardrails), so_far: None }
}
