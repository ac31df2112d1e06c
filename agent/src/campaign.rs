//! Campaign: after a commit, the triple verification. Every traffic pattern in turn, then faults on
//! purpose, then endurance; each with its own verdict.
//!
//! - A **pattern** that the run itself was measured with is held against the run's baseline; another
//!   one against the bounds that need no baseline (`at-most`), and its losses and drops against a calm
//!   reference that the campaign measures first.
//! - A **fault** is judged when it is over: the path must then be no worse than the reference. What it
//!   looked like meanwhile is reported.
//! - **Endurance** watches for the rest of the time, as probation does.
//!
//! The machine is put back after each fault. Processes that a fault starts end with this one; a control
//! group is named in the log, durably, before it is made, and `recover` removes it; a setting that a
//! fault moves is written by a run of its own, with its intents, that always goes back.
//!
//! A campaign holds the writer's lock throughout and reverts nothing: it is evidence.

mod faults;
mod judge;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use playbooks::{playbook::Pattern, vocabulary::Disruption};
use policy::request::{Action, Standby};

use crate::{
    engine::{Telling, evidence, hands},
    fault::{Fault, Kind, Result as Faulty},
    log::{Fact, RunRecord, RunState, after::Tried},
    measure::{Meter, Window},
    probation::{
        Terms,
        around::{Around, Found},
        in_force,
        vigil::{Seen, Vigil},
    },
    runs::{
        self, Declined, Desk, Exit,
        permission::{self, Matter},
        standing,
    },
    verdict::{Call, Case},
};

/// A fault on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Memory reclaimed without end, in a control group of its own.
    Memory,
    /// The NIC's interrupts moved to other CPUs.
    Irq,
    /// A busy process for every CPU.
    Cpu,
    /// Bursts longer than the receive ring.
    Burst,
}

impl Trouble {
    pub const ALL: [Trouble; 4] = [Trouble::Memory, Trouble::Irq, Trouble::Cpu, Trouble::Burst];

    pub fn word(self) -> &'static str {
        match self {
            Trouble::Memory => "memory",
            Trouble::Irq => "irq",
            Trouble::Cpu => "cpu",
            Trouble::Burst => "burst",
        }
    }
}

/// What to try, and for how long in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub patterns: Vec<Pattern>,
    pub faults: Vec<Trouble>,
    pub length: Duration,
    /// What the memory fault may take.
    pub memory_bytes: u64,
    pub peer: String,
}

/// What a campaign came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub call: Call,
    pub why: String,
    pub exit: Exit,
    /// The run as the log tells it now.
    pub record: RunRecord,
}

/// Windows of endurance: short enough for bounded memory.
const WINDOW_MAX: Duration = Duration::from_secs(60);
const PACKETS_MAX: u64 = 2_000_000;
/// How long silence is waited out.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Samples in a unit, for a verdict to be possible at all (`verdict` asks for as many).
const SAMPLES_MIN: u128 = 200;

/// The whole campaign.
///
/// # Errors
/// The time is too short, or the run not in force (2, 4); the peer does not answer or the log cannot be
/// written (1); something that a fault made is still there (5).
pub fn campaign(
    desk: &Desk,
    terms: &Terms,
    order: &Order,
    meter: &mut dyn Meter,
) -> Result<Outcome, Declined> {
    let _ = runs::recover(desk);
    let unit = unit(terms, order)?;
    let around = in_force(desk.host, desk.store, &terms.run)?;
    permitted(desk, terms, order)?;
    let number = terms.run.campaigns.last().map_or(0, |last| last.campaign) + 1;
    let began = Fact::CampaignBegan {
        campaign: number,
        items: items(order),
        for_ns: u64::try_from(order.length.as_nanos()).unwrap_or(u64::MAX),
        peer: order.peer.clone(),
    };
    desk.say(Some(&terms.run.id), vec![began])?;
    desk.store.sync()?;
    let began_ns = desk.host.now().mono_ns;
    let mut trial =
        Trial { desk, terms, order, meter, around, number, unit, began_ns, tried: Vec::new() };
    let ended = trial.all();
    let tried = std::mem::take(&mut trial.tried);
    let (call, why) = match &ended {
        Ok(None) => judge::together(&tried),
        Ok(Some(why)) => (Call::Inconclusive, why.clone()),
        Err(declined) => (Call::Inconclusive, declined.why.clone()),
    };
    let fact = Fact::CampaignEnded { campaign: number, call, why: why.clone() };
    desk.say(Some(&terms.run.id), vec![fact])?;
    desk.store.sync()?;
    let exit = match (ended?, call) {
        (Some(_), _) => Exit::Failed,
        (None, Call::Keep) => Exit::Done,
        (None, Call::Revert | Call::Inconclusive) => Exit::Reverted,
    };
    let history = desk.history()?;
    let record = history.find(&terms.run.id).cloned();
    let record = record.map_err(|why| Declined::new(Exit::Failed, "run", why))?;
    Ok(Outcome { call, why, exit, record })
}

