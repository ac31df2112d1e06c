//! What is known of network devices, as data with sources: their models, and the defects of their drivers.
//!
//! Pure: no IO, no clock. The data lies beside this crate as YAML, is built into the binary, and is
//! parsed when first asked for:
//!
//! - [`model`]: PCI vendor and device to model, driver, firmware branch and limits (`models/*.yaml`)
//! - [`issue`]: driver and kernel to known defects and the hazards of our own acts (`issues/*.yaml`)
//! - [`kernel`]: upstream kernel versions and the ranges that a defect spans, branch by branch

pub mod issue;
pub mod kernel;
pub mod model;

pub use issue::{Device, Issue, Read, read_hazard};
pub use model::{Function, Model, lookup};
