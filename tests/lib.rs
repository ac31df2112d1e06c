//! tests

pub mod traces;
