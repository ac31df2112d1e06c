//! The setting families, one file each.

use crate::setting::Family;

/// The registry behind [`crate::setting::SETTINGS`].
pub static FAMILIES: &[&dyn Family] = &[];
