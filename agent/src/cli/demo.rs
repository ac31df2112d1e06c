//! `demo`: the whole job on a real kernel link, in network namespaces of its own.
//!
//! Two hosts on one veth link. This process leaves for a namespace that has no name and no mount, and
//! so does the child that plays the exchange; when they end, for whatever reason, the kernel takes
//! the link away with them. Nothing else on the machine is touched.

mod link;

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use nix::sched::{CloneFlags, unshare};

use super::{
    Common, Done,
    apply::{at_desk, probe_of},
    out, page,
    runs::RunView,
};
use crate::{
    host::{Host, linux::Linux},
    log::{RunRecord, RunState},
    measure::{
        peer::PORT,
        reflector::{Config, Reflector},
    },
    runs::{self, Apply, Declined, Exit, Meters, Outcome},
    store::disk::Disk,
};

/// The story's fault in small: a kernel parameter that strangles 64 KiB messages.
const MEND: &str = include_str!("demo/mend.yaml");
/// A well-meant change that hurts: interrupts held back for two milliseconds.
const HURT: &str = include_str!("demo/hurt.yaml");
const NIC: &str = "trade0";
const PEER_NIC: &str = "exchange0";
const ADDRESS: [u8; 4] = [192, 0, 2, 1];
const PEER: [u8; 4] = [192, 0, 2, 2];
const CRIPPLED: &str = "2304 2304 2304";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the demo's log, evidence and report are kept; a new folder under /tmp when left out.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct PeerArgs {}

pub(super) fn run(common: &Common, args: &Args) -> Done {
    if !nix::unistd::geteuid().is_root() {
        let why = "the demo makes network namespaces, and that needs root: sudo nicmend demo";
        return Err(Declined::new(Exit::Failed, "root", why));
    }
    let folder = match &args.keep {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("nicmend-demo-{}", std::process::id())),
    };
    let common = Common {
        state_dir: folder.join("state"),
        keys_dir: None,
        run_dir: folder.join("run"),
        // The host's policies are about the host: this link is nobody's.
        config_dir: folder.join("etc"),
        ..common.clone()
    };
    // Still single-threaded: the namespace is the whole process's.
    own_namespace()?;
    let mut exchange = Exchange::start()?;
    exchange.connect()?;
    let host = Linux::new()?;
    let disk = common.open_to_write()?;
    note("two hosts, one veth link, in network namespaces of their own");
    note(&format!("planting the fault: net.ipv4.tcp_rmem = {CRIPPLED}"));
    host.write(Path::new("/proc/sys/net/ipv4/tcp_rmem"), CRIPPLED)?;
    let mended = one_run(&common, &host, &disk, MEND, "a playbook that mends it")?;
    let hurt = one_run(&common, &host, &disk, HURT, "a playbook that hurts")?;
    let report = folder.join("report.html");
    let html = page::of_all(&[&mended, &hurt], &disk)?;
    std::fs::write(&report, html).map_err(|e| failed("write the report", &e))?;
    finish(&common, &[mended, hurt], &report)
}

fn finish(common: &Common, records: &[RunRecord], report: &Path) -> Done {
    if common.json {
        let runs: Vec<RunView> = records.iter().map(RunView::of).collect();
        out::json(&serde_json::json!({"runs": runs, "report": report}));
    } else {
        for record in records {
            out::line("");
            super::runs::print(record);
        }
        out::line(&format!("\nreport    {}", report.display()));
        // Every other command reads what the demo left, too.
        out::line(&format!("more      nicmend --state-dir {} runs", common.state_dir.display()));
    }
    let as_meant = matches!(
        records,
        [RunRecord { state: RunState::Committed, .. }, RunRecord { state: RunState::Reverted, .. }]
    );
    if as_meant {
        return Ok(Exit::Done);
    }
    let why = "the demo did not go as meant: one run commits, one is reverted";
    Err(Declined::new(Exit::Failed, "demo", why))
}

