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
    assert_eq!(target.entry.version.text(), "22.35.1012");
    assert_eq!(target.direction, Direction::Older);
    assert_eq!(target.entry.image.file, "fw-22.35.1012.bin");
    assert_eq!(target.flash[0], Flash::Devlink);
    assert_eq!(target.activate[..2], [Activate::LivePatch, Activate::FwActivate]);
    assert_eq!(target.activation_ms_max, Some(427_000));
    let WayBack::Entry(back) = &target.way_back else { panic!("{:?}", target.way_back) };
    assert_eq!(back.image.file, "fw-22.43.3608.bin");
    for entry in [&target.entry, back] {
        assert_eq!(entry.origin.to_string(), "site catalog, site.yaml");
        let message = String::from_utf8(entry.signed_message.clone()).unwrap();
        let version = format!("version {}\n", entry.version);
        assert!(message.contains("boards MT_0000000359\n") && message.contains(&version));
    }
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
    for wanted in ["golden", "22.43.3608 (MT_0000000359)"] {
        let refusal = refused(&site(""), &blind, wanted);
        assert!(matches!(refusal, Refusal::BoardUnknown { .. }), "{wanted}: {refusal}");
    }
}

/// An entry of a version, with its image, for whatever board it names itself.
fn bare(version: &str, state: &str) -> String {
    format!(
        "  - {{ model: ConnectX-6 Dx, version: \"{version}\", state: {state}, source: here, image: \
         {{ file: a.bin, sha256: {SHA} }} }}\n"
    )
}

#[test]
fn a_version_that_names_a_board_is_for_that_board() {
    let golden = |version| with_firmware(&format!("firmware:\n{}", bare(version, "golden")));
    let ours = golden("22.35.1012 (MT_0000000359)");
    assert!(ours.resolve(&connectx6(), "golden").is_ok());
    let theirs = golden("22.35.1012 (MT_0000000999)");
    for wanted in ["golden", "22.35.1012"] {
        assert_eq!(
            refused(&theirs, &connectx6(), wanted).to_string(),
            "22.35.1012 (MT_0000000999) is for MT_0000000999, and this board is MT_0000000359"
        );
    }
    assert_ne!(theirs.check(&connectx6()).status, Status::Golden);
    let mut blind = connectx6();
    blind.board = None;
    let refusal = refused(&ours, &blind, "golden");
    assert!(matches!(refusal, Refusal::BoardUnknown { .. }), "{refusal}");
    // Nor is another board's image the way back.
    let both =
        bare("22.43.3608 (MT_0000000999)", "good") + &bare("22.35.1012 (MT_0000000359)", "golden");
    let target = with_firmware(&format!("firmware:\n{both}")).resolve(&connectx6(), "golden");
    assert!(matches!(target.unwrap().way_back, WayBack::None(_)));
    // A list that says otherwise is for no board, and a flaw.
    let entry = entry("22.35.1012 (MT_0000000999)", "golden", "MT_0000000359");
    let entry = entry.replace("fw-22.35.1012 (MT_0000000999).bin", "a.bin");
    let torn = with_firmware(&format!("firmware:\n{entry}"));
    assert_eq!(refused(&torn, &connectx6(), "golden").rule(), "firmware-board");
    let (_, flaws) = torn.lint();
    assert!(flaws.iter().any(|flaw| flaw.what.contains("names board MT_0000000999")), "{flaws:?}");
}

fn bnxt(running: &str, entries: &[(&str, &str)]) -> (Catalog, Subject) {
    let model = firmware_catalog::model::all().find(|model| model.driver == "bnxt_en").unwrap();
    let entry = |(version, state): &(&str, &str)| {
        format!(
            "  - {{ model: \"{}\", version: \"{version}\", state: {state}, source: here, image: \
             {{ file: a.bin, sha256: {SHA} }} }}\n",
            model.name
        )
    };
    let entries: String = entries.iter().map(entry).collect();
    let text = format!("version-scheme: bnxt\nfirmware:\n{entries}");
    let catalog = Catalog::with_site(&[file(Part::Firmware, "site.yaml", &text)]).unwrap();
    let subject = Subject {
        driver: "bnxt_en".to_owned(),
        pci: Some((model.vendor, model.device)),
        running: Some(running.to_owned()),
        ..Subject::default()
    };
    (catalog, subject)
}

#[test]
fn a_build_that_one_side_leaves_out_is_not_taken_for_the_same() {
    let golden = ("236.1.167.0/pkg 236.1.167.1", "golden");
    let way_back = |running, known| {
        let (catalog, subject) = bnxt(running, &[golden, (known, "good")]);
        catalog.resolve(&subject, "golden").unwrap().way_back
    };
    let whole = "233.0.151.0/pkg 233.1.135.7";
    assert!(matches!(way_back(whole, whole), WayBack::Entry(_)));
    for (running, known) in [(whole, "233.0.151.0"), ("233.0.151.0", whole)] {
        let WayBack::None(why) = way_back(running, known) else {
            panic!("{known} is the way back")
        };
        assert!(why.contains(running) && why.contains("would settle that"), "{why}");
    }
    let WayBack::None(why) = way_back(whole, "233.0.151.0/pkg 233.1.135.8") else { panic!() };
    assert!(why.contains("no image for the running"), "{why}");
    // Nor is what runs the golden version, where that is told of one of its builds only.
    let (catalog, subject) = bnxt("236.1.167.0", &[golden]);
    assert_eq!(catalog.resolve(&subject, "golden").unwrap().direction, Direction::Perhaps);
    assert_eq!(catalog.check(&subject).status, Status::Unknown);
    let (catalog, subject) = bnxt(golden.0, &[golden]);
    assert_eq!(catalog.resolve(&subject, "golden").unwrap().direction, Direction::Same);
    assert_eq!(catalog.check(&subject).status, Status::Golden);
    // Of several builds one has to be named.
    let other = ("233.0.151.0/pkg 233.1.136.0", "good");
    let (catalog, subject) = bnxt(golden.0, &[(whole, "good"), other]);
    let refusal = refused(&catalog, &subject, "233.0.151.0");
    assert!(refusal.is_wrong_request() && refusal.to_string().contains(other.0), "{refusal}");
    assert_eq!(catalog.resolve(&subject, other.0).unwrap().entry.version.text(), other.0);
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
    let image = site("").resolve(&connectx6(), "golden").unwrap().entry.image;
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
    // What only lies in flash runs after the next reset, wanted or not.
    for (stored, because) in [("22.41.1000", "is blocked"), ("22.29.1", "is below 22.30.0")] {
        let (blocked, why) = status(&catalog, "22.35.1012", Some(stored));
        assert_eq!(blocked, Status::Blocked, "{why}");
        let told = format!("runs 22.35.1012, but a reset would run {stored}: {stored} {because}");
        assert!(why.starts_with(&told), "{why}");
    }
    assert_eq!(status(&catalog, "20.35.2000", None).0, Status::Unknown);
    assert_eq!(status(&catalog, "nonsense", None).0, Status::Unknown);
    let (unknown, why) = status(&Catalog::shipped(), "22.43.2566", None);
    assert_eq!(unknown, Status::Unknown);
    assert!(why.contains("is a released version; no golden one is named"), "{why}");
}
