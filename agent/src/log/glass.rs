//! Break-glass: who acted alone, why, by when it was to be countersigned, and whether it was.
//!
//! A request is no act: it becomes one with the first intent that follows it, or with the word that a run is being
//! put back. What policies or guards refused, and what ended in its baseline, needs nobody's signature.

use policy::{approval::Alone, config::same_person};
use serde::Serialize;

use super::{Entry, Fact, RunRecord, office::Request};

/// A run that somebody began, or put back, without the approvals that were wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BreakGlass {
    pub why: String,
    /// `apply`, `revert`.
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    pub run: String,
    /// The entry in which it was asked for: with the run, what a countersignature names.
    pub entry: u64,
    /// What was overridden, and the NIC that carried the traffic meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
    /// Until when it was to be countersigned, nanoseconds since 1970.
    pub due_utc_ns: i64,
    /// Whether the log says that the time passed without one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lapsed: bool,
    /// The first signature for it by another person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub countersigned: Option<Countersigned>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Countersigned {
    pub by: String,
    /// The digest of the text that was signed: that approval is used up by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub utc_ns: i64,
    pub in_time: bool,
    /// Whether the clock that says so was synchronised.
    pub synchronised: bool,
}

/// The word of a countersignature or an approval that says what it covers. (Before, any approval of the plan by
/// another person was the countersignature.)
pub const FORM: &str = "2";

impl BreakGlass {
    /// What a countersignature names.
    pub fn named(&self) -> Alone {
        Alone { run: self.run.clone(), entry: self.entry }
    }

    /// Whether it waits for a signature, by whom ever.
    pub fn open(&self) -> bool {
        self.countersigned.is_none()
    }

    /// How it stands, for people.
    pub fn words(&self, now_utc_ns: i64) -> String {
        let who = self.by.as_deref().unwrap_or("somebody");
        let stand = match &self.countersigned {
            Some(signed) => {
                let late = if signed.in_time { "" } else { ", TOO LATE" };
                let clock = match signed.synchronised {
                    true => "",
                    false => " (by a clock that was not synchronised)",
                };
                format!("countersigned by {}{late}{clock}", signed.by)
            }
            None if self.lapsed || now_utc_ns > self.due_utc_ns => {
                "NOT COUNTERSIGNED in time".to_owned()
            }
            None => {
                let left = (self.due_utc_ns - now_utc_ns) / 60_000_000_000;
                let named = self.named();
                format!(
                    "to be countersigned within {left} min: `nicmend approve PLAN --countersign {named}`"
                )
            }
        };
        format!("BREAK-GLASS ({}) by {who}: {}; {stand}", self.action, self.why)
    }
}

/// Takes in what was asked for this run, and what came of it.
pub(super) fn took(run: &mut RunRecord, entry: &Entry) {
    let fact = &entry.fact;
    if let Fact::Requested(request) = fact {
        asked(run, request, entry);
    }
    let refused = matches!(fact, Fact::Decision(decision) if !decision.allowed);
    if refused || matches!(fact, Fact::Refused { .. }) {
        run.breaking = None;
    }
    if matches!(fact, Fact::Intent { .. } | Fact::Firmware { .. } | Fact::Reverting { .. }) {
        run.break_glass.extend(run.breaking.take());
    }
    if let Fact::Uncountersigned { entry, .. } = fact {
        let lapsed = run.break_glass.iter_mut().filter(|glass| glass.entry == *entry);
        lapsed.for_each(|glass| glass.lapsed = true);
    }
}

fn asked(run: &mut RunRecord, request: &Request, entry: &Entry) {
    let text = |name: &str| request.details.get(name).and_then(|value| value.as_str());
    let within_s = request.details.get("countersign-within-s").and_then(|value| value.as_i64());
    run.breaking = text("break-glass").map(|why| BreakGlass {
        why: why.to_owned(),
        action: request.action.clone(),
        by: entry.who.as_ref().and_then(|who| who.principal.clone()),
        run: run.id.clone(),
        entry: entry.seq,
        overrides: request
            .overrides
            .iter()
            .filter(|word| !BY_ACTION.contains(&word.as_str()))
            .cloned()
            .collect(),
        standby: text("standby").map(str::to_owned),
        due_utc_ns: entry
            .at
            .utc_ns
            .saturating_add(within_s.unwrap_or(0).saturating_mul(1_000_000_000)),
        lapsed: false,
        countersigned: None,
    });
}

/// What stands among the overrides and is no word that people sign: the ids do.
const BY_ACTION: [&str; 2] = ["break-glass", "override-hazard"];

/// A signature by somebody else that names what was done alone is the countersignature: of one act, the one that it
/// names. `newest_utc_ns`: the latest time that the log has seen, by which a clock that was set back is found.
pub(super) fn countersigned(
    run: &mut RunRecord,
    request: &Request,
    entry: &Entry,
    newest_utc_ns: Option<i64>,
) {
    if request.action != "approve" || request.on != run.plan {
        return;
    }
    let text = |name: &str| request.details.get(name).and_then(|value| value.as_str());
    let Some(by) = text("approver") else { return };
    let names = text("countersigns").and_then(Alone::parse);
    let meant = |glass: &BreakGlass| match (&names, text("form")) {
        (Some(named), _) => *named == glass.named(),
        (None, Some(_)) => false,
        (None, None) => true,
    };
    let another = |glass: &BreakGlass| glass.by.as_deref().is_none_or(|who| !same_person(who, by));
    let mut acts = run.break_glass.iter_mut();
    let Some(glass) = acts.find(|glass| glass.open() && meant(glass) && another(glass)) else {
        return;
    };
    // A deed that waited for the writer counts by the time at which it was done.
    let newest_utc_ns = newest_utc_ns.filter(|_| entry.entered.is_none());
    let utc_ns = entry.at.utc_ns.max(newest_utc_ns.unwrap_or(i64::MIN));
    let synchronised = entry.clock.as_ref().is_some_and(|clock| clock.synchronised);
    let in_time = utc_ns <= glass.due_utc_ns;
    let (by, id) = (by.to_owned(), text("id").map(str::to_owned));
    glass.countersigned = Some(Countersigned { by, id, utc_ns, in_time, synchronised });
}
