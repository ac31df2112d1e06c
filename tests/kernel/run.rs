//! What the commands promise, on a real link: exit codes, refusals, stops, and that nothing is left.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself

#[path = "run/exchange.rs"]
mod exchange;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::sys::signal::Signal;

use exchange::{Exchange, FAR, NIC, apart, code, finished, json, kept, said, signal};

/// Runs measure latency: one at a time.
static QUIET: Mutex<()> = Mutex::new(());

fn quiet() -> MutexGuard<'static, ()> {
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

const HELPS: &str =
    "feature.rx-gro: true, link.tx-queue-len: 500, sysctl.net.ipv4.tcp_autocorking: 0";
const HURTS: &str = "feature.rx-gro: true, feature.rx-gro-list: true, napi.defer-hard-irqs: 100, \
                     napi.gro-flush-timeout: 2000000";

fn yaml(settings: &str, window: &str, worse: &str) -> String {
    format!(
        "apiVersion: nicmend/v1\nkind: Playbook\n\
         metadata: {{ name: kernel-run, version: 1.0.0, summary: A few settings }}\n\
         stages:\n  - name: all\n    settings: {{ {settings} }}\n\
         guardrails: {{ latency.p50: {{ no-worse-than: {worse} }} }}\n\
         verify: {{ transport: udp, settle: 2s, window: {window}, rate: 1000, payload: 64 }}\n"
    )
}

/// Starts a run and follows it until its second window begins: everything is written by then.
fn until_stage(exchange: &Exchange, playbook: &str) -> (Child, impl Sized + use<>) {
    follow(exchange.apply(playbook), "measure   stage 1")
}

/// Starts a run and kills it when everything is written.
fn killed(exchange: &Exchange, playbook: &str) {
    let (mut child, _progress) = until_stage(exchange, playbook);
    child.kill().expect("it is there");
    child.wait().expect("it ends");
}

/// Follows a run until it says this. The pipe of its progress is handed back, so that the run does not
/// lose it.
fn follow(mut command: Command, until: &str) -> (Child, impl Sized + use<>) {
    let mut child = command.spawn().expect("start nicmend");
    let mut lines = BufReader::new(child.stderr.take().expect("its progress")).lines();
    let mut told = String::new();
    while !told.starts_with(until) {
        told = lines.next().expect("more progress").expect("text");
    }
    (child, lines)
}

#[test]
fn a_commit_stays_and_is_put_back_on_request() {
    let test = "a_commit_stays_and_is_put_back_on_request";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("helps", &yaml(HELPS, "300ms", "2000%"));
    let output = kept(|| finished(exchange.apply(&playbook).spawn().unwrap()));
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(json(&output)["state"], "committed");
    assert_ne!(exchange.witness(), before);
    let again = finished(exchange.apply(&playbook).spawn().unwrap());
    assert_eq!(code(&again), 0, "already right: {}", said(&again));
    // A later run takes a key over: the earlier may not trample it.
    let later = exchange.playbook("later", &yaml("link.tx-queue-len: 600", "300ms", "2000%"));
    let first = json(&output)["id"].as_str().unwrap().to_owned();
    let second = kept(|| finished(exchange.apply(&later).spawn().unwrap()));
    assert_eq!(code(&second), 0, "{}", said(&second));
    let refused = exchange.done(&["revert", &first]);
    assert_eq!(code(&refused), 4, "{}", said(&refused));
    assert_eq!(code(&exchange.done(&["revert", "last"])), 0);
    assert_eq!(code(&exchange.done(&["revert", &first])), 0);
    assert_eq!(exchange.witness(), before);
}

#[test]
fn a_change_that_hurts_is_put_back() {
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new("a_change_that_hurts_is_put_back"))
    else {
        return;
    };
    let before = exchange.witness();
    let playbook = exchange.playbook("hurts", &yaml(HURTS, "2s", "5%"));
    let output = finished(exchange.apply(&playbook).spawn().unwrap());
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert_eq!(json(&output)["state"], "reverted");
    assert_eq!(exchange.witness(), before);
}

