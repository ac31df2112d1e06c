//! Measuring: probe windows and the counters around them.
//!
//! - [`window`]: what a window is, and the trait that measures one
//! - [`probe`]: the real meter: STAMP over UDP, request/response over TCP
//! - [`reflector`]: the other end
//! - [`counters`]: what the kernel and the NIC counted meanwhile
//! - [`reading`]: figures that others give meanwhile
//! - [`external`], [`sessions`]: where those are read; [`recording`]: a meter with them beside it
//! - [`outage`]: how long nothing comes through while a device restarts
//! - [`evidence`]: samples as a file

pub mod clock;
pub mod counters;
pub mod evidence;
pub mod external;
pub mod histogram;
pub mod message;
pub mod outage;
pub mod peer;
pub mod probe;
pub mod quantiles;
pub mod reading;
pub mod recording;
pub mod reflector;
pub mod schedule;
pub mod sessions;
pub mod sockets;
pub mod stamp;
pub mod window;

pub use outage::{Nowhere, Pinger, Reach, Reachable};
pub use window::{Each, Meter, Sample, Window, WindowSpec};
