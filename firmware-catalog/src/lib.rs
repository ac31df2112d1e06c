//! What is known of network devices, as data with sources: their models, their firmware, and the
//! defects of their drivers.
//!
//! Pure: no IO, no clock. The data lies beside this crate as YAML, is built into the binary, and is
//! parsed when first asked for; a site's own files are laid over it ([`Catalog`]).
//!
//! - [`catalog`]: what is asked: [`Catalog::check`], [`Catalog::hazards`], [`Catalog::resolve`]
//! - [`subject`]: the NIC that it is asked about
//! - [`model`]: PCI vendor and device to model, driver, limits, ways to flash (`models/*.yaml`)
//! - [`firmware`]: golden, good and blocked versions and their images (`firmware/*.yaml`)
//! - [`issue`]: known defects and the acts of ours that they forbid (`issues/*.yaml`)
//! - [`act`]: those acts
//! - [`scheme`]: firmware versions, a type a scheme
//! - [`kernel`]: upstream kernel versions and the ranges that a defect spans, branch by branch
//! - [`lint`]: what only the whole can say: unique ids, models that exist

pub mod act;
mod answer;
pub mod catalog;
pub mod firmware;
pub mod issue;
pub mod kernel;
pub mod lint;
pub mod model;
mod read;
pub mod scheme;
mod shipped;
pub mod subject;

pub use act::{Act, Read};
pub use answer::Answer;
pub use catalog::{Catalog, Hazard, Origin, Refusal, Target, read_hazard};
pub use issue::Issue;
pub use model::{Function, Model, lookup};
pub use read::SOURCE_MAX;
pub use scheme::Scheme;
pub use subject::{Circumstance, Subject};
