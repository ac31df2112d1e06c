//! The standby path: where strategies go while a NIC is mended. It counts as free only when it was just
//! probed good, is of another device, and is this run's alone.

use serde::{Deserialize, Serialize};

use crate::{control::Tie, request};

/// What a run has for a standby path: a fact for policies to rule on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standby {
    /// None was named.
    None,
    Free {
        nic: String,
        /// What it has in common with the NIC under change: one fault may take both.
        shared_risks: Vec<String>,
    },
    Unfit {
        nic: String,
        why: String,
    },
}

impl Standby {
    /// As policies are told of it.
    pub fn fact(&self) -> request::Standby {
        match self {
            Standby::None => request::Standby::None,
            Standby::Free { .. } => request::Standby::Free,
            Standby::Unfit { .. } => request::Standby::Busy,
        }
    }
}

/// A NIC, as far as two of them may fail together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    pub driver: String,
    pub model: Option<String>,
    /// The version that runs.
    pub firmware: Option<String>,
}

/// What probing through the standby's own interface came to, just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    Answered {
        sent: u64,
        lost: u64,
    },
    /// No carrier, no replies, no peer.
    Failed(String),
}

/// A standby that loses more than this share of its probes is none: one in a hundred.
const LOST_PARTS_MAX: u64 = 100;
/// Fewer probes say nothing.
const SENT_MIN: u64 = 50;

/// Rules on `standby` beside `nic`. `owner`: the unfinished run that has the standby already.
pub fn judge(
    nic: &Profile,
    standby: &Profile,
    ties: &[Tie],
    probed: &Probed,
    owner: Option<&str>,
) -> Standby {
    let unfit = |why: String| Standby::Unfit { nic: standby.name.clone(), why };
    if let Some(tie) = ties.first() {
        return unfit(match tie {
            Tie::Same => "it is the NIC under change itself".to_owned(),
            Tie::Sibling => format!("it is another port of {}'s device", nic.name),
            Tie::OneLink => format!("it is the other end of {}'s link", nic.name),
            Tie::Shared { upper } => format!("{} and it are both ports of {upper}", nic.name),
            Tie::Stacked => format!("one of {} and it is built on the other", nic.name),
        });
    }
    if let Some(run) = owner {
        return unfit(format!("run {run} is not finished with it"));
    }
    if let Err(why) = answers(probed) {
        return unfit(why);
    }
    Standby::Free { nic: standby.name.clone(), shared_risks: shared(nic, standby) }
}

/// Whether it was probed good; in words where it was not.
pub fn answers(probed: &Probed) -> Result<(), String> {
    match probed {
        Probed::Failed(why) => Err(format!("it does not answer: {why}")),
        Probed::Answered { sent, .. } if *sent < SENT_MIN => {
            Err(format!("only {sent} probes were sent through it"))
        }
        Probed::Answered { sent, lost } if lost.saturating_mul(LOST_PARTS_MAX) > *sent => {
            Err(format!("it lost {lost} of {sent} probes"))
        }
        Probed::Answered { .. } => Ok(()),
    }
}

fn shared(nic: &Profile, standby: &Profile) -> Vec<String> {
    let mut risks = Vec::new();
    if !nic.driver.is_empty() && nic.driver == standby.driver {
        risks.push(format!("both are driven by {}", nic.driver));
    }
    if let (Some(one), Some(two)) = (&nic.firmware, &standby.firmware)
        && one == two
    {
        risks.push(format!("both run firmware {one}"));
    }
    if let (Some(one), Some(two)) = (&nic.model, &standby.model)
        && one == two
    {
        risks.push(format!("both are a {one}"));
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(name: &str, driver: &str, firmware: Option<&str>) -> Profile {
        Profile {
            name: name.to_owned(),
            driver: driver.to_owned(),
            model: None,
            firmware: firmware.map(str::to_owned),
        }
    }

    const GOOD: Probed = Probed::Answered { sent: 200, lost: 0 };

    #[test]
    fn free_is_another_device_that_answers_and_is_nobody_elses() {
        let (nic, standby) =
            (profile("eth1", "ice", Some("4.40")), profile("eth3", "mlx5_core", Some("22.43")));
        let of = |ties: &[Tie], probed: &Probed, owner: Option<&str>| {
            judge(&nic, &standby, ties, probed, owner)
        };
        let free = Standby::Free { nic: "eth3".to_owned(), shared_risks: Vec::new() };
        assert_eq!(of(&[], &GOOD, None), free);
        let why = |standby: Standby| match standby {
            Standby::Unfit { nic, why } => format!("{nic}: {why}"),
            Standby::None | Standby::Free { .. } => panic!("{standby:?}"),
        };
        assert!(why(of(&[Tie::Sibling], &GOOD, None)).contains("another port of eth1's device"));
        assert!(why(of(&[Tie::Same], &GOOD, None)).contains("itself"));
        assert!(why(of(&[], &GOOD, Some("r1"))).contains("run r1 is not finished"));
        assert!(why(of(&[], &Probed::Failed("no carrier".into()), None)).contains("no carrier"));
        let lossy = Probed::Answered { sent: 200, lost: 3 };
        assert!(why(of(&[], &lossy, None)).contains("lost 3 of 200"));
        assert!(why(of(&[], &Probed::Answered { sent: 0, lost: 0 }, None)).contains("only 0"));
    }

    #[test]
    fn what_both_have_in_common_is_named() {
        let nic = profile("eth1", "ice", Some("4.40"));
        let standby = profile("eth3", "ice", Some("4.40"));
        let Standby::Free { shared_risks, .. } = judge(&nic, &standby, &[], &GOOD, None) else {
            panic!("not free")
        };
        assert_eq!(shared_risks, ["both are driven by ice", "both run firmware 4.40"]);
        // Not knowing a version is no version in common.
        let (nic, standby) = (profile("eth1", "ice", None), profile("eth3", "bnxt_en", None));
        let none = Standby::Free { nic: "eth3".to_owned(), shared_risks: Vec::new() };
        assert_eq!(judge(&nic, &standby, &[], &GOOD, None), none);
    }
}
