//! Offload features and private flags: wanted bits, what is in force, and how one depends on another.
//!
//! Source: net/ethtool/features.c, net/core/dev.c netdev_fix_features().

use super::{
    Refusal, State,
    machine::{Feature, SimNic},
    quirk::{self, Quirk},
};

/// The kernel's names, in the order of enum netdev_features (include/linux/netdev_features.h). The
/// empty one is a bit without a name, as the kernel's own table has them.
pub(super) const NAMES: &[&str] = &[
    "tx-scatter-gather",
    "tx-checksum-ipv4",
    "",
    "tx-checksum-ip-generic",
    "tx-checksum-ipv6",
    "highdma",
    "tx-scatter-gather-fraglist",
    "tx-vlan-hw-insert",
    "rx-vlan-hw-parse",
    "rx-vlan-filter",
    "tx-vlan-stag-hw-insert",
    "rx-vlan-stag-hw-parse",
    "rx-vlan-stag-filter",
    "vlan-challenged",
    "tx-generic-segmentation",
    "rx-gro",
    "rx-lro",
    "tx-tcp-segmentation",
    "tx-gso-robust",
    "tx-tcp-ecn-segmentation",
    "tx-tcp-mangleid-segmentation",
    "tx-tcp6-segmentation",
    "tx-fcoe-segmentation",
    "tx-gre-segmentation",
    "tx-gre-csum-segmentation",
    "tx-ipxip4-segmentation",
    "tx-ipxip6-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
    "tx-gso-partial",
    "tx-tunnel-remcsum-segmentation",
    "tx-sctp-segmentation",
    "tx-esp-segmentation",
    "tx-udp-segmentation",
    "tx-gso-list",
    "fcoe-mtu",
    "tx-checksum-fcoe-crc",
    "tx-checksum-sctp",
    "rx-ntuple-filter",
    "rx-hashing",
    "rx-checksum",
    "tx-nocache-copy",
    "loopback",
    "rx-fcs",
    "rx-all",
    "l2-fwd-offload",
    "hw-tc-offload",
    "esp-hw-offload",
    "esp-tx-csum-hw-offload",
    "rx-udp_tunnel-port-offload",
    "tls-hw-record",
    "tls-hw-tx-offload",
    "tls-hw-rx-offload",
    "rx-gro-hw",
    "rx-gro-list",
    "macsec-hw-offload",
    "rx-udp-gro-forwarding",
    "hsr-tag-ins-offload",
    "hsr-tag-rm-offload",
    "hsr-fwd-offload",
    "hsr-dup-offload",
];

/// What the core itself drops, whatever the driver says: a feature, and one of which it needs any.
const NEEDS: &[(&str, &[&str])] = &[
    ("tx-tcp-segmentation", &["tx-scatter-gather"]),
    ("tx-tcp6-segmentation", &["tx-scatter-gather"]),
    ("tx-generic-segmentation", &["tx-scatter-gather"]),
    ("tx-tcp-segmentation", &["tx-checksum-ip-generic", "tx-checksum-ipv4"]),
    ("tx-tcp6-segmentation", &["tx-checksum-ip-generic", "tx-checksum-ipv6"]),
    ("tx-tcp-mangleid-segmentation", &["tx-tcp-segmentation"]),
    ("tx-tcp-ecn-segmentation", &["tx-tcp-segmentation"]),
    ("rx-gro-hw", &["rx-checksum"]),
];

/// [`NAMES`] as a bitset's names.
pub(super) fn names() -> Vec<String> {
    NAMES.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn of(nic: &SimNic, name: &str) -> Feature {
    nic.features.get(name).copied().unwrap_or(Feature::OffFixed)
}

/// Whether ethtool may change it (dev->hw_features).
pub(super) fn changeable(nic: &SimNic, name: &str) -> bool {
    matches!(of(nic, name), Feature::On | Feature::Off)
}

/// dev->wanted_features: only what can be changed has such a bit.
pub(super) fn wanted(nic: &SimNic, name: &str) -> bool {
    of(nic, name) == Feature::On
}

/// dev->features.
pub(super) fn active(nic: &SimNic, name: &str) -> bool {
    active_within(nic, name, NEEDS.len())
}

/// `depth` bounds a chain of quirks that need one another.
fn active_within(nic: &SimNic, name: &str, depth: usize) -> bool {
    let on = matches!(of(nic, name), Feature::On | Feature::OnFixed);
    if !on || depth == 0 {
        return on && depth > 0;
    }
    let core = NEEDS
        .iter()
        .filter(|(feature, _)| *feature == name)
        .all(|(_, any)| any.iter().any(|need| active_within(nic, need, depth - 1)));
    let held = nic.quirks.iter().any(|quirk| {
        matches!(quirk, Quirk::FeatureNeeds { feature, needs }
            if feature == name && !active_within(nic, needs, depth - 1))
    });
    core && !held
}

/// Writes wanted bits. A fixed feature stays as it is and is no error: the reply tells.
pub(super) fn set(state: &mut State, ifindex: u32, asked: &[(&str, bool)]) -> Result<(), Refusal> {
    quirk::busy(state, ifindex, "feature")?;
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(|| Refusal::errno(libc::ENODEV))?;
    let before = nic.clone();
    for (name, on) in asked {
        let kept = quirk::ignored(nic, &format!("feature.{name}"));
        if changeable(nic, name) && !kept {
            let feature = if *on { Feature::On } else { Feature::Off };
            nic.features.insert((*name).to_owned(), feature);
        }
    }
    let moved = NAMES.iter().any(|name| active(&before, name) != active(nic, name));
    if moved {
        state.announce(ifindex, "feature");
        quirk::felt(state, ifindex, "feature");
    }
    Ok(())
}

/// Writes private flags; the driver sees all of them at once.
pub(super) fn set_flags(
    state: &mut State,
    ifindex: u32,
    asked: &[(&str, bool)],
) -> Result<(), Refusal> {
    let nic = state.machine.by_index(ifindex).ok_or_else(|| Refusal::errno(libc::ENODEV))?;
    if nic.private_flags.is_empty() {
        return Err(Refusal::errno(libc::EOPNOTSUPP));
    }
    if asked.iter().all(|(name, on)| nic.private_flags.get(*name) == Some(on)) {
        return Ok(());
    }
    quirk::busy(state, ifindex, "private-flag")?;
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(|| Refusal::errno(libc::ENODEV))?;
    for (name, on) in asked {
        if !quirk::ignored(nic, &format!("private-flag.{name}")) {
            nic.private_flags.insert((*name).to_owned(), *on);
        }
    }
    state.announce(ifindex, "private-flag");
    quirk::felt(state, ifindex, "private-flag");
    Ok(())
}
