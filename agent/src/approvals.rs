//! Approvals on this host: where they lie, which are used up, which count for a plan now.
//!
//! `STATE/approvals/<plan>/<person>.txt` is the text that was signed, `<person>.sig` beside it the signature
//! as ssh-keygen writes it; those for putting a run back lie in `revert/` there, those that countersign what
//! somebody did alone in `<run>-<entry>/`. One person has one approval of a kind: a later one takes the place of
//! the earlier. The text is written first: without its signature it is nothing.

use std::collections::BTreeSet;

use policy::{
    approval::{self, Filed, Scope, Tally, Terms, Wanted, Way},
    sshsig::{People, Revoked},
};
use serde::{Deserialize, Serialize};

use crate::{
    fault::{Fault, Kind, Result},
    log::{Fact, History, fact::portions},
    plan::HostId,
    store::Store,
};

/// Whose signatures count here: `CONFIG/allowed_signers` without `CONFIG/revoked_keys`.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    pub people: People,
    pub revoked: Revoked,
    /// `sha256:<hex>` over the texts that both were read from; `None` where there are none.
    pub digest: Option<String>,
}

/// An approval that was used up for a run, as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub approver: String,
    /// The digest of the text that was signed.
    pub id: String,
    pub key: String,
    pub expires: String,
    /// What was signed, and the signature: `ssh-keygen -Y verify` needs nothing else.
    pub text: String,
    pub signature: String,
}

/// The names of one person's approval of a plan, on these terms, in the store: the text, and its signature.
///
/// # Errors
/// A digest that is none.
pub fn names(plan: &str, terms: &Terms, person: &str) -> Result<(String, String)> {
    let hex = plan.trim_start_matches("sha256:");
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        let act = format!("file an approval of `{plan}`");
        return Err(Fault::new(Kind::Invalid, act, "not a plan's digest"));
    }
    // What is parsed as such has nothing in it that leads out of the folder.
    let folder = match (&terms.countersigns, terms.way) {
        (Some(act), _) => format!("{}-{}/", act.run, act.entry),
        (None, Way::Revert) => "revert/".to_owned(),
        (None, Way::Apply) => String::new(),
    };
    let stem = format!("approvals/{hex}/{folder}{person}");
    Ok((format!("{stem}.txt"), format!("{stem}.sig")))
}

/// Whom a plan for this host is approved for: the machine, not the name that may be given to another.
pub fn scope(host: &HostId) -> Scope {
    // A host without a machine id is told by its name; the plan's digest binds it all the same.
    let id = if host.machine.is_empty() { &host.name } else { &host.machine };
    Scope::Host(id.clone())
}

/// Every approval of this plan that somebody in the registry has filed for this way of walking it, with its person.
pub fn filed(
    store: &dyn Store,
    registry: &Registry,
    (plan, terms): (&str, &Terms),
) -> Result<Vec<(String, Filed)>> {
    let mut people = BTreeSet::new();
    people.extend(registry.people.signers().iter().map(|signer| signer.who.clone()));
    let mut filed = Vec::new();
    for person in people {
        let (text, signature) = names(plan, terms, &person)?;
        let (text, signature) = (store.get(&text)?, store.get(&signature)?);
        if let (Some(text), Some(signature)) = (text, signature) {
            filed.push((person, Filed { text, signature }));
        }
    }
    Ok(filed)
}

/// Every approval of this plan, held against what is asked and what is known now.
pub fn tally(
    store: &dyn Store,
    registry: &Registry,
    (plan, host, terms): (&str, &HostId, &Terms),
    requester: Option<&str>,
    at: jiff::Timestamp,
) -> Result<(Vec<String>, Tally)> {
    let filed = filed(store, registry, (plan, terms))?;
    let (of, filed): (Vec<String>, Vec<Filed>) = filed.into_iter().unzip();
    let (scope, used) = (scope(host), used(store)?);
    let wanted = Wanted { plan, scope: &scope, terms, requester, used: &used, at };
    let tally = approval::tally(&filed, &wanted, &registry.people, &registry.revoked);
    Ok((of, tally))
}

/// The time to hold expiries against: now, or the newest entry's, where the clock has been set back since.
pub fn as_of(store: &dyn Store, now_utc_ns: i64) -> Result<Option<jiff::Timestamp>> {
    let newest = History::fold(&store.entries()?)?.newest_utc_ns;
    let at = now_utc_ns.max(newest.unwrap_or(now_utc_ns));
    Ok(jiff::Timestamp::from_nanosecond(i128::from(at)).ok())
}

/// The ids of all approvals that this host's log says were used: for a run, or to countersign one that
/// somebody had begun alone.
pub fn used(store: &dyn Store) -> Result<BTreeSet<String>> {
    let history = History::fold(&store.entries()?)?;
    let alone = history.runs.iter().flat_map(|run| &run.break_glass);
    let countersigned = alone.filter_map(|glass| glass.countersigned.as_ref());
    let mut ids: BTreeSet<String> = countersigned.filter_map(|signed| signed.id.clone()).collect();
    let used = history.approvals_used.iter();
    for (seq, approval) in used.flat_map(|(seq, all)| all.iter().map(move |one| (seq, one))) {
        let used = Used::deserialize(approval).map_err(|error| {
            let act = format!("read the approvals used in log entry {seq}");
            Fault::new(Kind::Malformed, act, error.to_string())
        })?;
        ids.insert(used.id);
    }
    Ok(ids)
}

/// What the log says of the approvals that a run begins on. To be durable before its first write.
pub fn used_up(plan: &str, tally: &Tally) -> Vec<Fact> {
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let used = tally.counted.values().map(|approval| Used {
        approver: approval.approver.clone(),
        id: approval.id.clone(),
        key: approval.key.clone(),
        expires: approval.expires.to_string(),
        text: words(&approval.filed.text),
        signature: words(&approval.filed.signature),
    });
    // Strings: they always serialize.
    let used = used.filter_map(|used| serde_json::to_value(used).ok()).collect();
    let fact = |approvals| Fact::ApprovalsUsed { plan: plan.to_owned(), approvals };
    portions(used).into_iter().map(fact).collect()
}
