//! RDMA resources by their owners: the kernel's own, its users above the driver, processes, hidden ones.

use agent::{
    guard::bypass,
    host::{
        nic,
        sim::{Machine, Maker, Owned, Sim, SimRdma},
    },
};
use playbooks::vocabulary::Disruption;
use policy::{
    Ruling,
    holders::{Certainty, Signal},
};

use super::{DEVICE, PID, file, look, machine, opens};

/// A ConnectX as it is once its drivers are loaded: nobody uses RDMA.
fn idle() -> Machine {
    let mut machine = machine("mlx5_core");
    file(&mut machine, "/sys/class/infiniband/mlx5_0/node_type", "1: CA\n");
    file(&mut machine, &format!("{DEVICE}/infiniband/mlx5_0/node_type"), "1: CA\n");
    let pairs = vec![
        kernels(360, "mlx5_ib"),
        kernels(361, "mlx5_ib"),
        kernels(0, "ib_core"),
        kernels(1, "ib_core"),
    ];
    let (name, nic) = ("mlx5_0".to_owned(), "eth1".to_owned());
    machine.rdma = vec![SimRdma { name, nic, pairs, connections: Vec::new() }];
    machine
}

fn kernels(pair: u32, module: &str) -> Owned {
    Owned { pair, by: Maker::Kernel(module.to_owned()) }
}

#[test]
fn the_drivers_own_queue_pairs_are_nobodys() {
    assert_eq!(look(idle()).holders(), []);
    let sim = Sim::new(idle());
    let nic = nic::find(&sim, "eth1").expect("the NIC");
    assert_eq!(bypass::holders(&sim, &nic), [""; 0], "every run would be refused");
}

#[test]
fn each_user_of_the_kernel_is_named_and_each_has_an_id_of_its_own() {
    let mut busy = idle();
    let device = &mut busy.rdma[0];
    device.pairs.extend([kernels(400, "rdma_cm"), kernels(401, "smc")]);
    device.connections = vec![kernels(400, "nvme_rdma")];
    device.pairs.push(Owned { pair: 402, by: Maker::Hidden });
    device.pairs.push(Owned { pair: 403, by: Maker::Process(PID) });
    let report = look(busy);
    let ids: Vec<String> = report.holders().iter().map(|holder| holder.id()).collect();
    let expected = [
        "held:rdma:mlx5_0/nvme_rdma",
        "held:rdma:mlx5_0/smc",
        "held:rdma:mlx5_0/hidden",
        "held:rdma:feedd",
    ];
    assert_eq!(ids, expected, "{:#?}", report.holders());
    // Who takes the harm to the known ones upon himself has not taken that to the hidden one.
    let known: Vec<String> = ids.iter().filter(|id| !id.ends_with("/hidden")).cloned().collect();
    let Ruling::Refused(refusal) = report.judge(Disruption::NicReset, &known) else {
        panic!("a hidden user was overridden by others' ids");
    };
    assert!(refusal.why.contains("hidden from this one"), "{refusal}");
    assert_eq!(report.judge(Disruption::NicReset, &ids), Ruling::Allowed);
}

/// `rdma system set netns exclusive`, and the device in a container.
#[test]
fn a_device_of_another_network_namespace_is_unknown() {
    let mut away = machine("mlx5_core");
    file(&mut away, &format!("{DEVICE}/infiniband/"), "");
    let report = look(away.clone());
    assert_eq!(report.holders().len(), 1, "{:#?}", report.holders());
    assert_eq!(report.holders()[0].id(), "held:rdma:0000:3b:00.0/elsewhere");
    assert_eq!(report.holders()[0].certainty, Certainty::Unknown);
    assert!(!report.blocking(Disruption::LinkFlap).is_empty());
    // Whoever has its verbs open is named.
    file(&mut away, &format!("{DEVICE}/infiniband_verbs/uverbs0/dev"), "231:192\n");
    opens(&mut away, "/srv/verbs", "231:192");
    let report = look(away);
    let named = |holder: &&policy::holders::Holder| {
        holder.signal == Signal::Rdma && holder.id() == "held:rdma:feedd"
    };
    assert!(report.holders().iter().any(|holder| named(&holder)), "{:#?}", report.holders());
}
