//! Attacks on approvals, each with the words it is refused by. Signatures are ssh-keygen's.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use policy::{
    approval::{
        Alone, Filed, LIFE_MAX, NAMESPACE, Scope, Statement, Tally, Terms, Void, Wanted, Way, tally,
    },
    sshsig::{People, Revoked},
};

use crate::keys::{Scratch, public};

const PLAN: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
const OTHER: &str = "sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9";
const HERE: &str = "4c4c45440043301080355b4c04f4a593";

fn now() -> Timestamp {
    "2026-11-28T08:00:00Z".parse().expect("a time")
}

fn after(time: Duration) -> Timestamp {
    now() + SignedDuration::try_from(time).expect("a span of time")
}

const HOUR: Duration = Duration::from_secs(3600);

/// Two people, one of them with two keys, and a key that is nobody's.
struct Office {
    scratch: Scratch,
    risk: PathBuf,
    risk_too: PathBuf,
    desk: PathBuf,
    stranger: PathBuf,
    signers: String,
}

impl Office {
    fn new(name: &str) -> Office {
        let scratch = Scratch::new(name);
        let key = |name: &str, kind: &[&str]| scratch.key(name, kind, "");
        let (risk, risk_too) = (key("risk", &["ed25519"]), key("risk2", &["ecdsa", "-b", "256"]));
        let (desk, stranger) = (key("desk", &["ed25519"]), key("stranger", &["ed25519"]));
        let signers = format!(
            "risk-1 {}\nrisk-1 {}\ndesk-2 {}\n",
            public(&risk),
            public(&risk_too),
            public(&desk)
        );
        Office { scratch, risk, risk_too, desk, stranger, signers }
    }

    fn sign(&self, key: &Path, statement: &Statement) -> Filed {
        let text = statement.text().into_bytes();
        let signature = self.scratch.sign(key, NAMESPACE, &text, &[]);
        Filed { text, signature }
    }

    fn tally(&self, filed: &[Filed], wanted: &Wanted<'_>) -> Tally {
        let people = People::parse(self.signers.as_bytes()).expect("a registry");
        tally(filed, wanted, &people, &Revoked::default())
    }

    /// What one filed approval comes to: its signer, or the words of its refusal.
    fn told(&self, filed: Filed, wanted: &Wanted<'_>) -> String {
        let tally = self.tally(&[filed], wanted);
        match (tally.counted.first_key_value(), tally.void.first()) {
            (Some((name, _)), None) => format!("counted for {name}"),
            (None, Some((_, void))) => void.to_string(),
            other => panic!("neither counted nor void: {other:?}"),
        }
    }
}

fn statement(approver: &str) -> Statement {
    Statement {
        plan: PLAN.to_owned(),
        scope: Scope::Host(HERE.to_owned()),
        terms: Terms::plain(Way::Apply),
        approver: approver.to_owned(),
        expires: after(12 * HOUR),
    }
}

struct Case<'a> {
    plan: &'a str,
    scope: Scope,
    terms: Terms,
    requester: Option<&'a str>,
    used: BTreeSet<String>,
    at: Timestamp,
}

impl Case<'_> {
    fn usual() -> Case<'static> {
        let (scope, terms) = (Scope::Host(HERE.to_owned()), Terms::plain(Way::Apply));
        Case {
            plan: PLAN,
            scope,
            terms,
            requester: Some("ops-1"),
            used: BTreeSet::new(),
            at: now(),
        }
    }

    fn wanted(&self) -> Wanted<'_> {
        let Case { plan, scope, terms, requester, used, at } = self;
        Wanted { plan, scope, terms, requester: *requester, used, at: *at }
    }
}

