//! A deed that was done while another process wrote the log, on its way into it. Pure.
//!
//! Whoever freezes a host, approves a plan or aborts a run does not wait for a run in flight. He writes down
//! what he did, durably, and the one writer enters it (see `intake.rs`): with his time, by his clock, once.
//!
//! A deed lies under a name that its own bytes give it, so that one that is torn or was changed is told. That
//! keeps no root out, who can write any deed as well as any log.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::fact::{ENTRY_BYTES_MAX, Entered, Entry, Fact, VERSION, Who};
use crate::host::{Clock, Now};

/// The longest deed that is written or read, bytes; each of its facts has to fit an entry.
pub const DEED_BYTES_MAX: usize = ENTRY_BYTES_MAX - 4096;
/// A request, its decision, and what came of it.
const FACTS_MAX: usize = 8;
/// A run's id is shorter.
const RUN_BYTES_MAX: usize = 64;
/// The format's version.
const FORMAT: u32 = 1;

/// What may be said in this way: requests and decisions of these actions, and what came of them.
const ACTIONS: [&str; 4] = ["freeze", "thaw", "approve", "abort"];

/// What somebody did, when, by which clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deed {
    pub v: u32,
    pub at: Now,
    pub who: Who,
    pub host: String,
    pub clock: Clock,
    /// The run that it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    pub facts: Vec<Fact>,
}

impl Deed {
    pub fn new(at: Now, who: Who, (host, clock): (String, Clock), run: Option<&str>) -> Deed {
        Deed { v: FORMAT, at, who, host, clock, run: run.map(str::to_owned), facts: Vec::new() }
    }

    /// The bytes in which it waits.
    ///
    /// # Errors
    /// Why no writer would take them up.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let bytes = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        Deed::read(&bytes).map(|_| bytes)
    }

    /// The name under which these bytes lie: the time first, so that names are in order of it.
    pub fn name(&self, bytes: &[u8]) -> String {
        let id = id(bytes);
        format!("{:020}-{}", self.at.utc_ns.max(0), &id["sha256:".len()..][..32])
    }

    /// Reads what was found under this name.
    ///
    /// # Errors
    /// Why it is no deed that could be entered.
    pub fn found(name: &str, bytes: &[u8]) -> Result<Deed, String> {
        let deed = Deed::read(bytes)?;
        match deed.name(bytes) == name {
            true => Ok(deed),
            false => Err("its name is not the one that its bytes give it: torn, or changed".into()),
        }
    }

    fn read(bytes: &[u8]) -> Result<Deed, String> {
        if bytes.len() > DEED_BYTES_MAX {
            return Err(format!("{} bytes, at most {DEED_BYTES_MAX} are read", bytes.len()));
        }
        let deed: Deed = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if deed.v != FORMAT {
            return Err(format!("format {}, not {FORMAT}", deed.v));
        }
        if deed.facts.is_empty() || deed.facts.len() > FACTS_MAX {
            return Err(format!("{} facts, not 1 to {FACTS_MAX}", deed.facts.len()));
        }
        if let Some(fact) = deed.facts.iter().find(|fact| !may_be_said(fact)) {
            let kind = serde_json::to_value(fact).unwrap_or_default()["kind"].to_string();
            return Err(format!("{kind} is nothing that is handed over"));
        }
        let plain = |run: &String| {
            run.len() <= RUN_BYTES_MAX
                && run.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !deed.run.as_ref().is_none_or(plain) {
            return Err("its run is no run's id".to_owned());
        }
        // Two texts that say the same would be two deeds.
        match serde_json::to_vec(&deed) {
            Ok(again) if again == bytes => Ok(deed),
            Ok(_) | Err(_) => Err("not written as nicmend writes it".to_owned()),
        }
    }

    /// Its entries, from place `seq` on: the deed's own time and clock, and when it was entered.
    pub fn entries(&self, seq: u64, epoch: u64, entered: &Entered) -> Vec<Entry> {
        let entry = |(seq, fact): (u64, &Fact)| Entry {
            v: VERSION,
            seq,
            at: self.at.clone(),
            epoch,
            who: Some(self.who.clone()),
            host: Some(self.host.clone()),
            clock: Some(self.clock.clone()),
            run: self.run.clone(),
            entered: Some(entered.clone()),
            fact: fact.clone(),
        };
        (seq..).zip(&self.facts).map(entry).collect()
    }

    /// In a few words, for people.
    pub fn words(&self) -> String {
        let who = self.who.principal.clone().unwrap_or_else(|| format!("uid {}", self.who.uid));
        let what = self.facts.iter().find_map(|fact| match fact {
            Fact::Requested(request) => Some(format!("{} {}", request.action, request.on)),
            _ => None,
        });
        format!("{} by {who}", what.unwrap_or_else(|| "a deed".to_owned()))
    }
}

