//! The agent: everything that happens on one host. Read the modules in this order.
//!
//! Contracts, then pure code, then parts, then the shell; nothing points to the right.

// contracts
pub mod fault;
pub mod host;
pub mod setting;
pub mod store;

// pure: values in, values out; no IO, no clock
pub mod log;
pub mod plan;
pub mod run;
pub mod verdict;

// parts
pub mod approvals;
pub mod firmware;
pub mod guard;
pub mod inventory;
pub mod measure;
pub mod report;
pub mod settings;
pub mod surroundings;

// shell
pub mod audit;
pub mod campaign;
pub mod cli;
pub mod engine;
pub mod intake;
pub mod law;
pub mod probation;
pub mod rehearsal;
pub mod runs;
