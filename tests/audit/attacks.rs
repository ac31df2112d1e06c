//! The table of attacks: what an attacker with root does to a log, and who notices.
//!
//! Three see it: `audit verify` with nothing but what lies on the host; the same with a checkpoint (or
//! key) that was kept elsewhere; a witness that saw the log before. docs/regulators.md has this table.

use std::{fs, os::unix::fs::symlink};

use agent::{
    audit::{verify::Trust, witness},
    host::sim::Random,
    log::{
        Entry, Fact,
        checkpoint::Checkpoint,
        merkle,
        note::Signer,
        office::{NewKey, Rotation},
    },
    store::{Store, desk::WitnessDesk, disk::keys::Keys},
};

use crate::logs::{Scratch, copy_tree, entry, files, forged, grow, log, opened, own_key, stamp};

/// Who notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// `audit verify`, and so everybody.
    Verify,
    /// Not what lies on the host: a stored checkpoint, and the witness.
    Elsewhere,
}
use By::{Elsewhere, Verify};

/// Entries of the log that is attacked, and where its sessions end.
const SIZE: u64 = 600;
const SESSION: u64 = 170;
/// Entries that a witness and a stored checkpoint know of.
const SEEN: u64 = 510;

type Attack = (&'static str, By, Option<u64>, fn(&Scratch));

/// Name, who notices, the first entry that `verify` must name where it can, and the deed.
const ATTACKS: [Attack; 35] = [
    ("edit an entry", Verify, Some(77), |s| edit(s, 77)),
    ("edit an entry of the last bundle", Verify, Some(599), |s| edit(s, 599)),
    ("change one letter's case", Verify, Some(300), |s| replace(s, 300, "reason", "Reason")),
    ("delete an entry", Verify, Some(78), |s| rewrite(s, 0, |all| drop(all.remove(78)))),
    ("delete the last entry of a bundle", Verify, Some(255), |s| {
        rewrite(s, 0, |all| drop(all.pop()))
    }),
    ("insert an entry", Verify, Some(91), |s| rewrite(s, 0, |all| all.insert(90, entry(90)))),
    ("repeat an entry", Verify, Some(11), |s| rewrite(s, 0, |all| all[11] = all[10].clone())),
    ("swap two entries", Verify, Some(20), |s| rewrite(s, 0, |all| all.swap(20, 21))),
    ("swap two bundles", Verify, Some(0), |s| swap(s, "tile/entries/000", "tile/entries/001")),
    ("delete a bundle", Verify, Some(0), |s| remove(s, "tile/entries/000")),
    ("delete the last bundle", Verify, Some(512), |s| remove(s, "tile/entries/002")),
    ("truncate the last entries", Verify, Some(590), |s| rewrite(s, 2, |all| all.truncate(78))),
    ("truncate in the middle of an entry", Verify, Some(599), |s| cut(s, "tile/entries/002", 5)),
    ("append zeros", Verify, Some(600), |s| append(s, "tile/entries/002", &[0; 64])),
    ("append an unsigned entry", Verify, Some(600), |s| rewrite(s, 2, |all| all.push(entry(600)))),
    ("put a link in place of a bundle", Verify, None, link),
    ("add a file", Verify, None, |s| fs::write(s.log("tile/entries/notes"), "x").unwrap()),
    ("edit a leaf tile", Verify, Some(3), |s| flip(s, "tile/0/000", 3 * 32)),
    ("edit an upper tile", Verify, Some(256), |s| flip(s, "tile/1/000", 32)),
    ("delete a leaf tile", Verify, Some(256), |s| remove(s, "tile/0/001")),
    ("delete an upper tile", Verify, Some(0), |s| remove(s, "tile/1/000")),
    ("edit entry and tiles", Verify, Some(0), entry_and_tiles),
    ("edit a checkpoint", Verify, None, |s| flip(s, "checkpoint", 30)),
    ("delete the checkpoint", Verify, None, |s| remove(s, "checkpoint")),
    ("delete all checkpoints", Verify, Some(0), no_checkpoints),
    ("put an old checkpoint back", Verify, None, old_checkpoint),
    ("sign with another key", Verify, None, other_key),
    ("replace key and signatures", Verify, None, |s| resign(s, Deed::OwnKeyBeside)),
    ("forge a hand-over of the key", Verify, Some(SIZE), forged_rotation),
    ("rewrite all, with a key of one's own", Elsewhere, None, |s| {
        resign(s, Deed::OwnKeyThroughout)
    }),
    ("rewrite all, with the stolen key", Elsewhere, None, |s| resign(s, Deed::StolenKey)),
    ("roll the whole log back", Elsewhere, None, |s| resign(s, Deed::RollBack)),
    ("delete the log and its keys", Elsewhere, None, delete_all),
    ("delete them, and begin another log", Elsewhere, None, |s| {
        delete_all(s);
        grow(s, SIZE, SESSION);
    }),
    ("forge entries, and bury what is wrong under junk", Verify, Some(SIZE + 1), buried),
];

#[test]
fn every_attack_is_noticed_by_whom_the_table_says() {
    let before = log(SEEN, SESSION);
    let kept = before.checkpoint();
    let desk = Scratch::new();
    let clock = std::cell::Cell::new(1_767_580_000);
    let sees = |scratch: &Scratch| {
        let desk = WitnessDesk::open(&desk.0, "witness.example/w").unwrap();
        clock.set(clock.get() + 1);
        witness::look(&desk, &scratch.shelf(), None, clock.get())
    };
    let first = sees(&before).unwrap();
    assert_eq!((first.before, first.size), (0, SEEN));
    grow(&before, SIZE, SESSION);
    let stored = |scratch: &Scratch| {
        let checkpoints = vec![("kept".to_owned(), kept.clone())];
        scratch.verify_with(Trust { checkpoints, ..Trust::default() })
    };
    assert!(before.verify().is_whole() && stored(&before).is_whole());
    println!("| attack | `audit verify` | stored checkpoint | witness |\n|---|---|---|---|");
    for (name, by, first, deed) in ATTACKS {
        let victim = before.copy();
        deed(&victim);
        let alone = victim.verify();
        let unsigned = alone.unsigned() > 0 && alone.signed > 0;
        let caught = !alone.is_whole() || unsigned;
        assert_eq!(caught, by == Verify, "{name}: {:?}", alone.findings);
        if let Some(entry) = first {
            let named = alone.first_bad().and_then(|finding| finding.entry);
            let named = named.or(unsigned.then_some(alone.signed));
            assert_eq!(named, Some(entry), "{name}: {:?}", alone.findings);
        }
        let elsewhere = !stored(&victim).is_whole();
        // A witness keeps what it saw only if it cosigns: its desk is the same before each attack.
        let keeps = files(&desk.0).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
        let refused = sees(&victim);
        let keeps_now =
            files(&desk.0).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
        assert_eq!(refused.is_err(), keeps == keeps_now, "{name}");
        if name.contains("bury") {
            assert!(refused.is_err(), "{name}: the witness cosigned {refused:?}");
        }
        if by == Elsewhere {
            assert!(elsewhere, "{name}: the stored checkpoint saw nothing");
            assert!(refused.is_err(), "{name}: the witness cosigned {refused:?}");
        }
        let word = |caught: bool| if caught { "caught" } else { "-" };
        let word_first = match alone.first_bad() {
            Some(finding) => format!("caught: {}", finding.what),
            None if unsigned => "caught: signed by nobody".to_owned(),
            None => word(caught).to_owned(),
        };
        println!(
            "| {name} | {word_first} | {} | {} |",
            word(elsewhere || caught),
            word(refused.is_err())
        );
        if refused.is_ok() {
            // It cosigned what was whole up to the checkpoint: it must not have gone back.
            assert!(
                alone.findings.iter().all(|f| f.entry.is_none_or(|entry| entry >= SIZE)),
                "{name}"
            );
            fs::remove_dir_all(&desk.0).unwrap();
            let _ = sees(&before.copy()).unwrap();
        }
    }
}

/// A fork: two logs with the same beginning and the same key. Each is whole; the witness that saw one
/// refuses the other, and so does a stored checkpoint.
#[test]
fn a_fork_is_caught_by_the_witness_and_by_a_stored_checkpoint() {
    let one = log(300, 150);
    let two = one.copy();
    grow(&one, 340, 100);
    let disk = two.writer();
    for n in 300..350 {
        let fact = Fact::Frozen { why: "another story".to_owned(), uid: 0 };
        disk.append(&[Entry::new(n, &stamp(n), None, fact).encode().unwrap()]).unwrap();
    }
    disk.sync().unwrap();
    drop(disk);
    assert!(one.verify().is_whole() && two.verify().is_whole());
    let desk = Scratch::new();
    let desk = WitnessDesk::open(&desk.0, "w").unwrap();
    witness::look(&desk, &one.shelf(), None, 1).unwrap();
    let refused = witness::look(&desk, &two.shelf(), None, 2).unwrap_err();
    assert!(refused.to_string().contains("signs other entries"), "{refused}");
    let checkpoints = vec![("kept".to_owned(), one.checkpoint())];
    assert!(!two.verify_with(Trust { checkpoints, ..Trust::default() }).is_whole());
}

/// What nobody had signed is signed by the next writer, since a killed one may have left it; an entry
/// says which it was.
#[test]
fn what_nobody_signed_is_named_by_the_next_writer() {
    let scratch = log(20, 10);
    rewrite(&scratch, 0, |all| all.extend([entry(20), entry(21)]));
    let forged = scratch.verify();
    assert_eq!((forged.is_whole(), forged.unsigned()), (true, 2));
    let disk = scratch.writer();
    opened(&disk);
    disk.sync().unwrap();
    drop(disk);
    let report = scratch.verify();
    assert!(report.is_whole() && report.unsigned() == 0, "{:?}", report.findings);
    let entries = scratch.entries();
    let last = Entry::decode(&entries[22], 22).unwrap();
    let leaves: Vec<_> = entries[20..22].iter().map(|entry| merkle::leaf(entry)).collect();
    let root = agent::log::base64::encode(&merkle::root(&leaves));
    assert_eq!(last.fact, Fact::Adopted { from: 20, to: 21, root });
    let disk = scratch.writer();
    opened(&disk);
    assert_eq!(disk.length().unwrap(), 23, "it is said once");
}

/// A log that was deleted and begun anew has another name.
#[test]
fn a_witness_takes_no_second_log_without_its_key() {
    let (one, two) = (log(20, 10), log(30, 10));
    let desk = Scratch::new();
    let desk = WitnessDesk::open(&desk.0, "w").unwrap();
    witness::look(&desk, &one.shelf(), None, 1).unwrap();
    let refused = witness::look(&desk, &two.shelf(), None, 2).unwrap_err();
    assert!(refused.to_string().contains("knows other logs"), "{refused}");
    witness::look(&desk, &two.shelf(), Some(&two.key()), 3).unwrap();
    witness::look(&desk, &two.shelf(), None, 4).unwrap();
}

/// A key that was written down elsewhere is not replaced.
#[test]
fn a_pinned_key_catches_a_log_with_another() {
    let honest = log(40, 20);
    let pinned = vec![honest.key()];
    assert!(honest.verify_with(Trust { pinned: pinned.clone(), ..Trust::default() }).is_whole());
    let victim = honest.copy();
    resign(&victim, Deed::OwnKeyThroughout);
    assert!(victim.verify().is_whole());
    let report = victim.verify_with(Trust { pinned, ..Trust::default() });
    assert!(report.findings.iter().any(|finding| finding.what.contains("no key of this log")));
}

/// Every single byte of every file of a log, changed: verify fails.
#[test]
fn any_changed_byte_fails_verification() {
    let honest = log(9, 4);
    let mut random = Random::new(7);
    let mut changed = 0;
    for path in files(&honest.0.join("log")) {
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << random.below(8);
            fs::write(&path, &bad).unwrap();
            let report = honest.verify();
            assert!(!report.is_whole(), "byte {at} of {}", path.display());
            changed += 1;
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(honest.verify().is_whole());
    println!("{changed} bytes, each changed once");
    assert!(changed > 2000);
}

/// A log that somebody has rewritten is not signed again, whatever opens it next; it goes on as a
/// journal, and says why.
#[test]
fn nothing_is_signed_over_a_rewritten_log() {
    let honest = log(300, 100);
    let deeds: [fn(&Scratch); 7] = [
        |s| edit(s, 299),
        |s| rewrite(s, 1, |all| all.truncate(20)),
        |s| fs::write(s.log("checkpoint"), [0; 250]).unwrap(),
        |s| replace(s, 299, "reason", "Reason"),
        no_checkpoints,
        |s| fs::remove_file(s.0.join("keys/log.key")).unwrap(),
        other_key,
    ];
    for (nth, deed) in deeds.into_iter().enumerate() {
        let victim = honest.copy();
        deed(&victim);
        let before = fs::read(victim.log("checkpoint")).ok();
        let disk = victim.writer();
        let why = disk.unsigned();
        if nth == 2 {
            // A torn checkpoint alone is what a crash leaves: the history has it.
            assert!(why.is_none() && disk.mended().contains(&"checkpoint".to_owned()), "{why:?}");
            continue;
        }
        assert!(why.is_some(), "deed {nth}");
        assert!(disk.seal().is_err());
        if disk.append(&[entry(300)]).is_ok() {
            disk.sync().unwrap();
        }
        drop(disk);
        assert_eq!(fs::read(victim.log("checkpoint")).ok(), before, "deed {nth}");
        let report = victim.verify();
        assert!(!report.is_whole() || report.unsigned() > 0, "deed {nth}");
    }
}

fn bundle(scratch: &Scratch, n: u64) -> Vec<Vec<u8>> {
    let bytes = fs::read(scratch.log(&format!("tile/entries/{n:03}"))).unwrap();
    let mut rest = bytes.as_slice();
    let mut all = Vec::new();
    while let [high, low, tail @ ..] = rest {
        let (entry, tail) = tail.split_at(usize::from(*high) << 8 | usize::from(*low));
        all.push(entry.to_vec());
        rest = tail;
    }
    all
}

fn rewrite(scratch: &Scratch, n: u64, change: impl Fn(&mut Vec<Vec<u8>>)) {
    let mut all = bundle(scratch, n);
    change(&mut all);
    let path = scratch.log(&format!("tile/entries/{n:03}"));
    fs::write(path, agent::store::bundle::encode(&all)).unwrap();
}

fn replace(scratch: &Scratch, n: u64, from: &str, to: &str) {
    rewrite(scratch, n / 256, |all| {
        let entry = &mut all[(n % 256) as usize];
        let text = String::from_utf8(entry.clone()).unwrap();
        assert!(text.contains(from));
        *entry = text.replacen(from, to, 1).into_bytes();
    });
}

fn edit(scratch: &Scratch, n: u64) {
    replace(scratch, n, &format!("reason {n}"), "no reason");
}

fn flip(scratch: &Scratch, name: &str, at: usize) {
    let mut bytes = fs::read(scratch.log(name)).unwrap();
    bytes[at] ^= 1;
    fs::write(scratch.log(name), bytes).unwrap();
}

fn cut(scratch: &Scratch, name: &str, by: usize) {
    let bytes = fs::read(scratch.log(name)).unwrap();
    fs::write(scratch.log(name), &bytes[..bytes.len() - by]).unwrap();
}

fn append(scratch: &Scratch, name: &str, more: &[u8]) {
    let bytes = fs::read(scratch.log(name)).unwrap();
    fs::write(scratch.log(name), [bytes.as_slice(), more].concat()).unwrap();
}

fn remove(scratch: &Scratch, name: &str) {
    fs::remove_file(scratch.log(name)).unwrap();
}

fn swap(scratch: &Scratch, one: &str, two: &str) {
    let (first, second) =
        (fs::read(scratch.log(one)).unwrap(), fs::read(scratch.log(two)).unwrap());
    fs::write(scratch.log(one), second).unwrap();
    fs::write(scratch.log(two), first).unwrap();
}

fn link(scratch: &Scratch) {
    let outside = scratch.0.join("outside");
    fs::rename(scratch.log("tile/entries/000"), &outside).unwrap();
    symlink(&outside, scratch.log("tile/entries/000")).unwrap();
}

fn no_checkpoints(scratch: &Scratch) {
    remove(scratch, "checkpoint");
    remove(scratch, "checkpoints");
}

/// The first checkpoint of the history in place of the newest.
fn old_checkpoint(scratch: &Scratch) {
    let history = fs::read(scratch.log("checkpoints")).unwrap();
    let first = agent::log::checkpoint::history(&history).all.remove(0);
    fs::write(scratch.log("checkpoint"), first.note.to_string()).unwrap();
}

/// An entry and every tile above it, consistent with each other; the key is not at hand.
fn entry_and_tiles(scratch: &Scratch) {
    edit(scratch, 5);
    let leaves: Vec<_> = bundle(scratch, 0).iter().map(|entry| merkle::leaf(entry)).collect();
    fs::write(scratch.log("tile/0/000"), leaves.concat()).unwrap();
    let mut upper = fs::read(scratch.log("tile/1/000")).unwrap();
    upper[..32].copy_from_slice(&merkle::root(&leaves));
    fs::write(scratch.log("tile/1/000"), upper).unwrap();
}

/// The newest checkpoint, signed by somebody else under the same name.
fn other_key(scratch: &Scratch) {
    let sealed = scratch.checkpoint();
    let signed = sealed.checkpoint.signed(&own_key(&sealed.checkpoint.origin));
    fs::write(scratch.log("checkpoint"), signed).unwrap();
}

/// A hand-over that the log's key never signed, and everything after it signed by the usurper.
fn forged_rotation(scratch: &Scratch) {
    let sealed = scratch.checkpoint();
    let usurper = own_key(&sealed.checkpoint.origin);
    let new = usurper.verifier().to_string();
    let message = Rotation::message(&usurper.name, &new, SIZE);
    let signature = agent::log::base64::encode(&usurper.sign(&message));
    let old = scratch.key().to_string();
    let rotation = Rotation { old, new, size: SIZE, why: "lost".to_owned(), signature };
    let mut all = scratch.entries();
    all.push(Entry::new(SIZE, &stamp(SIZE), None, Fact::KeyRotated(rotation)).encode().unwrap());
    let leaves: Vec<_> = all.iter().map(|entry| merkle::leaf(entry)).collect();
    rewrite(scratch, 2, |bundle| bundle.push(all[SIZE as usize].clone()));
    append(scratch, "tile/0/002", &leaves[SIZE as usize]);
    let next = Checkpoint { size: SIZE + 1, root: merkle::root(&leaves), ..sealed.checkpoint };
    let signed = next.signed(&usurper);
    fs::write(scratch.log("checkpoint"), &signed).unwrap();
    append(scratch, "checkpoints", format!("{signed}\n").as_bytes());
}

/// An entry more and its hash, a checkpoint of a stranger's under the log's name, and more bad entries
/// behind it than `verify` tells of.
fn buried(scratch: &Scratch) {
    let sealed = scratch.checkpoint();
    let mut all = scratch.entries();
    all.push(entry(SIZE));
    let leaves: Vec<_> = all.iter().map(|entry| merkle::leaf(entry)).collect();
    rewrite(scratch, 2, |bundle| {
        bundle.push(all[SIZE as usize].clone());
        bundle.extend(std::iter::repeat_n(b"{}".to_vec(), 60));
    });
    append(scratch, "tile/0/002", &leaves[SIZE as usize]);
    let next =
        Checkpoint { size: SIZE + 1, root: merkle::root(&leaves), ..sealed.checkpoint.clone() };
    let signed = next.signed(&own_key(&sealed.checkpoint.origin));
    fs::write(scratch.log("checkpoint"), signed).unwrap();
}

fn delete_all(scratch: &Scratch) {
    for name in ["log", "keys"] {
        fs::remove_dir_all(scratch.0.join(name)).unwrap();
    }
}

#[derive(Clone, Copy)]
enum Deed {
    /// Other entries, all signed anew by a key that the entries do not name.
    OwnKeyBeside,
    /// The same, and the entry about the first key names it.
    OwnKeyThroughout,
    /// Other entries, signed anew by the log's own key.
    StolenKey,
    /// The log as it once was.
    RollBack,
}

/// Everything that a program can make anew.
fn resign(scratch: &Scratch, deed: Deed) {
    let mut all = scratch.entries();
    let name = scratch.key().name;
    let stolen: Signer = Keys::of_log(&scratch.0.join("keys")).load().unwrap().unwrap();
    let signer = match deed {
        Deed::OwnKeyBeside | Deed::OwnKeyThroughout => own_key(&name),
        Deed::StolenKey | Deed::RollBack => stolen,
    };
    if matches!(deed, Deed::OwnKeyThroughout) {
        let vkey = signer.verifier().to_string();
        let fact = Fact::KeyCreated(NewKey { origin: name, vkey });
        all[0] = Entry::new(0, &stamp(0), None, fact).encode().unwrap();
    }
    match deed {
        Deed::RollBack => all.truncate(all.len() / 2),
        Deed::OwnKeyBeside | Deed::OwnKeyThroughout | Deed::StolenKey => {
            let text = String::from_utf8(all[7].clone()).unwrap();
            all[7] = text.replace("reason 7", "excuse 7").into_bytes();
        }
    }
    let size = all.len() as u64;
    let forged = forged(&all, &signer, &[size / 2, size]);
    fs::remove_dir_all(&scratch.0).unwrap();
    copy_tree(&forged.0, &scratch.0);
}
