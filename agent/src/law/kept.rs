//! The law on record: what of the site's loaded last. It stays in force where the site's files are wrong, and where
//! they are gone: a host that was configured once does not become an unconfigured one by losing a folder.

use std::collections::{BTreeMap, BTreeSet};

use playbooks::parse::Problem;
use policy::set::{self, Checked, Flaw};
use serde::{Deserialize, Serialize};

use super::{Text, Texts};
use crate::{fault::Result, store::Store};

/// Where the sources that loaded last are kept, below the state directory.
pub const GOOD: &str = "policy/good.json";
/// The version of that file's format. 1 had texts alone.
const FORMAT: u32 = 2;

/// The site's own calendars, by venue, as far as each could be read; an error where nobody knows which there are.
pub type Own = Result<BTreeMap<String, Result<Text, Flaw>>, Flaw>;

/// What loaded last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    v: u32,
    pub texts: Texts,
    /// Over the schema and the shipped policies that they were held against: another nicmend has others.
    #[serde(default)]
    schema: String,
    /// The venues that the site had calendars of its own for.
    #[serde(default)]
    calendars: BTreeSet<String>,
}

impl Kept {
    /// What is to be kept of these, which loaded. A calendar that was there before is not forgotten.
    pub fn of(texts: &Texts, own: &Own, before: Option<&Kept>) -> Kept {
        let known = before.iter().flat_map(|kept| &kept.calendars);
        let calendars = own.iter().flat_map(BTreeMap::keys).chain(known).cloned().collect();
        Kept { v: FORMAT, texts: texts.clone(), schema: schema(), calendars }
    }

    /// What was kept.
    ///
    /// # Errors
    /// What cannot be read, in words: nobody then knows what this host was told.
    pub fn read(bytes: &[u8]) -> std::result::Result<Kept, String> {
        let kept: Kept = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match kept.v {
            1..=FORMAT => Ok(kept),
            v => Err(format!("its format is {v}, this nicmend knows those up to {FORMAT}")),
        }
    }

    /// Under the writer's lock.
    pub fn write(&self, store: &dyn Store) -> Result<()> {
        // Strings: they always serialize.
        store.put(GOOD, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// Whether it was held against this nicmend's own schema.
    pub fn checked(&self) -> Checked {
        if self.schema == schema() { Checked::Before } else { Checked::Not }
    }

    /// What of it is no longer where it was read from, where that is the site's law as a whole, or what it says of
    /// itself. (A policy less is the site's own to decide, as a policy more is.)
    pub fn gone(&self, texts: &Texts) -> Option<Flaw> {
        let file = match (&self.texts.config, &texts.config) {
            (Some(was), None) => was.file.clone(),
            (None, None) if texts.policies.is_empty() => self.texts.policies.first()?.file.clone(),
            (_, Some(_)) | (None, None) => return None,
        };
        Some(missing(file))
    }

    /// The same of a venue's calendar.
    pub fn calendar_gone(&self, venue: &str) -> Option<Flaw> {
        self.calendars.contains(venue).then(|| missing(format!("{venue}.yaml")))
    }
}

fn schema() -> String {
    set::digest(&[], &BTreeSet::new())
}

fn missing(file: String) -> Flaw {
    let message = "it is not there any more, and this host was told to go by it".to_owned();
    let help = "put it back; or `nicmend policy withdraw --why TEXT`, to go by what is there now";
    let problem = Problem { line: 1, column: 1, width: 1, message, help: Some(help.to_owned()) };
    Flaw { file, problem }
}
