//! The meter: settings improve or hurt what it measures, and a seed decides every sample.

use std::time::Duration;

use agent::{
    host::sim::{Act, Effect, Machine, Quirk, Sim, SimMeter},
    measure::{Meter, Window, WindowSpec},
};
use playbooks::{
    Value,
    playbook::{Pattern, Transport},
};

use crate::{rich, sim};

fn spec() -> WindowSpec {
    WindowSpec {
        transport: Transport::Udp,
        length: Duration::from_secs(5),
        rate: 1000,
        payload: 64,
        pattern: Pattern::Calm,
        flows: 16,
    }
}

fn slow_moderation() -> Machine {
    let mut machine = rich();
    machine.traffic.effects = vec![
        Effect { setting: "coalesce.rx-usecs".into(), add_ns_each: 500, ..Effect::default() },
        Effect {
            setting: "ring.rx".into(),
            at_most: Some(256),
            lose_one_in: 50,
            ..Effect::default()
        },
    ];
    machine
}

fn measure(sim: &std::sync::Arc<Sim>, seed: u64) -> Window {
    SimMeter::new(sim.clone(), "eth1", seed).window(&spec(), &|| false).unwrap()
}

fn median(window: &Window) -> u64 {
    let mut all: Vec<u64> = window.samples.iter().map(|s| s.latency_ns).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

fn set(sim: &Sim, setting: &str, value: u64) {
    let value = Value::Number(value);
    sim.foreign(&Act::Set { nic: "eth1".into(), setting: setting.into(), value });
    assert_eq!(sim.foreign_refusals(), Vec::<String>::new());
}

#[test]
fn settings_improve_and_hurt() {
    let sim = sim(slow_moderation());
    let slow = measure(&sim, 1);
    assert_eq!(slow.samples.len(), 5000);
    set(&sim, "coalesce.rx-usecs", 0);
    let fast = measure(&sim, 2);
    assert!(median(&fast) + 20_000 < median(&slow), "{} {}", median(&fast), median(&slow));
    assert_eq!(fast.lost, 0);
    set(&sim, "ring.rx", 256);
    let lossy = measure(&sim, 3);
    assert!((50..200).contains(&lossy.lost), "{}", lossy.lost);
    assert_eq!(lossy.drops["rx_missed_errors"], lossy.lost as i64);
}

#[test]
fn a_deaf_driver_shows_the_new_value_and_keeps_the_old_delay() {
    let mut machine = slow_moderation();
    machine.nics[1].quirks.push(Quirk::Deaf { setting: "coalesce.rx-usecs".into() });
    let sim = sim(machine);
    let before = median(&measure(&sim, 1));
    set(&sim, "coalesce.rx-usecs", 0);
    assert_eq!(sim.value("eth1", "coalesce.rx-usecs"), Some(Value::Number(0)));
    assert_eq!(median(&measure(&sim, 1)), before);
}

#[test]
fn a_seed_decides_every_sample() {
    let windows = [1, 1, 2].map(|seed| measure(&sim(slow_moderation()), seed));
    assert_eq!(windows[0], windows[1]);
    assert_ne!(windows[0].samples, windows[2].samples);
}

#[test]
fn one_slow_queue_shows_in_its_flows_only() {
    let mut machine = rich();
    machine.traffic.queue_delay_ns.insert(3, 400_000);
    let sim = sim(machine);
    let window = measure(&sim, 1);
    assert!(window.per_queue.iter().all(|n| *n > 0), "{:?}", window.per_queue);
    for sample in &window.samples {
        assert_eq!(sample.latency_ns > 300_000, sample.flow % 8 == 3, "{sample:?}");
    }
}

#[test]
fn a_dead_link_loses_everything_and_settling_waits_for_it() {
    let mut machine = rich();
    machine.nics[1].quirks.push(Quirk::LinkFlap { on: "ring".into(), ms: 2500 });
    let sim = sim(machine);
    set(&sim, "ring.rx", 4096);
    let mut meter = SimMeter::new(sim.clone(), "eth1", 1);
    let window = meter.window(&spec(), &|| false).unwrap();
    assert!((2400..=2500).contains(&window.lost), "{}", window.lost);
    set(&sim, "ring.rx", 2048);
    assert!(meter.settle(Duration::from_secs(1), &|| false).is_err(), "bounded");
    assert!(meter.settle(Duration::from_secs(5), &|| false).unwrap() < Duration::from_secs(2));
    let stopped = meter.window(&spec(), &|| true).unwrap();
    assert_eq!((stopped.samples.len(), stopped.cut_short.is_some()), (100, true));
}
