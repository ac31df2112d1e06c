//! The fingerprint: two inventories with the same one describe the same state.
//!
//! Covered, for each NIC: identity (PCI address or namespace and name, permanent MAC, serial, board),
//! ids, model, firmware (running and stored), driver, kernel, capable PCIe link, VFs, membership,
//! qdisc, XDP mode, and every setting's configured value. For the host: kernel and CPU isolation,
//! and the settings that are the host's or the namespace's.
//!
//! Left out, because it moves by itself: counters, ifindex, NAPI ids, interrupt numbers, program ids,
//! link state and speed, health, PCIe link as trained, limits and effective values, addresses and routes,
//! alternative names, boot id, and the order in which the kernel lists NICs. A physical NIC's name
//! is left out too: renaming it changes nothing about it. A virtual NIC *is* its name.
//!
//! `irq.affinity` is a setting and covered: where irqbalance runs, so is what it does.

use std::collections::BTreeMap;

use playbooks::Name;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{HostFacts, NicFacts};
use crate::setting::Current;

/// sha256 over one NIC's stable part, in hex.
pub(super) fn nic(facts: &NicFacts) -> String {
    let pci = facts.pci.as_ref().map(|pci| {
        json!({
            "vendor": pci.vendor,
            "device": pci.device,
            "subsystem": [pci.subsystem_vendor, pci.subsystem_device],
            "capable": [pci.speed_max, pci.width_max.map(|width| width.to_string())],
        })
    });
    let (configured, modes) = (facts.vfs.map(|vfs| vfs.configured), &facts.xdp);
    digest(&json!({
        "id": facts.id,
        "permanent-mac": facts.permanent_mac,
        "serial": facts.serial,
        "board": facts.board,
        "kind": facts.kind,
        "model": facts.model,
        "pci": pci,
        "numa-node": facts.numa_node,
        "driver": [Some(&facts.driver), facts.driver_version.as_ref()],
        "in-tree": facts.in_tree,
        "firmware": facts.firmware,
        "kernel": [&facts.kernel, &facts.kernel_base],
        "vfs": configured,
        "member-of": facts.member_of,
        "over": facts.over,
        "vlan": facts.vlan,
        "qdisc": facts.qdisc,
        "xdp": modes.as_ref().map(|xdp| &xdp.mode),
        "settings": values(&facts.settings),
    }))
}

/// sha256 over the host's stable part and its NICs' fingerprints, in hex.
pub(super) fn whole(host: &HostFacts, nics: &[NicFacts]) -> String {
    let mut each: Vec<&str> = nics.iter().map(|nic| nic.fingerprint.as_str()).collect();
    each.sort_unstable();
    digest(&json!({
        "host": host.name,
        "kernel": [&host.kernel, &host.kernel_base],
        "isolated": host.isolated_cpus,
        "nohz-full": host.nohz_full_cpus,
        "settings": values(&host.settings),
        "nics": each,
    }))
}

fn values(settings: &BTreeMap<Name, Current>) -> Value {
    let pairs = settings.iter().map(|(name, current)| (name.to_string(), json!(current.value)));
    Value::Object(pairs.collect())
}

/// Canonical: keys sorted, no white space.
fn digest(value: &Value) -> String {
    let bytes = Sha256::digest(sorted(value).to_string().as_bytes());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same with every object's keys in order. Whether serde_json's map keeps them so by itself depends on
/// a feature that any crate of the tree may switch on.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let pairs: BTreeMap<&String, Value> =
                map.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(pairs.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_does_not_depend_on_the_order_of_keys() {
        let one = json!({"b": {"z": 1, "y": [{"d": 1, "c": 2}]}, "a": 2});
        let two = json!({"a": 2, "b": {"y": [{"c": 2, "d": 1}], "z": 1}});
        assert_eq!(digest(&one), digest(&two));
        assert_eq!(sorted(&one).to_string(), r#"{"a":2,"b":{"y":[{"c":2,"d":1}],"z":1}}"#);
    }
}
