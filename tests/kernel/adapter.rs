//! Vendors' programs as a stage's way to flash and to restart: a stand-in program, run by the real door, on a
//! device without devlink of which `ethtool -i` tells the version. The rest of the machine is simulated.

// The device is a directory of the test's own, and its processes are looked for in /proc.
#![allow(clippy::disallowed_methods)]

#[path = "image/door.rs"]
mod door;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent::{
    fault::Result,
    firmware::images,
    host::{
        Ask, Bearings, Host, Notice, Now, Stat,
        linux::Linux,
        sim::{Act, Machine, Sim, SimMeter, Traffic},
    },
    law::Law,
    log::{RunRecord, RunState},
    plan::firmware::{Activation, Flash},
    runs::{
        self, Apply, Desk, Meters, Outcome,
        choose::Offer,
        hazards::{Overrides, Terms},
    },
    store::{Store, sim::SimStore},
};
use door::{alone, door};
use firmware_catalog::{
    Catalog,
    catalog::{Part, SiteFile},
};
use tests::firmware::{image, quiet_machine};

const BOARD: &str = "MT_2420110034";
const RUNNING: &str = "14.32.1010";
const GOLDEN: &str = "14.31.1014";
/// struct ethtool_drvinfo, `fw_version`.
const GDRVINFO: u32 = 0x03;
const FW_VERSION: std::ops::Range<usize> = 68..100;

const PLAYBOOK: &str = "apiVersion: nicmend/v1\nkind: Playbook\n\
    metadata: { name: to-golden, version: 1.0.0, summary: The golden firmware }\n\
    stages:\n  - { name: firmware, firmware: { version: golden, activate: nic-reset } }\n\
    guardrails: { latency.p50: { no-worse-than: 5% } }\n\
    verify: { transport: udp, settle: 5s, window: 1s, rate: 1000, payload: 64 }\n";

/// A simulated machine; its card's firmware lies in a directory, and programs and images are the real door's.
struct Bridge {
    sim: Arc<Sim>,
    door: Linux,
    device: PathBuf,
    /// Somebody renames eth1 once the image is placed.
    renames: AtomicBool,
}

impl Host for Bridge {
    fn read(&self, path: &Path) -> Result<String> {
        self.sim.read(path)
    }
    fn write(&self, path: &Path, text: &str) -> Result<()> {
        self.sim.write(path, text)
    }
    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.sim.list(path)
    }
    fn target(&self, path: &Path) -> Result<String> {
        self.sim.target(path)
    }
    fn mode(&self, path: &Path) -> Result<u32> {
        self.sim.mode(path)
    }
    fn links(&self, path: &Path) -> Result<Vec<(String, String)>> {
        self.sim.links(path)
    }
    fn stat(&self, path: &Path) -> Result<Stat> {
        self.sim.stat(path)
    }
    fn protocol(&self, path: &Path) -> Result<String> {
        self.sim.protocol(path)
    }
    fn elsewhere(&self, namespace: &Path, asks: &[Ask]) -> Result<Vec<Result<Vec<Vec<u8>>>>> {
        self.sim.elsewhere(namespace, asks)
    }
    fn request(&self, ask: &Ask) -> Result<Vec<Vec<u8>>> {
        let mut answers = self.sim.request(ask)?;
        if let (Ask::Ethtool { buffer, .. }, Some(answer)) = (ask, answers.first_mut())
            && buffer.starts_with(&GDRVINFO.to_ne_bytes())
        {
            let running = self.says("running");
            answer[FW_VERSION].fill(0);
            answer[FW_VERSION.start..][..running.len()].copy_from_slice(running.as_bytes());
        }
        Ok(answers)
    }
    fn lengthy(
        &self,
        device: &str,
        ask: &Ask,
        limit: Duration,
        heard: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<Vec<Vec<u8>>> {
        self.sim.lengthy(device, ask, limit, heard)
    }

    fn free(&self, device: &str) -> Result<()> {
        self.sim.free(device)
    }
    fn place(&self, sha256: &str, bytes: &[u8]) -> Result<String> {
        if self.renames.swap(false, Ordering::Relaxed) {
            self.sim.foreign(&Act::Rename { nic: "eth1".to_owned(), to: "swap0".to_owned() });
        }
        self.door.place(sha256, bytes)
    }
    fn shadows(&self, sha256: &str) -> Result<Vec<String>> {
        self.door.shadows(sha256)
    }
    fn still_placed(&self, sha256: &str) -> Result<()> {
        self.door.still_placed(sha256)
    }
    fn unplace(&self) -> Result<()> {
        self.door.unplace()
    }
    fn program(&self, argv: &[String], limit: Duration) -> Result<String> {
        self.door.program(argv, limit)
    }
    fn notices(&self) -> Result<Vec<Notice>> {
        self.sim.notices()
    }
    fn now(&self) -> Now {
        self.sim.now()
    }
    fn bearings(&self) -> Bearings {
        self.sim.bearings()
    }
    fn wait(&self, time: Duration) {
        self.sim.wait(time);
    }
}

