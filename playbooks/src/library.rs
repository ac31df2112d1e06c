//! The shipped playbooks, built into the binary.

/// A shipped playbook: its name and its YAML.
pub struct Shipped {
    pub name: &'static str,
    pub source: &'static str,
}

pub static LIBRARY: &[Shipped] = &[];
