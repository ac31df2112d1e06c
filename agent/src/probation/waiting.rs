//! A regression whose way back must wait: the alarm is raised, and again, until policies and guards let the run
//! be put back; then it is measured once more before it is.

use std::time::Duration;

use policy::request::Principal;

use super::{
    Post, Terms,
    close::{self, Closed, Outcome},
};
use crate::{
    engine::Telling,
    log::{Fact, RunState, after::Ending},
    runs::{self, Back, Declined, Exit},
};

/// How often it is asked again, and a stop is looked for.
const ASK_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the alarm is raised.
const ALARM_EVERY: Duration = Duration::from_secs(300);
/// A watch that has waited so long ends: a long weekend has a window in it.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The agent's own way back of a commit that regressed: nobody is there to take a risk upon himself.
pub(super) fn back(why: &str) -> Back {
    Back::plain(why, Principal::Agent)
}

/// Waits for the window. `Stale` when it has come: the run is measured again, and put back if it is still worse.
pub(super) fn wait(
    post: &Post,
    terms: &Terms,
    (ended, why): (&Fact, &str),
    refused: &str,
) -> Result<Closed, Declined> {
    let id = &terms.run.id;
    let alarm =
        format!("ALARM: {why}; run {id} is STILL IN FORCE and waits to be put back: {refused}");
    let mut waited = Duration::ZERO;
    while waited < WAIT_MAX {
        if waited.as_secs().is_multiple_of(ALARM_EVERY.as_secs()) {
            (post.tell)(&Telling::Note(alarm.clone()));
        }
        for _ in 0..ASK_EVERY.as_millis() / LOOK_EVERY.as_millis() {
            if let Some(stopped) = (post.stop)() {
                return stopped_waiting(post, terms, ended, format!("{alarm} ({stopped})"));
            }
            post.host.wait(LOOK_EVERY);
        }
        waited += ASK_EVERY;
        let mut open = false;
        // A lock that is held is tried again: whoever holds it is at work on this host.
        let _ = (post.claim)(Duration::ZERO, &mut |desk| {
            let history = desk.history()?;
            let run = history.find(id).map_err(|why| Declined::new(Exit::Failed, "run", why))?;
            open = run.state != RunState::Committed || runs::may(desk, run, &back(why))?;
            Ok(())
        });
        if open {
            return Ok(Closed::Stale(format!("its way back had to wait: {refused}")));
        }
    }
    let waited = WAIT_MAX.as_secs() / 86_400;
    stopped_waiting(post, terms, ended, format!("{alarm}; nothing changed in {waited} days"))
}

/// The watch ends with the run still in force.
fn stopped_waiting(
    post: &Post,
    terms: &Terms,
    ended: &Fact,
    why: String,
) -> Result<Closed, Declined> {
    close::say(post, &terms.run.id, vec![ended.clone()])?;
    let record = close::record(post, terms)?;
    let (ending, exit) = (Ending::Regressed, Exit::Refused);
    Ok(Closed::Over(Box::new(Outcome { ending, why, exit, record })))
}