/// `sha256:<hex>` of a deed's bytes: under this it is entered once.
pub fn id(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Nothing of a run, of keys or of approvals used up: those only the writer can know.
fn may_be_said(fact: &Fact) -> bool {
    match fact {
        Fact::Requested(request) => ACTIONS.contains(&request.action.as_str()),
        Fact::Decision(decision) => ACTIONS.contains(&decision.action.as_str()),
        other => matches!(other, Fact::Frozen { .. } | Fact::Thawed { .. }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::office::Request;

    fn deed(facts: Vec<Fact>) -> Deed {
        let at = Now { utc_ns: 1_767_576_600_000_000_000, mono_ns: 7, boot_id: "5f".to_owned() };
        let place = ("trade1".to_owned(), Clock::unknown());
        Deed { facts, ..Deed::new(at, Who::uid(0), place, None) }
    }

    fn frozen() -> Fact {
        Fact::Frozen { why: "look".to_owned(), uid: 0 }
    }

    #[test]
    fn a_deed_is_read_under_its_own_name_only_and_whole() {
        let deed = deed(vec![frozen()]);
        let bytes = deed.encode().unwrap();
        let name = deed.name(&bytes);
        assert_eq!(Deed::found(&name, &bytes), Ok(deed));
        for at in 0..bytes.len() {
            assert!(Deed::found(&name, &bytes[..at]).is_err(), "cut at {at}");
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Deed::found(&name, &bad).is_err(), "byte {at}");
        }
        assert!(Deed::found("00000000000000000001-ab", &bytes).is_err());
        let blank = [bytes.as_slice(), b" "].concat();
        assert!(Deed::read(&blank).is_err(), "there is one way of writing it");
    }

    #[test]
    fn nothing_that_only_the_writer_knows_is_handed_over() {
        let asked = |action: &str| {
            let request = Request { action: action.to_owned(), ..Request::default() };
            deed(vec![Fact::Requested(request)]).encode().is_ok()
        };
        assert!(ACTIONS.into_iter().all(asked));
        assert!(!asked("apply") && !asked("break-glass"));
        let why = || "so".to_owned();
        for fact in [
            Fact::Reverting { why: why() },
            Fact::Refused { rule: why(), why: why() },
            Fact::ApprovalsUsed { plan: why(), approvals: Vec::new() },
            Fact::AgentStopped { why: why() },
        ] {
            assert!(deed(vec![fact.clone()]).encode().is_err(), "{fact:?}");
        }
        assert!(deed(Vec::new()).encode().is_err());
        assert!(deed(vec![frozen(); FACTS_MAX + 1]).encode().is_err());
        let run = |run: &str| Deed { run: Some(run.to_owned()), ..deed(vec![frozen()]) };
        assert!(run("20260105T013000Z-1f3a").encode().is_ok());
        assert!(run("../lock").encode().is_err());
        let long = Fact::Frozen { why: "x".repeat(DEED_BYTES_MAX), uid: 0 };
        assert!(deed(vec![long]).encode().is_err());
    }
}
