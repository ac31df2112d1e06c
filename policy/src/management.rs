//! The management NIC: a step that drops the link of the NIC by which the operator reaches the host
//! is refused, unless the operator says so himself.

use playbooks::vocabulary::Disruption;
use serde::{Deserialize, Serialize};

use crate::{Refusal, Ruling};

/// Why a NIC counts as a management NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Duty {
    pub role: Role,
    /// The bond, bridge, team or VLAN above the NIC that carries it, if it is not the NIC itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub through: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A default route leaves by it.
    DefaultRoute,
    /// The operator's session ends at this address of it (SSH_CONNECTION's local address).
    Session { address: String },
}

/// Whether the operator has taken the risk upon himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    None,
    /// `--allow-management`: explicit, and logged.
    AllowManagement,
}

/// Rules on a plan for `nic` whose worst step disrupts traffic by `worst`.
///
/// Queue resets pass: they last milliseconds and the link stays. Link flaps and NIC resets on a NIC
/// with a duty need consent.
pub fn judge(nic: &str, duties: &[Duty], worst: Disruption, consent: Consent) -> Ruling {
    let harm = match worst {
        Disruption::None | Disruption::QueueReset => return Ruling::Allowed,
        Disruption::LinkFlap => "drops its link",
        Disruption::NicReset => "resets it",
    };
    match (duties, consent) {
        ([], _) | (_, Consent::AllowManagement) => Ruling::Allowed,
        ([_, ..], Consent::None) => Ruling::Refused(Refusal {
            rule: "management-nic",
            why: format!("{nic} {}, and a step of this plan {harm}", words(duties)),
            satisfy: "use another NIC, leave that step out, or pass --allow-management with a way \
                      back to the host that does not use this NIC"
                .to_owned(),
        }),
    }
}

fn words(duties: &[Duty]) -> String {
    let each: Vec<String> = duties
        .iter()
        .map(|duty| {
            let role = match &duty.role {
                Role::DefaultRoute => "carries the default route".to_owned(),
                Role::Session { address } => format!("carries this session (to {address})"),
            };
            match &duty.through {
                Some(upper) => format!("{role} through {upper}"),
                None => role,
            }
        })
        .collect();
    each.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(through: Option<&str>) -> Duty {
        Duty {
            role: Role::Session { address: "192.0.2.7".to_owned() },
            through: through.map(str::to_owned),
        }
    }

    #[test]
    fn a_link_flap_on_the_sessions_nic_is_refused_and_says_why() {
        let duties = [Duty { role: Role::DefaultRoute, through: None }, session(Some("bond0"))];
        let ruling = judge("eth0", &duties, Disruption::LinkFlap, Consent::None);
        let Ruling::Refused(refusal) = ruling else { panic!("allowed") };
        assert_eq!(refusal.rule, "management-nic");
        assert_eq!(
            refusal.why,
            "eth0 carries the default route and carries this session (to 192.0.2.7) through bond0, \
             and a step of this plan drops its link"
        );
        assert!(refusal.satisfy.contains("--allow-management"));
    }

    #[test]
    fn only_disruptive_steps_on_nics_with_a_duty_need_consent() {
        let duty = [session(None)];
        for worst in [Disruption::None, Disruption::QueueReset] {
            assert_eq!(judge("eth0", &duty, worst, Consent::None), Ruling::Allowed);
        }
        for worst in [Disruption::LinkFlap, Disruption::NicReset] {
            assert_eq!(judge("eth1", &[], worst, Consent::None), Ruling::Allowed);
            assert_ne!(judge("eth0", &duty, worst, Consent::None), Ruling::Allowed);
            assert_eq!(judge("eth0", &duty, worst, Consent::AllowManagement), Ruling::Allowed);
        }
    }
}
