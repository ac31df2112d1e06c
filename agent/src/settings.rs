//! The setting families, one file each.

pub mod cpus;
pub mod link;
pub mod module_param;
mod plain;
pub mod queues;
pub mod rps;
mod steering;
pub mod sysctl;
pub mod xps;

use crate::setting::Family;

/// The registry behind [`crate::setting::SETTINGS`].
pub static FAMILIES: &[&dyn Family] =
    &[&xps::XPS, &rps::RPS, &link::Link, &sysctl::Sysctl, &module_param::ModuleParam];
