//! The kernel's side of RDMA netlink: devices, queue pairs, connections and who made them.
//!
//! Source: include/uapi/rdma/rdma_netlink.h; drivers/infiniband/core/nldev.c.

use serde::{Deserialize, Serialize};

use super::{Refusal, State};
use crate::host::tlv::{Attrs, Writer};

// enum rdma_nldev_command
const GET: u8 = 1;
const PORT_GET: u8 = 5;
const RES_QP_GET: u8 = 10;
const RES_CM_ID_GET: u8 = 11;
const RES_CTX_GET: u8 = 22;
// enum rdma_nldev_attr
const DEV_INDEX: u16 = 1;
const DEV_NAME: u16 = 2;
const RES_QP: u16 = 19;
const RES_LQPN: u16 = 21;
const RES_PID: u16 = 28;
const RES_KERN_NAME: u16 = 29;
const RES_CM_ID: u16 = 30;
const NDEV_INDEX: u16 = 50;
const RES_CTX: u16 = 86;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SimRdma {
    /// `mlx5_0`; its files are the test's own to put.
    pub name: String,
    /// The NIC that its port is on.
    pub nic: String,
    #[serde(default)]
    pub pairs: Vec<Owned>,
    /// Of the connection manager.
    #[serde(default)]
    pub connections: Vec<Owned>,
}

/// A resource: the queue pair's number and its maker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Owned {
    pub pair: u32,
    pub by: Maker,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maker {
    Process(u32),
    Kernel(String),
    /// A process of another process-id namespace.
    Hidden,
}

pub(super) fn ask(state: &State, command: u8, payload: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    let devices = &state.machine.rdma;
    if devices.is_empty() {
        return Err(Refusal::errno(libc::EOPNOTSUPP));
    }
    if command == GET {
        let each = devices.iter().zip(0..);
        return Ok(each.map(|(device, index)| about(index, Some(&device.name))).collect());
    }
    let index = Attrs(payload).find(DEV_INDEX).and_then(|index| index.number());
    let found = index.and_then(|index| Some((devices.get(index as usize)?, index as u32)));
    let Some((device, index)) = found else { return Err(Refusal::errno(libc::EINVAL)) };
    match command {
        PORT_GET => {
            let nic = state.machine.nic(&device.nic);
            let mut port = Writer::new();
            port.u32(DEV_INDEX, index).u32(NDEV_INDEX, nic.map_or(0, |nic| nic.ifindex));
            Ok(vec![port.into_bytes()])
        }
        RES_QP_GET => Ok(vec![table(index, RES_QP, &device.pairs)]),
        RES_CM_ID_GET => Ok(vec![table(index, RES_CM_ID, &device.connections)]),
        RES_CTX_GET => Ok(vec![table(index, RES_CTX, &[])]),
        _ => Err(Refusal::errno(libc::EOPNOTSUPP)),
    }
}

fn about(index: u32, name: Option<&str>) -> Vec<u8> {
    let mut answer = Writer::new();
    answer.u32(DEV_INDEX, index);
    if let Some(name) = name {
        answer.text(DEV_NAME, name);
    }
    answer.into_bytes()
}

fn table(index: u32, kind: u16, resources: &[Owned]) -> Vec<u8> {
    let mut table = Writer::new();
    for resource in resources {
        let mut entry = Writer::new();
        entry.u32(RES_LQPN, resource.pair);
        match &resource.by {
            Maker::Process(pid) => entry.u32(RES_PID, *pid),
            Maker::Kernel(name) => entry.text(RES_KERN_NAME, name),
            Maker::Hidden => &mut entry,
        };
        table.nest(kind + 1, &entry);
    }
    let mut answer = about(index, None);
    let mut nested = Writer::new();
    nested.nest(kind, &table);
    answer.extend_from_slice(nested.as_bytes());
    answer
}
