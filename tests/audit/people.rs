//! The commands, as people and programs use them; the proof, checked by somebody else's code.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use crate::logs::{Scratch, files};

const TEST: &str = "audit::people";

struct Desk {
    nicmend: PathBuf,
    state: Scratch,
}

impl Desk {
    fn new() -> Option<Desk> {
        let here = std::env::current_exe().unwrap();
        let nicmend = here.ancestors().nth(2).unwrap().join("nicmend");
        if !nicmend.exists() {
            tests::skip(TEST, "nicmend is not built: cargo build --release");
            return None;
        }
        Some(Desk { nicmend, state: Scratch::new() })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.nicmend)
            .args(arguments)
            .env("NICMEND_STATE_DIR", &self.state.0)
            .output()
            .unwrap()
    }

    /// What it prints; it must end with this exit.
    fn says(&self, exit: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}\n{out}\n{err}");
        out.into_owned()
    }

    fn json(&self, exit: i32, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.says(exit, &[arguments, &["--json"]].concat())).unwrap()
    }
}

#[test]
fn a_log_is_read_exported_proved_and_cosigned() {
    let Some(desk) = Desk::new() else { return };
    // Commands that read make nothing, no key either.
    assert!(desk.says(0, &["audit", "verify"]).contains("0 entries"));
    desk.says(0, &["audit", "show"]);
    assert!(!desk.state.0.exists());
    desk.says(0, &["freeze", "--why", "an auditor, \"looking\""]);
    desk.says(0, &["thaw"]);
    let whole = desk.json(0, &["audit", "verify"]);
    // The key; and of each a request, a decision, and what came of it.
    assert_eq!((&whole["whole"], &whole["entries"]), (&true.into(), &7.into()));
    let key = whole["keys"][0].as_str().unwrap().to_owned();
    let shown = desk.says(0, &["audit", "show"]);
    assert!(shown.contains("frozen: frozen by uid") && shown.contains("key-created"), "{shown}");
    assert_eq!(desk.says(0, &["audit", "show", "--kind", "thawed"]).lines().count(), 1);
    assert_eq!(desk.says(0, &["audit", "show", "--to", "2020-01-01"]), "no entries\n");
    let me = nix::unistd::geteuid().as_raw().to_string();
    assert_eq!(desk.says(0, &["audit", "show", "--person", &me]).lines().count(), 7);
    assert_eq!(desk.says(0, &["audit", "show", "--person", "4242"]), "no entries\n");
    exports(&desk);
    let kept = desk.state.log("checkpoint");
    let checkpoint = desk.state.0.with_extension("kept");
    fs::copy(kept, &checkpoint).unwrap();
    proves(&desk, &key);
    rotates(&desk, &key);
    let cosigned = desk.says(0, &["audit", "witness", "--name", "w.example/w", "--key", &key]);
    assert!(cosigned.contains("— w.example/w "), "{cosigned}");
    let (kept, key_file) = (checkpoint.to_str().unwrap(), desk.state.0.join("keys/log.pub"));
    desk.says(0, &["audit", "verify", "--key", key_file.to_str().unwrap(), "--checkpoint", kept]);
    fs::remove_file(&checkpoint).unwrap();
    // An edit is named, by every command that vouches.
    crate::logs::exchange(&desk.state.log("tile/entries/000"), "looking", "locking");
    let bad = desk.json(1, &["audit", "verify"]);
    assert_eq!(bad["first-bad"]["entry"], 3);
    assert!(desk.says(1, &["audit", "verify"]).starts_with("NOT WHOLE: first at entry 3"));
    desk.says(1, &["audit", "witness"]);
    desk.says(1, &["audit", "prove", "3"]);
    desk.says(1, &["audit", "export"]);
}

fn exports(desk: &Desk) {
    let jsonl = desk.says(0, &["audit", "export"]);
    let first: agent::log::Entry = serde_json::from_str(jsonl.lines().next().unwrap()).unwrap();
    assert_eq!((first.v, first.seq), (2, 0));
    assert!(first.clock.is_some() && first.host.is_some() && first.who.is_some());
    for line in desk.says(0, &["audit", "export", "--format", "ocsf"]).lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let (class, activity) = (event["class_uid"].as_u64(), event["activity_id"].as_u64());
        assert_eq!(event["type_uid"].as_u64(), Some(class.unwrap() * 100 + activity.unwrap()));
        assert!(event["time"].is_i64() && event["unmapped"]["entry"]["fact"].is_object());
    }
    let csv = desk.says(0, &["audit", "export", "--format", "csv", "--from", "2020-01-01"]);
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 8);
    assert!(rows[0].starts_with("entry,utc,"));
    assert!(
        rows[4].contains("\"frozen by uid 0: an auditor, \"\"looking\"\"\"")
            || !nix::unistd::geteuid().is_root()
    );
    desk.says(2, &["audit", "export", "--from", "yesterday"]);
    desk.says(2, &["audit", "export", "--kind", "comitted"]);
}

