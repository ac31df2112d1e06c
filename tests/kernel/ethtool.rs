//! Settings of the ethtool families on a real veth, with ethtool(8) as the witness.

use agent::{
    fault::Kind,
    host::{NicId, linux::Linux, nic},
    setting::{Change, Current, Family, SETTINGS, family_of},
};
use playbooks::{Name, Value, Wanted};
use tests::{Netns, programs_or_skip, root_or_skip};

/// A veth pair of eight queues in a namespace of its own, or nothing where that cannot be had.
struct Bench {
    netns: Netns,
    linux: Linux,
    nic: agent::host::Nic,
}

impl Bench {
    fn or_skip(test: &str) -> Option<Bench> {
        if !(root_or_skip(test) && programs_or_skip(test, &["ip", "ethtool"])) {
            return None;
        }
        let netns = Netns::new();
        netns.veth("nmset0", "nmset1", 8);
        let linux = Linux::new().expect("open the machine");
        let nic = nic::find(&linux, "nmset0").expect("find the NIC");
        Some(Bench { netns, linux, nic })
    }

    fn read(&self, name: &str) -> agent::fault::Result<Current> {
        let name = name_of(name);
        family_of(&name)?.read(&self.linux, &self.nic, &[name]).remove(0)
    }

    fn write(&self, name: &str, to: Value) -> agent::fault::Result<()> {
        let name = name_of(name);
        let from = self.read(name.as_str())?.value;
        let family = family_of(&name)?;
        for batch in family.batches(&self.nic, vec![Change { name, from, to }]) {
            family.write(&self.linux, &self.nic, &batch)?;
        }
        Ok(())
    }

    /// What ethtool(8) prints after `label:`, `nth` counting from zero.
    fn witness(&self, option: &str, label: &str, nth: usize) -> String {
        let printed = self.netns.run("ethtool", &[option, "nmset0"]);
        let label = format!("{label}:");
        let mut values =
            printed.lines().filter_map(|line| line.trim().strip_prefix(&label)).map(str::trim);
        values.nth(nth).unwrap_or_else(|| panic!("no {label} in {printed}")).to_owned()
    }
}

fn name_of(name: &str) -> Name {
    Name::try_from(name).unwrap_or_else(|error| panic!("{error}"))
}

fn family(name: &str) -> &'static dyn Family {
    SETTINGS.iter().copied().find(|family| family.name() == name).expect("a family of this name")
}

#[test]
fn a_nic_is_found_by_what_it_is() {
    let Some(bench) = Bench::or_skip("a_nic_is_found_by_what_it_is") else { return };
    let printed = bench.netns.run("ip", &["-o", "link", "show", "nmset0"]);
    let mac = printed.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
    let id = NicId::Virtual {
        netns: bench.linux.netns(),
        name: "nmset0".into(),
        mac: mac.expect("a MAC").into(),
    };
    assert_eq!(bench.nic.id, id);
    assert_eq!((bench.nic.driver.as_str(), bench.nic.pci.as_deref()), ("veth", None));
    let all = nic::all(&bench.linux).expect("all NICs");
    let names: Vec<&str> = all.iter().map(|nic| nic.name.as_str()).collect();
    // A veth's peer is made first.
    assert_eq!(names, ["nmset1", "nmset0"], "and not the loopback");
    let fault = nic::find(&bench.linux, "absent0").expect_err("no such NIC");
    assert_eq!(fault.kind, Kind::Gone, "{fault}");
    let fault = nic::find(&bench.linux, "lo").expect_err("the loopback is no NIC");
    assert_eq!(fault.kind, Kind::Unsupported, "{fault}");
}

#[test]
fn channels_are_written_read_back_and_put_back() {
    let Some(bench) = Bench::or_skip("channels_are_written_read_back_and_put_back") else { return };
    let before = bench.read("channels.rx").expect("read");
    assert_eq!((before.value.clone(), before.max), (Value::Number(8), Some(8)));
    bench.write("channels.rx", Value::Number(3)).expect("write");
    assert_eq!(bench.witness("-l", "RX", 1), "3");
    assert_eq!(bench.read("channels.rx").expect("read back").value, Value::Number(3));
    bench.write("channels.rx", before.value).expect("put back");
    assert_eq!(bench.witness("-l", "RX", 1), "8");
}

