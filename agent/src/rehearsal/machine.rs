//! A simulated machine on which every setting of a playbook exists.

use std::collections::BTreeMap;

use playbooks::{Playbook, Value, Wanted};

use crate::host::sim::{Effect, Feature, Limited, Machine, Pause, Pci, Rss, SimNic, Traffic};

/// The NIC's name on that machine.
pub(super) const NIC: &str = "eth1";

/// A machine with one NIC of the playbook's first driver and model, where interrupt moderation costs
/// latency and everything that the playbook sets can be set.
pub fn machine_for(playbook: &Playbook) -> Machine {
    let driver = playbook.applies_to.driver.first().map_or("igb", String::as_str);
    let limited = |value, max| Limited { value, max };
    let mut nic = SimNic {
        name: NIC.to_owned(),
        driver: driver.to_owned(),
        pci: Some(pci(playbook, driver)),
        rings: BTreeMap::from([
            ("rx".to_owned(), limited(512, 4096)),
            ("tx".to_owned(), limited(512, 4096)),
        ]),
        channels: BTreeMap::from([("combined".to_owned(), limited(4, 8))]),
        coalesce: BTreeMap::from([("rx-usecs".to_owned(), 50), ("tx-usecs".to_owned(), 50)]),
        pause: Some(Pause { autoneg: false, rx: true, tx: true }),
        rss: Some(Rss { size: 128, table: None }),
        rules: Some(BTreeMap::new()),
        ..SimNic::default()
    };
    let mut sysctls = BTreeMap::new();
    for (name, wanted) in playbook.stages.iter().flat_map(|stage| &stage.settings) {
        furnish(&mut nic, &mut sysctls, name, wanted);
    }
    let effects = vec![Effect {
        setting: "coalesce.rx-usecs".to_owned(),
        add_ns_each: 500,
        ..Effect::default()
    }];
    let traffic = Traffic { effects, ..Traffic::default() };
    Machine { nics: vec![nic], sysctls, traffic, ..Machine::default() }
}

/// The first model of the catalog that the playbook is for.
fn pci(playbook: &Playbook, driver: &str) -> Pci {
    let fits = |model: &&firmware_catalog::Model| {
        let globs = &playbook.applies_to.model;
        let glob = |g: &String| playbooks::applies::glob_matches(g, &model.name);
        model.driver == driver && (globs.is_empty() || globs.iter().any(glob))
    };
    let ids = firmware_catalog::model::all().find(fits).map(|model| (model.vendor, model.device));
    let (vendor, device) = ids.unwrap_or((0x8086, 0x10c9));
    Pci {
        address: "0000:3b:00.0".to_owned(),
        vendor,
        device,
        subsystem_vendor: vendor,
        subsystem_device: 1,
        serial: None,
        board_serial: None,
        versions: BTreeMap::new(),
        stored: BTreeMap::new(),
        numa: 0,
    }
}

/// Makes the NIC have what the playbook names, at another value than the one wanted.
fn furnish(
    nic: &mut SimNic,
    sysctls: &mut BTreeMap<String, String>,
    name: &playbooks::Name,
    wanted: &Wanted,
) {
    let rest = name.rest().to_owned();
    let off = matches!(wanted, Wanted::Exactly(Value::Bool(false)));
    match name.family() {
        "ring" => drop(nic.rings.entry(rest).or_insert(Limited { value: 512, max: 4096 })),
        "coalesce" => drop(nic.coalesce.entry(rest).or_insert(u64::from(off))),
        "private-flag" => drop(nic.private_flags.insert(rest, off)),
        "feature" => drop(nic.features.insert(rest, if off { Feature::On } else { Feature::Off })),
        "sysctl" => drop(sysctls.insert(rest, other_than(wanted))),
        _ => {}
    }
}

fn other_than(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Exactly(value) if value.to_string() == "1" => "0".to_owned(),
        Wanted::Exactly(_)
        | Wanted::Max
        | Wanted::Min
        | Wanted::Default
        | Wanted::Equal(_)
        | Wanted::Weights(_)
        | Wanted::LocalCpus
        | Wanted::Cpus(_) => "1".to_owned(),
    }
}
