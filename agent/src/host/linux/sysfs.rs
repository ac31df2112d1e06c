//! The sysfs of one network namespace.
//!
//! `/sys/class/net` shows the network namespace of whoever mounted sysfs, not the reader's. A thread
//! that entered another namespace would read, and write, some other NIC of the same name there. So
//! the door compares, and where `/sys` shows another namespace it uses a mount of its own.
//!
//! Source: fs/sysfs/mount.c (`sysfs_init_fs_context` keys a superblock by network namespace).
#![allow(unsafe_code)]
// fsopen(2), fsconfig(2), fsmount(2): neither libc nor nix wraps them.
// This is the door: it reads the machine for everyone else.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::BTreeSet,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        linux::fs::MetadataExt,
    },
};

use crate::fault::{Fault, Kind};

/// Where paths under `/sys` are looked up.
pub(super) enum Sysfs {
    /// `/sys` shows the door's network namespace.
    Shared,
    /// A mount that nothing else sees, gone with its descriptor.
    Private(OwnedFd),
    /// `/sys` shows another namespace and the kernel did not let us mount our own: every use fails.
    Foreign(Fault),
}

/// `enum fsconfig_command` FSCONFIG_CMD_CREATE.
const CREATE: libc::c_uint = 6;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;

/// Decides for the calling thread's namespace, whose interfaces are `links`: (name, index) of each.
pub(super) fn open(links: &BTreeSet<(String, u32)>) -> Sysfs {
    match mount() {
        // The kernel keeps one superblock a namespace: the same device number is the same view.
        Ok(own) if same_device(&own, "/sys") => Sysfs::Shared,
        Ok(own) => Sysfs::Private(own),
        // Without the rights to mount, the interfaces themselves are the only witness.
        Err(_) if shown().is_ok_and(|shown| shown == *links) => Sysfs::Shared,
        Err(error) => {
            let cause = format!(
                "/sys shows another network namespace, and mounting this one's failed ({error}); \
                 run under `ip netns exec NAME`, or as root"
            );
            Sysfs::Foreign(Fault::new(Kind::Denied, "open /sys of this network namespace", cause))
        }
    }
}

/// A detached mount of the calling thread's sysfs.
fn mount() -> io::Result<OwnedFd> {
    // SAFETY: fsopen(2) reads a NUL-terminated name and returns a new descriptor or -1.
    let context =
        unsafe { owned(libc::syscall(libc::SYS_fsopen, c"sysfs".as_ptr(), FSOPEN_CLOEXEC))? };
    // SAFETY: fsconfig(2) with FSCONFIG_CMD_CREATE takes no key, no value and aux 0.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            CREATE,
            std::ptr::null::<libc::c_char>(),
            std::ptr::null::<libc::c_void>(),
            0,
        )
    };
    if created != 0 {
        return Err(io::Error::last_os_error());
    }
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    // SAFETY: fsmount(2) takes three integers and returns a new descriptor or -1.
    unsafe {
        owned(libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes))
    }
}

/// Takes the descriptor that a system call returned.
///
/// # Safety
/// `answer` is the return value, just returned, of a system call that makes a new descriptor.
unsafe fn owned(answer: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(answer) {
        // SAFETY: the kernel gave this descriptor to us alone, by the caller's promise.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

fn same_device(mount: &OwnedFd, path: &str) -> bool {
    let shown = std::fs::metadata(path).map(|metadata| metadata.st_dev());
    let own = nix::sys::stat::fstat(mount).map(|stat| stat.st_dev);
    matches!((shown, own), (Ok(shown), Ok(own)) if shown == own)
}

/// The interfaces that `/sys` shows: name and index of each.
fn shown() -> io::Result<BTreeSet<(String, u32)>> {
    let mut shown = BTreeSet::new();
    for entry in std::fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        // `bonding_masters` and its like are files, not interfaces.
        let Ok(index) = std::fs::read_to_string(entry.path().join("ifindex")) else { continue };
        let index = index.trim().parse().map_err(io::Error::other)?;
        shown.insert((entry.file_name().to_string_lossy().into_owned(), index));
    }
    Ok(shown)
}
