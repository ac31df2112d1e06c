//! firmware-catalog
