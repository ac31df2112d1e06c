//! From the log and the evidence to the report page.
//!
//! Evidence may be missing, damaged or not the file that was judged: the page says which, and shows
//! what is left. It is recomputed from the files each time, so it proves what they hold now.

mod bundle;
mod settings;
mod timeline;

use playbooks::playbook::{Pattern, Transport, Verify};

use crate::{
    engine::evidence::digest,
    log::{Fact, RunRecord, RunState, firmware::FirmwareStep},
    measure::{Window, evidence},
    plan::Plan,
    report::{self, Evidence, Judgement, Measured, Seal, Undo},
    runs::{self, Declined, Exit},
    store::Store,
    verdict::Criterions,
};

/// The page of one run.
pub(super) fn of(run: &RunRecord, store: &dyn Store) -> Result<String, Declined> {
    of_all(&[run], store)
}

/// One page of several runs, in this order.
pub(super) fn of_all(runs: &[&RunRecord], store: &dyn Store) -> Result<String, Declined> {
    if runs.is_empty() {
        return Err(Declined::new(Exit::Wrong, "report", "there is no run to report on"));
    }
    let filled: Vec<report::Run> = runs.iter().map(|run| fill(run, store)).collect();
    Ok(report::page(&filled))
}

/// What is known of a run besides the log: each part, or why it is not there.
fn fill(run: &RunRecord, store: &dyn Store) -> report::Run {
    let mut notes = Vec::new();
    let plan = match runs::plan_of(run, store) {
        Ok(plan) => Some(plan),
        Err(why) => {
            notes.push(format!("the plan is not shown: {why}"));
            None
        }
    };
    let mut points = points(run, plan.as_ref());
    let mut loaded: Vec<Loaded> = points.iter().map(|point| load(run, point, store)).collect();
    if points[0].digest.is_none() && loaded[0].measured.window.is_err() {
        // Refused before anything was measured: a baseline is not missed.
        points.remove(0);
        loaded.remove(0);
    }
    let windows: Vec<Option<&Window>> =
        loaded.iter().map(|one| one.measured.window.as_ref().ok()).collect();
    let timeline = timeline::of(run, &points, &windows);
    notes.extend(plan.iter().flat_map(|plan| &plan.cannot_affect).cloned());
    let after = super::after::lines(run);
    notes.extend(after.into_iter().map(|(word, text)| match word {
        "" => text,
        word => format!("{word}: {text}"),
    }));
    let judgement = |(stage, verdict): &(usize, crate::verdict::Verdict)| Judgement {
        stage: stage_name(plan.as_ref(), *stage),
        verdict: verdict.clone(),
    };
    report::Run {
        id: run.id.clone(),
        state: run.state,
        why: run.why.clone(),
        rule: run.rule.clone(),
        playbook: run.playbook.clone(),
        summary: plan.as_ref().map_or(String::new(), |plan| plan.playbook.summary.clone()),
        references: plan.as_ref().map_or(Vec::new(), |plan| plan.playbook.references.clone()),
        nic: run.nic_name.clone(),
        started_utc_ns: run.started.utc_ns,
        took_ns: run.ended.as_ref().map(|ended| timeline::since(run, ended)),
        about: about(run, plan.as_ref()),
        by: plan.as_ref().map_or_else(Criterions::default, |plan| Criterions {
            objective: plan.playbook.objective.clone(),
            guardrails: plan.playbook.guardrails.clone(),
        }),
        settings: settings::of(run, plan.as_ref()),
        judged: run.verdicts.iter().map(judgement).collect(),
        timeline,
        foreign: run.foreign.clone(),
        notes,
        evidence: loaded.iter().flat_map(|one| one.evidence.clone()).collect(),
        undo: undo(run, store),
        windows: loaded.into_iter().map(|one| one.measured).collect(),
    }
}

/// A moment at which a window was measured.
struct Point {
    /// As people know it: `baseline` or the stage's name.
    name: String,
    /// As its files are called: `baseline`, `stage-1`.
    file: String,
    stage: Option<usize>,
    /// The digest that the log names, where the run came so far.
    digest: Option<String>,
}