#[test]
fn ctrl_c_and_abort_put_back() {
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new("ctrl_c_and_abort_put_back")) else {
        return;
    };
    let before = exchange.witness();
    let playbook = exchange.playbook("long", &yaml(HELPS, "3s", "2000%"));
    let (child, _progress) = until_stage(&exchange, &playbook);
    assert_ne!(exchange.witness(), before);
    signal(&child, Signal::SIGINT);
    let output = finished(child);
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert_eq!(exchange.witness(), before, "after Ctrl-C");
    let (child, _progress) = until_stage(&exchange, &playbook);
    let second = finished(exchange.apply(&playbook).spawn().unwrap());
    assert_eq!(code(&second), 4, "{}", said(&second));
    assert!(said(&second).contains(&child.id().to_string()), "{}", said(&second));
    // It binds at once; the log has one writer, and that is the run.
    let frozen = exchange.done(&["freeze", "--why", "look into it"]);
    assert_eq!(code(&frozen), 0, "{}", said(&frozen));
    assert!(said(&frozen).contains("before its own next entry"), "{}", said(&frozen));
    assert!(exchange.state().join("frozen").exists());
    let aborted = exchange.done(&["abort", "last"]);
    assert_eq!(code(&aborted), 0, "{}", said(&aborted));
    assert_eq!(code(&finished(child)), 3);
    assert_eq!(exchange.witness(), before, "after abort");
    let shown = exchange.done(&["audit", "show", "--json"]);
    let told: Vec<serde_json::Value> = String::from_utf8_lossy(&shown.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an entry"))
        .filter(|told: &serde_json::Value| told["entry"]["entered"].is_object())
        .collect();
    let kinds: Vec<&str> =
        told.iter().filter_map(|t| t["entry"]["fact"]["kind"].as_str()).collect();
    assert_eq!(kinds, ["requested", "decision", "frozen", "requested"], "{told:?}");
    assert_eq!(told[3]["entry"]["fact"]["action"], "abort");
    assert_eq!(told[3]["entry"]["run"], told[3]["entry"]["fact"]["on"]);
    assert_eq!(code(&exchange.done(&["audit", "verify"])), 0);
}

#[test]
fn a_lost_terminal_changes_nothing() {
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new("a_lost_terminal_changes_nothing"))
    else {
        return;
    };
    let playbook = exchange.playbook("helps", &yaml(HELPS, "3s", "2000%"));
    let last = || json(&exchange.done(&["runs", "last", "--json"]));
    // What a busy machine leaves open is tried again; nothing but the log tells it, the terminal being gone.
    let open = || last()["why"].as_str().is_some_and(|why| why.contains(" open: measured"));
    for _ in 0..5 {
        let (mut child, progress) = until_stage(&exchange, &playbook);
        drop((child.stdout.take(), progress));
        signal(&child, Signal::SIGHUP);
        let ended = code(&finished(child));
        if ended == 3 && open() {
            continue;
        }
        assert_eq!(ended, 0, "{}", last());
        assert_eq!(last()["state"], "committed");
        return;
    }
    panic!("open five times: {}", last());
}

#[test]
fn somebody_elses_hand_is_named_and_everything_put_back() {
    let test = "somebody_elses_hand_is_named_and_everything_put_back";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("long", &yaml(HELPS, "3s", "2000%"));
    let (child, _progress) = until_stage(&exchange, &playbook);
    exchange.netns.run("ethtool", &["-K", NIC, "gro", "off"]);
    let output = finished(child);
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert_eq!(json(&output)["foreign"][0]["name"], "feature.rx-gro", "{}", said(&output));
    assert_eq!(exchange.witness(), before);
}

