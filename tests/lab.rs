//! The lab's cases on real kernels in VMs, each once (`tests/lab/all --ci` runs the same by hand).
//!
//! A case that cannot run here (no root, no QEMU to be had) prints `skipped: NAME: WHY`; with `CI=true`
//! that is a failure.

// Driving the lab's scripts is this test's whole purpose; product code may not start processes.
#![allow(clippy::disallowed_methods)]

use std::{
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

/// One guest at a time: emulation takes every core there is, and the probe feels a second one.
static ONE_GUEST: Mutex<()> = Mutex::new(());

fn case(name: &str) {
    let _alone = ONE_GUEST.lock().unwrap_or_else(PoisonError::into_inner);
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/all");
    // CI is judged here, from the line that says skipped, so that both cases read alike.
    let output = Command::new(all)
        .args(["--ci", name])
        .env_remove("CI")
        .output()
        .expect("start tests/lab/all");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    match said.lines().find(|line| line.starts_with("SKIPPED")) {
        Some(why) if std::env::var("CI").as_deref() == Ok("true") => {
            panic!("in CI a skip fails: {why}")
        }
        Some(why) => println!("skipped: {why}"),
        None => assert!(said.contains("1 passed"), "{said}"),
    }
}

#[test]
fn the_lab_shows_what_it_claims() {
    case("lab-itself");
}

#[test]
fn all_around_a_nic_is_put_back_after_its_driver_was_unbound() {
    case("surroundings");
}

#[test]
fn igb_rings_coalescing_and_private_flags_are_written_and_reverted() {
    case("write-and-revert");
}

#[test]
fn raised_interrupt_moderation_is_caught_and_reverted() {
    case("regression");
}

#[test]
fn a_delay_on_one_receive_queue_is_caught() {
    case("one-slow-queue");
}

#[test]
fn a_killed_run_is_recovered_with_a_ring_change_in_flight() {
    case("kill");
}

#[test]
fn napi_weight_and_budgets_are_written_and_reverted() {
    case("napi");
}

#[test]
fn the_probe_follows_a_delay_of_netem() {
    case("known-delay");
}

#[test]
fn nicsim_has_the_features_and_faults_it_claims() {
    case("nicsim-by-hand");
}

#[test]
fn who_drives_a_nic_past_the_kernel_is_found_and_not_hurt() {
    case("users");
}

#[test]
fn a_sites_catalog_tells_blocked_firmware_from_golden() {
    case("nicsim-catalog");
}

#[test]
fn a_devlink_parameter_is_set_and_put_back_and_health_is_told() {
    case("nicsim-devlink");
}

#[test]
fn every_fault_of_firmware_ends_as_told() {
    case("nicsim-faults");
}

#[test]
fn a_killed_or_stopped_firmware_stage_ends_as_told() {
    case("nicsim-crashes");
}

#[test]
fn a_power_off_in_a_firmware_stage_is_recovered() {
    case("nicsim-power-off");
}

/// A case without a test here would run by hand only, and nobody would know.
#[test]
fn every_case_has_a_test() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(here.join("lab.rs")).expect("read this file");
    for entry in std::fs::read_dir(here.join("lab/cases")).expect("list the cases") {
        let name = entry.expect("read the directory").file_name();
        let name = name.to_string_lossy();
        assert!(
            source.contains(&format!("case(\"{name}\")")),
            "no test runs tests/lab/cases/{name}"
        );
    }
}
