//! How long a run of a plan may take at the worst, its revert included: what must fit before a venue's next
//! phase begins. A bound and no estimate: most runs end much earlier.

use std::time::Duration;

use super::{restore, turns};
use crate::plan::{Plan, Step};

/// Beyond settling and its window, what a point may take: the last packets' answers, figures from outside,
/// counters, the evidence made durable, the verdict.
const POINT: Duration = Duration::from_secs(5);
/// Recovering what an earlier run left, planning, the first and the last entries of the log.
const AROUND: Duration = Duration::from_secs(5);

/// A run of this plan, from its first look to the last read-back of its revert.
pub fn worst(plan: &Plan) -> Duration {
    let writing =
        plan.stages.iter().filter(|stage| !stage.steps.is_empty() || stage.firmware.is_some());
    let stages: Duration = writing.map(|stage| stage_worst(plan, &stage.steps)).sum();
    AROUND + point(plan) + stages + firmware(plan) + back(&plan.revert)
}

/// Putting all of it back, as a run of its own.
pub fn revert(plan: &Plan) -> Duration {
    AROUND + firmware(plan) + back(&plan.revert)
}

/// What is left of it when the device is about to restart into what was flashed: the restart, this stage and
/// those after it, and the whole way back.
pub fn from_restart(plan: &Plan) -> Duration {
    let rest = plan.stages.iter().skip_while(|stage| stage.firmware.is_none());
    let stages: Duration = rest.map(|stage| stage_worst(plan, &stage.steps)).sum();
    let actions = plan.stages.iter().filter_map(|stage| stage.firmware.as_ref());
    let done: u64 = actions.map(|action| action.leases.drain_ms + action.leases.flash_ms).sum();
    let firmware = firmware(plan).saturating_sub(Duration::from_millis(done));
    AROUND + stages + firmware + back(&plan.revert)
}

/// A flash and a restart each way, after the time to leave.
fn firmware(plan: &Plan) -> Duration {
    let actions = plan.stages.iter().filter_map(|stage| stage.firmware.as_ref());
    let ms = actions.map(|action| {
        let leases = &action.leases;
        leases.drain_ms + 2 * (leases.flash_ms + leases.activate_ms + leases.back_ms)
    });
    Duration::from_millis(ms.sum())
}

/// Written, measured, judged, and put back where it did not help.
fn stage_worst(plan: &Plan, steps: &[Step]) -> Duration {
    let verify = &plan.playbook.verify;
    let measured = match verify.interleave {
        false => leases(steps) + point(plan),
        // A turn of each side more than one, and every one of them switched to; a window a side.
        true => {
            let turns = u32::try_from(2 * turns::pairs(verify.window) + 1).unwrap_or(u32::MAX);
            let switched =
                leases(steps).saturating_mul(turns).saturating_mul(turns::PASSES_MAX + 1);
            let settled = settling(plan).saturating_add(POINT).saturating_mul(turns);
            switched.saturating_add(settled).saturating_add(verify.window.saturating_mul(2))
        }
    };
    measured.saturating_add(back(steps))
}

/// One window with its settling.
fn point(plan: &Plan) -> Duration {
    settling(plan) + plan.playbook.verify.window + POINT
}

/// The NIC under test, then its control.
fn settling(plan: &Plan) -> Duration {
    let verify = &plan.playbook.verify;
    verify.settle * if verify.control.is_some() { 2 } else { 1 }
}

/// Every pass of a way back, each step holding the kernel as long as it may, and the pauses between.
fn back(steps: &[Step]) -> Duration {
    leases(steps).saturating_mul(restore::PASSES_MAX).saturating_add(restore::pauses())
}

fn leases(steps: &[Step]) -> Duration {
    steps.iter().map(|step| Duration::from_millis(step.lease_ms)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        host::sim::Sim,
        rehearsal::machine_for,
        runs::{Apply, prepare},
    };

    fn plan(verify: &str) -> Plan {
        let yaml = format!(
            "apiVersion: nicmend/v1\nkind: Playbook\nmetadata: {{ name: x, version: 1.0.0, summary: x }}\n\
             stages:\n  - {{ name: one, settings: {{ sysctl.net.core.netdev_budget: 600 }} }}\n  \
             - {{ name: two, settings: {{ ring.rx: 1024, coalesce.rx-usecs: 8 }} }}\n\
             guardrails: {{ latency.p99: {{ no-worse-than: 5% }} }}\nverify: {{ transport: udp, settle: 2s, window: 20s, rate: 1000, payload: 64{verify} }}\n"
        );
        let parsed = playbooks::parse::parse(yaml.as_bytes());
        let playbook = parsed.unwrap_or_else(|problems| panic!("{problems:?}"));
        let sim = Sim::new(machine_for(&playbook));
        let request = Apply::plain(playbook, "eth1", Some("192.0.2.2:862".to_owned()));
        prepare(&sim, &request).map(|prepared| prepared.plan).expect("a plan")
    }

    #[test]
    fn a_bound_counts_windows_settling_leases_and_every_pass_back() {
        let plan = plan("");
        let window = Duration::from_secs(2 + 20) + POINT;
        let stages: Duration = plan
            .stages
            .iter()
            .map(|stage| leases(&stage.steps) * (1 + restore::PASSES_MAX) + restore::pauses())
            .sum();
        let revert = leases(&plan.revert) * restore::PASSES_MAX + restore::pauses();
        assert_eq!(worst(&plan), AROUND + window * 3 + stages + revert);
        assert_eq!(super::revert(&plan), AROUND + revert);
        assert!(leases(&plan.revert) > Duration::ZERO);
    }

    #[test]
    fn taking_turns_takes_longer() {
        assert!(worst(&plan(", interleave: true")) > worst(&plan("")) + Duration::from_secs(20));
    }
}
