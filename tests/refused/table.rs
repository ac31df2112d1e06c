//! A table of firmware stages that are refused, on the simulated card, with a state directory on a real
//! disk.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent::{
    firmware::images,
    host::sim::{Machine, Sim, SimMeter},
    law::Law,
    log::RunState,
    runs::{
        self, Apply, Declined, Desk, Exit, Meters, Outcome,
        choose::Offer,
        hazards::{Overrides, Terms},
    },
    store::{
        Store,
        disk::{Access, Disk},
    },
};
use firmware_catalog::{
    Catalog,
    catalog::{Part, SiteFile},
    firmware::SIGNATURE_NAMESPACE,
};
use policy::sshsig::{People, Revoked};
use tests::{
    firmware::{MENDS, image, quiet_machine},
    programs_or_skip,
};

use crate::{
    keys::{Scratch, public},
    tree,
};

const MODEL: &str = "ConnectX-4 Lx";
const BOARD: &str = "MT_2420110034";
const RUNNING: &str = "14.32.1010";
const GOLDEN: &str = "14.31.1014";

/// One entry of the site's catalog. Its image is [`image`]'s bytes.
#[derive(Clone)]
struct Entry {
    version: &'static str,
    board: &'static str,
    state: &'static str,
    signature: Option<Vec<u8>>,
    /// Whether the entry says how long the image is.
    sized: bool,
}

impl Entry {
    fn new(version: &'static str, state: &'static str) -> Entry {
        Entry { version, board: BOARD, state, signature: None, sized: true }
    }

    fn yaml(&self) -> String {
        let known = images::image_of(&image(self.version, self.board));
        let bytes = if self.sized { format!(", bytes: {}", known.bytes) } else { String::new() };
        let signature = self.signature.as_ref().map_or_else(String::new, |signature| {
            let text = String::from_utf8_lossy(signature).replace('\n', "\\n");
            format!(", signature: \"{text}\"")
        });
        format!(
            "  - {{ model: \"{MODEL}\", boards: [{}], version: \"{}\", state: {}, note: test, source: test, \
             image: {{ file: fw.bin, sha256: {}{bytes}{signature} }} }}\n",
            self.board, self.version, self.state, known.sha256
        )
    }
}

/// What looks like a signature and is none.
const NONSENSE: &[u8] = b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----";

/// Who signs, and what they signed.
struct Signers {
    scratch: Scratch,
    vendor: PathBuf,
    stranger: PathBuf,
}

impl Signers {
    fn new(test: &str) -> Signers {
        let scratch = Scratch::new(&format!("{test}-keys"));
        let vendor = scratch.key("vendor", &["ed25519"], "");
        let stranger = scratch.key("stranger", &["ed25519"], "");
        Signers { scratch, vendor, stranger }
    }

    /// The entry, signed by this key in this namespace, as if it were of `version`.
    fn signed(&self, key: &Path, namespace: &str, version: &'static str) -> Entry {
        self.sign(Entry::new(GOLDEN, "golden"), key, namespace, version)
    }

    fn sign(&self, entry: Entry, key: &Path, namespace: &str, version: &'static str) -> Entry {
        let signature = Some(self.scratch.sign(key, namespace, &message(version), &[]));
        Entry { signature, ..entry }
    }

    /// The entry of what runs, signed by this key as if it were of `version`.
    fn signed_back(&self, key: &Path, version: &'static str) -> Entry {
        self.sign(Entry::new(RUNNING, "good"), key, SIGNATURE_NAMESPACE, version)
    }

