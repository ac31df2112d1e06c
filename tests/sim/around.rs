//! What stands around a simulated NIC is lost when its interface goes, and put back.

use agent::{
    host::{
        nic,
        sim::{Act, Machine, Sim},
    },
    surroundings,
};

const MACHINE: &str = "
nics:
  - name: eth1
    driver: mlx5_core
    mac: 52:54:00:00:00:02
    pci: { address: '0000:3b:00.0', vendor: 0x15b3, device: 0x101b, serial: MT2041X00001 }
    around:
      addresses:
        - { address: 10.1.0.1, length: 24, label: 'eth1:md' }
        - { address: '2001:db8::1', length: 64 }
      routes:
        - { to: 192.0.2.0, length: 24, via: 10.1.0.254, metric: 10 }
        - { to: 198.51.100.0, length: 24, via: 10.1.0.254, table: 100 }
        - { to: '2001:db8:1::', length: 48, via: '2001:db8::fe' }
      neighbours: { 10.1.0.254: '02:aa:00:00:00:01' }
      qdiscs: { 0x80010000: { kind: pfifo, options: [77, 0, 0, 0] } }
";

#[test]
fn an_interface_that_is_born_again_is_furnished_again() {
    let machine: Machine = serde_saphyr::from_str(MACHINE).expect("the machine");
    let sim = Sim::new(machine);
    let before = sim.machine();
    let ports = [nic::find(&sim, "eth1").expect("eth1")];
    let kept = surroundings::take(&sim, &ports).expect("the surroundings");
    assert_eq!(kept.cannot_restore(), [] as [String; 0]);

    sim.foreign(&Act::Reborn { nic: "eth1".to_owned(), name: "eth0".to_owned() });
    assert_eq!(sim.foreign_refusals(), [] as [String; 0]);
    let ports = [nic::find(&sim, "eth0").expect("eth0")];
    assert_eq!(ports[0].id, kept.ports[0].id);
    let now = surroundings::take(&sim, &ports).expect("the surroundings");
    assert!(kept.differences(&now).len() >= 8, "{:#?}", kept.differences(&now));

    assert_eq!(kept.restore(&sim, &ports), []);
    let mut after = sim.machine();
    assert_ne!(after.nics[0].ifindex, before.nics[0].ifindex);
    after.nics[0].ifindex = before.nics[0].ifindex;
    assert_eq!(after, before);
}
