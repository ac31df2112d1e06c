//! `tests/bench/log`: the log against SQLite, append by append on the same disk, and how fast a log of a
//! million entries is verified beside nothing but SHA-256 over its bytes.
//!
//! An append is durable when the call returns: ours is a write, an fdatasync, the tree and an Ed25519
//! signature over it; SQLite's is a transaction in WAL mode with `synchronous=FULL`, which is an fsync of
//! the WAL. Both write the same entries. They take turns, and the medians are compared.

// A benchmark times, and works on files; that is its purpose.
#![allow(clippy::disallowed_methods)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    time::Instant,
};

use agent::{
    audit::verify::{Trust, verify},
    host::{Clock, Now, clock::Within},
    log::{Entry, Fact, ReadBack, Stamp, Who, merkle},
    store::{
        Store,
        disk::{Access, Disk, keys::Keys},
        shelf::Shelf,
    },
};
use playbooks::{Name, Value};
use sha2::{Digest, Sha256};

/// Each side takes so many turns.
const ROUNDS: usize = 7;
/// Durable appends in a turn.
const APPENDS: usize = 200;
const GROUP: usize = 64;
/// Batches in which the large log is written.
const BATCH: u64 = 4096;

fn main() {
    let entries = env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let here = env::current_exe().expect("this program's path");
    let build = here.parent().expect("the build's directory").to_owned();
    let root = env::var_os("NICMEND_BENCH_DIR").map_or(build, PathBuf::from);
    let scratch = root.join(format!("bench-log-{}", process::id()));
    fs::create_dir_all(&scratch).expect("a directory to work in");
    println!(
        "{} bytes an entry; {ROUNDS} turns of {APPENDS} durable appends a side",
        entry(0).len()
    );
    for batch in [1, GROUP] {
        appends(&scratch, batch);
    }
    large(&scratch, entries);
    fs::remove_dir_all(&scratch).expect("clean up");
}

/// An entry as a run writes them most: a write with its read-back.
fn entry(n: u64) -> Vec<u8> {
    let at = Now {
        utc_ns: 1_767_576_600_000_000_000 + n as i64 * 1000,
        mono_ns: 60_000_000_000 + n * 1000,
        boot_id: "5f0c9a1e-0000-4000-8000-000000000001".to_owned(),
    };
    let clock = Clock {
        synchronised: true,
        by: Some("chronyd (stratum 2)".to_owned()),
        error_ns: Some(21_000),
        error_ns_max: Some(1_500_000),
        within_100us: Within::Yes,
    };
    let stamp = Stamp { at, epoch: 7, who: Who::uid(0), host: "trade1".to_owned(), clock };
    let name = Name::try_from("ring.rx").expect("a setting");
    let value = Value::Number(4096);
    let back = ReadBack { name, asked: value.clone(), got: Some(value), fault: None };
    let fact = Fact::Wrote { stage: 0, results: vec![back], nanoseconds: 12_345 };
    Entry::new(n, &stamp, Some("20260105T013000Z-1f3a"), fact).encode().expect("an entry")
}