    /// `allowed_signers`, where the vendor's key is for these namespaces.
    fn registry(&self, namespaces: &str) -> People {
        let line = format!("vendor {namespaces} {}\n", public(&self.vendor));
        People::parse(line.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"))
    }
}

/// What is signed of this version's entry.
fn message(version: &'static str) -> Vec<u8> {
    let unsigned = catalog(&[Entry::new(version, "golden")], "");
    let release = unsigned.golden(MODEL, Some(BOARD)).expect("a golden version");
    release.signed_message().expect("it has an image")
}

fn catalog(entries: &[Entry], more: &str) -> Catalog {
    let entries: String = entries.iter().map(Entry::yaml).collect();
    let text = format!("version-scheme: mlx5\nfirmware:\n{entries}{more}");
    let (path, part) = ("firmware/test.yaml".to_owned(), Part::Firmware);
    let file = SiteFile { path, part, text: text.clone().into_bytes() };
    Catalog::with_site(&[file]).unwrap_or_else(|bad| panic!("{text}\n{bad:?}"))
}

/// One request: a machine, a catalog, a store, and a playbook. As it is made, it commits.
struct Row {
    machine: Machine,
    golden: Entry,
    /// Of what runs: the way back.
    running: Entry,
    minimum: &'static str,
    playbook: String,
    people: People,
    revoked: Revoked,
    doubt: Option<String>,
    /// Why nobody can see what is stored.
    unread: Option<String>,
    /// What is done to the state directory once the images are in it, given the path of the golden one
    /// and of the one that runs.
    spoil: fn(&Path, &Path),
}

impl Row {
    fn new() -> Row {
        let machine = quiet_machine();
        Row {
            machine,
            golden: Entry::new(GOLDEN, "golden"),
            running: Entry::new(RUNNING, "good"),
            minimum: "",
            playbook: MENDS.to_owned(),
            people: People::default(),
            revoked: Revoked::default(),
            doubt: None,
            unread: None,
            spoil: |_, _| (),
        }
    }

    fn asking_for(version: &str) -> Row {
        let playbook = MENDS.replace("version: golden", &format!("version: {version}"));
        Row { playbook, ..Row::new() }
    }

    fn spoilt(spoil: fn(&Path, &Path)) -> Row {
        Row { spoil, ..Row::new() }
    }

    fn played(&self, scratch: &Scratch) -> Result<RunState, Declined> {
        let state = scratch.path().join("state");
        let _ = fs::remove_dir_all(&state);
        let disk = Disk::open(&state, Access::Write).expect("a state directory");
        let running = self.running.clone();
        for entry in [&self.golden, &running] {
            images::import(&disk, &image(entry.version, entry.board)).expect("room");
        }
        let path = |entry: &Entry| {
            let known = images::image_of(&image(entry.version, entry.board));
            state.join(images::blob(&known.sha256))
        };
        (self.spoil)(&path(&self.golden), &path(&running));
        let stored = [&self.golden, &running].into_iter().filter_map(|entry| {
            let known = images::image_of(&image(entry.version, entry.board));
            let metadata = fs::symlink_metadata(path(entry)).ok().filter(|found| found.is_file());
            metadata.map(|found| agent::plan::firmware::Image { bytes: found.len(), ..known })
        });
        let offer = Offer {
            registry: agent::approvals::Registry {
                people: self.people.clone(),
                revoked: self.revoked.clone(),
                digest: None,
            },
            doubt: self.doubt.clone(),
            images: stored.collect(),
            unread: self.unread.clone(),
            no_way_back: false,
        };
        // What opening it for writing does is no part of the request.
        disk.seal().expect("it can be signed");
        let (sim, before) = (Arc::new(Sim::new(self.machine.clone())), tree(&state));
        let machine = sim.machine();
        let told = self.applied(
            &sim,
            &disk,
            offer,
            catalog(&[self.golden.clone(), running], self.minimum),
        );
        if told.is_err() {
            assert!(sim.machine() == machine, "the machine was written to: {told:?}");
            assert_eq!(tree(&state), before, "the state directory was written to: {told:?}");
        }
        told
    }

