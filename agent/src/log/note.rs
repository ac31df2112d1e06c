//! Signed notes, verifier keys and cosignatures: <https://c2sp.org/signed-note>,
//! <https://c2sp.org/tlog-cosignature>. Ed25519 only. Pure.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::base64;

/// Signs the note's text.
const ED25519: u8 = 0x01;
/// Signs the note's text with the time at which a witness saw it.
const COSIGNATURE: u8 = 0x04;
/// A note is a page at most; witnesses may sign it, too.
pub const NOTE_BYTES_MAX: usize = 1 << 16;
const SIGNATURES_MAX: usize = 64;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Checkpoints of a log.
    Log,
    /// That a witness has seen a checkpoint, and when.
    Witness,
}

impl Use {
    fn byte(self) -> u8 {
        match self {
            Use::Log => ED25519,
            Use::Witness => COSIGNATURE,
        }
    }
}

/// A public key under its name: `name+id+base64`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub name: String,
    pub using: Use,
    key: VerifyingKey,
}

impl Verifier {
    /// Reads a verifier key; says what is wrong with it.
    pub fn parse(text: &str) -> Result<Verifier, String> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("not `name+id+key`".to_owned());
        };
        let bytes = base64::decode(key).ok_or("its key is not base64")?;
        let (using, key) = match bytes.split_first() {
            Some((&ED25519, key)) => (Use::Log, key),
            Some((&COSIGNATURE, key)) => (Use::Witness, key),
            Some(_) | None => return Err("its key is not Ed25519".to_owned()),
        };
        let key = <[u8; 32]>::try_from(key).map_err(|_| "its key has not 32 bytes")?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| "its key is no point")?;
        let verifier = Verifier { name: name.to_owned(), using, key };
        if !is_name(name) || id != format!("{:08x}", verifier.id()) {
            return Err("its name or id is wrong".to_owned());
        }
        Ok(verifier)
    }

    /// The first four bytes of SHA-256 over name, newline, use and key.
    pub fn id(&self) -> u32 {
        id(&self.name, self.using, &self.key)
    }

    /// Whether this key signed the message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        // Strict: no signature of small order, and one encoding only.
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.using.byte()], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id(), base64::encode(&key))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A private key under its name. It never prints, and its bytes are wiped when it is dropped.
pub struct Signer {
    pub name: String,
    using: Use,
    key: SigningKey,
}

impl Signer {
    pub fn new(name: &str, using: Use, seed: &Zeroizing<[u8; 32]>) -> Signer {
        Signer { name: name.to_owned(), using, key: SigningKey::from_bytes(seed) }
    }

    /// Reads what [`Signer::secret`] wrote. The error does not repeat it.
    pub fn parse(text: &str) -> Result<Signer, &'static str> {
        let rest = text.trim().strip_prefix("PRIVATE+KEY+").ok_or("not `PRIVATE+KEY+…`")?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("not `PRIVATE+KEY+name+id+key`");
        };
        let bytes = Zeroizing::new(base64::decode(key).ok_or("its key is not base64")?);
        let (using, seed) = match bytes.split_first() {
            Some((&ED25519, seed)) => (Use::Log, seed),
            Some((&COSIGNATURE, seed)) => (Use::Witness, seed),
            Some(_) | None => return Err("its key is not Ed25519"),
        };
        let seed = <[u8; 32]>::try_from(seed).map_err(|_| "its key has not 32 bytes")?;
        let signer = Signer::new(name, using, &Zeroizing::new(seed));
        if !is_name(name) || id != format!("{:08x}", signer.verifier().id()) {
            return Err("its name or id is wrong");
        }
        Ok(signer)
    }

    /// The private key as one line, in the encoding of Go's `note` package.
    pub fn secret(&self) -> Zeroizing<String> {
        let mut key = Zeroizing::new(vec![self.using.byte()]);
        key.extend_from_slice(self.key.as_bytes());
        let key = Zeroizing::new(base64::encode(&key));
        let id = self.verifier().id();
        Zeroizing::new(format!("PRIVATE+KEY+{}+{id:08x}+{}\n", self.name, key.as_str()))
    }

    pub fn verifier(&self) -> Verifier {
        let key = self.key.verifying_key();
        Verifier { name: self.name.clone(), using: self.using, key }
    }

    /// A bare signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// A note's signature line over `text`, its newline included.
    pub fn line(&self, text: &str) -> String {
        self.written(&self.sign(text.as_bytes()))
    }

    /// A witness's line: it saw this text's checkpoint at `seconds` since 1970.
    pub fn cosign(&self, text: &str, seconds: u64) -> String {
        let signature = self.sign(cosigned(text, seconds).as_bytes());
        self.written(&[seconds.to_be_bytes().as_slice(), &signature].concat())
    }

    fn written(&self, signature: &[u8]) -> String {
        let id = self.verifier().id().to_be_bytes();
        format!("— {} {}\n", self.name, base64::encode(&[id.as_slice(), signature].concat()))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier())
    }
}