#[test]
fn wrong_requests_and_refusals_touch_nothing() {
    let test = "wrong_requests_and_refusals_touch_nothing";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let good = exchange.playbook("good", &yaml(HELPS, "300ms", "2000%"));
    let unknown = exchange.done(&["apply", &good, "--nic", "nosuch0", "--peer", FAR]);
    assert_eq!(code(&unknown), 2, "{}", said(&unknown));
    let bad = exchange.playbook("bad", &yaml("ring.rz: 1", "300ms", "5%"));
    let output = finished(exchange.apply(&bad).spawn().unwrap());
    assert_eq!(code(&output), 2, "{}", said(&output));
    assert!(said(&output).contains(&format!("{bad}:6:17")), "{}", said(&output));
    assert_eq!(code(&exchange.done(&["freeze", "--why", "a test"])), 0);
    assert_eq!(code(&finished(exchange.apply(&good).spawn().unwrap())), 4, "frozen");
    assert_eq!(code(&exchange.done(&["thaw"])), 0);
    let plan = ["plan", &good, "--nic", NIC, "--peer", FAR, "--json"];
    let digest = json(&exchange.done(&plan))["digest"].as_str().unwrap().to_owned();
    assert_eq!(json(&exchange.done(&plan))["digest"], digest.as_str());
    exchange.netns.run("ip", &["link", "set", NIC, "txqueuelen", "900"]);
    let stale = exchange.done(&["apply", "--plan", &digest]);
    assert_eq!(code(&stale), 4, "{}", said(&stale));
    exchange.netns.run("ip", &["link", "set", NIC, "txqueuelen", "1000"]);
    assert_eq!(exchange.witness(), before);
    let output = kept(|| exchange.done(&["apply", "--plan", &digest, "--json"]));
    assert_eq!(code(&output), 0, "{}", said(&output));
}

#[test]
fn a_dead_reflector_is_refused_and_a_dying_one_reverts() {
    let test = "a_dead_reflector_is_refused_and_a_dying_one_reverts";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("long", &yaml(HELPS, "2s", "2000%"));
    let (child, _progress) = until_stage(&exchange, &playbook);
    // Stopped, not killed: its namespace holds the far end of the link.
    signal(&exchange.reflector, Signal::SIGSTOP);
    let output = finished(child);
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert_eq!(json(&exchange.done(&["runs", "last", "--json"]))["state"], "reverted");
    assert_eq!(exchange.witness(), before);
    let output = finished(exchange.apply(&playbook).spawn().unwrap());
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert!(!said(&output).contains("write "), "{}", said(&output));
    assert_eq!(exchange.witness(), before);
}

#[test]
fn the_undo_script_works_without_nicmend() {
    let test = "the_undo_script_works_without_nicmend";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("long", &yaml(HELPS, "3s", "2000%"));
    killed(&exchange, &playbook);
    assert_ne!(exchange.witness(), before);
    let run = json(&exchange.done(&["runs", "last", "--json"]));
    let folder = exchange.state().join("runs").join(run["id"].as_str().unwrap());
    exchange.netns.run("sh", &["-e", &folder.join("undo.sh").display().to_string()]);
    assert_eq!(exchange.witness(), before);
    assert_eq!(code(&exchange.done(&["recover"])), 0);
    assert_eq!(exchange.witness(), before);
}

#[test]
fn a_link_that_is_deleted_ends_the_run() {
    let test = "a_link_that_is_deleted_ends_the_run";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let playbook = exchange.playbook("long", &yaml(HELPS, "3s", "2000%"));
    let (child, _progress) = until_stage(&exchange, &playbook);
    exchange.netns.run("ip", &["link", "del", NIC]);
    std::thread::sleep(Duration::from_millis(100));
    let output = finished(child);
    assert_eq!(code(&output), 5, "{}", said(&output));
    let run = json(&output);
    assert_eq!(run["state"], "stuck");
    assert!(run["by_hand"].as_array().is_some_and(|lines| !lines.is_empty()), "{run}");
}

