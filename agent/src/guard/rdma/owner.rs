//! Whose the kernel's RDMA resources are.
//!
//! An entry has a process, or the name of the kernel module that made it, or neither: then its process is in
//! another process-id namespace. The kernel's own management datagrams (`ib_core`) and a driver's own queue
//! pairs (mlx5_ib answers management datagrams by some that it keeps while a port is up) carry nobody's
//! traffic. Modules above the drivers (nvme_rdma, ib_iser, rpcrdma, smc, rds_rdma) do. Those of them that
//! go through the connection manager have pairs in its name: the connection's identifier tells whose it is.
//!
//! Source: drivers/infiniband/core/{nldev,restrack,cma}.c; the callers' KBUILD_MODNAME.

use std::collections::BTreeMap;

use super::word;
use crate::host::tlv::Attrs;

// enum rdma_nldev_attr
const RES_LQPN: u16 = 21;
const RES_PID: u16 = 28;
const RES_KERN_NAME: u16 = 29;
const RES_CM_ID: u16 = 30;

const CONNECTION_MANAGER: &str = "rdma_cm";
/// ib_core, and the modules of drivers/infiniband/{hw,sw}, out of tree ones under the same names included.
#[rustfmt::skip] // one maker a line
const KERNELS_OWN: &[&str] = &[
    "ib_core",
    "mlx5_ib", "mlx4_ib", "ib_mthca",
    "bnxt_re", "bng_re", "ocrdma",
    "irdma", "i40iw", "iw_nes", "hfi1", "ib_qib", "rdmavt",
    "iw_cxgb4", "iw_cxgb3", "qedr", "hns_roce_hw_v2", "usnic_verbs", "vmw_pvrdma",
    "efa", "erdma", "mana_ib", "ionic_rdma",
    "rdma_rxe", "siw",
];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Process(u32),
    /// A module that carries somebody's traffic.
    Kernel(String),
    /// The kernel or the device's driver, for itself.
    Nobody,
    Hidden,
}

/// Whose the entries of a table are. `connections`: by [`connections`].
pub(super) fn owners(answer: &[u8], table: u16, connections: &BTreeMap<u32, String>) -> Vec<Owner> {
    let Some(table) = Attrs(answer).find(table) else { return Vec::new() };
    table.nested().map(|entry| owner(entry.nested(), connections)).collect()
}

fn owner(entry: Attrs<'_>, connections: &BTreeMap<u32, String>) -> Owner {
    match (word(entry, RES_PID), entry.find(RES_KERN_NAME)) {
        (Some(pid), _) if pid != 0 => Owner::Process(pid),
        (_, Some(name)) if KERNELS_OWN.contains(&name.text()) => Owner::Nobody,
        (_, Some(name)) if name.text() == CONNECTION_MANAGER => {
            let user = word(entry, RES_LQPN).and_then(|number| connections.get(&number));
            Owner::Kernel(user.map_or(name.text(), String::as_str).to_owned())
        }
        (_, Some(name)) => Owner::Kernel(name.text().to_owned()),
        (_, None) => Owner::Hidden,
    }
}

/// The kernel modules that have connections, by the number of the queue pair.
pub(super) fn connections(answers: &[Vec<u8>]) -> BTreeMap<u32, String> {
    let tables = answers.iter().filter_map(|answer| Attrs(answer).find(RES_CM_ID));
    let entries = tables.flat_map(|table| table.nested().map(|entry| entry.nested()));
    entries
        .filter_map(|entry| {
            let user = entry.find(RES_KERN_NAME)?.text().to_owned();
            Some((word(entry, RES_LQPN)?, user))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tlv::Writer;

    const RES_QP: u16 = 19;

    fn entry(number: u32, owner: Option<&str>) -> Writer {
        let mut entry = Writer::new();
        entry.u32(RES_LQPN, number);
        match owner.map(|owner| (owner, owner.parse::<u32>())) {
            Some((_, Ok(pid))) => entry.u32(RES_PID, pid),
            Some((name, Err(_))) => entry.text(RES_KERN_NAME, name),
            None => &mut entry,
        };
        entry
    }

    fn table(kind: u16, entries: &[Writer]) -> Vec<u8> {
        let mut table = Writer::new();
        for entry in entries {
            table.nest(kind + 1, entry);
        }
        let mut answer = Writer::new();
        answer.nest(kind, &table);
        answer.into_bytes()
    }

    #[test]
    fn owners_are_processes_modules_above_the_driver_nobody_or_hidden() {
        let pairs = [
            entry(360, Some("mlx5_ib")),
            entry(0, Some("ib_core")),
            entry(41, Some("4321")),
            entry(42, Some("smc")),
            entry(43, Some("rdma_cm")),
            entry(44, Some("rdma_cm")),
            entry(45, None),
        ];
        let ids = table(RES_CM_ID, &[entry(43, Some("nvme_rdma")), entry(45, Some("4321"))]);
        let connections = connections(std::slice::from_ref(&ids));
        let whole = table(RES_QP, &pairs);
        let kernel = |name: &str| Owner::Kernel(name.to_owned());
        let expected = [
            Owner::Nobody,
            Owner::Nobody,
            Owner::Process(4321),
            kernel("smc"),
            kernel("nvme_rdma"),
            kernel("rdma_cm"),
            Owner::Hidden,
        ];
        assert_eq!(owners(&whole, RES_QP, &connections), expected);
        (0..whole.len()).for_each(|length| {
            drop(owners(&whole[..length], RES_QP, &connections));
        });
    }
}
