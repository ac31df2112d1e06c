//! The setting families, one file each.

pub(crate) mod bitset;
mod channels;
mod coalesce;
pub mod cpus;
mod devlink_param;
pub mod disruption;
mod eee;
pub(crate) mod ethnl;
mod feature;
pub mod irq;
pub mod link;
pub mod module_param;
pub mod napi;
pub mod ntuple;
mod pause;
mod plain;
mod private_flag;
pub mod queues;
mod resolve;
mod ring;
pub mod rps;
pub mod rss;
mod rxnfc;
mod steering;
pub mod sysctl;
mod tunable;
pub mod vectors;
pub(crate) mod words;
pub mod xps;

use crate::setting::Family;

/// The registry behind [`crate::setting::SETTINGS`].
pub static FAMILIES: &[&dyn Family] = &[
    &ring::RING,
    &coalesce::COALESCE,
    &channels::CHANNELS,
    &feature::Feature,
    &private_flag::PrivateFlag,
    &pause::PAUSE,
    &eee::EEE,
    &rss::Rss,
    &ntuple::Ntuple,
    &napi::Napi,
    &irq::Irq,
    &xps::XPS,
    &rps::RPS,
    &link::Link,
    &sysctl::Sysctl,
    &module_param::ModuleParam,
    &devlink_param::DevlinkParam,
];