#[test]
fn one_run_waits_for_another() {
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new("one_run_waits_for_another")) else {
        return;
    };
    let playbook = exchange.playbook("helps", &yaml(HELPS, "500ms", "2000%"));
    let first = exchange.apply(&playbook).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let output =
        kept(|| finished(exchange.apply(&playbook).args(["--wait", "20s"]).spawn().unwrap()));
    assert_eq!(code(&output), 0, "{}", said(&output));
    // The first ended by itself, before or beside what a busy machine could tell.
    assert!([0, 3].contains(&code(&finished(first))));
}

#[test]
fn ctrl_c_in_the_baseline_is_a_stop_like_any_other() {
    let test = "ctrl_c_in_the_baseline_is_a_stop_like_any_other";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let playbook = exchange.playbook("long", &yaml(HELPS, "20s", "2000%"));
    let (child, _progress) = follow(exchange.apply(&playbook), "measure   baseline");
    signal(&child, Signal::SIGINT);
    let output = finished(child);
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert_eq!(json(&output)["why"], "stopped by Ctrl-C");
}

#[test]
fn a_writer_that_was_replaced_neither_commits_nor_writes() {
    let test = "a_writer_that_was_replaced_neither_commits_nor_writes";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("helps", &yaml(HELPS, "1s", "2000%"));
    let (child, _progress) = until_stage(&exchange, &playbook);
    let written = exchange.witness();
    std::fs::write(exchange.state().join("epoch"), "00000000000000009999\n").unwrap();
    let output = finished(child);
    assert_eq!(code(&output), 5, "{}", said(&output));
    assert!(said(&output).contains("epoch 9999 has taken over"), "{}", said(&output));
    assert_eq!(exchange.witness(), written, "it may not write any more");
    // Nor into the log: whoever took over finds the run open, and finishes it.
    assert_eq!(json(&exchange.done(&["runs", "last", "--json"]))["state"], "running");
    assert_eq!(code(&exchange.done(&["recover"])), 0);
    assert_eq!(exchange.witness(), before);
}

#[test]
fn abort_stops_the_run_that_it_names_and_no_other() {
    let test = "abort_stops_the_run_that_it_names_and_no_other";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("long", &yaml(HELPS, "2s", "2000%"));
    killed(&exchange, &playbook);
    let run = json(&exchange.done(&["runs", "last", "--json"]))["id"].as_str().unwrap().to_owned();
    let (state, run_dir) = (exchange.state(), exchange.folder.join("run"));
    // From another namespace, of the same state directory, what is open here cannot be finished.
    let elsewhere = std::thread::spawn(move || {
        let Some(other) = Exchange::new(test) else { return };
        let mut apply = other.apply(&playbook);
        apply.env("NICMEND_STATE_DIR", &state).env("NICMEND_RUN_DIR", &run_dir);
        let (child, _more) = follow(apply, "measure   stage 1");
        let mut abort = other.nicmend(&["abort", &run]);
        abort.env("NICMEND_STATE_DIR", &state).env("NICMEND_RUN_DIR", &run_dir);
        let refused = finished(abort.spawn().unwrap());
        assert_eq!(code(&refused), 1, "{}", said(&refused));
        assert!(said(&refused).contains("has no process any more"), "{}", said(&refused));
        // What an older process of this pid was asked is not for this run.
        let file = run_dir.join(format!("abort-{}", child.id()));
        std::fs::create_dir_all(&run_dir).unwrap();
        std::fs::write(file, format!("{run}\n")).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, Signal::SIGTERM);
        let output = finished(child);
        assert_eq!(json(&output)["why"], "stopped by SIGTERM", "{}", said(&output));
    });
    elsewhere.join().expect("what is tried in the other namespace");
    assert_eq!(code(&exchange.done(&["recover"])), 0);
    assert_eq!(exchange.witness(), before);
}