#[test]
fn every_attack_on_an_approval_is_refused_and_says_why() {
    let office = Office::new("approval-attacks");
    let good = office.sign(&office.risk, &statement("risk-1"));
    let usual = Case::usual();
    assert_eq!(office.told(good.clone(), &usual.wanted()), "counted for risk-1");

    let edited = |from: &str, to: &str| {
        let text = String::from_utf8(good.text.clone()).expect("text").replace(from, to);
        assert_ne!(text.as_bytes(), good.text, "{from} is there");
        Filed { text: text.into_bytes(), signature: good.signature.clone() }
    };
    let signed = |key: &PathBuf, change: &dyn Fn(&mut Statement)| {
        let mut statement = statement("risk-1");
        change(&mut statement);
        office.sign(key, &statement)
    };
    let used = BTreeSet::from([statement("risk-1").id()]);
    let elsewhere = Scope::Host("another".to_owned());
    let rollout = Scope::Rollout("golden-7".to_owned());
    let mut git = good.clone();
    git.signature = office.scratch.sign(&office.risk, "git", &good.text, &[]);
    let far = after(LIFE_MAX + HOUR);

    let asked = |change: &dyn Fn(&mut Terms)| {
        let mut case = Case::usual();
        change(&mut case.terms);
        case
    };
    let act = || Some(Alone { run: "20261128T080000Z-0001".to_owned(), entry: 17 });

    let table: Vec<(&str, Filed, Case<'_>, &str)> = vec![
        (
            "given for a run, taken for putting it back",
            good.clone(),
            asked(&|terms| terms.way = Way::Revert),
            "it is for `apply`, not for `revert`",
        ),
        (
            "a hazard overridden that nobody was shown",
            good.clone(),
            asked(&|terms| terms.overrides.extend(["KB-096".to_owned()])),
            "it says nothing of overriding KB-096",
        ),
        (
            "another standby path than the one that was consented to",
            signed(&office.risk, &|statement| statement.terms.standby = Some("eth3".to_owned())),
            asked(&|terms| terms.standby = Some("eth4".to_owned())),
            "it is given for standby eth3, not for eth4",
        ),
        (
            "an old approval taken for a countersignature",
            good.clone(),
            asked(&|terms| terms.countersigns = act()),
            "it countersigns none, not 20261128T080000Z-0001#17",
        ),
        (
            "a countersignature taken for an approval",
            signed(&office.risk, &|statement| statement.terms.countersigns = act()),
            Case::usual(),
            "it countersigns 20261128T080000Z-0001#17, not none",
        ),
        (
            "a statement that says nothing of all that",
            edited("nicmend approval 2", "nicmend approval 1"),
            Case::usual(),
            "says nothing of what is overridden; sign anew",
        ),
        (
            "replayed for another plan",
            good.clone(),
            Case { plan: OTHER, ..Case::usual() },
            "it is for plan sha256:2c26",
        ),
        (
            "replayed on another host",
            good.clone(),
            Case { scope: elsewhere, ..Case::usual() },
            "it is for host 4c4c",
        ),
        (
            "a host's used for a rollout",
            good.clone(),
            Case { scope: rollout.clone(), ..Case::usual() },
            "it is for host 4c4c",
        ),
        (
            "a rollout's used on a host",
            signed(&office.risk, &|s| s.scope = rollout.clone()),
            Case::usual(),
            "it is for rollout golden-7",
        ),
        ("used a second time", good.clone(), Case { used, ..Case::usual() }, "used before"),
        (
            "after it expired",
            good.clone(),
            Case { at: after(12 * HOUR), ..Case::usual() },
            "expired at 2026-11-28T20:00:00Z",
        ),
        (
            "signed for too long",
            signed(&office.risk, &|s| s.expires = far),
            Case::usual(),
            "more than 7 days",
        ),
        ("with its expiry edited", edited("20:00:00Z", "23:00:00Z"), Case::usual(), "does not fit"),
        (
            "with its plan edited",
            edited(PLAN, OTHER),
            Case { plan: OTHER, ..Case::usual() },
            "does not fit",
        ),
        ("with its approver edited", edited("risk-1", "desk-2"), Case::usual(), "does not fit"),
        (
            "in another's name",
            signed(&office.desk, &|_| ()),
            Case::usual(),
            "names risk-1 as approver, the key is desk-2's",
        ),
        ("by a key that is nobody's", signed(&office.stranger, &|_| ()), Case::usual(), "nobody's"),
        (
            "by whoever asks",
            good.clone(),
            Case { requester: Some("risk-1"), ..Case::usual() },
            "nobody approves his own",
        ),
        (
            "by whoever asks, in capitals",
            good.clone(),
            Case { requester: Some("RISK-1"), ..Case::usual() },
            "nobody approves his own",
        ),
        ("made in another namespace", git, Case::usual(), "`git`, not for `nicmend-plan`"),
        (
            "spelt otherwise",
            edited("approver risk-1\n", "approver  risk-1\n"),
            Case::usual(),
            "not an approval",
        ),
        (
            "with lines added",
            edited("expires", "note: fine\nexpires"),
            Case::usual(),
            "not an approval",
        ),
        ("with CRLF", edited("\n", "\r\n"), Case::usual(), "not an approval"),
        (
            "of another version",
            edited("approval 2", "approval 3"),
            Case::usual(),
            "not an approval",
        ),
        (
            "empty",
            Filed { text: Vec::new(), signature: good.signature.clone() },
            Case::usual(),
            "not an approval",
        ),
        (
            "huge",
            Filed { text: vec![b'x'; 1 << 20], signature: vec![b'x'; 1 << 20] },
            Case::usual(),
            "too long",
        ),
        (
            "without a signature",
            Filed { text: good.text.clone(), signature: Vec::new() },
            Case::usual(),
            "not an SSH signature",
        ),
    ];
    for (attack, filed, case, words) in table {
        let told = office.told(filed, &case.wanted());
        assert!(told.contains(words), "{attack}: {told}");
    }
}

