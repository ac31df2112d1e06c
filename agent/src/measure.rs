//! Measuring: probe windows and the counters around them.

pub mod evidence;
pub mod window;

pub use window::{Meter, Sample, Window, WindowSpec};
