//! cli

pub mod inventory;
