//! SSHSIG: a signature that `ssh-keygen -Y sign` makes and `ssh-keygen -Y verify` checks, over any bytes.
//!
//! The format is OpenSSH's `PROTOCOL.sshsig`; who may sign is an `allowed_signers` file as in
//! ssh-keygen(1). Pure: the files come as bytes and the time as an argument.
//!
//! Stricter than ssh-keygen where leniency would blur who signed: one key is one person, one person one
//! name, patterns and certificate authorities name nobody.

mod key;
mod people;
mod wire;

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;

pub use key::PublicKey;
pub use people::{FILE_BYTES_MAX, People, Problem, Revoked, Signer};

use wire::Reader;

/// The largest armoured signature, in bytes: an RSA key of 8192 bits needs about 3 KiB.
pub const SIGNATURE_BYTES_MAX: usize = 8 * 1024;

const MAGIC: &[u8] = b"SSHSIG";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// Who signed `message` in this namespace, by a key that is valid at `at`.
///
/// `signature` is armoured, as `ssh-keygen -Y sign` writes it.
///
/// # Errors
///
/// Why it is nobody's signature; every doubt is one.
pub fn verify<'p>(
    people: &'p People,
    revoked: &Revoked,
    namespace: &str,
    message: &[u8],
    signature: &[u8],
    at: Timestamp,
) -> Result<&'p Signer, Refused> {
    let signature = Signature::parse(signature)?;
    if signature.namespace != namespace.as_bytes() {
        return Err(Refused::Namespace {
            found: shown(&signature.namespace),
            wanted: namespace.to_owned(),
        });
    }
    let key = &signature.key;
    if revoked.holds(key) {
        return Err(Refused::Revoked { key: key.fingerprint() });
    }
    let signer = people.by_key(key).ok_or_else(|| Refused::Nobody { key: key.fingerprint() })?;
    signer.allows(namespace, at)?;
    key.verify(&signature.signed(message), &signature.blob)?;
    Ok(signer)
}

/// Why a signature is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    #[error("not an SSH signature: {0}")]
    Malformed(String),
    #[error("signed for the namespace `{found}`, not for `{wanted}`")]
    Namespace { found: String, wanted: String },
    #[error("the hash `{0}` is not taken; sign with sha512 or sha256")]
    Hash(String),
    #[error("{0}")]
    Key(String),
    #[error("the key {key} is revoked")]
    Revoked { key: String },
    #[error("the key {key} is nobody's in the allowed signers")]
    Nobody { key: String },
    #[error("{who}'s key {key} may not sign for `{namespace}` (its namespaces=\"{allowed}\")")]
    NotFor { who: String, key: String, namespace: String, allowed: String },
    #[error("{who}'s key {key} is valid from {from} on, which is not yet")]
    NotYet { who: String, key: String, from: Timestamp },
    #[error("{who}'s key {key} expired at {at}")]
    Expired { who: String, key: String, at: Timestamp },
    #[error("the signature of {key} does not fit what was to be signed")]
    Forged { key: String },
}

/// A parsed signature; nothing in it is to be believed before [`verify`].
struct Signature {
    key: PublicKey,
    namespace: Vec<u8>,
    hash: Hash,
    /// The algorithm and its own encoding, still to be read by the key.
    blob: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha512,
}

impl Signature {
    fn parse(armoured: &[u8]) -> Result<Signature, Refused> {
        let bytes = unarmour(armoured)?;
        let mut reader = Reader::new(&bytes);
        let magic = reader.bytes(MAGIC.len())?;
        if magic != MAGIC {
            return Err(malformed("it does not begin with SSHSIG"));
        }
        let version = reader.u32()?;
        if version != 1 {
            return Err(malformed(&format!("version {version}; only 1 is known")));
        }
        let key = PublicKey::parse(reader.string()?)?;
        let namespace = reader.string()?.to_vec();
        if namespace.is_empty() {
            return Err(malformed("an empty namespace"));
        }
        // Reserved for later use: a verifier takes no notice of it, but what nobody writes is not taken.
        if !reader.string()?.is_empty() {
            return Err(malformed("its reserved field is not empty"));
        }
        let hash = match reader.string()? {
            b"sha256" => Hash::Sha256,
            b"sha512" => Hash::Sha512,
            other => return Err(Refused::Hash(shown(other))),
        };
        let blob = reader.string()?.to_vec();
        reader.end()?;
        Ok(Signature { key, namespace, hash, blob })
    }

    /// The bytes that the key signed: `PROTOCOL.sshsig`, section 3.
    fn signed(&self, message: &[u8]) -> Vec<u8> {
        let (name, digest): (&[u8], Vec<u8>) = match self.hash {
            Hash::Sha256 => (b"sha256", Sha256::digest(message).to_vec()),
            Hash::Sha512 => (b"sha512", Sha512::digest(message).to_vec()),
        };
        let mut signed = MAGIC.to_vec();
        for part in [&self.namespace[..], b"", name, &digest] {
            wire::string(&mut signed, part);
        }
        signed
    }
}

fn unarmour(armoured: &[u8]) -> Result<Vec<u8>, Refused> {
    if armoured.len() > SIGNATURE_BYTES_MAX {
        let length = armoured.len();
        return Err(malformed(&format!("{length} bytes, at most {SIGNATURE_BYTES_MAX} are read")));
    }
    let text = std::str::from_utf8(armoured).map_err(|_| malformed("not text"))?.trim();
    let inner = text
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END))
        .ok_or_else(|| malformed("no BEGIN and END SSH SIGNATURE lines around it"))?;
    let base64: String = inner.split_ascii_whitespace().collect();
    STANDARD.decode(base64).map_err(|e| malformed(&format!("base64: {e}")))
}

fn malformed(why: &str) -> Refused {
    Refused::Malformed(why.to_owned())
}

/// Foreign bytes made safe for a message.
fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 40;
    let cut = &bytes[..bytes.len().min(LONGEST)];
    let text: String = cut.escape_ascii().map(char::from).collect();
    if bytes.len() > LONGEST { format!("{text}…") } else { text }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", self.key.fingerprint())
    }
}
