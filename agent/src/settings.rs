//! The setting families, one file each.

mod bitset;
mod channels;
mod coalesce;
pub mod cpus;
mod disruption;
mod eee;
mod ethnl;
mod feature;
pub mod link;
pub mod module_param;
mod pause;
mod plain;
mod private_flag;
pub mod queues;
mod resolve;
mod ring;
pub mod rps;
mod steering;
pub mod sysctl;
mod tunable;
mod words;
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
    &xps::XPS,
    &rps::RPS,
    &link::Link,
    &sysctl::Sysctl,
    &module_param::ModuleParam,
];
