//! docs/settings.md is the vocabulary, and docs/playbooks.md's example is a playbook.
#![allow(clippy::disallowed_methods, reason = "tests read and write the pages themselves")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use playbooks::vocabulary::{self, SETTINGS};

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// `NICMEND_BLESS=1 cargo test -p playbooks` writes the page anew.
#[test]
fn settings_page_is_the_vocabulary() {
    let made = vocabulary::markdown();
    if std::env::var_os("NICMEND_BLESS").is_some() {
        fs::write(page("settings.md"), &made).unwrap();
    }
    let kept = fs::read_to_string(page("settings.md")).unwrap();
    assert!(kept == made, "docs/settings.md is stale: NICMEND_BLESS=1 cargo test -p playbooks");
}

#[test]
fn the_pages_examples_are_playbooks() {
    let text = fs::read_to_string(page("playbooks.md")).unwrap();
    let examples: Vec<&str> = text
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|example| example.contains("apiVersion"))
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        playbooks::parse::parse(example.as_bytes()).unwrap_or_else(|problems| {
            let told: String = problems
                .iter()
                .map(|p| p.render("docs/playbooks.md", example.as_bytes()))
                .collect();
            panic!("{told}")
        });
    }
}

#[test]
fn rows_are_whole_and_unique() {
    let names: BTreeSet<&str> = SETTINGS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), SETTINGS.len(), "a name is there twice");
    for row in SETTINGS {
        assert!(row.doc.ends_with('.') && row.doc.len() > 10, "{}: {:?}", row.name, row.doc);
        assert!(!row.source.is_empty(), "{} has no source", row.name);
        assert!(
            !row.doc.contains('|') && !row.source.contains('|'),
            "{} breaks its table",
            row.name
        );
        for disturbed in row.disturbs {
            let known = vocabulary::find(disturbed).is_some()
                || SETTINGS.iter().any(|row| row.name.split('.').next() == Some(disturbed));
            assert!(known, "{} disturbs {disturbed}, which is not there", row.name);
        }
    }
}

#[test]
fn the_longest_row_governs() {
    let row = |name| vocabulary::find(name).map(|row| row.name);
    assert_eq!(row("sysctl.net.ipv4.tcp_rmem"), Some("sysctl.net.ipv4.tcp_rmem"));
    assert_eq!(row("sysctl.net.ipv4.tcp_autocorking"), Some("sysctl.net.ipv4.*"));
    assert_eq!(row("sysctl.net.core.netdev_budget"), Some("sysctl.net.core.*"));
    assert_eq!(row("sysctl.net.ipv4"), Some("sysctl.*"));
    assert_eq!(row("sysctl.vm.swappiness"), Some("sysctl.*"));
    assert_eq!(row("feature.rx-lro"), Some("feature.rx-lro"));
    assert_eq!(row("feature.rx-gro"), Some("feature.*"));
    assert_eq!(row("feature.*"), None);
    assert_eq!(row("rings.rx"), None);
}

#[test]
fn scopes_and_effects_are_the_kernels() {
    use playbooks::vocabulary::{Scope, TakesEffect};
    let of = |name| vocabulary::find(name).map(|row| (row.scope, row.takes_effect)).unwrap();
    assert_eq!(of("sysctl.net.ipv4.tcp_rmem"), (Scope::Netns, TakesEffect::NewSockets));
    assert_eq!(of("sysctl.net.ipv4.tcp_notsent_lowat"), (Scope::Netns, TakesEffect::Now));
    assert_eq!(of("sysctl.net.ipv4.tcp_mem"), (Scope::Host, TakesEffect::Now));
    assert_eq!(of("sysctl.net.core.rmem_max"), (Scope::Host, TakesEffect::NewSockets));
    assert_eq!(of("sysctl.net.core.somaxconn").0, Scope::Netns);
    assert_eq!(of("sysctl.net.core.busy_poll"), (Scope::Host, TakesEffect::Now));
    assert_eq!(of("napi.weight").0, Scope::Host);
    assert_eq!(of("napi.threaded").0, Scope::Nic);
    assert!(vocabulary::find("napi.weight").unwrap().doc.contains("backlog only"));
}
