//! `tests/bench/inventory`: one `nicmend inventory --json` against the `ethtool` calls that print
//! the same, side by side on 1, 16 and 256 veth NICs in a network namespace of their own.
//!
//! Prints both times, their ratio and the cost of each NIC. Fails where nicmend is less than
//! [`RATIO_MIN`] times faster on many NICs, or where a NIC of many costs more than one of few.

// A benchmark times and starts other programs; that is its purpose.
#![allow(clippy::disallowed_methods)]

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use tests::Netns;

/// The bar, on 16 NICs and more; on a single NIC both sides are little more than starting up.
const RATIO_MIN: f64 = 20.0;
/// How much more a NIC may cost among 256 than among 16: room for a noisy machine.
const GROWTH_MAX: f64 = 1.25;
const SIZES: [usize; 3] = [1, 16, 256];
/// Both sides take turns this often; the medians are compared.
const ROUNDS: usize = 5;
/// What a person types to learn what the inventory says of one NIC; the name comes last.
const ETHTOOL: [&[&str]; 12] = [
    &[],
    &["-i"],
    &["-P"],
    &["-T"],
    &["-k"],
    &["-l"],
    &["-g"],
    &["-c"],
    &["-a"],
    &["--show-eee"],
    &["-x"],
    &["--show-priv-flags"],
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("take") {
        return take();
    }
    if !tests::root_or_skip("bench inventory")
        || !tests::programs_or_skip("bench inventory", &["ethtool", "ip", "unshare"])
    {
        return ExitCode::SUCCESS;
    }
    let ours = ours();
    println!("{} against {} ethtool calls a NIC, medians of {ROUNDS}", ours.name, ETHTOOL.len());
    println!(
        "{:>5}  {:>12}  {:>12}  {:>7}  {:>10}",
        "NICs", "nicmend", "ethtool", "ratio", "a NIC"
    );
    let rows: Vec<Row> = SIZES.iter().map(|&nics| measure(&ours, nics)).collect();
    verdict(&rows)
}

/// The program that is timed.
struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<&'static str>,
}

/// `nicmend inventory --json`, or this program doing the same where nicmend has no such command.
fn ours() -> Program {
    let here = std::env::current_exe().unwrap_or_default();
    let nicmend = here.parent().unwrap_or(Path::new(".")).join("nicmend");
    let arguments = vec!["inventory", "--json"];
    let printed = Command::new(&nicmend).args(&arguments).stderr(Stdio::null()).output();
    if printed.is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"{")) {
        return Program { name: "nicmend inventory --json".to_owned(), path: nicmend, arguments };
    }
    let name = "the library behind `nicmend inventory --json`".to_owned();
    Program { name, path: here, arguments: vec!["take"] }
}

/// Prints the inventory as JSON, as the command does.
fn take() -> ExitCode {
    let taken =
        agent::host::linux::Linux::new().and_then(|host| agent::inventory::take(&host, None));
    match taken.map(|inventory| serde_json::to_string_pretty(&inventory)) {
        Ok(Ok(json)) => {
            let _ = std::io::stdout().write_all(json.as_bytes());
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("{other:?}");
            ExitCode::FAILURE
        }
    }
}

struct Row {
    nics: usize,
    ours: Duration,
    ethtool: Duration,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ethtool.as_secs_f64() / self.ours.as_secs_f64()
    }

    fn each(&self) -> Duration {
        self.ours / u32::try_from(self.nics).unwrap_or(u32::MAX)
    }
}

/// Both sides in turn, in a namespace with exactly this many NICs. A thread's namespace ends with it.
fn measure(ours: &Program, nics: usize) -> Row {
    let row = std::thread::scope(|scope| scope.spawn(|| measure_here(ours, nics)).join());
    let row = row.expect("the measuring thread panicked; its message is above");
    println!(
        "{:>5}  {:>9.2} ms  {:>9.1} ms  {:>6.1}x  {:>7.1} us",
        row.nics,
        row.ours.as_secs_f64() * 1e3,
        row.ethtool.as_secs_f64() * 1e3,
        row.ratio(),
        row.each().as_secs_f64() * 1e6,
    );
    row
}

fn measure_here(ours: &Program, nics: usize) -> Row {
    let netns = Netns::new();
    let _far_side = veths(&netns, nics);
    let json = run(&ours.path, &ours.arguments);
    let seen = serde_json::from_slice::<agent::inventory::Inventory>(&json).expect("an inventory");
    assert_eq!(seen.nics.len(), nics, "every NIC is in the inventory");
    assert!(seen.notes.is_empty(), "nothing failed: {:?}", seen.notes);

    let (mut our_times, mut ethtool_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        run(&ours.path, &ours.arguments);
        our_times.push(start.elapsed());
        let start = Instant::now();
        for name in seen.nics.iter().map(|nic| nic.name.as_str()) {
            for arguments in ETHTOOL {
                // Some are not supported by veth: that answer is part of the inventory too.
                run(Path::new("ethtool"), &[arguments, &[name]].concat());
            }
        }
        ethtool_times.push(start.elapsed());
    }
    Row { nics, ours: median(our_times), ethtool: median(ethtool_times) }
}

/// A process that holds the namespace with the veths' other ends.
struct FarSide(Child);

impl Drop for FarSide {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn veths(netns: &Netns, nics: usize) -> FarSide {
    let sleep = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn();
    let far = FarSide(sleep.expect("unshare and sleep are installed"));
    let pid = far.0.id().to_string();
    let own = std::fs::read_link("/proc/thread-self/ns/net").expect("the kernel has namespaces");
    let theirs = format!("/proc/{pid}/ns/net");
    // Bounded: unshare(1) either moves at once or never.
    for _ in 0..1000 {
        if std::fs::read_link(&theirs).is_ok_and(|theirs| theirs != own) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for index in 0..nics {
        let (name, peer) = (format!("nm{index}"), format!("far{index}"));
        netns.run(
            "ip",
            &["link", "add", &name, "type", "veth", "peer", "name", &peer, "netns", &pid],
        );
        netns.run("ip", &["link", "set", &name, "up"]);
    }
    far
}

fn run(program: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{}: {error}", program.display())).stdout
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn verdict(rows: &[Row]) -> ExitCode {
    let mut met = true;
    for row in rows.iter().filter(|row| row.nics > 1) {
        if row.ratio() < RATIO_MIN {
            println!("FAILED: {} NICs: {:.1} times faster, not {RATIO_MIN}", row.nics, row.ratio());
            met = false;
        }
    }
    if let [.., few, many] = rows {
        let growth = many.each().as_secs_f64() / few.each().as_secs_f64();
        println!("a NIC among {} costs {growth:.2} of one among {}", many.nics, few.nics);
        if growth > GROWTH_MAX {
            println!("FAILED: not linear");
            met = false;
        }
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
