//! The catalog's commands, and a site's own catalog, on a real link.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself

#[path = "run/exchange.rs"]
mod exchange;

use exchange::{Exchange, FAR, NIC, code, json, kept, said};

const PLAYBOOK: &str = "apiVersion: nicmend/v1\nkind: Playbook\n\
    metadata: { name: queue-length, version: 1.0.0, summary: One setting }\n\
    stages:\n  - name: all\n    settings: { link.tx-queue-len: 500 }\n\
    guardrails: { latency.p50: { no-worse-than: 2000% } }\n\
    verify: { transport: udp, settle: 2s, window: 300ms, rate: 1000, payload: 64 }\n";

const ISSUE: &str = "issues:\n  - id: SITE-1\n    driver: veth\n    hardware: any\n    kind: data-path-bug\n    \
    title: short queues of ours stall\n    symptom: silence\n    trigger: ip link set txqueuelen\n    \
    remedy: leave it\n    forbids: [set link.tx-queue-len]\n    kernels: all\n    source: ticket 1\n    \
    confidence: high\n";

impl Exchange {
    fn site_issue(&self, text: &str) {
        let folder = self.folder.join("etc/catalog/issues");
        std::fs::create_dir_all(&folder).expect("a folder for the site's catalog");
        std::fs::write(folder.join("site.yaml"), text).expect("write the site's catalog");
    }

    fn log_says(&self, words: &str) -> bool {
        self.netns
            .output("grep", &["-rqa", words, &self.state().join("log").display().to_string()])
            .status
            .success()
    }
}

#[test]
fn the_shipped_catalog_is_asked_and_linted() {
    let Some(exchange) = Exchange::new("the_shipped_catalog_is_asked_and_linted") else { return };
    let lint = exchange.done(&["catalog", "lint", "--json"]);
    assert_eq!(code(&lint), 0, "{}", said(&lint));
    let lint = json(&lint);
    assert_eq!(
        (&lint["flaws"], &lint["site"]),
        (&serde_json::json!([]), &serde_json::json!(false))
    );
    assert!(lint["hazards"].as_u64() >= Some(44), "{lint}");
    // Of a folder that is not there, or is no catalog, nothing was found sound.
    for folder in ["/nonexistent", "/proc/self/fd"] {
        let lint = exchange.done(&["catalog", "lint", folder]);
        assert_eq!(code(&lint), 2, "{}", said(&lint));
    }
    let check = json(&exchange.done(&["catalog", "check", "--nic", NIC, "--json"]));
    assert_eq!(
        (check["nics"][0]["name"].as_str(), check["nics"][0]["status"].as_str()),
        (Some(NIC), Some("unknown"))
    );
    let unknown = exchange.done(&["catalog", "check", "--nic", "nowhere"]);
    assert_eq!(code(&unknown), 2, "{}", said(&unknown));

    // Another host's inventory: a Solarflare on a kernel that hangs in its RSS table.
    let mut inventory = json(&exchange.done(&["inventory", "--nic", NIC, "--json"]));
    let nic = &mut inventory["nics"][0];
    for (key, value) in [("driver", "sfc"), ("kernel-base", "6.18.5"), ("kind", "physical")] {
        nic[key] = value.into();
    }
    let file = exchange.folder.join("inventory.json");
    std::fs::write(&file, inventory.to_string()).expect("write the inventory");
    let file = file.display().to_string();
    let check = json(&exchange.done(&["catalog", "check", "--inventory", &file, "--json"]));
    // The driver's own issues come before those of the kernel's common code.
    let hazard = &check["nics"][0]["hazards"][0];
    assert_eq!((hazard["id"].as_str(), hazard["applies"].as_str()), (Some("KB-078"), Some("yes")));
    assert!(hazard["source"].as_str().is_some_and(|source| source.contains("CVE-2026-23165")));
    assert_eq!(hazard["origin"], "shipped");
    let people = said(&exchange.done(&["catalog", "check", "--inventory", &file]));
    assert!(people.contains("has KB-078 (observability-hazard)"), "{people}");
    std::fs::write(&file, "{\"nics\": 1}").expect("write no inventory");
    assert_eq!(code(&exchange.done(&["catalog", "check", "--inventory", &file])), 2);
}

