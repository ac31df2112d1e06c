//! The shipped playbooks hold what they promise.

use playbooks::{applies, library, library::LIBRARY, parse::parse, vocabulary::Disruption};

#[test]
fn every_shipped_playbook_lints() {
    for shipped in LIBRARY {
        let source = shipped.source.as_bytes();
        let playbook = parse(source).unwrap_or_else(|problems| {
            panic!(
                "{}",
                problems.iter().map(|p| p.render(shipped.name, source)).collect::<String>()
            )
        });
        assert_eq!(playbook.name, shipped.name);
        assert!(!playbook.summary.is_empty() && !playbook.references.is_empty());
        assert!(playbook.stages.iter().all(|stage| stage.firmware.is_none()));
        assert_eq!(library::find(shipped.name), Some(shipped));
    }
    assert_eq!(library::find("nothing"), None);
    assert_eq!(library::nearest("mlx-5"), Some("mlx5"));
}

#[test]
fn stages_go_from_gentle_to_rough() {
    for shipped in LIBRARY {
        let playbook = parse(shipped.source.as_bytes()).unwrap();
        let worst: Vec<Disruption> = playbook
            .stages
            .iter()
            .filter_map(|s| s.settings.iter().map(|(name, _)| name.setting().disruption).max())
            .collect();
        assert!(worst.is_sorted(), "{}: {worst:?}", shipped.name);
    }
}

#[test]
fn every_value_has_its_reason_beside_it() {
    for shipped in LIBRARY {
        let playbook = parse(shipped.source.as_bytes()).unwrap();
        for stage in &playbook.stages {
            let explained = stage.settings.iter().any(|(name, _)| {
                let key = format!("      {name}: ");
                shipped.source.lines().any(|line| line.starts_with(&key) && line.contains(" # "))
            });
            assert!(explained, "{}: stage {} gives no source", shipped.name, stage.name);
        }
    }
}

#[test]
fn nothing_without_effect_is_set() {
    for shipped in LIBRARY {
        assert!(!shipped.source.contains("tcp_low_latency"), "{}", shipped.name);
        assert!(!shipped.source.contains("tx_cqe_compress"), "{}", shipped.name);
    }
}

#[test]
fn families_name_their_drivers() {
    let drivers = [
        ("mlx5", "mlx5_core"),
        ("ice", "ice"),
        ("i40e", "i40e"),
        ("bnxt", "bnxt_en"),
        ("igb-e1000e", "igb"),
        ("igb-e1000e", "e1000e"),
        ("ena", "ena"),
        ("virtio", "virtio_net"),
    ];
    for (name, driver) in drivers {
        let playbook = parse(library::find(name).unwrap().source.as_bytes()).unwrap();
        let wanted = &playbook.applies_to.driver;
        assert_eq!(applies::driver_matches(wanted, driver), applies::Match::Yes);
        assert_ne!(applies::driver_matches(wanted, "veth"), applies::Match::Yes);
    }
}
