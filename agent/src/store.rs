//! The disk, as the engine sees it: an append-only log and named blobs.
//!
//! Small on purpose, so that tests can fail or crash every call of it.

pub mod bundle;
pub mod desk;
pub mod disk;
pub mod shelf;
pub mod sim;

use crate::fault::Result;

/// Something that waits for the log's writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// The file's name.
    pub name: String,
    /// Its bytes, or why it is nothing that could be read.
    pub found: std::result::Result<Vec<u8>, String>,
}

/// What became of something that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The log has it, durably.
    Entered,
    /// It is no deed, and the log says so.
    Refused,
}

/// Where durable things go. Real: [`disk::Disk`]; in tests: a disk that can be crashed.
pub trait Store: Send + Sync {
    /// Adds entries to the log, in order. Durable only after [`Store::sync`].
    fn append(&self, entries: &[Vec<u8>]) -> Result<()>;

    /// Makes everything appended so far durable: one fsync.
    fn sync(&self) -> Result<()>;

    /// Every whole entry from the first on. A torn tail is not an entry.
    fn entries(&self) -> Result<Vec<Vec<u8>>>;

    /// The entries after the last place at which the log cannot be read, and the first one's number: what
    /// is left for putting runs back where [`Store::entries`] fails.
    fn readable(&self) -> (u64, Vec<Vec<u8>>) {
        (0, self.entries().unwrap_or_default())
    }

    /// How many of them there are: the next one's place.
    fn length(&self) -> Result<u64> {
        Ok(self.entries()?.len() as u64)
    }

    /// Signs what is durable and makes the signature durable too. A store without a key has nothing to
    /// sign.
    fn seal(&self) -> Result<()> {
        Ok(())
    }

    /// What other processes have handed over to the log's writer, the oldest first; a bounded number.
    fn handed_over(&self) -> Result<Vec<Handed>> {
        Ok(Vec::new())
    }

    /// Takes away what was handed over; durable.
    fn settle(&self, _name: &str, _fate: Fate) -> Result<()> {
        Ok(())
    }

    /// Writes a blob durably and atomically: it is there whole or not at all.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// A blob, or `None` where there is none.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// What others call it: the state directory's path.
    fn name(&self) -> String {
        String::new()
    }

    /// Whether the caller's epoch is still the newest: the fence before every write to the machine.
    fn epoch(&self) -> Result<u64>;
}
