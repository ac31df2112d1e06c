//! `tests/bench/apply`: eleven settings of one NIC written by `nicmend apply`, by a shell script of
//! `ethtool`, `ip` and `sysctl`, and by TuneD's profile switch, in turn, on the same veth link.
//!
//! Prints the medians. Fails where the kernel part of the run is less than [`RATIO_MIN`] times faster
//! than the script, or where the durable run costs more than [`OVERHEAD_MAX`] beyond its verification.
//! The state lies in memory, so that an fsync costs nothing and is not part of the figures.

// A benchmark times and starts other programs; that is its purpose.
#![allow(clippy::disallowed_methods)]

mod tuned;

use std::{
    fmt::Write,
    fs,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use agent::{
    log::{Fact, History, RunRecord},
    measure::Window,
    store::{
        Store,
        disk::{Access, Disk},
    },
};
use nix::mount::{MsFlags, mount};
use tests::Netns;

use tuned::TuneD;

/// The bar for the script's time over the kernel part of the run.
const RATIO_MIN: f64 = 5.0;
/// The bar for a durable run without its verification: journal, checks, writes, judging, commit.
const OVERHEAD_MAX: Duration = Duration::from_millis(5);
/// Each side takes turns this often; the medians are compared.
const ROUNDS: usize = 9;
const NIC: &str = "nm0";
const WINDOW: Duration = Duration::from_millis(300);
const HERE: &str = "10.86.3.1";
const THERE: &str = "10.86.3.2";

/// A setting with its value while tuned and its value before.
struct Row {
    name: &'static str,
    on: &'static str,
    off: &'static str,
}

/// Eleven that a veth has, all in the network namespace: none can reach the host.
const ROWS: [Row; 11] = [
    Row { name: "sysctl.net.ipv4.tcp_rmem", on: "4096 262144 8388608", off: "4096 131072 6291456" },
    Row { name: "sysctl.net.ipv4.tcp_wmem", on: "4096 65536 8388608", off: "4096 16384 4194304" },
    Row { name: "sysctl.net.ipv4.tcp_autocorking", on: "0", off: "1" },
    Row { name: "sysctl.net.ipv4.tcp_slow_start_after_idle", on: "0", off: "1" },
    Row { name: "sysctl.net.ipv4.tcp_notsent_lowat", on: "131072", off: "4294967295" },
    Row { name: "feature.tx-generic-segmentation", on: "off", off: "on" },
    Row { name: "feature.tx-tcp-segmentation", on: "off", off: "on" },
    Row { name: "feature.rx-udp-gro-forwarding", on: "on", off: "off" },
    Row { name: "channels.rx", on: "2", off: "1" },
    Row { name: "channels.tx", on: "2", off: "1" },
    Row { name: "link.tx-queue-len", on: "2000", off: "1000" },
];

#[derive(Clone, Copy, PartialEq)]
enum Side {
    On,
    Off,
}

impl Row {
    fn value(&self, side: Side) -> &'static str {
        match side {
            Side::On => self.on,
            Side::Off => self.off,
        }
    }

    fn key(&self, family: &str) -> Option<&'static str> {
        self.name.strip_prefix(family)?.strip_prefix('.')
    }
}

fn main() -> ExitCode {
    let programs = ["ethtool", "ip", "unshare", "nsenter"];
    if !tests::root_or_skip("bench apply") || !tests::programs_or_skip("bench apply", &programs) {
        return ExitCode::SUCCESS;
    }
    // A thread's namespaces end with it.
    let bench = std::thread::spawn(measure).join();
    verdict(&bench.expect("the measuring thread panicked; its message is above"))
}

/// One run's times.
struct Run {
    /// Its writes, read-backs included, as the journal has them.
    kernel: Duration,
    /// From its first journal entry to its last, less the verification.
    overhead: Duration,
    /// The process's, less the verification: with its start, the inventory and the plan.
    process: Duration,
}

struct Figures {
    runs: Vec<Run>,
    script: Vec<Duration>,
    /// `Err`: why there are none.
    tuned: Result<Vec<Duration>, String>,
}

