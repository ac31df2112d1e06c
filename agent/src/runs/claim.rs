//! What a run has for itself on the machine while it is under way, whatever state directory it works from. The
//! lock of a state directory keeps its own writers apart; this keeps apart those of two.

use std::{any::Any, collections::BTreeSet};

use playbooks::{Name, vocabulary::Scope};

use super::{Declined, Desk, Exit};
use crate::{
    fault::Kind,
    host::{NicId, nic::slot},
};

/// Takes the NIC (of a card, all its ports), and the network namespace and the host where settings of theirs
/// are among these, until the answer is dropped.
///
/// # Errors
/// Another process has one of them (4).
pub(super) fn take<'n>(
    desk: &Desk,
    (nic, netns): (&NicId, u64),
    settings: impl Iterator<Item = &'n Name>,
) -> Result<Box<dyn Any>, Declined> {
    let own = match nic {
        NicId::Pci { address, serial: _ } => format!("card/{}", slot(address)),
        NicId::Virtual { .. } => format!("nic/{nic}"),
    };
    let mut names = BTreeSet::from([own]);
    names.extend(settings.filter_map(|name| match name.setting().scope {
        Scope::Nic | Scope::Device => None,
        Scope::Netns => Some(format!("netns/{netns}")),
        Scope::Host => Some("host".to_owned()),
    }));
    let names: Vec<String> = names.into_iter().collect();
    let words =
        format!("process {} with state directory {}", std::process::id(), desk.store.name());
    desk.host.claim(&names, &words).map_err(|fault| match fault.kind {
        Kind::Busy => Declined::new(
            Exit::Refused,
            "one-writer",
            format!("{fault}; wait for it, or use its state directory (--state-dir)"),
        ),
        Kind::Unsupported
        | Kind::Denied
        | Kind::Invalid
        | Kind::Drift
        | Kind::Gone
        | Kind::Malformed
        | Kind::Held
        | Kind::Io => fault.into(),
    })
}
