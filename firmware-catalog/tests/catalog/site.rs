//! A site's own files: they win, they say so, and what is wrong with them is told all at once.

use firmware_catalog::{
    Act, Answer, Catalog, Origin,
    act::Deed,
    catalog::{BadFile, Part},
};

use crate::{SHA, file, nic};

const NIC: &str = r#"
vendor: { id: "1b36", name: "Red Hat" }
adapters:
  - { name: flasher, argv: [flasher, --device, "{pci}", "{image}"], timeout-ms: 1000, source: here }
families:
  - family: "lab NIC"
    driver: labnic
    version-scheme: dotted
    flash: [devlink, flasher]
    activate: [fw-activate]
    sources: [here]
    devices:
      - { id: "0005", name: "Lab NIC" }
"#;

fn issue(id: &str, more: &str) -> String {
    format!(
        "issues:\n  - id: {id}\n    driver: veth\n    hardware: any\n    kind: data-path-bug\n    title: ours\n    \
         symptom: s\n    trigger: t\n    remedy: r\n    kernels: all\n    source: here\n    confidence: high\n{more}"
    )
}

fn bad(part: Part, text: &str) -> Vec<BadFile> {
    match Catalog::with_site(&[file(part, "x.yaml", text)]) {
        Ok(_) => panic!("taken: {text}"),
        Err(bad) => bad,
    }
}

#[test]
fn a_sites_model_firmware_and_issue_win_and_say_so() {
    let firmware = format!(
        "version-scheme: dotted\nfirmware:\n  - {{ model: Lab NIC, version: \"1.2\", state: golden, image: {{ \
         file: a.bin, sha256: {SHA} }}, source: here }}\n"
    );
    let site = [
        file(Part::Models, "m.yaml", NIC),
        file(Part::Firmware, "f.yaml", &firmware),
        file(Part::Issues, "i.yaml", &issue("KB-094", "    forbids: [link-down]\n")),
    ];
    let catalog = Catalog::with_site(&site).unwrap();
    let (extent, flaws) = catalog.lint();
    assert!(flaws.is_empty(), "{flaws:?}");
    assert_eq!(extent.issues, 91, "the shipped KB-094 is still there to be looked at");
    let model = catalog.model(0x1b36, 0x0005).unwrap();
    assert_eq!(model.origin, Origin::Site("m.yaml".to_owned()));
    assert_eq!(model.family.flash.len(), 2);
    let issue = catalog.issue("KB-094").unwrap();
    assert_eq!(
        (issue.title.as_str(), issue.origin.to_string().as_str()),
        ("ours", "site catalog, i.yaml")
    );
    let down = Act::Do(Deed::LinkDown);
    let veth = nic("veth", "6.18.44");
    assert_eq!(catalog.hazards(&veth, &down).len(), 1);
    assert!(Catalog::shipped().hazards(&veth, &down).is_empty());
    assert_eq!(catalog.golden("Lab NIC", None).unwrap().version.text(), "1.2");
}

/// The range of an issue is read by the scheme that the site gives its model, not by the driver's: the
/// driver `labnic` has none, and `igb` has one that these versions are not of.
#[test]
fn a_sites_issue_holds_for_the_firmware_range_of_its_own_models_scheme() {
    for driver in ["labnic", "igb"] {
        let ranged = issue(
            "S-1",
            "    forbids: [link-down]\n    firmware: { \"Lab NIC\": \">=14.32, <14.33\" }\n",
        )
        .replace("driver: veth", &format!("driver: {driver}"));
        let site = [
            file(
                Part::Models,
                "m.yaml",
                &NIC.replace("driver: labnic", &format!("driver: {driver}")),
            ),
            file(Part::Issues, "i.yaml", &ranged),
        ];
        let catalog = Catalog::with_site(&site).unwrap();
        let answer = |pci, running: &str| {
            let mut subject = nic(driver, "6.18.44");
            subject.pci = Some(pci);
            subject.running = Some(running.to_owned());
            let concerns = catalog.concerns(&subject);
            let concern = concerns.iter().find(|concern| concern.issue.id == "S-1");
            let hazards = catalog.hazards(&subject, &Act::Do(Deed::LinkDown));
            let hit = hazards.iter().find(|hazard| hazard.issue.id == "S-1");
            (concern.map(|concern| concern.applies), hit.map(|hazard| hazard.certainty))
        };
        let ours = (0x1b36, 0x0005);
        assert_eq!(answer(ours, "14.32.1010"), (Some(Answer::Yes), Some(Answer::Yes)), "{driver}");
        assert_eq!(answer(ours, "14.33.0"), (None, None), "{driver}");
        let unknown = (Some(Answer::Unknown), Some(Answer::Unknown));
        assert_eq!(answer(ours, "1.63, 0x800009fa"), unknown, "{driver}: not of the scheme");
    }
}

#[test]
fn every_error_is_told_with_its_place() {
    let text = "issues:\n  - id: \"a b\"\n    driver: veth\n    hardware: any\n    kind: bug\n    title: t\n    \
                symptom: s\n    trigger: t\n    remedy: r\n    kernels: [{ introduced: \"6.12\", fixed: \"6.11\" }]\n    \
                forbids: [reset]\n    sauce: here\n    confidence: high\n";
    let found = bad(Part::Issues, text);
    assert_eq!((found.len(), found[0].path.as_str()), (1, "x.yaml"));
    let lines: Vec<String> = found[0].problems.iter().map(ToString::to_string).collect();
    let told = |place: &str, words: &str| {
        assert!(
            lines.iter().any(|l| l.starts_with(place) && l.contains(words)),
            "{place} {words}: {lines:#?}"
        );
    };
    told("2:9:", "is no id");
    told("5:11:", "unknown `kind` `bug`");
    told("10:15:", "`introduced` is above `fixed`");
    told("11:15:", "is no act of ours");
    told("12:5:", "did you mean `source`?");
    told("2:5:", "an issue lacks `source`");
    assert_eq!(lines.len(), 6, "{lines:#?}");
}