fn measure() -> Figures {
    let netns = Netns::new();
    let work = Work::new();
    let _far_side = FarSide::start(&netns, &work);
    switch(&work, Side::Off);
    let tuned = TuneD::start(&work);
    let mut figures = Figures {
        runs: Vec::new(),
        script: Vec::new(),
        tuned: tuned.as_ref().map(|_| Vec::new()).map_err(Clone::clone),
    };
    for _ in 0..ROUNDS {
        figures.runs.push(run(&work));
        witness(Side::Off);
        figures.script.push(switch(&work, Side::On));
        witness(Side::On);
        switch(&work, Side::Off);
        if let (Ok(tuned), Ok(times)) = (&tuned, &mut figures.tuned) {
            times.push(tuned.switch(Side::On));
            witness(Side::On);
            tuned.switch(Side::Off);
        }
        witness(Side::Off);
    }
    figures
}

/// Scratch in memory, for the state and everything the sides need.
struct Work {
    dir: PathBuf,
    nicmend: PathBuf,
}

impl Work {
    fn new() -> Work {
        let dir = std::env::temp_dir().join(format!("nicmend-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("make the scratch directory");
        let none: Option<&str> = None;
        mount(none, &dir, Some("tmpfs"), MsFlags::empty(), none).expect("mount a tmpfs");
        let here = std::env::current_exe().expect("this program's path");
        let nicmend = here.with_file_name("nicmend");
        let work = Work { dir, nicmend };
        work.put("on.sh", &script(Side::On));
        work.put("off.sh", &script(Side::Off));
        work.put("playbook.yaml", &playbook());
        work
    }

    fn last_run(&self) -> RunRecord {
        let disk = Disk::open(&self.dir.join("state"), Access::Read).expect("open the state");
        let history = History::fold(&disk.entries().expect("read the log")).expect("a whole log");
        history.find("last").expect("a run").clone()
    }

    /// When this window of the run ended, nanoseconds since 1970.
    fn window_end(&self, run: &str, point: &str) -> i64 {
        let json = fs::read(self.dir.join(format!("state/runs/{run}/{point}.json")))
            .expect("read a window");
        let window: Window = serde_json::from_slice(&json).expect("a window");
        window.began_utc_ns + i64::try_from(window.length_ns).expect("a short window")
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.dir)).expect("make a directory");
        fs::write(&path, text).expect("write a file");
        path
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // The tmpfs goes with the thread's mount namespace; its mount point is left on the disk.
        let _ = nix::mount::umount2(&self.dir, nix::mount::MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.dir);
    }
}

/// What a person would write, with as few processes as the tools allow.
fn script(side: Side) -> String {
    let with = |family: &str, each: &dyn Fn(&str, &str) -> String| -> String {
        let rows = ROWS.iter().filter_map(|row| Some((row.key(family)?, row.value(side))));
        rows.map(|(key, value)| each(key, value)).collect()
    };
    let features = with("feature", &|key, value| format!(" {key} {value}"));
    let channels = with("channels", &|key, value| format!(" {key} {value}"));
    let length = with("link", &|_, value| format!(" txqueuelen {value}"));
    let sysctls = with("sysctl", &|key, value| format!(" '{key}={value}'"));
    format!(
        "set -e\nethtool -K {NIC}{features} > /dev/null\nethtool -L {NIC}{channels}\nip link set {NIC}{length}\n\
         sysctl -qw{sysctls}\n"
    )
}