/// How long each thing is measured: as long as the run measured each pattern, so that they compare.
fn unit(terms: &Terms, order: &Order) -> Result<Duration, Declined> {
    let wrong = |why: String| Err(Declined::new(Exit::Wrong, "usage", why));
    let unit = terms.part_length();
    let packets = unit.as_nanos() * u128::from(terms.playbook.verify.rate) / 1_000_000_000;
    if packets < SAMPLES_MIN {
        return wrong(format!(
            "the playbook's window holds {packets} packets a pattern: {SAMPLES_MIN} are needed"
        ));
    }
    // The reference and the endurance, each pattern, and each fault with what comes after it.
    let units = 2 + order.patterns.len() + 2 * order.faults.len();
    let least = unit * u32::try_from(units).unwrap_or(u32::MAX);
    if order.length < least {
        return wrong(format!(
            "--for {:.0} s is too short: {units} windows of {:.1} s each take {:.0} s",
            order.length.as_secs_f64(),
            unit.as_secs_f64(),
            least.as_secs_f64().ceil()
        ));
    }
    Ok(unit)
}

fn items(order: &Order) -> Vec<String> {
    let patterns = order.patterns.iter().map(word);
    let faults = order.faults.iter().map(|fault| fault.word().to_owned());
    patterns.chain(faults).chain(["endurance".to_owned()]).collect()
}

/// A pattern as people write it.
pub fn word(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Calm => "calm".to_owned(),
        Pattern::OpenBurst => "open-burst".to_owned(),
        Pattern::CloseBurst => "close-burst".to_owned(),
        Pattern::Microburst => "microburst".to_owned(),
        Pattern::Replay(file) => format!("replay:{file}"),
    }
}

/// Whether the policies let a campaign begin now: it must be over before a venue opens.
fn permitted(desk: &Desk, terms: &Terms, order: &Order) -> Result<(), Declined> {
    let nic = hands::by_id(desk.host, &terms.run.nic).ok_or_else(|| {
        let why = format!("{} ({}) is not here", terms.run.nic_name, terms.run.nic);
        Declined::new(Exit::Failed, "nic", why)
    })?;
    let matter = Matter {
        actions: vec![Action::CampaignOutsideTrading],
        overrides: BTreeSet::new(),
        on: &terms.run.id,
        nic: &nic,
        disruption: Disruption::None,
        length: order.length + AROUND,
        refusals: &[],
        overridden: BTreeSet::new(),
        standby: Standby::Unknown,
        catalog: standing::look(desk.host, desk.law, &nic),
        break_glass: None,
        terms: policy::approval::Terms::plain(policy::approval::Way::Apply),
        plan: None,
    };
    let asker = desk.law.loaded().asker.clone();
    permission::hold(desk, Some(&terms.run.id), &asker, &matter).map(drop)
}

/// Beyond its own length: settling, the last window's end, what its last fault left removed.
const AROUND: Duration = Duration::from_secs(60);

/// A campaign under way.
struct Trial<'a> {
    desk: &'a Desk<'a>,
    terms: &'a Terms,
    order: &'a Order,
    meter: &'a mut dyn Meter,
    around: Around<'a>,
    number: u32,
    unit: Duration,
    began_ns: u64,
    tried: Vec<Tried>,
}

