//! Approvals: a person's signature over a plan's digest and an expiry.
//!
//! What is signed is a [`Statement`], a few lines of text that a person can read and `ssh-keygen -Y verify`
//! can check without us:
//!
//! ```text
//! nicmend approval 2
//! plan sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
//! host 4c4c4544-0043-3010-8035-b4c04f4a5931
//! for apply
//! overrides KB-096,allow-management
//! standby eth3
//! countersigns none
//! approver risk-1
//! expires 2026-11-28T20:00:00Z
//! ```
//!
//! It holds for one plan on one host (or one rollout of the fleet), for the direction, the overrides and the
//! standby path that it names, until it expires, once. A plan's digest covers the host, the NIC and every value it
//! starts from, so a plan that changed has no approvals.

mod terms;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    config::same_person,
    sshsig::{self, People, Revoked},
};

/// The namespace that approvals are signed in, and nothing else.
pub const NAMESPACE: &str = "nicmend-plan";

/// How long an approval holds where nothing else is said: the trading day after the evening before.
pub const LIFE: Duration = Duration::from_secs(12 * 3600);

/// The longest that an approval may still hold: whoever signs for longer signs for what he cannot know.
pub const LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A statement is nine lines, of which one may name many overrides.
pub const STATEMENT_BYTES_MAX: usize = 8192;

const HEAD: &str = "nicmend approval 2";
/// Said nothing of the direction, of what is overridden and of the standby path.
const HEAD_BEFORE: &str = "nicmend approval 1";

pub use terms::{Alone, Terms, Way};

/// What a person signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// `sha256:<hex>`.
    pub plan: String,
    pub scope: Scope,
    pub terms: Terms,
    /// The person, by the name in `allowed_signers`.
    pub approver: String,
    /// In whole seconds.
    pub expires: Timestamp,
}

/// Where a plan may run by virtue of an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// On the host with this machine id.
    Host(String),
    /// On the hosts of this rollout.
    Rollout(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Host(name) => write!(f, "host {name}"),
            Scope::Rollout(name) => write!(f, "rollout {name}"),
        }
    }
}

impl Statement {
    /// The bytes that are signed.
    pub fn text(&self) -> String {
        let Statement { plan, scope, terms, approver, expires } = self;
        let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ");
        let terms = terms.lines().join("\n");
        format!("{HEAD}\nplan {plan}\n{scope}\n{terms}\napprover {approver}\nexpires {expires}\n")
    }

    /// Reads a statement. Anything but the one way of writing it is refused: two texts that say the same
    /// would be two approvals.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Statement, Void> {
        let wrong = |why: &str| Void::Malformed(why.to_owned());
        if text.len() > STATEMENT_BYTES_MAX {
            return Err(wrong("too long"));
        }
        let text = std::str::from_utf8(text).map_err(|_| wrong("not UTF-8"))?;
        let lines: Vec<&str> = text.lines().collect();
        if lines.first() == Some(&HEAD_BEFORE) {
            return Err(wrong(
                "it is of a nicmend before, and says nothing of what is overridden; sign anew",
            ));
        }
        let [HEAD, plan, scope, way, overrides, standby, countersigns, approver, expires] =
            lines[..]
        else {
            return Err(wrong("not the nine lines of a `nicmend approval 2`"));
        };
        let after = |line: &'_ str, word: &str| {
            let rest = line.strip_prefix(word).and_then(|rest| rest.strip_prefix(' '))?;
            let plain = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic());
            plain.then(|| rest.to_owned())
        };
        let need =
            |line, word: &str| after(line, word).ok_or_else(|| wrong(&format!("no line `{word}`")));
        let (way, overrides) = (need(way, "for")?, need(overrides, "overrides")?);
        let (standby, countersigns) =
            (need(standby, "standby")?, need(countersigns, "countersigns")?);
        let terms = Terms::read([&way, &overrides, &standby, &countersigns]).map_err(wrong)?;
        let scope = match (after(scope, "host"), after(scope, "rollout")) {
            (Some(name), _) => Scope::Host(name),
            (None, Some(name)) => Scope::Rollout(name),
            (None, None) => return Err(wrong("no line `host` or `rollout`")),
        };
        let expires = need(expires, "expires")?;
        let statement = Statement {
            plan: need(plan, "plan")?,
            scope,
            terms,
            approver: need(approver, "approver")?,
            expires: expires.parse().map_err(|_| wrong("`expires` is no time"))?,
        };
        if statement.text() != text {
            return Err(wrong("not written as nicmend writes it"));
        }
        Ok(statement)
    }

    /// What its use is recorded under: `sha256:<hex>` of the text.
    pub fn id(&self) -> String {
        let digest = Sha256::digest(self.text());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }
}