fn playbook() -> String {
    let mut settings = String::new();
    for row in &ROWS {
        let value = match row.on {
            "on" => "true",
            "off" => "false",
            other => other,
        };
        let _ = writeln!(settings, "      {}: {value}", row.name);
    }
    format!(
        "apiVersion: nicmend/v1\nkind: Playbook\nmetadata:\n  name: bench-apply\n  version: 1.0.0\n  \
         summary: Eleven settings of one NIC\n  \
         references: [https://docs.kernel.org/networking/ethtool-netlink.html]\n\
         stages:\n  - name: all\n    settings:\n{settings}\
         guardrails: {{ latency.p50: {{ at-most: 500ms }}, latency.slow-ratio: {{ at-most: 100% }}, \
         latency.loss-ratio: {{ at-most: 50% }}, latency.storm-rate: {{ at-most: 1000000 }} }}\n\
         verify: {{ transport: udp, settle: 5s, window: {}ms, rate: 1000, payload: 64, patterns: [calm] }}\n",
        WINDOW.as_millis()
    )
}

/// The script, timed from its start to its end.
fn switch(work: &Work, side: Side) -> Duration {
    let file = match side {
        Side::On => "on.sh",
        Side::Off => "off.sh",
    };
    let start = Instant::now();
    let status = Command::new("sh").arg(work.dir.join(file)).status().expect("start sh");
    let took = start.elapsed();
    assert!(status.success(), "{file}: {status}");
    took
}

/// One committed run, then its revert.
///
/// Verification is to settle, to measure, and to wait for the last replies. What the candidate's window
/// takes after its end beyond what the baseline's takes there is the judging, and counts as overhead.
fn run(work: &Work) -> Run {
    let start = Instant::now();
    let told = nicmend(work, &["apply", "playbook.yaml", "--nic", NIC, "--peer", THERE]);
    let whole = start.elapsed();
    assert_eq!(told["state"], "committed", "{told:#}");
    witness(Side::On);
    let record = work.last_run();
    let at = |kind: &str| {
        let entry = record.entries.iter().rfind(|entry| named(&entry.fact) == kind);
        entry.unwrap_or_else(|| panic!("no {kind} in the log")).at.utc_ns
    };
    let tail = |point: &str, entry: i64| entry - work.window_end(&record.id, point);
    let judging = tail("stage-1", at("judged")) - tail("baseline", at("baseline"));
    let verification = (at("baseline") - at("begun")) + (at("judged") - at("wrote")) - judging;
    let time = |ns: i64| Duration::from_nanos(ns.try_into().unwrap_or(0));
    let kernel = record.entries.iter().map(|entry| match &entry.fact {
        Fact::Wrote { nanoseconds, .. } => *nanoseconds,
        _ => 0,
    });
    let kernel = Duration::from_nanos(kernel.sum());
    let overhead = time(at("committed") - at("begun") - verification);
    nicmend(work, &["revert", "last"]);
    Run { kernel, overhead, process: whole.saturating_sub(time(verification)) }
}

fn named(fact: &Fact) -> &'static str {
    match fact {
        Fact::Begun { .. } => "begun",
        Fact::Baseline { .. } => "baseline",
        Fact::Wrote { .. } => "wrote",
        Fact::Judged { .. } => "judged",
        Fact::Committed { .. } => "committed",
        _ => "",
    }
}