#[test]
fn a_nic_that_was_renamed_in_a_run_is_put_back_under_its_new_name() {
    let test = "a_nic_that_was_renamed_in_a_run_is_put_back_under_its_new_name";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("long", &yaml(HELPS, "2s", "2000%"));
    killed(&exchange, &playbook);
    let rename = |from: &str, to: &str| {
        exchange.netns.run("ip", &["link", "set", from, "down"]);
        exchange.netns.run("ip", &["link", "set", from, "name", to]);
        exchange.netns.run("ip", &["link", "set", to, "up"]);
    };
    rename(NIC, "nmwas0");
    let recovered = exchange.done(&["recover"]);
    assert_eq!(code(&recovered), 0, "{}", said(&recovered));
    assert_eq!(json(&exchange.done(&["runs", "last", "--json"]))["state"], "reverted");
    rename("nmwas0", NIC);
    assert_eq!(exchange.witness(), before);
}

#[test]
fn a_name_that_has_gone_over_to_another_nic_is_not_written_to() {
    let test = "a_name_that_has_gone_over_to_another_nic_is_not_written_to";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let key = format!("net.ipv4.neigh.{NIC}.gc_stale_time");
    let setting = format!("sysctl.{key}: 77");
    let playbook = exchange.playbook("stale", &yaml(&setting, "300ms", "2000%"));
    let output = kept(|| finished(exchange.apply(&playbook).spawn().unwrap()));
    assert_eq!(code(&output), 0, "{}", said(&output));
    exchange.netns.run("ip", &["link", "set", NIC, "down"]);
    exchange.netns.run("ip", &["link", "set", NIC, "name", "nmwas0"]);
    exchange.netns.veth(NIC, "nmother1", 1);
    exchange.netns.run("sysctl", &["-w", &format!("{key}=55")]);
    // The NIC is not to be found, and its key neither: said, and the stranger's left alone.
    let reverted = exchange.done(&["revert", "last"]);
    assert_eq!(code(&reverted), 5, "{}", said(&reverted));
    assert!(said(&reverted).contains(&key), "{}", said(&reverted));
    assert_eq!(exchange.netns.run("sysctl", &["-n", &key]).trim(), "55");
}

#[test]
fn a_state_directory_that_became_read_only_is_no_reason_to_stay_changed() {
    let test = "a_state_directory_that_became_read_only_is_no_reason_to_stay_changed";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("long", &yaml(HELPS, "2s", "2000%"));
    killed(&exchange, &playbook);
    assert_ne!(exchange.witness(), before);
    // In a mount namespace of its own, as after an error of the disk.
    let state = exchange.state().display().to_string();
    let lines = "mount --make-rprivate / && mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" \
                 && exec \"$0\" recover --state-dir \"$1\"";
    let output = apart(&exchange, lines, &state);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("not in the log"), "{}", said(&output));
    assert_eq!(exchange.witness(), before);
    assert_eq!(json(&exchange.done(&["runs", "last", "--json"]))["state"], "running");
    assert_eq!(code(&exchange.done(&["recover"])), 0);
    assert_eq!(json(&exchange.done(&["runs", "last", "--json"]))["state"], "reverted");
    assert_eq!(exchange.witness(), before);
}

