//! Our own acts, refused where a driver is known, or may be, not to stand them.

use firmware_catalog::{
    Act, Answer, Catalog, Circumstance, Read, Subject,
    act::{Deed, Direction, Write},
    read_hazard,
};
use playbooks::vocabulary::Disruption;

use crate::nic;

fn ids(subject: &Subject, act: &Act) -> Vec<String> {
    let catalog = Catalog::shipped();
    catalog.hazards(subject, act).into_iter().map(|hazard| hazard.issue.id.clone()).collect()
}

fn set(setting: &str, direction: Direction, felt: Disruption) -> Act {
    Act::Set(Write { setting: setting.to_owned(), direction, felt })
}

#[test]
fn acts_are_refused_on_affected_kernels_and_pass_on_fixed_ones() {
    let fewer = set("channels.combined", Direction::Fewer, Disruption::QueueReset);
    let more = set("channels.combined", Direction::More, Disruption::QueueReset);
    assert_eq!(ids(&nic("veth", "6.18.16"), &fewer), ["KB-096"]);
    assert!(ids(&nic("veth", "6.18.17"), &fewer).is_empty());
    assert!(ids(&nic("veth", "6.18.16"), &more).is_empty());
    let activate = Act::Do(Deed::FwActivate);
    assert_eq!(ids(&nic("mlx5_core", "6.12.44"), &activate), ["KB-009", "KB-020"]);
    assert_eq!(ids(&nic("mlx5_core", "6.12.64"), &activate), [""; 0]);
    let ntuple_off = set("feature.rx-ntuple-filter", Direction::Off, Disruption::QueueReset);
    assert_eq!(ids(&nic("mlx5_core", "6.1.87"), &ntuple_off), ["KB-008"]);
    assert!(ids(&nic("mlx5_core", "6.1.88"), &ntuple_off).is_empty());
}

/// An override that is always needed is not read: kernels that cannot have a defect are not asked for one.
#[test]
fn channels_of_ice_are_refused_where_a_defect_can_be() {
    let fewer = set("channels.combined", Direction::More, Disruption::LinkFlap);
    let has =
        |kernel: &str, issue: &str| ids(&nic("ice", kernel), &fewer).iter().any(|id| id == issue);
    for (kernel, lldp, hang) in [
        ("6.6.120", false, false),
        ("6.10.10", true, false),
        ("6.10.11", false, false),
        ("6.12.80", false, false),
        ("6.14", false, true),
        ("6.18.40", false, true),
        ("unknown", true, true),
    ] {
        assert_eq!((has(kernel, "KB-026"), has(kernel, "KB-038")), (lldp, hang), "{kernel}");
    }
}

#[test]
fn not_knowing_forbids_what_traffic_feels() {
    let channels = |felt| set("channels.combined", Direction::Fewer, felt);
    let unknown = nic("veth", "unknown");
    assert_eq!(ids(&unknown, &channels(Disruption::QueueReset)), ["KB-096"]);
    assert!(ids(&unknown, &channels(Disruption::None)).is_empty());
    let catalog = Catalog::shipped();
    let hazards = catalog.hazards(&unknown, &channels(Disruption::QueueReset));
    assert_eq!(hazards[0].certainty, Answer::Unknown);
    assert_eq!(hazards[0].unknown.as_deref(), Some("the kernel's upstream base is not known"));
    let mut foreign = nic("igb", "6.18.23");
    let unload = Act::Do(Deed::DriverUnload);
    assert!(ids(&foreign, &unload).is_empty());
    foreign.in_tree = Some(false);
    let hazards = catalog.hazards(&foreign, &unload);
    assert_eq!(hazards[0].unknown.as_deref(), Some("igb is not the kernel's own driver"));
}

#[test]
fn circumstances_narrow_where_they_are_known() {
    let mtu = set("link.mtu", Direction::More, Disruption::QueueReset);
    let with = |xdp: Option<bool>| {
        let mut subject = nic("bnxt_en", "6.6.80");
        if let Some(xdp) = xdp {
            subject.circumstances.insert(Circumstance::Xdp, xdp);
        }
        ids(&subject, &mtu)
    };
    assert_eq!(with(Some(true)), ["KB-071"]);
    assert_eq!(with(None), ["KB-071"], "unknown counts");
    assert!(with(Some(false)).is_empty());
}

#[test]
fn reads_that_hang_are_refused_on_affected_and_unknown_kernels() {
    let catalog = Catalog::shipped();
    let hazard = |subject: &Subject, read| {
        read_hazard(&catalog, subject, read).map(|issue| issue.id.clone())
    };
    let on = |driver: &str, base: Option<&str>| Subject {
        kernel_base: base.map(str::to_owned),
        ..nic(driver, "6.1.80")
    };
    let sfc = |base| hazard(&on("sfc", base), Read::Rss);
    let kb078 = Some("KB-078".to_owned());
    assert_eq!(sfc(Some("6.17.3")), kb078);
    assert_eq!(sfc(Some("6.18.8")), kb078);
    assert_eq!(sfc(Some("6.18.9")), None);
    assert_eq!(sfc(Some("6.16")), None);
    assert_eq!(sfc(None), kb078);
    assert_eq!(sfc(Some("5.14.0-503.el9")), kb078);
    assert_eq!(hazard(&on("ice", None), Read::Rss), None);
    let ice = |base, resetting: Option<bool>| {
        let mut subject = on("ice", base);
        subject.circumstances.extend(resetting.map(|yes| (Circumstance::Resetting, yes)));
        hazard(&subject, Read::Coalesce)
    };
    let kb029 = Some("KB-029".to_owned());
    assert_eq!(ice(Some("6.1.109"), None), kb029);
    assert_eq!(ice(Some("6.1.110"), Some(true)), None);
    assert_eq!(ice(None, None), None);
    assert_eq!(ice(None, Some(true)), kb029);
    assert_eq!(hazard(&on("sfc", Some("6.4.3")), Read::Stats), Some("KB-079".into()));
    assert_eq!(hazard(&on("sfc", Some("6.4.4")), Read::Stats), None);
    // A driver from elsewhere is not the kernel's: its version says nothing.
    let elsewhere = |in_tree| Subject { in_tree, ..on("sfc", Some("6.18.9")) };
    assert_eq!(hazard(&elsewhere(Some(false)), Read::Rss), kb078);
    assert_eq!(hazard(&elsewhere(None), Read::Rss), kb078);
}
