//! The vocabulary of nicmend: what a setting is called, which values it takes, and what a playbook says.
//!
//! Pure: no IO, no clock. Everything here is data that a person or a program can write down:
//!
//! - [`value`]: a setting's value and the words a playbook may use for one (`max`, `local-cpus`, …)
//! - [`vocabulary`]: every setting by name, with type, unit, scope, disruption and its kernel source
//! - [`metric`], [`external`]: what is judged by, and where figures from outside are read
//! - [`playbook`]: the playbook itself, as types
//! - [`parse`]: YAML to playbook, with every error of the file at once, each with its line
//! - [`applies`]: whether a playbook applies to a model and a kernel
//! - [`library`]: the shipped playbooks, built into the binary

pub mod applies;
pub mod external;
pub mod library;
pub mod metric;
pub mod parse;
pub mod playbook;
pub mod value;
pub mod vocabulary;

pub use external::External;
pub use metric::Metric;
pub use playbook::Playbook;
pub use value::{Value, Wanted};
pub use vocabulary::{Name, Setting};