/// A site's file that never answers, a count that was written over, an older entry that is damaged: none
/// keeps what a killed run changed from being put back.
#[test]
fn recover_waits_for_no_file_and_stops_at_no_damage() {
    let test = "recover_waits_for_no_file_and_stops_at_no_damage";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    for line in [&["freeze", "--why", "for an entry"][..], &["thaw"]] {
        assert_eq!(code(&exchange.done(line)), 0);
    }
    let playbook = exchange.playbook("long", &yaml(HELPS, "2s", "2000%"));
    killed(&exchange, &playbook);
    assert_ne!(exchange.witness(), before);
    let policy = exchange.folder.join("etc/policy");
    std::fs::create_dir_all(&policy).unwrap();
    let pipe = policy.join("config.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    std::fs::write(exchange.state().join("epoch"), "no number at all\n").unwrap();
    let bundle = exchange.state().join("log/tile/entries/000");
    let mut bytes = std::fs::read(&bundle).unwrap();
    let at = bytes.windows(12).position(|window| window == b"for an entry").unwrap();
    bytes[at] = 0xff;
    std::fs::write(&bundle, &bytes).unwrap();
    let recovered = exchange.done(&["recover"]);
    // It is back, and what is not known for the damage is said.
    assert_eq!(exchange.witness(), before, "{}", said(&recovered));
    assert_eq!(code(&recovered), 1, "{}", said(&recovered));
    assert!(said(&recovered).contains("undo.sh"), "{}", said(&recovered));
    std::fs::remove_file(pipe).unwrap();
    bytes[at] = b'f';
    std::fs::write(&bundle, &bytes).unwrap();
    assert_eq!(code(&exchange.done(&["recover"])), 0);
    assert_eq!(json(&exchange.done(&["runs", "last", "--json"]))["state"], "reverted");
    assert_eq!(exchange.witness(), before);
}

#[test]
fn what_a_stuck_run_will_go_back_to_is_not_taken_from_it() {
    let test = "what_a_stuck_run_will_go_back_to_is_not_taken_from_it";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let first = exchange.playbook("first", &yaml("link.tx-queue-len: 500", "300ms", "2000%"));
    let output = kept(|| finished(exchange.apply(&first).spawn().unwrap()));
    assert_eq!(code(&output), 0, "{}", said(&output));
    let first = json(&output)["id"].as_str().unwrap().to_owned();
    let settings = "link.tx-queue-len: 600, sysctl.net.ipv4.tcp_autocorking: 0";
    let second = exchange.playbook("second", &yaml(settings, "2s", "2000%"));
    killed(&exchange, &second);
    // A parameter that cannot be written leaves the second stuck with it; the queue's length is back.
    let file = "/proc/sys/net/ipv4/tcp_autocorking";
    let lines = format!(
        "mount --make-rprivate / && mount --bind {file} {file} && mount -o remount,bind,ro {file} \
         && exec \"$0\" revert \"$1\""
    );
    let refused = apart(&exchange, &lines, &first);
    assert_eq!(code(&refused), 4, "{}", said(&refused));
    assert!(said(&refused).contains("finish that first"), "{}", said(&refused));
    assert_eq!(code(&exchange.done(&["recover"])), 0);
    assert_eq!(code(&exchange.done(&["revert", &first])), 0);
    assert_eq!(exchange.witness(), before);
}

/// The lock of a state directory keeps its own writers apart; the NIC is one for those of another, too.
#[test]
fn a_nic_under_change_is_kept_from_whoever_works_from_another_state_directory() {
    let test = "a_nic_under_change_is_kept_from_whoever_works_from_another_state_directory";
    let (_quiet, Some(exchange)) = (quiet(), Exchange::new(test)) else { return };
    let before = exchange.witness();
    let playbook = exchange.playbook("helps", &yaml(HELPS, "60s", "2000%"));
    let (mut child, _lines) = until_stage(&exchange, &playbook);
    let other = exchange.state().with_extension("other");
    let another = exchange.playbook("another", &yaml("link.tx-queue-len: 777", "1s", "2000%"));
    let mut second = exchange.apply(&another);
    second.env("NICMEND_STATE_DIR", &other);
    let output = finished(second.spawn().expect("start nicmend"));
    assert_eq!(code(&output), 4, "{}", said(&output));
    let words = said(&output);
    let (pid, state) = (child.id().to_string(), exchange.state().display().to_string());
    for named in ["one-writer", &format!("process {pid}"), &state] {
        assert!(words.contains(named), "{named} is not in {words}");
    }
    // Killed, it has nothing any more: the other state directory's turn.
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    assert_eq!(code(&exchange.done(&["recover"])), 0);
    assert_eq!(exchange.witness(), before);
    let short = exchange.playbook("short", &yaml(HELPS, "300ms", "2000%"));
    let mut second = exchange.apply(&short);
    second.env("NICMEND_STATE_DIR", &other);
    let output = finished(second.spawn().expect("start nicmend"));
    assert_eq!(code(&output), 0, "{}", said(&output));
}
