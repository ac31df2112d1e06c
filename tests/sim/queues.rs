//! What hangs on queues, through the product's own families: interrupts, RSS tables, flow rules.

use agent::{
    fault::{Fault, Kind},
    host::{
        Nic,
        sim::{Machine, NetdevGenl, Quirk, Rule, Sim},
    },
    setting::{Change, Current, family_of},
    settings::irq::irqbalance_running,
};
use playbooks::{Value, Wanted};

use crate::{name, nic, rich, sim};

/// eth1 of a machine, and what the families make of it.
struct Eth1 {
    sim: std::sync::Arc<Sim>,
    nic: Nic,
}

impl Eth1 {
    fn of(machine: Machine) -> Eth1 {
        let sim = sim(machine);
        let nic = nic(&sim, "eth1");
        Eth1 { sim, nic }
    }

    fn try_read(&self, setting: &str) -> Result<Current, Fault> {
        let name = name(setting);
        family_of(&name)?.read(&*self.sim, &self.nic, std::slice::from_ref(&name)).remove(0)
    }

    fn read(&self, setting: &str) -> Value {
        self.try_read(setting).unwrap_or_else(|fault| panic!("{fault}")).value
    }

    fn resolve(&self, setting: &str, wanted: &Wanted) -> Result<Value, Fault> {
        let now = self.try_read(setting)?;
        let name = name(setting);
        family_of(&name)?.resolve(&*self.sim, &self.nic, &name, wanted, &now)
    }

    fn write(&self, setting: &str, to: &Value) -> Result<(), Fault> {
        let from = self.read(setting);
        let change = Change { name: name(setting), from, to: to.clone() };
        let family = family_of(&change.name)?;
        let batches = family.batches(&self.nic, vec![change]);
        batches.iter().try_for_each(|batch| family.write(&*self.sim, &self.nic, batch))
    }

    fn set(&self, setting: &str, wanted: &Wanted) -> Value {
        let value = self.resolve(setting, wanted).unwrap_or_else(|fault| panic!("{fault}"));
        self.write(setting, &value).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(self.read(setting), value, "{setting} read back");
        value
    }
}

fn texts(lists: &[&str]) -> Value {
    Value::Texts(lists.iter().map(|list| (*list).to_owned()).collect())
}

fn rule(text: &str) -> Wanted {
    Wanted::Exactly(Value::Text(text.to_owned()))
}

#[test]
fn interrupts_are_dealt_to_the_cpus_near_the_nic() {
    for genl in [NetdevGenl::Set, NetdevGenl::Absent] {
        for irq_name in ["{nic}-TxRx-{}", "ice-{nic}-TxRx-{}", "mlx5_comp{}@pci:0000:3b:00.0"] {
            let mut machine = rich();
            machine.netdev_genl = genl;
            machine.isolated = "5".to_owned();
            machine.nohz_full = "6".to_owned();
            machine.nics[1].irq_name = irq_name.to_owned();
            let before = machine.nics[1].clone();
            let eth1 = Eth1::of(machine);
            assert_eq!(eth1.read("irq.affinity"), texts(&["0-7"; 8]), "{genl:?} {irq_name}");
            let dealt = eth1.set("irq.affinity", &Wanted::LocalCpus);
            assert_eq!(dealt, texts(&["4", "7", "4", "7", "4", "7", "4", "7"]));
            eth1.set("irq.affinity", &Wanted::Default);
            assert_eq!(eth1.sim.value("eth1", "irq.affinity"), Some(texts(&["0-7"; 8])));
            assert_eq!(eth1.sim.machine().nics[1].rss, before.rss);
        }
    }
}

#[test]
fn no_cpu_left_is_said_and_not_guessed_around() {
    let mut machine = rich();
    machine.isolated = "4-7".to_owned();
    let eth1 = Eth1::of(machine);
    let fault = eth1.resolve("irq.affinity", &Wanted::LocalCpus).expect_err("all isolated");
    assert!(fault.cause.contains("isolated"), "{fault}");
    let fault = eth1.resolve("irq.affinity", &Wanted::Cpus(String::new())).expect_err("none");
    assert!(fault.cause.contains("at least one CPU"), "{fault}");
    assert_eq!(eth1.set("rps.cpus", &Wanted::Cpus(String::new())), texts(&[""; 8]));
}

#[test]
fn originals_find_their_queues_after_the_numbers_have_changed() {
    let mut machine = rich();
    machine.nics[1].quirks = vec![Quirk::ChannelsRenumberIrqs];
    let eth1 = Eth1::of(machine);
    let each: Vec<String> = (0..8).map(|n| (n % 8).to_string()).collect();
    let original = Value::Texts(each);
    eth1.write("irq.affinity", &original).expect("tuned by somebody");
    eth1.write("channels.combined", &Value::Number(4)).expect("fewer");
    let fault = eth1.write("irq.affinity", &original).expect_err("only four are left");
    assert_eq!(fault.kind, Kind::Gone, "{fault}");
    eth1.write("channels.combined", &Value::Number(8)).expect("as before");
    eth1.write("irq.affinity", &original).expect("put back");
    assert_eq!(eth1.sim.value("eth1", "irq.affinity"), Some(original));
}

#[test]
fn managed_interrupts_are_refused_in_words() {
    let mut machine = rich();
    machine.nics[1].quirks = vec![Quirk::ManagedIrqs];
    let eth1 = Eth1::of(machine);
    let fault = eth1.write("irq.affinity", &texts(&["3"; 8])).expect_err("managed");
    assert_eq!(fault.kind, Kind::Denied);
    assert!(fault.to_string().contains("queue 0") && fault.cause.contains("itself"), "{fault}");
    // What is there already needs no write.
    eth1.write("irq.affinity", &texts(&["0-7"; 8])).expect("nothing to do");
}

