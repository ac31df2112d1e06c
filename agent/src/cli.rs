//! The command line: a thin client. One file a command; people's words live here and nowhere else.
#![allow(clippy::disallowed_methods, reason = "the CLI is where files named by people are read")]

mod abort;
mod accepted;
mod after;
mod apply;
mod approve;
mod audit;
mod burden;
mod campaign;
mod catalog;
mod deeds;
mod demo;
mod firmware;
mod freeze;
pub mod inventory;
pub mod judge;
mod law;
mod out;
mod page;
mod place;
mod plan;
mod playbook;
mod policy;
pub mod probe;
pub mod reflect;
mod registry;
mod revert;
mod runs;
mod signals;
mod site;
mod trusted;
mod try_out;
mod watch;
mod withdraw;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    runs::{Declined, Exit},
    store::disk::{Access, Disk},
};

/// Mends a NIC while the market is open: inventory, plan, measure, commit what the measurement
/// supports, put everything else back.
#[derive(Debug, Parser)]
#[command(name = "nicmend", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed before the first write, 2 wrong request, \
3 reverted, 4 refused by policy, guard or hazard, 5 stuck (says what to do by hand).")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Where help lists what every command takes: below the command's own options.
const EVERYWHERE: &str = "Options of every command";

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Print one JSON document (JSON lines for streams) and nothing else on stdout.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// Where the log, plans, runs and evidence are kept.
    #[arg(long, global = true, value_name = "DIR", env = "NICMEND_STATE_DIR")]
    #[arg(default_value = "/var/lib/nicmend", help_heading = EVERYWHERE)]
    pub state_dir: PathBuf,
    /// Where the log's keys are kept; `keys` in the state directory when left out.
    #[arg(long, global = true, value_name = "DIR", env = "NICMEND_KEYS_DIR", help_heading = EVERYWHERE)]
    pub keys_dir: Option<PathBuf>,
    /// Where running processes meet.
    #[arg(long, global = true, value_name = "DIR", env = "NICMEND_RUN_DIR")]
    #[arg(default_value = "/run/nicmend", help_heading = EVERYWHERE)]
    pub run_dir: PathBuf,
    /// Site playbooks, catalog and policy.
    #[arg(long, global = true, value_name = "DIR", env = "NICMEND_CONFIG_DIR")]
    #[arg(default_value = "/etc/nicmend", help_heading = EVERYWHERE)]
    pub config_dir: PathBuf,
}

impl Common {
    /// Where the log's keys are.
    pub(crate) fn keys(&self) -> PathBuf {
        self.keys_dir.clone().unwrap_or_else(|| self.state_dir.join("keys"))
    }

    /// The state directory, opened for writing.
    pub(crate) fn open_to_write(&self) -> crate::fault::Result<Disk> {
        Disk::open_with_keys(&self.state_dir, Access::Write, &self.keys())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The host's NICs: identity, firmware, driver, kernel, every setting with its value
    Inventory(inventory::Args),
    /// The NICs against the firmware catalog: golden, drifted, blocked, unknown; hazards of our own acts
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// List, show, check and try playbooks
    #[command(subcommand)]
    Playbook(playbook::Command),
    /// What a playbook would change here; changes nothing
    Plan(plan::Args),
    /// Apply a playbook: baseline, stage by stage apply and verify, then commit or revert
    Apply(apply::Args),
    /// A second person's approval of a plan: an OpenSSH signature over its digest and an expiry
    Approve(approve::Args),
    /// Firmware images: import one, list them
    #[command(subcommand)]
    Firmware(firmware::Command),
    /// The runs so far, newest first, or one run
    Runs(runs::Args),
    /// One run as a self-contained page: distributions, timeline, verdicts
    Report(runs::ReportArgs),
    /// Stop a run in flight and put it back
    Abort(abort::Args),
    /// Put back what a committed run changed
    Revert(revert::Args),
    /// Finish what a crash interrupted
    Recover(apply::RecoverArgs),
    /// Watch a committed run for the time of its probation, and revert it on regression
    Watch(watch::Args),
    /// After a commit: every traffic pattern, faults on purpose, endurance; each with its own verdict
    Campaign(campaign::Args),
    /// Answer probes: STAMP (RFC 8762) over UDP, request and response over TCP
    Reflect(reflect::Args),
    /// Latency to a reflector now, split into sender, wire, reflector and receiver
    Probe(probe::Args),
    /// Compute a run's verdicts again from its evidence, or judge two recorded sample files
    Judge(judge::Args),
    /// The log: check it all, read it, hand it to a regulator, prove one entry offline, cosign
    #[command(subcommand)]
    Audit(audit::Command),
    /// Validate the policies; why a request is allowed or refused, now or then; a venue's trading phase
    #[command(subcommand)]
    Policy(policy::Command),
    /// Nobody changes anything on this host until thawed; a run in flight goes on to its end
    Freeze(freeze::Args),
    /// Lift a freeze
    Thaw,
    /// The whole job on a real kernel link in network namespaces of its own; touches nothing else
    Demo(demo::Args),
    /// The demo's other host
    #[command(hide = true)]
    DemoPeer(demo::PeerArgs),
    /// A campaign's burden
    #[command(hide = true)]
    Burden(burden::Args),
    /// Print a shell's completions: nicmend completions bash > /etc/bash_completion.d/nicmend
    Completions { shell: clap_complete::Shell },
}

/// What a command comes to. An error is printed once, here.
pub type Done = Result<Exit, Declined>;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap's own: help and version are no errors; everything else is a wrong request.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Wrong as u8 } else { 0 });
        }
    };
    let done = run(&cli);
    let exit = match done {
        Ok(exit) => exit,
        Err(declined) => {
            out::declined(&cli.common, &declined);
            declined.exit
        }
    };
    ExitCode::from(exit as u8)
}

fn run(cli: &Cli) -> Done {
    let common = &cli.common;
    match &cli.command {
        Command::Inventory(args) => inventory::run(common, args),
        Command::Catalog(command) => catalog::run(common, command),
        Command::Playbook(command) => playbook::run(common, command),
        Command::Plan(args) => plan::run(common, args),
        Command::Apply(args) => apply::run(common, args),
        Command::Approve(args) => approve::run(common, args),
        Command::Firmware(command) => firmware::run(common, command),
        Command::Runs(args) => runs::run(common, args),
        Command::Report(args) => runs::report(common, args),
        Command::Abort(args) => abort::run(common, args),
        Command::Revert(args) => revert::run(common, args),
        Command::Recover(args) => apply::recover(common, args),
        Command::Watch(args) => watch::run(common, args),
        Command::Campaign(args) => campaign::run(common, args),
        Command::Reflect(args) => reflect::run(common, args),
        Command::Probe(args) => probe::run(common, args),
        Command::Judge(args) => judge::run(common, args),
        Command::Audit(command) => audit::run(common, command),
        Command::Policy(command) => policy::run(common, command),
        Command::Freeze(args) => freeze::freeze(common, args),
        Command::Thaw => freeze::thaw(common),
        Command::Demo(args) => demo::run(common, args),
        Command::DemoPeer(args) => demo::peer(args),
        Command::Burden(args) => burden::run(args),
        Command::Completions { shell } => {
            // clap_complete panics where it cannot write; into memory it can.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "nicmend", &mut script);
            out::line(String::from_utf8_lossy(&script).trim_end());
            Ok(Exit::Done)
        }
    }
}
