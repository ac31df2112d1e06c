//! What the kernel tests share: a network namespace of one's own, and skips that are seen.

// Tests on the real kernel use ip and ethtool as witnesses; CI is known by its variable.
#![allow(clippy::disallowed_methods)]

pub mod firmware;
pub mod rivals;
pub mod traces;

use std::{
    io::Write,
    marker::PhantomData,
    process::{Command, Output},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

/// Whether a test that needs root may go on. Without root the skip is printed by name and reason,
/// past the harness's capture; in CI (`CI=true`) a skip is a failure.
///
/// # Panics
/// In CI, where the test cannot run.
pub fn root_or_skip(name: &str) -> bool {
    if geteuid().is_root() {
        return true;
    }
    skip(name, "needs root for a network namespace of its own");
    false
}

/// Whether these programs can be run; otherwise the skip is printed as in [`root_or_skip`].
///
/// # Panics
/// In CI, where the test cannot run.
pub fn programs_or_skip(name: &str, programs: &[&str]) -> bool {
    let missing =
        programs.iter().find(|program| Command::new(program).arg("--version").output().is_err());
    if let Some(program) = missing {
        skip(name, &format!("{program} is not installed"));
    }
    missing.is_none()
}

/// Says aloud that a test did not run.
///
/// # Panics
/// In CI.
pub fn skip(name: &str, reason: &str) {
    // Not a print macro: the harness hides what passing tests print.
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {reason}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "SKIPPED {name}: {reason}");
}

/// The calling thread's own network namespace, gone with the thread.
///
/// Only the thread that made it is inside; programs that it starts are too. Not `Send`, because on
/// another thread it would be a lie.
pub struct Netns {
    here: PhantomData<*const ()>,
}

impl Netns {
    /// Moves the calling thread into a new network namespace and a mount namespace whose `/sys`
    /// shows it. The loopback interface is up.
    ///
    /// # Panics
    /// Where the kernel refuses; see [`root_or_skip`].
    #[allow(clippy::new_without_default)] // entering a namespace is no default
    pub fn new() -> Netns {
        let netns = Netns::with_foreign_sysfs();
        let none: Option<&str> = None;
        umount2("/sys", MntFlags::MNT_DETACH).expect("detach the other namespace's sysfs");
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).expect("mount sysfs");
        netns
    }

    /// The same, but `/sys` goes on showing the namespace that the thread came from.
    ///
    /// # Panics
    /// Where the kernel refuses; see [`root_or_skip`].
    pub fn with_foreign_sysfs() -> Netns {
        let none: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("unshare: needs root");
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .expect("keep our mounts to ourselves");
        let netns = Netns { here: PhantomData };
        netns.run("ip", &["link", "set", "lo", "up"]);
        netns
    }

    /// A pair of veth interfaces, both up, each with this many receive and transmit queues.
    ///
    /// # Panics
    /// Where `ip` fails.
    pub fn veth(&self, name: &str, peer: &str, queues: u32) {
        let n = queues.to_string();
        let end = ["numrxqueues", &n, "numtxqueues", &n];
        let link =
            [&["link", "add", name][..], &end, &["type", "veth", "peer", "name", peer], &end];
        self.run("ip", &link.concat());
        self.run("ip", &["link", "set", name, "up"]);
        self.run("ip", &["link", "set", peer, "up"]);
    }

    /// Runs a program in this namespace and answers what it printed.
    ///
    /// # Panics
    /// Where it cannot be started or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {}: {said}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same, whatever its exit status.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"))
    }
}
