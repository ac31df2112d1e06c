//! Logs to attack: made by the real store, or by an attacker who has its key.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use agent::{
    audit::verify::{Report, Trust, verify},
    host::{Clock, Now},
    log::{
        Entry, Fact, Stamp, Who, base64,
        checkpoint::Sealed,
        note::{Signer, Use, Verifier},
    },
    store::{
        Store,
        disk::{Access, Adopted, Disk, keys::Keys},
        shelf::Shelf,
    },
};
use zeroize::Zeroizing;

/// A directory of one test's own, gone with it.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Scratch(std::env::temp_dir().join(format!("nicmend-audit-{}-{n}", std::process::id())))
    }

    /// A copy to be attacked.
    pub(crate) fn copy(&self) -> Scratch {
        let copy = Scratch::new();
        copy_tree(&self.0, &copy.0);
        copy
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.join("log").join(name)
    }

    pub(crate) fn writer(&self) -> Disk {
        Disk::open(&self.0, Access::Write).unwrap_or_else(|fault| panic!("{fault}"))
    }

    pub(crate) fn shelf(&self) -> Shelf {
        Shelf::new(&self.0.join("log"), &[])
    }

    /// What `audit verify` sees, with nothing kept elsewhere.
    pub(crate) fn verify(&self) -> Report {
        let published = Keys::of_log(&self.0.join("keys")).public().unwrap_or_default();
        self.verify_with(Trust { published, ..Trust::default() })
    }

    pub(crate) fn verify_with(&self, trust: Trust) -> Report {
        verify(&self.shelf(), &trust).unwrap_or_else(|fault| panic!("{fault}"))
    }

    pub(crate) fn checkpoint(&self) -> Sealed {
        Sealed::parse(&fs::read(self.log("checkpoint")).unwrap()).unwrap()
    }

    pub(crate) fn key(&self) -> Verifier {
        Keys::of_log(&self.0.join("keys")).load().unwrap().unwrap().verifier()
    }

    pub(crate) fn entries(&self) -> Vec<Vec<u8>> {
        Disk::open(&self.0, Access::Read).unwrap().entries().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Puts other bytes, as many, in place of the first of these in a file.
pub(crate) fn exchange(path: &Path, from: &str, to: &str) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("no `{from}` in {}", path.display()));
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    fs::write(path, bytes).unwrap();
}

/// Every file below, sorted.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

pub(crate) fn stamp(n: u64) -> Stamp {
    let at = Now {
        utc_ns: 1_767_576_600_000_000_000 + n as i64 * 1_000_000_007,
        mono_ns: 60_000_000_000 + n * 1_000_000_007,
        boot_id: "5f0c9a1e-0000-4000-8000-000000000001".to_owned(),
    };
    Stamp { at, epoch: 1, who: Who::uid(0), host: "trade1".to_owned(), clock: Clock::unknown() }
}

/// Entry number `n`: a reason that differs from its neighbours'.
pub(crate) fn entry(n: u64) -> Vec<u8> {
    let why = format!("reason {n}{}", "!".repeat((n * 7 % 40) as usize));
    Entry::new(n, &stamp(n), None, Fact::Frozen { why, uid: 0 }).encode().unwrap()
}

pub(crate) fn say(disk: &Disk, fact: Fact) {
    let seq = disk.length().unwrap();
    disk.append(&[Entry::new(seq, &stamp(seq), None, fact).encode().unwrap()]).unwrap();
}

/// What every command does first.
pub(crate) fn opened(disk: &Disk) {
    let (bytes, files) = (disk.torn().map_or(0, |torn| torn.bytes), disk.mended());
    if bytes > 0 || !files.is_empty() {
        say(disk, Fact::Mended { bytes, files });
    }
    if let Some(Adopted { from, to, root }) = disk.adopted() {
        say(disk, Fact::Adopted { from, to, root: base64::encode(&root) });
        disk.adoption_is_said();
    }
    if let Some(created) = disk.created() {
        say(disk, Fact::KeyCreated(created));
        disk.sync().unwrap();
        disk.announced().unwrap();
    }
}

/// Grows a log to `size` entries, in sessions of at most `session`.
pub(crate) fn grow(scratch: &Scratch, size: u64, session: u64) {
    loop {
        let disk = scratch.writer();
        opened(&disk);
        let from = disk.length().unwrap();
        let to = size.min(from + session);
        for batch in (from..to).collect::<Vec<_>>().chunks(37) {
            disk.append(&batch.iter().map(|n| entry(*n)).collect::<Vec<_>>()).unwrap();
            disk.sync().unwrap();
        }
        if to == size {
            return;
        }
    }
}

/// The log of a host with so many entries.
pub(crate) fn log(size: u64, session: u64) -> Scratch {
    let scratch = Scratch::new();
    grow(&scratch, size, session);
    let report = scratch.verify();
    assert!(report.is_whole(), "{:?}", report.findings);
    assert_eq!((report.entries, report.signed), (size, size));
    scratch
}

/// Another's key of the same name.
pub(crate) fn own_key(name: &str) -> Signer {
    Signer::new(name, Use::Log, &Zeroizing::new([13; 32]))
}

/// A log of exactly these entries, with tiles and checkpoints signed by this key, as an attacker who can
/// write programs makes one. `sessions` are the sizes at which it was sealed.
pub(crate) fn forged(entries: &[Vec<u8>], by: &Signer, sessions: &[u64]) -> Scratch {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let keys = scratch.0.join("keys");
    fs::create_dir_all(&keys).unwrap();
    for path in [&scratch.0, &keys] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::write(keys.join("log.key"), by.secret().as_bytes()).unwrap();
    fs::set_permissions(keys.join("log.key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(keys.join("log.pub"), format!("{}\n", by.verifier())).unwrap();
    let mut from = 0;
    for to in sessions {
        let disk = scratch.writer();
        assert_eq!(disk.unsigned(), None);
        disk.append(&entries[from..*to as usize]).unwrap();
        disk.sync().unwrap();
        from = *to as usize;
    }
    scratch
}
