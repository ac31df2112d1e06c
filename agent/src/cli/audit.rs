//! `audit`: the transparency log, checked, read, exported, proved, cosigned.

mod read;
mod sign;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Common, Done, out, place};
use crate::{
    audit::{
        export::utc,
        verify::{Finding, Report, Trust, verify},
    },
    fault::Fault,
    log::{
        base64,
        checkpoint::Sealed,
        note::{NOTE_BYTES_MAX, Verifier},
    },
    runs::{Declined, Exit},
    store::{Store, disk::keys::Keys, shelf::Shelf},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Hash the whole log again and check every checkpoint and signature; names the first bad entry
    Verify(VerifyArgs),
    /// The log as people read it
    Show(read::ShowArgs),
    /// Entries for regulators (jsonl, csv) and for a SIEM (ocsf)
    Export(read::ExportArgs),
    /// A proof of one entry that can be checked offline with the log's public key (docs/verify.py)
    Prove(sign::ProveArgs),
    /// See that a log has only grown since the last look, and cosign its newest checkpoint
    Witness(sign::WitnessArgs),
    /// Sign with a new key from now on; the old one signs the hand-over
    RotateKey(sign::RotateArgs),
}

/// Where the log is.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// The log's directory, or a copy of one; `log` in the state directory when left out.
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// Where full bundles and tiles of the log were moved to; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub store: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub place: Where,
    /// A public key of the log (`name+id+base64`, or a file with one a line) that was kept elsewhere.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// A checkpoint that was kept elsewhere; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    match command {
        Command::Verify(args) => check(common, args),
        Command::Show(args) => read::show(common, args),
        Command::Export(args) => read::export(common, args),
        Command::Prove(args) => sign::prove(common, args),
        Command::Witness(args) => sign::witness(common, args),
        Command::RotateKey(args) => sign::rotate(common, args),
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct View<'a> {
    whole: bool,
    entries: u64,
    root: String,
    signed: u64,
    /// Entries after the newest checkpoint.
    unsigned: u64,
    checkpoints: usize,
    keys: Vec<String>,
    first_bad: Option<&'a Finding>,
    findings: &'a [Finding],
    more: usize,
    /// Deeds that wait in STATE/spool for the log's writer.
    waiting: usize,
}

fn check(common: &Common, args: &VerifyArgs) -> Done {
    let shelf = shelf(common, &args.place)?;
    let mut trust = trust(common, &args.place)?;
    if let Some(key) = &args.key {
        trust.pinned = keys(key)?;
    }
    for path in &args.checkpoint {
        trust.checkpoints.push((path.display().to_string(), sealed(path)?));
    }
    let report = settled(common, &args.place, &shelf, &trust)?;
    let waiting = match args.place.log {
        None => place::reader(common)?.handed_over()?.len(),
        Some(_) => 0,
    };
    if common.json {
        out::json(&view(&report, waiting));
    } else {
        print(&report, &trust);
    }
    if waiting > 0 {
        let waiting = out::count(waiting as u64, "deed waits", "deeds wait");
        out::remark(&format!("note      {waiting} in STATE/spool for the log's writer"));
    }
    Ok(if report.is_whole() { Exit::Done } else { Exit::Failed })
}

/// Verifies. A log that is being written is looked at again where something was found, or where it has
/// entries that nobody has signed yet; those are a finding whoever says that he is writing.
fn settled(
    common: &Common,
    place: &Where,
    shelf: &Shelf,
    trust: &Trust,
) -> Result<Report, Declined> {
    const LOOKS: u32 = 10;
    let mut looks = 0;
    loop {
        let mut report = verify(shelf, trust)?;
        let written = place.log.is_none() && place::reader(common)?.holder()?.is_some();
        looks += 1;
        let unsigned = report.unsigned() > 0 && report.signed > 0;
        if (unsigned || !report.is_whole()) && written && looks < LOOKS {
            std::thread::sleep(std::time::Duration::from_millis(100));
            continue;
        }
        if unsigned {
            let what = match written {
                true => {
                    "signed by nobody yet: whoever holds the log's lock may be writing them, and \
                         until they are signed nothing vouches for them"
                }
                false => {
                    "signed by nobody: their writer was killed, or somebody appended them; the next \
                          writer signs them and says so, and until then nothing vouches for them"
                }
            };
            report.findings.push(Finding {
                entry: Some(report.signed),
                to: Some(report.entries - 1),
                place: "checkpoint".to_owned(),
                what: what.to_owned(),
            });
        }
        return Ok(report);
    }
}

