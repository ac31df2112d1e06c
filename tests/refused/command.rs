//! The program itself: names and files that somebody could give it.

use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use agent::{
    fault::Kind,
    firmware::images,
    plan::firmware::Image,
    store::disk::{Access, Disk},
};
use nix::{sys::stat::Mode, unistd::mkfifo};

use crate::{keys::Scratch, tree};

/// What it may take of memory, KiB: far less than the file that it is given.
const MEMORY_KIB: u32 = 400 << 10;

/// `target/release/nicmend`, or what `NICMEND_BIN` names.
fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("NICMEND_BIN") {
        return PathBuf::from(named);
    }
    let own = std::env::current_exe().expect("this test's own path");
    let built = own.ancestors().nth(2).map(|folder| folder.join("nicmend"));
    built.filter(|path| path.exists()).expect("build it: cargo build --release --bin nicmend")
}

struct Host {
    scratch: Scratch,
}

impl Host {
    fn new(name: &str) -> Host {
        Host { scratch: Scratch::new(name) }
    }

    fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// The product with these arguments, in bounded memory.
    fn nicmend(&self, arguments: &[&std::ffi::OsStr]) -> Output {
        let limit = format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"");
        Command::new("sh")
            .args(["-c", &limit])
            .arg(binary())
            .args(arguments)
            .env("NICMEND_STATE_DIR", self.state())
            .env("NICMEND_RUN_DIR", self.scratch.path().join("run"))
            .env("NICMEND_CONFIG_DIR", self.scratch.path().join("etc"))
            .stdin(Stdio::null())
            .output()
            .expect("start nicmend")
    }

    fn import(&self, file: &Path) -> Output {
        self.nicmend(&["firmware".as_ref(), "import".as_ref(), "--".as_ref(), file.as_os_str()])
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_no_image_is_not_imported_and_nothing_is_written() {
    let host = Host::new("refused-import");
    let good = host.scratch.file("good.bin", tests::firmware::image("14.31.1014", "X"));
    assert_eq!(host.import(&good).status.code(), Some(0));
    let before = tree(&host.state());
    let at = |name: &str| host.scratch.path().join(name);
    let huge = fs::File::create(at("huge.bin")).expect("a file");
    huge.set_len(2 << 30).expect("a hole of 2 GiB");
    mkfifo(&at("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO");
    let _listener = UnixListener::bind(at("socket")).expect("a socket");
    symlink("loop", at("loop")).expect("a link to itself");
    symlink("/dev/zero", at("zero")).expect("a link to a device");
    host.scratch.file("empty.bin", "");
    let bad = Path::new(std::ffi::OsStr::from_bytes(b"not-utf8-\xff"));
    for (file, words) in [
        (at("huge.bin"), "2147483648 bytes"),
        (at("empty.bin"), "it is empty"),
        (at("fifo"), "no regular file"),
        (at("zero"), "no regular file"),
        (at("socket"), "import"),
        (at("loop"), "import"),
        (at(""), "no regular file"),
        (at("../../../nowhere/none"), "No such file"),
        (PathBuf::from("/dev/zero"), "no regular file"),
        (PathBuf::from("/nowhere/none"), "No such file"),
        (PathBuf::from("a\nerror: b\u{1b}[31m\rc"), "No such file"),
        (bad.to_owned(), "No such file"),
    ] {
        let output = host.import(&file);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(2), "{}: {told}", file.display());
        assert!(told.contains(words), "{}: {told}", file.display());
        assert_eq!(told.lines().count(), 1, "a name made a line of its own: {told}");
        let plain = told.trim_end().chars().all(|c| !c.is_control());
        assert!(plain, "a name speaks to the terminal: {told:?}");
        assert_eq!(tree(&host.state()), before, "{}: something was written", file.display());
    }
}

/// An odd name is nobody's business: what is stored is named by its digest alone.
#[test]
fn an_image_is_stored_by_its_digest_whatever_its_name() {
    let host = Host::new("refused-names");
    let bytes = tests::firmware::image("14.31.1014", "X");
    let known = images::image_of(&bytes);
    for name in ["..evil", "-rf", "a\nb", "log", "..\u{202e}x"] {
        let file = host.scratch.file(name, &bytes);
        let output = host.import(&file);
        assert_eq!(output.status.code(), Some(0), "{name:?}: {}", said(&output));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(printed, format!("{}  {} bytes\n", known.sha256, known.bytes));
    }
    let mut found: Vec<String> = tree(&host.state()).into_keys().collect();
    found.sort();
    let folder = host.state().join("firmware");
    let image = folder.join(&known.sha256);
    assert_eq!(found, [folder.display().to_string(), image.display().to_string()]);
}

/// What somebody put into the store by hand is no image, and is neither followed nor read.
#[test]
fn only_images_in_the_store_are_images() {
    let host = Host::new("refused-store");
    let good = host.scratch.file("good.bin", tests::firmware::image("14.31.1014", "X"));
    assert_eq!(host.import(&good).status.code(), Some(0));
    let folder = host.state().join("firmware");
    let name = |c: &str| folder.join(c.repeat(64));
    symlink("/etc/passwd", name("a")).expect("a link");
    fs::create_dir(name("b")).expect("a directory");
    mkfifo(&name("c"), Mode::S_IRUSR).expect("a FIFO");
    for odd in [name("A"), name("g"), folder.join("..x"), folder.join("e".repeat(63))] {
        fs::write(odd, "x").expect("a file");
    }
    let before = tree(&host.state());
    let listed = host.nicmend(&["firmware", "list", "--json"].map(AsRef::as_ref));
    assert_eq!(listed.status.code(), Some(0), "{}", said(&listed));
    let listed: Vec<Image> = serde_json::from_slice(&listed.stdout).expect("a JSON document");
    let known = images::image_of(&tests::firmware::image("14.31.1014", "X"));
    assert_eq!(listed, [known]);
    let disk = Disk::open(&host.state(), Access::Read).expect("the state directory");
    let absolute = good.display().to_string();
    for (sha256, kind) in [
        ("a".repeat(64), None),
        ("b".repeat(64), None),
        ("d".repeat(64), Some(Kind::Gone)),
        ("../keys/log".to_owned(), Some(Kind::Invalid)),
        (absolute, Some(Kind::Invalid)),
        (format!("{}\n", "a".repeat(63)), Some(Kind::Invalid)),
        (format!("{}\0", "a".repeat(63)), Some(Kind::Invalid)),
        (String::new(), Some(Kind::Invalid)),
    ] {
        let image = Image { sha256: sha256.clone(), bytes: 1 };
        let fault = images::load(&disk, &image).expect_err("it is none");
        assert!(kind.is_none_or(|kind| fault.kind == kind), "{sha256:?}: {fault}");
    }
    assert_eq!(tree(&host.state()), before, "something was written");
}

/// A site's catalog that names a path is refused as a whole, by whatever would have gone by it.
#[test]
fn a_catalog_that_names_a_path_is_refused_by_every_command() {
    let host = Host::new("refused-catalog");
    let folder = host.scratch.path().join("etc/catalog/firmware");
    fs::create_dir_all(&folder).expect("a catalog");
    for name in ["../../x", "/etc/shadow", "a\\nb", "a\\0b", "a\\u001b[31m", "..", "nicmend/../x"] {
        let text = format!(
            "version-scheme: mlx5\nfirmware:\n  - {{ model: ConnectX-4 Lx, version: \"14.31.1014\", state: golden, \
             source: here, image: {{ file: \"{name}\", sha256: {} }} }}\n",
            "0".repeat(64)
        );
        fs::write(folder.join("site.yaml"), text).expect("write it");
        for arguments in [
            &["catalog", "lint"][..],
            &["catalog", "check"],
            &["plan", "small-packet-latency", "--nic", "lo", "--peer", "192.0.2.1"],
            &["apply", "small-packet-latency", "--nic", "lo", "--peer", "192.0.2.1"],
        ] {
            let arguments: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
            let output = host.nicmend(&arguments);
            let told = said(&output);
            assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {told}");
            assert!(told.contains("site.yaml:3:"), "{name} {arguments:?}: {told}");
            assert!(!told.contains('\u{1b}') && !told.contains('\0'), "{told:?}");
            assert!(tree(&host.state()).is_empty(), "{arguments:?} wrote something");
        }
    }
}