impl Bridge {
    /// `None` where the door cannot be had.
    fn new(test: &str) -> Option<Bridge> {
        let door = door(test)?;
        let device = std::env::temp_dir().join(format!("nicmend-{test}-{}", std::process::id()));
        fs::create_dir_all(&device).expect("a device");
        let sim = Arc::new(Sim::new(machine()));
        let bridge = Bridge { sim, door, device, renames: AtomicBool::new(false) };
        for part in ["running", "stored"] {
            bridge.set(part, &format!("{RUNNING} ({BOARD})"));
        }
        Some(bridge)
    }

    fn says(&self, part: &str) -> String {
        fs::read_to_string(self.device.join(part)).unwrap_or_default()
    }

    fn set(&self, part: &str, text: &str) {
        fs::write(self.device.join(part), text).expect("write to the device");
    }

    /// What the tool was called with, without the device's directory.
    fn calls(&self) -> Vec<String> {
        let device = format!(" {}", self.device.display());
        self.says("calls").lines().map(|call| call.replace(&device, "")).collect()
    }

    /// A run with these times for the tool to flash and to restart, in milliseconds.
    fn run(&self, flash_ms: u64, reset_ms: u64) -> RunRecord {
        let store = SimStore::new(7);
        let stored = [GOLDEN, RUNNING]
            .map(|version| images::import(&store, &image(version, BOARD)).expect("room"));
        let offer = Offer { images: stored.to_vec(), ..Offer::default() };
        let catalog = self.catalog(flash_ms, reset_ms);
        let request = Apply {
            hazards: Terms { catalog, overrides: Overrides::All },
            firmware: offer,
            ..Apply::plain(
                playbooks::parse::parse(PLAYBOOK.as_bytes()).expect("a playbook"),
                "eth1",
                Some("192.0.2.2:862".to_owned()),
            )
        };
        let planned = runs::prepare(self, &request).expect("it can be planned").plan;
        let action = planned.stages[0].firmware.as_ref().expect("a firmware stage");
        let Flash::Adapter(flash) = &action.flash else { panic!("{action:?}") };
        let Activation::Adapter(reset) = &action.activate else { panic!("{action:?}") };
        assert_eq!((flash.timeout_ms, reset.timeout_ms), (Some(flash_ms), Some(reset_ms)));
        assert_eq!((action.leases.flash_ms, action.leases.activate_ms), (flash_ms, reset_ms));
        let mut meter = SimMeter::new(Arc::clone(&self.sim), "eth1", 7);
        let (law, epoch) = (Law::shipped(0), store.epoch().expect("an epoch"));
        let (stop, tell) = (|| None, |_: &_| ());
        let (store, law) = (&store, &law);
        let desk = Desk {
            host: self,
            store,
            epoch,
            uid: 0,
            law,
            stop: &stop,
            tell: &tell,
            reach: &agent::measure::Nowhere,
        };
        match runs::apply(&desk, &request, Meters::alone(&mut meter)).expect("a run") {
            Outcome::Ran(record) => *record,
            Outcome::AlreadyRight(_) => panic!("nothing to do"),
        }
    }

    /// The card as a site describes it: one tool flashes and restarts it.
    fn catalog(&self, flash_ms: u64, reset_ms: u64) -> Catalog {
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel/adapter/flasher");
        let (tool, device) = (tool.display(), self.device.display());
        let models = format!(
            "vendor: {{ id: \"15b3\", name: test }}\nadapters:\n  \
             - {{ name: burn, argv: [\"{tool}\", burn, \"{device}\", \"{{pci}}\", \"{{nic}}\", \"{{image}}\"], \
             timeout-ms: {flash_ms}, source: test }}\n  \
             - {{ name: reset, argv: [\"{tool}\", reset, \"{device}\", \"{{pci}}\", \"{{nic}}\"], \
             timeout-ms: {reset_ms}, source: test }}\nfamilies:\n  \
             - family: test\n    driver: mlx5_core\n    version-scheme: mlx5\n    flash: [burn]\n    \
             activate: [reset]\n    sources: [test]\n    devices:\n      \
             - {{ id: \"1015\", name: ConnectX-4 Lx, firmware-prefix: \"14.\" }}\n"
        );
        let mut firmware = "version-scheme: mlx5\nfirmware:\n".to_owned();
        for (version, state) in [(GOLDEN, "golden"), (RUNNING, "good")] {
            let known = images::image_of(&image(version, BOARD));
            firmware += &format!(
                "  - {{ model: ConnectX-4 Lx, boards: [{BOARD}], version: \"{version}\", state: {state}, \
                 source: test, image: {{ file: fw.bin, sha256: {} }} }}\n",
                known.sha256
            );
        }
        let file = |part: Part, text: String| SiteFile {
            path: format!("{}/test.yaml", part.folder()),
            part,
            text: text.into_bytes(),
        };
        let files = [file(Part::Models, models), file(Part::Firmware, firmware)];
        Catalog::with_site(&files).unwrap_or_else(|bad| panic!("{bad:?}"))
    }

