//! One lengthy call at a time on a device, whichever process of this host has it in the kernel.
//!
//! The mark is flock(2) on the file by which sysfs removes the device's PCI function: it is there as long as the
//! device, none but root may open it, and it is never written here. The descriptor belongs to the process: it
//! is open until the thread that asked is out of the kernel, even where its process was killed. Processes that
//! see different mounts of sysfs do not see each other's; between those only the kernel's own lock stands.

use std::{
    fs::File,
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::fault::{Fault, Kind, Result};

const DEVICES: &str = "/sys/bus/pci/devices";
/// Who only looks holds a mark for microseconds; it is taken again after these pauses.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Held until it is dropped. `None`: no PCI function, or one that is gone.
#[derive(Debug)]
pub(super) struct Grip(#[expect(dead_code, reason = "held, not read")] Option<Flock<File>>);

impl Grip {
    /// Of a device by devlink's handle.
    pub(super) fn take(device: &str) -> Result<Grip> {
        match device.strip_prefix("pci/") {
            Some(address) => Grip::of(&mark(address), device),
            None => Ok(Grip(None)),
        }
    }

    pub(super) fn of(file: &Path, device: &str) -> Result<Grip> {
        for _ in 1..TRIES {
            match lock(file, device, FlockArg::LockExclusiveNonblock) {
                Err(fault) if fault.kind == Kind::Held => std::thread::sleep(PAUSE),
                done => return done.map(Grip),
            }
        }
        lock(file, device, FlockArg::LockExclusiveNonblock).map(Grip)
    }
}

/// Whether nothing of ours is in the kernel with this device. A process that may not look is not told.
pub(super) fn free(device: &str) -> Result<()> {
    match device.strip_prefix("pci/") {
        Some(address) => look(&mark(address), device),
        None => Ok(()),
    }
}

/// Whether the kernel can answer a devlink request about the device that it names, or about all.
pub(super) fn answers(payload: &[u8]) -> Result<()> {
    match super::lengthy::device(payload) {
        [Some(bus), Some(name)] => free(&format!("{bus}/{name}")),
        [_, _] => {
            let all = std::fs::read_dir(DEVICES).into_iter().flatten().flatten();
            let mut names = all.filter_map(|entry| entry.file_name().into_string().ok());
            names.try_for_each(|address| free(&format!("pci/{address}")))
        }
    }
}

fn look(file: &Path, device: &str) -> Result<()> {
    match lock(file, device, FlockArg::LockSharedNonblock) {
        Err(fault) if fault.kind == Kind::Held => Err(fault),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn lock(file: &Path, device: &str, how: FlockArg) -> Result<Option<Flock<File>>> {
    let opened = match File::options().write(true).custom_flags(libc::O_CLOEXEC).open(file) {
        Ok(opened) => opened,
        // The kernel will say so itself.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            return Err(Fault::errno(format!("open {}", file.display()), errno, None));
        }
    };
    let act = format!("ask the kernel about {device}");
    match Flock::lock(opened, how) {
        Ok(held) => Ok(Some(held)),
        Err((_, Errno::EWOULDBLOCK)) => {
            let cause = "the kernel still works on a flash or restart of it";
            Err(Fault::new(Kind::Held, act, cause))
        }
        Err((_, errno)) => Err(Fault::errno(act, errno as i32, None)),
    }
}

fn mark(address: &str) -> PathBuf {
    Path::new(DEVICES).join(address).join("remove")
}
