//! A witness: sees that a log only grows, says so with a signature, and remembers what it saw
//! (<https://c2sp.org/tlog-witness>, <https://c2sp.org/tlog-cosignature>).
//!
//! It belongs on another host than the log, with a key that nobody on the log's host has. It hashes the
//! whole log, not only a proof, and keeps what it signs before anybody gets the signature.

use sha2::{Digest, Sha256};

use super::{
    prove,
    verify::{Trust, verify},
};
use crate::{
    fault::{Fault, Kind, Result},
    log::{
        checkpoint::Sealed,
        merkle,
        note::{Note, Signed, Verifier},
    },
    store::{desk::WitnessDesk, shelf::Shelf},
};

/// What came of a look at a log.
#[derive(Debug, Clone)]
pub struct Cosigned {
    pub origin: String,
    /// Size of the tree that was seen before; 0 at the first look.
    pub before: u64,
    pub size: u64,
    /// The signature line.
    pub line: String,
    /// The checkpoint with the log's signature and this one.
    pub note: String,
    /// The log's first key, as this witness remembers it.
    pub key: Verifier,
}

/// Looks at a log, and cosigns its newest checkpoint.
///
/// `pinned` is the log's key; where none is given, the first look of a witness trusts what it finds, and
/// one that knows a log takes no other one without its key.
/// `seconds` is the time since 1970.
///
/// # Errors
/// `Drift` where the log is not what this witness, or the log's own key, signed before.
pub fn look(
    desk: &WitnessDesk,
    shelf: &Shelf,
    pinned: Option<&Verifier>,
    seconds: u64,
) -> Result<Cosigned> {
    let sealed = prove::newest(shelf)?;
    let origin = sealed.checkpoint.origin.clone();
    let act = format!("cosign {origin}");
    let refused = |cause: String| Fault::new(Kind::Drift, act.clone(), cause);
    let id = id_of(&origin);
    let remembered = desk.key_of(&id)?;
    if let (Some(pinned), Some(known)) = (pinned, &remembered)
        && pinned != known
    {
        return Err(refused(format!("this witness knows another key of it, {known}")));
    }
    if remembered.is_none() && pinned.is_none() && desk.knows_any()? {
        let cause = "this witness knows other logs, and never saw this one: a log that was deleted and begun \
                     anew looks like that; if it is one more log, give its key with --key";
        return Err(refused(cause.to_owned()));
    }
    let last = desk.last_of(&id)?;
    let last = match &last {
        Some(bytes) => Some(seen(desk, bytes)?),
        None => None,
    };
    let mut trust = Trust {
        pinned: pinned.or(remembered.as_ref()).cloned().into_iter().collect(),
        ..Trust::default()
    };
    if let Some(last) = &last {
        trust.checkpoints.push(("last seen".to_owned(), last.clone()));
    }
    // The very note that is cosigned, whatever lies in its place by now.
    trust.checkpoints.push(("checkpoint".to_owned(), sealed.clone()));
    let report = verify(shelf, &trust)?;
    let size = sealed.checkpoint.size;
    let before = last.as_ref().map_or(0, |last| last.checkpoint.size);
    if size < before {
        return Err(refused(format!("rolled back: size {before} was seen, now it is {size}")));
    }
    // What comes after the checkpoint is not what is cosigned.
    let concerns =
        |finding: &&super::verify::Finding| finding.entry.is_none_or(|entry| entry < size);
    if let Some(finding) = report.findings.iter().find(concerns) {
        let entry = finding.entry.map(|entry| format!(" (entry {entry})")).unwrap_or_default();
        return Err(refused(format!("{}: {}{entry}", finding.place, finding.what)));
    }
    if let Some(last) = &last {
        consistent(shelf, last, &sealed).map_err(refused)?;
    }
    let first = report.keys.first().or(pinned).cloned();
    let key = first.ok_or_else(|| refused("it names no key; give one with --key".to_owned()))?;
    let line = desk.signer().cosign(&sealed.note.text, seconds);
    let own = desk.signer().verifier();
    let note = with(&sealed.note, &line, &own).map_err(refused)?;
    // Remembered before anybody is told.
    desk.keep(&id, &key, note.as_bytes())?;
    Ok(Cosigned { origin, before, size, line, note, key })
}

/// By the protocol's own proof, too: the tiles must give one.
fn consistent(shelf: &Shelf, last: &Sealed, now: &Sealed) -> Result<(), String> {
    let (old, new) = (&last.checkpoint, &now.checkpoint);
    let proof = prove::consistency(shelf, old.size, new.size).map_err(|fault| fault.to_string())?;
    match merkle::consistent(old.size, &old.root, new.size, &new.root, &proof) {
        true => Ok(()),
        false => Err(format!("size {} is not the beginning of size {}", old.size, new.size)),
    }
}

/// What this witness kept, if it is its own.
fn seen(desk: &WitnessDesk, bytes: &[u8]) -> Result<Sealed> {
    let act = "read what this witness saw last";
    let sealed = Sealed::parse(bytes).map_err(|why| Fault::new(Kind::Malformed, act, why))?;
    match sealed.note.signed_by(&desk.signer().verifier()) {
        Signed::Yes { .. } => Ok(sealed),
        Signed::Forged | Signed::No => {
            Err(Fault::new(Kind::Malformed, act, "it is not signed by this witness"))
        }
    }
}

/// The note with the witness's line, in place of an older one of its own.
fn with(note: &Note, line: &str, own: &Verifier) -> Result<String, String> {
    let mut others = note.clone();
    others.signatures.retain(|(name, id, _)| *name != own.name || *id != own.id());
    let note = format!("{others}{line}");
    Note::parse(note.as_bytes()).map(|_| note.clone()).map_err(str::to_owned)
}

/// A log's directory at the witness.
fn id_of(origin: &str) -> String {
    Sha256::digest(origin.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
