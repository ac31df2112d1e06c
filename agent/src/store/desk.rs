//! What a witness keeps, on its own disk.
//!
//! ```text
//! DIR/               0700
//!   witness.key      0600: its private key; witness.pub: the public one
//!   lock             held while it looks at a log
//!   <id>/key         the first key of the log with this id (of SHA-256 over its origin)
//!   <id>/checkpoint  the last checkpoint that was cosigned, with the cosignature
//! ```

use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::disk::{file, keys::Keys};
use crate::{
    fault::{Fault, Kind, Result},
    log::note::{NOTE_BYTES_MAX, Signer, Use, Verifier},
};

/// Held by one witness at a time: what is seen and what is remembered must be one act.
#[derive(Debug)]
pub struct WitnessDesk {
    directory: PathBuf,
    signer: Signer,
    _lock: Flock<std::fs::File>,
}

impl WitnessDesk {
    /// Opens it; the first time, makes a key under this name.
    ///
    /// # Errors
    /// `Busy` where another process is looking.
    pub fn open(directory: &Path, name: &str) -> Result<WitnessDesk> {
        file::directory(directory)?;
        file::own(directory)?;
        let _ = nix::sys::prctl::set_dumpable(false);
        let act = format!("open {} for a witness", directory.display());
        let (lock, _) = file::open(&directory.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| Fault::errno(act, errno as i32, None))?;
        let keys = Keys::of_witness(directory);
        let signer = match keys.load()? {
            Some(signer) => signer,
            None => {
                let signer = keys.create(name, Use::Witness)?;
                keys.publish(&[signer.verifier()])?;
                signer
            }
        };
        Ok(WitnessDesk { directory: directory.to_owned(), signer, _lock: lock })
    }

    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The key that a log had at the first look.
    pub fn key_of(&self, id: &str) -> Result<Option<Verifier>> {
        let path = self.directory.join(id).join("key");
        let Some(bytes) = file::read(&path, 4096)? else { return Ok(None) };
        Verifier::parse(&String::from_utf8_lossy(&bytes))
            .map(Some)
            .map_err(|why| Fault::new(Kind::Malformed, format!("read {}", path.display()), why))
    }

    /// Whether it remembers any log.
    pub fn knows_any(&self) -> Result<bool> {
        Ok(file::list(&self.directory)?.iter().any(|path| path.join("key").exists()))
    }

    /// The last checkpoint of a log that was cosigned.
    pub fn last_of(&self, id: &str) -> Result<Option<Vec<u8>>> {
        file::read(&self.directory.join(id).join("checkpoint"), NOTE_BYTES_MAX as u64)
    }

    /// Remembers, durably.
    pub fn keep(&self, id: &str, key: &Verifier, note: &[u8]) -> Result<()> {
        let directory = self.directory.join(id);
        file::replace(&directory.join("key"), format!("{key}\n").as_bytes())?;
        file::replace(&directory.join("checkpoint"), note)
    }
}
