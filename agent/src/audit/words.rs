//! A fact in words.

use crate::{
    log::{
        Fact, Kept, ReadBack,
        fact::Foreign,
        office::{Decision, Request, Versions},
    },
    plan::Step,
};

/// Its kind, as the log spells it.
pub fn kind(fact: &Fact) -> String {
    let value = serde_json::to_value(fact).unwrap_or_default();
    value["kind"].as_str().unwrap_or_default().to_owned()
}

/// Who uses the NIC, and where traffic can go meanwhile.
fn around(fact: &Fact) -> Option<String> {
    let also = |words: &str, more: &[String]| match more.is_empty() {
        true => String::new(),
        false => format!("; {words}{}", more.join(", ")),
    };
    if let Fact::Users { holders, overridden } = fact {
        let each: Vec<String> = holders.iter().map(ToString::to_string).collect();
        return Some(format!("used by {}{}", each.join("; "), also("overridden: ", overridden)));
    }
    if let Fact::Standby { nic_name, shared_risks, .. } = fact {
        return Some(format!("{nic_name} stands by{}", also("", shared_risks)));
    }
    None
}

fn intended(stage: usize, steps: &[Step], disturbed: &[Kept]) -> String {
    let changes = steps.iter().flat_map(|step| &step.batch);
    let changes: Vec<String> =
        changes.map(|c| format!("{} {} -> {}", c.name, c.from, c.to)).collect();
    let also = match disturbed {
        [] => String::new(),
        some => format!("; may disturb {}", names(some)),
    };
    format!("stage {} will write {}{also}", stage + 1, changes.join(", "))
}

/// One line.
pub fn of(fact: &Fact) -> String {
    match fact {
        Fact::Mended { bytes, files } => mended(*bytes, files),
        Fact::Adopted { from, to, .. } => adopted(*from, *to),
        Fact::KeyCreated(key) => format!("the log's first key: {}", key.vkey),
        Fact::KeyRotated(rotation) => format!("the key is now {}: {}", rotation.new, rotation.why),
        Fact::Requested(request) => asked(request),
        Fact::Decision(decision) => decided(decision),
        Fact::ApprovalsUsed { plan, approvals } => {
            format!("{} approvals used for plan {plan}", approvals.len())
        }
        Fact::Versions(versions) => in_force(versions),
        Fact::AgentStarted { version, details: _ } => format!("the agent {version} started"),
        Fact::AgentStopped { why } => format!("the agent stopped: {why}"),
        Fact::Uncountersigned { entry, action, by, .. } => {
            let by = by.as_deref().unwrap_or("somebody");
            format!("NOT COUNTERSIGNED in time: {action} by {by} alone, asked for in entry {entry}")
        }
        Fact::DriftSeen { nic, changes } => format!("drift on {nic}: {}", strangers(changes)),
        Fact::Begun { playbook, nic_name, plan, .. } => {
            format!("{playbook} on {nic_name} begins; plan {plan}")
        }
        Fact::HazardOverridden { issue, acts, .. } => overridden(issue, acts),
        beside @ (Fact::Users { .. } | Fact::Standby { .. }) => around(beside).unwrap_or_default(),
        Fact::Baseline { evidence } => format!("baseline measured: {evidence}"),
        Fact::Intent { stage, steps, disturbed } => intended(*stage, steps, disturbed),
        Fact::Wrote { stage, results, .. } => {
            format!("stage {} wrote {}", stage + 1, backs(results))
        }
        Fact::Disturbed { stage, left } => format!("stage {} disturbed {}", stage + 1, names(left)),
        Fact::Firmware { stage, step } => format!("stage {} {}", stage + 1, step.words()),
        Fact::WriteFailed { stage, why } => format!("stage {}: {why}", stage + 1),
        Fact::Judged { stage, evidence, verdict } => {
            let call = spelt(&verdict.verdict);
            format!("stage {}: {call}, {} ({evidence})", stage + 1, verdict.why)
        }
        Fact::ForeignChange { changes } => format!("somebody else: {}", strangers(changes)),
        Fact::PutBack { stage, why } => format!("stage {} is put back: {why}", stage + 1),
        Fact::Reverting { why } => format!("everything is put back: {why}"),
        Fact::Restored { results } => format!("put back {}", backs(results)),
        Fact::Committed { why, provisional, .. } => match provisional {
            Some(until) => format!("provisionally ({until}): {why}"),
            None => why.clone(),
        },
        Fact::Reverted { why, proof, .. } => format!("{} read back: {why}", proof.len()),
        Fact::Stuck { why, by_hand, left: _ } => {
            format!("STUCK: {why}; by hand: {}", by_hand.join("; "))
        }
        Fact::Refused { rule, why } => format!("by {rule}: {why}"),
        after @ (Fact::ProbationBegan { .. }
        | Fact::ProbationWatched { .. }
        | Fact::ProbationEnded { .. }
        | Fact::Aftermath { .. }
        | Fact::CampaignBegan { .. }
        | Fact::Burdened { .. }
        | Fact::Unburdened { .. }
        | Fact::CampaignJudged { .. }
        | Fact::CampaignEnded { .. }) => afterwards(after).unwrap_or_default(),
        Fact::Frozen { why, uid } => format!("frozen by uid {uid}: {why}"),
        Fact::Thawed { uid } => format!("thawed by uid {uid}"),
        Fact::DeedRefused { file, why, .. } => format!("spool file {file} put aside: {why}"),
    }
}

