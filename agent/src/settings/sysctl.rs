//! `sysctl.*`: kernel parameters under /proc/sys.
//!
//! Which keys a playbook may set is [`policy::sysctl`]'s to say, when planning. Here a key is confined
//! to /proc/sys again at every use, since a journal or a plan file may have been tampered with.

use std::{collections::BTreeSet, path::Path, path::PathBuf};

use playbooks::{
    Name, Value, Wanted,
    vocabulary::{Disruption, SETTINGS},
};

use super::{plain, words};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic},
    setting::{Change, Current, Family, Readings},
};

pub struct Sysctl;

/// Keys that inventory shows besides those with a vocabulary row of their own: what research names as
/// bearing on latency. Not all of /proc/sys, which has thousands.
const SURVEYED: &[&str] = &[
    "net.core.busy_poll",
    "net.core.dev_weight_rx_bias",
    "net.core.dev_weight_tx_bias",
    "net.core.flow_limit_table_len",
    "net.core.gro_normal_batch",
    "net.core.netdev_max_backlog",
    "net.core.netdev_tstamp_prequeue",
    "net.core.optmem_max",
    "net.core.qdisc_max_burst",
    "net.core.rps_sock_flow_entries",
    "net.core.skb_defer_max",
    "net.ipv4.ip_early_demux",
    "net.ipv4.tcp_adv_win_scale",
    "net.ipv4.tcp_autocorking",
    "net.ipv4.tcp_backlog_ack_defer",
    "net.ipv4.tcp_comp_sack_delay_ns",
    "net.ipv4.tcp_comp_sack_nr",
    "net.ipv4.tcp_comp_sack_slack_ns",
    "net.ipv4.tcp_early_demux",
    "net.ipv4.tcp_early_retrans",
    "net.ipv4.tcp_limit_output_bytes",
    "net.ipv4.tcp_min_tso_segs",
    "net.ipv4.tcp_moderate_rcvbuf",
    "net.ipv4.tcp_no_metrics_save",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_pacing_ca_ratio",
    "net.ipv4.tcp_pacing_ss_ratio",
    "net.ipv4.tcp_rcvbuf_low_rtt",
    "net.ipv4.tcp_recovery",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_thin_linear_timeouts",
    "net.ipv4.tcp_tso_rtt_log",
    "net.ipv4.tcp_tso_win_divisor",
    "net.ipv4.udp_early_demux",
    "net.ipv4.udp_rmem_min",
    "net.ipv4.udp_wmem_min",
];

impl Family for Sysctl {
    fn name(&self) -> &'static str {
        "sysctl"
    }

    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        let own_rows = SETTINGS.iter().filter_map(|row| row.name.strip_prefix("sysctl."));
        let keys: BTreeSet<&str> =
            own_rows.filter(|key| !key.ends_with('*')).chain(SURVEYED.iter().copied()).collect();
        let outcomes = keys.iter().filter_map(|key| {
            let name = plain::name(&format!("sysctl.{key}"))?;
            let outcome = path_of(&name, "read").and_then(|path| current(host, &name, &path));
            Some((name, outcome))
        });
        // The keys are the namespace's or the host's, the same for every NIC: read once.
        vec![plain::readings(outcomes); nics.len()]
    }

    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        let each = |name: &Name| {
            this_nics(host, nic, name, "read")?;
            confined(host, name, "read").and_then(|path| current(host, name, &path))
        };
        names.iter().map(each).collect()
    }

    fn resolve(
        &self,
        _host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        now: &Current,
    ) -> Result<Value> {
        let act = plain::setting(name, &nic.name);
        match &now.fixed {
            Some(why) => Err(Fault::new(Kind::Unsupported, act, why.clone())),
            None => plain::text(&act, wanted).map(Value::Text),
        }
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        plain::one_by_one(changes)
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        for change in batch {
            let act = format!("set {} to {}", change.name, change.to);
            let Value::Text(text) = &change.to else {
                return Err(plain::wrong_kind(change, &nic.name));
            };
            this_nics(host, nic, &change.name, "set")?;
            let path = confined(host, &change.name, "set")?;
            host.write(&path, text).map_err(|fault| fault.during(act))?;
        }
        Ok(())
    }

    fn disruption(&self, _nic: &Nic, name: &Name) -> Disruption {
        name.setting().disruption
    }

    fn disturbs(&self, _nic: &Nic, name: &Name) -> Vec<&'static str> {
        let mut disturbed = name.setting().disturbs.to_vec();
        // These files have a second name here; both must be put back.
        disturbed.extend(match name.rest() {
            "net.core.dev_weight" => Some("napi.weight"),
            "net.core.netdev_budget" => Some("napi.budget"),
            "net.core.netdev_budget_usecs" => Some("napi.budget-usecs"),
            _ => None,
        });
        disturbed
    }

    fn by_hand(&self, _nic: &Nic, batch: &[Change]) -> Vec<String> {
        let line = |change: &Change| {
            let value = change.to.to_string().replace('\'', r"'\''");
            format!("sysctl -w {}='{value}'", words::quote(change.name.rest()))
        };
        batch.iter().map(line).collect()
    }
}

