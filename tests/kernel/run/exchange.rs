//! Two hosts on one veth link, the far one a process that runs `nicmend reflect`; and the product's
//! binary, driven as a process in the near one.

#![allow(dead_code)] // of the test binaries that share this file, not all have use for all of it

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::{Netns, programs_or_skip, root_or_skip};

pub(crate) const NIC: &str = "nmrun0";
pub(crate) const FAR_NIC: &str = "nmrun1";
pub(crate) const FAR: &str = "10.98.0.2";
/// The second link, where a test asks for it.
pub(crate) const CONTROL: &str = "nmctl0";
pub(crate) const CONTROL_FAR: &str = "10.99.0.2";
/// No run of these tests is as long as this; whatever is has hung.
const PATIENCE: Duration = Duration::from_secs(60);

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Exchange {
    pub(crate) netns: Netns,
    pub(crate) reflector: Child,
    /// Of this test alone; gone with it.
    pub(crate) folder: PathBuf,
}

impl Exchange {
    /// `None` where the test cannot run; that was said aloud.
    pub(crate) fn new(test: &str) -> Option<Exchange> {
        let programs = ["ethtool", "sysctl", "setpriv", "unshare"];
        if !root_or_skip(test) || !programs_or_skip(test, &programs) {
            return None;
        }
        let netns = Netns::new();
        netns.veth(NIC, FAR_NIC, 2);
        let reflector = reflector(&netns);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("nicmend-kernel-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        netns.run("ip", &["addr", "add", "10.98.0.1/24", "dev", NIC]);
        Some(Exchange { netns, reflector, folder })
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(crate) fn playbook(&self, name: &str, text: &str) -> String {
        let file = self.folder.join(format!("{name}.yaml"));
        std::fs::write(&file, text).expect("write the playbook");
        file.display().to_string()
    }

    /// The product with these arguments, not yet started.
    pub(crate) fn nicmend(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env("NICMEND_STATE_DIR", self.state())
            .env("NICMEND_RUN_DIR", self.folder.join("run"))
            .env("NICMEND_CONFIG_DIR", self.folder.join("etc"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn apply(&self, playbook: &str) -> Command {
        self.nicmend(&["apply", playbook, "--nic", NIC, "--peer", FAR, "--json"])
    }

    /// Runs the product to its end; a run that hangs is killed and fails the test.
    pub(crate) fn done(&self, arguments: &[&str]) -> Output {
        finished(self.nicmend(arguments).spawn().expect("start nicmend"))
    }

    /// Runs a program on the far host.
    pub(crate) fn far(&self, program: &str, arguments: &[&str]) -> String {
        let pid = self.reflector.id().to_string();
        self.netns.run("nsenter", &[&["-t", &pid, "-n", program], arguments].concat())
    }

    /// A second link between the two hosts, with the same reflector at its end.
    pub(crate) fn second_link(&self) {
        self.netns.veth(CONTROL, "nmctl1", 2);
        self.netns.run("ip", &["addr", "add", "10.99.0.1/24", "dev", CONTROL]);
        let pid = self.reflector.id().to_string();
        self.netns.run("ip", &["link", "set", "nmctl1", "netns", &pid]);
        self.far("ip", &["addr", "add", &format!("{CONTROL_FAR}/24"), "dev", "nmctl1"]);
        self.far("ip", &["link", "set", "nmctl1", "up"]);
    }

    /// Writes one file of the near NIC in sysfs.
    pub(crate) fn write_sysfs(&self, file: &str, value: &str) {
        let line = format!("echo {value} > /sys/class/net/{NIC}/{file}");
        self.netns.run("sh", &["-ec", &line]);
    }

    /// Everything that the playbooks of these tests may change, as the kernel's own tools show it.
    pub(crate) fn witness(&self) -> String {
        let script = format!(
            "ethtool -k {NIC}; cd /sys/class/net/{NIC} && grep -H . mtu tx_queue_len \
             gro_flush_timeout napi_defer_hard_irqs threaded queues/rx-*/rps_cpus \
             queues/tx-*/xps_cpus; ethtool -l {NIC}; \
             sysctl net.ipv4.tcp_autocorking net.ipv4.tcp_rmem"
        );
        self.netns.run("sh", &["-c", &script])
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let _ = self.reflector.kill();
        let _ = self.reflector.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits for the end, with patience and no more; the pipes are read when the process is gone.
pub(crate) fn finished(mut child: Child) -> Output {
    let began = Instant::now();
    while child.try_wait().expect("wait for nicmend").is_none() {
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            let output = child.wait_with_output().expect("the rest of it");
            panic!("nicmend hung: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("what nicmend said")
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

/// All that it printed, for messages and for looking for words.
pub(crate) fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// The one document on its standard output.
pub(crate) fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)))
}

/// A run that should commit. A machine too busy to tell anything gives "open", which reverts and says
/// nothing about what is tried here: it is asked again, a few times.
pub(crate) fn kept(run: impl Fn() -> Output) -> Output {
    let open = |output: &Output| code(output) == 3 && said(output).contains(" open: measured");
    (0..4).map(|_| run()).find(|output| !open(output)).unwrap_or_else(&run)
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).expect("a pid");
    kill(Pid::from_raw(pid), signal).expect("send a signal");
}

/// `target/release/nicmend`, beside the tests' own folder, or what `NICMEND_BIN` names.
fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("NICMEND_BIN") {
        return PathBuf::from(named);
    }
    let own = std::env::current_exe().expect("this test's own path");
    let built = own.ancestors().nth(2).map(|folder| folder.join("nicmend"));
    built.filter(|path| Path::exists(path)).expect("build it: cargo build --release --bin nicmend")
}

/// The far host: dies with the thread that started it.
fn reflector(netns: &Netns) -> Child {
    let script = format!(
        "echo apart; read linked; ip link set lo up; ip addr add {FAR}/24 dev {FAR_NIC}; \
         ip link set {FAR_NIC} up; exec \"$0\" reflect --json --listen 0.0.0.0:862"
    );
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "-n", "sh", "-c", &script])
        .arg(binary())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start the far host");
    let mut said = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    said.read_line(&mut line).expect("the far host's namespace");
    assert_eq!(line, "apart\n");
    netns.run("ip", &["link", "set", FAR_NIC, "netns", &child.id().to_string()]);
    let mut to = child.stdin.take().expect("its input");
    to.write_all(b"linked\n").expect("speak to the far host");
    line.clear();
    said.read_line(&mut line).expect("the reflector's first line");
    assert!(line.contains("listening"), "{line}");
    child
}

/// Runs the product by these lines of shell, as `$0`, in a mount namespace of its own.
pub(crate) fn apart(exchange: &Exchange, lines: &str, argument: &str) -> Output {
    let product = exchange.nicmend(&[]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", lines]).arg(product.get_program()).arg(argument);
    command.envs(product.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.output().expect("unshare")
}
