//! Images in the kernel's firmware path and vendors' programs, on a real file system: a mount namespace
//! with a `/lib/firmware` of its own.

// Tests on the real kernel look behind the door with their own eyes.
#![allow(clippy::disallowed_methods)]

#[path = "image/door.rs"]
mod door;

use std::{fs, path::Path, time::Duration};

use agent::{
    fault::Kind,
    host::{Host, linux::Linux},
};
use door::{alone, door};
use nix::mount::{MsFlags, mount};

/// Of `image`.
const SHA: &str = "6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d";
/// Where the kernel's parameter `firmware_class.path` is read.
const PARAMETER: &str = "/sys/module/firmware_class/parameters/path";

/// A directory outside the kernel's search path, removed at the end.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let path = std::env::temp_dir().join(format!("nicmend-path-{}", std::process::id()));
        fs::create_dir_all(&path).expect("make");
        Scratch(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sorted(folder: &str) -> Vec<String> {
    let mut names = names(folder);
    names.sort();
    names
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
    door.still_placed(SHA).expect("it is there");
    fs::write(&path, "imago").expect("somebody alters it");
    assert_eq!(door.still_placed(SHA).expect_err("altered").kind, Kind::Drift);
    // A second time, as after a crash: with what a torn first try has left.
    fs::write(format!("/lib/firmware/nicmend/.{SHA}"), "half").expect("write");
    door.place(SHA, b"image").expect("place again");
    door.still_placed(SHA).expect("it is there again");
    door.unplace().expect("remove");
    door.unplace().expect("remove what is gone");
    assert_eq!(names("/lib/firmware"), ["other.bin"]);
}

#[test]
fn what_is_not_ours_is_not_removed() {
    let _alone = alone();
    let Some(door) = door("what_is_not_ours_is_not_removed") else { return };
    fs::create_dir("/lib/firmware/nicmend").expect("somebody's directory");
    let other = "f".repeat(64);
    for name in ["theirs.bin", ".hidden", other.as_str()] {
        fs::write(format!("/lib/firmware/nicmend/{name}"), "theirs").expect("their file");
    }
    fs::create_dir(format!("/lib/firmware/nicmend/{}", "e".repeat(64))).expect("their directory");
    let before = sorted("/lib/firmware/nicmend");
    door.place(SHA, b"image").expect("place");
    run(&door, "true", Duration::from_secs(60)).expect("a program's lock lies there, too");
    door.unplace().expect("remove");
    assert_eq!(sorted("/lib/firmware/nicmend"), before);
    for name in &before {
        let path = format!("/lib/firmware/nicmend/{name}");
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
    // Empty, it is still somebody's.
    door.place(SHA, b"image").expect("place");
    door.unplace().expect("remove");
    assert!(names("/lib/firmware/nicmend").is_empty());
    fs::remove_dir("/lib/firmware/nicmend").expect("remove");
    // Ours, and somebody has put something into it.
    door.place(SHA, b"image").expect("place");
    fs::write("/lib/firmware/nicmend/theirs.bin", "theirs").expect("their file");
    door.unplace().expect("remove");
    assert_eq!(names("/lib/firmware/nicmend"), ["theirs.bin"]);
    // Of ours that died between making the directory and marking it.
    fs::remove_dir_all("/lib/firmware/nicmend").expect("remove");
    fs::create_dir("/lib/firmware/nicmend").expect("make");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions("/lib/firmware/nicmend", mode).expect("chmod");
    door.unplace().expect("remove");
    assert!(names("/lib/firmware").is_empty());
}

/// drivers/base/firmware_loader/main.c, `fw_path`: the first directory that has the name is the kernel's.
#[test]
fn a_file_that_the_kernel_would_find_first_is_refused() {
    let _alone = alone();
    let test = "a_file_that_the_kernel_would_find_first_is_refused";
    let Some(door) = door(test) else { return };
    let custom = Scratch::new();
    let set = |text: &str| fs::write(custom.at("parameter"), text).expect("write");
    set(&format!("{}\n", custom.at("path")));
    let bind = MsFlags::MS_BIND;
    let none = None::<&str>;
    mount(Some(custom.at("parameter").as_str()), PARAMETER, none, bind, none).expect("bind it");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let release = release.trim();
    for directory in [
        custom.at("path"),
        format!("/lib/firmware/updates/{release}"),
        "/lib/firmware/updates".to_owned(),
        format!("/lib/firmware/{release}"),
    ] {
        let file = format!("{directory}/nicmend/{SHA}");
        fs::create_dir_all(format!("{directory}/nicmend")).expect("make");
        // Before it is placed: nothing is written.
        fs::write(&file, "other").expect("write");
        assert_eq!(door.shadows(SHA).expect("looked").join(" "), file);
        let fault = door.place(SHA, b"image").expect_err("another would be flashed");
        assert_eq!(fault.kind, Kind::Denied, "{fault}");
        assert!(fault.cause.contains(&file), "{fault}");
        assert!(!Path::new("/lib/firmware/nicmend").exists(), "{directory}");
        fs::remove_file(&file).expect("remove");
        // Between that and the flash.
        door.place(SHA, b"image").expect("place");
        door.still_placed(SHA).expect("alone");
        std::os::unix::fs::symlink("/nowhere", &file).expect("a link to nothing yet");
        let fault = door.still_placed(SHA).expect_err("another may be flashed");
        assert_eq!(fault.kind, Kind::Denied, "{fault}");
        fs::remove_file(&file).expect("remove");
        // The same file by another name is no other file.
        if fs::hard_link(format!("/lib/firmware/nicmend/{SHA}"), &file).is_ok() {
            door.still_placed(SHA).expect("the same file");
            fs::remove_file(&file).expect("remove");
        }
        // Lost since, or set to somewhere else: what is placed is removed all the same.
        set("/nowhere\n");
        door.unplace().expect("remove");
        assert!(!Path::new("/lib/firmware/nicmend").exists(), "{directory}");
        assert!(names(&format!("{directory}/nicmend")).is_empty());
        set(&format!("{}\n", custom.at("path")));
        fs::remove_dir_all(&directory).expect("remove");
    }
    // The parameter may name the directory that is last anyway.
    set("/lib/firmware\n");
    door.place(SHA, b"image").expect("place");
    door.still_placed(SHA).expect("alone");
    door.unplace().expect("remove");
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
    assert!(killed.cause.contains("killed after 300ms; its last words: begun"), "{killed}");
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
