//! What tests and benchmarks share.

pub mod rivals;
pub mod traces;