impl Trial<'_> {
    /// Everything in order; `Some` with the reason where it ended before its end.
    fn all(&mut self) -> Result<Option<String>, Declined> {
        self.telling(&format!("a calm reference, {:.1} s", self.unit.as_secs_f64()));
        self.settle()?;
        let reference = Arc::new(self.window(self.unit, Pattern::Calm)?);
        if reference.samples.iter().all(|sample| sample.is_lost()) {
            let why = format!("no reply from {} in the whole reference", self.order.peer);
            return Err(Declined::new(Exit::Failed, "peer", why));
        }
        let order = self.order;
        for (nth, pattern) in order.patterns.iter().enumerate() {
            if let Some(why) = self.disturbed() {
                return Ok(Some(why));
            }
            let tried = self.pattern(nth, pattern, &reference);
            self.say(tried)?;
        }
        for fault in &order.faults {
            if let Some(why) = self.disturbed() {
                return Ok(Some(why));
            }
            let tried = self.fault(*fault, &reference)?;
            self.say(tried)?;
        }
        if let Some(why) = self.disturbed() {
            return Ok(Some(why));
        }
        let tried = self.endurance(&reference);
        self.say(tried)?;
        Ok(self.disturbed())
    }

    /// Why the campaign cannot go on, if it cannot.
    fn disturbed(&mut self) -> Option<String> {
        if let Some(why) = (self.desk.stop)() {
            return Some(format!("{why}, after {} items", self.tried.len()));
        }
        match self.desk.store.get("frozen") {
            Ok(None) => {}
            Ok(Some(why)) => {
                let why = String::from_utf8_lossy(&why).trim().to_owned();
                return Some(format!("this host was frozen ({why})"));
            }
            Err(fault) => return Some(fault.to_string()),
        }
        match self.around.look() {
            // Moving interrupts is a run of its own: it has come and gone.
            Ok(Found::Same | Found::Disturbed | Found::Busy(_)) => None,
            Ok(Found::Overtaken { why, foreign: _ }) => Some(why),
            Err(fault) => Some(fault.to_string()),
        }
    }

    fn pattern(&mut self, nth: usize, pattern: &Pattern, reference: &Arc<Window>) -> Tried {
        let item = word(pattern);
        self.telling(&format!("{item}, {:.1} s", self.unit.as_secs_f64()));
        let window = match self.settle().and_then(|()| self.window(self.unit, pattern.clone())) {
            Ok(window) => Arc::new(window),
            Err(fault) => return judge::open(&item, &fault),
        };
        // A trace's file is no name for evidence.
        let point = match pattern {
            Pattern::Replay(_) => self.point(&format!("replay-{}", nth + 1)),
            Pattern::Calm | Pattern::OpenBurst | Pattern::CloseBurst | Pattern::Microburst => {
                self.point(&item)
            }
        };
        let own = self.terms.patterns().iter().position(|known| known == pattern);
        let figures = judge::figures(&window);
        let (call, why, case, from) = match own {
            Some(part) => {
                let baseline = Arc::new(judge::part_of(self.terms, part));
                let case = self.case(&baseline, &window);
                let verdict = case.judge();
                let why = format!("against the run's own baseline: {}", verdict.why);
                (verdict.verdict, why, case, format!("{point}-reference"))
            }
            None => {
                let (call, why) = judge::without_baseline(self.terms, reference, &window);
                (call, why, self.case(reference, &window), self.point("reference"))
            }
        };
        let evidence = self.keep(&point, &from, &case);
        let why = format!("{why} ({figures})");
        Tried { item, call: Some(call), why, during: None, evidence }
    }

    /// What is left of the time, under watch.
    fn endurance(&mut self, reference: &Arc<Window>) -> Tried {
        let item = "endurance".to_owned();
        let gone = self.desk.host.now().mono_ns.saturating_sub(self.began_ns);
        let left = self.order.length.saturating_sub(Duration::from_nanos(gone)).max(self.unit);
        self.telling(&format!("endurance, {:.1} s", left.as_secs_f64()));
        let rate = self.terms.playbook.verify.rate;
        let most = Duration::from_nanos(PACKETS_MAX * 1_000_000_000 / u64::from(rate.max(1)));
        let by = self.terms.by_for_committed();
        let mut vigil = Vigil::over(reference, &by, 1);
        let (mut watched, mut packets, mut last) = (Duration::ZERO, 0, None);
        let (call, why) = loop {
            if watched + self.unit / 10 >= left {
                break (Call::Keep, "no guardrail was broken".to_owned());
            }
            let length = (left - watched).min(WINDOW_MAX).min(most);
            let spec = self.terms.spec(length, rate, Pattern::Calm);
            let stop = self.desk.stop;
            let look = match vigil.window(self.meter, &spec, 0, &|| stop().is_some()) {
                Ok(look) => look,
                Err(fault) => break (Call::Inconclusive, fault.to_string()),
            };
            watched += Duration::from_nanos(look.watched_ns);
            packets += look.window.samples.len();
            last = Some(Arc::new(look.window));
            match look.seen {
                Seen::Nothing => {}
                Seen::Broken(breach) => break (Call::Revert, breach.why),
                Seen::Stopped => break (Call::Inconclusive, "stopped".to_owned()),
                Seen::Silent => {
                    if let Err(fault) = self.meter.settle(SILENCE_MAX, &|| stop().is_some()) {
                        break (Call::Inconclusive, fault.to_string());
                    }
                }
            }
            if let Some(why) = self.disturbed() {
                break (Call::Inconclusive, why);
            }
        };
        let evidence = last.and_then(|window| {
            let case = Case { by, ..self.case(reference, &window) };
            self.keep(&self.point("endurance"), &self.point("reference"), &case)
        });
        let why = format!("{why} in {:.0} s, {packets} packets", watched.as_secs_f64());
        Tried { item, call: Some(call), why, during: None, evidence }
    }

    fn settle(&mut self) -> Faulty<()> {
        let stop = self.desk.stop;
        let limit = self.terms.playbook.verify.settle;
        self.meter.settle(limit, &|| stop().is_some()).map(|_| ())
    }

    /// One whole window like the run's own.
    fn window(&mut self, length: Duration, pattern: Pattern) -> Faulty<Window> {
        let spec = self.terms.spec(length, self.terms.playbook.verify.rate, pattern);
        let stop = self.desk.stop;
        let window = self.meter.window(&spec, &|| stop().is_some())?;
        match &window.cut_short {
            None => Ok(window),
            Some(why) => Err(Fault::new(Kind::Busy, "measure a window", why.clone())),
        }
    }

    fn case(&self, baseline: &Arc<Window>, candidate: &Arc<Window>) -> Case {
        Case {
            by: self.terms.by.clone(),
            seed: self.terms.seed,
            baseline: vec![Arc::clone(baseline)],
            candidate: vec![Arc::clone(candidate)],
            parts: 1,
            ..Case::default()
        }
    }

    /// Under which name an item's evidence is kept.
    fn point(&self, item: &str) -> String {
        format!("campaign-{}-{item}", self.number)
    }

    fn keep(&self, point: &str, reference: &str, case: &Case) -> Option<String> {
        match evidence::put_case(self.desk.store, &self.terms.run.id, (point, reference), case) {
            Ok(digest) => Some(digest),
            Err(fault) => {
                (self.desk.tell)(&Telling::Note(format!("the evidence was not kept: {fault}")));
                None
            }
        }
    }

    fn telling(&self, what: &str) {
        (self.desk.tell)(&Telling::Watching { what: what.to_owned() });
    }

    fn say(&mut self, tried: Tried) -> Result<(), Declined> {
        let call = tried.call.map_or("skipped", judge::said);
        (self.desk.tell)(&Telling::Note(format!("{}: {call}: {}", tried.item, tried.why)));
        let fact = Fact::CampaignJudged {
            campaign: self.number,
            item: tried.item.clone(),
            call: tried.call,
            why: tried.why.clone(),
            during: tried.during.clone(),
            evidence: tried.evidence.clone(),
        };
        self.desk.say(Some(&self.terms.run.id), vec![fact])?;
        self.desk.store.sync()?;
        self.tried.push(tried);
        Ok(())
    }
}

/// A run that a fault made and that could not be put back.
fn stuck(record: &RunRecord) -> Option<Declined> {
    (record.state == RunState::Stuck).then(|| {
        let why =
            format!("{}; by hand: {}; or `nicmend recover`", record.why, record.by_hand.join("; "));
        Declined::new(Exit::Stuck, "fault", why)
    })
}
