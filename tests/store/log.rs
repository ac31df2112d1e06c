//! The log: its layout, its end after a crash, its damage, its lock and its fence.

use std::{fs, os::unix::fs::PermissionsExt};

use agent::{
    fault::Kind,
    host::sim::Random,
    store::{
        Store,
        bundle::Tear,
        disk::{Access, Disk},
    },
};

use crate::{Scratch, append, entries, entry, files};

#[test]
fn the_files_are_entry_bundles() {
    let scratch = Scratch::new();
    let disk = scratch.write();
    append(&disk, 0..600);
    let mut decoded = Vec::new();
    for (n, expected) in [(0, 256), (1, 256), (2, 88)] {
        let bytes = fs::read(scratch.bundle(n)).unwrap();
        let mut rest = bytes.as_slice();
        let before = decoded.len();
        while let [high, low, tail @ ..] = rest {
            let (entry, tail) = tail.split_at(usize::from(*high) << 8 | usize::from(*low));
            decoded.push(entry.to_vec());
            rest = tail;
        }
        assert_eq!(decoded.len() - before, expected, "bundle {n}");
    }
    assert_eq!(decoded, entries(0..600));
    assert_eq!(disk.entries().unwrap(), decoded);
    for (path, _) in files(&scratch.0) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{}", path.display());
        let mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{}", path.display());
    }
}

#[test]
fn a_reader_sees_the_writer_and_writes_nothing() {
    let scratch = Scratch::new();
    let reader = scratch.read();
    assert_eq!(reader.entries().unwrap(), Vec::<Vec<u8>>::new());
    assert!(!scratch.0.exists(), "reading creates nothing");
    let disk = scratch.write();
    append(&disk, 0..300);
    let before = files(&scratch.0);
    let reader = scratch.read();
    assert_eq!(reader.entries().unwrap(), entries(0..300));
    append(&disk, 300..301);
    assert_eq!(reader.entries().unwrap(), entries(0..301));
    drop(disk);
    let disk = scratch.read();
    assert_eq!(disk.append(&entries(0..1)).unwrap_err().kind, Kind::Denied);
    assert_eq!(disk.sync().unwrap_err().kind, Kind::Denied);
    assert_eq!(files(&scratch.0).len(), before.len());
}

#[test]
fn one_writer_and_the_other_is_told_who() {
    let scratch = Scratch::new();
    let disk = scratch.write();
    let refused = Disk::open(&scratch.0, Access::Write).unwrap_err();
    assert_eq!(refused.kind, Kind::Busy);
    assert!(refused.cause.contains(&std::process::id().to_string()), "{refused}");
    assert_eq!(scratch.read().holder().unwrap(), Some((std::process::id(), None)));
    disk.holds("2026-01-05-0001");
    let refused = Disk::open(&scratch.0, Access::Write).unwrap_err();
    assert!(refused.cause.contains("run 2026-01-05-0001"), "{refused}");
    drop(disk);
    assert_eq!(scratch.read().holder().unwrap(), None);
    let disk = scratch.write();
    let refused = Disk::open(&scratch.0, Access::Write).unwrap_err();
    assert!(!refused.cause.contains("2026-01-05-0001"), "{refused}");
    drop(disk);
}

#[test]
fn each_writer_is_a_new_epoch_and_the_old_one_sees_it() {
    let scratch = Scratch::new();
    assert_eq!(scratch.read().epoch().unwrap(), 0);
    let first = scratch.write();
    assert_eq!((first.taken(), first.epoch().unwrap()), (Some(1), 1));
    // A stopped process keeps its lock until it is killed; here the fence alone is tried.
    let path = scratch.0.join("epoch");
    assert_eq!(fs::read_to_string(&path).unwrap(), "00000000000000000001\n");
    fs::write(&path, "00000000000000000002\n").unwrap();
    assert_eq!(first.epoch().unwrap(), 2);
    drop(first);
    assert_eq!(scratch.write().taken(), Some(3));
    fs::write(&path, "garbage").unwrap();
    assert_eq!(scratch.read().epoch().unwrap_err().kind, Kind::Malformed);
}

