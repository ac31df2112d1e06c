//! Public keys of the kinds that OpenSSH makes, and their signatures.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use super::{Refused, malformed, shown, wire::Reader};

/// The largest encoded key, in bytes: RSA with 8192 bits takes 1.1 KiB.
const KEY_BYTES_MAX: usize = 4 * 1024;

/// RSA below this is not taken (NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;

/// A public key. Equal means: the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    blob: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Ed25519(Vec<u8>),
    Ecdsa(Curve, Vec<u8>),
    Rsa {
        exponent: Vec<u8>,
        modulus: Vec<u8>,
    },
    /// In a security key, which signs beside the message what it was asked for and whether it was touched.
    SkEd25519 {
        point: Vec<u8>,
        application: Vec<u8>,
    },
    SkEcdsa {
        point: Vec<u8>,
        application: Vec<u8>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Curve {
    P256,
    P384,
}

impl Curve {
    fn of(name: &[u8], length: usize) -> Result<Curve, Refused> {
        match (name, length) {
            (b"nistp256", 65) => Ok(Curve::P256),
            (b"nistp384", 97) => Ok(Curve::P384),
            _ => Err(malformed("an ECDSA key whose curve and point do not fit")),
        }
    }

    /// Length of r and of s, in bytes.
    fn scalar(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }
}

impl PublicKey {
    /// A key as one line of text: `ssh-ed25519 AAAA…`, the first two words of a `.pub` file.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or that its kind is not taken.
    pub fn from_words(kind: &str, base64: &str) -> Result<PublicKey, Refused> {
        if base64.len() > KEY_BYTES_MAX {
            return Err(Refused::Key(format!("a key of more than {KEY_BYTES_MAX} characters")));
        }
        let blob =
            STANDARD.decode(base64).map_err(|e| Refused::Key(format!("the key's base64: {e}")))?;
        let key = PublicKey::parse(&blob)?;
        if key.kind_name() != kind {
            let (says, is) = (shown(kind.as_bytes()), key.kind_name());
            return Err(Refused::Key(format!("the line says `{says}`, the key is `{is}`")));
        }
        Ok(key)
    }

    /// A key in its wire encoding.
    pub(super) fn parse(blob: &[u8]) -> Result<PublicKey, Refused> {
        if blob.len() > KEY_BYTES_MAX {
            return Err(malformed("a key that is too large"));
        }
        let mut reader = Reader::new(blob);
        let name = reader.string()?;
        let kind = match name {
            b"ssh-ed25519" => Kind::Ed25519(ed25519(&mut reader)?),
            b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" => {
                let (curve, point) = (reader.string()?, reader.string()?);
                if name.strip_prefix(b"ecdsa-sha2-") != Some(curve) {
                    return Err(malformed("an ECDSA key whose kind and curve differ"));
                }
                Kind::Ecdsa(Curve::of(curve, point.len())?, point.to_vec())
            }
            b"ssh-rsa" => rsa(&mut reader)?,
            b"sk-ssh-ed25519@openssh.com" => {
                let point = ed25519(&mut reader)?;
                Kind::SkEd25519 { point, application: reader.string()?.to_vec() }
            }
            b"sk-ecdsa-sha2-nistp256@openssh.com" => {
                let (curve, point) = (reader.string()?, reader.string()?);
                if Curve::of(curve, point.len())? != Curve::P256 {
                    return Err(malformed("a security key whose kind and curve differ"));
                }
                Kind::SkEcdsa { point: point.to_vec(), application: reader.string()?.to_vec() }
            }
            other => return Err(Refused::Key(not_taken(other))),
        };
        reader.end()?;
        Ok(PublicKey { blob: blob.to_vec(), kind })
    }

    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }

    /// `ssh-ed25519`, as in the first word of a `.pub` file.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Ed25519(_) => "ssh-ed25519",
            Kind::Ecdsa(Curve::P256, _) => "ecdsa-sha2-nistp256",
            Kind::Ecdsa(Curve::P384, _) => "ecdsa-sha2-nistp384",
            Kind::Rsa { .. } => "ssh-rsa",
            Kind::SkEd25519 { .. } => "sk-ssh-ed25519@openssh.com",
            Kind::SkEcdsa { .. } => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// Whether `blob`, a signature in SSH's encoding, is this key's over `signed`.
    pub(super) fn verify(&self, signed: &[u8], blob: &[u8]) -> Result<(), Refused> {
        let mut reader = Reader::new(blob);
        let algorithm = reader.string()?;
        let inner = reader.string()?;
        match &self.kind {
            Kind::Ed25519(point) => {
                self.named(algorithm, &["ssh-ed25519"])?;
                reader.end()?;
                self.checked(&signature::ED25519, point, signed, inner)
            }
            Kind::Ecdsa(curve, point) => {
                self.named(algorithm, &[self.kind_name()])?;
                reader.end()?;
                self.ecdsa(*curve, point, signed, inner)
            }
            Kind::Rsa { exponent, modulus } => {
                self.named(algorithm, &["rsa-sha2-512", "rsa-sha2-256"])?;
                reader.end()?;
                let parameters = match algorithm {
                    b"rsa-sha2-512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    _ => &signature::RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(parameters, signed, inner)
                    .map_err(|_| self.forged())
            }
            Kind::SkEd25519 { point, application } => {
                self.named(algorithm, &[self.kind_name()])?;
                let signed = touched(&mut reader, application, signed)?;
                self.checked(&signature::ED25519, point, &signed, inner)
            }
            Kind::SkEcdsa { point, application } => {
                self.named(algorithm, &[self.kind_name()])?;
                let signed = touched(&mut reader, application, signed)?;
                self.ecdsa(Curve::P256, point, &signed, inner)
            }
        }
    }

    /// An algorithm that does not belong to the key: among them `ssh-rsa`, which is RSA with SHA-1.
    fn named(&self, algorithm: &[u8], known: &[&str]) -> Result<(), Refused> {
        if known.iter().any(|name| name.as_bytes() == algorithm) {
            return Ok(());
        }
        let why = format!(
            "a signature of the kind `{}` by a key of the kind `{}` is not taken; {} is",
            shown(algorithm),
            self.kind_name(),
            known.join(" or ")
        );
        Err(Refused::Key(why))
    }

    fn checked(
        &self,
        algorithm: &'static dyn signature::VerificationAlgorithm,
        point: &[u8],
        signed: &[u8],
        inner: &[u8],
    ) -> Result<(), Refused> {
        UnparsedPublicKey::new(algorithm, point).verify(signed, inner).map_err(|_| self.forged())
    }

    /// SSH writes r and s as two numbers (RFC 5656, section 3.1.2); their fixed width is what is checked.
    fn ecdsa(
        &self,
        curve: Curve,
        point: &[u8],
        signed: &[u8],
        inner: &[u8],
    ) -> Result<(), Refused> {
        let mut reader = Reader::new(inner);
        let (r, s) = (reader.positive()?, reader.positive()?);
        reader.end()?;
        let width = curve.scalar();
        let mut fixed = Vec::with_capacity(2 * width);
        for number in [r, s] {
            let padding = width.checked_sub(number.len()).ok_or_else(|| self.forged())?;
            fixed.extend(std::iter::repeat_n(0, padding));
            fixed.extend_from_slice(number);
        }
        let algorithm: &'static dyn signature::VerificationAlgorithm = match curve {
            Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED,
        };
        self.checked(algorithm, point, signed, &fixed)
    }

    fn forged(&self) -> Refused {
        Refused::Forged { key: self.fingerprint() }
    }
}

