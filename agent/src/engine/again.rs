//! Asking the policies again before a stage writes: since they were asked, a venue may have opened, the host been
//! frozen, the clock been lost.

use super::{Engine, Telling};
use crate::{
    log::Fact,
    run::{Action, Before, Durable, Event, Order, Run, length::Ahead},
};

impl Engine<'_> {
    /// `Some` where the action is not to be performed, with what is to be answered instead. The decisions become
    /// durable with the intent that they are about.
    pub(super) fn asked_again(&mut self, run: &Run, action: &Action) -> Option<Event> {
        let ahead = begins(action).filter(|_| run.is_forward())?;
        let answer = self.bench.as_ref()?.gate.permits_stage(ahead);
        let recorded = answer.and_then(|(decisions, refused)| {
            self.record(decisions, Durable::BestEffort)?;
            Ok(refused)
        });
        match recorded {
            Ok(None) => None,
            Ok(Some((rule, why))) => {
                (self.tell)(&Telling::Note(format!("the policies were asked again: {why}")));
                Some(Event::Forbidden { rule, why })
            }
            // Who cannot be asked has allowed nothing.
            Err(fault) => Some(Event::Forbidden { rule: "log".to_owned(), why: fault.to_string() }),
        }
    }
}

/// What a stage is about to begin by this action, if it is.
fn begins(action: &Action) -> Option<Ahead> {
    match action {
        Action::Record { facts, .. } => facts.iter().find_map(|fact| {
            let Fact::Intent { stage, .. } = fact else { return None };
            Some(Ahead::Settings(*stage))
        }),
        Action::Firmware(Order::Guard(Before::Flash)) => Some(Ahead::Flash),
        Action::Firmware(_)
        | Action::Settle
        | Action::Measure(_)
        | Action::Judge(_)
        | Action::Write(_)
        | Action::Read(_)
        | Action::Pause { .. }
        | Action::Finish(_) => None,
    }
}
