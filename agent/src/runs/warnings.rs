//! What an operator should know before a run, and what its windows cannot show.

use playbooks::{
    playbook::Transport,
    vocabulary::{Disruption, TakesEffect},
};

use crate::{
    host::Host,
    plan::{Plan, Step},
};

/// What an operator should know before, and nothing forbids.
pub(super) fn of(host: &dyn Host, plan: &Plan) -> Vec<String> {
    let mut warnings = Vec::new();
    let steers = plan.written().iter().any(|name| name.family() == "irq");
    if steers && crate::settings::irq::irqbalance_running(host) {
        warnings.push(
            "irqbalance is running and will move the interrupts again; the run would notice it as \
             somebody else's hand: stop it first"
                .to_owned(),
        );
    }
    let verify = &plan.playbook.verify;
    if let Some(period) = verify.storm_period.filter(|period| verify.window < *period * 3) {
        warnings.push(format!(
            "the window ({:.0} s) is shorter than three storm periods ({:.0} s each): a commit will \
             be provisional",
            verify.window.as_secs_f64(),
            period.as_secs_f64()
        ));
    }
    warnings.extend(limits(plan));
    warnings
}

/// What the probe's windows cannot show of this plan; part of every verdict on it.
pub(super) fn limits(plan: &Plan) -> Vec<String> {
    let mut limits = Vec::new();
    let steps = || plan.stages.iter().flat_map(|stage| &stage.steps);
    let names = |wanted: &dyn Fn(&Step) -> bool| -> Vec<String> {
        let steps = steps().filter(|step| wanted(step));
        steps.flat_map(|step| &step.batch).map(|change| change.name.to_string()).collect()
    };
    let verify = &plan.playbook.verify;
    let new = names(&|step| step.takes_effect == TakesEffect::NewSockets);
    if !new.is_empty() {
        let new = new.join(", ");
        limits.push(format!("measured on new connections; live ones are not yet reached by {new}"));
    }
    let tcp: Vec<String> = names(&|step| step.family == "sysctl")
        .into_iter()
        .filter(|name| name.contains(".tcp_"))
        .collect();
    if verify.transport == Transport::Udp && !tcp.is_empty() {
        limits.push(format!("measured over UDP, which does not show {}", tcp.join(", ")));
    }
    let felt = names(&|step| step.disruption > Disruption::None);
    if verify.interleave && !felt.is_empty() {
        limits.push(format!(
            "not interleaved where {} is in force: switching it to and fro would be felt",
            felt.join(", ")
        ));
    }
    limits
}
