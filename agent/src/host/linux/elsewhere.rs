//! Questions put in another network namespace, by a thread that goes there and is gone with the answers.

use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns};

use super::{Generic, ROUTE, SOCK_DIAG, diag, netfilter, rdma, socket::Netlink};
use crate::{
    fault::{Fault, Kind, Result},
    host::Ask,
};

type Answers = Result<Vec<Vec<u8>>>;

/// Each question's answer, asked in `namespace`. Entering needs CAP_SYS_ADMIN.
pub(super) fn ask(act: &str, namespace: &OwnedFd, asks: &[Ask]) -> Result<Vec<Answers>> {
    let inside = || {
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Fault::errno(act, errno as i32, None))?;
        let mut route = None;
        Ok(asks.iter().map(|ask| one(ask, &mut route)).collect())
    };
    // The thread's namespace is its own: neither this one nor any other thread is moved.
    std::thread::scope(|scope| {
        let gone = || Fault::new(Kind::Io, act, "the thread that asked ended early");
        scope.spawn(inside).join().unwrap_or_else(|_| Err(gone()))
    })
}

fn one(ask: &Ask, route: &mut Option<Netlink>) -> Answers {
    match ask {
        Ask::Route { kind, mode, payload } => {
            let act = format!("rtnetlink request {kind}");
            let socket = match route {
                Some(open) => open,
                None => route.insert(Netlink::open(ROUTE)?),
            };
            socket.exchange(&act, *kind, *mode, payload)
        }
        Ask::Genl { family, command, mode, payload } => {
            let mut generic =
                Generic { netlink: Netlink::open(super::GENERIC)?, families: Vec::new() };
            generic.exchange(*family, *command, *mode, payload)
        }
        Ask::Diag { payload, most } => diag(Netlink::open(SOCK_DIAG)?, payload, *most),
        Ask::Rdma { command, mode, payload } => rdma(*command, *mode, payload),
        Ask::Netfilter { subsystem, message, payload, most } => {
            netfilter((*subsystem, *message), payload, *most)
        }
        Ask::Ethtool { nic, .. } | Ask::Stamping { nic, .. } => {
            let act = format!("an ioctl on {nic}");
            Err(Fault::new(Kind::Unsupported, act, "not asked in other namespaces"))
        }
    }
}
