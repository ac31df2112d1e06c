//! Whose approvals of a plan count: the signature holds, it is not used up, and the policies let its signer
//! approve.

use policy::{
    approval::{Tally, Void},
    decide::decide,
    request::{Action, Principal, Request},
};

use super::{
    Desk,
    permission::{Matter, NAMED_MAX, facts_without, frozen, reasons, subject},
};
use crate::{approvals, engine::Telling, fault::Result, host::Host, law::Law, store::Store};

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
    let at = jiff::Timestamp::from_nanosecond(i128::from(host.now().utc_ns));
    let (Some((plan, of)), Ok(at)) = (matter.plan, at) else { return Ok(Default::default()) };
    if law.registry.people.signers().is_empty() {
        return Ok(Default::default());
    }
    let by = Some(principal.name());
    let (filed, mut tally) = approvals::tally(store, &law.registry, plan, of, by, at)?;
    let loaded = law.loaded();
    let Some(set) = &loaded.set else { return Ok((filed, tally)) };
    let mut facts = facts_without(host, loaded, matter);
    let person = matches!(principal, Principal::Operator { .. });
    facts.requester = person.then(|| principal.name().to_owned());
    facts.catalog = matter.catalog.about(Action::Approve);
    facts.frozen = frozen(store)?;
    let refused = |approver: &String| {
        let roles = loaded.config.roles_of(approver);
        let principal = Principal::Operator { name: approver.clone(), uid: None, roles };
        let (action, facts) = (Action::Approve, facts.clone());
        let request = Request { principal, action, subject: subject(host, matter), facts };
        let decision = decide(&request, set);
        (!decision.allowed).then(|| reasons(&decision, set))
    };
    for (index, approver) in (0..).zip(&filed) {
        if tally.counted.contains_key(approver)
            && let Some(why) = refused(approver)
        {
            tally.counted.remove(approver);
            tally.void.push((index, Void::Policy { approver: approver.clone(), why }));
        }
    }
    Ok((filed, tally))
}
