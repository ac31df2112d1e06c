//! What waits for the log's writer, on a real file system.

use std::{fs, os::unix::fs::symlink};

use agent::{
    fault::Kind,
    host::{Clock, Now},
    log::{Fact, Who, deed::Deed},
    store::{
        Fate, Store,
        disk::{Disk, spool::WAITING_MAX},
    },
};

use crate::{Scratch, append};

fn deed(n: u64) -> Deed {
    let at =
        Now { utc_ns: 1_767_576_600_000_000_000 + n as i64, mono_ns: n, boot_id: "5f".to_owned() };
    let place = ("trade1".to_owned(), Clock::unknown());
    let facts = vec![Fact::Frozen { why: format!("reason {n}"), uid: 0 }];
    Deed { facts, ..Deed::new(at, Who::uid(0), place, None) }
}

#[test]
fn deeds_are_handed_over_beside_the_writer_in_order_and_only_so_many() {
    let scratch = Scratch::new();
    let disk = scratch.write();
    append(&disk, 0..3);
    for n in (0..WAITING_MAX as u64).rev() {
        Disk::hand(&scratch.0, &deed(n)).expect("no lock is needed");
    }
    let more = Disk::hand(&scratch.0, &deed(999)).expect_err("too many wait");
    assert_eq!(more.kind, Kind::Busy, "{more}");
    let waiting = disk.handed_over().expect("a list");
    assert_eq!(waiting.len(), WAITING_MAX);
    for (n, handed) in (0..).zip(&waiting) {
        let bytes = handed.found.as_ref().expect("its bytes");
        assert_eq!(Deed::found(&handed.name, bytes), Ok(deed(n)));
        disk.settle(&handed.name, Fate::Entered).expect("it is taken away");
    }
    assert!(disk.handed_over().expect("a list").is_empty());
    drop(disk);
    // Whoever only reads takes nothing away, and no blob can be put there.
    Disk::hand(&scratch.0, &deed(1)).expect("handed over");
    let reader = scratch.read();
    let name = reader.handed_over().expect("a list")[0].name.clone();
    assert_eq!(reader.settle(&name, Fate::Entered).unwrap_err().kind, Kind::Denied);
    assert!(reader.put(&format!("spool/{name}"), b"{}").is_err());
}

#[test]
fn what_is_no_file_of_ours_is_put_aside_and_its_bytes_are_bounded() {
    let scratch = Scratch::new();
    let disk = scratch.write();
    let spool = scratch.0.join("spool");
    Disk::hand(&scratch.0, &deed(0)).expect("handed over");
    symlink("/etc/passwd", spool.join("link")).unwrap();
    fs::create_dir(spool.join("folder")).unwrap();
    nix::unistd::mkfifo(&spool.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::File::create(spool.join("huge")).unwrap().set_len(1 << 40).unwrap();
    fs::write(spool.join(".being-written"), "{").unwrap();
    let waiting = disk.handed_over().expect("nothing hangs");
    let names: Vec<&str> = waiting.iter().map(|handed| handed.name.as_str()).collect();
    assert_eq!(names[1..], ["folder", "huge", "link", "pipe"], "{names:?}");
    for handed in &waiting[1..] {
        assert!(handed.found.is_err(), "{handed:?}");
        disk.settle(&handed.name, Fate::Refused).expect("it is put aside");
    }
    assert_eq!(disk.handed_over().expect("a list").len(), 1);
    let aside = scratch.0.join("spool-refused");
    assert!(aside.join("huge").exists() && aside.join("link").symlink_metadata().is_ok());
    // Of more than are kept only the log knows.
    for n in 0..100 {
        fs::write(spool.join(format!("{n}")), "x").unwrap();
        disk.settle(&n.to_string(), Fate::Refused).expect("it is taken away");
    }
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 64);
    assert_eq!(disk.handed_over().expect("a list").len(), 1);
}
