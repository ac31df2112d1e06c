//! The log: one entry a fact, in order, never changed. It is the journal too: what is in flight, what
//! was committed and who owns which setting are folded from it.
//!
//! On disk an entry is one line of JSON inside a C2SP tlog-tiles entry bundle (see `store/disk.rs`).

pub mod after;
pub mod fact;
pub mod fold;

pub use fact::{Entry, Fact, Kept, ReadBack};
pub use fold::{History, RunRecord, RunState};