/// An approval as it is filed: the text, and its armoured signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filed {
    pub text: Vec<u8>,
    pub signature: Vec<u8>,
}

/// What approvals are wanted for.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub plan: &'a str,
    pub scope: &'a Scope,
    /// What is asked beside the plan itself.
    pub terms: &'a Terms,
    /// Whoever asks for the run: nobody approves his own.
    pub requester: Option<&'a str>,
    /// The ids of approvals that were used up before.
    pub used: &'a BTreeSet<String>,
    pub at: Timestamp,
}

/// An approval that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub approver: String,
    pub id: String,
    /// The key's fingerprint.
    pub key: String,
    pub expires: Timestamp,
    /// As it was signed: the evidence.
    pub filed: Filed,
}

/// Why an approval does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Void {
    #[error("not an approval: {0}")]
    Malformed(String),
    #[error("it is for plan {0}")]
    OtherPlan(String),
    #[error("it is for {0}")]
    OtherScope(Scope),
    #[error("{0}")]
    OtherTerms(String),
    #[error("it expired at {0}")]
    Expired(Timestamp),
    #[error("it would hold until {0}, more than {days} days from now", days = LIFE_MAX.as_secs() / 86_400)]
    TooLong(Timestamp),
    #[error("it was used before")]
    Used,
    #[error("{0}")]
    Signature(#[from] sshsig::Refused),
    #[error("it names {named} as approver, the key is {signer}'s")]
    OtherSigner { named: String, signer: String },
    #[error("{0} asks for this run, and nobody approves his own")]
    Own(String),
    #[error("{0} approved it already: one person is one approval, whatever the key")]
    Again(String),
    #[error("{approver} may not approve it: {why}")]
    Policy { approver: String, why: String },
}

/// What all the filed approvals come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// By person.
    pub counted: BTreeMap<String, Approval>,
    /// The others, by their place among those filed.
    pub void: Vec<(usize, Void)>,
}

/// Holds every filed approval against what is wanted. An approval is counted once a person.
pub fn tally(filed: &[Filed], wanted: &Wanted<'_>, people: &People, revoked: &Revoked) -> Tally {
    let mut tally = Tally::default();
    for (index, filed) in filed.iter().enumerate() {
        match check(filed, wanted, people, revoked) {
            Ok(approval) if tally.counted.contains_key(&approval.approver) => {
                tally.void.push((index, Void::Again(approval.approver)));
            }
            Ok(approval) => {
                tally.counted.insert(approval.approver.clone(), approval);
            }
            Err(void) => tally.void.push((index, void)),
        }
    }
    tally
}

/// One approval.
///
/// # Errors
/// The first reason for which it does not count.
pub fn check(
    filed: &Filed,
    wanted: &Wanted<'_>,
    people: &People,
    revoked: &Revoked,
) -> Result<Approval, Void> {
    let statement = Statement::parse(&filed.text)?;
    let signer =
        sshsig::verify(people, revoked, NAMESPACE, &filed.text, &filed.signature, wanted.at)?;
    if signer.who != statement.approver {
        let signer = signer.who.clone();
        return Err(Void::OtherSigner { named: statement.approver, signer });
    }
    if statement.plan != wanted.plan {
        return Err(Void::OtherPlan(statement.plan));
    }
    if statement.scope != *wanted.scope {
        return Err(Void::OtherScope(statement.scope));
    }
    statement.terms.cover(wanted.terms).map_err(Void::OtherTerms)?;
    if statement.expires <= wanted.at {
        return Err(Void::Expired(statement.expires));
    }
    // Saturating: beyond the last time that can be told, everything is too long.
    let latest =
        wanted.at.saturating_add(jiff::SignedDuration::try_from(LIFE_MAX).unwrap_or_default());
    if latest.is_ok_and(|latest| statement.expires > latest) {
        return Err(Void::TooLong(statement.expires));
    }
    let id = statement.id();
    if wanted.used.contains(&id) {
        return Err(Void::Used);
    }
    if wanted.requester.is_some_and(|asks| same_person(asks, &signer.who)) {
        return Err(Void::Own(signer.who.clone()));
    }
    let (approver, expires) = (statement.approver, statement.expires);
    Ok(Approval { approver, id, key: signer.key.fingerprint(), expires, filed: filed.clone() })
}