#[test]
fn features_are_written_read_back_and_put_back() {
    let Some(bench) = Bench::or_skip("features_are_written_read_back_and_put_back") else { return };
    for name in ["rx-gro", "tx-tcp-segmentation", "tx-generic-segmentation"] {
        let setting = format!("feature.{name}");
        let before = bench.read(&setting).expect("read").value;
        let other = Value::Bool(before == Value::Bool(false));
        for value in [other, before] {
            bench.write(&setting, value.clone()).expect("write");
            assert_eq!(bench.read(&setting).expect("read back").value, value, "{name}");
            let printed = bench.netns.run("ethtool", &["-k", "nmset0"]);
            let line = printed.lines().find(|line| line.trim().starts_with(short(name)));
            assert!(line.expect(name).contains(&format!(": {value}")), "{name} {value}: {line:?}");
        }
    }
}

/// The few names that ethtool(8) prints in its own words.
fn short(name: &str) -> &str {
    match name {
        "rx-gro" => "generic-receive-offload",
        "tx-generic-segmentation" => "generic-segmentation-offload",
        other => other,
    }
}

#[test]
fn a_wish_and_what_is_in_force_are_told_apart() {
    let Some(bench) = Bench::or_skip("a_wish_and_what_is_in_force_are_told_apart") else { return };
    // TSO needs scatter-gather: without it the wish stays, the feature goes.
    bench.write("feature.tx-scatter-gather", Value::Bool(false)).expect("write");
    let tso = bench.read("feature.tx-tcp-segmentation").expect("read");
    assert_eq!((tso.value, tso.effective), (Value::Bool(true), Some(Value::Bool(false))));
    assert!(bench.witness("-k", "tx-tcp-segmentation", 0).starts_with("off"));
    bench.write("feature.tx-scatter-gather", Value::Bool(true)).expect("write");
    let tso = bench.read("feature.tx-tcp-segmentation").expect("read");
    assert_eq!((tso.value, tso.effective), (Value::Bool(true), None));
}

#[test]
fn the_survey_agrees_with_ethtool_feature_by_feature() {
    let Some(bench) = Bench::or_skip("the_survey_agrees_with_ethtool_feature_by_feature") else {
        return;
    };
    let nics = nic::all(&bench.linux).expect("all NICs");
    let all = family("feature").survey(&bench.linux, &nics);
    let at = nics.iter().position(|nic| nic.name == "nmset0").expect("our NIC");
    let printed = bench.netns.run("ethtool", &["-k", "nmset0"]);
    let mut compared = 0;
    for line in printed.lines() {
        let Some((label, rest)) = line.trim().split_once(": ") else { continue };
        let Ok(name) = Name::try_from(format!("feature.{label}")) else { continue };
        let current = &all[at].supported[&name];
        let in_force = current.effective.as_ref().unwrap_or(&current.value);
        assert_eq!(rest.split(' ').next(), Some(in_force.to_string().as_str()), "{line}");
        assert_eq!(rest.contains("[fixed]"), current.fixed.is_some(), "{line}");
        compared += 1;
    }
    assert!(compared > 30, "only {compared} features compared");
    let one = family("feature").survey(&bench.linux, &nics[at..=at]);
    assert_eq!(one[0], all[at], "one NIC's own answer and the dump");
}

#[test]
fn what_a_veth_lacks_is_unsupported_with_its_reason() {
    let Some(bench) = Bench::or_skip("what_a_veth_lacks_is_unsupported_with_its_reason") else {
        return;
    };
    let nics = nic::all(&bench.linux).expect("all NICs");
    for (name, setting) in
        [("coalesce", "coalesce.rx-usecs"), ("pause", "pause.rx"), ("eee", "eee.enabled")]
    {
        for survey in [
            family(name).survey(&bench.linux, &nics),
            family(name).survey(&bench.linux, &nics[..1]),
        ] {
            assert!(survey[0].supported.is_empty(), "{name}");
            let reason = &survey[0].unsupported[&name_of(setting)];
            assert_eq!(reason, &format!("the driver has no {name} settings"));
        }
        let fault = bench.read(setting).expect_err(setting);
        assert_eq!(fault.kind, Kind::Unsupported, "{fault}");
        assert!(fault.to_string().starts_with(&format!("read {setting} on nmset0: ")), "{fault}");
    }
    let rings = family("ring").survey(&bench.linux, &nics);
    assert!(rings[0].unsupported.contains_key(&name_of("ring.rx-jumbo")), "{rings:?}");
}