fn adopted(from: u64, to: u64) -> String {
    format!(
        "entries {from} to {to} were signed by nobody when the log was opened; they are from here on"
    )
}

/// As the log spells it.
fn spelt(word: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(word).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn mended(bytes: u64, files: &[String]) -> String {
    match files {
        [] => format!("a torn end of {bytes} bytes was cut off"),
        some => format!("made whole after a crash: {} ({bytes} bytes cut off)", some.join(", ")),
    }
}

fn overridden(issue: &str, acts: &[String]) -> String {
    format!("hazard {issue} overridden for {}", acts.join(", "))
}

/// What is said of a run after its commit.
fn afterwards(fact: &Fact) -> Option<String> {
    let hours = |ns: &u64| format!("{:.1} h", *ns as f64 / 3.6e12);
    if let Fact::ProbationBegan { for_ns, peer, .. } = fact {
        return Some(format!("probation of {} against {peer} begins", hours(for_ns)));
    }
    if let Fact::ProbationWatched { watched_ns, samples } = fact {
        return Some(format!("{} watched, {samples} packets", hours(watched_ns)));
    }
    if let Fact::ProbationEnded { ending, why, .. } = fact {
        return Some(format!("probation {}: {why}", spelt(ending)));
    }
    if let Fact::Aftermath { finding, why, .. } = fact {
        return Some(format!("after the revert: {}, {why}", spelt(finding)));
    }
    if let Fact::CampaignBegan { campaign, items, .. } = fact {
        return Some(format!("campaign {campaign} begins: {}", items.join(", ")));
    }
    if let Fact::Burdened { item, leaves, .. } = fact {
        return Some(format!("{item} is laid on, would leave {}", leaves.join(", ")));
    }
    if let Fact::Unburdened { leaves, .. } = fact {
        return Some(format!("removed {}", leaves.join(", ")));
    }
    if let Fact::CampaignJudged { item, why, .. } = fact {
        return Some(format!("{item}: {why}"));
    }
    if let Fact::CampaignEnded { campaign, call, why } = fact {
        return Some(format!("campaign {campaign}: {}, {why}", spelt(call)));
    }
    None
}

fn asked(request: &Request) -> String {
    let overrides = match request.overrides.is_empty() {
        true => String::new(),
        false => format!(", overriding {}", request.overrides.join(", ")),
    };
    format!("asked to {} {}{overrides}", request.action, request.on)
}

fn decided(decision: &Decision) -> String {
    let word = if decision.allowed { "allowed" } else { "refused" };
    // The reason names the policies that decided.
    format!("{} of {} {word}: {}", decision.action, decision.on, decision.why)
}

fn in_force(versions: &Versions) -> String {
    let digests: Vec<String> =
        versions.digests.iter().map(|(name, digest)| format!("{name} {digest}")).collect();
    format!("nicmend {}; {}", versions.nicmend, digests.join(", "))
}

fn names(kept: &[Kept]) -> String {
    kept.iter().map(|kept| kept.name.to_string()).collect::<Vec<_>>().join(", ")
}

fn backs(results: &[ReadBack]) -> String {
    let one = |back: &ReadBack| match (&back.got, &back.fault) {
        (Some(got), _) if *got == back.asked => format!("{} = {got}", back.name),
        (Some(got), _) => format!("{} = {got} (asked {})", back.name, back.asked),
        (None, fault) => format!("{}: {}", back.name, fault.as_deref().unwrap_or("unknown")),
    };
    results.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn strangers(changes: &[Foreign]) -> String {
    let one = |c: &Foreign| format!("{} was left at {}, is {}", c.name, c.expected, c.found);
    changes.iter().map(one).collect::<Vec<_>>().join(", ")
}
