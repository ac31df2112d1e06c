//! The log's entries for people and programs: which of them, and what is known around each.

use std::collections::BTreeMap;

use super::verify::{BUNDLE_BYTES_MAX, split};
use crate::{
    fault::{Fault, Kind, Result},
    log::{Entry, Fact},
    store::{
        bundle::ENTRIES,
        shelf::{Part, Shelf},
    },
};

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// A run's id or the beginning of one.
    pub run: Option<String>,
    /// A NIC's name, or its identity.
    pub nic: Option<String>,
    /// A user id, or the name that policy knows the person by; any of these.
    pub person: Vec<String>,
    /// A kind of fact.
    pub kind: Option<String>,
    /// UTC, nanoseconds since 1970: from, and before.
    pub from_ns: Option<i64>,
    pub to_ns: Option<i64>,
}

/// An entry with what its run adds to it.
#[derive(Debug, Clone)]
pub struct Read {
    /// As it stands in the log.
    pub bytes: Vec<u8>,
    pub entry: Entry,
    /// Of the run it belongs to, by name and identity.
    pub nic: Option<(String, String)>,
}

/// Calls `each` with every entry that passes, in order, until it says no.
///
/// # Errors
/// `Gone` where a bundle is missing, `Malformed` where an entry cannot be read.
pub fn read(shelf: &Shelf, filter: &Filter, each: &mut dyn FnMut(Read) -> bool) -> Result<()> {
    let listed = shelf.list()?;
    let last = listed.parts.keys().filter_map(|part| match part {
        Part::Entries(n) => Some(*n),
        Part::Checkpoint | Part::Checkpoints | Part::Tile(..) => None,
    });
    let Some(last) = last.max() else { return Ok(()) };
    let mut nics = BTreeMap::new();
    for n in 0..=last {
        let name = Part::Entries(n).name();
        let Some(bytes) = shelf.read(Part::Entries(n), BUNDLE_BYTES_MAX)? else {
            return Err(Fault::new(Kind::Gone, format!("read {name}"), "it is missing"));
        };
        let mut seq = n * ENTRIES as u64;
        let mut rest = bytes.as_slice();
        while let Some((bytes, after)) = split(rest) {
            let entry = Entry::decode(bytes, seq)?;
            if let Some(read) = matching(entry, bytes, filter, &mut nics)
                && !each(read)
            {
                return Ok(());
            }
            (seq, rest) = (seq + 1, after);
        }
    }
    Ok(())
}

type Nics = BTreeMap<String, (String, String)>;

fn matching(entry: Entry, bytes: &[u8], filter: &Filter, nics: &mut Nics) -> Option<Read> {
    if let (Fact::Begun { nic, nic_name, .. }, Some(run)) = (&entry.fact, &entry.run) {
        nics.insert(run.clone(), (nic_name.clone(), nic.to_string()));
    }
    let nic = entry.run.as_ref().and_then(|run| nics.get(run)).cloned();
    let mut fits = filter.from_ns.is_none_or(|from| entry.at.utc_ns >= from)
        && filter.to_ns.is_none_or(|to| entry.at.utc_ns < to);
    if let Some(run) = &filter.run {
        fits &= entry.run.as_ref().is_some_and(|id| id.starts_with(run.as_str()));
    }
    if let Some(wanted) = &filter.nic {
        fits &= nic.as_ref().is_some_and(|(name, id)| name == wanted || id == wanted);
    }
    if !filter.person.is_empty() {
        fits &= entry.who.as_ref().is_some_and(|who| {
            let called = |person: &String| {
                who.principal.as_ref() == Some(person) || who.uid.to_string() == *person
            };
            filter.person.iter().any(called)
        });
    }
    if let Some(kind) = &filter.kind {
        fits &= super::words::kind(&entry.fact) == *kind;
    }
    fits.then(|| Read { bytes: bytes.to_vec(), entry, nic })
}
