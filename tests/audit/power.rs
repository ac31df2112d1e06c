//! Power loss: what was not synced is lost, torn or older, by file; the next writer mends it, says so,
//! and the log verifies. What cannot come from a crash is not mended.

use std::fs;

use agent::{host::sim::Random, log::Fact, store::Store};

use crate::logs::{Scratch, copy_tree, entry, log, opened, say};

#[test]
fn what_a_power_loss_leaves_is_mended_and_verifies() {
    let base = log(250, 90);
    let mut mended = 0;
    for seed in 0..120 {
        let mut random = Random::new(seed);
        let scratch = base.copy();
        let disk = scratch.writer();
        opened(&disk);
        let (before, mark) = (Files::of(&scratch), fs::read(scratch.0.join("durable")).unwrap());
        for _ in 0..1 + random.below(3) {
            let from = disk.length().unwrap();
            let batch: Vec<_> = (from..from + 1 + random.below(20)).map(entry).collect();
            disk.append(&batch).unwrap();
            disk.sync().unwrap();
        }
        let synced = disk.length().unwrap();
        // The machine stops here: what the writer does at its end, it does elsewhere.
        let lost = Scratch::new();
        copy_tree(&scratch.0, &lost.0);
        drop(disk);
        before.lose(&lost, &mut random);
        if random.below(2) == 0 {
            fs::write(lost.0.join("durable"), &mark).unwrap();
        }
        let _ = lost.verify();
        let disk = lost.writer();
        assert_eq!(disk.unsigned(), None, "seed {seed}");
        let told = disk.mended();
        mended += u32::from(!told.is_empty());
        if !told.is_empty() {
            say(&disk, Fact::Mended { bytes: 0, files: told });
        }
        assert!(disk.length().unwrap() >= synced, "seed {seed}");
        let n = disk.length().unwrap();
        disk.append(&[entry(n)]).unwrap();
        disk.sync().unwrap();
        drop(disk);
        let report = lost.verify();
        assert!(report.is_whole(), "seed {seed}: {:?}", report.findings);
        assert_eq!(report.signed, n + 1, "seed {seed}");
    }
    println!("{mended} of 120 had something to mend");
    assert!(mended > 30);
}

/// Files that are written without being synced, as the disk has them for certain.
struct Files(Vec<(&'static str, Vec<u8>)>);

const UNSYNCED: [&str; 4] = ["checkpoint", "tile/0/000", "tile/0/001", "tile/1/000"];

impl Files {
    fn of(scratch: &Scratch) -> Files {
        Files(UNSYNCED.map(|name| (name, fs::read(scratch.log(name)).unwrap_or_default())).to_vec())
    }

    /// Each is as it was, as it is, cut, or blank beyond what it was.
    fn lose(&self, scratch: &Scratch, random: &mut Random) {
        for (name, before) in &self.0 {
            let path = scratch.log(name);
            let Ok(now) = fs::read(&path) else { continue };
            let blank = || {
                let kept = before.len().min(now.len());
                [&now[..kept], &vec![0; now.len() - kept]].concat()
            };
            let left = match random.below(5) {
                0 => before.clone(),
                1 => now.clone(),
                2 => now[..random.below(now.len() as u64 + 1) as usize].to_vec(),
                3 if *name != "checkpoint" => blank(),
                _ => Vec::new(),
            };
            fs::write(path, left).unwrap();
        }
    }
}

/// The log of an older nicmend: no tree, no keys. It is read, and the next writer gives it a tree.
#[test]
fn an_old_log_is_adopted_and_nothing_of_it_is_lost() {
    let scratch = Scratch::new();
    let old = log(700, 700);
    copy_tree(&old.0, &scratch.0);
    for name in ["keys", "log/checkpoint", "log/checkpoints", "log/tile/0", "log/tile/1"] {
        let path = scratch.0.join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
    // Version 1 had neither a key nor who, host and clock.
    let v1 = |n: u64| {
        format!(
            "{{\"v\":1,\"seq\":{n},\"at\":{{\"utc_ns\":1,\"mono_ns\":2,\"boot_id\":\"b\"}},\"epoch\":1,\
             \"fact\":{{\"kind\":\"thawed\",\"uid\":0}}}}"
        )
        .into_bytes()
    };
    let all: Vec<Vec<u8>> = (0..700).map(v1).collect();
    for (n, bundle) in all.chunks(256).enumerate() {
        let path = scratch.log(&format!("tile/entries/{n:03}"));
        fs::write(path, agent::store::bundle::encode(bundle)).unwrap();
    }
    fs::remove_file(scratch.0.join("durable")).unwrap();
    let report = scratch.verify();
    assert!(report.findings.iter().any(|finding| finding.what.contains("nothing here is signed")));
    assert!(!scratch.0.join("keys").exists(), "reading makes no key");
    let disk = scratch.writer();
    assert_eq!(disk.unsigned(), None);
    opened(&disk);
    drop(disk);
    assert_eq!(scratch.entries()[..700], all);
    let report = scratch.verify();
    assert!(report.is_whole(), "{:?}", report.findings);
    assert_eq!((report.entries, report.signed), (701, 701));
}

/// Full bundles and tiles may be moved to another store; without it they are missed, never forgotten.
#[test]
fn sealed_bundles_may_move_and_still_verify() {
    use agent::{
        audit::verify::{Trust, verify},
        store::shelf::Shelf,
    };
    let scratch = log(1000, 300);
    let store = Scratch::new();
    for name in ["tile/entries/000", "tile/entries/001", "tile/0/000", "tile/0/001"] {
        let to = store.0.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(scratch.log(name), to).unwrap();
    }
    assert_eq!(scratch.verify().first_bad().unwrap().entry, Some(0));
    let both = Shelf::new(&scratch.0.join("log"), std::slice::from_ref(&store.0));
    let report = verify(&both, &Trust::default()).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    assert_eq!(report.entries, 1000);
    // The agent misses them, too, and takes no log for an empty one.
    assert!(scratch.writer().entries().is_err());
    assert_eq!(scratch.writer().length().unwrap(), 1000);
    fs::write(scratch.0.join("stores"), format!("{}\n", store.0.display())).unwrap();
    assert_eq!(scratch.writer().entries().unwrap().len(), 1000);
    crate::logs::grow(&scratch, 1100, 100);
    assert!(verify(&both, &Trust::default()).unwrap().is_whole());
    // An edited copy in the store is no less edited.
    crate::logs::exchange(&store.0.join("tile/entries/001"), "reason 300!", "excuse 300!");
    assert_eq!(verify(&both, &Trust::default()).unwrap().first_bad().unwrap().entry, Some(300));
}
