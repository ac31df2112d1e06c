//! `nicmend approve` as people use it: key files, passphrases, ssh-agent, other machines; and `ssh-keygen`
//! over what it files.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use agent::store::disk::{Access, Disk};
use policy::approval::NAMESPACE;

use crate::{
    exchange::{Exchange, NIC, code, finished, json, said},
    keys::{Scratch, public, run},
};

const PLAYBOOK: &str = "apiVersion: nicmend/v1\nkind: Playbook\n\
    metadata: { name: approved, version: 1.0.0, summary: One setting }\n\
    stages:\n  - { name: all, settings: { link.tx-queue-len: 500 } }\n\
    guardrails: { drops: { at-most: 1000000 } }\n\
    verify: { transport: udp, settle: 2s, window: 300ms, rate: 1000, payload: 64 }\n";

/// A host with a NIC, a plan for it, and people who may approve it.
struct Desk {
    exchange: Exchange,
    scratch: Scratch,
    digest: String,
}

impl Desk {
    fn new(test: &str) -> Option<Desk> {
        let exchange = Exchange::new(test)?;
        let playbook = exchange.playbook("approved", PLAYBOOK);
        let planned =
            exchange.done(&["plan", &playbook, "--nic", NIC, "--peer", "10.98.0.2", "--json"]);
        assert_eq!(code(&planned), 0, "{}", said(&planned));
        let digest = json(&planned)["digest"].as_str().expect("a digest").to_owned();
        Some(Desk { exchange, scratch: Scratch::new(test), digest })
    }

