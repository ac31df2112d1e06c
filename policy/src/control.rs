//! The control NIC: an untouched NIC measured beside the one under change tells the market from the
//! change, but only if the change cannot reach it.

use crate::{Refusal, Ruling};

/// What two NICs of a host have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tie {
    /// They are one NIC.
    Same,
    /// Two ports of one device: firmware, buffers and the PCI link are shared.
    Sibling,
    /// Two ends of one link.
    OneLink,
    /// Both are ports of this bond, team, bridge or VRF: traffic moves from one to the other.
    Shared { upper: String },
    /// One of them is built on the other.
    Stacked,
}

/// Rules on `control` beside `nic`: `ties` between them, and the settings of the plan that reach every
/// NIC of the namespace or the host.
pub fn judge(nic: &str, control: &str, ties: &[Tie], reaching: &[&str]) -> Ruling {
    let tied = ties.first().map(|tie| match tie {
        Tie::Same => "it is the NIC of the run itself".to_owned(),
        Tie::Sibling => format!("it is another port of {nic}'s device"),
        Tie::OneLink => format!("it is the other end of {nic}'s link"),
        Tie::Shared { upper } => format!("{nic} and it are both ports of {upper}"),
        Tie::Stacked => format!("one of {nic} and {control} is built on the other"),
    });
    let reached = (!reaching.is_empty())
        .then(|| format!("the playbook changes it, too: {}", reaching.join(", ")));
    match tied.or(reached) {
        None => Ruling::Allowed,
        Some(why) => Ruling::Refused(Refusal {
            rule: "control-nic",
            why: format!("{control} cannot be the control of {nic}: {why}"),
            satisfy: "name a NIC of another device that the playbook does not reach, or leave \
                      `control` out"
                .to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_nic_that_the_change_cannot_reach_is_a_control() {
        assert_eq!(judge("eth1", "eth2", &[], &[]), Ruling::Allowed);
        let refused = |ties: &[Tie], reaching: &[&str]| {
            let Ruling::Refused(refusal) = judge("eth1", "eth2", ties, reaching) else {
                panic!("allowed: {ties:?} {reaching:?}")
            };
            refusal.to_string()
        };
        assert!(refused(&[Tie::Sibling], &[]).contains("another port of eth1's device"));
        assert!(refused(&[Tie::Shared { upper: "bond0".to_owned() }], &[]).contains("bond0"));
        assert!(refused(&[Tie::OneLink], &["x"]).contains("other end"));
        assert!(refused(&[], &["napi.weight"]).contains("napi.weight"));
        assert!(refused(&[Tie::Same], &[]).contains("itself"));
        assert!(refused(&[Tie::Stacked], &[]).contains("built on"));
    }
}