fn cosigned(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

fn id(name: &str, using: Use, key: &VerifyingKey) -> u32 {
    let hash = Sha256::new()
        .chain_update(name.as_bytes())
        .chain_update([b'\n', using.byte()])
        .chain_update(key.as_bytes())
        .finalize();
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// A text and who signed it; nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// With its final newline, without the empty line after it.
    pub text: String,
    /// Name, key id, and what follows it.
    pub signatures: Vec<(String, u32, Vec<u8>)>,
}

/// What a note's signatures are worth to whoever has this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// A cosignature says when, in seconds since 1970.
    Yes {
        at: Option<u64>,
    },
    /// Under the key's name and id stands another signature.
    Forged,
    No,
}

impl Note {
    /// # Errors
    /// What it is not, in words.
    pub fn parse(bytes: &[u8]) -> Result<Note, &'static str> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err("longer than 64 KiB");
        }
        let note = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text")?;
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err("it has control characters");
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or("it has no signatures")?;
        let lines = lines.strip_suffix('\n').ok_or("its last line has no end")?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == SIGNATURES_MAX {
                return Err("it has more than 64 signatures");
            }
            let (name, signature) = line
                .strip_prefix("— ")
                .and_then(|rest| rest.split_once(' '))
                .filter(|(name, _)| is_name(name))
                .ok_or("a signature line is malformed")?;
            let bytes = base64::decode(signature).ok_or("a signature is not base64")?;
            let (id, rest) = bytes.split_first_chunk::<4>().ok_or("a signature is too short")?;
            signatures.push((name.to_owned(), u32::from_be_bytes(*id), rest.to_vec()));
        }
        Ok(Note { text: format!("{text}\n"), signatures })
    }

    /// Whether the holder of this key signed it.
    pub fn signed_by(&self, key: &Verifier) -> Signed {
        let id = key.id();
        let mut lines =
            self.signatures.iter().filter(|(name, their, _)| *name == key.name && *their == id);
        let Some((_, _, bytes)) = lines.next() else { return Signed::No };
        let signed = match (key.using, bytes.split_first_chunk::<8>()) {
            (Use::Log, _) => {
                key.verify(self.text.as_bytes(), bytes).then_some(Signed::Yes { at: None })
            }
            (Use::Witness, Some((seconds, signature))) => {
                let seconds = u64::from_be_bytes(*seconds);
                let message = cosigned(&self.text, seconds);
                key.verify(message.as_bytes(), signature)
                    .then_some(Signed::Yes { at: Some(seconds) })
            }
            (Use::Witness, None) => None,
        };
        // A key signs a note once.
        signed.filter(|_| lines.next().is_none()).unwrap_or(Signed::Forged)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for (name, id, rest) in &self.signatures {
            let signature = [id.to_be_bytes().as_slice(), rest].concat();
            writeln!(f, "— {name} {}", base64::encode(&signature))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of c2sp.org/signed-note, and the key that Go's test of `note` gives for its own.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn signer(using: Use) -> Signer {
        Signer::new("trade1.example/nicmend", using, &Zeroizing::new([7; 32]))
    }

    #[test]
    fn a_note_of_gos_own_package_is_verified() {
        let key = Verifier::parse(GO_KEY).unwrap();
        assert_eq!(key.to_string(), GO_KEY);
        let note = Note::parse(GO_NOTE.as_bytes()).unwrap();
        assert_eq!(note.to_string(), GO_NOTE);
        assert_eq!(note.signed_by(&key), Signed::Yes { at: None });
        let other =
            Note::parse(GO_NOTE.replace("your problem,", "my problem,").as_bytes()).unwrap();
        assert_eq!(other.signed_by(&key), Signed::Forged);
        assert_eq!(note.signed_by(&signer(Use::Log).verifier()), Signed::No);
    }

    #[test]
    fn what_is_signed_verifies_and_nothing_else() {
        for using in [Use::Log, Use::Witness] {
            let signer = signer(using);
            let line = match using {
                Use::Log => signer.line("a\n"),
                Use::Witness => signer.cosign("a\n", 1_700_000_000),
            };
            let note = Note::parse(format!("a\n\n{line}").as_bytes()).unwrap();
            let at = (using == Use::Witness).then_some(1_700_000_000);
            assert_eq!(note.signed_by(&signer.verifier()), Signed::Yes { at });
            let twice = Note::parse(format!("a\n\n{line}{line}").as_bytes()).unwrap();
            assert_eq!(twice.signed_by(&signer.verifier()), Signed::Forged);
            let again = Signer::parse(&signer.secret()).unwrap();
            assert_eq!(again.verifier(), signer.verifier());
            assert_eq!(Verifier::parse(&signer.verifier().to_string()), Ok(signer.verifier()));
        }
        assert_ne!(signer(Use::Log).verifier().id(), signer(Use::Witness).verifier().id());
    }

    #[test]
    fn a_secret_never_prints() {
        let signer = signer(Use::Log);
        let secret = signer.secret();
        let key = secret.rsplit('+').next().unwrap().trim();
        assert!(!format!("{signer:?}").contains(key));
    }

    #[test]
    fn malformed_notes_and_keys_are_refused() {
        for bad in [
            "",
            "a\n",
            "a\n\n",
            "a\n\n— n AAAA",
            "a\n\n— n AAAA\n",
            "a\n\n— n\n",
            "\u{7}\n\n— n AAAAAAAA\n",
        ] {
            assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for bad in [
            "",
            "a+b",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "a+00000000+AA==",
        ] {
            assert!(Verifier::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Signer::parse("PRIVATE+KEY+a+00000000+AA==").is_err());
    }
}
