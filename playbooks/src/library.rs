//! The shipped playbooks, built into the binary.

/// A shipped playbook: its name and its YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    pub name: &'static str,
    pub source: &'static str,
}

/// The generic one first, then one a driver family.
pub static LIBRARY: &[Shipped] = &[
    Shipped {
        name: "small-packet-latency",
        source: include_str!("../library/small-packet-latency.yaml"),
    },
    Shipped { name: "mlx5", source: include_str!("../library/mlx5.yaml") },
    Shipped { name: "ice", source: include_str!("../library/ice.yaml") },
    Shipped { name: "i40e", source: include_str!("../library/i40e.yaml") },
    Shipped { name: "bnxt", source: include_str!("../library/bnxt.yaml") },
    Shipped { name: "igb-e1000e", source: include_str!("../library/igb-e1000e.yaml") },
    Shipped { name: "ena", source: include_str!("../library/ena.yaml") },
    Shipped { name: "virtio", source: include_str!("../library/virtio.yaml") },
];

/// The shipped playbook of this name.
pub fn find(name: &str) -> Option<&'static Shipped> {
    LIBRARY.iter().find(|shipped| shipped.name == name)
}

/// The shipped name that an unknown one is nearest to.
pub fn nearest(name: &str) -> Option<&'static str> {
    crate::vocabulary::closest(name, LIBRARY.iter().map(|s| s.name)).map(|(_, name)| name)
}
