//! Requests, with a word in the log of each that is refused before there is a run or a decision to say it.

use policy::decide::NO_PERMIT;

use super::{Apply, Back, Declined, Desk, Exit, Meters, Outcome, back, begin};
use crate::{
    fault::Result as Faulty,
    log::{Entry, Fact, RunRecord, office},
    measure::Meter,
};

/// A refusal with many reasons must fit an entry.
const WHY_CHARS_MAX: usize = 8192;

/// The whole run; see [`begin::apply`].
pub fn apply(desk: &Desk, request: &Apply, meters: Meters<'_>) -> Result<Outcome, Declined> {
    let on = request.digest.clone().unwrap_or_else(|| request.playbook.name.clone());
    let from = desk.store.length();
    let done = begin::apply(desk, request, meters);
    noted(desk, from, ("apply", &on), done)
}

/// Puts back what a committed run changed; see [`back::revert`].
pub fn revert(
    desk: &Desk,
    wanted: &str,
    back: &Back,
    standby: Option<&mut dyn Meter>,
) -> Result<RunRecord, Declined> {
    let from = desk.store.length();
    let done = back::revert(desk, wanted, back, standby);
    noted(desk, from, ("revert", wanted), done)
}

/// What is refused is an entry, whoever refuses it. A log that cannot take it changes nothing about that.
fn noted<T>(
    desk: &Desk,
    from: Faulty<u64>,
    asked: (&str, &str),
    done: Result<T, Declined>,
) -> Result<T, Declined> {
    // A log that somebody has rewritten vouches for nothing: not even for this.
    if let (Err(declined), Ok(from)) = (&done, from)
        && declined.exit == Exit::Refused
        && declined.rule != begin::UNSIGNED
    {
        let _ = note(desk, from, asked, declined);
    }
    done
}

fn note(desk: &Desk, from: u64, (action, on): (&str, &str), declined: &Declined) -> Faulty<()> {
    let said = since(desk, from)?;
    let denied = |decision: &office::Decision| {
        let rule = decision.policies.first().map_or(NO_PERMIT, String::as_str);
        !decision.allowed && rule == declined.rule
    };
    let told = said.iter().any(|fact| match fact {
        Fact::Refused { rule, .. } => *rule == declined.rule,
        Fact::Decision(decision) => denied(decision),
        _ => false,
    });
    if told {
        return Ok(());
    }
    let mut facts = Vec::new();
    if !said.iter().any(|fact| matches!(fact, Fact::Requested(_))) {
        let (action, on) = (action.to_owned(), on.to_owned());
        facts.push(Fact::Requested(office::Request { action, on, ..Default::default() }));
    }
    let (rule, why) = (declined.rule.clone(), declined.why.chars().take(WHY_CHARS_MAX).collect());
    facts.push(Fact::Refused { rule, why });
    // Of no run: one that is in force stays what it is.
    desk.say(None, facts)?;
    desk.store.sync()
}

/// What the log was told since.
fn since(desk: &Desk, from: u64) -> Faulty<Vec<Fact>> {
    let entries = desk.store.entries()?;
    let skip = usize::try_from(from).unwrap_or(usize::MAX);
    let facts = (0_u64..).zip(&entries).skip(skip);
    facts.map(|(seq, bytes)| Entry::decode(bytes, seq).map(|entry| entry.fact)).collect()
}
