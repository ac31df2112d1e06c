//! What other processes did meanwhile, entered in the log by its one writer: between its own entries, when it
//! opens the log, and when it ends.
//!
//! A deed's file goes when its entries are durable. A crash between the two leaves a file whose deed is entered:
//! entries name the deed that they come from, so it is not entered again, and neither is an old file that
//! somebody puts back.

use std::collections::BTreeSet;

use crate::{
    engine,
    fault::{Fault, Kind, Result},
    host::Host,
    log::{
        Entry, Fact, Who,
        deed::{self, Deed},
        fact::Entered,
    },
    store::{Fate, Handed, Store},
};

/// A refused file's name may be anything.
const NAME_CHARS_MAX: usize = 128;
/// So may what is wrong with it.
const WHY_CHARS_MAX: usize = 512;

/// What came of looking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// In words: what is in the log now.
    pub entered: Vec<String>,
    /// In words: what was no deed, and why.
    pub refused: Vec<String>,
}

impl Taken {
    pub fn is_nothing(&self) -> bool {
        self.entered.is_empty() && self.refused.is_empty()
    }
}

/// Enters what waits, durably, and takes it away. Nothing waits: nothing is written.
///
/// # Errors
/// The disk's, and `Denied` to a writer that was replaced; what was not entered waits on.
pub fn take_up(host: &dyn Host, store: &dyn Store, (epoch, who): (u64, &Who)) -> Result<Taken> {
    let waiting = store.handed_over()?;
    let mut taken = Taken::default();
    if waiting.is_empty() {
        return Ok(taken);
    }
    let now = store.epoch()?;
    if now != epoch {
        let cause = format!("epoch {now} has taken over from {epoch}");
        return Err(Fault::new(Kind::Denied, "enter what was handed over", cause));
    }
    let known = Known::of(&store.entries()?);
    let mut seq = store.length()?;
    let (mut batch, mut fates) = (Vec::new(), Vec::new());
    let stamp = engine::stamp(host, epoch, who);
    for handed in waiting {
        let (entries, fate) = match read(&handed) {
            Ok((deed, id)) if known.deeds.contains(&id) => {
                taken.entered.push(format!("{}: it was entered before", deed.words()));
                (Vec::new(), Fate::Entered)
            }
            Ok((deed, id)) => {
                taken.entered.push(deed.words());
                let entered = Entered { deed: id, at: stamp.at.clone() };
                (deed.entries(seq, epoch, &entered), Fate::Entered)
            }
            Err(why) => {
                let fact = refused(&handed, &why);
                taken.refused.push(format!("spool file {}: {why}", plain(&handed.name)));
                let said = known.refused.contains(&key(&fact));
                let entry = (!said).then(|| Entry::new(seq, &stamp, None, fact));
                (entry.into_iter().collect(), Fate::Refused)
            }
        };
        for entry in &entries {
            batch.push(entry.encode()?);
        }
        seq += entries.len() as u64;
        fates.push((handed.name, fate));
    }
    store.append(&batch)?;
    store.sync()?;
    for (name, fate) in fates {
        store.settle(&name, fate)?;
    }
    Ok(taken)
}

fn read(handed: &Handed) -> std::result::Result<(Deed, String), String> {
    let bytes = handed.found.as_ref().map_err(Clone::clone)?;
    let deed = Deed::found(&handed.name, bytes)?;
    Ok((deed, deed::id(bytes)))
}

fn refused(handed: &Handed, why: &str) -> Fact {
    let digest = handed.found.as_ref().ok().map(|bytes| deed::id(bytes));
    Fact::DeedRefused {
        file: plain(&handed.name),
        digest,
        why: why.chars().take(WHY_CHARS_MAX).collect(),
    }
}

fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).take(NAME_CHARS_MAX).collect()
}

/// A refusal, to be told from others.
fn key(fact: &Fact) -> String {
    match fact {
        Fact::DeedRefused { file, digest, why: _ } => format!("{file} {digest:?}"),
        _ => String::new(),
    }
}

/// What the log says of deeds already.
#[derive(Default)]
struct Known {
    deeds: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Known {
    fn of(entries: &[Vec<u8>]) -> Known {
        let mut known = Known::default();
        // Of a log's entries nearly none is one of these: only they are parsed.
        for (seq, bytes) in (0_u64..).zip(entries) {
            if !contains(bytes, b"\"entered\":{") && !contains(bytes, b"\"deed-refused\"") {
                continue;
            }
            let Ok(entry) = Entry::decode(bytes, seq) else { continue };
            known.deeds.extend(entry.entered.map(|entered| entered.deed));
            if matches!(entry.fact, Fact::DeedRefused { .. }) {
                known.refused.insert(key(&entry.fact));
            }
        }
        known
    }
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}
