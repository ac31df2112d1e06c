//! Known defects of drivers, and the hazards that our own acts meet because of them.

use std::sync::OnceLock;

use serde::Deserialize;

use crate::kernel::{self, Range, Version};

/// The defect that makes this read unsafe for a NIC of `driver`, if any is known.
///
/// `kernel_base` is the upstream version, `None` where it is not known. A read that needs nothing
/// but itself to hang is refused on an unknown base too. One that hurts only during a reset is
/// refused on every kernel known to have the defect, since a reset can begin under our hands; on
/// an unknown base it is refused while a reset is known to go on.
pub fn read_hazard(
    driver: &str,
    kernel_base: Option<&str>,
    read: Read,
    device: Device,
) -> Option<&'static Issue> {
    let base = kernel_base.and_then(Version::parse);
    all().iter().find(|issue| {
        let suspect = match (issue.hazard.device, device) {
            (Condition::Any, Device::Settled | Device::Resetting)
            | (Condition::Resetting, Device::Resetting) => true,
            (Condition::Resetting, Device::Settled) => false,
        };
        issue.driver == driver
            && issue.hazard.read == read
            && base.map_or(suspect, |base| kernel::affected(&issue.kernels, base))
    })
}

/// Every known defect, in the order of the files.
pub fn all() -> &'static [Issue] {
    static ALL: OnceLock<Vec<Issue>> = OnceLock::new();
    // A file that does not parse cannot ship: the tests below read every one.
    ALL.get_or_init(|| {
        let files = FILES.iter().filter_map(|text| serde_saphyr::from_str::<File>(text).ok());
        files.flat_map(|file| file.issues).collect()
    })
}

/// What may be read of a NIC that some driver cannot stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Read {
    /// Interrupt coalescing (`ethtool -c`).
    Coalesce,
    /// The RSS indirection table and hash key (`ethtool -x`).
    Rss,
    /// Driver statistics (`ethtool -S`).
    Stats,
}

/// What we know of the device at the moment of the read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// No reset is known to go on.
    Settled,
    /// A reset goes on: ours, or one that was announced.
    Resetting,
}

/// When the defect bites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    Any,
    Resetting,
}

/// What it does to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The reader never returns, nor does what waits for its locks.
    Hang,
    /// The kernel oopses.
    Crash,
}

/// One defect, with its source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// `KB-078`: the name that overrides and reports use.
    pub id: String,
    pub driver: String,
    /// Which of the driver's hardware; `all` where it is not limited.
    pub hardware: String,
    pub title: String,
    pub symptom: String,
    pub trigger: String,
    pub remedy: String,
    pub hazard: Hazard,
    pub kernels: Vec<Range>,
    pub source: String,
    /// `high`: the commit, the CVE's text or the vendor's document was read.
    pub confidence: String,
}

/// The act of ours that meets the defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hazard {
    pub read: Read,
    pub device: Condition,
    pub effect: Effect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    issues: Vec<Issue>,
}

static FILES: &[&str] = &[include_str!("../issues/ice.yaml"), include_str!("../issues/sfc.yaml")];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_parses_and_every_issue_is_whole() {
        let mut ids = BTreeSet::new();
        for text in FILES {
            for issue in serde_saphyr::from_str::<File>(text).unwrap().issues {
                assert!(ids.insert(issue.id.clone()), "{} twice", issue.id);
                assert!(!issue.source.is_empty(), "{} without a source", issue.id);
                assert!(!issue.kernels.is_empty(), "{} without a range", issue.id);
                for range in &issue.kernels {
                    let ends = (Version::parse(&range.introduced), Version::parse(&range.fixed));
                    let (Some(from), Some(to)) = ends else { panic!("{}: {range:?}", issue.id) };
                    assert!(from < to, "{}: {range:?}", issue.id);
                }
            }
        }
        assert_eq!(ids.len(), all().len());
    }

    fn hazard(
        driver: &str,
        base: Option<&str>,
        read: Read,
        device: Device,
    ) -> Option<&'static str> {
        read_hazard(driver, base, read, device).map(|issue| issue.id.as_str())
    }

    #[test]
    fn a_read_that_hangs_is_refused_on_affected_and_unknown_kernels() {
        let sfc = |base| hazard("sfc", base, Read::Rss, Device::Settled);
        assert_eq!(sfc(Some("6.17.3")), Some("KB-078"));
        assert_eq!(sfc(Some("6.18.8")), Some("KB-078"));
        assert_eq!(sfc(Some("6.18.9")), None);
        assert_eq!(sfc(Some("6.16")), None);
        assert_eq!(sfc(None), Some("KB-078"));
        assert_eq!(sfc(Some("5.14.0-503.el9")), Some("KB-078"));
        assert_eq!(hazard("ice", None, Read::Rss, Device::Settled), None);
    }

    #[test]
    fn a_read_that_hurts_during_resets_is_refused_where_that_is_known() {
        let ice = |base, device| hazard("ice", base, Read::Coalesce, device);
        assert_eq!(ice(Some("6.1.109"), Device::Settled), Some("KB-029"));
        assert_eq!(ice(Some("6.1.110"), Device::Settled), None);
        assert_eq!(ice(Some("6.1.110"), Device::Resetting), None);
        assert_eq!(ice(None, Device::Settled), None);
        assert_eq!(ice(None, Device::Resetting), Some("KB-029"));
        assert_eq!(hazard("sfc", Some("6.4.3"), Read::Stats, Device::Settled), Some("KB-079"));
        assert_eq!(hazard("sfc", Some("6.4.4"), Read::Stats, Device::Settled), None);
    }
}