fn one_run(
    common: &Common,
    host: &Linux,
    disk: &Disk,
    yaml: &str,
    title: &str,
) -> Result<RunRecord, Declined> {
    out::remark("");
    out::painted("1", title, "");
    let playbook = playbooks::parse::parse(yaml.as_bytes()).map_err(|problems| {
        let words: Vec<String> = problems.iter().map(|p| p.message.clone()).collect();
        Declined::new(Exit::Failed, "playbook", words.join("; "))
    })?;
    let peer = std::net::Ipv4Addr::from(PEER).to_string();
    let request = Apply::plain(playbook, NIC, Some(peer.clone()));
    let mut probe = probe_of(host, &request, &request.nic, &peer)?;
    let outcome =
        at_desk(common, host, disk, |desk| runs::apply(desk, &request, Meters::alone(&mut probe)))?;
    match outcome {
        Outcome::Ran(record) => Ok(*record),
        Outcome::AlreadyRight(_) => {
            Err(Declined::new(Exit::Failed, "demo", "the fault was not there to be mended"))
        }
    }
}

/// The other host: a child process in its own namespace, with the reflector.
struct Exchange {
    child: Child,
    to: ChildStdin,
    from: BufReader<Box<dyn Read>>,
}

impl Exchange {
    fn start() -> Result<Exchange, Declined> {
        let program = std::env::current_exe().map_err(|e| failed("find this program", &e))?;
        let mut child = Command::new(program)
            .arg("demo-peer")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed("start the demo's other host", &e))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Declined::new(Exit::Failed, "demo", "the other host has no pipes"));
        };
        let mut exchange = Exchange { child, to, from: BufReader::new(Box::new(from)) };
        exchange.expect("unshared")?;
        Ok(exchange)
    }

    /// Makes the link, hands one end over and waits until the reflector answers there.
    fn connect(&mut self) -> Result<(), Declined> {
        link::join(NIC, PEER_NIC, self.child.id(), ADDRESS)?;
        writeln!(self.to, "linked").map_err(|e| failed("speak to the demo's other host", &e))?;
        self.expect("reflecting")
    }

    fn expect(&mut self, word: &str) -> Result<(), Declined> {
        let mut line = String::new();
        self.from.read_line(&mut line).map_err(|e| failed("hear the demo's other host", &e))?;
        if line.trim() == word {
            return Ok(());
        }
        let why = format!("the demo's other host said `{}` instead of `{word}`", line.trim());
        Err(Declined::new(Exit::Failed, "demo", why))
    }
}

impl Drop for Exchange {
    /// The child goes when its standard input ends; waiting for it keeps no zombie.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child: own namespace, address, reflector, until standard input ends.
pub(super) fn peer(_: &PeerArgs) -> Done {
    // Whatever kills the parent ends this process too, and with it the namespace.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|e| Declined::new(Exit::Failed, "demo", format!("follow the parent: {e}")))?;
    own_namespace()?;
    out::line("unshared");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|e| failed("hear the demo", &e))?;
    link::dress(PEER_NIC, PEER)?;
    let listen = std::net::SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, PORT));
    let reflector = Reflector::bind(Config::new(listen))?;
    out::line("reflecting");
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rest = String::new();
            let _ = std::io::stdin().read_line(&mut rest);
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        reflector.run(&|| ended.load(std::sync::atomic::Ordering::Relaxed))
    })?;
    Ok(Exit::Done)
}

fn own_namespace() -> Result<(), Declined> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| {
        let why = format!("make a network namespace: {} ({errno:?})", errno.desc());
        Declined::new(Exit::Failed, "demo", why)
    })
}

fn failed(act: &str, error: &std::io::Error) -> Declined {
    Declined::new(Exit::Failed, "demo", format!("{act}: {error}"))
}

fn note(text: &str) {
    out::remark(&format!("demo      {text}"));
}
