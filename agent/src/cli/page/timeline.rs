//! A run's entries as stretches of time.
//!
//! The log says when each fact was recorded, the evidence when each window began and how long it was;
//! what lies between two of these is the act that leads from one to the other.

use super::Point;
use crate::{
    host::Now,
    log::{Entry, Fact, RunRecord, firmware::FirmwareStep},
    measure::Window,
    report::{Act, Bar},
    verdict::{Call, Verdict},
};

const WHOLE: &str = "whole run";

/// Nanoseconds from the run's begin to `at`. Within one boot by the monotonic clock, across boots by UTC.
pub(super) fn since(run: &RunRecord, at: &Now) -> u64 {
    if at.boot_id == run.started.boot_id {
        return at.mono_ns.saturating_sub(run.started.mono_ns);
    }
    u64::try_from(at.utc_ns.saturating_sub(run.started.utc_ns)).unwrap_or(0)
}

/// The bars in order of their beginning. `windows` are those of `points`, where they could be read.
pub(super) fn of(run: &RunRecord, points: &[Point], windows: &[Option<&Window>]) -> Vec<Bar> {
    let mut line = Line { run, points, windows, bars: Vec::new(), last_ns: 0, open: None };
    for entry in &run.entries {
        line.add(entry);
    }
    // A sort by begin keeps the order in which things were said at one moment.
    line.bars.sort_by_key(|bar| bar.from_ns);
    line.bars
}

struct Line<'a> {
    run: &'a RunRecord,
    points: &'a [Point],
    windows: &'a [Option<&'a Window>],
    bars: Vec<Bar>,
    /// Where the last act ended.
    last_ns: u64,
    /// An act that was announced and has not ended: writing, putting back.
    open: Option<(Act, String, u64, String)>,
}

