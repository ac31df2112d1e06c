//! What real drivers do, each seen through the host's own door.

use std::{path::Path, time::Duration};

use agent::host::{
    Host,
    sim::{Act, Machine, Quirk, Reset, Rss, Sim},
};
use playbooks::Value;

use crate::{rich, sim};

fn with(quirk: Quirk) -> Machine {
    let mut machine = rich();
    let nic = machine.nics.iter_mut().find(|nic| nic.name == "eth1").unwrap();
    nic.quirks.push(quirk);
    machine
}

/// Writes as somebody; gives whether the kernel took it.
fn set(sim: &Sim, setting: &str, value: Value) -> bool {
    let refused = sim.foreign_refusals().len();
    sim.foreign(&Act::Set { nic: "eth1".into(), setting: setting.into(), value });
    sim.foreign_refusals().len() == refused
}

fn value(sim: &Sim, setting: &str) -> Value {
    sim.value("eth1", setting).unwrap()
}

fn carrier(sim: &Sim) -> String {
    sim.read(Path::new("/sys/class/net/eth1/carrier")).unwrap()
}

#[test]
fn numbers_are_rounded_clamped_or_dropped() {
    let ring = || "ring.rx".to_owned();
    for (quirk, kept) in [
        (Quirk::PowerOfTwo { setting: ring() }, 1024),
        (Quirk::Multiple { setting: ring(), of: 32 }, 992),
        (Quirk::Clamp { setting: ring(), min: 1500, max: 4096 }, 1500),
        (Quirk::Ignored { setting: ring() }, 2048),
        (Quirk::Deaf { setting: ring() }, 1000),
    ] {
        let sim = sim(with(quirk.clone()));
        assert!(set(&sim, "ring.rx", Value::Number(1000)), "{quirk:?} is acknowledged");
        assert_eq!(value(&sim, "ring.rx"), Value::Number(kept), "{quirk:?}");
    }
}

#[test]
fn a_ring_change_drops_the_link_for_a_while() {
    let sim = sim(with(Quirk::LinkFlap { on: "ring".into(), ms: 3000 }));
    assert!(set(&sim, "ring.rx", Value::Number(2048)));
    assert_eq!(carrier(&sim), "1\n", "a write that changes nothing does not reach the driver");
    assert!(set(&sim, "ring.rx", Value::Number(4096)));
    assert_eq!(carrier(&sim), "0\n");
    sim.wait(Duration::from_millis(2900));
    assert_eq!(carrier(&sim), "0\n");
    sim.wait(Duration::from_millis(100));
    assert_eq!(carrier(&sim), "1\n");
}

#[test]
fn a_channel_change_resets_what_hangs_on_it() {
    let resets = [Reset::Affinity, Reset::Xps, Reset::Rps, Reset::Coalesce, Reset::Rss];
    let mut machine = rich();
    machine.nics[1].quirks = resets.map(Quirk::ChannelsReset).to_vec();
    let sim = sim(machine);
    let before = sim.machine();
    let lists = |n: usize| Value::Texts(vec!["2".to_owned(); n]);
    for family in ["irq.affinity", "xps.cpus", "rps.cpus"] {
        assert!(set(&sim, family, lists(8)));
    }
    assert!(set(&sim, "coalesce.rx-usecs", Value::Number(9)));
    assert!(set(&sim, "rss.indirection", Value::Numbers(vec![1; 64])));
    assert!(set(&sim, "channels.combined", Value::Number(4)));
    assert_eq!(value(&sim, "irq.affinity"), Value::Texts(vec!["0-7".to_owned(); 4]));
    assert_eq!(value(&sim, "xps.cpus"), Value::Texts(vec![String::new(); 4]));
    assert_eq!(value(&sim, "coalesce.rx-usecs"), Value::Number(50));
    assert_eq!(value(&sim, "rss.indirection"), Value::Text("default".into()));
    assert!(set(&sim, "channels.combined", Value::Number(8)));
    assert_eq!(sim.machine(), before);
}

#[test]
fn fewer_channels_are_refused_while_something_points_above() {
    let mut machine = rich();
    let table = (0..64).map(|i| i % 8).collect();
    machine.nics[1].rss = Some(Rss { size: 64, table: Some(table) });
    let sim = sim(machine);
    assert!(!set(&sim, "channels.combined", Value::Number(4)));
    let why = sim.foreign_refusals().pop().unwrap();
    assert!(why.contains("too low for existing indirection table"), "{why}");
    assert!(set(&sim, "rss.indirection", Value::Text("default".into())));
    assert!(!set(&sim, "channels.combined", Value::Number(2)), "the rule points to queue 2");
    let why = sim.foreign_refusals().pop().unwrap();
    assert!(why.contains("ntuple"), "{why}");
    assert!(set(&sim, "channels.combined", Value::Number(3)));
    assert!(!set(&sim, "channels.combined", Value::Number(0)));
    assert!(!set(&sim, "channels.combined", Value::Number(17)));
}

#[test]
fn the_first_tries_are_refused_as_busy() {
    let sim = sim(with(Quirk::Busy { on: "ring".into(), tries: 2 }));
    assert!(!set(&sim, "ring.rx", Value::Number(1024)));
    assert!(!set(&sim, "ring.rx", Value::Number(1024)));
    assert!(set(&sim, "ring.rx", Value::Number(1024)));
    assert!(set(&sim, "ring.rx", Value::Number(512)));
}

#[test]
fn a_feature_waits_for_the_one_it_needs() {
    let sim =
        sim(with(Quirk::FeatureNeeds { feature: "rx-hashing".into(), needs: "rx-lro".into() }));
    // rx-hashing is wanted all the while; the survey of features shows wanted against active.
    assert_eq!(value(&sim, "feature.rx-hashing"), Value::Bool(true));
    assert!(set(&sim, "feature.highdma", Value::Bool(false)), "fixed: no error");
    assert_eq!(value(&sim, "feature.highdma"), Value::Bool(true), "and no change");
    assert!(set(&sim, "feature.tx-scatter-gather", Value::Bool(false)));
    assert_eq!(value(&sim, "feature.tx-tcp-segmentation"), Value::Bool(true), "still wanted");
}

#[test]
fn managed_interrupts_cannot_be_moved() {
    let sim = sim(with(Quirk::ManagedIrqs));
    let irq = &sim.list(Path::new("/sys/class/net/eth1/device/msi_irqs")).unwrap()[0];
    let file = format!("/proc/irq/{irq}/smp_affinity_list");
    assert!(sim.write(Path::new(&file), "3").unwrap_err().to_string().contains("EIO"));
}
