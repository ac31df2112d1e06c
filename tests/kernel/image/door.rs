//! The real door in a mount namespace with a `/lib/firmware` of its own.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

use agent::host::linux::Linux;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use tests::{root_or_skip, skip};

/// One at a time: a program that another thread starts holds, until it is executed, whatever this process has
/// open, and with it the lock on the firmware path.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The door, in a mount namespace whose `/lib/firmware` is empty; `None` where that cannot be had.
pub(crate) fn door(test: &str) -> Option<Linux> {
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