fn nicmend(work: &Work, arguments: &[&str]) -> serde_json::Value {
    let output = Command::new(&work.nicmend)
        .args(arguments)
        .args(["--json", "--state-dir", "state", "--run-dir", "run", "--config-dir", "etc"])
        .current_dir(&work.dir)
        .output()
        .expect("start nicmend");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nicmend {arguments:?}: {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// Each side is held to its word: the values are in the kernel, as its own tools tell them.
fn witness(side: Side) {
    let told = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().expect("start a witness");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let features = told("ethtool", &["-k", NIC]);
    for row in &ROWS {
        let expected = row.value(side);
        let found = match row.name.split_once('.').expect("family.name") {
            ("sysctl", key) => told("sysctl", &["-n", key]),
            ("feature", key) => feature(&features, key),
            ("channels", _) => queues(&told("ethtool", &["-l", NIC]), row.name),
            (_, _) => {
                fs::read_to_string(format!("/sys/class/net/{NIC}/tx_queue_len")).unwrap_or_default()
            }
        };
        let found = found.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(found, expected, "{}", row.name);
    }
}

/// `ethtool -k` shows some features under a name of its own.
fn feature(told: &str, key: &str) -> String {
    let shown = match key {
        "tx-generic-segmentation" => "generic-segmentation-offload",
        other => other,
    };
    let line = told.lines().find_map(|line| line.trim().strip_prefix(shown)?.strip_prefix(": "));
    line.unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
}

fn queues(told: &str, name: &str) -> String {
    let key = if name == "channels.rx" { "RX:" } else { "TX:" };
    let now = told.split("Current").nth(1).unwrap_or_default();
    now.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned()
}

/// The peer's namespace, with a reflector in it.
struct FarSide {
    namespace: Child,
    reflector: Child,
}

impl FarSide {
    fn start(netns: &Netns, work: &Work) -> FarSide {
        let sleep = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn();
        let namespace = sleep.expect("start unshare");
        let pid = namespace.id().to_string();
        let own = fs::read_link("/proc/thread-self/ns/net").expect("this namespace");
        let theirs = format!("/proc/{pid}/ns/net");
        // Bounded: unshare(1) either moves at once or never.
        for _ in 0..1000 {
            if fs::read_link(&theirs).is_ok_and(|theirs| theirs != own) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let ends = ["numrxqueues", "2", "numtxqueues", "2"];
        let near =
            [&["link", "add", NIC][..], &ends, &["type", "veth", "peer", "name", "far"], &ends];
        netns.run("ip", &[&near.concat()[..], &["netns", &pid]].concat());
        netns.run("ip", &["addr", "add", &format!("{HERE}/24"), "dev", NIC]);
        netns.run("ip", &["link", "set", NIC, "up"]);
        let there = ["-t", &pid, "-n", "ip"];
        for arguments in [
            &["addr", "add", &format!("{THERE}/24"), "dev", "far"][..],
            &["link", "set", "far", "up"],
            &["link", "set", "lo", "up"],
        ] {
            netns.run("nsenter", &[&there[..], arguments].concat());
        }
        let mut reflect = Command::new("nsenter");
        reflect.args(["-t", &pid, "-n"]).arg(&work.nicmend);
        reflect.args(["reflect", "--listen", &format!("{THERE}:862")]).stdout(Stdio::null());
        FarSide { namespace, reflector: reflect.spawn().expect("start the reflector") }
    }
}

impl Drop for FarSide {
    fn drop(&mut self) {
        for child in [&mut self.reflector, &mut self.namespace] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn verdict(figures: &Figures) -> ExitCode {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let of =
        |part: fn(&Run) -> Duration| median(&figures.runs.iter().map(part).collect::<Vec<_>>());
    let (kernel, overhead) = (of(|run| run.kernel), of(|run| run.overhead));
    let (process, script) = (of(|run| run.process), median(&figures.script));
    let ratio = script.as_secs_f64() / kernel.as_secs_f64();
    println!("{} settings of one veth, medians of {ROUNDS}", ROWS.len());
    println!("nicmend, writes with read-back  {:9.3} ms", ms(kernel));
    println!("shell script                    {:9.3} ms  {ratio:.1} times as long", ms(script));
    match &figures.tuned {
        Ok(times) => {
            let tuned = median(times);
            let ratio = tuned.as_secs_f64() / kernel.as_secs_f64();
            println!(
                "TuneD, profile switch           {:9.3} ms  {ratio:.0} times as long",
                ms(tuned)
            );
        }
        Err(why) => println!("TuneD, profile switch           not run: {why}"),
    }
    println!("nicmend, run less verification  {:9.3} ms", ms(overhead));
    println!("the same with start and plan    {:9.3} ms", ms(process));
    let mut met = true;
    if ratio < RATIO_MIN {
        println!("FAILED: the script takes {ratio:.1} times as long, not {RATIO_MIN}");
        met = false;
    }
    if overhead > OVERHEAD_MAX {
        println!(
            "FAILED: the run costs {:.3} ms beyond its verification, not {:.0}",
            ms(overhead),
            ms(OVERHEAD_MAX)
        );
        met = false;
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
