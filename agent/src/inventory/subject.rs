//! A NIC of the inventory as the firmware catalog asks about it.

use firmware_catalog::{Circumstance, Subject};
use playbooks::Value;

use super::NicFacts;

/// What the catalog needs to know of this NIC. What the inventory could not tell stays unknown.
pub fn subject(nic: &NicFacts) -> Subject {
    let number = |id: &str| u16::from_str_radix(id, 16).ok();
    let pci = nic.pci.as_ref().and_then(|pci| number(&pci.vendor).zip(number(&pci.device)));
    let mut subject = Subject {
        name: nic.name.clone(),
        driver: nic.driver.clone(),
        in_tree: nic.in_tree,
        driver_version: nic.driver_version.clone(),
        pci,
        model: nic.model.clone(),
        board: nic.board.clone(),
        running: nic.firmware.running.clone(),
        stored: nic.firmware.stored.clone(),
        release: Some(nic.kernel.clone()),
        kernel_base: Some(nic.kernel_base.clone()).filter(|base| base != "unknown"),
        circumstances: Default::default(),
    };
    for (circumstance, holds) in known(nic) {
        if let Some(holds) = holds {
            subject.circumstances.insert(circumstance, holds);
        }
    }
    subject
}

/// The circumstances that an inventory shows; `None`: it does not.
fn known(nic: &NicFacts) -> [(Circumstance, Option<bool>); 7] {
    let setting = |wanted: &str| {
        let found = nic.settings.iter().find(|(name, _)| name.as_str() == wanted);
        found.map(|(_, current)| &current.value)
    };
    let yes = |holds: bool| holds.then_some(true);
    let threaded = setting("napi.threaded").map(|value| *value == Value::Text("busy-poll".into()));
    [
        (Circumstance::Xdp, Some(nic.xdp.is_some())),
        // Whether the others have none is told by newer kernels only.
        (Circumstance::AfXdp, yes(nic.queues.iter().any(|queue| queue.af_xdp))),
        // A clock may be in use or not; without one it is not.
        (Circumstance::Ptp, nic.ptp.is_none().then_some(false)),
        (Circumstance::Ntuple, setting("feature.rx-ntuple-filter").and_then(Value::as_bool)),
        (Circumstance::NoRdma, nic.pci.as_ref().map(|_| nic.rdma.is_empty())),
        (
            Circumstance::TrafficClasses,
            nic.qdisc.as_deref().map(|qdisc| matches!(qdisc, "mqprio" | "taprio")),
        ),
        (Circumstance::BusyPollThreads, threaded),
    ]
}
