//! `catalog check | lint | risk`: the NICs held against what is known of their firmware and drivers.

mod show;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use firmware_catalog::{Answer, Catalog, Subject, catalog::Part, scheme::Scheme};

use super::{Common, Done, out, place, site};
use crate::{
    fault::Kind,
    host::{Host, kernel},
    inventory::{self, Inventory, NicFacts, subject},
    runs::{Declined, Exit},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Golden, drifted, blocked or unknown: each NIC's firmware, and the hazards of our own acts there
    Check(CheckArgs),
    /// Check the shipped catalog and a site's: every error with its line
    Lint {
        /// The site's catalog, a folder with models/, firmware/ or issues/; CONFIG/catalog unless given.
        dir: Option<PathBuf>,
    },
    /// Which known issues there would be with another firmware, kernel or driver
    Risk(RiskArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Only this interface.
    #[arg(long, value_name = "IF", conflicts_with = "inventory")]
    pub nic: Option<String>,
    /// Another host's inventory, as `nicmend inventory --json` printed it.
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[group(id = "what", required = true, multiple = true, args = ["firmware", "kernel", "driver"])]
pub(super) struct RiskArgs {
    /// A firmware version, as the NIC's driver prints it.
    #[arg(long, value_name = "V")]
    pub firmware: Option<String>,
    /// An upstream kernel version, such as 6.12.40.
    #[arg(long, value_name = "V")]
    pub kernel: Option<String>,
    /// A driver by name, or a version of the NIC's own driver from outside the kernel's tree.
    #[arg(long, value_name = "V")]
    pub driver: Option<String>,
    /// Only this interface.
    #[arg(long, value_name = "IF", conflicts_with = "inventory")]
    pub nic: Option<String>,
    /// Another host's inventory, as `nicmend inventory --json` printed it.
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    match command {
        Command::Check(args) => check(common, args),
        Command::Lint { dir } => lint(common, dir.clone()),
        Command::Risk(args) => risk(common, args),
    }
}

fn check(common: &Common, args: &CheckArgs) -> Done {
    let catalog = site::catalog(common)?;
    let taken = take(args.nic.as_deref(), args.inventory.as_ref())?;
    let subjects: Vec<Subject> =
        taken.nics.iter().filter(is_hardware(args)).map(subject::subject).collect();
    let reports: Vec<_> = subjects.iter().map(|s| (s, catalog.check(s))).collect();
    if common.json {
        let nics: Vec<_> = reports.iter().map(|(s, report)| show::report_json(s, report)).collect();
        out::json(&serde_json::json!({ "site": catalog.has_site(), "nics": nics }));
        return Ok(Exit::Done);
    }
    if reports.is_empty() {
        out::line("no NIC with hardware behind it");
    }
    reports.iter().for_each(|(subject, report)| show::report(subject, report));
    Ok(Exit::Done)
}

/// A bridge or a veth has no firmware; asked for by name, it is answered all the same.
fn is_hardware(args: &CheckArgs) -> impl Fn(&&NicFacts) -> bool {
    let named = args.nic.is_some();
    move |nic| named || nic.kind == "physical"
}

/// This host's inventory, or the one in a file.
fn take(nic: Option<&str>, file: Option<&PathBuf>) -> Result<Inventory, Declined> {
    let Some(file) = file else {
        let host = place::machine()?;
        return inventory::take(&host, nic).map_err(|fault| {
            let exit = if fault.kind == Kind::Gone { Exit::Wrong } else { Exit::Failed };
            Declined::new(exit, "nic", fault.to_string())
        });
    };
    let wrong = |why: String| {
        Declined::new(Exit::Wrong, "inventory", format!("read {}: {why}", file.display()))
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(|error| wrong(error.to_string()))?;
    opened
        .take(INVENTORY_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > INVENTORY_BYTES_MAX {
        return Err(wrong("larger than 64 MiB: not an inventory".to_owned()));
    }
    serde_json::from_slice(&bytes).map_err(|error| wrong(format!("not an inventory: {error}")))
}

/// A host with 256 NICs fills about 8 MiB.
const INVENTORY_BYTES_MAX: u64 = 64 << 20;

fn lint(common: &Common, dir: Option<PathBuf>) -> Done {
    if let Some(dir) = &dir {
        is_catalog(dir)?;
    }
    let folder = dir.unwrap_or_else(|| site::folder(common));
    let catalog = site::load(&folder)?;
    let (extent, flaws) = catalog.lint();
    if common.json {
        let flaws: Vec<_> = flaws
            .iter()
            .map(|flaw| serde_json::json!({ "what": flaw.what, "origin": flaw.origin }))
            .collect();
        out::json(&serde_json::json!({
            "models": extent.models,
            "versions": extent.versions,
            "issues": extent.issues,
            "hazards": extent.hazards,
            "site": catalog.has_site(),
            "flaws": flaws,
        }));
        return Ok(if flaws.is_empty() { Exit::Done } else { Exit::Wrong });
    }
    flaws.iter().for_each(|flaw| out::remark(&format!("{} ({})", flaw.what, flaw.origin)));
    if !flaws.is_empty() {
        let why = format!("{} flaws in the catalog", flaws.len());
        return Err(Declined::new(Exit::Wrong, "catalog", why));
    }
    let with = match catalog.has_site() {
        true => format!("with {}", folder.display()),
        false => "as shipped".to_owned(),
    };
    out::line(&format!(
        "the catalog {with} is sound: {} models, {} firmware versions, {} issues, {} of them hazards of \
         our own acts",
        extent.models, extent.versions, extent.issues, extent.hazards
    ));
    Ok(Exit::Done)
}

/// A folder that was named has to be one: of nothing the shipped catalog alone would be found sound.
fn is_catalog(dir: &Path) -> Result<(), Declined> {
    let parts = Part::ALL.map(Part::folder);
    if parts.iter().any(|part| dir.join(part).is_dir()) {
        return Ok(());
    }
    let why = match dir.is_dir() {
        true => format!("it has none of the folders {}", parts.join(", ")),
        false => "no such directory".to_owned(),
    };
    Err(Declined::new(Exit::Wrong, "catalog", format!("lint {}: {why}", dir.display())))
}

fn risk(common: &Common, args: &RiskArgs) -> Done {
    let catalog = site::catalog(common)?;
    let imagined = imagine(&catalog, args)?;
    let mut answers = Vec::new();
    for subject in &imagined {
        let mut concerns = catalog.concerns(subject);
        // What is certain first.
        concerns.sort_by_key(|concern| concern.applies != Answer::Yes);
        answers.push((subject, concerns));
    }
    if common.json {
        let nics: Vec<_> = answers.iter().map(|(s, all)| show::risk_json(s, all)).collect();
        out::json(&serde_json::json!({ "site": catalog.has_site(), "nics": nics }));
        return Ok(Exit::Done);
    }
    answers.iter().for_each(|(subject, concerns)| show::risk(subject, concerns));
    Ok(Exit::Done)
}

/// The NICs as they would be: this host's or the inventory's, or one of a driver that is named.
fn imagine(catalog: &Catalog, args: &RiskArgs) -> Result<Vec<Subject>, Declined> {
    let wrong = |why: String| Declined::new(Exit::Wrong, "usage", why);
    if let Some(kernel) = &args.kernel
        && firmware_catalog::kernel::Version::parse(kernel).is_none()
    {
        let why = format!("`{kernel}` is not an upstream kernel version, such as 6.12.40");
        return Err(wrong(why));
    }
    // A version begins with a digit, a driver's name does not.
    let (driver, version) = match &args.driver {
        Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => (None, Some(text)),
        Some(text) => (Some(text), None),
        None => (None, None),
    };
    // Of a slip nothing would be known, and nothing sounds like no risk.
    if let Some(driver) = driver.filter(|driver| !catalog.drivers().contains(&driver.as_str())) {
        let known = catalog.drivers().join(", ");
        let why =
            format!("no model and no issue of the catalog is of a driver `{driver}`; of {known}");
        return Err(wrong(why));
    }
    if let Some(version) = version {
        Scheme::Dotted.parse(version).map_err(|error| wrong(error.to_string()))?;
    }
    let here = args.nic.is_some() || args.inventory.is_some();
    let mut subjects = match driver {
        Some(driver) if !here => vec![of_driver(driver)?],
        Some(_) | None => {
            let taken = take(args.nic.as_deref(), args.inventory.as_ref())?;
            let all = taken.nics.iter().filter(|nic| here || nic.kind == "physical");
            all.map(subject::subject).collect()
        }
    };
    for subject in &mut subjects {
        if let Some(driver) = driver {
            subject.driver.clone_from(driver);
            subject.in_tree = Some(true);
        }
        if let Some(version) = version {
            subject.driver_version = Some(version.clone());
            subject.in_tree = Some(false);
        }
        if let Some(kernel) = &args.kernel {
            subject.kernel_base = Some(kernel.clone());
            subject.release = None;
        }
        if let Some(firmware) = &args.firmware {
            subject.running = Some(firmware.clone());
        }
    }
    if let Some(firmware) = &args.firmware {
        let reads = |s: &Subject| catalog.scheme_of(s).is_some_and(|k| k.parse(firmware).is_ok());
        if !subjects.is_empty() && !subjects.iter().any(reads) {
            let why =
                format!("`{firmware}` is not a firmware version of any of these NICs' schemes");
            return Err(wrong(why));
        }
        subjects.retain(reads);
    }
    Ok(subjects)
}

/// A NIC of this driver, on this host's kernel, of which nothing else is known.
fn of_driver(driver: &str) -> Result<Subject, Declined> {
    let host = place::machine()?;
    let release = host.read(std::path::Path::new("/proc/sys/kernel/osrelease"))?;
    Ok(Subject {
        name: driver.to_owned(),
        driver: driver.to_owned(),
        in_tree: Some(true),
        release: Some(release.trim().to_owned()),
        kernel_base: kernel::base(&host),
        ..Subject::default()
    })
}