/// The shipped script, which shares no code with nicmend, checks a proof with only the public key.
fn proves(desk: &Desk, key: &str) {
    let proof = desk.state.0.with_extension("tlog-proof");
    let path = proof.to_str().unwrap();
    desk.says(0, &["audit", "prove", "3", "-o", path]);
    desk.says(2, &["audit", "prove", "99"]);
    if !tests::programs_or_skip(TEST, &["python3"]) {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verify.py");
    let checks = |key: &str, path: &str| {
        let output = Command::new("python3").args([script, path, key]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // The key itself, or the file that it was copied off the host in.
    let file = desk.state.0.join("keys/log.pub");
    for key in [key, file.to_str().unwrap()] {
        let (exit, said) = checks(key, path);
        assert_eq!(exit, Some(0), "{key}: {said}");
    }
    let (_, said) = checks(key, path);
    assert!(said.contains("looking"), "{said}");
    let good = fs::read_to_string(&proof).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let mut refused = 0;
    for (nth, line) in lines.iter().enumerate().filter(|(_, line)| line.len() > 1) {
        // One letter of each line, in turn.
        let at = line.char_indices().nth(line.chars().count() / 2).unwrap().0;
        let other = if line[at..].starts_with('A') { "B" } else { "A" };
        let length = line[at..].chars().next().unwrap().len_utf8();
        let bad = format!("{}{other}{}", &line[..at], &line[at + length..]);
        let mut changed: Vec<&str> = lines.clone();
        changed[nth] = &bad;
        fs::write(&proof, changed.join("\n") + "\n").unwrap();
        let (exit, said) = checks(key, path);
        assert_eq!(exit, Some(1), "line {nth}: {bad}\n{said}");
        refused += 1;
    }
    assert!(refused >= 7, "{refused} lines");
    fs::write(&proof, &good).unwrap();
    let other = crate::logs::own_key(key.split('+').next().unwrap()).verifier().to_string();
    assert_eq!(checks(&other, path).0, Some(1));
    fs::remove_file(proof).unwrap();
}

fn rotates(desk: &Desk, key: &str) {
    let rotated = desk.json(0, &["audit", "rotate-key", "--why", "a year has passed"]);
    assert_ne!(rotated["key"], key);
    let whole = desk.json(0, &["audit", "verify", "--key", key]);
    assert_eq!((&whole["whole"], &whole["keys"][1]), (&true.into(), &rotated["key"]));
    // The old key vouches for nothing after the hand-over.
    desk.says(0, &["thaw"]);
    assert_eq!(desk.json(0, &["audit", "verify"])["whole"], true);
    leaked(desk, key);
}

/// Whoever has the old key, which was replaced, proves nothing to who trusts the log's keys.
fn leaked(desk: &Desk, old: &str) {
    if !tests::programs_or_skip(TEST, &["python3"]) {
        return;
    }
    let proof = desk.state.0.with_extension("old.tlog-proof");
    let path = proof.to_str().unwrap();
    desk.says(0, &["audit", "prove", "1", "-o", path]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verify.py");
    let file = desk.state.0.join("keys/log.pub");
    let checks = |key: &str| {
        Command::new("python3").args([script, path, key]).output().unwrap().status.code()
    };
    assert_eq!(checks(file.to_str().unwrap()), Some(0), "the newest of the file signed");
    assert_eq!(checks(old), Some(1), "the old one did not");
    let keys = fs::read_to_string(&file).unwrap();
    let reversed: Vec<&str> = keys.lines().rev().collect();
    let kept = desk.state.0.with_extension("pub");
    fs::write(&kept, reversed.join("\n") + "\n").unwrap();
    assert_eq!(checks(kept.to_str().unwrap()), Some(1), "an older one of a file does not count");
    fs::remove_file(proof).unwrap();
    fs::remove_file(kept).unwrap();
}

/// Entries that nobody signed are told whoever holds the lock.
#[test]
fn a_lock_that_is_held_vouches_for_nothing() {
    let Some(desk) = Desk::new() else { return };
    desk.says(0, &["freeze"]);
    assert_eq!(desk.json(0, &["audit", "verify"])["unsigned"], 0);
    let mut all = desk.state.entries();
    let next = all.len() as u64;
    all.push(crate::logs::entry(next));
    let bundle = desk.state.0.join("log/tile/entries/000");
    fs::write(bundle, agent::store::bundle::encode(&all)).unwrap();
    let lock = fs::File::open(desk.state.0.join("lock")).unwrap();
    let held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let report = desk.json(1, &["audit", "verify"]);
    assert_eq!((&report["whole"], &report["unsigned"]), (&false.into(), &1.into()));
    assert_eq!(report["first-bad"]["entry"], next);
    drop(held);
    desk.json(1, &["audit", "verify"]);
    // The next writer signs it and says so.
    desk.says(0, &["thaw"]);
    let show = desk.says(0, &["audit", "show"]);
    assert!(show.contains(&format!("entries {next} to {next} were signed by nobody")), "{show}");
}

/// A name of policy's may be one of the system's, too; under sudo the user id is another.
#[test]
fn a_person_is_found_by_either_name() {
    let Some(desk) = Desk::new() else { return };
    desk.says(0, &["freeze"]);
    let root = desk.says(0, &["audit", "show", "--person", "root"]);
    let by_id = desk.says(0, &["audit", "show", "--person", "0"]);
    assert!(root == by_id || !nix::unistd::geteuid().is_root(), "{root}{by_id}");
    let entry = agent::log::Entry::decode(&desk.state.entries()[1], 1).unwrap();
    let who = entry.who.unwrap();
    if let Some(name) = who.principal {
        assert!(desk.says(0, &["audit", "show", "--person", &name]).contains("frozen"));
    }
}

/// The log has one writer. What people do meanwhile binds at once, and the next writer enters it.
#[test]
fn what_is_done_beside_a_writer_is_entered_by_the_next_in_order_and_with_its_time() {
    let Some(desk) = Desk::new() else { return };
    assert!(desk.says(0, &["thaw"]).contains("was not frozen"));
    let writer = desk.state.writer();
    let entries = || desk.state.entries().len();
    let before = entries();
    assert_eq!(desk.json(0, &["freeze", "--why", "first"])["was-frozen"], false);
    assert!(desk.says(0, &["freeze", "--why", "second"]).contains("it was frozen before: first"));
    assert!(desk.says(0, &["thaw"]).contains("it was frozen: second"));
    desk.says(0, &["freeze", "--why", "third"]);
    assert_eq!(fs::read_to_string(desk.state.0.join("frozen")).unwrap(), "third");
    assert_eq!(entries(), before, "the writer has the word");
    assert_eq!(desk.json(0, &["audit", "verify"])["waiting"], 4);
    drop(writer);
    // A command that only reads enters nothing.
    desk.says(0, &["runs"]);
    assert_eq!(entries(), before);
    desk.says(0, &["recover"]);
    let shown = desk.says(0, &["audit", "show", "--json"]);
    let shown: Vec<serde_json::Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done: Vec<&serde_json::Value> = shown[before..].iter().map(|line| &line["entry"]).collect();
    let came: Vec<(&str, &str)> = done
        .iter()
        .map(|entry| &entry["fact"])
        .filter(|fact| fact["kind"] == "frozen" || fact["kind"] == "thawed")
        .map(|fact| (fact["kind"].as_str().unwrap(), fact["why"].as_str().unwrap_or("")))
        .collect();
    let wanted = [("frozen", "first"), ("frozen", "second"), ("thawed", ""), ("frozen", "third")];
    assert_eq!(came, wanted);
    let time = |value: &serde_json::Value| value["utc_ns"].as_i64().unwrap();
    for entry in &done {
        assert!(time(&entry["entered"]["at"]) > time(&entry["at"]), "{entry}");
    }
    assert!(done.windows(2).all(|two| time(&two[0]["at"]) <= time(&two[1]["at"])));
    let whole = desk.json(0, &["audit", "verify"]);
    assert_eq!((&whole["whole"], &whole["waiting"]), (&true.into(), &0.into()));
    // What lies there and is no deed is named, and nothing that it says is done.
    fs::write(desk.state.0.join("spool/thaw-me"), r#"{"kind":"thawed","uid":0}"#).unwrap();
    let output = desk.run(&["recover"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("spool file thaw-me"), "{output:?}");
    let named = desk.says(0, &["audit", "show", "--kind", "deed-refused"]);
    assert!(named.contains("spool file thaw-me put aside"), "{named}");
    assert!(desk.state.0.join("spool-refused/thaw-me").exists());
}

/// What is secret is nowhere but in its file: not in the log, not in any output, not in a core dump.
#[test]
fn the_private_key_is_nowhere_else() {
    let Some(desk) = Desk::new() else { return };
    desk.says(0, &["freeze"]);
    let secret = fs::read_to_string(desk.state.0.join("keys/log.key")).unwrap();
    // PRIVATE+KEY+name+id+key, and base64 has a `+` of its own.
    let secret = secret.trim().splitn(5, '+').last().unwrap().to_owned();
    assert_eq!(secret.len(), 44);
    for path in files(&desk.state.0).iter().filter(|path| !path.ends_with("keys/log.key")) {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        assert!(!text.contains(&secret), "{}", path.display());
    }
    // A key that is damaged, or that others may read, is refused without being repeated.
    let path = desk.state.0.join("keys/log.key");
    fs::write(&path, format!("PRIVATE+KEY+x+00000000+{secret}\n")).unwrap();
    for arguments in [&["thaw"][..], &["audit", "verify"], &["audit", "rotate-key"]] {
        for json in [&[][..], &["--json"]] {
            let output = desk.run(&[arguments, json].concat());
            let said = [output.stdout, output.stderr].concat();
            assert!(!String::from_utf8_lossy(&said).contains(&secret), "{arguments:?}");
        }
    }
    let disk = crate::logs::log(3, 3);
    let _writer = disk.writer();
    assert_eq!(nix::sys::prctl::get_dumpable(), Ok(false), "a writer could be dumped");
}

/// As docs/operator-guide.md tells it: another host, a copy of the log, the key that was written down on the first
/// day, and nothing else.
#[test]
fn a_witness_on_another_host_sees_the_log_grow_and_refuses_a_rewritten_one() {
    let Some(desk) = Desk::new() else { return };
    desk.says(0, &["freeze", "--why", "set up"]);
    let key = desk.json(0, &["audit", "verify"])["keys"][0].as_str().unwrap().to_owned();
    let there = Scratch::new();
    let copied = || {
        let copy = there.0.join("trade1");
        let _ = fs::remove_dir_all(&copy);
        crate::logs::copy_tree(&desk.state.0.join("log"), &copy);
    };
    let (copy, memory) = (there.0.join("trade1"), there.0.join("memory"));
    let [copy, memory] = [&copy, &memory].map(|path| path.to_str().unwrap().to_owned());
    let looks = |exit: i32| {
        let arguments = ["audit", "witness", "--log", &copy, "--witness-dir", &memory];
        let more = ["--name", "audit.example/w1", "--key", &key, "--json"];
        let mut command = Command::new(&desk.nicmend);
        command.args(arguments).args(more);
        // Nothing of the log's host is here.
        let output = command.env("NICMEND_STATE_DIR", there.0.join("none")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{said}\n{output:?}");
        serde_json::from_str::<serde_json::Value>(&said).unwrap()
    };
    copied();
    let first = looks(0);
    assert_eq!((&first["before"], &first["size"]), (&0.into(), &4.into()));
    desk.says(0, &["thaw"]);
    copied();
    let second = looks(0);
    assert_eq!((&second["before"], &second["size"]), (&4.into(), &7.into()));
    // What it signed goes back to the log's host, or to anybody: the log must contain it.
    let cosigned = there.0.join("cosigned");
    fs::write(&cosigned, second["checkpoint"].as_str().unwrap()).unwrap();
    desk.says(0, &["audit", "verify", "--key", &key, "--checkpoint", cosigned.to_str().unwrap()]);
    assert!(!there.0.join("none").exists(), "it needs no state directory");
    // The host's root puts the log back to the day before, and goes on from there.
    let kept = there.0.join("day-before");
    crate::logs::copy_tree(&desk.state.0, &kept);
    desk.says(0, &["freeze", "--why", "what shall be forgotten"]);
    copied();
    assert_eq!(looks(0)["size"], 10);
    fs::remove_dir_all(&desk.state.0).unwrap();
    crate::logs::copy_tree(&kept, &desk.state.0);
    desk.says(0, &["freeze", "--why", "another story"]);
    desk.says(0, &["thaw"]);
    assert_eq!(desk.json(0, &["audit", "verify"])["whole"], true, "alone, nobody could tell");
    copied();
    let refused = looks(1);
    assert!(refused["error"].as_str().unwrap().contains("cosign"), "{refused}");
}
