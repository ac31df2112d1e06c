//! The log's keys: Ed25519, made when the log is first written to.
//!
//! ```text
//! KEYS/            0700 (STATE/keys unless moved)
//!   log.key        0600: the private key, one line
//!   log.pub        every public key that signed this log, the oldest first
//!   next.key       0600: while one key hands over to the next
//! ```

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::file;
use crate::{
    fault::{Fault, Kind, Result},
    log::note::{Signer, Use, Verifier},
};

/// A private key is one line of about 150 bytes; the name in it may be as long as a host's.
const KEY_BYTES_MAX: usize = 1024;
const PUBLIC_BYTES_MAX: u64 = 1 << 20;
/// Group's and others' bits.
const OTHERS: u32 = 0o077;

/// The directory that holds them.
#[derive(Debug, Clone)]
pub struct Keys {
    directory: PathBuf,
    /// What its files are called: `log`, `witness`.
    stem: &'static str,
}

impl Keys {
    pub fn of_log(directory: &Path) -> Keys {
        Keys { directory: directory.to_owned(), stem: "log" }
    }

    pub fn of_witness(directory: &Path) -> Keys {
        Keys { directory: directory.to_owned(), stem: "witness" }
    }

    /// The private key, if there is one.
    ///
    /// # Errors
    /// `Denied` where others may read it, `Malformed` where it is none; neither repeats it.
    pub fn load(&self) -> Result<Option<Signer>> {
        self.read(&self.private())
    }

    /// Makes a key under this name, durable when this returns. An older one is not overwritten.
    pub fn create(&self, name: &str, using: Use) -> Result<Signer> {
        let path = self.private();
        if path.symlink_metadata().is_ok() {
            let act = format!("make the key {}", path.display());
            return Err(Fault::new(Kind::Busy, act, "there is one"));
        }
        self.write(&path, name, using)
    }

    /// Makes the key that shall sign next, beside the one that signs.
    pub(super) fn stage(&self, name: &str) -> Result<Signer> {
        self.write(&self.next(), name, Use::Log)
    }

    /// The key that was to sign next when its maker ended.
    pub(super) fn staged(&self) -> Result<Option<Signer>> {
        self.read(&self.next())
    }

    /// The next key takes over.
    pub(super) fn promote(&self) -> Result<()> {
        let (from, to) = (self.next(), self.private());
        fs::rename(&from, &to)
            .map_err(|error| file::fault(format!("make {} the key", from.display()), &error))?;
        file::sync_parent(&to)
    }

    pub(super) fn unstage(&self) -> Result<()> {
        file::remove(&self.next())
    }

    /// Every public key so far, the oldest first.
    pub fn public(&self) -> Result<Vec<Verifier>> {
        let path = self.directory.join(format!("{}.pub", self.stem));
        let bytes = file::read(&path, PUBLIC_BYTES_MAX)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let keys = text.lines().filter(|line| !line.trim().is_empty()).map(Verifier::parse);
        keys.collect::<Result<_, _>>()
            .map_err(|why| Fault::new(Kind::Malformed, format!("read {}", path.display()), why))
    }

    /// Writes down the public keys; whoever verifies copies them to where this host cannot write.
    pub fn publish(&self, keys: &[Verifier]) -> Result<()> {
        let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
        file::replace(&self.directory.join(format!("{}.pub", self.stem)), text.as_bytes())
    }

    fn private(&self) -> PathBuf {
        self.directory.join(format!("{}.key", self.stem))
    }

    fn next(&self) -> PathBuf {
        self.directory.join("next.key")
    }

    fn write(&self, path: &Path, name: &str, using: Use) -> Result<Signer> {
        let mut seed = Zeroizing::new([0; 32]);
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(seed.as_mut()))
            .map_err(|error| file::fault("make a key from /dev/urandom", &error))?;
        let signer = Signer::new(name, using, &seed);
        file::directory(&self.directory)?;
        file::own(&self.directory)?;
        file::replace(path, signer.secret().as_bytes())?;
        Ok(signer)
    }

    fn read(&self, path: &Path) -> Result<Option<Signer>> {
        let act = || format!("read the key {}", path.display());
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file::fault(act(), &error)),
        };
        if !metadata.is_file() || metadata.mode() & OTHERS != 0 {
            let mode = metadata.mode() & 0o7777;
            let cause = format!("not a file that only its owner may use (mode {mode:o})");
            return Err(Fault::new(Kind::Denied, act(), cause));
        }
        // One buffer, wiped: a vector that grows leaves copies behind.
        let mut buffer = Zeroizing::new([0; KEY_BYTES_MAX]);
        let length = File::open(path)
            .and_then(|mut file| file.read(buffer.as_mut()))
            .map_err(|error| file::fault(act(), &error))?;
        let text = std::str::from_utf8(&buffer[..length]).map_err(|_| "not text");
        let signer = text.and_then(Signer::parse);
        signer.map(Some).map_err(|why| Fault::new(Kind::Malformed, act(), why))
    }
}