#[test]
fn every_torn_tail_is_no_entry_and_is_cut_off() {
    for (tail, why) in [
        (&[0][..], Tear::Zeros),
        (&[0; 4096][..], Tear::Zeros),
        (&[1][..], Tear::ShortLength),
        (&[0, 90, b'{', b'"'][..], Tear::ShortEntry),
        (&[0, 3, 0xff, 0xfe, 0xfd][..], Tear::Garbage),
    ] {
        let scratch = Scratch::new();
        append(&scratch.write(), 0..300);
        let path = scratch.bundle(1);
        let good = fs::read(&path).unwrap();
        fs::write(&path, [good.as_slice(), tail].concat()).unwrap();
        let reader = scratch.read();
        assert_eq!(reader.entries().unwrap(), entries(0..300));
        assert_eq!(reader.torn().unwrap().why, why);
        let disk = scratch.write();
        let torn = disk.torn().unwrap();
        assert_eq!((torn.bundle, torn.at, torn.why), (1, good.len() as u64, why));
        assert_eq!(torn.bytes, tail.len() as u64);
        append(&disk, 300..302);
        assert_eq!(disk.entries().unwrap(), entries(0..302), "{why:?}");
        let kept = fs::read(scratch.0.join(format!("torn/1-{}", good.len()))).unwrap();
        assert_eq!(kept, tail);
        drop(disk);
        assert_eq!(scratch.write().torn(), None);
    }
}

#[test]
fn damage_is_an_error_and_nothing_is_appended_to_it() {
    let scratch = Scratch::new();
    append(&scratch.write(), 0..300);
    for (n, byte) in [(0, 5), (0, 0), (1, 1), (1, 9)] {
        let path = scratch.bundle(n);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[byte] ^= 0x80;
        fs::write(&path, &bad).unwrap();
        let reader = scratch.read();
        assert_eq!(reader.entries().unwrap_err().kind, Kind::Malformed, "byte {byte} of {n}");
        let disk = scratch.write();
        assert_eq!(disk.entries().unwrap_err().kind, Kind::Malformed);
        if n == 1 {
            assert_eq!(disk.append(&entries(0..1)).unwrap_err().kind, Kind::Malformed);
            assert_eq!(fs::read(&path).unwrap(), bad, "untouched");
        }
        fs::write(&path, &good).unwrap();
    }
    // What was durable and is gone is damage, too.
    let path = scratch.bundle(1);
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() - 30]).unwrap();
    assert_eq!(scratch.read().entries().unwrap_err().kind, Kind::Malformed);
    fs::write(&path, &good).unwrap();
    fs::write(scratch.bundle(2), b"").unwrap();
    assert_eq!(scratch.read().entries().unwrap_err().kind, Kind::Malformed, "1 is not full");
}

#[test]
fn what_is_no_entry_is_refused_and_leaves_nothing() {
    let scratch = Scratch::new();
    let disk = scratch.write();
    append(&disk, 0..2);
    for bad in [&b""[..], b"text", &[b'1'; 65536]] {
        let batch = [entry(2), bad.to_vec()];
        assert_eq!(disk.append(&batch).unwrap_err().kind, Kind::Invalid);
    }
    let longest = format!("\"{}\"", "x".repeat(65533)).into_bytes();
    disk.append(std::slice::from_ref(&longest)).unwrap();
    assert_eq!(disk.entries().unwrap(), [entry(0), entry(1), longest]);
}

/// Random batches, syncs and crashes against a model: what was synced is there, what is there is a
/// prefix of what was appended.
#[test]
fn random_crashes_keep_a_prefix() {
    let mut crashes = 0;
    for seed in 0..25 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let scratch = Scratch::new();
        let (mut appended, mut synced) = (0, 0);
        let mut disk = scratch.write();
        for _ in 0..40 {
            match random.below(10) {
                0..=5 => {
                    let batch = random.below(90) as usize;
                    disk.append(&entries(appended..appended + batch)).unwrap();
                    appended += batch;
                }
                6 | 7 => {
                    disk.sync().unwrap();
                    synced = appended;
                }
                _ => {
                    drop(disk);
                    lose_some(&scratch, &mut random);
                    disk = scratch.write();
                    let found = disk.entries().unwrap();
                    let n = found.len();
                    assert!((synced..=appended).contains(&n), "{synced} <= {n} <= {appended}");
                    assert_eq!(found, entries(0..found.len()), "seed {seed}");
                    appended = found.len();
                    crashes += 1;
                }
            }
        }
        disk.sync().unwrap();
        assert_eq!(disk.entries().unwrap(), entries(0..appended), "seed {seed}");
    }
    println!("{crashes} crashes");
    assert!(crashes > 80);
}

