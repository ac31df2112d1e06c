//! Pre-flight: every step, and its way back, against what the driver and kernel are known not to stand.

use agent::{
    host::sim::Sim,
    inventory,
    measure::counters::{Counted, between, snapshot},
    plan::Plan,
    runs::{
        self, Apply, Declined, Exit, Prepared,
        hazards::{self, Ground, Overrides, Terms, hazards_of},
    },
};
use firmware_catalog::{
    Act, Catalog, Read,
    act::Deed,
    catalog::{Part, SiteFile},
};

use crate::machine;

/// A NIC of this driver on this kernel.
fn host(driver: &str, kernel: &str) -> Sim {
    Sim::new(machine(&format!(
        r#"
kernel: {kernel}
nics:
  - name: eth1
    driver: {driver}
    mac: "52:54:00:00:00:01"
    firmware: "22.43.3608 (MT_0000000359)"
    pci: {{ address: "0000:3b:00.0", vendor: 0x15b3, device: 0x101d }}
    channels: {{ combined: {{ value: 4, max: 8 }} }}
    rings: {{ rx: {{ value: 512, max: 4096 }} }}
    coalesce: {{ rx-usecs: 20 }}
    features: {{ rx-ntuple-filter: on, rx-gro: on }}
    rss: {{ size: 128 }}
"#
    )))
}

fn request(settings: &str, applies: &str, terms: Terms) -> Apply {
    let text = format!(
        "apiVersion: nicmend/v1\nkind: Playbook\n\
         metadata: {{ name: hazards, version: 1.0.0, summary: A step }}\n\
         applies-to: {{ {applies} }}\nstages:\n  - name: all\n    settings: {{ {settings} }}\n\
         guardrails: {{ latency.p50: {{ no-worse-than: 5% }} }}\n"
    );
    Apply {
        hazards: terms,
        ..Apply::plain(
            playbooks::parse::parse(text.as_bytes()).unwrap_or_else(|p| panic!("{p:?}")),
            "eth1",
            None,
        )
    }
}

fn overriding(ids: &[&str]) -> Terms {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Terms { overrides: Overrides::These(ids), ..Terms::default() }
}

fn prepare(host: &Sim, settings: &str, terms: Terms) -> Result<Prepared, Declined> {
    runs::prepare(host, &request(settings, "", terms))
}

fn refusals(host: &Sim, settings: &str) -> Vec<String> {
    let prepared = prepare(host, settings, Terms::default()).unwrap_or_else(|d| panic!("{d}"));
    prepared.refusals.iter().map(ToString::to_string).collect()
}

