//! Approvals and the signatures under them, against OpenSSH's own programs.

// Keys and files are the tests' own; ssh-keygen and ssh-agent are the witnesses.
#![allow(clippy::disallowed_methods)]

mod attacks;
mod command;
#[path = "../kernel/run/exchange.rs"]
mod exchange;
mod keys;
mod sshsig;
