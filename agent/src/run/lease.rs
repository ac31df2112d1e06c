//! How long each order about a device's firmware may take at the most. The engine keeps to what it can (waits,
//! tries, rounds); what only the kernel or the disk decides is allowed for.

use std::time::Duration;

use super::firmware::Order;
use crate::plan::firmware::{Activation, FirmwareAction, Which};

/// A device that is busy is asked again for so long.
pub const BUSY_MS_MAX: u64 = 60_000;
/// Between two tries at a busy device, at most.
pub const BUSY_PAUSE_MS_MAX: u64 = 5_000;
/// A device that tells no version is asked again for so long.
pub const TELL_MS_MAX: u64 = 5_000;
/// For the ports of a device that is at rest.
pub const BACK_MS_MAX: u64 = 30_000;
/// No write of a restoration begins later than this.
pub const RESTORE_MS_MAX: u64 = 60_000;
/// For a port's carrier that was there before.
pub const CARRIER_MS_MAX: u64 = 10_000;
/// For the first answer of the peer, and of each sibling's neighbour, when all is put back.
pub const ANSWER_MS_MAX: u64 = 5_000;

/// Reading what a device and its ports are, or who uses them; placing an image and removing it.
const LOOK: Duration = Duration::from_secs(5);
/// Users, policies and a probe of the standby path.
const GUARD: Duration = Duration::from_secs(30);

/// On which way an order is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Forth,
    Back,
}

/// The longest that this order may take; a restoration may last the lease of one more write.
pub fn of(action: &FirmwareAction, order: &Order, way: Way) -> Duration {
    let ms = Duration::from_millis;
    let leases = &action.leases;
    let busy = ms(BUSY_MS_MAX + BUSY_PAUSE_MS_MAX);
    let ports = u32::try_from(action.ports.len()).unwrap_or(u32::MAX);
    match order {
        Order::Guard(_) => ms(TELL_MS_MAX) + LOOK + GUARD,
        Order::Keep | Order::Place(_) | Order::Clear => LOOK,
        Order::Flash(_) => busy + ms(leases.flash_ms),
        Order::Look => match way {
            Way::Forth => ms(TELL_MS_MAX) + LOOK,
            Way::Back => LOOK,
        },
        Order::Drain => ms(leases.drain_ms),
        Order::Activate(which) => {
            let guard = match way {
                Way::Forth => ms(TELL_MS_MAX) + LOOK + GUARD,
                Way::Back => Duration::ZERO,
            };
            // The peer and each other port's neighbours are pinged before it, four of them for a second each.
            let pings = LOOK.saturating_mul(ports);
            busy + guard + pings + ms(leases.activate_ms) * restarts(&action.activate, *which)
        }
        Order::Await => match way {
            Way::Forth => ms(leases.back_ms) + LOOK,
            Way::Back => ms(leases.back_ms.min(BACK_MS_MAX)) + LOOK,
        },
        Order::Restore(_) => {
            let answers = ms(ANSWER_MS_MAX).saturating_mul(ports);
            ms(RESTORE_MS_MAX) + LOOK + ms(CARRIER_MS_MAX) + answers
        }
    }
}

/// Requests of one restart that may last; a driver refuses the limit `no_reset` at once, or acts on it.
fn restarts(activation: &Activation, which: Which) -> u32 {
    match (activation, which) {
        // The way back starts the driver again where the device's own activation fails.
        (Activation::NicReset, Which::Old) => 2,
        (Activation::NicReset, Which::New) => 1,
        (
            Activation::LivePatch | Activation::EthtoolReset | Activation::Adapter(_),
            Which::Old | Which::New,
        ) => 1,
    }
}