    /// The device as it was, by itself and by the log's last words; nothing of ours in the firmware path.
    fn is_back(&self, record: &RunRecord) {
        assert_eq!(record.state, RunState::Reverted, "{}", record.why);
        let old = format!("{RUNNING} ({BOARD})");
        assert_eq!((self.says("running"), self.says("stored")), (old.clone(), old));
        self.is_clear();
    }

    fn is_clear(&self) {
        assert!(!Path::new("/lib/firmware/nicmend").exists(), "something is left");
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.device);
    }
}

/// Without devlink: a card's driver states no version there.
fn machine() -> Machine {
    let mut machine = quiet_machine();
    machine.traffic = Traffic::default();
    for nic in &mut machine.nics {
        let pci = nic.pci.as_mut().expect("a PCI function");
        pci.versions.clear();
        pci.serial = None;
    }
    machine
}

/// Long enough for a shell on a busy machine.
const PLENTY_MS: u64 = 600_000;

#[test]
fn a_tool_flashes_and_restarts() {
    let _alone = alone();
    let Some(bridge) = Bridge::new("a_tool_flashes_and_restarts") else { return };
    let record = bridge.run(PLENTY_MS, PLENTY_MS);
    assert_eq!(record.state, RunState::Committed, "{}", record.why);
    // The catalog says 14.31.1014, and the driver prints the board as well.
    let new = format!("{GOLDEN} ({BOARD})");
    assert_eq!((bridge.says("running"), bridge.says("stored")), (new.clone(), new.clone()));
    let firmware = record.firmware.expect("its firmware stage");
    assert_eq!(firmware.activated.as_deref(), Some(new.as_str()), "as the driver prints it");
    let sha256 = images::image_of(&image(GOLDEN, BOARD)).sha256;
    let burnt = format!("burn 0000:3b:00.0 eth1 /lib/firmware/nicmend/{sha256}");
    assert_eq!(bridge.calls(), [burnt, "reset 0000:3b:00.0 eth1".to_owned()]);
    bridge.is_clear();
}

/// The plan's name of the interface is for people: the tool is told the one that it has.
#[test]
fn a_tool_is_told_the_interface_of_that_moment() {
    let _alone = alone();
    let test = "a_tool_is_told_the_interface_of_that_moment";
    let Some(bridge) = Bridge::new(test) else { return };
    bridge.renames.store(true, Ordering::Relaxed);
    let record = bridge.run(PLENTY_MS, PLENTY_MS);
    let first = bridge.calls().into_iter().next().unwrap_or_default();
    assert!(first.starts_with("burn 0000:3b:00.0 swap0 "), "{first}: {}", record.why);
}

#[test]
fn a_tool_that_fails_or_lies_is_not_believed() {
    let _alone = alone();
    let test = "a_tool_that_fails_or_lies_is_not_believed";
    for (call, mode, words) in [
        ("burn", "fails", "the image is for another PSID (exit status 7)"),
        ("reset", "fails", "the image is for another PSID (exit status 7)"),
        ("reset", "lies", "it came back without an error, and runs 14.32.1010"),
        ("burn", "lies", "it came back without an error, and runs 14.32.1010"),
    ] {
        let Some(bridge) = Bridge::new(test) else { return };
        bridge.set(&format!("{call}.mode"), mode);
        let record = bridge.run(PLENTY_MS, PLENTY_MS);
        assert!(record.why.contains(words), "{call} {mode}: {}", record.why);
        bridge.is_back(&record);
    }
}

#[test]
fn a_tools_words_are_bounded_and_plain() {
    let _alone = alone();
    let Some(bridge) = Bridge::new("a_tools_words_are_bounded_and_plain") else { return };
    bridge.set("burn.mode", "hostile");
    let record = bridge.run(PLENTY_MS, PLENTY_MS);
    assert!(record.why.contains("exit status 1"), "{}", record.why);
    assert!(record.why.chars().all(|c| !c.is_control()), "it speaks to the terminal");
    assert!(record.why.len() < 2_000, "{} bytes of it are in the log", record.why.len());
    bridge.is_back(&record);
}

/// As it was told in the catalog, and nothing of it is left.
#[test]
fn a_tool_that_hangs_is_killed_at_its_timeout_with_its_children() {
    let _alone = alone();
    let test = "a_tool_that_hangs_is_killed_at_its_timeout_with_its_children";
    for (call, flash_ms, reset_ms) in [("burn", 5_000, PLENTY_MS), ("reset", PLENTY_MS, 5_000)] {
        let Some(bridge) = Bridge::new(test) else { return };
        bridge.set(&format!("{call}.mode"), "hangs");
        let record = bridge.run(flash_ms, reset_ms);
        let words = "it was killed after 5s; its last words: Burning FW image ...  12%";
        assert!(record.why.contains(words), "{call}: {}", record.why);
        let children = bridge.says("children");
        assert_eq!(children.lines().count(), 2, "{children}");
        for child in children.lines() {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            assert!(state.is_empty() || state.starts_with('Z'), "{child} lives on: {stat}");
        }
        bridge.is_back(&record);
    }
}
