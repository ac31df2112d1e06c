//! Every setting family of the product on the simulated machine: what it surveys is what the machine
//! holds, what it writes is what the machine then holds, and writing the original back restores it.

use agent::setting::{Change, Family, SETTINGS};
use playbooks::{Value, vocabulary::Kind};

use crate::{name, nic, rich, sim};

/// Settings whose value is not a plain copy of the machine's, each checked in a test of its own.
const SPECIAL: &[&str] = &["ntuple"];

#[test]
fn what_a_family_surveys_is_what_the_machine_holds() {
    let sim = sim(rich());
    let nics = ["eth0", "eth1", "veth0"].map(|name| nic(&sim, name));
    let mut seen = 0;
    for family in SETTINGS.iter().filter(|f| !SPECIAL.contains(&f.name())) {
        let readings = family.survey(&*sim, &nics);
        assert_eq!(readings.len(), nics.len(), "{}", family.name());
        for (nic, readings) in nics.iter().zip(readings) {
            for (setting, current) in readings.supported {
                let truth = sim.value(&nic.name, setting.as_str());
                assert_eq!(Some(&current.value), truth.as_ref(), "{setting} on {}", nic.name);
                seen += 1;
            }
        }
    }
    println!("{seen} readings of {} families", SETTINGS.len());
    assert!(seen > SETTINGS.len());
}

/// Nothing that the machine has is passed over.
#[test]
fn everything_the_machine_has_is_surveyed() {
    let sim = sim(rich());
    let nic = nic(&sim, "eth1");
    let machine = sim.machine();
    let holds = machine.nic("eth1").unwrap();
    for (family, expected) in [
        ("ring", holds.rings.len()),
        ("coalesce", holds.coalesce.len()),
        ("channels", holds.channels.len()),
        ("private-flag", holds.private_flags.len()),
        ("pause", 3),
        ("eee", 3),
    ] {
        let of = SETTINGS.iter().find(|f| f.name() == family).expect("the family is registered");
        let readings = of.survey(&*sim, std::slice::from_ref(&nic)).remove(0);
        assert_eq!(readings.supported.len(), expected, "{family}: {:?}", readings.unsupported);
    }
    let features = SETTINGS.iter().find(|f| f.name() == "feature").unwrap();
    let readings = features.survey(&*sim, std::slice::from_ref(&nic)).remove(0);
    for feature in holds.features.keys() {
        assert!(readings.supported.contains_key(&name(&format!("feature.{feature}"))), "{feature}");
    }
}

#[test]
fn every_setting_that_can_be_written_is_written_and_put_back() {
    let mut written = 0;
    for family in SETTINGS.iter().filter(|f| !SPECIAL.contains(&f.name())) {
        for on in ["eth0", "eth1", "veth0"] {
            written += write_all(*family, on);
        }
    }
    println!("{written} writes and restorations");
    assert!(written > SETTINGS.len());
}

fn write_all(family: &dyn Family, on: &str) -> usize {
    let sim = sim(rich());
    let nic = nic(&sim, on);
    let before = sim.machine();
    let readings = family.survey(&*sim, std::slice::from_ref(&nic)).remove(0);
    let mut written = 0;
    for (setting, current) in readings.supported {
        let Some(to) = other(setting.as_str(), &current.value, current.max) else { continue };
        if current.fixed.is_some() {
            continue;
        }
        let change = Change { name: setting.clone(), from: current.value.clone(), to: to.clone() };
        let back = Change { name: setting.clone(), from: to.clone(), to: current.value.clone() };
        for (change, expected) in [(change, &to), (back, &current.value)] {
            for batch in family.batches(&nic, vec![change]) {
                family.write(&*sim, &nic, &batch).unwrap_or_else(|fault| panic!("{fault}"));
            }
            let read = family.read(&*sim, &nic, std::slice::from_ref(&setting)).remove(0);
            let read = read.unwrap_or_else(|fault| panic!("{fault}"));
            assert_eq!(&read.value, expected, "{setting} on {on}");
            assert_eq!(sim.value(on, setting.as_str()).as_ref(), Some(expected), "{setting}");
        }
        assert_eq!(sim.machine(), before, "{setting} on {on} is not back");
        written += 1;
    }
    written
}

/// Another value that the setting may take, if the test knows one.
fn other(setting: &str, now: &Value, max: Option<u64>) -> Option<Value> {
    let words = match name(setting).setting().kind {
        Kind::Choice(words) => words,
        Kind::Number { .. } | Kind::Bool | Kind::Text | Kind::Indirection | Kind::Cpus => &[],
    };
    match now {
        Value::Bool(on) => Some(Value::Bool(!on)),
        // A half of what is there stays within every limit, and keeps at least one channel.
        Value::Number(n) if *n > 1 => Some(Value::Number(n / 2)),
        Value::Number(n) if max.is_none_or(|max| max > *n) => Some(Value::Number(n + 1)),
        Value::Number(_) => None,
        Value::Text(word) if !words.is_empty() => {
            let other = words.iter().find(|w| *w != word)?;
            Some(Value::Text((*other).to_owned()))
        }
        Value::Text(word) if setting == "rss.indirection" && word == "default" => {
            Some(Value::Numbers((0..64).map(|i| i % 3).collect()))
        }
        Value::Text(text) if text == "false" => Some(Value::Text("true".to_owned())),
        Value::Text(text) if text.parse::<u64>().is_ok() && !setting.ends_with("_mask") => {
            let n = text.parse::<u64>().ok()?;
            Some(Value::Text(if n > 1 { n / 2 } else { 1 - n }.to_string()))
        }
        Value::Text(_) | Value::Numbers(_) => None,
        Value::Texts(lists) => Some(Value::Texts(vec!["1-2".to_owned(); lists.len()])),
    }
}
