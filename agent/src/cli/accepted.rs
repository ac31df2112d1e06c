//! What an operator takes upon himself, alike in `plan`, `apply` and `revert`.

use crate::runs::StandbyPath;

#[derive(Debug, clap::Args)]
pub(super) struct Accepted {
    /// Allow steps that drop the link of the NIC by which this host is reached.
    #[arg(long)]
    pub allow_management: bool,
    /// Go on in spite of this known hazard, by its issue's id, or take the harm to this user of the NIC upon
    /// yourself (`held:udp:ntpd`); may be given again. It is logged.
    #[arg(long, value_name = "ID")]
    pub override_hazard: Vec<String>,
    /// Another NIC that strategies can go to meanwhile: a run probes it, and has it for itself.
    #[arg(long, value_name = "IF")]
    pub standby: Option<String>,
    /// The reflector that the standby is probed against, where the run's own cannot be reached by it.
    #[arg(long, value_name = "HOST[:PORT]", requires = "standby")]
    pub standby_peer: Option<String>,
}

impl Accepted {
    /// Users of the NIC, and known hazards: which of the ids are which.
    pub(super) fn overrides(&self) -> (Vec<String>, Vec<String>) {
        self.override_hazard.iter().cloned().partition(|id| id.starts_with("held:"))
    }

    pub(super) fn standby(&self) -> Option<StandbyPath> {
        let nic = self.standby.clone()?;
        Some(StandbyPath { nic, peer: self.standby_peer.clone() })
    }
}
