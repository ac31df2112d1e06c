//! `nicmend policy` as people run it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// A configuration and a state of their own.
struct Site {
    nicmend: PathBuf,
    folder: PathBuf,
}

impl Site {
    /// `None` where the binary beside this test was not built; the skip is seen.
    fn new(name: &str) -> Option<Site> {
        let here = std::env::current_exe().expect("this test's own path");
        let nicmend = here.ancestors().nth(2).expect("the target folder").join("nicmend");
        if !nicmend.exists() {
            tests::skip(name, "nicmend is not built: cargo build --release");
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("policy-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("etc/policy")).expect("a folder");
        Some(Site { nicmend, folder })
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join("etc/policy").join(name), text).expect("write a file");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.nicmend);
        command.args(arguments).arg("--json");
        for (flag, folder) in
            [("--config-dir", "etc"), ("--state-dir", "var"), ("--run-dir", "run")]
        {
            command.arg(flag).arg(self.folder.join(folder));
        }
        command.output().expect("nicmend runs")
    }

    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    }
}

fn ids(by: &Value) -> Vec<&str> {
    by.as_array().expect("a list").iter().filter_map(|policy| policy["id"].as_str()).collect()
}

#[test]
fn a_venues_phase_at_a_time() {
    let Some(site) = Site::new("phase") else { return };
    let at = |venue: &str, at: &str| {
        site.json(0, &["policy", "phase", venue, "--at", at])["phase"].clone()
    };
    assert_eq!(at("SSE", "2026-11-30T10:00[Asia/Shanghai]"), "continuous");
    assert_eq!(at("SSE", "2026-11-30T04:00:00Z"), "break");
    assert_eq!(at("NYSE", "2026-11-28T15:00:00Z"), "closed");
    assert_eq!(at("SSE", "2040-01-02T02:00:00Z"), "unknown");
    assert_eq!(site.run(&["policy", "phase", "NOSUCH"]).status.code(), Some(2));
    assert_eq!(site.run(&["policy", "phase", "SSE", "--at", "noon"]).status.code(), Some(2));
}

#[test]
fn a_request_is_explained_and_simulated() {
    let Some(site) = Site::new("explain") else { return };
    site.write(
        "config.yaml",
        "venues: [SSE]\npeople:\n  ops-1: { uid: 4242, roles: [operator] }\n",
    );
    let ask = |code, at: &str, more: &[&str]| {
        let first = ["policy", "simulate", "apply", "--as", "ops-1", "--at", at];
        site.json(code, &[&first, more].concat())
    };
    let trading = "2026-11-30T02:00:00Z";
    let plain = ask(0, trading, &[]);
    assert_eq!(ids(&plain["by"]), ["operators-change"]);
    assert_eq!(plain["phase"], "continuous");
    let flap = ask(4, trading, &["--felt", "link-flap"]);
    assert_eq!(ids(&flap["by"]), ["continuous", "standby", "two-approvals"]);
    let ways = flap["satisfy"].to_string();
    assert!(ways.contains("a free standby path, and 2 approvals by other people"), "{ways}");
    assert!(ways.contains("wait for phase closed"), "{ways}");
    ask(0, trading, &["--felt", "link-flap", "--standby", "--approvals", "2"]);
    ask(0, "2026-11-29T02:00:00Z", &["--felt", "nic-reset"]);
    // Ten minutes do not fit into the last five before the break.
    let late = ask(4, "2026-11-30T03:25:00Z", &["--run", "10m"]);
    assert_eq!(ids(&late["by"]), ["boundary"]);
    assert_eq!(ids(&ask(4, "2040-01-02T02:00:00Z", &[])["by"]), ["boundary", "phase-unknown"]);
    site.json(4, &["policy", "simulate", "--as", "stranger", "--at", trading]);
    site.json(0, &["policy", "simulate", "revert-in-flight", "--as", "agent", "--at", trading]);
}

#[test]
fn what_does_not_load_is_told_with_its_place_and_what_loaded_last_stays() {
    let Some(site) = Site::new("check") else { return };
    let text = "@id(\"no-ops\")\nforbid (principal, action == Action::\"apply\", resource);\n";
    site.write("site.cedar", text);
    let sound = site.json(0, &["policy", "check"]);
    assert_eq!(sound["sound"], true);
    assert!(sound["policies"].to_string().contains("no-ops"), "{sound}");
    // Whoever writes the log keeps what loads.
    site.json(0, &["freeze"]);
    site.json(0, &["thaw"]);
    site.write("site.cedar", &text.replace("apply", "aply"));
    let broken = site.json(2, &["policy", "check"]);
    let problem = &broken["problems"][0];
    assert_eq!(
        (problem["line"].as_u64(), broken["sound"].as_bool()),
        (Some(2), Some(false)),
        "{broken}"
    );
    assert!(problem["message"].to_string().contains("aply"), "{broken}");
    let output = site.run(&["policy", "explain", "apply"]);
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("site.cedar:2:"), "{said}");
    let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(ids(&explained["by"]), ["no-ops"], "the policy that loaded last");
}

#[test]
fn where_nothing_ever_loaded_nothing_changes() {
    let Some(site) = Site::new("never") else { return };
    site.write("config.yaml", "venues: [sse]\n");
    let output = site.run(&["policy", "explain"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("config.yaml:1:10"), "{output:?}");
}

/// One word on a sysctl, whoever asks: `playbook lint` here, `plan` and `apply` by the same rule.
#[test]
fn a_sysctl_is_linted_by_the_sites_own_list() {
    let Some(site) = Site::new("a_sysctl_is_linted_by_the_sites_own_list") else { return };
    let file = site.folder.join("arp.yaml");
    let playbook = "apiVersion: nicmend/v1\nkind: Playbook\n\
        metadata: { name: arp, version: 1.0.0, summary: One setting }\n\
        stages:\n  - name: one\n    settings:\n      \"sysctl.net.ipv4.conf.all.arp_ignore\": 1\n\
        guardrails: { latency.p50: { no-worse-than: 100% } }\n\
        verify: { transport: udp, settle: 1s, window: 5s, rate: 1000, payload: 64 }\n";
    fs::write(&file, playbook).expect("write a file");
    let lint = ["playbook", "lint", file.to_str().expect("a path")];
    let told = site.json(2, &lint);
    let problem = &told[0]["problems"][0];
    assert_eq!(
        (problem["line"].as_u64(), problem["column"].as_u64()),
        (Some(7), Some(8)),
        "{told}"
    );
    assert!(
        problem["message"].as_str().is_some_and(|words| words.contains("arp_ignore")),
        "{told}"
    );
    site.write("config.yaml", "sysctls: [\"net.ipv4.conf.*.arp_*\"]\n");
    assert_eq!(site.json(0, &lint)[0]["problems"], serde_json::json!([]));
}
