//! The kernel's side of netdev-genl: devices, queues, NAPI instances, and `napi-set`.
//!
//! Source: Documentation/netlink/specs/netdev.yaml, include/uapi/linux/netdev.h.

use super::{
    Refusal, State,
    machine::{NetdevGenl, SimNic},
    quirk,
    sockets::Protocol,
};
use crate::host::{
    Mode,
    tlv::{Attrs, Writer},
};

// NETDEV_CMD_*
const DEV_GET: u8 = 1;
const QUEUE_GET: u8 = 10;
const NAPI_GET: u8 = 11;
const QSTATS_GET: u8 = 12;
const NAPI_SET: u8 = 14;
// NETDEV_A_NAPI_*
const NAPI_IFINDEX: u16 = 1;
const NAPI_ID: u16 = 2;
const NAPI_IRQ: u16 = 3;
const NAPI_DEFER_HARD_IRQS: u16 = 5;
const NAPI_GRO_FLUSH_TIMEOUT: u16 = 6;
const NAPI_IRQ_SUSPEND_TIMEOUT: u16 = 7;
const NAPI_THREADED: u16 = 8;
// NETDEV_A_QUEUE_*
const QUEUE_ID: u16 = 1;
const QUEUE_IFINDEX: u16 = 2;
const QUEUE_TYPE: u16 = 3;
const QUEUE_NAPI_ID: u16 = 4;
const QUEUE_IO_URING: u16 = 6;
const QUEUE_XSK: u16 = 7;

type Answers = Result<Vec<Vec<u8>>, Refusal>;

pub(super) fn ask(state: &mut State, command: u8, mode: Mode, payload: &[u8]) -> Answers {
    let attrs = Attrs(payload);
    if state.machine.netdev_genl == NetdevGenl::Absent {
        return Err(Refusal::errno(libc::ENOENT));
    }
    match (command, mode) {
        (DEV_GET, Mode::Dump) => {
            Ok(state.machine.nics.iter().map(|nic| device(nic.ifindex)).collect())
        }
        (DEV_GET, Mode::Do) => Ok(vec![device(wanted_nic(state, attrs, 1)?.ifindex)]),
        (NAPI_GET, Mode::Dump) => {
            let nics = chosen(state, attrs, NAPI_IFINDEX)?;
            let all = nics.iter().flat_map(|nic| (0..nic.napis.len()).map(move |i| (nic, i)));
            Ok(all.map(|(nic, i)| napi(state, nic, i)).collect())
        }
        (NAPI_GET, Mode::Do) => {
            let (ifindex, i) = by_id(state, attrs)?;
            let nic = state.machine.by_index(ifindex).ok_or_else(no_such)?;
            Ok(vec![napi(state, nic, i)])
        }
        (NAPI_SET, Mode::Do) if state.machine.netdev_genl == NetdevGenl::Set => {
            set(state, attrs).map(|()| Vec::new())
        }
        (QUEUE_GET, Mode::Dump) => {
            let nics = chosen(state, attrs, QUEUE_IFINDEX)?;
            Ok(nics.iter().flat_map(|nic| queues(state, nic)).collect())
        }
        (QSTATS_GET, Mode::Dump) => qstats(state, attrs),
        _ => Err(Refusal::errno(libc::EOPNOTSUPP)),
    }
}

fn no_such() -> Refusal {
    Refusal::errno(libc::ENOENT)
}

fn wanted_nic<'a>(state: &'a State, attrs: Attrs<'_>, attr: u16) -> Result<&'a SimNic, Refusal> {
    let index = attrs.find(attr).and_then(|a| a.number());
    let index = index.ok_or_else(|| Refusal::errno(libc::EINVAL))?;
    let found = state.machine.nics.iter().find(|nic| u64::from(nic.ifindex) == index);
    found.ok_or_else(|| Refusal::errno(libc::ENODEV))
}

/// The NICs of a dump: the one asked for, or all.
fn chosen<'a>(state: &'a State, attrs: Attrs<'_>, attr: u16) -> Result<Vec<&'a SimNic>, Refusal> {
    match attrs.find(attr) {
        Some(_) => Ok(vec![wanted_nic(state, attrs, attr)?]),
        None => Ok(state.machine.nics.iter().collect()),
    }
}

fn device(ifindex: u32) -> Vec<u8> {
    let mut out = Writer::new();
    out.u32(1, ifindex).u64(3, 0);
    out.into_bytes()
}

