//! What a path leads to, without waiting for whoever serves it: statx(2) and an extended attribute.

#![allow(unsafe_code)] // neither call has a safe wrapper in nix

use std::{
    ffi::CString,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
};

use nix::errno::Errno;

use super::files::Files;
use crate::{
    fault::{Fault, Kind, Result},
    host::Stat,
};

/// The kernel's name for a socket's protocol (net/socket.c), as an attribute of its descriptor.
const SOCKET_PROTOCOL: &std::ffi::CStr = c"system.sockprotoname";
/// Longer than any name in /proc/net/protocols.
const PROTOCOL_BYTES: usize = 64;

impl Files {
    pub(super) fn stat(&self, path: &Path) -> Result<Stat> {
        let act = || format!("look at {}", path.display());
        let (root, rest) = self.place("look", path).map_err(|fault| fault.during(act()))?;
        let rest = c_string(&act, &rest)?;
        // SAFETY: all zeroes is a valid statx, plain numbers throughout.
        let mut found: libc::statx = unsafe { std::mem::zeroed() };
        // What is known is enough: a server that does not answer must not hold a look up.
        let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
        let wanted = libc::STATX_TYPE | libc::STATX_UID | libc::STATX_INO;
        // SAFETY: a descriptor that lives through the call, a string that ends with a zero byte, and
        // a whole statx to fill.
        let result =
            unsafe { libc::statx(root.as_raw_fd(), rest.as_ptr(), flags, wanted, &raw mut found) };
        if result != 0 {
            return Err(Fault::errno(act(), Errno::last_raw(), None));
        }
        let character = u32::from(found.stx_mode) & libc::S_IFMT == libc::S_IFCHR;
        Ok(Stat {
            file_system: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            device: character.then_some((found.stx_rdev_major, found.stx_rdev_minor)),
            uid: found.stx_uid,
        })
    }

    pub(super) fn protocol(&self, path: &Path) -> Result<String> {
        let act = || format!("find the protocol of {}", path.display());
        if !path.starts_with("/proc") {
            return Err(Fault::new(Kind::Invalid, act(), "not a descriptor in /proc"));
        }
        let path = c_string(&act, path)?;
        let mut name = [0_u8; PROTOCOL_BYTES];
        // SAFETY: two strings that end with a zero byte, and a buffer with its length.
        let length = unsafe {
            libc::getxattr(
                path.as_ptr(),
                SOCKET_PROTOCOL.as_ptr(),
                name.as_mut_ptr().cast(),
                name.len(),
            )
        };
        let Ok(length) = usize::try_from(length) else {
            return Err(Fault::errno(act(), Errno::last_raw(), None));
        };
        let name = name.get(..length).unwrap_or_default();
        Ok(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
    }
}

fn c_string(act: &dyn Fn() -> String, path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Fault::new(Kind::Invalid, act(), "the path has a zero byte"))
}
