//! The host itself: what of it bears on its NICs.

use std::path::Path;

use super::HostFacts;
use crate::host::Host;

/// Reads a handful of files; one that is missing leaves its fact empty.
pub(super) fn facts(host: &dyn Host, kernel_base: Option<&str>) -> HostFacts {
    let text = |path: &str| {
        host.read(Path::new(path)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    // `(null)` is how the kernel prints an empty nohz_full mask.
    let list = |path: &str| Some(text(path)).filter(|list| list != "(null)").unwrap_or_default();
    let maker = text("/sys/class/dmi/id/sys_vendor");
    let product = text("/sys/class/dmi/id/product_name");
    let machine = format!("{maker} {product}").trim().to_owned();
    HostFacts {
        name: text("/proc/sys/kernel/hostname"),
        system: system(&text("/etc/os-release")),
        kernel: text("/proc/sys/kernel/osrelease"),
        kernel_base: kernel_base.unwrap_or("unknown").to_owned(),
        cpus: list("/sys/devices/system/cpu/online"),
        isolated_cpus: list("/sys/devices/system/cpu/isolated"),
        nohz_full_cpus: list("/sys/devices/system/cpu/nohz_full"),
        numa_nodes: list("/sys/devices/system/node/online"),
        machine: Some(machine).filter(|machine| !machine.is_empty()),
        boot_id: host.now().boot_id,
        ..HostFacts::default()
    }
}

/// `PRETTY_NAME` of os-release(5).
fn system(release: &str) -> String {
    let line = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
}
