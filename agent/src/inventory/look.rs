//! One look at the machine: every question is put to it once.
//!
//! Families and facts ask for the same dumps and files (the links, the queues, the host's own
//! parameters), each for itself. [`Look`] is a [`Host`] that remembers the answers, refusals
//! included, so that a look costs what the machine has and not what its readers repeat; and all of
//! them see the same moment. It lives as long as one look and forgets nothing in between.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    fault::Result,
    host::{Ask, Host, Mode, Notice, Now, Stat},
};

/// The machine as it was when first asked.
pub struct Look<'a> {
    host: &'a dyn Host,
    files: Mutex<HashMap<PathBuf, Result<String>>>,
    folders: Mutex<HashMap<PathBuf, Result<Vec<String>>>>,
    links: Mutex<HashMap<PathBuf, Result<String>>>,
    /// A few dozen different dumps at most: looked through in order.
    dumps: Mutex<Vec<(Ask, Answers)>>,
}

type Answers = Result<Vec<Vec<u8>>>;

impl<'a> Look<'a> {
    pub fn new(host: &'a dyn Host) -> Look<'a> {
        Look {
            host,
            files: Mutex::default(),
            folders: Mutex::default(),
            links: Mutex::default(),
            dumps: Mutex::default(),
        }
    }
}

impl Host for Look<'_> {
    fn read(&self, path: &Path) -> Result<String> {
        once(&self.files, path, || self.host.read(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        once(&self.folders, path, || self.host.list(path))
    }

    fn target(&self, path: &Path) -> Result<String> {
        once(&self.links, path, || self.host.target(path))
    }

    fn request(&self, ask: &Ask) -> Answers {
        match ask {
            Ask::Genl { mode: Mode::Dump, .. } | Ask::Route { mode: Mode::Dump, .. } => {
                if let Some((_, known)) = lock(&self.dumps).iter().find(|(asked, _)| asked == ask) {
                    return known.clone();
                }
                let answers = self.host.request(ask);
                lock(&self.dumps).push((ask.clone(), answers.clone()));
                answers
            }
            // Single requests are as many as there are NICs, and nobody repeats them.
            Ask::Genl { mode: Mode::Do | Mode::Create | Mode::Append | Mode::Replace, .. }
            | Ask::Route { mode: Mode::Do | Mode::Create | Mode::Append | Mode::Replace, .. }
            | Ask::Diag { .. }
            | Ask::Rdma { .. }
            | Ask::Netfilter { .. }
            | Ask::Stamping { .. }
            | Ask::Ethtool { .. } => self.host.request(ask),
        }
    }

    /// Large, and asked for once: not kept.
    fn mentions(&self, path: &Path, words: &[String]) -> Result<Vec<bool>> {
        self.host.mentions(path, words)
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        self.host.bytes(path)
    }

    fn mode(&self, path: &Path) -> Result<u32> {
        self.host.mode(path)
    }

    fn links(&self, path: &Path) -> Result<Vec<(String, String)>> {
        self.host.links(path)
    }

    fn stat(&self, path: &Path) -> Result<Stat> {
        self.host.stat(path)
    }

    fn protocol(&self, path: &Path) -> Result<String> {
        self.host.protocol(path)
    }

    fn elsewhere(&self, namespace: &Path, asks: &[Ask]) -> Result<Vec<Result<Vec<Vec<u8>>>>> {
        self.host.elsewhere(namespace, asks)
    }

    /// A look changes nothing; what is written all the same goes to the machine and is not
    /// remembered.
    fn write(&self, path: &Path, text: &str) -> Result<()> {
        self.host.write(path, text)
    }

    fn notices(&self) -> Result<Vec<Notice>> {
        self.host.notices()
    }

    fn now(&self) -> Now {
        self.host.now()
    }

    fn wait(&self, time: Duration) {
        self.host.wait(time);
    }
}

fn once<T: Clone>(
    known: &Mutex<HashMap<PathBuf, Result<T>>>,
    path: &Path,
    ask: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if let Some(known) = lock(known).get(path) {
        return known.clone();
    }
    let answer = ask();
    lock(known).insert(path.to_owned(), answer.clone());
    answer
}

/// What is remembered is whole even where a reader panicked: entries are put in at once.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
