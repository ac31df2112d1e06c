//! `audit prove`, `audit witness`, `audit rotate-key`.

use std::{path::PathBuf, time::Duration};

use super::{Common, Done, Where, failed, keys, out, place, sealed, shelf};
use crate::{
    audit::{prove as proofs, witness as witnesses},
    host::Host,
    log::Fact,
    runs::{Declined, Exit},
    store::{Store, desk::WitnessDesk},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ProveArgs {
    /// The entry's number.
    pub entry: u64,
    #[command(flatten)]
    pub place: Where,
    /// Prove it by this checkpoint, for example a cosigned one, instead of the newest.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Where to; standard output when left out.
    #[arg(short, long, value_name = "FILE.tlog-proof")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct WitnessArgs {
    #[command(flatten)]
    pub place: Where,
    /// Where this witness keeps its key and what it saw; `witness` in the state directory when left
    /// out. A witness is worth something on another host than the log's.
    #[arg(long, value_name = "DIR")]
    pub witness_dir: Option<PathBuf>,
    /// The log's public key; what the first look finds when left out.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// The witness's name, used when its key is made.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RotateArgs {
    /// Why, for the log.
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    pub why: String,
}

pub(super) fn prove(common: &Common, args: &ProveArgs) -> Done {
    let shelf = shelf(common, &args.place)?;
    let sealed = match &args.checkpoint {
        Some(path) => sealed(path)?,
        None => proofs::newest(&shelf)?,
    };
    let proof = proofs::entry(&shelf, args.entry, sealed).map_err(|fault| {
        let exit = match fault.kind {
            crate::fault::Kind::Invalid => Exit::Wrong,
            crate::fault::Kind::Unsupported
            | crate::fault::Kind::Busy
            | crate::fault::Kind::Denied
            | crate::fault::Kind::Drift
            | crate::fault::Kind::Gone
            | crate::fault::Kind::Malformed
            | crate::fault::Kind::Held
            | crate::fault::Kind::Io => Exit::Failed,
        };
        Declined::new(exit, "proof", fault.to_string())
    })?;
    let text = proof.text();
    if let Some(path) = &args.output {
        super::super::runs::write_private(path, text.as_bytes()).map_err(|error| {
            let why = format!("write {}: {error}", path.display());
            Declined::new(Exit::Failed, "proof", why)
        })?;
    }
    match (&args.output, common.json) {
        (output, true) => out::json(&serde_json::json!({
            "entry": args.entry,
            "size": proof.sealed.checkpoint.size,
            "file": output,
            "proof": text,
        })),
        (Some(path), false) => out::line(&format!("{}", path.display())),
        (None, false) => out::line(text.trim_end()),
    }
    Ok(Exit::Done)
}

/// Exits 1 where the log was rewritten, forked or rolled back since the last look; nothing is cosigned
/// then.
pub(super) fn witness(common: &Common, args: &WitnessArgs) -> Done {
    let shelf = shelf(common, &args.place)?;
    let pinned = args.key.as_deref().map(keys).transpose()?;
    let pinned = pinned.and_then(|keys| keys.into_iter().next());
    let host = place::machine()?;
    let bearings = host.bearings();
    let name = args.name.clone().unwrap_or_else(|| format!("{}/nicmend-witness", bearings.host));
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+') {
        let why = format!("`{name}` is no name of a key: no spaces, no `+`");
        return Err(Declined::new(Exit::Wrong, "name", why));
    }
    let own = args.witness_dir.is_none() && args.place.log.is_none();
    let directory = args.witness_dir.clone().unwrap_or_else(|| common.state_dir.join("witness"));
    let desk = WitnessDesk::open(&directory, &name)?;
    let seconds = u64::try_from(host.now().utc_ns / 1_000_000_000).unwrap_or(0);
    let seen = witnesses::look(&desk, &shelf, pinned.as_ref(), seconds)?;
    if common.json {
        out::json(&serde_json::json!({
            "origin": seen.origin,
            "before": seen.before,
            "size": seen.size,
            "key": seen.key.to_string(),
            "cosignature": seen.line.trim_end(),
            "checkpoint": seen.note,
        }));
    } else {
        out::line(seen.note.trim_end());
    }
    out::remark(&format!("witness   {} grew from {} to {}", seen.origin, seen.before, seen.size));
    if pinned.is_none() && seen.before == 0 {
        out::remark(&format!("note      trusted at first sight: {}", seen.key));
    }
    if own {
        out::remark(
            "note      this witness lies beside the log: whoever is root here can change both",
        );
    }
    Ok(Exit::Done)
}

pub(super) fn rotate(common: &Common, args: &RotateArgs) -> Done {
    let host = place::machine()?;
    let disk = place::writer(common, Duration::ZERO)?;
    let (stop, tell) = (|| None, |_: &crate::engine::Telling| ());
    let law = crate::cli::law::read(common);
    let desk = crate::runs::Desk {
        host: &host,
        store: &disk,
        epoch: disk.epoch()?,
        uid: nix::unistd::getuid().as_raw(),
        law: &law,
        stop: &stop,
        tell: &tell,
        reach: &crate::measure::Nowhere,
    };
    place::opened(&desk, &disk)?;
    let why: String = args.why.chars().filter(|c| !c.is_control()).take(512).collect();
    let rotation = disk.hand_over(disk.length()?, &why).map_err(failed)?;
    let new = rotation.new.clone();
    desk.say(None, vec![Fact::KeyRotated(rotation)])?;
    disk.sync()?;
    disk.rotate().map_err(failed)?;
    if common.json {
        out::json(&serde_json::json!({"key": new}));
    } else {
        out::line(&format!("the log's key is now {new}"));
    }
    Ok(Exit::Done)
}
