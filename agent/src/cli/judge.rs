//! `judge`: a stored run's verdicts computed again, or one from two recorded sample files.

use std::{fs::File, io::Read, path::Path, path::PathBuf};

use super::{Common, Done, out, place};
use crate::{
    engine,
    log::{Fact, History},
    measure::{Sample, evidence},
    runs::{Declined, Exit},
    store::Store,
    verdict::{self, Call, Criterions, Judged, Outcome, Verdict},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run's id, a unique prefix of one, or `last`: its verdicts are computed again from the stored
    /// evidence and held against those in the log.
    #[arg(required_unless_present_any = ["baseline", "candidate"])]
    #[arg(conflicts_with_all = ["baseline", "candidate", "playbook", "seed"])]
    pub run: Option<String>,
    /// Samples before the change: one a line, `send-time-ns latency-ns` or `send-time-ns lost`.
    #[arg(long, value_name = "FILE", requires = "candidate")]
    pub baseline: Option<PathBuf>,
    /// Samples after it. Where both files are on one clock and take turns (A/B/A/B), they are judged
    /// as interleaved.
    #[arg(long, value_name = "FILE", requires = "baseline")]
    pub candidate: Option<PathBuf>,
    /// A playbook, by name or file, whose objective and guardrails decide; without one: p50, p99, p99.9,
    /// slow-ratio, storm-rate and loss-ratio, none more than 5 % worse.
    #[arg(long, value_name = "PLAYBOOK")]
    pub playbook: Option<String>,
    /// Where chance comes from; the same seed and samples give the same verdict on any machine.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// Exits 0 for keep, 3 for revert and inconclusive; 1 where evidence cannot be read, was altered, or
/// gives another verdict than the log has.
///
/// # Errors
/// The playbook is invalid or the run unknown (2), a file is missing or malformed (1).
pub fn run(common: &Common, args: &Args) -> Done {
    match (&args.run, &args.baseline, &args.candidate) {
        (Some(run), _, _) => again(common, run),
        (None, Some(baseline), Some(candidate)) => files(common, args, [baseline, candidate]),
        (None, _, _) => {
            Err(Declined::new(Exit::Wrong, "usage", "a run, or --baseline and --candidate"))
        }
    }
}

fn files(common: &Common, args: &Args, [baseline, candidate]: [&Path; 2]) -> Done {
    let by = match &args.playbook {
        None => Criterions::default_guardrails(),
        Some(wanted) => {
            let playbook = place::playbook(common, wanted)?;
            Criterions { objective: playbook.objective, guardrails: playbook.guardrails }
        }
    };
    let (baseline, candidate) = (samples(baseline)?, samples(candidate)?);
    let mut verdict = verdict::judge_samples(&baseline, &candidate, &by, args.seed);
    // No further stage can follow: the objective counts, too.
    verdict.verdict = verdict.call();
    match common.json {
        true => out::json(&verdict),
        false => print(&verdict),
    }
    Ok(exit_of(verdict.verdict))
}

/// A stored run's verdicts, computed again. The last one is the answer; all must be what the log says.
fn again(common: &Common, wanted: &str) -> Done {
    let disk = place::reader(common)?;
    let history = History::fold(&disk.entries()?)?;
    let run = history.find(wanted).map_err(|why| Declined::new(Exit::Wrong, "run", why))?;
    let mut last = None;
    for entry in &run.entries {
        let Fact::Judged { stage, evidence, verdict: recorded } = &entry.fact else { continue };
        let point = format!("stage-{}", stage + 1);
        let verdict = engine::evidence::case(&disk, &run.id, &point, evidence)?.judge();
        if verdict != **recorded {
            let why = format!(
                "run {}, stage {}: the evidence gives {:?} ({}), the log has {:?} ({})",
                run.id,
                stage + 1,
                verdict.verdict,
                verdict.why,
                recorded.verdict,
                recorded.why
            );
            return Err(Declined::new(Exit::Failed, "verdict", why));
        }
        if !common.json {
            out::line(&format!("stage {}, the same as recorded:", stage + 1));
            print(&verdict);
        }
        last = Some(verdict);
    }
    let Some(mut verdict) = last else {
        let why = format!("run {} was never judged: {}", run.id, run.why);
        return Err(Declined::new(Exit::Failed, "verdict", why));
    };
    verdict.verdict = verdict.call();
    if common.json {
        out::json(&verdict);
    }
    Ok(exit_of(verdict.verdict))
}

fn exit_of(call: Call) -> Exit {
    match call {
        Call::Keep => Exit::Done,
        Call::Revert | Call::Inconclusive => Exit::Reverted,
    }
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
