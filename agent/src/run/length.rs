//! How long a run of a plan may take at the worst, its revert included: what must fit before a venue's next
//! phase begins. A bound and no estimate: most runs end much earlier.

mod ahead;

use std::time::Duration;

pub use ahead::{Ahead, left, probing};

use super::{
    firmware::{Before, Order, WAIT_MS, WAITS_A_RESTART, WAITS_MAX},
    lease::{self, Way},
    restore, returning, turns,
};
use crate::{
    host::Nic,
    plan::{
        Plan, Step,
        firmware::{FirmwareAction, Which},
        order,
    },
    setting::Change,
    settings::disruption,
};

/// Beyond settling and its window, what a point may take: the last packets' answers, figures from outside,
/// counters, the evidence made durable, the verdict.
const POINT: Duration = Duration::from_secs(5);
/// Recovering what an earlier run left, planning, the first and the last entries of the log.
const AROUND: Duration = Duration::from_secs(5);
/// Between the tries of a write at a busy driver.
const BUSY: Duration = Duration::from_millis(300);

/// A run of this plan, from its first look to the last read-back of its revert.
pub fn worst(plan: &Plan) -> Duration {
    let writing =
        plan.stages.iter().filter(|stage| !stage.steps.is_empty() || stage.firmware.is_some());
    let stages: Duration = writing.map(|stage| stage_worst(plan, &stage.steps)).sum();
    AROUND + point(plan) + stages + forward(plan) + everything(plan)
}

/// A flash and a restart, and what stands around them.
fn forward(plan: &Plan) -> Duration {
    let write = longest_write(plan);
    actions(plan).map(|action| until_restart(action) + restart(action) + write).sum()
}

/// Putting all of it back, as a run of its own.
pub fn revert(plan: &Plan) -> Duration {
    AROUND + everything(plan)
}

/// What is left of it when the device is about to restart into what was flashed: the restart, this stage and
/// those after it, and the whole way back.
pub fn from_restart(plan: &Plan) -> Duration {
    let rest = plan.stages.iter().skip_while(|stage| stage.firmware.is_none());
    let stages: Duration = rest.map(|stage| stage_worst(plan, &stage.steps)).sum();
    let write = longest_write(plan);
    let restarts: Duration = actions(plan).map(|action| restart(action) + write).sum();
    AROUND + stages + restarts + everything(plan)
}

fn actions(plan: &Plan) -> impl Iterator<Item = &FirmwareAction> {
    plan.stages.iter().filter_map(|stage| stage.firmware.as_ref())
}

/// From the stage's first look at the device until it is about to restart.
fn until_restart(action: &FirmwareAction) -> Duration {
    let orders = [
        Order::Guard(Before::Flash),
        Order::Keep,
        Order::Place(Which::New),
        Order::Flash(Which::New),
        Order::Look,
        Order::Drain,
    ];
    forth(action, &orders) + waits(action)
}

/// From the guard before it until every port is as it was.
fn restart(action: &FirmwareAction) -> Duration {
    let orders = [
        Order::Guard(Before::Activation),
        Order::Activate(Which::New),
        Order::Await,
        Order::Look,
        Order::Restore(String::new()),
        Order::Clear,
    ];
    forth(action, &orders)
}

fn forth(action: &FirmwareAction, orders: &[Order]) -> Duration {
    orders.iter().map(|order| lease::of(action, order, Way::Forth)).sum()
}

/// Without a way back a guard is waited for, also one that bars a restart while the device is busy.
fn waits(action: &FirmwareAction) -> Duration {
    let guard = forth(action, &[Order::Guard(Before::Activation)]);
    let restart = forth(action, &[Order::Activate(Which::New)]);
    match action.way_back {
        Some(_) => Duration::ZERO,
        None => {
            (Duration::from_millis(WAIT_MS) + guard) * WAITS_MAX
                + restart * WAITS_MAX.div_ceil(WAITS_A_RESTART)
        }
    }
}

/// The whole way back: firmware first, then settings.
fn everything(plan: &Plan) -> Duration {
    let write = longest_write(plan);
    let firmware: Duration = actions(plan).map(|action| firmware_back(action, write)).sum();
    let nic = Nic::told(&plan.nic, &plan.nic_name, &plan.driver);
    // Whatever was written or disturbed, at whatever value it is found.
    let changes = plan.snapshot.iter().map(|kept| Change {
        name: kept.name.clone(),
        from: kept.original.clone(),
        to: kept.original.clone(),
    });
    let any = order::steps(&nic, changes.collect());
    firmware + back(&plan.revert).max(back(&any))
}

/// As often as each order may be given, and the pauses between them.
fn firmware_back(action: &FirmwareAction, write: Duration) -> Duration {
    let of = |order: &Order| lease::of(action, order, Way::Back);
    let pause = Duration::from_millis(returning::PAUSE_MS_MAX);
    let small = [Order::Look, Order::Keep, Order::Place(Which::Old)];
    // An order that is counted as a try, or the pause after it.
    let try_ = small.iter().map(of).max().unwrap_or_default().max(pause);
    // The last of them begins just before it is too late for another.
    let again = Duration::from_millis(returning::AGAIN_MS_MAX);
    // Waits, restorations and clearings are counted apart, and so are the pauses after them.
    let apart = returning::AWAITS_MAX + returning::RESTORES_MAX + returning::CLEARS_MAX;
    try_ * (returning::TRIES_MAX + 1)
        + again
        + of(&Order::Flash(Which::Old))
        + again
        + of(&Order::Activate(Which::Old))
        + of(&Order::Await) * returning::AWAITS_MAX
        + (of(&Order::Restore(String::new())) + write) * returning::RESTORES_MAX
        + of(&Order::Clear) * returning::CLEARS_MAX
        + pause * apart
}

/// The longest that the driver of the device's ports may hold the kernel for one setting.
fn longest_write(plan: &Plan) -> Duration {
    Duration::from_millis(order::lease_ms(disruption::worst(&plan.driver)))
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
    steps.iter().map(|step| Duration::from_millis(step.lease_ms) + BUSY).sum()
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
        let revert = everything(&plan);
        assert_eq!(worst(&plan), AROUND + window * 3 + stages + revert);
        assert_eq!(super::revert(&plan), AROUND + revert);
        let planned = leases(&plan.revert) * restore::PASSES_MAX + restore::pauses();
        assert!(planned > Duration::ZERO && revert >= planned);
    }

    #[test]
    fn taking_turns_takes_longer() {
        assert!(worst(&plan(", interleave: true")) > worst(&plan("")) + Duration::from_secs(20));
    }
}