fn current(host: &dyn Host, name: &Name, path: &Path) -> Result<Current> {
    let none = "this kernel, or this network namespace, has no such parameter";
    let text = host.read(path).map_err(|f| plain::absent(f, &format!("read {name}"), none))?;
    let mut current = Current::of(Value::text(&text));
    if host.mode(path).is_ok_and(|mode| mode & 0o222 == 0) {
        current.fixed = Some("the kernel offers it for reading only".to_owned());
    }
    Ok(current)
}

fn path_of(name: &Name, act: &str) -> Result<PathBuf> {
    policy::sysctl::path_of(name.rest())
        .map_err(|refusal| Fault::new(Kind::Denied, format!("{act} {name}"), refusal.to_string()))
}

/// The interface whose parameter this is, where the key names one: `eth1.100` of
/// `net.ipv4.neigh.eth1/100.gc_stale_time`.
pub(crate) fn interface_of(name: &Name) -> Option<String> {
    let parts: Vec<&str> = name.rest().split('.').collect();
    match parts.as_slice() {
        ["net", "ipv4" | "ipv6", "neigh" | "conf", "all" | "default", _] => None,
        ["net", "ipv4" | "ipv6", "neigh" | "conf", interface, _] if name.family() == "sysctl" => {
            Some(interface.replace('/', "."))
        }
        _ => None,
    }
}

/// A key that names an interface is this NIC's, or that of one stacked on it (a VLAN): a name that has gone
/// over to another NIC is another NIC's key.
fn this_nics(host: &dyn Host, nic: &Nic, name: &Name, act: &str) -> Result<()> {
    let Some(interface) = interface_of(name).filter(|interface| *interface != nic.name) else {
        return Ok(());
    };
    let lower = format!("/sys/class/net/{interface}/lower_{}", nic.name);
    if host.target(Path::new(&lower)).is_ok() {
        return Ok(());
    }
    let cause = format!("{interface} is not {}, nor stacked on it", nic.name);
    Err(Fault::new(Kind::Unsupported, format!("{act} {name}"), cause))
}

/// The key's file, with no symbolic link on the way to it.
fn confined(host: &dyn Host, name: &Name, act: &str) -> Result<PathBuf> {
    let path = path_of(name, act)?;
    let inside = path.ancestors().take_while(|part| *part != Path::new("/proc/sys"));
    for part in inside {
        // Reading a link's target fails for everything that is no link, as it should here.
        if let Ok(target) = host.target(part) {
            let cause = format!("{} is a symbolic link to {target}", part.display());
            return Err(Fault::new(Kind::Denied, format!("{act} {name}"), cause));
        }
    }
    Ok(path)
}
