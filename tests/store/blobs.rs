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
    // What a crash left of an earlier try does not stand in the way.
    fs::write(scratch.0.join("runs/1/.undo.sh.new"), "half of").unwrap();
    disk.put("runs/1/undo.sh", b"whole").unwrap();
    let names: Vec<_> = fs::read_dir(scratch.0.join("runs/1")).unwrap().collect();
    assert_eq!(names.len(), 1);
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