impl Line<'_> {
    fn add(&mut self, entry: &Entry) {
        let now = since(self.run, &entry.at);
        match &entry.fact {
            Fact::Begun { .. } => self.mark(now, "run begun; plan and undo script are durable"),
            Fact::Baseline { .. } => {
                self.measured(None, now);
                self.last_ns = now;
            }
            Fact::Intent { stage, steps, .. } => {
                let settings: usize = steps.iter().map(|step| step.batch.len()).sum();
                self.intended(*stage, settings, steps.len(), now);
            }
            Fact::Wrote { nanoseconds, .. } => self.wrote(*nanoseconds, now),
            Fact::Firmware { stage, step } => self.firmware(*stage, step, now),
            Fact::WriteFailed { why, .. } => self.close(now, Some(why)),
            Fact::Judged { stage, verdict, .. } => {
                self.measured(Some(*stage), now);
                self.judged(*stage, verdict, now);
            }
            Fact::PutBack { stage, why } => self.returns(self.name(Some(*stage)), now, why),
            Fact::Reverting { why } => self.returns(WHOLE.to_owned(), now, why),
            Fact::Restored { results } => {
                let words = format!("{} read back", several(results.len(), "setting"));
                self.close(now, Some(&words));
            }
            Fact::ForeignChange { changes } => {
                let words = format!("somebody else changed {}", several(changes.len(), "setting"));
                self.mark(now, &words);
            }
            Fact::Committed { why, .. } => self.end(now, "committed", why),
            Fact::Reverted { why, .. } => self.end(now, "reverted", why),
            Fact::Stuck { why, .. } => self.end(now, "stuck", why),
            Fact::Refused { why, .. } => self.refused(now, why),
            Fact::HazardOverridden { issue, .. } => {
                self.mark(now, &format!("hazard {issue} overridden"));
            }
            // Hours and days later: told in words, or the run itself would be a dot.
            Fact::ProbationBegan { .. }
            | Fact::ProbationEnded { .. }
            | Fact::Aftermath { .. }
            | Fact::CampaignBegan { .. }
            | Fact::CampaignJudged { .. }
            | Fact::CampaignEnded { .. }
            | Fact::ProbationWatched { .. }
            | Fact::Burdened { .. }
            | Fact::Unburdened { .. }
            | Fact::Mended { .. }
            | Fact::Adopted { .. }
            | Fact::KeyCreated(_)
            | Fact::KeyRotated(_)
            | Fact::Requested(_)
            | Fact::Decision(_)
            | Fact::ApprovalsUsed { .. }
            | Fact::Versions(_)
            | Fact::AgentStarted { .. }
            | Fact::AgentStopped { .. }
            | Fact::DriftSeen { .. }
            | Fact::Uncountersigned { .. }
            | Fact::Users { .. }
            | Fact::Standby { .. }
            | Fact::Disturbed { .. }
            | Fact::Frozen { .. }
            | Fact::Thawed { .. }
            | Fact::DeedRefused { .. } => {}
        }
    }

    fn returns(&mut self, what: String, now: u64, why: &str) {
        self.close(now, None);
        self.open = Some((Act::PutBack, what, now, why.to_owned()));
    }

    fn refused(&mut self, now: u64, why: &str) {
        // The baseline itself may be what refused it: measured, and never recorded.
        if self.bars.iter().all(|bar| bar.act == Act::Mark) && !self.points.is_empty() {
            self.measured(None, now);
        }
        self.end(now, "refused", why);
    }

    fn name(&self, stage: Option<usize>) -> String {
        match self.points.iter().find(|point| point.stage == stage) {
            Some(point) => point.name.clone(),
            None => stage.map_or("baseline".to_owned(), |stage| format!("stage {}", stage + 1)),
        }
    }

    fn push(&mut self, row: String, act: Act, from_ns: u64, to_ns: u64, words: String) {
        let to_ns = to_ns.max(from_ns);
        self.bars.push(Bar { row, act, from_ns, to_ns, words });
        self.last_ns = self.last_ns.max(to_ns);
    }

    fn mark(&mut self, now: u64, words: &str) {
        self.push(WHOLE.to_owned(), Act::Mark, now, now, words.to_owned());
    }

    /// Settling and measuring, as far as the window tells them apart.
    fn measured(&mut self, stage: Option<usize>, now: u64) {
        self.close(now, None);
        let row = self.name(stage);
        let from = self.last_ns.min(now);
        let index = self.points.iter().position(|point| point.stage == stage);
        let window = index.and_then(|index| self.windows.get(index).copied().flatten());
        let Some(window) = window.filter(|window| window.began_utc_ns != 0) else {
            let words = "settled and measured; the window itself is not known".to_owned();
            self.push(row, Act::Measure, from, now, words);
            return;
        };
        // The clock of UTC may have been stepped: a window lies between the facts around it.
        let began = window.began_utc_ns.saturating_sub(self.run.started.utc_ns);
        let began = u64::try_from(began).unwrap_or(0).clamp(from, now);
        let ended = began.saturating_add(window.length_ns).min(now);
        self.push(
            row.clone(),
            Act::Settle,
            from,
            began,
            "waited for carrier and replies".to_owned(),
        );
        let words = format!("measured {} packets, {} lost", window.sent, window.lost);
        self.push(row, Act::Measure, began, ended, words);
    }

    /// A stage with many settings announces them in several entries: one act all the same.
    fn intended(&mut self, stage: usize, settings: usize, requests: usize, now: u64) {
        let row = self.name(Some(stage));
        if let Some((Act::Write, open, _, _)) = &self.open
            && *open == row
        {
            return;
        }
        self.close(now, None);
        let words = format!(
            "intents durable; {} in {}",
            several(settings, "setting"),
            several(requests, "request")
        );
        self.open = Some((Act::Write, row, now, words));
    }

    /// Facts of several writes are recorded together: the first ends the act, all add to its words.
    fn wrote(&mut self, nanoseconds: u64, now: u64) {
        let took = nanoseconds as f64 / 1e3;
        if let Some((_, _, _, words)) = &self.open {
            let words = format!("{words}; {took:.1} µs in the kernel");
            self.close(now, Some(&words));
        } else if let Some(bar) = self.bars.iter_mut().rev().find(|bar| bar.act == Act::Write) {
            bar.words.push_str(&format!(" + {took:.1} µs"));
        }
    }

    fn firmware(&mut self, stage: usize, step: &FirmwareStep, now: u64) {
        let row = self.name(Some(stage));
        match step {
            FirmwareStep::Intent { action, .. } => {
                self.close(now, None);
                let words = format!("firmware {} -> {} flashed", action.from, action.to);
                self.open = Some((Act::Write, row, now, words));
            }
            FirmwareStep::Flashing { .. } | FirmwareStep::Flashed { .. } => {}
            FirmwareStep::Activating { to, .. } => {
                self.close(now, None);
                self.open = Some((Act::Write, row, now, format!("restarted into {to}")));
            }
            FirmwareStep::Activated { running, outage, .. } => {
                let outage = outage
                    .as_ref()
                    .map_or(String::new(), |outage| format!("; {} ms without a packet", outage.ms));
                self.close(now, Some(&format!("restarted; runs {running}{outage}")));
            }
            FirmwareStep::Returned { running, .. } => {
                self.close(now, None);
                self.mark(now, &format!("firmware {running} again, running and stored"));
            }
            FirmwareStep::Left { what, .. } => {
                self.close(now, None);
                self.mark(now, &what.words().join("; "));
            }
        }
    }

    fn judged(&mut self, stage: usize, verdict: &Verdict, now: u64) {
        let call = match verdict.verdict {
            Call::Keep => "keep",
            Call::Revert => "revert",
            Call::Inconclusive => "inconclusive",
        };
        let words = format!("judged: {call}. {}", verdict.why);
        self.push(self.name(Some(stage)), Act::Judge, self.last_ns.min(now), now, words);
    }

    /// Ends the act that is under way, if one is.
    fn close(&mut self, now: u64, words: Option<&str>) {
        if let Some((act, row, from, announced)) = self.open.take() {
            let words = match (act, words) {
                (Act::PutBack, Some(words)) => format!("put back: {announced}; {words}"),
                (Act::PutBack, None) => format!("put back: {announced}"),
                (_, Some(words)) => words.to_owned(),
                (_, None) => announced,
            };
            self.push(row, act, from, now, words);
        }
    }

    fn end(&mut self, now: u64, how: &str, why: &str) {
        self.close(now, None);
        self.mark(now, &format!("{how}: {why}"));
    }
}

fn several(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
