//! Whose approvals of a plan count: the signature holds, it is not used up, and the policies let its signer
//! approve.

use std::collections::BTreeSet;

use policy::{
    approval::{Tally, Void},
    decide::decide,
    request::{Action, Facts, Principal, Request},
};

use super::{
    Desk,
    permission::{Matter, NAMED_MAX, facts_without, frozen, reasons, subject, told, words},
};
use crate::{
    approvals,
    engine::Telling,
    fault::Result,
    host::Host,
    law::{Law, Loaded},
    log::Fact,
    store::Store,
};

/// The approvals of the plan that count now. One that does not is named, with the reason.
pub(super) fn approved(desk: &Desk, principal: &Principal, matter: &Matter) -> Result<Tally> {
    let (filed, tally) = held((desk.host, desk.store), desk.law, (principal, matter))?;
    let plan = matter.plan.map_or("", |(plan, _)| plan);
    for (index, void) in tally.void.iter().take(NAMED_MAX) {
        let who = filed.get(*index).map_or("somebody", String::as_str);
        let words = format!("{who}'s approval of plan {plan} does not count: {void}");
        (desk.tell)(&Telling::Note(words));
    }
    Ok(tally)
}

/// Every filed approval, held against the registry, the log and the policies: who may not approve now is not
/// counted.
pub(super) fn tally(
    door: (&dyn Host, &dyn Store),
    law: &Law,
    asked: (&Principal, &Matter),
) -> Result<Tally> {
    Ok(held(door, law, asked)?.1)
}

/// The same, with whose approvals were found, in the order in which they were filed.
fn held(
    (host, store): (&dyn Host, &dyn Store),
    law: &Law,
    (principal, matter): (&Principal, &Matter),
) -> Result<(Vec<String>, Tally)> {
    let Some((plan, of)) = matter.plan else { return Ok(Default::default()) };
    if law.registry.people.signers().is_empty() {
        return Ok(Default::default());
    }
    let Some(at) = approvals::as_of(store, host.now().utc_ns)? else {
        return Ok(Default::default());
    };
    let by = Some(principal.name());
    let asked = (plan, of, &matter.terms);
    let (filed, mut tally) = approvals::tally(store, &law.registry, asked, by, at)?;
    let loaded = law.loaded();
    let Some(set) = &loaded.set else { return Ok((filed, tally)) };
    let person = matches!(principal, Principal::Operator { .. });
    let requester = person.then_some(principal.name());
    let mut facts = facts_without(host, loaded, matter);
    facts.frozen = frozen(store)?;
    for (index, approver) in (0..).zip(&filed) {
        if !tally.counted.contains_key(approver) {
            continue;
        }
        let request = asks(host, loaded, matter, (approver, requester), facts.clone());
        let decision = decide(&request, set);
        if !decision.allowed {
            tally.counted.remove(approver);
            let why = reasons(&decision, set);
            tally.void.push((index, Void::Policy { approver: approver.clone(), why }));
        }
    }
    Ok((filed, tally))
}

/// The request of whoever signs by this name to approve.
fn asks(
    host: &dyn Host,
    law: &Loaded,
    matter: &Matter,
    (approver, requester): (&str, Option<&str>),
    mut facts: Facts,
) -> Request {
    // By the name that the site writes, so that policies tell nobody from himself.
    let nobody =
        || Principal::Operator { name: approver.to_owned(), uid: None, roles: BTreeSet::new() };
    let principal = law.config.signer(approver).unwrap_or_else(nobody);
    let spelt =
        |name: &str| law.config.signer(name).map_or(name.to_owned(), |p| p.name().to_owned());
    facts.requester = requester.map(spelt);
    facts.catalog = matter.catalog.about(Action::Approve);
    Request { principal, action: Action::Approve, subject: subject(host, matter), facts }
}

/// Whether whoever signs by this name may approve this now: the decision for the log, and why not. `None` where no
/// policies are in force.
pub fn may_approve(
    (host, store): (&dyn Host, Option<&dyn Store>),
    law: &Loaded,
    matter: &Matter,
    of: (&str, Option<&str>),
) -> Result<Option<(Fact, Option<String>)>> {
    let Some(set) = &law.set else { return Ok(None) };
    let mut facts = facts_without(host, law, matter);
    facts.frozen = store.map(frozen).transpose()?.flatten();
    let request = asks(host, law, matter, of, facts);
    let decision = decide(&request, set);
    let refused = (!decision.allowed).then(|| words(&decision, set));
    Ok(Some((told(&request, &decision, set, matter.on), refused)))
}
