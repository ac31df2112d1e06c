//! Blobs: whole or not at all, and only where they belong.

use std::{fs, os::unix::fs::symlink};

use agent::{
    fault::Kind,
    store::{
        Store,
        disk::{Access, Disk},
    },
};

use crate::Scratch;

#[test]
fn a_blob_is_replaced_as_a_whole() {
    let scratch = Scratch::new();
    let disk = scratch.write();
    assert_eq!(disk.get("runs/1/undo.sh").unwrap(), None);
    for text in ["first", "", "the second is longer"] {
        disk.put("runs/1/undo.sh", text.as_bytes()).unwrap();
        assert_eq!(disk.get("runs/1/undo.sh").unwrap().unwrap(), text.as_bytes());
        assert_eq!(scratch.read().get("runs/1/undo.sh").unwrap().unwrap(), text.as_bytes());
    }
    let names: Vec<_> = fs::read_dir(scratch.0.join("runs/1")).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing is left beside it");
    // Plans are kept by commands that change nothing else, while a run holds the lock.
    scratch.read().put("plans/0123.json", b"{}").unwrap();
    assert_eq!(disk.get("plans/0123.json").unwrap().unwrap(), b"{}");
}

#[test]
fn marks_come_and_go_beside_a_writer() {
    let scratch = Scratch::new();
    Disk::mark(&scratch.0, "frozen", None).unwrap();
    Disk::mark(&scratch.0, "frozen", Some(b"before any run")).unwrap();
    let disk = scratch.write();
    assert_eq!(disk.get("frozen").unwrap().unwrap(), b"before any run");
    Disk::mark(&scratch.0, "frozen", Some(b"audit")).unwrap();
    assert_eq!(disk.get("frozen").unwrap().unwrap(), b"audit");
    Disk::mark(&scratch.0, "frozen", None).unwrap();
    assert_eq!(disk.get("frozen").unwrap(), None);
    assert_eq!(Disk::mark(&scratch.0, "epoch", None).unwrap_err().kind, Kind::Invalid);
}

#[test]
fn names_stay_inside() {
    let scratch = Scratch::new();
    let disk = scratch.write();
    for bad in [
        "",
        "/etc/passwd",
        "../x",
        "runs/../../x",
        "runs//x",
        "runs/./x",
        "runs/",
        "log/x",
        "lock",
        "epoch",
        "keys/private",
        "durable",
        "spare",
        "torn/x",
        "runs/\n",
        "runs/.hidden",
        "a\0b",
    ] {
        assert_eq!(disk.put(bad, b"x").unwrap_err().kind, Kind::Invalid, "{bad:?}");
        assert_eq!(disk.get(bad).unwrap_err().kind, Kind::Invalid, "{bad:?}");
    }
    let outside = scratch.0.join("outside");
    fs::write(&outside, "secret").unwrap();
    fs::create_dir(scratch.0.join("runs")).unwrap();
    symlink(&outside, scratch.0.join("runs/link")).unwrap();
    assert!(disk.get("runs/link").is_err(), "links are not followed");
    disk.put("runs/link", b"replaced").unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "secret");
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    drop(scratch.write());
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = Disk::open(&scratch.0, Access::Write).unwrap_err();
    assert_eq!(refused.kind, Kind::Denied);
    assert!(refused.cause.contains("777"), "{refused}");
}
