//! The simulated machine against the product's own settings, and against itself.

mod families;
mod faults;
mod quirks;
mod traffic;

use std::sync::Arc;

use agent::host::{
    Nic, NicId,
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

/// The NIC as inventory would find it.
fn nic(sim: &Sim, name: &str) -> Nic {
    let machine = sim.machine();
    let found = machine.nic(name).expect("the machine has it");
    let id = match &found.pci {
        Some(pci) => NicId::Pci { address: pci.address.clone(), serial: found.mac.clone() },
        None => NicId::Virtual {
            netns: machine.netns,
            name: found.name.clone(),
            mac: found.mac.clone(),
        },
    };
    Nic {
        id,
        name: found.name.clone(),
        ifindex: found.ifindex,
        driver: found.driver.clone(),
        kernel_base: Some(machine.kernel.clone()),
        pci: found.pci.as_ref().map(|pci| pci.address.clone()),
        numa: found.pci.as_ref().map(|pci| pci.numa),
    }
}

fn name(text: &str) -> Name {
    Name::try_from(text).expect("a name of the vocabulary")
}