#[test]
fn irqbalance_is_noticed() {
    let mut machine = rich();
    assert!(!irqbalance_running(&*sim(machine.clone())));
    machine.files.insert("/proc/812/comm".to_owned(), "irqbalance\n".to_owned());
    assert!(irqbalance_running(&*sim(machine)));
}

#[test]
fn tables_are_spread_and_reset() {
    let eth1 = Eth1::of(rich());
    let setting = "rss.indirection";
    let default = Value::Text("default".to_owned());
    assert_eq!(eth1.read(setting), default);
    let spread = eth1.set(setting, &Wanted::Equal(4));
    assert_eq!(spread, Value::Numbers((0..64).map(|i| i % 4).collect()));
    let weighted = eth1.set(setting, &Wanted::Weights(vec![3, 1]));
    assert_eq!(weighted, Value::Numbers((0..64).map(|i| u64::from(i >= 48)).collect()));
    assert_eq!(eth1.set(setting, &Wanted::Default), default);
    assert_eq!(eth1.sim.machine().nic("eth1").and_then(|n| n.rss.clone()?.table), None);
    // The kernel's own spread by another name is the kernel's own spread.
    assert_eq!(eth1.resolve(setting, &Wanted::Equal(8)).as_ref(), Ok(&default));
    for wanted in [
        Wanted::Equal(9),
        Wanted::Equal(0),
        Wanted::Weights(vec![0, 0]),
        Wanted::Weights(vec![65]),
        Wanted::Weights(vec![0, 0, 0, 0, 0, 0, 0, 0, 1]),
        Wanted::Max,
    ] {
        let fault = eth1.resolve(setting, &wanted).expect_err("refused");
        assert_eq!(fault.kind, Kind::Invalid, "{wanted}: {fault}");
    }
}

#[test]
fn a_table_that_hangs_its_reader_is_not_read() {
    for (kernel, refused) in [("6.18.5", true), ("6.18.9", false), ("6.16.3", false)] {
        let mut machine = rich();
        machine.kernel = kernel.to_owned();
        machine.nics[1].driver = "sfc".to_owned();
        let eth1 = Eth1::of(machine);
        let outcome = eth1.try_read("rss.indirection");
        assert_eq!(outcome.is_err(), refused, "{kernel}");
        let nics = [nic(&eth1.sim, "eth0"), eth1.nic.clone()];
        let rss = name("rss.indirection");
        let readings = family_of(&rss).expect("rss").survey(&*eth1.sim, &nics);
        match readings[1].unsupported.get(&rss) {
            Some(why) => assert!(refused && why.contains("KB-078"), "{kernel}: {why}"),
            None => assert!(!refused, "{kernel}"),
        }
    }
}

#[test]
fn rules_are_put_and_put_back() {
    let eth1 = Eth1::of(rich());
    let before = eth1.sim.machine();
    let there = Value::Text("flow-type udp4 dst-port 4789 action 2".to_owned());
    assert_eq!(eth1.read("ntuple.3"), there);
    let none = Value::Text("none".to_owned());
    assert_eq!(eth1.read("ntuple.5"), none);
    let feed = "flow-type udp4 dst-port 5000 dst-ip 239.1.1.1 action 3";
    let set = eth1.set("ntuple.5", &rule(feed));
    // In our own order of words.
    assert_eq!(
        set,
        Value::Text("flow-type udp4 dst-ip 239.1.1.1 dst-port 5000 action 3".to_owned())
    );
    eth1.set("ntuple.3", &rule(feed));
    eth1.set("ntuple.3", &rule("none"));
    eth1.write("ntuple.3", &there).expect("put back");
    eth1.write("ntuple.5", &none).expect("put back");
    eth1.write("ntuple.5", &none).expect("an empty slot stays empty");
    assert_eq!(eth1.sim.machine().nics[1].rules.as_ref().map(|r| r.len()), Some(1));
    assert_eq!(eth1.read("ntuple.3"), there);
    let queues = |machine: &Machine| -> Vec<u64> {
        machine.nics[1].rules.iter().flat_map(|rules| rules.values().map(|r| r.queue)).collect()
    };
    assert_eq!(queues(&eth1.sim.machine()), queues(&before));
    assert!(eth1.resolve("ntuple.5", &rule("flow-type udp9 action 1")).is_err());
}

#[test]
fn a_rule_that_words_cannot_say_is_never_overwritten() {
    let mut machine = rich();
    // ESP over IPv4 (flow type 0x0a): a type whose fields we do not know.
    let spec = format!("0a000000{}", "00".repeat(148));
    let odd = Rule { queue: 1, spec };
    machine.nics[1].rules.get_or_insert_default().insert(7, odd);
    let eth1 = Eth1::of(machine);
    let before = eth1.sim.machine();
    let current = eth1.try_read("ntuple.7").expect("it is there");
    assert!(current.fixed.as_deref().is_some_and(|why| why.contains("lost")), "{current:?}");
    for to in ["none", "flow-type udp4 dst-port 1 action 1"] {
        assert!(eth1.resolve("ntuple.7", &rule(to)).is_err(), "{to}");
        let fault = eth1.write("ntuple.7", &Value::Text(to.to_owned())).expect_err(to);
        assert_eq!(fault.kind, Kind::Denied, "{fault}");
    }
    assert_eq!(eth1.sim.machine(), before);
}