#[test]
fn a_refusal_has_the_kernels_words() {
    let Some(bench) = Bench::or_skip("a_refusal_has_the_kernels_words") else { return };
    let fault = bench.write("channels.rx", Value::Number(9)).expect_err("more than eight");
    assert_eq!(fault.kind, Kind::Invalid, "{fault}");
    assert!(fault.to_string().starts_with("set channels.rx on nmset0 to 9: "), "{fault}");
    assert!(fault.cause.contains("requested channel count exceeds maximum"), "{fault}");
    assert_eq!(bench.witness("-l", "RX", 1), "8");
    // Renamed behind our back: index and name no longer belong together.
    bench.netns.run("ip", &["link", "set", "nmset0", "down"]);
    bench.netns.run("ip", &["link", "set", "nmset0", "name", "nmother"]);
    let fault = bench.read("channels.rx").expect_err("renamed");
    assert_eq!(fault.kind, Kind::Gone, "{fault}");
}

#[test]
fn coalescing_is_written_and_a_clamped_value_shows() {
    let test = "coalescing_is_written_and_a_clamped_value_shows";
    let Some(mut bench) = Bench::or_skip(test) else { return };
    // A tap has one coalescing setting, and clamps it to the NAPI weight (drivers/net/tun.c).
    bench.netns.run("ip", &["tuntap", "add", "nmtap0", "mode", "tap"]);
    bench.nic = nic::find(&bench.linux, "nmtap0").expect("find the tap");
    assert_eq!(bench.nic.driver, "tun");
    assert_eq!(bench.read("coalesce.rx-frames").expect("read").value, Value::Number(0));
    bench.write("coalesce.rx-frames", Value::Number(32)).expect("write");
    assert_eq!(bench.read("coalesce.rx-frames").expect("read back").value, Value::Number(32));
    let printed = bench.netns.run("ethtool", &["-c", "nmtap0"]);
    let line = printed.lines().find_map(|line| line.strip_prefix("rx-frames:"));
    assert_eq!(line.map(str::trim), Some("32"), "{printed}");
    bench.write("coalesce.rx-frames", Value::Number(1000)).expect("write");
    assert_eq!(bench.read("coalesce.rx-frames").expect("read back").value, Value::Number(64));
    let fault = bench.read("coalesce.rx-usecs").expect_err("a tap has none");
    assert_eq!(fault.cause, "the driver does not report it");
    let refused =
        Change { name: name_of("coalesce.rx-usecs"), from: Value::Number(0), to: Value::Number(3) };
    let fault =
        family("coalesce").write(&bench.linux, &bench.nic, &[refused]).expect_err("refused");
    assert!(fault.cause.contains("cannot modify an unsupported parameter"), "{fault}");
}

#[test]
fn a_fixed_feature_is_wanted_as_it_is_or_not_at_all() {
    let Some(bench) = Bench::or_skip("a_fixed_feature_is_wanted_as_it_is_or_not_at_all") else {
        return;
    };
    let name = name_of("feature.rx-lro");
    let now = bench.read("feature.rx-lro").expect("read");
    assert!(now.fixed.is_some() && now.value == Value::Bool(false), "{now:?}");
    let resolve = |on| {
        let wanted = Wanted::Exactly(Value::Bool(on));
        family("feature").resolve(&bench.linux, &bench.nic, &name, &wanted, &now)
    };
    assert_eq!(resolve(false), Ok(Value::Bool(false)));
    assert_eq!(resolve(true).expect_err("fixed").kind, Kind::Unsupported);
}

#[test]
fn lines_by_hand_do_the_same() {
    let Some(bench) = Bench::or_skip("lines_by_hand_do_the_same") else { return };
    for (setting, to) in [
        ("channels.rx", Value::Number(2)),
        ("channels.rx", Value::Number(8)),
        ("feature.rx-gro", Value::Bool(true)),
        ("feature.tx-scatter-gather", Value::Bool(false)),
        ("feature.tx-scatter-gather", Value::Bool(true)),
    ] {
        let name = name_of(setting);
        let from = bench.read(setting).expect("read").value;
        let batch = [Change { name: name.clone(), from, to: to.clone() }];
        let lines = family(name.family()).by_hand(&bench.nic, &batch);
        assert_eq!(lines.len(), 1, "{lines:?}");
        bench.netns.run("sh", &["-c", &lines[0]]);
        assert_eq!(bench.read(setting).expect("read back").value, to, "{lines:?}");
    }
}
