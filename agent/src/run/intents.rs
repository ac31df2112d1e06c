//! What is about to be written, as entries that fit the log.

use crate::{
    log::{Fact, Kept, fact::portions},
    plan::Step,
};

/// How many changes go into one intent entry, so that it fits the log's frame whatever their size.
const CHANGES_AN_ENTRY: usize = 16;

/// Intent entries of bounded size: steps first, then what may be disturbed.
pub(super) fn intents(stage: usize, steps: &[Step], kept: Vec<Kept>) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut entry: Vec<Step> = Vec::new();
    for step in steps {
        for part in step.batch.chunks(CHANGES_AN_ENTRY) {
            let full: usize = entry.iter().map(|s| s.batch.len()).sum();
            if full + part.len() > CHANGES_AN_ENTRY {
                let steps = std::mem::take(&mut entry);
                facts.push(Fact::Intent { stage, steps, disturbed: Vec::new() });
            }
            entry.push(Step { batch: part.to_vec(), ..step.clone() });
        }
    }
    facts.push(Fact::Intent { stage, steps: entry, disturbed: Vec::new() });
    for disturbed in portions(kept) {
        facts.push(Fact::Intent { stage, steps: Vec::new(), disturbed });
    }
    facts
}