    fn applied(
        &self,
        sim: &Arc<Sim>,
        disk: &Disk,
        firmware: Offer,
        catalog: Catalog,
    ) -> Result<RunState, Declined> {
        let request = Apply {
            hazards: Terms { catalog, overrides: Overrides::All },
            firmware,
            ..Apply::plain(
                playbooks::parse::parse(self.playbook.as_bytes()).expect("a playbook"),
                "eth1",
                Some("192.0.2.2:862".to_owned()),
            )
        };
        let mut meter = SimMeter::new(Arc::clone(sim), "eth1", 7);
        let law = Law::shipped(0);
        let epoch = disk.epoch()?;
        let (stop, tell) = (|| None, |_: &_| ());
        let desk = Desk {
            host: &**sim,
            store: disk,
            epoch,
            uid: 0,
            law: &law,
            stop: &stop,
            tell: &tell,
            reach: &agent::measure::Nowhere,
        };
        match runs::apply(&desk, &request, Meters::alone(&mut meter))? {
            Outcome::Ran(record) => Ok(record.state),
            Outcome::AlreadyRight(_) => panic!("nothing to do"),
        }
    }
}

/// The same length, other bytes.
fn alter(path: &Path) {
    let mut bytes = fs::read(path).expect("the image");
    bytes[0] ^= 1;
    fs::write(path, bytes).expect("alter it");
}

fn cut(path: &Path) {
    let bytes = fs::read(path).expect("the image");
    fs::write(path, &bytes[..bytes.len() - 1]).expect("cut it");
}

/// A card that runs one version and stores another.
fn pending() -> Machine {
    let mut machine = Row::new().machine;
    for nic in &mut machine.nics {
        let stored = [("fw.version".to_owned(), "14.32.1900".to_owned())].into();
        nic.pci.as_mut().expect("a PCI function").stored = stored;
    }
    machine
}

/// A file that the kernel would find before the image of this version.
fn shadowed(version: &'static str) -> Machine {
    let mut machine = Row::new().machine;
    let known = images::image_of(&image(version, BOARD));
    let path = format!("/lib/firmware/updates/nicmend/{}", known.sha256);
    machine.files.insert(path, "other".to_owned());
    machine
}

/// A port that a guest or another driver has.
fn unseen() -> Machine {
    let mut machine = Row::new().machine;
    let class = "/sys/bus/pci/devices/0000:3b:00.2/class".to_owned();
    machine.files.insert(class, "0x020000\n".to_owned());
    machine
}

/// Name, request, the rule that refuses it, the exit code, a part of its words.
type Case = (&'static str, Row, &'static str, Exit, &'static str);

fn by_the_catalog() -> Vec<Case> {
    let (wrong, refused) = (Exit::Wrong, Exit::Refused);
    let of = |golden: Entry| Row { golden, ..Row::new() };
    let entry = || Entry::new(GOLDEN, "golden");
    let minimum =
        "minimum:\n  - { model: \"ConnectX-4 Lx\", version: \"14.32.0\", source: test }\n";
    let blocked = Row { golden: Entry::new(GOLDEN, "blocked"), ..Row::asking_for(GOLDEN) };
    let below = Row { minimum, ..Row::new() };
    let nobodys = Row { doubt: Some("allowed_signers: 1 error".to_owned()), ..Row::new() };
    let board = of(Entry { board: "MT_0000000359", ..entry() });
    let busy = Row { machine: pending(), ..Row::new() };
    let guests = Row { machine: unseen(), ..Row::new() };
    let first = Row { machine: shadowed(GOLDEN), ..Row::new() };
    let first_back = Row { machine: shadowed(RUNNING), ..Row::new() };
    let path = "firmware-search-path";
    vec![
        ("another file is found first", first, path, refused, "/lib/firmware/updates/nicmend/"),
        ("… of the way back", first_back, path, refused, "/lib/firmware/updates/nicmend/"),
        ("wrong board", board, "firmware-board", refused, "this board is MT_2420110034"),
        ("wrong branch", Row::asking_for("20.31.1014"), "firmware-branch", refused, "ConnectX-6's"),
        (
            "unknown branch",
            Row::asking_for("99.1.1"),
            "firmware-branch",
            refused,
            "no known model's",
        ),
        ("no version", Row::asking_for("latest"), "firmware-version", wrong, "latest"),
        ("blocked", blocked, "firmware-blocked", refused, "is blocked"),
        ("below the minimum", below, "firmware-minimum", refused, "below 14.32.0"),
        ("signers in doubt", nobodys, "firmware-signature", refused, "1 error"),
        ("an update waits", busy, "firmware-pending", refused, "14.32.1900"),
        ("a port unseen", guests, "firmware-device", refused, "0000:3b:00.2"),
    ]
}

fn by_the_image() -> Vec<Case> {
    let (wrong, refused) = (Exit::Wrong, Exit::Refused);
    let unsized_ = |spoil| Row {
        golden: Entry { sized: false, ..Entry::new(GOLDEN, "golden") },
        ..Row::spoilt(spoil)
    };
    let rule = "firmware-image";
    let gone = Row::spoilt(|golden, _| fs::remove_file(golden).expect("remove it"));
    let linked = Row::spoilt(|golden, running| {
        fs::remove_file(golden).expect("remove it");
        symlink(running, golden).expect("a link in its place");
    });
    let huge = Row::spoilt(|golden, _| {
        let file = fs::OpenOptions::new().write(true).open(golden).expect("the image");
        file.set_len(2 << 30).expect("a hole of 2 GiB");
    });
    let cut_back = Row::spoilt(|_, running| cut(running));
    let huge_back = Row::spoilt(|_, running| {
        let file = fs::OpenOptions::new().write(true).open(running).expect("the image");
        file.set_len(2 << 30).expect("a hole of 2 GiB");
    });
    let unread = Some("list /var/lib/nicmend/firmware: Permission denied".to_owned());
    let unread = Row { unread, ..Row::spoilt(|golden, _| fs::remove_file(golden).expect("gone")) };
    vec![
        ("wrong hash", Row::spoilt(|golden, _| alter(golden)), rule, refused, "bytes digest to"),
        ("cut off", Row::spoilt(|golden, _| cut(golden)), rule, refused, "it is cut off"),
        ("cut off, no length known", unsized_(|golden, _| cut(golden)), rule, refused, "digest to"),
        ("the way back altered", Row::spoilt(|_, running| alter(running)), rule, refused, "digest"),
        ("the way back cut off", cut_back, "no-way-back", refused, "it is cut off"),
        ("the way back too long", huge_back, "no-way-back", refused, "no image of this model"),
        ("a store that cannot be read", unread, rule, Exit::Failed, "Permission denied"),
        ("2 GiB", huge, rule, refused, "no image of this model is longer"),
        ("not stored", gone, rule, wrong, "is not stored"),
        ("a link in the store", linked, rule, wrong, "is not stored"),
    ]
}

fn by_the_signature(signers: &Signers) -> Vec<Case> {
    let named = || signers.registry("namespaces=\"nicmend-firmware\"");
    let (vendor, ours) = (signers.vendor.as_path(), SIGNATURE_NAMESPACE);
    let row = |people: People, golden: Entry| Row { people, golden, ..Row::new() };
    let revoked = Revoked::parse(public(vendor).as_bytes()).expect("a list of keys");
    let good = || signers.signed(vendor, ours, GOLDEN);
    let forged = Entry { signature: Some(NONSENSE.to_vec()), ..Entry::new(GOLDEN, "golden") };
    let open = || signers.registry("");
    let of_a_plan = || signers.registry("namespaces=\"nicmend-plan\"");
    let moved = || signers.signed(vendor, ours, RUNNING);
    let strange = || signers.signed(&signers.stranger, ours, GOLDEN);
    let elsewhere = || signers.signed(vendor, "nicmend-plan", GOLDEN);
    let entry = || Entry::new(GOLDEN, "golden");
    let rows = [
        ("unsigned where the site signs", row(named(), entry()), "this site signs its firmware"),
        ("nonsense in its armour", row(named(), forged), "not an SSH signature"),
        ("signed by a stranger", row(named(), strange()), "is nobody's"),
        ("signed, and nobody is known", row(People::default(), good()), "is nobody's"),
        ("signed for something else", row(open(), elsewhere()), "not for `nicmend-firmware`"),
        ("a key for something else", row(of_a_plan(), good()), "may not sign"),
        ("another version's signature", row(named(), moved()), "does not fit"),
        ("a revoked key", Row { revoked, ..row(named(), good()) }, "is revoked"),
    ];
    let case = |(name, row, words)| (name, row, "firmware-signature", Exit::Refused, words);
    let forward = rows.into_iter().map(case);
    // The way back is held to the same.
    let back = |people, running| Row { running, ..row(people, good()) };
    let unsigned = back(named(), Entry::new(RUNNING, "good"));
    let strange = back(open(), signers.signed_back(&signers.stranger, RUNNING));
    let moved = back(named(), signers.signed_back(vendor, GOLDEN));
    let rows = [
        ("the way back unsigned where the site signs", unsigned, "this site signs its firmware"),
        ("the way back signed by a stranger", strange, "is nobody's"),
        ("the way back with another version's signature", moved, "does not fit"),
    ];
    let case = |(name, row, words)| (name, row, "no-way-back", Exit::Refused, words);
    forward.chain(rows.into_iter().map(case)).collect()
}

#[test]
fn what_does_not_fit_is_refused_with_nothing_written() {
    let name = "what_does_not_fit_is_refused_with_nothing_written";
    if !programs_or_skip(name, &["ssh-keygen"]) {
        return;
    }
    let (scratch, signers) = (Scratch::new("refused"), Signers::new("refused"));
    let mut cases = by_the_catalog();
    cases.extend(by_the_image());
    cases.extend(by_the_signature(&signers));
    for (name, row, rule, exit, words) in cases {
        let declined = match row.played(&scratch) {
            Ok(state) => panic!("{name}: it ran and ended {state:?}"),
            Err(declined) => declined,
        };
        println!("{name}: {} ({:?}): {}", declined.rule, declined.exit, declined.why);
        assert_eq!((declined.rule.as_str(), declined.exit), (rule, exit), "{name}: {declined}");
        assert!(declined.why.contains(words), "{name}: {declined}");
    }
}

/// The same requests with nothing wrong about them: the table above refuses for the reason that it names.
#[test]
fn what_fits_is_flashed() {
    if !programs_or_skip("what_fits_is_flashed", &["ssh-keygen"]) {
        return;
    }
    let (scratch, signers) = (Scratch::new("fits"), Signers::new("fits"));
    let signed = signers.signed(&signers.vendor, SIGNATURE_NAMESPACE, GOLDEN);
    let named = signers.registry("namespaces=\"nicmend-firmware\"");
    let open = signers.registry("");
    let message = message(GOLDEN);
    let signature = signed.signature.as_ref().expect("it is signed");
    let signer = format!("vendor {}\n", public(&signers.vendor));
    let verified =
        signers.scratch.verified(&signer, "vendor", SIGNATURE_NAMESPACE, &message, signature);
    assert!(verified, "OpenSSH takes the signature");
    let back = signers.signed_back(&signers.vendor, RUNNING);
    for row in [
        Row::new(),
        Row { golden: signed.clone(), running: back, people: named, ..Row::new() },
        Row { golden: signed, people: open.clone(), ..Row::new() },
        // Somebody who may sign anything is not yet a site that signs its firmware.
        Row { people: open, ..Row::new() },
    ] {
        assert_eq!(row.played(&scratch), Ok(RunState::Committed));
    }
}
