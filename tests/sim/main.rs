//! The simulated machine against the product's own settings, and against itself.

mod around;
mod families;
mod faults;
mod hazards;
mod queues;
mod quirks;
mod traffic;

use std::sync::Arc;

use agent::host::{
    Nic,
    sim::{Machine, Sim},
};
use playbooks::Name;

/// A machine from YAML, as `tests/cases` describe them.
fn machine(yaml: &str) -> Machine {
    serde_saphyr::from_str(yaml).expect("the description is valid")
}

fn rich() -> Machine {
    machine(include_str!("rich.yaml"))
}

fn sim(machine: Machine) -> Arc<Sim> {
    Arc::new(Sim::new(machine))
}

/// The NIC as the product finds it; the looking costs host calls.
fn nic(sim: &Sim, name: &str) -> Nic {
    agent::host::nic::find(sim, name).unwrap_or_else(|fault| panic!("{fault}"))
}

fn name(text: &str) -> Name {
    Name::try_from(text).expect("a name of the vocabulary")
}