    fn signers(&self, text: &str) -> PathBuf {
        let config = self.exchange.folder.join("etc");
        fs::create_dir_all(&config).expect("a configuration directory");
        let file = config.join("allowed_signers");
        fs::write(&file, text).expect("write allowed_signers");
        // Whatever the umask is.
        for (path, mode) in [(&config, 0o755), (&file, 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
        }
        file
    }

    /// Who is who here.
    fn people(&self, text: &str) {
        let folder = self.exchange.folder.join("etc/policy");
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("config.yaml");
        fs::write(&file, text).expect("write the configuration");
        for (path, mode) in [(&folder, 0o755), (&file, 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
        }
    }

    /// What was done alone last, as `runs` tells it.
    fn alone(&self) -> serde_json::Value {
        json(&self.exchange.done(&["runs", "last", "--json"]))["break_glass"].clone()
    }

    fn approve(&self, arguments: &[&str]) -> Output {
        self.exchange.done(&[&["approve", &self.digest], arguments].concat())
    }

    fn listed(&self) -> serde_json::Value {
        let output = self.approve(&["--list", "--json"]);
        assert_eq!(code(&output), 0, "{}", said(&output));
        json(&output)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn two_people_approve_a_plan_and_openssh_agrees() {
    let Some(desk) = Desk::new("two_people_approve_a_plan_and_openssh_agrees") else { return };
    let risk = desk.scratch.key("risk", &["ed25519"], "");
    let lead = desk.scratch.key("lead", &["rsa", "-b", "2048"], "");
    let signers = desk.signers(&format!("risk-1 {}\ndesk-lead {}\n", public(&risk), public(&lead)));
    let first = desk.approve(&["--key", text(&risk), "--expires", "2h"]);
    assert_eq!(code(&first), 0, "{}", said(&first));
    let shown = String::from_utf8_lossy(&first.stdout);
    assert!(shown.contains("link.tx-queue-len") && shown.contains("-> 500"), "in words: {shown}");
    // Somebody else writes the log now: the approval counts at once, and is entered by the next writer.
    let writer = Disk::open(&desk.exchange.state(), Access::Write).expect("a writer");
    let second = desk.approve(&["--key", text(&lead), "--json"]);
    assert_eq!(code(&second), 0, "{}", said(&second));
    drop(writer);
    assert_eq!(code(&desk.exchange.done(&["thaw"])), 0);
    let approved = json(&second);
    assert_eq!(approved["approver"], "desk-lead");

    // The very command that it prints, by OpenSSH alone.
    let verify = approved["verify"].as_str().expect("a command");
    run(Command::new("sh").args(["-ec", verify]));
    let listed = desk.listed();
    let names: Vec<&str> = listed["approvals"]
        .as_array()
        .expect("approvals")
        .iter()
        .filter_map(|approval| approval["approver"].as_str())
        .collect();
    assert_eq!(
        (names, listed["void"].as_array().map(Vec::len)),
        (vec!["desk-lead", "risk-1"], Some(0))
    );

    // The log has both, and is whole.
    let shown = desk.exchange.done(&["audit", "show", "--json"]);
    let told = String::from_utf8_lossy(&shown.stdout)
        .matches("\"requested\",\"action\":\"approve\"")
        .count();
    assert_eq!((code(&shown), told), (0, 2), "{}", said(&shown));
    assert_eq!(code(&desk.exchange.done(&["audit", "verify"])), 0);

    // A stolen registry line, a stolen key, an edited text.
    let stem =
        desk.exchange.state().join("approvals").join(desk.digest.trim_start_matches("sha256:"));
    let filed = stem.join("risk-1.txt");
    let edited = fs::read_to_string(&filed).expect("the text").replace("risk-1", "risk-2");
    fs::write(&filed, edited).expect("edit it");
    assert_eq!(desk.listed()["void"][0]["approver"], "risk-1");
    let list = signers.with_file_name("revoked_keys");
    fs::write(&list, public(&lead)).expect("revoke");
    fs::set_permissions(&list, fs::Permissions::from_mode(0o644)).expect("its mode");
    let listed = desk.listed();
    assert_eq!(listed["approvals"].as_array().map(Vec::len), Some(0), "{listed}");
    assert!(listed["void"].to_string().contains("revoked"), "{listed}");
}

#[test]
fn an_encrypted_key_asks_and_an_agent_signs() {
    let Some(desk) = Desk::new("an_encrypted_key_asks_and_an_agent_signs") else { return };
    let key = desk.scratch.key("locked", &["ed25519"], "correct horse");
    desk.signers(&format!("risk-1 {}\n", public(&key)));
    // ssh-keygen asks a person at a terminal; without one it may ask a program, as ssh(1) says.
    let ask = |answer: &str| {
        let program = desk.scratch.file("ask", format!("#!/bin/sh\necho '{answer}'\n"));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("its mode");
        program
    };
    let arguments = ["approve", &desk.digest, "--key", text(&key), "--json"];
    let asked = |answer: &str| {
        let mut command = desk.exchange.nicmend(&arguments);
        command.env("SSH_ASKPASS", ask(answer)).env("SSH_ASKPASS_REQUIRE", "force");
        finished(command.spawn().expect("start nicmend"))
    };
    let wrong = asked("wrong");
    assert_eq!(code(&wrong), 1, "{}", said(&wrong));
    let right = asked("correct horse");
    assert_eq!(code(&right), 0, "{}", said(&right));

    let agent = Agent::start(&desk.scratch);
    let mut add = Command::new("ssh-add");
    add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &agent.socket);
    add.env("SSH_ASKPASS", ask("correct horse")).env("SSH_ASKPASS_REQUIRE", "force");
    run(&mut add);
    fs::remove_file(&key).expect("the agent alone has it now");
    let by_agent = format!("{}.pub", key.display());
    let arguments = ["approve", &desk.digest, "--key", &by_agent, "--expires", "1h", "--json"];
    let mut command = desk.exchange.nicmend(&arguments);
    command.env("SSH_AUTH_SOCK", &agent.socket);
    let signed = finished(command.spawn().expect("start nicmend"));
    assert_eq!(code(&signed), 0, "{}", said(&signed));
    assert_eq!(json(&signed)["approver"], "risk-1");
    assert_eq!(desk.listed()["approvals"].as_array().map(Vec::len), Some(1), "one person");
}

#[test]
fn an_approval_is_signed_on_another_machine_and_filed_here() {
    let Some(desk) = Desk::new("an_approval_is_signed_on_another_machine_and_filed_here") else {
        return;
    };
    let key = desk.scratch.key("risk", &["ed25519"], "");
    desk.signers(&format!("risk-1 {}\n", public(&key)));
    let hex = desk.digest.trim_start_matches("sha256:");
    let plan = desk.exchange.state().join("plans").join(format!("{hex}.json"));
    let carried = desk.scratch.file("plan.json", fs::read(plan).expect("the plan"));
    // The other machine: no state, no configuration.
    let mut there = desk.exchange.nicmend(&["approve", &desk.digest, "--as", "risk-1"]);
    there
        .args(["--key", text(&key), "--plan", text(&carried), "--to"])
        .arg(carried.parent().expect("a folder"));
    there.env("NICMEND_STATE_DIR", desk.exchange.folder.join("none"));
    there.env("NICMEND_CONFIG_DIR", desk.exchange.folder.join("none"));
    let signed = finished(there.spawn().expect("start nicmend"));
    assert_eq!(code(&signed), 0, "{}", said(&signed));
    assert!(!desk.exchange.folder.join("none").exists(), "nothing is made there");
    assert_eq!(desk.listed()["approvals"].as_array().map(Vec::len), Some(0));
    let statement = carried.with_file_name("risk-1.txt");
    let filed = desk.approve(&["--statement", text(&statement)]);
    assert_eq!(code(&filed), 0, "{}", said(&filed));
    assert_eq!(desk.listed()["approvals"][0]["approver"], "risk-1");

    // Signed by hand, with ssh-keygen alone.
    let text_of = fs::read(&statement).expect("the text");
    let signature = desk.scratch.sign(&key, NAMESPACE, &text_of, &[]);
    let by_hand = desk.scratch.file("by-hand.txt", &text_of);
    fs::write(by_hand.with_extension("sig"), signature).expect("its signature");
    assert_eq!(code(&desk.approve(&["--statement", text(&by_hand)])), 0);
    let forged =
        desk.scratch.file("forged.txt", String::from_utf8_lossy(&text_of).replace("T", "t"));
    fs::copy(by_hand.with_extension("sig"), forged.with_extension("sig")).expect("its signature");
    let refused = desk.approve(&["--statement", text(&forged)]);
    assert_eq!(code(&refused), 4, "{}", said(&refused));
}

#[test]
fn what_would_not_count_is_not_filed() {
    let Some(desk) = Desk::new("what_would_not_count_is_not_filed") else { return };
    let key = desk.scratch.key("risk", &["ed25519"], "");
    let told = |arguments: &[&str], exit: i32, words: &str| {
        let output = desk.approve(arguments);
        let said = said(&output);
        assert_eq!((code(&output), said.contains(words)), (exit, true), "{arguments:?}: {said}");
    };
    let with = ["--key", text(&key)];
    told(&with, 2, "--as NAME");
    told(&[&with[..], &["--as", "risk-1"]].concat(), 4, "nobody's in the allowed signers");
    let file = desk.signers(&format!("risk-1 {}\n", public(&key)));
    told(&[&with[..], &["--as", "desk-2"]].concat(), 4, "the key is risk-1's");
    told(&[&with[..], &["--expires", "8d"]].concat(), 2, "at most 7d");
    told(&["--key", "/nowhere/key", "--as", "risk-1"], 1, "ssh-keygen");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("its mode");
    told(&with, 1, "others than its owner may write it");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("its mode");
    std::os::unix::fs::chown(&file, Some(12345), None).expect("another's file");
    told(&with, 1, "uid 12345 owns it");
    std::os::unix::fs::chown(&file, Some(0), None).expect("root's again");
    let folder = file.parent().expect("its folder");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("its mode");
    told(&with, 1, "its folder: others than its owner may write it");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("its mode");
    desk.signers(&format!("risk-1 cert-authority {}\nrisk-1 {}\n", public(&key), "ssh-dss AAAA"));
    told(&with, 1, "allowed_signers:1:8: certificate authorities are not taken");
    told(&with, 1, "2 errors; nobody's signature counts");
    let other = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let unknown = desk.exchange.done(&["approve", other, "--key", text(&key)]);
    assert_eq!(code(&unknown), 2, "{}", said(&unknown));
    assert_eq!(
        fs::read_dir(desk.exchange.state().join("approvals")).map(Iterator::count).unwrap_or(0),
        0
    );
}

/// Whoever acts alone cannot make a countersignature out of what another has signed before, nor have it made by
/// somebody who may not approve.
#[test]
fn what_was_done_alone_is_countersigned_by_a_signature_that_names_it() {
    let test = "what_was_done_alone_is_countersigned_by_a_signature_that_names_it";
    let Some(desk) = Desk::new(test) else { return };
    let key = |name: &str| desk.scratch.key(name, &["ed25519"], "");
    let (risk, intern) = (key("risk"), key("intern"));
    desk.signers(&format!("risk-1 {}\nintern {}\n", public(&risk), public(&intern)));
    desk.people(
        "people:\n  desk-1: { uid: 0, roles: [operator] }\n  risk-1: { roles: [approver] }\n",
    );
    let told = |arguments: &[&str], exit: i32, words: &str| {
        let output = desk.approve(arguments);
        let said = said(&output);
        assert_eq!((code(&output), said.contains(words)), (exit, true), "{arguments:?}: {said}");
    };
    told(&["--key", text(&intern)], 4, "no-policy-permits");
    told(&["--key", text(&risk), "--override-hazard", "KB-096"], 0, "overrides KB-096");
    assert_eq!(desk.listed()["approvals"][0]["overrides"][0], "KB-096");

    let alone = ["apply", "--plan", &desk.digest, "--break-glass", "market on fire", "--json"];
    let ran = desk.exchange.done(&alone);
    assert!(matches!(code(&ran), 0 | 3), "{}", said(&ran));
    let act = desk.alone()[0].clone();
    assert_eq!((act["by"].as_str(), act.get("countersigned")), (Some("desk-1"), None), "{act}");
    let run = act["run"].as_str().expect("a run").to_owned();

    // The morning's approval, filed once more.
    let hex = desk.digest.trim_start_matches("sha256:");
    let filed = desk.exchange.state().join("approvals").join(hex).join("risk-1.txt");
    let again = desk.approve(&["--statement", text(&filed)]);
    assert!(matches!(code(&again), 0 | 4), "{}", said(&again));
    told(&["--key", text(&risk)], 0, "approved");
    told(&["--key", text(&intern), "--countersign", &run], 4, "no-policy-permits");
    told(
        &["--key", text(&risk), "--countersign", "20200101T000000Z-0000"],
        2,
        "nothing that anybody",
    );
    assert_eq!(desk.alone()[0].get("countersigned"), None, "{}", desk.alone());

    let signed = desk.approve(&["--key", text(&risk), "--countersign", &run, "--json"]);
    assert_eq!(code(&signed), 0, "{}", said(&signed));
    let signed = json(&signed);
    run_shell(signed["verify"].as_str().expect("a command"));
    let named = format!("{run}#{}", act["entry"]);
    assert_eq!(signed["countersigns"], named.as_str());
    assert!(
        signed["text"].as_str().expect("the text").contains(&format!("countersigns {named}\n"))
    );
    assert_eq!(desk.alone()[0]["countersigned"]["by"], "risk-1");
    // It is good for that once.
    let file = signed["files"][0].as_str().expect("a file");
    assert_eq!(code(&desk.approve(&["--statement", file])), 4);
    assert_eq!(code(&desk.exchange.done(&["audit", "verify"])), 0);
}

fn run_shell(command: &str) {
    run(Command::new("sh").args(["-ec", command]));
}

/// ssh-agent in the foreground, ended with its test.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(scratch: &Scratch) -> Agent {
        let socket = scratch.path().join("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("start ssh-agent");
        // It prints its variables once it listens.
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("what it says");
        Agent { child, socket }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