/// The kernel shows a NAPI instance only while the NIC is up, and `uint` attributes as 32 bits where
/// they fit.
fn napi(state: &State, nic: &SimNic, i: usize) -> Vec<u8> {
    let conf = &nic.napis[i];
    let mut out = Writer::new();
    out.u32(NAPI_IFINDEX, nic.ifindex).u32(NAPI_ID, state.napi_id(nic.ifindex, i));
    if i < nic.vectors() {
        out.u32(NAPI_IRQ, state.irq(nic.ifindex, i));
    }
    if state.machine.netdev_genl == NetdevGenl::Set {
        out.u32(NAPI_DEFER_HARD_IRQS, conf.defer_hard_irqs);
        uint(&mut out, NAPI_GRO_FLUSH_TIMEOUT, conf.gro_flush_timeout);
        uint(&mut out, NAPI_IRQ_SUSPEND_TIMEOUT, conf.irq_suspend_timeout);
        uint(&mut out, NAPI_THREADED, conf.threaded.into());
    }
    out.into_bytes()
}

fn uint(out: &mut Writer, attr: u16, value: u64) {
    match u32::try_from(value) {
        Ok(small) => out.u32(attr, small),
        Err(_) => out.u64(attr, value),
    };
}

fn by_id(state: &State, attrs: Attrs<'_>) -> Result<(u32, usize), Refusal> {
    let id = attrs.find(NAPI_ID).and_then(|a| a.number());
    let id = id.ok_or_else(|| Refusal::errno(libc::EINVAL))?;
    let mut all = state
        .machine
        .nics
        .iter()
        .flat_map(|nic| (0..nic.napis.len()).map(move |i| (nic.ifindex, i)));
    all.find(|(ifindex, i)| u64::from(state.napi_id(*ifindex, *i)) == id).ok_or_else(no_such)
}

fn set(state: &mut State, attrs: Attrs<'_>) -> Result<(), Refusal> {
    let (ifindex, i) = by_id(state, attrs)?;
    quirk::busy(state, ifindex, "napi")?;
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(no_such)?;
    let range = || Refusal::errno(libc::ERANGE);
    let conf = &mut nic.napis[i];
    for attr in attrs {
        let value = attr.number().ok_or_else(range)?;
        match attr.kind {
            NAPI_ID => {}
            // The kernel takes 0 to S32_MAX.
            NAPI_DEFER_HARD_IRQS if value <= i32::MAX as u64 => conf.defer_hard_irqs = value as u32,
            NAPI_GRO_FLUSH_TIMEOUT => conf.gro_flush_timeout = value,
            NAPI_IRQ_SUSPEND_TIMEOUT => conf.irq_suspend_timeout = value,
            NAPI_THREADED if value <= 2 => conf.threaded = value as u8,
            NAPI_DEFER_HARD_IRQS | NAPI_THREADED => return Err(range()),
            _ => return Err(Refusal::because(libc::EINVAL, "Unknown attribute type")),
        }
    }
    Ok(())
}

fn queues(state: &State, nic: &SimNic) -> Vec<Vec<u8>> {
    let of = |kind: u32, count: usize| (0..count).map(move |i| (kind, i));
    of(0, nic.rx_queues())
        .chain(of(1, nic.tx_queues()))
        .map(|(kind, i)| {
            let mut out = Writer::new();
            out.u32(QUEUE_ID, i as u32).u32(QUEUE_TYPE, kind);
            out.u32(QUEUE_NAPI_ID, state.napi_id(nic.ifindex, i)).u32(QUEUE_IFINDEX, nic.ifindex);
            for (protocol, attr) in
                [(Protocol::Xdp, QUEUE_XSK), (Protocol::IoUring, QUEUE_IO_URING)]
            {
                let bound = state.machine.sockets.iter().any(|socket| {
                    socket.protocol == protocol
                        && socket.nic.as_ref() == Some(&nic.name)
                        && socket.queue as usize == i
                });
                if bound {
                    out.nest(attr, &Writer::new());
                }
            }
            out.into_bytes()
        })
        .collect()
}

/// Receive packets a queue: IFINDEX 1, QUEUE_TYPE 2, QUEUE_ID 3, RX_PACKETS 8.
fn qstats(state: &State, attrs: Attrs<'_>) -> Answers {
    let nics = chosen(state, attrs, 1)?;
    let mut answers = Vec::new();
    for nic in nics {
        for queue in 0..nic.rx_queues() {
            let mut out = Writer::new();
            out.u32(1, nic.ifindex).u32(2, 0).u32(3, queue as u32);
            uint(&mut out, 8, state.counters.received(nic.ifindex, queue));
            answers.push(out.into_bytes());
        }
    }
    Ok(answers)
}