#[test]
fn a_step_and_its_way_back_are_looked_up() {
    let affected = host("mlx5_core", "6.1.80");
    let refused = refusals(&affected, "feature.rx-ntuple-filter: false");
    assert_eq!(refused.len(), 1, "{refused:#?}");
    let words = &refused[0];
    for part in [
        "set feature.rx-ntuple-filter off on eth1 meets KB-008: deadlock while disabling aRFS",
        "symptom: task hung on state_lock",
        "CVE-2024-27014",
        "shipped catalog",
        "(rule hazard)",
        "or pass --override-hazard KB-008",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(refusals(&host("mlx5_core", "6.1.88"), "feature.rx-ntuple-filter: false").is_empty());
    // Forward is more channels, which this kernel stands; back is fewer, which it does not.
    let back = refusals(&host("virtio_net", "6.18.16"), "channels.combined: 8");
    assert!(
        back.iter().any(|words| words.contains("set channels.combined lower on eth1 meets KB-096")),
        "{back:#?}"
    );
    assert!(refusals(&host("virtio_net", "6.18.17"), "channels.combined: 8").is_empty());
}

#[test]
fn an_unknown_base_refuses_what_traffic_feels() {
    let unknown = host("mlx5_core", "5.14.0-503.11.1.el9_5.x86_64");
    let refused = refusals(&unknown, "feature.rx-ntuple-filter: false");
    assert!(refused[0].contains("may meet KB-008"), "{refused:#?}");
    assert!(refused[0].contains("the kernel's upstream base is not known"), "{refused:#?}");
    assert!(refusals(&unknown, "coalesce.rx-usecs: 5").is_empty());
}

#[test]
fn an_override_is_part_of_the_request_and_strays_are_usage_errors() {
    let affected = host("mlx5_core", "6.1.80");
    let off = "feature.rx-ntuple-filter: false";
    let prepared = prepare(&affected, off, overriding(&["KB-008"])).unwrap();
    assert!(prepared.refusals.is_empty(), "{:?}", prepared.refusals);
    let overridden: Vec<&str> = prepared.overridden.iter().map(|h| h.issue.as_str()).collect();
    assert_eq!(overridden, ["KB-008"]);
    for (ids, words) in [
        (&["KB-008", "KB-096"][..], "KB-096: qdisc reset vs dequeue race"),
        (&["KB-008", "KB-999"], "KB-999: the catalog has no such issue"),
        (&["kb-008"], "kb-008: the catalog has no such issue"),
    ] {
        let declined = prepare(&affected, off, overriding(ids)).unwrap_err();
        assert_eq!((declined.exit, declined.rule.as_str()), (Exit::Wrong, "override-hazard"));
        assert!(declined.why.contains(words), "{}", declined.why);
    }
    // The same request, once everything is right, is no usage error; a name that never was, is.
    let done = "feature.rx-ntuple-filter: true";
    assert!(
        prepare(&affected, done, overriding(&["KB-008"])).is_ok_and(|p| Plan::is_done(&p.plan))
    );
    assert!(prepare(&affected, done, overriding(&["KB-999"])).is_err());
}

#[test]
fn a_plan_that_needs_a_read_that_hangs_is_refused_by_the_issue() {
    let declined =
        prepare(&host("sfc", "6.18.5"), "rss.indirection: default", overriding(&[])).unwrap_err();
    assert_eq!((declined.exit, declined.rule.as_str()), (Exit::Refused, "hazard"));
    assert!(
        declined.why.contains("KB-078") && declined.why.contains("CVE-2026-23165"),
        "{}",
        declined.why
    );
}

#[test]
fn acts_that_are_no_settings_are_asked_about_too() {
    let host = host("mlx5_core", "6.12.44");
    let inventory = inventory::take(&host, Some("eth1")).unwrap();
    let nic = &inventory.nics[0];
    let acts = [Act::Do(Deed::Flash), Act::Do(Deed::FwActivate), Act::Do(Deed::DriverReinit)];
    let refused = hazards_of(&Catalog::shipped(), nic, &acts);
    let words: Vec<String> = refused.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), 2, "{words:#?}");
    assert!(words[0].starts_with("fw-activate on eth1 meets KB-009"), "{words:#?}");
    assert!(words[1].starts_with("fw-activate on eth1 meets KB-020"), "{words:#?}");
    assert!(hazards_of(&Catalog::shipped(), nic, &[Act::Do(Deed::LinkDown)]).is_empty());
}

/// The golden firmware of a card on this kernel, on which the driver has been given fewer channels.
fn restart(kernel: &str) -> (Sim, Apply) {
    let text = tests::firmware::MACHINE
        .replacen("kernel: 6.18.5", &format!("kernel: {kernel}"), 1)
        .replacen("    rings:", "    channels: { combined: { value: 4, max: 8 } }\n    rings:", 1);
    let mut machine = machine(&text);
    machine.script.clear();
    let shelf = tests::firmware::read(tests::firmware::FIRMWARE);
    let playbook = playbooks::parse::parse(tests::firmware::MENDS.as_bytes());
    let request = Apply {
        hazards: Terms { catalog: shelf.catalog.clone(), ..Terms::default() },
        firmware: shelf.offer.clone(),
        ..Apply::plain(
            playbook.unwrap_or_else(|p| panic!("{p:?}")),
            "eth1",
            Some("192.0.2.2:862".to_owned()),
        )
    };
    (Sim::new(machine), request)
}