/// The baseline and every stage whose settings, or whose firmware, were meant to be written.
fn points(run: &RunRecord, plan: Option<&Plan>) -> Vec<Point> {
    let (name, file) = ("baseline".to_owned(), "baseline".to_owned());
    let mut points = vec![Point { name, file, stage: None, digest: None }];
    for entry in &run.entries {
        if let Fact::Baseline { evidence } = &entry.fact {
            points[0].digest = Some(evidence.clone());
        } else if let Some(stage) = begun(&entry.fact)
            && !points.iter().any(|point| point.stage == Some(stage))
        {
            points.push(Point {
                name: stage_name(plan, stage),
                file: format!("stage-{}", stage + 1),
                stage: Some(stage),
                digest: None,
            });
        } else if let Fact::Judged { stage, evidence, .. } = &entry.fact
            && let Some(point) = points.iter_mut().find(|point| point.stage == Some(*stage))
        {
            point.digest = Some(evidence.clone());
        }
    }
    points
}

/// The stage that begins to write here.
fn begun(fact: &Fact) -> Option<usize> {
    if let Fact::Intent { stage, .. }
    | Fact::Firmware { stage, step: FirmwareStep::Intent { .. } } = fact
    {
        Some(*stage)
    } else {
        None
    }
}

fn stage_name(plan: Option<&Plan>, stage: usize) -> String {
    match plan.and_then(|plan| plan.stages.get(stage)) {
        Some(planned) => planned.name.clone(),
        None => format!("stage {}", stage + 1),
    }
}

/// A point's window with its two files.
struct Loaded {
    measured: Measured,
    evidence: Vec<Evidence>,
}

fn load(run: &RunRecord, point: &Point, store: &dyn Store) -> Loaded {
    if let Some(loaded) = bundle::load(run, point, store) {
        return loaded;
    }
    let file = format!("runs/{}/{}.samples", run.id, point.file);
    let (name, base) = (point.name.clone(), format!("{}.samples", point.file));
    let bytes = match store.get(&file) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            // A run that ended before a stage was measured has no evidence of it, and misses none.
            let logged = point.digest.clone();
            let why = match &logged {
                Some(_) => format!("{file} is missing"),
                None => "the run ended before it was measured".to_owned(),
            };
            let gone = |digest| Evidence { file: base, digest, seal: Seal::Missing };
            let evidence = logged.map(gone).into_iter().collect();
            return Loaded { measured: Measured { name, window: Err(why) }, evidence };
        }
        Err(fault) => {
            let digest = point.digest.clone().unwrap_or_default();
            let evidence = vec![Evidence { file: base, digest, seal: Seal::Missing }];
            let measured = Measured { name, window: Err(fault.to_string()) };
            return Loaded { measured, evidence };
        }
    };
    let digest = digest(&bytes);
    let seal = match &point.digest {
        Some(logged) if *logged == digest => Seal::Matches,
        Some(_) => Seal::Differs,
        None => Seal::NotInLog,
    };
    let window = window(run, &point.file, store, &bytes);
    let evidence = vec![Evidence { file: base, digest, seal }];
    Loaded { measured: Measured { name, window }, evidence }
}

/// The samples with what was counted beside them. Without the counts the samples are still shown.
fn window(
    run: &RunRecord,
    name: &str,
    store: &dyn Store,
    samples: &[u8],
) -> Result<Window, String> {
    let file = format!("runs/{}/{name}.samples", run.id);
    let samples = evidence::read(samples, &file).map_err(|fault| fault.to_string())?;
    let file = format!("runs/{}/{name}.json", run.id);
    let read = match store.get(&file) {
        Ok(Some(bytes)) => {
            serde_json::from_slice::<Window>(&bytes).map_err(|e| format!("read {file}: {e}"))
        }
        Ok(None) => Err(format!("{file} is missing")),
        Err(fault) => Err(fault.to_string()),
    };
    let mut window = read.unwrap_or_else(|why| Window {
        sent: samples.len() as u64,
        lost: samples.iter().filter(|sample| sample.is_lost()).count() as u64,
        length_ns: samples.last().map_or(0, |sample| sample.due_ns.saturating_add(1)),
        notes: vec![format!("the counters of this window are not known: {why}")],
        ..Window::default()
    });
    window.samples = samples;
    Ok(window)
}

