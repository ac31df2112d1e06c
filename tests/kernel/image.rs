//! Images in the kernel's firmware path and vendors' programs, on a real file system: a mount namespace
//! with a `/lib/firmware` of its own.

// Tests on the real kernel look behind the door with their own eyes.
#![allow(clippy::disallowed_methods)]

use std::{
    fs,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agent::{
    fault::Kind,
    host::{Host, linux::Linux},
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use tests::{root_or_skip, skip};

const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// One at a time: a program that another thread starts holds, until it is executed, whatever this process has
/// open, and with it the lock on the firmware path.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The door, in a mount namespace whose `/lib/firmware` is empty; `None` where that cannot be had.
fn door(test: &str) -> Option<Linux> {
    if !root_or_skip(test) {
        return None;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let none = None::<&str>;
    let made = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, private, none))
        .map(|()| fs::create_dir_all("/lib/firmware"))
        .and_then(|_| mount(Some("tmpfs"), "/lib/firmware", Some("tmpfs"), MsFlags::empty(), none));
    if let Err(errno) = made {
        skip(test, &format!("no mount namespace of its own: {errno}"));
        return None;
    }
    Some(Linux::new().expect("open the machine"))
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn an_image_is_placed_whole_and_nothing_is_left() {
    let _alone = alone();
    let Some(door) = door("an_image_is_placed_whole_and_nothing_is_left") else { return };
    fs::write("/lib/firmware/other.bin", "theirs").expect("write");
    let path = door.place(SHA, b"image").expect("place");
    assert_eq!(fs::read(&path).expect("read"), b"image");
    assert_eq!(path, format!("/lib/firmware/nicmend/{SHA}"));
    // A second time, as after a crash: with what a torn first try has left.
    fs::write(format!("/lib/firmware/nicmend/.{SHA}"), "half").expect("write");
    door.place(SHA, b"another").expect("place again");
    assert_eq!(fs::read(&path).expect("read"), b"another");
    door.unplace().expect("remove");
    door.unplace().expect("remove what is gone");
    assert_eq!(names("/lib/firmware"), ["other.bin"]);
}

#[test]
fn tricks_with_names_and_folders_are_refused() {
    let _alone = alone();
    let Some(door) = door("tricks_with_names_and_folders_are_refused") else { return };
    for name in ["../../../etc/passwd", "", "a/b", &SHA.to_uppercase(), &format!("{SHA}0")] {
        assert_eq!(door.place(name, b"x").expect_err("no name").kind, Kind::Invalid, "{name}");
    }
    assert!(names("/lib/firmware").is_empty());
    // A folder that is a link elsewhere is not followed, and one that others may write is not used.
    let elsewhere = std::env::temp_dir().join(format!("nicmend-image-{}", std::process::id()));
    fs::create_dir_all(&elsewhere).expect("make");
    std::os::unix::fs::symlink(&elsewhere, "/lib/firmware/nicmend").expect("link");
    assert!(door.place(SHA, b"x").is_err());
    assert!(names(&elsewhere.to_string_lossy()).is_empty());
    fs::remove_file("/lib/firmware/nicmend").expect("remove");
    fs::remove_dir(&elsewhere).expect("remove");
    fs::create_dir("/lib/firmware/nicmend").expect("make");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions("/lib/firmware/nicmend", mode).expect("chmod");
    assert_eq!(door.place(SHA, b"x").expect_err("others may write").kind, Kind::Denied);
}

fn run(door: &Linux, script: &str, limit: Duration) -> agent::fault::Result<String> {
    // The shell is the test's vendor program; the door itself knows no shell.
    let argv = ["/bin/sh", "-c", script].map(str::to_owned);
    door.program(&argv, limit)
}

/// The same, once what was killed just before is gone.
fn run_when_idle(door: &Linux, script: &str, limit: Duration) -> agent::fault::Result<String> {
    for _ in 0..500 {
        match run(door, script, limit) {
            Err(fault) if fault.kind == Kind::Busy => std::thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
    run(door, script, limit)
}

#[test]
fn programs_are_bounded_in_time_and_output_and_never_two_at_once() {
    let test = "programs_are_bounded_in_time_and_output_and_never_two_at_once";
    let _alone = alone();
    let Some(door) = door(test) else { return };
    let minute = Duration::from_secs(60);
    let told = run(&door, "echo $0 $PATH ${HOME:-none}; echo done >&2", minute).expect("runs");
    assert_eq!(told, "/bin/sh /usr/sbin:/usr/bin:/sbin:/bin none\ndone\n");
    let failed =
        run(&door, "echo -E- the image is for another PSID; exit 3", minute).expect_err("3");
    assert!(failed.cause.contains("another PSID (exit status 3)"), "{failed}");
    let killed = run(&door, "echo begun; sleep 600", Duration::from_millis(300)).expect_err("slow");
    assert!(killed.cause.contains("killed after 0 s; its last words: begun"), "{killed}");
    let long = run_when_idle(&door, "yes | head -c 10000000", minute).expect("long");
    assert!(long.len() <= 64 << 10, "{} bytes kept", long.len());
    for relative in ["./sh", "../bin/sh", "no-such-vendor-tool", ""] {
        let fault = door.program(&[relative.to_owned()], minute).expect_err("no path");
        assert_eq!(fault.kind, Kind::Unsupported, "{relative}");
    }
    // One that outlives its caller holds the device: nothing else is flashed meanwhile.
    // A shell gives what it runs in the background no input of its own accord.
    let outlives = "exec 3<&0; sleep 600 <&3 >/dev/null 2>&1 & echo $! > /lib/firmware/pid";
    run(&door, outlives, minute).expect("runs");
    assert_eq!(run(&door, "true", minute).expect_err("busy").kind, Kind::Busy);
    assert_eq!(door.place(SHA, b"x").expect_err("busy").kind, Kind::Busy);
    assert_eq!(door.unplace().expect_err("busy").kind, Kind::Busy);
    let pid = fs::read_to_string("/lib/firmware/pid").expect("a pid").trim().parse().expect("one");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .expect("it runs");
    for _ in 0..200 {
        if door.unplace().is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!Path::new("/lib/firmware/nicmend").exists());
}
