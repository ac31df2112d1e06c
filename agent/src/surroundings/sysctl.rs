//! The sysctls of one interface: they are the device's, and a new device starts from the defaults.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{fault::Fault, host::Host};

const ROOT: &str = "/proc/sys/net";
const FOLDERS: [&str; 5] = ["ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh", "mpls/conf"];
/// The kernel of today has about 70 in the largest of them.
const KEYS_MAX: usize = 512;

/// Every one that can be written, by its path under /proc/sys/net.
pub(super) fn read(host: &dyn Host, device: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        let folder = format!("{folder}/{device}");
        // A kernel without IPv6 or MPLS has no such folder.
        let names = host.list(&PathBuf::from(ROOT).join(&folder)).unwrap_or_default();
        for name in names.into_iter().take(KEYS_MAX) {
            let key = format!("{folder}/{name}");
            let path = PathBuf::from(ROOT).join(&key);
            if !host.mode(&path).is_ok_and(|mode| mode & 0o200 != 0) {
                continue;
            }
            // `stable_secret` cannot be read until it is set.
            if let Ok(text) = host.read(&path) {
                found.insert(key, text.trim_end().to_owned());
            }
        }
    }
    found
}

/// Writes those that differ.
pub(super) fn restore(host: &dyn Host, sysctls: &BTreeMap<String, String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (key, value) in sysctls {
        let path = PathBuf::from(ROOT).join(key);
        let now = host.read(&path).map(|text| text.trim_end().to_owned());
        if now.as_ref() == Ok(value) {
            continue;
        }
        let act = format!("set net.{} to {value}", key.replace('/', "."));
        faults.extend(host.write(&path, value).err().map(|fault| fault.during(act)));
    }
    faults
}