#[test]
fn one_person_is_one_approval_whatever_the_key_and_two_people_are_two() {
    let office = Office::new("approval-count");
    let usual = Case::usual();
    let mut later = statement("risk-1");
    later.expires = after(6 * HOUR);
    let filed = [
        office.sign(&office.risk, &statement("risk-1")),
        office.sign(&office.risk_too, &later),
        office.sign(&office.desk, &statement("desk-2")),
    ];
    let tally = office.tally(&filed, &usual.wanted());
    assert_eq!(tally.counted.keys().collect::<Vec<_>>(), ["desk-2", "risk-1"]);
    assert_eq!(tally.void, [(1, Void::Again("risk-1".to_owned()))]);
    // Each is another text, so the use of one does not use up the other.
    assert_ne!(tally.counted["desk-2"].id, tally.counted["risk-1"].id);
}

#[test]
fn a_key_that_was_revoked_or_has_expired_takes_its_approvals_with_it() {
    let office = Office::new("approval-revoked");
    let filed = [office.sign(&office.risk, &statement("risk-1"))];
    let usual = Case::usual();
    let people = People::parse(office.signers.as_bytes()).expect("a registry");
    let revoked = Revoked::parse(public(&office.risk).as_bytes()).expect("a list");
    let stolen = tally(&filed, &usual.wanted(), &people, &revoked);
    assert!(stolen.void[0].1.to_string().contains("revoked"), "{stolen:?}");
    let line = format!("risk-1 valid-before=\"20261128Z\" {}\n", public(&office.risk));
    let people = People::parse(line.as_bytes()).expect("a registry");
    let expired = tally(&filed, &usual.wanted(), &people, &Revoked::default());
    assert!(expired.void[0].1.to_string().contains("expired"), "{expired:?}");
    assert!(expired.counted.is_empty());
}

/// What `docs/approvals.md` tells an auditor to type.
#[test]
fn ssh_keygen_verifies_the_same_bytes() {
    let office = Office::new("approval-openssh");
    let Filed { text, signature } = office.sign(&office.risk, &statement("risk-1"));
    let verified = |who: &str, namespace: &str, text: &[u8]| {
        office.scratch.verified(&office.signers, who, namespace, text, &signature)
    };
    assert!(verified("risk-1", NAMESPACE, &text));
    assert!(!verified("desk-2", NAMESPACE, &text));
    assert!(!verified("risk-1", "git", &text));
    assert!(!verified("risk-1", NAMESPACE, b"nicmend approval 1\n"));
}
