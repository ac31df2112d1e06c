//! The log: one entry a fact, in order, never changed. It is the journal too: what is in flight, what
//! was committed and who owns which setting are folded from it.
//!
//! On disk an entry is one line of JSON inside a C2SP tlog-tiles entry bundle (see `store/disk.rs`);
//! the Merkle tree of RFC 6962 over all of them is signed in checkpoints.

pub mod after;
pub mod base64;
pub mod checkpoint;
pub mod deed;
pub mod fact;
pub mod firmware;
pub mod fold;
pub mod glass;
pub mod merkle;
pub mod note;
pub mod office;
pub mod proof;

pub use fact::{Entry, Fact, Kept, ReadBack, Stamp, Who};
pub use fold::{History, RunRecord, RunState};
