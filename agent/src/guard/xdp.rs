//! AF_XDP sockets bound to the NIC's queues, and queues whose memory belongs to a process (io_uring zero
//! copy, dma-buf).
//!
//! Three witnesses, none enough alone. Socket diag names the socket, but may not be built in, and its dump
//! ends at a socket whose interface went away (net/xdp/xsk_diag.c). The queue dump of netdev-genl shows a
//! bound queue, but not whose socket, since Linux 6.15 and of interfaces that are up. /proc/net/protocols
//! counts the sockets of the namespace: none is none, and more than diag lists means that some are hidden.
//!
//! Source: Documentation/netlink/specs/netdev.yaml, include/uapi/linux/xdp_diag.h.

use std::path::Path;

use policy::holders::{Certainty, Signal};

use super::{
    Sign,
    clue::{Alone, Clue, Found, Token, held, unknown},
    scene::{Port, Scene, present},
};
use crate::{
    fault::{Kind, Result},
    host::{Ask, Genl, Host, Mode, Nic, tlv::Attrs},
};

/// netdev-genl's queue-get, since Linux 6.8.
const QUEUE_GET: u8 = 10;
const QUEUE_ID: u16 = 1;
const QUEUE_IFINDEX: u16 = 2;
const QUEUE_TYPE: u16 = 3;
const QUEUE_DMABUF: u16 = 5;
const QUEUE_IO_URING: u16 = 6;
const QUEUE_XSK: u16 = 7;
/// The first kernel whose dump tells of AF_XDP.
const TELLS_XSK: (u32, u32) = (6, 15);

/// `struct xdp_diag_req`: u8 family, u8 protocol, u16 pad, u32 inode, u32 show, u32 cookie[2].
const AF_XDP: u8 = 44;
const SHOW_INFO: u32 = 1;
/// `struct xdp_diag_msg`, and XDP_DIAG_INFO: `struct xdp_diag_info`, ifindex and queue.
const ANSWER_BYTES: usize = 16;
const DIAG_INFO: u16 = 1;
const SOCKETS_MAX: usize = 10_000;

pub(super) struct Queues;

impl Sign for Queues {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::AfXdp, Signal::MemoryProvider]
    }

    fn look(&self, scene: &Scene<'_>) -> Result<Found> {
        let mut found = Found::default();
        let queues = present(queues(scene.host))?;
        let count = count(scene.host)?;
        let sockets = match count {
            Some(0) => Some(Vec::new()),
            Some(_) | None => present(sockets(scene.host))?,
        };
        for (port, nic) in scene.nics() {
            let here: Vec<&Queue> = queues
                .iter()
                .flatten()
                .filter(|queue| port.stack.contains(&queue.ifindex))
                .collect();
            for queue in here.iter().filter(|queue| queue.provider.is_some()) {
                let provider = queue.provider.unwrap_or_default();
                let how = format!("the memory of {} is {provider}'s", queue.name);
                found.holders.push(held(Signal::MemoryProvider, &port.name, &queue.name, how));
            }
            let bound: Vec<&str> =
                here.iter().filter(|queue| queue.xsk).map(|queue| queue.name.as_str()).collect();
            match &sockets {
                Some(sockets) => by_sockets(&mut found, port, sockets, count, &bound),
                None => {
                    let told = queues.iter().flatten().any(|queue| queue.xsk)
                        || tells(nic) && !here.is_empty();
                    by_queues(&mut found, port, &bound, told);
                }
            }
        }
        Ok(found)
    }
}

/// What socket diag lists, held against the count and the queues.
fn by_sockets(
    found: &mut Found,
    port: &Port,
    sockets: &[Socket],
    count: Option<u64>,
    bound: &[&str],
) {
    let mut named = false;
    for socket in sockets.iter().filter(|socket| port.stack.contains(&socket.ifindex)) {
        named = true;
        found.clues.push(Clue {
            signal: Signal::AfXdp,
            port: port.name.clone(),
            what: port.name.clone(),
            token: Token::Socket(socket.inode.into()),
            how: format!("AF_XDP socket on queue {}", socket.queue),
            certainty: Certainty::InUse,
            alone: Alone::InUse,
        });
    }
    if !bound.is_empty() && !named {
        let how = format!("AF_XDP sockets on queues {}", bound.join(", "));
        found.holders.push(held(Signal::AfXdp, &port.name, &port.name, how));
    }
    let listed = sockets.len() as u64;
    if let Some(count) = count.filter(|count| *count > listed) {
        let how = format!(
            "{count} AF_XDP sockets in this network namespace, of which socket diag lists {listed}"
        );
        found.holders.push(unknown(Signal::AfXdp, &port.name, how));
    }
}

