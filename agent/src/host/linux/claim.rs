//! Claims: one process at a time changes a NIC, a network namespace or the host, whatever state directory it
//! works from. A claim is a lock on a file of a fixed folder, and ends with its process however that ends.

use std::{
    any::Any,
    fs::{self, DirBuilder, File},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::fault::{Fault, Kind, Result};

/// Not below /run/nicmend: a service manager removes that one as the service ends.
const FOLDER: &str = "/run/nicmend.lock";
/// What the holder says of itself is read as far as this.
const WORDS_MAX: usize = 1024;

/// Takes all of them or none.
pub(super) fn take(names: &[String], words: &str) -> Result<Box<dyn Any>> {
    folder()?;
    let held = names.iter().map(|name| one(name, words)).collect::<Result<Vec<Flock<File>>>>()?;
    Ok(Box::new(held))
}

/// Only its owner may make or remove files in it: another's would be another lock.
fn folder() -> Result<()> {
    let act = || format!("claim in {FOLDER}");
    let io = |error: std::io::Error| {
        Fault::errno(act(), error.raw_os_error().unwrap_or(libc::EIO), None)
    };
    match DirBuilder::new().mode(0o700).create(FOLDER) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error)),
    }
    let found = fs::symlink_metadata(FOLDER).map_err(io)?;
    let ours = found.uid() == nix::unistd::geteuid().as_raw();
    match found.is_dir() && ours && found.mode() & 0o022 == 0 {
        true => Ok(()),
        false => {
            let cause =
                "it is no folder of this user's alone; who else may lock there is not known";
            Err(Fault::new(Kind::Denied, act(), cause))
        }
    }
}

fn one(name: &str, words: &str) -> Result<Flock<File>> {
    let act = || format!("claim {name}");
    // A name has slashes, and the MAC address's colons.
    let path = Path::new(FOLDER).join(name.replace('/', ","));
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&path)
        .map_err(|error| Fault::errno(act(), error.raw_os_error().unwrap_or(libc::EIO), None))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => {
            // A claim without a name is a claim all the same.
            let written = held.write_all_at(words.as_bytes(), 0);
            let _ = written.and_then(|()| held.set_len(words.len() as u64));
            Ok(held)
        }
        Err((file, Errno::EWOULDBLOCK)) => {
            let mut said = vec![0; WORDS_MAX];
            let length = file.read_at(&mut said, 0).unwrap_or(0);
            said.truncate(length);
            let said = String::from_utf8_lossy(&said);
            let said: String = said.chars().filter(|c| !c.is_control()).collect();
            let who = if said.is_empty() { "another process" } else { said.as_str() };
            Err(Fault::new(Kind::Busy, act(), format!("{who} has it")))
        }
        Err((_, errno)) => Err(Fault::errno(act(), errno as i32, None)),
    }
}
