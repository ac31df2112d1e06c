//! A full disk, on a small file system of the test's own.

use std::{fs, path::Path};

use agent::store::{
    Store,
    disk::{Access, Disk},
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{append, entries};

const TEST: &str = "store::full";

/// Runs `test` in a thread whose mount namespace has an empty file system of this size at /mnt.
fn on_small_disk(bytes: u64, test: impl FnOnce(&Path) + Send + 'static) {
    if !tests::root_or_skip(TEST) {
        return;
    }
    let thread = std::thread::spawn(move || {
        let none: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS).expect("unshare");
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("keep it ours");
        let size = format!("size={bytes},mode=0700");
        mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
            .expect("mount a small tmpfs");
        test(Path::new("/mnt"));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Takes all the space there is.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    for chunk in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![b'x'; chunk]).is_ok() {}
    }
}

#[test]
fn the_spare_space_lets_a_revert_write_its_entries() {
    on_small_disk(4 << 20, |root| {
        let state = root.join("state");
        let disk = Disk::open(&state, Access::Write).unwrap();
        append(&disk, 0..10);
        fill(&root.join("hog"));
        append(&disk, 10..400);
        disk.put("runs/1/undo.sh", b"ethtool -G eth1 rx 256\n").unwrap();
        assert_eq!(disk.entries().unwrap(), entries(0..400));
        assert!(!state.join("spare").exists(), "it was given up");
    });
}

#[test]
fn what_does_not_fit_is_cut_off_and_the_log_goes_on() {
    on_small_disk(4 << 20, |root| {
        let state = root.join("state");
        let disk = Disk::open(&state, Access::Write).unwrap();
        append(&disk, 0..250);
        fs::remove_file(state.join("spare")).unwrap();
        let hog = root.join("hog");
        fill(&hog);
        // A batch over a bundle's end: the second file finds no room for a single byte.
        let refused = disk.append(&entries(250..600)).unwrap_err();
        assert!(refused.to_string().contains("ENOSPC"), "{refused}");
        assert_eq!(disk.entries().unwrap(), entries(0..250), "all of a batch or nothing");
        assert!(disk.put("runs/1/report.html", &[b'x'; 9000]).is_err());
        assert_eq!(disk.get("runs/1/report.html").unwrap(), None);
        // The next opening is not held up either: it may be there to revert.
        drop(disk);
        let disk = Disk::open(&state, Access::Write).unwrap();
        assert_eq!(disk.taken(), Some(2));
        assert_eq!(disk.torn(), None);
        assert_eq!(disk.entries().unwrap(), entries(0..250));
        fs::remove_file(&hog).unwrap();
        append(&disk, 250..600);
        assert_eq!(disk.entries().unwrap(), entries(0..600));
    });
}
