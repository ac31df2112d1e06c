//! One request held against the policies: allowed or not, by which policies, and what would satisfy them.

use cedar_policy::Authorizer;
use serde::{Deserialize, Serialize};

use crate::{
    request::{Action, Principal, Request},
    set::PolicySet,
    ways::{self, Way},
};

/// What the policies say to a request. Printed and logged as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decision {
    pub action: Action,
    pub principal: Principal,
    pub allowed: bool,
    /// The policies that decided, by id, sorted: those that permit, or those that forbid. Empty where no
    /// policy permits.
    pub by: Vec<String>,
    /// Why a policy could not be evaluated, where one could not: that refuses.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub faults: Vec<String>,
    /// Each of these would be enough. Empty where the request is allowed, or nothing is known to help.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ways: Vec<Way>,
    /// `sha256:<hex>` over the request with all its circumstances.
    pub context: String,
    /// `sha256:<hex>` over the policies.
    pub policies: String,
}

/// Where nothing permits.
pub const NO_PERMIT: &str = "no-policy-permits";
/// Where a policy cannot be evaluated.
pub const FAULT: &str = "policy-fault";

impl Decision {
    /// The rule to name a refusal by: the first policy that forbids.
    pub fn rule(&self) -> &str {
        match (self.by.first(), self.faults.is_empty()) {
            (Some(id), _) => id,
            (None, true) => NO_PERMIT,
            (None, false) => FAULT,
        }
    }
}

/// Decides. What would satisfy the policies is worked out for a refusal only.
pub fn decide(request: &Request, set: &PolicySet) -> Decision {
    let ruled = rule(request, set);
    let ways = match ruled.allowed || !ruled.faults.is_empty() {
        true => Vec::new(),
        false => ways::of(request, set),
    };
    Decision {
        action: request.action,
        principal: request.principal.clone(),
        allowed: ruled.allowed,
        by: ruled.by,
        faults: ruled.faults,
        ways,
        context: request.digest(),
        policies: set.digest().to_owned(),
    }
}

/// The decision alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    pub allowed: bool,
    pub by: Vec<String>,
    pub faults: Vec<String>,
}

/// Decides, and works out nothing besides.
pub fn rule(request: &Request, set: &PolicySet) -> Ruled {
    let refused = |faults: Vec<String>| Ruled { allowed: false, by: Vec::new(), faults };
    let asked = match set.vocabulary.asked(request) {
        Ok(asked) => asked,
        Err(error) => return refused(vec![error]),
    };
    // What is in flight goes back whatever a site has written.
    let policies = match request.action {
        Action::RevertInFlight => &set.floor,
        Action::Inventory
        | Action::Plan
        | Action::Apply
        | Action::Revert
        | Action::Flash
        | Action::Reset
        | Action::CampaignOutsideTrading
        | Action::OverrideHazard
        | Action::AllowManagement
        | Action::NoWayBack
        | Action::BreakGlass
        | Action::Approve
        | Action::Freeze
        | Action::Thaw => &set.all,
    };
    let response = Authorizer::new().is_authorized(&asked.request, policies, &asked.entities);
    let diagnostics = response.diagnostics();
    // Cedar passes over a policy that it cannot evaluate; one that forbids would then forbid nothing.
    let faults: Vec<String> = diagnostics.errors().map(ToString::to_string).collect();
    if !faults.is_empty() {
        return refused(faults);
    }
    let mut by: Vec<String> = diagnostics.reason().map(ToString::to_string).collect();
    by.sort_unstable();
    Ruled { allowed: response.decision() == cedar_policy::Decision::Allow, by, faults }
}
