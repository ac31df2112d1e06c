//! A setting's name: what is a valid one, and which known one an unknown one is nearest to.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{SETTINGS, Setting, find};

/// The longest name, in bytes; the longest sysctl keys (`net.ipv4.conf.<interface>.<key>`) are far shorter.
pub(super) const LENGTH_MAX: usize = 160;

/// `family.name`, for example `ring.rx` or `sysctl.net.ipv4.tcp_rmem`. Valid by construction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The part before the first dot.
    pub fn family(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(family, _)| family)
    }

    /// The part after the first dot: what the kernel calls it.
    pub fn rest(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, rest)| rest)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The row that governs this name. Every valid name has one.
    pub fn setting(&self) -> &'static Setting {
        find(&self.0).unwrap_or(&SETTINGS[0])
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl TryFrom<String> for Name {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Name, UnknownName> {
        match find(&text) {
            Some(_) => Ok(Name(text)),
            None => Err(UnknownName(text)),
        }
    }
}

impl TryFrom<&str> for Name {
    type Error = UnknownName;

    fn try_from(text: &str) -> Result<Name, UnknownName> {
        Name::try_from(text.to_owned())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown setting `{0}`")]
pub struct UnknownName(pub String);

/// Whether an open family may be asked for this last part. Nothing here can leave its directory, hide
/// a character, or mean something to a shell: names end up in paths and in undo scripts.
pub(super) fn rest_is_valid(family: &str, rest: &str) -> bool {
    match family {
        "sysctl" => rest.split('.').all(is_sysctl_component),
        "ntuple" => is_canonical_u32(rest),
        "module-param" => rest
            .split_once('.')
            .is_some_and(|(module, name)| is_word(module, b"_-") && is_word(name, b"_-")),
        "devlink-param" => rest.split('.').all(|part| is_word(part, b"_-")),
        "feature" => kernel_feature(rest).is_none() && is_kernel_string(rest),
        "private-flag" => is_kernel_string(rest),
        _ => false,
    }
}

/// A component of a sysctl key. `/` stands for a dot inside it, so slashes alone would be `.` or `..`.
fn is_sysctl_component(part: &str) -> bool {
    is_word(part, b"_-/:@+") && part.bytes().any(|b| b != b'/')
}

/// A name from an ethtool string set: at most 31 bytes (ETH_GSTRING_LEN less the NUL). A few drivers'
/// flags hold spaces (qede's `SmartAN capable`).
fn is_kernel_string(text: &str) -> bool {
    text.len() < 32
        && is_word(text, b" ._-:+()")
        && text.trim() == text
        && !text.contains("..")
        && !text.starts_with('.')
}

fn is_word(text: &str, also: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
}

/// One spelling a slot: `7`, not `07`, so that two names never mean one rule.
fn is_canonical_u32(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|slot| slot.to_string() == text)
}

/// The kernel's name for a feature that ethtool(8) also calls by a shorter one. Playbooks use the
/// kernel's, because some short names (`tso`, `tx`) stand for several features at once.
fn kernel_feature(short: &str) -> Option<&'static str> {
    Some(match short {
        "gro" | "generic-receive-offload" => "rx-gro",
        "lro" | "large-receive-offload" => "rx-lro",
        "gso" | "generic-segmentation-offload" => "tx-generic-segmentation",
        "tso" | "tcp-segmentation-offload" => "tx-tcp-segmentation",
        "sg" | "scatter-gather" => "tx-scatter-gather",
        "rx" | "rx-checksumming" => "rx-checksum",
        "tx" | "tx-checksumming" => "tx-checksum-ip-generic",
        "rxvlan" | "rx-vlan-offload" => "rx-vlan-hw-parse",
        "txvlan" | "tx-vlan-offload" => "tx-vlan-hw-insert",
        "ntuple" | "ntuple-filters" => "rx-ntuple-filter",
        "rxhash" | "receive-hashing" => "rx-hashing",
        _ => return None,
    })
}

