//! `undo.sh`: the way back as plain lines, on disk before the first write.

use super::firmware;
use crate::{host::Nic, plan::Plan};

/// Plain lines that a person can paste with nicmend dead.
pub(super) fn script(id: &str, plan: &Plan, nic: &Nic) -> String {
    let mut lines = vec![
        "#!/bin/sh".to_owned(),
        format!("# Puts back by hand what nicmend run {id} changes on {}.", plan.nic_name),
        format!("# Playbook {} {}.", plan.playbook.name, plan.playbook.version),
        "# Every line is what was configured before the run; `nicmend recover` does the same."
            .to_owned(),
        format!(
            "# To be run in network namespace net:[{}] (readlink /proc/self/ns/net).",
            plan.host.netns
        ),
    ];
    for step in &plan.revert {
        if let Some(family) = crate::setting::SETTINGS.iter().find(|f| f.name() == step.family) {
            lines.extend(family.by_hand(nic, &step.batch));
        }
    }
    let in_revert = |name: &playbooks::Name| {
        plan.revert.iter().flat_map(|step| &step.batch).any(|change| change.name == *name)
    };
    let disturbed = plan.snapshot.iter().filter(|kept| !in_revert(&kept.name));
    let mut disturbed = disturbed.peekable();
    if disturbed.peek().is_some() {
        lines.push("# What the lines above, or the run, may have changed besides:".to_owned());
    }
    for kept in disturbed {
        let (from, to) = (kept.original.clone(), kept.original.clone());
        let change = crate::setting::Change { name: kept.name.clone(), from, to };
        if let Ok(family) = crate::setting::family_of(&kept.name) {
            lines.extend(family.by_hand(nic, &[change]));
        }
    }
    lines.extend(firmware::undo_lines(plan));
    lines.push(String::new());
    lines.join("\n")
}