/// Takes away a part of what was not durable, and perhaps leaves rubbish in its place.
fn lose_some(scratch: &Scratch, random: &mut Random) {
    let mark = fs::read_to_string(scratch.0.join("durable")).unwrap_or_default();
    let numbers: Vec<u64> = mark.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    let last = (0..).take_while(|n| scratch.bundle(*n).exists()).last();
    let Some(last) = last else { return };
    let durable = match numbers.as_slice() {
        [bundle, bytes] if *bundle == u64::from(last) => *bytes as usize,
        _ => 0,
    };
    let path = scratch.bundle(last);
    let mut bytes = fs::read(&path).unwrap();
    let lost = random.below((bytes.len() - durable + 1) as u64) as usize;
    bytes.truncate(bytes.len() - lost);
    let rubbish = random.below(3);
    bytes.extend(std::iter::repeat_n(if rubbish == 1 { 0 } else { 0x81 }, rubbish as usize * 20));
    fs::write(&path, bytes).unwrap();
}

/// Full bundles that were moved to a store are read there and never written to, and nothing is put in their
/// place while the store is away.
#[test]
fn a_store_is_never_written_to() {
    let (scratch, store) = (Scratch::new(), Scratch::new());
    let disk = scratch.write();
    append(&disk, 0..512);
    drop(disk);
    fs::create_dir_all(store.0.join("tile/entries")).unwrap();
    for n in 0..2 {
        fs::rename(scratch.bundle(n), store.0.join(format!("tile/entries/{n:03}"))).unwrap();
    }
    fs::write(scratch.0.join("stores"), format!("{}\n", store.0.display())).unwrap();
    let moved = files(&store.0);
    let disk = scratch.write();
    assert_eq!(disk.length().unwrap(), 512);
    append(&disk, 512..513);
    drop(disk);
    assert_eq!(files(&store.0), moved, "the store is as it was");
    assert_eq!(scratch.read().entries().unwrap(), entries(0..513));
    fs::remove_file(scratch.bundle(2)).unwrap();
    let away = store.0.with_extension("away");
    fs::rename(&store.0, &away).unwrap();
    let disk = scratch.write();
    assert!(disk.append(&entries(0..1)).is_err(), "512 were signed, none is there");
    drop(disk);
    fs::rename(&away, &store.0).unwrap();
    assert_eq!(files(&store.0), moved);
}

/// What lies after the last place that cannot be read is left for who puts runs back.
#[test]
fn what_can_be_read_of_a_damaged_log_is_what_comes_after() {
    let scratch = Scratch::new();
    let disk = scratch.write();
    append(&disk, 0..600);
    let mut bytes = fs::read(scratch.bundle(1)).unwrap();
    let good = bytes.clone();
    bytes.truncate(bytes.len() - 3);
    fs::write(scratch.bundle(1), &bytes).unwrap();
    assert!(disk.entries().is_err());
    assert_eq!(disk.readable(), (512, entries(512..600)));
    fs::write(scratch.bundle(1), &good).unwrap();
    assert_eq!(disk.readable(), (0, entries(0..600)));
    // Where the end is not known, nothing is.
    let mut last = fs::read(scratch.bundle(2)).unwrap();
    last[0] = 0x7f;
    fs::write(scratch.bundle(2), &last).unwrap();
    assert_eq!(disk.readable(), (768, Vec::new()));
}

/// A count that somebody wrote over goes on beyond what the entries say.
#[test]
fn an_epoch_that_is_no_number_is_counted_anew() {
    let scratch = Scratch::new();
    drop(scratch.write());
    fs::write(scratch.0.join("epoch"), "no number, and longer than one would be\n").unwrap();
    let disk = scratch.write();
    let first = disk.epoch().unwrap();
    drop(disk);
    assert_eq!(scratch.write().epoch().unwrap(), first + 1);
}

/// Whoever only asks who holds the lock keeps nobody from taking it.
#[test]
fn a_glance_at_the_lock_refuses_nobody() {
    let scratch = Scratch::new();
    drop(scratch.write());
    let lock = fs::File::open(scratch.0.join("lock")).unwrap();
    let shared = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockShared).unwrap();
    let glance = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(15));
        drop(shared);
    });
    drop(scratch.write());
    glance.join().unwrap();
}