fn about(run: &RunRecord, plan: Option<&Plan>) -> Vec<(String, String)> {
    let mut about = Vec::new();
    let mut row = |label: &str, value: String| {
        if !value.is_empty() {
            about.push((label.to_owned(), value));
        }
    };
    row("NIC", format!("{} ({})", run.nic_name, run.nic));
    if let Some(plan) = plan {
        row("driver", plan.driver.clone());
        row("firmware", plan.firmware.clone().unwrap_or_default());
        row("host", plan.host.name.clone());
        row("machine id", plan.host.machine.clone());
        row("kernel", plan.host.kernel.clone());
    }
    for (word, text) in run.firmware.iter().flat_map(super::firmware::lines::told) {
        row(if word == "firmware" { "firmware stage" } else { word }, text);
    }
    row("network namespace", run.netns.to_string());
    row("peer", run.peer.clone().unwrap_or_default());
    row("playbook", run.playbook.clone());
    if let Some(plan) = plan {
        row("playbook digest", plan.playbook.digest());
    }
    row("plan", run.plan.clone());
    if let Some(plan) = plan {
        row("measured by", measured_by(&plan.playbook.verify));
    }
    row("asked for by", format!("uid {}", run.uid));
    row("began", super::runs::utc(run.started.utc_ns));
    row("ended", run.ended.as_ref().map_or(String::new(), |at| super::runs::utc(at.utc_ns)));
    about
}

fn measured_by(verify: &Verify) -> String {
    let transport = match verify.transport {
        Transport::Udp => "STAMP over UDP",
        Transport::Tcp => "TCP request and response",
    };
    let patterns: Vec<String> = verify
        .patterns
        .iter()
        .map(|pattern| match pattern {
            Pattern::Calm => "calm".to_owned(),
            Pattern::OpenBurst => "open-burst".to_owned(),
            Pattern::CloseBurst => "close-burst".to_owned(),
            Pattern::Microburst => "microburst".to_owned(),
            Pattern::Replay(file) => format!("replay of {file}"),
        })
        .collect();
    format!(
        "{transport}, {} bytes, {} a second for {:?}, {}",
        verify.payload,
        verify.rate,
        verify.window,
        patterns.join(", ")
    )
}

fn undo(run: &RunRecord, store: &dyn Store) -> Undo {
    let nothing = |why: &str| Undo::Nothing(why.to_owned());
    match run.state {
        RunState::Refused => nothing("Nothing was written: there is nothing to undo."),
        RunState::Reverted => nothing(
            "Nothing is left to undo: every setting was read back equal to its original, as the \
             table above shows; what differs is named there.",
        ),
        RunState::Stuck if !run.by_hand.is_empty() => Undo::ByHand {
            why: "These commands put back by hand what nicmend could not; then run `nicmend recover`."
                .to_owned(),
            script: run.by_hand.join("\n"),
        },
        RunState::Stuck | RunState::Running | RunState::Committed => {
            let file = format!("runs/{}/undo.sh", run.id);
            match store.get(&file) {
                Ok(Some(bytes)) => Undo::ByHand {
                    why: format!(
                        "`nicmend revert {}` puts everything back. Without nicmend, these lines of \
                         {file} do the same:",
                        run.id
                    ),
                    script: String::from_utf8_lossy(&bytes).into_owned(),
                },
                Ok(None) => Undo::Nothing(format!("{file} is missing; `nicmend revert` does not need it.")),
                Err(fault) => Undo::Nothing(fault.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
