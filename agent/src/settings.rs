//! The setting families, one file each.

pub mod cpus;
pub mod irq;
pub mod link;
pub mod module_param;
pub mod napi;
pub mod ntuple;
mod plain;
pub mod queues;
pub mod rps;
pub mod rss;
mod rxnfc;
mod steering;
pub mod sysctl;
pub mod vectors;
pub mod xps;

use crate::setting::Family;

/// The registry behind [`crate::setting::SETTINGS`].
pub static FAMILIES: &[&dyn Family] = &[
    &rss::Rss,
    &ntuple::Ntuple,
    &napi::Napi,
    &irq::Irq,
    &xps::XPS,
    &rps::RPS,
    &link::Link,
    &sysctl::Sysctl,
    &module_param::ModuleParam,
];
