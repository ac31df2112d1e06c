//! The setting families, one file each.

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
];