#[test]
fn risk_says_what_there_would_be() {
    let Some(exchange) = Exchange::new("risk_says_what_there_would_be") else { return };
    let risk = |arguments: &[&str]| {
        let output = exchange.done(&[&["catalog", "risk", "--json"], arguments].concat());
        assert_eq!(code(&output), 0, "{}", said(&output));
        let issues = json(&output)["nics"][0]["issues"].as_array().cloned().unwrap_or_default();
        let sure = issues.into_iter().filter(|issue| issue["applies"] == "yes");
        sure.map(|issue| issue["id"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert!(risk(&["--driver", "sfc", "--kernel", "6.18.8"]).contains(&"KB-078".to_owned()));
    assert!(!risk(&["--driver", "sfc", "--kernel", "6.18.9"]).contains(&"KB-078".to_owned()));
    assert!(risk(&["--kernel", "5.15.11", "--nic", NIC]).contains(&"KB-094".to_owned()));
    for wrong in [
        &[][..],
        &["--kernel", "yesterday"],
        &["--firmware", "1.2", "--nic", NIC],
        &["--driver", "1.x", "--nic", NIC],
        &["--driver", "mlx5"],
        &["--driver", "sfc\u{1b}[2J"],
    ] {
        let output = exchange.done(&[&["catalog", "risk"], wrong].concat());
        assert_eq!(code(&output), 2, "{wrong:?}: {}", said(&output));
    }
}

#[test]
fn a_sites_hazard_refuses_until_it_is_overridden() {
    let test = "a_sites_hazard_refuses_until_it_is_overridden";
    let Some(exchange) = Exchange::new(test) else { return };
    exchange.site_issue(ISSUE);
    let playbook = exchange.playbook("queue-length", PLAYBOOK);
    let before = exchange.witness();

    let plan = json(&exchange.done(&["plan", &playbook, "--nic", NIC, "--peer", FAR, "--json"]));
    let refusal = &plan["would-be-refused"][0];
    assert_eq!(refusal["rule"], "hazard");
    let why = refusal["why"].as_str().unwrap_or_default();
    assert!(
        why.contains("SITE-1: short queues of ours stall") && why.contains("ticket 1"),
        "{why}"
    );
    assert!(why.contains("site catalog, "), "{why}");

    let refused = exchange.apply(&playbook).output().expect("start nicmend");
    assert_eq!(code(&refused), 4, "{}", said(&refused));
    assert!(said(&refused).contains("--override-hazard SITE-1"), "{}", said(&refused));
    assert_eq!(exchange.witness(), before);
    assert!(!exchange.log_says("hazard-overridden"));

    let stray = exchange.apply(&playbook).args(["--override-hazard", "KB-094"]).output().unwrap();
    assert_eq!(code(&stray), 2, "{}", said(&stray));
    let committed = kept(|| {
        exchange
            .apply(&playbook)
            .args(["--override-hazard", "SITE-1"])
            .output()
            .expect("start nicmend")
    });
    assert_eq!(code(&committed), 0, "{}", said(&committed));
    assert!(exchange.log_says("hazard-overridden") && exchange.log_says("SITE-1"));
    assert_ne!(exchange.witness(), before);
    assert_eq!(code(&exchange.done(&["revert", "last"])), 0);
}

#[test]
fn a_broken_site_catalog_stops_writing_with_its_place() {
    let test = "a_broken_site_catalog_stops_writing_with_its_place";
    let Some(exchange) = Exchange::new(test) else { return };
    exchange
        .site_issue(&ISSUE.replace("kernels: all", "kernels: some").replace("SITE-1", "SITE 1"));
    let playbook = exchange.playbook("queue-length", PLAYBOOK);
    let before = exchange.witness();
    for command in [
        &["catalog", "lint"][..],
        &["catalog", "check"],
        &["plan", &playbook, "--nic", NIC],
        &["apply", &playbook, "--nic", NIC, "--peer", FAR],
    ] {
        let output = exchange.done(command);
        assert_eq!(code(&output), 2, "{command:?}: {}", said(&output));
        let said = said(&output);
        assert!(said.contains("site.yaml:2:9") && said.contains("site.yaml:11:14"), "{said}");
    }
    assert_eq!(exchange.witness(), before);
    assert_eq!(code(&exchange.done(&["inventory", "--nic", NIC, "--json"])), 0, "reading goes on");

    // A FIFO has no end, a folder is no file.
    let folder = exchange.folder.join("etc/catalog/issues");
    std::fs::remove_file(folder.join("site.yaml")).expect("remove the site's file");
    exchange.netns.run("mkfifo", &[&folder.join("pipe.yaml").display().to_string()]);
    let output = exchange.done(&["catalog", "lint"]);
    assert_eq!(code(&output), 2, "{}", said(&output));
    assert!(said(&output).contains("not a regular file"), "{}", said(&output));
}

const FIRMWARE: &str = "version-scheme: mlx5\nfirmware:\n  \
    - { model: ConnectX-4 Lx, boards: [MT_2420110034], version: \"14.31.1014\", state: golden, source: ticket 2, \
    image: { file: fw.bin, sha256: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff } }\n";

const TO_GOLDEN: &str = "apiVersion: nicmend/v1\nkind: Playbook\n\
    metadata: { name: to-golden, version: 1.0.0, summary: The golden firmware }\n\
    applies-to: { driver: [mlx5_core], model: [\"ConnectX-4 Lx\"] }\n\
    stages:\n  - { name: firmware, firmware: { version: golden, activate: nic-reset } }\n\
    guardrails: { latency.p50: { no-worse-than: 5% } }\n\
    verify: { transport: udp, settle: 2s, window: 1s, rate: 1000, payload: 64 }\n";

/// A firmware stage is rehearsed on a simulated card of the catalog's, by the catalog's rules.
#[test]
fn a_firmware_stage_is_rehearsed_by_the_sites_catalog() {
    let test = "a_firmware_stage_is_rehearsed_by_the_sites_catalog";
    let Some(exchange) = Exchange::new(test) else { return };
    let playbook = exchange.playbook("to-golden", TO_GOLDEN);
    let rehearse = || exchange.done(&["playbook", "test", &playbook, "--json"]);
    let without = rehearse();
    assert_eq!(code(&without), 2, "{}", said(&without));
    assert!(said(&without).contains("no golden version is named for ConnectX-4 Lx"));

    let folder = exchange.folder.join("etc/catalog/firmware");
    std::fs::create_dir_all(&folder).expect("a folder for the site's catalog");
    let site = |text: &str| std::fs::write(folder.join("site.yaml"), text).expect("write it");
    site(FIRMWARE);
    let told = rehearse();
    assert_eq!(code(&told), 0, "{}", said(&told));
    let told = json(&told);
    assert_eq!(
        (told["ending"].as_str(), &told["broken"]),
        (Some("committed"), &serde_json::json!([]))
    );
    assert!(told["crashes"].as_u64() > Some(100), "{told}");

    site(&format!(
        "{FIRMWARE}minimum:\n  - {{ model: ConnectX-4 Lx, version: \"14.32.0\", source: ticket 3 }}\n"
    ));
    let below = rehearse();
    assert_eq!(code(&below), 2, "{}", said(&below));
    assert!(said(&below).contains("below 14.32.0"), "{}", said(&below));
}