fn appends(scratch: &Path, batch: usize) {
    let state = scratch.join(format!("log-{batch}"));
    let disk = Disk::open(&state, Access::Write).expect("a log");
    let mut rival = rival::Rival::open(&scratch.join(format!("rival-{batch}.sqlite")));
    let (mut ours, mut theirs, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let floor = scratch.join(format!("bare-{batch}"));
    let mut n = 0;
    for _ in 0..ROUNDS {
        let groups: Vec<Vec<Vec<u8>>> = (0..APPENDS as u64)
            .map(|group| (0..batch as u64).map(|k| entry(n + group * batch as u64 + k)).collect())
            .collect();
        ours.push(rate(batch, || {
            for group in &groups {
                disk.append(group).expect("append");
                disk.sync().expect("sync");
            }
        }));
        theirs.push(rate(batch, || groups.iter().for_each(|group| rival.append(group))));
        bare.push(rate(batch, || bare_appends(&floor, &groups)));
        n += (APPENDS * batch) as u64;
    }
    let (ours, theirs, bare) = (median(ours), median(theirs), median(bare));
    println!(
        "batch {batch:>2}: nicmend {ours:>8.0} entries/s durable, SQLite {theirs:>8.0} \
         ({:.2} times), bare write and fdatasync {bare:>8.0}",
        ours / theirs
    );
}

/// What the disk itself allows: a growing file, one write and one fdatasync an append.
fn bare_appends(path: &Path, groups: &[Vec<Vec<u8>>]) {
    use std::io::Write;
    let mut file = fs::File::options().create(true).append(true).open(path).expect("a file");
    for group in groups {
        file.write_all(&agent::store::bundle::encode(group)).expect("write");
        file.sync_data().expect("sync");
    }
}

/// Entries a second.
fn rate(batch: usize, work: impl FnOnce()) -> f64 {
    let before = Instant::now();
    work();
    (APPENDS * batch) as f64 / before.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn large(scratch: &Path, entries: u64) {
    let state = scratch.join("large");
    let disk = Disk::open(&state, Access::Write).expect("a log");
    let before = Instant::now();
    let mut bytes = 0_usize;
    for from in (0..entries).step_by(BATCH as usize) {
        let batch: Vec<Vec<u8>> = (from..entries.min(from + BATCH)).map(entry).collect();
        bytes += batch.iter().map(Vec::len).sum::<usize>();
        disk.append(&batch).expect("append");
        disk.sync().expect("sync");
    }
    drop(disk);
    let written = before.elapsed().as_secs_f64();
    println!("{entries} entries, {} MB, written in {written:.1} s", bytes >> 20);
    let shelf = Shelf::new(&state.join("log"), &[]);
    // No command says here that there is a first key; it lies beside the log.
    let key = Keys::of_log(&state.join("keys")).load().expect("a key").expect("a key").verifier();
    let trust = Trust { published: vec![key], ..Trust::default() };
    let mut rates = Vec::new();
    for _ in 0..5 {
        let before = Instant::now();
        let report = verify(&shelf, &trust).expect("a log");
        rates.push(entries as f64 / before.elapsed().as_secs_f64());
        assert_eq!((report.entries, report.signed), (entries, entries));
        assert!(report.is_whole(), "{:?}", report.findings);
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (mean, verified) = (bytes as f64 / entries as f64, median(rates));
    let raw = (0..5).map(|_| sha256_bytes_a_second(64 << 10)).fold(0.0, f64::max);
    let tree = (0..5).map(|_| hashes_a_second(mean as usize)).fold(0.0, f64::max);
    println!("verify: {verified:.0} entries/s on {cpus} CPUs, {:.0} MB/s", verified * mean / 1e6);
    println!(
        "        SHA-256 alone, one CPU: {:.0} MB/s in one piece; {tree:.0} leaves and nodes/s of this \
         size, so {:.2} of what {cpus} CPUs could hash",
        raw / 1e6,
        verified / (tree * cpus as f64)
    );
}

fn sha256_bytes_a_second(length: usize) -> f64 {
    let block = vec![7_u8; length];
    let before = Instant::now();
    let mut all = 0_u64;
    while before.elapsed().as_millis() < 200 {
        all += u64::from(std::hint::black_box(Sha256::digest(&block))[0] & 1) + length as u64;
    }
    all as f64 / before.elapsed().as_secs_f64()
}

/// One leaf and one node: what each entry costs at the least.
fn hashes_a_second(length: usize) -> f64 {
    let entry = vec![7_u8; length];
    let mut root = merkle::empty();
    let mut count = 0_u64;
    let before = Instant::now();
    while before.elapsed().as_millis() < 200 {
        for _ in 0..1000 {
            root = merkle::node(&root, &merkle::leaf(std::hint::black_box(&entry)));
        }
        count += 1000;
    }
    std::hint::black_box(root);
    count as f64 / before.elapsed().as_secs_f64()
}

mod rival {
    use std::path::Path;

    use rusqlite::{Connection, params};

    /// A table of entries in SQLite, as durable as ours.
    pub(crate) struct Rival(Connection);

    impl Rival {
        pub(crate) fn open(path: &Path) -> Rival {
            let connection = Connection::open(path).expect("a database");
            let mode: String =
                connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).expect("WAL");
            assert_eq!(mode, "wal");
            connection.pragma_update(None, "synchronous", "FULL").expect("FULL");
            connection
                .execute("CREATE TABLE log (seq INTEGER PRIMARY KEY, entry BLOB NOT NULL)", [])
                .expect("a table");
            Rival(connection)
        }

        /// One transaction.
        pub(crate) fn append(&mut self, group: &[Vec<u8>]) {
            let transaction = self.0.transaction().expect("begin");
            {
                let mut insert = transaction
                    .prepare_cached("INSERT INTO log (entry) VALUES (?1)")
                    .expect("insert");
                for entry in group {
                    insert.execute(params![entry]).expect("insert");
                }
            }
            transaction.commit().expect("commit");
        }
    }
}
