//! How long nothing comes through while a device restarts.

use std::time::Duration;

use crate::log::firmware::Outage;

/// Pings a peer, closely and lightly, from the moment it is made.
pub trait Pinger: Send {
    /// Waits for a reply after now, at most `patience`; then says the longest time without any.
    fn end(self: Box<Self>, patience: Duration) -> Outage;
}
