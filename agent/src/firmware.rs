//! A device's firmware: what runs and what is stored, flashing, restarting into it, and the images.
//!
//! - [`device`]: which device a NIC is a port of, its versions, all of its ports
//! - [`flash`], [`restart`]: devlink's flash and reload, with ethtool's ioctls and vendors' programs where
//!   a driver has no devlink
//! - `adapter`: vendors' programs
//! - [`images`][]: `STATE/firmware/<sha256>`
//! - [`kept`]: what a restart takes from the ports, kept beforehand and put back after

mod adapter;
pub mod device;
pub mod flash;
pub mod images;
pub mod kept;
pub mod restart;

/// Beyond a lease: for the kernel's own answer to get through.
const GRACE: std::time::Duration = std::time::Duration::from_secs(30);

/// How long the kernel is waited for with an act of this lease. Then it counts as held.
fn patience(lease_ms: u64) -> std::time::Duration {
    std::time::Duration::from_millis(lease_ms) + GRACE
}