/// Without socket diag: bound queues, and every process that has such a socket.
fn by_queues(found: &mut Found, port: &Port, bound: &[&str], told: bool) {
    if !bound.is_empty() {
        found.clues.push(Clue {
            signal: Signal::AfXdp,
            port: port.name.clone(),
            what: port.name.clone(),
            token: Token::Protocol("XDP"),
            how: format!("AF_XDP sockets on queues {}", bound.join(", ")),
            certainty: Certainty::InUse,
            alone: Alone::InUse,
        });
    } else if !told {
        let how = "there are AF_XDP sockets in this network namespace, and this kernel does not tell \
                   on which interface (no XDP socket diag)";
        found.holders.push(unknown(Signal::AfXdp, &port.name, how.to_owned()));
    }
}

struct Queue {
    ifindex: u32,
    name: String,
    xsk: bool,
    provider: Option<&'static str>,
}

fn queues(host: &dyn Host) -> Result<Vec<Queue>> {
    let ask = Ask::Genl {
        family: Genl::Netdev,
        command: QUEUE_GET,
        mode: Mode::Dump,
        payload: Vec::new(),
    };
    let number = |answer: &[u8], kind| {
        let number = Attrs(answer).find(kind)?.number()?;
        u32::try_from(number).ok()
    };
    let queue = |answer: &Vec<u8>| {
        let has = |kind| Attrs(answer).find(kind).is_some();
        let direction = if number(answer, QUEUE_TYPE)? == 0 { "rx" } else { "tx" };
        Some(Queue {
            ifindex: number(answer, QUEUE_IFINDEX)?,
            name: format!("{direction}-{}", number(answer, QUEUE_ID)?),
            xsk: has(QUEUE_XSK),
            provider: match (has(QUEUE_IO_URING), has(QUEUE_DMABUF)) {
                (true, _) => Some("an io_uring"),
                (false, true) => Some("a dma-buf"),
                (false, false) => None,
            },
        })
    };
    Ok(host.request(&ask)?.iter().filter_map(queue).collect())
}

/// AF_XDP sockets of this network namespace; `None` where nobody counts. No row: no such protocol here.
fn count(host: &dyn Host) -> Result<Option<u64>> {
    let Some(table) = present(host.read(Path::new("/proc/net/protocols")))? else {
        return Ok(None);
    };
    let row = table.lines().find(|line| line.split_whitespace().next() == Some("XDP"));
    Ok(match row {
        Some(row) => row.split_whitespace().nth(2).and_then(|count| count.parse().ok()),
        None => Some(0),
    })
}

struct Socket {
    inode: u32,
    ifindex: u32,
    queue: u32,
}

fn sockets(host: &dyn Host) -> Result<Vec<Socket>> {
    let mut payload = vec![AF_XDP, 0, 0, 0];
    payload.extend_from_slice(&0_u32.to_ne_bytes());
    payload.extend_from_slice(&SHOW_INFO.to_ne_bytes());
    payload.extend_from_slice(&[0; 8]);
    let answers =
        host.request(&Ask::Diag { payload, most: SOCKETS_MAX }).map_err(|mut fault| {
            // ENOENT: no handler for the family. Some kernels say EINVAL for it (net/core/sock_diag.c).
            if fault.kind == Kind::Invalid {
                fault.kind = Kind::Unsupported;
            }
            fault
        })?;
    let word = |bytes: &[u8], at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let socket = |answer: &Vec<u8>| {
        let info = Attrs(answer.get(ANSWER_BYTES..)?).find(DIAG_INFO).map(|info| info.payload);
        let of = |at| info.and_then(|info| word(info, at)).unwrap_or(0);
        Some(Socket { inode: word(answer, 4)?, ifindex: of(0), queue: of(4) })
    };
    Ok(answers.iter().filter_map(socket).collect())
}

/// Whether the queue dump of this kernel would tell of AF_XDP.
fn tells(nic: &Nic) -> bool {
    let version = nic.kernel_base.as_deref().and_then(|base| {
        let mut parts = base.split('.').map(|part| part.parse::<u32>().ok());
        Some((parts.next()??, parts.next()??))
    });
    version.is_some_and(|version| version >= TELLS_XSK)
}
