//! Burdens: what a campaign lays on a machine on purpose, to see what its tuning is worth under it.
//!
//! A burden is processes of our own, bounded beforehand, that end with whoever laid it, however that
//! one ends. What it may leave behind (a control group) has a name that can be written down before.

use crate::fault::Result;

/// What is laid on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Burden {
    /// A process that allocates and touches memory at the limit of a control group of its own, so that
    /// the kernel reclaims there without end. The rest of the machine keeps all but `bytes`.
    Memory { group: String, bytes: u64 },
    /// Processes at normal priority that do nothing but use their CPUs.
    Cpu { processes: usize },
}

/// A burden that lies on the machine. Dropped, it is lifted as well, in silence.
pub trait Laid: Send {
    /// What the kernel says of it: that it was there, and how heavy.
    fn felt(&self) -> String;

    /// Ends its processes and removes what it made.
    ///
    /// # Errors
    /// Something is still there after two seconds; [`Host::unburden`](super::Host::unburden) may be
    /// tried again.
    fn lift(self: Box<Self>) -> Result<()>;
}
