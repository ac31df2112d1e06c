//! What a site's own list of sysctls lets a run set; what the ports of one card share.

use std::sync::Arc;

use agent::{
    host::sim::{Machine, Param, ParamType, Quirk, Sim, SimMeter},
    log::{RunRecord, RunState},
    runs::{self, Apply, Declined, Exit, Meters, Outcome},
};

use crate::place::Place;

fn playbook(setting: &str) -> playbooks::Playbook {
    let yaml = format!(
        "apiVersion: nicmend/v1\nkind: Playbook\n\
         metadata: {{ name: shared, version: 1.0.0, summary: One setting }}\n\
         stages: [{{ name: one, settings: {{ {setting} }} }}]\n\
         guardrails: {{ latency.p50: {{ no-worse-than: 100% }} }}\n\
         verify: {{ transport: udp, settle: 1s, window: 5s, rate: 1000, payload: 64 }}\n"
    );
    playbooks::parse::parse(yaml.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn request(setting: &str, nic: &str) -> Apply {
    Apply::plain(playbook(setting), nic, Some("192.0.2.2:862".to_owned()))
}

fn apply(place: &Place, setting: &str, nic: &str) -> Result<RunRecord, Declined> {
    let mut meter = SimMeter::new(Arc::clone(&place.sim), nic, 7);
    let request = request(setting, nic);
    match place.at_desk(|desk| runs::apply(desk, &request, Meters::alone(&mut meter)))? {
        Outcome::Ran(record) => Ok(*record),
        Outcome::AlreadyRight(_) => panic!("nothing to do"),
    }
}

/// A host whose card has two ports, each of which shows one parameter; and a card of another slot.
fn two_ports() -> Place {
    let mut place = Place::new("");
    let mut machine: Machine = place.sim.machine();
    let runtime = Some("false".to_owned());
    let param = Param { kind: ParamType::Bool, runtime, driverinit: None, permanent: None };
    for nic in &mut machine.nics {
        nic.devlink_params.insert("enable_remote_dev_reset".to_owned(), param.clone());
    }
    let mut port = machine.nics[0].clone();
    (port.name, port.ifindex) = ("eth5".to_owned(), 0);
    "52:54:00:00:00:05".clone_into(&mut port.mac);
    let pci = port.pci.as_mut().expect("a PCI function");
    pci.address = pci.address.replace(".0", ".3");
    machine.nics.push(port);
    place.sim = Arc::new(Sim::new(machine));
    place
}

const SHARED: &str = "devlink-param.enable_remote_dev_reset: true";

#[test]
fn a_cards_setting_that_a_later_run_changed_by_another_port_is_not_put_back() {
    let place = two_ports();
    let first = apply(&place, SHARED, "eth1").expect("a run");
    assert_eq!(first.state, RunState::Committed, "{}", first.why);
    // Another card's is another one.
    assert_eq!(apply(&place, SHARED, "eth3").expect("a run").state, RunState::Committed);
    let later = apply(&place, SHARED, "eth5").expect("a run");
    assert_eq!(later.state, RunState::Committed, "{}", later.why);
    let revert =
        |wanted: &str| place.at_desk(|desk| runs::revert(desk, wanted, &place.back(desk), None));
    let declined = revert(&first.id).expect_err("it would trample");
    assert_eq!((declined.rule.as_str(), declined.exit), ("owner", Exit::Refused), "{declined}");
    assert!(declined.why.contains(&later.id), "{declined}");
    assert_eq!(revert(&later.id).expect("it is the last").state, RunState::Reverted);
    assert_eq!(revert(&first.id).expect("nobody is later").state, RunState::Reverted);
}

#[test]
fn a_cards_setting_that_a_run_is_stuck_with_is_not_changed_by_another_port() {
    let mut place = two_ports();
    let first = apply(&place, SHARED, "eth1").expect("a run");
    // From now on the device acknowledges a write of it and keeps what it has.
    let mut machine = place.sim.machine();
    let setting = "devlink-param.enable_remote_dev_reset".to_owned();
    machine.nics[0].quirks.push(Quirk::Ignored { setting });
    place.sim = Arc::new(Sim::new(machine));
    let stuck = place.at_desk(|desk| runs::revert(desk, &first.id, &place.back(desk), None));
    assert_eq!(stuck.expect("a record").state, RunState::Stuck);
    let declined = apply(&place, SHARED, "eth5").expect_err("it is the card's");
    assert_eq!((declined.rule.as_str(), declined.exit), ("owner", Exit::Refused), "{declined}");
    assert!(declined.why.contains("of eth1"), "{declined}");
}

#[test]
fn a_sysctl_of_the_sites_own_list_is_set_and_another_is_refused() {
    const KEY: &str = "net.ipv4.conf.all.arp_ignore";
    let setting = format!("sysctl.{KEY}: 1");
    let mut place = Place::new("");
    let mut machine = place.sim.machine();
    machine.sysctls.insert(KEY.to_owned(), "0".to_owned());
    place.sim = Arc::new(Sim::new(machine));
    for config in [None, Some("sysctls: [net.ipv4.conf.*.arp_announce]\n")] {
        place.config = config;
        let declined = apply(&place, &setting, "eth1").expect_err("nobody permits it");
        let said = (declined.rule.as_str(), declined.exit);
        assert_eq!(said, ("sysctl-list", Exit::Refused), "{declined}");
    }
    place.config = Some("sysctls: [net.ipv4.conf.*.arp_ignore]\n");
    let record = apply(&place, &setting, "eth1").expect("the site permits it");
    assert_eq!(record.state, RunState::Committed, "{}", record.why);
    assert_eq!(place.sim.machine().sysctls[KEY], "1");
    // To plan, it is asked with the list, too.
    let plain = request(&setting, "eth5");
    let mut asked = Apply { nic: "eth1".to_owned(), ..plain };
    assert_eq!(runs::prepare(&*place.sim, &asked).expect_err("no list").rule, "sysctl-list");
    asked.sysctls = vec!["net.ipv4.conf.*.arp_ignore".to_owned()];
    assert!(runs::prepare(&*place.sim, &asked).is_ok());
}
