//! How packets fare on a simulated machine: a base delay, and what each setting adds to it.

use std::collections::BTreeMap;

use playbooks::Value;
use serde::{Deserialize, Serialize};

use super::{
    machine::{Machine, SimNic},
    quirk::Quirk,
    random::Random,
    values,
};

/// The traffic between this machine's NICs and the peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Traffic {
    /// The median round trip on an idle, well-tuned NIC, nanoseconds.
    pub base_ns: u64,
    /// Spread: the standard deviation of the delay's logarithm.
    pub spread: f64,
    /// One packet in so many is slow whatever the settings, by so much.
    pub slow_one_in: u32,
    pub slow_ns: u64,
    /// Packets a second that the NIC carries apart from the probe.
    pub load_pps: f64,
    /// Added to every packet of a receive queue, nanoseconds.
    pub queue_delay_ns: BTreeMap<u32, u64>,
    pub effects: Vec<Effect>,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic {
            base_ns: 20_000,
            spread: 0.08,
            slow_one_in: 1000,
            slow_ns: 30_000,
            load_pps: 50_000.0,
            queue_delay_ns: BTreeMap::new(),
            effects: Vec::new(),
        }
    }
}

/// What a setting does to packets while its value is within bounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Effect {
    /// By its name in the vocabulary. A switch counts as 0 or 1.
    pub setting: String,
    /// In force while the NIC's device runs this firmware; without a setting, whatever its settings are.
    pub firmware: Option<String>,
    /// Which number of a sysctl that holds several, from 0.
    pub field: usize,
    /// In force while the value is at least and at most this.
    pub at_least: Option<u64>,
    pub at_most: Option<u64>,
    /// Added to every packet, nanoseconds.
    pub add_ns: u64,
    /// Added to every packet, nanoseconds for each unit of the value, on average: a packet waits for
    /// part of an interrupt delay, not all of it.
    pub add_ns_each: u64,
    /// One packet in so many waits so much longer.
    pub slow_one_in: u32,
    pub slow_ns: u64,
    /// One packet in so many is lost, and counted by the NIC as missed.
    pub lose_one_in: u32,
}

/// What happens to one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives { ns: u64 },
    Missed,
}

/// The effects in force, with the values they take from the machine: valid until the next change.
pub(super) struct Weather<'a> {
    traffic: &'a Traffic,
    active: Vec<(&'a Effect, u64)>,
    table: Vec<u32>,
}

impl<'a> Weather<'a> {
    /// `born` is the NIC as it was at boot: what a deaf driver still does.
    pub(super) fn of(machine: &'a Machine, nic: &'a SimNic, born: &SimNic) -> Weather<'a> {
        let traffic = &machine.traffic;
        let mut old = Machine { nics: vec![born.clone()], ..Machine::default() };
        old.nics[0].name.clone_from(&nic.name);
        let runs = |version: &String| {
            nic.pci.as_ref().is_some_and(|pci| pci.versions.values().any(|v| v == version))
        };
        let value_of = |effect: &Effect| {
            if effect.setting.is_empty() {
                return Some(0);
            }
            let deaf = nic
                .quirks
                .iter()
                .any(|q| matches!(q, Quirk::Deaf { setting } if *setting == effect.setting));
            let machine = if deaf { &old } else { machine };
            number(&values::get(machine, &nic.name, &effect.setting)?, effect.field)
        };
        let active = traffic
            .effects
            .iter()
            .filter(|effect| effect.firmware.as_ref().is_none_or(runs))
            .filter_map(|effect| Some((effect, value_of(effect)?)))
            .filter(|(effect, value)| {
                effect.at_least.is_none_or(|least| *value >= least)
                    && effect.at_most.is_none_or(|most| *value <= most)
            })
            .collect();
        let queues = nic.rx_queues() as u32;
        let table = nic.table().unwrap_or_else(|| (0..queues).collect());
        Weather { traffic, active, table }
    }

    /// The receive queue of a flow, as RSS spreads them.
    pub(super) fn queue(&self, flow: u16) -> u32 {
        self.table.get(usize::from(flow) % self.table.len().max(1)).copied().unwrap_or(0)
    }

    pub(super) fn fate(&self, queue: u32, random: &mut Random) -> Fate {
        let traffic = self.traffic;
        let mut ns = traffic.base_ns as f64 * (random.normal() * traffic.spread).exp();
        if random.one_in(traffic.slow_one_in) {
            ns += traffic.slow_ns as f64;
        }
        ns += traffic.queue_delay_ns.get(&queue).copied().unwrap_or(0) as f64;
        for (effect, value) in &self.active {
            if random.one_in(effect.lose_one_in) {
                return Fate::Missed;
            }
            ns += effect.add_ns as f64;
            ns += 2.0 * random.fraction() * (effect.add_ns_each * value) as f64;
            if random.one_in(effect.slow_one_in) {
                ns += effect.slow_ns as f64;
            }
        }
        Fate::Arrives { ns: ns as u64 }
    }
}

fn number(value: &Value, field: usize) -> Option<u64> {
    match value {
        Value::Bool(on) => Some(u64::from(*on)),
        Value::Number(n) => Some(*n),
        Value::Text(text) => text.split_whitespace().nth(field)?.parse().ok(),
        Value::Numbers(numbers) => numbers.get(field).copied(),
        Value::Texts(_) => None,
    }
}
