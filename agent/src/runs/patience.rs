//! A way back that has to wait: until the policies allow it, somebody has enough of it, or the time is up.
//! Meanwhile the alarm is raised, and raised again.

use std::time::Duration;

use jiff::Timestamp;

use super::{Back, Declined, Desk, Exit, back, noted};
use crate::{
    host::Host,
    log::{RunRecord, RunState},
    measure::Meter,
};

/// How often the alarm is raised while a way back waits.
pub const ALARM_EVERY: Duration = Duration::from_secs(300);
/// How often policies and guards are asked again meanwhile: somebody may approve, or leave the NIC.
pub const ASK_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A long weekend has a window in it.
pub const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What came of asking once.
pub enum Asked {
    Back(Box<RunRecord>),
    /// Refused now, and allowed from then on.
    Later(Declined, Timestamp),
}

/// Puts the run back, or says from when on it may be.
///
/// # Errors
/// What refuses it, where no window is known.
pub fn ask(
    desk: &Desk,
    wanted: &str,
    by: &Back,
    standby: Option<&mut dyn Meter>,
) -> Result<Asked, Declined> {
    let declined = match noted::revert(desk, wanted, by, standby) {
        Ok(record) => return Ok(Asked::Back(Box::new(record))),
        Err(declined) => declined,
    };
    let run = committed(desk, wanted).filter(|_| declined.exit == Exit::Refused);
    match run.map(|run| back::window(desk, &run, by)).transpose()?.flatten() {
        Some(opens) => Ok(Asked::Later(declined, opens)),
        None => Err(declined),
    }
}

/// Whether it may be put back by now; nothing is logged.
pub fn open(desk: &Desk, wanted: &str, by: &Back) -> Result<bool, Declined> {
    match committed(desk, wanted) {
        Some(run) => back::may(desk, &run, by),
        // Somebody else put it back: to be told by asking.
        None => Ok(true),
    }
}

/// The run that was asked for, while it is in force.
fn committed(desk: &Desk, wanted: &str) -> Option<RunRecord> {
    let history = desk.history().ok()?;
    let run = back::wanted(&history, wanted).ok()?;
    run.filter(|run| run.state == RunState::Committed).cloned()
}

/// Whoever waits, and for what.
pub struct Patience<'a> {
    pub host: &'a dyn Host,
    /// The run, for messages.
    pub run: &'a str,
    /// At most this long, and no longer than [`WAIT_MAX`].
    pub wait_max: Duration,
    pub stop: &'a dyn Fn() -> Option<String>,
    pub alarm: &'a dyn Fn(&str),
    /// Puts it back, or says from when on it may be.
    pub ask: &'a dyn Fn() -> Result<Asked, Declined>,
    /// Whether it may be put back by now; without a word in the log.
    pub may: &'a dyn Fn() -> bool,
}

impl Patience<'_> {
    /// Asks, and waits for the window where there is one.
    ///
    /// # Errors
    /// What refuses it, where no window is known, the time is up, or somebody stops it: the run is in force still.
    pub fn put_back(&self) -> Result<RunRecord, Declined> {
        let ends_ns = self.host.now().mono_ns.saturating_add(ns(self.wait_max.min(WAIT_MAX)));
        loop {
            match (self.ask)()? {
                Asked::Back(record) => return Ok(*record),
                Asked::Later(declined, _) if self.wait_max.is_zero() => return Err(declined),
                Asked::Later(declined, opens) => self.wait(declined, opens, ends_ns)?,
            }
        }
    }

    fn wait(&self, declined: Declined, opens: Timestamp, ends_ns: u64) -> Result<(), Declined> {
        let alarm = format!(
            "run {} is STILL IN FORCE and waits to be put back, until {opens} if nothing changes: {}",
            self.run, declined.why
        );
        let began = self.host.now().mono_ns;
        let (mut next_alarm, mut next_ask) = (began, began.saturating_add(ns(ASK_EVERY)));
        loop {
            let now = self.host.now();
            if let Some(stopped) = (self.stop)() {
                return Err(Declined { why: format!("{stopped}; {alarm}"), ..declined });
            }
            if now.mono_ns >= ends_ns {
                let why = format!("--wait-window is over; {alarm}");
                return Err(Declined { why, ..declined });
            }
            if now.mono_ns >= next_alarm {
                (self.alarm)(&alarm);
                next_alarm = now.mono_ns.saturating_add(ns(ALARM_EVERY));
            }
            let due = i128::from(now.utc_ns) >= opens.as_nanosecond();
            if due || (now.mono_ns >= next_ask && (self.may)()) {
                return Ok(());
            }
            if now.mono_ns >= next_ask {
                next_ask = now.mono_ns.saturating_add(ns(ASK_EVERY));
            }
            self.host.wait(LOOK_EVERY);
        }
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