fn view(report: &Report, waiting: usize) -> View<'_> {
    View {
        whole: report.is_whole(),
        entries: report.entries,
        root: base64::encode(&report.root),
        signed: report.signed,
        unsigned: report.unsigned(),
        checkpoints: report.checkpoints,
        keys: report.keys.iter().map(Verifier::to_string).collect(),
        first_bad: report.first_bad(),
        findings: &report.findings,
        more: report.more,
        waiting,
    }
}

fn print(report: &Report, trust: &Trust) {
    let (entries, root) = (report.entries, base64::encode(&report.root));
    let checkpoints = report.checkpoints;
    if report.is_whole() {
        let entries = out::count(entries, "entry", "entries");
        let checkpoints = out::count(checkpoints as u64, "checkpoint", "checkpoints");
        out::line(&format!("whole: {entries}, {checkpoints}, root {root}"));
    } else {
        match report.first_bad() {
            Some(finding) => out::line(&format!("NOT WHOLE: first at {}", said(finding))),
            None => out::line("NOT WHOLE"),
        }
        report.findings.iter().for_each(|finding| out::line(&format!("  {}", said(finding))));
        if report.more > 0 {
            out::line(&format!("  and {} more", report.more));
        }
    }
    report.keys.iter().for_each(|key| out::line(&format!("  key       {key}")));
    if trust.pinned.is_empty() && trust.checkpoints.is_empty() && entries > 0 {
        out::line(
            "  note      held against what lies beside it; that it is not an older log, or another \
             one, shows --key, --checkpoint, or a witness",
        );
    }
}

fn said(finding: &Finding) -> String {
    let entries = match (finding.entry, finding.to) {
        (Some(from), Some(to)) if from < to => format!("entries {from} to {to}: "),
        (Some(entry), _) => format!("entry {entry}: "),
        (None, _) => String::new(),
    };
    format!("{entries}{} ({})", finding.what, finding.place)
}

fn shelf(common: &Common, place: &Where) -> Result<Shelf, Declined> {
    let log = place.log.clone().unwrap_or_else(|| common.state_dir.join("log"));
    if place.log.is_some() && !log.is_dir() {
        let why = format!("read {}: it is no directory", log.display());
        return Err(Declined::new(Exit::Wrong, "log", why));
    }
    let mut stores = place.store.clone();
    if place.log.is_none() {
        stores.extend(crate::store::disk::stores(&common.state_dir)?);
    }
    Ok(Shelf::new(&log, &stores))
}

/// The keys that lie beside this host's own log.
fn trust(common: &Common, place: &Where) -> Result<Trust, Declined> {
    let published = match place.log {
        None => Keys::of_log(&common.keys()).public()?,
        Some(_) => Vec::new(),
    };
    Ok(Trust { published, ..Trust::default() })
}

/// Keys as given: one, or a file with one a line.
fn keys(given: &str) -> Result<Vec<Verifier>, Declined> {
    let wrong = |why: String| Declined::new(Exit::Wrong, "key", format!("read key {given}: {why}"));
    let text = match Verifier::parse(given) {
        Ok(key) => return Ok(vec![key]),
        Err(why) => match bytes(Path::new(given)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => return Err(wrong(why)),
        },
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let keys: Vec<Verifier> =
        lines.map(Verifier::parse).collect::<Result<_, _>>().map_err(wrong)?;
    match keys.is_empty() {
        true => Err(wrong("there is none".to_owned())),
        false => Ok(keys),
    }
}

fn sealed(path: &Path) -> Result<Sealed, Declined> {
    let act = format!("read the checkpoint {}", path.display());
    let wrong = |why: String| Declined::new(Exit::Wrong, "checkpoint", format!("{act}: {why}"));
    let bytes = bytes(path).map_err(|error| wrong(error.to_string()))?;
    Sealed::parse(&bytes).map_err(|why| wrong(why.to_owned()))
}

/// A short file that a person named.
fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(NOTE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A time as people give it: `2026-11-28T14:00:00Z`, or a day, from its beginning (UTC).
fn time(given: &str) -> Result<i64, Declined> {
    let day =
        |text: &str| text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let time = given.parse::<jiff::Timestamp>().ok().or_else(|| Some(day(given)?.timestamp()));
    let ns = time.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
    ns.ok_or_else(|| {
        let why = format!("`{given}` is no time like 2026-11-28T14:00:00Z or 2026-11-28");
        Declined::new(Exit::Wrong, "time", why)
    })
}

fn failed(fault: Fault) -> Declined {
    Declined::from(fault)
}
