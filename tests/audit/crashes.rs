//! `kill -9` at every call by which a writer changes its files, one after the other: what was
//! acknowledged is there, the next writer mends and signs, and the log verifies.

use std::{collections::BTreeMap, path::Path, process::Command};

use agent::store::{
    Store,
    disk::{Access, Disk},
};

use crate::logs::{Scratch, entry, opened};

const TEST: &str = "audit::crashes";
const DIRECTORY: &str = "NICMEND_TEST_LOG";
/// The calls by which the store changes files, or makes them durable.
const CALLS: [&str; 8] =
    ["pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "mkdir", "write", "fallocate"];
/// More calls of one kind than the writer makes.
const NTH_MAX: u32 = 200;

/// The writer that is killed; without its variable, no test at all.
#[test]
fn a_writer_for_others_to_kill() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    write(Path::new(&directory));
}

/// Two writers, a rotation, a bundle's end: everything a writer does. After each sync the number of
/// durable entries is told, in a file of its own.
fn write(directory: &Path) {
    let told = |n: u64| std::fs::write(directory.with_extension("told"), n.to_string()).unwrap();
    for session in 0..2 {
        let disk = Disk::open(directory, Access::Write).unwrap();
        opened(&disk);
        for _ in 0..2 {
            let from = disk.length().unwrap();
            let batch: Vec<_> = (from..from + 66).map(entry).collect();
            disk.append(&batch).unwrap();
            disk.sync().unwrap();
            told(from + 66);
        }
        if session == 0 {
            let rotation = disk.hand_over(disk.length().unwrap(), "every year").unwrap();
            crate::logs::say(&disk, agent::log::Fact::KeyRotated(rotation));
            disk.sync().unwrap();
            told(disk.length().unwrap());
            disk.rotate().unwrap();
        }
    }
}

#[test]
fn a_writer_killed_at_every_call_leaves_a_log_that_mends_and_verifies() {
    if !tests::programs_or_skip(TEST, &["strace"]) {
        return;
    }
    let mut kills = BTreeMap::new();
    for call in CALLS {
        for nth in 1..NTH_MAX {
            let scratch = Scratch::new();
            if !killed_at(&scratch, call, nth) {
                assert!(scratch.verify().is_whole());
                break;
            }
            *kills.entry(call).or_insert(0) += 1;
            mends(&scratch, &format!("{call} {nth}"));
        }
    }
    println!("killed at {kills:?}");
    for call in ["pwrite64", "fdatasync", "fsync", "rename"] {
        assert!(kills.get(call).copied().unwrap_or(0) > 3, "{call}: {kills:?}");
    }
}

/// Whether the writer was killed at its `nth` call of this kind, or came to its end before.
fn killed_at(scratch: &Scratch, call: &str, nth: u32) -> bool {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=SIGKILL:when={nth}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "crashes::a_writer_for_others_to_kill", "--test-threads=1"])
        .env(DIRECTORY, &scratch.0)
        .output()
        .unwrap();
    !output.status.success()
}

fn mends(scratch: &Scratch, what: &str) {
    let told = std::fs::read_to_string(scratch.0.with_extension("told")).unwrap_or_default();
    let _ = std::fs::remove_file(scratch.0.with_extension("told"));
    let told: u64 = told.parse().unwrap_or(0);
    // Reading is safe at any moment.
    let _ = scratch.verify();
    let disk = scratch.writer();
    assert_eq!(disk.unsigned(), None, "{what}");
    opened(&disk);
    let n = disk.length().unwrap();
    assert!(n >= told, "{what}: {told} were durable, {n} are there");
    disk.append(&[entry(n)]).unwrap();
    disk.sync().unwrap();
    drop(disk);
    let report = scratch.verify();
    assert!(report.is_whole(), "{what}: {:?}", report.findings);
    assert_eq!((report.entries, report.signed), (n + 1, n + 1), "{what}");
}
