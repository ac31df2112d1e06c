//! From a wanted version to an image: the right one, or the right words.

use firmware_catalog::{
    Catalog, Refusal, Subject, Target,
    catalog::{Direction, Part, Status, WayBack},
    firmware::NotTheImage,
    model::{Activate, Flash},
};

use crate::{SHA, connectx6, file, with_firmware};

fn entry(version: &str, state: &str, board: &str) -> String {
    format!(
        "  - model: ConnectX-6 Dx\n    boards: [{board}]\n    version: \"{version}\"\n    state: {state}\n    \
         image: {{ file: fw-{version}.bin, sha256: {SHA}, bytes: 100, bytes-max: 1000 }}\n    source: here\n"
    )
}

fn site(minimum: &str) -> Catalog {
    let entries = [
        entry("22.35.1012", "golden", "MT_0000000359"),
        entry("22.43.3608", "good", "MT_0000000359"),
        entry("22.41.1000", "blocked", "MT_0000000359"),
        entry("22.39.2048", "good", "MT_0000000999"),
    ];
    with_firmware(&format!("firmware:\n{}{minimum}", entries.concat()))
}

fn refused(catalog: &Catalog, subject: &Subject, wanted: &str) -> Refusal {
    match catalog.resolve(subject, wanted) {
        Ok(target) => panic!("{wanted} resolved to {target:?}"),
        Err(refusal) => refusal,
    }
}

#[test]
fn golden_resolves_to_its_image_and_the_way_back() {
    let target: Target = site("").resolve(&connectx6(), "golden").unwrap();
    assert_eq!(target.version.text(), "22.35.1012");
    assert_eq!(target.direction, Direction::Older);
    assert_eq!(target.image.file, "fw-22.35.1012.bin");
    assert_eq!(target.flash[0], Flash::Devlink);
    assert_eq!(target.activate[..2], [Activate::LivePatch, Activate::FwActivate]);
    assert_eq!(target.activation_ms_max, Some(427_000));
    let WayBack::Image(back) = &target.way_back else { panic!("{:?}", target.way_back) };
    assert_eq!(back.file, "fw-22.43.3608.bin");
    assert_eq!(target.origin.to_string(), "site catalog, site.yaml");
    assert!(String::from_utf8(target.signed_message).unwrap().contains("boards MT_0000000359\n"));
    let mut other = connectx6();
    other.running = Some("22.44.1036".to_owned());
    let target = site("").resolve(&other, "golden").unwrap();
    assert!(matches!(target.way_back, WayBack::None(_)), "no image of what runs");
}

#[test]
fn another_models_branch_is_refused_by_name() {
    let refusal = refused(&site(""), &connectx6(), "14.32.1010");
    assert_eq!(refusal.rule(), "firmware-branch");
    assert_eq!(
        refusal.to_string(),
        "14.32.1010: firmware branch 14. is ConnectX-4 Lx's; this is a ConnectX-6 Dx, whose branch is 22."
    );
    assert!(!refusal.is_wrong_request());
    let refusal = refused(&site(""), &connectx6(), "20.43.2566");
    assert!(refusal.to_string().contains("20. is ConnectX-6's"), "{refusal}");
    // A site that names another model's firmware golden does not get it flashed either.
    let wrong =
        with_firmware(&format!("firmware:\n{}", entry("14.32.1010", "golden", "MT_0000000359")));
    assert_eq!(refused(&wrong, &connectx6(), "golden").rule(), "firmware-branch");
}

#[test]
fn wrong_boards_and_unknown_boards_are_refused() {
    let refusal = refused(&site(""), &connectx6(), "22.39.2048");
    assert_eq!(
        refusal.to_string(),
        "22.39.2048 is for MT_0000000999, and this board is MT_0000000359"
    );
    assert_eq!(refusal.rule(), "firmware-board");
    let refusal = refused(&site(""), &connectx6(), "22.43.3608 (MT_0000000999)");
    assert!(matches!(refusal, Refusal::WrongBoard { .. }), "{refusal}");
    let mut blind = connectx6();
    blind.board = None;
    let refusal = refused(&site(""), &blind, "golden");
    assert!(matches!(refusal, Refusal::BoardUnknown { .. }), "{refusal}");
}

