//! The setting families, one file each.

pub mod cpus;
pub mod link;
pub mod module_param;
mod plain;
pub mod sysctl;

use crate::setting::Family;

/// The registry behind [`crate::setting::SETTINGS`].
pub static FAMILIES: &[&dyn Family] = &[&link::Link, &sysctl::Sysctl, &module_param::ModuleParam];
