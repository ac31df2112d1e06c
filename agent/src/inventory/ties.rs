//! What two NICs of a host have in common.

use policy::control::Tie;

use super::NicFacts;

/// Every way in which traffic or trouble of one reaches the other.
pub fn ties(nic: &NicFacts, other: &NicFacts) -> Vec<Tie> {
    let mut ties = Vec::new();
    let upper = |facts: &NicFacts| facts.member_of.as_ref().map(|member| member.name.clone());
    let on = |one: &NicFacts, two: &NicFacts| {
        one.over.as_ref() == Some(&two.name) || upper(one).as_ref() == Some(&two.name)
    };
    if nic.name == other.name {
        ties.push(Tie::Same);
    }
    if nic.siblings.contains(&other.name) || other.siblings.contains(&nic.name) {
        ties.push(Tie::Sibling);
    }
    if nic.peer.as_ref() == Some(&other.name) {
        ties.push(Tie::OneLink);
    }
    if let (Some(one), Some(two)) = (upper(nic), upper(other))
        && one == two
    {
        ties.push(Tie::Shared { upper: one });
    }
    if on(nic, other) || on(other, nic) {
        ties.push(Tie::Stacked);
    }
    ties
}
