//! Known defects: which hardware, driver, kernel and firmware have them, and which acts of ours they
//! forbid.

use playbooks::applies::{Range as Versions, glob_matches};
use serde::Serialize;

use crate::{
    Answer, Origin, Subject,
    act::Pattern,
    kernel::{self, Range, Version},
    scheme::{Scheme, SchemeError},
    subject::Circumstance,
};

/// One defect, with its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    /// `KB-078`: the name that overrides and reports use.
    pub id: String,
    /// Whose code has it.
    pub driver: Driver,
    /// Which hardware, in the source's words.
    pub hardware: String,
    /// Globs of model names, where the defect is not all the driver's.
    pub models: Vec<String>,
    pub kind: Kind,
    pub title: String,
    pub symptom: String,
    pub trigger: String,
    pub remedy: String,
    /// The acts of ours that meet it.
    pub forbids: Vec<Pattern>,
    /// What else must be so for it to bite.
    pub when: Option<Circumstance>,
    pub kernels: Kernels,
    /// Kernels that it was reported on, by `uname -r`.
    pub releases: Vec<String>,
    /// Versions of a driver from outside the kernel's tree.
    pub driver_versions: Option<Versions>,
    /// Firmware that has it, by glob of model names; any where empty.
    pub firmware: Vec<(String, Versions)>,
    pub source: String,
    pub confidence: Confidence,
    pub origin: Origin,
}

/// Whose code a defect is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// The kernel's own: whatever the NIC.
    Any,
    Named(String),
}

/// Which kernels have it.
#[derive(Debug, Clone, PartialEq)]
pub enum Kernels {
    /// Every version, and every version of the driver from elsewhere: documented behaviour.
    All,
    /// Nobody has said.
    Unknown,
    Ranges(Vec<Range>),
}

/// What kind of defect it is, in the research's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What is done to mend a NIC makes it worse: resets, reloads, ring and channel changes.
    RemediationActionHazard,
    /// Looking hurts.
    ObservabilityHazard,
    DataPathBug,
    LatencyBug,
    TimestampBug,
    KernelBug,
    HardwareErratum,
    /// The firmware resets and may not come back.
    FatalFirmwareReset,
    KnownFailureMode,
    VendorKnownIssue,
    TuningGotcha,
    ConfigDrift,
    CounterSemantics,
    Interop,
    Compat,
    LogNoise,
    OpenBug,
}

impl Kind {
    pub const WORDS: [(&'static str, Kind); 17] = [
        ("remediation-action-hazard", Kind::RemediationActionHazard),
        ("observability-hazard", Kind::ObservabilityHazard),
        ("data-path-bug", Kind::DataPathBug),
        ("latency-bug", Kind::LatencyBug),
        ("timestamp-bug", Kind::TimestampBug),
        ("kernel-bug", Kind::KernelBug),
        ("hardware-erratum", Kind::HardwareErratum),
        ("fatal-firmware-reset", Kind::FatalFirmwareReset),
        ("known-failure-mode", Kind::KnownFailureMode),
        ("vendor-known-issue", Kind::VendorKnownIssue),
        ("tuning-gotcha", Kind::TuningGotcha),
        ("config-drift", Kind::ConfigDrift),
        ("counter-semantics", Kind::CounterSemantics),
        ("interop", Kind::Interop),
        ("compat", Kind::Compat),
        ("log-noise", Kind::LogNoise),
        ("open-bug", Kind::OpenBug),
    ];

    pub fn name(self) -> &'static str {
        Kind::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

/// How sure the source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// The commit, the CVE's text or the vendor's document was read.
    High,
    /// The range is exact, the symptom is inferred from the commit's title.
    TitleOnly,
    /// The defect is real, its range is not established.
    Medium,
}

impl Confidence {
    pub const WORDS: [(&'static str, Confidence); 3] = [
        ("high", Confidence::High),
        ("title-only", Confidence::TitleOnly),
        ("medium", Confidence::Medium),
    ];
}

impl Issue {
    /// Whether this NIC has the defect, circumstances aside. `model` is its name in the catalog,
    /// `scheme` how its firmware is numbered ([`Catalog::scheme_of`](crate::Catalog::scheme_of)).
    pub fn affects(
        &self,
        subject: &Subject,
        model: Option<&str>,
        scheme: Option<Scheme>,
    ) -> Answer {
        let driver = match &self.driver {
            Driver::Any => Answer::Yes,
            Driver::Named(driver) => Answer::of(*driver == subject.driver),
        };
        if driver == Answer::No {
            return Answer::No;
        }
        let of_model = match (self.models.is_empty(), model) {
            (true, _) => Answer::Yes,
            (false, None) => Answer::Unknown,
            (false, Some(model)) => {
                Answer::of(self.models.iter().any(|glob| glob_matches(glob, model)))
            }
        };
        of_model.min(self.in_code_of(subject)).min(self.in_firmware_of(subject, model, scheme))
    }

    /// Whether the running kernel, or the driver from elsewhere, has the defect.
    pub fn in_code_of(&self, subject: &Subject) -> Answer {
        if subject.release.as_ref().is_some_and(|release| self.releases.contains(release)) {
            return Answer::Yes;
        }
        let by_kernel = match &self.kernels {
            Kernels::All => return Answer::Yes,
            Kernels::Unknown => Answer::Unknown,
            Kernels::Ranges(ranges) => {
                let base = subject.kernel_base.as_deref().and_then(Version::parse);
                base.map_or(Answer::Unknown, |base| kernel::affected(ranges, base))
            }
        };
        match (&self.driver, subject.in_tree) {
            (Driver::Any, _) | (Driver::Named(_), Some(true)) => by_kernel,
            // The kernel's version says nothing of a driver that did not come with it.
            (Driver::Named(_), Some(false)) => self.in_driver_version(subject),
            (Driver::Named(_), None) => Answer::Unknown,
        }
    }

    fn in_driver_version(&self, subject: &Subject) -> Answer {
        let version =
            subject.driver_version.as_deref().map(|text| text.trim_end_matches(['g', 'K']));
        let version = version.and_then(|text| Scheme::Dotted.parse(text).ok());
        match (&self.driver_versions, version) {
            (Some(range), Some(version)) => {
                Answer::of_known(Scheme::Dotted.within(range, &version).ok())
            }
            (None, _) | (_, None) => Answer::Unknown,
        }
    }

    fn in_firmware_of(
        &self,
        subject: &Subject,
        model: Option<&str>,
        scheme: Option<Scheme>,
    ) -> Answer {
        if self.firmware.is_empty() {
            return Answer::Yes;
        }
        let range = model.and_then(|model| {
            self.firmware.iter().find(|(glob, _)| glob_matches(glob, model)).map(|(_, range)| range)
        });
        let (Some(range), Some(scheme), Some(running)) = (range, scheme, &subject.running) else {
            return Answer::Unknown;
        };
        let within = scheme.parse(running).and_then(|version| scheme.within(range, &version));
        match within {
            Ok(within) => Answer::of(within),
            Err(SchemeError::Branches { .. }) => Answer::No,
            Err(
                SchemeError::NotAVersion { .. }
                | SchemeError::Schemes { .. }
                | SchemeError::Builds { .. },
            ) => Answer::Unknown,
        }
    }

    /// Whether what else must be so is so.
    pub fn circumstances(&self, subject: &Subject) -> Answer {
        self.when
            .map_or(Answer::Yes, |when| Answer::of_known(subject.circumstances.get(&when).copied()))
    }
}