#[test]
fn blocked_old_strange_and_missing_versions_are_refused() {
    let catalog = site("");
    assert_eq!(refused(&catalog, &connectx6(), "22.41.1000").rule(), "firmware-blocked");
    assert_eq!(refused(&catalog, &connectx6(), "22.99.1").rule(), "firmware-catalog");
    let strange = refused(&catalog, &connectx6(), "4.40 0x8001c967 1.3534.0");
    assert!(strange.is_wrong_request(), "{strange}");
    let minimum =
        site("minimum:\n  - { model: ConnectX-6 Dx, version: \"22.36.0\", source: advisory }\n");
    let refusal = refused(&minimum, &connectx6(), "golden");
    assert_eq!(
        refusal.to_string(),
        "22.35.1012 is below 22.36.0, the least that this board may be given (advisory; site catalog, \
         site.yaml)"
    );
    // Released, as the shipped catalog knows, but no image was named for it.
    let refusal = refused(&Catalog::shipped(), &connectx6(), "22.43.2566");
    assert_eq!(refusal.rule(), "firmware-image");
    assert_eq!(refused(&Catalog::shipped(), &connectx6(), "golden").rule(), "firmware-catalog");
}

#[test]
fn hardware_that_the_host_cannot_flash_or_restart_is_refused() {
    let text = format!(
        "version-scheme: igb\nfirmware:\n  - {{ model: \"82576\", version: \"1.63, 0x800009fa\", state: golden, \
         image: {{ file: a.bin, sha256: {SHA} }}, source: here }}\n"
    );
    let catalog = Catalog::with_site(&[file(Part::Firmware, "igb.yaml", &text)]).unwrap();
    let igb = Subject {
        driver: "igb".to_owned(),
        pci: Some((0x8086, 0x10c9)),
        running: Some("1.63, 0x800009fa".to_owned()),
        ..Subject::default()
    };
    assert_eq!(catalog.check(&igb).status, Status::Golden);
    assert_eq!(refused(&catalog, &igb, "golden").rule(), "firmware-path");
    let stranger = Subject { pci: Some((0x1234, 0x5678)), ..igb };
    assert!(matches!(refused(&catalog, &stranger, "golden"), Refusal::UnknownModel));
}

#[test]
fn an_images_bytes_are_held_against_the_catalog() {
    let image = site("").resolve(&connectx6(), "golden").unwrap().image;
    assert_eq!(image.check_length(100), Ok(()));
    assert!(matches!(image.check_length(99), Err(NotTheImage::Length { .. })), "truncated");
    assert!(matches!(image.check_length(2 << 30), Err(NotTheImage::TooLong { .. })), "2 GB");
    assert_eq!(image.check_hash(SHA), Ok(()));
    let error = image.check_hash(&"0".repeat(64)).unwrap_err();
    assert!(error.to_string().starts_with("fw-22.35.1012.bin has sha256 0000"), "{error}");
}

#[test]
fn a_nic_is_golden_drifted_blocked_or_unknown() {
    let status = |catalog: &Catalog, running: &str, stored: Option<&str>| {
        let mut subject = connectx6();
        subject.running = Some(running.to_owned());
        subject.stored = stored.map(str::to_owned);
        let report = catalog.check(&subject);
        (report.status, report.why)
    };
    let catalog =
        site("minimum:\n  - { model: ConnectX-6 Dx, version: \"22.30.0\", source: advisory }\n");
    assert_eq!(status(&catalog, "22.35.1012 (MT_0000000359)", None).0, Status::Golden);
    assert_eq!(status(&catalog, "22.35.1012", Some("22.35.1012")).0, Status::Golden);
    let (drifted, why) = status(&catalog, "22.35.1012", Some("22.43.3608"));
    assert_eq!(drifted, Status::Drifted);
    assert!(why.contains("a reset would run 22.43.3608"), "{why}");
    let (drifted, why) = status(&catalog, "22.43.3608", None);
    assert_eq!(
        (drifted, why.as_str()),
        (Status::Drifted, "runs 22.43.3608, newer than the golden 22.35.1012")
    );
    assert_eq!(status(&catalog, "22.41.1000", None).0, Status::Blocked);
    assert_eq!(status(&catalog, "22.29.1", None).0, Status::Blocked);
    assert_eq!(status(&catalog, "20.35.2000", None).0, Status::Unknown);
    assert_eq!(status(&catalog, "nonsense", None).0, Status::Unknown);
    let (unknown, why) = status(&Catalog::shipped(), "22.43.2566", None);
    assert_eq!(unknown, Status::Unknown);
    assert!(why.contains("is a released version; no golden one is named"), "{why}");
}