/// What a restart takes is written again after it: that is as much an act as a step is, there and back.
#[test]
fn what_is_written_after_a_restart_is_looked_up_too() {
    let (affected, request) = restart("6.18.16");
    let prepared = runs::prepare(&affected, &request).unwrap_or_else(|d| panic!("{d}"));
    let words: Vec<String> = prepared.refusals.iter().map(ToString::to_string).collect();
    let told = words.iter().any(|w| w.contains("set channels.combined on eth1 meets KB-096"));
    assert!(told, "{words:#?}");
    let ground = Ground { nic: &prepared.facts.nic, facts: &prepared.subject, around: None };
    let back: Vec<String> =
        hazards::acts_back(&prepared.plan, &ground).iter().map(ToString::to_string).collect();
    for act in ["set channels.combined", "set ring.rx", "link-down", "read-coalesce"] {
        assert!(back.iter().any(|own| own == act), "{act}: {back:?}");
    }
    let (fixed, request) = restart("6.18.17");
    let prepared = runs::prepare(&fixed, &request).unwrap_or_else(|d| panic!("{d}"));
    let words: Vec<String> = prepared.refusals.iter().map(ToString::to_string).collect();
    assert!(!words.iter().any(|words| words.contains("KB-096")), "{words:#?}");
}

/// A restart is read into: what hurts only then is asked about with it, and counts where nobody knows.
#[test]
fn a_restart_meets_what_hurts_only_during_one() {
    let host = host("ice", "5.14.0-503.11.1.el9_5.x86_64");
    let inventory = inventory::take(&host, Some("eth1")).unwrap();
    let issues = |acts: &[Act]| -> Vec<String> {
        let catalog = Catalog::shipped();
        let found = hazards::forbidden(&catalog, &inventory.nics[0], acts);
        found.into_iter().map(|hazard| hazard.issue).collect()
    };
    let read = Act::Read(Read::Coalesce);
    assert!(!issues(std::slice::from_ref(&read)).contains(&"KB-029".to_owned()));
    assert!(issues(&[Act::Do(Deed::FwActivate), read]).contains(&"KB-029".to_owned()));
}

/// Windows count nothing of a NIC whose driver crashes where a reset meets a reader.
#[test]
fn a_window_leaves_out_counters_that_hurt() {
    let counted = |kernel: &str| Counted::find(&host("sfc", kernel), "eth1");
    let affected = counted("6.1.38");
    assert!(affected.withheld.as_ref().is_some_and(|why| why.contains("KB-079")), "{affected:?}");
    assert_eq!(counted("6.1.39").withheld, None);
    let sim = host("sfc", "6.1.38");
    let shots = [(); 2].map(|()| snapshot(&sim, Some(&affected)));
    let deltas = between(&shots[0], &shots[1], "sfc");
    assert!(deltas.notes.iter().any(|note| note.contains("KB-079")), "{:?}", deltas.notes);
    assert!(!deltas.counters.keys().any(|name| name.starts_with("nic.")), "{:?}", deltas.counters);
}

#[test]
fn a_sites_issue_refuses_and_names_its_file() {
    let issue = "issues:\n  - id: SITE-7\n    driver: mlx5_core\n    hardware: all\n    kind: data-path-bug\n    \
                 title: rings of ours stall\n    symptom: silence\n    trigger: ethtool -G\n    remedy: leave them\n    \
                 forbids: [set ring]\n    kernels: all\n    source: ticket 7\n    confidence: high\n";
    let file = SiteFile { path: "i.yaml".into(), part: Part::Issues, text: issue.into() };
    let catalog = Catalog::with_site(&[file]).unwrap();
    let terms = Terms { catalog, ..Terms::default() };
    let prepared = prepare(&host("mlx5_core", "6.1.192"), "ring.rx: 1024", terms).unwrap();
    let words = prepared.refusals[0].to_string();
    assert!(words.contains("SITE-7") && words.contains("site catalog, i.yaml"), "{words}");
}

#[test]
fn a_playbooks_firmware_range_is_read_by_the_models_scheme() {
    let ask = |driver: &str, firmware: &str| {
        let applies = format!("firmware: \"{firmware}\"");
        runs::prepare(
            &host(driver, "6.1.192"),
            &request("ring.rx: 1024", &applies, Terms::default()),
        )
        .map(drop)
        .map_err(|declined| declined.why)
    };
    assert_eq!(ask("mlx5_core", ">=22.35, <22.44"), Ok(()));
    assert!(ask("mlx5_core", ">=22.44").unwrap_err().contains("is not within >=22.44"));
    let other = ask("mlx5_core", ">=20.31").unwrap_err();
    assert!(other.contains("different models"), "{other}");
}
