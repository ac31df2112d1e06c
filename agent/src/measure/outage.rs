//! How long nothing comes through while a device restarts.

mod neighbour;
pub(super) mod pings;
mod reach;

use std::time::Duration;

pub use reach::Reachable;

use crate::{host::Nic, log::firmware::Outage};

/// Pings a peer, closely and lightly, from the moment it is made.
pub trait Pinger: Send {
    /// Waits for a reply after now, at most `patience`; then says the longest time without any.
    fn end(self: Box<Self>, patience: Duration) -> Outage;
}

/// Opens pingers for runs that have no probe of their own, and for a device's other ports.
pub trait Reach {
    /// The reflector of a run, by its NIC.
    ///
    /// # Errors
    /// In words, why nothing can be measured.
    fn peer(&self, nic: &str, peer: &str) -> Result<Box<dyn Pinger>, String>;

    /// Somebody near whom a port reaches without a router, and who answers now.
    ///
    /// # Errors
    /// In words, why nothing can be measured.
    fn neighbour(&self, nic: &Nic) -> Result<Box<dyn Pinger>, String>;
}

/// Where nothing is pinged.
pub struct Nowhere;

impl Reach for Nowhere {
    fn peer(&self, _: &str, _: &str) -> Result<Box<dyn Pinger>, String> {
        Err("this process pings nobody".to_owned())
    }

    fn neighbour(&self, _: &Nic) -> Result<Box<dyn Pinger>, String> {
        Err("this process pings nobody".to_owned())
    }
}
