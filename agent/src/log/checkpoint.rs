//! Checkpoints: a tree's size and root, signed (<https://c2sp.org/tlog-checkpoint>). Pure.

use super::{
    base64,
    merkle::Hash,
    note::{Note, Signer},
};

/// The largest checkpoint history that is read.
pub const HISTORY_BYTES_MAX: u64 = 1 << 30;

/// What a log's checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Tells this log from others.
    pub origin: String,
    /// Entries in the tree.
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// The note's text.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64::encode(&self.root))
    }

    /// The checkpoint as the log signs it.
    pub fn signed(&self, by: &Signer) -> String {
        let text = self.text();
        format!("{text}\n{}", by.line(&text))
    }

    /// # Errors
    /// What it is not, in words.
    pub fn parse(text: &str) -> Result<Checkpoint, &'static str> {
        let mut lines = text.strip_suffix('\n').ok_or("its text has no end")?.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty());
        let (origin, size, root) = (line(), line(), line());
        let (Some(origin), Some(size), Some(root)) = (origin, size, root) else {
            return Err("not origin, size and root");
        };
        let number = size.parse::<u64>().ok().filter(|number| number.to_string() == size);
        let size = number.ok_or("its size is no number")?;
        let root = base64::decode(root).and_then(|root| Hash::try_from(root).ok());
        let root = root.ok_or("its root is no hash")?;
        // Extension lines would be signed, and not looked at by anybody.
        if lines.next().is_some() {
            return Err("it has extension lines");
        }
        Ok(Checkpoint { origin: origin.to_owned(), size, root })
    }
}

/// A checkpoint with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub checkpoint: Checkpoint,
    pub note: Note,
}

impl Sealed {
    /// # Errors
    /// What it is not, in words.
    pub fn parse(bytes: &[u8]) -> Result<Sealed, &'static str> {
        let note = Note::parse(bytes)?;
        Ok(Sealed { checkpoint: Checkpoint::parse(&note.text)?, note })
    }
}

/// Checkpoints one after the other, each followed by an empty line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub all: Vec<Sealed>,
    /// Bytes that they take.
    pub whole: usize,
    /// What is wrong with the bytes after those, where there are any.
    pub rest: Option<&'static str>,
}

/// Reads a history of checkpoints up to the first that is none.
pub fn history(bytes: &[u8]) -> Kept {
    let mut kept = Kept { all: Vec::new(), whole: 0, rest: None };
    while kept.whole < bytes.len() {
        let rest = &bytes[kept.whole..];
        let Some(end) = end_of(rest) else {
            kept.rest = Some("it ends in the middle of a checkpoint");
            break;
        };
        match Sealed::parse(&rest[..end - 1]) {
            Ok(sealed) => kept.all.push(sealed),
            Err(why) => {
                kept.rest = Some(why);
                break;
            }
        }
        kept.whole += end;
    }
    kept
}

/// Where a checkpoint ends, the empty line after it included: at the second of its empty lines.
fn end_of(bytes: &[u8]) -> Option<usize> {
    let blank = |from: usize| {
        let at = bytes.get(from..)?.windows(2).position(|two| two == b"\n\n")?;
        Some(from + at + 2)
    };
    blank(blank(0)?)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::log::note::{Signed, Use};

    fn sealed(size: u64) -> (String, Signer) {
        let signer = Signer::new("a.example/log", Use::Log, &Zeroizing::new([1; 32]));
        let origin = signer.name.clone();
        (Checkpoint { origin, size, root: [size as u8; 32] }.signed(&signer), signer)
    }

    #[test]
    fn the_specifications_example_is_read() {
        let text = "example.com/behind-the-sofa\n20852163\n\
                    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let read = Checkpoint::parse(text).unwrap();
        assert_eq!((read.origin.as_str(), read.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(read.text(), text);
        for bad in [
            "",
            "a\n1\n",
            "a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nmore\n",
            "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        ] {
            assert!(Checkpoint::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_history_is_read_up_to_its_torn_end() {
        let all: String = (1..4).map(|size| sealed(size).0 + "\n").collect();
        let kept = history(all.as_bytes());
        let sizes: Vec<u64> = kept.all.iter().map(|one| one.checkpoint.size).collect();
        assert_eq!((sizes, kept.whole, kept.rest), (vec![1, 2, 3], all.len(), None));
        let key = sealed(1).1.verifier();
        assert!(kept.all.iter().all(|one| one.note.signed_by(&key) == Signed::Yes { at: None }));
        let first = sealed(1).0.len() + 1;
        for cut in first + 1..2 * first {
            let kept = history(&all.as_bytes()[..cut]);
            assert_eq!((kept.all.len(), kept.whole), (1, first), "cut at {cut}");
            assert!(kept.rest.is_some(), "cut at {cut}");
        }
    }
}
