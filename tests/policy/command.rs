//! `nicmend policy` as people run it.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink},
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
        fs::create_dir_all(folder.join("etc/calendars")).expect("a folder");
        let site = Site { nicmend, folder };
        ["", "policy", "calendars"].iter().for_each(|name| site.mode(name, 0o755));
        Some(site)
    }

    fn etc(&self, name: &str) -> PathBuf {
        self.folder.join("etc").join(name)
    }

    /// Whatever the umask is.
    fn mode(&self, name: &str, mode: u32) {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.etc(name), mode).expect("its mode");
    }

    fn write(&self, name: &str, text: &str) {
        self.put(&format!("policy/{name}"), text.as_bytes());
    }

    fn put(&self, name: &str, text: &[u8]) {
        fs::write(self.etc(name), text).expect("write a file");
        self.mode(name, 0o644);
    }

    /// What somebody is told who asks whether this may be done.
    fn explained(&self, code: i32, arguments: &[&str]) -> (Value, String) {
        let output = self.run(&[&["policy", "simulate", "apply"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        (serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
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

const TRADING: &str = "2026-11-30T02:00:00Z";
const SITE: &str = "venues: [SSE]\npeople:\n  ops-1: { uid: 0, roles: [operator, supervisor] }\n";

fn felt(site: &Site, code: i32) -> (Value, String) {
    site.explained(code, &["--felt", "link-flap", "--at", TRADING])
}

/// A configured host stays one when its configuration is gone, or when somebody asks with another folder.
#[test]
fn a_law_that_is_gone_stays_in_force_until_it_is_withdrawn() {
    let Some(site) = Site::new("gone") else { return };
    site.write("config.yaml", SITE);
    site.json(0, &["freeze"]);
    site.json(0, &["thaw"]);
    assert_eq!(felt(&site, 4).0["phase"], "continuous");
    let moved = site.folder.join("moved");
    fs::rename(site.etc(""), &moved).expect("take it away");
    let (told, said) = felt(&site, 4);
    assert_eq!(told["phase"], "continuous", "{said}");
    assert!(said.contains("config.yaml") && said.contains("not there any more"), "{said}");
    // Losing the configuration alone is the same.
    fs::create_dir_all(site.etc("policy")).expect("a folder");
    ["", "policy"].iter().for_each(|name| site.mode(name, 0o755));
    site.write("site.cedar", "@id(\"mine\") permit (principal, action, resource);\n");
    assert_eq!(felt(&site, 4).0["phase"], "continuous");
    fs::remove_dir_all(site.etc("")).expect("away");

    // A record that cannot be read is not the same as none.
    let record = site.folder.join("var/policy/good.json");
    let good = fs::read(&record).expect("the record");
    fs::write(&record, b"{").expect("damage it");
    assert_eq!(site.run(&["policy", "explain", "apply"]).status.code(), Some(4));
    fs::write(&record, &good).expect("as it was");

    let why = ["policy", "withdraw", "--why", "the host trades no more"];
    site.json(0, &why);
    assert_eq!(felt(&site, 0).0["phase"], "closed");
    let log = site.run(&["audit", "show"]);
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.contains("withdraw-law") && log.contains("the host trades no more"), "{log}");
    site.json(2, &why);
    // It binds again when it is back.
    fs::rename(&moved, site.etc("")).expect("put it back");
    assert_eq!(felt(&site, 4).0["phase"], "continuous");
}

#[test]
fn only_a_supervisor_of_the_law_withdraws_it() {
    let Some(site) = Site::new("withdraws") else { return };
    site.write("config.yaml", &SITE.replace(", supervisor", ""));
    site.json(0, &["freeze"]);
    fs::remove_dir_all(site.etc("policy")).expect("away");
    let refused = site.run(&["policy", "withdraw", "--why", "in my way"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert_eq!(felt(&site, 4).0["phase"], "continuous");
    let log = site.run(&["audit", "show"]);
    assert!(String::from_utf8_lossy(&log.stdout).contains("in my way"), "the attempt is there");
}

/// A calendar of the site's that cannot be read takes its venue with it; one whose folder cannot be read, all.
#[test]
fn a_calendar_that_cannot_be_read_is_unknown_and_not_the_shipped_one() {
    let Some(site) = Site::new("unread") else { return };
    let phase =
        |venue: &str| site.json(0, &["policy", "phase", venue, "--at", TRADING])["phase"].clone();
    assert_eq!((phase("SSE"), phase("HKEX")), ("continuous".into(), "continuous".into()));
    site.put("calendars/SSE.yaml", b"\xff\xfe");
    assert_eq!((phase("SSE"), phase("HKEX")), ("unknown".into(), "continuous".into()));
    site.write("config.yaml", SITE);
    let (told, said) = felt(&site, 4);
    assert_eq!(told["phase"], "unknown");
    assert!(said.contains("SSE.yaml") && said.contains("not UTF-8"), "{said}");
    let shipped = fs::read("../policy/calendars/SSE.yaml").expect("the shipped one");
    site.put("calendars/SSE.yaml", &shipped);
    assert_eq!(phase("SSE"), "continuous");
    site.mode("calendars/SSE.yaml", 0o666);
    assert_eq!(phase("SSE"), "unknown", "anybody may have written it");
    site.mode("calendars/SSE.yaml", 0o644);
    // Once it was the site's, the shipped one is no stand-in for it.
    site.json(0, &["freeze"]);
    fs::remove_file(site.etc("calendars/SSE.yaml")).expect("away");
    assert_eq!(phase("SSE"), "unknown");
    site.json(0, &["policy", "withdraw", "--why", "the shipped one will do"]);
    assert_eq!(phase("SSE"), "continuous");
    for nth in 0..65 {
        site.put(&format!("calendars/V{nth}.yaml"), b"");
    }
    assert_eq!((phase("SSE"), phase("HKEX")), ("unknown".into(), "unknown".into()));
}

#[test]
fn what_others_may_have_written_is_no_law() {
    let Some(site) = Site::new("others") else { return };
    site.write("config.yaml", SITE);
    site.write(
        "site.cedar",
        "@id(\"no\") forbid (principal, action == Action::\"flash\", resource);\n",
    );
    site.json(0, &["freeze"]);
    let refused_in = |phase: &str, words: &str| {
        let (told, said) = felt(&site, 4);
        assert!(said.contains(words), "{words}: {said}");
        assert_eq!(told["phase"], phase, "{words}");
        assert_eq!(site.run(&["policy", "check"]).status.code(), Some(2), "{words}");
    };
    // What loaded last is in force; where somebody may have put calendars there, no phase is known.
    let refused = |words: &str| refused_in("continuous", words);
    for (name, phase) in [
        ("policy/config.yaml", "continuous"),
        ("policy/site.cedar", "continuous"),
        ("policy", "continuous"),
        ("", "unknown"),
    ] {
        let mode = fs::metadata(site.etc(name)).expect("it is there").permissions().mode();
        site.mode(name, mode & 0o777 | 0o020);
        refused_in(phase, "others than its owner may write it");
        site.mode(name, mode & 0o777);
    }
    std::os::unix::fs::chown(site.etc("policy/config.yaml"), Some(12345), None).expect("another's");
    refused("uid 12345 owns it");
    fs::remove_file(site.etc("policy/config.yaml")).expect("away");
    // A link is as good as where it leads.
    let elsewhere = site.folder.join("elsewhere");
    fs::create_dir_all(&elsewhere).expect("a folder");
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o777)).expect("its mode");
    fs::write(elsewhere.join("config.yaml"), SITE).expect("a file");
    symlink(elsewhere.join("config.yaml"), site.etc("policy/config.yaml")).expect("a link");
    refused("its folder: others");
    fs::remove_file(elsewhere.join("config.yaml")).expect("away");
    refused("a link to a file that is not there");
    fs::remove_file(site.etc("policy/config.yaml")).expect("away");
    // Nobody waits for whoever writes into a FIFO.
    let fifo = site.etc("policy/config.yaml");
    let made = Command::new("mkfifo").arg("-m").arg("600").arg(&fifo).status();
    assert!(made.expect("mkfifo runs").success());
    assert!(fs::metadata(&fifo).expect("it is there").file_type().is_fifo());
    refused("no regular file");
}

/// Policies on record are held against the schema of the nicmend that reads them.
#[test]
fn a_law_on_record_is_validated_again_by_another_nicmend() {
    let Some(site) = Site::new("upgraded") else { return };
    site.write("config.yaml", SITE);
    site.write("site.cedar", "@id(\"no-hx\") forbid (principal, action, resource) when { context.phase == Phase::\"continuous\" };\n");
    site.json(0, &["freeze"]);
    site.json(0, &["thaw"]);
    assert_eq!(ids(&felt(&site, 4).0["by"])[0], "continuous");
    let record = site.folder.join("var/policy/good.json");
    let good = fs::read_to_string(&record).expect("the record");
    // As if it had been kept by a nicmend whose schema knew another word.
    let older = good
        .replace("continuous", "trading")
        .replace("\"schema\":\"sha256:", "\"schema\":\"sha256:0");
    assert_ne!(older, good);
    fs::write(&record, older).expect("an older record");
    fs::remove_dir_all(site.etc("policy")).expect("away");
    let output = site.run(&["policy", "explain", "apply"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("trading") && said.contains("no policies are in force"), "{said}");
}

/// Whoever is not among the people may read, and nothing else.
#[test]
fn a_user_whom_nobody_named_is_a_stranger() {
    let Some(site) = Site::new("stranger") else { return };
    site.write("config.yaml", "people:\n  ops-1: { uid: 4242, roles: [operator] }\n");
    let allowed = |action: &str| site.run(&["policy", "explain", action]).status.code() == Some(0);
    for action in ["apply", "plan", "freeze", "thaw", "approve", "revert", "revert-in-flight"] {
        assert!(!allowed(action), "{action}");
    }
    assert!(allowed("inventory"));
    assert_eq!(site.run(&["freeze"]).status.code(), Some(4));
}
