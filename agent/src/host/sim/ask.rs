//! Which part of the simulated kernel a request is for.

use super::{Refusal, State, devlink, ethtool, ioctl, netdev, rdma, route, sockets};
use crate::host::{Ask, Genl};

/// NFNL_SUBSYS_NFTABLES.
const NFTABLES: u8 = 10;

pub(super) fn describe(ask: &Ask) -> String {
    match ask {
        Ask::Genl { family, command, .. } => format!("ask {} command {command}", family.name()),
        Ask::Route { kind, .. } => format!("ask rtnetlink type {kind}"),
        Ask::Diag { .. } => "list sockets".to_owned(),
        Ask::Rdma { command, .. } => format!("ask RDMA netlink command {command}"),
        Ask::Netfilter { subsystem: NFTABLES, .. } => "list nftables".to_owned(),
        Ask::Netfilter { .. } => "list tracked connections".to_owned(),
        Ask::Stamping { nic, .. } => format!("time stamping of {nic}"),
        Ask::Ethtool { nic, .. } => format!("SIOCETHTOOL on {nic}"),
    }
}

/// What the kernel makes of it.
pub(super) fn answer(state: &mut State, ask: &Ask) -> Result<Vec<Vec<u8>>, Refusal> {
    match ask {
        Ask::Genl { family: Genl::Ethtool, command, mode, payload } => {
            ethtool::ask(state, *command, *mode, payload)
        }
        Ask::Genl { family: Genl::Netdev, command, mode, payload } => {
            netdev::ask(state, *command, *mode, payload)
        }
        Ask::Genl { family: Genl::Devlink, command, mode, payload } => {
            devlink::ask(state, *command, *mode, payload)
        }
        Ask::Route { kind, mode, payload } => route::ask(state, *kind, *mode, payload),
        Ask::Diag { payload, most } => sockets::ask(state, payload, *most),
        Ask::Rdma { command, mode: _, payload } => rdma::ask(state, *command, payload),
        // This machine has no firewall, and no clocks in its NICs.
        Ask::Netfilter { subsystem: NFTABLES, .. } | Ask::Stamping { .. } => {
            Err(Refusal::errno(libc::EOPNOTSUPP))
        }
        Ask::Netfilter { most, .. } => Ok(sockets::tracked(state, *most)),
        Ask::Ethtool { nic, buffer } => ioctl::ask(state, nic, buffer).map(|reply| vec![reply]),
    }
}
