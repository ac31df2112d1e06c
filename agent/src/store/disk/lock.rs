//! One writer: the lock that a living process holds, and the epoch that fences off one that was
//! stopped and wakes up.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, Serialize};

use super::file;
use crate::fault::{Fault, Kind, Result};

/// `00000000000000000042` and a newline: always the same length, so that it is overwritten in place in
/// one sector and needs no space on a full disk.
const DIGITS: usize = 20;
const LOCK_BYTES_MAX: u64 = 4096;
/// How long a lock is asked for that somebody may only be looking at.
const GLANCES: u32 = 10;
const GLANCE: Duration = Duration::from_millis(5);

/// Held until it is dropped or its process is gone, whatever killed it.
#[derive(Debug)]
pub(super) struct Lock(Flock<File>);

/// Who holds the lock, as they say themselves.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    #[serde(default)]
    run: Option<String>,
}

impl Lock {
    /// Takes the lock without waiting.
    pub(super) fn take(state: &Path) -> Result<Lock> {
        let path = state.join("lock");
        let (opened, _) = file::open(&path)?;
        let lock = Lock::hold(opened, state, &path)?;
        lock.say(&Holder { pid: std::process::id(), run: None });
        Ok(lock)
    }

    /// The same where nothing can be written: who holds it is not said. (flock(2) takes any descriptor.)
    pub(super) fn take_unwritten(state: &Path) -> Result<Lock> {
        let path = state.join("lock");
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
        let opened = options
            .open(&path)
            .map_err(|error| file::fault(format!("open {}", path.display()), &error))?;
        Lock::hold(opened, state, &path)
    }

    fn hold(opened: File, state: &Path, path: &Path) -> Result<Lock> {
        let act = || format!("open {} for writing", state.display());
        let mut opened = opened;
        // Whoever only asks who holds it shares it for an instant.
        for _ in 0..GLANCES {
            opened = match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Lock(held)),
                Err((file, Errno::EWOULDBLOCK)) => file,
                Err((_, errno)) => return Err(Fault::errno(act(), errno as i32, None)),
            };
            std::thread::sleep(GLANCE);
        }
        Err(Fault::new(Kind::Busy, act(), who(path)))
    }

    pub(super) fn name(&self, run: &str) {
        self.say(&Holder { pid: std::process::id(), run: Some(run.to_owned()) });
    }

    /// Best effort: a lock without a name is a lock all the same.
    fn say(&self, holder: &Holder) {
        let text = serde_json::to_vec(holder).unwrap_or_default();
        let _ = self.0.write_all_at(&text, 0).and_then(|()| self.0.set_len(text.len() as u64));
    }
}

/// The process that holds the lock, if one does, and for which run: asked of the kernel, then of the file.
pub(super) fn holder(state: &Path) -> Result<Option<(u32, Option<String>)>> {
    let path = state.join("lock");
    let act = || format!("see who holds {}", path.display());
    let opened = match File::open(&path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file::fault(act(), &error)),
    };
    match Flock::lock(opened, FlockArg::LockSharedNonblock) {
        // Nobody holds it; ours is given back as it goes out of scope.
        Ok(_) => Ok(None),
        Err((_, Errno::EWOULDBLOCK)) => match read(&path) {
            Some(holder) => Ok(Some((holder.pid, holder.run))),
            None => Err(Fault::new(Kind::Malformed, act(), "whoever holds it has not said so")),
        },
        Err((_, errno)) => Err(Fault::errno(act(), errno as i32, None)),
    }
}

fn who(path: &Path) -> String {
    match read(path) {
        // It is held by somebody who only reads, or has not said so yet.
        Some(Holder { pid, .. }) if !Path::new(&format!("/proc/{pid}")).exists() => {
            "another process holds it".to_owned()
        }
        Some(Holder { pid, run: Some(run) }) => format!("process {pid} holds it, for run {run}"),
        Some(Holder { pid, run: None }) => format!("process {pid} holds it"),
        None => "another process holds it".to_owned(),
    }
}

fn read(path: &Path) -> Option<Holder> {
    serde_json::from_slice(&file::read(path, LOCK_BYTES_MAX).ok()??).ok()
}

/// The number in STATE/epoch.
pub(super) struct Epoch(PathBuf);

impl Epoch {
    pub(super) fn of(state: &Path) -> Epoch {
        Epoch(state.join("epoch"))
    }

    /// Read anew each time: it is the fence. 0 where nobody ever opened for writing.
    pub(super) fn read(&self) -> Result<u64> {
        let text = file::read(&self.0, LOCK_BYTES_MAX)?;
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(0) };
        let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        number.ok_or_else(|| {
            let act = format!("read {}", self.0.display());
            Fault::new(Kind::Malformed, act, "it does not hold a number")
        })
    }

    /// The next epoch, durable before anybody acts under it. Where the file holds no number (somebody wrote
    /// into it), the count goes on from the newest entry's: whoever wrote under an older one is fenced off.
    pub(super) fn advance(&self, newest: &dyn Fn() -> Option<u64>) -> Result<u64> {
        let last = match self.read() {
            Ok(last) => last,
            Err(fault) if fault.kind == Kind::Malformed => newest().unwrap_or(0).saturating_add(1),
            Err(fault) => return Err(fault),
        };
        let next = last.saturating_add(1);
        let act = |what: &str| format!("{what} {}", self.0.display());
        let (file, new) = file::open(&self.0)?;
        let text = format!("{next:0DIGITS$}\n");
        let length = text.len() as u64;
        let written = file
            .write_all_at(text.as_bytes(), 0)
            .and_then(|()| file.set_len(length))
            .and_then(|()| file.sync_all());
        if let Err(error) = written {
            if new {
                let _ = fs::remove_file(&self.0);
            }
            return Err(file::fault(act("write"), &error));
        }
        if new {
            file::sync_parent(&self.0)?;
        }
        Ok(next)
    }
}
