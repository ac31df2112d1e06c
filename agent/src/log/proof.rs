//! Proofs that an entry is in the log, to be checked offline (<https://c2sp.org/tlog-proof>). Pure.

use super::{
    base64,
    checkpoint::Sealed,
    merkle::{self, Hash},
    note::{Signed, Verifier},
};

const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// One entry, its path to the root, and the checkpoint that signs the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The entry's own bytes. A proof vouches for nothing else in it.
    pub entry: Vec<u8>,
    pub index: u64,
    pub path: Vec<Hash>,
    pub sealed: Sealed,
}

impl Proof {
    /// The text of a `.tlog-proof`; the entry stands in it as extra data.
    pub fn text(&self) -> String {
        let mut text =
            format!("{HEAD}\nextra {}\nindex {}\n", base64::encode(&self.entry), self.index);
        for hash in &self.path {
            text += &base64::encode(hash);
            text.push('\n');
        }
        format!("{text}\n{}", self.sealed.note)
    }

    /// # Errors
    /// What it is not, in words.
    pub fn parse(text: &str) -> Result<Proof, &'static str> {
        let (head, note) = text.split_once("\n\n").ok_or("it has no checkpoint")?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEAD) {
            return Err("its first line is not `c2sp.org/tlog-proof@v1`");
        }
        let mut after = |word| lines.next().and_then(|line: &str| line.strip_prefix(word));
        let entry = after("extra ").and_then(base64::decode).ok_or("it has no entry")?;
        let index = after("index ").and_then(|n| n.parse().ok()).ok_or("it has no index")?;
        let hash = |line| base64::decode(line).and_then(|hash| Hash::try_from(hash).ok());
        let path: Option<Vec<Hash>> = lines.map(hash).collect();
        let path = path.ok_or("its path has a line that is no hash")?;
        Ok(Proof { entry, index, path, sealed: Sealed::parse(note.as_bytes())? })
    }

    /// # Errors
    /// Why it proves nothing to whoever trusts this key.
    pub fn check(&self, key: &Verifier) -> Result<(), &'static str> {
        let checkpoint = &self.sealed.checkpoint;
        match self.sealed.note.signed_by(key) {
            Signed::Yes { .. } => {}
            Signed::Forged => return Err("the checkpoint's signature is forged"),
            Signed::No => return Err("the checkpoint is not signed by that key"),
        }
        if checkpoint.origin != key.name {
            return Err("the checkpoint is another log's");
        }
        let leaf = merkle::leaf(&self.entry);
        let led = merkle::root_by_inclusion(&leaf, self.index, checkpoint.size, &self.path);
        match led == Some(checkpoint.root) {
            true => Ok(()),
            false => Err("the entry does not lead to the checkpoint's root"),
        }
    }
}
