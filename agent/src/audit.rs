//! The log as an auditor sees it: is it whole, what does it say, can it be proved to somebody else.
//!
//! Everything here only reads a log; a witness writes, in a directory of its own.

pub mod chain;
pub mod export;
pub mod prove;
pub mod reading;
pub mod verify;
pub mod witness;
pub mod words;