#[test]
fn hostile_files_end_early_with_an_error() {
    let bomb = format!(
        "a: &a [x]\n{}",
        (0..20)
            .map(|n| format!("b{n}: &b{n} [*a, *a, *a, *a, *a, *a, *a, *a]\n"))
            .collect::<String>()
    );
    let deep = "[".repeat(100_000);
    let large = " ".repeat(300 * 1024);
    let many = format!("issues: [{}]", "1,".repeat(60_000));
    for text in [
        bomb.as_str(),
        &deep,
        &large,
        &many,
        "",
        "\u{1b}[31m",
        "issues: !!binary x",
        "- 1\n--- \n- 2",
    ] {
        for part in Part::ALL {
            let found = bad(part, text);
            assert!(!found[0].problems.is_empty());
        }
    }
    let mut not_text = b"issues: ".to_vec();
    not_text.push(0xff);
    let file = firmware_catalog::catalog::SiteFile {
        path: "x".into(),
        part: Part::Issues,
        text: not_text,
    };
    assert!(Catalog::with_site(&[file]).is_err());
}

#[test]
fn file_names_and_programs_cannot_lead_elsewhere() {
    for name in
        ["../a", "/etc/passwd", "a/b", ".hidden", "-rf", "a..b", "a b", "a\u{301}", "$(x)", "a;b"]
    {
        let text = format!(
            "version-scheme: mlx5\nfirmware:\n  - {{ model: ConnectX-6 Dx, version: \"22.1.1\", state: good, image: \
             {{ file: \"{name}\", sha256: {SHA} }}, source: here }}\n"
        );
        let found = bad(Part::Firmware, &text);
        assert!(
            found[0].problems[0].message.contains("not a plain file name"),
            "{name}: {found:?}"
        );
    }
    for (key, value) in [("sha256", "\"12\""), ("bytes-max", "3000000000"), ("signature", "x")] {
        let sha = if key == "sha256" { String::new() } else { format!("sha256: {SHA}, ") };
        let text = format!(
            "version-scheme: mlx5\nfirmware:\n  - {{ model: ConnectX-6 Dx, version: \"22.1.1\", state: good, image: \
             {{ file: a, {sha}{key}: {value} }}, source: here }}\n"
        );
        bad(Part::Firmware, &text);
    }
    for argv in ["[]", "[\"./tool\"]", "[\"{image}\"]", "[\"sub/tool\", x]"] {
        bad(Part::Models, &NIC.replace("[flasher, --device, \"{pci}\", \"{image}\"]", argv));
    }
}

#[test]
fn lint_names_what_only_the_whole_can_tell() {
    let two = format!("{}{}", issue("S-1", ""), issue("S-1", "").trim_start_matches("issues:\n"));
    let firmware = format!(
        "version-scheme: mlx5\nfirmware:\n  - {{ model: ConnectX-6 Dx, version: \"14.32.1010\", state: golden, image: {{ \
         file: a, sha256: {SHA} }}, issue: KB-999, source: here }}\n  - {{ model: ConnectX-6 Dx, version: \"22.1.1\", \
         state: golden, source: here }}\n  - {{ model: No Such, version: \"22.1.1\", state: good, source: here }}\n"
    );
    let odd = issue("S-2", "    models: [\"ConnectX-66\"]\n")
        .replace("driver: veth", "driver: mlx5_core");
    let hazard = issue("S-3", "").replace("data-path-bug", "remediation-action-hazard");
    let files = [
        file(Part::Issues, "a.yaml", &two),
        file(Part::Issues, "b.yaml", &odd),
        file(Part::Issues, "c.yaml", &hazard),
        file(Part::Firmware, "f.yaml", &firmware),
        file(Part::Models, "m.yaml", &format!("{NIC}      - {{ id: \"0005\", name: again }}\n")),
    ];
    let catalog = Catalog::with_site(&files).unwrap_or_else(|bad| panic!("{bad:?}"));
    let (_, flaws) = catalog.lint();
    let words: Vec<&str> = flaws.iter().map(|flaw| flaw.what.as_str()).collect();
    for expected in [
        "issue S-1 is there twice",
        "issue S-2: no model of mlx5_core is called `ConnectX-66`",
        "issue S-3 is a remediation hazard that forbids nothing",
        "14.32.1010 of ConnectX-6 Dx: branch 14. is of ConnectX-4 Lx",
        "14.32.1010 of ConnectX-6 Dx: there is no issue KB-999",
        "two golden versions for one board",
        "22.1.1 of ConnectX-6 Dx is golden and has no image",
        "22.1.1 of No Such: no model is called so",
        "PCI device 1b36:0005 is there twice",
    ] {
        assert!(words.iter().any(|word| word.contains(expected)), "{expected}: {words:#?}");
    }
    assert!(flaws.iter().all(|flaw| flaw.origin != Origin::Shipped));
}