fn ed25519(reader: &mut Reader<'_>) -> Result<Vec<u8>, Refused> {
    let point = reader.string()?;
    if point.len() != 32 {
        return Err(malformed("an Ed25519 key that is not 32 bytes long"));
    }
    Ok(point.to_vec())
}

fn rsa(reader: &mut Reader<'_>) -> Result<Kind, Refused> {
    let exponent = reader.positive()?.to_vec();
    let modulus = reader.positive()?.to_vec();
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - unused;
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        let why =
            format!("RSA with {bits} bits is not taken; {RSA_BITS_MIN} to {RSA_BITS_MAX} are");
        return Err(Refused::Key(why));
    }
    Ok(Kind::Rsa { exponent, modulus })
}

/// What a security key signs: digests of the application and the message, with its flags and counter
/// between (OpenSSH's `PROTOCOL.u2f`). A signature without the touch of a person is none.
fn touched(
    reader: &mut Reader<'_>,
    application: &[u8],
    message: &[u8],
) -> Result<Vec<u8>, Refused> {
    const USER_PRESENT: u8 = 1;
    let flags = reader.bytes(1)?;
    let counter = reader.bytes(4)?;
    reader.end()?;
    if flags[0] & USER_PRESENT == 0 {
        return Err(Refused::Key("the security key was not touched for it".to_owned()));
    }
    let mut signed = Sha256::digest(application).to_vec();
    signed.extend_from_slice(flags);
    signed.extend_from_slice(counter);
    signed.extend_from_slice(&Sha256::digest(message));
    Ok(signed)
}

fn not_taken(name: &[u8]) -> String {
    let kind = shown(name);
    let taken = "ssh-ed25519, ecdsa-sha2-nistp256 and -nistp384, ssh-rsa with 2048 bits or more, and \
                 security keys are";
    match name {
        name if name.ends_with(b"-cert-v01@openssh.com") => {
            format!("certificates (`{kind}`) are not taken; list the key itself")
        }
        _ => format!("keys of the kind `{kind}` are not taken; {taken}"),
    }
}

/// For messages and tests: the key as a line of text.
impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind_name(), STANDARD.encode(&self.blob))
    }
}
