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
mod bitset;
mod channels;
mod coalesce;
mod disruption;
mod eee;
mod ethnl;
mod feature;
mod pause;
mod private_flag;
mod resolve;
mod ring;
mod tunable;
mod words;

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
    &napi::Napi,
    &irq::Irq,
    &xps::XPS,
    &rps::RPS,
    &link::Link,
    &sysctl::Sysctl,
    &module_param::ModuleParam,
];
