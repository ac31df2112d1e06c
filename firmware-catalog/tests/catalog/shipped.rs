//! What ships: sound, sourced, and right at the ends of every range.

use std::collections::BTreeSet;

use firmware_catalog::{
    Answer, Catalog, Subject,
    issue::{Confidence, Driver, Issue, Kernels, Kind},
    kernel::{Fixed, Version, affected},
};

use crate::connectx6;

fn issues() -> Vec<Issue> {
    Catalog::shipped().issues().cloned().collect()
}

#[test]
fn it_is_sound() {
    let catalog = Catalog::shipped();
    let (extent, flaws) = catalog.lint();
    assert!(flaws.is_empty(), "{flaws:#?}");
    assert!(extent.models > 400 && extent.versions > 40, "{extent:?}");
}

#[test]
fn every_remediation_hazard_and_every_sure_row_of_the_research_is_there() {
    let issues = issues();
    let hazards: Vec<&Issue> =
        issues.iter().filter(|issue| issue.kind == Kind::RemediationActionHazard).collect();
    assert_eq!(hazards.len(), 44);
    assert!(hazards.iter().all(|issue| !issue.forbids.is_empty()));
    let sure = issues.iter().filter(|issue| issue.confidence == Confidence::High).count();
    assert_eq!((issues.len(), sure), (90, 86));
    let ids: BTreeSet<&str> = issues.iter().map(|issue| issue.id.as_str()).collect();
    assert_eq!(ids.len(), issues.len());
    assert!(issues.iter().all(|issue| issue.source.len() > 8));
}

/// The ends of every range answer as the kernel's vulns repository means them.
#[test]
fn every_ranges_ends_answer_right() {
    let mut asked = 0;
    for issue in issues() {
        let Kernels::Ranges(ranges) = &issue.kernels else { continue };
        let answer = |version: &str| affected(ranges, Version::parse(version).expect(version));
        for range in ranges {
            let at = format!("{} {range}", issue.id);
            if let Fixed::Stable(to) | Fixed::Mainline(to) = range.fixed {
                assert_eq!(answer(&to.to_string()), Answer::No, "{at}: fixed is fixed");
                asked += 1;
            }
            if let Fixed::Stable(to) = range.fixed
                && let Some((branch, patch)) = to.to_string().rsplit_once('.')
                && let Ok(patch) = patch.parse::<u32>()
                && patch > 1
            {
                let before = Version::parse(&format!("{branch}.{}", patch - 1)).unwrap();
                let had_it = range.introduced.is_none_or(|from| before >= from);
                assert_eq!(affected(ranges, before), Answer::of(had_it), "{at}: {before}");
                asked += 1;
            }
            if let (Some(from), Fixed::Never | Fixed::NotYet) = (range.introduced, range.fixed) {
                assert_eq!(answer(&from.to_string()), Answer::Yes, "{at}: from its first release");
                asked += 1;
            }
        }
        let least = ranges.iter().map(|range| range.introduced).min().flatten();
        let all_known = ranges.iter().all(|range| range.introduced.is_some());
        if let (Some(_), true) = (least, all_known) {
            assert_eq!(answer("2.6.12"), Answer::No, "{}: before it was introduced", issue.id);
        }
    }
    assert!(asked > 300, "{asked}");
}

#[test]
fn the_stories_own_version_is_of_another_model() {
    let catalog = Catalog::shipped();
    assert_eq!(catalog.models_of_branch(14), ["ConnectX-4 Lx"]);
    assert_eq!(catalog.models_of_branch(20), ["ConnectX-6"]);
    assert_eq!(catalog.models_of_branch(16), ["ConnectX-5", "ConnectX-5 Ex"]);
    assert!(catalog.models_of_branch(99).is_empty());
}

#[test]
fn an_unknown_base_or_a_driver_from_elsewhere_is_unknown() {
    let catalog = Catalog::shipped();
    let issue = catalog.issue("KB-002").unwrap();
    assert_eq!(issue.driver, Driver::Named("mlx5_core".to_owned()));
    let answer = |change: &dyn Fn(&mut Subject)| {
        let mut subject = connectx6();
        change(&mut subject);
        issue.affects(&subject, Some("ConnectX-6 Dx"), catalog.scheme_of(&subject))
    };
    assert_eq!(answer(&|s| s.kernel_base = Some("6.1.70".into())), Answer::Yes);
    assert_eq!(answer(&|s| s.kernel_base = Some("6.1.107".into())), Answer::No);
    assert_eq!(answer(&|s| s.kernel_base = None), Answer::Unknown);
    assert_eq!(answer(&|s| s.in_tree = Some(false)), Answer::Unknown);
    assert_eq!(answer(&|s| s.in_tree = None), Answer::Unknown);
    assert_eq!(answer(&|s| s.driver = "ice".into()), Answer::No);
}

#[test]
fn four_dimensions_meet_in_one_field_report() {
    let catalog = Catalog::shipped();
    let mut subject = Subject {
        driver: "bnxt_en".to_owned(),
        in_tree: Some(true),
        pci: Some((0x14e4, 0x16d7)),
        running: Some("233.0.151.0/pkg 233.1.135.7".to_owned()),
        release: Some("7.0.14-4-pve".to_owned()),
        ..Subject::default()
    };
    let report = catalog.check(&subject);
    assert_eq!(report.status, firmware_catalog::catalog::Status::Blocked);
    assert!(report.why.contains("KB-104"), "{}", report.why);
    assert!(report.source.unwrap().contains("tailscale/issues/20806"));
    subject.release = Some("7.0.14".to_owned());
    assert_eq!(catalog.check(&subject).status, firmware_catalog::catalog::Status::Unknown);
}
