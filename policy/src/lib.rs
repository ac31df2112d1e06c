//! Who may do what, and when. Pure: facts in, a ruling out; no IO, no clock.
//!
//! - [`holders`]: who uses a NIC, and whom a step on it would hurt
//! - [`standby`]: where traffic goes while a NIC is mended
//! - [`sysctl`]: the one list of kernel parameters that playbooks may set, and the way from key to file
//! - [`management`]: the NIC by which the operator reaches the host is not disturbed by accident
//! - [`phase`]: what a venue does at an instant
//! - [`config`]: what a site says of itself: its venues, its people and their roles
//! - [`request`], [`set`], [`decide`], [`ways`]: who asks for what and when; the policies; what they say to it;
//!   what would satisfy them
//! - [`calendar`]: when it does what, as data
//! - [`sshsig`]: OpenSSH signatures and whose they are
//! - [`approval`]: a person's signature over a plan and an expiry
//!
//! A rule that refuses says three things once: which rule, why, and what would satisfy it.

pub mod approval;
pub mod calendar;
mod cedar;
pub mod config;
pub mod control;
pub mod decide;
pub mod holders;
pub mod management;
pub mod phase;
pub mod request;
pub mod set;
pub mod sshsig;
pub mod standby;
pub mod sysctl;
pub mod ways;

use std::fmt;

pub use phase::Phase;
use serde::Serialize;

/// What a rule answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    Allowed,
    Refused(Refusal),
}

/// Why a request is refused. Printed and logged as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Refusal {
    /// The rule's name: `sysctl-list`, `management-nic`.
    pub rule: &'static str,
    /// Why, with the object's name.
    pub why: String,
    /// What would satisfy the rule.
    pub satisfy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (rule {}); {}", self.why, self.rule, self.satisfy)
    }
}

impl std::error::Error for Refusal {}