/// The known name that `text` was most likely meant to be: for "did you mean".
pub fn nearest(text: &str) -> Option<String> {
    if text.len() > LENGTH_MAX {
        return None;
    }
    let (family, rest) = text.split_once('.').unwrap_or((text, ""));
    if family == "feature"
        && let Some(name) = kernel_feature(rest)
    {
        return Some(format!("feature.{name}"));
    }
    // `rx-usecs` without its family is the commonest slip of people who know ethtool.
    let bare = SETTINGS.iter().find(|row| row.name.split_once('.').is_some_and(|(_, r)| r == text));
    if let Some(row) = bare {
        return Some(row.name.to_owned());
    }
    if text.starts_with("net.") && find(&format!("sysctl.{text}")).is_some() {
        return Some(format!("sysctl.{text}"));
    }
    let fixed = SETTINGS.iter().map(|row| row.name).filter(|name| !name.ends_with('*'));
    let exact = closest(text, fixed).map(|(distance, name)| (distance, name.to_owned()));
    let open = SETTINGS.iter().filter_map(|row| row.name.strip_suffix(".*"));
    let respelt = closest(family, open.filter(|stem| !stem.contains('.')))
        .map(|(distance, stem)| (distance, format!("{stem}.{rest}")))
        .filter(|(distance, name)| *distance > 0 && find(name).is_some());
    exact.into_iter().chain(respelt).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// The candidate at the smallest edit distance, if it is near enough to be a slip of the pen.
pub(crate) fn closest<'a>(
    text: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<(usize, &'a str)> {
    if text.len() > LENGTH_MAX {
        return None;
    }
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(text.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_their_directory_are_unknown() {
        for bad in [
            "sysctl.net.//.core",
            "sysctl./.core",
            "sysctl..net",
            "sysctl.net..core",
            "sysctl.net.core.",
            "sysctl.net.co re",
            "sysctl.net.$(reboot)",
            "sysctl.",
            "sysctl.*",
            "sysctl",
            "module-param.mlx5_core",
            "module-param.mlx5_core.",
            "module-param.../x.y",
            "devlink-param..x",
            "ntuple.07",
            "ntuple.-1",
            "ntuple.4294967296",
            "private-flag.../x",
            "private-flag.x`id`",
            "private-flag.a b ",
            "feature.tso",
            "ring.rx\n",
            "ring",
            "",
        ] {
            assert!(Name::try_from(bad).is_err(), "{bad:?} was taken");
        }
        assert!(Name::try_from(format!("sysctl.net.{}", "a".repeat(200))).is_err());
    }

    #[test]
    fn open_families_take_the_kernels_own_names() {
        for good in [
            "sysctl.net.ipv4.conf.eth0/100.rp_filter",
            "module-param.mlx5_core.prof_sel",
            "devlink-param.fw.mgmt.minsrev",
            "ntuple.0",
            "ntuple.4294967295",
            "private-flag.SmartAN capable",
            "feature.tx-udp_tnl-segmentation",
        ] {
            let name = Name::try_from(good).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(name.to_string(), good);
            assert_eq!(name.setting().name.split('.').next(), Some(name.family()));
        }
    }

    #[test]
    fn nearest_mends_slips() {
        assert_eq!(nearest("ring.rxx").as_deref(), Some("ring.rx"));
        assert_eq!(nearest("coalesce.rx_usecs").as_deref(), Some("coalesce.rx-usecs"));
        assert_eq!(nearest("rx-usecs").as_deref(), Some("coalesce.rx-usecs"));
        assert_eq!(nearest("privateflag.x").as_deref(), Some("private-flag.x"));
        assert_eq!(nearest("sysclt.net.core.x").as_deref(), Some("sysctl.net.core.x"));
        assert_eq!(nearest("feature.tso").as_deref(), Some("feature.tx-tcp-segmentation"));
        assert_eq!(nearest("quite.another.thing"), None);
        assert_eq!(nearest(&"x".repeat(1 << 20)), None);
    }
}
