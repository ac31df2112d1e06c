//! Break-glass: who acted alone, why, by when it was to be countersigned, and whether it was.

use serde::Serialize;

use super::{Entry, RunRecord, office::Request};

/// A run that somebody began, or put back, without the approvals that were wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BreakGlass {
    pub why: String,
    /// `apply`, `revert`.
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Until when it was to be countersigned, nanoseconds since 1970.
    pub due_utc_ns: i64,
    /// The first approval of the same plan by another person afterwards.
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
}

impl BreakGlass {
    /// How it stands, for people.
    pub fn words(&self, now_utc_ns: i64) -> String {
        let who = self.by.as_deref().unwrap_or("somebody");
        let stand = match &self.countersigned {
            Some(Countersigned { by, in_time: true, .. }) => format!("countersigned by {by}"),
            Some(Countersigned { by, in_time: false, .. }) => {
                format!("countersigned by {by}, TOO LATE")
            }
            None if now_utc_ns > self.due_utc_ns => "NOT COUNTERSIGNED in time".to_owned(),
            None => {
                let left = (self.due_utc_ns - now_utc_ns) / 60_000_000_000;
                format!("to be countersigned within {left} min: `nicmend approve` of its plan")
            }
        };
        format!("BREAK-GLASS ({}) by {who}: {}; {stand}", self.action, self.why)
    }
}

/// Takes in what was asked for this run.
pub(super) fn broken(run: &mut RunRecord, request: &Request, entry: &Entry) {
    let text = |name: &str| request.details.get(name).and_then(|value| value.as_str());
    let within_s = request.details.get("countersign-within-s").and_then(|value| value.as_i64());
    let Some(why) = text("break-glass") else { return };
    run.break_glass.push(BreakGlass {
        why: why.to_owned(),
        action: request.action.clone(),
        by: entry.who.as_ref().and_then(|who| who.principal.clone()),
        due_utc_ns: entry
            .at
            .utc_ns
            .saturating_add(within_s.unwrap_or(0).saturating_mul(1_000_000_000)),
        countersigned: None,
    });
}

/// An approval of the same plan after the fact, by somebody else, is the countersignature.
pub(super) fn countersigned(run: &mut RunRecord, request: &Request, entry: &Entry) {
    if request.action != "approve" || request.on != run.plan {
        return;
    }
    let text = |name: &str| request.details.get(name).and_then(|value| value.as_str());
    let Some(by) = text("approver") else { return };
    let others = |glass: &&mut BreakGlass| glass.by.as_deref() != Some(by);
    let open = run.break_glass.iter_mut().filter(|glass| glass.countersigned.is_none());
    for glass in open.filter(others) {
        let utc_ns = entry.at.utc_ns;
        let in_time = utc_ns <= glass.due_utc_ns;
        let (by, id) = (by.to_owned(), text("id").map(str::to_owned));
        glass.countersigned = Some(Countersigned { by, id, utc_ns, in_time });
    }
}
