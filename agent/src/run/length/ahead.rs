//! What is left of a run where it has come to, and what a standby path adds to it.

use std::time::Duration;

use playbooks::vocabulary::Disruption;

use super::{AROUND, everything, forward, stage_worst};
use crate::{guard::standby::PROBE_MAX, plan::Plan};

/// Where in a plan a run has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// Its firmware is about to be flashed.
    Flash,
    /// Its device is about to restart into what was flashed.
    Restart,
    /// The settings of this stage are about to be written; its firmware is in force.
    Settings(usize),
}

/// What is left of it before that: this stage and those after it, and the whole way back.
pub fn left(plan: &Plan, ahead: Ahead) -> Duration {
    let flashes = plan.stages.iter().position(|stage| stage.firmware.is_some());
    let (from, flashed) = match ahead {
        Ahead::Restart => return super::from_restart(plan),
        Ahead::Flash => (flashes.unwrap_or(0), false),
        Ahead::Settings(stage) => (stage, flashes.is_some_and(|flashes| flashes <= stage)),
    };
    let rest = plan.stages.iter().skip(from);
    let writing = rest.filter(|stage| !stage.steps.is_empty() || stage.firmware.is_some());
    let stages: Duration = writing.map(|stage| stage_worst(plan, &stage.steps)).sum();
    let firmware = if flashed { Duration::ZERO } else { forward(plan) };
    AROUND + stages + firmware + everything(plan)
}

/// What a standby path adds: it is probed before each step forward that drops the link, those that tidy up behind
/// others included, and before a flash and a restart. (Nothing is probed on the way back, and what takes turns is
/// felt by nobody.)
pub fn probing(plan: &Plan) -> Duration {
    let drops = |felt: Disruption| felt >= Disruption::LinkFlap;
    let probes: usize = plan
        .stages
        .iter()
        .map(|stage| {
            let steps = stage.steps.iter().filter(|step| drops(step.disruption)).count();
            let tidied = stage.disturbs.iter().filter(|name| drops(name.setting().disruption));
            let guards = if stage.firmware.is_some() { 2 } else { 0 };
            steps + tidied.count() + guards
        })
        .sum();
    PROBE_MAX.saturating_mul(u32::try_from(probes).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        host::sim::Sim,
        rehearsal::machine_for,
        run::length::worst,
        runs::{Apply, StandbyPath, matter, prepare},
    };

    /// The first stage is felt by nobody, the second drops the link twice.
    fn request() -> (Sim, Apply) {
        let yaml = "apiVersion: nicmend/v1\nkind: Playbook\nmetadata: { name: x, version: 1.0.0, summary: x }\n\
             stages:\n  - { name: one, settings: { sysctl.net.core.netdev_budget: 600 } }\n  \
             - { name: two, settings: { ring.rx: 1024, channels.combined: 2 } }\n\
             guardrails: { latency.p99: { no-worse-than: 5% } }\n\
             verify: { transport: udp, settle: 2s, window: 20s, rate: 1000, payload: 64 }\n";
        let parsed = playbooks::parse::parse(yaml.as_bytes());
        let playbook = parsed.unwrap_or_else(|problems| panic!("{problems:?}"));
        let sim = Sim::new(machine_for(&playbook));
        (sim, Apply::plain(playbook, "eth1", Some("192.0.2.2:862".to_owned())))
    }

    #[test]
    fn what_is_left_shrinks_and_never_exceeds_the_whole() {
        let (sim, request) = request();
        let plan = prepare(&sim, &request).expect("a plan").plan;
        let (first, second) = (left(&plan, Ahead::Settings(0)), left(&plan, Ahead::Settings(1)));
        assert!(worst(&plan) > first && first > second && second > super::super::revert(&plan));
    }

    #[test]
    fn a_standby_path_is_counted_for_every_step_that_drops_the_link() {
        let (sim, mut request) = request();
        let prepared = prepare(&sim, &request).expect("a plan");
        let steps = prepared.plan.stages.iter().flat_map(|stage| &stage.steps);
        let felt = steps.filter(|step| step.disruption >= Disruption::LinkFlap).count();
        assert!(felt > 0 && probing(&prepared.plan) >= PROBE_MAX * felt as u32);
        let length = matter(&request, &prepared, "").length;
        request.standby = Some(StandbyPath { nic: "eth3".to_owned(), peer: None });
        let beside = matter(&request, &prepared, "").length;
        assert_eq!(beside, length + probing(&prepared.plan));
    }
}
