//! `audit show` and `audit export`.

use std::{
    fs::OpenOptions,
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use clap::ValueEnum;

use super::{Common, Done, Where, failed, out, settled, shelf, time, trust, utc};
use crate::{
    audit::{
        export::{self, CSV_HEAD, Format},
        reading::{Filter, Read, read},
        words,
    },
    log::Fact,
    runs::{Declined, Exit},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Which {
    #[command(flatten)]
    pub place: Where,
    /// Only of this run: its id or the beginning of it.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// Only of runs on this NIC: its name or identity.
    #[arg(long, value_name = "NIC")]
    pub nic: Option<String>,
    /// Only by this person: a user's name or id, or the name that policy knows them by.
    #[arg(long, value_name = "NAME")]
    pub person: Option<String>,
    /// Only facts of this kind: `intent`, `decision`, …
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// From this time on: `2026-11-28T14:00:00Z`, or a day.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ShowArgs {
    #[command(flatten)]
    pub which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Kind {
    Jsonl,
    Ocsf,
    Csv,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    pub which: Which,
    /// `jsonl`: each entry as it stands in the log, a line each; `ocsf`: OCSF events, a line each; `csv`.
    #[arg(long, value_enum, default_value = "jsonl")]
    pub format: Kind,
    /// Where to; standard output when left out.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

pub(super) fn show(common: &Common, args: &ShowArgs) -> Done {
    let shelf = shelf(common, &args.which.place)?;
    let mut shown = 0_u64;
    read(&shelf, &filter(&args.which)?, &mut |read| {
        shown += 1;
        if common.json {
            out::json_line(&serde_json::json!({
                "entry": read.entry,
                "nic": read.nic.as_ref().map(|(name, _)| name),
                "summary": words::of(&read.entry.fact),
            }));
        } else {
            out::line(&line(&read));
        }
        true
    })
    .map_err(failed)?;
    if shown == 0 && !common.json {
        out::line("no entries");
    }
    Ok(Exit::Done)
}

fn line(read: &Read) -> String {
    let entry = &read.entry;
    let who = entry.who.as_ref().map(|who| match &who.principal {
        Some(name) => name.clone(),
        None => person(who.uid),
    });
    let doubt = match export::within(read) {
        "yes" => "",
        "no" => " [clock not within 100 us]",
        "unknown" => " [clock not known to be within 100 us]",
        _ => " [clock state not recorded]",
    };
    let of = match (&entry.run, &read.nic) {
        (Some(run), Some((nic, _))) => format!("{run} {nic}"),
        (Some(run), None) => run.clone(),
        (None, _) => "-".to_owned(),
    };
    // Whatever was logged is one line, and moves no cursor.
    let text: String =
        words::of(&entry.fact).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let entered = entry
        .entered
        .as_ref()
        .map_or_else(String::new, |entered| format!(" [entered {}]", utc(entered.at.utc_ns)));
    format!(
        "{:>6}  {}  {:<8}  {of}  {}: {text}{entered}{doubt}",
        entry.seq,
        utc(entry.at.utc_ns),
        who.unwrap_or_else(|| "?".to_owned()),
        words::kind(&entry.fact),
    )
}

/// A user's name on this host, or the number.
fn person(uid: u32) -> String {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

fn filter(which: &Which) -> Result<Filter, Declined> {
    // A name may be policy's, the system's, or both; who used sudo is known by the first alone.
    let known = |name: &String| nix::unistd::User::from_name(name).ok().flatten();
    let uid = which.person.as_ref().and_then(known).map(|user| user.uid.to_string());
    let person = which.person.iter().cloned().chain(uid).collect();
    Ok(Filter {
        run: which.run.clone(),
        nic: which.nic.clone(),
        person,
        kind: which.kind.as_deref().map(kind).transpose()?,
        from_ns: which.from.as_deref().map(time).transpose()?,
        to_ns: which.to.as_deref().map(time).transpose()?,
    })
}

/// A kind that the log has: a misspelt one would find nothing, as if nothing had happened.
fn kind(given: &str) -> Result<String, Declined> {
    let fact = serde_json::from_value::<Fact>(serde_json::json!({ "kind": given }));
    match fact.map_err(|error| error.to_string()) {
        Err(why) if why.starts_with("unknown variant") => {
            let kinds = why.split_once("expected ").map_or(why.as_str(), |(_, kinds)| kinds);
            let why = format!("no entry is of kind `{given}`: {kinds}");
            Err(Declined::new(Exit::Wrong, "kind", why))
        }
        Ok(_) | Err(_) => Ok(given.to_owned()),
    }
}

/// Exits 1 where the log is not whole, with everything that could be read exported all the same.
pub(super) fn export(common: &Common, args: &ExportArgs) -> Done {
    let shelf = shelf(common, &args.which.place)?;
    let filter = filter(&args.which)?;
    let report = settled(common, &args.which.place, &shelf, &trust(common, &args.which.place)?)?;
    let format = match args.format {
        Kind::Jsonl => Format::Jsonl,
        Kind::Ocsf => Format::Ocsf,
        Kind::Csv => Format::Csv,
    };
    let unwritable = |error: std::io::Error| {
        Declined::new(Exit::Failed, "export", format!("write the export: {error}"))
    };
    let output: Box<dyn Write> = match &args.output {
        None => Box::new(std::io::stdout().lock()),
        Some(path) => {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            Box::new(options.open(path).map_err(unwritable)?)
        }
    };
    let mut output = BufWriter::new(output);
    if format == Format::Csv {
        writeln!(output, "{CSV_HEAD}").map_err(unwritable)?;
    }
    let (mut written, mut count) = (Ok(()), 0_u64);
    let done = read(&shelf, &filter, &mut |read| {
        count += 1;
        written = writeln!(output, "{}", export::line(&read, format));
        written.is_ok()
    });
    written.and_then(|()| output.flush()).map_err(unwritable)?;
    done.map_err(failed)?;
    out::remark(&format!("exported  {}", out::count(count, "entry", "entries")));
    if let Some(finding) = report.findings.first() {
        let more = report.findings.len() + report.more - 1;
        let why = format!("the log is not whole: {} and {more} more", super::said(finding));
        return Err(Declined::new(Exit::Failed, "not-whole", why));
    }
    Ok(Exit::Done)
}
