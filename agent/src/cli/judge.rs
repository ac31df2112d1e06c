//! `judge`: two recorded sample files, one verdict.

use std::{fs::File, io::Read, path::Path, path::PathBuf};

use super::{Common, Done, out, place};
use crate::{
    measure::{Sample, evidence},
    runs::{Declined, Exit},
    verdict::{self, Call, Criterions, Judged, Outcome, Verdict},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Samples before the change: one a line, `send-time-ns latency-ns` or `send-time-ns lost`.
    #[arg(long, value_name = "FILE")]
    pub baseline: PathBuf,
    /// Samples after it. Where both files are on one clock and take turns (A/B/A/B), they are judged
    /// as interleaved.
    #[arg(long, value_name = "FILE")]
    pub candidate: PathBuf,
    /// A playbook, by name or file, whose objective and guardrails decide; without one: p50, p99, p99.9,
    /// slow-ratio, storm-rate and loss-ratio, none more than 5 % worse.
    #[arg(long, value_name = "PLAYBOOK")]
    pub playbook: Option<String>,
    /// Where chance comes from; the same seed and samples give the same verdict on any machine.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// Exits 0 for keep, 3 for revert and inconclusive; 1 where a file cannot be read.
///
/// # Errors
/// The playbook is invalid (2), a file is missing or malformed (1).
pub fn run(common: &Common, args: &Args) -> Done {
    let by = match &args.playbook {
        None => Criterions::default_guardrails(),
        Some(wanted) => {
            let playbook = place::playbook(common, wanted)?;
            Criterions { objective: playbook.objective, guardrails: playbook.guardrails }
        }
    };
    let baseline = samples(&args.baseline)?;
    let candidate = samples(&args.candidate)?;
    let mut verdict = verdict::judge_samples(&baseline, &candidate, &by, args.seed);
    // No further stage can follow: the objective counts, too.
    verdict.verdict = verdict.call();
    match common.json {
        true => out::json(&verdict),
        false => print(&verdict),
    }
    Ok(match verdict.verdict {
        Call::Keep => Exit::Done,
        Call::Revert | Call::Inconclusive => Exit::Reverted,
    })
}

fn samples(path: &Path) -> Result<Vec<Sample>, Declined> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        Declined::new(Exit::Failed, "samples", format!("read {name}: {error}"))
    };
    let mut bytes = Vec::new();
    let limit = evidence::BYTES_MAX as u64;
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(unreadable(std::io::Error::other(format!("larger than {limit} bytes"))));
    }
    evidence::read(&bytes, &name).map_err(Declined::from)
}

fn print(verdict: &Verdict) {
    let call = match verdict.verdict {
        Call::Keep => "keep",
        Call::Revert => "revert",
        Call::Inconclusive => "inconclusive",
    };
    out::line(&format!("{call}: {}", verdict.why));
    for (metric, judged) in &verdict.metrics {
        out::line(&format!("  {:<22} {}", metric.to_string(), row(judged)));
    }
    if let Some(why) = &verdict.provisional {
        out::line(&format!("  provisional: {why}"));
    }
    for note in &verdict.notes {
        out::line(&format!("  note: {note}"));
    }
}

fn row(judged: &Judged) -> String {
    let outcome = match judged.outcome {
        Outcome::Improved => "improved",
        Outcome::Equivalent => "equivalent",
        Outcome::Regressed => "regressed",
        Outcome::Inconclusive => "inconclusive",
    };
    match judged.why.is_empty() {
        true => format!("{outcome:<12} (in no criterion)"),
        false => format!("{outcome:<12} {}", judged.why),
    }
}
